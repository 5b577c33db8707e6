/* test_ref_engine.c (float, double): the engine contract of common/engine.h, of which the complex build has none. */
#include "ref_test.h"

#if REF_REAL == 128

int main(void)
{
    printf("no engine in complex numbers\n");
    return 77;
}

#else

#include <stdlib.h>

#include "ref/engine_ref.h"
#include "ref/step.h"

#if REF_REAL == 32
#define OPEN icd_engine_ref_open
#else
#define OPEN icd_engine_ref64_open
#endif

/* Two scales, attention, classes, standardised weights. The part is 8 images, so a batch of 19 is three parts. */
static const char line[] = "full: conv 8 | swish | attn | down 4 | mean | dense 1; half: conv 2 | res 4 | flatten | dense 1";
static const icd_model_settings settings = { 1, ICD_NORM_GROUP, 2, 1, 0, 1, 3 };
enum { N = 19, C = 4, H = 8, W = 9, D = C * H * W, STEPS = 3, X = 6, SCALES = 2 };
enum { PLENTY = 64 << 20 };

typedef struct {
    icd_arena arena;
    icd_arch a;
    double *theta;
    float x0[N * D], positives[N * D], neighbours[X * D];
    double normals[STEPS * N * D];
    int32_t labels[N], positive_labels[N];
} inputs;

/* One set of inputs for all tests: too big for a stack. */
static inputs *begin(void)
{
    inputs *s = calloc(1, sizeof *s);
    icd_err err;
    CHECK_OK(icd_arch_parse(&s->arena, line, &settings, C, H, W, &s->a, &err));
    s->theta = calloc(s->a.n_values, sizeof *s->theta);
    icd_stream d = { 1, 0, ICD_DRAW_TEST, 0 };
    for (size_t i = 0; i < s->a.n_values; i++)
        s->theta[i] = 0.4 * (double)icd_normal(&d, i);
    d.seed = 2;
    icd_uniforms(&d, 0, N * D, s->x0);
    d.seed = 3;
    icd_uniforms(&d, 0, N * D, s->positives);
    d.seed = 4;
    icd_uniforms(&d, 0, X * D, s->neighbours);
    d.seed = 5;
    for (size_t i = 0; i < STEPS * N * D; i++)
        s->normals[i] = (double)icd_normal(&d, i);
    for (int i = 0; i < N; i++) {
        s->labels[i] = i % 3;
        s->positive_labels[i] = (i / 2) % 3;
    }
    return s;
}

static void end(inputs *s)
{
    icd_arena_release(&s->arena);
    free(s->theta);
    free(s);
}

static icd_engine *open_engine(const inputs *s, int threads, size_t memory)
{
    icd_engine *e = NULL;
    icd_err err;
    CHECK_OK(OPEN(&e, &s->a, &(icd_engine_options){ threads, memory }, &err));
    CHECK_OK(e->import(e, ICD_PARAMETERS, s->theta, &err));
    CHECK_OK(e->import(e, ICD_EMA, s->theta, &err));
    return e;
}

static icd_chain chain_of(const inputs *s)
{
    return (icd_chain){ .n = N, .x0 = s->x0, .labels = s->labels, .steps = STEPS, .step_size = 0.4, .noise = 0.1, .clamp = 1,
                        .seed = 6, .iteration = 7, .purpose = ICD_DRAW_LANGEVIN, .keep = 2 };
}

static icd_losses losses_of(const inputs *s)
{
    return (icd_losses){ .n = N, .positives = s->positives, .positive_labels = s->positive_labels, .n_neighbours = X,
                         .neighbours = s->neighbours, .w_opt = 1, .w_ent = 0.3, .energy_l2 = 0.5, .kl_sign = 1,
                         .backprop_steps = 2 };
}

static const icd_update update_of = { 1, 0.01, 0.5, 0.9, 1e-8, 0.5, 0.9 };

/* Everything that one iteration gives. */
typedef struct {
    float x[N * D];
    icd_chain_stats chain;
    icd_loss_stats loss;
    double ep[N], en[N], distance[N], *vector[ICD_VECTORS];
    int32_t index[N];
} result;

static result *iterate(const inputs *s, int threads, size_t memory, const icd_chain *c, const icd_losses *given)
{
    icd_err err;
    icd_engine *e = open_engine(s, threads, memory);
    result *r = calloc(1, sizeof *r);
    icd_losses l = *given;
    l.energy_positive = r->ep;
    l.energy_negative = r->en;
    l.nn_index = r->index;
    l.nn_distance = r->distance;
    CHECK_OK(e->chain(e, c, r->x, &r->chain, &err));
    CHECK_OK(e->gradients(e, &l, &r->loss, &err));
    CHECK_OK(e->update(e, &update_of, &err));
    for (int v = 0; v < ICD_VECTORS; v++) {
        r->vector[v] = calloc(s->a.n_values, sizeof(double));
        CHECK_OK(e->export(e, (icd_vector)v, r->vector[v], &err));
    }
    e->close(e);
    return r;
}

static void free_result(result *r)
{
    for (int v = 0; v < ICD_VECTORS; v++)
        free(r->vector[v]);
    free(r);
}

