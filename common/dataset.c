/* dataset.c: from what a user types after --data to images in memory. */
#include "dataset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "digits.h"
#include "formats.h"

enum { PATH_BYTES = 1024, STANDARD_COUNT = 10000, MOST_DRAWN = 10000000, CIFAR_BATCHES = 5, CIFAR_RECORD = 3073 };

static int is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static int is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static icd_status join(char *out, const char *folder, const char *file, icd_err *err)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", folder, file);
    if (n < 0 || n >= PATH_BYTES)
        return icd_fail(err, ICD_EINVAL, "%.64s...: a path of over %d bytes", folder, PATH_BYTES - 1);
    return ICD_OK;
}

/* ---- data that needs no file ---- */

/* *n: how many are wanted where spec is `kind` or `kind:N`, else 0. */
static icd_status drawn_count(const char *spec, const char *kind, int *n, icd_err *err)
{
    size_t length = strlen(kind);
    *n = 0;
    if (strncmp(spec, kind, length) != 0 || (spec[length] != '\0' && spec[length] != ':'))
        return ICD_OK;
    *n = STANDARD_COUNT;
    if (spec[length] == '\0')
        return ICD_OK;
    const char *text = spec + length + 1;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < 1 || v > MOST_DRAWN)
        return icd_fail(err, ICD_EINVAL, "--data %s: `%s`, wanted a number from 1 to %d after the colon", spec, text, MOST_DRAWN);
    *n = (int)v;
    return ICD_OK;
}

/* ---- one file ---- */

static int ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static icd_status parse_images(icd_arena *a, const char *path, icd_bytes b, icd_images *out, icd_err *err)
{
    if (b.n == 0)
        return icd_fail(err, ICD_EFORMAT, "%s: empty, wanted an IDX, .npy or CIFAR file", path);
    if (b.n >= 4 && memcmp(b.p, "\x93NUM", 4) == 0) {
        icd_npy npy;
        ICD_TRY(icd_parse_npy(path, b, &npy, err));
        return icd_npy_images(a, path, &npy, out, err);
    }
    if (b.n >= 2 && b.p[0] == 0x1f && b.p[1] == 0x8b)
        return icd_fail(err, ICD_EFORMAT, "%s: is compressed by gzip, wanted the unpacked file (gunzip it)", path);
    if (b.n >= 4 && b.p[0] == 0 && b.p[1] == 0 && b.p[2] == 8 && b.p[3] >= 1 && b.p[3] <= 4)      /* 1: labels, refused below */
        return icd_parse_idx_images(a, path, b, out, err);
    if (b.n % CIFAR_RECORD == 0 || ends_in(path, ".bin"))
        return icd_parse_cifar(a, path, b, out, err);
    return icd_fail(err, ICD_EFORMAT, "%s: %zu bytes that begin with %02x %02x %02x %02x, wanted an IDX file (00 00 08 03), "
                    ".npy (93 4e 55 4d) or CIFAR (records of %d bytes)", path, b.n, b.p[0], b.n > 1 ? b.p[1] : 0,
                    b.n > 2 ? b.p[2] : 0, b.n > 3 ? b.p[3] : 0, CIFAR_RECORD);
}

static icd_status load_images(icd_arena *a, const char *path, icd_images *out, icd_err *err)
{
    icd_arena file = { 0 };
    icd_bytes bytes;
    icd_status s = icd_read_file(&file, path, &bytes, err);
    if (s == ICD_OK)
        s = parse_images(a, path, bytes, out, err);
    icd_arena_release(&file);
    return s;
}

