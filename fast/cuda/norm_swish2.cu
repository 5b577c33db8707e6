// norm_swish2.cu: group norm and swish in one: the second-order backward pass.                                  [ICD:B.1]
//
// With e = x - mean, r = 1/sd, xhat = r e, slope = gain r and the projection P = r (I - 11T/m - xhat xhatT/m) of a group:
//   xhat_t = P x_t = r t,  t = x_t - A + B e;  z_t = slope t;  gz = gy d;  hz = hy d + gy swish''(z) z_t;
//   p = gain hz, q = gain gz, mean() over the group:
//   hx = P p - r mean(xhat x_t) P q - r mean(q xhat) P x_t - r xhat mean(q xhat_t)
//      = slope (hz + B gz) + C0 + C1 e + C2 (x_t - A),     since B = -r mean(xhat x_t).
// Three looks at the span: A and B; the five sums; the output. V > 0 keeps e, x_t and hz + B gz in registers, where they fit;
// V = 0 leaves hz + B gz in hx meanwhile.
#include "fast/cuda/norm_span.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

// In the order in which they are added; groups[2 ..] of the span, times slope.
enum { HZ_E, GZ_T, HZ, GZ, GZ_E };

// swish' and swish'' of a quad.
struct slopes { float4 first, second; };
__device__ inline slopes slopes_of(float4 z)
{
    logistic x = logistic_of(z.x), y = logistic_of(z.y), v = logistic_of(z.z), w = logistic_of(z.w);
    return slopes{ make_float4(swish_1(z.x, x), swish_1(z.y, y), swish_1(z.z, v), swish_1(z.w, w)),
                   make_float4(swish_2(z.x, x), swish_2(z.y, y), swish_2(z.z, v), swish_2(z.w, w)) };
}

__device__ inline void put_second(norm_room &r, const norm_shape &s, unsigned l, norm_lane at)
{
    bool live = s.groups && at.channel >= 0;
    double b = static_cast<double>(r.coef[B][l]), rstd = static_cast<double>(r.coef[RSTD][l]), r2 = rstd * rstd;
    auto mean = [&](int sum) { return r.groups[2 + sum][at.group] * s.mean; };
    r.coef[C0][l] = live ? static_cast<float>(-mean(HZ) - b * mean(GZ)) : 0.0f;
    r.coef[C1][l] = live ? static_cast<float>(-r2 * (mean(HZ_E) + 2 * b * mean(GZ_E) + mean(GZ_T))) : 0.0f;
    r.coef[C2][l] = live ? static_cast<float>(-r2 * mean(GZ_E)) : 0.0f;
}

// The formulas above; tiling and `room`: norm_span.h. Three looks, between two of them a reduction and three barriers:
//     x, x_t -> sums of x_t e, x_t: A, B | hy, gy -> the five sums, the parameters' | hx
// V > 0: e and x_t, read before the first barrier, and hz + B gz stay in 12 V registers: 20 bytes a float. V = 0: 44.
template <int V> __global__ void __launch_bounds__(norm_threads(V), V == 4 ? 2 : 1)
norm_bwd2(norm_shape s, const float *__restrict__ x, const float *__restrict__ gain, const float *__restrict__ bias,
          const float *__restrict__ stats, const float *__restrict__ x_t,
          const float *__restrict__ hy, const float *__restrict__ gy, float *__restrict__ hx, norm_gradients to)
{
    SHARED(norm_room, room, [1]);
    norm_room &r = room[0];
    norm_span p = norm_span_here<V>(s);
    float4 kept_e[V ? V : 1], kept_t[V ? V : 1], kept_h[V ? V : 1] = {};
    norm_tangent_sums<V>(r, s, p, stats, gain, bias, x, x_t, kept_e, kept_t);
    auto put_tangent = [&](unsigned l, norm_lane at) {
        if (V == 0)
            norm_put_saved(r, s, p, l, at, stats, gain, bias);
        norm_put_tangent(r, s, l, at);
    };
    for (int b = 0; b < p.blocks; b++) {
        norm_put(s, p, b, put_tangent);
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), shift = norm_quad(r, BIAS), mean_t = norm_quad(r, A);
        float4 cross = norm_quad(r, B), zero = make_float4(0, 0, 0, 0), sum[NORM_SUMS] = { zero, zero, zero, zero, zero };
        norm_walk<V>(p.quads, [&](int k, int q) {
            size_t at = p.place(b, q);
            float4 e = V ? kept_e[k] : ld4(x + at) - mean, g = ld4(gy + at);
            slopes d = slopes_of(fma4(e, slope, shift));
            float4 t = fma4(e, cross, (V ? kept_t[k] : ld4(x_t + at)) - mean_t), gz = g * d.first;
            float4 hz = fma4(ld4(hy + at), d.first, g * d.second * (slope * t));
            float4 h = fma4(cross, gz, hz);
            sum[HZ_E] = fma4(hz, e, sum[HZ_E]);
            sum[GZ_T] = fma4(gz, t, sum[GZ_T]);
            sum[HZ] = sum[HZ] + hz;
            sum[GZ] = sum[GZ] + gz;
            sum[GZ_E] = fma4(gz, e, sum[GZ_E]);
            if (V)
                kept_h[k] = h;
            else
                st4(hx + at, h);
        });
        norm_add(r, s, b, sum, 2, SLOPE);
        if ((to.gain || to.bias) && threadIdx.x < 16) {
            unsigned l = threadIdx.x;
            double by_gain = static_cast<double>(r.coef[RSTD][l]) * (r.lanes[HZ_E][l] + r.lanes[GZ_T][l]);
            norm_give(s, p, b, to, l, static_cast<float>(by_gain), static_cast<float>(r.lanes[HZ][l]));
        }
    }
    for (int b = 0; b < p.blocks; b++) {
        if (b)
            __syncthreads();
        norm_put(s, p, b, [&](unsigned l, norm_lane at) {
            if (V == 0)
                put_tangent(l, at);
            put_second(r, s, l, at);
        });
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), mean_t = norm_quad(r, A);
        float4 c0 = norm_quad(r, C0), c1 = norm_quad(r, C1), c2 = norm_quad(r, C2);
        norm_walk<V>(p.quads, [&](int k, int q) {
            size_t at = p.place(b, q);
            float4 e = V ? kept_e[k] : ld4(x + at) - mean, moved = V ? kept_t[k] : ld4(x_t + at);
            st4(hx + at, fma4(slope, V ? kept_h[k] : ld4(hx + at), fma4(e, c1, fma4(moved - mean_t, c2, c0))));
            FLOPS(4 * 32);                       // a value, in all three looks; swish.h counts its own
        });
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(norm_swish_bwd2)(fast_ctx *ctx, int n, const fast_norm *shape, const float *x, const float *gain, const float *bias,
                            const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                            float *ggain, float *gbias)
{
    norm_shape s = norm_shape_of(n, shape);
    norm_way way = norm_way_of(s, 4);
    norm_gradients to = norm_gradients_to(ctx, ggain, gbias);
    norm_dispatch<4>(way.kept, [&](auto v) {
        LAUNCH(norm_bwd2<v>, way.blocks, way.threads, 0, CUDA_(stream), s, x, gain, bias, saved->stats, x_t, hy,
               gy, hx, to);
    });
    norm_finish(s, to);
}
