/* IDX, CIFAR, npy, PNG: bytes written out by hand, every way to cut them short, and one line for each fault.
 * With ICD_ORACLE_DIR (tests/check_formats.sh) it reads there what Python wrote and writes what Python will read. */
#include "common/formats.h"
#include "tests/tempdir.h"
#include "tests/test.h"

#include <math.h>

static icd_err err;

/* A heap copy of exactly n bytes, so that a sanitizer sees any reading beyond. */
static icd_bytes exact(const void *p, size_t n)
{
    unsigned char *q = malloc(n ? n : 1);
    if (n && q)
        memcpy(q, p, n);
    return (icd_bytes){ q, n };
}

static int one_line(const char *s) { return s[0] != '\0' && strchr(s, '\n') == NULL; }

/* ---- IDX ---- */

static const unsigned char idx_images[] = { 0, 0, 8, 3,  0, 0, 0, 2,  0, 0, 0, 2,  0, 0, 0, 3,
                                            0, 51, 102, 153, 204, 255,  255, 0, 255, 0, 255, 0 };
static const unsigned char idx_labels[] = { 0, 0, 8, 1,  0, 0, 0, 3,  7, 0, 26 };

/* Parses a copy with byte `at` set to v (at < 0: none), cut or extended to n bytes. */
static icd_status idx_changed(const unsigned char *p, size_t whole, int labels, int at, int v, size_t n)
{
    icd_arena a = { 0 };
    icd_images s = { .n = -1 };
    int32_t *label = NULL;
    int count = -1;
    unsigned char bytes[64] = { 0 };
    memcpy(bytes, p, whole);
    if (at >= 0)
        bytes[at] = (unsigned char)v;
    icd_bytes b = exact(bytes, n);
    err.text[0] = '\0';
    icd_status status = labels ? icd_parse_idx_labels(&a, "L", b, &label, &count, &err)
                               : icd_parse_idx_images(&a, "I", b, &s, &err);
    CHECK(status == ICD_OK || (s.n == -1 && label == NULL && count == -1 && one_line(err.text)));
    free((void *)b.p);
    icd_arena_release(&a);
    return status;
}

TEST(idx_by_hand)
{
    icd_arena a = { 0 };
    icd_images s;
    int32_t *label;
    int n;
    CHECK_OK(icd_parse_idx_images(&a, "I", (icd_bytes){ idx_images, sizeof idx_images }, &s, &err));
    CHECK(s.n == 2 && s.c == 1 && s.h == 2 && s.w == 3 && !s.label && s.classes == 0);
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(s.x[i], i / 5.0, 1e-7);
    CHECK(s.x[6] == 1.0f && s.x[7] == 0.0f && s.x[11] == 0.0f);
    CHECK_OK(icd_parse_idx_labels(&a, "L", (icd_bytes){ idx_labels, sizeof idx_labels }, &label, &n, &err));
    CHECK(n == 3 && label[0] == 7 && label[1] == 0 && label[2] == 26);
    icd_arena_release(&a);
}

TEST(idx_refuses)
{
    for (size_t n = 0; n < sizeof idx_images; n++)
        CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, -1, 0, n), ICD_EFORMAT);
    for (size_t n = 0; n < sizeof idx_labels; n++)
        CHECK_EQ(idx_changed(idx_labels, sizeof idx_labels, 1, -1, 0, n), ICD_EFORMAT);
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, -1, 0, sizeof idx_images), ICD_OK);
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, -1, 0, sizeof idx_images + 1), ICD_EFORMAT);
    CHECK_SAYS(err.text, "I: too long: 13 bytes after the header, wanted 12");
    CHECK_EQ(idx_changed(idx_labels, sizeof idx_labels, 1, -1, 0, sizeof idx_labels + 1), ICD_EFORMAT);
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, -1, 0, sizeof idx_images - 1), ICD_EFORMAT);
    CHECK_SAYS(err.text, "I: truncated: 11 bytes after the header, wanted 12");
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, 3, 1, sizeof idx_images), ICD_EFORMAT);
    CHECK_SAYS(err.text, "I: byte 0: magic 0x00000801, wanted 0x00000803");
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, 7, 0, sizeof idx_images), ICD_EFORMAT);
    CHECK_SAYS(err.text, "byte 4: number of items is 0");
    CHECK_EQ(idx_changed(idx_images, sizeof idx_images, 0, 12, 0x80, sizeof idx_images), ICD_EFORMAT);
    CHECK_SAYS(err.text, "byte 12: number of columns is 2147483651");
    CHECK_EQ(idx_changed(idx_labels, sizeof idx_labels, 1, 3, 3, sizeof idx_labels), ICD_EFORMAT);
    CHECK_SAYS(err.text, "L: byte 0: magic 0x00000803, wanted 0x00000801");
}

