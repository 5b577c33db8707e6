/* attention.c: o = softmax(q . k) v, one query at a time: a row of weights over the keys, never the matrix. */
#include <math.h>
#include <string.h>

#include "portable.h"

/* A few rows of sk floats. */
enum { ROWS = 5 };

size_t portable_attn_scratch(int n, const fast_attn *s)
{
    (void)n;
    return ROWS * (size_t)s->sk * sizeof(float);
}

static float *row(const fast_ctx *ctx, const fast_attn *s, int r) { return (float *)ctx->scratch + (size_t)r * (size_t)s->sk; }

/* out[j] = <a of place i, b of place j> of image n, c channels; a has sa places, b sk. */
static void inner(int n, int c, const float *a, int sa, int i, const float *b, int sk, float *out)
{
    for (int j = 0; j < sk; j++) {
        float sum = 0;
        for (int k = 0; k < c; k++)
            sum += a[blocked_at(c, sa, n, k, i)] * b[blocked_at(c, sk, n, k, j)];
        out[j] = sum;
    }
}

/* a of place i += sum over j of weight[j] (b of place j). */
static void gather(int n, int c, const float *weight, const float *b, int sk, float *a, int sa, int i)
{
    for (int k = 0; k < c; k++) {
        float sum = 0;
        for (int j = 0; j < sk; j++)
            sum += weight[j] * b[blocked_at(c, sk, n, k, j)];
        a[blocked_at(c, sa, n, k, i)] += sum;
    }
}

/* b of place j += weight[j] (a of place i), for every j. */
static void scatter(int n, int c, const float *weight, const float *a, int sa, int i, float *b, int sk)
{
    for (int k = 0; k < c; k++)
        for (int j = 0; j < sk; j++)
            b[blocked_at(c, sk, n, k, j)] += weight[j] * a[blocked_at(c, sa, n, k, i)];
}

static void clear(int n, int c, int places, float *x) { memset(x, 0, (size_t)n * fast_blocked(c, 1, places) * sizeof *x); }

static float weighted(int count, const float *p, const float *a)
{
    double sum = 0;
    for (int j = 0; j < count; j++)
        sum += (double)p[j] * (double)a[j];
    return (float)sum;
}

/* p: logits of a query; becomes its weights. stats: largest logit, 1/sum. */
static void softmax(int count, float *p, float *stats)
{
    double sum = 0;
    stats[0] = p[0];
    for (int j = 1; j < count; j++)
        if (p[j] > stats[0])
            stats[0] = p[j];
    for (int j = 0; j < count; j++)
        sum += (double)expf(p[j] - stats[0]);
    stats[1] = (float)(1 / sum);
    for (int j = 0; j < count; j++)
        p[j] = expf(p[j] - stats[0]) * stats[1];
}

/* The weights of query i again, from what fwd left in rows. */
static void weights(const fast_attn *s, int n, int i, const float *q, const float *k, const float *rows, float *p)
{
    const float *stats = rows + 2 * ((size_t)n * (size_t)s->sq + (size_t)i);
    inner(n, s->dk, q, s->sq, i, k, s->sk, p);
    for (int j = 0; j < s->sk; j++)
        p[j] = expf(p[j] - stats[0]) * stats[1];
}

void portable_attn_fwd(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                       float *rows)
{
    float *p = row(ctx, s, 0);
    clear(n, s->dv, s->sq, o);
    for (int m = 0; m < n; m++)
        for (int i = 0; i < s->sq; i++) {
            inner(m, s->dk, q, s->sq, i, k, s->sk, p);
            softmax(s->sk, p, rows + 2 * ((size_t)m * (size_t)s->sq + (size_t)i));
            gather(m, s->dv, p, v, s->sk, o, s->sq, i);
        }
}

/* g: adjoints of the weights p; becomes those of the logits, p (g - <p,g>). Returns <p,g>. */
static float softmax_bwd(int count, const float *p, float *g)
{
    float mean = weighted(count, p, g);
    for (int j = 0; j < count; j++)
        g[j] = p[j] * (g[j] - mean);
    return mean;
}

