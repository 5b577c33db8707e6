/* act.c: swish and leaky ReLU. */
#include "portable.h"
#include "swish.h"

/* A NaN has no slope. */
static float lrelu_1(float slope, float x) { return isnan(x) ? x : x > 0 ? 1.0f : slope; }

void portable_act_fwd(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, float *y)
{
    (void)ctx;
    for (size_t j = 0; j < count; j++)
        y[j] = a == FAST_SWISH ? swish(x[j]) : x[j] > 0 ? x[j] : slope * x[j];
}

void portable_act_bwd(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx)
{
    (void)ctx;
    for (size_t j = 0; j < count; j++)
        gx[j] = gy[j] * (a == FAST_SWISH ? swish_1(x[j]) : lrelu_1(slope, x[j]));
}

/* The second derivative of the leaky ReLU is 0. */
void portable_act_bwd2(fast_ctx *ctx, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                       const float *gy, float *hx)
{
    if (a == FAST_LRELU) {
        portable_act_bwd(ctx, a, slope, count, x, hy, hx);
        return;
    }
    for (size_t j = 0; j < count; j++)
        hx[j] = swish_1(x[j]) * hy[j] + swish_2(x[j]) * x_t[j] * gy[j];
}
