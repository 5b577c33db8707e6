/* test_ref_step.c (float, double, complex): the graphs of Algorithm 1's body against routes that differentiate once at most.
 *
 *   (a) theta -> L_KL written in plain loops, with one theta for the live parts and one for Omega(theta); its derivative along
 *       drawn directions by complex step, or central differences (double); not in float.
 *   (b) -lambda grad_theta <a, grad_x E(x_{K-1})> with a worked out by hand; and, forward over reverse, the same as the
 *       derivative of grad_theta E(x_{K-1} + h a) by h. */
#include <stdlib.h>

#include "ref/step.h"
#include "ref_test.h"

enum { BATCH = 5, KL_BATCH = 4, FIRST = 1, N = 3, K = 3, M = 6, SCALES = 2 };     /* images first .. first+n-1 are the part */
enum { C = 2, H = 6, W = 5, D = C * H * W };

#if REF_REAL == 128
#define BOUND 1e-12        /* complex step: rounding alone */
#elif REF_REAL == 64
#define BOUND 1e-6         /* central differences, h = 1e-6: eps/h and h^2 */
#else
#define BOUND 1e-3         /* float: no differences are taken; rounding through K steps and the backward pass */
#endif

typedef struct {
    icd_arena arena;
    icd_arch a;
    real *theta, *state, *X;      /* state: x_{K-m} (N,D) of the part; X (M,D) */
    double *normals;
    icd_chain c;
    icd_losses l;
    int32_t labels[N];
} setup;

static void *zeros(size_t n, size_t size) { return calloc(n, size); }

static void begin(setup *s)
{
    static const char line[] = "full: conv 8 | swish | attn | down 4 | mean | dense 1; half: conv 2 | res 4 | flatten | dense 1";
    icd_model_settings m = { 1, ICD_NORM_GROUP, 2, 1, 0, 1, 2 };
    icd_err err;
    memset(s, 0, sizeof *s);
    CHECK_OK(icd_arch_parse(&s->arena, line, &m, C, H, W, &s->a, &err));
    CHECK_EQ(s->a.n_scales, SCALES);
    s->theta = zeros(s->a.n_values, sizeof(real));
    s->state = zeros(N * D, sizeof(real));
    s->X = zeros(M * D, sizeof(real));
    s->normals = zeros(K * BATCH * D, sizeof(double));
    draw(1, s->a.n_values, s->theta);
    for (size_t i = 0; i < s->a.n_values; i++)
        s->theta[i] *= (real)0.4;
    icd_stream u = { 2, 0, ICD_DRAW_TEST, 0 };
    for (size_t i = 0; i < M * D; i++)
        s->X[i] = (real)icd_uniform(&u, i);
    u.seed = 3;
    for (size_t i = 0; i < K * BATCH * D; i++)
        s->normals[i] = (double)icd_normal(&u, i);
    for (int i = 0; i < N; i++)
        s->labels[i] = i % 2;
    s->c = (icd_chain){ .n = BATCH, .steps = K, .step_size = 0.6, .noise = 0.3, .seed = 11, .iteration = 12,
                        .purpose = ICD_DRAW_TEST, .first_sample = 7 };
    s->l = (icd_losses){ .n = BATCH, .n_neighbours = M, .w_opt = 1, .w_ent = 1, .kl_sign = 1, .kl_batch = KL_BATCH,
                         .backprop_steps = 1 };
}

static void end(setup *s)
{
    free(s->theta);
    free(s->state);
    free(s->X);
    free(s->normals);
    icd_arena_release(&s->arena);
}

static shape images(void) { return (shape){ N, C, H, W }; }

