// warp.h: barriers, votes and shuffles, as kernels call them.
#ifndef EMULATE_WARP_H
#define EMULATE_WARP_H

#include <string.h>

#include "types.h"

namespace emulate {

// Indices are values of the thread, not memory: a compiler may keep them.
uint3 thread_index() __attribute__((const));
uint3 block_index() __attribute__((const));
dim3 block_size() __attribute__((const));
dim3 grid_size() __attribute__((const));
unsigned lane_index() __attribute__((const));

// Waits for every thread of the block. The sum of all threads' votes.
unsigned barrier(const char *name, unsigned vote, where at);

inline void __syncthreads(where at = here()) { barrier("__syncthreads", 0, at); }
inline int __syncthreads_count(int p, where at = here())
{
    return static_cast<int>(barrier("__syncthreads_count", p != 0, at));
}
inline int __syncthreads_or(int p, where at = here()) { return barrier("__syncthreads_or", p != 0, at) > 0; }
inline int __syncthreads_and(int p, where at = here()) { return barrier("__syncthreads_and", p == 0, at) == 0; }

void __syncwarp(unsigned mask = ~0u, where at = here());
void __threadfence();
inline void __threadfence_block() {}

unsigned __ballot_sync(unsigned mask, int p, where at = here());
inline int __any_sync(unsigned mask, int p, where at = here()) { return __ballot_sync(mask, p, at) != 0; }
inline int __all_sync(unsigned mask, int p, where at = here()) { return __ballot_sync(mask, !p, at) == 0; }
unsigned __activemask() = delete;                // says nothing that a kernel may rely on

// The value of lane `from`, from the lanes in mask.
uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, where at);

template <class T> T shuffle_value(unsigned mask, T v, unsigned from, where at)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = shuffle(mask, bits, from, at);
    memcpy(&v, &bits, sizeof v);
    return v;
}

// Within segments of `width` lanes; a lane that would read beyond its segment keeps its own value.
template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32, where at = here())
{
    unsigned w = static_cast<unsigned>(width), l = lane_index();
    return shuffle_value(mask, v, (l & ~(w - 1)) | (static_cast<unsigned>(from) & (w - 1)), at);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, where at = here())
{
    unsigned w = static_cast<unsigned>(width), l = lane_index(), from = l ^ static_cast<unsigned>(bits);
    return shuffle_value(mask, v, (from & ~(w - 1)) <= (l & ~(w - 1)) ? from : l, at);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, where at = here())
{
    unsigned w = static_cast<unsigned>(width), l = lane_index();
    return shuffle_value(mask, v, (l & (w - 1)) >= by ? l - by : l, at);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, where at = here())
{
    unsigned w = static_cast<unsigned>(width), l = lane_index();
    return shuffle_value(mask, v, (l & (w - 1)) + by < w ? l + by : l, at);
}

}  // namespace emulate
#endif
