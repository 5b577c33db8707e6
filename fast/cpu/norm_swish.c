/* norm_swish.c: group norm and swish in one: forward, backward and tangent.                                     [ICD:B.1] */
#include "fast/cpu/norm_span.h"
#include "fast/cpu/slots.h"
#include "fast/cpu/vexp.h"

#include <math.h>

size_t CPU_(norm_scratch)(int n, const fast_norm *s)
{
    (void)n;
    return norm_bytes(s);
}

/* ---- statistics: the mean, then the squares about it ---- */

V_INLINE vec chunk_squares(int count, const float *x, vec mean)
{
    vec s[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
    int i = 0;
    for (; i + 4 <= count; i += 4)
        for (int u = 0; u < 4; u++) {
            vec e = v_sub(v_load(x + 16 * (i + u)), mean);
            s[u] = v_fma(e, e, s[u]);
        }
    for (; i < count; i++) {
        vec e = v_sub(v_load(x + 16 * i), mean);
        s[0] = v_fma(e, e, s[0]);
    }
    return v_add(v_add(s[0], s[1]), v_add(s[2], s[3]));
}

/* stats (the span's groups, 2): mean and 1/sqrt(var + 1e-5). Uses sum 0 and 1, coefficient 0. */
static void statistics(const norm_span *p, int hw, const float *x, float *stats)
{
    double m = (double)p->wide * hw;
    NORM_EACH_CHUNK(k, p, hw)
        lanes_add(p->sum[0] + k.lane, lanes_sum(k.count, x + k.at));
    for (int c = 0; c < p->channels; c += p->wide)
        norm_fill(p, 0, c, norm_group(p, 0, c) / m);
    NORM_EACH_CHUNK(k, p, hw)
        lanes_add(p->sum[1] + k.lane, chunk_squares(k.count, x + k.at, v_load(p->coef[0] + k.lane)));
    for (int c = 0; c < p->channels; c += p->wide, stats += 2) {
        stats[0] = p->coef[0][c];
        stats[1] = (float)(1.0 / sqrt(norm_group(p, 1, c) / m + 1e-5));
    }
}

/* ---- forward: z = slope (x - mean) + bias ---- */

V_INLINE void chunk_fwd(int count, size_t ahead, const float *x, const float *add, float *y, float *d, vec mean, vec slope,
                        vec bias)
{
    for (int i = 0; i < 16 * count; i += 16) {
        norm_fetch(x + i, ahead);
        vec z = v_fma(v_sub(v_load(x + i), mean), slope, bias);
        v_logistic_pair g = v_logistic(z);
        vec swish = v_mul(z, g.s);
        v_store(d + i, v_fma(swish, g.c, g.s));
        v_store(y + i, add ? v_add(swish, v_load(add + i)) : swish);
    }
}

void CPU_(norm_swish_fwd)(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const float *add, float *y, const fast_norm_saved *saved)
{
    int hw = s->h * s->w;
    norm_span p = norm_spans(ctx, s);
    for (int i = 0; i < n; i++)
        for (int more = norm_begin(&p, s, 0); more; more = norm_next(&p, s)) {
            size_t at = norm_offset(&p, s, i), ahead = norm_ahead(&p, s, n, i), parameters = norm_parameters(&p, s, i);
            float *stats = norm_stats(&p, s, saved, i), *const *coef = p.coef;
            if (s->groups)
                statistics(&p, hw, x + at, stats);
            else {
                stats[0] = 0;
                stats[1] = 1;
            }
            norm_fill_lanes(&p, s, stats, gain + parameters, bias + parameters);
            NORM_EACH_CHUNK(k, &p, hw)
                chunk_fwd(k.count, ahead, x + at + k.at, add ? add + at + k.at : NULL, y + at + k.at, saved->d + at + k.at,
                          v_load(coef[NORM_MEAN] + k.lane), v_load(coef[NORM_SLOPE] + k.lane),
                          v_load(coef[NORM_BIAS] + k.lane));
            float *last = saved->d + at + (size_t)(p.blocks - 1) * (size_t)hw * 16;
            lanes_clear(p.channels % 16, hw, last);          /* swish'(0) is not 0 */
        }
}

/* ---- backward: with gz = d gy and e = x - mean, gx = slope gz - mean(slope gz) - e mean(slope gz e)/sd^2 ---- */

V_INLINE void chunk_bwd(int count, size_t ahead, const float *x, const float *d, const float *gy, float *gx, vec mean,
                        vec slope, vec plain, vec cross)
{
    for (int i = 0; i < 16 * count; i += 16) {
        norm_fetch(x + i, ahead);
        norm_fetch(d + i, ahead);
        norm_fetch(gy + i, ahead);
        vec gz = v_mul(v_load(d + i), v_load(gy + i));
        vec rest = v_fma(v_sub(v_load(x + i), mean), cross, plain);
        v_store(gx + i, v_fma(slope, gz, rest));
    }
}

void CPU_(norm_swish_bwd)(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                          float *gbias)
{
    (void)bias;
    int hw = s->h * s->w;
    norm_span p = norm_spans(ctx, s);
    double m = (double)p.wide * hw;
    for (int i = 0; i < n; i++)
        for (int more = norm_begin(&p, s, 0); more; more = norm_next(&p, s)) {
            size_t at = norm_offset(&p, s, i), ahead = norm_ahead(&p, s, n, i), parameters = norm_parameters(&p, s, i);
            const float *stats = norm_stats(&p, s, saved, i), *d = saved->d + at;
            float *const *coef = p.coef;
            norm_fill_lanes(&p, s, stats, gain + parameters, NULL);
            if (s->groups || ggain || gbias)
                NORM_EACH_CHUNK(k, &p, hw)
                    norm_cross_sums(k.count, x + at + k.at, d + k.at, gy + at + k.at, v_load(coef[NORM_MEAN] + k.lane),
                                    p.sum[0] + k.lane, p.sum[1] + k.lane);
            for (int c = 0; s->groups && c < p.channels; c += p.wide) {
                double r = stats[2 * (c / p.wide) + 1];
                norm_fill(&p, NORM_A, c, -norm_group_weighted(&p, 0, NORM_SLOPE, c) / m);
                norm_fill(&p, NORM_B, c, -norm_group_weighted(&p, 1, NORM_SLOPE, c) / m * r * r);
            }
            NORM_EACH_CHUNK(k, &p, hw)
                chunk_bwd(k.count, ahead, x + at + k.at, d + k.at, gy + at + k.at, gx + at + k.at,
                          v_load(coef[NORM_MEAN] + k.lane), v_load(coef[NORM_SLOPE] + k.lane), v_load(coef[NORM_A] + k.lane),
                          v_load(coef[NORM_B] + k.lane));
            double weight = scale ? scale[i] : 1;
            for (int c = 0; ggain && c < p.channels; c++)
                ggain[parameters + (size_t)c] += (float)(weight * p.sum[1][c] * norm_rstd(&p, s, stats, c));
            for (int c = 0; gbias && c < p.channels; c++)
                gbias[parameters + (size_t)c] += (float)(weight * p.sum[0][c]);
        }
}

/* ---- tangent: y_t = d slope (x_t - mean(x_t) - e mean(x_t e)/sd^2) ---- */

V_INLINE void chunk_tan(int count, size_t ahead, const float *x, const float *d, const float *x_t, const float *add_t,
                        float *y_t, vec mean, vec slope, vec mean_t, vec cross)
{
    for (int i = 0; i < 16 * count; i += 16) {
        norm_fetch(x + i, ahead);
        norm_fetch(x_t + i, ahead);
        vec centred = v_fma(v_sub(v_load(x + i), mean), cross, v_sub(v_load(x_t + i), mean_t));
        vec scaled = v_mul(centred, slope);
        v_store(y_t + i, add_t ? v_fma(scaled, v_load(d + i), v_load(add_t + i)) : v_mul(scaled, v_load(d + i)));
    }
}

void CPU_(norm_swish_tan)(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t)
{
    (void)bias;
    int hw = s->h * s->w;
    norm_span p = norm_spans(ctx, s);
    for (int i = 0; i < n; i++)
        for (int more = norm_begin(&p, s, 0); more; more = norm_next(&p, s)) {
            size_t at = norm_offset(&p, s, i), ahead = norm_ahead(&p, s, n, i);
            const float *stats = norm_stats(&p, s, saved, i);
            float *const *coef = p.coef;
            norm_fill_lanes(&p, s, stats, gain + norm_parameters(&p, s, i), NULL);
            if (s->groups)
                norm_tangent_sums(&p, hw, stats, x + at, x_t + at);
            NORM_EACH_CHUNK(k, &p, hw)
                chunk_tan(k.count, ahead, x + at + k.at, saved->d + at + k.at, x_t + at + k.at,
                          add_t ? add_t + at + k.at : NULL, y_t + at + k.at, v_load(coef[NORM_MEAN] + k.lane),
                          v_load(coef[NORM_SLOPE] + k.lane), v_load(coef[NORM_A] + k.lane), v_load(coef[NORM_B] + k.lane));
        }
}
