// counts.cu: what the emulator counts, against counts made by hand. Accesses are counted in the checked build alone.
#include "fast/cuda/device.h"
#include "fast/cuda/emulate/emulate.h"
#include "tests/test.h"

namespace CUDA_SIDE {

// 4 blocks of 256: 32 warps.
__global__ void copy(const float *x, float *y)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i];
}
// One block of 256: 16 bytes a thread.
__global__ void copy_wide(const float *x, float *y) { st4(y + 4 * threadIdx.x, ld4(x + 4 * threadIdx.x)); }
// One block of 40: a whole warp and 8 lanes.
__global__ void copy_tail(const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }
// One warp reads one float; writes every 8th.
__global__ void spread(const float *x, float *y) { y[8 * threadIdx.x] = x[3]; }
// 32 bytes.
__global__ void copy_bytes(const uint8_t *x, uint8_t *y) { y[threadIdx.x] = x[threadIdx.x]; }

// Transposes of 32 x 32 by 32 x 8 threads: 32 warps' loads and 32 warps' stores.
__global__ void transpose_naive(const float *x, float *y)
{
    const unsigned a = threadIdx.x, b = threadIdx.y;
    for (unsigned j = 0; j < 32; j += 8)
        y[a * 32 + b + j] = x[(b + j) * 32 + a];
}
template <int PITCH> __global__ void transpose(const float *x, float *y)
{
    SHARED(float, s, [32][PITCH]);
    const unsigned a = threadIdx.x, b = threadIdx.y;
    for (unsigned j = 0; j < 32; j += 8)
        s[b + j][a] = x[(b + j) * 32 + a];
    __syncthreads();
    for (unsigned j = 0; j < 32; j += 8)
        y[(b + j) * 32 + a] = s[a][b + j];
}

// One warp: shared loads of every second float, of one float, of 8 bytes, of 16 bytes.
__global__ void patterns(float *y)
{
    SHARED(float, s, [128]);
    const unsigned l = threadIdx.x;
    st4(&s[4 * l], make_float4(1, 2, 3, 4));     // 4 quarters of the warp: 4 passes
    __syncwarp();
    float sum = s[2 * l];                        // 2 passes where 1 is ideal
    sum += s[5];                                 // 1
    sum += ld2(&s[2 * l]).x;                     // 2 halves: 2 passes, 2 ideal
    sum += ld4(&s[4 * l]).w;                     // 4 and 4
    FLOPS(4);
    y[l] = sum;
}

