/* test_fast.c: what of fast/ no built-in architecture reaches: tables that lack a slot, and nets whose adjoints flow together in
 * unusual places. */
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "fast/engine_fast.h"
#include "ref/engine_ref.h"
#include "test.h"

extern const fast_backend fast_portable;

static const icd_engine_options options = { 2, (size_t)64 << 20, 4, 0 };

static void parse(icd_arena *arena, const char *line, int c, int h, int w, icd_arch *a)
{
    const icd_model_settings settings = { 4, ICD_NORM_GROUP, 32, 0, 0, 1, 0 };
    icd_err err;
    CHECK_OK(icd_arch_parse(arena, line, &settings, c, h, w, a, &err));
}

TEST(a_table_that_lacks_a_slot_is_refused_by_its_name)
{
    icd_arena arena = { 0 };
    icd_arch a;
    icd_err err;
    icd_engine *e = NULL;
    parse(&arena, "conv 4 | swish | mean | dense 1", 1, 8, 8, &a);
    fast_backend table = fast_portable;
    CHECK(fast_backend_missing(&table) == NULL);
    table.norm_swish_bwd2 = NULL;
    CHECK_SAYS(fast_backend_missing(&table), "norm_swish_bwd2");
    CHECK(fast_engine_open(&e, "cpu:mine", &table, &a, &options, &err) == ICD_EINVAL && !e);
    CHECK_SAYS(err.text, "the kernel table portable has no norm_swish_bwd2");
    table = fast_portable;
    table.adam = NULL;
    CHECK(fast_engine_open(&e, "cpu:mine", &table, &a, &options, &err) == ICD_EINVAL && !e);
    CHECK_SAYS(err.text, "has no adam");
    icd_arena_release(&arena);
}

TEST(tables_are_found_by_name_and_the_first_usable_is_the_default)
{
    CHECK(fast_backend_find("portable") == &fast_portable);
    CHECK(fast_backend_find("abacus") == NULL);
    const fast_backend *best = fast_backend_find(NULL);
    CHECK(best && best->usable());
    for (const fast_backend *const *b = fast_backends; *b != best; b++)
        CHECK(!(*b)->usable());
}

/* Largest difference of two vectors, in units of the largest number of the second. */
static double apart(size_t n, const double *a, const double *b)
{
    double most = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs(a[i] - b[i]);
        most = difference <= most ? most : difference;        /* NaN stays */
        size = fmax(size, fabs(b[i]));
    }
    return most / size;
}

enum { N = 11, C = 3, H = 8, D = C * H * H, K = 3, X = 4 };

/* One iteration's gradients of L_CD, L_opt, L_ent through all steps: g (3,n_values). */
static void gradients(icd_engine *e, const double *theta, const float *images, const double *normals, double *g)
{
    static float out[N * D];
    icd_err err;
    icd_chain_stats chain;
    icd_loss_stats loss;
    icd_chain c = { .n = N, .x0 = images, .steps = K, .step_size = 0.5, .noise = 0.05, .clamp = 1, .normals = normals, .keep = K };
    icd_losses l = { .n = N, .positives = images + N * D, .n_neighbours = X, .neighbours = images + 2 * N * D, .w_opt = 1,
                     .w_ent = 1, .kl_sign = 1, .kl_batch = 10, .backprop_steps = K, .apart = 1 };
    CHECK_OK(e->import(e, ICD_PARAMETERS, theta, &err));
    c.ahead = &l;
    CHECK_OK(e->chain(e, &c, out, &chain, &err));
    CHECK_OK(e->gradients(e, &l, &loss, &err));
    CHECK(chain.finite && loss.finite);
    static const icd_vector which[] = { ICD_GRAD_CD, ICD_GRAD_OPT, ICD_GRAD_ENT };
    for (size_t v = 0; v < 3; v++)
        CHECK_OK(e->export(e, which[v], g + v * e->arch->n_values, &err));
    e->close(e);
}