static icd_status npy_labels(icd_arena *a, const char *path, icd_bytes b, int32_t **label, int *n, icd_err *err)
{
    icd_npy npy;
    ICD_TRY(icd_parse_npy(path, b, &npy, err));
    if (npy.rank != 1 || npy.type == 'f' || npy.type == 'd' || npy.count < 1 || npy.count > INT32_MAX)
        return icd_fail(err, ICD_EFORMAT, "%s: wanted labels: one axis of uint8, int32 or int64, at least one", path);
    int32_t *l = icd_arena_alloc(a, npy.count, sizeof *l);
    if (!l)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu labels", path, npy.count);
    for (size_t i = 0; i < npy.count; i++) {
        double v = icd_npy_value(&npy, i);
        if (v < 0 || v >= INT32_MAX)
            return icd_fail(err, ICD_EFORMAT, "%s: label %zu is %.0f, wanted 0 or more (below 2^31 - 1)", path, i, v);
        l[i] = (int32_t)v;
    }
    *label = l;
    *n = (int)npy.count;
    return ICD_OK;
}

static icd_status load_labels(icd_arena *a, const char *path, const char *images, icd_images *out, icd_err *err)
{
    icd_arena file = { 0 };
    icd_bytes b;
    int32_t *label = NULL;
    int n = 0;
    icd_status s = icd_read_file(&file, path, &b, err);
    if (s == ICD_OK)
        s = b.n >= 6 && memcmp(b.p, "\x93NUMPY", 6) == 0 ? npy_labels(a, path, b, &label, &n, err)
                                                         : icd_parse_idx_labels(a, path, b, &label, &n, err);
    icd_arena_release(&file);
    ICD_TRY(s);
    if (n != out->n)
        return icd_fail(err, ICD_EFORMAT, "%s: %d labels, wanted %d, one for each image of %s", path, n, out->n, images);
    out->label = label;
    out->classes = 0;
    for (int i = 0; i < n; i++)
        if (label[i] >= out->classes)
            out->classes = label[i] + 1;
    return ICD_OK;
}

/* ---- a folder ---- */

static icd_status load_idx_folder(icd_arena *a, const char *images, const char *labels, icd_images *out, icd_err *err)
{
    icd_images s;
    ICD_TRY(load_images(a, images, &s, err));
    if (is_file(labels))
        ICD_TRY(load_labels(a, labels, images, &s, err));
    *out = s;
    return ICD_OK;
}

static icd_status read_batches(icd_arena *files, const char *folder, icd_bytes *bytes, icd_err *err)
{
    for (int i = 0; i < CIFAR_BATCHES; i++) {
        char path[PATH_BYTES], file[32];
        snprintf(file, sizeof file, "data_batch_%d.bin", i + 1);
        ICD_TRY(join(path, folder, file, err));
        ICD_TRY(icd_read_file(files, path, &bytes[i], err));
    }
    return ICD_OK;
}

/* The training batches one after another. One at a time is parsed, so that memory stays near that of the result. */
static icd_status join_batches(icd_arena *a, const char *folder, const icd_bytes *bytes, icd_images *out, icd_err *err)
{
    size_t n = 0;
    for (int i = 0; i < CIFAR_BATCHES; i++)
        n += bytes[i].n / CIFAR_RECORD;
    icd_images all = { .c = 3, .h = 32, .w = 32, .classes = 10 };
    size_t d = icd_image_size(&all);
    all.x = icd_arena_alloc(a, n, d * sizeof *all.x);
    all.label = icd_arena_alloc(a, n, sizeof *all.label);
    if (!all.x || !all.label || n > INT32_MAX)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu images", folder, n);
    icd_arena work = { 0 };
    icd_status s = ICD_OK;
    for (int i = 0; i < CIFAR_BATCHES && s == ICD_OK; i++) {
        char path[PATH_BYTES + 32];
        snprintf(path, sizeof path, "%s/data_batch_%d.bin", folder, i + 1);
        icd_images part;
        s = icd_parse_cifar(&work, path, bytes[i], &part, err);
        if (s == ICD_OK) {
            memcpy(all.x + (size_t)all.n * d, part.x, (size_t)part.n * d * sizeof *part.x);
            memcpy(all.label + all.n, part.label, (size_t)part.n * sizeof *part.label);
            all.n += part.n;
        }
        icd_arena_rewind(&work);
    }
    icd_arena_release(&work);
    if (s == ICD_OK)
        *out = all;
    return s;
}

