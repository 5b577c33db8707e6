/* winograd.h: how a batch of images is cut into tiles, and the transforms of a chunk of them.
 *
 * Tiles are numbered over (image, row, column) and taken in chunks of at most WINOGRAD_CHUNK. The transformed chunk is
 * [block][position][tile][16]: one block of it fits the first-level cache, and a product reads consecutive rows. */
#ifndef FAST_CPU_WINOGRAD_H
#define FAST_CPU_WINOGRAD_H

#include "fast/cpu/conv.h"

#if defined(FAST_ISA_avx512)
enum { WINOGRAD_CHUNK = 14 };
#else
enum { WINOGRAD_CHUNK = 12 };
#endif

typedef struct {
    int m, positions;        /* tile side: 2 or 4; (m + 2)^2 */
    int h, w;                /* image */
    int rows, columns;       /* tiles of an image */
    int tiles;               /* of the batch */
    int chunk;               /* tiles of a chunk; the last may have fewer */
    ptrdiff_t place;         /* floats from a position to the next: 16 chunk */
    ptrdiff_t block;         /* floats from a block of channels to the next */
} winograd_grid;
winograd_grid CPU_(winograd_grid)(int m, int n, int h, int w);

/* v[block][position][tile][16] = BT d B of tiles first..first+count-1 of x (blocked). */
void CPU_(winograd_input)(const winograd_grid *g, int blocks, const float *x, int first, int count, float *v);
/* The same of A (scale gy) AT; scale (n) or NULL. */
void CPU_(winograd_spread)(const winograd_grid *g, int blocks, const float *gy, const float *scale, int first, int count,
                           float *v);
/* y = AT M A + bias + add in blocks first_block.. of the `all_blocks` of y; lanes: valid ones of the last of them. */
void CPU_(winograd_output)(const winograd_grid *g, int blocks, int first_block, int all_blocks, int lanes, const float *product,
                           int first, int count, const float *bias, const float *add, float *y);

#endif
