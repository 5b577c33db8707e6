// map.h: functions of single floats over arrays of any alignment, each read and written once.
//
// Where all arrays are aligned to 16 bytes, thread j takes quad j of `quads` = count/4, so that a warp's access is 512 bytes in
// a row; what is left (everything, where they are not) is taken one float a thread by the threads after those:
//     thread      0      1     ...  quads-1   quads      quads+1
//     floats    0..3   4..7    ...           4 quads    4 quads + 1  ...  count-1
// Grids of more than MAP_BLOCKS blocks are walked in strides.
#ifndef FAST_CUDA_MAP_H
#define FAST_CUDA_MAP_H

#include "fast/cuda/device.h"

namespace CUDA_SIDE {

constexpr int MAP_THREADS = 256;
constexpr size_t MAP_BLOCKS = 1 << 20;

template <class... P> inline size_t map_quads(size_t count, const P *...p)
{
    return ((reinterpret_cast<uintptr_t>(p) | ...)) % 16 == 0 ? count / 4 : 0;
}
// Blocks of MAP_THREADS for one thread an item; for a map.
inline unsigned item_blocks(size_t items) { return static_cast<unsigned>((items + MAP_THREADS - 1) / MAP_THREADS); }
inline unsigned map_blocks(size_t count, size_t quads)
{
    size_t items = count - 3 * quads, most = MAP_BLOCKS * MAP_THREADS;
    return item_blocks(items > most ? most : items > 0 ? items : 1);
}

__device__ inline float get(const float *p, float) { return *p; }
__device__ inline float4 get(const float *p, float4) { return ld4(p); }
__device__ inline void put(float *p, float v) { *p = v; }
__device__ inline void put(float *p, float4 v) { st4(p, v); }

// f of floats, or of quads by components.
template <class F, class... A> __device__ inline float each(F f, float a, A... more) { return f(a, more...); }
template <class F, class... A> __device__ inline float4 each(F f, float4 a, A... more)
{
    return make_float4(f(a.x, more.x...), f(a.y, more.y...), f(a.z, more.z...), f(a.w, more.w...));
}

__device__ inline float4 operator+(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
__device__ inline float4 operator-(float4 a, float4 b) { return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w); }
__device__ inline float4 operator*(float4 a, float4 b) { return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
__device__ inline float4 fma4(float4 a, float4 b, float4 c)
{
    return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w));
}

// f(at, kind): at is the place of the first float, kind a float or a float4, whose value says nothing.
template <class F> __device__ inline void map(size_t count, size_t quads, F f)
{
    size_t stride = static_cast<size_t>(gridDim.x) * MAP_THREADS;
    for (size_t j = static_cast<size_t>(blockIdx.x) * MAP_THREADS + threadIdx.x; j < count - 3 * quads; j += stride)
        if (j < quads)
            f(4 * j, make_float4(0, 0, 0, 0));
        else
            f(j + 3 * quads, 0.0f);
}

}  // namespace CUDA_SIDE
#endif
