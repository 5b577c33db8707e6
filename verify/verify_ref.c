/* verify_ref.c: derivatives by routes that share as little as can be:
 *   reverse over reverse (tape, double)      second-order rules
 *   complex step (tape, double complex)      first-order rules only
 *   central differences (tape, double)       first-order rules at two points
 *   forward over reverse (a kernel table)    the rules of fast/, in float                                            */
#include "verify.h"

#include <math.h>
#include <string.h>

#include "common/rng.h"
#include "fast/engine_fast.h"
#include "judge.h"
#include "models.h"
#include "routes.h"

enum { N = 2, NEIGHBOURS = 5, K = 4 };

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

typedef struct {
    routes_model m;
    const char *name;
    size_t d, nd, p;                        /* values of an image, of the batch, of theta */
    float *x0, *ends, *neighbours;
    double *normals;
    double *theta, *x, *v, *u;              /* (p) (nd) (nd) (p): a point and directions */
    double *gx, *hx, *g1, *g2, *g3, *states;
    double *grad, *plain[2];                /* (p): grad L_KL of an engine; of plain's, what it and each route differ by */
    int32_t labels[N];
    icd_listener listener;
    const fast_backend *table;              /* NULL: ref/ alone */
    icd_engine *engine;                     /* of that table */
    verify_factors factors;
} bench;

static void tell(const bench *b, icd_case which, const char *what, const char *route_a, const char *route_b, double error)
{
    icd_comparison c = { b->name, what, route_a, route_b, error, icd_cases[which].bound, icd_cases[which].reason, "" };
    b->listener.tell(b->listener.context, &c);
}

/* ---- first order: <v, grad_x E> and <u, grad_theta E> against central differences of E ---- */
static icd_status first_order(bench *b)
{
    const double h = 1e-5;
    double plus[N], minus[N], slope;
    ICD_TRY(routes_energy_f64(&b->m, b->x, NULL, b->gx, b->g1));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] + h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, plus, NULL, NULL));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] - h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, minus, NULL, NULL));
    slope = (plus[0] + plus[1] - minus[0] - minus[1]) / (2 * h);
    double along = dot(b->v, b->gx, b->nd);
    tell(b, DIFFERENCES_CASE, "<v, grad_x E>", "reverse", "central differences", verify_distance(&along, &slope, 1));

    routes_model other = b->m;
    other.theta = b->g2;
    for (size_t i = 0; i < b->p; i++)
        b->g2[i] = b->theta[i] + h * b->u[i];
    ICD_TRY(routes_energy_f64(&other, b->x, plus, NULL, NULL));
    for (size_t i = 0; i < b->p; i++)
        b->g2[i] = b->theta[i] - h * b->u[i];
    ICD_TRY(routes_energy_f64(&other, b->x, minus, NULL, NULL));
    slope = (plus[0] + plus[1] - minus[0] - minus[1]) / (2 * h);
    along = dot(b->u, b->g1, b->p);
    tell(b, DIFFERENCES_CASE, "<u, grad_theta E>", "reverse", "central differences", verify_distance(&along, &slope, 1));
    return ICD_OK;
}

/* ---- the mixed derivative of the last Langevin step: grad_theta <v, grad_x E>                        [ICD:7] ---- */
static icd_status mixed(bench *b)
{
    const double h = 1e-5;
    ICD_TRY(routes_mixed_f64(&b->m, b->x, b->v, b->g1));
    ICD_TRY(routes_cstep(&b->m, b->x, b->v, NULL, b->g2));
    tell(b, CSTEP_CASE, "grad_theta <v, grad_x E>", "reverse over reverse", "complex step",
         verify_distance(b->g1, b->g2, b->p));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] + h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, NULL, NULL, b->g3));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] - h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, NULL, NULL, b->g2));
    for (size_t i = 0; i < b->p; i++)
        b->g3[i] = (b->g3[i] - b->g2[i]) / (2 * h);
    tell(b, DIFFERENCES_CASE, "grad_theta <v, grad_x E>", "reverse over reverse", "central differences",
         verify_distance(b->g1, b->g3, b->p));
    return ICD_OK;
}

/* a = C dL/dx_K, L = kl_sign/N sum_i [ w_opt E(x_i) - w_ent log |x_i - nn_i| ]: written out, no rule of the tape but
 * grad_x E. */
