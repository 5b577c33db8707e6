// pool.cu: average over 3x3 stride 2, maximum of 2x2, mean over pixels. Tensors are (images,h,w,lanes). All bytes bound.
//
// A thread makes one quad of lanes (blocked) or one float (planar) of what its kernel writes, and gathers what it needs:
// nothing is added by two threads, and nothing is shared or staged. Threads run along an image's (row, column, lane), so that a
// warp's accesses lie together; a window's overlap with its neighbours is read again, from a cache. 128 threads; where images
// are small a block holds several, one below another:
//     threadIdx.x: items of an image      | image 0: pixel 0: quads 0 1 2 3 | pixel 1: 0 1 2 3 | ... |
//     threadIdx.y: images                 | image 1: ...
#include "fast/cuda/map.h"
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

constexpr unsigned POOL_THREADS = 128, POOL_ROWS = 65535;

struct pool_launch { dim3 grid, block; };
static pool_launch pool_over(int images, int items)
{
    unsigned across = 4;
    while (across < static_cast<unsigned>(items) && across < POOL_THREADS)
        across *= 2;
    unsigned down = POOL_THREADS / across, rows = (static_cast<unsigned>(images) - 1) / down + 1;
    return pool_launch{ dim3((static_cast<unsigned>(items) - 1) / across + 1, rows < POOL_ROWS ? rows : POOL_ROWS),
                        dim3(across, down) };
}

// f(image, item) for this thread's items: one of every image that it meets.
template <class F> __device__ inline void pool_each(int images, int items, F f)
{
    int item = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), stride = static_cast<int>(gridDim.y * blockDim.y);
    if (item < items)
        for (int i = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); i < images; i += stride)
            f(i, item);
}

// Items of T (a float, or a quad of a pixel's 16 lanes) in an image of h x w; the item at (row, column), of the kind `part`.
template <class T> struct plane {
    static constexpr int parts = sizeof(T) == 16 ? 4 : 1, wide = sizeof(T) / sizeof(float);
    int h, w;
    __host__ __device__ int items() const { return h * w * parts; }
    __device__ size_t image(int i) const { return static_cast<size_t>(i) * static_cast<size_t>(items()) * wide; }
    __device__ size_t at(int row, int column, int part) const
    {
        return static_cast<size_t>((row * w + column) * parts + part) * wide;
    }
};

template <class T> __device__ inline T ninth(T sum) { return each([](float a) { return a * (1.0f / 9.0f); }, sum); }

// Average: windows around (2u,2v), of which only what lies in the image counts: up to nine loads a thread, in flight together.
//     rows 2u-1 .. 2u+1, columns 2v-1 .. 2v+1 of x  -->  (u,v) of y; SWISH: and of swished = swish(y)
template <class T, bool SWISH> __global__ void __launch_bounds__(POOL_THREADS)
avgpool_fwd(int images, plane<T> in, plane<T> out, const float *x, float *y, float *swished)
{
    pool_each(images, out.items(), [=](int i, int item) {
        int part = item % in.parts, v = item / in.parts % out.w, u = item / in.parts / out.w;
        const float *from = x + in.image(i);
        T sum = {};
#pragma unroll
        for (int r = 0; r < 3; r++)
#pragma unroll
            for (int s = 0; s < 3; s++) {
                int row = 2 * u + r - 1, column = 2 * v + s - 1;
                if (row >= 0 && row < in.h && column >= 0 && column < in.w)
                    sum = sum + get(from + in.at(row, column, part), sum);
            }
        FLOPS(10 * out.wide);
        size_t to = out.image(i) + out.at(u, v, part);
        sum = ninth(sum);
        put(y + to, sum);
        if (SWISH)
            put(swished + to, each([](float a) { return swish(a); }, sum));
    });
}

