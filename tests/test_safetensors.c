/* safetensors: a file by hand, every way to get one wrong with its line, and what is written.
 * With ICD_ORACLE_DIR (tests/check_formats.sh) it reads there what Python wrote and writes what Python will read. */
#include "common/safetensors.h"
#include "tests/tempdir.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/resource.h>

static icd_err err;

/* Header length, header, then n bytes 0, 1, 2, ...; a heap copy of exactly that many bytes. */
static icd_bytes st_bytes(const char *header, size_t n)
{
    size_t length = strlen(header);
    unsigned char *p = malloc(8 + length + n);
    if (!p)
        exit(1);
    icd_store_le(p, length, 8);
    memcpy(p + 8, header, length);
    for (size_t i = 0; i < n; i++)
        p[8 + length + i] = (unsigned char)i;
    return (icd_bytes){ p, 8 + length + n };
}

static icd_status parse(icd_arena *a, icd_bytes b, icd_safetensors *out)
{
    err.text[0] = '\0';
    icd_status s = icd_parse_safetensors(a, "S", b, out, &err);
    CHECK(s == ICD_OK || (err.text[0] != '\0' && strchr(err.text, '\n') == NULL));
    return s;
}

#define TENSOR(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

TEST(a_file_by_hand)
{
    static const char header[] = "{ \"__metadata__\" : {\"k\":\"v\",\"\":\"\"} ,\n"
        "\"b\":" TENSOR("U8", "[3]", "[4,7]") ", \"a\" : { \"data_offsets\" : [ 0 , 4 ] , \"shape\":[1, 1],\"dtype\":\"F32\" },"
        "\"none\":" TENSOR("F64", "[2,0]", "[4,4]") ",\"scalar\":" TENSOR("I32", "[]", "[7,11]") "}   \n";
    icd_arena a = { 0 };
    icd_safetensors s;
    icd_bytes b = st_bytes(header, 11);
    CHECK_OK(icd_parse_safetensors(&a, "S", b, &s, &err));
    CHECK(s.n_tensors == 4 && strcmp(s.tensor[0].name, "b") == 0 && strcmp(s.tensor[1].name, "a") == 0);
    const icd_tensor *t = icd_st_find(&s, "b");
    CHECK(t && t->dtype == ICD_U8 && t->rank == 1 && t->shape[0] == 3 && t->count == 3 && icd_st_value(t, 2) == 6);
    t = icd_st_find(&s, "a");
    CHECK(t && t->dtype == ICD_F32 && t->rank == 2 && t->count == 1);
    CHECK(t && icd_float_to_bits((float)icd_st_value(t, 0)) == 0x03020100u);
    t = icd_st_find(&s, "none");
    CHECK(t && t->count == 0 && t->shape[0] == 2 && t->shape[1] == 0);
    t = icd_st_find(&s, "scalar");
    CHECK(t && t->rank == 0 && t->count == 1 && icd_st_value(t, 0) == 0x0a090807);
    CHECK(s.n_metadata == 2 && strcmp(icd_st_metadata(&s, "k"), "v") == 0 && strcmp(icd_st_metadata(&s, ""), "") == 0);
    CHECK(!icd_st_find(&s, "c") && !icd_st_metadata(&s, "b"));
    for (size_t n = 0; n < b.n; n++) {               /* cut anywhere */
        icd_safetensors less = { .n_tensors = -1 };
        unsigned char *p = malloc(n ? n : 1);
        if (p && n)
            memcpy(p, b.p, n);
        CHECK_EQ(parse(&a, (icd_bytes){ p, n }, &less), ICD_EFORMAT);
        CHECK_EQ(less.n_tensors, -1);
        free(p);
    }
    free((void *)b.p);
    icd_arena_release(&a);
}

