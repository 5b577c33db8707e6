/* verify_engine.c: the engine over a kernel table through the contract of common/engine.h, against ref64: every number that a
 * chain, its losses and an update give; bounds: judge.h. One thread or three, a chain that knows its losses or not: the bits
 * must be the same. */
#include "verify.h"

#include <math.h>
#include <string.h>

#include "common/rng.h"
#include "fast/engine_fast.h"
#include "judge.h"
#include "models.h"
#include "ref/engine_ref.h"
#include "rows.h"

/* JUDGED (parts as large as the engine likes) and TWOS (two images, so that the last part of five has one) by REF64, REF and
 * what rounding factors does, PLAIN to ROUNDED. The others must have the bits of TWOS: two threads, three, and a chain with
 * `ahead`. */
enum { N = 5, NEIGHBOURS = 7, K = 3 };
enum { JUDGED, REF64, REF, TWOS, THREADS2, THREADS3, ENGINES, AHEAD = ENGINES, PLAIN, ROUNDED, OUTCOMES };

/* What an iteration gave: vectors of which `count` says the length, in the order of `quantities`. */
enum { STATES, R, E_POSITIVE, E_NEGATIVE, DISTANCE, LOSSES, NORMS, CD, KL, OPT, ENT, THETA, EMA, ADAM_M, ADAM_V,
       EMA_STATES, START, PER_SCALE, SLOPE, NEAREST, QUANTITIES };
static const char *const quantities[QUANTITIES] = {
    "states of the chain", "r_t", "energies of x+", "energies of x-", "distance to the nearest",
    "L_CD, L_opt, L_ent, energy_l2", "norms of the gradients", "grad L_CD", "grad L_KL", "grad L_opt", "grad L_ent",
    "parameters after the update", "EMA", "Adam's m", "Adam's v", "chain of the EMA, drawn noise", "energies",
    "energies per scale", "grad_x E", "index of the nearest"
};
typedef struct { double *of[QUANTITIES]; } outcome;

typedef struct {
    icd_listener listener;
    const fast_backend *table;
    verify_model m;
    size_t nd, p, count[QUANTITIES];
    float *x0, *positives, *neighbours, *image;
    double *normals, *ema, *zeros;
    int32_t labels[2][N];                    /* of x0, of the positives */
    icd_engine *engine[ENGINES];
    verify_factors factors;
    double moved[QUANTITIES];                /* what rounding factors did at most in this setting, as a share; 0: nothing */
    outcome out[OUTCOMES];
    verify_row row[QUANTITIES], bits[3];
} bench;

/* ---- one iteration ---- */

typedef struct { const char *name; icd_chain chain; icd_losses losses; double grad_clip; int bits; } setting;

/* Which quantities this setting gives. */
static int given(const setting *s, int q)
{
    if (q == KL || (q >= THETA && q <= ADAM_V))
        return !s->losses.apart;
    return q == OPT || q == ENT ? s->losses.apart : 1;
}

static icd_status before(bench *b, icd_engine *e, icd_err *err)
{
    ICD_TRY(e->import(e, ICD_PARAMETERS, b->m.theta, err));
    ICD_TRY(e->import(e, ICD_EMA, b->ema, err));
    ICD_TRY(e->import(e, ICD_ADAM_M, b->zeros, err));
    return e->import(e, ICD_ADAM_V, b->zeros, err);
}

/* Energies and gradient at x0; and a chain of the EMA that keeps no state but its last, with noise drawn for chains 3... */
static icd_status other_calls(bench *b, icd_engine *e, const setting *s, outcome *o, icd_err *err)
{
    icd_chain_stats stats;
    ICD_TRY(e->energy(e, 0, N, b->x0, s->chain.labels, o->of[START], o->of[PER_SCALE], b->image, err));
    for (size_t i = 0; i < b->nd; i++)
        o->of[SLOPE][i] = (double)b->image[i];
    icd_chain c = s->chain;
    c.normals = NULL;
    c.use_ema = 1;
    c.keep = 0;
    c.seed = 5;
    c.iteration = 1;
    c.purpose = ICD_DRAW_TEST;
    c.first_sample = 3;
    ICD_TRY(e->chain(e, &c, b->image, &stats, err));
    for (size_t i = 0; i < b->nd; i++)
        o->of[EMA_STATES][i] = stats.finite ? (double)b->image[i] : (double)NAN;
    return ICD_OK;
}