static icd_status cotangent(bench *b, const icd_losses *l, const double *x, double *a)
{
    ICD_TRY(routes_energy_f64(&b->m, x, NULL, b->gx, NULL));
    for (int i = 0; i < N; i++) {
        const double *xi = x + (size_t)i * b->d;
        double best = INFINITY;
        int nearest = 0;
        for (int j = 0; j < NEIGHBOURS; j++) {
            double sum = 0;
            for (size_t k = 0; k < b->d; k++) {
                double e = xi[k] - (double)b->neighbours[(size_t)j * b->d + k];
                sum += e * e;
            }
            if (sum < best) {
                best = sum;
                nearest = j;
            }
        }
        for (size_t k = 0; k < b->d; k++) {
            double away = (xi[k] - (double)b->neighbours[(size_t)nearest * b->d + k]) / best;
            a[(size_t)i * b->d + k] = l->kl_sign * (l->w_opt * b->gx[(size_t)i * b->d + k] - l->w_ent * away) / N;
        }
    }
    return ICD_OK;
}

/* ICD D.2 with the complex step:  a_{k-1} = (I - lambda H(y)) C_k a_k,  grad -= lambda d/dt grad_theta E(y + t C_k a_k),
 * y = x_{k-1}, or x_{k-1} + sigma n_k with the noise before. */
static icd_status recursion(bench *b, const icd_chain *c, const icd_losses *l, double *sum)
{
    double *a = b->hx;
    memset(sum, 0, b->p * sizeof *sum);
    ICD_TRY(cotangent(b, l, b->states + (size_t)K * b->nd, a));
    for (int k = K; k > K - l->backprop_steps; k--) {
        const double *after = b->states + (size_t)k * b->nd, *before = after - b->nd;
        double *y = b->v;
        for (size_t i = 0; i < b->nd; i++) {
            y[i] = before[i] + (c->noise_before ? c->noise * b->normals[(size_t)(k - 1) * b->nd + i] : 0);
            if (c->clamp && (after[i] <= 0 || after[i] >= 1))      /* C_k: the clamp cut here */
                a[i] = 0;
        }
        ICD_TRY(routes_cstep(&b->m, y, a, b->gx, b->g3));
        for (size_t i = 0; i < b->p; i++)
            sum[i] -= c->step_size * b->g3[i];
        for (size_t i = 0; i < b->nd; i++)
            a[i] -= c->step_size * b->gx[i];
    }
    return ICD_OK;
}

/* The last step's part of the same by central differences: -lambda d/dh grad_theta E(y + h a).                      [ICD:7] */
static icd_status differences(bench *b, const icd_chain *c, const icd_losses *l, double *out)
{
    const double *after = b->states + (size_t)K * b->nd, *before = after - b->nd;
    double *a = b->hx, most = 0;
    ICD_TRY(cotangent(b, l, after, a));
    for (size_t i = 0; i < b->nd; i++) {
        if (c->clamp && (after[i] <= 0 || after[i] >= 1))
            a[i] = 0;
        most = fabs(a[i]) > most ? fabs(a[i]) : most;
    }
    const double h = 1e-5 / most;
    for (int side = -1; side <= 1; side += 2) {
        for (size_t i = 0; i < b->nd; i++)
            b->v[i] = before[i] + (c->noise_before ? c->noise * b->normals[(size_t)(K - 1) * b->nd + i] : 0) + side * h * a[i];
        ICD_TRY(routes_energy_f64(&b->m, b->v, NULL, NULL, side < 0 ? b->g3 : out));
    }
    for (size_t i = 0; i < b->p; i++)
        out[i] = -c->step_size * (out[i] - b->g3[i]) / (2 * h);
    return ICD_OK;
}

/* grad L_KL by an engine over a kernel table along a chain of its own, whose states are left. */
static icd_status own_chain(bench *b, icd_engine *e, const icd_chain *c, const icd_losses *l, double *grad, icd_err *err)
{
    icd_chain_stats chain;
    icd_loss_stats losses;
    ICD_TRY(e->import(e, ICD_PARAMETERS, b->theta, err));
    ICD_TRY(e->chain(e, c, b->ends, &chain, err));
    for (int k = 0; k <= K; k++)
        ICD_TRY(e->trajectory(e, k, b->states + (size_t)k * b->nd, err));
    ICD_TRY(e->gradients(e, l, &losses, err));
    return e->export(e, ICD_GRAD_KL, grad, err);
}

/* The same along these states by other routes. Reverse over reverse walks the steps again itself, and may part from the chain
 * at a kink: it judges the last step only (complex step and it are compared in double). */
enum { REVERSE, CSTEP, ROUTES };

static int first_route(const icd_losses *l) { return l->backprop_steps == 1 ? REVERSE : CSTEP; }

static const double *from_state(const bench *b, const icd_losses *l)
{
    return b->states + (size_t)(K - l->backprop_steps) * b->nd;
}

