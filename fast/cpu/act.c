/* act.c: swish and leaky ReLU over floats of any layout and alignment. */
#include "fast/cpu/slots.h"
#include "fast/cpu/vexp.h"

/* A NaN has no slope. */
V_INLINE vec lrelu_1(vec x, vec slope)
{
    return v_select(v_less(v_zero(), x), v_set1(1.0f), v_select(v_less_equal(x, v_zero()), slope, x));
}

/* swish' = s + z s c, swish'' = s c (2 + z (c - s)), c = 1 - s */
V_INLINE vec act_1(fast_act a, vec x, vec slope)
{
    if (a == FAST_LRELU)
        return lrelu_1(x, slope);
    v_logistic_pair g = v_logistic(x);
    return v_fma(v_mul(x, g.s), g.c, g.s);
}

V_INLINE void fwd(fast_act a, vec slope, int count, const float *x, float *y)
{
    vec z = v_get(x, count);
    v_put(y, count, v_mul(z, a == FAST_LRELU ? lrelu_1(z, slope) : v_logistic(z).s));
}

V_INLINE void bwd(fast_act a, vec slope, int count, const float *x, const float *gy, float *gx)
{
    v_put(gx, count, v_mul(v_get(gy, count), act_1(a, v_get(x, count), slope)));
}

V_INLINE void swish_bwd2(int count, const float *x, const float *x_t, const float *hy, const float *gy, float *hx)
{
    vec z = v_get(x, count);
    v_logistic_pair g = v_logistic(z);
    vec first = v_fma(v_mul(z, g.s), g.c, g.s);
    vec second = v_mul(v_mul(g.s, g.c), v_fma(z, v_sub(g.c, g.s), v_set1(2.0f)));
    vec cross = v_mul(v_mul(v_get(x_t, count), v_get(gy, count)), second);
    v_put(hx, count, v_fma(v_get(hy, count), first, cross));
}

V_INLINE void all_fwd(fast_act a, vec slope, size_t count, const float *x, float *y)
{
    size_t j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        fwd(a, slope, V_LANES, x + j, y + j);
    if (j < count)
        fwd(a, slope, (int)(count - j), x + j, y + j);
}

V_INLINE void all_bwd(fast_act a, vec slope, size_t count, const float *x, const float *gy, float *gx)
{
    size_t j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        bwd(a, slope, V_LANES, x + j, gy + j, gx + j);
    if (j < count)
        bwd(a, slope, (int)(count - j), x + j, gy + j, gx + j);
}

void CPU_(act_fwd)(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, float *y)
{
    (void)ctx;
    if (a == FAST_LRELU)
        all_fwd(FAST_LRELU, v_set1(slope), count, x, y);
    else
        all_fwd(FAST_SWISH, v_zero(), count, x, y);
}

void CPU_(act_bwd)(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx)
{
    (void)ctx;
    if (a == FAST_LRELU)
        all_bwd(FAST_LRELU, v_set1(slope), count, x, gy, gx);
    else
        all_bwd(FAST_SWISH, v_zero(), count, x, gy, gx);
}

/* The second derivative of the leaky ReLU is 0. */
void CPU_(act_bwd2)(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                    const float *gy, float *hx)
{
    if (a == FAST_LRELU) {
        CPU_(act_bwd)(ctx, a, slope, count, x, hy, hx);
        return;
    }
    size_t j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        swish_bwd2(V_LANES, x + j, x_t + j, hy + j, gy + j, hx + j);
    if (j < count)
        swish_bwd2((int)(count - j), x + j, x_t + j, hy + j, gy + j, hx + j);
}
