// act.cu: swish and leaky ReLU, with their first and second derivatives.
//
// Functions of single floats, which bytes bound: 256 threads walk the arrays as map.h draws it, a quad of four floats a thread,
// 512 bytes in a row a warp. Each float is read once and written once: nothing is shared, and what hides the way to memory is
// the number of warps (at most 38 registers: six blocks a multiprocessor).
#include "fast/cuda/map.h"
#include "fast/cuda/slots.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

// The slope of the leaky ReLU; a NaN has none.
__device__ inline float lrelu_1(float slope, float x) { return x != x ? x : x > 0 ? 1.0f : slope; }

// y = a(x): 8 bytes a float.
template <int ACT> __global__ void __launch_bounds__(MAP_THREADS)
act_fwd(size_t count, size_t quads, float slope, const float *x, float *y)
{
    map(count, quads, [=](size_t at, auto kind) {
        put(y + at, each([=](float v) { return ACT == FAST_SWISH ? swish(v) : v > 0 ? v : slope * v; }, get(x + at, kind)));
    });
}

// gx = a'(x) gy: 12 bytes a float.
template <int ACT> __global__ void __launch_bounds__(MAP_THREADS)
act_bwd(size_t count, size_t quads, float slope, const float *x, const float *gy, float *gx)
{
    auto times = [=](float v, float g) { return g * (ACT == FAST_SWISH ? swish_slope(v) : lrelu_1(slope, v)); };
    map(count, quads, [=](size_t at, auto kind) { put(gx + at, each(times, get(x + at, kind), get(gy + at, kind))); });
}

// hx = swish'(x) hy + swish''(x) x_t gy: 20 bytes a float; one exp and one quotient serve both derivatives.
__global__ void __launch_bounds__(MAP_THREADS)
swish_bwd2(size_t count, size_t quads, const float *x, const float *x_t, const float *hy, const float *gy, float *hx)
{
    auto second = [](float v, float v_t, float h, float g) {
        logistic l = logistic_of(v);
        return fmaf(swish_1(v, l), h, swish_2(v, l) * v_t * g);
    };
    map(count, quads, [=](size_t at, auto kind) {
        put(hx + at, each(second, get(x + at, kind), get(x_t + at, kind), get(hy + at, kind), get(gy + at, kind)));
    });
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(act_fwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, float *y)
{
    size_t quads = map_quads(count, x, y);
    if (a == FAST_SWISH)
        LAUNCH(act_fwd<FAST_SWISH>, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, slope, x, y);
    else
        LAUNCH(act_fwd<FAST_LRELU>, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, slope, x, y);
}

void CUDA_(act_bwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx)
{
    size_t quads = map_quads(count, x, gy, gx);
    if (a == FAST_SWISH)
        LAUNCH(act_bwd<FAST_SWISH>, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, slope, x, gy, gx);
    else
        LAUNCH(act_bwd<FAST_LRELU>, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, slope, x, gy, gx);
}

/* The second derivative of the leaky ReLU is 0. */
void CUDA_(act_bwd2)(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                     const float *gy, float *hx)
{
    size_t quads = map_quads(count, x, x_t, hy, gy, hx);
    if (a == FAST_LRELU)
        CUDA_(act_bwd)(ctx, a, slope, count, x, hy, hx);
    else
        LAUNCH(swish_bwd2, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, x, x_t, hy, gy, hx);
}
