/* rng.h: counter-based randomness. Every draw is a pure function of (seed, iteration, purpose, sample, index):
 * no state, so any draw can be replayed, and engines, threads and resumed runs agree.
 *
 * Philox 4x32-10 (Salmon et al., SC11) gives the bits. Normals come from them by Box-Muller in float32 with
 * add, subtract, multiply, divide, square root and integer work only, each rounded to float: no libm, so every
 * engine, compiler and platform with IEEE arithmetic draws the same bits. */
#ifndef ICD_RNG_H
#define ICD_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a draw is for. The numbers are part of the format of a run: append, never renumber. */
typedef enum {
    ICD_DRAW_LANGEVIN = 1,     /* noise of the chain; index = k*D + pixel, k = 0..K-1          [ICD:alg1.10] */
    ICD_DRAW_POSITIVE = 2,     /* which datum is x+                                            [ICD:alg1.4]  */
    ICD_DRAW_START = 3,        /* which buffer entry starts a chain, and whether it restarts   [ICD:alg1.5]  */
    ICD_DRAW_UNIFORM = 4,      /* pixels of a fresh start                                      [ICD:alg1.5]  */
    ICD_DRAW_NEIGHBOUR = 5,    /* which buffer entries are X                                   [ICD:alg1.6]  */
    ICD_DRAW_AUGMENT = 6,      /* the transition D of a start                                  [ICD:alg1.7]  */
    ICD_DRAW_NN_AUGMENT = 7,   /* the transition D of a neighbour (nn_augment) */
    ICD_DRAW_BUFFER = 8,       /* reservoir replacement, uint8 rounding                        [ICD:alg1.18] */
    ICD_DRAW_INIT = 9,         /* initial parameters; sample = parameter number */
    ICD_DRAW_DATA = 10,        /* digits, gmm, rings */
    ICD_DRAW_DATA_NOISE = 11,  /* noise added to positives (Anatomy) */
    ICD_DRAW_LABEL = 12,       /* class of a fresh start */
    ICD_DRAW_SAMPLE = 13,      /* Algorithm 2: starts and noise; iteration = its round n */
    ICD_DRAW_SAMPLE_AUGMENT = 14,
    ICD_DRAW_TEST = 15         /* tests and verify */
} icd_purpose;

typedef struct {
    uint64_t seed, iteration;
    uint32_t purpose, sample;    /* sample: the global number of the image, so that processes can share a batch */
} icd_stream;

/* The raw generator: counter and key as in the Random123 paper. */
void icd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Draw number `index` of a stream. Draws 4b..4b+3 come from one Philox block. */
uint32_t icd_bits(const icd_stream *s, uint64_t index);      /* 32 random bits */
float icd_uniform(const icd_stream *s, uint64_t index);      /* [0,1), multiples of 2^-24 */
float icd_normal(const icd_stream *s, uint64_t index);       /* N(0,1); |z| < 6.8 */
uint32_t icd_below(const icd_stream *s, uint64_t index, uint32_t n);   /* 0..n-1, n > 0; bias under n/2^32 */

/* out[0..count-1] = draws first, first+1, ...: the same numbers as one by one, and quicker. */
void icd_uniforms(const icd_stream *s, uint64_t first, size_t count, float *out);
void icd_normals(const icd_stream *s, uint64_t first, size_t count, float *out);

#endif