TEST(strings_with_escapes)
{
    static const char header[] = "{\"__metadata__\":{\"\\u00fc\\\"\\\\\\/\\b\\f\\n\\r\\t\":\"\\uD83D\\uDe00 \xe6\xbc\xa2 \\u6f22 \\u007f\"}}";
    icd_arena a = { 0 };
    icd_safetensors s;
    icd_bytes b = st_bytes(header, 0);
    CHECK_OK(icd_parse_safetensors(&a, "S", b, &s, &err));
    const char *v = icd_st_metadata(&s, "\xc3\xbc\"\\/\b\f\n\r\t");
    CHECK(v && strcmp(v, "\xf0\x9f\x98\x80 \xe6\xbc\xa2 \xe6\xbc\xa2 \x7f") == 0);
    free((void *)b.p);
    icd_arena_release(&a);
}

#define A4 "\"a\":" TENSOR("F32", "[1]", "[0,4]")
#define META(text) "{\"__metadata__\":{" text "}}"

TEST(files_that_are_refused)
{
    static const struct { const char *header; size_t data; const char *says; } c[] = {
        { "", 0, "S: byte 8: ``, wanted `{`" },
        { "[]", 0, "S: byte 8: `[` is nested deeper than, or elsewhere than, the format has; wanted `{`" },
        { "{", 0, "a tensor's name in quotes" },
        { "{} x", 0, "S: byte 11: `x`, wanted blanks to the header's end" },
        { "{}", 1, "S: 1 bytes of data, wanted 0: those after the last tensor" },
        { "{" A4 ",}", 4, "a tensor's name" },
        { "{" A4 "", 4, "wanted `,` or `}`" },
        { "{" A4 ";}", 4, "wanted `,` or `}`" },
        { "{\"a\" {}}", 0, "wanted `:`" },
        { "{a:1}", 0, "a tensor's name in quotes" },
        { "{\"a", 0, "S: byte 9: a string that the header's end cuts off" },
        { "{\"a\\", 0, "a string that the header's end cuts off" },
        { "{\"a\\\"", 0, "a string that the header's end cuts off" },
        /* values of another kind, and nesting */
        { "{\"a\":1}", 0, "wanted an object for a tensor" },
        { "{\"a\":[[[[[[[[[[[[[[[[[[[[", 0, "`[` is nested deeper than" },
        { "{\"a\":" TENSOR("F32", "[[1]]", "[0,4]") "}", 4, "`[` is nested deeper than" },
        { "{\"a\":" TENSOR("F32", "[{}]", "[0,4]") "}", 4, "`{` is nested deeper than" },
        { "{\"a\":" TENSOR("F32", "1", "[0,4]") "}", 4, "a shape: an array of at most 8 numbers" },
        { "{\"a\":{\"dtype\":{\"dtype\":\"F32\"}}}", 4, "`{` is nested deeper than" },
        { "{\"a\":{\"dtype\":4}}", 4, "wanted a dtype of" },
        { META("\"k\":{\"k\":\"v\"}"), 0, "`{` is nested deeper than" },
        { META("\"k\":1"), 0, "a value of __metadata__ in quotes" },
        { "{\"__metadata__\":[]}", 0, "an object of strings for __metadata__" },
        /* fields */
        { "{\"a\":" TENSOR("F16", "[2]", "[0,4]") "}", 4, "S: byte 22: `\"F16\",\"shape\":[2],\"d...`, wanted a dtype of \"F32\"" },
        { "{\"a\":" TENSOR("f32", "[1]", "[0,4]") "}", 4, "wanted a dtype of" },
        { "{\"a\":" TENSOR("", "[1]", "[0,4]") "}", 4, "wanted a dtype of" },
        { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "each once" },
        { "{\"a\":{\"dtype\":\"F32\",\"more\":\"F32\"}}", 4, "each once" },
        { "{\"a\":{}}", 0, "S: byte 13: tensor `a` has no \"dtype\"" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor `a` has no \"shape\"" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor `a` has no \"data_offsets\"" },
        /* numbers */
        { "{\"a\":" TENSOR("F32", "[-1]", "[0,4]") "}", 4, "`-1],\"data_offsets\":[...`, wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[1.0]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[1e0]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[NaN]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[\"1\"]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[01]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[1,]", "[0,4]") "}", 4, "wanted a whole number" },
        { "{\"a\":" TENSOR("F32", "[1 1]", "[0,4]") "}", 4, "wanted `,` or `]`" },
        { "{\"a\":" TENSOR("F32", "[99999999999999999999]", "[0,4]") "}", 4, "a number that fits into memory" },
        { "{\"a\":" TENSOR("F32", "[18446744073709551616]", "[0,4]") "}", 4, "a number that fits into memory" },
        { "{\"a\":" TENSOR("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "at most 8 numbers" },
        { "{\"a\":" TENSOR("F32", "[4294967295,4294967295,4294967295]", "[0,4]") "}", 4, "tensor `a`: the product of its shape overflows" },
        /* offsets */
        { "{\"a\":" TENSOR("F32", "[1]", "[4,0]") "}", 4, "S: tensor `a`: data_offsets [4,0], wanted begin <= end <= 4" },
        { "{\"a\":" TENSOR("F32", "[2]", "[0,8]") "}", 4, "tensor `a`: data_offsets [0,8], wanted begin <= end <= 4" },
        { "{\"a\":" TENSOR("F32", "[2]", "[0,4]") "}", 4, "tensor `a`: data_offsets span 4 bytes, wanted 2 values of 4 bytes" },
        { "{\"a\":" TENSOR("F64", "[1]", "[0,4]") "}", 4, "tensor `a`: data_offsets span 4 bytes, wanted 1 values of 8 bytes" },
        { "{\"a\":" TENSOR("F32", "[1]", "[4]") "}", 4, "data_offsets: an array of two numbers" },
        { "{\"a\":" TENSOR("F32", "[1]", "[]") "}", 4, "data_offsets: an array of two numbers" },
        { "{\"a\":" TENSOR("F32", "[1]", "[0,4,4]") "}", 4, "data_offsets: an array of two numbers" },
        { "{" A4 ",\"b\":" TENSOR("U8", "[3]", "[3,6]") "}", 6, "S: tensor `b` begins at data byte 3, wanted 4: it overlaps another" },
        { "{" A4 ",\"b\":" TENSOR("F32", "[1]", "[0,4]") "}", 4, "begins at data byte 0, wanted 4: it overlaps another" },
        { "{" A4 ",\"b\":" TENSOR("U8", "[1]", "[1,2]") "}", 4, "tensor `b` begins at data byte 1, wanted 4: it overlaps another" },
        { "{" A4 ",\"b\":" TENSOR("U8", "[3]", "[5,8]") "}", 8, "tensor `b` begins at data byte 5, wanted 4: the bytes between" },
        { "{\"b\":" TENSOR("U8", "[3]", "[5,8]") "}", 8, "tensor `b` begins at data byte 5, wanted 0: the bytes between" },
        { "{" A4 "}", 5, "S: 5 bytes of data, wanted 4: those after the last tensor" },
        { "{" A4 ",\"b\":" TENSOR("U8", "[0]", "[2,2]") "}", 4, "tensor `b` begins at data byte 2, wanted 4: it overlaps another" },
        /* names */
        { "{" A4 ",\"a\":" TENSOR("F32", "[1]", "[4,8]") "}", 8, "S: two tensors named `a`" },
        { "{" A4 ",\"\\u0061\":" TENSOR("F32", "[1]", "[4,8]") "}", 8, "S: two tensors named `a`" },
        { "{\"x\\n\":" TENSOR("U8", "[0]", "[0,0]") ",\"x\\n\":" TENSOR("U8", "[0]", "[0,0]") "}", 0, "two tensors named `x?`" },
        { META("\"k\":\"v\",\"k\":\"w\""), 0, "S: two keys of __metadata__ named `k`" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ only once" },
        /* text */
        { META("\"k\":\"\\x\""), 0, "an escape of JSON" },
        { META("\"k\":\"\\u12g4\""), 0, "four hexadecimal digits" },
        { META("\"k\":\"\\u12\""), 0, "four hexadecimal digits" },
        { META("\"k\":\"\\u0000\""), 0, "text without NUL" },
        { META("\"k\":\"\\ud83d\""), 0, "a high surrogate to have a low one" },
        { META("\"k\":\"\\ud83d\\u0041\""), 0, "a high surrogate to have a low one" },
        { META("\"k\":\"\\ud83d\\n\""), 0, "a high surrogate to have a low one" },
        { META("\"k\":\"\\ude00\""), 0, "a low surrogate only after a high one" },
        { META("\"k\":\"\n\""), 0, "without control characters" },
        { META("\"k\":\"\x80\""), 0, "well-formed UTF-8" },
        { META("\"k\":\"\xc0\xaf\""), 0, "well-formed UTF-8" },
        { META("\"k\":\"\xe0\x80\xaf\""), 0, "well-formed UTF-8" },
        { META("\"k\":\"\xed\xa0\x80\""), 0, "well-formed UTF-8" },
        { META("\"k\":\"\xf4\x90\x80\x80\""), 0, "well-formed UTF-8" },
        { META("\"k\":\"\xf0\x9f\x98\""), 0, "well-formed UTF-8" } };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        icd_arena a = { 0 };
        icd_safetensors s = { .n_tensors = -1 };
        icd_bytes b = st_bytes(c[i].header, c[i].data);
        CHECK_EQ(parse(&a, b, &s), ICD_EFORMAT);
        CHECK_SAYS(err.text, c[i].says);
        CHECK_EQ(s.n_tensors, -1);
        free((void *)b.p);
        icd_arena_release(&a);
    }
}

TEST(header_lengths_that_are_refused)
{
    icd_arena a = { 0 };
    icd_safetensors s;
    icd_bytes b = st_bytes("{}", 0);
    static const struct { uint64_t length; const char *says; } c[] = {
        { 3, "S: byte 0: a safetensors header of 3 bytes, but only 2 follow" },
        { UINT64_C(0x100000002), "a safetensors header of 4294967298 bytes, but only 2 follow" },
        { UINT64_MAX, "a safetensors header of 18446744073709551615 bytes, but only 2 follow" },
        { UINT64_MAX - 7, "but only 2 follow" }, { 1, "wanted" }, { 0, "wanted `{`" } };
    CHECK_OK(icd_parse_safetensors(&a, "S", b, &s, &err));
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        icd_store_le((unsigned char *)b.p, c[i].length, 8);
        CHECK_EQ(parse(&a, b, &s), ICD_EFORMAT);
        CHECK_SAYS(err.text, c[i].says);
    }
    free((void *)b.p);
    icd_arena_release(&a);
}

