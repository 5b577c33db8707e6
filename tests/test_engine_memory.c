/* test_engine_memory.c: the engine contract, for every engine: updates by hand, memory told and taken, allocations that fail. */
#include "engine_test.h"

/* ---- Adam, clipping and the EMA, by hand ---- */

static icd_engine *four_numbers(icd_arena *arena, icd_arch *a)
{
    const icd_model_settings plain = { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 };
    icd_engine *e = NULL;
    icd_err err;
    CHECK_OK(icd_arch_parse(arena, "conv 1 1 1 0 | mean | dense 1", &plain, 1, 2, 2, a, &err));
    CHECK_EQ(a->n_values, 4);
    CHECK_OK(OPEN(&e, a, &(icd_engine_options){ 1, PLENTY, 4, 0 }, &err));
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

/* All memory is taken by the first turn: the ones after it allocate nothing. */
TEST(a_step_of_fast_never_allocates)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = open_engine(s, 2, PLENTY);
    static float x[N * D];
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    c.ahead = &l;
    icd_chain_stats chain;
    icd_loss_stats loss;
    icd_update u = { 1, 0.01, 0.5, 0.9, 1e-8, 0.5, 0.9 };
    for (; u.t <= 3; u.t++) {
        icd_alloc_fail_at(0);
        CHECK_OK(e->chain(e, &c, x, &chain, &err));
        CHECK_OK(e->gradients(e, &l, &loss, &err));
        CHECK_OK(e->update(e, &u, &err));
        long calls = icd_alloc_fail_at(0);
        CHECK(u.t == 1 ? calls > 0 : !FAST || calls == 0);
    }
    e->close(e);
    end(s);
}

/* icd_memory, told before the work, bounds what the work takes. */
TEST(memory_told_is_memory_taken)
{
    inputs *s = begin();
    icd_err err;
    icd_memory m;
    icd_chain_stats chain;
    icd_loss_stats loss;
    static float x[N * D];
    size_t before = icd_alloc_live();
    icd_chain c = chain_of(s);
    icd_losses l = losses_of(s);
    c.ahead = &l;
    icd_engine *e = open_engine(s, 1, PLENTY);
    CHECK_OK(e->memory(e, &(icd_work){ N, 2, N, X, 0, 2 }, &m, &err));
    CHECK_EQ(m.part, 8);
    CHECK_OK(e->chain(e, &c, x, &chain, &err));
    CHECK_OK(e->gradients(e, &l, &loss, &err));
    CHECK_OK(e->update(e, &(icd_update){ 1, 0.01, 0.5, 0.9, 1e-8, 0.5, 0.9 }, &err));
    size_t taken = icd_alloc_live() - before, told = m.parameters + m.work;
    /* ref/: and its tapes' shapes; fast/: and the plan's own lists */
    CHECK(taken <= told + (FAST ? 3 << 19 : m.parameters + (1 << 18)));
    if (FAST)
        CHECK(taken >= told - (1 << 14));
    e->close(e);
    CHECK_EQ(icd_alloc_live(), before);
    end(s);
}

TEST(too_little_memory_is_refused_in_one_line)
{
    inputs *s = begin();
    icd_err err;
    icd_engine *e = NULL;
    double E[1];
    static float x[N * D];
    icd_chain c = chain_of(s);
    icd_chain_stats stats;
    icd_memory m;
    icd_status status = OPEN(&e, &s->a, &(icd_engine_options){ 1, 10000, 4, 0 }, &err);
    if (FAST) {
        CHECK(status == ICD_ENOMEM && !e);
        CHECK_SAYS(err.text, "of work memory, and the setting `memory` allows 0");
    } else {
        CHECK(status == ICD_OK);
        CHECK_OK(e->import(e, ICD_PARAMETERS, s->theta, &err));
        CHECK(e->energy(e, 0, 1, s->x0, s->labels, E, NULL, NULL, &err) == ICD_ENOMEM);
        CHECK_SAYS(err.text, "one image needs 1 MiB of work memory, and the setting `memory` allows 0");
        CHECK(e->chain(e, &c, x, &stats, &err) == ICD_ENOMEM);
        CHECK(e->memory(e, &(icd_work){ N, 1, 0, X, 0, 1 }, &m, &err) == ICD_ENOMEM);
        e->close(e);
    }
    end(s);
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
    icd_status s = OPEN(&e, a, &(icd_engine_options){ 1, PLENTY, 4, 0 }, err);
    if (s != ICD_OK)
        return s;
    for (int round = 0; round < 2 && s == ICD_OK; round++) {
        s = e->import(e, ICD_PARAMETERS, theta, err);
        s = s == ICD_OK ? e->memory(e, &(icd_work){ 2, 2, 2, 1, 1, 2 }, &m, err) : s;
        s = s == ICD_OK ? e->energy(e, 0, 2, x, labels, E, NULL, g, err) : s;
        s = s == ICD_OK ? e->chain(e, &c, out, &stats, err) : s;
        s = s == ICD_OK ? e->gradients(e, &l, &loss, err) : s;
        c.ahead = &l;
        s = s == ICD_OK ? e->chain(e, &c, out, &stats, err) : s;
        s = s == ICD_OK ? e->gradients(e, &l, &loss, err) : s;
        c.ahead = NULL;
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
    CHECK(calls > 20 && calls < 2000);
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

int main(int argc, char **argv)
{
    static const test_case t[] = {
        T(two_updates_worked_out_by_hand), T(parameters_set_or_updated_are_those_used_next),
        T(a_step_of_fast_never_allocates), T(memory_told_is_memory_taken), T(too_little_memory_is_refused_in_one_line),
        T(every_allocation_may_fail), T(an_engine_survives_a_failed_allocation)
    };
    return usable() ? test_main("engine memory", t, (int)(sizeof t / sizeof t[0]), argc, argv) : 77;
}
