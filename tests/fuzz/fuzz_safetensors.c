/* safetensors: every value and every string of what is accepted, and each name found again. */
#include "common/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    icd_arena a = { 0 };
    icd_safetensors s;
    icd_err err;
    if (icd_parse_safetensors(&a, "f", (icd_bytes){ p, n }, &s, &err) == ICD_OK) {
        volatile double sum = 0;
        for (int i = 0; i < s.n_tensors; i++) {
            if (icd_st_find(&s, s.tensor[i].name) != &s.tensor[i])
                abort();
            for (size_t k = 0; k < s.tensor[i].count; k++)
                sum += icd_st_value(&s.tensor[i], k);
        }
        for (int i = 0; i < s.n_metadata; i++)
            if (icd_st_metadata(&s, s.metadata[i].key) != s.metadata[i].value || strlen(s.metadata[i].value) > n)
                abort();
    } else if (strchr(err.text, '\n')) {
        abort();
    }
    icd_arena_release(&a);
    return 0;
}