TEST(what_is_written_by_hand)
{
    static const char want[] = "\x90\0\0\0\0\0\0\0"
        "{\"__metadata__\":{\"k\\\"\\\\\\u000a\":\"\xc3\xbc\"},\"b\":" TENSOR("F32", "[1,2]", "[0,8]") ",\"a\":" TENSOR("U8", "[]", "[8,9]")
        "} \0\0\x20\xc0\0\0\x80\x3f\x07";
    const float f[] = { -2.5f, 1 };
    const uint8_t u = 7;
    icd_tensor t[] = { { .name = "b", .dtype = ICD_F32, .rank = 2, .shape = { 1, 2 }, .count = 2, .data = f },
                       { .name = "a", .dtype = ICD_U8, .rank = 0, .count = 1, .data = &u } };
    icd_pair m[] = { { "k\"\\\n", "\xc3\xbc" } };
    icd_safetensors s = { 2, 1, t, m };
    CHECK_OK(icd_write_safetensors(temp_path("w"), &s, &err));
    CHECK(temp_is(temp_path("w"), want, sizeof want - 1));
    s = (icd_safetensors){ 0, 0, NULL, NULL };
    CHECK_OK(icd_write_safetensors(temp_path("w"), &s, &err));
    CHECK(temp_is(temp_path("w"), "\x08\0\0\0\0\0\0\0{}      ", 16));
}

