// langevin.cu: drift, noise, clamp, what the clamp cuts, lengths and finiteness of a chain in one pass.    [ICD:alg1.10] [GL:1]
//
// The draws are those of common/rng.c to the last bit: its operations in its order, each rounded to float (--fmad=false).
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { MOST_THREADS = 512 };

__device__ inline uint4 philox(uint4 c, uint2 key)
{
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, c.x), high2 = __umulhi(0xCD9E8D57u, c.z);
        c = make_uint4(high2 ^ c.y ^ key.x, 0xCD9E8D57u * c.z, high0 ^ c.w ^ key.y, 0xD2511F53u * c.x);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return c;
}

// -ln(u), 0 < u <= 1: u = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m-1)/(m+1)).
__device__ inline float minus_log(float u)
{
    unsigned bits = __float_as_uint(u), mantissa = (bits & 0x7FFFFFu) | 0x3F800000u;
    int e = static_cast<int>(bits >> 23) - 127;
    if (mantissa > 0x3FB504F3u) {                /* m > sqrt(2) */
        mantissa -= 0x00800000u;
        e++;
    }
    float m = __uint_as_float(mantissa), z = (m - 1.0f) / (m + 1.0f), z2 = z * z;
    float p = z2 * 0x1.c71c72p-4f + 0x1.24924ap-3f;
    p = p * z2 + 0x1.99999ap-3f;
    p = p * z2 + 0x1.555556p-2f;
    p = p * z2 * z + z;
    p = p * 2.0f;
    float k = static_cast<float>(e), high = k * 0x1.62e4p-1f, low = k * 0x1.7f7d1cp-20f;
    return -(p + low + high);
}

// cos and sin of 2 pi r/2^32: the top three bits choose the octant, the others the angle in [0, pi/4).
__device__ inline float2 cos_sin(unsigned r)
{
    unsigned octant = r >> 29, rest = r & 0x1FFFFFFFu;
    float a = static_cast<float>(octant & 1 ? 0x20000000u - rest : rest) * 0x1p-29f * 0x1.921fb6p-1f, a2 = a * a;
    float p = a2 * 0x1.71de3ap-19f - 0x1.a01a02p-13f;
    p = p * a2 + 0x1.111112p-7f;
    p = p * a2 - 0x1.555556p-3f;
    float sine = p * a2 * a + a;
    float q = a2 * 0x1.a01a02p-16f - 0x1.6c16c2p-10f;
    q = q * a2 + 0x1.555556p-5f;
    q = q * a2 - 0.5f;
    float cosine = q * a2 + 1.0f;
    bool swap = (octant + 1) & 2;
    float x = swap ? sine : cosine, y = swap ? cosine : sine;
    return make_float2(octant >= 2 && octant <= 5 ? -x : x, octant >= 4 ? -y : y);
}

// Two uniforms become two independent normals (Box and Muller 1958).
__device__ inline float2 box_muller(unsigned r0, unsigned r1)
{
    float l = minus_log(static_cast<float>(r0) * 0x1p-32f + 0x1p-33f), two = l + l;
    float radius = __fsqrt_rn(two < 0.0f ? 0.0f : two);
    float2 c = cos_sin(r1);
    return make_float2(radius * c.x, radius * c.y);
}

// Draws 4b .. 4b+3 of image i.
__device__ inline float4 draw(const fast_langevin &l, unsigned i, uint64_t b)
{
    uint64_t iteration = *l.iteration;
    unsigned rest = (l.purpose & 0xFFu) | (static_cast<unsigned>(iteration >> 32) & 0xFFu) << 8 |
                    (static_cast<unsigned>(b >> 32) & 0xFFFFu) << 16;
    uint4 r = philox(make_uint4(static_cast<unsigned>(b), l.sample + i, static_cast<unsigned>(iteration), rest),
                     make_uint2(static_cast<unsigned>(l.seed), static_cast<unsigned>(l.seed >> 32)));
    float2 z = box_muller(r.x, r.y), z2 = box_muller(r.z, r.w);
    FLOPS(2 * 48);
    return make_float4(z.x, z.y, z2.x, z2.y);
}

struct chain { double square; bool finite; };

