/* op_elementwise.c: one number in, one number out. Each op: its formula, its rule, its domain.
 * Second order: none written; the rules record differentiable ops. */
#include "ops.h"

/* Make g, of the shape that a broadcast gave, into a share for an input of shape s. */
static var fit(tape *t, var g, shape s) { return g < 0 || shape_same(shape_of(t, g), s) ? g : tape_sum_to(t, g, s); }

static int joint(int a, int b) { return a == 1 ? b : a; }

enum { ADD, SUB, MUL };

/* One row; ja, jb: 1, or 0 where that input has one value for the whole row. */
static void row(int which, int n, const real *a, int ja, const real *b, int jb, real *y)
{
    if (which == ADD) {
        for (int i = 0; i < n; i++)
            y[i] = a[i * ja] + b[i * jb];
    } else if (which == SUB) {
        for (int i = 0; i < n; i++)
            y[i] = a[i * ja] - b[i * jb];
    } else {
        for (int i = 0; i < n; i++)
            y[i] = a[i * ja] * b[i * jb];
    }
}

/* Where row (n,c,h) of a broadcast lies in an input of shape s. */
static size_t row_at(shape s, int n, int c, int h)
{
    return (((size_t)(s.n > 1 ? n : 0) * (size_t)s.c + (size_t)(s.c > 1 ? c : 0)) * (size_t)s.h
            + (size_t)(s.h > 1 ? h : 0)) * (size_t)s.w;
}

/* y (n,c,h,w) = a . b, a dimension of size 1 counting for all. */
static void binary(tape *t, var self, int which)
{
    const node *p = &t->node[self];
    shape s = p->s, sa = shape_of(t, p->in[0]), sb = shape_of(t, p->in[1]);
    const real *a = value(t, p->in[0]), *b = value(t, p->in[1]);
    if (shape_same(sa, sb)) {
        for (size_t i = 0, n = shape_count(s); i < n; i++)
            p->v[i] = which == ADD ? a[i] + b[i] : which == SUB ? a[i] - b[i] : a[i] * b[i];
        return;
    }
    real *y = p->v;
    for (int n = 0; n < s.n; n++)
        for (int c = 0; c < s.c; c++)
            for (int h = 0; h < s.h; h++, y += s.w)
                row(which, s.w, a + row_at(sa, n, c, h), sa.w > 1, b + row_at(sb, n, c, h), sb.w > 1, y);
}

static var record_binary(tape *t, const op *o, var a, var b)
{
    if (a < 0 || b < 0)
        return -1;
    shape sa = shape_of(t, a), sb = shape_of(t, b);
    shape s = { joint(sa.n, sb.n), joint(sa.c, sb.c), joint(sa.h, sb.h), joint(sa.w, sb.w) };
    return tape_record(t, &(node){ .op = o, .in = { a, b }, .s = s });
}

/* add: y = a + b.  ga = gy, gb = gy. */
static void add_forward(tape *t, var self) { binary(t, self, ADD); }
static void add_vjp(tape *t, var self, var gy)
{
    for (int i = 0; i < 2; i++) {
        var x = t->node[self].in[i];
        if (tape_wants(t, x))
            tape_give(t, x, fit(t, gy, shape_of(t, x)));
    }
}
static const op op_add = { "add", 2, add_forward, add_vjp };
var tape_add(tape *t, var a, var b) { return record_binary(t, &op_add, a, b); }

/* sub: y = a - b.  ga = gy, gb = -gy. */
static void sub_forward(tape *t, var self) { binary(t, self, SUB); }
static void sub_vjp(tape *t, var self, var gy)
{
    var a = t->node[self].in[0], b = t->node[self].in[1];
    if (tape_wants(t, a))
        tape_give(t, a, fit(t, gy, shape_of(t, a)));
    if (tape_wants(t, b))
        tape_give(t, b, tape_affine(t, fit(t, gy, shape_of(t, b)), -1.0, 0.0));
}
static const op op_sub = { "sub", 2, sub_forward, sub_vjp };
var tape_sub(tape *t, var a, var b) { return record_binary(t, &op_sub, a, b); }

/* mul: y = a b.  ga = gy b, gb = gy a. */
static void mul_forward(tape *t, var self) { binary(t, self, MUL); }
static void mul_vjp(tape *t, var self, var gy)
{
    var a = t->node[self].in[0], b = t->node[self].in[1];
    if (tape_wants(t, a))
        tape_give(t, a, fit(t, tape_mul(t, gy, b), shape_of(t, a)));
    if (tape_wants(t, b))
        tape_give(t, b, fit(t, tape_mul(t, gy, a), shape_of(t, b)));
}
static const op op_mul = { "mul", 2, mul_forward, mul_vjp };
var tape_mul(tape *t, var a, var b) { return record_binary(t, &op_mul, a, b); }

/* The functions of one input: x and y below are its values, n of them. */
#define EACH(name, expression) \
    static void name##_forward(tape *t, var self) \
    { \
        const node *p = &t->node[self]; \
        const real *x = value(t, p->in[0]); \
        real *y = p->v; \
        double a = p->a, b = p->b; \
        (void)a; (void)b; \
        for (size_t i = 0, n = shape_count(p->s); i < n; i++) \
            y[i] = (real)(expression); \
    }

static var record_unary(tape *t, const op *o, var x, double a, double b)
{
    return tape_record(t, &(node){ .op = o, .in = { x }, .s = shape_of(t, x), .a = a, .b = b });
}

