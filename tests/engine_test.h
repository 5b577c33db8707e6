/* engine_test.h: what the tests of the engine contract share. Each is built once for every engine: OPEN is its open function,
 * REAL_BYTES its precision, FAST 1 for the engines of fast/, whose OPEN goes by the name of a table, TABLE. */
#ifndef ENGINE_TEST_H
#define ENGINE_TEST_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "fast/engine_fast.h"
#include "ref/engine_ref.h"
#include "test.h"

#if FAST
#define TEXT_OF(x) TEXT_OF_(x)
#define TEXT_OF_(x) #x
static icd_status open_table(icd_engine **e, const icd_arch *a, const icd_engine_options *o, icd_err *err)
{
    const fast_backend *b;
    ICD_TRY(fast_engine_table("cpu:" TEXT_OF(TABLE), &b, err));
    return fast_engine_open(e, "cpu:" TEXT_OF(TABLE), b, a, o, err);
}
#define OPEN open_table
#endif

#define EPS (REAL_BYTES == 8 ? DBL_EPSILON : (double)FLT_EPSILON)

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
    CHECK_OK(OPEN(&e, &s->a, &(icd_engine_options){ threads, memory, 4, 0 }, &err));
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

/* 0: this machine cannot run the engine. */
static inline int usable(void)
{
    icd_engine *e = NULL;
    icd_err err;
    inputs *s = begin();
    icd_status status = OPEN(&e, &s->a, &(icd_engine_options){ 1, PLENTY, 4, 0 }, &err);
    if (status == ICD_OK)
        e->close(e);
    else
        printf("%s\n", err.text);
    end(s);
    return status != ICD_EUNUSABLE;
}

#endif
