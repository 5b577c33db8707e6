/* routes_slots.c: the functions of routes_slots.h on ref/'s tape. */
#include "ref/ops.h"
#include "verify/routes_slots.h"

static shape shape_from(slot_shape s) { return (shape){ s.n, s.c, s.h, s.w }; }

static var norm(tape *t, const slot_route *r, const var *x)
{
    if (r->groups)
        return group_norm(t, x[0], r->groups, x[1], x[2]);
    return tape_add(t, tape_mul(t, x[0], x[1]), x[2]);
}

static var nearest(tape *t, const slot_route *r, var x)
{
    size_t count = slot_count(r->in[0].s) / (size_t)r->in[0].s.n * (size_t)r->m;
    real *X = tape_values(t, count);
    for (size_t i = 0; X && i < count; i++)
        X[i] = (real)r->X[i];
    return X ? log_nearest(t, x, X, r->m, NULL, NULL) : -1;
}

static var record(tape *t, const slot_route *r, const var *x)
{
    slot_shape s = r->in[0].s;
    switch (r->function) {
    case SLOT_CONV:        return conv_bias(t, x[0], x[1], r->inputs > 2 ? x[2] : -1, r->stride, r->pad);
    case SLOT_NORM:        return norm(t, r, x);
    case SLOT_NORM_SWISH:  return swish(t, norm(t, r, x));
    case SLOT_SWISH:       return swish(t, x[0]);
    case SLOT_LRELU:       return leaky_relu(t, x[0], r->slope);
    case SLOT_AVGPOOL:     return tape_avgpool(t, x[0], 3, 2, 1);
    case SLOT_MAXPOOL:     return maxpool2(t, x[0]);
    case SLOT_MEAN:        return tape_mean_to(t, x[0], (shape){ s.n, s.c, 1, 1 });
    case SLOT_ATTENTION:   return tape_matmul(t, x[2], softmax_rows(t, tape_matmul(t, x[0], x[1], MATMUL_TN)), MATMUL_NT);
    case SLOT_WEIGHT_STD:  return weight_standardise(t, x[0]);
    case SLOT_SPECTRAL:    return spectral_normalise(t, x[0]);
    case SLOT_LOG_NEAREST: return nearest(t, r, x[0]);
    }
    return -1;
}

static void output(const tape *t, var x, double *out)
{
    for (size_t i = 0; t->status == ICD_OK && out && i < shape_count(shape_of(t, x)); i++)
        out[i] = re(value(t, x)[i]);
}

static var cotangent(tape *t, var y, const double *g) { return g ? tape_leaf_double(t, shape_of(t, y), g, 1.0) : -1; }

/* sum_i <g_i, x_t_i>; -1 where no input has a tangent. */
static var along(tape *t, const slot_route *r, const var *g)
{
    var sum = -1;
    for (int i = 0; i < r->inputs; i++)
        if (r->in[i].x_t) {
            var term = tape_sum(t, tape_mul(t, g[i], tape_leaf_double(t, shape_from(r->in[i].s), r->in[i].x_t, 1.0)));
            sum = sum < 0 ? term : tape_add(t, sum, term);
        }
    return sum;
}

/* y_t = J x_t as d<JT u, x_t>/du: JT u is linear in u. */
static void tangent(tape *t, const slot_route *r, const var *x, var y)
{
    var u = tape_leaf(t, shape_of(t, y), NULL), g[3], y_t;
    tape_grad(t, y, u, r->inputs, x, g);
    tape_grad(t, along(t, r, g), -1, 1, &u, &y_t);
    output(t, y_t, r->y_t);
}

static void second_order(tape *t, const slot_route *r, const var *x, var y, const var *g)
{
    var sum = along(t, r, g), h[2][3];
    tape_grad(t, sum, -1, r->inputs, x, h[0]);
    tape_grad(t, y, cotangent(t, y, r->hy), r->inputs, x, h[1]);
    for (int i = 0; i < r->inputs; i++)
        output(t, tape_add(t, h[0][i], h[1][i]), r->in[i].hx);
}

icd_status REF_(slot_route)(const slot_route *r)
{
    tape t;
    var x[3] = { -1, -1, -1 }, g[3];
    tape_init(&t, 0);
    for (int i = 0; i < r->inputs; i++)
        x[i] = tape_leaf_double(&t, shape_from(r->in[i].s), r->in[i].x, 1.0);
    var y = record(&t, r, x);
    output(&t, y, r->y);
    if (r->gy && t.status == ICD_OK) {
        tape_grad(&t, y, cotangent(&t, y, r->gy), r->inputs, x, g);
        for (int i = 0; i < r->inputs; i++)
            output(&t, g[i], r->in[i].gx);
    }
    if (r->y_t && t.status == ICD_OK)
        tangent(&t, r, x, y);
    if (r->hy && t.status == ICD_OK)
        second_order(&t, r, x, y, g);
    icd_status s = t.status;
    tape_release(&t);
    return s;
}
