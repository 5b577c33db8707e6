/* elementwise.c: layout, linear combinations, inner products, energies. */
#include "portable.h"

#include <string.h>

void portable_zero_tail(int n, int c, int hw, float *y)
{
    int end = fast_blocks(c) * FAST_LANES;
    for (int i = 0; i < n; i++)
        for (int k = c; k < end; k++)
            for (int p = 0; p < hw; p++)
                y[blocked_at(c, hw, i, k, p)] = 0.0f;
}

void portable_pack(fast_ctx *ctx, int n, int c, int hw, const float *planar, float *blocked)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            for (int p = 0; p < hw; p++)
                blocked[blocked_at(c, hw, i, k, p)] = planar[planar_at(c, hw, i, k, p)];
    portable_zero_tail(n, c, hw, blocked);
}

void portable_unpack(fast_ctx *ctx, int n, int c, int hw, const float *blocked, float *planar)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            for (int p = 0; p < hw; p++)
                planar[planar_at(c, hw, i, k, p)] = blocked[blocked_at(c, hw, i, k, p)];
}

void portable_copy(fast_ctx *ctx, size_t count, const float *from, float *to)
{
    (void)ctx;
    memcpy(to, from, count * sizeof *to);
}

void portable_zero(fast_ctx *ctx, size_t count, float *to)
{
    (void)ctx;
    memset(to, 0, count * sizeof *to);
}

void portable_scale_add(fast_ctx *ctx, size_t count, const float *a, const float *x, const float *add, float *y)
{
    (void)ctx;
    for (size_t j = 0; j < count; j++) {
        float scaled = a ? *a * x[j] : x[j];
        y[j] = add ? scaled + add[j] : scaled;
    }
}

void portable_mul_add(fast_ctx *ctx, size_t count, float a, const float *m, const float *x, const float *y, float *out)
{
    (void)ctx;
    for (size_t j = 0; j < count; j++) {
        float sum = x ? x[j] + a * y[j] : a * y[j];
        out[j] = m ? m[j] * sum : sum;
    }
}

void portable_dot(fast_ctx *ctx, int n, size_t count, const float *a, const float *b, const float *scale, float *out)
{
    (void)ctx;
    double total = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = (size_t)i * count; j < (size_t)(i + 1) * count; j++)
            sum += (double)a[j] * (double)b[j];
        total += scale ? (double)scale[i] * sum : sum;
    }
    *out += (float)total;
}

void portable_loss_weights(fast_ctx *ctx, int n, int scales, const float *const *y, int together, float c0, float c1,
                           float *energy, float *weight)
{
    (void)ctx;
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int s = 0; s < scales; s++) {
            float e = y[s][blocked_at(1, 1, i, 0, 0)];
            energy[s * n + i] = e;
            sum += e;
        }
        for (int s = 0; weight && s < scales; s++)
            weight[s * n + i] = c0 + c1 * (together ? sum : energy[s * n + i]);
    }
}
