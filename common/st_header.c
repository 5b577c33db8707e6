/* st_header.c: the JSON header of a safetensors file:
 *   {"__metadata__": {"key": "value", ...}, "tensor": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, ...}
 * The format fixes every level, so nothing here recurses, and no input nests deeper than the code does. */
#include "st_header.h"

#include <string.h>

static const struct { const char *name; size_t size; } dtypes[] =
    { { "F32", 4 }, { "F64", 8 }, { "U8", 1 }, { "I32", 4 }, { "I64", 8 } };      /* in the order of icd_dtype */
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t icd_dtype_size(icd_dtype t) { return dtypes[t].size; }
const char *icd_dtype_name(icd_dtype t) { return dtypes[t].name; }

int icd_utf8_length(const unsigned char *p, size_t n)
{
    int length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || n < (size_t)length)
        return 0;
    for (int i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)      /* overlong; surrogates */
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))  /* overlong; beyond U+10FFFF */
        return 0;
    return length;
}

/* at: where the next byte to read is, counted from the file's start; end: where the header ends. */
typedef struct { icd_arena *a; const char *name; const unsigned char *p; size_t at, end; icd_err *err; } reader;

static icd_status wanted(const reader *r, const char *what)
{
    char there[24];
    icd_quote(there, sizeof there, r->p + r->at, r->end - r->at);
    return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu: `%s`, wanted %s", r->name, r->at, there, what);
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

/* What a value must begin with; an object or an array elsewhere is nesting that the format does not have. */
static icd_status open_value(reader *r, char c, const char *what)
{
    if (take(r, c))
        return ICD_OK;
    if (r->at < r->end && (r->p[r->at] == '{' || r->p[r->at] == '['))
        return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu: `%c` is nested deeper than, or elsewhere than, the format has; "
                        "wanted %s", r->name, r->at, r->p[r->at], what);
    return wanted(r, what);
}

/* After a member of a list that ends in `close`: 1 goes on, 0 it is over. */
static icd_status more(reader *r, char close, int *go_on)
{
    *go_on = take(r, ',');
    if (!*go_on && !take(r, close))
        return wanted(r, close == '}' ? "`,` or `}`" : "`,` or `]`");
    return ICD_OK;
}

/* ---- strings ---- */

static icd_status read_hex4(reader *r, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int c = r->at < r->end ? r->p[r->at] : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return wanted(r, "four hexadecimal digits after \\u");
        v = v << 4 | (uint32_t)digit;
    }
    *out = v;
    return ICD_OK;
}

/* After \u: one code point, which may take a second \uXXXX. */
static icd_status read_code_point(reader *r, uint32_t *out)
{
    reader start = *r;
    uint32_t high = 0, low = 0;
    ICD_TRY(read_hex4(r, &high));
    if (high == 0)
        return wanted(&start, "text without NUL");
    if (high >= 0xd800 && high < 0xdc00) {
        if (r->end - r->at < 2 || r->p[r->at] != '\\' || r->p[r->at + 1] != 'u')
            return wanted(&start, "a high surrogate to have a low one after it");
        r->at += 2;
        ICD_TRY(read_hex4(r, &low));
        if (low < 0xdc00 || low >= 0xe000)
            return wanted(&start, "a high surrogate to have a low one after it");
        high = 0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00));
    } else if (high >= 0xdc00 && high < 0xe000) {
        return wanted(&start, "a low surrogate only after a high one");
    }
    *out = high;
    return ICD_OK;
}

static size_t put_utf8(char *out, uint32_t v)
{
    static const uint32_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    int n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, v >>= 6)
        out[i] = (char)(0x80 | (v & 0x3f));
    out[0] = (char)(lead[n] | v);
    return (size_t)n;
}

static icd_status read_escape(reader *r, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    reader start = *r;
    r->at++;
    char c = r->at < r->end ? (char)r->p[r->at++] : '\0';
    if (c == 'u') {
        uint32_t v = 0;
        ICD_TRY(read_code_point(r, &v));
        *n += put_utf8(out + *n, v);
        return ICD_OK;
    }
    const char *known = c ? strchr(from, c) : NULL;
    if (!known)
        return wanted(&start, "an escape of JSON");
    out[(*n)++] = to[known - from];
    return ICD_OK;
}