/* The largest difference of vector v, in units of its largest number. */
static double apart(const inputs *s, const result *a, const result *b, int v)
{
    double most = 0, size = 0;
    for (size_t i = 0; i < s->a.n_values; i++) {
        double difference = fabs(a->vector[v][i] - b->vector[v][i]);
        most = difference <= most ? most : difference;        /* NaN stays */
        size = fmax(size, fabs(a->vector[v][i]));
    }
    return size > 0 ? most / size : most;
}

TEST(any_number_of_threads_gives_the_same_bits)
{
    inputs *s = begin();
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    for (l.apart = 0; l.apart <= 1; l.apart++) {
        result *one = iterate(s, 1, PLENTY, &c, &l);
        CHECK(one->chain.finite && one->loss.finite);
        for (int threads = 2; threads <= 3; threads++) {
            result *r = iterate(s, threads, PLENTY, &c, &l);
            CHECK(memcmp(r->x, one->x, sizeof r->x) == 0);
            CHECK(memcmp(&r->chain, &one->chain, sizeof r->chain) == 0);
            CHECK_EQ(r->loss.grad_cd, one->loss.grad_cd);
            CHECK_EQ(r->loss.grad_kl, one->loss.grad_kl);
            CHECK_EQ(r->loss.loss_ent, one->loss.loss_ent);
            CHECK(memcmp(r->ep, one->ep, sizeof r->ep) == 0 && memcmp(r->en, one->en, sizeof r->en) == 0);
            CHECK(memcmp(r->index, one->index, sizeof r->index) == 0);
            for (int v = 0; v < ICD_VECTORS; v++)
                CHECK(memcmp(r->vector[v], one->vector[v], s->a.n_values * sizeof(double)) == 0);
            free_result(r);
        }
        free_result(one);
    }
    end(s);
}

/* The largest memory with which the parts are of `part` images. */
static size_t memory_for_part(const inputs *s, int part)
{
    icd_err err;
    icd_memory m;
    const icd_work work = { N, 2, N, X, 0, 2 };
    for (size_t memory = 1 << 24; memory > 1 << 12; memory -= memory / 16) {
        icd_engine *e = open_engine(s, 1, memory);
        icd_status status = e->memory(e, &work, &m, &err);
        e->close(e);
        if (status != ICD_OK)
            break;
        if (m.part <= part)
            return memory;
    }
    const int found = 0;
    CHECK(found);
    return PLENTY;
}

TEST(smaller_parts_give_the_same_within_rounding)
{
    inputs *s = begin();
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    result *whole = iterate(s, 1, PLENTY, &c, &l);
    CHECK(memory_for_part(s, 1) < memory_for_part(s, 2) && memory_for_part(s, 2) < PLENTY);
    for (int part = 1; part <= 2; part++) {
        result *r = iterate(s, 2, memory_for_part(s, part), &c, &l);
        CHECK(memcmp(r->x, whole->x, sizeof r->x) == 0);        /* an image does not see the others of its part */
        CHECK(memcmp(r->en, whole->en, sizeof r->en) == 0);
        CHECK(memcmp(r->index, whole->index, sizeof r->index) == 0);
        /* sums over 38 images in another order */
        CHECK_NEAR(apart(s, whole, r, ICD_GRAD_CD), 0, 256 * EPS);
        CHECK_NEAR(apart(s, whole, r, ICD_GRAD_KL), 0, 256 * EPS);
        CHECK(apart(s, whole, r, ICD_GRAD_KL) > 0);             /* so the parts did differ */
        free_result(r);
    }
    free_result(whole);
    end(s);
}

TEST(the_order_of_the_batch_does_not_show)
{
    inputs *s = begin(), *p = begin();
    icd_chain c = chain_of(s), d = chain_of(p);
    icd_losses l = losses_of(s), k = losses_of(p);
    c.normals = s->normals;
    d.normals = p->normals;
    for (int i = 0; i < N; i++) {                               /* p's image i is s's image 7 i mod 19 */
        int from = 7 * i % N;
        memcpy(p->x0 + i * D, s->x0 + from * D, D * sizeof(float));
        memcpy(p->positives + i * D, s->positives + from * D, D * sizeof(float));
        p->labels[i] = s->labels[from];
        p->positive_labels[i] = s->positive_labels[from];
        for (int j = 0; j < STEPS; j++)
            memcpy(p->normals + (j * N + i) * D, s->normals + (j * N + from) * D, D * sizeof(double));
    }
    result *a = iterate(s, 1, PLENTY, &c, &l), *b = iterate(p, 1, PLENTY, &d, &k);
    for (int i = 0; i < N; i++) {
        int from = 7 * i % N;
        CHECK(memcmp(b->x + i * D, a->x + from * D, D * sizeof(float)) == 0);
        CHECK_EQ(b->en[i], a->en[from]);
        CHECK_EQ(b->ep[i], a->ep[from]);
        CHECK_EQ(b->index[i], a->index[from]);
        CHECK_EQ(b->distance[i], a->distance[from]);
    }
    CHECK_NEAR(apart(s, a, b, ICD_GRAD_CD), 0, 256 * EPS);
    CHECK_NEAR(apart(s, a, b, ICD_GRAD_KL), 0, 256 * EPS);
    CHECK_NEAR(a->loss.loss_ent, b->loss.loss_ent, 64 * EPS * fabs(a->loss.loss_ent));
    free_result(a);
    free_result(b);
    end(s);
    end(p);
}