__global__ void operations(const float *x, float *y)
{
    SHARED(float, s, [64]);
    const unsigned t = threadIdx.x;
    cp_async<8>(&s[2 * (t % 32)], x + 2 * (t % 32), t < 32 ? 8 : 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    float d[4] = {};
    const uint32_t a[4] = {}, b[2] = {};
    mma_tf32(d, a, b);
    mma_bf16(d, a, b);
    __syncthreads();
    atomicAdd(&y[0], d[0]);
}

// One warp, twice: the second time lanes 4..7 too, which had no copy to make the first time.
__global__ void copy_border(const float *x, float *y)
{
    SHARED(float, s, [64]);
    const unsigned l = threadIdx.x;
    for (unsigned k = 0; k < 2; k++)
        cp_async<4>(&s[32 * k + l], x + 64 * k + l, k == 0 && l / 4 == 1 ? 0 : 4);
    cp_async_commit();
    cp_async_wait<0>();
    y[l] = s[l] + s[32 + l];
}

// `count` floats, by blocks of 256.
template <class T> __global__ void copy_some(unsigned count, const T *x, T *y)
{
    const unsigned i = blockIdx.x * 256 + threadIdx.x;
    FLOPS(2);
    if (i < count)
        y[i] = x[i];
}
template <class T> static void run_copy_some(unsigned count, const T *x, T *y)
{
    LAUNCH(copy_some<T>, (count + 255) / 256, 256, 16, nullptr, count, x, y);
}

static float *x, *y;

static void begin()
{
    emulate_options o = emulate_get();
    o.count = 1;
    emulate_set(o);
    emulate_reset_counts();
    cudaMalloc(&x, 8192);
    cudaMalloc(&y, 8192);
    cudaMemset(x, 0, 8192);
    cudaMemset(y, 0, 8192);
}

static emulate_counts end(const char *kernel)
{
    emulate_counts c;
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(emulate_count(kernel, &c) == 1);
    cudaFree(x);
    cudaFree(y);
    return c;
}

static void check_access(const emulate_access &a, uint64_t requests, uint64_t bytes, uint64_t units, uint64_t ideal)
{
    if (!EMULATE_IS_CHECKED)
        requests = bytes = units = ideal = 0;
    CHECK_EQ(a.requests, requests);
    CHECK_EQ(a.bytes, bytes);
    CHECK_EQ(a.units, units);
    CHECK_EQ(a.ideal, ideal);
}

TEST(coalesced_copy)
{
    begin();
    const float *from = x;
    LAUNCH(copy, 4, 256, 0, nullptr, from, y);
    LAUNCH(copy, 4, 256, 0, nullptr, from, y);
    const emulate_counts c = end("copy");
    check_access(c.global_load, 64, 8192, 256, 256);
    check_access(c.global_store, 64, 8192, 256, 256);
    check_access(c.shared_load, 0, 0, 0, 0);
    CHECK_EQ(c.launches, 2);
    CHECK_EQ(c.blocks, 8);
    CHECK_EQ(c.threads, 2048);
    CHECK_EQ(c.barriers, 0);
    CHECK(!strcmp(emulate_kernel(0), "copy") || emulate_kernel(1));
    emulate_reset_counts();
    emulate_counts none;
    CHECK(emulate_count("copy", &none) == 0 && emulate_count("no kernel", &none) == 0);
}

TEST(other_copies)
{
    begin();
    const float *from = x;
    LAUNCH(copy_wide, 1, 256, 0, nullptr, from, y);
    emulate_counts c = end("copy_wide");
    check_access(c.global_load, 8, 4096, 128, 128);
    check_access(c.global_store, 8, 4096, 128, 128);
    begin();
    LAUNCH(copy_tail, 1, 40, 0, nullptr, from, y);
    c = end("copy_tail");
    check_access(c.global_load, 2, 160, 5, 5);
    begin();
    LAUNCH(spread, 1, 32, 0, nullptr, from, y);
    c = end("spread");
    check_access(c.global_load, 1, 128, 1, 1);
    check_access(c.global_store, 1, 128, 32, 4);
    begin();
    LAUNCH(copy_bytes, 1, 32, 0, nullptr, reinterpret_cast<const uint8_t *>(from), reinterpret_cast<uint8_t *>(y));
    c = end("copy_bytes");
    check_access(c.global_load, 1, 32, 1, 1);
}

TEST(transposes)
{
    begin();
    const float *from = x;
    LAUNCH(transpose_naive, 1, dim3(32, 8), 0, nullptr, from, y);
    emulate_counts c = end("transpose_naive");
    check_access(c.global_load, 32, 4096, 128, 128);
    check_access(c.global_store, 32, 4096, 1024, 128);       // 8 times the sectors
    begin();
    LAUNCH(transpose<32>, 1, dim3(32, 8), 0, nullptr, from, y);
    c = end("transpose<32>");
    check_access(c.global_store, 32, 4096, 128, 128);
    check_access(c.shared_store, 32, 4096, 32, 32);
    check_access(c.shared_load, 32, 4096, 1024, 32);         // a column lies in one bank
    CHECK_EQ(c.barriers, 1);
    CHECK_EQ(c.shared_bytes, 4096);
    begin();
    LAUNCH((transpose<33>), 1, dim3(32, 8), 0, nullptr, from, y);
    c = end("transpose<33>");
    check_access(c.shared_store, 32, 4096, 32, 32);
    check_access(c.shared_load, 32, 4096, 32, 32);
    CHECK_EQ(c.shared_bytes, 4224);
}

TEST(patterns_of_shared_memory)
{
    begin();
    LAUNCH(patterns, 1, 32, 0, nullptr, y);
    const emulate_counts c = end("patterns");
    check_access(c.shared_store, 1, 512, 4, 4);
    check_access(c.shared_load, 4, 128 + 128 + 256 + 512, 2 + 1 + 2 + 4, 1 + 1 + 2 + 4);
    CHECK_EQ(c.flops, EMULATE_IS_CHECKED ? 128 : 0);
    CHECK_EQ(c.warp_ops, 1);
}

TEST(operations_are_counted)
{
    begin();
    const float *from = x;
    LAUNCH(operations, 2, 32, 0, nullptr, from, y);
    const emulate_counts c = end("operations");
    check_access(c.global_load, 2, 512, 16, 16);
    check_access(c.shared_store, 2, 512, 4, 4);
    CHECK_EQ(c.tensor_flops, 2 * (2048 + 4096));
    CHECK_EQ(c.barriers, 4);
    CHECK_EQ(c.warp_ops, 4);
    CHECK_EQ(c.atomics, EMULATE_IS_CHECKED ? 64 : 0);
    emulate_counts all;
    CHECK(emulate_count(nullptr, &all) && all.tensor_flops == c.tensor_flops);
}

TEST(copies_that_some_lanes_pass)
{
    begin();
    const float *from = x;
    LAUNCH(copy_border, 1, 32, 0, nullptr, from, y);
    const emulate_counts c = end("copy_border");
    check_access(c.global_load, 2, 28 * 4 + 32 * 4, 4 + 4, 4 + 4);
    check_access(c.shared_store, 2, 256, 2, 2);              // zeros are written too
    check_access(c.shared_load, 2, 256, 2, 2);
}

// Three blocks run of each: the first, the last and one between.
TEST(samples_stand_for_launches)
{
    emulate_options o = emulate_get(), few = o;
    few.sample = 3;
    begin();
    few.count = 1;
    emulate_set(few);
    const float *from = x;
    emulate_label("one");
    run_copy_some(1796, from, y);                            // 7 blocks of 256 and 4 floats
    run_copy_some(1796, from + 8, y + 8);                    // alike
    emulate_label("other");
    run_copy_some(1024, reinterpret_cast<const int32_t *>(from), reinterpret_cast<int32_t *>(y));
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    emulate_shape s;
    CHECK(emulate_shape_of(0, &s) && !strcmp(s.kernel, "copy_some<float>") && !strcmp(s.label, "one"));
    CHECK_EQ(s.times, 2);
    CHECK_EQ(s.ran, 3);
    CHECK_EQ(s.dynamic, 16);
    CHECK_EQ(s.one.blocks, 8);
    CHECK_EQ(s.one.flops, EMULATE_IS_CHECKED ? 8 * 256 * 2 : 0);
    check_access(s.one.global_load, 7 * 8 + 1, 7184, 7 * 32 + 1, 7 * 32 + 1);
    CHECK_EQ(s.read, EMULATE_IS_CHECKED ? 7184 : 0);
    CHECK_EQ(s.written, EMULATE_IS_CHECKED ? 7184 : 0);
    CHECK(emulate_shape_of(1, &s) && !strcmp(s.kernel, "copy_some<int>") && !strcmp(s.label, "other"));
    CHECK_EQ(s.times, 1);
    CHECK_EQ(s.ran, 3);
    CHECK_EQ(s.one.blocks, 4);
    check_access(s.one.global_store, 32, 4096, 128, 128);
    CHECK(!emulate_shape_of(2, &s));
    cudaFree(x);
    cudaFree(y);
    emulate_label("");
    emulate_set(o);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda counts", T(coalesced_copy), T(other_copies), T(transposes), T(patterns_of_shared_memory),
          T(operations_are_counted), T(copies_that_some_lanes_pass), T(samples_stand_for_launches))
