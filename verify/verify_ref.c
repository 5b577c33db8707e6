/* verify_ref.c: ref/ against itself by routes that share as little as can be:
 *   reverse over reverse (tape, double)      second-order rules
 *   complex step (tape, double complex)      first-order rules only
 *   central differences (tape, double)       first-order rules at two points                                        */
#include "verify.h"

#include <math.h>
#include <string.h>

#include "common/arch.h"
#include "common/rng.h"
#include "routes.h"

#define CASE(key, bound, reason) key##_CASE,
enum {
#include "cases.def"
    CASES
};
#undef CASE
#define CASE(key, bound, reason) { bound, reason },
static const struct { double bound; const char *reason; } cases[CASES] = {
#include "cases.def"
};
#undef CASE

/* Small readings of every built-in and setting. */
static const struct { const char *name, *arch; int filters, norm, weight_std, spectral, multiscale, classes, c, h, w; } models[] = {
    { "code-mnist, auto norm, weight_std",     "code-mnist",       4, ICD_NORM_AUTO,     1, 0, 0, 0, 1, 12, 12 },
    { "paper-mnist, group norm",               "paper-mnist",      4, ICD_NORM_GROUP,    0, 0, 0, 0, 1, 12, 12 },
    { "code-mnist, no norm, spectral_norm",    "code-mnist",       4, ICD_NORM_NONE,     0, 1, 0, 0, 1, 9, 9 },
    { "code-mnist, instance norm, 3 classes",  "code-mnist",       4, ICD_NORM_INSTANCE, 1, 0, 0, 3, 1, 8, 8 },
    { "code-cifar10, multi-scale, attention",  "code-cifar10",     4, ICD_NORM_AUTO,     1, 0, 1, 0, 3, 32, 32 },
    { "paper-cifar10, multi-scale, attention", "paper-cifar10",    8, ICD_NORM_GROUP,    0, 0, 1, 0, 3, 32, 32 },
    { "gl-mnist",                              "gl-mnist",         8, ICD_NORM_NONE,     0, 0, 0, 0, 1, 28, 28 },
    { "anatomy-vanilla",                       "anatomy-vanilla",  4, ICD_NORM_NONE,     0, 0, 0, 0, 3, 32, 32 },
    { "anatomy-nonlocal",                      "anatomy-nonlocal", 4, ICD_NORM_NONE,     0, 0, 0, 0, 3, 16, 16 },
    { "toy",                                   "toy",              8, ICD_NORM_NONE,     0, 0, 0, 0, 2, 1, 1 },
};
enum { MODELS = sizeof models / sizeof models[0], N = 2, NEIGHBOURS = 5, K = 4 };

static double distance(const double *a, const double *b, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs(a[i] - b[i]);
        if (!(e <= most))            /* NaN wins */
            most = e;
        if (fabs(b[i]) > scale)
            scale = fabs(b[i]);
    }
    return scale > 0 ? most / scale : INFINITY;      /* nothing but zeros proves nothing */
}

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
    float *x0, *neighbours;
    double *normals;
    double *theta, *x, *v, *u;              /* (p) (nd) (nd) (p): a point and directions */
    double *gx, *hx, *g1, *g2, *g3, *states;
    int32_t labels[N];
    void (*tell)(void *, const icd_comparison *);
    void *context;
} bench;

static void tell(const bench *b, int which, const char *what, const char *route_a, const char *route_b, double error)
{
    icd_comparison c = { b->name, what, route_a, route_b, error, cases[which].bound, cases[which].reason };
    b->tell(b->context, &c);
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
    tell(b, DIFFERENCES_CASE, "<v, grad_x E>", "reverse", "central differences", distance(&along, &slope, 1));

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
    tell(b, DIFFERENCES_CASE, "<u, grad_theta E>", "reverse", "central differences", distance(&along, &slope, 1));
    return ICD_OK;
}

/* ---- the mixed derivative of the last Langevin step: grad_theta <v, grad_x E>                        [ICD:7] ---- */
static icd_status mixed(bench *b)
{
    const double h = 1e-5;
    ICD_TRY(routes_mixed_f64(&b->m, b->x, b->v, b->g1));
    ICD_TRY(routes_cstep(&b->m, b->x, b->v, NULL, b->g2));
    tell(b, CSTEP_CASE, "grad_theta <v, grad_x E>", "reverse over reverse", "complex step", distance(b->g1, b->g2, b->p));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] + h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, NULL, NULL, b->g3));
    for (size_t i = 0; i < b->nd; i++)
        b->hx[i] = b->x[i] - h * b->v[i];
    ICD_TRY(routes_energy_f64(&b->m, b->hx, NULL, NULL, b->g2));
    for (size_t i = 0; i < b->p; i++)
        b->g3[i] = (b->g3[i] - b->g2[i]) / (2 * h);
    tell(b, DIFFERENCES_CASE, "grad_theta <v, grad_x E>", "reverse over reverse", "central differences",
         distance(b->g1, b->g3, b->p));
    return ICD_OK;
}

/* a = C dL/dx_K, L = kl_sign/N sum_i [ w_opt E(x_i) - w_ent log |x_i - nn_i| ]: written out, no rule of the tape but grad_x E. */
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

