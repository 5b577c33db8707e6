/* safetensors.c: checkpoints. 8 bytes of header length, the header (st_header.c), then the tensors' bytes without gaps. */
#include "safetensors.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "st_header.h"

enum { LONGEST_HEADER = 100000000 };                 /* the limit of the format's own library */

/* ---- reading ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first of names[0..n-1] that is there twice, or NULL; sorts them. */
static const char *find_twice(const char **names, int n)
{
    qsort(names, (size_t)n, sizeof *names, by_text);
    for (int i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return names[i];
    return NULL;
}

static icd_status check_names(const char *file, const icd_safetensors *s, icd_status kind, icd_err *err)
{
    size_t most = (size_t)(s->n_tensors > s->n_metadata ? s->n_tensors : s->n_metadata);
    const char **names = icd_alloc(most + 1, sizeof *names), *twice;
    if (!names)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory to compare %zu names", file, most);
    icd_status status = ICD_OK;
    char there[64];
    for (int i = 0; i < s->n_tensors; i++)
        names[i] = s->tensor[i].name;
    if ((twice = find_twice(names, s->n_tensors)))
        status = icd_fail(err, kind, "%s: two tensors named `%s`", file, icd_quote(there, sizeof there, twice, strlen(twice)));
    for (int i = 0; i < s->n_metadata; i++)
        names[i] = s->metadata[i].key;
    if (status == ICD_OK && (twice = find_twice(names, s->n_metadata)))
        status = icd_fail(err, kind, "%s: two keys of __metadata__ named `%s`", file,
                          icd_quote(there, sizeof there, twice, strlen(twice)));
    icd_free(names);
    return status;
}

typedef struct { size_t begin, end; const char *name; } span;      /* offsets into the data */

static int by_place(const void *a, const void *b)
{
    const span *s = a, *t = b;
    return s->begin != t->begin ? (s->begin < t->begin ? -1 : 1) : (s->end > t->end) - (s->end < t->end);
}

/* Every one of the data's `room` bytes belongs to one tensor. */
static icd_status check_layout(const char *file, const icd_safetensors *s, const unsigned char *data, size_t room, icd_err *err)
{
    span *place = icd_alloc((size_t)s->n_tensors + 1, sizeof *place);
    if (!place)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory to compare %d tensors", file, s->n_tensors);
    for (int i = 0; i < s->n_tensors; i++) {
        const icd_tensor *t = &s->tensor[i];
        size_t begin = (size_t)((const unsigned char *)t->data - data);
        place[i] = (span){ begin, begin + t->count * icd_dtype_size(t->dtype), t->name };
    }
    qsort(place, (size_t)s->n_tensors, sizeof *place, by_place);
    size_t at = 0;
    icd_status status = ICD_OK;
    for (int i = 0; i < s->n_tensors && status == ICD_OK; at = place[i++].end) {
        char name[64];
        if (place[i].begin != at)
            status = icd_fail(err, ICD_EFORMAT, "%s: tensor `%s` begins at data byte %zu, wanted %zu: %s", file,
                              icd_quote(name, sizeof name, place[i].name, strlen(place[i].name)), place[i].begin, at,
                              place[i].begin < at ? "it overlaps another" : "the bytes between belong to no tensor");
    }
    if (status == ICD_OK && at != room)
        status = icd_fail(err, ICD_EFORMAT, "%s: %zu bytes of data, wanted %zu: those after the last tensor belong to none", file,
                          room, at);
    icd_free(place);
    return status;
}

icd_status icd_parse_safetensors(icd_arena *a, const char *name, icd_bytes bytes, icd_safetensors *out, icd_err *err)
{
    if (bytes.n < 8)
        return icd_fail(err, ICD_EFORMAT, "%s: ends at byte %zu, wanted a safetensors header's length of 8 bytes", name, bytes.n);
    uint64_t n = icd_load_le(bytes.p, 8);
    if (n > bytes.n - 8)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 0: a safetensors header of %" PRIu64 " bytes, but only %zu follow", name, n,
                        bytes.n - 8);
    if (n > LONGEST_HEADER)
        return icd_fail(err, ICD_EFORMAT, "%s: byte 0: a safetensors header of %" PRIu64 " bytes, wanted at most %d", name, n,
                        LONGEST_HEADER);
    icd_safetensors s = { 0 };
    size_t data = 8 + (size_t)n;
    ICD_TRY(icd_st_header(a, name, bytes, (size_t)n, &s, err));
    ICD_TRY(check_names(name, &s, ICD_EFORMAT, err));
    ICD_TRY(check_layout(name, &s, bytes.p + data, bytes.n - data, err));
    *out = s;
    return ICD_OK;
}

const icd_tensor *icd_st_find(const icd_safetensors *s, const char *name)
{
    for (int i = 0; i < s->n_tensors; i++)
        if (strcmp(s->tensor[i].name, name) == 0)
            return &s->tensor[i];
    return NULL;
}

const char *icd_st_metadata(const icd_safetensors *s, const char *key)
{
    for (int i = 0; i < s->n_metadata; i++)
        if (strcmp(s->metadata[i].key, key) == 0)
            return s->metadata[i].value;
    return NULL;
}

