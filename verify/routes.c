/* routes.c: the roads of routes.h, on ref/'s tape in one precision. */
#include "ref/ops.h"
#include "ref/step.h"
#include "verify/routes.h"

#include <string.h>

typedef struct { tape t; var *p, *q, *g; real *theta; } work;

static shape images(const icd_arch *a, int n) { return (shape){ n, a->c, a->h, a->w }; }

static icd_status begin(work *w, const routes_model *m)
{
    const icd_arch *a = m->arch;
    memset(w, 0, sizeof *w);
    tape_init(&w->t, 0);
    w->p = icd_alloc(3 * (size_t)a->n_params, sizeof *w->p);
    w->theta = icd_alloc(a->n_values, sizeof *w->theta);
    if (!w->p || !w->theta)
        return ICD_ENOMEM;
    w->q = w->p + a->n_params;
    w->g = w->q + a->n_params;
    for (size_t i = 0; i < a->n_values; i++)
        w->theta[i] = (real)m->theta[i];
    net_leaves(&w->t, a, w->theta, w->p);
    net_prepare(&w->t, a, w->p, w->q);
    return w->t.status;
}

static icd_status end(work *w)
{
    icd_status s = w->t.status;
    icd_free(w->p);
    icd_free(w->theta);
    tape_release(&w->t);
    return s;
}

static var input(tape *t, shape s, const double *x)
{
    var self = tape_leaf(t, s, NULL);
    for (size_t i = 0; i < shape_count(s) && self >= 0; i++)
        value(t, self)[i] = (real)x[i];
    return self;
}

static void output(const tape *t, var x, double *out)
{
    for (size_t i = 0; t->status == ICD_OK && out && i < shape_count(shape_of(t, x)); i++)
        out[i] = re(value(t, x)[i]);
}

static void output_gradient(const tape *t, const icd_arch *a, const var *g, double *out)
{
    for (int i = 0; i < a->n_params && out; i++)
        output(t, g[i], out + a->param[i].offset);
}

icd_status REF_(routes_energy)(const routes_model *m, const double *x, double *E, double *gx, double *gtheta)
{
    work w;
    tape *t = &w.t;
    if (begin(&w, m) != ICD_OK)
        return (void)end(&w), ICD_ENOMEM;
    var in = input(t, images(m->arch, m->n), x), g, e = net_energy(t, m->arch, w.q, in, m->labels, NULL);
    output(t, e, E);
    tape_grad(t, e, -1, 1, &in, &g);
    output(t, g, gx);
    tape_grad(t, e, -1, m->arch->n_params, w.p, w.g);
    output_gradient(t, m->arch, w.g, gtheta);
    return end(&w);
}

icd_status REF_(routes_mixed)(const routes_model *m, const double *x, const double *v, double *gtheta)
{
    work w;
    tape *t = &w.t;
    if (begin(&w, m) != ICD_OK)
        return (void)end(&w), ICD_ENOMEM;
    var in = input(t, images(m->arch, m->n), x), cotangent = input(t, images(m->arch, m->n), v), g;
    tape_grad(t, net_energy(t, m->arch, w.q, in, m->labels, NULL), -1, 1, &in, &g);
    tape_grad(t, tape_sum(t, tape_mul(t, g, cotangent)), -1, m->arch->n_params, w.p, w.g);
    output_gradient(t, m->arch, w.g, gtheta);
    return end(&w);
}

icd_status REF_(routes_chain)(const routes_model *m, const icd_chain *c, double *states)
{
    work w;
    tape *t = &w.t;
    shape s = images(m->arch, m->n);
    size_t plane = shape_count(s);
    if (begin(&w, m) != ICD_OK)
        return (void)end(&w), ICD_ENOMEM;
    var x = tape_leaf_float(t, s, c->x0);
    output(t, x, states);
    for (int k = 1; k <= c->steps; k++) {
        x = langevin_step(t, m->arch, w.q, x, m->labels, c, chain_noise(t, m->arch, c, k, 0, m->n), NULL);
        output(t, x, states + (size_t)k * plane);
    }
    return end(&w);
}

icd_status REF_(routes_kl)(const routes_model *m, const icd_chain *c, const icd_losses *l, const double *x, double *gtheta)
{
    work w;
    const icd_arch *a = m->arch;
    size_t n = (size_t)m->n, d = shape_count(images(a, 1)), near = (size_t)l->n_neighbours;
    if (begin(&w, m) != ICD_OK)
        return (void)end(&w), ICD_ENOMEM;
    real *from = tape_values(&w.t, n * d), *X = tape_values(&w.t, near * d);
    double *values = icd_alloc(3 * n, sizeof *values);
    int32_t *index = icd_alloc(n, sizeof *index);
    if (!from || !X || !values || !index)
        w.t.status = ICD_ENOMEM;
    for (size_t i = 0; i < n * d && w.t.status == ICD_OK; i++)
        from[i] = (real)x[i];
    for (size_t i = 0; i < near * d && w.t.status == ICD_OK; i++)
        X[i] = (real)l->neighbours[i];
    if (w.t.status == ICD_OK) {
        var *grad[2] = { w.g, NULL };
        kl_part(&w.t, a, w.theta, l, c, 0, m->n, from, m->labels, X, values, values + n, index, values + 2 * n, grad);
        output_gradient(&w.t, a, w.g, gtheta);
    }
    icd_free(values);
    icd_free(index);
    return end(&w);
}

#if REF_REAL == 128

icd_status routes_cstep(const routes_model *m, const double *x, const double *v, double *hv, double *mixed)
{
    const double h = 1e-30;
    work w;
    tape *t = &w.t;
    const icd_arch *a = m->arch;
    shape s = images(a, m->n);
    if (begin(&w, m) != ICD_OK)
        return (void)end(&w), ICD_ENOMEM;
    var in = tape_leaf(t, s, NULL), g;
    for (size_t i = 0; i < shape_count(s) && in >= 0; i++)
        value(t, in)[i] = x[i] + I * (h * v[i]);
    var e = net_energy(t, a, w.q, in, m->labels, NULL);
    tape_grad(t, e, -1, 1, &in, &g);
    tape_grad(t, e, -1, a->n_params, w.p, w.g);
    for (size_t i = 0; t->status == ICD_OK && hv && i < shape_count(s); i++)
        hv[i] = cimag(value(t, g)[i]) / h;
    for (int i = 0; t->status == ICD_OK && mixed && i < a->n_params; i++)
        for (size_t k = 0; k < a->param[i].count; k++)
            mixed[a->param[i].offset + k] = cimag(value(t, w.g[i])[k]) / h;
    return end(&w);
}

#endif