TEST(energies_gradients_and_labels)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 2, PLENTY);
    static double E[N], per[N * SCALES], one[1];
    static float g[N * D], one_g[D];
    CHECK_OK(e->energy(e, 0, N, s->x0, s->labels, E, per, g, &err));
    for (int i = 0; i < N; i++) {
        CHECK_NEAR(per[i * SCALES] + per[i * SCALES + 1], E[i], 4 * EPS * (fabs(per[i * SCALES]) + fabs(per[i * SCALES + 1])));
        CHECK_OK(e->energy(e, 0, 1, s->x0 + i * D, s->labels + i, one, NULL, one_g, &err));
        CHECK_EQ(E[i], one[0]);
        CHECK(memcmp(one_g, g + i * D, sizeof one_g) == 0);
        int32_t other = (s->labels[i] + 1) % 3;
        CHECK_OK(e->energy(e, 0, 1, s->x0 + i * D, &other, one, NULL, NULL, &err));
        CHECK(fabs(E[i] - one[0]) > 1e-4);
    }
    /* the gradient along a drawn direction, by central differences: h = 1/512 of pixels that are floats */
    float *x = calloc(2 * D, sizeof *x);
    double along = 0, ends[2];
    icd_stream d = { 8, 0, ICD_DRAW_TEST, 0 };
    for (int k = 0; k < D; k++) {
        float v = icd_normal(&d, (uint64_t)k) * 0x1p-9f;
        x[k] = s->x0[k] - v;
        x[D + k] = s->x0[k] + v;
        along += (double)g[k] * ((double)x[D + k] - (double)x[k]);
    }
    CHECK_OK(e->energy(e, 0, 2, x, (int32_t[2]){ s->labels[0], s->labels[0] }, ends, NULL, NULL, &err));
    CHECK_NEAR(along, ends[1] - ends[0], 1e-2 * fabs(along));
    free(x);
    e->close(e);
    end(s);
}

TEST(the_ema_has_parameters_of_its_own)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 1, PLENTY);
    double *other = calloc(s->a.n_values, sizeof *other), *back = calloc(s->a.n_values, sizeof *back);
    static double E[N], with_ema[N], as_parameters[N];
    static float x[N * D], x_ema[N * D], x_other[N * D];
    icd_chain_stats stats;
    for (size_t i = 0; i < s->a.n_values; i++)
        other[i] = 0.75 * s->theta[i];
    CHECK_OK(e->energy(e, 0, N, s->x0, s->labels, E, NULL, NULL, &err));
    CHECK_OK(e->import(e, ICD_EMA, other, &err));
    CHECK_OK(e->energy(e, 1, N, s->x0, s->labels, with_ema, NULL, NULL, &err));
    CHECK_OK(e->energy(e, 0, N, s->x0, s->labels, as_parameters, NULL, NULL, &err));
    CHECK(memcmp(E, as_parameters, sizeof E) == 0);
    icd_chain c = chain_of(s);
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    c.use_ema = 1;
    CHECK_OK(e->chain(e, &c, x_ema, &stats, &err));
    c.use_ema = 0;
    CHECK_OK(e->import(e, ICD_PARAMETERS, other, &err));
    CHECK_OK(e->energy(e, 0, N, s->x0, s->labels, as_parameters, NULL, NULL, &err));
    CHECK_OK(e->chain(e, &c, x_other, &stats, &err));
    CHECK(memcmp(with_ema, as_parameters, sizeof E) == 0 && memcmp(with_ema, E, sizeof E) != 0);
    CHECK(memcmp(x_ema, x_other, sizeof x) == 0 && memcmp(x_ema, x, sizeof x) != 0);
    CHECK_OK(e->export(e, ICD_EMA, back, &err));
    for (size_t i = 0; i < s->a.n_values; i++)
        CHECK_EQ(back[i], REF_REAL == 32 ? (double)(float)other[i] : other[i]);
    free(other);
    free(back);
    e->close(e);
    end(s);
}

