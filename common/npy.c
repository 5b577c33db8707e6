/* npy.c: NumPy's array files. A magic, a version, a Python dictionary as text, then the values. */
#include "formats.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

static int type_size(char type)
{
    switch (type) {
    case 'u': return 1;
    case 'f': case 'i': return 4;
    case 'd': case 'l': return 8;
    }
    assert(0 && "u, f, d, i or l");
    return 0;
}

/* ---- the header ---- */

typedef struct { const char *name; const unsigned char *p; size_t at, end; icd_err *err; } reader;

static icd_status wanted(const reader *r, const char *what)
{
    char there[20];
    icd_quote(there, sizeof there, r->p + r->at, r->end - r->at);
    return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu (npy header): `%s`, wanted %s", r->name, r->at, there, what);
}

static void skip_blanks(reader *r)
{
    while (r->at < r->end && (r->p[r->at] == ' ' || r->p[r->at] == '\t' || r->p[r->at] == '\n' || r->p[r->at] == '\r'))
        r->at++;
}

/* Blanks, then c: gone over if it is there. */
static int take(reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || r->p[r->at] != (unsigned char)c)
        return 0;
    r->at++;
    return 1;
}

static int take_word(reader *r, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(r);
    if (r->end - r->at < n || memcmp(r->p + r->at, word, n) != 0)
        return 0;
    r->at += n;
    return 1;
}

/* A quoted word of fewer than cap bytes, without escapes. */
static icd_status read_text(reader *r, const char *what, char *out, size_t cap)
{
    skip_blanks(r);
    reader start = *r;
    char quote = take(r, '\'') ? '\'' : take(r, '"') ? '"' : '\0';
    size_t n = 0;
    while (quote && r->at < r->end && r->p[r->at] != (unsigned char)quote && n + 1 < cap)
        out[n++] = (char)r->p[r->at++];
    out[n] = '\0';
    if (!quote || !take(r, quote))
        return wanted(&start, what);
    return ICD_OK;
}

static icd_status read_type(reader *r, icd_npy *out)
{
    static const struct { const char *descr; char type; } known[] =
        { { "u1", 'u' }, { "f4", 'f' }, { "f8", 'd' }, { "i4", 'i' }, { "i8", 'l' } };
    static const char what[] = "a descr of u1, f4, f8, i4 or i8 after `<`, `>` or `|`";
    skip_blanks(r);
    reader start = *r;
    char descr[8];
    ICD_TRY(read_text(r, what, descr, sizeof descr));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (descr[0] != '\0' && strchr(known[i].type == 'u' ? "|<>" : "<>", descr[0]) && strcmp(descr + 1, known[i].descr) == 0) {
            out->type = known[i].type;
            out->big_endian = descr[0] == '>';
            return ICD_OK;
        }
    return wanted(&start, what);
}

/* (), (3,), (3, 4), each number with or without the L of Python 2. */
static icd_status read_shape(reader *r, icd_npy *out)
{
    if (!take(r, '('))
        return wanted(r, "a shape in parentheses");
    int comma = 1;
    out->rank = 0;
    out->count = 1;
    while (!take(r, ')')) {
        if (out->rank == 8)
            return wanted(r, "`)`: at most 8 axes");
        if (!comma)
            return wanted(r, "`,` or `)`");
        reader start = *r;
        size_t v = 0, digits = 0;
        for (; r->at < r->end && r->p[r->at] >= '0' && r->p[r->at] <= '9'; r->at++, digits++) {
            size_t d = (size_t)(r->p[r->at] - '0');
            if (v > (SIZE_MAX - d) / 10)
                return wanted(&start, "a size that fits into memory");
            v = v * 10 + d;
        }
        if (digits == 0)
            return wanted(&start, "a whole number");
        if (r->at < r->end && r->p[r->at] == 'L')
            r->at++;
        if (v != 0 && out->count > SIZE_MAX / v)
            return wanted(&start, "a size whose product with the others fits into memory");
        out->shape[out->rank++] = v;
        out->count *= v;
        comma = take(r, ',');
    }
    return ICD_OK;
}

