/* update.c: the gradient's length, Adam with clipping, and the moving average. */
#include <math.h>

#include "portable.h"

void portable_sum_squares(fast_ctx *ctx, size_t count, const float *a, const float *b, double *out)
{
    (void)ctx;
    double sum = 0;
    for (size_t j = 0; j < count; j++) {
        double e = (double)a[j] + (b ? (double)b[j] : 0.0);
        sum += e * e;
    }
    *out = sum;
}

/* [ICD:alg1.17] */
void portable_adam(fast_ctx *ctx, const fast_adam *a)
{
    (void)ctx;
    double ratio = a->grad_clip / sqrt(*a->square);
    double clip = a->grad_clip > 0 && ratio < 1 ? ratio : 1.0;
    for (size_t j = 0; j < a->count; j++) {
        double g = clip * ((double)a->cd[j] + (double)a->kl[j]);
        double m = a->beta1 * (double)a->m[j] + (1 - a->beta1) * g;
        double v = a->beta2 * (double)a->v[j] + (1 - a->beta2) * g * g;
        double theta = (double)a->theta[j] - a->lr * (m / a->c1) / (sqrt(v / a->c2) + a->eps);
        double ema = a->decay * (double)a->ema[j] + (1 - a->decay) * theta;
        a->m[j] = (float)m;
        a->v[j] = (float)v;
        a->theta[j] = (float)theta;
        a->ema[j] = (float)ema;
    }
}
