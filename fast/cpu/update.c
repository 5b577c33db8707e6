/* update.c: the gradient's length; Adam with clipping and the moving average, in one pass.                [ICD:alg1.17] */
#include <math.h>

#include "fast/cpu/simd.h"
#include "fast/cpu/slots.h"

void CPU_(sum_squares)(fast_ctx *ctx, size_t count, const float *a, const float *b, double *out)
{
    (void)ctx;
    enum { UNROLL = 4, LANES = V_LANES / 2 };
    vecd sum[UNROLL] = { vd_zero(), vd_zero(), vd_zero(), vd_zero() };
    size_t j = 0;
    for (; j + UNROLL * LANES <= count; j += UNROLL * LANES)
        for (int u = 0; u < UNROLL; u++) {
            size_t at = j + (size_t)(u * LANES);
            vecd e = vd_from_floats(a + at);
            if (b)
                e = vd_add(e, vd_from_floats(b + at));
            sum[u] = vd_fma(e, e, sum[u]);
        }
    double total = vd_sum(vd_add(vd_add(sum[0], sum[1]), vd_add(sum[2], sum[3])));
    for (; j < count; j++) {
        double e = (double)a[j] + (b ? (double)b[j] : 0.0);
        total += e * e;
    }
    *out = total;
}

typedef struct { vecd clip, beta1, rest1, beta2, rest2, rate, over_c1, over_c2, eps, decay, rest; } adam_constants;

static adam_constants constants(const fast_adam *a)
{
    double ratio = a->grad_clip / sqrt(*a->square);
    return (adam_constants){
        .clip = vd_set1(a->grad_clip > 0 && ratio < 1 ? ratio : 1.0),
        .beta1 = vd_set1(a->beta1), .rest1 = vd_set1(1 - a->beta1), .beta2 = vd_set1(a->beta2), .rest2 = vd_set1(1 - a->beta2),
        .rate = vd_set1(a->lr), .over_c1 = vd_set1(1 / a->c1), .over_c2 = vd_set1(1 / a->c2), .eps = vd_set1(a->eps),
        .decay = vd_set1(a->decay), .rest = vd_set1(1 - a->decay)
    };
}

/* V_LANES/2 parameters. */
V_INLINE void step(const adam_constants *k, const float *cd, const float *kl, float *theta, float *ema, float *m, float *v)
{
    vecd g = vd_mul(k->clip, vd_add(vd_from_floats(cd), vd_from_floats(kl)));
    vecd m1 = vd_fma(k->beta1, vd_from_floats(m), vd_mul(k->rest1, g));
    vecd v1 = vd_fma(k->beta2, vd_from_floats(v), vd_mul(k->rest2, vd_mul(g, g)));
    vecd move = vd_mul(k->rate, vd_mul(m1, k->over_c1));
    vecd t = vd_sub(vd_from_floats(theta), vd_div(move, vd_add(vd_sqrt(vd_mul(v1, k->over_c2)), k->eps)));
    vecd average = vd_fma(k->decay, vd_from_floats(ema), vd_mul(k->rest, t));
    vd_to_floats(m, m1);
    vd_to_floats(v, v1);
    vd_to_floats(theta, t);
    vd_to_floats(ema, average);
}

void CPU_(adam)(fast_ctx *ctx, const fast_adam *a)
{
    (void)ctx;
    enum { LANES = V_LANES / 2 };
    adam_constants k = constants(a);
    size_t j = 0;
    for (; j + LANES <= a->count; j += LANES)
        step(&k, a->cd + j, a->kl + j, a->theta + j, a->ema + j, a->m + j, a->v + j);
    if (j == a->count)
        return;
    float last[6][LANES] = { { 0 } };           /* the rest, filled up with zeros */
    const float *const from[6] = { a->cd, a->kl, a->theta, a->ema, a->m, a->v };
    float *const to[6] = { NULL, NULL, a->theta, a->ema, a->m, a->v };
    size_t bytes = (a->count - j) * sizeof(float);
    for (int i = 0; i < 6; i++)
        memcpy(last[i], from[i] + j, bytes);
    step(&k, last[0], last[1], last[2], last[3], last[4], last[5]);
    for (int i = 2; i < 6; i++)
        memcpy(to[i] + j, last[i], bytes);
}
