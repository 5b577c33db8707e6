/* What may stand after --data, and what is said where it cannot be read. */
#include "common/dataset.h"
#include "common/formats.h"
#include "tests/tempdir.h"
#include "tests/test.h"

static icd_err err;
static icd_arena arena;

enum { RECORD = 3073 };
static unsigned char records[3 * RECORD];

/* n images of 1x2, image i with values i and 2i of 255. */
static void put_idx(const char *path, int n)
{
    unsigned char b[64] = { 0, 0, 8, 3,  0, 0, 0, (unsigned char)n,  0, 0, 0, 1,  0, 0, 0, 2 };
    for (int i = 0; i < n; i++) {
        b[16 + 2 * i] = (unsigned char)i;
        b[17 + 2 * i] = (unsigned char)(2 * i);
    }
    temp_write(path, b, 16 + 2 * (size_t)n);
}

static void put_labels(const char *path, int n)             /* n, n-1, ... 1 */
{
    unsigned char b[64] = { 0, 0, 8, 1,  0, 0, 0, (unsigned char)n };
    for (int i = 0; i < n; i++)
        b[8 + i] = (unsigned char)(n - i);
    temp_write(path, b, 8 + (size_t)n);
}

static icd_status load(const char *spec, icd_images *out)
{
    icd_images s = { .n = -7 };
    err.text[0] = '\0';
    icd_status status = icd_load_dataset(&arena, spec, 5, &s, &err);
    CHECK(status == ICD_OK ? s.n > 0 : s.n == -7 && err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
    if (out)
        *out = s;
    return status;
}

/* The spec is refused with that status and a line that holds `says`. */
static void refused(const char *spec, icd_status status, const char *says)
{
    CHECK_EQ(load(spec, NULL), status);
    CHECK_SAYS(err.text, says);
}

/* "prefix<folder>/name" */
static const char *spec_of(const char *prefix, const char *name)
{
    static char spec[16][1100];
    static int next;
    char *s = spec[next++ % 16];
    snprintf(s, sizeof spec[0], "%s%s", prefix, temp_path("%s", name));
    return s;
}

TEST(one_file_is_known_by_its_bytes)
{
    icd_images s;
    const float v[] = { 0.25f, 0.5f, 0.75f, 1, 0, 0.125f };
    const size_t shape[] = { 3, 2 };
    put_idx(temp_path("i"), 4);
    CHECK_OK(load(temp_path("i"), &s));
    CHECK(s.n == 4 && s.c == 1 && s.h == 1 && s.w == 2 && s.x[7] == test_level(6) && !s.label && s.classes == 0);
    CHECK_OK(icd_write_npy(temp_path("n"), 'f', 2, shape, v, &err));
    CHECK_OK(load(temp_path("n"), &s));
    CHECK(s.n == 3 && s.c == 2 && s.h == 1 && s.x[2] == 0.75f && s.x[5] == 0.125f);
    records[RECORD] = 4;
    records[RECORD + 1] = 255;
    temp_write(temp_path("c"), records, 2 * RECORD);
    CHECK_OK(load(temp_path("c"), &s));
    CHECK(s.n == 2 && s.c == 3 && s.h == 32 && s.label[1] == 4 && s.classes == 10 && s.x[3072] == 1.0f);
}

TEST(files_that_are_refused)
{
    refused("", ICD_EINVAL, "--data: empty");
    refused(temp_path("no"), ICD_EIO, "no: cannot be opened for reading: No such file");
    refused("digit", ICD_EIO, "digit: cannot be opened");
    temp_write(temp_path("b"), "", 0);
    refused(temp_path("b"), ICD_EFORMAT, "b: empty, wanted an IDX, .npy or CIFAR file");
    temp_write(temp_path("b"), "hello", 5);
    refused(temp_path("b"), ICD_EFORMAT, "b: 5 bytes that begin with 68 65 6c 6c, wanted an IDX file (00 00 08 03), .npy");
    temp_write(temp_path("b"), "\x1f\x8b\x08zzzz", 7);
    refused(temp_path("b"), ICD_EFORMAT, "b: is compressed by gzip");
    temp_write(temp_path("x.bin"), records, 2 * RECORD - 1);
    refused(temp_path("x.bin"), ICD_EFORMAT, "x.bin: 6145 bytes, wanted a whole number of CIFAR records");
    put_labels(temp_path("b"), 3);
    refused(temp_path("b"), ICD_EFORMAT, "b: byte 0: magic 0x00000801, wanted 0x00000803");
    put_idx(temp_path("b"), 3);
    CHECK_EQ(truncate(temp_path("b"), 20), 0);
    refused(temp_path("b"), ICD_EFORMAT, "b: truncated: 4 bytes after the header, wanted 6");
    const float v[] = { 0, 1, NAN };
    const size_t shape[] = { 3, 1 };
    CHECK_OK(icd_write_npy(temp_path("b"), 'f', 2, shape, v, &err));
    refused(temp_path("b"), ICD_ENAN, "b: value 2 is nan");
}

TEST(labels_beside_images)
{
    icd_images s;
    const int64_t wide[] = { 3, 0, 1000, 2 }, less[] = { 0, -1, 2, 3 }, big[] = { 0, 1, 2, INT64_C(1) << 31 };
    const uint8_t u[] = { 2, 2, 2, 2 };
    const double d[] = { 0, 1, 2, 3 };
    const size_t four[] = { 4 }, two[] = { 2, 2 };
    char spec[2048];
    put_idx(temp_path("i"), 4);
    put_labels(temp_path("l"), 4);
    snprintf(spec, sizeof spec, "%s,%s", temp_path("i"), temp_path("l"));
    CHECK_OK(load(spec, &s));
    CHECK(s.n == 4 && s.label && s.label[0] == 4 && s.label[3] == 1 && s.classes == 5);
    CHECK_OK(icd_write_npy(temp_path("l"), 'l', 1, four, wide, &err));
    CHECK_OK(load(spec, &s));
    CHECK(s.label && s.label[2] == 1000 && s.classes == 1001);
    CHECK_OK(icd_write_npy(temp_path("l"), 'u', 1, four, u, &err));
    CHECK_OK(load(spec, &s));
    CHECK(s.label && s.label[2] == 2 && s.classes == 3);

    CHECK_OK(icd_write_npy(temp_path("l"), 'l', 1, four, less, &err));
    refused(spec, ICD_EFORMAT, "l: label 1 is -1, wanted 0 or more");
    CHECK_OK(icd_write_npy(temp_path("l"), 'l', 1, four, big, &err));
    refused(spec, ICD_EFORMAT, "l: label 3 is 2147483648");
    CHECK_OK(icd_write_npy(temp_path("l"), 'd', 1, four, d, &err));
    refused(spec, ICD_EFORMAT, "l: wanted labels: one axis of uint8, int32 or int64");
    CHECK_OK(icd_write_npy(temp_path("l"), 'u', 2, two, u, &err));
    refused(spec, ICD_EFORMAT, "l: wanted labels: one axis");
    put_labels(temp_path("l"), 3);
    refused(spec, ICD_EFORMAT, "l: 3 labels, wanted 4, one for each image of ");
    put_labels(temp_path("l"), 5);
    refused(spec, ICD_EFORMAT, "l: 5 labels, wanted 4");
    snprintf(spec, sizeof spec, "%s,%s", temp_path("i"), temp_path("none"));
    refused(spec, ICD_EIO, "none: cannot be opened");
    snprintf(spec, sizeof spec, "%s,", temp_path("i"));
    refused(spec, ICD_EINVAL, "wanted IMAGES,LABELS");
    put_idx(temp_path("with,comma"), 2);
    CHECK_OK(load(temp_path("with,comma"), &s));
    CHECK(s.n == 2 && !s.label);
}

TEST(a_folder_like_mnist)
{
    icd_images s;
    mkdir(temp_path("m"), 0700);
    put_idx(temp_path("m/train-images-idx3-ubyte"), 4);
    CHECK_OK(load(temp_path("m"), &s));
    CHECK(s.n == 4 && !s.label);
    refused(spec_of("test:", "m"), ICD_EIO,
            "m: a folder without data: looked for t10k-images-idx3-ubyte and for test_batch.bin; it has a training part");
    put_labels(temp_path("m/train-labels-idx1-ubyte"), 4);
    put_idx(temp_path("m/t10k-images-idx3-ubyte"), 2);
    put_labels(temp_path("m/t10k-labels-idx1-ubyte"), 2);
    CHECK_OK(load(temp_path("m"), &s));
    CHECK(s.n == 4 && s.label && s.label[0] == 4);
    CHECK_OK(load(spec_of("test:", "m"), &s));
    CHECK(s.n == 2 && s.label && s.label[0] == 2 && s.classes == 3);
    put_labels(temp_path("m/train-labels-idx1-ubyte"), 3);
    refused(temp_path("m"), ICD_EFORMAT, "train-labels-idx1-ubyte: 3 labels, wanted 4");
    unlink(temp_path("m/train-images-idx3-ubyte"));
    refused(temp_path("m"), ICD_EIO, "m: a folder without data: looked for train-images-idx3-ubyte and for data_batch_1.bin to "
            "data_batch_5.bin; it has a test part, as `test:FOLDER`");
    mkdir(temp_path("empty"), 0700);
    refused(temp_path("empty"), ICD_EIO, "empty: a folder without data");
    refused(spec_of("test:", "i"), ICD_EIO, "i` is not a folder, wanted test:FOLDER");
    refused("test:digits", ICD_EIO, "`digits` is not a folder");
}

TEST(a_folder_like_cifar)
{
    icd_images s;
    mkdir(temp_path("k"), 0700);
    memset(records, 0, sizeof records);
    for (int batch = 1; batch <= 5; batch++) {              /* of 1, 2, 3, 1, 2 images; labels count up */
        int n = (batch - 1) % 3 + 1;
        for (int i = 0; i < n; i++) {
            records[i * RECORD] = (unsigned char)(batch + i);
            records[i * RECORD + 1] = (unsigned char)(10 * batch + i);
        }
        temp_write(temp_path("k/data_batch_%d.bin", batch), records, (size_t)n * RECORD);
    }
    CHECK_OK(load(temp_path("k"), &s));
    static const int label[] = { 1, 2, 3, 3, 4, 5, 4, 5, 6 }, first[] = { 10, 20, 21, 30, 31, 32, 40, 50, 51 };
    CHECK(s.n == 9 && s.c == 3 && s.h == 32 && s.w == 32 && s.classes == 10);
    for (int i = 0; i < 9 && s.n == 9; i++)
        CHECK(s.label[i] == label[i] && s.x[i * 3072] == test_level(first[i]) && s.x[i * 3072 + 1] == 0.0f);
    refused(spec_of("test:", "k"), ICD_EIO, "looked for t10k-images-idx3-ubyte and for test_batch.bin");
    temp_write(temp_path("k/test_batch.bin"), records, 2 * RECORD);
    CHECK_OK(load(spec_of("test:", "k"), &s));
    CHECK_EQ(s.n, 2);
    CHECK_EQ(truncate(temp_path("k/data_batch_3.bin"), RECORD + 1), 0);
    refused(temp_path("k"), ICD_EFORMAT, "k/data_batch_3.bin: 3074 bytes, wanted a whole number of CIFAR records");
    unlink(temp_path("k/data_batch_3.bin"));
    refused(temp_path("k"), ICD_EIO, "k/data_batch_3.bin: cannot be opened");
}

TEST(data_that_needs_no_file)
{
    icd_images s, t;
    CHECK_OK(load("digits:7", &s));
    CHECK(s.n == 7 && s.c == 1 && s.h == 28 && s.w == 28 && s.label);
    CHECK_OK(icd_load_dataset(&arena, "digits:7", 6, &t, &err));
    CHECK(memcmp(s.x, t.x, 7 * 784 * sizeof *s.x) != 0);
    CHECK_OK(load("gmm:9", &s));
    CHECK(s.n == 9 && s.c == 2 && s.h == 1 && s.w == 1);
    CHECK_OK(load("rings", &s));
    CHECK(s.n == 10000 && s.c == 2);
    refused("digits:", ICD_EINVAL, "--data digits:: ``, wanted a number from 1 to");
    refused("digits:0", ICD_EINVAL, "`0`, wanted a number from 1 to");
    refused("gmm:-1", ICD_EINVAL, "`-1`, wanted a number");
    refused("gmm:1e3", ICD_EINVAL, "`1e3`, wanted a number");
    refused("rings:99999999999999999999", ICD_EINVAL, "wanted a number from 1 to 10000000");
    refused("rings: 5", ICD_EINVAL, "` 5`, wanted a number");
}

TEST(memory_running_out_is_said)
{
    char beside[2048];
    mkdir(temp_path("r"), 0700);
    for (int batch = 1; batch <= 5; batch++)
        temp_write(temp_path("r/data_batch_%d.bin", batch), records, RECORD);
    put_idx(temp_path("i"), 4);
    put_labels(temp_path("l"), 4);
    snprintf(beside, sizeof beside, "%s,%s", temp_path("i"), temp_path("l"));
    const char *spec[] = { beside, temp_path("r"), "digits:3", "gmm:3", "rings:3" };
    icd_arena_release(&arena);
    for (size_t k = 0; k < sizeof spec / sizeof spec[0]; k++)
        for (long n = 1; ; n++) {
            icd_arena a = { 0 };
            icd_images s;
            icd_alloc_fail_at(n);
            icd_status status = icd_load_dataset(&a, spec[k], 1, &s, &err);
            icd_alloc_fail_at(0);
            icd_arena_release(&a);
            CHECK(icd_alloc_live() == 0);
            if (status == ICD_OK) {
                CHECK(n > 1);
                break;
            }
            CHECK_EQ(status, ICD_ENOMEM);
            if (status != ICD_ENOMEM)
                break;
            CHECK_SAYS(err.text, "memory");
        }
}

TEST_MAIN("dataset", T(one_file_is_known_by_its_bytes), T(files_that_are_refused), T(labels_beside_images), T(a_folder_like_mnist),
          T(a_folder_like_cifar), T(data_that_needs_no_file), T(memory_running_out_is_said))