/* E of the part's images (N), per scale (N,SCALES), and grad_x E (N,D): one pass of reverse mode. NULL: not wanted. */
static void energy(const setup *s, const real *theta, const real *x, real *E, real *per_scale, real *gradient)
{
    tape t;
    var p[128], scale[ICD_MAX_SCALES], g;
    tape_init(&t, 0);
    net_leaves(&t, &s->a, theta, p);
    net_prepare(&t, &s->a, p, p);
    var v = tape_leaf(&t, images(), x), e = net_energy(&t, &s->a, p, v, s->labels, scale);
    for (int i = 0; i < N; i++) {
        if (E)
            E[i] = value(&t, e)[i];
        for (int k = 0; k < SCALES && per_scale; k++)
            per_scale[i * SCALES + k] = value(&t, scale[k])[i];
    }
    if (gradient) {
        tape_grad(&t, e, -1, 1, &v, &g);
        memcpy(gradient, value(&t, g), N * D * sizeof(real));
    }
    CHECK(t.status == ICD_OK);
    tape_release(&t);
}

/* n_k of image i of the part, pixel p; k = 1..K. */
static double normal(const setup *s, int k, int i, int p)
{
    if (s->c.normals)
        return s->c.normals[((k - 1) * BATCH + FIRST + i) * D + p];
    icd_stream d = { 11, 12, ICD_DRAW_TEST, (uint32_t)(7 + FIRST + i) };
    return (double)icd_normal(&d, (uint64_t)((k - 1) * D + p));
}

/* x <- x_k, in place. where (N,D): where the gradient was taken; kept (N,D): 0 where the clamp cut. NULL: not wanted. */
static void step(const setup *s, const real *theta, int k, real *x, real *where, double *kept)
{
    real gradient[N * D];
    for (int i = 0; i < N * D && s->c.noise_before; i++)
        x[i] += (real)(s->c.noise * normal(s, k, i / D, i % D));
    if (where)
        memcpy(where, x, N * D * sizeof(real));
    energy(s, theta, x, NULL, NULL, gradient);
    for (int i = 0; i < N * D; i++) {
        x[i] -= (real)s->c.step_size * gradient[i];
        if (!s->c.noise_before)
            x[i] += (real)(s->c.noise * normal(s, k, i / D, i % D));
        int cut = s->c.clamp && !(re(x[i]) >= 0 && re(x[i]) <= 1);
        if (cut)
            x[i] = re(x[i]) < 0 ? 0 : 1;
        if (kept)
            kept[i] = cut ? 0 : 1;
    }
}

/* The nearest of X to image x (D) and the square of the distance. */
static int nearest(const setup *s, const real *x, real *square)
{
    int best = -1;
    for (int j = 0; j < M; j++) {
        real sum = 0;
        for (int p = 0; p < D; p++)
            sum += (x[p] - s->X[j * D + p]) * (x[p] - s->X[j * D + p]);
        if (best < 0 || re(sum) < re(*square)) {
            best = j;
            *square = sum;
        }
    }
    return best;
}

/* The derivative at h = 0 of f(h): sum over side < SIDES of part(side, f(point(side))). */
#if REF_REAL == 128
enum { SIDES = 1 };
static real point(int side) { return side == 0 ? 1e-30 * I : 0; }
static double part(int side, real f) { return side == 0 ? im(f) / 1e-30 : 0; }
#else
enum { SIDES = 2 };
#define DIFFERENCE (REF_REAL == 64 ? 1e-6 : 0x1p-9)
static real point(int side) { return (real)(side ? DIFFERENCE : -DIFFERENCE); }
static double part(int side, real f) { return (side ? re(f) : -re(f)) / (2 * DIFFERENCE); }
#endif

#if REF_REAL != 32
/* kl_sign (w_opt L_opt + w_ent L_ent) of the part, live theta in the steps, frozen theta in the energy at the end. */
static real kl_loss(const setup *s, const real *live, const real *frozen)
{
    real x[N * D], E[N], sum = 0, square;
    memcpy(x, s->state, sizeof x);
    for (int k = K - s->l.backprop_steps + 1; k <= K; k++)
        step(s, live, k, x, NULL, NULL);
    energy(s, frozen, x, E, NULL, NULL);
    for (int i = 0; i < N; i++) {
        nearest(s, x + i * D, &square);
        sum += (real)(s->l.w_opt * (s->l.scale_mean ? 0.5 : 1.0)) * E[i]
               - (real)(s->l.w_ent * 0.5) * real_log(square);
    }
    return (real)(s->l.kl_sign / (double)KL_BATCH) * sum;
}

