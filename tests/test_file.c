/* Whole files in and out: what is refused, what a failure leaves behind, and bytes in a fixed order. */
#include "common/file.h"
#include "tests/tempdir.h"
#include "tests/test.h"

#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>

static icd_err err;

static icd_status write_all(const char *path, const void *p, size_t n)
{
    icd_writer w;
    ICD_TRY(icd_writer_open(&w, path, &err));
    ICD_TRY(icd_writer_put(&w, p, n, &err));
    return icd_writer_commit(&w, &err);
}

TEST(a_file_reads_back)
{
    static unsigned char big[100001];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (unsigned char)(i * 7 >> 3);
    const size_t size[] = { 0, 1, 4096, sizeof big };
    for (int i = 0; i < 4; i++) {
        icd_arena a = { 0 };
        icd_bytes b = { 0 };
        CHECK_OK(write_all(temp_path("f"), big, size[i]));
        CHECK_OK(icd_read_file(&a, temp_path("f"), &b, &err));
        CHECK(b.n == size[i] && b.p && memcmp(b.p, big, b.n) == 0);
        icd_arena_release(&a);
    }
    CHECK_EQ(temp_entries(temp_folder), 1);
}

TEST(what_is_no_file_is_not_read)
{
    icd_arena a = { 0 };
    icd_bytes b = { NULL, 5 };
    CHECK_EQ(icd_read_file(&a, temp_path("none"), &b, &err), ICD_EIO);
    CHECK_SAYS(err.text, "none: cannot be opened for reading: No such file");
    CHECK_EQ(icd_read_file(&a, "/", &b, &err), ICD_EIO);
    CHECK_SAYS(err.text, "/: is a folder");
    CHECK_EQ(mkfifo(temp_path("pipe"), 0600), 0);
    CHECK_EQ(icd_read_file(&a, temp_path("pipe"), &b, &err), ICD_EIO);
    CHECK_SAYS(err.text, "is a pipe or a device");
    CHECK(b.n == 5 && icd_read_file(&a, temp_path("pipe"), &b, NULL) == ICD_EIO);
    unlink(temp_path("pipe"));
    icd_arena_release(&a);
}

TEST(nothing_appears_before_commit)
{
    icd_writer w;
    const char *path = temp_write(temp_path("g"), "old", 3);
    CHECK_OK(icd_writer_open(&w, path, &err));
    CHECK_OK(icd_writer_put(&w, "new", 3, &err));
    CHECK_EQ(access(w.temporary, F_OK), 0);
    CHECK(temp_is(path, "old", 3));
    CHECK_OK(icd_writer_commit(&w, &err));
    CHECK(temp_is(path, "new", 3));
    CHECK(access(w.temporary, F_OK) != 0);
    icd_writer_abort(&w);                    /* after a commit: nothing to undo */
    CHECK(temp_is(path, "new", 3));
}

/* What a killed process left under the temporary name is in nobody's way, and a link there is not followed. */
TEST(an_old_temporary_file_is_replaced)
{
    icd_writer w;
    CHECK_OK(icd_writer_open(&w, temp_path("h"), &err));
    icd_writer_abort(&w);
    temp_write(temp_path("victim"), "old", 3);
    CHECK_EQ(symlink(temp_path("victim"), w.temporary), 0);
    CHECK_OK(write_all(temp_path("h"), "new", 3));
    CHECK(temp_is(temp_path("h"), "new", 3) && temp_is(temp_path("victim"), "old", 3));
    unlink(temp_path("h"));
    unlink(temp_path("victim"));
}

TEST(abort_leaves_the_old_file)
{
    icd_writer w;
    const char *path = temp_write(temp_path("g"), "old", 3);
    int before = temp_entries(temp_folder);
    CHECK_OK(icd_writer_open(&w, path, &err));
    CHECK_OK(icd_writer_put(&w, "new", 3, &err));
    icd_writer_abort(&w);
    CHECK(temp_is(path, "old", 3));
    CHECK_EQ(temp_entries(temp_folder), before);
    CHECK(icd_writer_put(&w, "x", 1, &err) != ICD_OK);
    CHECK(icd_writer_commit(&w, &err) != ICD_OK);
    CHECK(temp_is(path, "old", 3));
}

