// kernels.cu: kernels without a fault, by every means that the emulator has: right answers in every order, and no report.
// This file keeps to the rules of fast/cuda/device.h: nvcc compiles it too, without a warning (make cuda-nvcc-check).
#include "fast/cuda/device.h"

#include <math.h>
#include <vector>

#ifndef __CUDACC__
#include "fast/cuda/emulate/emulate.h"
#endif
#include "tests/test.h"

namespace CUDA_SIDE {

// Each block turns its 256 values round.
__global__ void reverse(const float *x, float *y)
{
    SHARED(float, s, [256]);
    const unsigned t = threadIdx.x, base = blockIdx.x * 256;
    s[t] = x[base + t];
    __syncthreads();
    y[base + t] = s[255 - t];
}

// Pairs of lanes change places, a warp at a time; then the lower halves of warps alone.
__global__ void in_warps(const float *x, float *y)
{
    SHARED(float, s, [256]);
    const unsigned t = threadIdx.x;
    s[t] = x[t];
    __syncwarp();
    float v = s[t ^ 1];
    if (t % 32 < 16) {
        __syncwarp(0x0000ffffu);
        s[t] = v;
        __syncwarp(0x0000ffffu);
        v = s[t ^ 2];
    }
    y[t] = v;
}

// Structures of three floats that begin anywhere a float may.
struct triple { float a, b, c; };
__global__ void copy_triples(const float *x, float *y)
{
    const unsigned t = threadIdx.x;
    reinterpret_cast<triple *>(y + 1)[t] = reinterpret_cast<const triple *>(x + 1)[t];
}

// Thread t copies t % 5 floats of 4, the rest of which is 0.
__global__ void copy_part(const float *x, float *y)
{
    SHARED(float, s, [256]);
    const unsigned t = threadIdx.x;
    cp_async<16>(&s[4 * t], x + 4 * t, static_cast<int>(t % 5 * 4));
    cp_async_commit();
    cp_async_wait<0>();
    st4(y + 4 * t, ld4(&s[4 * t]));
}

__device__ float warp_sum(float v)
{
    UNROLL for (int o = 16; o; o >>= 1)
        v += __shfl_xor_sync(~0u, v, o);
    return v;
}

// y[b] = sum of x over the block; the last block to arrive adds up y into total. Only whole warps.
__global__ void sums(const float *x, float *y, float *total, unsigned *arrived)
{
    SHARED(float, part, [32]);
    SHARED(unsigned, last, [1]);
    const unsigned t = threadIdx.x, warps = blockDim.x / 32;
    float v = warp_sum(x[blockIdx.x * blockDim.x + t]);
    if (t % 32 == 0)
        part[t / 32] = v;
    __syncthreads();
    if (t == 0) {
        float sum = 0;
        for (unsigned w = 0; w < warps; w++)
            sum += part[w];
        y[blockIdx.x] = sum;
        __threadfence();
        last[0] = atomicAdd(arrived, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last[0] && t == 0) {
        float sum = 0;
        for (unsigned b = 0; b < gridDim.x; b++)
            sum += y[b];
        total[0] = sum;
    }
}

// Votes and shuffles of every kind: y has 8 values a thread.
__global__ void votes(const float *x, float *y, int n)
{
    const int t = static_cast<int>(threadIdx.x), lane = t % 32;
    float *to = y + 8 * t;
    to[0] = static_cast<float>(__syncthreads_count(t % 3 == 0));
    to[1] = static_cast<float>(__syncthreads_or(t == n) * 2 + __syncthreads_and(t < n));
    to[2] = static_cast<float>(__popc(__ballot_sync(~0u, lane < 5)));
    to[3] = static_cast<float>(__any_sync(~0u, lane == 31) * 2 + __all_sync(~0u, lane > 0));
    to[4] = __shfl_sync(~0u, x[t], 3, 8);
    to[5] = __shfl_up_sync(~0u, x[t], 2u);
    to[6] = __shfl_down_sync(~0u, x[t], 4u, 16);
    to[7] = static_cast<float>(__shfl_xor_sync(~0u, static_cast<double>(x[t]), 5));
}

// Histogram of bytes, its counts and the largest and least value, all by atomics.
__global__ void histogram(const uint8_t *x, int n, int *bins, unsigned *largest, unsigned long long *least)
{
    DYN_SHARED(int, s);
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        s[i] = 0;
    __syncthreads();
    const int step = static_cast<int>(gridDim.x * blockDim.x);
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += step) {
        atomicAdd(&s[x[i]], 1);
        atomicMax(largest, static_cast<unsigned>(x[i]));
        atomicMin(least, static_cast<unsigned long long>(x[i]));
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        if (s[i])
            atomicAdd(&bins[i], s[i]);
}

// C (m,n) = A (m,k) B (n,k)^T of BF16 values. A block: 64 x 64 by 4 warps of 32 x 32; two stages of cp.async, rows of 32 values
// whose 16-byte chunks are exchanged by row, so that ldmatrix meets no bank twice. Rows beyond m are filled with 0.
__global__ void __launch_bounds__(128) gemm_bf16(const uint16_t *a, const uint16_t *b, float *c, int m, int n, int k)
{
    SHARED(uint16_t, tile_a, [2][64 * 32]);
    SHARED(uint16_t, tile_b, [2][64 * 32]);
    const int t = static_cast<int>(threadIdx.x), lane = t % 32, warp = t / 32;
    const int row_w = warp % 2 * 32, col_w = warp / 2 * 32;
    const int m0 = static_cast<int>(blockIdx.y) * 64, n0 = static_cast<int>(blockIdx.x) * 64;
    auto at = [](int row, int chunk) { return row * 32 + ((chunk ^ (row >> 1 & 3)) << 3); };
    auto load = [&](int stage, int k0) {
        for (int i = t; i < 256; i += 128) {
            const int row = i / 4, chunk = i % 4, given = m0 + row < m ? 16 : 0;
            cp_async<16>(&tile_a[stage][at(row, chunk)], a + (given ? (m0 + row) * k : 0) + k0 + chunk * 8, given);
            cp_async<16>(&tile_b[stage][at(row, chunk)], b + (n0 + row) * k + k0 + chunk * 8);
        }
        cp_async_commit();
    };
    float d[2][4][4] = {};
    load(0, 0);
    for (int k0 = 0, stage = 0; k0 < k; k0 += 32, stage ^= 1) {
        if (k0 + 32 < k) {
            load(stage ^ 1, k0 + 32);
            cp_async_wait<1>();
        } else {
            cp_async_wait<0>();
        }
        __syncthreads();
        UNROLL for (int half = 0; half < 2; half++) {
            uint32_t fa[2][4], fb[2][4];
            UNROLL for (int i = 0; i < 2; i++) {
                ldmatrix_x4(fa[i], &tile_a[stage][at(row_w + i * 16 + lane % 16, half * 2 + lane / 16)]);
                ldmatrix_x4(fb[i], &tile_b[stage][at(col_w + i * 16 + lane % 8 + lane / 16 * 8, half * 2 + lane / 8 % 2)]);
            }
            UNROLL for (int i = 0; i < 2; i++)
                UNROLL for (int j = 0; j < 4; j++)
                    mma_bf16(d[i][j], fa[i], &fb[j / 2][j % 2 * 2]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int h = 0; h < 2; h++) {
                const int row = m0 + row_w + i * 16 + lane / 4 + h * 8, column = n0 + col_w + j * 8 + lane % 4 * 2;
                if (row < m)
                    st2(c + row * n + column, make_float2(d[i][j][2 * h], d[i][j][2 * h + 1]));
            }
}

// C (m,n) = A (m,k) B (k,n), TF32, one warp a tile of 16 x 8, straight from global memory.
__global__ void gemm_tf32(const float *a, const float *b, float *c, int n, int k)
{
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    const int m0 = static_cast<int>(blockIdx.y) * 16, n0 = static_cast<int>(blockIdx.x) * 8;
    float d[4] = {};
    for (int k0 = 0; k0 < k; k0 += 8) {
        const float *p = a + (m0 + g) * k + k0 + t, *q = b + (k0 + t) * n + n0 + g;
        const uint32_t fa[4] = {tf32_round(p[0]), tf32_round(p[8 * k]), tf32_round(p[4]), tf32_round(p[8 * k + 4])};
        const uint32_t fb[2] = {tf32_round(q[0]), tf32_round(q[4 * n])};
        mma_tf32(d, fa, fb);
    }
    float *to = c + (m0 + g) * n + n0 + 2 * t;
    st2(to, make_float2(d[0], d[1]));
    st2(to + 8 * n, make_float2(d[2], d[3]));
}

// ---- running them ----
template <class V> struct buffer {               // n values on the device
    V *p = nullptr;
    size_t n;
    explicit buffer(const std::vector<V> &v) : n(v.size())
    {
        CHECK(cudaMalloc(&p, n * sizeof(V)) == cudaSuccess);
        CHECK(cudaMemcpy(p, v.data(), n * sizeof(V), cudaMemcpyHostToDevice) == cudaSuccess);
    }
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer() { cudaFree(p); }
    std::vector<V> values() const
    {
        std::vector<V> v(n);
        CHECK(cudaMemcpy(v.data(), p, n * sizeof(V), cudaMemcpyDeviceToHost) == cudaSuccess);
        return v;
    }
};

static std::vector<float> some(size_t n)
{
    static unsigned state = 1;
    std::vector<float> v(n);
    for (float &x : v) {
        state = state * 1664525u + 1013904223u;
        x = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
    }
    return v;
}

static void check_simple()
{
    const std::vector<float> x = some(1024);
    const buffer<float> from(x), to(std::vector<float>(1024, 0.0f));
    LAUNCH(reverse, 4, 256, 0, nullptr, from.p, to.p);
    CHECK(cudaGetLastError() == cudaSuccess);
    std::vector<float> y = to.values();
    for (unsigned i = 0; i < 1024; i++)
        CHECK_EQ(y[i], x[i / 256 * 256 + 255 - i % 256]);
    LAUNCH(in_warps, 1, 256, 0, nullptr, from.p, to.p);
    y = to.values();
    for (unsigned i = 0; i < 256; i++)
        CHECK_EQ(y[i], x[i % 32 < 16 ? i ^ 3 : i ^ 1]);
    LAUNCH(copy_triples, 1, 64, 0, nullptr, from.p, to.p);
    y = to.values();
    for (unsigned i = 1; i <= 192; i++)
        CHECK_EQ(y[i], x[i]);
    LAUNCH(copy_part, 1, 64, 0, nullptr, from.p, to.p);
    y = to.values();
    for (unsigned i = 0; i < 256; i++)
        CHECK_EQ(y[i], i % 4 < i / 4 % 5 ? x[i] : 0);
}

static void check_sums()
{
    std::vector<float> x(1024);
    for (unsigned i = 0; i < 1024; i++)
        x[i] = static_cast<float>(i % 17);       // whose sums are exact
    const buffer<float> from(x), to(std::vector<float>(8, 0.0f)), total(std::vector<float>(1, 0.0f));
    const buffer<unsigned> arrived(std::vector<unsigned>(1, 0u));
    LAUNCH(sums, 8, 128, 0, nullptr, from.p, to.p, total.p, arrived.p);
    const std::vector<float> y = to.values();
    float whole = 0;
    for (unsigned b = 0; b < 8; b++) {
        float want = 0;
        for (unsigned i = 0; i < 128; i++)
            want += x[b * 128 + i];
        CHECK_EQ(y[b], want);
        whole += want;
    }
    CHECK_EQ(total.values()[0], whole);
}

static void check_votes()
{
    const std::vector<float> x = some(64);
    const buffer<float> from(x), to(std::vector<float>(512, 0.0f));
    LAUNCH(votes, 1, 64, 0, nullptr, from.p, to.p, 63);
    const std::vector<float> y = to.values();
    for (unsigned t = 0; t < 64; t++) {
        const unsigned lane = t % 32;
        CHECK_EQ(y[8 * t], 22);
        CHECK_EQ(y[8 * t + 1], 2);
        CHECK_EQ(y[8 * t + 2], 5);
        CHECK_EQ(y[8 * t + 3], 2);
        CHECK_EQ(y[8 * t + 4], x[t / 8 * 8 + 3]);
        CHECK_EQ(y[8 * t + 5], x[lane < 2 ? t : t - 2]);
        CHECK_EQ(y[8 * t + 6], x[t % 16 < 12 ? t + 4 : t]);
        CHECK_EQ(y[8 * t + 7], x[t ^ 5]);
    }
}

static void check_histogram()
{
    std::vector<uint8_t> x(3001);
    std::vector<int> want(256, 0);
    for (unsigned i = 0; i < 3001; i++) {
        x[i] = static_cast<uint8_t>(i * 7919u % 200u + 9u);
        want[x[i]]++;
    }
    const buffer<uint8_t> from(x);
    const buffer<int> bins(std::vector<int>(256, 0));
    const buffer<unsigned> largest(std::vector<unsigned>(1, 0u));
    const buffer<unsigned long long> least(std::vector<unsigned long long>(1, 1000ull));
    LAUNCH(histogram, 5, 96, 1024, nullptr, from.p, 3001, bins.p, largest.p, least.p);
    CHECK(bins.values() == want);
    CHECK_EQ(largest.values()[0], 208);
    CHECK_EQ(least.values()[0], 9);
}

static float bf16_of(float x)                    // by arithmetic: 8 significant bits, ties to even
{
    int e;
    const double f = frexp(static_cast<double>(x), &e);
    return static_cast<float>(ldexp(nearbyint(ldexp(f, 8)), e - 8));
}

static void check_bf16()
{
    const int m = 70, n = 128, k = 96;
    std::vector<float> a = some(static_cast<size_t>(m * k)), b = some(static_cast<size_t>(n * k));
    std::vector<uint16_t> ha, hb;
    for (float &v : a) {
        v = bf16_of(v);
        uint32_t u;
        memcpy(&u, &v, 4);
        ha.push_back(static_cast<uint16_t>(u >> 16));
    }
    for (float &v : b) {
        v = bf16_of(v);
        uint32_t u;
        memcpy(&u, &v, 4);
        hb.push_back(static_cast<uint16_t>(u >> 16));
    }
    const buffer<uint16_t> da(ha), db(hb);
    const buffer<float> dc(std::vector<float>(static_cast<size_t>(m * n), NAN));
    LAUNCH(gemm_bf16, dim3(n / 64, (m + 63) / 64), 128, 0, nullptr, da.p, db.p, dc.p, m, n, k);
    const std::vector<float> c = dc.values();
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double want = 0, size = 0;
            for (int l = 0; l < k; l++) {
                const double p = static_cast<double>(a[static_cast<size_t>(i * k + l)]) *
                                 static_cast<double>(b[static_cast<size_t>(j * k + l)]);
                want += p;
                size += fabs(p);
            }
            CHECK_NEAR(c[static_cast<size_t>(i * n + j)], want, 1.2e-7 * k * size);  // k + 1 roundings of a float each
        }
}

static void check_tf32()
{
    const int m = 32, n = 24, k = 40;
    const std::vector<float> a = some(static_cast<size_t>(m * k)), b = some(static_cast<size_t>(k * n));
    const buffer<float> da(a), db(b), dc(std::vector<float>(static_cast<size_t>(m * n), NAN));
    LAUNCH(gemm_tf32, dim3(n / 8, m / 16), 32, 0, nullptr, da.p, db.p, dc.p, n, k);
    const std::vector<float> c = dc.values();
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double want = 0, size = 0;
            for (int l = 0; l < k; l++) {
                const double p = static_cast<double>(a[static_cast<size_t>(i * k + l)]) *
                                 static_cast<double>(b[static_cast<size_t>(l * n + j)]);
                want += p;
                size += fabs(p);
            }
            CHECK_NEAR(c[static_cast<size_t>(i * n + j)], want, 1.01 * ldexp(size, -10));    // two roundings to 11 bits
        }
}

static void check_all()
{
    check_simple();
    check_sums();
    check_votes();
    check_histogram();
    check_bf16();
    check_tf32();
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

#ifndef __CUDACC__
static void in_order(emulate_order order, uint64_t seed)
{
    emulate_options o = emulate_get();
    o.order = order;
    o.seed = seed;
    emulate_set(o);
    check_all();
    CHECK(!emulate_last_fault());
    CHECK_EQ(emulate_memory_used(), 0);
}
TEST(good_kernels_forward) { in_order(EMULATE_FORWARD, 1); }
TEST(good_kernels_reverse) { in_order(EMULATE_REVERSE, 1); }
TEST(good_kernels_at_random)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        in_order(EMULATE_RANDOM, seed);
}
#else
TEST(good_kernels) { check_all(); }
#endif

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
#ifndef __CUDACC__
TEST_MAIN("cuda kernels", T(good_kernels_forward), T(good_kernels_reverse), T(good_kernels_at_random))
#else
TEST_MAIN("cuda kernels", T(good_kernels))
#endif