TEST(idx_sizes_that_overflow)
{
    /* 2^31-1 cubed is beyond 64 bits; 0x55555556 * 3 * 4 = 2^34 + 8, 2^32 times more than 8 in 32 bits. */
    const unsigned char cubed[] = { 0, 0, 8, 3,  0x7f, 255, 255, 255,  0x7f, 255, 255, 255,  0x7f, 255, 255, 255, 1 };
    const unsigned char wraps[] = { 0, 0, 8, 3,  0x55, 0x55, 0x55, 0x56,  0, 0, 0, 3,  0, 0, 0, 4,  1, 2, 3, 4, 5, 6, 7, 8 };
    CHECK_EQ(idx_changed(cubed, sizeof cubed, 0, -1, 0, sizeof cubed), ICD_EFORMAT);
    CHECK_SAYS(err.text, "the sizes' product overflows");
    CHECK_EQ(idx_changed(wraps, sizeof wraps, 0, -1, 0, sizeof wraps), ICD_EFORMAT);
    CHECK_SAYS(err.text, "wanted 17179869192");
}

/* ---- CIFAR ---- */

enum { RECORD = 3073 };

TEST(cifar_by_hand)
{
    static unsigned char two[2 * RECORD];
    icd_arena a = { 0 };
    icd_images s = { 0 };
    two[0] = 9;
    two[1 + 1024 + 33] = 255;                /* first image: green, row 1, column 1 */
    two[RECORD] = 3;
    two[RECORD + 1 + 2048 + 1023] = 51;      /* second image: blue, last pixel */
    CHECK_OK(icd_parse_cifar(&a, "C", (icd_bytes){ two, sizeof two }, &s, &err));
    CHECK(s.n == 2 && s.c == 3 && s.h == 32 && s.w == 32 && s.classes == 10 && s.label[0] == 9 && s.label[1] == 3);
    float sum = 0;
    for (int i = 0; i < 2 * 3072; i++)
        sum += s.x[i];
    CHECK_NEAR(sum, 1.2, 1e-6);
    CHECK(s.x[(1 * 32 + 1) * 32 + 1] == 1.0f);
    CHECK_NEAR(s.x[3072 + (2 * 32 + 31) * 32 + 31], 0.2, 1e-7);
    icd_arena_release(&a);
}

TEST(cifar_refuses)
{
    static unsigned char two[2 * RECORD + 1];
    const size_t bad[] = { 0, 1, RECORD - 1, RECORD + 1, 2 * RECORD - 1, 2 * RECORD + 1 };
    icd_arena a = { 0 };
    icd_images s = { .n = -1 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        icd_bytes b = exact(two, bad[i]);
        CHECK_EQ(icd_parse_cifar(&a, "C", b, &s, &err), ICD_EFORMAT);
        CHECK_SAYS(err.text, "wanted a whole number of CIFAR records of 3073 bytes");
        free((void *)b.p);
    }
    two[RECORD] = 10;
    CHECK_EQ(icd_parse_cifar(&a, "C", (icd_bytes){ two, 2 * RECORD }, &s, &err), ICD_EFORMAT);
    CHECK_SAYS(err.text, "C: byte 3073: label 10 of image 1, wanted 0 to 9");
    CHECK_EQ(s.n, -1);
    icd_arena_release(&a);
}

/* ---- npy ---- */

/* Magic, version, length, the header text, `n` bytes of data. */
static icd_bytes npy_bytes(int version, const char *header, const void *data, size_t n)
{
    unsigned char b[1024] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 0, 0 };
    size_t at = version == 1 ? 10 : 12, length = strlen(header);
    b[6] = (unsigned char)version;
    icd_store_le(b + 8, length, (int)at - 8);
    memcpy(b + at, header, length);
    if (n > 0)
        memcpy(b + at + length, data, n);
    return exact(b, at + length + n);
}

