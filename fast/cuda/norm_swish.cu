// norm_swish.cu: group norm and swish in one: forward, backward, tangent; gain and bias of images with classes.      [ICD:B.1]
//
// Names: mean, r = 1/sd, e = x - mean, slope = gain r, z = slope e + bias, d = swish'(z), m values in a group. No pass saves d:
// bytes bound all of them, and x, which each reads anyway, gives it again for an exp and a quotient. How blocks walk and add is
// in norm_span.h. Each kernel looks at its span twice: sums, output; forward three times: mean, squares about it, output.
#include "fast/cuda/norm_span.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

// y = swish(z) + add. Tiling and `room`: norm_span.h. Three looks at the span; between two of them norm_add's reduction and the
// new coefficients, three barriers:
//     x -> mean | e = x - mean, e^2 -> sd | z -> y, stats         V > 0: x, then e, stays in 4 V registers; V = 0: read thrice
// No copies run ahead: what hides the way to memory is several blocks a multiprocessor. V > 0: 8 bytes a float, 12 with add.
template <int V> __global__ void __launch_bounds__(norm_threads(V), V == 8 ? 2 : V == 4 ? 4 : 1)
norm_fwd(norm_shape s, const float *__restrict__ x, const float *__restrict__ gain, const float *__restrict__ bias,
         const float *__restrict__ add, float *__restrict__ y, float *__restrict__ stats)
{
    SHARED(norm_room, room, [1]);
    norm_room &r = room[0];
    norm_span p = norm_span_here<V>(s);
    size_t parameters = norm_parameters(s, p);
    float4 kept[V ? V : 1] = {};
    auto put_parameters = [&](unsigned l, norm_lane at) {
        r.coef[SLOPE][l] = at.channel >= 0 ? gain[parameters + static_cast<size_t>(at.channel)] : 0.0f;
        r.coef[BIAS][l] = at.channel >= 0 ? bias[parameters + static_cast<size_t>(at.channel)] : 0.0f;
    };
    if (V)
        norm_set(s, p, 0, put_parameters);
    for (int b = 0; (V || s.groups) && b < p.blocks; b++) {
        float4 sum[1] = { make_float4(0, 0, 0, 0) };
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 v = ld4(x + p.place(b, q));
            sum[0] = sum[0] + v;
            if (V)
                kept[k] = v;
        });
        norm_add(r, s, b, sum, 0, -1);
    }
    auto put_mean = [&](unsigned l, norm_lane at) {
        r.coef[MEAN][l] = at.channel >= 0 && s.groups ? static_cast<float>(r.groups[0][at.group] * s.mean) : 0.0f;
    };
    for (int b = 0; (V || s.groups) && b < p.blocks; b++) {
        norm_put(s, p, b, put_mean);
        float4 mean = norm_quad(r, MEAN), sum[1] = { make_float4(0, 0, 0, 0) };
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 e = (V ? kept[k] : ld4(x + p.place(b, q))) - mean;
            sum[0] = fma4(e, e, sum[0]);
            if (V)
                kept[k] = e;
        });
        norm_add(r, s, b, sum, 1, -1);
    }
    for (int b = 0; b < p.blocks; b++) {
        if (b)
            __syncthreads();
        norm_put(s, p, b, [&](unsigned l, norm_lane at) {
            if (V == 0)
                put_parameters(l, at);
            put_mean(l, at);
            float rstd = s.groups ? 1.0f / sqrtf(static_cast<float>(r.groups[1][at.group] * s.mean + 1e-5)) : 1.0f;
            r.coef[SLOPE][l] = at.channel >= 0 ? r.coef[SLOPE][l] * rstd : 0.0f;
            if (at.channel >= 0 && (s.groups ? at.channel % s.wide == 0 : at.channel == 0)) {
                stats[norm_stats_at(s, p, at)] = r.coef[MEAN][l];
                stats[norm_stats_at(s, p, at) + 1] = rstd;
            }
        });
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), shift = norm_quad(r, BIAS);
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 out = each(swish, fma4(V ? kept[k] : ld4(x + p.place(b, q)) - mean, slope, shift));
            st4(y + p.place(b, q), add ? out + ld4(add + p.place(b, q)) : out);
            FLOPS(4 * 8);                        // a value, in all three looks; swish.h counts its own
        });
    }
}

