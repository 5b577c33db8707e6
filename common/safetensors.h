/* safetensors.h: the checkpoint format. 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
 * Python's `safetensors` package reads what this writes, and the other way round. */
#ifndef ICD_SAFETENSORS_H
#define ICD_SAFETENSORS_H

#include "file.h"

enum { ICD_ST_RANK = 8 };
typedef enum { ICD_F32, ICD_F64, ICD_U8, ICD_I32, ICD_I64 } icd_dtype;

typedef struct {
    const char *name;
    icd_dtype dtype;
    int rank;                       /* 0: a scalar */
    size_t shape[ICD_ST_RANK], count;
    const void *data;               /* reading: little-endian bytes in the file; writing: native values of that dtype */
} icd_tensor;

typedef struct { const char *key, *value; } icd_pair;

typedef struct {
    int n_tensors, n_metadata;
    icd_tensor *tensor;             /* in the order of the header */
    icd_pair *metadata;
} icd_safetensors;

/* Parse a whole file's bytes; names and values live in a, data in bytes. Refused, each with a line of its own: a header
 * longer than the file, malformed JSON, nesting deeper than the format has, duplicate names, unknown dtypes, shapes whose
 * product overflows or differs from the offsets, overlapping or uncovered bytes, trailing bytes. */
icd_status icd_parse_safetensors(icd_arena *a, const char *name, icd_bytes bytes, icd_safetensors *out, icd_err *err);

/* NULL where there is none of that name. */
const icd_tensor *icd_st_find(const icd_safetensors *s, const char *name);
const char *icd_st_metadata(const icd_safetensors *s, const char *key);

/* Element i < count of a tensor that was read, as double. (I64 beyond 2^53 is rounded.) */
double icd_st_value(const icd_tensor *t, size_t i);

/* Write atomically, tensors in the order given, header padded to 8 bytes with spaces. Names must be unique. */
icd_status icd_write_safetensors(const char *path, const icd_safetensors *s, icd_err *err);

#endif