// Row r lies in the windows around 2u for r/2 <= u <= (r+1)/2: one or two; columns likewise. A blocked tensor's thread makes
// the 2x2 pixels around which the same four windows lie, so that each is loaded once for four stores; a planar one's a pixel:
//     p[0] = (u,v)    p[1] = (u,v+1)         (2u,2v):   p[0]           (2u,2v+1):   p[0] + p[1]
//     p[2] = (u+1,v)  p[3] = (u+1,v+1)       (2u+1,2v): p[0] + p[2]    (2u+1,2v+1): all four
// SWISH: of swish'(y) gy, so four swish' a thread where a pixel by itself would take nine for its windows' 2x2.
template <class T, bool SWISH> __global__ void __launch_bounds__(POOL_THREADS)
avgpool_bwd(int images, plane<T> in, plane<T> out, const float *y, const float *gy, float *gx)
{
    constexpr int side = in.parts == 4 ? 2 : 1;  // of the pixels that a thread makes
    const plane<T> threads = side == 2 ? out : in;
    pool_each(images, threads.items(), [=](int i, int item) {
        int part = item % in.parts, s0 = item / in.parts % threads.w * side, r0 = item / in.parts / threads.w * side;
        T p[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int u = r0 / 2 + k / 2, v = s0 / 2 + k % 2;
            bool wanted = side == 2 || (k / 2 <= r0 % 2 && k % 2 <= s0 % 2);
            size_t from = out.image(i) + out.at(u, v, part);
            p[k] = T();
            if (wanted && u < out.h && v < out.w) {
                p[k] = get(gy + from, p[k]);
                if (SWISH)
                    p[k] = each([](float g, float z) { return g * swish_slope(z); }, p[k], get(y + from, p[k]));
            }
        }
#pragma unroll
        for (int j = 0; j < side * side; j++) {
            int r = r0 + j / 2, s = s0 + j % 2;
            T sum = p[0];
#pragma unroll
            for (int k = 1; k < 4; k++)
                if (k / 2 <= r % 2 && k % 2 <= s % 2)
                    sum = sum + p[k];
            if (r < in.h && s < in.w)
                put(gx + in.image(i) + in.at(r, s, part), ninth(sum));
        }
        FLOPS(5 * in.wide * side * side);        // at most
    });
}

// ---- maximum: place 0..3 of a window's largest, one byte a value; four bytes are accessed as one word ----

__device__ inline unsigned get_places(const uint8_t *which, float) { return *which; }
__device__ inline unsigned get_places(const uint8_t *which, float4) { return *reinterpret_cast<const uint32_t *>(which); }
__device__ inline void put_places(uint8_t *which, unsigned places, float) { *which = static_cast<uint8_t>(places); }
__device__ inline void put_places(uint8_t *which, unsigned places, float4) { *reinterpret_cast<uint32_t *>(which) = places; }

__device__ inline unsigned place_of_largest(float a, float b, float c, float d)
{
    const float other[3] = { b, c, d };
    unsigned place = 0;
#pragma unroll
    for (unsigned k = 1; k < 4; k++) {
        float e = other[k - 1];
        if (e > a || (e != e && a == a)) {
            a = e;
            place = k;
        }
    }
    return place;
}
__device__ inline unsigned places_of_largest(const float v[4]) { return place_of_largest(v[0], v[1], v[2], v[3]); }
__device__ inline unsigned places_of_largest(const float4 v[4])
{
    return place_of_largest(v[0].x, v[1].x, v[2].x, v[3].x) | place_of_largest(v[0].y, v[1].y, v[2].y, v[3].y) << 8
           | place_of_largest(v[0].z, v[1].z, v[2].z, v[3].z) << 16 | place_of_largest(v[0].w, v[1].w, v[2].w, v[3].w) << 24;
}

__device__ inline float taken(unsigned place, float a, float b, float c, float d)
{
    return place & 2 ? (place & 1 ? d : c) : (place & 1 ? b : a);
}
__device__ inline float taken_of(unsigned places, const float v[4]) { return taken(places, v[0], v[1], v[2], v[3]); }
__device__ inline float4 taken_of(unsigned places, const float4 v[4])
{
    float x = taken(places, v[0].x, v[1].x, v[2].x, v[3].x), y = taken(places >> 8, v[0].y, v[1].y, v[2].y, v[3].y);
    float z = taken(places >> 16, v[0].z, v[1].z, v[2].z, v[3].z), w = taken(places >> 24, v[0].w, v[1].w, v[2].w, v[3].w);
    return make_float4(x, y, z, w);
}