// Backward: gz = d gy, gx = slope gz - mean(slope gz) - e r^2 mean(slope gz e) = slope gz + A + e B. As norm_fwd, two looks:
//     x, gy -> sums of gz e and gz, also the parameters' | gx      V > 0: e and gz stay in 8 V registers, x and gy are read
//                                                                  before the first barrier
// An image's sums for shared parameters go to scratch, (2,n,c), for norm_sum_images. V > 0: 12 bytes a float.
template <int V> __global__ void __launch_bounds__(norm_threads(V), V == 4 ? 3 : 1)
norm_bwd(norm_shape s, const float *__restrict__ x, const float *__restrict__ gain, const float *__restrict__ bias,
         const float *__restrict__ stats, const float *__restrict__ gy, float *__restrict__ gx, const float *__restrict__ scale,
         norm_gradients to)
{
    SHARED(norm_room, room, [1]);
    norm_room &r = room[0];
    norm_span p = norm_span_here<V>(s);
    float4 kept_e[V ? V : 1] = {}, kept_gz[V ? V : 1] = {};
    bool parameters = to.gain || to.bias;
    auto put_saved = [&](unsigned l, norm_lane at) { norm_put_saved(r, s, p, l, at, stats, gain, bias); };
    for (int b = 0; (V || s.groups || parameters) && b < p.blocks; b++) {
        norm_set(s, p, b, put_saved);
        if constexpr (V > 0)
            norm_walk<V>(p.quads, [&](int k, int q) {
                kept_e[k] = ld4(x + p.place(b, q));
                kept_gz[k] = ld4(gy + p.place(b, q));
            });
        __syncthreads();
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), shift = norm_quad(r, BIAS);
        float4 sum[2] = { make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0) };
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 e = (V ? kept_e[k] : ld4(x + p.place(b, q))) - mean;
            float4 gz = each(swish_slope, fma4(e, slope, shift)) * (V ? kept_gz[k] : ld4(gy + p.place(b, q)));
            sum[0] = fma4(gz, e, sum[0]);
            sum[1] = sum[1] + gz;
            if (V) {
                kept_e[k] = e;
                kept_gz[k] = gz;
            }
        });
        norm_add(r, s, b, sum, 0, SLOPE);
        if (parameters && threadIdx.x < 16) {
            unsigned l = threadIdx.x;
            double w = scale ? static_cast<double>(scale[p.image]) : 1.0;
            norm_give(s, p, b, to, l, static_cast<float>(w * static_cast<double>(r.coef[RSTD][l]) * r.lanes[0][l]),
                      static_cast<float>(w * r.lanes[1][l]));
        }
    }
    for (int b = 0; b < p.blocks; b++) {
        if (b)
            __syncthreads();
        norm_put(s, p, b, [&](unsigned l, norm_lane at) {
            if (V == 0)
                put_saved(l, at);
            bool live = s.groups && at.channel >= 0;
            double rstd = static_cast<double>(r.coef[RSTD][l]);
            r.coef[A][l] = live ? static_cast<float>(-r.groups[1][at.group] * s.mean) : 0.0f;
            r.coef[B][l] = live ? static_cast<float>(-r.groups[0][at.group] * s.mean * rstd * rstd) : 0.0f;
        });
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), shift = norm_quad(r, BIAS);
        float4 plain = norm_quad(r, A), cross = norm_quad(r, B);
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 e = V ? kept_e[k] : ld4(x + p.place(b, q)) - mean;
            float4 gz = V ? kept_gz[k] : each(swish_slope, fma4(e, slope, shift)) * ld4(gy + p.place(b, q));
            st4(gx + p.place(b, q), fma4(slope, gz, fma4(e, cross, plain)));
            FLOPS(4 * 11);                       // a value, in both looks; swish.h counts its own
        });
    }
}

