// reduce.h: sums over a warp, a block, columns of a block, in an order that the block's shape alone decides; the last block.
//
// A warp adds by shuffles. A block of w warps has its warps' sums in `room`, shared memory of w values, which every thread then
// adds up in the order of the warps:   warp 0 .. w-1 --shuffles--> room[w] --barrier--> sum --barrier--> room is free
// last_block's flag is a shared word, `last`.
#ifndef FAST_CUDA_REDUCE_H
#define FAST_CUDA_REDUCE_H

#include "fast/cuda/device.h"

namespace CUDA_SIDE {

enum : unsigned { WARP = 0xffffffffu };

// This thread's number in its block, whose size is a multiple of 32.
__device__ inline unsigned thread_rank() { return threadIdx.y * blockDim.x + threadIdx.x; }
__device__ inline unsigned warp_lane() { return thread_rank() % 32; }

// The sum over the warp, the same in every lane: x + y = y + x.
template <class T> __device__ inline T warp_sum(T v)
{
#pragma unroll
    for (int by = 16; by > 0; by /= 2)
        v += __shfl_xor_sync(WARP, v, by);
    return v;
}

// The sum over the block, the same in every thread: warps in order. room: shared, one T a warp; free again on return.
template <class T> __device__ inline T block_sum(T v, T *room)
{
    unsigned warps = blockDim.x * blockDim.y / 32;
    v = warp_sum(v);
    if (warp_lane() == 0)
        room[thread_rank() / 32] = v;
    __syncthreads();
    T sum = room[0];
    for (unsigned w = 1; w < warps; w++)
        sum += room[w];
    __syncthreads();
    return sum;
}

// Lane l holds v of four neighbouring channels, 4(l%4) .. 4(l%4)+3, of pixel l/4: a warp's load of a blocked tensor. Lane l
// gets the sum over the eight pixels of channel quad_channel(l); each channel is held by two lanes, l and l^4. Halves are
// exchanged rather than copied: 4 shuffles, not 12.
__device__ inline unsigned quad_channel(unsigned l) { return 4 * (l % 4) + 2 * (l / 16) + l / 8 % 2; }
__device__ inline float quad_sum(float4 v)
{
    unsigned l = warp_lane();
    bool upper = l & 16, odd = l & 8;
    float a = (upper ? v.z : v.x) + __shfl_xor_sync(WARP, upper ? v.x : v.z, 16);
    float b = (upper ? v.w : v.y) + __shfl_xor_sync(WARP, upper ? v.y : v.w, 16);
    float c = (odd ? b : a) + __shfl_xor_sync(WARP, odd ? a : b, 8);
    return c + __shfl_xor_sync(WARP, c, 4);
}

// In a block of 32 x ROWS threads: the sum over threadIdx.y of v, for the threads of row 0 (the others get their own v).
// room: shared, 32 ROWS of T, not free again before the next barrier.
template <int ROWS, class T> __device__ inline T column_sum(T v, T *room)
{
    room[thread_rank()] = v;
    __syncthreads();
    if (threadIdx.y == 0)
        for (unsigned r = 1; r < ROWS; r++)
            v += room[r * 32 + threadIdx.x];
    return v;
}

// Is this block the last of `blocks` to come here? The last sees what all of them have written before. ticket: 0, and 0 again
// when the last has come, for the next launch; flag: shared. Only the last may act on it, and in a way that all would.
__device__ inline bool last_block(unsigned *ticket, unsigned blocks, unsigned *flag)
{
    __syncthreads();
    if (thread_rank() == 0) {
        __threadfence();                         // the block's writes, which the barrier has put before it, are seen first
        *flag = atomicAdd(ticket, 1u) == blocks - 1;
        __threadfence();
        if (*flag)
            *ticket = 0;
    }
    __syncthreads();
    return *flag != 0;
}

}  // namespace CUDA_SIDE
#endif