static icd_status npy_parse(int version, const char *header, const void *data, size_t n, icd_npy *out)
{
    icd_bytes b = npy_bytes(version, header, data, n);
    err.text[0] = '\0';
    icd_status s = icd_parse_npy("A", b, out, &err);
    out->data = NULL;
    CHECK(s == ICD_OK || one_line(err.text));
    free((void *)b.p);
    return s;
}

#define NPY(descr, shape) "{'descr': '" descr "', 'fortran_order': False, 'shape': " shape ", }     \n"

TEST(npy_every_type_and_order)
{
    static const struct { const char *header; const char *data; size_t n; char type; double first, second; } c[] = {
        { NPY("|u1", "(2,)"), "\0\xff", 2, 'u', 0, 255 },
        { NPY("<u1", "(2,)"), "\1\x80", 2, 'u', 1, 128 },
        { NPY("<f4", "(2,)"), "\0\0\x20\xc0\0\0\x80\x3f", 8, 'f', -2.5, 1 },
        { NPY(">f4", "(2,)"), "\xc0\x20\0\0\x3f\x80\0\0", 8, 'f', -2.5, 1 },
        { NPY("<f8", "(2,)"), "\0\0\0\0\0\0\4\xc0\0\0\0\0\0\0\xf0\x3f", 16, 'd', -2.5, 1 },
        { NPY(">f8", "(2,)"), "\xc0\4\0\0\0\0\0\0\x3f\xf0\0\0\0\0\0\0", 16, 'd', -2.5, 1 },
        { NPY("<i4", "(2,)"), "\xfe\xff\xff\xff\0\1\0\0", 8, 'i', -2, 256 },
        { NPY(">i4", "(2,)"), "\x80\0\0\0\x7f\xff\xff\xff", 8, 'i', -2147483648.0, 2147483647 },
        { NPY("<i8", "(2,)"), "\xfe\xff\xff\xff\xff\xff\xff\xff\0\1\0\0\0\0\0\0", 16, 'l', -2, 256 },
        { NPY(">i8", "(2,)"), "\x80\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0", 16, 'l', -9223372036854775808.0, 4294967296.0 } };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
        for (int version = 1; version <= 3; version++) {
            icd_npy a = { 0 };
            icd_bytes b = npy_bytes(version, c[i].header, c[i].data, c[i].n);
            CHECK_OK(icd_parse_npy("A", b, &a, &err));
            CHECK(a.type == c[i].type && a.rank == 1 && a.shape[0] == 2 && a.count == 2);
            CHECK_EQ(icd_npy_value(&a, 0), c[i].first);
            CHECK_EQ(icd_npy_value(&a, 1), c[i].second);
            for (size_t cut = 0; cut < b.n; cut++) {
                icd_bytes less = exact(b.p, cut);
                CHECK_EQ(icd_parse_npy("A", less, &a, &err), ICD_EFORMAT);
                free((void *)less.p);
            }
            free((void *)b.p);
        }
}

TEST(npy_headers_in_other_words)
{
    icd_npy a;
    CHECK_OK(npy_parse(1, "{'shape':(),\"fortran_order\":False,'descr':'|u1'}", "x", 1, &a));
    CHECK(a.rank == 0 && a.count == 1);
    CHECK_OK(npy_parse(1, NPY("|u1", "(2L, 3L)"), "abcdef", 6, &a));
    CHECK(a.rank == 2 && a.shape[0] == 2 && a.shape[1] == 3);
    CHECK_OK(npy_parse(1, NPY("|u1", "(1,1,1,1,1,1,1,2)"), "ab", 2, &a));
    CHECK_EQ(a.rank, 8);
    CHECK_OK(npy_parse(1, NPY("<f8", "(3, 0, 5)"), "", 0, &a));
    CHECK(a.rank == 3 && a.count == 0);
}

