/* norm_swish2.c: group norm and swish in one: the second-order backward pass.                                   [ICD:B.1]
 *
 * With e = x - mean, r = 1/sd, xhat = r e, slope = gain r and the projection P = r (I - 11T/m - xhat xhatT/m) of a group:
 *   xhat_t = P x_t = r t,  t = x_t - A + B e;  z_t = slope t;  gz = gy d;  hz = hy d + gy swish''(z) z_t;
 *   p = gain hz, q = gain gz, mean() over the group:
 *   hx = P p - r mean(xhat x_t) P q - r mean(q xhat) P x_t - r xhat mean(q xhat_t)
 *      = slope (hz + B gz) + C0 + C1 e + C2 (x_t - A),     since B = -r mean(xhat x_t). */
#include "fast/cpu/norm_span.h"
#include "fast/cpu/slots.h"
#include "fast/cpu/vexp.h"

typedef struct { vec mean, slope, bias, a, b; } lane_coefs;
V_INLINE lane_coefs coefs(const norm_span *p, int lane)
{
    return (lane_coefs){ v_load(p->coef[NORM_MEAN] + lane), v_load(p->coef[NORM_SLOPE] + lane),
                         v_load(p->coef[NORM_BIAS] + lane), v_load(p->coef[NORM_A] + lane), v_load(p->coef[NORM_B] + lane) };
}

/* swish''(z) = s c (2 + z (c - s)), c = 1 - s */
V_INLINE vec swish_curvature(vec z)
{
    v_logistic_pair g = v_logistic(z);
    return v_mul(v_mul(g.s, g.c), v_fma(z, v_sub(g.c, g.s), v_set1(2.0f)));
}

/* hx = hz + B gz; sums of hz, hz e, gz, gz e, gz t. */
V_INLINE void chunk_first(int count, const float *x, const float *d, const float *x_t, const float *hy, const float *gy,
                          float *hx, lane_coefs c, double *const sum[NORM_SUMS], int lane)
{
    vec s[NORM_SUMS] = { v_zero(), v_zero(), v_zero(), v_zero(), v_zero() };
    for (int i = 0; i < 16 * count; i += 16) {
        vec e = v_sub(v_load(x + i), c.mean), di = v_load(d + i), gyi = v_load(gy + i);
        vec t = v_fma(e, c.b, v_sub(v_load(x_t + i), c.a));
        vec curvature = swish_curvature(v_fma(e, c.slope, c.bias));
        vec gz = v_mul(gyi, di);
        vec hz = v_fma(v_load(hy + i), di, v_mul(v_mul(gyi, curvature), v_mul(c.slope, t)));
        v_store(hx + i, v_fma(c.b, gz, hz));
        s[0] = v_add(s[0], hz);
        s[1] = v_fma(hz, e, s[1]);
        s[2] = v_add(s[2], gz);
        s[3] = v_fma(gz, e, s[3]);
        s[4] = v_fma(gz, t, s[4]);
    }
    for (int k = 0; k < NORM_SUMS; k++)
        lanes_add(sum[k] + lane, s[k]);
}

/* hx = slope hx + C0 + C1 e + C2 (x_t - A) */
V_INLINE void chunk_second(int count, size_t ahead, const float *x, const float *x_t, float *hx, lane_coefs c, vec c0, vec c1,
                           vec c2)
{
    for (int i = 0; i < 16 * count; i += 16) {
        norm_fetch(x + i, ahead);
        norm_fetch(x_t + i, ahead);
        vec rest = v_fma(v_sub(v_load(x + i), c.mean), c1, v_fma(v_sub(v_load(x_t + i), c.a), c2, c0));
        v_store(hx + i, v_fma(c.slope, v_load(hx + i), rest));
    }
}

static void group_coefs(const norm_span *p, int hw, const float *stats)
{
    double m = (double)p->wide * hw;
    for (int c = 0; c < p->channels; c += p->wide, stats += 2) {
        double mean[NORM_SUMS], b = p->coef[NORM_B][c], r2 = (double)stats[1] * stats[1];
        for (int k = 0; k < NORM_SUMS; k++)
            mean[k] = norm_group_weighted(p, k, NORM_SLOPE, c) / m;
        norm_fill(p, NORM_C0, c, -mean[0] - b * mean[2]);
        norm_fill(p, NORM_C1, c, -r2 * (mean[1] + 2 * b * mean[3] + mean[4]));
        norm_fill(p, NORM_C2, c, -r2 * mean[3]);
    }
}

void CPU_(norm_swish_bwd2)(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                           float *ggain, float *gbias)
{
    int hw = s->h * s->w;
    norm_span p = norm_spans(ctx, s);
    for (int i = 0; i < n; i++)
        for (int more = norm_begin(&p, s, 0); more; more = norm_next(&p, s)) {
            size_t at = norm_offset(&p, s, i), ahead = norm_ahead(&p, s, n, i), parameters = norm_parameters(&p, s, i);
            const float *stats = norm_stats(&p, s, saved, i);
            norm_fill_lanes(&p, s, stats, gain + parameters, bias + parameters);
            if (s->groups) {
                norm_tangent_sums(&p, hw, stats, x + at, x_t + at);
                norm_clear_sums(&p);
            }
            NORM_EACH_CHUNK(k, &p, hw)
                chunk_first(k.count, x + at + k.at, saved->d + at + k.at, x_t + at + k.at, hy + at + k.at, gy + at + k.at,
                            hx + at + k.at, coefs(&p, k.lane), p.sum, k.lane);
            if (s->groups)
                group_coefs(&p, hw, stats);
            NORM_EACH_CHUNK(k, &p, hw)
                chunk_second(k.count, ahead, x + at + k.at, x_t + at + k.at, hx + at + k.at, coefs(&p, k.lane),
                             v_load(p.coef[NORM_C0] + k.lane), v_load(p.coef[NORM_C1] + k.lane),
                             v_load(p.coef[NORM_C2] + k.lane));
            for (int c = 0; ggain && c < p.channels; c++)
                ggain[parameters + (size_t)c] += (float)((p.sum[1][c] + p.sum[4][c]) * norm_rstd(&p, s, stats, c));
            for (int c = 0; gbias && c < p.channels; c++)
                gbias[parameters + (size_t)c] += (float)p.sum[0][c];
        }
}
