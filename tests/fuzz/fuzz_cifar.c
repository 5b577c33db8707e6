/* CIFAR binary. */
#include "common/formats.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    icd_arena a = { 0 };
    icd_images s;
    icd_err err;
    if (icd_parse_cifar(&a, "f", (icd_bytes){ p, n }, &s, &err) == ICD_OK) {
        for (size_t i = 0; i < (size_t)s.n * icd_image_size(&s); i++)
            if (!(s.x[i] >= 0 && s.x[i] <= 1))
                abort();
        for (int i = 0; i < s.n; i++)
            if (s.label[i] < 0 || s.label[i] >= s.classes)
                abort();
    }
    icd_arena_release(&a);
    return 0;
}
