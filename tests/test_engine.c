/* test_engine.c: the engine contract of common/engine.h, for every engine: chains, losses, parts, threads, draws. */
#include "engine_test.h"

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
    for (size_t memory = 1 << 25; memory > 1 << 12; memory -= memory / 16) {
        icd_engine *e = NULL;
        icd_status status = OPEN(&e, &s->a, &(icd_engine_options){ 1, memory, 4, 0 }, &err);
        if (status == ICD_OK) {
            status = e->memory(e, &work, &m, &err);
            e->close(e);
        }
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
        for (int i = 0; i < N * D; i++)      /* an image does not see the others of its part; but fast/ may choose other sums */
            CHECK_NEAR(r->x[i], whole->x[i], FAST ? 256 * EPS : 0);
        for (int i = 0; i < N; i++)
            CHECK_NEAR(r->en[i], whole->en[i], FAST ? 256 * EPS * (1 + fabs(whole->en[i])) : 0);
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
        CHECK_EQ(back[i], REAL_BYTES == 4 ? (double)(float)other[i] : other[i]);
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

/* A chain that knows its losses shares work with them, and the bits are the same. */
TEST(losses_ahead_of_a_chain_change_no_bit)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 2, PLENTY);
    static float x[N * D], y[N * D];
    double *got = calloc(s->a.n_values, sizeof *got);
    for (int mode = 0; mode < 6; mode++) {
        icd_chain c = chain_of(s);
        icd_losses l = losses_of(s);
        icd_chain_stats chain[2];
        icd_loss_stats loss[2];
        static double *vector[4];
        c.noise_before = mode & 1;
        c.keep = l.backprop_steps = 1 + mode % 3;
        l.apart = mode >= 4;
        l.kl_batch = mode == 2 ? 10 : 0;
        CHECK_OK(e->chain(e, &c, x, &chain[0], &err));
        CHECK_OK(e->gradients(e, &l, &loss[0], &err));
        for (int v = 0; v < 4; v++) {
            vector[v] = calloc(s->a.n_values, sizeof(double));
            CHECK_OK(e->export(e, (icd_vector)(ICD_GRAD_CD + v), vector[v], &err));
        }
        c.ahead = &l;
        CHECK_OK(e->chain(e, &c, y, &chain[1], &err));
        CHECK_OK(e->gradients(e, &l, &loss[1], &err));
        CHECK(memcmp(x, y, sizeof x) == 0);
        CHECK_EQ(chain[0].langevin_gradient, chain[1].langevin_gradient);
        CHECK_EQ(loss[0].grad_kl, loss[1].grad_kl);
        CHECK_EQ(loss[0].loss_ent, loss[1].loss_ent);
        for (int v = 0; v < (l.apart ? 4 : 2); v++) {
            CHECK_OK(e->export(e, (icd_vector)(ICD_GRAD_CD + v), got, &err));
            CHECK(memcmp(got, vector[v], s->a.n_values * sizeof *got) == 0);
        }
        for (int v = 0; v < 4; v++)
            free(vector[v]);
    }
    free(got);
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

int main(int argc, char **argv)
{
    static const test_case t[] = {
        T(any_number_of_threads_gives_the_same_bits), T(smaller_parts_give_the_same_within_rounding),
        T(the_order_of_the_batch_does_not_show), T(energies_gradients_and_labels), T(the_ema_has_parameters_of_its_own),
        T(the_trajectory_and_what_was_not_kept), T(losses_ahead_of_a_chain_change_no_bit),
        T(chains_that_leave_the_finite_numbers_are_told), T(losses_are_the_means_of_what_they_say),
        T(the_parts_of_a_gradient_add_up), T(draws_belong_to_samples_steps_and_pixels)
    };
    return usable() ? test_main("engine", t, (int)(sizeof t / sizeof t[0]), argc, argv) : 77;
}