TEST(npy_refuses)
{
    static const struct { const char *header; size_t n; const char *says; } c[] = {
        { NPY("<f2", "(1,)"), 2, "wanted a descr of u1, f4, f8, i4 or i8" },
        { NPY("=f4", "(1,)"), 4, "wanted a descr" },
        { NPY("|f4", "(1,)"), 4, "wanted a descr" },
        { NPY("<f4 and more", "(1,)"), 4, "wanted a descr" },
        { NPY("", "(1,)"), 4, "wanted a descr" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "wanted a descr" },
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4, "only C order is read" },
        { "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, "only C order is read" },
        { "{'descr': '<f4', 'shape': (1,), }", 4, "no 'fortran_order'" },
        { "{'fortran_order': False, 'shape': (1,), }", 4, "no 'descr'" },
        { "{'descr': '<f4', 'fortran_order': False}", 4, "no 'shape'" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "each once" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, "each once" },
        { "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", 4, "wanted `,` or `}`" },
        { "{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "wanted `:`" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, "blanks to the header's end" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, "wanted `,` or `}`" },
        { "", 4, "wanted `{`" },
        { NPY("<f4", "1"), 4, "a shape in parentheses" },
        { NPY("<f4", "(1.0,)"), 4, "wanted `,` or `)`" },
        { NPY("<f4", "(-1,)"), 4, "a whole number" },
        { NPY("<f4", "(nan,)"), 4, "a whole number" },
        { NPY("<f4", "(1 2)"), 8, "wanted `,` or `)`" },
        { NPY("<f4", "(1,,2)"), 8, "a whole number" },
        { NPY("<f4", "(1,"), 4, "a whole number" },
        { NPY("<f4", "(1,1,1,1,1,1,1,1,1)"), 4, "at most 8 axes" },
        { NPY("<f4", "(99999999999999999999,)"), 4, "a size that fits into memory" },
        { NPY("<f4", "(4294967296,4294967296,4294967297)"), 4, "fits into memory" },
        { NPY("<f4", "(4294967295,4294967295,4294967295,0)"), 0, "fits into memory" },
        { NPY("<f8", "(4611686018427387904,)"), 0, sizeof(size_t) == 8 ? "wanted 4611686018427387904 values" : "fits into memory" },
        { NPY("<f4", "(2,)"), 7, "A: truncated: 7 bytes after the header, wanted 2 values of 4 bytes" },
        { NPY("<f4", "(2,)"), 9, "A: too long: 9 bytes after the header, wanted 2 values of 4 bytes" } };
    static const char zeros[16];
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        icd_npy a = { .rank = -1 };
        CHECK_EQ(npy_parse(2, c[i].header, zeros, c[i].n, &a), ICD_EFORMAT);
        CHECK_SAYS(err.text, c[i].says);
        CHECK_EQ(a.rank, -1);
    }
    icd_npy a;
    CHECK_EQ(npy_parse(4, NPY("|u1", "(1,)"), "x", 1, &a), ICD_EFORMAT);
    CHECK_SAYS(err.text, "byte 6: npy version 4");
    CHECK_EQ(icd_parse_npy("A", (icd_bytes){ (const unsigned char *)"\x93NUMPY\1\0\xff\xff{", 11 }, &a, &err), ICD_EFORMAT);
    CHECK_SAYS(err.text, "byte 8: an npy header of 65535 bytes, but only 1 follow");
    CHECK_EQ(icd_parse_npy("A", (icd_bytes){ (const unsigned char *)"PK\3\4zip file", 12 }, &a, &err), ICD_EFORMAT);
    CHECK_SAYS(err.text, "not the magic");
}

static icd_status images_of(icd_arena *a, const char *header, const void *data, size_t n, icd_images *out)
{
    icd_npy npy = { 0 };
    icd_bytes b = npy_bytes(1, header, data, n);
    icd_status s = icd_parse_npy("A", b, &npy, &err);
    if (s == ICD_OK)
        s = icd_npy_images(a, "A", &npy, out, &err);
    free((void *)b.p);
    return s;
}

