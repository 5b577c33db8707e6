/* conv.cu: the convolution's slots: each direction by its algorithm; the gradient of the bias. */
#include "fast/cuda/conv.h"

namespace CUDA_SIDE {

/* ---- sums of pixels ---- */

enum { BIAS_THREADS = 256, BIAS_PARTS = 256 };

struct bias_shape { int n, blocks, hw, per, parts, channels; conv_divisor image; };

/* Sums over pixels of a blocked tensor (n,B,hw,16): to partial (B,parts,16), or, += with the channels' own order, to gb. Block
 * (x, y) has 16 channels, x, and `per` pixels of all images, part y. Four threads read a pixel's 64 bytes, 64 pixels at a time,
 * and add in registers; there is no pipeline, other blocks run while one waits. In the end the 64 sums of a channel are added
 * pairwise in shared memory:
 *
 *   sums[64][16 channels]    thread 4p + q writes row p, channels 4q..     row p += row p + 32, then p + 16, .., 1: a barrier
 *                                                                          each; a warp's reads and writes lie in a row */
__global__ void __launch_bounds__(BIAS_THREADS)
conv_sum_pixels(bias_shape g, const float *gy, const float *scale, float *partial, float *gb)
{
    SHARED(float, sums, [BIAS_THREADS * 4]);
    const int t = thread_x(), block = block_x(), pixels = g.n * g.hw;
    const int end = min(pixels, (block_y() + 1) * g.per);
    float4 sum = make_float4(0, 0, 0, 0);
    for (int pixel = block_y() * g.per + t / 4; pixel < end; pixel += BIAS_THREADS / 4) {
        int n = conv_quotient(pixel, g.image);
        float by = scale ? scale[n] : 1.0f;
        float4 v = ld4(gy + (static_cast<int64_t>(n * g.blocks + block) * g.hw + (pixel - n * g.hw)) * 16 + t % 4 * 4);
        sum = make_float4(fmaf(by, v.x, sum.x), fmaf(by, v.y, sum.y), fmaf(by, v.z, sum.z), fmaf(by, v.w, sum.w));
        FLOPS(8);
    }
    st4(sums + t * 4, sum);
    for (int rows = BIAS_THREADS / 8; rows > 0; rows /= 2) {
        __syncthreads();
        for (int e = t; e < rows * 16; e += BIAS_THREADS)
            sums[e] += sums[e + rows * 16];
    }
    if (t < 16 && gb && block * 16 + t < g.channels)
        gb[block * 16 + t] += sums[t];
    else if (t < 16 && !gb)
        partial[(block * g.parts + block_y()) * 16 + t] = sums[t];
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

/* ---- what is chosen ---- */

static void choose(fast_conv *c, fast_conv_algorithm a)
{
    c->fwd = c->bwd_x = c->bwd_w = conv_tensor_can(c, a) ? a : FAST_CONV_GEMM;
}

void CUDA_(conv_choose)(int, int, fast_conv *c) { choose(c, FAST_CONV_GEMM); }
void CUDA_(conv_choose_tf32)(int, int, fast_conv *c) { choose(c, FAST_CONV_TF32); }
void CUDA_(conv_choose_bf16)(int, int, fast_conv *c) { choose(c, FAST_CONV_BF16); }

size_t CUDA_(conv_scratch)(int n, const fast_conv *c)
{
    if (c->planar)
        return CUDA_(conv_first_bwd_w_scratch)(n, c);
    return conv_tensor_can(c, c->bwd_w) ? CUDA_(conv_tensor_bwd_w_scratch)(n, c) : CUDA_(conv_fp32_bwd_w_scratch)(n, c);
}

/* ---- packed weights: forward's, then backward's ---- */

static size_t map_packed(const fast_conv *c, const conv_map *m, fast_conv_algorithm a)
{
    size_t floats = conv_tensor_can(c, a) ? CUDA_(conv_tensor_packed)(m, a) : CUDA_(conv_fp32_packed)(m);
    return (floats + 15) / 16 * 16;
}

static size_t forward_packed(const fast_conv *c)
{
    conv_map m = conv_forward(1, c);
    return map_packed(c, &m, c->fwd);
}

size_t CUDA_(conv_packed)(const fast_conv *c)
{
    conv_map m = conv_backward(1, c);
    if (conv_dense_can(c))
        return CUDA_(conv_dense_packed)(c);
    return c->planar ? CUDA_(conv_first_packed)(c) : forward_packed(c) + map_packed(c, &m, c->bwd_x);
}

static void map_pack(const fast_conv *c, const conv_map *m, fast_conv_algorithm a, const float *w, float *packed)
{
    if (conv_tensor_can(c, a))
        CUDA_(conv_tensor_pack)(m, a, w, packed);
    else
        CUDA_(conv_fp32_pack)(m, w, packed);
}

void CUDA_(conv_pack)(fast_ctx *, const fast_conv *c, const float *w, float *packed)
{
    conv_map forward = conv_forward(1, c), backward = conv_backward(1, c);
    if (c->planar)
        CUDA_(conv_first_pack)(c, w, packed);
    else if (conv_dense_can(c))
        CUDA_(conv_dense_pack)(c, w, packed);
    else {
        map_pack(c, &forward, c->fwd, w, packed);
        map_pack(c, &backward, c->bwd_x, w, packed + forward_packed(c));
    }
}

/* ---- the passes ---- */

static void map_run(const fast_conv *c, const conv_map *m, fast_conv_algorithm a, const float *src, const float *packed,
                    const float *bias, const float *add, float *dst)
{
    if (conv_tensor_can(c, a))
        CUDA_(conv_tensor_run)(m, a, src, packed, bias, add, dst);
    else
        CUDA_(conv_fp32_run)(m, src, packed, bias, add, dst);
}

void CUDA_(conv_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                     const float *add, float *y)
{
    conv_map m = conv_forward(n, c);
    if (c->planar)
        CUDA_(conv_first_fwd)(n, c, x, packed, bias, add, y, nullptr);
    else if (conv_dense_can(c))
        CUDA_(conv_dense_fwd)(n, c, x, packed, bias, add, y);
    else
        map_run(c, &m, c->fwd, x, packed, bias, add, y);
}

void CUDA_(conv_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *gy, const float *packed, const float *add, float *gx)
{
    conv_map m = conv_backward(n, c);
    if (c->planar)
        CUDA_(conv_first_bwd_x)(n, c, nullptr, gy, packed, add, gx);
    else if (conv_dense_can(c))
        CUDA_(conv_dense_bwd_x)(n, c, gy, packed, add, gx);
    else
        map_run(c, &m, c->bwd_x, gy, packed + forward_packed(c), nullptr, add, gx);
}

void CUDA_(conv_bwd_w)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw)
{
    if (c->planar)
        CUDA_(conv_first_bwd_w)(ctx, n, c, x, gy, scale, gw);
    else if (conv_tensor_can(c, c->bwd_w))
        CUDA_(conv_tensor_bwd_w)(ctx, n, c, x, gy, scale, gw);
    else
        CUDA_(conv_fp32_bwd_w)(ctx, n, c, x, gy, scale, gw);
}

void CUDA_(conv_swish_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                           float *y, float *s)
{
    CUDA_(conv_first_fwd)(n, c, x, packed, bias, nullptr, y, s);
}

void CUDA_(conv_swish_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *y, const float *gs, const float *packed,
                             const float *add, float *gx)
{
    CUDA_(conv_first_bwd_x)(n, c, y, gs, packed, add, gx);
}

/* Parts so many that 1024 blocks run, of at least 256 pixels, and no more than fit scratch; then the parts' sums, as the pixels
 * of one image. */
void CUDA_(bias_bwd)(fast_ctx *ctx, int n, int c, int hw, const float *gy, const float *scale, float *gb)
{
    int blocks = fast_blocks(c), parts = conv_tiles(1024, blocks), most = conv_tiles(n * hw, 256);
    int fit = (int)(CUDA_SCRATCH / sizeof(float) / 16) / blocks;
    parts = parts < most ? parts : most;
    parts = parts < fit ? parts : fit;
    parts = parts < BIAS_PARTS ? parts : BIAS_PARTS;
    float *partial = static_cast<float *>(ctx->scratch);
    int per = conv_tiles(n * hw, parts);
    parts = conv_tiles(n * hw, per);
    bias_shape g = { n, blocks, hw, per, parts, c, conv_divide_by(hw) };
    dim3 grid((unsigned)blocks, (unsigned)parts);
    LAUNCH(conv_sum_pixels, grid, BIAS_THREADS, 0, CUDA_(stream), g, gy, scale, partial, parts > 1 ? nullptr : gb);
    if (parts > 1) {
        bias_shape all = { 1, blocks, parts, parts, 1, c, conv_divide_by(parts) };
        LAUNCH(conv_sum_pixels, (unsigned)blocks, BIAS_THREADS, 0, CUDA_(stream), all, partial, nullptr, partial, gb);
    }
}