static icd_status gradients(bench *b, icd_engine *e, int ahead, const setting *s, outcome *o, icd_err *err)
{
    icd_chain_stats chain;
    icd_loss_stats stats;
    icd_chain c = s->chain;
    icd_losses l = s->losses;
    int32_t nearest[N];
    l.energy_positive = o->of[E_POSITIVE];
    l.energy_negative = o->of[E_NEGATIVE];
    l.nn_index = nearest;
    l.nn_distance = o->of[DISTANCE];
    c.ahead = ahead ? &l : NULL;
    ICD_TRY(e->chain(e, &c, b->image, &chain, err));
    ICD_TRY(e->gradients(e, &l, &stats, err));
    int chains = l.n_neighbours == 0 || (l.w_opt == 0 && l.w_ent == 0) ? 0 : l.kl_batch ? l.kl_batch : N;
    for (int i = 0; i < chains; i++)
        o->of[NEAREST][i] = nearest[i];
    double losses[4] = { stats.loss_cd, stats.loss_opt, stats.loss_ent, stats.loss_l2 };
    double norms[2] = { stats.grad_cd, l.apart ? stats.grad_cd : stats.grad_kl };
    memcpy(o->of[LOSSES], losses, sizeof losses);
    memcpy(o->of[NORMS], norms, sizeof norms);
    o->of[R][0] = chain.finite && stats.finite ? chain.langevin_gradient : (double)NAN;
    for (int k = 0; k <= s->chain.keep; k++)
        ICD_TRY(e->trajectory(e, s->chain.steps - k, o->of[STATES] + (size_t)k * b->nd, err));
    for (int q = CD; q <= ENT; q++)
        if (given(s, q))
            ICD_TRY(e->export(e, (icd_vector)(ICD_GRAD_CD + q - CD), o->of[q], err));
    return ICD_OK;
}

static icd_status run(bench *b, icd_engine *e, int ahead, const setting *s, outcome *o, icd_err *err)
{
    for (int q = 0; q < QUANTITIES; q++)
        memset(o->of[q], 0, b->count[q] * sizeof(double));
    ICD_TRY(before(b, e, err));
    ICD_TRY(other_calls(b, e, s, o, err));
    ICD_TRY(gradients(b, e, ahead, s, o, err));
    if (s->losses.apart)
        return ICD_OK;
    icd_update u = { .t = 1, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .adam_eps = 1e-3, .grad_clip = s->grad_clip,
                     .ema = 0.9 };
    ICD_TRY(e->update(e, &u, err));
    for (int q = THETA; q <= ADAM_V; q++)
        ICD_TRY(e->export(e, (icd_vector)(ICD_PARAMETERS + q - THETA), o->of[q], err));
    return ICD_OK;
}

/* ---- judging ---- */

/* What rounding factors does to each quantity. */
static icd_status round_factors(bench *b, const setting *s, icd_err *err)
{
    const outcome *plain = &b->out[PLAIN], *rounded = &b->out[ROUNDED];
    if (b->factors.plain)
        ICD_TRY(run(b, b->factors.plain, 0, s, &b->out[PLAIN], err));
    for (int q = 0; q < QUANTITIES; q++)
        b->moved[q] = 0;
    for (int i = 0; i < VERIFY_ROUNDINGS && b->factors.plain; i++) {
        verify_factors_round(i);
        ICD_TRY(run(b, b->factors.rounded, 0, s, &b->out[ROUNDED], err));
        for (int q = 0; q < QUANTITIES; q++)
            b->moved[q] = fmax(b->moved[q], verify_distance(rounded->of[q], plain->of[q], b->count[q]));
    }
    return ICD_OK;
}

