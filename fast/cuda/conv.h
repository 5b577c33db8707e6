/* conv.h: what the files of the convolution share. Names as in fast/backend.h.
 *
 * conv.cu: the slots: choose, divide packed weights and dispatch; conv_fp32.cu: any blocked convolution in float;
 * conv_first.cu, conv_first_back.cu: the layer that sees planar images; conv_tensor.cu: TF32 and BF16 (sm_80 and up);
 * conv_dense.cu: few channels out of a window that is the whole image. */
#ifndef FAST_CUDA_CONV_H
#define FAST_CUDA_CONV_H

#include "fast/cuda/slots.h"

/* A linear map between images: fwd (x to y, contracted over the channels of x) or bwd_x (gy to gx). */
typedef struct {
    int n;
    int cs, hs, ws;          /* source: channels, rows, columns */
    int cd, hd, wd;          /* destination */
    int k, s, p;             /* of the convolution */
    int backward;            /* 1: the destination is gx */
} conv_map;

static inline conv_map conv_forward(int n, const fast_conv *c)
{
    return conv_map{ n, c->ci, c->hi, c->wi, c->co, c->ho, c->wo, c->k, c->s, c->p, 0 };
}
static inline conv_map conv_backward(int n, const fast_conv *c)
{
    return conv_map{ n, c->co, c->ho, c->wo, c->ci, c->hi, c->wi, c->k, c->s, c->p, 1 };
}

/* ---- rows (or columns) of a map ----
 * Backward with stride s, destination rows of one phase (r mod s) see the same taps, every s-th, and consecutive source rows.
 * So, for phase 0..phases-1: destination row to + to_step j, j < count, is the sum over t < taps of tap first + step t at
 * source row from + from_step j + from_tap t, where that is within the source. Forward: one phase. */
typedef struct { int count, taps, first, step, from, from_step, from_tap, to, to_step; } conv_axis;

static inline __host__ __device__ int conv_phases(const conv_map &m) { return m.backward ? m.s : 1; }

static inline __host__ __device__ conv_axis conv_axis_of(const conv_map &m, int size, int phase)
{
    if (!m.backward)
        return conv_axis{ size, m.k, 0, 1, -m.p, m.s, 1, 0, 1 };
    int first = (phase + m.p) % m.s;
    return conv_axis{ phase < size ? (size - phase + m.s - 1) / m.s : 0, first < m.k ? (m.k - 1 - first) / m.s + 1 : 0,
                      first, m.s, (phase + m.p - first) / m.s, 1, -1, phase, m.s };
}

/* ---- x/d for 0 <= x < 2^31 without dividing ---- */

typedef struct { unsigned d, multiplier, shift; } conv_divisor;

static inline conv_divisor conv_divide_by(int d)
{
    unsigned shift = 0;
    while ((uint64_t)1 << shift < (uint64_t)d)
        shift++;
    uint64_t excess = ((uint64_t)1 << shift) - (uint64_t)d;
    return conv_divisor{ (unsigned)d, (unsigned)((excess << 32) / (uint64_t)d) + 1, shift };
}
static inline __host__ __device__ int conv_quotient(int x, const conv_divisor &by)
{
    return (int)(((unsigned)(((uint64_t)(unsigned)x * by.multiplier) >> 32) + (unsigned)x) >> by.shift);
}

static inline __host__ __device__ int conv_tiles(int count, int tile) { return (count + tile - 1) / tile; }

/* A tile of pixels x 16 lanes in shared memory: 64 bytes a pixel, its four chunks of four lanes exchanged so that eight threads
 * that write two pixels, or that read one chunk each of eight consecutive pixels, meet no bank twice. */
static inline __host__ __device__ int conv_swizzle(int pixel, int chunk) { return pixel * 16 + (chunk ^ (pixel >> 1 & 3)) * 4; }

/* ---- sums of the weights' gradients ----
 * Partial sums lie as [split][tap][channel in][channel out], both padded to 16 channels. */
static inline size_t conv_partial(const fast_conv *c)
{
    return (size_t)(c->k * c->k) * (size_t)fast_blocks(c->ci) * 16 * (size_t)fast_blocks(c->co) * 16;
}

namespace CUDA_SIDE {

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int block_x() { return static_cast<int>(blockIdx.x); }
__device__ __forceinline__ int block_y() { return static_cast<int>(blockIdx.y); }
__device__ __forceinline__ int block_z() { return static_cast<int>(blockIdx.z); }

/* Begin to copy four floats (one) to shared memory, or zeros; they are there after conv_copied and a barrier. Before
 * sm_80 a plain copy. */
__device__ __forceinline__ void conv_copy(float *to, const float *from, bool given)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async<16>(to, from, given ? 16 : 0);
#else
    st4(to, given ? ld4(from) : make_float4(0, 0, 0, 0));
#endif
}
__device__ __forceinline__ void conv_copy_one(float *to, const float *from, bool given)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async<4>(to, from, given ? 4 : 0);
#else
    *to = given ? *from : 0.0f;