TEST(npy_images_in_either_layout)
{
    icd_arena a = { 0 };
    icd_images s;
    unsigned char v[96];
    for (int i = 0; i < 96; i++)
        v[i] = (unsigned char)i;
    CHECK_OK(images_of(&a, NPY("|u1", "(2,3,4,4)"), v, 96, &s));             /* channels first */
    CHECK(s.n == 2 && s.c == 3 && s.h == 4 && s.w == 4 && s.x[50] == test_level(50) && !s.label);
    CHECK_OK(images_of(&a, NPY("|u1", "(2,4,4,3)"), v, 96, &s));             /* last: (n,y,x,c) = ((n*4+y)*4+x)*3+c */
    CHECK(s.n == 2 && s.c == 3 && s.h == 4 && s.w == 4);
    CHECK(s.x[((1 * 3 + 2) * 4 + 1) * 4 + 3] == test_level(((1 * 4 + 1) * 4 + 3) * 3 + 2));
    CHECK(s.x[((0 * 3 + 1) * 4 + 2) * 4 + 0] == test_level(((0 * 4 + 2) * 4 + 0) * 3 + 1));
    CHECK_OK(images_of(&a, NPY("|u1", "(2,8,6,1)"), v, 96, &s));
    CHECK(s.n == 2 && s.c == 1 && s.h == 8 && s.w == 6 && s.x[95] == test_level(95));
    CHECK_OK(images_of(&a, NPY("|u1", "(2,1,16,3)"), v, 96, &s));            /* both fit: channels first */
    CHECK(s.c == 1 && s.h == 16 && s.w == 3);
    CHECK_OK(images_of(&a, NPY("|u1", "(4,2,12,1)"), v, 96, &s));            /* two rows, not two channels */
    CHECK(s.c == 1 && s.h == 2 && s.w == 12);
    CHECK_OK(images_of(&a, NPY("|u1", "(2,6,8)"), v, 96, &s));
    CHECK(s.n == 2 && s.c == 1 && s.h == 6 && s.w == 8);
    CHECK_OK(images_of(&a, NPY("|u1", "(48,2)"), v, 96, &s));
    CHECK(s.n == 48 && s.c == 2 && s.h == 1 && s.w == 1 && s.x[1] == test_level(1));
    CHECK_OK(images_of(&a, NPY(">f4", "(1,2)"), "\xc0\x20\0\0\x3f\x80\0\0", 8, &s));
    CHECK(s.x[0] == -2.5f && s.x[1] == 1.0f);
    CHECK_OK(images_of(&a, NPY("<f8", "(1,1)"), "\0\0\0\0\0\0\4\xc0", 8, &s));
    CHECK(s.x[0] == -2.5f);
    icd_arena_release(&a);
}

TEST(npy_images_refuses)
{
    static const struct { const char *header, *data; size_t n; icd_status status; const char *says; } c[] = {
        { NPY("<i4", "(1,1)"), "\0\0\0\0", 4, ICD_EFORMAT, "integers of 4 bytes" },
        { NPY("<i8", "(1,1)"), "\0\0\0\0\0\0\0\0", 8, ICD_EFORMAT, "integers of 8 bytes" },
        { NPY("|u1", "(3,)"), "abc", 3, ICD_EFORMAT, "1 axes" },
        { NPY("|u1", "(1,1,1,1,3)"), "abc", 3, ICD_EFORMAT, "5 axes" },
        { NPY("|u1", "(0,3,4,4)"), "", 0, ICD_EFORMAT, "axis 0 has size 0" },
        { NPY("|u1", "(3,0)"), "", 0, ICD_EFORMAT, "axis 1 has size 0" },
        { NPY("<f4", "(1,2)"), "\0\0\0\0\0\0\xc0\x7f", 8, ICD_ENAN, "A: value 1 is nan" },
        { NPY("<f4", "(1,2)"), "\0\0\x80\xff\0\0\0\0", 8, ICD_ENAN, "A: value 0 is -inf" },
        { NPY(">f4", "(1,2,1,1)"), "\0\0\0\0\x7f\x80\0\0", 8, ICD_ENAN, "A: value 1 is inf" },
        { NPY(">f8", "(1,1)"), "\x48\0\0\0\0\0\0\0", 8, ICD_ENAN, "A: value 0 is 6.8" } };       /* 2^129 */
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        icd_arena a = { 0 };
        icd_images s = { .n = -1 };
        CHECK_EQ(images_of(&a, c[i].header, c[i].data, c[i].n, &s), c[i].status);
        CHECK_SAYS(err.text, c[i].says);
        CHECK_EQ(s.n, -1);
        icd_arena_release(&a);
    }
}

TEST(npy_written_bytes)
{
    const float v[] = { -2.5f, 1 };
    const size_t shape[] = { 1, 2 };
    char want[128 + 8];
    memset(want, ' ', 128);
    memcpy(want, "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", 10 + 59);
    want[127] = '\n';
    memcpy(want + 128, "\0\0\x20\xc0\0\0\x80\x3f", 8);
    CHECK_OK(icd_write_npy(temp_path("a.npy"), 'f', 2, shape, v, &err));
    CHECK(temp_is(temp_path("a.npy"), want, sizeof want));
}

