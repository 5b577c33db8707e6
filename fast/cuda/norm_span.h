// norm_span.h: how the norm's kernels walk and add: one block of threads for a span of an image.
//
// A span is the fewest blocks of 16 channels whose groups do not straddle its ends: one where a group has 1, 2, 4, 8 or 16
// channels, and at most 16 groups ever. Threads take quads (4 lanes of a pixel) of one block of 16 lanes in memory order, so
// that a warp reads 512 bytes in a row and a thread always has the same four lanes, 4(t%4) .. 4(t%4)+3:
//     quad     0 1 2 3 | 4 5 6 7 | ...          thread t: quads t, t + T, t + 2T, ...
//     pixel    0       | 1       |
// V > 0: a span of one block whose quads fit V a thread: values read stay in registers between looks at them, so that each
//     tensor is read once, the first before the block waits for anything. 128 threads; V = 4 256, for up to 16 x 16 pixels; 8
//     512, up to 32 x 32.
// V = 0: any span, block by block, read anew at each look (from L2, of which a span is a small part).
//
//   sums    thread --quad_sum--> partial[sum][warp][lane] | lanes[sum][lane] --times weight--> groups[sum][group]
//        in `room`:                             __syncthreads      __syncwarp                      __syncthreads
//   coefficients    16 threads put each lane's into coef[name][lane]; then all read their quad of them. Lanes beyond c: 0.
// Sums are float within a warp, double from there on, in an order that the shape alone decides.
#ifndef FAST_CUDA_NORM_SPAN_H
#define FAST_CUDA_NORM_SPAN_H

#include <type_traits>

#include "fast/cuda/map.h"
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

// Of a block; with V = 0 at most.
__host__ __device__ constexpr int norm_threads(int v) { return v == 1 || v == 2 ? 128 : v == 4 ? 256 : 512; }
enum { MEAN, RSTD, SLOPE, BIAS, A, B, C0, C1, C2, NORM_COEFS };
constexpr int NORM_SUMS = 5, NORM_GROUP_SUMS = 7;

struct norm_room {
    float partial[NORM_SUMS][norm_threads(0) / 32][16];
    float coef[NORM_COEFS][16];
    double lanes[NORM_SUMS][16];
    double groups[NORM_GROUP_SUMS][16];
};

// wide: channels of a group (16 without groups); whole: blocks of a whole span; spans: of an image; mean: 1/values of a group.
struct norm_shape { int n, c, hw, groups, per_image, wide, whole, spans; double mean; };

inline norm_shape norm_shape_of(int n, const fast_norm *s)
{
    int wide = s->groups ? s->c / s->groups : 16, a = wide, b = 16, blocks = fast_blocks(s->c);
    while (b) {                                  // gcd(wide, 16)
        int rest = a % b;
        a = b;
        b = rest;
    }
    int whole = wide / a < blocks ? wide / a : blocks;
    return norm_shape{ n, s->c, s->h * s->w, s->groups, s->per_image, wide, whole, (blocks + whole - 1) / whole,
                       1.0 / (static_cast<double>(wide) * (s->h * s->w)) };
}

struct norm_span {
    int image, block, blocks, quads;             // its first block of channels, how many; quads of each
    size_t at, step;                             // where it begins in a tensor; floats of each block
    __device__ size_t place(int b, int q) const { return at + static_cast<size_t>(b) * step + 4 * static_cast<size_t>(q); }
};

template <int V> __device__ inline norm_span norm_span_here(const norm_shape &s)
{
    int image = static_cast<int>(blockIdx.x) / s.spans, block = static_cast<int>(blockIdx.x) % s.spans * s.whole;
    int all = (s.c + 15) / 16;
    size_t step = static_cast<size_t>(s.hw) * 16;
    return norm_span{ image, block, V ? 1 : min(s.whole, all - block), 4 * s.hw,
                      (static_cast<size_t>(image) * static_cast<size_t>(all) + static_cast<size_t>(block)) * step, step };
}

// f(k, q) for the thread's quads; k is a constant where V > 0.
template <int V, class F> __device__ __forceinline__ void norm_walk(int quads, F f)
{
    int t = static_cast<int>(threadIdx.x);
    if constexpr (V > 0) {
#pragma unroll
        for (int k = 0; k < V; k++)
            if (t + k * norm_threads(V) < quads)
                f(k, t + k * norm_threads(V));
    } else {
#pragma unroll 2
        for (int q = t; q < quads; q += static_cast<int>(blockDim.x))
            f(0, q);
    }
}