TEST(the_trajectory_and_what_was_not_kept)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 2, PLENTY);
    static float x[N * D], step[N * D];
    static double state[N * D], next[N * D], E[N];
    static float g[N * D];
    icd_chain c = chain_of(s);
    icd_chain_stats stats;
    c.keep = STEPS;
    c.normals = s->normals;
    CHECK(e->trajectory(e, 0, state, &err) == ICD_EINVAL);        /* no chain yet */
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    CHECK_OK(e->trajectory(e, 0, state, &err));
    for (int i = 0; i < N * D; i++)
        CHECK_EQ(state[i], s->x0[i]);
    double r = 0;
    int clipped = 0;
    for (int k = 1; k <= STEPS; k++) {        /* x_k = clamp(x_{k-1} - 0.4 grad E(x_{k-1}) + 0.1 n_k), through energy() */
        CHECK_OK(e->trajectory(e, k, next, &err));
        for (int i = 0; i < N * D; i++)
            step[i] = (float)state[i];
        CHECK_OK(e->energy(e, 0, N, step, s->labels, E, NULL, g, &err));
        for (int i = 0; i < N; i++) {
            double square = 0;
            for (int p = i * D; p < (i + 1) * D; p++) {
                double want = state[p] - 0.4 * (double)g[p] + 0.1 * s->normals[(k - 1) * N * D + p];
                clipped += want < 0 || want > 1;
                CHECK_NEAR(next[p], want < 0 ? 0 : want > 1 ? 1 : want, 64 * 0x1p-23);      /* energy() works in float images */
                square += (double)g[p] * (double)g[p];
            }
            r += 0.4 * sqrt(square) / (N * STEPS);
        }
        memcpy(state, next, sizeof state);
    }
    CHECK(clipped > 0);
    CHECK_NEAR(stats.langevin_gradient, r, 64 * 0x1p-23 * r);
    CHECK_EQ(stats.finite, 1);
    for (int i = 0; i < N * D; i++)
        CHECK_EQ((float)state[i], x[i]);
    CHECK(e->trajectory(e, STEPS + 1, state, &err) == ICD_EINVAL);
    CHECK(e->trajectory(e, -1, state, &err) == ICD_EINVAL);

    c.keep = 1;
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    CHECK_OK(e->trajectory(e, STEPS - 1, state, &err));
    CHECK(e->trajectory(e, STEPS - 2, state, &err) == ICD_EINVAL);
    CHECK_SAYS(err.text, "state 1 of the chain was not kept (2..3 were)");
    icd_losses l = losses_of(s);
    icd_loss_stats loss;
    CHECK(e->gradients(e, &l, &loss, &err) == ICD_EINVAL);        /* two steps back, and one was kept */
    CHECK_SAYS(err.text, "through 2 steps, but the chain kept 1");
    l.backprop_steps = 1;
    l.n = N - 1;
    CHECK(e->gradients(e, &l, &loss, &err) == ICD_EINVAL);
    l.n = N;
    CHECK_OK(e->gradients(e, &l, &loss, &err));

    c.steps = c.keep = 0;                                          /* no step at all: x0 comes back */
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    CHECK(memcmp(x, s->x0, sizeof x) == 0);
    CHECK_EQ(stats.langevin_gradient, 0);
    e->close(e);
    end(s);
}

TEST(chains_that_leave_the_finite_numbers_are_told)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 1, PLENTY);
    static float x[N * D];
    icd_chain c = chain_of(s);
    icd_chain_stats stats;
    icd_loss_stats loss;
    s->x0[3 * D + 5] = NAN;
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    CHECK_EQ(stats.finite, 0);
    for (int i = 0; i < D; i++)
        CHECK(isfinite(x[2 * D + i]));          /* the other chains live on */
    icd_losses l = losses_of(s);
    CHECK_OK(e->gradients(e, &l, &loss, &err));
    CHECK_EQ(loss.finite, 0);
    s->x0[3 * D + 5] = 0;
    CHECK_OK(e->chain(e, &c, x, &stats, &err));
    CHECK_EQ(stats.finite, 1);
    s->positives[0] = INFINITY;
    CHECK_OK(e->gradients(e, &l, &loss, &err));
    CHECK_EQ(loss.finite, 0);
    e->close(e);
    end(s);
}

TEST(losses_are_the_means_of_what_they_say)
{
    inputs *s = begin();
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    for (int mode = 0; mode < 4; mode++) {
        l.scale_mean = mode & 1;
        l.kl_batch = mode & 2 ? 10 : 0;          /* 10: over the first ten; two parts */
        int n = l.kl_batch ? l.kl_batch : N;
        result *r = iterate(s, 1, PLENTY, &c, &l);
        double share = l.scale_mean ? 0.5 : 1, ep = 0, en = 0, opt = 0, ent = 0;
        for (int i = 0; i < N; i++) {
            ep += r->ep[i] / N;
            en += r->en[i] / N;
            opt += i < n ? share * r->en[i] / n : 0;
            ent -= i < n ? log(r->distance[i]) / n : 0;
        }
        CHECK_NEAR(r->loss.energy_positive, ep, 64 * EPS * fabs(ep));
        CHECK_NEAR(r->loss.energy_negative, en, 64 * EPS * fabs(en));
        CHECK_NEAR(r->loss.loss_cd, share * (ep - en), 64 * EPS * (fabs(ep) + fabs(en)));
        CHECK_NEAR(r->loss.loss_opt, opt, 1e3 * EPS * fabs(en));      /* chain()'s and kl_part()'s last steps round alike, nearly */
        CHECK_NEAR(r->loss.loss_ent, ent, 1e3 * EPS * fabs(ent));
        for (int v = ICD_GRAD_CD; v <= ICD_GRAD_KL; v++) {
            double square = 0;
            for (size_t i = 0; i < s->a.n_values; i++)
                square += r->vector[v][i] * r->vector[v][i];
            double norm = v == ICD_GRAD_CD ? r->loss.grad_cd : r->loss.grad_kl;
            CHECK(norm > 0);
            CHECK_NEAR(norm, sqrt(square), 64 * EPS * norm);
        }
        if (!l.scale_mean) {
            double square = 0;
            for (int i = 0; i < N; i++)
                square += (r->ep[i] * r->ep[i] + r->en[i] * r->en[i]) / N;
            CHECK_NEAR(r->loss.loss_l2, square, 64 * EPS * square);
        }
        free_result(r);
    }
    end(s);
}