/* Route (a): d/dh of loss(theta + h v, theta) at h = 0. */
static double along(const setup *s, const real *v)
{
    real *live = zeros(s->a.n_values, sizeof *live);
    double result = 0;
    for (int side = 0; side < SIDES; side++) {
        for (size_t i = 0; i < s->a.n_values; i++)
            live[i] = s->theta[i] + point(side) * v[i];
        result += part(side, kl_loss(s, live, s->theta));
    }
    free(live);
    return result;
}
#endif

/* x_{K-m} of a chain from noise: fills s->state. */
static void run_up(setup *s)
{
    icd_stream u = { 4, 0, ICD_DRAW_TEST, 0 };
    for (size_t i = 0; i < N * D; i++)
        s->state[i] = (real)icd_uniform(&u, i);
    for (int k = 1; k <= K - s->l.backprop_steps; k++)
        step(s, s->theta, k, s->state, NULL, NULL);
}

/* Gradients of kl_part as flat vectors (n_values); those of the other outputs that are wanted. */
static void kl_gradient(const setup *s, double *first, double *second, double *E, double *log_nn, int32_t *index,
                        double *distance)
{
    tape t;
    tape_init(&t, 0);
    var g[2][128], *grad[2] = { g[0], g[1] };
    double *flat[2] = { first, second };
    kl_part(&t, &s->a, s->theta, &s->l, &s->c, FIRST, N, s->state, s->labels, s->X, E, log_nn, index, distance, grad);
    CHECK(t.status == ICD_OK);
    for (int which = 0; which <= s->l.apart; which++)
        for (int i = 0; i < s->a.n_params; i++)
            for (size_t k = 0; k < s->a.param[i].count; k++)
                flat[which][s->a.param[i].offset + k] = at(&t, g[which][i], k);
    tape_release(&t);
}

/* `got` (n_values) along drawn directions against route (a). */
static void check_route_a(const setup *s, const double *got)
{
#if REF_REAL != 32
    real *v = zeros(s->a.n_values, sizeof *v);
    for (uint64_t seed = 20; seed < 22; seed++) {
        draw(seed, s->a.n_values, v);
        double sum = 0, size = 0;
        for (size_t i = 0; i < s->a.n_values; i++) {
            sum += got[i] * re(v[i]);
            size += fabs(got[i] * re(v[i]));
        }
        CHECK(size > 0);
        CHECK_NEAR(sum, along(s, v), BOUND * size);
    }
    free(v);
#else
    (void)s;
    (void)got;
#endif
}

/* grad_theta of E at x along `a`: sum_i <a_i, grad_x E(x_i)> differentiated by theta, forward over reverse. */
static void mixed(const setup *s, const real *x, const double *a, double *out)
{
    memset(out, 0, s->a.n_values * sizeof *out);
    const int sides = REF_REAL == 32 ? 1 : SIDES;
    for (int side = 0; side < sides; side++) {
        tape t;
        var p[128], q[128], g[128], gx;
        real moved[N * D];
        tape_init(&t, 0);
        net_leaves(&t, &s->a, s->theta, p);
        net_prepare(&t, &s->a, p, q);
        for (int i = 0; i < N * D; i++)
            moved[i] = x[i] + (REF_REAL == 32 ? 0 : point(side) * (real)a[i]);
        var v = tape_leaf(&t, images(), moved), y = net_energy(&t, &s->a, q, v, s->labels, NULL);
        if (REF_REAL == 32) {        /* reverse over reverse, a held fixed */
            var fixed = leaf_of(&t, images(), a);
            tape_grad(&t, y, -1, 1, &v, &gx);
            y = tape_mul(&t, gx, fixed);
        }
        tape_grad(&t, y, -1, s->a.n_params, p, g);
        for (int i = 0; i < s->a.n_params; i++)
            for (size_t k = 0; k < s->a.param[i].count; k++)
                out[s->a.param[i].offset + k] += REF_REAL == 32 ? at(&t, g[i], k) : part(side, value(&t, g[i])[k]);
        CHECK(t.status == ICD_OK);
        tape_release(&t);
    }
}

