/* op_pool.c: average pooling and its transpose; max pooling as a gather. */
#include "ops.h"

#include <assert.h>
#include <string.h>

/* avgpool: y[i][j] = 1/k^2 sum_{u,v} x[i*stride + u - pad][j*stride + v - pad]; the padding counts as zeros.
 * Linear: the adjoint is avgpool_bwd, and the other way round. */
static void each_tap(shape x, shape y, int k, int stride, int pad, const real *from, real *to, int transposed)
{
    real share = (real)(1.0 / (k * k));
    for (int m = 0; m < x.n * x.c; m++) {
        size_t px = (size_t)m * (size_t)x.h * (size_t)x.w, py = (size_t)m * (size_t)y.h * (size_t)y.w;
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int u = 0; u < k; u++)
                    for (int v = 0; v < k; v++) {
                        int r = i * stride + u - pad, c = j * stride + v - pad;
                        if (r < 0 || r >= x.h || c < 0 || c >= x.w)
                            continue;
                        size_t ix = px + (size_t)r * (size_t)x.w + (size_t)c, iy = py + (size_t)i * (size_t)y.w + (size_t)j;
                        if (transposed)
                            to[ix] += share * from[iy];
                        else
                            to[iy] += share * from[ix];
                    }
    }
}

static void avgpool_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    memset(p->v, 0, shape_count(p->s) * sizeof(real));
    each_tap(shape_of(t, p->in[0]), p->s, p->k, p->stride, p->pad, value(t, p->in[0]), p->v, 0);
}

static void avgpool_vjp(tape *t, var self, var gy)
{
    node p = t->node[self];
    tape_give(t, p.in[0], tape_avgpool_bwd(t, gy, shape_of(t, p.in[0]), p.k, p.stride, p.pad));
}

const op op_avgpool = { "avgpool", 1, avgpool_forward, avgpool_vjp };

var tape_avgpool(tape *t, var x, int k, int stride, int pad)
{
    if (x < 0)
        return -1;
    shape sx = shape_of(t, x);
    shape s = { sx.n, sx.c, (sx.h + 2 * pad - k) / stride + 1, (sx.w + 2 * pad - k) / stride + 1 };
    assert(s.h > 0 && s.w > 0);
    return tape_record(t, &(node){ .op = &op_avgpool, .in = { x }, .s = s, .k = k, .stride = stride, .pad = pad });
}

static void avgpool_bwd_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    memset(p->v, 0, shape_count(p->s) * sizeof(real));
    each_tap(p->s, shape_of(t, p->in[0]), p->k, p->stride, p->pad, value(t, p->in[0]), p->v, 1);
}

static void avgpool_bwd_vjp(tape *t, var self, var h)
{
    node p = t->node[self];
    tape_give(t, p.in[0], tape_avgpool(t, h, p.k, p.stride, p.pad));
}

const op op_avgpool_bwd = { "avgpool_bwd", 1, avgpool_bwd_forward, avgpool_bwd_vjp };

var tape_avgpool_bwd(tape *t, var gy, shape x, int k, int stride, int pad)
{
    return tape_record(t, &(node){ .op = &op_avgpool_bwd, .in = { gy }, .s = x, .k = k, .stride = stride, .pad = pad });
}

/* maxpool: which of the four is the largest is locally constant, so it is a gather by that index. */
var maxpool2(tape *t, var x)
{
    if (x < 0)
        return -1;
    shape s = shape_of(t, x), y = { s.n, s.c, s.h / 2, s.w / 2 };
    int32_t *index = tape_indices(t, shape_count(y));
    if (t->status != ICD_OK)
        return -1;
    if (!t->dry) {
        const real *v = value(t, x);
        size_t at = 0;
        for (int m = 0; m < s.n * s.c; m++)
            for (int i = 0; i < y.h; i++)
                for (int j = 0; j < y.w; j++) {
                    size_t best = ((size_t)m * (size_t)s.h + (size_t)(2 * i)) * (size_t)s.w + (size_t)(2 * j), tap = best;
                    for (int q = 1; q < 4; q++) {
                        size_t other = tap + (size_t)(q / 2) * (size_t)s.w + (size_t)(q % 2);
                        if (re(v[other]) > re(v[best]) || (isnan(re(v[other])) && !isnan(re(v[best]))))
                            best = other;
                    }
                    index[at++] = (int32_t)best;
                }
    }
    return tape_gather(t, x, index, y);
}