static icd_status kl(bench *b, int floats, double step_size, int noise_before, int clamp, int backprop, int sign)
{
    static const char *const what[2][2] = { { "grad L_KL, last step", "grad L_KL, last step, clamp, noise before" },
                                            { "grad L_KL, all steps", "grad L_KL, all steps, clamp, noise before" } };
    const char *name = what[backprop == K][clamp];
    icd_chain c = { .n = N, .x0 = b->x0, .labels = b->m.labels, .steps = K, .step_size = step_size, .noise = 0.05,
                    .noise_before = noise_before, .clamp = clamp, .normals = b->normals, .keep = K };
    icd_losses l = { .n = N, .n_neighbours = NEIGHBOURS, .neighbours = b->neighbours, .w_opt = 1.0, .w_ent = 0.3,
                     .kl_sign = sign, .kl_batch = N, .backprop_steps = backprop };
    ICD_TRY(routes_chain_f64(&b->m, &c, b->states));
    const double *from = b->states + (size_t)(K - backprop) * b->nd;
    ICD_TRY(routes_kl_f64(&b->m, &c, &l, from, b->g1));
    if (floats) {
        ICD_TRY(routes_kl_f32(&b->m, &c, &l, from, b->g2));
        tell(b, FLOAT_CASE, name, "reverse over reverse, float", "reverse over reverse, double", distance(b->g2, b->g1, b->p));
    }
    ICD_TRY(recursion(b, &c, &l, b->g2));
    tell(b, RECURSION_CASE, name, "reverse over reverse", "complex step", distance(b->g1, b->g2, b->p));
    return ICD_OK;
}

static icd_status one_model(bench *b, int floats)
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
        b->labels[i] = (int32_t)icd_below(&s, at++, 3);
    ICD_TRY(first_order(b));
    ICD_TRY(mixed(b));
    /* a step that moves a pixel by a few hundredths */
    ICD_TRY(routes_energy_f64(&b->m, b->x, NULL, b->gx, NULL));
    double step = 0.05 / sqrt(dot(b->gx, b->gx, b->nd) / (double)b->nd);
    ICD_TRY(kl(b, floats, step, 0, 0, 1, 1));
    ICD_TRY(kl(b, floats, step, 1, 1, 1, -1));
    ICD_TRY(kl(b, floats, step, 0, 0, K, 1));
    return kl(b, floats, step, 1, 1, K, 1);
}

static icd_status prepare(bench *b, icd_arena *arena, const icd_arch *arch)
{
    b->d = (size_t)arch->c * (size_t)arch->h * (size_t)arch->w;
    b->nd = N * b->d;
    b->p = arch->n_values;
    double **doubles[] = { &b->theta, &b->u, &b->g1, &b->g2, &b->g3, &b->x, &b->v, &b->gx, &b->hx, &b->states, &b->normals };
    float **floats[] = { &b->x0, &b->neighbours };
    for (int i = 0; i < 11; i++)
        if (!(*doubles[i] = icd_arena_alloc(arena, i < 5 ? b->p : i < 9 ? b->nd : (K + 1) * b->nd, sizeof(double))))
            return ICD_ENOMEM;
    for (int i = 0; i < 2; i++)
        if (!(*floats[i] = icd_arena_alloc(arena, i == 0 ? b->nd : NEIGHBOURS * b->d, sizeof(float))))
            return ICD_ENOMEM;
    float *start = icd_arena_alloc(arena, b->p, sizeof *start);
    if (!start)
        return ICD_ENOMEM;
    for (int p = 0; p < arch->n_params; p++) {       /* gammas, gains and biases off their starting 0 and 1 */
        icd_stream s = { 7, 0, ICD_DRAW_TEST, (uint32_t)p };
        icd_param_init(arch, p, 7, start + arch->param[p].offset);
        for (size_t i = 0; i < arch->param[p].count; i++) {
            double nudge = arch->param[p].init == ICD_INIT_FAN_IN ? 0 : 0.3;
            b->theta[arch->param[p].offset + i] = (double)start[arch->param[p].offset + i] + nudge * (double)icd_normal(&s, i);
        }
    }
    b->m = (routes_model){ arch, b->theta, arch->model.classes ? b->labels : NULL, N };
    return ICD_OK;
}

icd_status icd_verify_ref(int floats, void (*tell_row)(void *, const icd_comparison *), void *context, icd_err *err)
{
    icd_status s = ICD_OK;
    for (int i = 0; i < MODELS && s == ICD_OK; i++) {
        icd_arena arena = { 0 };
        icd_arch arch;
        bench b = { .name = models[i].name, .tell = tell_row, .context = context };
        icd_model_settings m = { models[i].filters, (icd_norm)models[i].norm, 32, models[i].weight_std, models[i].spectral,
                                 models[i].multiscale, models[i].classes };
        s = icd_arch_parse(&arena, models[i].arch, &m, models[i].c, models[i].h, models[i].w, &arch, err);
        if (s == ICD_OK && (s = prepare(&b, &arena, &arch)) == ICD_OK)
            s = one_model(&b, floats);
        if (s == ICD_ENOMEM)
            icd_fail(err, s, "out of memory for the model %s", models[i].name);
        icd_arena_release(&arena);
    }
    return s;
}