/* g = w_opt g_opt + w_ent g_ent with the sign; and L_CD's without the l2 term is linear in nothing else. */
TEST(the_parts_of_a_gradient_add_up)
{
    inputs *s = begin();
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    l.kl_sign = -1;
    l.kl_batch = 10;
    l.energy_l2 = 0;
    result *whole = iterate(s, 1, PLENTY, &c, &l);
    l.apart = 1;
    l.energy_l2 = 0.5;        /* left out of ICD_GRAD_CD when apart */
    result *each = iterate(s, 1, PLENTY, &c, &l);
    double size = 0;
    for (size_t i = 0; i < s->a.n_values; i++)
        size = fmax(size, fabs(whole->vector[ICD_GRAD_KL][i]));
    for (size_t i = 0; i < s->a.n_values; i++) {
        CHECK_NEAR(whole->vector[ICD_GRAD_KL][i], -each->vector[ICD_GRAD_OPT][i] - 0.3 * each->vector[ICD_GRAD_ENT][i],
                   1e3 * EPS * size);
        CHECK_EQ(each->vector[ICD_GRAD_KL][i], 0);
    }
    CHECK_NEAR(apart(s, whole, each, ICD_GRAD_CD), 0, 0);
    free_result(whole);
    free_result(each);

    /* weights of 0: nothing is differentiated, and the gradient is 0 */
    l = losses_of(s);
    l.w_opt = l.w_ent = 0;
    result *none = iterate(s, 1, PLENTY, &c, &l);
    CHECK_EQ(none->loss.grad_kl, 0);
    CHECK_EQ(none->loss.loss_ent, 0);
    CHECK(none->loss.grad_cd > 0);
    free_result(none);
    end(s);
}

/* Flat gradient += that of the vars. */
static void add_flat(const inputs *s, const tape *t, const var *g, double *flat)
{
    for (int i = 0; i < s->a.n_params; i++)
        for (size_t k = 0; k < s->a.param[i].count; k++)
            flat[s->a.param[i].offset + k] += at(t, g[i], k);
}

/* The engine's bookkeeping: parts, states and labels, against the graphs of step.h on the whole batch at once. */
TEST(gradients_are_those_of_the_graphs_on_the_whole_batch)
{
    inputs *s = begin();
    icd_err err;
    icd_chain_stats chain;
    icd_loss_stats loss;
    real *theta = calloc(s->a.n_values, sizeof *theta), *images = calloc((2 * N + X) * D, sizeof *images);
    double *state = calloc(N * D, sizeof *state), *want = calloc(s->a.n_values, sizeof *want);
    double *got = calloc(s->a.n_values, sizeof *got), E[N], square[N], log_nn[N], distance[N];
    static float x[N * D];
    int32_t index[N];
    for (size_t i = 0; i < s->a.n_values; i++)
        theta[i] = (real)s->theta[i];
    for (int m = 1; m <= STEPS; m++) {
        icd_engine *e = open_engine(s, 2, PLENTY);
        icd_chain c = chain_of(s);
        icd_losses l = losses_of(s);
        c.keep = STEPS;
        l.backprop_steps = m;
        l.kl_batch = 11;
        CHECK_OK(e->chain(e, &c, x, &chain, &err));
        CHECK_OK(e->gradients(e, &l, &loss, &err));
        for (int which = ICD_GRAD_CD; which <= ICD_GRAD_KL; which++) {
            memset(want, 0, s->a.n_values * sizeof *want);
            var g[128], *grad[2] = { g, NULL };
            tape t;
            tape_init(&t, 0);
            if (which == ICD_GRAD_CD) {
                CHECK_OK(e->trajectory(e, STEPS, state, &err));
                for (int i = 0; i < N * D; i++) {
                    images[i] = (real)s->positives[i];
                    images[N * D + i] = (real)state[i];
                }
                contrastive_part(&t, &s->a, theta, &l, 1, N, images, s->positive_labels, E, square, g);
                add_flat(s, &t, g, want);
                contrastive_part(&t, &s->a, theta, &l, -1, N, images + N * D, s->labels, E, square, g);
                add_flat(s, &t, g, want);
            } else {
                CHECK_OK(e->trajectory(e, STEPS - m, state, &err));
                for (int i = 0; i < N * D; i++)
                    images[i] = (real)state[i];
                for (int i = 0; i < X * D; i++)
                    images[N * D + i] = (real)s->neighbours[i];
                kl_part(&t, &s->a, theta, &l, &c, 0, l.kl_batch, images, s->labels, images + N * D, E, log_nn, index, distance,
                        grad);
                add_flat(s, &t, g, want);
            }
            CHECK(t.status == ICD_OK);
            tape_release(&t);
            CHECK_OK(e->export(e, (icd_vector)which, got, &err));
            double size = 0;
            for (size_t i = 0; i < s->a.n_values; i++)
                size = fmax(size, fabs(want[i]));
            CHECK(size > 0);
            for (size_t i = 0; i < s->a.n_values; i++)
                CHECK_NEAR(got[i], want[i], 1e3 * EPS * size);
        }
        e->close(e);
    }
    free(theta);
    free(images);
    free(state);
    free(want);
    free(got);
    end(s);
}

/* Noise of chain i, step k, pixel p: the draw (seed, iteration, purpose, first_sample + i, (k-1) D + p); and batches that start
 * at different samples fit together. */