#endif
}
/* What was begun since the last call is a group. */
__device__ __forceinline__ void conv_commit()
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async_commit();
#endif
}
/* All groups but the last KEEP are there. */
template <int KEEP> __device__ __forceinline__ void conv_wait()
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async_wait<KEEP>();
#endif
}
__device__ __forceinline__ void conv_copied()
{
    conv_commit();
    conv_wait<0>();
}

/* Four channels, from `channel` on, of y = sum + bias + add (each four, or bias, add NULL); those beyond `channels` are 0. */
__device__ __forceinline__ float4 conv_finish(const float sum[4], int channel, int channels, const float *bias,
                                              const float *add)
{
    float4 v = make_float4(sum[0], sum[1], sum[2], sum[3]);
    if (bias) {
        float4 b = ld4(bias);
        v = make_float4(v.x + b.x, v.y + b.y, v.z + b.z, v.w + b.w);
    }
    if (add) {
        float4 a = ld4(add);
        v = make_float4(v.x + a.x, v.y + a.y, v.z + a.z, v.w + a.w);
    }
    return make_float4(channel < channels ? v.x : 0.0f, channel + 1 < channels ? v.y : 0.0f,
                       channel + 2 < channels ? v.z : 0.0f, channel + 3 < channels ? v.w : 0.0f);
}

}

extern "C" {

/* gw (co,ci,k,k) += sum over splits, in their order. (conv_fp32.cu) */
void CUDA_(conv_sum_splits)(const fast_conv *c, int splits, const float *partial, float *gw);

/* ---- the ways that a map runs: floats of its weights, packing them from w (co,ci,k,k), dst = map(src) + bias + add ---- */

size_t CUDA_(conv_fp32_packed)(const conv_map *m);
void CUDA_(conv_fp32_pack)(const conv_map *m, const float *w, float *packed);
void CUDA_(conv_fp32_run)(const conv_map *m, const float *src, const float *packed, const float *bias, const float *add,
                          float *dst);
size_t CUDA_(conv_fp32_bwd_w_scratch)(int n, const fast_conv *c);        /* bytes */
void CUDA_(conv_fp32_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                            float *gw);

/* The same on tensor cores, by algorithm a (FAST_CONV_TF32, FAST_CONV_BF16), where conv_tensor_can. */
size_t CUDA_(conv_tensor_packed)(const conv_map *m, fast_conv_algorithm a);
void CUDA_(conv_tensor_pack)(const conv_map *m, fast_conv_algorithm a, const float *w, float *packed);
void CUDA_(conv_tensor_run)(const conv_map *m, fast_conv_algorithm a, const float *src, const float *packed, const float *bias,
                            const float *add, float *dst);
size_t CUDA_(conv_tensor_bwd_w_scratch)(int n, const fast_conv *c);      /* bytes */
void CUDA_(conv_tensor_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                              float *gw);                                /* by c->bwd_w */

/* The layer that sees planar images. s: NULL, or gets swish(y). y of bwd_x: NULL, or gy is taken times swish'(y). */
size_t CUDA_(conv_first_packed)(const fast_conv *c);
void CUDA_(conv_first_pack)(const fast_conv *c, const float *w, float *packed);
void CUDA_(conv_first_fwd)(int n, const fast_conv *c, const float *x, const float *packed, const float *bias, const float *add,
                           float *y, float *s);
void CUDA_(conv_first_bwd_x)(int n, const fast_conv *c, const float *y, const float *gy, const float *packed, const float *add,
                             float *gx);
size_t CUDA_(conv_first_bwd_w_scratch)(int n, const fast_conv *c);       /* bytes */
void CUDA_(conv_first_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                             float *gw);

/* Where conv_dense_can. */
size_t CUDA_(conv_dense_packed)(const fast_conv *c);                     /* floats, for both directions */
void CUDA_(conv_dense_pack)(const fast_conv *c, const float *w, float *packed);
void CUDA_(conv_dense_fwd)(int n, const fast_conv *c, const float *x, const float *packed, const float *bias, const float *add,
                           float *y);
void CUDA_(conv_dense_bwd_x)(int n, const fast_conv *c, const float *gy, const float *packed, const float *add, float *gx);

/* conv_choose of the tables that may use tensor cores (conv.cu). */
void CUDA_(conv_choose_tf32)(int n, int winograd, fast_conv *c);
void CUDA_(conv_choose_bf16)(int n, int winograd, fast_conv *c);

}

/* Every other blocked convolution stays in float, whatever its algorithm is called. */
static inline int conv_tensor_can(const fast_conv *c, fast_conv_algorithm a)
{
    return (a == FAST_CONV_TF32 || a == FAST_CONV_BF16) && !c->planar && c->ci >= FAST_LANES && c->co >= FAST_LANES;
}
static inline int conv_dense_can(const fast_conv *c)
{
    return !c->planar && c->co < FAST_LANES && c->p == 0 && c->k == c->hi && c->k == c->wi;
}

#endif
