/* .npy, its values, and as images. */
#include "common/formats.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    icd_arena a = { 0 };
    icd_npy npy;
    icd_images s;
    icd_err err;
    if (icd_parse_npy("f", (icd_bytes){ p, n }, &npy, &err) == ICD_OK) {
        volatile double sum = 0;
        for (size_t i = 0; i < npy.count; i++)
            sum += icd_npy_value(&npy, i);
        if (icd_npy_images(&a, "f", &npy, &s, &err) == ICD_OK)
            for (size_t i = 0; i < (size_t)s.n * icd_image_size(&s); i++)
                if (!isfinite(s.x[i]))
                    abort();
    }
    icd_arena_release(&a);
    return 0;
}