static int zeros(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] == 0))
            return 0;
    return 1;
}

/* One outcome against ref64's; zeros must be zeros, and indices the same. */
static void judge(bench *b, const setting *s, const outcome *got, int with_parts)
{
    const outcome *want = &b->out[REF64], *own = &b->out[REF];
    char where[96];
    size_t at = 0;
    for (const char *parts[] = { s->name, with_parts ? ", in parts of two" : "" }, **p = parts; p < parts + 2; p++)
        for (const char *c = *p; *c && at + 1 < sizeof where; c++)
            where[at++] = *c;
    where[at] = 0;
    for (int q = 0; q < QUANTITIES; q++) {
        size_t n = b->count[q];
        if (!given(s, q))
            continue;
        if (q == NEAREST || zeros(want->of[q], n)) {
            int wrong = 0;
            for (size_t i = 0; i < n; i++)
                wrong += !(got->of[q][i] == want->of[q][i]);
            row_note(&b->row[q], EXACT_CASE, wrong, icd_cases[EXACT_CASE].bound, where);
        } else {
            icd_case why;
            double bound = verify_bound(YARDSTICK_CASE, verify_distance(own->of[q], want->of[q], n), b->moved[q], &why);
            row_note(&b->row[q], why, verify_distance(got->of[q], want->of[q], n), bound, where);
        }
    }
}

/* How many quantities are not the same bits. */
static void same(bench *b, int row, const setting *s, const outcome *a, const outcome *o)
{
    int wrong = 0;
    for (int q = 0; q < QUANTITIES; q++)
        wrong += given(s, q) && memcmp(a->of[q], o->of[q], b->count[q] * sizeof(double)) != 0;
    row_note(&b->bits[row], EXACT_CASE, wrong, icd_cases[EXACT_CASE].bound, s->name);
}

/* ---- the settings ---- */

static icd_status all_settings(bench *b, double step, icd_err *err)
{
    int classes = b->m.arch.model.classes;
    icd_chain c = { .n = N, .x0 = b->x0, .labels = classes ? b->labels[0] : NULL, .steps = K, .step_size = step, .noise = 0.05,
                    .normals = b->normals, .keep = K };
    icd_losses l = { .n = N, .positives = b->positives, .positive_labels = classes ? b->labels[1] : NULL,
                     .n_neighbours = NEIGHBOURS, .neighbours = b->neighbours, .w_opt = 1, .w_ent = 0.3, .kl_sign = 1,
                     .backprop_steps = 1 };
    setting list[] = {
        { "apart", c, l, 0, 0 },
        { "noise before, clamp, kl_sign -1, kl_batch 3, energy_l2, scale_mean, grad_clip", c, l, 0.01, 1 },
        { "all steps", c, l, 0, 1 },
        { "two steps, noise before, clamp, energy_l2", c, l, 0, 0 },
        { "all steps, clamp, apart, kl_batch 3", c, l, 0, 0 },
        { "no neighbours, noise before", c, l, 0, 0 },
        { "no KL term", c, l, 0, 0 },
    };
    enum { SETTINGS = sizeof list / sizeof list[0] };
    list[0].losses.apart = list[4].losses.apart = 1;
    list[1].chain.noise_before = list[3].chain.noise_before = list[5].chain.noise_before = 1;
    list[1].chain.clamp = list[3].chain.clamp = list[4].chain.clamp = 1;
    list[1].losses.kl_sign = -1;
    list[1].losses.kl_batch = list[4].losses.kl_batch = 3;
    list[1].losses.energy_l2 = list[3].losses.energy_l2 = 0.7;
    list[1].losses.scale_mean = 1;
    list[2].losses.backprop_steps = list[4].losses.backprop_steps = K;
    list[3].losses.backprop_steps = 2;
    list[5].losses.n_neighbours = 0;
    list[6].losses.w_opt = list[6].losses.w_ent = 0;
    for (int i = 0; i < SETTINGS && !(i > 4 && b->m.arch.n_scales > 1); i++) {      /* the last two know nothing of scales */
        const setting *s = &list[i];
        for (size_t j = 0; j < b->p; j++)        /* another EMA each time */
            b->ema[j] = (double)(float)(b->m.theta[j] * (0.9 + 0.02 * i));
        for (int e = 0; e < TWOS; e++)
            ICD_TRY(run(b, b->engine[e], 0, s, &b->out[e], err));
        ICD_TRY(round_factors(b, s, err));
        judge(b, s, &b->out[JUDGED], 0);
        if (!s->bits || (i > 1 && b->nd > 4000))
            continue;
        for (int e = TWOS; e < ENGINES; e++)
            ICD_TRY(run(b, b->engine[e], 0, s, &b->out[e], err));
        ICD_TRY(run(b, b->engine[THREADS2], 1, s, &b->out[AHEAD], err));
        judge(b, s, &b->out[TWOS], 1);
        same(b, 0, s, &b->out[TWOS], &b->out[THREADS2]);
        same(b, 1, s, &b->out[TWOS], &b->out[THREADS3]);
        same(b, 2, s, &b->out[TWOS], &b->out[AHEAD]);
    }
    return ICD_OK;
}