static icd_status load_batches(icd_arena *a, const char *folder, icd_images *out, icd_err *err)
{
    icd_arena files = { 0 };
    icd_bytes bytes[CIFAR_BATCHES];
    icd_status s = read_batches(&files, folder, bytes, err);
    if (s == ICD_OK)
        s = join_batches(a, folder, bytes, out, err);
    icd_arena_release(&files);
    return s;
}

static icd_status load_folder(icd_arena *a, const char *folder, int test, icd_images *out, icd_err *err)
{
    static const char *const idx_images[] = { "train-images-idx3-ubyte", "t10k-images-idx3-ubyte" };
    static const char *const idx_labels[] = { "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte" };
    static const char *const cifar[] = { "data_batch_1.bin", "test_batch.bin" };
    char images[2][PATH_BYTES], labels[PATH_BYTES], batch[2][PATH_BYTES];
    ICD_TRY(join(labels, folder, idx_labels[test], err));
    for (int part = 0; part < 2; part++) {
        ICD_TRY(join(images[part], folder, idx_images[part], err));
        ICD_TRY(join(batch[part], folder, cifar[part], err));
    }
    if (is_file(images[test]))
        return load_idx_folder(a, images[test], labels, out, err);
    if (is_file(batch[test]))
        return test ? load_images(a, batch[1], out, err) : load_batches(a, folder, out, err);
    const char *hint = "";
    if (is_file(images[!test]) || is_file(batch[!test]))
        hint = test ? "; it has a training part, without `test:`" : "; it has a test part, as `test:FOLDER`";
    return icd_fail(err, ICD_EIO, "%s: a folder without data: looked for %s and for %s%s", folder, idx_images[test],
                    test ? cifar[1] : "data_batch_1.bin to data_batch_5.bin", hint);
}

/* ---- the whole spec ---- */

static icd_status load_files(icd_arena *a, const char *spec, icd_images *out, icd_err *err)
{
    const char *comma = strrchr(spec, ',');
    icd_images s;
    if (!comma || is_file(spec)) {
        ICD_TRY(load_images(a, spec, &s, err));
    } else {
        char path[PATH_BYTES];
        size_t n = (size_t)(comma - spec);
        if (n == 0 || n >= sizeof path || comma[1] == '\0')
            return icd_fail(err, ICD_EINVAL, "--data %.64s: wanted IMAGES,LABELS, each a file", spec);
        memcpy(path, spec, n);
        path[n] = '\0';
        ICD_TRY(load_images(a, path, &s, err));
        ICD_TRY(load_labels(a, comma + 1, path, &s, err));
    }
    *out = s;
    return ICD_OK;
}

icd_status icd_load_dataset(icd_arena *a, const char *spec, uint64_t seed, icd_images *out, icd_err *err)
{
    int digits = 0, gmm = 0, rings = 0;
    ICD_TRY(drawn_count(spec, "digits", &digits, err));
    ICD_TRY(drawn_count(spec, "gmm", &gmm, err));
    ICD_TRY(drawn_count(spec, "rings", &rings, err));
    if (digits > 0)
        return icd_digits(a, seed, digits, out, NULL, err);
    if (gmm > 0)
        return icd_gmm(a, seed, gmm, out, err);
    if (rings > 0)
        return icd_rings(a, seed, rings, out, err);
    if (spec[0] == '\0')
        return icd_fail(err, ICD_EINVAL, "--data: empty, wanted digits, gmm, rings, a file or a folder");
    if (strncmp(spec, "test:", 5) == 0) {
        if (!is_folder(spec + 5))
            return icd_fail(err, ICD_EIO, "--data %s: `%s` is not a folder, wanted test:FOLDER", spec, spec + 5);
        return load_folder(a, spec + 5, 1, out, err);
    }
    if (is_folder(spec))
        return load_folder(a, spec, 0, out, err);
    return load_files(a, spec, out, err);
}