/* A limit on the size of files stands for a disk that fills up. */
TEST(a_full_disk_leaves_the_old_file)
{
    static const unsigned char big[1 << 16];
    struct rlimit old, little;
    const char *path = temp_write(temp_path("g"), "old", 3);
    int before = temp_entries(temp_folder);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (size_t room = 0; room < sizeof big; room += 9000) {
        icd_writer w;
        little = (struct rlimit){ .rlim_cur = (rlim_t)room, .rlim_max = old.rlim_max };
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
        CHECK_OK(icd_writer_open(&w, path, &err));
        icd_status s = icd_writer_put_le(&w, big, sizeof big / 4, 4, &err);
        CHECK(s == ICD_EIO || room + BUFSIZ > sizeof big);    /* said at once, but for what stdio still holds */
        if (s == ICD_OK)
            s = icd_writer_commit(&w, &err);
        CHECK_EQ(s, ICD_EIO);
        CHECK_SAYS(err.text, "g: cannot be written: File too large");
        CHECK_EQ(icd_writer_put(&w, "x", 1, &err), ICD_EIO);
        CHECK_SAYS(err.text, "an earlier step failed");
        CHECK_EQ(icd_writer_commit(&w, &err), ICD_EIO);
        CHECK(temp_is(path, "old", 3));
        CHECK_EQ(temp_entries(temp_folder), before);
    }
    setrlimit(RLIMIT_FSIZE, &old);
}

