/* op_reduce.c: sums over whole dimensions, their transpose, and changes of shape. */
#include "ops.h"

#include <assert.h>
#include <string.h>

static int fits(int small, int big) { return small == big || small == 1; }
static int fits_in(shape a, shape b) { return fits(a.n, b.n) && fits(a.c, b.c) && fits(a.h, b.h) && fits(a.w, b.w); }

/* Where element (n,c,h,0) of the big shape lies in the small one. */
static size_t row_of(shape s, int n, int c, int h)
{
    return ((((size_t)(s.n > 1 ? n : 0) * (size_t)s.c + (size_t)(s.c > 1 ? c : 0)) * (size_t)s.h)
            + (size_t)(s.h > 1 ? h : 0)) * (size_t)s.w;
}

/* sum_to: y = the sum of x over every dimension in which s is 1 and x is not, in the order of memory.
 * gx = broadcast(gy). A long row is summed in sixteen parts, so that a compiler may vectorise it as it stands. */
enum { PARTS = 16 };
static real row_sum(const real *x, int n)
{
    real part[PARTS] = { 0 }, sum = 0;
    int i = 0;
    for (; i + PARTS <= n; i += PARTS)
        for (int j = 0; j < PARTS; j++)
            part[j] += x[i + j];
    for (; i < n; i++)
        sum += x[i];
    for (int j = 0; j < PARTS; j++)
        sum += part[j];
    return sum;
}

static void sum_to_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    shape sx = shape_of(t, p->in[0]), s = p->s;
    const real *x = value(t, p->in[0]);
    memset(p->v, 0, shape_count(s) * sizeof(real));
    for (int n = 0; n < sx.n; n++)
        for (int c = 0; c < sx.c; c++)
            for (int h = 0; h < sx.h; h++, x += sx.w) {
                real *y = p->v + row_of(s, n, c, h);
                if (s.w == 1)
                    y[0] += row_sum(x, sx.w);
                else
                    for (int w = 0; w < sx.w; w++)
                        y[w] += x[w];
            }
}

static void sum_to_vjp(tape *t, var self, var gy)
{
    var x = t->node[self].in[0];
    tape_give(t, x, tape_broadcast(t, gy, shape_of(t, x)));
}

const op op_sum_to = { "sum_to", 1, sum_to_forward, sum_to_vjp };

var tape_sum_to(tape *t, var x, shape s)
{
    assert(x < 0 || fits_in(s, shape_of(t, x)));
    return tape_record(t, &(node){ .op = &op_sum_to, .in = { x }, .s = s });
}

/* broadcast: y = x repeated along every dimension in which x is 1 and s is not.  gx = sum_to(gy). */
static void broadcast_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    shape sx = shape_of(t, p->in[0]), s = p->s;
    real *y = p->v;
    for (int n = 0; n < s.n; n++)
        for (int c = 0; c < s.c; c++)
            for (int h = 0; h < s.h; h++, y += s.w) {
                const real *x = value(t, p->in[0]) + row_of(sx, n, c, h);
                for (int w = 0; w < s.w; w++)
                    y[w] = x[sx.w > 1 ? w : 0];
            }
}

static void broadcast_vjp(tape *t, var self, var gy)
{
    var x = t->node[self].in[0];
    tape_give(t, x, tape_sum_to(t, gy, shape_of(t, x)));
}

const op op_broadcast = { "broadcast", 1, broadcast_forward, broadcast_vjp };

var tape_broadcast(tape *t, var x, shape s)
{
    assert(x < 0 || fits_in(shape_of(t, x), s));
    return tape_record(t, &(node){ .op = &op_broadcast, .in = { x }, .s = s });
}

/* reshape: the same values in the same order under another shape; y shares x's memory.  gx = reshape(gy). */
static void reshape_forward(tape *t, var self) { (void)t; (void)self; }

static void reshape_vjp(tape *t, var self, var gy)
{
    var x = t->node[self].in[0];
    tape_give(t, x, tape_reshape(t, gy, shape_of(t, x)));
}

const op op_reshape = { "reshape", 1, reshape_forward, reshape_vjp };

var tape_reshape(tape *t, var x, shape s)
{
    assert(x < 0 || shape_count(s) == shape_count(shape_of(t, x)));
    static real none;       /* a dry tape has no values to share */
    if (x < 0)
        return -1;
    return tape_record(t, &(node){ .op = &op_reshape, .in = { x }, .s = s, .v = t->dry ? &none : value(t, x) });
}

/* ---- functions made of them ---- */

var tape_sum(tape *t, var x) { return tape_sum_to(t, x, (shape){ 1, 1, 1, 1 }); }

var tape_mean_to(tape *t, var x, shape s)
{
    double share = (double)shape_count(s) / (double)shape_count(shape_of(t, x));
    return tape_affine(t, tape_sum_to(t, x, s), share, 0.0);
}

/* Rows of x (n,c,h,w) become distributions. The largest of a row is taken off before exp; it counts as a constant, since
 * softmax does not change when a row is shifted. */
var softmax_rows(tape *t, var x)
{
    shape s = shape_of(t, x), row = { s.n, s.c, s.h, 1 };
    var top = tape_leaf(t, row, NULL);
    if (top < 0)
        return -1;
    if (!t->dry) {
        const real *v = value(t, x);
        real *m = value(t, top);
        for (size_t r = 0; r < shape_count(row); r++, v += s.w) {
            double best = re(v[0]);
            for (int w = 1; w < s.w; w++)
                if (!(re(v[w]) <= best))
                    best = re(v[w]);
            m[r] = (real)best;
        }
    }
    var e = tape_exp(t, tape_sub(t, x, top));
    return tape_mul(t, e, tape_recip(t, tape_sum_to(t, e, row)));
}