/* Route (b), one step: `got` against -lambda grad_theta <a, grad_x E(x_{K-1})>, number by number. Returns how many pixels
 * the clamp cut. */
static int check_route_b(const setup *s, const double *got)
{
    real x[N * D], where[N * D], gradient[N * D], square = 0;
    double a[N * D], kept[N * D], *want = zeros(s->a.n_values, sizeof *want), size = 0;
    int cut = 0;
    memcpy(x, s->state, sizeof x);
    step(s, s->theta, K, x, where, kept);
    energy(s, s->theta, x, NULL, NULL, gradient);
    for (int i = 0; i < N; i++) {
        int j = nearest(s, x + i * D, &square);
        for (int p = i * D; p < (i + 1) * D; p++) {
            a[p] = s->l.w_opt * (s->l.scale_mean ? 0.5 : 1.0) * re(gradient[p])
                   - s->l.w_ent * (re(x[p]) - re(s->X[j * D + p - i * D])) / re(square);
            a[p] *= kept[p] * s->l.kl_sign / KL_BATCH;
            cut += kept[p] == 0;
        }
    }
    mixed(s, where, a, want);
    for (size_t i = 0; i < s->a.n_values; i++)
        size = fmax(size, s->c.step_size * fabs(want[i]));
    CHECK(size > 0);
    for (size_t i = 0; i < s->a.n_values; i++)
        CHECK_NEAR(got[i], -s->c.step_size * want[i], BOUND * size);
    free(want);
    return cut;
}

static const struct { double w_opt, w_ent; int kl_sign, scale_mean; } weights[] = {
    { 1, 1, 1, 0 }, { 0, 1, 1, 1 }, { 1, 0, -1, 1 }, { 0.75, 0.3, -1, 0 },
};

TEST(kl_gradient_by_both_routes)
{
    setup s;
    begin(&s);
    double *g = zeros(s.a.n_values, sizeof *g);
    for (int m = 1; m <= K; m++)
        for (int mode = 0; mode < 8; mode++)
            for (int w = 0; w < 4; w++) {
                s.c.noise_before = mode & 1;
                s.c.clamp = (mode & 2) != 0;
                s.c.normals = mode & 4 ? s.normals : NULL;
                s.l.backprop_steps = m;
                s.l.w_opt = weights[w].w_opt;
                s.l.w_ent = weights[w].w_ent;
                s.l.kl_sign = weights[w].kl_sign;
                s.l.scale_mean = weights[w].scale_mean;
                run_up(&s);
                kl_gradient(&s, g, NULL, (double[N]){ 0 }, (double[N]){ 0 }, NULL, NULL);
                check_route_a(&s, g);
                if (m == 1) {
                    int cut = check_route_b(&s, g);
                    CHECK(s.c.clamp ? cut > N * D / 20 && cut < N * D * 19 / 20 : cut == 0);    /* really clipped */
                }
            }
    free(g);
    end(&s);
}

TEST(apart_gives_each_loss_unweighted)
{
    setup s;
    begin(&s);
    double *opt = zeros(s.a.n_values, sizeof *opt), *ent = zeros(s.a.n_values, sizeof *ent);
    s.c.clamp = 1;
    s.l.w_opt = 0.3;
    s.l.w_ent = 7;
    s.l.kl_sign = -1;
    s.l.apart = 1;
    for (int m = 1; m <= K; m += K - 1) {
        s.l.backprop_steps = m;
        run_up(&s);
        kl_gradient(&s, opt, ent, (double[N]){ 0 }, (double[N]){ 0 }, NULL, NULL);
        setup one = s;
        one.l.kl_sign = 1;
        one.l.w_opt = 1;
        one.l.w_ent = 0;
        check_route_a(&one, opt);
        if (m == 1)
            check_route_b(&one, opt);
        one.l.w_opt = 0;
        one.l.w_ent = 1;
        check_route_a(&one, ent);
        if (m == 1)
            check_route_b(&one, ent);
    }
    free(opt);
    free(ent);
    end(&s);
}

