/* IDX images and labels. */
#include "common/formats.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    icd_arena a = { 0 };
    icd_images s;
    int32_t *label;
    int count;
    icd_err err;
    if (icd_parse_idx_images(&a, "f", (icd_bytes){ p, n }, &s, &err) == ICD_OK)
        for (size_t i = 0; i < (size_t)s.n * icd_image_size(&s); i++)
            if (!(s.x[i] >= 0 && s.x[i] <= 1))
                abort();
    if (icd_parse_idx_labels(&a, "f", (icd_bytes){ p, n }, &label, &count, &err) == ICD_OK)
        for (int i = 0; i < count; i++)
            if (label[i] < 0 || label[i] > 255)
                abort();
    icd_arena_release(&a);
    return 0;
}