/* ---- a model ---- */

static icd_status prepare(bench *b)
{
    const icd_arch *a = &b->m.arch;
    icd_arena *arena = &b->m.arena;
    size_t d = (size_t)a->c * (size_t)a->h * (size_t)a->w, nd = b->nd = N * d, p = b->p = a->n_values;
    const size_t count[QUANTITIES] = { (K + 1) * nd, 1, N, N, N, 4, 2, p, p, p, p, p, p, p, p, nd, N,
                                       (size_t)(N * a->n_scales), nd, N };
    memcpy(b->count, count, sizeof count);
    int whole = 1;
    for (int o = 0; o < OUTCOMES; o++)
        for (int q = 0; q < QUANTITIES; q++)
            whole &= (b->out[o].of[q] = icd_arena_alloc(arena, count[q], sizeof(double))) != NULL;
    whole &= (b->x0 = icd_arena_alloc(arena, nd, sizeof(float))) != NULL;
    whole &= (b->positives = icd_arena_alloc(arena, nd, sizeof(float))) != NULL;
    whole &= (b->image = icd_arena_alloc(arena, nd, sizeof(float))) != NULL;
    whole &= (b->neighbours = icd_arena_alloc(arena, NEIGHBOURS * d, sizeof(float))) != NULL;
    whole &= (b->normals = icd_arena_alloc(arena, K * nd, sizeof(double))) != NULL;
    whole &= (b->ema = icd_arena_alloc(arena, p, sizeof(double))) != NULL;
    whole &= (b->zeros = icd_arena_alloc(arena, p, sizeof(double))) != NULL;
    if (!whole)
        return ICD_ENOMEM;
    icd_stream s = { 17, 2, ICD_DRAW_TEST, 0 };
    uint64_t at = 0;
    for (size_t i = 0; i < nd; i++) {
        b->x0[i] = icd_uniform(&s, at++);
        b->positives[i] = icd_uniform(&s, at++);
    }
    for (size_t i = 0; i < NEIGHBOURS * d; i++)
        b->neighbours[i] = icd_uniform(&s, at++);
    for (size_t i = 0; i < K * nd; i++)
        b->normals[i] = (double)icd_normal(&s, at++);
    for (int i = 0; i < 2 * N; i++)
        b->labels[i / N][i % N] = a->model.classes ? (int32_t)icd_below(&s, at++, (uint32_t)a->model.classes) : 0;
    for (int q = 0; q < QUANTITIES; q++)
        b->row[q] = row_begin(b->m.name, "%s", quantities[q]);
    b->bits[0] = row_begin(b->m.name, "same bits with two threads");
    b->bits[1] = row_begin(b->m.name, "same bits with three threads");
    b->bits[2] = row_begin(b->m.name, "same bits with the losses ahead");
    return ICD_OK;
}