/* The image goes into an activation, a pool and a convolution at once; residuals follow one another, one right after the
 * image; a flattened image goes through an activation. Each meets a branch of the plan's wiring that the built-ins do not. */
TEST(adjoints_that_meet_in_unusual_places)
{
    static const char *const lines[] = {
        "full: swish | res 3 | res 5 | res 5 | flatten | swish | dense 4 | swish | dense 1; "
        "half: swish | conv 8 | attn | attn | mean | dense 1; quarter: res 3 | conv 1 2 1 0",
        "full: maxpool | conv 4 1 1 0 | nonlocal | flatten | dense 1; half: flatten | lrelu 0.2 | dense 1",
        "full: down 4 | res 4 | nonlocal | lrelu 0.1 | conv 4 3 2 1 | mean | dense 1; quarter: mean | dense 1",
        "full: conv 4 | flatten | mean | dense 1; half: maxpool | mean | mean | dense 1",
    };
    static float images[(2 * N + X) * D];
    static double normals[K * N * D];
    icd_stream s = { 3, 0, ICD_DRAW_TEST, 0 };
    icd_uniforms(&s, 0, (2 * N + X) * D, images);
    for (size_t i = 0; i < K * N * D; i++)
        normals[i] = (double)icd_normal(&s, i);
    for (size_t k = 0; k < sizeof lines / sizeof lines[0]; k++) {
        icd_arena arena = { 0 };
        icd_arch a;
        icd_err err;
        icd_engine *e = NULL;
        parse(&arena, lines[k], C, H, H, &a);
        double *theta = calloc(a.n_values, sizeof *theta), *want = calloc(3 * a.n_values, sizeof *want);
        double *got = calloc(3 * a.n_values, sizeof *got);
        s.seed = 4;
        for (size_t i = 0; i < a.n_values; i++)
            theta[i] = (double)(0.4f * icd_normal(&s, i));
        CHECK_OK(icd_engine_ref64_open(&e, &a, &options, &err));
        gradients(e, theta, images, normals, want);
        for (const fast_backend *const *b = fast_backends; *b; b++) {
            if (!(*b)->usable())
                continue;
            CHECK_OK(fast_engine_open(&e, "cpu:test", *b, &a, &options, &err));
            gradients(e, theta, images, normals, got);
            for (size_t v = 0; v < 3; v++)
                CHECK_NEAR(apart(a.n_values, got + v * a.n_values, want + v * a.n_values), 0, 1e-4);
        }
        free(theta);
        free(want);
        free(got);
        icd_arena_release(&arena);
    }
}

/* ---- a device repeats what it recorded ---- */

static const fast_device *real_device;
static int recordings[FAST_RECORDS], repeats[FAST_RECORDS], may_repeat, in_branches;

static void begin(fast_record r)
{
    recordings[r]++;
    real_device->begin(r);
}
static int again(fast_record r, unsigned number)
{
    int done = may_repeat && real_device->again(r, number);
    repeats[r] += done;
    return done;
}
static void branch(int b)
{
    if (in_branches)
        real_device->branch(b);
}
static void join(void)
{
    if (in_branches)
        real_device->join();
}

