/* conv_dense.cu: a layer of few channels out whose window is the whole image: matrix times vector. */
#include "fast/cuda/conv.h"
#include "fast/cuda/reduce.h"

namespace CUDA_SIDE {

enum { DENSE_THREADS = 128 };

/* Weights are packed as rows like an image of x: packed[o][B][k k][16], `length` floats each, 0 in lanes beyond ci. */
struct dense_shape { int n, ci, co, taps, length; };

static __device__ __forceinline__ int dense_channel(const dense_shape &g, int at)
{
    return at / 16 / g.taps * 16 + at % 16;
}

/* y = w x + bias + add. A warp makes an image, by one row o of w after the other:
 *
 *     lane l   quads l, l + 32, ... of x and of the row, 512 bytes a load -> its own sum -> warp_sum by shuffles -> lane o's
 *
 * 16 lanes write 64 bytes. x is read again for each row, from a cache; nothing is shared: other warps run while one waits. */
__global__ void __launch_bounds__(DENSE_THREADS)
conv_dense_y(dense_shape g, const float *x, const float *packed, const float *bias, const float *add, float *y)
{
    const int lane = thread_x() % 32, n = block_x() * (DENSE_THREADS / 32) + thread_x() / 32;
    if (n >= g.n)
        return;
    const float *image = x + static_cast<int64_t>(n) * g.length;
    float mine = 0;
    for (int o = 0; o < g.co; o++) {
        const float *row = packed + static_cast<int64_t>(o) * g.length;
        float sum = 0;
#pragma unroll 4
        for (int k = lane * 4; k < g.length; k += 128) {
            float4 a = ld4(image + k), w = ld4(row + k);
            sum = fmaf(a.w, w.w, fmaf(a.z, w.z, fmaf(a.y, w.y, fmaf(a.x, w.x, sum))));
            FLOPS(8);
        }
        sum = warp_sum(sum);
        if (lane == o)
            mine = bias ? sum + bias[o] : sum;
    }
    if (lane < FAST_LANES) {
        int64_t at = static_cast<int64_t>(n) * FAST_LANES + lane;
        y[at] = lane < g.co && add ? mine + add[at] : mine;
    }
}

/* gx = wT gy + add. A thread makes four lanes of an image; a warp has 512 bytes in a row of gx and of each row of w, and reads
 * the same gy. */
__global__ void __launch_bounds__(DENSE_THREADS)
conv_dense_x(dense_shape g, const float *gy, const float *packed, const float *add, float *gx)
{
    const int quads = g.length / 4;
    const int64_t item = static_cast<int64_t>(block_x()) * DENSE_THREADS + thread_x(), n = item / quads;
    const int k = static_cast<int>(item - n * quads) * 4;
    if (n >= g.n)
        return;
    float sum[4] = {};
#pragma unroll 4
    for (int o = 0; o < g.co; o++) {
        float v = gy[n * FAST_LANES + o];
        float4 w = ld4(packed + static_cast<int64_t>(o) * g.length + k);
        sum[0] = fmaf(v, w.x, sum[0]);
        sum[1] = fmaf(v, w.y, sum[1]);
        sum[2] = fmaf(v, w.z, sum[2]);
        sum[3] = fmaf(v, w.w, sum[3]);
        FLOPS(8);
    }
    st4(gx + item * 4, conv_finish(sum, dense_channel(g, k), g.ci, nullptr, add ? add + item * 4 : nullptr));
}

/* w (co,ci,k,k) to packed: a thread a float, written in a row. */
__global__ void __launch_bounds__(DENSE_THREADS) conv_dense_pack(dense_shape g, const float *w, float *packed)
{
    const int at = block_x() * DENSE_THREADS + thread_x(), o = at / g.length, k = at % g.length, i = dense_channel(g, k);
    if (o < g.co)
        packed[at] = i < g.ci ? w[(o * g.ci + i) * g.taps + k / 16 % g.taps] : 0.0f;
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

static dense_shape dense_of(int n, const fast_conv *c)
{
    return dense_shape{ n, c->ci, c->co, c->k * c->k, (int)fast_blocked(c->ci, c->k, c->k) };
}

size_t CUDA_(conv_dense_packed)(const fast_conv *c) { return (size_t)c->co * fast_blocked(c->ci, c->k, c->k); }

void CUDA_(conv_dense_pack)(const fast_conv *c, const float *w, float *packed)
{
    dense_shape g = dense_of(1, c);
    unsigned blocks = (unsigned)conv_tiles(g.co * g.length, DENSE_THREADS);
    LAUNCH(conv_dense_pack, blocks, DENSE_THREADS, 0, CUDA_(stream), g, w, packed);
}

void CUDA_(conv_dense_fwd)(int n, const fast_conv *c, const float *x, const float *packed, const float *bias, const float *add,
                           float *y)
{
    unsigned blocks = (unsigned)conv_tiles(n, DENSE_THREADS / 32);
    LAUNCH(conv_dense_y, blocks, DENSE_THREADS, 0, CUDA_(stream), dense_of(n, c), x, packed, bias, add, y);
}

void CUDA_(conv_dense_bwd_x)(int n, const fast_conv *c, const float *gy, const float *packed, const float *add, float *gx)
{
    dense_shape g = dense_of(n, c);
    unsigned blocks = (unsigned)(((int64_t)n * (g.length / 4) + DENSE_THREADS - 1) / DENSE_THREADS);
    LAUNCH(conv_dense_x, blocks, DENSE_THREADS, 0, CUDA_(stream), g, gy, packed, add, gx);
}
