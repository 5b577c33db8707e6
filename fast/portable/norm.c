/* norm.c: y = swish(z) + add, z = gain xhat + bias, xhat = r (x - mean) over a group; forward, backward, tangent, second.
 *   P = r (I - 1 1T/m - xhat xhatT/m): the derivative of xhat by x over a group of m values, symmetric; groups = 0: I */
#include <math.h>

#include "portable.h"
#include "swish.h"

size_t portable_norm_scratch(int n, const fast_norm *s)
{
    (void)n, (void)s;
    return 0;
}

/* One group of one image: channels first..last-1, all pixels. */
typedef struct {
    const fast_norm *s;
    int i, first, last, hw;
    double m;                /* values in the group */
    float mean, r;
} group;

static int group_count(const fast_norm *s) { return s->groups > 0 ? s->groups : 1; }

static float *stats_of(const fast_norm *s, const fast_norm_saved *saved, int i, int g)
{
    return saved->stats + 2 * ((size_t)i * (size_t)group_count(s) + (size_t)g);
}

static group group_of(const fast_norm *s, const fast_norm_saved *saved, int i, int g)
{
    int channels = s->c / group_count(s), hw = s->h * s->w;
    const float *stats = stats_of(s, saved, i, g);
    return (group){ s, i, g * channels, (g + 1) * channels, hw, (double)channels * hw, stats[0], stats[1] };
}

static size_t at(const group *g, int k, int p) { return blocked_at(g->s->c, g->hw, g->i, k, p); }

static float xhat(const group *g, const float *x, size_t j) { return (x[j] - g->mean) * g->r; }

/* Where gain and bias of channel k are. */
static size_t parameter(const group *g, int k) { return (size_t)(g->s->per_image ? g->i * g->s->c : 0) + (size_t)k; }

/* mean a and mean (a xhat) over a group: all that P needs of a vector a. */
typedef struct { double one, xhat; } moments;

static void add_to(moments *t, const group *g, float a, float hat)
{
    t->one += (double)a / g->m;
    t->xhat += (double)a * (double)hat / g->m;
}

/* One value of P a. */
static float project(const group *g, const moments *t, float a, float hat)
{
    return g->s->groups == 0 ? a : g->r * (a - (float)t->one - hat * (float)t->xhat);
}

static void measure(const fast_norm *s, const fast_norm_saved *saved, int i, int g, const float *x)
{
    float *stats = stats_of(s, saved, i, g);
    group v = group_of(s, saved, i, g);
    double mean = 0, var = 0;
    stats[0] = 0.0f;
    stats[1] = 1.0f;
    if (s->groups == 0)
        return;
    for (int k = v.first; k < v.last; k++)
        for (int p = 0; p < v.hw; p++)
            mean += (double)x[at(&v, k, p)];
    mean /= v.m;
    for (int k = v.first; k < v.last; k++)
        for (int p = 0; p < v.hw; p++) {
            double e = (double)x[at(&v, k, p)] - mean;
            var += e * e;
        }
    stats[0] = (float)mean;
    stats[1] = (float)(1 / sqrt(var / v.m + 1e-5));
}

static void group_fwd(const group *g, const float *x, const float *gain, const float *bias, const float *add, float *y,
                      float *d)
{
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            size_t j = at(g, k, p);
            float z = gain[parameter(g, k)] * xhat(g, x, j) + bias[parameter(g, k)];
            d[j] = swish_1(z);
            y[j] = add ? swish(z) + add[j] : swish(z);
        }
}

void portable_norm_swish_fwd(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const float *add, float *y, const fast_norm_saved *saved)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int g = 0; g < group_count(s); g++) {
            measure(s, saved, i, g, x);
            group v = group_of(s, saved, i, g);
            group_fwd(&v, x, gain, bias, add, y, saved->d);
        }
    portable_zero_tail(n, s->c, s->h * s->w, y);
    portable_zero_tail(n, s->c, s->h * s->w, saved->d);
}

/* ---- backward: gz = gy swish'(z), gx = P (gain gz) ---- */