TEST(places_that_cannot_be_written)
{
    char path[2000];
    struct stat st;
    icd_writer w;
    temp_write(temp_path("g"), "old", 3);
    CHECK_EQ(write_all(temp_path("g/below"), "x", 1), ICD_EIO);
    CHECK_SAYS(err.text, "below: cannot be written: Not a directory");
    CHECK_EQ(write_all(temp_path("none/below"), "x", 1), ICD_EIO);
    CHECK_SAYS(err.text, "below: cannot be written: No such file");
    CHECK_EQ(mkdir(temp_path("folder"), 0500), 0);
    CHECK_EQ(write_all(temp_path("folder"), "x", 1), ICD_EIO);
    CHECK_SAYS(err.text, "folder: is a folder");
    if (geteuid() != 0) {                    /* root may write anywhere */
        CHECK_EQ(write_all(temp_path("folder/f"), "x", 1), ICD_EIO);
        CHECK_SAYS(err.text, "f: cannot be written: Permission denied");
    }
    CHECK_EQ(mkfifo(temp_path("pipe"), 0600), 0);      /* stands for /dev/null, which broken code run by root would replace */
    CHECK_EQ(write_all(temp_path("pipe"), "x", 1), ICD_EIO);
    CHECK_SAYS(err.text, "pipe: is a pipe or a device, wanted a regular file to replace");
    CHECK(stat(temp_path("pipe"), &st) == 0 && S_ISFIFO(st.st_mode));
    unlink(temp_path("pipe"));
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    CHECK_EQ(icd_writer_open(&w, path, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "a path of 1999 bytes");
    CHECK_EQ(icd_writer_put(&w, "x", 1, &err), ICD_EINVAL);
    icd_writer_abort(&w);
    rmdir(temp_path("folder"));
}

TEST(bytes_have_one_order_everywhere)
{
    const unsigned char p[] = { 1, 2, 3, 4, 5, 6, 7, 0xf8 };
    CHECK(icd_load_be32(p) == 0x01020304u);
    CHECK(icd_load_le(p, 1) == 1 && icd_load_le(p, 2) == 0x0201 && icd_load_le(p, 4) == 0x04030201);
    CHECK(icd_load_le(p, 8) == UINT64_C(0xf807060504030201) && icd_load_be(p, 8) == UINT64_C(0x01020304050607f8));
    CHECK(icd_load_be(p, 1) == 1 && icd_load_be(p, 2) == 0x0102);
    unsigned char q[9] = { 0 };
    icd_store_le(q, UINT64_C(0xf807060504030201), 8);
    CHECK(memcmp(p, q, 8) == 0 && q[8] == 0);
    CHECK(icd_float_to_bits(-2.5f) == 0xc0200000u && icd_bits_to_float(0xc0200000u) == -2.5f);
    CHECK(icd_double_to_bits(-2.5) == UINT64_C(0xc004000000000000) && icd_bits_to_double(UINT64_C(0xc004000000000000)) == -2.5);
}

TEST(values_are_written_little_endian)
{
    const uint16_t two[] = { 0x0102, 0x0304 };
    const float four[] = { -2.5f };
    const double eight[] = { -2.5 };
    icd_writer w;
    CHECK_OK(icd_writer_open(&w, temp_path("le"), &err));
    CHECK_OK(icd_writer_put_le(&w, "ab", 2, 1, &err));
    CHECK_OK(icd_writer_put_le(&w, two, 2, 2, &err));
    CHECK_OK(icd_writer_put_le(&w, four, 1, 4, &err));
    CHECK_OK(icd_writer_put_le(&w, eight, 1, 8, &err));
    CHECK_OK(icd_writer_commit(&w, &err));
    CHECK(temp_is(temp_path("le"), "ab\2\1\4\3\0\0\x20\xc0\0\0\0\0\0\0\4\xc0", 18));
}

TEST(quoted_bytes_are_one_line_of_ascii)
{
    char out[8];
    CHECK(strcmp(icd_quote(out, sizeof out, "a\nb\xc3\0", 5), "a?b??") == 0);
    CHECK(strcmp(icd_quote(out, sizeof out, "1234567", 7), "1234567") == 0);
    CHECK(strcmp(icd_quote(out, sizeof out, "12345678", 8), "1234...") == 0);
    CHECK(strcmp(icd_quote(out, sizeof out, "", 0), "") == 0);
}

TEST(memory_running_out_is_said)
{
    temp_write(temp_path("g"), "old", 3);
    for (long n = 1; ; n++) {
        icd_arena a = { 0 };
        icd_bytes b;
        icd_alloc_fail_at(n);
        icd_status s = icd_read_file(&a, temp_path("g"), &b, &err);
        icd_alloc_fail_at(0);
        icd_arena_release(&a);
        CHECK(icd_alloc_live() == 0);
        if (s == ICD_OK)
            break;
        CHECK_EQ(s, ICD_ENOMEM);
        if (s != ICD_ENOMEM)
            break;
        CHECK_SAYS(err.text, "no memory for its 3 bytes");
    }
}

/* Where ICD_SMALL_DISK names a folder on a file system of less than 1 MiB: the real thing. */
TEST(a_small_disk_fills_up)
{
    const char *folder = getenv("ICD_SMALL_DISK");
    char path[1024];
    static const unsigned char big[1 << 20];
    snprintf(path, sizeof path, "%s/f", folder);
    CHECK_OK(write_all(path, "old", 3));
    CHECK_EQ(write_all(path, big, sizeof big), ICD_EIO);
    CHECK_SAYS(err.text, "f: cannot be written: No space left on device");
    CHECK(temp_is(path, "old", 3));
    CHECK_EQ(temp_entries(folder), 1);
    CHECK_OK(write_all(path, "new", 3));
}

int main(int argc, char **argv)
{
    static const test_case all[] = {
        T(a_file_reads_back), T(what_is_no_file_is_not_read), T(nothing_appears_before_commit),
        T(an_old_temporary_file_is_replaced), T(abort_leaves_the_old_file), T(a_full_disk_leaves_the_old_file),
        T(places_that_cannot_be_written), T(bytes_have_one_order_everywhere),
        T(values_are_written_little_endian), T(quoted_bytes_are_one_line_of_ascii), T(memory_running_out_is_said) };
    static const test_case disk[] = { T(a_small_disk_fills_up) };
    if (getenv("ICD_SMALL_DISK"))
        return test_main("file-disk", disk, 1, argc, argv);
    return test_main("file", all, (int)(sizeof all / sizeof all[0]), argc, argv);
}