TEST(draws_belong_to_samples_steps_and_pixels)
{
    inputs *s = begin();
    icd_err err;
    icd_chain_stats stats;
    static float x[N * D], given[N * D], rest[N * D];
    icd_engine *e = open_engine(s, 2, PLENTY);
    icd_chain c = chain_of(s);
    c.first_sample = 100;
    for (int k = 0; k < STEPS; k++)
        for (int i = 0; i < N; i++) {
            icd_stream d = { 6, 7, ICD_DRAW_LANGEVIN, (uint32_t)(100 + i) };
            for (int p = 0; p < D; p++)
                s->normals[(k * N + i) * D + p] = (double)icd_normal(&d, (uint64_t)(k * D + p));
        }
    for (c.noise_before = 0; c.noise_before <= 1; c.noise_before++) {
        c.normals = NULL;
        CHECK_OK(e->chain(e, &c, x, &stats, &err));
        c.normals = s->normals;
        CHECK_OK(e->chain(e, &c, given, &stats, &err));
        CHECK(memcmp(x, given, sizeof x) == 0);
    }
    c.noise_before = 1;
    c.normals = NULL;
    c.n = N - 4;
    c.x0 = s->x0 + 4 * D;
    c.labels = s->labels + 4;
    c.first_sample = 104;
    CHECK_OK(e->chain(e, &c, rest, &stats, &err));
    CHECK(memcmp(rest, x + 4 * D, (N - 4) * D * sizeof(float)) == 0);
    e->close(e);
    end(s);
}

TEST(too_little_memory_is_refused_in_one_line)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 1, 10000);
    double E[1];
    static float x[N * D];
    icd_chain c = chain_of(s);
    icd_chain_stats stats;
    icd_memory m;
    CHECK(e->energy(e, 0, 1, s->x0, s->labels, E, NULL, NULL, &err) == ICD_ENOMEM);
    CHECK_SAYS(err.text, "one image needs 1 MiB of work memory, and the setting `memory` allows 0");
    CHECK(e->chain(e, &c, x, &stats, &err) == ICD_ENOMEM);
    CHECK(e->memory(e, &(icd_work){ N, 1, 0, X, 0, 1 }, &m, &err) == ICD_ENOMEM);
    e->close(e);
    end(s);
}

TEST(memory_told_is_memory_taken)
{
    inputs *s = begin();
    icd_err err;
    icd_memory m;
    const icd_work work = { N, 2, N, X, 0, 2 };
    size_t before = icd_alloc_live(), peak = icd_alloc_peak();
    if (peak > before + 1024)
        before = peak;            /* earlier tests peaked higher: then only the upper bound below can be seen */
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    icd_engine *e = open_engine(s, 1, PLENTY);
    CHECK_OK(e->memory(e, &work, &m, &err));
    CHECK_EQ(m.part, 8);
    CHECK_EQ(m.parameters, s->a.n_values * sizeof(real) * 7);        /* theta, EMA, m, v, two gradients, prepared */
    e->close(e);
    free_result(iterate(s, 1, PLENTY, &c, &l));
    CHECK(icd_alloc_peak() <= before + m.parameters * 2 + m.work + (1 << 18));
    end(s);
}

/* ---- Adam, clipping and the EMA, by hand ---- */

static icd_engine *four_numbers(icd_arena *arena, icd_arch *a)
{
    const icd_model_settings plain = { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 };
    icd_engine *e = NULL;
    icd_err err;
    CHECK_OK(icd_arch_parse(arena, "conv 1 1 1 0 | mean | dense 1", &plain, 1, 2, 2, a, &err));
    CHECK_EQ(a->n_values, 4);
    CHECK_OK(OPEN(&e, a, &(icd_engine_options){ 1, PLENTY }, &err));
    return e;
}

static void check_vector(icd_engine *e, icd_vector v, double a, double b, double c, double d)
{
    icd_err err;
    double got[4], want[4] = { a, b, c, d };
    CHECK_OK(e->export(e, v, got, &err));
    for (int i = 0; i < 4; i++)
        CHECK_NEAR(got[i], want[i], 4 * EPS * fmax(1, fabs(want[i])));
}

