/* verify_training.c: iterations of Algorithm 1 on drawn digits by the engine over a kernel table, against ref64, noise for
 * noise; bounds: judge.h, since a chain of chains multiplies what rounding starts.                             [ICD:alg1] */
#include "verify.h"

#include <math.h>
#include <string.h>

#include "common/algorithm1.h"
#include "common/dataset.h"
#include "fast/engine_fast.h"
#include "judge.h"
#include "ref/engine_ref.h"
#include "rows.h"

enum { ITERATIONS = 20, JUDGED = 0, REF64, REF, PLAIN, ROUNDED, OUTCOMES };

/* With 16 channels and more the convolutions of a table with tensor cores run on them. */
static const struct { const char *name; int iterations, tensor; const char *text; } runs[] = {
    { "training: 20 iterations, code-mnist, 2 filters", ITERATIONS, 0,
      "arch = code-mnist\nimage = 1x28x28\nmultiscale = off\nfilters = 2\nnorm = auto\nweight_std = on\n"
      "steps = 4\nstep_size = 10\nnoise_order = before\nclamp = on\nrestart_prob = 0.1\n"
      "crop_min = 1\nflip = 0\ncolor_strength = 0\n"
      "w_ent = 0.3\nenergy_l2 = 1\nkl_batch = 4\nnn_set = 10\nnn_min_buffer = 12\nbuffer = reservoir\nbuffer_size = 40\n"
      "batch = 6\nlr = 0.001\nbeta1 = 0.9\nadam_eps = 0.01\ngrad_clip = 0.5\nema = 0.99\n" },
    { "training: 20 iterations, multi-scale with attention", ITERATIONS, 0,
      "arch = full: conv F 4 2 1 | swish | maxpool | attn | res 2F | mean | dense 1 ; "
      "half: conv F 4 2 1 | down F | attn | mean | dense 1\n"
      "image = 1x28x28\nmultiscale = on\nfilters = 8\nnorm = group\nweight_std = off\n"
      "steps = 3\nstep_size = 10\nnoise_order = after\nclamp = off\nrestart_prob = 0.1\n"
      "crop_min = 0.5\nflip = 0.5\ncolor_strength = 0\n"
      "w_ent = 1\nnn_set = 10\nnn_min_buffer = 5\nbuffer = fifo\nbuffer_size = 40\nbackprop_steps = 2\n"
      "batch = 5\nlr = 0.001\nadam_eps = 0.01\ngrad_clip = 0\nema = 0.9\n" },
    { "training: 3 iterations, multi-scale with attention, 16 filters", 3, 1,
      "arch = full: conv F 4 2 1 | swish | res F | down F | attn | res 2F | swish | mean | dense 1 ; "
      "half: conv F 4 2 1 | res F | mean | dense 1\n"
      "image = 1x28x28\nmultiscale = on\nfilters = 16\nnorm = auto\nweight_std = on\n"
      "steps = 2\nstep_size = 10\nnoise_order = after\nclamp = on\nrestart_prob = 0.1\n"
      "crop_min = 0.5\nflip = 0.5\ncolor_strength = 0\n"
      "w_ent = 0.3\nenergy_l2 = 1\nkl_batch = 2\nnn_set = 6\nnn_min_buffer = 2\nbuffer = reservoir\nbuffer_size = 40\n"
      "batch = 3\nlr = 0.001\nadam_eps = 0.01\ngrad_clip = 0.5\nema = 0.9\n" },
};
enum { RUNS = sizeof runs / sizeof runs[0] };

/* Of each iteration; then what the updates changed: theta - start. */
enum { D, KL, R, THETA, EMA, QUANTITIES };
static const char *const quantities[QUANTITIES] = { "d_t", "L_opt + L_ent", "r_t", "change of the parameters",
                                                    "change of the EMA" };

typedef struct {
    icd_arena arena;
    icd_config config;
    icd_arch arch;
    icd_images data;
    int iterations;
    fast_backend table;                                  /* the judged one, its convolutions counted */
    verify_factors factors;
    double *start, *zeros;                               /* (p) each */
    struct { double *of[QUANTITIES]; } out[OUTCOMES];
    double moved[QUANTITIES];                            /* by rounding factors; 0: none are */
} bench;