// One lane of block b of a span: its channel; -1: beyond c. Its group, counted in the span and in the image.
struct norm_lane { int channel, group, of_image; };
__device__ inline norm_lane norm_lane_of(const norm_shape &s, const norm_span &p, int b, int l)
{
    int channel = 16 * (p.block + b) + l;
    return norm_lane{ channel < s.c ? channel : -1, (16 * b + l) / s.wide, s.groups ? channel / s.wide : 0 };
}

// Sixteen threads put coefficients of block b: f(lane, where it is); after norm_put all may read them. Before it the block has
// met at a barrier since it last read a coefficient.
template <class F> __device__ __forceinline__ void norm_set(const norm_shape &s, const norm_span &p, int b, F f)
{
    if (threadIdx.x < 16)
        f(threadIdx.x, norm_lane_of(s, p, b, static_cast<int>(threadIdx.x)));
}
template <class F> __device__ __forceinline__ void norm_put(const norm_shape &s, const norm_span &p, int b, F f)
{
    norm_set(s, p, b, f);
    __syncthreads();
}

__device__ inline float4 norm_quad(const norm_room &r, int coef) { return ld4(&r.coef[coef][4 * (threadIdx.x % 4)]); }

// Add this block of channels' sums into groups[first ..] of the span, each lane's times its coefficient `weight` (-1: 1); the
// block's own lanes stay in r.lanes until the next call.
template <int S> __device__ __forceinline__ void
norm_add(norm_room &r, const norm_shape &s, int b, const float4 (&sum)[S], int first, int weight)
{
    unsigned t = threadIdx.x, l = t % 16, warps = blockDim.x / 32;
#pragma unroll
    for (int k = 0; k < S; k++) {
        float v = quad_sum(sum[k]);
        if ((t & 4) == 0)
            r.partial[k][t / 32][quad_channel(t % 32)] = v;
    }
    __syncthreads();
    if (t / 32 <= (S - 1) / 2) {                 // half a warp for each sum
        unsigned k = t / 16;
        if (k < S) {
            double total = 0;
            for (unsigned w = 0; w < warps; w++)
                total += static_cast<double>(r.partial[k][w][l]);
            r.lanes[k][l] = total;
        }
        __syncwarp();
        int group = static_cast<int>(l), from = max(group * s.wide - 16 * b, 0), to = min((group + 1) * s.wide - 16 * b, 16);
        if (k < S) {
            double total = b ? r.groups[first + static_cast<int>(k)][l] : 0.0;
            for (int j = from; j < to; j++)
                total += r.lanes[k][j] * (weight < 0 ? 1.0 : static_cast<double>(r.coef[weight][j]));
            r.groups[first + static_cast<int>(k)][l] = total;
        }
    }
    __syncthreads();
}

// ---- coefficients from what forward saved ----

__device__ inline size_t norm_parameters(const norm_shape &s, const norm_span &p)
{
    return s.per_image ? static_cast<size_t>(p.image) * static_cast<size_t>(s.c) : 0;
}
__device__ inline size_t norm_stats_at(const norm_shape &s, const norm_span &p, norm_lane at)
{
    return 2 * (static_cast<size_t>(p.image) * static_cast<size_t>(max(s.groups, 1)) + static_cast<size_t>(at.of_image));
}

// MEAN, RSTD, SLOPE and BIAS.
__device__ inline void norm_put_saved(norm_room &r, const norm_shape &s, const norm_span &p, unsigned l, norm_lane at,
                                      const float *stats, const float *gain, const float *bias)
{
    bool live = at.channel >= 0;
    size_t k = live ? norm_parameters(s, p) + static_cast<size_t>(at.channel) : 0;
    r.coef[MEAN][l] = live ? stats[norm_stats_at(s, p, at)] : 0.0f;
    r.coef[RSTD][l] = live ? stats[norm_stats_at(s, p, at) + 1] : 0.0f;
    r.coef[SLOPE][l] = live ? gain[k] * r.coef[RSTD][l] : 0.0f;
    r.coef[BIAS][l] = live ? bias[k] : 0.0f;
}

