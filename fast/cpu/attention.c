/* attention.c: o = softmax(q . k) v by blocks of ROWS queries: rows x keys logits at a time.       [ICD:table5.attn] [ANA:nets]
 *
 * Every product is one routine (multiply): lanes run along channels in blocked tensors, and along keys in the transposed
 * copies of k and v (channels, keys), whose rows, like those of the logits, are filled up to a multiple of 16 keys and lie
 * an odd number of cache lines apart (stride), so that a column of them does not fall into a few sets of the cache. */
#include <math.h>

#include "fast/cpu/lanes.h"
#include "fast/cpu/slots.h"
#include "fast/cpu/vexp.h"

enum { ROWS = 32, DEPTH = 128 };
enum { TILE_ROWS = 4, TILE_BLOCKS = V_BLOCK == 1 ? 4 : 1 };

static int up16(int a) { return (a + 15) / 16 * 16; }
static int stride(int keys) { return up16(keys) | 16; }

/* A matrix: element (i,k) of the left factor is at p[i*row + k*col]; of the right factor and the product, 16 lanes b of row
 * i are at p[i*row + b*col]. */
typedef struct { float *p; size_t row, col; } product;
typedef struct { const float *p; size_t row, col; } factor;

/* rows x blocks of c (+)= a b, over depth. */
V_INLINE void multiply_tile(int rows, int blocks, int depth, factor a, factor b, product c, int add)
{
    enum { VECS = TILE_BLOCKS * V_BLOCK };
    vec s[TILE_ROWS][VECS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < blocks * V_BLOCK; v++) {
            const float *at = c.p + (size_t)i * c.row + (size_t)(v / V_BLOCK) * c.col + (v % V_BLOCK) * V_LANES;
            s[i][v] = add ? v_load(at) : v_zero();
        }
    for (int k = 0; k < depth; k++) {
        vec right[VECS];
        for (int v = 0; v < blocks * V_BLOCK; v++)
            right[v] = v_load(b.p + (size_t)k * b.row + (size_t)(v / V_BLOCK) * b.col + (v % V_BLOCK) * V_LANES);
        for (int i = 0; i < rows; i++) {
            vec left = v_set1(a.p[(size_t)i * a.row + (size_t)k * a.col]);
            for (int v = 0; v < blocks * V_BLOCK; v++)
                s[i][v] = v_fma(left, right[v], s[i][v]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < blocks * V_BLOCK; v++)
            v_store(c.p + (size_t)i * c.row + (size_t)(v / V_BLOCK) * c.col + (v % V_BLOCK) * V_LANES, s[i][v]);
}

V_INLINE void multiply_rows(int rows, int blocks, int depth, factor a, factor b, product c, int add)
{
    if (blocks == TILE_BLOCKS)
        multiply_tile(rows, TILE_BLOCKS, depth, a, b, c, add);
    else
        multiply_tile(rows, 1, depth, a, b, c, add);
}

/* c (rows, 16*blocks) = a b, or with `add` c + a b. */
static void multiply(int rows, int blocks, int depth, factor a, factor b, product c, int add)
{
    for (int k = 0; k < depth; k += DEPTH)
        for (int v = 0, wide; v < blocks; v += wide) {
            int deep = depth - k < DEPTH ? depth - k : DEPTH, i = 0;
            wide = blocks - v >= TILE_BLOCKS ? TILE_BLOCKS : 1;
            factor left = { a.p + (size_t)k * a.col, a.row, a.col };
            factor right = { b.p + (size_t)k * b.row + (size_t)v * b.col, b.row, b.col };
            product out = { c.p + (size_t)v * c.col, c.row, c.col };
            for (; i + TILE_ROWS <= rows; i += TILE_ROWS, left.p += TILE_ROWS * a.row, out.p += TILE_ROWS * c.row)
                multiply_rows(TILE_ROWS, wide, deep, left, right, out, add || k > 0);
            for (; i < rows; i++, left.p += a.row, out.p += c.row)
                multiply_rows(1, wide, deep, left, right, out, add || k > 0);
        }
}

/* ---- scratch: transposed keys and values and their tangents; the block's rows of queries and adjoints; its logits ---- */

enum { LOGITS = 4 };
typedef struct {
    int keys, row;                          /* sk, up to a multiple of 16; stride(sk) */
    float *k, *k_t, *v, *v_t;               /* (16 blocks, row) */
    float *q, *q_t, *go, *ho;               /* (ROWS, 16 blocks) */
    float *logits[LOGITS];                  /* (ROWS, row) */
} work;

static work lay_out(const fast_attn *s, void *scratch, size_t *floats)
{
    size_t row = (size_t)stride(s->sk), dk = (size_t)up16(s->dk), dv = (size_t)up16(s->dv), used = 0;
    work w = { .keys = up16(s->sk), .row = stride(s->sk) };
    float **const part[] = { &w.k, &w.k_t, &w.v, &w.v_t, &w.q, &w.q_t, &w.go, &w.ho,
                             &w.logits[0], &w.logits[1], &w.logits[2], &w.logits[3] };
    const size_t count[] = { dk * row, dk * row, dv * row, dv * row, ROWS * dk, ROWS * dk, ROWS * dv, ROWS * dv,
                             ROWS * row, ROWS * row, ROWS * row, ROWS * row };
    for (int i = 0; i < 8 + LOGITS; i++) {
        *part[i] = scratch ? (float *)scratch + used : NULL;
        used += count[i];
    }
    if (floats)
        *floats = used;
    return w;
}

size_t CPU_(attn_scratch)(int n, const fast_attn *s)
{
    (void)n;
    size_t floats;
    lay_out(s, NULL, &floats);
    return floats * sizeof(float);
}

/* x (blocks, places, 16) -> out (16 blocks, stride(places)), 0 where it is filled up. */
static void transpose(int c, int places, const float *x, float *out)
{
    size_t row = (size_t)stride(places);
    for (int k = 0; k < c; k += 16, x += 16 * (size_t)places, out += 16 * row)
        for (int j = 0; j < places; j += 16) {
            float from[256] = { 0 }, to[256];
            memcpy(from, x + 16 * (size_t)j, 16 * sizeof(float) * (size_t)(places - j < 16 ? places - j : 16));
            v_transpose16(from, 16, to);
            for (int l = 0; l < 16; l++)
                memcpy(out + (size_t)l * row + j, to + 16 * l, 16 * sizeof(float));
        }
}

/* Places first .. first + count - 1 of x (blocks, places, 16) -> out (count, 16 blocks). */
static void take_rows(int c, int places, int first, int count, const float *x, float *out)
{
    int row = up16(c);
    for (int k = 0; k < c; k += 16)
        for (int i = 0; i < count; i++)
            memcpy(out + i * row + k, x + (size_t)k * (size_t)places + 16 * (size_t)(first + i), 16 * sizeof(float));
}

/* out (rows, keys) (+)= inner products over c channels of rows of a with places of b, transposed. */
static void inner(const work *w, int rows, int c, const float *a, const float *b, float *out, int add)
{
    factor left = { a, (size_t)up16(c), 1 }, right = { b, (size_t)w->row, 16 };
    multiply(rows, w->keys / 16, c, left, right, (product){ out, (size_t)w->row, 16 }, add);
}

/* Places first .. of a (c,sq) (+)= sum over places j of weight (rows, keys) b (c,sk). */
static void gather(int rows, int c, const fast_attn *s, const float *weight, const float *b, float *a, int first, int add)
{
    factor left = { weight, (size_t)stride(s->sk), 1 }, right = { b, 16, 16 * (size_t)s->sk };
    product out = { a + 16 * (size_t)first, 16, 16 * (size_t)s->sq };
    multiply(rows, fast_blocks(c), s->sk, left, right, out, add);
}

/* b (c,sk) (+)= sum over the rows i of weight (rows, keys) a (c,sq), places first .. */
static void scatter(int rows, int c, const fast_attn *s, const float *weight, const float *a, int first, float *b, int add)
{
    factor left = { weight, 1, (size_t)stride(s->sk) }, right = { a + 16 * (size_t)first, 16, 16 * (size_t)s->sq };
    multiply(s->sk, fast_blocks(c), rows, left, right, (product){ b, 16, 16 * (size_t)s->sk }, add);
}

/* The lanes beyond c, which a NaN times the zeros there has reached, become 0 again. */
static void clear_lanes(int c, int places, float *x)
{
    lanes_clear(c % 16, places, x + (size_t)(fast_blocks(c) - 1) * 16 * (size_t)places);
}

/* ---- rows of `keys` floats ---- */

static float row_dot(int keys, const float *a, const float *b)
{
    vec s[2] = { v_zero(), v_zero() };
    int j = 0;
    for (; j + 2 * V_LANES <= keys; j += 2 * V_LANES)
        for (int u = 0; u < 2; u++)
            s[u] = v_fma(v_load(a + j + u * V_LANES), v_load(b + j + u * V_LANES), s[u]);
    for (; j < keys; j += V_LANES)
        s[0] = v_fma(v_load(a + j), v_load(b + j), s[0]);
    return v_sum(v_add(s[0], s[1]));
}

static float row_largest(int keys, const float *p)
{
    vec most = v_load(p);
    for (int j = V_LANES; j < keys; j += V_LANES)
        most = v_max(most, v_load(p + j));
    float lane[V_LANES];
    v_storeu(lane, most);
    for (int l = 1; l < V_LANES; l++)
        lane[0] = lane[0] > lane[l] ? lane[0] : lane[l];
    return lane[0];
}

/* p = exp(p - stats[0]) stats[1] */
static void row_weights(int keys, float *p, const float *stats)
{
    for (int j = 0; j < keys; j += V_LANES)
        v_store(p + j, v_mul(v_exp(v_sub(v_load(p + j), v_set1(stats[0]))), v_set1(stats[1])));
}

/* p: logits; becomes weights, and stats what gives them. */
static void row_softmax(int keys, float *p, float *stats)
{
    stats[0] = row_largest(keys, p);
    vec sum = v_zero();
    for (int j = 0; j < keys; j += V_LANES) {
        vec e = v_exp(v_sub(v_load(p + j), v_set1(stats[0])));
        sum = v_add(sum, e);
        v_store(p + j, e);
    }
    stats[1] = 1.0f / v_sum(sum);
    for (int j = 0; j < keys; j += V_LANES)
        v_store(p + j, v_mul(v_load(p + j), v_set1(stats[1])));
}

/* g: adjoints of the weights p; becomes those of the logits, p (g - <p,g>). */
static void row_project(int keys, const float *p, float *g)
{
    vec mean = v_set1(row_dot(keys, p, g));
    for (int j = 0; j < keys; j += V_LANES)
        v_store(g + j, v_mul(v_load(p + j), v_sub(v_load(g + j), mean)));
}

/* ---- passes ---- */

/* The logits of queries first .. of one image; keys beyond sk have -inf, and so weight 0. */
static void logits(const fast_attn *s, const work *w, int first, int count, const float *q, float *out)
{
    take_rows(s->dk, s->sq, first, count, q, w->q);
    inner(w, count, s->dk, w->q, w->k, out, 0);
    for (int i = 0; i < count; i++)
        for (int j = s->sk; j < w->keys; j++)
            out[i * w->row + j] = -INFINITY;
}

static void weights(const fast_attn *s, const work *w, int first, int count, const float *q, const float *rows, float *out)
{
    logits(s, w, first, count, q, out);
    for (int i = 0; i < count; i++)
        row_weights(w->keys, out + (size_t)i * (size_t)w->row, rows + 2 * (size_t)(first + i));
}

/* Floats of one image. */
static size_t image(int c, int places) { return fast_blocked(c, 1, places); }

void CPU_(attn_fwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                    float *rows)
{
    work w = lay_out(s, ctx->scratch, NULL);
    float *p = w.logits[0];
    for (int m = 0; m < n; m++) {
        transpose(s->dk, s->sk, k, w.k);
        for (int at = 0; at < s->sq; at += ROWS) {
            int count = s->sq - at < ROWS ? s->sq - at : ROWS;
            logits(s, &w, at, count, q, p);
            for (int i = 0; i < count; i++)
                row_softmax(w.keys, p + (size_t)i * (size_t)w.row, rows + 2 * (size_t)(at + i));
            gather(count, s->dv, s, p, v, o, at, 0);
        }
        clear_lanes(s->dv, s->sq, o);
        q += image(s->dk, s->sq);
        k += image(s->dk, s->sk);
        v += image(s->dv, s->sk);
        o += image(s->dv, s->sq);
        rows += 2 * (size_t)s->sq;
    }
}

void CPU_(attn_bwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                    const float *go, float *gq, float *gk, float *gv)
{
    work w = lay_out(s, ctx->scratch, NULL);
    float *p = w.logits[0], *g = w.logits[1];
    for (int m = 0; m < n; m++) {
        transpose(s->dk, s->sk, k, w.k);
        transpose(s->dv, s->sk, v, w.v);
        for (int at = 0; at < s->sq; at += ROWS) {
            int count = s->sq - at < ROWS ? s->sq - at : ROWS;
            weights(s, &w, at, count, q, rows, p);
            take_rows(s->dv, s->sq, at, count, go, w.go);
            inner(&w, count, s->dv, w.go, w.v, g, 0);
            for (int i = 0; i < count; i++)
                row_project(w.keys, p + (size_t)i * (size_t)w.row, g + (size_t)i * (size_t)w.row);
            gather(count, s->dk, s, g, k, gq, at, 0);
            scatter(count, s->dk, s, g, q, at, gk, at > 0);
            scatter(count, s->dv, s, p, go, at, gv, at > 0);
        }
        clear_lanes(s->dk, s->sq, gq);
        clear_lanes(s->dk, s->sk, gk);
        clear_lanes(s->dv, s->sk, gv);
        q += image(s->dk, s->sq), gq += image(s->dk, s->sq);
        k += image(s->dk, s->sk), gk += image(s->dk, s->sk);
        v += image(s->dv, s->sk), gv += image(s->dv, s->sk);
        go += image(s->dv, s->sq);
        rows += 2 * (size_t)s->sq;
    }
}

/* l_t = q_t . k + q . k_t; w->q holds the rows of q. */
static void logits_tan(const fast_attn *s, const work *w, int first, int count, const float *q_t, float *out)
{
    take_rows(s->dk, s->sq, first, count, q_t, w->q_t);
    inner(w, count, s->dk, w->q_t, w->k, out, 0);
    inner(w, count, s->dk, w->q, w->k_t, out, 1);
}

/* o_t = p_t v + p v_t,  p_t = p (l_t - <p,l_t>) */
void CPU_(attn_tan)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                    const float *q_t, const float *k_t, const float *v_t, float *o_t)
{
    work w = lay_out(s, ctx->scratch, NULL);
    float *p = w.logits[0], *p_t = w.logits[1];
    for (int m = 0; m < n; m++) {
        transpose(s->dk, s->sk, k, w.k);
        transpose(s->dk, s->sk, k_t, w.k_t);
        for (int at = 0; at < s->sq; at += ROWS) {
            int count = s->sq - at < ROWS ? s->sq - at : ROWS;
            weights(s, &w, at, count, q, rows, p);
            logits_tan(s, &w, at, count, q_t, p_t);
            for (int i = 0; i < count; i++)
                row_project(w.keys, p + (size_t)i * (size_t)w.row, p_t + (size_t)i * (size_t)w.row);
            gather(count, s->dv, s, p_t, v, o_t, at, 0);
            gather(count, s->dv, s, p, v_t, o_t, at, 1);
        }
        clear_lanes(s->dv, s->sq, o_t);
        q += image(s->dk, s->sq), q_t += image(s->dk, s->sq);
        k += image(s->dk, s->sk), k_t += image(s->dk, s->sk);
        v += image(s->dv, s->sk), v_t += image(s->dv, s->sk);
        o_t += image(s->dv, s->sq);
        rows += 2 * (size_t)s->sq;
    }
}

/* Of S = <ho,o> + <go,o_t>, with a = go . v, the adjoint of p_t, and b = ho . v + go . v_t, rows of a query:
 *   adjoint of l_t: p (a - <p,a>);  of p: h = b + a (l_t - <p,l_t>) - l_t <p,a>;  of l: p (h - <p,h>).
 * l_t becomes p_t, a and b the adjoints of l_t and l. */
static void row_bwd2(int keys, const float *p, float *l_t, float *a, float *b)
{
    float mean_l = row_dot(keys, p, l_t), mean_a = row_dot(keys, p, a);
    for (int j = 0; j < keys; j += V_LANES) {
        vec l = v_load(l_t + j), rest = v_fnma(l, v_set1(mean_a), v_load(b + j));
        v_store(b + j, v_fma(v_load(a + j), v_sub(l, v_set1(mean_l)), rest));
        v_store(l_t + j, v_mul(v_load(p + j), v_sub(l, v_set1(mean_l))));
        v_store(a + j, v_mul(v_load(p + j), v_sub(v_load(a + j), v_set1(mean_a))));
    }
    row_project(keys, p, b);
}

void CPU_(attn_bwd2)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho, const float *go,
                     float *hq, float *hk, float *hv)
{
    work w = lay_out(s, ctx->scratch, NULL);
    float *p = w.logits[0], *p_t = w.logits[1], *a = w.logits[2], *b = w.logits[3];
    for (int m = 0; m < n; m++) {
        transpose(s->dk, s->sk, k, w.k);
        transpose(s->dk, s->sk, k_t, w.k_t);
        transpose(s->dv, s->sk, v, w.v);
        transpose(s->dv, s->sk, v_t, w.v_t);
        for (int at = 0; at < s->sq; at += ROWS) {
            int count = s->sq - at < ROWS ? s->sq - at : ROWS;
            weights(s, &w, at, count, q, rows, p);
            logits_tan(s, &w, at, count, q_t, p_t);
            take_rows(s->dv, s->sq, at, count, go, w.go);
            take_rows(s->dv, s->sq, at, count, ho, w.ho);
            inner(&w, count, s->dv, w.go, w.v, a, 0);
            inner(&w, count, s->dv, w.ho, w.v, b, 0);
            inner(&w, count, s->dv, w.go, w.v_t, b, 1);
            for (size_t i = 0; i < (size_t)count * (size_t)w.row; i += (size_t)w.row)
                row_bwd2(w.keys, p + i, p_t + i, a + i, b + i);
            gather(count, s->dk, s, b, k, hq, at, 0);
            gather(count, s->dk, s, a, k_t, hq, at, 1);
            scatter(count, s->dk, s, b, q, at, hk, at > 0);
            scatter(count, s->dk, s, a, q_t, at, hk, 1);
            scatter(count, s->dv, s, p, ho, at, hv, at > 0);
            scatter(count, s->dv, s, p_t, go, at, hv, 1);
        }
        clear_lanes(s->dk, s->sq, hq);
        clear_lanes(s->dk, s->sk, hk);
        clear_lanes(s->dv, s->sk, hv);
        q += image(s->dk, s->sq), q_t += image(s->dk, s->sq), hq += image(s->dk, s->sq);
        k += image(s->dk, s->sk), k_t += image(s->dk, s->sk), hk += image(s->dk, s->sk);
        v += image(s->dv, s->sk), v_t += image(s->dv, s->sk), hv += image(s->dv, s->sk);
        ho += image(s->dv, s->sq), go += image(s->dv, s->sq);
        rows += 2 * (size_t)s->sq;
    }
}