/* ---- convolutions that round their factors, by pass ---- */

static const fast_backend *counted;
static int rounded[3];                                   /* forward, to the input, to the weights */

static void count_fwd(fast_ctx *x, int n, const fast_conv *c, const float *in, const float *packed, const float *bias,
                      const float *add, float *y)
{
    rounded[0] += c->fwd == FAST_CONV_TF32 || c->fwd == FAST_CONV_BF16;
    counted->conv_fwd(x, n, c, in, packed, bias, add, y);
}
static void count_bwd_x(fast_ctx *x, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                        float *gx)
{
    rounded[1] += c->bwd_x == FAST_CONV_TF32 || c->bwd_x == FAST_CONV_BF16;
    counted->conv_bwd_x(x, n, c, gy, packed, add, gx);
}
static void count_bwd_w(fast_ctx *x, int n, const fast_conv *c, const float *in, const float *gy, const float *scale, float *gw)
{
    rounded[2] += c->bwd_w == FAST_CONV_TF32 || c->bwd_w == FAST_CONV_BF16;
    counted->conv_bwd_w(x, n, c, in, gy, scale, gw);
}

/* The table to be judged; one that rounds factors has a device, whose slots one thread calls: its convolutions are counted. */
static const fast_backend *judged(bench *b, const fast_backend *table)
{
    if (table->unit == 0)
        return table;
    counted = table;
    memset(rounded, 0, sizeof rounded);
    b->table = *table;
    b->table.conv_fwd = count_fwd;
    b->table.conv_bwd_x = count_bwd_x;
    b->table.conv_bwd_w = count_bwd_w;
    return &b->table;
}

/* ---- a run ---- */

static size_t count_of(const bench *b, int q) { return q < THETA ? (size_t)b->iterations : b->arch.n_values; }

static icd_status train(bench *b, int which, icd_engine *e, icd_err *err)
{
    icd_training t;
    icd_iteration_stats s;
    double *const *of = b->out[which].of;
    ICD_TRY(e->import(e, ICD_PARAMETERS, b->start, err));
    ICD_TRY(e->import(e, ICD_EMA, b->start, err));
    ICD_TRY(e->import(e, ICD_ADAM_M, b->zeros, err));
    ICD_TRY(e->import(e, ICD_ADAM_V, b->zeros, err));
    ICD_TRY(icd_training_init(&t, &b->arena, &b->config, &b->arch, e, &b->data, err));
    for (int i = 0; i < b->iterations; i++) {
        ICD_TRY(icd_algorithm1_turn(&t, &s, err));
        of[D][i] = s.loss.energy_positive - s.loss.energy_negative;
        of[KL][i] = s.loss.loss_opt + s.loss.loss_ent;
        of[R][i] = s.chain.langevin_gradient;
    }
    ICD_TRY(e->export(e, ICD_PARAMETERS, of[THETA], err));
    ICD_TRY(e->export(e, ICD_EMA, of[EMA], err));
    for (size_t i = 0; i < b->arch.n_values; i++) {
        of[THETA][i] -= b->start[i];
        of[EMA][i] -= b->start[i];
    }
    return ICD_OK;
}

/* One of the three. */
static icd_status open_and_train(bench *b, int which, const fast_backend *table, icd_err *err)
{
    icd_engine_options o = { .threads = which == JUDGED ? 2 : 1, .memory = SIZE_MAX, .winograd = 4 };
    icd_engine *e = NULL;
    icd_status s = which == REF64 ? icd_engine_ref64_open(&e, &b->arch, &o, err)
                 : which == REF ? icd_engine_ref_open(&e, &b->arch, &o, err)
                 : fast_engine_open(&e, table->name, judged(b, table), &b->arch, &o, err);
    if (s == ICD_OK)
        s = train(b, which, e, err);
    if (e)
        e->close(e);
    return s;
}