/* A string, unescaped: well-formed UTF-8 without NUL, memory from the arena. */
static icd_status read_string(reader *r, const char *what, char **out)
{
    ICD_TRY(open_value(r, '"', what));
    size_t close = r->at;
    while (close < r->end && r->p[close] != '"')
        close += r->p[close] == '\\' ? 2 : 1;
    if (close >= r->end)
        return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu: a string that the header's end cuts off", r->name, r->at - 1);
    char *s = icd_arena_alloc(r->a, close - r->at + 1, 1);     /* no escape is shorter than what it stands for */
    if (!s)
        return icd_fail(r->err, ICD_ENOMEM, "%s: no memory for a name of %zu bytes", r->name, close - r->at);
    size_t n = 0;
    while (r->at < close) {
        if (r->p[r->at] == '\\') {
            ICD_TRY(read_escape(r, s, &n));
            continue;
        }
        int length = icd_utf8_length(r->p + r->at, close - r->at);
        if (length == 0 || r->p[r->at] < 0x20)
            return wanted(r, "well-formed UTF-8 without control characters in a string");
        memcpy(s + n, r->p + r->at, (size_t)length);
        n += (size_t)length;
        r->at += (size_t)length;
    }
    r->at = close + 1;
    *out = s;
    return ICD_OK;
}

/* ---- numbers ---- */

static icd_status read_size(reader *r, size_t *out)
{
    static const char what[] = "a whole number, not negative, in plain digits";
    skip_blanks(r);
    reader start = *r;
    if (r->at < r->end && (r->p[r->at] == '{' || r->p[r->at] == '['))
        return open_value(r, '0', what);
    size_t v = 0, digits = 0;
    for (; r->at < r->end && r->p[r->at] >= '0' && r->p[r->at] <= '9'; r->at++, digits++) {
        size_t d = (size_t)(r->p[r->at] - '0');
        if (v > (SIZE_MAX - d) / 10)
            return wanted(&start, "a number that fits into memory");
        v = v * 10 + d;
    }
    int goes_on = r->at < r->end && (r->p[r->at] == '.' || r->p[r->at] == 'e' || r->p[r->at] == 'E');
    if (digits == 0 || goes_on || (digits > 1 && r->p[start.at] == '0'))
        return wanted(&start, what);
    *out = v;
    return ICD_OK;
}

/* [1,2,3] of at most `cap` numbers. */
static icd_status read_sizes(reader *r, const char *what, size_t *v, int cap, int *n)
{
    ICD_TRY(open_value(r, '[', what));
    *n = 0;
    for (int go_on = !take(r, ']'); go_on; ) {
        if (*n == cap)
            return wanted(r, what);
        ICD_TRY(read_size(r, &v[(*n)++]));
        ICD_TRY(more(r, ']', &go_on));
    }
    return ICD_OK;
}

/* ---- the two kinds of entry ---- */

static icd_status read_metadata(reader *r, icd_safetensors *s)
{
    ICD_TRY(open_value(r, '{', "an object of strings for __metadata__"));
    for (int go_on = !take(r, '}'); go_on; ) {
        char *key = NULL, *value = NULL;
        ICD_TRY(read_string(r, "a key of __metadata__ in quotes", &key));
        if (!take(r, ':'))
            return wanted(r, "`:`");
        ICD_TRY(read_string(r, "a value of __metadata__ in quotes", &value));
        s->metadata[s->n_metadata++] = (icd_pair){ key, value };
        ICD_TRY(more(r, '}', &go_on));
    }
    return ICD_OK;
}

static icd_status read_dtype(reader *r, icd_dtype *out)
{
    static const char what[] = "a dtype of \"F32\", \"F64\", \"U8\", \"I32\" or \"I64\"";
    skip_blanks(r);
    reader start = *r;
    char *text = NULL;
    ICD_TRY(read_string(r, what, &text));
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(text, dtypes[i].name) == 0) {
            *out = (icd_dtype)i;
            return ICD_OK;
        }
    return wanted(&start, what);
}