/* One tensor of each dtype, a scalar, an empty one, and metadata: what Python reads and what comes back. */
static const float f32[] = { -2.5f, 0.5f, 3 };
static const double f64[] = { 1e300, -0.125, 7 };
static const uint8_t u8[] = { 0, 128, 255 };
static const int32_t i32[] = { INT32_MIN, -1, INT32_MAX };
static const int64_t i64[] = { INT64_MIN, -1, INT64_C(1) << 40 };
static icd_tensor all_tensors[] = {
    { .name = "t.U8", .dtype = ICD_U8, .rank = 2, .shape = { 1, 3 }, .count = 3, .data = u8 },
    { .name = "t.F32", .dtype = ICD_F32, .rank = 2, .shape = { 1, 3 }, .count = 3, .data = f32 },
    { .name = "none", .dtype = ICD_F32, .rank = 2, .shape = { 0, 4 }, .count = 0, .data = f32 },
    { .name = "t.F64", .dtype = ICD_F64, .rank = 2, .shape = { 1, 3 }, .count = 3, .data = f64 },
    { .name = "t.I32", .dtype = ICD_I32, .rank = 2, .shape = { 1, 3 }, .count = 3, .data = i32 },
    { .name = "t.I64", .dtype = ICD_I64, .rank = 2, .shape = { 1, 3 }, .count = 3, .data = i64 },
    { .name = "scalar \xc3\xbc\n", .dtype = ICD_F64, .rank = 0, .count = 1, .data = f64 } };