double icd_st_value(const icd_tensor *t, size_t i)
{
    assert(i < t->count);
    size_t size = icd_dtype_size(t->dtype);
    uint64_t u = icd_load_le((const unsigned char *)t->data + i * size, (int)size);
    switch (t->dtype) {
    case ICD_F32: return (double)icd_bits_to_float((uint32_t)u);
    case ICD_F64: return icd_bits_to_double(u);
    case ICD_I32: return u < UINT64_C(1) << 31 ? (double)u : (double)u - 4294967296.0;
    case ICD_I64: return u < UINT64_C(1) << 63 ? (double)u : -(double)(~u) - 1.0;
    case ICD_U8: break;
    }
    return (double)u;
}

/* ---- writing ---- */

/* Where the header goes: counted always, written where w is not NULL. The first failure stays. */
typedef struct { icd_writer *w; size_t n; icd_status status; icd_err *err; } sink;

static void emit(sink *s, const char *text, size_t n)
{
    s->n += n;
    if (s->w && s->status == ICD_OK)
        s->status = icd_writer_put(s->w, text, n, s->err);
}

static void emit_text(sink *s, const char *text) { emit(s, text, strlen(text)); }

static void emit_number(sink *s, size_t v)
{
    char text[24];
    emit(s, text, (size_t)snprintf(text, sizeof text, "%zu", v));
}

static void emit_string(sink *s, const char *text)
{
    emit_text(s, "\"");
    for (const char *p = text; *p; p++) {
        char escaped[8];
        if (*p == '"' || *p == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*p);
        else
            snprintf(escaped, sizeof escaped, "%c", *p);
        emit_text(s, escaped);
    }
    emit_text(s, "\"");
}

static void emit_header(sink *s, const icd_safetensors *st)
{
    const char *comma = "";
    emit_text(s, "{");
    if (st->n_metadata > 0) {
        emit_text(s, "\"__metadata__\":{");
        for (int i = 0; i < st->n_metadata; i++) {
            emit_text(s, i > 0 ? "," : "");
            emit_string(s, st->metadata[i].key);
            emit_text(s, ":");
            emit_string(s, st->metadata[i].value);
        }
        emit_text(s, "}");
        comma = ",";
    }
    size_t at = 0;
    for (int i = 0; i < st->n_tensors; i++, comma = ",") {
        const icd_tensor *t = &st->tensor[i];
        emit_text(s, comma);
        emit_string(s, t->name);
        emit_text(s, ":{\"dtype\":\"");
        emit_text(s, icd_dtype_name(t->dtype));
        emit_text(s, "\",\"shape\":[");
        for (int j = 0; j < t->rank; j++) {
            emit_text(s, j > 0 ? "," : "");
            emit_number(s, t->shape[j]);
        }
        emit_text(s, "],\"data_offsets\":[");
        emit_number(s, at);
        at += t->count * icd_dtype_size(t->dtype);
        emit_text(s, ",");
        emit_number(s, at);
        emit_text(s, "]}");
    }
    emit_text(s, "}");
    while (s->n % 8 != 0)
        emit_text(s, " ");
}

static icd_status check_text(const char *path, const char *text, const char *what, icd_err *err)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; ) {
        int n = icd_utf8_length(p, strlen((const char *)p));
        char there[64];
        if (n == 0)
            return icd_fail(err, ICD_EINVAL, "%s: %s `%s` is not well-formed UTF-8", path, what,
                            icd_quote(there, sizeof there, text, strlen(text)));
        p += n;
    }
    return ICD_OK;
}

static icd_status check_writable(const char *path, const icd_safetensors *s, icd_err *err)
{
    for (int i = 0; i < s->n_tensors; i++) {
        const icd_tensor *t = &s->tensor[i];
        size_t count = 1;
        assert(t->rank >= 0 && t->rank <= ICD_ST_RANK);
        for (int j = 0; j < t->rank; j++)
            count *= t->shape[j];
        assert(count == t->count);
        (void)count;
        if (strcmp(t->name, "__metadata__") == 0)
            return icd_fail(err, ICD_EINVAL, "%s: a tensor cannot be named __metadata__", path);
        ICD_TRY(check_text(path, t->name, "tensor name", err));
    }
    for (int i = 0; i < s->n_metadata; i++) {
        ICD_TRY(check_text(path, s->metadata[i].key, "metadata key", err));
        ICD_TRY(check_text(path, s->metadata[i].value, "metadata value", err));
    }
    return check_names(path, s, ICD_EINVAL, err);
}

icd_status icd_write_safetensors(const char *path, const icd_safetensors *s, icd_err *err)
{
    ICD_TRY(check_writable(path, s, err));
    sink counted = { NULL, 0, ICD_OK, err };
    emit_header(&counted, s);
    icd_writer w;
    uint64_t n = counted.n;
    if (n > LONGEST_HEADER)
        return icd_fail(err, ICD_EINVAL, "%s: a safetensors header of %" PRIu64 " bytes, wanted at most %d", path, n,
                        LONGEST_HEADER);
    ICD_TRY(icd_writer_open(&w, path, err));
    ICD_TRY(icd_writer_put_le(&w, &n, 1, 8, err));
    sink written = { &w, 0, ICD_OK, err };
    emit_header(&written, s);
    ICD_TRY(written.status);
    for (int i = 0; i < s->n_tensors; i++)
        ICD_TRY(icd_writer_put_le(&w, s->tensor[i].data, s->tensor[i].count, (int)icd_dtype_size(s->tensor[i].dtype), err));
    return icd_writer_commit(&w, err);
}
