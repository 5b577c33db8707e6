/* conv.h: what the files of the convolution share. Names as in fast/backend.h. */
#ifndef FAST_CPU_CONV_H
#define FAST_CPU_CONV_H

#include <stddef.h>

#include "fast/backend.h"
#include "fast/cpu/gemm.h"

/* A linear map between images: fwd (x to y, contracted over the channels of x) or bwd_x (gy to gx). */
typedef struct {
    int n;
    int cs, hs, ws;          /* source: channels, rows, columns */
    int cd, hd, wd;          /* destination */
    int k, s, p;             /* of the convolution */
    int backward;            /* 1: the destination is gx */
} conv_map;
conv_map CPU_(conv_forward)(int n, const fast_conv *c);
conv_map CPU_(conv_backward)(int n, const fast_conv *c);

/* k used of a block of channels: all 16 if there are several blocks. */
static inline int conv_depth(int channels) { return channels > 12 ? FAST_LANES : (channels + 3) / 4 * 4; }
static inline size_t conv_round(size_t floats) { return (floats + 15) / 16 * 16; }
static inline int conv_min(int a, int b) { return a < b ? a : b; }
/* Rows in equal tiles of at most `most`. */
static inline int conv_even(int rows, int most)
{
    int tiles = (rows + most - 1) / most;
    return (rows + tiles - 1) / tiles;
}

/* Panels of weights for `taps` products (taps or positions) of kbs blocks of k each and `blocks` blocks of results. */
static inline size_t conv_panel_floats(int taps, int kbs, int blocks)
{
    return (size_t)taps * (size_t)kbs * (size_t)blocks * 256;
}

/* out[t][lane] = w[lane*stride + t], t < taps, lane < lanes; 0 in the other lanes up to 16. */
void CPU_(conv_lanes)(const float *w, size_t stride, int lanes, int taps, float *out);

/* The three ways that a map runs. Scratch in floats. */
size_t CPU_(gather_scratch)(const conv_map *m);
void CPU_(gather_run)(float *scratch, const conv_map *m, const float *src, const float *packed, const float *bias,
                      const float *add, float *dst);
int CPU_(direct_can)(const conv_map *m);
size_t CPU_(direct_scratch)(const conv_map *m);
void CPU_(direct_run)(float *scratch, const conv_map *m, const float *src, const float *packed, const float *bias,
                      const float *add, float *dst);
size_t CPU_(winograd_scratch)(const conv_map *m, int tile);
void CPU_(winograd_run)(float *scratch, const conv_map *m, int tile, const float *src, const float *packed,
                        const float *bias, const float *add, float *dst);
/* Their weights: direct and gather share one form. */
void CPU_(gather_pack)(const conv_map *m, const float *w, float *packed);
void CPU_(winograd_pack)(const conv_map *m, int tile, const float *w, float *packed);
size_t CPU_(winograd_packed)(const conv_map *m, int tile);
size_t CPU_(gather_packed)(const conv_map *m);

/* The layer that sees planar images. */
size_t CPU_(planar_scratch)(const fast_conv *c);
size_t CPU_(planar_packed)(const fast_conv *c);
void CPU_(planar_pack)(const fast_conv *c, int backward, const float *w, float *packed);
void CPU_(planar_fwd)(float *scratch, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                      const float *add, float *y);
void CPU_(planar_bwd_x)(float *scratch, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                        float *gx);
void CPU_(planar_bwd_w)(float *scratch, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                        float *gw);

/* Gradients of the weights. */
size_t CPU_(gather_bwd_w_scratch)(const fast_conv *c);
void CPU_(gather_bwd_w)(float *scratch, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                        float *gw);
size_t CPU_(winograd_bwd_w_scratch)(int n, const fast_conv *c, int tile);
void CPU_(winograd_bwd_w)(float *scratch, int n, const fast_conv *c, int tile, const float *x, const float *gy,
                          const float *scale, float *gw);

/* The slots: conv.c, choose.c. */
void CPU_(conv_choose)(int n, int winograd, fast_conv *c);
size_t CPU_(conv_scratch)(int n, const fast_conv *c);
size_t CPU_(conv_packed)(const fast_conv *c);
void CPU_(conv_pack)(fast_ctx *, const fast_conv *c, const float *w, float *packed);
void CPU_(conv_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                    const float *add, float *y);
void CPU_(conv_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *gy, const float *packed, const float *add, float *gx);
void CPU_(conv_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw);
void CPU_(bias_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, const float *scale, float *gb);

#endif