static void group_bwd(const group *g, const float *x, const float *gain, const float *d, const float *gy, float *gx)
{
    moments t = { 0, 0 };
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            size_t j = at(g, k, p);
            add_to(&t, g, gain[parameter(g, k)] * gy[j] * d[j], xhat(g, x, j));
        }
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            size_t j = at(g, k, p);
            gx[j] = project(g, &t, gain[parameter(g, k)] * gy[j] * d[j], xhat(g, x, j));
        }
}

/* Image i's share of a parameter's gradient goes to the image's own, or with the other images' to the shared one. */
typedef struct { double gain, bias; } share;

static share channel_bwd(const group *g, int k, const float *x, const float *d, const float *gy)
{
    share t = { 0, 0 };
    for (int p = 0; p < g->hw; p++) {
        size_t j = at(g, k, p);
        double gz = (double)gy[j] * (double)d[j];
        t.gain += gz * (double)xhat(g, x, j);
        t.bias += gz;
    }
    return t;
}

static void give(share t, size_t j, float *ggain, float *gbias)
{
    if (ggain)
        ggain[j] += (float)t.gain;
    if (gbias)
        gbias[j] += (float)t.bias;
}

static group group_of_channel(const fast_norm *s, const fast_norm_saved *saved, int i, int k)
{
    return group_of(s, saved, i, k / (s->c / group_count(s)));
}

static void parameters_bwd(int n, const fast_norm *s, const float *x, const fast_norm_saved *saved, const float *gy,
                           const float *scale, float *ggain, float *gbias)
{
    for (int k = 0; k < s->c; k++) {
        share total = { 0, 0 };
        for (int i = 0; i < n; i++) {
            group g = group_of_channel(s, saved, i, k);
            share t = channel_bwd(&g, k, x, saved->d, gy);
            double weight = scale ? (double)scale[i] : 1.0;
            total.gain += weight * t.gain;
            total.bias += weight * t.bias;
            if (s->per_image || i == n - 1) {
                give(total, parameter(&g, k), ggain, gbias);
                total = (share){ 0, 0 };
            }
        }
    }
}

void portable_norm_swish_bwd(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                             float *gbias)
{
    (void)ctx, (void)bias;
    for (int i = 0; i < n; i++)
        for (int g = 0; g < group_count(s); g++) {
            group v = group_of(s, saved, i, g);
            group_bwd(&v, x, gain, saved->d, gy, gx);
        }
    portable_zero_tail(n, s->c, s->h * s->w, gx);
    if (ggain || gbias)
        parameters_bwd(n, s, x, saved, gy, scale, ggain, gbias);
}

/* ---- tangent: y_t = swish'(z) gain P x_t ---- */

static moments moments_of(const group *g, const float *x, const float *a)
{
    moments t = { 0, 0 };
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++)
            add_to(&t, g, a[at(g, k, p)], xhat(g, x, at(g, k, p)));
    return t;
}

static void group_tan(const group *g, const float *x, const float *gain, const float *d, const float *x_t, const float *add_t,
                      float *y_t)
{
    moments t = moments_of(g, x, x_t);
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            size_t j = at(g, k, p);
            float moved = d[j] * gain[parameter(g, k)] * project(g, &t, x_t[j], xhat(g, x, j));
            y_t[j] = add_t ? moved + add_t[j] : moved;
        }
}

void portable_norm_swish_tan(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t)
{
    (void)ctx, (void)bias;
    for (int i = 0; i < n; i++)
        for (int g = 0; g < group_count(s); g++) {
            group v = group_of(s, saved, i, g);
            group_tan(&v, x, gain, saved->d, x_t, add_t, y_t);
        }
    portable_zero_tail(n, s->c, s->h * s->w, y_t);
}

/* ---- second: adjoints of S = <hy,y> + <gy,y_t>. With z_t = gain P x_t:
 *   hz = hy swish'(z) + gy swish''(z) z_t,  gz = gy swish'(z),  p = gain hz,  q = gain gz
 *   hx = P p - (r/m) [<xhat,x_t> P q + <xhat,q> P x_t] - (r xhat/m) <q, P x_t>
 *   ggain += sum hz xhat + gz P x_t,  gbias += sum hz ---- */