TEST(npy_what_is_written_reads_back)
{
    const uint8_t u[] = { 1, 2, 255 };
    const double d[] = { 1e300, -0.1, 3 };
    const int64_t l[] = { INT64_MIN, 5, -1 };
    const struct { char type; const void *p; double last; } c[] = { { 'u', u, 255 }, { 'd', d, 3 }, { 'l', l, -1 } };
    size_t shape[8] = { 1, 1, 1, 3, 1, 1, 1, 1 };
    for (int i = 0; i < 3; i++) {
        icd_npy a;
        icd_bytes b;
        CHECK_OK(icd_write_npy(temp_path("b.npy"), c[i].type, 8, shape, c[i].p, &err));
        b.p = temp_read(temp_path("b.npy"), &b.n);
        CHECK_OK(icd_parse_npy("b", b, &a, &err));
        CHECK(a.rank == 8 && a.count == 3 && a.shape[3] == 3 && a.type == c[i].type);
        CHECK_EQ(icd_npy_value(&a, 2), c[i].last);
        free((void *)b.p);
    }
    CHECK_EQ(icd_write_npy(temp_path("none/b.npy"), 'u', 8, shape, u, &err), ICD_EIO);
    CHECK_SAYS(err.text, "cannot be written");
}

/* ---- pictures ---- */

static float grid_x[2 * 3 * 40 * 50];

/* n images of values (37 i mod 101)/100, one below 0, one above 1 and one NaN among them. */
static icd_images grid_images(int n, int c, int h, int w)
{
    icd_images s = { .n = n, .c = c, .h = h, .w = w, .x = grid_x };
    for (size_t i = 0; i < (size_t)n * icd_image_size(&s); i++)
        grid_x[i] = (float)(37 * i % 101) / 100.0f;
    grid_x[0] = -0.5f;
    grid_x[1] = 1.5f;
    grid_x[2] = NAN;
    return s;
}

static uint64_t hash_of(const char *path)    /* FNV-1a, 64 bits */
{
    size_t n = 0;
    unsigned char *p = temp_read(path, &n);
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; p && i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    free(p);
    return h;
}

/* Noise, runs of every length to 600, and flat colour: what the compressor has to get right. */
static void write_stripes(const char *path)
{
    enum { W = 601, H = 300 };
    static uint8_t px[W * H * 3];
    uint32_t r = 1;
    for (int y = 0; y < H; y++)
        for (int i = 0; i < W * 3; i++)
            px[y * W * 3 + i] = (uint8_t)(y < 100 ? (r = r * 1664525u + 1013904223u) >> 24
                                          : y < 200 ? (uint32_t)(i < 5 * y ? 200 : 17 * i) : (uint32_t)y / 3);
    CHECK_OK(icd_write_png(path, W, H, 3, px, &err));
}

static void write_pictures(const char *folder)
{
    char path[1024];
    const uint8_t one = 77;
    static const float points[] = { 0, 0,  1, 1,  0.5f, 0.25f,  0.5f, 0.25f,  -0.1f, 0.5f,  NAN, 0.5f };
    icd_images cloud = { .n = 6, .c = 2, .h = 1, .w = 1, .x = (float *)points }, s = grid_images(7, 1, 5, 6);
    snprintf(path, sizeof path, "%s/grey.png", folder);
    CHECK_OK(icd_write_grid(path, &s, 0, 2, &err));
    s = grid_images(2, 3, 40, 50);
    snprintf(path, sizeof path, "%s/colour.png", folder);
    CHECK_OK(icd_write_grid(path, &s, 5, 3, &err));
    snprintf(path, sizeof path, "%s/points.png", folder);
    CHECK_OK(icd_write_grid(path, &cloud, 0, 1, &err));
    snprintf(path, sizeof path, "%s/one.png", folder);
    CHECK_OK(icd_write_png(path, 1, 1, 1, &one, &err));
    snprintf(path, sizeof path, "%s/stripes.png", folder);
    write_stripes(path);
}

TEST(png_of_one_pixel_by_hand)
{
    /* zlib 78 01; block header 011 and the codes of 0 (00110000), 77 (01111101), end (0000000), bits from the lowest;
     * Adler-32 of { 0, 77 }: a = 1 + 77 = 78, b = 1 + 78 = 79. */
    static const unsigned char want[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n',
        0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55,
        0, 0, 0, 10, 'I', 'D', 'A', 'T', 0x78, 1, 0x63, 0xf0, 5, 0, 0, 0x4f, 0, 0x4e };
    const uint8_t px = 77;
    size_t n = 0;
    CHECK_OK(icd_write_png(temp_path("one.png"), 1, 1, 1, &px, &err));
    unsigned char *p = temp_read(temp_path("one.png"), &n);
    CHECK(n == sizeof want + 4 + 12 && memcmp(p, want, sizeof want) == 0);
    CHECK(n > 12 && memcmp(p + n - 12, "\0\0\0\0IEND\xae\x42\x60\x82", 12) == 0);
    free(p);
}

