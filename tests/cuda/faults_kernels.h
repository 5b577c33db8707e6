// faults_kernels.h: kernels with one planted fault each. A line marked `// FAULT name` is where that kernel's may be told.
#ifndef FAULTS_KERNELS_H
#define FAULTS_KERNELS_H

#include "fast/cuda/device.h"

namespace CUDA_SIDE {

static const char marked_file[] = __FILE__;

enum { N = 256 };

// ---- races ----
__global__ void race_read(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncthreads();
    s[t] = x[t];             // FAULT race_read
    y[t] = s[N - 1 - t];     // FAULT race_read
}
__global__ void race_next_tile(const float *x, float *y)     // no barrier at the end of the loop
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    float a = 0;
    for (int k = 0; k < 4; k++) {
        s[t] = x[t] * static_cast<float>(k);                 // FAULT race_next_tile
        __syncthreads();
        a += s[(t + 37) % N];                                // FAULT race_next_tile
    }
    y[t] = a;
}
__global__ void race_two_writes(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t / 2] = x[t];         // FAULT race_two_writes
    __syncthreads();
    y[t] = s[t / 2];
}
__global__ void race_in_warp(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncwarp();
    s[t] = x[t];             // FAULT race_in_warp
    y[t] = s[t ^ 1];         // FAULT race_in_warp
}
__global__ void race_other_half(const float *x, float *y)    // the halves of a warp meet, each alone
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncwarp();
    s[t] = x[t];             // FAULT race_other_half
    if (t % 32 < 16)
        __syncwarp(0x0000ffffu);
    else
        __syncwarp(0xffff0000u);
    y[t] = s[t ^ 16];        // FAULT race_other_half
}
__global__ void race_of_bytes(const float *x, float *y)
{
    SHARED(uint8_t, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncthreads();
    s[t] = static_cast<uint8_t>(x[t]);                       // FAULT race_of_bytes
    y[t] = static_cast<float>(s[(t + 1) % N]);               // FAULT race_of_bytes
}
__global__ void race_word_then_byte(const float *x, float *y)
{
    SHARED(uint32_t, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncthreads();
    s[t] = static_cast<uint32_t>(x[t]);                      // FAULT race_word_then_byte
    const uint8_t *bytes = reinterpret_cast<const uint8_t *>(&s[(t + 1) % N]);
    y[t] = static_cast<float>(bytes[1]);                     // FAULT race_word_then_byte
}
__global__ void race_global(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    y[t] = x[t];             // FAULT race_global
    y[t + N] = y[t ^ 64];    // FAULT race_global
}
__global__ void race_blocks_write(const float *x, float *y)
{
    y[threadIdx.x] = x[threadIdx.x];                         // FAULT race_blocks_write
}
__global__ void race_blocks_read(const float *, float *y)    // in place, with the neighbour's edge
{
    unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
    float left = y[t] + (t ? y[t - 1] : 0);                  // FAULT race_blocks_read
    __syncthreads();
    y[t] = left;             // FAULT race_blocks_read
}
__global__ void race_plain_sum(const float *x, float *y)
{
    y[0] += x[threadIdx.x];  // FAULT race_plain_sum
}
__global__ void race_atomic_read(const float *x, float *y)
{
    SHARED(float, s, [1]);
    if (threadIdx.x == 0)
        s[0] = 0;
    __syncthreads();
    atomicAdd(&s[0], x[threadIdx.x]);                        // FAULT race_atomic_read
    y[threadIdx.x] = s[0];   // FAULT race_atomic_read
}
__global__ void race_atomic_then_read(const float *x, float *y)
{
    SHARED(float, s, [1]);
    if (threadIdx.x == 0)
        s[0] = 0;
    __syncthreads();
    if (threadIdx.x < N - 1)
        atomicAdd(&s[0], x[threadIdx.x]);                    // FAULT race_atomic_then_read
    else
        y[0] = s[0];         // FAULT race_atomic_then_read
}
__global__ void race_many_readers(const float *x, float *y)  // the last reader, alone in its warp, writes
{
    SHARED(float, s, [1]);
    if (threadIdx.x == 0)
        s[0] = x[0];
    __syncthreads();
    float v = s[0];          // FAULT race_many_readers
    if (threadIdx.x == 32)
        s[0] = v + 1;        // FAULT race_many_readers
    y[threadIdx.x] = v;
}
__global__ void race_no_fence(const float *x, float *y)      // the last block to arrive, without __threadfence
{
    SHARED(unsigned, last, [1]);
    y[blockIdx.x] = x[blockIdx.x];
    if (threadIdx.x == 0)
        last[0] = atomicAdd(reinterpret_cast<unsigned *>(y) + 8, 1u) == gridDim.x - 1;
    __syncthreads();
    if (last[0] && threadIdx.x == 0)
        for (unsigned b = 0; b < gridDim.x; b++)
            y[16] += y[b];   // FAULT race_no_fence
}

__global__ void race_no_barrier(const float *x, float *y)    // the same, with it, but the other threads' writes may come later
{
    SHARED(unsigned, last, [1]);
    y[64 + blockIdx.x * blockDim.x + threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 0) {
        __threadfence();
        last[0] = atomicAdd(reinterpret_cast<unsigned *>(y) + 8, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last[0])
        y[512 + threadIdx.x] = y[64 + (1 - blockIdx.x) * blockDim.x + threadIdx.x];    // FAULT race_no_barrier
}

// ---- barriers ----
__global__ void barrier_two_lines(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    if (t < 128) {
        y[t] = x[t];
        __syncthreads();     // FAULT barrier_two_lines
    } else {
        __syncthreads();     // FAULT barrier_two_lines
        y[t] = 2 * x[t];
    }
}
__global__ void barrier_in_branch(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    if (t != 77)
        __syncthreads();     // FAULT barrier_in_branch
    y[t] = x[t];
}
__global__ void barrier_after_return(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    if (t > 200)
        return;
    int n = __syncthreads_count(x[t] > 3);                   // FAULT barrier_after_return
    y[t] = static_cast<float>(n);
}
__global__ void barrier_against_vote(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    int any = 0;
    if (t % 32 == 5)
        __syncthreads();
    else
        any = __any_sync(~0u, x[t] > 2);                     // FAULT barrier_against_vote
    y[t] = static_cast<float>(any);
}

// ---- warps ----
__global__ void warp_half_comes(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    float v = x[t];
    if (t & 1)
        v = __shfl_xor_sync(~0u, v, 2);                      // FAULT warp_half_comes
    y[t] = v;
}
__global__ void warp_not_in_mask(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    y[t] = __shfl_down_sync(0x7fffffffu, x[t], 1);           // FAULT warp_not_in_mask
}
__global__ void warp_from_outside(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    if (t % 32 < 16)
        y[t] = __shfl_sync(0x0000ffffu, x[t], 16);           // FAULT warp_from_outside
}
__global__ void warp_two_masks(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    unsigned mask = t % 32 == 3 ? 0x0000ffffu : ~0u;
    y[t] = static_cast<float>(__ballot_sync(mask, x[t] > 9) & 1);    // FAULT warp_two_masks
}
__global__ void warp_two_lines(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    float v;
    if (t % 2)
        v = __shfl_sync(~0u, x[t], 0);                       // FAULT warp_two_lines
    else
        v = __shfl_sync(~0u, x[t], 1);                       // FAULT warp_two_lines
    y[t] = v;
}
__global__ void warp_ended(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    if (t % 32 == 9)
        return;
    __syncwarp();            // FAULT warp_ended
    y[t] = x[t];
}
__global__ void warp_part_mma(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    float d[4] = {};
    uint32_t a[4] = {1, 2, 3, 4}, b[2] = {5, 6};
    mma_tf32(d, a, b);       // FAULT warp_part_mma
    y[t] = d[0] + x[t];
}

// ---- what is not there ----
__global__ void uninitialised_static(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    if (t)
        s[t] = x[t];
    __syncthreads();
    y[t] = s[t];             // FAULT uninitialised_static
}
__global__ void uninitialised_dynamic(const float *x, float *y)
{
    DYN_SHARED(float, s);
    unsigned t = threadIdx.x;
    if (t < 200)
        s[t] = x[t];
    __syncthreads();
    y[t] = s[t];             // FAULT uninitialised_dynamic
}
__global__ void uninitialised_block(const float *x, float *y)    // the second block reads what the first left
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    if (blockIdx.x == 0)
        s[t] = x[t];
    __syncthreads();
    y[blockIdx.x * blockDim.x + t] = s[t];                   // FAULT uninitialised_block
}
__global__ void bounds_index(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = x[t];
    __syncthreads();
    y[t] = s[t + 1];         // FAULT bounds_index
}
__global__ void bounds_row(const float *x, float *y)         // stays within the array, leaves the row
{
    SHARED(float, s, [16][16]);
    unsigned t = threadIdx.x;
    s[t / 16][t % 16] = x[t];
    __syncthreads();
    y[t] = s[t / 16][t % 16 + (t == 100)] + s[t / 16][t % 16 + (t == 15)];   // FAULT bounds_row
}
__device__ __noinline__ float sum_of(const float *p, unsigned n)
{
    float a = 0;
    for (unsigned i = 0; i < n; i++)
        a += p[i];           // FAULT bounds_pointer
    return a;
}
__global__ void bounds_pointer(const float *x, float *y)     // one variable's end, through a pointer
{
    SHARED(float, s, [N]);
    SHARED(float, other, [N]);
    unsigned t = threadIdx.x;
    s[t] = other[t] = x[t];
    __syncthreads();
    y[t] = t ? other[t] : sum_of(s, N + 1);
}
__global__ void bounds_dynamic(const float *x, float *y)
{
    DYN_SHARED(float, s);
    unsigned t = threadIdx.x;
    s[t + 1] = x[t];         // FAULT bounds_dynamic
    __syncthreads();
    y[t] = s[t];
}
__global__ void bounds_straddle(const float *x, float *y)    // half of it inside
{
    SHARED(float, s, [N - 1]);
    unsigned t = threadIdx.x;
    if (t < N - 1)
        s[t] = x[t];
    __syncthreads();
    if (t % 2 == 0)
        y[t] = ld2(&s[t]).x; // FAULT bounds_straddle
}
__global__ void bounds_after(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    y[t] = x[t + 769];       // FAULT bounds_after
}
__global__ void bounds_before(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    y[t] = (x - 1)[t];       // FAULT bounds_before
}
__global__ void bounds_wide(const float *x, float *y)
{
    unsigned t = threadIdx.x;
    st4(y + 4 * t, ld4(x + 4 * t + 4));                      // FAULT bounds_wide
}
__global__ void bounds_freed(const float *x, float *y)
{
    y[threadIdx.x] = x[threadIdx.x];                         // FAULT bounds_freed
}
__global__ void misaligned_load(const float *x, float *y)
{
    float4 v = ld4(x + threadIdx.x);                         // FAULT misaligned_load
    y[threadIdx.x] = v.x + v.w;
}
__global__ void misaligned_store(const float *x, float *y)
{
    SHARED(float, s, [2 * N]);
    unsigned t = threadIdx.x;
    st2(&s[2 * t + (t == 9)], float2{x[t], x[t]});           // FAULT misaligned_store
    __syncthreads();
    y[t] = s[2 * t];
}
__global__ void misaligned_word(const float *x, float *y)
{
    const char *p = reinterpret_cast<const char *>(x) + 2;
    y[threadIdx.x] = reinterpret_cast<const float *>(p)[threadIdx.x];        // FAULT misaligned_word
}
__global__ void misaligned_copy(const float *x, float *y)
{
    SHARED(float, s, [N + 4]);
    unsigned t = threadIdx.x;
    if (t < 64)
        cp_async<16>(&s[4 * t], x + 4 * t + 2);              // FAULT misaligned_copy
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    y[t] = s[t];
}
__global__ void misaligned_matrix(const float *x, float *y)
{
    SHARED(float, s, [8][6]);                                // rows of 24 bytes
    unsigned t = threadIdx.x;
    for (unsigned i = t; i < 48; i += blockDim.x)
        s[i / 6][i % 6] = x[i];
    __syncthreads();
    uint32_t r[1];
    ldmatrix_x1(r, &s[t % 8][0]);                            // FAULT misaligned_matrix
    y[t] = __uint_as_float(r[0]);
}
__global__ void host_memory(const float *x, float *y)
{
    y[threadIdx.x] = x[threadIdx.x];                         // FAULT host_memory
}

// ---- asynchronous copies ----
__global__ void copy_not_waited(const float *x, float *y)
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    if (t < 64)
        cp_async<16>(&s[4 * t], x + 4 * t);
    cp_async_commit();
    __syncthreads();
    y[t] = s[t];             // FAULT copy_not_waited
    cp_async_wait<0>();
}
__global__ void copy_wait_too_few(const float *x, float *y)  // waits for the first group, reads the second
{
    SHARED(float, s, [2][N]);
    unsigned t = threadIdx.x;
    cp_async<4>(&s[0][t], x + t);
    cp_async_commit();
    cp_async<4>(&s[1][t], x + t);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    y[t] = s[0][t] + s[1][t];                                // FAULT copy_wait_too_few
    cp_async_wait<0>();
}
__global__ void copy_no_barrier(const float *x, float *y)    // a thread has waited for its own copies only
{
    SHARED(float, s, [N]);
    unsigned t = threadIdx.x;
    s[t] = 0;
    __syncthreads();
    cp_async<4>(&s[t], x + t);                               // FAULT copy_no_barrier
    cp_async_commit();
    cp_async_wait<0>();
    y[t] = s[t ^ 32];        // FAULT copy_no_barrier
}
__global__ void copy_for_ever(const float *x, float *y)
{
    SHARED(float, s, [N]);
    cp_async<4>(&s[threadIdx.x], x + threadIdx.x);           // FAULT copy_for_ever
    y[threadIdx.x] = 0;
}

}  // namespace CUDA_SIDE
#endif