// Tangent: y_t = d slope (x_t - A + e B) + add_t. As norm_fwd, two looks:
//     x, x_t -> sums of x_t e and x_t: A, B | y_t        V > 0: e and x_t stay in 8 V registers, read before the first barrier
// V > 0: 12 bytes a float, 16 with add_t.
template <int V> __global__ void __launch_bounds__(norm_threads(V), V == 4 ? 3 : 1)
norm_tan(norm_shape s, const float *__restrict__ x, const float *__restrict__ gain, const float *__restrict__ bias,
         const float *__restrict__ stats, const float *__restrict__ x_t, const float *__restrict__ add_t,
         float *__restrict__ y_t)
{
    SHARED(norm_room, room, [1]);
    norm_room &r = room[0];
    norm_span p = norm_span_here<V>(s);
    float4 kept_e[V ? V : 1], kept_t[V ? V : 1];
    norm_tangent_sums<V>(r, s, p, stats, gain, bias, x, x_t, kept_e, kept_t);
    for (int b = 0; b < p.blocks; b++) {
        if (b)
            __syncthreads();
        norm_put(s, p, b, [&](unsigned l, norm_lane at) {
            if (V == 0)
                norm_put_saved(r, s, p, l, at, stats, gain, bias);
            norm_put_tangent(r, s, l, at);
        });
        float4 mean = norm_quad(r, MEAN), slope = norm_quad(r, SLOPE), shift = norm_quad(r, BIAS);
        float4 mean_t = norm_quad(r, A), cross = norm_quad(r, B);
        norm_walk<V>(p.quads, [&](int k, int q) {
            float4 e = V ? kept_e[k] : ld4(x + p.place(b, q)) - mean;
            float4 moved = V ? kept_t[k] : ld4(x_t + p.place(b, q));
            float4 out = fma4(e, cross, moved - mean_t) * slope * each(swish_slope, fma4(e, slope, shift));
            st4(y_t + p.place(b, q), add_t ? out + ld4(add_t + p.place(b, q)) : out);
            FLOPS(4 * 12);
        });
    }
}

// ---- sums over images: blocks of 32 channels x 32 rows, row y adds images y, y + 32, ... ----

// The sum over i < n of f(i), for the threads of row 0.
template <class F> __device__ __forceinline__ double sum_images(int n, bool live, double *room, F f)
{
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.y); live && i < n; i += 32)
        sum += f(i);
    return column_sum<32>(sum, room);
}

// ggain, gbias += the images' partial sums (2,n,c). Block (x, y): channels 32 x .., gain (y = 0) or bias (1); a warp reads 32
// channels of an image, 128 bytes in a row; `room`, a double a thread, holds the 32 rows' sums until row 0 adds them. No
// pipeline: a thread has n/32 loads.
__global__ void __launch_bounds__(1024) norm_sum_images(int n, int c, const float *partial, float *ggain, float *gbias)
{
    SHARED(double, room, [1024]);
    int k = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
    const float *from = partial + blockIdx.y * static_cast<size_t>(n) * static_cast<size_t>(c) + k;
    float *to = blockIdx.y ? gbias : ggain;
    double sum = sum_images(n, k < c, room, [=](int i) {
        return static_cast<double>(from[static_cast<size_t>(i) * static_cast<size_t>(c)]);
    });
    if (to && k < c && threadIdx.y == 0)
        to[k] += static_cast<float>(sum);
}

void norm_finish(const norm_shape &s, const norm_gradients &to)
{
    dim3 grid(static_cast<unsigned>(s.c + 31) / 32, 2);
    if (!s.per_image && (to.gain || to.bias))
        LAUNCH(norm_sum_images, grid, dim3(32, 32), 0, CUDA_(stream), s.n, s.c, to.partial, to.gain, to.bias);
}


// ---- gain and bias of images with classes ----

// The images' gain and bias (n,c), one a thread; a class's row of c floats is read by as many neighbours. Nothing shared.
__global__ void __launch_bounds__(MAP_THREADS)
class_affine_fwd(size_t count, int c, const int32_t *labels, const float *gain, const float *bias, const float *class_gain,
                 const float *class_bias, float *image_gain, float *image_bias)
{
    size_t at = static_cast<size_t>(blockIdx.x) * MAP_THREADS + threadIdx.x, channels = static_cast<size_t>(c);
    if (at >= count)
        return;
    size_t k = at % channels, row = static_cast<size_t>(labels[at / channels]) * channels + k;
    image_gain[at] = gain ? class_gain[row] * gain[k] : class_gain[row];
    image_bias[at] = bias ? fmaf(class_gain[row], bias[k], class_bias[row]) : class_bias[row];
}

// The tables, a thread for each image's channel: the first image of a class adds for all of it, in the images' order; others
// return. Nothing shared: the labels, n words that all read, come from the first-level cache.
__global__ void __launch_bounds__(MAP_THREADS)
class_tables_bwd(size_t count, int c, const int32_t *labels, const float *gain, const float *bias, const float *image_ggain,
                 const float *image_gbias, float *gclass_gain, float *gclass_bias)
{
    size_t at = static_cast<size_t>(blockIdx.x) * MAP_THREADS + threadIdx.x, channels = static_cast<size_t>(c);
    if (at >= count)
        return;
    int image = static_cast<int>(at / channels), n = static_cast<int>(count / channels), label = labels[image];
    size_t k = at % channels, row = static_cast<size_t>(label) * channels + k;
    for (int i = 0; i < image; i++)
        if (labels[i] == label)
            return;
    double by_gain = 0, by_bias = 0;
    for (int i = image; i < n; i++)
        if (labels[i] == label) {
            size_t from = static_cast<size_t>(i) * channels + k;
            double gg = static_cast<double>(image_ggain[from]), gb = static_cast<double>(image_gbias[from]);
            by_gain += gain ? gg * static_cast<double>(gain[k]) + gb * static_cast<double>(bias[k]) : gg;
            by_bias += gb;
        }
    gclass_gain[row] += static_cast<float>(by_gain);
    gclass_bias[row] += static_cast<float>(by_bias);
}