TEST(kl_values_are_those_at_the_end_of_the_chain)
{
    setup s;
    begin(&s);
    double *g = zeros(s.a.n_values, sizeof *g), E[N], log_nn[N], distance[N];
    int32_t index[N];
    s.l.backprop_steps = 2;
    s.l.scale_mean = 1;       /* the energies of the images stay sums */
    run_up(&s);
    kl_gradient(&s, g, NULL, E, log_nn, index, distance);
    real x[N * D], want[N], square = 0;
    memcpy(x, s.state, sizeof x);
    for (int k = K - 1; k <= K; k++)
        step(&s, s.theta, k, x, NULL, NULL);
    energy(&s, s.theta, x, want, NULL, NULL);
    for (int i = 0; i < N; i++) {
        CHECK_NEAR(E[i], re(want[i]), 1e4 * EPS * fabs(re(want[i])));
        CHECK_EQ(index[i], nearest(&s, x + i * D, &square));
        CHECK_NEAR(distance[i], sqrt(re(square)), 1e4 * EPS * distance[i]);
        CHECK_NEAR(log_nn[i], 0.5 * log(re(square)), 1e4 * EPS);
    }

    /* without neighbours L_ent is 0, and so is its gradient */
    s.l.n_neighbours = 0;
    s.l.w_opt = 0;
    kl_gradient(&s, g, NULL, E, log_nn, NULL, NULL);
    for (size_t i = 0; i < s.a.n_values; i++)
        CHECK_EQ(g[i], 0);
    free(g);
    end(&s);
}

TEST(langevin_step_and_noise_in_both_orders)
{
    setup s;
    begin(&s);
    for (int mode = 0; mode < 8; mode++) {
        s.c.noise_before = mode & 1;
        s.c.clamp = (mode & 2) != 0;
        s.c.normals = mode & 4 ? s.normals : NULL;
        s.l.backprop_steps = K;
        run_up(&s);
        real x[N * D], where[N * D], gradient[N * D];
        memcpy(x, s.state, sizeof x);
        for (int k = 1; k <= K; k++) {
            tape t;
            var p[128], g;
            tape_init(&t, 0);
            net_leaves(&t, &s.a, s.theta, p);
            net_prepare(&t, &s.a, p, p);
            var before = tape_leaf(&t, images(), x), noise = chain_noise(&t, &s.a, &s.c, k, FIRST, N);
            var after = langevin_step(&t, &s.a, p, before, s.labels, &s.c, noise, &g);
            step(&s, s.theta, k, x, where, NULL);
            energy(&s, s.theta, where, NULL, NULL, gradient);
            for (int i = 0; i < N * D; i++) {
                CHECK_NEAR(at(&t, noise, (size_t)i), 0.3 * normal(&s, k, i / D, i % D), 2 * EPS);
                CHECK_NEAR(at(&t, after, (size_t)i), re(x[i]), 1e3 * EPS);
                CHECK_NEAR(at(&t, g, (size_t)i), re(gradient[i]), 1e3 * EPS);
            }
            tape_release(&t);
        }
    }
    end(&s);
}

/* sign/N sum E + energy_l2/N sum E^2 of the part, x held fixed. */
static real contrastive_loss(const setup *s, const real *theta, double sign, const real *x)
{
    real E[N], per_scale[N * SCALES], sum = 0;
    energy(s, theta, x, E, per_scale, NULL);
    for (int i = 0; i < N; i++) {
        real e0 = per_scale[i * SCALES], e1 = per_scale[i * SCALES + 1];
        real loss = s->l.scale_mean ? (e0 + e1) / (real)2 : E[i];
        real square = s->l.scale_mean ? (e0 * e0 + e1 * e1) / (real)2 : E[i] * E[i];
        sum += (real)sign * loss + (real)(s->l.apart ? 0 : s->l.energy_l2) * square;
    }
    return sum / (real)BATCH;
}

