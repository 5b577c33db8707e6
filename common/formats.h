/* formats.h: readers and writers of data files. Each reader takes bytes in memory (so that a fuzzer can feed it);
 * `name` is the file's name for messages. On failure *out is untouched and err says the file, the byte offset or
 * field, what was there and what was wanted. Nothing is read beyond `bytes`; sizes are checked before memory is taken. */
#ifndef ICD_FORMATS_H
#define ICD_FORMATS_H

#include "file.h"
#include "images.h"

/* IDX (MNIST): magic 0x00000803, n, h, w, then n*h*w uint8. out is (n,1,h,w), v/255. Trailing bytes are an error. */
icd_status icd_parse_idx_images(icd_arena *a, const char *name, icd_bytes bytes, icd_images *out, icd_err *err);
/* IDX labels: magic 0x00000801, n, then n uint8. *label is (n). EMNIST's letters start at 1 and are kept as they are. */
icd_status icd_parse_idx_labels(icd_arena *a, const char *name, icd_bytes bytes, int32_t **label, int *n, icd_err *err);

/* CIFAR-10 binary: records of 1 label byte (0..9) and 3*32*32 uint8. out is (n,3,32,32), v/255. */
icd_status icd_parse_cifar(icd_arena *a, const char *name, icd_bytes bytes, icd_images *out, icd_err *err);

/* .npy, versions 1 to 3, C order, uint8 / float32 / float64 / int32 / int64, either byte order, rank 0 to 8. */
typedef struct {
    char type;                  /* 'u' uint8, 'f' float32, 'd' float64, 'i' int32, 'l' int64 */
    int rank;
    size_t shape[8], count;     /* count: the product of shape (1 for rank 0) */
    const unsigned char *data;  /* inside the bytes given */
    int big_endian;
} icd_npy;
icd_status icd_parse_npy(const char *name, icd_bytes bytes, icd_npy *out, icd_err *err);
double icd_npy_value(const icd_npy *a, size_t i);                 /* element i as double; i < count */

/* An .npy as images: rank 4, (N,C,H,W) or (N,H,W,C); rank 3 is (N,H,W) with one channel; rank 2 (N,D) is (N,D,1,1).
 * (N,H,W,C) is taken where the last axis is 1 or 3 and the second is not. uint8 becomes v/255; floats are kept.
 * A float that is not finite, or beyond float32, is ICD_ENAN with its index. */
icd_status icd_npy_images(icd_arena *a, const char *name, const icd_npy *npy, icd_images *out, icd_err *err);

/* Write .npy, version 1, little-endian, C order. type 'f' takes float data, 'd' double, 'u' uint8, 'l' int64. */
icd_status icd_write_npy(const char *path, char type, int rank, const size_t *shape, const void *data, icd_err *err);

/* PNG, 8 bits, 1 (grey) or 3 (RGB) channels: px is (h,w,channels). Runs are compressed. */
icd_status icd_write_png(const char *path, int w, int h, int channels, const uint8_t *px, icd_err *err);
/* A grid of n images (n,c,h,w), c 1 or 3, `columns` a row (0: about square), each `zoom` times enlarged, one pixel
 * apart and from the edges on a mid-grey ground; values clamped to [0,1], rounded to nearest, NaN black. A set of 2-channel
 * 1x1 points is drawn as a scatter plot of the unit square, 128*zoom pixels a side, y upwards; points beyond are left out. */
icd_status icd_write_grid(const char *path, const icd_images *s, int columns, int zoom, icd_err *err);
/* Could that be drawn (channels, size)? The images themselves are not looked at, s->x may be NULL. */
icd_status icd_grid_check(const char *path, const icd_images *s, int columns, int zoom, icd_err *err);

#endif
