/* conv.c: convolution as its sum: y(o,u,v) = sum over i,a,b of w(o,i,a,b) x(i, u s + a - p, v s + b - p). */
#include <string.h>

#include "portable.h"

/* Both of the sums over outputs and over inputs; no algorithm to choose. */
void portable_conv_choose(int n, int winograd, fast_conv *c)
{
    (void)n;
    (void)winograd;
    c->fwd = c->bwd_x = c->bwd_w = FAST_CONV_GEMM;
}

size_t portable_conv_scratch(int n, const fast_conv *c)
{
    (void)n;
    (void)c;
    return 0;
}

size_t portable_conv_packed(const fast_conv *c)
{
    return (size_t)c->co * (size_t)c->ci * (size_t)c->k * (size_t)c->k;
}

void portable_conv_pack(fast_ctx *ctx, const fast_conv *c, const float *w, float *packed)
{
    (void)ctx;
    memcpy(packed, w, portable_conv_packed(c) * sizeof *packed);
}

/* x is (n,ci,hi,wi), planar or blocked. */
static size_t x_at(const fast_conv *c, int n, int i, int r, int s)
{
    int hw = c->hi * c->wi, p = r * c->wi + s;
    return c->planar ? planar_at(c->ci, hw, n, i, p) : blocked_at(c->ci, hw, n, i, p);
}

static size_t y_at(const fast_conv *c, int n, int o, int u, int v)
{
    return blocked_at(c->co, c->ho * c->wo, n, o, u * c->wo + v);
}

static size_t w_at(const fast_conv *c, int o, int i, int a, int b)
{
    return (((size_t)o * (size_t)c->ci + (size_t)i) * (size_t)c->k + (size_t)a) * (size_t)c->k + (size_t)b;
}

static float sum_fwd(const fast_conv *c, int n, int o, int u, int v, const float *x, const float *w)
{
    float sum = 0;
    for (int i = 0; i < c->ci; i++)
        for (int a = 0; a < c->k; a++)
            for (int b = 0; b < c->k; b++) {
                int r = u * c->s + a - c->p, s = v * c->s + b - c->p;
                if (r >= 0 && r < c->hi && s >= 0 && s < c->wi)
                    sum += w[w_at(c, o, i, a, b)] * x[x_at(c, n, i, r, s)];
            }
    return sum;
}

void portable_conv_fwd(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                       const float *add, float *y)
{
    (void)ctx;
    for (int m = 0; m < n; m++)
        for (int o = 0; o < c->co; o++)
            for (int u = 0; u < c->ho; u++)
                for (int v = 0; v < c->wo; v++) {
                    size_t j = y_at(c, m, o, u, v);
                    float sum = sum_fwd(c, m, o, u, v, x, packed);
                    if (bias)
                        sum += bias[o];
                    y[j] = add ? sum + add[j] : sum;
                }
    portable_zero_tail(n, c->co, c->ho * c->wo, y);
}

/* The output u whose window has x's row r (or column) under its tap a, or -1. */
static int output_of(int r, int a, int s, int p, int outputs)
{
    int u = r + p - a;
    return u >= 0 && u % s == 0 && u / s < outputs ? u / s : -1;
}

static float sum_bwd(const fast_conv *c, int n, int i, int r, int s, const float *gy, const float *w)
{
    float sum = 0;
    for (int o = 0; o < c->co; o++)
        for (int a = 0; a < c->k; a++)
            for (int b = 0; b < c->k; b++) {
                int u = output_of(r, a, c->s, c->p, c->ho), v = output_of(s, b, c->s, c->p, c->wo);
                if (u >= 0 && v >= 0)
                    sum += w[w_at(c, o, i, a, b)] * gy[y_at(c, n, o, u, v)];
            }
    return sum;
}

void portable_conv_bwd_x(fast_ctx *ctx, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                         float *gx)
{
    (void)ctx;
    for (int m = 0; m < n; m++)
        for (int i = 0; i < c->ci; i++)
            for (int r = 0; r < c->hi; r++)
                for (int s = 0; s < c->wi; s++) {
                    size_t j = x_at(c, m, i, r, s);
                    float sum = sum_bwd(c, m, i, r, s, gy, packed);
                    gx[j] = add ? sum + add[j] : sum;
                }
    if (!c->planar)
        portable_zero_tail(n, c->ci, c->hi * c->wi, gx);
}

static double sum_bwd_w(const fast_conv *c, int n, int o, int i, int a, int b, const float *x, const float *gy)
{
    double sum = 0;
    for (int u = 0; u < c->ho; u++)
        for (int v = 0; v < c->wo; v++) {
            int r = u * c->s + a - c->p, s = v * c->s + b - c->p;
            if (r >= 0 && r < c->hi && s >= 0 && s < c->wi)
                sum += (double)gy[y_at(c, n, o, u, v)] * (double)x[x_at(c, n, i, r, s)];
        }
    return sum;
}

void portable_conv_bwd_w(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                         float *gw)
{
    (void)ctx;
    for (int o = 0; o < c->co; o++)
        for (int i = 0; i < c->ci; i++)
            for (int a = 0; a < c->k; a++)
                for (int b = 0; b < c->k; b++) {
                    double sum = 0;
                    for (int m = 0; m < n; m++)
                        sum += (scale ? (double)scale[m] : 1.0) * sum_bwd_w(c, m, o, i, a, b, x, gy);
                    gw[w_at(c, o, i, a, b)] += (float)sum;
                }
}

void portable_bias_bwd(fast_ctx *ctx, int n, int c, int hw, const float *gy, const float *scale, float *gb)
{
    (void)ctx;
    for (int k = 0; k < c; k++) {
        double total = 0;
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int p = 0; p < hw; p++)
                sum += (double)gy[blocked_at(c, hw, i, k, p)];
            total += scale ? (double)scale[i] * sum : sum;
        }
        gb[k] += (float)total;
    }
}
