/* weights.c: weight standardisation and spectral normalisation of w (o,m), and their derivatives. */
#include <math.h>

#include "portable.h"

typedef struct { double mean, sd; } row;         /* sd unbiased: divided by m - 1 */

static row row_of(int m, const float *w)
{
    row r = { 0, 0 };
    for (int j = 0; j < m; j++)
        r.mean += (double)w[j] / m;
    for (int j = 0; j < m; j++)
        r.sd += ((double)w[j] - r.mean) * ((double)w[j] - r.mean);
    r.sd = sqrt(r.sd / (m - 1));
    return r;
}

static const double sd_eps = 1e-5;

void portable_weight_std_fwd(fast_ctx *ctx, int o, int m, const float *w, float *out)
{
    (void)ctx;
    for (int i = 0; i < o; i++) {
        size_t at = (size_t)i * (size_t)m;
        row r = row_of(m, w + at);
        for (int j = 0; j < m; j++)
            out[at + (size_t)j] = (float)(((double)w[at + (size_t)j] - r.mean) / (r.sd + sd_eps));
    }
}

/* With e = w - mean, t = sd + eps:  gw = (gout - mean(gout))/t - e <gout,e>/(t^2 sd (m-1)); where sd = 0, e is too. */
void portable_weight_std_bwd(fast_ctx *ctx, int o, int m, const float *w, const float *gout, float *gw)
{
    (void)ctx;
    for (int i = 0; i < o; i++) {
        size_t at = (size_t)i * (size_t)m;
        row r = row_of(m, w + at);
        double t = r.sd + sd_eps, mean = 0, along = 0;
        for (size_t j = at; j < at + (size_t)m; j++) {
            mean += (double)gout[j] / m;
            along += (double)gout[j] * ((double)w[j] - r.mean);
        }
        double shrink = r.sd == 0 ? 0.0 : along / (t * t * r.sd * (m - 1));
        for (size_t j = at; j < at + (size_t)m; j++)
            gw[j] += (float)(((double)gout[j] - mean) / t - ((double)w[j] - r.mean) * shrink);
    }
}

/* ---- spectral: v_t = unit(wT u_{t-1}), u_t = unit(w v_t), t = 1..12 ----                                  [GL:5.2.2] */
enum { ROUNDS = 12 };

/* All rounds' vectors, in scratch: u[0..ROUNDS], v[1..ROUNDS], the adjoints gu, gv of what unit() was given, and the lengths
 * that unit() divided by. */
typedef struct {
    double *u[ROUNDS + 1], *v[ROUNDS + 1], *gu[ROUNDS + 1], *gv[ROUNDS + 1];
    double u_length[ROUNDS + 1], v_length[ROUNDS + 1];
} power;

size_t portable_spectral_scratch(int o, int m)
{
    return 2 * (ROUNDS + 1) * ((size_t)o + (size_t)m) * sizeof(double);
}

static void lay_out(power *p, int o, int m, double *at)
{
    for (int t = 0; t <= ROUNDS; t++) {
        p->u[t] = at;
        p->gu[t] = at += o;
        p->v[t] = at += o;
        p->gv[t] = at += m;
        at += m;
    }
}

/* out (o) = w x */
static void times(int o, int m, const float *w, const double *x, double *out)
{
    for (int i = 0; i < o; i++) {
        out[i] = 0;
        for (int j = 0; j < m; j++)
            out[i] += (double)w[(size_t)i * (size_t)m + (size_t)j] * x[j];
    }
}

/* out (m) = wT x */
static void times_transposed(int o, int m, const float *w, const double *x, double *out)
{
    for (int j = 0; j < m; j++)
        out[j] = 0;
    for (int i = 0; i < o; i++)
        for (int j = 0; j < m; j++)
            out[j] += (double)w[(size_t)i * (size_t)m + (size_t)j] * x[i];
}

static double inner(int count, const double *a, const double *b)
{
    double sum = 0;
    for (int j = 0; j < count; j++)
        sum += a[j] * b[j];
    return sum;
}

/* x becomes x/sqrt(|x|^2 + 1e-12); the divisor. */
static double unit(int count, double *x)
{
    double length = sqrt(inner(count, x, x) + 1e-12);
    for (int j = 0; j < count; j++)
        x[j] /= length;
    return length;
}

/* g becomes the adjoint of x from that of y = unit(x): (g - y <y,g>)/length. */
static void unit_bwd(int count, const double *y, double length, double *g)
{
    double along = inner(count, y, g);
    for (int j = 0; j < count; j++)
        g[j] = (g[j] - y[j] * along) / length;
}

/* sigma; gu[ROUNDS] becomes w v of the last round. */
static double iterate(power *p, int o, int m, const float *w)
{
    for (int i = 0; i < o; i++)
        p->u[0][i] = 1 / sqrt((double)o);
    for (int t = 1; t <= ROUNDS; t++) {
        times_transposed(o, m, w, p->u[t - 1], p->v[t]);
        p->v_length[t] = unit(m, p->v[t]);
        times(o, m, w, p->v[t], p->u[t]);
        p->u_length[t] = unit(o, p->u[t]);
    }
    times(o, m, w, p->v[ROUNDS], p->gu[ROUNDS]);
    return inner(o, p->u[ROUNDS], p->gu[ROUNDS]);
}

/* The adjoints of wT u_{t-1} (gv[t]) and of w v_t (gu[t]) for d sigma = 1, where sigma = u.(w v) of the last round and
 * gu[ROUNDS] = w v already. */
static void iterate_bwd(power *p, int o, int m, const float *w)
{
    for (int t = ROUNDS; t >= 1; t--) {
        unit_bwd(o, p->u[t], p->u_length[t], p->gu[t]);
        for (int i = 0; t == ROUNDS && i < o; i++)       /* v is also in sigma itself: its share is wT u */
            p->gu[t][i] += p->u[t][i];
        times_transposed(o, m, w, p->gu[t], p->gv[t]);
        unit_bwd(m, p->v[t], p->v_length[t], p->gv[t]);
        times(o, m, w, p->gv[t], p->gu[t - 1]);
    }
}

void portable_spectral_fwd(fast_ctx *ctx, int o, int m, const float *w, float *out)
{
    power p;
    lay_out(&p, o, m, ctx->scratch);
    double sigma = iterate(&p, o, m, w);
    for (size_t j = 0; j < (size_t)o * (size_t)m; j++)
        out[j] = (float)((double)w[j] / sigma);
}

/* d(w/sigma) = dw/sigma - w dsigma/sigma^2, and dsigma/dw = sum over rounds of gu_t v_tT + u_{t-1} gv_tT; gu of the last
 * round holds the u vT of sigma = uT w v too. */
void portable_spectral_bwd(fast_ctx *ctx, int o, int m, const float *w, const float *gout, float *gw)
{
    power p;
    lay_out(&p, o, m, ctx->scratch);
    double sigma = iterate(&p, o, m, w), along = 0;
    iterate_bwd(&p, o, m, w);
    for (size_t j = 0; j < (size_t)o * (size_t)m; j++)
        along += (double)gout[j] * (double)w[j];
    for (int i = 0; i < o; i++)
        for (int j = 0; j < m; j++) {
            size_t at = (size_t)i * (size_t)m + (size_t)j;
            double gsigma = 0;
            for (int t = 1; t <= ROUNDS; t++)
                gsigma += p.gu[t][i] * p.v[t][j] + p.u[t - 1][i] * p.gv[t][j];
            gw[at] += (float)((double)gout[at] / sigma - along / (sigma * sigma) * gsigma);
        }
}