static icd_status by_route(bench *b, int route, const icd_chain *c, const icd_losses *l, double *out)
{
    return route == CSTEP ? recursion(b, c, l, out) : routes_kl_f64(&b->m, c, l, from_state(b, l), out);
}

/* How far rounding factors moves what own_chain and a route differ by. */
static icd_status round_factors(bench *b, const icd_chain *c, const icd_losses *l, double moved[ROUTES], icd_err *err)
{
    moved[REVERSE] = moved[CSTEP] = 0;
    for (int i = -1; i < VERIFY_ROUNDINGS && b->factors.plain; i++) {
        verify_factors_round(i < 0 ? 0 : i);
        ICD_TRY(own_chain(b, i < 0 ? b->factors.plain : b->factors.rounded, c, l, b->grad, err));
        for (int r = first_route(l); r < ROUTES; r++) {
            ICD_TRY(by_route(b, r, c, l, b->g1));
            for (size_t j = 0; j < b->p && i < 0; j++)
                b->plain[r][j] = b->grad[j] - b->g1[j];
            for (size_t j = 0; j < b->p && i >= 0; j++)
                b->g2[j] = b->grad[j] - b->plain[r][j];
            if (i >= 0)
                moved[r] = fmax(moved[r], verify_distance(b->g2, b->g1, b->p));
        }
    }
    return ICD_OK;
}

/* What the judged table's engine makes of its chain, against the other routes along it, so that a pixel or an activation at a
 * kink is on the same side in each. Ref's float begins at the same state. */
static icd_status forward_over_reverse(bench *b, const icd_chain *c, const icd_losses *l, const char *name, icd_err *err)
{
    static const char *const routes[ROUTES] = { "reverse over reverse", "complex step" };
    double moved[ROUTES];
    icd_case why;
    icd_comparison row = { .model = b->name, .what = name, .route_a = "forward over reverse", .where = "" };
    ICD_TRY(round_factors(b, c, l, moved, err));
    ICD_TRY(own_chain(b, b->engine, c, l, b->grad, err));
    ICD_TRY(by_route(b, REVERSE, c, l, b->g1));
    ICD_TRY(routes_kl_f32(&b->m, c, l, from_state(b, l), b->g2));
    double own = verify_distance(b->g2, b->g1, b->p);
    for (int r = first_route(l); r < ROUTES; r++) {
        if (r > REVERSE)                 /* whose is there */
            ICD_TRY(by_route(b, r, c, l, b->g1));
        row.route_b = routes[r];
        row.error = verify_distance(b->grad, b->g1, b->p);
        row.bound = verify_bound(YARDSTICK_CASE, own, moved[r], &why);
        row.reason = icd_cases[why].reason;
        b->listener.tell(b->listener.context, &row);
    }
    if (l->backprop_steps > 1)
        return ICD_OK;
    ICD_TRY(differences(b, c, l, b->g1));
    row.route_b = "central differences";
    row.error = verify_distance(b->grad, b->g1, b->p);
    row.bound = fmax(row.bound, icd_cases[DIFFERENCES_CASE].bound);
    b->listener.tell(b->listener.context, &row);
    return ICD_OK;
}

static icd_status kl(bench *b, int floats, double step_size, int noise_before, int clamp, int backprop, int sign, icd_err *err)
{
    static const char *const what[2][2] = { { "grad L_KL, last step", "grad L_KL, last step, clamp, noise before" },
                                            { "grad L_KL, all steps", "grad L_KL, all steps, clamp, noise before" } };
    const char *name = what[backprop == K][clamp];
    icd_chain c = { .n = N, .x0 = b->x0, .labels = b->m.labels, .steps = K, .step_size = step_size, .noise = 0.05,
                    .noise_before = noise_before, .clamp = clamp, .normals = b->normals, .keep = K };
    icd_losses l = { .n = N, .positives = b->x0, .positive_labels = b->m.labels, .n_neighbours = NEIGHBOURS,
                     .neighbours = b->neighbours, .w_opt = 1.0, .w_ent = 0.3, .kl_sign = sign, .kl_batch = N,
                     .backprop_steps = backprop };
    if (b->engine)
        return forward_over_reverse(b, &c, &l, name, err);
    ICD_TRY(routes_chain_f64(&b->m, &c, b->states));
    const double *from = b->states + (size_t)(K - backprop) * b->nd;
    ICD_TRY(routes_kl_f64(&b->m, &c, &l, from, b->g1));
    if (floats) {
        ICD_TRY(routes_kl_f32(&b->m, &c, &l, from, b->g2));
        tell(b, FLOAT_CASE, name, "reverse over reverse, float", "reverse over reverse, double",
             verify_distance(b->g2, b->g1, b->p));
    }
    ICD_TRY(recursion(b, &c, &l, b->g2));
    tell(b, RECURSION_CASE, name, "reverse over reverse", "complex step", verify_distance(b->g1, b->g2, b->p));
    return ICD_OK;
}