static void contrastive_gradient(const setup *s, double sign, const real *x, double *flat, double *E, double *square)
{
    tape t;
    var g[128];
    tape_init(&t, 0);
    contrastive_part(&t, &s->a, s->theta, &s->l, sign, N, x, s->labels, E, square, g);
    CHECK(t.status == ICD_OK);
    for (int i = 0; i < s->a.n_params; i++)
        for (size_t k = 0; k < s->a.param[i].count; k++)
            flat[s->a.param[i].offset + k] = at(&t, g[i], k);
    tape_release(&t);
}

/* d/dh of the contrastive loss at theta + h v; with moving, x = x_K is made again from theta + h v. */
static double contrastive_along(const setup *s, double sign, const real *x, const real *v, int moving)
{
    real *theta = zeros(s->a.n_values, sizeof *theta), y[N * D];
    double result = 0;
    for (int side = 0; side < SIDES; side++) {
        for (size_t i = 0; i < s->a.n_values; i++)
            theta[i] = s->theta[i] + point(side) * v[i];
        memcpy(y, moving ? s->state : x, sizeof y);
        if (moving)
            step(s, theta, K, y, NULL, NULL);
        result += part(side, contrastive_loss(s, theta, sign, y));
    }
    free(theta);
    return result;
}

TEST(contrastive_gradient_stops_at_the_chain)
{
    setup s;
    begin(&s);
    double *g = zeros(s.a.n_values, sizeof *g);
    real *v = zeros(s.a.n_values, sizeof *v), x[N * D], per_scale[N * SCALES], energies[N];
    draw(30, s.a.n_values, v);
    run_up(&s);
    memcpy(x, s.state, sizeof x);
    step(&s, s.theta, K, x, NULL, NULL);
    energy(&s, s.theta, x, energies, per_scale, NULL);
    const double bound = REF_REAL == 32 ? 2e-2 : BOUND;       /* float: differences of step 1/512, eps/h = 6e-5 */
    for (int mode = 0; mode < 16; mode++) {
        double sign = mode & 1 ? -1 : 1, sum = 0, size = 0, E[N], square[N];
        s.l.scale_mean = (mode & 2) != 0;
        s.l.energy_l2 = mode & 4 ? 0.7 : 0;
        s.l.apart = (mode & 8) != 0;
        contrastive_gradient(&s, sign, x, g, E, square);
        for (size_t i = 0; i < s.a.n_values; i++) {
            sum += g[i] * re(v[i]);
            size += fabs(g[i] * re(v[i]));
        }
        CHECK_NEAR(sum, contrastive_along(&s, sign, x, v, 0), bound * size);
        /* and it is not the derivative with the chain in it */
        CHECK(fabs(sum - contrastive_along(&s, sign, x, v, 1)) > 10 * bound * size || REF_REAL == 32);
        for (int i = 0; i < N; i++) {
            double e0 = re(per_scale[i * SCALES]), e1 = re(per_scale[i * SCALES + 1]);
            double want = s.l.scale_mean ? (e0 * e0 + e1 * e1) / 2 : (e0 + e1) * (e0 + e1);
            CHECK_NEAR(E[i], re(energies[i]), 1e3 * EPS * fabs(E[i]));
            CHECK_NEAR(E[i], e0 + e1, 8 * EPS * (fabs(e0) + fabs(e1)));
            CHECK_NEAR(square[i], want, 1e3 * EPS * (e0 * e0 + e1 * e1));
        }
    }
    free(g);
    free(v);
    end(&s);
}

TEST_MAIN("ref step", T(kl_gradient_by_both_routes), T(apart_gives_each_loss_unweighted),
          T(kl_values_are_those_at_the_end_of_the_chain), T(langevin_step_and_noise_in_both_orders),
          T(contrastive_gradient_stops_at_the_chain))