typedef struct { const float *x, *gain, *bias, *d, *x_t, *hy, *gy; } inputs;
typedef struct { float hat, hat_t, hz, gz, gain; } values;      /* hat_t = P x_t */

/* t: moments of x_t. */
static values values_at(const group *g, const inputs *in, const moments *t, int k, int p)
{
    size_t j = at(g, k, p);
    values v = { xhat(g, in->x, j), 0, 0, 0, in->gain[parameter(g, k)] };
    v.hat_t = project(g, t, in->x_t[j], v.hat);
    float z = v.gain * v.hat + in->bias[parameter(g, k)];
    v.hz = in->hy[j] * in->d[j] + in->gy[j] * swish_2(z) * v.gain * v.hat_t;
    v.gz = in->gy[j] * in->d[j];
    return v;
}

static void group_bwd2(const group *g, const inputs *in, float *hx)
{
    moments t = moments_of(g, in->x, in->x_t), tp = { 0, 0 }, tq = { 0, 0 };
    double qx = 0;                                              /* mean of q P x_t */
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            values v = values_at(g, in, &t, k, p);
            add_to(&tp, g, v.gain * v.hz, v.hat);
            add_to(&tq, g, v.gain * v.gz, v.hat);
            qx += (double)(v.gain * v.gz) * (double)v.hat_t / g->m;
        }
    for (int k = g->first; k < g->last; k++)
        for (int p = 0; p < g->hw; p++) {
            values v = values_at(g, in, &t, k, p);
            float h = project(g, &tp, v.gain * v.hz, v.hat);
            if (g->s->groups > 0)
                h -= g->r * ((float)t.xhat * project(g, &tq, v.gain * v.gz, v.hat) + (float)tq.xhat * v.hat_t
                             + v.hat * (float)qx);
            hx[at(g, k, p)] = h;
        }
}

static share channel_bwd2(const group *g, int k, const inputs *in, const moments *t)
{
    share sum = { 0, 0 };
    for (int p = 0; p < g->hw; p++) {
        values v = values_at(g, in, t, k, p);
        sum.gain += (double)v.hz * (double)v.hat + (double)v.gz * (double)v.hat_t;
        sum.bias += (double)v.hz;
    }
    return sum;
}

void portable_norm_swish_bwd2(fast_ctx *ctx, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                              const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                              float *ggain, float *gbias)
{
    (void)ctx;
    inputs in = { x, gain, bias, saved->d, x_t, hy, gy };
    for (int i = 0; i < n; i++)
        for (int j = 0; j < group_count(s); j++) {
            group g = group_of(s, saved, i, j);
            moments t = moments_of(&g, x, x_t);
            group_bwd2(&g, &in, hx);
            for (int k = g.first; k < g.last; k++)
                give(channel_bwd2(&g, k, &in, &t), parameter(&g, k), ggain, gbias);
        }
    portable_zero_tail(n, s->c, s->h * s->w, hx);
}

void portable_class_affine_fwd(fast_ctx *ctx, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                               const float *class_gain, const float *class_bias, float *image_gain, float *image_bias)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++) {
            size_t row = (size_t)labels[i] * (size_t)c + (size_t)k, at = (size_t)i * (size_t)c + (size_t)k;
            image_gain[at] = gain ? class_gain[row] * gain[k] : class_gain[row];
            image_bias[at] = bias ? class_gain[row] * bias[k] + class_bias[row] : class_bias[row];
        }
}

void portable_class_affine_bwd(fast_ctx *ctx, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                               const float *class_gain, const float *image_ggain, const float *image_gbias, float *ggain,
                               float *gbias, float *gclass_gain, float *gclass_bias)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++) {
            size_t row = (size_t)labels[i] * (size_t)c + (size_t)k, at = (size_t)i * (size_t)c + (size_t)k;
            float gg = image_ggain[at], gb = image_gbias[at];
            gclass_gain[row] += gain ? gg * gain[k] + gb * bias[k] : gg;
            gclass_bias[row] += gb;
            if (ggain) {
                ggain[k] += gg * class_gain[row];
                gbias[k] += gb * class_gain[row];
            }
        }
}