// One pixel: the value; it sets `inside`.
__device__ inline float move(const fast_langevin &l, float x, float g, float z, float &inside, chain &sum)
{
    float value = x;
    if (l.g) {
        value = value - l.step_size * g;
        sum.square = fma(static_cast<double>(g), static_cast<double>(g), sum.square);
    }
    if (l.noise != 0.0f)
        value = value + l.noise * z;
    inside = !l.clamp || (value >= 0.0f && value <= 1.0f) ? 1.0f : 0.0f;
    if (l.clamp)
        value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    sum.finite = sum.finite && value - value == 0.0f;
    FLOPS(9);
    return value;
}

__device__ inline void move4(const fast_langevin &l, size_t at, float4 z, chain &sum)
{
    float4 x = ld4(l.x + at), g = l.g ? ld4(l.g + at) : make_float4(0, 0, 0, 0), in;
    x.x = move(l, x.x, g.x, z.x, in.x, sum);
    x.y = move(l, x.y, g.y, z.y, in.y, sum);
    x.z = move(l, x.z, g.z, z.z, in.z, sum);
    x.w = move(l, x.w, g.w, z.w, in.w, sum);
    st4(l.out + at, x);
    if (l.inside)
        st4(l.inside + at, in);
}

__device__ inline void move1(const fast_langevin &l, size_t at, float z, chain &sum)
{
    float inside;
    l.out[at] = move(l, l.x[at], l.g ? l.g[at] : 0.0f, z, inside, sum);
    if (l.inside)
        l.inside[at] = inside;
}

// A block an image, so that |g| needs no second launch. Thread t takes Philox's blocks t, t + threads, ...: four draws, which
// are four pixels in a row:
//     draws   first - skip ..  | 4b  4b+1  4b+2  4b+3 |  ...       skip = first % 4, pixel = draw - first
//     thread         0         |         b            |  ...
// With skip = 0 and all arrays aligned to 16 bytes a thread's pixels are one load and one store (WIDE), 512 bytes a warp; else
// one by one. Nothing is staged: a thread draws, moves and writes its pixels while other warps wait for theirs. At the end the
// block adds up |g|^2 in `room`, a double a warp, and votes on what is finite.
// 128 x 3072 pixels: 1.5 MB an array, four arrays with g and `inside`, about 2 us; about 90 operations a pixel.
template <bool WIDE> __global__ void __launch_bounds__(MOST_THREADS) langevin_move(fast_langevin l)
{
    SHARED(double, room, [MOST_THREADS / 32]);
    int skip = static_cast<int>(l.first % 4), groups = (skip + l.d + 3) / 4;
    size_t image = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(l.d);
    chain sum = {0, true};
    for (int k = static_cast<int>(threadIdx.x); k < groups; k += static_cast<int>(blockDim.x)) {
        int pixel = 4 * k - skip;
        float4 z = make_float4(0, 0, 0, 0);
        if (l.noise != 0.0f && !l.normals)
            z = draw(l, blockIdx.x, l.first / 4 + static_cast<uint64_t>(k));
        if constexpr (WIDE)
            move4(l, image + static_cast<size_t>(pixel), z, sum);
        else
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (pixel + i >= 0 && pixel + i < l.d) {
                    size_t at = image + static_cast<size_t>(pixel + i);
                    float drawn = i == 0 ? z.x : i == 1 ? z.y : i == 2 ? z.z : z.w;
                    move1(l, at, l.noise != 0.0f && l.normals ? static_cast<float>(l.normals[at]) : drawn, sum);
                }
    }
    bool finite = __syncthreads_and(sum.finite);
    double square = block_sum(sum.square, room);
    if (threadIdx.x > 0)
        return;
    if (l.length)
        l.length[blockIdx.x] += sqrt(square);
    if (l.finite && !finite)
        l.finite[blockIdx.x] = 0;
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(langevin)(fast_ctx *, const fast_langevin *l)
{
    uintptr_t address = reinterpret_cast<uintptr_t>(l->x) | reinterpret_cast<uintptr_t>(l->g) |
                        reinterpret_cast<uintptr_t>(l->out) | reinterpret_cast<uintptr_t>(l->inside);
    unsigned threads = (static_cast<unsigned>(l->d) / 4 + 32) / 32 * 32, most = MOST_THREADS;
    threads = threads < most ? threads : most;
    if (address % 16 == 0 && l->first % 4 == 0 && l->d % 4 == 0 && !l->normals)
        LAUNCH(langevin_move<true>, static_cast<unsigned>(l->n), threads, 0, CUDA_(stream), *l);
    else
        LAUNCH(langevin_move<false>, static_cast<unsigned>(l->n), threads, 0, CUDA_(stream), *l);
}