static icd_pair all_metadata[] = {
    { "icd.arch", "full: conv 64 | swish" },
    { "quotes \"\\/", "tab\tline\nbell\x07 \xc3\xbc \xe6\xbc\xa2 \xf0\x9f\x98\x80" } };
static icd_safetensors all = { 7, 2, all_tensors, all_metadata };

static void check_typed(const icd_safetensors *s)
{
    const struct { const char *name; icd_dtype dtype; double v[3]; } c[] = {
        { "t.F32", ICD_F32, { -2.5, 0.5, 3 } }, { "t.F64", ICD_F64, { 1e300, -0.125, 7 } }, { "t.U8", ICD_U8, { 0, 128, 255 } },
        { "t.I32", ICD_I32, { -2147483648.0, -1, 2147483647 } },
        { "t.I64", ICD_I64, { -9223372036854775808.0, -1, 1099511627776.0 } } };
    for (int i = 0; i < 5; i++) {
        const icd_tensor *t = icd_st_find(s, c[i].name);
        CHECK(t && t->dtype == c[i].dtype && t->rank == 2 && t->shape[0] == 1 && t->shape[1] == 3 && t->count == 3);
        for (size_t k = 0; t && k < 3; k++)
            CHECK_EQ(icd_st_value(t, k), c[i].v[k]);
    }
    for (int i = 0; i < 2; i++) {
        const char *v = icd_st_metadata(s, all_metadata[i].key);
        CHECK(v && strcmp(v, all_metadata[i].value) == 0);
    }
}

TEST(what_is_written_reads_back)
{
    icd_arena a = { 0 };
    icd_safetensors s;
    icd_bytes b;
    CHECK_OK(icd_write_safetensors(temp_path("w"), &all, &err));
    CHECK_OK(icd_read_file(&a, temp_path("w"), &b, &err));
    CHECK_OK(icd_parse_safetensors(&a, "S", b, &s, &err));
    CHECK(s.n_tensors == 7 && strcmp(s.tensor[6].name, "scalar \xc3\xbc\n") == 0 && icd_st_value(&s.tensor[6], 0) == 1e300);
    check_typed(&s);
    icd_arena_release(&a);
}

