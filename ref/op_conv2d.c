/* op_conv2d.c: 2D convolution (cross-correlation, as networks use the word) and its two transposes.
 *
 *   y[n][o][i][j] = sum_{c,u,v} w[o][c][u][v] x[n][c][i*stride + u - pad][j*stride + v - pad]      x is 0 outside
 *
 * It is bilinear, so forward, backward-to-x and backward-to-w are one another's rules and nothing is written for the second
 * order. Each is a matrix product with the windows of one image laid out as columns (c,u,v) by (i,j). */
#include "gemm.h"
#include "ops.h"

#include <assert.h>
#include <string.h>

typedef struct { shape x, w, y; int stride, pad; } geometry;

static int out_size(int size, int k, int stride, int pad) { return (size + 2 * pad - k) / stride + 1; }

/* The first and one past the last output column j for which 0 <= j*stride + v - pad < width. */
static void inside(const geometry *g, int v, int *from, int *to)
{
    int lo = g->pad - v, hi = g->x.w - 1 + g->pad - v;
    *from = lo <= 0 ? 0 : (lo + g->stride - 1) / g->stride;
    *to = hi < 0 ? 0 : hi / g->stride + 1;
    if (*to > g->y.w)
        *to = g->y.w;
    if (*from > *to)
        *from = *to;
}

/* columns[(c,u,v)][(i,j)] = x[c][i*stride + u - pad][j*stride + v - pad] */
static void to_columns(const geometry *g, const real *x, real *columns)
{
    for (int c = 0; c < g->x.c; c++)
        for (int u = 0; u < g->w.h; u++)
            for (int v = 0; v < g->w.w; v++) {
                int from, to;
                inside(g, v, &from, &to);
                for (int i = 0; i < g->y.h; i++, columns += g->y.w) {
                    int row = i * g->stride + u - g->pad;
                    if (row < 0 || row >= g->x.h) {
                        memset(columns, 0, (size_t)g->y.w * sizeof(real));
                        continue;
                    }
                    const real *line = x + ((size_t)c * (size_t)g->x.h + (size_t)row) * (size_t)g->x.w;
                    for (int j = 0; j < from; j++)
                        columns[j] = 0;
                    for (int j = from; j < to; j++)
                        columns[j] = line[j * g->stride + v - g->pad];
                    for (int j = to; j < g->y.w; j++)
                        columns[j] = 0;
                }
            }
}

/* The transpose: x[c][i*stride + u - pad][j*stride + v - pad] += columns[(c,u,v)][(i,j)] */
static void from_columns(const geometry *g, const real *columns, real *x)
{
    for (int c = 0; c < g->x.c; c++)
        for (int u = 0; u < g->w.h; u++)
            for (int v = 0; v < g->w.w; v++) {
                int from, to;
                inside(g, v, &from, &to);
                for (int i = 0; i < g->y.h; i++, columns += g->y.w) {
                    int row = i * g->stride + u - g->pad;
                    if (row < 0 || row >= g->x.h)
                        continue;
                    real *line = x + ((size_t)c * (size_t)g->x.h + (size_t)row) * (size_t)g->x.w;
                    for (int j = from; j < to; j++)
                        line[j * g->stride + v - g->pad] += columns[j];
                }
            }
}

static real *column_work(tape *t, const geometry *g)
{
    return tape_work(t, (size_t)g->x.c * (size_t)g->w.h * (size_t)g->w.w * (size_t)g->y.h * (size_t)g->y.w);
}

static size_t image(shape s) { return (size_t)s.c * (size_t)s.h * (size_t)s.w; }

/* ---- y = conv2d(x, w).  gx = conv2d_bwd_x(gy, w), gw = conv2d_bwd_w(gy, x) ---- */

static void conv2d_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    geometry g = { shape_of(t, p->in[0]), shape_of(t, p->in[1]), p->s, p->stride, p->pad };
    const real *x = value(t, p->in[0]), *w = value(t, p->in[1]);
    real *y = p->v, *columns = column_work(t, &g);
    if (!columns)
        return;
    memset(y, 0, shape_count(g.y) * sizeof(real));
    for (int n = 0; n < g.x.n; n++) {
        to_columns(&g, x + (size_t)n * image(g.x), columns);
        gemm_nn(g.y.c, g.y.h * g.y.w, (int)image(g.w), w, columns, y + (size_t)n * image(g.y));
    }
}

static void conv2d_vjp(tape *t, var self, var gy)
{
    node p = t->node[self];
    if (tape_wants(t, p.in[0]))
        tape_give(t, p.in[0], tape_conv2d_bwd_x(t, gy, p.in[1], shape_of(t, p.in[0]), p.stride, p.pad));
    if (tape_wants(t, p.in[1]))
        tape_give(t, p.in[1], tape_conv2d_bwd_w(t, gy, p.in[0], shape_of(t, p.in[1]), p.stride, p.pad));
}

const op op_conv2d = { "conv2d", 2, conv2d_forward, conv2d_vjp };