// Gain (blockIdx.y = 0) and bias (1): as norm_sum_images, each image's times its class's gain.
__global__ void __launch_bounds__(1024)
class_vectors_bwd(int n, int c, const int32_t *labels, const float *class_gain, const float *image_ggain,
                  const float *image_gbias, float *ggain, float *gbias)
{
    SHARED(double, room, [1024]);
    int k = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
    const float *from = blockIdx.y ? image_gbias : image_ggain;
    float *to = blockIdx.y ? gbias : ggain;
    double sum = sum_images(n, k < c, room, [=](int i) {
        size_t channels = static_cast<size_t>(c), column = static_cast<size_t>(k);
        return static_cast<double>(from[static_cast<size_t>(i) * channels + column])
               * static_cast<double>(class_gain[static_cast<size_t>(labels[i]) * channels + column]);
    });
    if (k < c && threadIdx.y == 0)
        to[k] += static_cast<float>(sum);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

size_t CUDA_(norm_scratch)(int n, const fast_norm *s)
{
    return s->per_image ? 0 : 2 * static_cast<size_t>(n) * static_cast<size_t>(s->c) * sizeof(float);
}

void CUDA_(norm_swish_fwd)(fast_ctx *, int n, const fast_norm *shape, const float *x, const float *gain, const float *bias,
                           const float *add, float *y, const fast_norm_saved *saved)
{
    norm_shape s = norm_shape_of(n, shape);
    norm_way way = norm_way_of(s, 8);
    norm_dispatch<8>(way.kept, [&](auto v) {
        LAUNCH(norm_fwd<v>, way.blocks, way.threads, 0, CUDA_(stream), s, x, gain, bias, add, y, saved->stats);
    });
}

void CUDA_(norm_swish_bwd)(fast_ctx *ctx, int n, const fast_norm *shape, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                           float *gbias)
{
    norm_shape s = norm_shape_of(n, shape);
    norm_way way = norm_way_of(s, 8);
    norm_gradients to = norm_gradients_to(ctx, ggain, gbias);
    norm_dispatch<8>(way.kept, [&](auto v) {
        LAUNCH(norm_bwd<v>, way.blocks, way.threads, 0, CUDA_(stream), s, x, gain, bias, saved->stats, gy, gx, scale, to);
    });
    norm_finish(s, to);
}

void CUDA_(norm_swish_tan)(fast_ctx *, int n, const fast_norm *shape, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t)
{
    norm_shape s = norm_shape_of(n, shape);
    norm_way way = norm_way_of(s, 8);
    norm_dispatch<8>(way.kept, [&](auto v) {
        LAUNCH(norm_tan<v>, way.blocks, way.threads, 0, CUDA_(stream), s, x, gain, bias, saved->stats, x_t, add_t, y_t);
    });
}

void CUDA_(class_affine_fwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *class_bias, float *image_gain, float *image_bias)
{
    size_t count = static_cast<size_t>(n) * static_cast<size_t>(c);
    LAUNCH(class_affine_fwd, item_blocks(count), MAP_THREADS, 0, CUDA_(stream), count, c, labels, gain, bias,
           class_gain, class_bias, image_gain, image_bias);
}

void CUDA_(class_affine_bwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *image_ggain, const float *image_gbias, float *ggain,
                             float *gbias, float *gclass_gain, float *gclass_bias)
{
    size_t count = static_cast<size_t>(n) * static_cast<size_t>(c);
    LAUNCH(class_tables_bwd, item_blocks(count), MAP_THREADS, 0, CUDA_(stream), count, c, labels, gain, bias,
           image_ggain, image_gbias, gclass_gain, gclass_bias);
    if (ggain)
        LAUNCH(class_vectors_bwd, dim3(static_cast<unsigned>(c + 31) / 32, 2), dim3(32, 32), 0, CUDA_(stream), n, c, labels,
               class_gain, image_ggain, image_gbias, ggain, gbias);
}