TEST(what_cannot_be_written)
{
    icd_tensor t[] = { all_tensors[0], all_tensors[1] };
    icd_pair m[] = { { "k", "v" }, { "l", "w" } };
    icd_safetensors s = { 2, 2, t, m };
    temp_write(temp_path("w"), "old", 3);
    t[1].name = t[0].name;
    CHECK_EQ(icd_write_safetensors(temp_path("w"), &s, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "w: two tensors named `t.U8`");
    t[1].name = "__metadata__";
    CHECK_EQ(icd_write_safetensors(temp_path("w"), &s, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "cannot be named __metadata__");
    t[1].name = "\xff";
    CHECK_EQ(icd_write_safetensors(temp_path("w"), &s, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "tensor name `?` is not well-formed UTF-8");
    t[1].name = "x";
    m[1].key = "k";
    CHECK_EQ(icd_write_safetensors(temp_path("w"), &s, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "two keys of __metadata__ named `k`");
    m[1] = (icd_pair){ "l", "\xc3" };
    CHECK_EQ(icd_write_safetensors(temp_path("w"), &s, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "metadata value `?` is not");
    CHECK(temp_is(temp_path("w"), "old", 3));
    m[1].value = "w";
    CHECK_OK(icd_write_safetensors(temp_path("w"), &s, &err));
    CHECK_EQ(icd_write_safetensors(temp_path("none/w"), &s, &err), ICD_EIO);
    CHECK_SAYS(err.text, "none/w: cannot be written");
}

/* A disk that is full after each number of bytes: the old file stays, and nothing else. */
TEST(a_full_disk_leaves_the_old_file)
{
    struct rlimit old, little;
    int before;
    CHECK_OK(icd_write_safetensors(temp_path("w"), &all, &err));
    struct stat st;
    CHECK_EQ(stat(temp_path("w"), &st), 0);
    temp_write(temp_path("w"), "old", 3);
    before = temp_entries(temp_folder);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t room = 0; room < (rlim_t)st.st_size; room += 7) {
        little = (struct rlimit){ .rlim_cur = room, .rlim_max = old.rlim_max };
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
        CHECK_EQ(icd_write_safetensors(temp_path("w"), &all, &err), ICD_EIO);
        CHECK(temp_is(temp_path("w"), "old", 3));
        CHECK_EQ(temp_entries(temp_folder), before);
    }
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_OK(icd_write_safetensors(temp_path("w"), &all, &err));
}

TEST(memory_running_out_is_said)
{
    size_t live = icd_alloc_live(), bytes = 0;
    CHECK_OK(icd_write_safetensors(temp_path("w"), &all, &err));
    unsigned char *p = temp_read(temp_path("w"), &bytes);
    for (int writes = 0; writes < 2; writes++)
        for (long n = 1; ; n++) {
            icd_arena a = { 0 };
            icd_safetensors s;
            icd_alloc_fail_at(n);
            icd_status status = writes ? icd_write_safetensors(temp_path("w"), &all, &err)
                                       : icd_parse_safetensors(&a, "S", (icd_bytes){ p, bytes }, &s, &err);
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
            CHECK_SAYS(err.text, "no memory");
        }
    free(p);
}

/* ---- with Python on the other side ---- */

static void read_oracle(const char *name)
{
    char path[1024];
    icd_arena a = { 0 };
    icd_bytes b;
    icd_safetensors s;
    snprintf(path, sizeof path, "%s/%s", getenv("ICD_ORACLE_DIR"), name);
    CHECK_OK(icd_read_file(&a, path, &b, &err));
    if (test_failures == 0) {
        CHECK_OK(icd_parse_safetensors(&a, path, b, &s, &err));
        if (test_failures == 0)
            check_typed(&s);
    }
    icd_arena_release(&a);
}

TEST(files_by_python)
{
    char path[1024];
    read_oracle("in-plain.safetensors");
    snprintf(path, sizeof path, "%s/in-package.safetensors", getenv("ICD_ORACLE_DIR"));
    if (access(path, F_OK) == 0)
        read_oracle("in-package.safetensors");
    else
        printf("(the safetensors package is not installed: its own files were not read)\n");
}

TEST(files_for_python)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/out.safetensors", getenv("ICD_ORACLE_DIR"));
    CHECK_OK(icd_write_safetensors(path, &all, &err));
}

int main(int argc, char **argv)
{
    static const test_case tests[] = {
        T(a_file_by_hand), T(strings_with_escapes), T(files_that_are_refused), T(header_lengths_that_are_refused),
        T(what_is_written_by_hand), T(what_is_written_reads_back), T(what_cannot_be_written), T(a_full_disk_leaves_the_old_file),
        T(memory_running_out_is_said) };
    static const test_case oracle[] = { T(files_by_python), T(files_for_python) };
    if (getenv("ICD_ORACLE_DIR"))
        return test_main("safetensors-py", oracle, 2, argc, argv);
    return test_main("safetensors", tests, (int)(sizeof tests / sizeof tests[0]), argc, argv);
}