__device__ inline float given(unsigned places, unsigned place, float g) { return (places & 3) == place ? g : 0.0f; }
__device__ inline float4 given(unsigned places, unsigned place, float4 g)
{
    return make_float4(given(places, place, g.x), given(places >> 8, place, g.y), given(places >> 16, place, g.z),
                       given(places >> 24, place, g.w));
}

// y = the largest of 2x2 of x: four loads a thread. CHOOSE: find which; otherwise it is given.
template <class T, bool CHOOSE> __global__ void __launch_bounds__(POOL_THREADS)
maxpool_take(int images, plane<T> in, plane<T> out, const float *x, float *y, const uint8_t *given_which, uint8_t *which)
{
    pool_each(images, out.items(), [=](int i, int item) {
        int part = item % in.parts, v = item / in.parts % out.w, u = item / in.parts / out.w;
        size_t to = out.image(i) + out.at(u, v, part);
        T value[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            value[k] = get(x + in.image(i) + in.at(2 * u + k / 2, 2 * v + k % 2, part), T());
        unsigned places = CHOOSE ? places_of_largest(value) : get_places(given_which + to, T());
        if (CHOOSE)
            put_places(which + to, places, T());
        put(y + to, taken_of(places, value));
    });
}

// gx = gy where `which` says so, else 0, also for what lies in no window: four pixels read the same gy and bytes.
template <class T> __global__ void __launch_bounds__(POOL_THREADS)
maxpool_bwd(int images, plane<T> in, plane<T> out, const uint8_t *which, const float *gy, float *gx)
{
    pool_each(images, in.items(), [=](int i, int item) {
        int part = item % in.parts, s = item / in.parts % in.w, r = item / in.parts / in.w;
        T g = {};
        if (r / 2 < out.h && s / 2 < out.w) {
            size_t from = out.image(i) + out.at(r / 2, s / 2, part);
            g = given(get_places(which + from, g), static_cast<unsigned>(r % 2 * 2 + s % 2), get(gy + from, g));
        }
        put(gx + in.image(i) + in.at(r, s, part), g);
    });
}

constexpr int MEAN_THREADS = 128;

// Mean over the pixels of a blocked tensor: a warp for an image's 16 channels, 8 pixels (512 bytes) a load, 4 loads in flight:
//     lane l   quad l%4 of pixels l/4, l/4 + 8, ... -> its own sum -> quad_sum by shuffles -> 16 lanes write 64 bytes
// The four warps of a block have nothing to do with one another.
__global__ void __launch_bounds__(MEAN_THREADS) mean_fwd(size_t images, int hw, const float *x, float *y)
{
    size_t image = static_cast<size_t>(blockIdx.x) * (MEAN_THREADS / 32) + threadIdx.x / 32;
    if (image >= images)
        return;
    const float *from = x + image * static_cast<size_t>(hw) * FAST_LANES;
    unsigned l = threadIdx.x % 32;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (int p = static_cast<int>(l / 4); p < hw; p += 8)
        sum = sum + ld4(from + static_cast<size_t>(p) * FAST_LANES + 4 * (l % 4));
    float total = quad_sum(sum);
    if ((l & 4) == 0)
        y[image * FAST_LANES + quad_channel(l)] = total / static_cast<float>(hw);
}

// gx = gy/pixels at each: a quad a thread, gy from a cache.
__global__ void __launch_bounds__(POOL_THREADS) mean_bwd(int images, plane<float4> in, const float *gy, float *gx)
{
    float pixels = static_cast<float>(in.h * in.w);
    pool_each(images, in.items(), [=](int i, int item) {
        float4 g = ld4(gy + static_cast<size_t>(i) * FAST_LANES + 4 * (item % 4));
        st4(gx + in.image(i) + 4 * static_cast<size_t>(item), each([=](float a) { return a / pixels; }, g));
    });
}

template <class T, bool SWISH> static void run_avgpool_fwd(int images, int h, int w, const float *x, float *y, float *swished)
{
    plane<T> in{ h, w }, out{ (h + 1) / 2, (w + 1) / 2 };
    pool_launch l = pool_over(images, out.items());
    LAUNCH((avgpool_fwd<T, SWISH>), l.grid, l.block, 0, CUDA_(stream), images, in, out, x, y, swished);
}

template <class T, bool SWISH> static void run_avgpool_bwd(int images, int h, int w, const float *y, const float *gy, float *gx)
{
    plane<T> in{ h, w }, out{ (h + 1) / 2, (w + 1) / 2 };
    pool_launch l = pool_over(images, in.parts == 4 ? out.items() : in.items());
    LAUNCH((avgpool_bwd<T, SWISH>), l.grid, l.block, 0, CUDA_(stream), images, in, out, y, gy, gx);
}

template <class T, bool CHOOSE>
static void run_maxpool_take(int images, int h, int w, const float *x, float *y, const uint8_t *given_which, uint8_t *which)
{
    plane<T> in{ h, w }, out{ h / 2, w / 2 };
    pool_launch l = pool_over(images, out.items());
    LAUNCH((maxpool_take<T, CHOOSE>), l.grid, l.block, 0, CUDA_(stream), images, in, out, x, y, given_which, which);
}

template <class T> static void run_maxpool_bwd(int images, int h, int w, const uint8_t *which, const float *gy, float *gx)
{
    plane<T> in{ h, w }, out{ h / 2, w / 2 };
    pool_launch l = pool_over(images, in.items());
    LAUNCH(maxpool_bwd<T>, l.grid, l.block, 0, CUDA_(stream), images, in, out, which, gy, gx);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(avgpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y)
{
    (lanes == FAST_LANES ? run_avgpool_fwd<float4, false> : run_avgpool_fwd<float, false>)(images, h, w, x, y, nullptr);
}

void CUDA_(avgpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *gy, float *gx)
{
    (lanes == FAST_LANES ? run_avgpool_bwd<float4, false> : run_avgpool_bwd<float, false>)(images, h, w, nullptr, gy, gx);
}

void CUDA_(avgpool_swish_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, float *s)
{
    (lanes == FAST_LANES ? run_avgpool_fwd<float4, true> : run_avgpool_fwd<float, true>)(images, h, w, x, y, s);
}

void CUDA_(avgpool_swish_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *y, const float *gs, float *gx)
{
    (lanes == FAST_LANES ? run_avgpool_bwd<float4, true> : run_avgpool_bwd<float, true>)(images, h, w, y, gs, gx);
}

void CUDA_(maxpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which)
{
    (lanes == FAST_LANES ? run_maxpool_take<float4, true> : run_maxpool_take<float, true>)(images, h, w, x, y, nullptr, which);
}

void CUDA_(maxpool_tan)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t)
{
    (lanes == FAST_LANES ? run_maxpool_take<float4, false> : run_maxpool_take<float, false>)(images, h, w, x_t, y_t, which,
                                                                                             nullptr);
}

void CUDA_(maxpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx)
{
    (lanes == FAST_LANES ? run_maxpool_bwd<float4> : run_maxpool_bwd<float>)(images, h, w, which, gy, gx);
}

void CUDA_(mean_fwd)(fast_ctx *, int n, int c, int hw, const float *x, float *y)
{
    size_t images = static_cast<size_t>(n) * static_cast<size_t>(fast_blocks(c)), warps = MEAN_THREADS / 32;
    LAUNCH(mean_fwd, static_cast<unsigned>((images + warps - 1) / warps), MEAN_THREADS, 0, CUDA_(stream), images, hw, x, y);
}

void CUDA_(mean_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, float *gx)
{
    plane<float4> in{ 1, hw };
    pool_launch l = pool_over(n * fast_blocks(c), in.items());
    LAUNCH(mean_bwd, l.grid, l.block, 0, CUDA_(stream), n * fast_blocks(c), in, gy, gx);
}
