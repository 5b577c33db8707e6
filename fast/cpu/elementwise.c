/* elementwise.c: layouts, linear combinations, inner products. */
#include "fast/cpu/simd.h"
#include "fast/cpu/slots.h"

/* A tile of up to 16 channels and 16 pixels, planar (hw floats from channel to channel) <-> blocked. */
static void pack_tile(int channels, int pixels, int hw, const float *planar, float *blocked)
{
    if (channels == 16 && pixels == 16) {
        v_transpose16(planar, (size_t)hw, blocked);
        return;
    }
    memset(blocked, 0, 16 * (size_t)pixels * sizeof(float));
    for (int k = 0; k < channels; k++)
        for (int p = 0; p < pixels; p++)
            blocked[16 * p + k] = planar[(size_t)k * (size_t)hw + (size_t)p];
}
static void unpack_tile(int channels, int pixels, int hw, const float *blocked, float *planar)
{
    if (channels == 16 && pixels == 16) {
        float t[256];
        v_transpose16(blocked, 16, t);
        for (int k = 0; k < 16; k++)
            memcpy(planar + (size_t)k * (size_t)hw, t + 16 * k, 16 * sizeof(float));
        return;
    }
    for (int k = 0; k < channels; k++)
        for (int p = 0; p < pixels; p++)
            planar[(size_t)k * (size_t)hw + (size_t)p] = blocked[16 * p + k];
}

void CPU_(pack)(fast_ctx *ctx, int n, int c, int hw, const float *planar, float *blocked)
{
    (void)ctx;
    for (int i = 0; i < n; i++, planar += (size_t)c * (size_t)hw, blocked += fast_blocked(c, 1, hw))
        for (int k = 0; k < c; k += 16)
            for (int p = 0; p < hw; p += 16)
                pack_tile(c - k < 16 ? c - k : 16, hw - p < 16 ? hw - p : 16, hw, planar + (size_t)k * (size_t)hw + p,
                          blocked + (size_t)k * (size_t)hw + 16 * (size_t)p);
}

void CPU_(unpack)(fast_ctx *ctx, int n, int c, int hw, const float *blocked, float *planar)
{
    (void)ctx;
    for (int i = 0; i < n; i++, planar += (size_t)c * (size_t)hw, blocked += fast_blocked(c, 1, hw))
        for (int k = 0; k < c; k += 16)
            for (int p = 0; p < hw; p += 16)
                unpack_tile(c - k < 16 ? c - k : 16, hw - p < 16 ? hw - p : 16, hw,
                            blocked + (size_t)k * (size_t)hw + 16 * (size_t)p, planar + (size_t)k * (size_t)hw + p);
}

V_INLINE void scale_add(int count, vec a, const float *x, const float *add, float *y)
{
    vec scaled = v_mul(a, v_get(x, count));
    v_put(y, count, add ? v_add(scaled, v_get(add, count)) : scaled);
}

void CPU_(scale_add)(fast_ctx *ctx, size_t count, const float *a, const float *x, const float *add, float *y)
{
    (void)ctx;
    vec factor = v_set1(a ? *a : 1.0f);
    size_t j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        scale_add(V_LANES, factor, x + j, add ? add + j : NULL, y + j);
    if (j < count)
        scale_add((int)(count - j), factor, x + j, add ? add + j : NULL, y + j);
}

V_INLINE void mul_add(int count, vec a, const float *m, const float *x, const float *y, float *out)
{
    vec sum = x ? v_fma(a, v_get(y, count), v_get(x, count)) : v_mul(a, v_get(y, count));
    v_put(out, count, m ? v_mul(v_get(m, count), sum) : sum);
}

void CPU_(mul_add)(fast_ctx *ctx, size_t count, float a, const float *m, const float *x, const float *y, float *out)
{
    (void)ctx;
    vec factor = v_set1(a);
    size_t j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        mul_add(V_LANES, factor, m ? m + j : NULL, x ? x + j : NULL, y + j, out + j);
    if (j < count)
        mul_add((int)(count - j), factor, m ? m + j : NULL, x ? x + j : NULL, y + j, out + j);
}

static double inner(size_t count, const float *a, const float *b)
{
    enum { UNROLL = 4, LANES = V_LANES / 2 };
    vecd sum[UNROLL] = { vd_zero(), vd_zero(), vd_zero(), vd_zero() };
    size_t j = 0;
    for (; j + UNROLL * LANES <= count; j += UNROLL * LANES)
        for (int u = 0; u < UNROLL; u++) {
            size_t at = j + (size_t)(u * LANES);
            sum[u] = vd_fma(vd_from_floats(a + at), vd_from_floats(b + at), sum[u]);
        }
    double total = vd_sum(vd_add(vd_add(sum[0], sum[1]), vd_add(sum[2], sum[3])));
    for (; j < count; j++)
        total += (double)a[j] * (double)b[j];
    return total;
}

void CPU_(dot)(fast_ctx *ctx, int n, size_t count, const float *a, const float *b, const float *scale, float *out)
{
    (void)ctx;
    double total = 0;
    for (int i = 0; i < n; i++) {
        double sum = inner(count, a + (size_t)i * count, b + (size_t)i * count);
        total += scale ? (double)scale[i] * sum : sum;
    }
    *out += (float)total;
}