/* The least memory in which the engine's parts have two images. */
static icd_status open_twos(bench *b, int which, int threads, icd_err *err)
{
    icd_engine_options o = { .threads = threads, .memory = 1 << 16, .winograd = 4 };
    icd_work w = { .batch = N, .keep = K, .n_neighbours = NEIGHBOURS, .backprop_steps = K };
    icd_memory m = { .part = 0 };
    for (;; o.memory += o.memory / 8) {
        icd_err small;
        icd_status s = fast_engine_open(&b->engine[which], b->table->name, b->table, &b->m.arch, &o, &small);
        if (s == ICD_ENOMEM && o.memory < (size_t)1 << 30)
            continue;
        if (s != ICD_OK)
            return icd_fail(err, s, "%s", small.text);
        ICD_TRY(b->engine[which]->memory(b->engine[which], &w, &m, err));
        if (m.part >= 2)
            return ICD_OK;
        b->engine[which]->close(b->engine[which]);
        b->engine[which] = NULL;
    }
}

static icd_status open_engines(bench *b, icd_err *err)
{
    icd_engine_options o = { .threads = 1, .memory = SIZE_MAX, .winograd = 4 };
    ICD_TRY(fast_engine_open(&b->engine[JUDGED], b->table->name, b->table, &b->m.arch, &o, err));
    ICD_TRY(icd_engine_ref64_open(&b->engine[REF64], &b->m.arch, &o, err));
    ICD_TRY(icd_engine_ref_open(&b->engine[REF], &b->m.arch, &o, err));
    ICD_TRY(verify_factors_open(&b->factors, b->table, &b->m.arch, err));
    for (int i = TWOS; i < ENGINES; i++)
        ICD_TRY(open_twos(b, i, i - TWOS + 1, err));
    return ICD_OK;
}

/* A step that moves a pixel by a hundredth: with larger ones the chains of nets without norm are chaotic. */
static icd_status step_size(bench *b, double *step, icd_err *err)
{
    double sum = 0, E[N];
    icd_engine *e = b->engine[REF64];
    ICD_TRY(e->import(e, ICD_PARAMETERS, b->m.theta, err));
    ICD_TRY(e->energy(e, 0, N, b->x0, b->m.arch.model.classes ? b->labels[0] : NULL, E, NULL, b->image, err));
    for (size_t i = 0; i < b->nd; i++)
        sum += (double)b->image[i] * (double)b->image[i];
    *step = 0.01 / sqrt(sum / (double)b->nd);
    return ICD_OK;
}

static icd_status one_model(bench *b, icd_err *err)
{
    double step;
    ICD_TRY(prepare(b));
    ICD_TRY(open_engines(b, err));
    ICD_TRY(step_size(b, &step, err));
    ICD_TRY(all_settings(b, step, err));
    for (int q = 0; q < QUANTITIES; q++)
        row_end(&b->row[q], &b->listener, b->table->name, "ref64");
    for (int i = 0; i < 3; i++)
        row_end(&b->bits[i], &b->listener, b->table->name, "one thread, chain, then gradients");
    return ICD_OK;
}

icd_status icd_verify_engine(const fast_backend *table, const char *only, const icd_listener *l, icd_err *err)
{
    icd_status s = ICD_OK;
    for (int i = 0; i < VERIFY_MODELS && s == ICD_OK; i++) {
        if (!verify_model_wanted(i, only))
            continue;
        bench b = { .listener = *l, .table = table };
        s = verify_model_make(i, &b.m, err);
        if (s == ICD_OK)
            s = one_model(&b, err);
        if (s == ICD_ENOMEM)
            icd_fail(err, s, "out of memory for the model %s", b.m.name);
        for (int e = 0; e < ENGINES; e++)
            if (b.engine[e])
                b.engine[e]->close(b.engine[e]);
        verify_factors_close(&b.factors);
        verify_model_free(&b.m);
    }
    return s;
}