static icd_status read_header(reader *r, icd_npy *out)
{
    enum { DESCR = 1, FORTRAN = 2, SHAPE = 4, ALL = 7 };
    int seen = 0;
    if (!take(r, '{'))
        return wanted(r, "`{`");
    while (!take(r, '}')) {
        static const char what[] = "'descr', 'fortran_order' or 'shape', each once";
        skip_blanks(r);
        reader start = *r;
        char key[16];
        ICD_TRY(read_text(r, what, key, sizeof key));
        int field = strcmp(key, "descr") == 0 ? DESCR : strcmp(key, "fortran_order") == 0 ? FORTRAN
                  : strcmp(key, "shape") == 0 ? SHAPE : 0;
        if (field == 0 || (seen & field))
            return wanted(&start, what);
        seen |= field;
        if (!take(r, ':'))
            return wanted(r, "`:`");
        if (field == DESCR)
            ICD_TRY(read_type(r, out));
        else if (field == SHAPE)
            ICD_TRY(read_shape(r, out));
        else if (!take_word(r, "False"))
            return wanted(r, "False: only C order is read (numpy.ascontiguousarray makes it)");
        skip_blanks(r);
        if (!take(r, ',') && !(r->at < r->end && r->p[r->at] == '}'))
            return wanted(r, "`,` or `}`");
    }
    if (seen != ALL)
        return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu (npy header): no '%s'", r->name, r->at,
                        !(seen & DESCR) ? "descr" : !(seen & FORTRAN) ? "fortran_order" : "shape");
    skip_blanks(r);
    if (r->at != r->end)
        return wanted(r, "blanks to the header's end");
    return ICD_OK;
}

icd_status icd_parse_npy(const char *name, icd_bytes bytes, icd_npy *out, icd_err *err)
{
    if (bytes.n < 10 || memcmp(bytes.p, "\x93NUMPY", 6) != 0)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 0: not the magic \\x93NUMPY of an .npy file", name);
    int version = bytes.p[6];
    if (version < 1 || version > 3)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 6: npy version %d, wanted 1, 2 or 3", name, version);
    size_t start = version == 1 ? 10 : 12;
    if (bytes.n < start)
        return icd_fail(err, ICD_EFORMAT, "%s: ends at byte %zu, wanted the npy header's length of 4 bytes at byte 8", name, bytes.n);
    uint64_t length = icd_load_le(bytes.p + 8, version == 1 ? 2 : 4);
    if (length > bytes.n - start)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 8: an npy header of %" PRIu64 " bytes, but only %zu follow", name, length,
                        bytes.n - start);
    icd_npy a = { 0 };
    reader r = { name, bytes.p, start, start + (size_t)length, err };
    ICD_TRY(read_header(&r, &a));
    size_t size = (size_t)type_size(a.type), there = bytes.n - r.end;
    if (a.count > SIZE_MAX / size || there != a.count * size)
        return icd_fail(err, ICD_EFORMAT, "%s: %s: %zu bytes after the header, wanted %zu values of %zu bytes", name,
                        there / size < a.count ? "truncated" : "too long", there, a.count, size);
    a.data = bytes.p + r.end;
    *out = a;
    return ICD_OK;
}

/* ---- the values ---- */

double icd_npy_value(const icd_npy *a, size_t i)
{
    assert(i < a->count);
    int size = type_size(a->type);
    const unsigned char *p = a->data + i * (size_t)size;
    uint64_t u = a->big_endian ? icd_load_be(p, size) : icd_load_le(p, size);
    switch (a->type) {
    case 'f': return (double)icd_bits_to_float((uint32_t)u);
    case 'd': return icd_bits_to_double(u);
    case 'i': return u < UINT64_C(1) << 31 ? (double)u : (double)u - 4294967296.0;
    case 'l': return u < UINT64_C(1) << 63 ? (double)u : -(double)(~u) - 1.0;
    }
    return (double)u;
}