TEST(two_updates_worked_out_by_hand)
{
    icd_arena arena = { 0 };
    icd_arch a;
    icd_err err;
    icd_engine *e = four_numbers(&arena, &a);
    const double theta[4] = { 1, 2, 3, 4 }, ema[4] = { 0, 0, 3, -4 };
    CHECK_OK(e->import(e, ICD_PARAMETERS, theta, &err));
    CHECK_OK(e->import(e, ICD_EMA, ema, &err));

    /* g = (3, 4, 0, 0) of norm 5, clipped to 1/2: (0.3, 0.4, 0, 0).
     * m = g/2; v = g^2/4; over 1 - beta: g and g^2; theta -= 0.1 g/(|g| + 0.1): 0.1*0.3/0.4 and 0.1*0.4/0.5.
     * EMA <- 0.75 EMA + 0.25 theta. */
    CHECK_OK(e->import(e, ICD_GRAD_CD, (double[]){ 2, 4, -1, 0 }, &err));
    CHECK_OK(e->import(e, ICD_GRAD_KL, (double[]){ 1, 0, 1, 0 }, &err));
    icd_update u = { 1, 0.1, 0.5, 0.75, 0.1, 0.5, 0.75 };
    CHECK_OK(e->update(e, &u, &err));
    check_vector(e, ICD_ADAM_M, 0.15, 0.2, 0, 0);
    check_vector(e, ICD_ADAM_V, 0.0225, 0.04, 0, 0);
    check_vector(e, ICD_PARAMETERS, 0.925, 1.92, 3, 4);
    check_vector(e, ICD_EMA, 0.23125, 0.48, 3, -2);

    /* g = (0, -0.3, 0.4, 0) of norm 1/2: under 3/4, not clipped.
     * m = (0.075, -0.05, 0.2, 0), over 1 - 1/4: (0.1, -1/15, 4/15, 0)
     * v = (0.016875, 0.0525, 0.04, 0), over 1 - 9/16: (0.27/7, 0.84/7, 0.64/7, 0) */
    CHECK_OK(e->import(e, ICD_GRAD_CD, (double[]){ 0, 0, 0.4, 0 }, &err));
    CHECK_OK(e->import(e, ICD_GRAD_KL, (double[]){ 0, -0.3, 0, 0 }, &err));
    u.t = 2;
    u.grad_clip = 0.75;
    CHECK_OK(e->update(e, &u, &err));
    check_vector(e, ICD_ADAM_M, 0.075, -0.05, 0.2, 0);
    check_vector(e, ICD_ADAM_V, 0.016875, 0.0525, 0.04, 0);
    double x0 = 0.925 - 0.1 * 0.1 / (sqrt(0.27 / 7) + 0.1), x1 = 1.92 + 0.1 / 15 / (sqrt(0.12) + 0.1);
    double x2 = 3 - 0.1 * 4 / 15 / (sqrt(0.64 / 7) + 0.1);
    check_vector(e, ICD_PARAMETERS, x0, x1, x2, 4);
    check_vector(e, ICD_EMA, 0.1734375 + x0 / 4, 0.36 + x1 / 4, 2.25 + x2 / 4, -0.5);

    /* grad_clip 0: off */
    CHECK_OK(e->import(e, ICD_ADAM_M, (double[]){ 0, 0, 0, 0 }, &err));
    CHECK_OK(e->import(e, ICD_GRAD_CD, (double[]){ 0, 0, 0, 30 }, &err));
    CHECK_OK(e->import(e, ICD_GRAD_KL, (double[]){ 0, 40, 0, 0 }, &err));
    u.grad_clip = 0;
    CHECK_OK(e->update(e, &u, &err));
    check_vector(e, ICD_ADAM_M, 0, 20, 0, 15);
    e->close(e);
    icd_arena_release(&arena);
}

TEST(parameters_set_or_updated_are_those_used_next)
{
    icd_arena arena = { 0 };
    icd_arch a;
    icd_err err;
    icd_engine *e = four_numbers(&arena, &a);
    const float x[4] = { 0.25f, 0.5f, 0.25f, 1.0f };
    double E[1];
    /* E = w2 (w1 mean(x) + b1) + b2, mean 1/2 */
    CHECK_OK(e->import(e, ICD_PARAMETERS, (double[]){ 2, 0.5, 3, 0.25 }, &err));
    CHECK_OK(e->energy(e, 0, 1, x, NULL, E, NULL, NULL, &err));
    CHECK_EQ(E[0], 4.75);
    CHECK_OK(e->import(e, ICD_GRAD_CD, (double[]){ 1, -2, 3, -4 }, &err));
    CHECK_OK(e->import(e, ICD_GRAD_KL, (double[]){ 0, 0, 0, 0 }, &err));
    CHECK_OK(e->import(e, ICD_PARAMETERS, (double[]){ 4, 0.5, 3, 0.25 }, &err));
    CHECK_OK(e->energy(e, 0, 1, x, NULL, E, NULL, NULL, &err));
    CHECK_EQ(E[0], 7.75);
    /* lr 1, beta 0, eps 0: each number moves by its gradient's sign */
    CHECK_OK(e->update(e, &(icd_update){ 1, 1.0, 0, 0, 0, 0, 0 }, &err));
    CHECK_OK(e->energy(e, 0, 1, x, NULL, E, NULL, NULL, &err));
    CHECK_NEAR(E[0], 2 * (1.5 + 1.5) + 1.25, 16 * EPS);
    CHECK_OK(e->energy(e, 1, 1, x, NULL, E, NULL, NULL, &err));        /* ema 0: the EMA is the parameters */
    CHECK_NEAR(E[0], 2 * (1.5 + 1.5) + 1.25, 16 * EPS);
    e->close(e);
    icd_arena_release(&arena);
}

/* ---- allocations that fail ---- */