static var record_conv(tape *t, const op *o, var a, var b, shape s, const geometry *g)
{
    if (t->dry)
        column_work(t, g);        /* forward takes it; a dry tape only counts it */
    return tape_record(t, &(node){ .op = o, .in = { a, b }, .s = s, .stride = g->stride, .pad = g->pad });
}

var tape_conv2d(tape *t, var x, var w, int stride, int pad)
{
    if (x < 0 || w < 0)
        return -1;
    shape sx = shape_of(t, x), sw = shape_of(t, w);
    shape s = { sx.n, sw.n, out_size(sx.h, sw.h, stride, pad), out_size(sx.w, sw.w, stride, pad) };
    assert(sx.c == sw.c && s.h > 0 && s.w > 0);
    return record_conv(t, &op_conv2d, x, w, s, &(geometry){ sx, sw, s, stride, pad });
}

/* ---- gx = conv2d_bwd_x(gy, w): its adjoint h gives  gy: conv2d(h, w),  w: conv2d_bwd_w(gy, h) ---- */

static void bwd_x_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    geometry g = { p->s, shape_of(t, p->in[1]), shape_of(t, p->in[0]), p->stride, p->pad };
    const real *gy = value(t, p->in[0]), *w = value(t, p->in[1]);
    real *gx = p->v, *columns = column_work(t, &g);
    if (!columns)
        return;
    memset(gx, 0, shape_count(g.x) * sizeof(real));
    for (int n = 0; n < g.x.n; n++) {
        memset(columns, 0, image(g.w) * (size_t)(g.y.h * g.y.w) * sizeof(real));
        gemm_tn((int)image(g.w), g.y.h * g.y.w, g.y.c, w, gy + (size_t)n * image(g.y), columns);
        from_columns(&g, columns, gx + (size_t)n * image(g.x));
    }
}

static void bwd_x_vjp(tape *t, var self, var h)
{
    node p = t->node[self];
    if (tape_wants(t, p.in[0]))
        tape_give(t, p.in[0], tape_conv2d(t, h, p.in[1], p.stride, p.pad));
    if (tape_wants(t, p.in[1]))
        tape_give(t, p.in[1], tape_conv2d_bwd_w(t, p.in[0], h, shape_of(t, p.in[1]), p.stride, p.pad));
}

const op op_conv2d_bwd_x = { "conv2d_bwd_x", 2, bwd_x_forward, bwd_x_vjp };

var tape_conv2d_bwd_x(tape *t, var gy, var w, shape x, int stride, int pad)
{
    if (gy < 0 || w < 0)
        return -1;
    geometry g = { x, shape_of(t, w), shape_of(t, gy), stride, pad };
    assert(x.c == g.w.c && g.y.c == g.w.n && g.y.n == x.n && g.y.h == out_size(x.h, g.w.h, stride, pad));
    return record_conv(t, &op_conv2d_bwd_x, gy, w, x, &g);
}

/* ---- gw = conv2d_bwd_w(gy, x): its adjoint h gives  gy: conv2d(x, h),  x: conv2d_bwd_x(gy, h) ---- */

static void bwd_w_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    geometry g = { shape_of(t, p->in[1]), p->s, shape_of(t, p->in[0]), p->stride, p->pad };
    const real *gy = value(t, p->in[0]), *x = value(t, p->in[1]);
    real *gw = p->v, *columns = column_work(t, &g);
    if (!columns)
        return;
    memset(gw, 0, shape_count(g.w) * sizeof(real));
    for (int n = 0; n < g.x.n; n++) {
        to_columns(&g, x + (size_t)n * image(g.x), columns);
        gemm_nt(g.y.c, (int)image(g.w), g.y.h * g.y.w, gy + (size_t)n * image(g.y), columns, gw);
    }
}

static void bwd_w_vjp(tape *t, var self, var h)
{
    node p = t->node[self];
    if (tape_wants(t, p.in[0]))
        tape_give(t, p.in[0], tape_conv2d(t, p.in[1], h, p.stride, p.pad));
    if (tape_wants(t, p.in[1]))
        tape_give(t, p.in[1], tape_conv2d_bwd_x(t, p.in[0], h, shape_of(t, p.in[1]), p.stride, p.pad));
}

const op op_conv2d_bwd_w = { "conv2d_bwd_w", 2, bwd_w_forward, bwd_w_vjp };

var tape_conv2d_bwd_w(tape *t, var gy, var x, shape w, int stride, int pad)
{
    if (gy < 0 || x < 0)
        return -1;
    geometry g = { shape_of(t, x), w, shape_of(t, gy), stride, pad };
    assert(g.x.c == w.c && g.y.c == w.n && g.y.n == g.x.n && g.y.h == out_size(g.x.h, w.h, stride, pad));
    return record_conv(t, &op_conv2d_bwd_w, gy, x, w, &g);
}

var conv_bias(tape *t, var x, var w, var bias, int stride, int pad)
{
    var y = tape_conv2d(t, x, w, stride, pad);
    return bias >= 0 ? tape_add(t, y, bias) : y;
}