/* Four iterations with draws, the second after another engine's and the last with one neighbour fewer: parameters in the end. */
static void iterations(const icd_arch *a, const fast_backend *b, const double *theta, const float *images, double *end)
{
    static float out[N * D];
    icd_err err;
    icd_chain_stats chain;
    icd_loss_stats loss;
    icd_engine *e = NULL, *other = NULL;
    CHECK_OK(fast_engine_open(&e, "cpu:test", b, a, &options, &err));
    CHECK_OK(fast_engine_open(&other, "cpu:test", b, a, &options, &err));
    CHECK_OK(e->import(e, ICD_PARAMETERS, theta, &err));
    CHECK_OK(other->import(other, ICD_PARAMETERS, theta, &err));
    for (uint64_t t = 1; t <= 4; t++) {
        icd_chain c = { .n = N, .x0 = images, .steps = K, .step_size = 0.5, .noise = 0.05, .clamp = 1, .seed = 5,
                        .iteration = t, .purpose = ICD_DRAW_LANGEVIN, .keep = K };
        icd_losses l = { .n = N, .positives = images + N * D, .n_neighbours = t < 4 ? X : X - 1, .neighbours = images + 2 * N * D,
                         .w_opt = 1, .w_ent = 1, .kl_sign = 1, .backprop_steps = 1 };
        icd_update u = { (int64_t)t, 1e-3, 0.9, 0.99, 1e-8, 0.5, 0.9 };
        c.ahead = &l;
        CHECK_OK(e->chain(e, &c, out, &chain, &err));
        CHECK_OK(e->gradients(e, &l, &loss, &err));
        CHECK_OK(e->update(e, &u, &err));
        CHECK(chain.finite && loss.finite);
        if (t == 1) {
            c.ahead = NULL;
            CHECK_OK(other->chain(other, &c, out, &chain, &err));
        }
    }
    CHECK_OK(e->export(e, ICD_PARAMETERS, end, &err));
    other->close(other);
    e->close(e);
}

/* Recorded anew each time, or one scale after the other: the same bits. */
TEST(a_device_repeats_what_it_recorded)
{
    static float images[(2 * N + X) * D];
    const fast_backend *emulated = fast_backend_find("cuda-emulated");
    if (!emulated)                       /* this build has no device that runs here */
        return;
    icd_arena arena = { 0 };
    icd_arch a;
    icd_stream s = { 7, 0, ICD_DRAW_TEST, 0 };
    icd_uniforms(&s, 0, (2 * N + X) * D, images);
    parse(&arena, "full: conv 4 | swish | res 4 | down 4 | mean | dense 1; half: conv 4 | swish | down 4 | mean | dense 1; "
                  "quarter: conv 4 | swish | flatten | dense 1", C, H, H, &a);
    double *theta = calloc(a.n_values, sizeof *theta), *want = calloc(a.n_values, sizeof *want);
    double *got = calloc(a.n_values, sizeof *got);
    for (size_t i = 0; i < a.n_values; i++)
        theta[i] = (double)(0.4f * icd_normal(&s, i));
    real_device = emulated->device;
    fast_device device = *real_device;
    fast_backend table = *emulated;
    device.begin = begin;
    device.again = again;
    device.branch = branch;
    device.join = join;
    table.device = &device;
    iterations(&a, &table, theta, images, want);
    CHECK_EQ(repeats[FAST_CHAIN] + repeats[FAST_LOSSES], 0);
    CHECK_EQ(recordings[FAST_CHAIN], 5);
    CHECK_EQ(recordings[FAST_LOSSES], 4);
    for (in_branches = 0; in_branches < 2; in_branches++) {
        may_repeat = 1;
        memset(recordings, 0, sizeof recordings);
        memset(repeats, 0, sizeof repeats);
        iterations(&a, &table, theta, images, got);
        CHECK_EQ(recordings[FAST_CHAIN], 3);                 /* the first, the other engine's, the second */
        CHECK_EQ(repeats[FAST_CHAIN], 2);
        CHECK_EQ(recordings[FAST_LOSSES], 2);                /* the first, and with one neighbour fewer */
        CHECK_EQ(repeats[FAST_LOSSES], 2);
        CHECK(memcmp(got, want, a.n_values * sizeof *got) == 0);
    }
    free(theta);
    free(want);
    free(got);
    icd_arena_release(&arena);
}

TEST_MAIN("fast", T(a_table_that_lacks_a_slot_is_refused_by_its_name),
          T(tables_are_found_by_name_and_the_first_usable_is_the_default), T(adjoints_that_meet_in_unusual_places),
          T(a_device_repeats_what_it_recorded))
