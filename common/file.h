/* file.h: whole files in, whole files out. A file appears under its name complete or not at all. */
#ifndef ICD_FILE_H
#define ICD_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "memory.h"

typedef struct { const unsigned char *p; size_t n; } icd_bytes;

/* Read the whole of path into memory from a. Directories, unreadable and vanishing files, pipes and devices are ICD_EIO. */
icd_status icd_read_file(icd_arena *a, const char *path, icd_bytes *out, icd_err *err);

/* Write to PATH.tmp-PID in the same folder, sync, rename over PATH. Nothing touches PATH before commit, and a PATH that
 * is a folder or a device is refused. A failure removes the temporary file.
 * After a failed put the writer is dead: later calls return the first failure. Either commit or abort ends it. */
typedef struct { FILE *f; char path[1024], temporary[1088]; icd_status failed; } icd_writer;

icd_status icd_writer_open(icd_writer *w, const char *path, icd_err *err);
icd_status icd_writer_put(icd_writer *w, const void *p, size_t n, icd_err *err);
/* count native integers or floats of size 1, 2, 4 or 8 bytes, as little-endian bytes. */
icd_status icd_writer_put_le(icd_writer *w, const void *p, size_t count, int size, icd_err *err);
icd_status icd_writer_commit(icd_writer *w, icd_err *err);
void icd_writer_abort(icd_writer *w);

/* The n bytes at p as text for a message: one line of ASCII, other bytes as `?`, cut to fit into cap > 4 with `...`.
 * Returns out. */
const char *icd_quote(char *out, size_t cap, const void *p, size_t n);

/* Little- and big-endian loads and stores, on any host. */
uint32_t icd_load_be32(const unsigned char *p);
uint64_t icd_load_le(const unsigned char *p, int bytes);                 /* 1, 2, 4 or 8 of them */
uint64_t icd_load_be(const unsigned char *p, int bytes);
void icd_store_le(unsigned char *p, uint64_t v, int bytes);
float icd_bits_to_float(uint32_t u);
double icd_bits_to_double(uint64_t u);
uint32_t icd_float_to_bits(float x);
uint64_t icd_double_to_bits(double x);

#endif