void portable_attn_bwd(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                       const float *rows, const float *go, float *gq, float *gk, float *gv)
{
    float *p = row(ctx, s, 0), *g = row(ctx, s, 1);
    clear(n, s->dk, s->sq, gq);
    clear(n, s->dk, s->sk, gk);
    clear(n, s->dv, s->sk, gv);
    for (int m = 0; m < n; m++)
        for (int i = 0; i < s->sq; i++) {
            weights(s, m, i, q, k, rows, p);
            inner(m, s->dv, go, s->sq, i, v, s->sk, g);
            softmax_bwd(s->sk, p, g);
            gather(m, s->dk, g, k, s->sk, gq, s->sq, i);
            scatter(m, s->dk, g, q, s->sq, i, gk, s->sk);
            scatter(m, s->dv, p, go, s->sq, i, gv, s->sk);
        }
}

/* l_t = q_t . k + q . k_t, into out; spare: a row to work in. */
static void logits_tan(const fast_attn *s, int n, int i, const float *q, const float *k, const float *q_t, const float *k_t,
                       float *out, float *spare)
{
    inner(n, s->dk, q_t, s->sq, i, k, s->sk, out);
    inner(n, s->dk, q, s->sq, i, k_t, s->sk, spare);
    for (int j = 0; j < s->sk; j++)
        out[j] += spare[j];
}

/* o_t = sum p_t v + p v_t,  p_t = p (l_t - <p,l_t>) */
void portable_attn_tan(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                       const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t)
{
    float *p = row(ctx, s, 0), *p_t = row(ctx, s, 1);
    clear(n, s->dv, s->sq, o_t);
    for (int m = 0; m < n; m++)
        for (int i = 0; i < s->sq; i++) {
            logits_tan(s, m, i, q, k, q_t, k_t, p_t, p);
            weights(s, m, i, q, k, rows, p);
            softmax_bwd(s->sk, p, p_t);
            gather(m, s->dv, p_t, v, s->sk, o_t, s->sq, i);
            gather(m, s->dv, p, v_t, s->sk, o_t, s->sq, i);
        }
}

/* Of S = <ho,o> + <go,o_t>, one query's row. With A = <go,v>, the adjoint of p_t, and B = <ho,v> + <go,v_t>:
 *   adjoint of l_t: a = p (A - <p,A>)      (the plain backward's adjoint of l)
 *   adjoint of p:   b = B + A (l_t - <p,l_t>) - l_t <p,A>
 *   adjoint of l:   h = p (b - <p,b>) */
typedef struct { float *p, *p_t, *a, *h, *spare; } second_row;

static void row_bwd2(const fast_attn *s, int n, int i, const float *q, const float *k, const float *v, const float *rows,
                     const float *q_t, const float *k_t, const float *v_t, const float *ho, const float *go, second_row *r)
{
    logits_tan(s, n, i, q, k, q_t, k_t, r->p_t, r->spare);
    weights(s, n, i, q, k, rows, r->p);
    inner(n, s->dv, go, s->sq, i, v, s->sk, r->a);
    inner(n, s->dv, ho, s->sq, i, v, s->sk, r->h);
    inner(n, s->dv, go, s->sq, i, v_t, s->sk, r->spare);
    float mean_l = weighted(s->sk, r->p, r->p_t), mean_a = weighted(s->sk, r->p, r->a);
    for (int j = 0; j < s->sk; j++)
        r->h[j] += r->spare[j] + r->a[j] * (r->p_t[j] - mean_l) - r->p_t[j] * mean_a;
    softmax_bwd(s->sk, r->p, r->p_t);
    softmax_bwd(s->sk, r->p, r->a);
    softmax_bwd(s->sk, r->p, r->h);
}

void portable_attn_bwd2(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                        const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho,
                        const float *go, float *hq, float *hk, float *hv)
{
    second_row r = { row(ctx, s, 0), row(ctx, s, 1), row(ctx, s, 2), row(ctx, s, 3), row(ctx, s, 4) };
    clear(n, s->dk, s->sq, hq);
    clear(n, s->dk, s->sk, hk);
    clear(n, s->dv, s->sk, hv);
    for (int m = 0; m < n; m++)
        for (int i = 0; i < s->sq; i++) {
            row_bwd2(s, m, i, q, k, v, rows, q_t, k_t, v_t, ho, go, &r);
            gather(m, s->dk, r.h, k, s->sk, hq, s->sq, i);
            gather(m, s->dk, r.a, k_t, s->sk, hq, s->sq, i);
            scatter(m, s->dk, r.h, q, s->sq, i, hk, s->sk);
            scatter(m, s->dk, r.a, q_t, s->sq, i, hk, s->sk);
            scatter(m, s->dv, r.p, ho, s->sq, i, hv, s->sk);
            scatter(m, s->dv, r.p_t, go, s->sq, i, hv, s->sk);
        }
}