// A and B from groups[0] = sum of x_t e and groups[1] = sum of x_t, so that P x_t = r (x_t - A + e B).
__device__ inline void norm_put_tangent(norm_room &r, const norm_shape &s, unsigned l, norm_lane at)
{
    bool live = s.groups && at.channel >= 0;
    double rstd = static_cast<double>(r.coef[RSTD][l]);
    r.coef[A][l] = live ? static_cast<float>(r.groups[1][at.group] * s.mean) : 0.0f;
    r.coef[B][l] = live ? static_cast<float>(-r.groups[0][at.group] * s.mean * rstd * rstd) : 0.0f;
}

// groups[0] and [1] of the tangent; with V > 0 e and x_t are kept and the coefficients are there.
template <int V> __device__ __forceinline__ void
norm_tangent_sums(norm_room &r, const norm_shape &s, const norm_span &p, const float *stats, const float *gain,
                  const float *bias, const float *x, const float *x_t, float4 *e, float4 *t)
{
    for (int b = 0; (V || s.groups) && b < p.blocks; b++) {
        norm_set(s, p, b, [&](unsigned l, norm_lane at) { norm_put_saved(r, s, p, l, at, stats, gain, bias); });
        if constexpr (V > 0)
            norm_walk<V>(p.quads, [&](int k, int q) {
                e[k] = ld4(x + p.place(b, q));
                t[k] = ld4(x_t + p.place(b, q));
            });
        __syncthreads();
        float4 mean = norm_quad(r, MEAN), sum[2] = { make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0) };
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 from_mean = (V ? e[k] : ld4(x + p.place(b, q))) - mean, moved = V ? t[k] : ld4(x_t + p.place(b, q));
            sum[0] = fma4(moved, from_mean, sum[0]);
            sum[1] = sum[1] + moved;
            if (V)
                e[k] = from_mean;
        });
        norm_add(r, s, b, sum, 0, -1);
    }
}

// ---- parameters' gradients: an image's own at once; shared ones as (2,n,c) partial sums, which norm_sum_images adds ----

struct norm_gradients { float *gain, *bias, *partial; };

__device__ inline void norm_give(const norm_shape &s, const norm_span &p, int b, const norm_gradients &g, unsigned l,
                                 float gain, float bias)
{
    int channel = norm_lane_of(s, p, b, static_cast<int>(l)).channel;
    if (channel < 0)
        return;
    size_t at = static_cast<size_t>(p.image) * static_cast<size_t>(s.c) + static_cast<size_t>(channel);
    if (!s.per_image) {
        g.partial[at] = gain;
        g.partial[static_cast<size_t>(s.n) * static_cast<size_t>(s.c) + at] = bias;
        return;
    }
    if (g.gain)
        g.gain[at] += gain;
    if (g.bias)
        g.bias[at] += bias;
}

// Shared parameters' sums over images. (norm_swish.cu)
void norm_finish(const norm_shape &s, const norm_gradients &g);

inline norm_gradients norm_gradients_to(const fast_ctx *ctx, float *ggain, float *gbias)
{
    return norm_gradients{ ggain, gbias, static_cast<float *>(ctx->scratch) };
}

// Blocks, their threads, and V, at most `most`.
struct norm_way { unsigned blocks, threads; int kept; };
inline norm_way norm_way_of(const norm_shape &s, int most)
{
    int quads = 4 * s.hw, kept = 1, threads = 128;
    unsigned blocks = static_cast<unsigned>(s.n) * static_cast<unsigned>(s.spans);
    while (kept < most && kept * norm_threads(kept) < quads)
        kept *= 2;
    if (s.groups > 0 && s.whole == 1 && kept * norm_threads(kept) >= quads)
        return norm_way{ blocks, static_cast<unsigned>(norm_threads(kept)), kept };
    while (threads < norm_threads(0) && threads < quads)
        threads *= 2;
    return norm_way{ blocks, static_cast<unsigned>(threads), 0 };
}

// f(V) with V = kept as a constant: 0 or a power of two up to MOST.
template <int MOST, class F> inline void norm_dispatch(int kept, F f)
{
    if (MOST == 0 || kept >= MOST)
        f(std::integral_constant<int, MOST>());
    else if constexpr (MOST > 0)
        norm_dispatch<MOST / 2>(kept, f);
}

}  // namespace CUDA_SIDE
#endif
