/* gemm.h: the two register-blocked products that every convolution here is made of. */
#ifndef FAST_CPU_GEMM_H
#define FAST_CPU_GEMM_H

#include <stddef.h>

#include "fast/backend.h"
#include "fast/cpu/simd.h"

/* A tile of results is held in registers: GEMM_ROWS rows of GEMM_BLOCKS blocks of 16 floats. */
#if defined(FAST_ISA_avx512)
enum { GEMM_ROWS = 14, GEMM_BLOCKS = 2 };
#else
enum { GEMM_ROWS = 6, GEMM_BLOCKS = 1 };
#endif

/* A panel: the weights of GEMM_BLOCKS blocks of outputs (the last panel may have fewer), [kb][16 k][block][16]. */
static inline int gemm_panels(int blocks) { return (blocks + GEMM_BLOCKS - 1) / GEMM_BLOCKS; }
static inline int gemm_panel_blocks(int blocks, int panel)
{
    int left = blocks - panel * GEMM_BLOCKS;
    return left < GEMM_BLOCKS ? left : GEMM_BLOCKS;
}

/* Where a product's blocks of 16 k lie, floats from a and w: row m of block kb begins at a + a_at[kb] + 16 m. */
typedef struct { ptrdiff_t a, w; } gemm_k;

/* C[m][block][16] = sum over kb and k < depth of A[kb][m][k] W[kb][k][block][16] (+ bias + add), m < rows <= GEMM_ROWS. */
typedef struct {
    int blocks;              /* of the panel: 1..GEMM_BLOCKS */
    int lanes;               /* valid ones of the last block: 1..16; the others are written as 0 */
    int depth;               /* k used of each block, a multiple of 4 */
    int kbs;
    const gemm_k *k;
    const float *w;
    const float *bias;       /* [block][16] or NULL */
    ptrdiff_t c_block;       /* floats from a block of c (and add) to the next */
    const float *ahead;      /* weights wanted later, or NULL: ahead_lines lines per kb are fetched into the L2 cache */
    int ahead_lines;
} gemm_panel;

/* Row m of c, and of add (or NULL), begins at c_at[m]; c_at NULL: 16 m. */
void CPU_(gemm)(const gemm_panel *p, int rows, const float *a, const float *add, float *c, const ptrdiff_t *c_at);

/* R[m][block][16] (+)= sum over runs r and t < length of A[r][t][m] B[r][block][t][16], m < 16. */
typedef struct { const float *a, *b; int length; } gemm_run;
void CPU_(gemm_outer)(int blocks, int runs, const gemm_run *run, ptrdiff_t b_block, int add, float *r);

#endif