/* The values of a tensor lie in [begin,end) of the data: `room` bytes from `data` on. */
static icd_status place_tensor(const reader *r, icd_tensor *t, const size_t offset[2], size_t room)
{
    char name[64];
    icd_quote(name, sizeof name, t->name, strlen(t->name));
    if (offset[0] > offset[1] || offset[1] > room)
        return icd_fail(r->err, ICD_EFORMAT, "%s: tensor `%s`: data_offsets [%zu,%zu], wanted begin <= end <= %zu", r->name,
                        name, offset[0], offset[1], room);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] != 0 && t->count > SIZE_MAX / t->shape[i])
            return icd_fail(r->err, ICD_EFORMAT, "%s: tensor `%s`: the product of its shape overflows", r->name, name);
        t->count *= t->shape[i];
    }
    size_t size = dtypes[t->dtype].size, there = offset[1] - offset[0];
    if (t->count > SIZE_MAX / size || t->count * size != there)
        return icd_fail(r->err, ICD_EFORMAT, "%s: tensor `%s`: data_offsets span %zu bytes, wanted %zu values of %zu bytes",
                        r->name, name, there, t->count, size);
    t->data = r->p + r->end + offset[0];
    return ICD_OK;
}

static icd_status read_tensor(reader *r, size_t room, icd_tensor *t)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    static const char what[] = "\"dtype\", \"shape\" or \"data_offsets\", each once";
    int seen = 0, numbers = 0;
    size_t offset[2] = { 0, 0 };
    ICD_TRY(open_value(r, '{', "an object for a tensor"));
    reader start = *r;
    for (int go_on = !take(r, '}'); go_on; ) {
        skip_blanks(r);
        reader at_key = *r;
        char *key = NULL;
        ICD_TRY(read_string(r, what, &key));
        int field = strcmp(key, "dtype") == 0 ? DTYPE : strcmp(key, "shape") == 0 ? SHAPE
                    : strcmp(key, "data_offsets") == 0 ? OFFSETS : 0;
        if (field == 0 || (seen & field))
            return wanted(&at_key, what);
        seen |= field;
        if (!take(r, ':'))
            return wanted(r, "`:`");
        if (field == DTYPE) {
            ICD_TRY(read_dtype(r, &t->dtype));
        } else if (field == SHAPE) {
            ICD_TRY(read_sizes(r, "a shape: an array of at most 8 numbers", t->shape, ICD_ST_RANK, &t->rank));
        } else {
            reader at_value = *r;
            ICD_TRY(read_sizes(r, "data_offsets: an array of two numbers", offset, 2, &numbers));
            if (numbers != 2)
                return wanted(&at_value, "data_offsets: an array of two numbers");
        }
        ICD_TRY(more(r, '}', &go_on));
    }
    if (seen != ALL) {
        char name[64];
        return icd_fail(r->err, ICD_EFORMAT, "%s: byte %zu: tensor `%s` has no \"%s\"", r->name, start.at - 1,
                        icd_quote(name, sizeof name, t->name, strlen(t->name)),
                        !(seen & DTYPE) ? "dtype" : !(seen & SHAPE) ? "shape" : "data_offsets");
    }
    return place_tensor(r, t, offset, room);
}

icd_status icd_st_header(icd_arena *a, const char *name, icd_bytes bytes, size_t n, icd_safetensors *out, icd_err *err)
{
    /* The shortest entries: "a":{"dtype":"U8","shape":[],"data_offsets":[0,0]}, and "":"", */
    enum { SHORTEST_TENSOR = 48, SHORTEST_PAIR = 6 };
    reader r = { a, name, bytes.p, 8, 8 + n, err };
    icd_safetensors s = { 0 };
    s.tensor = icd_arena_alloc(a, n / SHORTEST_TENSOR + 1, sizeof *s.tensor);
    s.metadata = icd_arena_alloc(a, n / SHORTEST_PAIR + 1, sizeof *s.metadata);
    if (!s.tensor || !s.metadata)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for a header of %zu bytes", name, n);
    int had_metadata = 0;
    ICD_TRY(open_value(&r, '{', "`{`"));
    for (int go_on = !take(&r, '}'); go_on; ) {
        skip_blanks(&r);
        reader at_key = r;
        char *key = NULL;
        ICD_TRY(read_string(&r, "a tensor's name in quotes", &key));
        if (!take(&r, ':'))
            return wanted(&r, "`:`");
        if (strcmp(key, "__metadata__") == 0) {
            if (had_metadata++)
                return wanted(&at_key, "__metadata__ only once");
            ICD_TRY(read_metadata(&r, &s));
        } else {
            s.tensor[s.n_tensors].name = key;
            ICD_TRY(read_tensor(&r, bytes.n - r.end, &s.tensor[s.n_tensors]));
            s.n_tensors++;
        }
        ICD_TRY(more(&r, '}', &go_on));
    }
    skip_blanks(&r);
    if (r.at != r.end)
        return wanted(&r, "blanks to the header's end");
    *out = s;
    return ICD_OK;
}
