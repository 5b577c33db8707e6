/* idx.c: the files of MNIST and its like. Big-endian words, then uint8 values. */
#include "formats.h"

#include <limits.h>

/* The header of `words` big-endian words after the magic; sizes positive, and exactly their product of bytes after it. */
static icd_status idx_header(const char *name, icd_bytes bytes, uint32_t magic, int words, uint32_t *size, icd_err *err)
{
    static const char *const axis[] = { "number of items", "number of rows", "number of columns" };
    size_t header = 4 * (size_t)(words + 1);
    uint32_t there = bytes.n < 4 ? magic : icd_load_be32(bytes.p);
    if (there != magic)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 0: magic 0x%08lx, wanted 0x%08lx (IDX %s of uint8)", name,
                        (unsigned long)there, (unsigned long)magic, words == 3 ? "images" : "labels");
    if (bytes.n < header)
        return icd_fail(err, ICD_EFORMAT, "%s: ends at byte %zu, wanted an IDX header of %zu bytes", name, bytes.n, header);
    uint64_t want = 1;
    for (int i = 0; i < words; i++) {
        size[i] = icd_load_be32(bytes.p + 4 * (i + 1));
        if (size[i] < 1 || size[i] > INT_MAX)
            return icd_fail(err, ICD_EFORMAT, "%s: byte %d: %s is %lu, wanted 1 to %d", name, 4 * (i + 1), axis[i],
                            (unsigned long)size[i], INT_MAX);
        if (want > UINT64_MAX / size[i])
            return icd_fail(err, ICD_EFORMAT, "%s: byte 4: the sizes' product overflows", name);
        want *= size[i];
    }
    if (bytes.n - header != want)
        return icd_fail(err, ICD_EFORMAT, "%s: %s: %zu bytes after the header, wanted %llu", name,
                        bytes.n - header < want ? "truncated" : "too long", bytes.n - header, (unsigned long long)want);
    return ICD_OK;
}

icd_status icd_parse_idx_images(icd_arena *a, const char *name, icd_bytes bytes, icd_images *out, icd_err *err)
{
    uint32_t size[3] = { 0 };
    ICD_TRY(idx_header(name, bytes, 0x803, 3, size, err));
    size_t count = bytes.n - 16;
    float *x = icd_arena_alloc(a, count, sizeof *x);
    if (!x)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu values", name, count);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)bytes.p[16 + i] / 255.0f;
    *out = (icd_images){ .n = (int)size[0], .c = 1, .h = (int)size[1], .w = (int)size[2], .x = x };
    return ICD_OK;
}

icd_status icd_parse_idx_labels(icd_arena *a, const char *name, icd_bytes bytes, int32_t **label, int *n, icd_err *err)
{
    uint32_t size[1] = { 0 };
    ICD_TRY(idx_header(name, bytes, 0x801, 1, size, err));
    int32_t *l = icd_arena_alloc(a, size[0], sizeof *l);
    if (!l)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %lu labels", name, (unsigned long)size[0]);
    for (size_t i = 0; i < size[0]; i++)
        l[i] = bytes.p[8 + i];
    *label = l;
    *n = (int)size[0];
    return ICD_OK;
}