/* What rounding factors does to each quantity. */
static icd_status round_factors(bench *b, icd_err *err)
{
    if (b->factors.plain)
        ICD_TRY(train(b, PLAIN, b->factors.plain, err));
    for (int i = 0; i < VERIFY_ROUNDINGS && b->factors.plain; i++) {
        verify_factors_round(i);
        ICD_TRY(train(b, ROUNDED, b->factors.rounded, err));
        for (int q = 0; q < QUANTITIES; q++)
            b->moved[q] = fmax(b->moved[q], verify_distance(b->out[ROUNDED].of[q], b->out[PLAIN].of[q], count_of(b, q)));
    }
    return ICD_OK;
}

static icd_status prepare(bench *b, int run, icd_err *err)
{
    const char *text = runs[run].text;
    size_t length = 0;
    while (text[length])
        length++;
    b->iterations = runs[run].iterations;
    icd_config_default(&b->config);
    ICD_TRY(icd_config_parse(&b->config, runs[run].name, text, length, err));
    ICD_TRY(icd_config_check(&b->config, err));
    ICD_TRY(icd_load_dataset(&b->arena, "digits:60", 3, &b->data, err));
    ICD_TRY(icd_arch_parse(&b->arena, b->config.arch, &b->config.model, b->data.c, b->data.h, b->data.w, &b->arch, err));
    size_t p = b->arch.n_values;
    float *start = icd_arena_alloc(&b->arena, p, sizeof *start);
    int whole = start && (b->start = icd_arena_alloc(&b->arena, p, sizeof(double)));
    whole = whole && (b->zeros = icd_arena_alloc(&b->arena, p, sizeof(double)));
    for (int i = 0; i < OUTCOMES * QUANTITIES && whole; i++) {
        double **vector = &b->out[i / QUANTITIES].of[i % QUANTITIES];
        whole = (*vector = icd_arena_alloc(&b->arena, count_of(b, i % QUANTITIES), sizeof(double))) != NULL;
    }
    if (!whole)
        return icd_fail(err, ICD_ENOMEM, "out of memory for %s", runs[run].name);
    for (int i = 0; i < b->arch.n_params; i++)
        icd_param_init(&b->arch, i, 1, start + b->arch.param[i].offset);
    for (size_t i = 0; i < p; i++)
        b->start[i] = (double)start[i];
    return ICD_OK;
}

static icd_status one_run(bench *b, int run, const fast_backend *table, const icd_listener *l, icd_err *err)
{
    const char *name = runs[run].name;
    ICD_TRY(prepare(b, run, err));
    for (int which = JUDGED; which <= REF; which++)
        ICD_TRY(open_and_train(b, which, table, err));
    ICD_TRY(verify_factors_open(&b->factors, table, &b->arch, err));
    ICD_TRY(round_factors(b, err));
    for (int q = 0; q < QUANTITIES; q++) {
        verify_row r = row_begin(name, "%s", quantities[q]);
        size_t n = count_of(b, q);
        const double *want = b->out[REF64].of[q];
        icd_case why;
        double bound = verify_bound(TRAINING_CASE, verify_distance(b->out[REF].of[q], want, n), b->moved[q], &why);
        row_note(&r, why, verify_distance(b->out[JUDGED].of[q], want, n), bound, "");
        row_end(&r, l, table->name, "ref64");
    }
    if (table->unit > 0 && runs[run].tensor) {
        verify_row r = row_begin(name, "passes of a convolution that rounded none");
        row_note(&r, EXACT_CASE, !rounded[0] + !rounded[1] + !rounded[2], icd_cases[EXACT_CASE].bound, "");
        row_end(&r, l, table->name, "tensor cores in all three");
    }
    return ICD_OK;
}

icd_status icd_verify_training(const fast_backend *table, const char *only, const icd_listener *l, icd_err *err)
{
    icd_status s = ICD_OK;
    for (int i = 0; i < RUNS && s == ICD_OK; i++) {
        if (only && !strstr(runs[i].name, only))
            continue;
        bench *b = icd_alloc(1, sizeof *b);
        if (!b)
            return icd_fail(err, ICD_ENOMEM, "out of memory for %s", runs[i].name);
        s = one_run(b, i, table, l, err);
        verify_factors_close(&b->factors);
        icd_arena_release(&b->arena);
        icd_free(b);
    }
    return s;
}