/* Open, import, energy, chain, gradients, update, closed again whatever happens. failed: which call said so. */
static icd_status whole_run(const icd_arch *a, const double *theta, icd_err *err)
{
    icd_engine *e = NULL;
    const float x[2 * 16] = { 0.5f, 0.25f }, X0[16] = { 1.0f };
    const int32_t labels[2] = { 1, 0 };
    float out[2 * 16], g[2 * 16];
    double E[2];
    icd_chain_stats stats;
    icd_loss_stats loss;
    icd_memory m;
    icd_chain c = { .n = 2, .x0 = x, .labels = labels, .steps = 2, .step_size = 0.1, .noise = 0.1, .seed = 1,
                    .purpose = ICD_DRAW_TEST, .keep = 2 };
    icd_losses l = { .n = 2, .positives = x, .positive_labels = labels, .n_neighbours = 1, .neighbours = X0, .w_opt = 1, .w_ent = 1,
                     .kl_sign = 1, .backprop_steps = 2, .apart = 1 };
    icd_status s = OPEN(&e, a, &(icd_engine_options){ 1, PLENTY }, err);
    if (s != ICD_OK)
        return s;
    for (int round = 0; round < 2 && s == ICD_OK; round++) {
        s = e->import(e, ICD_PARAMETERS, theta, err);
        s = s == ICD_OK ? e->memory(e, &(icd_work){ 2, 2, 2, 1, 1, 2 }, &m, err) : s;
        s = s == ICD_OK ? e->energy(e, 0, 2, x, labels, E, NULL, g, err) : s;
        s = s == ICD_OK ? e->chain(e, &c, out, &stats, err) : s;
        s = s == ICD_OK ? e->gradients(e, &l, &loss, err) : s;
        s = s == ICD_OK ? e->update(e, &(icd_update){ 1 + round, 0.1, 0, 0.9, 1e-8, 1, 0.9 }, err) : s;
        s = s == ICD_OK ? e->energy(e, 1, 2, x, labels, E, NULL, g, err) : s;
        c.n = l.n = 1;        /* another size: the states are taken anew */
    }
    e->close(e);
    return s;
}

TEST(every_allocation_may_fail)
{
    const icd_model_settings m = { 1, ICD_NORM_GROUP, 1, 1, 1, 1, 2 };
    icd_arena arena = { 0 };
    icd_arch a;
    icd_err err;
    CHECK_OK(icd_arch_parse(&arena, "conv 1 | res 2 | mean | dense 1", &m, 1, 4, 4, &a, &err));
    double *theta = calloc(a.n_values, sizeof *theta);
    for (size_t i = 0; i < a.n_values; i++)
        theta[i] = 0.1 * (double)(i % 7) - 0.2;
    size_t before = icd_alloc_live();
    icd_alloc_fail_at(0);
    CHECK_OK(whole_run(&a, theta, &err));
    long calls = icd_alloc_fail_at(0);
    CHECK(calls > 40 && calls < 2000);
    for (long n = 1; n <= calls; n++) {
        err.text[0] = 0;
        icd_alloc_fail_at(n);
        icd_status s = whole_run(&a, theta, &err);
        icd_alloc_fail_at(0);
        if (s != ICD_ENOMEM || !strstr(err.text, "out of memory") || icd_alloc_live() != before) {
            test_failures++;
            printf("allocation %ld of %ld: status %d, \"%s\", %zu bytes not freed\n", n, calls, (int)s, err.text,
                   icd_alloc_live() - before);
        }
    }
    CHECK_OK(whole_run(&a, theta, &err));
    free(theta);
    icd_arena_release(&arena);
}

/* After a failure the engine is as good as new; and a chain that failed leaves nothing for gradients() to build on. */
TEST(an_engine_survives_a_failed_allocation)
{
    inputs *s = begin();
    icd_err err;
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    icd_chain_stats stats;
    icd_loss_stats loss;
    static float x[2 * D], again[2 * D];
    c.n = l.n = 2;
    icd_engine *fresh = open_engine(s, 1, PLENTY);
    icd_alloc_fail_at(0);
    CHECK_OK(fresh->chain(fresh, &c, x, &stats, &err));
    long calls = icd_alloc_fail_at(0);
    fresh->close(fresh);
    for (long n = 1; n <= calls; n++) {
        icd_engine *e = open_engine(s, 1, PLENTY);
        c.keep = 1;
        CHECK_OK(e->chain(e, &c, again, &stats, &err));
        CHECK_OK(e->import(e, ICD_PARAMETERS, s->theta, &err));
        c.keep = 2;
        icd_alloc_fail_at(n);
        icd_status status = e->chain(e, &c, again, &stats, &err);
        icd_alloc_fail_at(0);
        if (status != ICD_OK) {
            CHECK(e->gradients(e, &l, &loss, &err) == ICD_EINVAL);
            CHECK(e->trajectory(e, STEPS, (double[1]){ 0 }, &err) == ICD_EINVAL);
        }
        CHECK_OK(e->chain(e, &c, again, &stats, &err));
        CHECK(memcmp(x, again, sizeof x) == 0);
        if (n == calls)
            CHECK_OK(e->gradients(e, &l, &loss, &err));
        e->close(e);
        if (test_failures)
            break;
    }
    end(s);
}

TEST_MAIN("ref engine", T(any_number_of_threads_gives_the_same_bits), T(smaller_parts_give_the_same_within_rounding),
          T(the_order_of_the_batch_does_not_show), T(energies_gradients_and_labels), T(the_ema_has_parameters_of_its_own),
          T(the_trajectory_and_what_was_not_kept), T(chains_that_leave_the_finite_numbers_are_told),
          T(losses_are_the_means_of_what_they_say), T(the_parts_of_a_gradient_add_up),
          T(gradients_are_those_of_the_graphs_on_the_whole_batch), T(draws_belong_to_samples_steps_and_pixels),
          T(too_little_memory_is_refused_in_one_line), T(memory_told_is_memory_taken), T(two_updates_worked_out_by_hand),
          T(parameters_set_or_updated_are_those_used_next), T(every_allocation_may_fail),
          T(an_engine_survives_a_failed_allocation))

#endif
