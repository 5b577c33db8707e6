/* test_fast.c: what of fast/ no built-in architecture reaches: tables that lack a slot, and nets whose adjoints flow together in
 * unusual places. */
#include <stdlib.h>

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

TEST_MAIN("fast", T(a_table_that_lacks_a_slot_is_refused_by_its_name),
          T(tables_are_found_by_name_and_the_first_usable_is_the_default), T(adjoints_that_meet_in_unusual_places))