static icd_status one_model(bench *b, int floats, icd_err *err)
{
    icd_stream s = { 11, 1, ICD_DRAW_TEST, 0 };
    uint64_t at = 0;
    for (size_t i = 0; i < b->nd; i++) {
        b->x0[i] = icd_uniform(&s, at++);
        b->x[i] = b->x0[i];
    }
    for (size_t i = 0; i < (size_t)NEIGHBOURS * b->d; i++)
        b->neighbours[i] = icd_uniform(&s, at++);
    for (size_t i = 0; i < (size_t)K * b->nd; i++)
        b->normals[i] = (double)icd_normal(&s, at++);
    for (size_t i = 0; i < b->nd; i++)
        b->v[i] = (double)icd_normal(&s, at++);
    for (size_t i = 0; i < b->p; i++)          /* about a unit vector */
        b->u[i] = (double)icd_normal(&s, at++) / sqrt((double)b->p);
    for (int i = 0; i < N; i++)
        b->labels[i] = b->m.arch->model.classes ? (int32_t)icd_below(&s, at++, (uint32_t)b->m.arch->model.classes) : 0;
    if (!b->engine) {
        ICD_TRY(first_order(b));
        ICD_TRY(mixed(b));
    }
    /* a step that moves a pixel by a few hundredths */
    ICD_TRY(routes_energy_f64(&b->m, b->x, NULL, b->gx, NULL));
    double step = 0.05 / sqrt(dot(b->gx, b->gx, b->nd) / (double)b->nd);
    ICD_TRY(kl(b, floats, step, 0, 0, 1, 1, err));
    ICD_TRY(kl(b, floats, step, 1, 1, 1, -1, err));
    ICD_TRY(kl(b, floats, step, 0, 0, K, 1, err));
    return kl(b, floats, step, 1, 1, K, 1, err);
}

static icd_status prepare(bench *b, verify_model *m)
{
    const icd_arch *arch = &m->arch;
    b->name = m->name;
    b->theta = m->theta;
    b->d = (size_t)arch->c * (size_t)arch->h * (size_t)arch->w;
    b->nd = N * b->d;
    b->p = arch->n_values;
    double **doubles[] = { &b->u, &b->g1, &b->g2, &b->g3, &b->grad, &b->plain[0], &b->plain[1],
                           &b->x, &b->v, &b->gx, &b->hx, &b->states, &b->normals };
    float **floats[] = { &b->x0, &b->ends, &b->neighbours };
    for (int i = 0; i < 13; i++)
        if (!(*doubles[i] = icd_arena_alloc(&m->arena, i < 7 ? b->p : i < 11 ? b->nd : (K + 1) * b->nd, sizeof(double))))
            return ICD_ENOMEM;
    for (int i = 0; i < 3; i++)
        if (!(*floats[i] = icd_arena_alloc(&m->arena, i < 2 ? b->nd : NEIGHBOURS * b->d, sizeof(float))))
            return ICD_ENOMEM;
    b->m = (routes_model){ arch, b->theta, arch->model.classes ? b->labels : NULL, N };
    return ICD_OK;
}

static icd_status open_engine(bench *b, icd_err *err)
{
    icd_engine_options o = { .threads = 1, .memory = SIZE_MAX, .winograd = 4 };
    ICD_TRY(fast_engine_open(&b->engine, b->table->name, b->table, b->m.arch, &o, err));
    return verify_factors_open(&b->factors, b->table, b->m.arch, err);
}

icd_status icd_verify_ref(const fast_backend *table, int floats, const char *only, const icd_listener *l, icd_err *err)
{
    icd_status s = ICD_OK;
    for (int i = 0; i < VERIFY_MODELS && s == ICD_OK; i++) {
        verify_model m;
        bench b = { .listener = *l, .table = table };
        if (!verify_model_wanted(i, only))
            continue;
        s = verify_model_make(i, &m, err);
        if (s == ICD_OK)
            s = prepare(&b, &m);
        if (s == ICD_OK && table)
            s = open_engine(&b, err);
        if (s == ICD_OK)
            s = one_model(&b, floats, err);
        if (s == ICD_ENOMEM)
            icd_fail(err, s, "out of memory for the model %s", m.name);
        if (b.engine)
            b.engine->close(b.engine);
        verify_factors_close(&b.factors);
        verify_model_free(&m);
    }
    return s;
}
