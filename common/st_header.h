/* st_header.h: the JSON header of a safetensors file. Used by safetensors.c only. */
#ifndef ICD_ST_HEADER_H
#define ICD_ST_HEADER_H

#include "safetensors.h"

/* Bytes of one value, and the format's name for it. */
size_t icd_dtype_size(icd_dtype t);
const char *icd_dtype_name(icd_dtype t);

/* Length of the UTF-8 sequence at p, of n > 0 bytes: 1 to 4, or 0 where it is not well-formed. */
int icd_utf8_length(const unsigned char *p, size_t n);

/* Parse bytes [8, 8+n) of the file. Names, metadata and shapes come out; data points into the bytes after the header.
 * Checked here: JSON, fields, dtypes, that offsets lie in the file and agree with dtype and shape. Not here: duplicate
 * names, and how the tensors lie beside one another. */
icd_status icd_st_header(icd_arena *a, const char *name, icd_bytes bytes, size_t n, icd_safetensors *out, icd_err *err);

#endif