/* The hashes of files that tests/check_formats.sh has had decoded by Python: the same bytes on every machine. */
TEST(pictures_are_the_ones_that_were_decoded)
{
    static const struct { const char *name; uint64_t hash; } c[] = {
        { "grey.png", UINT64_C(0xeafd2813985c57de) }, { "colour.png", UINT64_C(0xa3b33e8b06e6eadb) },
        { "points.png", UINT64_C(0xe67e060561c37e62) }, { "stripes.png", UINT64_C(0x7db736058c6d3f62) } };
    temp_path("x");
    write_pictures(temp_folder);
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        uint64_t there = hash_of(temp_path("%s", c[i].name));
        if (there != c[i].hash)
            printf("%s: hash 0x%016llx\n", c[i].name, (unsigned long long)there);
        CHECK(there == c[i].hash);
    }
}

TEST(pictures_that_cannot_be)
{
    icd_images s = grid_images(2, 3, 2, 2);
    s.c = 2;
    CHECK_EQ(icd_write_grid(temp_path("no.png"), &s, 0, 1, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "images of 2 channels, wanted 1 or 3");
    s.c = 3;
    CHECK_EQ(icd_write_grid(temp_path("no.png"), &s, 0, 100000, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "too large for a picture");
    CHECK_EQ(icd_write_png(temp_path("no.png"), 100000, 100000, 1, NULL, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "too many for one PNG");
    CHECK(access(temp_path("no.png"), F_OK) != 0);
    CHECK_EQ(icd_write_grid(temp_path("none/no.png"), &s, 0, 1, &err), ICD_EIO);
    CHECK_SAYS(err.text, "no.png: cannot be written");
}

TEST(memory_running_out_is_said)
{
    static unsigned char record[RECORD];
    const char pair[] = NPY("|u1", "(1,2)");
    icd_images grey = grid_images(2, 1, 3, 3);
    size_t live = icd_alloc_live();
    for (int what = 0; what < 5; what++)
        for (long n = 1; ; n++) {
            icd_arena a = { 0 };
            icd_images s;
            int32_t *label;
            int count;
            icd_alloc_fail_at(n);
            icd_status status = what == 0 ? icd_parse_idx_images(&a, "I", (icd_bytes){ idx_images, sizeof idx_images }, &s, &err)
                : what == 1 ? icd_parse_idx_labels(&a, "L", (icd_bytes){ idx_labels, sizeof idx_labels }, &label, &count, &err)
                : what == 2 ? icd_parse_cifar(&a, "C", (icd_bytes){ record, RECORD }, &s, &err)
                : what == 3 ? images_of(&a, pair, "ab", 2, &s) : icd_write_grid(temp_path("m.png"), &grey, 0, 1, &err);
            icd_alloc_fail_at(0);
            icd_arena_release(&a);
            CHECK(icd_alloc_live() == live);
            if (status == ICD_OK) {
                CHECK(n > 1);
                break;
            }
            CHECK_EQ(status, ICD_ENOMEM);
            if (status != ICD_ENOMEM)
                break;
            CHECK_SAYS(err.text, "no memory for");
        }
}

/* ---- with Python on the other side ---- */

static icd_bytes oracle_file(const char *name)
{
    char path[1024];
    icd_bytes b = { NULL, 0 };
    snprintf(path, sizeof path, "%s/%s", getenv("ICD_ORACLE_DIR"), name);
    b.p = temp_read(path, &b.n);
    if (!b.p) {
        test_failures++;
        printf("%s is missing\n", path);
    }
    return b;
}

/* Every array holds 5, -3 (253 in uint8), 1, ... : value i is (7 i + 5) mod 11 - 8 i mod 4 of shape (2,3,4). */
TEST(npy_written_by_numpy)
{
    static const char *const names[] = { "u1", "lf4", "bf4", "lf8", "bf8", "li4", "bi4", "li8", "bi8", "v2", "v3" };
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        char file[32];
        icd_npy a;
        snprintf(file, sizeof file, "in-%s.npy", names[k]);
        icd_bytes b = oracle_file(file);
        if (!b.p)
            continue;
        CHECK_OK(icd_parse_npy(file, b, &a, &err));
        CHECK(a.rank == 3 && a.shape[0] == 2 && a.shape[1] == 3 && a.shape[2] == 4 && a.count == 24);
        for (int i = 0; i < 24; i++) {
            int v = (7 * i + 5) % 11 - 8 * (i % 4);
            CHECK_EQ(icd_npy_value(&a, (size_t)i), a.type == 'u' ? v & 255 : v);
        }
        free((void *)b.p);
    }
}

TEST(npy_of_fortran_is_refused)
{
    static const char *const names[] = { "in-fortran.npy", "in-half.npy", "in-bool.npy", "in-struct.npy" };
    for (int k = 0; k < 4; k++) {
        icd_npy a;
        icd_bytes b = oracle_file(names[k]);
        if (!b.p)
            continue;
        CHECK_EQ(icd_parse_npy(names[k], b, &a, &err), ICD_EFORMAT);
        CHECK_SAYS(err.text, k == 0 ? "only C order is read" : "wanted a descr");
        free((void *)b.p);
    }
}

TEST(files_for_python)
{
    const size_t shape[] = { 2, 3 }, none[] = { 0, 4 }, *scalar = NULL;
    const float f[] = { -2.5f, 0.1f, 1e-38f, 3, 4, 5 };
    const double d[] = { -2.5, 0.1, 1e-300, 3, 4, 5 };
    const uint8_t u[] = { 0, 1, 2, 127, 128, 255 };
    const int64_t l[] = { INT64_MIN, -1, 0, 1, 1000000007, INT64_MAX };
    char path[1024];
    const char *folder = getenv("ICD_ORACLE_DIR");
    write_pictures(folder);
    snprintf(path, sizeof path, "%s/out-f.npy", folder);
    CHECK_OK(icd_write_npy(path, 'f', 2, shape, f, &err));
    snprintf(path, sizeof path, "%s/out-d.npy", folder);
    CHECK_OK(icd_write_npy(path, 'd', 2, shape, d, &err));
    snprintf(path, sizeof path, "%s/out-u.npy", folder);
    CHECK_OK(icd_write_npy(path, 'u', 2, shape, u, &err));
    snprintf(path, sizeof path, "%s/out-l.npy", folder);
    CHECK_OK(icd_write_npy(path, 'l', 2, shape, l, &err));
    snprintf(path, sizeof path, "%s/out-none.npy", folder);
    CHECK_OK(icd_write_npy(path, 'f', 2, none, f, &err));
    snprintf(path, sizeof path, "%s/out-one.npy", folder);
    CHECK_OK(icd_write_npy(path, 'd', 1, shape, d, &err));
    snprintf(path, sizeof path, "%s/out-scalar.npy", folder);
    CHECK_OK(icd_write_npy(path, 'd', 0, scalar, d, &err));
}

int main(int argc, char **argv)
{
    static const test_case all[] = {
        T(idx_by_hand), T(idx_refuses), T(idx_sizes_that_overflow), T(cifar_by_hand), T(cifar_refuses),
        T(npy_every_type_and_order), T(npy_headers_in_other_words), T(npy_refuses), T(npy_images_in_either_layout),
        T(npy_images_refuses), T(npy_written_bytes), T(npy_what_is_written_reads_back), T(png_of_one_pixel_by_hand),
        T(pictures_are_the_ones_that_were_decoded), T(pictures_that_cannot_be), T(memory_running_out_is_said) };
    static const test_case pictures[] = { T(files_for_python) };
    static const test_case oracle[] = { T(npy_written_by_numpy), T(npy_of_fortran_is_refused), T(files_for_python) };
    const char *with = getenv("ICD_ORACLE");                  /* numpy: it wrote files for us to read */
    if (getenv("ICD_ORACLE_DIR") && with && strcmp(with, "numpy") == 0)
        return test_main("formats-numpy", oracle, 3, argc, argv);
    if (getenv("ICD_ORACLE_DIR"))
        return test_main("formats-files", pictures, 1, argc, argv);
    return test_main("formats", all, (int)(sizeof all / sizeof all[0]), argc, argv);
}
