/* fuzz_arch.c: any bytes as an architecture line. What parses must be sound: shapes that follow one another, parameters
 * that tile the vector, and a line that parses to itself. */
#include <stdlib.h>
#include <string.h>

#include "common/arch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(int so) { if (!so) abort(); }

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    /* The first bytes choose settings and the image; the rest is the line. */
    if (n < 6 || n > 4096)
        return 0;
    icd_model_settings m = { bytes[0], (icd_norm)(bytes[1] & 3), bytes[2], bytes[1] >> 2 & 1, bytes[1] >> 3 & 1,
                             bytes[1] >> 4 & 1, bytes[1] >> 5 };
    int c = bytes[3], h = bytes[4], w = bytes[5];
    char *text = malloc(n - 5);
    must(text != NULL);
    memcpy(text, bytes + 6, n - 6);
    text[n - 6] = 0;

    icd_arena a = { 0 };
    icd_err err = { "" };
    static icd_arch r, again;
    if (icd_arch_parse(&a, text, &m, c, h, w, &r, &err) != ICD_OK) {
        must(err.text[0] != 0 && !strchr(err.text, '\n'));
    } else {
        size_t offset = 0;
        for (int p = 0; p < r.n_params; p++) {
            size_t count = 1;
            for (int d = 0; d < r.param[p].rank; d++)
                count *= (size_t)r.param[p].shape[d];
            must(r.param[p].count == count && r.param[p].offset == offset);
            offset += count;
        }
        must(offset == r.n_values);
        for (int s = 0; s < r.n_scales; s++) {
            const icd_layer *l = r.scale[s].layer;
            for (int i = 1; i < r.scale[s].n_layers; i++)
                must(l[i].ci == l[i - 1].co && l[i].hi == l[i - 1].ho && l[i].wi == l[i - 1].wo);
        }
        must(icd_arch_parse(&a, r.line, &m, c, h, w, &again, &err) == ICD_OK);
        must(strcmp(r.line, again.line) == 0 && r.n_values == again.n_values && icd_arch_flops(&r) == icd_arch_flops(&again));
    }
    icd_arena_release(&a);
    free(text);
    return 0;
}