/* affine: y = a x + b.  gx = a gy. */
static void affine_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    const real *x = value(t, p->in[0]);
    real a = (real)p->a, b = (real)p->b;
    for (size_t i = 0, n = shape_count(p->s); i < n; i++)
        p->v[i] = a * x[i] + b;
}
static void affine_vjp(tape *t, var self, var gy)
{
    tape_give(t, t->node[self].in[0], tape_affine(t, gy, t->node[self].a, 0.0));
}
static const op op_affine = { "affine", 1, affine_forward, affine_vjp };
var tape_affine(tape *t, var x, double a, double b) { return record_unary(t, &op_affine, x, a, b); }

/* recip: y = 1/x.  gx = -gy y^2. */
EACH(recip, (real)1 / x[i])
static void recip_vjp(tape *t, var self, var gy)
{
    tape_give(t, t->node[self].in[0], tape_affine(t, tape_mul(t, gy, tape_mul(t, self, self)), -1.0, 0.0));
}
static const op op_recip = { "recip", 1, recip_forward, recip_vjp };
var tape_recip(tape *t, var x) { return record_unary(t, &op_recip, x, 0, 0); }

/* sqrt: y = sqrt(x).  gx = gy/(2 y). */
EACH(sqrt, real_sqrt(x[i]))
static void sqrt_vjp(tape *t, var self, var gy)
{
    tape_give(t, t->node[self].in[0], tape_affine(t, tape_mul(t, gy, tape_recip(t, self)), 0.5, 0.0));
}
static const op op_sqrt = { "sqrt", 1, sqrt_forward, sqrt_vjp };
var tape_sqrt(tape *t, var x) { return record_unary(t, &op_sqrt, x, 0, 0); }

/* exp: y = exp(x).  gx = gy y. */
EACH(exp, real_exp(x[i]))
static void exp_vjp(tape *t, var self, var gy) { tape_give(t, t->node[self].in[0], tape_mul(t, gy, self)); }
static const op op_exp = { "exp", 1, exp_forward, exp_vjp };
var tape_exp(tape *t, var x) { return record_unary(t, &op_exp, x, 0, 0); }

/* log: y = ln(x).  gx = gy/x. */
EACH(log, real_log(x[i]))
static void log_vjp(tape *t, var self, var gy)
{
    var x = t->node[self].in[0];
    tape_give(t, x, tape_mul(t, gy, tape_recip(t, x)));
}
static const op op_log = { "log", 1, log_forward, log_vjp };
var tape_log(tape *t, var x) { return record_unary(t, &op_log, x, 0, 0); }

/* logistic: y = 1/(1 + exp(-x)).  gx = gy y (1 - y).  The exponential never overflows: its argument is never positive. */
static real logistic(real x)
{
    if (re(x) >= 0)
        return (real)1 / ((real)1 + real_exp(-x));
    real e = real_exp(x);
    return e / ((real)1 + e);
}
EACH(logistic, logistic(x[i]))
static void logistic_vjp(tape *t, var self, var gy)
{
    var slope = tape_mul(t, self, tape_affine(t, self, -1.0, 1.0));
    tape_give(t, t->node[self].in[0], tape_mul(t, gy, slope));
}
static const op op_logistic = { "logistic", 1, logistic_forward, logistic_vjp };
var tape_logistic(tape *t, var x) { return record_unary(t, &op_logistic, x, 0, 0); }

/* clamp: y = min(max(x, a), b).  gx = gy where a <= x <= b, else 0. NaN stays NaN. */
EACH(clamp, re(x[i]) < a ? (real)a : re(x[i]) > b ? (real)b : x[i])
static void clamp_vjp(tape *t, var self, var gy)
{
    const node *p = &t->node[self];
    var x = p->in[0];
    double a = p->a, b = p->b;
    tape_give(t, x, tape_mul(t, gy, tape_inside(t, x, a, b)));
}
static const op op_clamp = { "clamp", 1, clamp_forward, clamp_vjp };
var tape_clamp(tape *t, var x, double lo, double hi) { return record_unary(t, &op_clamp, x, lo, hi); }

/* inside: y = 1 where a <= x <= b, else 0. Derivative 0 (it is undefined at a and b alone). */
EACH(inside, re(x[i]) >= a && re(x[i]) <= b ? 1 : 0)
static const op op_inside = { "inside", 1, inside_forward, NULL };
var tape_inside(tape *t, var x, double lo, double hi) { return record_unary(t, &op_inside, x, lo, hi); }

/* slope: y = 1 where x > 0, a elsewhere. Derivative 0 (undefined at 0 alone). */
EACH(slope, re(x[i]) > 0 ? 1 : a)
static const op op_slope = { "slope", 1, slope_forward, NULL };
var tape_slope(tape *t, var x, double a) { return record_unary(t, &op_slope, x, a, 0); }

/* stop_gradient: y = x, derivative 0: the paper's Omega. */
EACH(stop_gradient, x[i])
static const op op_stop_gradient = { "stop_gradient", 1, stop_gradient_forward, NULL };
var tape_stop_gradient(tape *t, var x) { return record_unary(t, &op_stop_gradient, x, 0, 0); }

/* ---- functions made of them ---- */

var swish(tape *t, var x) { return tape_mul(t, x, tape_logistic(t, x)); }

var leaky_relu(tape *t, var x, double a) { return tape_mul(t, x, tape_slope(t, x, a)); }

/* ---- the table of all ops ---- */

const op *const ref_ops[] = {
    &op_add, &op_sub, &op_mul, &op_affine, &op_recip, &op_sqrt, &op_exp, &op_log, &op_logistic, &op_clamp, &op_inside,
    &op_slope, &op_stop_gradient, &op_sum_to, &op_broadcast, &op_reshape, &op_matmul, &op_conv2d, &op_conv2d_bwd_x,
    &op_conv2d_bwd_w, &op_avgpool, &op_avgpool_bwd, &op_gather, &op_scatter, NULL
};