icd_status icd_npy_images(icd_arena *a, const char *name, const icd_npy *npy, icd_images *out, icd_err *err)
{
    if (npy->type != 'u' && npy->type != 'f' && npy->type != 'd')
        return icd_fail(err, ICD_EFORMAT, "%s: descr: integers of %d bytes, wanted images of uint8 or float32", name,
                        type_size(npy->type));
    if (npy->rank < 2 || npy->rank > 4)
        return icd_fail(err, ICD_EFORMAT, "%s: shape: %d axes, wanted (N,C,H,W), (N,H,W,C), (N,H,W) or (N,D)", name, npy->rank);
    for (int i = 0; i < npy->rank; i++)
        if (npy->shape[i] < 1 || npy->shape[i] > INT_MAX)
            return icd_fail(err, ICD_EFORMAT, "%s: shape: axis %d has size %zu, wanted 1 to %d", name, i, npy->shape[i], INT_MAX);
    const size_t *s = npy->shape;
    int last = npy->rank == 4 && (s[3] == 1 || s[3] == 3) && s[1] != 1 && s[1] != 3;      /* channels last */
    size_t c = last ? s[3] : npy->rank == 3 ? 1 : s[1];
    size_t h = last ? s[1] : npy->rank == 3 ? s[1] : npy->rank == 2 ? 1 : s[2];
    size_t w = last ? s[2] : npy->rank == 3 ? s[2] : npy->rank == 2 ? 1 : s[3];
    float *x = icd_arena_alloc(a, npy->count, sizeof *x);
    if (!x)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu values", name, npy->count);
    for (size_t i = 0; i < npy->count; i++) {
        double v = icd_npy_value(npy, i);
        float f = npy->type == 'u' ? (float)v / 255.0f : fabs(v) <= (double)FLT_MAX ? (float)v : NAN;
        if (!isfinite(f))
            return icd_fail(err, ICD_ENAN, "%s: value %zu is %g, wanted finite float32 numbers", name, i, v);
        size_t to = i;
        if (last) {
            size_t channel = i % c, pixel = i / c % (h * w), image = i / (c * h * w);
            to = (image * c + channel) * h * w + pixel;
        }
        x[to] = f;
    }
    *out = (icd_images){ .n = (int)s[0], .c = (int)c, .h = (int)h, .w = (int)w, .x = x };
    return ICD_OK;
}

icd_status icd_write_npy(const char *path, char type, int rank, const size_t *shape, const void *data, icd_err *err)
{
    assert(rank >= 0 && rank <= 8 && strchr("fdul", type));
    enum { ALIGN = 64, PREFIX = 10 };
    char header[PREFIX + 502];                       /* 8 sizes of 20 digits take 176; a multiple of ALIGN in all */
    size_t n = PREFIX, count = 1, room = sizeof header;
    n += (size_t)snprintf(header + n, room - n, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                          type == 'u' ? "|u1" : type == 'f' ? "<f4" : type == 'd' ? "<f8" : "<i8");
    for (int i = 0; i < rank; i++) {
        n += (size_t)snprintf(header + n, room - n, i + 1 < rank ? "%zu, " : rank == 1 ? "%zu," : "%zu", shape[i]);
        count *= shape[i];
    }
    n += (size_t)snprintf(header + n, room - n, "), }");
    while ((n + 1) % ALIGN != 0)
        header[n++] = ' ';
    header[n++] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    unsigned char length[2];
    icd_store_le(length, n - PREFIX, 2);
    memcpy(header + 8, length, 2);

    icd_writer w;
    ICD_TRY(icd_writer_open(&w, path, err));
    ICD_TRY(icd_writer_put(&w, header, n, err));
    ICD_TRY(icd_writer_put_le(&w, data, count, type_size(type), err));
    return icd_writer_commit(&w, err);
}
