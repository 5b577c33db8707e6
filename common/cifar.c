/* cifar.c: CIFAR-10's binary version. A file is records of a label and an image, and nothing else. */
#include "formats.h"

#include <limits.h>

enum { PIXELS = 3 * 32 * 32, RECORD = 1 + PIXELS, CLASSES = 10 };

icd_status icd_parse_cifar(icd_arena *a, const char *name, icd_bytes bytes, icd_images *out, icd_err *err)
{
    size_t n = bytes.n / RECORD;
    if (n == 0 || bytes.n % RECORD != 0)
        return icd_fail(err, ICD_EFORMAT, "%s: %zu bytes, wanted a whole number of CIFAR records of %d bytes (the last one %s)",
                        name, bytes.n, RECORD, n == 0 ? "is the first, and incomplete" : "is cut off or has bytes after it");
    if (n > INT_MAX)
        return icd_fail(err, ICD_EFORMAT, "%s: %zu images, wanted at most %d", name, n, INT_MAX);
    for (size_t i = 0; i < n; i++)
        if (bytes.p[i * RECORD] >= CLASSES)
            return icd_fail(err, ICD_EFORMAT, "%s: byte %zu: label %d of image %zu, wanted 0 to %d", name, i * RECORD,
                            bytes.p[i * RECORD], i, CLASSES - 1);
    float *x = icd_arena_alloc(a, n, PIXELS * sizeof *x);
    int32_t *label = icd_arena_alloc(a, n, sizeof *label);
    if (!x || !label)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu images", name, n);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *record = bytes.p + i * RECORD;
        label[i] = record[0];
        for (size_t j = 0; j < PIXELS; j++)
            x[i * PIXELS + j] = (float)record[1 + j] / 255.0f;
    }
    *out = (icd_images){ .n = (int)n, .c = 3, .h = 32, .w = 32, .x = x, .label = label, .classes = CLASSES };
    return ICD_OK;
}
