/* engine_fast.c: the engine contract: parts of a batch on threads, vectors, sums in the parts' order. */
#include "engine_fast.h"

#include <math.h>
#include <string.h>

#include "common/parallel.h"
#include "part.h"
#include "weights.h"

enum { CHUNK = 1 << 16,                  /* values of a vector that one job updates */
       TURNS = ICD_GRAD_ENT - ICD_GRAD_CD + 1 };

typedef struct {
    icd_engine base;
    char name[32];
    const fast_backend *backend;
    icd_arena lists;                     /* of the plan */
    fast_plan plan;
    size_t d;                            /* pixels of an image */
    float *vector[ICD_VECTORS];          /* (n_values) each; NULL until first used */
    float *used[2], *packed[2];          /* parameters, EMA: as the layers use them, and packed */
    int prepared[2];                     /* are they those of the vectors now? */
    fast_worker *worker;                 /* (threads) */
    void **memory;                       /* (threads) one block each; NULL until first used */
    double *chunk;                       /* (chunks) */
    /* The batch's rows, for as many images as the largest batch yet. */
    int rows;
    double *length, *nn_square;
    float *energies;                     /* (2,n_scales,batch) */
    int32_t *nn_index, *labels;
    int *finite;
    float *state;                        /* (keep+1,n,d) */
    size_t state_count;
    icd_chain chain;                     /* the last one; its pointers are valid until gradients() is done */
} engine;

static icd_status no_memory(icd_err *err, const char *what, size_t bytes)
{
    return icd_fail(err, ICD_ENOMEM, "out of memory: %.1f MiB wanted for %s", (double)bytes / 1048576.0, what);
}

/* ---- memory ---- */

static icd_status want(void **p, size_t count, size_t size, const char *what, icd_err *err)
{
    if (!*p)
        *p = icd_alloc(count, size);
    return *p ? ICD_OK : no_memory(err, what, count * size);
}

static icd_status want_vector(engine *e, icd_vector v, icd_err *err)
{
    return want((void **)&e->vector[v], e->base.arch->n_values, sizeof(float), "a vector of parameters", err);
}

static size_t rounded(size_t floats) { return (floats + 15) / 16 * 16; }

/* Floats of one thread's block: arena, scratch, states, energies, gradients. */
static size_t worker_floats(const fast_plan *p)
{
    size_t nd = rounded((size_t)p->part * p->tensor[0].count), ns = rounded((size_t)(p->part * p->arch->n_scales));
    return p->floats + rounded((p->scratch + fast_weights_scratch(p)) / sizeof(float)) + 4 * nd + 2 * ns
           + rounded(p->arch->n_values);
}

static icd_status want_worker(engine *e, int t, icd_err *err)
{
    const fast_plan *p = &e->plan;
    if (e->memory[t])
        return ICD_OK;
    ICD_TRY(want(&e->memory[t], worker_floats(p), sizeof(float), "one thread's work", err));
    size_t nd = rounded((size_t)p->part * e->d), ns = rounded((size_t)(p->part * p->arch->n_scales));
    size_t scratch = rounded((p->scratch + fast_weights_scratch(p)) / sizeof(float));
    fast_worker *w = &e->worker[t];
    float *at = e->memory[t];
    w->run = (fast_run){ .plan = p, .arena = at, .ctx = { at + p->floats, p->scratch } };
    at += p->floats + scratch;
    w->x = at;
    w->inside = at + nd;
    w->a = at + 2 * nd;
    w->g = at + 3 * nd;
    at += 4 * nd;
    w->energy = at;
    w->weight = at + ns;
    at += 2 * ns;
    w->grad = at;
    fast_run_start(&w->run);
    return ICD_OK;
}

static icd_status want_workers(engine *e, int jobs, icd_err *err)
{
    for (int t = 0; t < e->base.threads && (t == 0 || t < jobs); t++)
        ICD_TRY(want_worker(e, t, err));
    return ICD_OK;
}

static icd_status want_rows(engine *e, int n, icd_err *err)
{
    void **row[] = { (void **)&e->length, (void **)&e->nn_square, (void **)&e->energies, (void **)&e->nn_index,
                     (void **)&e->labels, (void **)&e->finite };
    const size_t bytes[] = { 8, 8, 2 * sizeof(float) * (size_t)e->base.arch->n_scales, 4, 4, sizeof(int) };
    if (n <= e->rows)
        return ICD_OK;
    e->rows = 0;
    for (int i = 0; i < 6; i++) {
        icd_free(*row[i]);
        *row[i] = NULL;
        ICD_TRY(want(row[i], (size_t)n, bytes[i], "a batch's results", err));
    }
    e->rows = n;
    return ICD_OK;
}

static icd_status want_state(engine *e, size_t count, icd_err *err)
{
    if (count <= e->state_count)
        return ICD_OK;
    icd_free(e->state);
    e->state = NULL;
    e->state_count = 0;
    ICD_TRY(want((void **)&e->state, count, sizeof(float), "the chain's states", err));
    e->state_count = count;
    return ICD_OK;
}

/* ---- weights ---- */

typedef struct { engine *e; int which; const float *theta; float *vector; } weight_job;

static void use_job(void *context, int thread, int p)
{
    weight_job *j = context;
    fast_use_parameter(&j->e->plan, &j->e->worker[thread].run.ctx, p, j->theta, j->e->used[j->which]);
}

static void pack_job(void *context, int thread, int i)
{
    weight_job *j = context;
    engine *e = j->e;
    fast_pack_node(&e->plan, &e->worker[thread].run.ctx, &e->plan.node[i], e->used[j->which], e->packed[j->which]);
}

static void raw_job(void *context, int thread, int p)
{
    weight_job *j = context;
    fast_raw_gradient(&j->e->plan, &j->e->worker[thread].run.ctx, p, j->theta, j->vector);
}

/* Once after each change; K steps of a chain find them ready. */
static icd_status prepare(engine *e, int use_ema, icd_err *err)
{
    icd_vector v = use_ema ? ICD_EMA : ICD_PARAMETERS;
    ICD_TRY(want_vector(e, v, err));
    ICD_TRY(want((void **)&e->used[use_ema], e->base.arch->n_values, sizeof(float), "the weights in use", err));
    ICD_TRY(want((void **)&e->packed[use_ema], e->plan.packed, sizeof(float), "packed weights", err));
    ICD_TRY(want_workers(e, e->base.threads, err));
    if (!e->prepared[use_ema]) {
        weight_job j = { e, use_ema, e->vector[v], NULL };
        icd_parallel(e->base.threads, e->base.arch->n_params, use_job, &j);
        icd_parallel(e->base.threads, e->plan.n_nodes, pack_job, &j);
        e->prepared[use_ema] = 1;
    }
    for (int t = 0; t < e->base.threads; t++) {
        e->worker[t].run.theta = e->used[use_ema];
        e->worker[t].run.packed = e->packed[use_ema];
    }
    return ICD_OK;
}

/* ---- jobs: one part each ---- */

typedef struct {
    engine *e;
    int n, chain, losses;                /* images; is there a chain, are there losses to do? */
    fast_part part;                      /* what all parts have in common */
    icd_turn turn[TURNS];                /* one for each gradient */
    /* energy */
    const float *x;
    const int32_t *labels;
    float *energies, *gradient;
} job;

static int parts_of(const engine *e, int n) { return (n + e->plan.part - 1) / e->plan.part; }

static int part_images(const job *j, int index, int *first)
{
    *first = index * j->e->plan.part;
    return j->n - *first < j->e->plan.part ? j->n - *first : j->e->plan.part;
}

static void energy_job(void *context, int thread, int index)
{
    job *j = context;
    int first, n = part_images(j, index, &first);
    fast_part_energy(&j->e->worker[thread], j->n, first, n, j->x, j->labels, j->energies, j->gradient);
}

/* vector[v] += the part's gradient, in the parts' order: their sum does not depend on the threads. */
static void give(fast_part *p, icd_vector v)
{
    job *j = p->owner;
    engine *e = j->e;
    int index = p->first / e->plan.part;
    icd_turn *turn = &j->turn[v - ICD_GRAD_CD];
    icd_turn_wait(turn, index);
    for (size_t i = 0; i < e->base.arch->n_values; i++)
        e->vector[v][i] += p->worker->grad[i];
    icd_turn_pass(turn);
}

static void step_job(void *context, int thread, int index)
{
    job *j = context;
    engine *e = j->e;
    fast_part p = j->part;
    p.worker = &e->worker[thread];
    p.n = part_images(j, index, &p.first);
    p.give = give;
    p.owner = j;
    if (j->chain)
        fast_part_chain(&p);
    if (j->losses)
        fast_part_losses(&p);
}

/* ---- the contract ---- */

static icd_status fast_import(icd_engine *base, icd_vector v, const double *from, icd_err *err)
{
    engine *e = (engine *)base;
    ICD_TRY(want_vector(e, v, err));
    for (size_t i = 0; i < base->arch->n_values; i++)
        e->vector[v][i] = (float)from[i];
    e->prepared[0] = e->prepared[1] = 0;
    return ICD_OK;
}

static icd_status fast_export(icd_engine *base, icd_vector v, double *to, icd_err *err)
{
    engine *e = (engine *)base;
    ICD_TRY(want_vector(e, v, err));
    for (size_t i = 0; i < base->arch->n_values; i++)
        to[i] = (double)e->vector[v][i];
    return ICD_OK;
}

/* E(x_i) = sum_s E_s(x_i), of energies (n_scales,n)                                                             [ICD:2.4] */
static double summed(const engine *e, int n, const float *energies, int i)
{
    double sum = 0;
    for (int s = 0; s < e->base.arch->n_scales; s++)
        sum += (double)energies[(size_t)s * (size_t)n + (size_t)i];
    return sum;
}

/* What energy_l2 weighs: E^2, or with scale_mean the mean of the scales' squares. */
static double squared(const engine *e, int n, const float *energies, int i, int scale_mean)
{
    int scales = e->base.arch->n_scales;
    double sum = summed(e, n, energies, i), square = 0;
    for (int s = 0; s < scales; s++) {
        double of_scale = (double)energies[(size_t)s * (size_t)n + (size_t)i];
        square += of_scale * of_scale / scales;
    }
    return scale_mean ? square : sum * sum;
}

static icd_status fast_energy(icd_engine *base, int use_ema, int n, const float *x, const int32_t *labels, double *energy,
                              double *per_scale, float *gradient, icd_err *err)
{
    engine *e = (engine *)base;
    job j = { .e = e, .n = n, .x = x, .labels = labels, .gradient = gradient };
    int scales = base->arch->n_scales;
    ICD_TRY(prepare(e, use_ema, err));
    ICD_TRY(want((void **)&j.energies, (size_t)n * (size_t)scales, sizeof(float), "energies", err));
    icd_parallel(base->threads, parts_of(e, n), energy_job, &j);
    for (int i = 0; i < n; i++) {
        energy[i] = summed(e, n, j.energies, i);
        for (int s = 0; s < scales && per_scale; s++)
            per_scale[i * scales + s] = (double)j.energies[(size_t)s * (size_t)n + (size_t)i];
    }
    icd_free(j.energies);
    return ICD_OK;
}

/* Room for a chain and what is known before it runs. */
static icd_status begin_chain(engine *e, const icd_chain *c, float *out, job *j, icd_err *err)
{
    e->chain = (icd_chain){ 0 };         /* none, until this one is done */
    ICD_TRY(prepare(e, c->use_ema, err));
    ICD_TRY(want_rows(e, c->n, err));
    ICD_TRY(want_state(e, (size_t)(c->keep + 1) * (size_t)c->n * e->d, err));
    if (c->labels)
        memcpy(e->labels, c->labels, (size_t)c->n * sizeof *e->labels);
    for (int i = 0; i < c->n; i++) {
        e->length[i] = 0;
        e->finite[i] = 1;
    }
    j->chain = 1;
    j->n = c->n;
    j->part.chain = c;
    j->part.labels = c->labels ? e->labels : NULL;
    j->part.out = out;
    j->part.state = e->state;
    j->part.length = e->length;
    j->part.finite = e->finite;
    return ICD_OK;
}

/* r_t = lambda < 1/K sum_k |grad E(x_k)| >                                                                    [ANA:r_t] */
static void end_chain(engine *e, const icd_chain *c, icd_chain_stats *stats)
{
    double sum = 0;
    stats->finite = 1;
    for (int i = 0; i < c->n; i++) {
        sum += e->length[i];
        stats->finite &= e->finite[i];
    }
    stats->langevin_gradient = c->steps ? c->step_size * sum / ((double)c->n * c->steps) : 0;
    e->chain = *c;
}

static icd_status fast_chain(icd_engine *base, const icd_chain *c, float *out, icd_chain_stats *stats, icd_err *err)
{
    engine *e = (engine *)base;
    job j = { .e = e };
    ICD_TRY(begin_chain(e, c, out, &j, err));
    icd_parallel(base->threads, parts_of(e, c->n), step_job, &j);
    end_chain(e, c, stats);
    return ICD_OK;
}

static icd_status fast_trajectory(icd_engine *base, int k, double *x, icd_err *err)
{
    engine *e = (engine *)base;
    const icd_chain *c = &e->chain;
    int row = k - (c->steps - c->keep);
    if (row < 0 || k > c->steps || c->n == 0)
        return icd_fail(err, ICD_EINVAL, "state %d of the chain was not kept (%d..%d were)", k, c->steps - c->keep, c->steps);
    size_t count = (size_t)c->n * e->d;
    for (size_t i = 0; i < count; i++)
        x[i] = (double)e->state[(size_t)row * count + i];
    return ICD_OK;
}

typedef struct { engine *e; const float *a, *b; const icd_update *u; double square; } chunk_job;

static size_t chunk_count(const engine *e, int i)
{
    size_t left = e->base.arch->n_values - (size_t)i * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static int chunks_of(const engine *e) { return (int)((e->base.arch->n_values + CHUNK - 1) / CHUNK); }

static void square_job(void *context, int thread, int i)
{
    chunk_job *j = context;
    engine *e = j->e;
    size_t at = (size_t)i * CHUNK;
    e->backend->sum_squares(&e->worker[thread].run.ctx, chunk_count(e, i), j->a + at, j->b ? j->b + at : NULL, &e->chunk[i]);
}

/* |a + b|^2; b NULL: 0 */
static double square_of(engine *e, const float *a, const float *b)
{
    chunk_job j = { .e = e, .a = a, .b = b };
    double sum = 0;
    icd_parallel(e->base.threads, chunks_of(e), square_job, &j);
    for (int i = 0; i < chunks_of(e); i++)
        sum += e->chunk[i];
    return sum;
}

static icd_status begin_losses(engine *e, const icd_chain *c, icd_losses *l, job *j, icd_err *err)
{
    if (l->kl_batch == 0 || l->kl_batch > l->n)
        l->kl_batch = l->n;
    if (l->n != c->n || l->backprop_steps < 1 || l->backprop_steps > c->keep)
        return icd_fail(err, ICD_EINVAL, "gradients of %d images through %d steps, but the chain kept %d states of %d images",
                        l->n, l->backprop_steps, c->keep, c->n);
    for (int v = ICD_GRAD_CD; v <= (l->apart ? ICD_GRAD_ENT : ICD_GRAD_KL); v++) {
        ICD_TRY(want_vector(e, (icd_vector)v, err));
        memset(e->vector[v], 0, e->base.arch->n_values * sizeof(float));
    }
    j->losses = 1;
    j->part.losses = l;
    j->part.kl = l->apart || l->w_opt != 0 || (l->w_ent != 0 && l->n_neighbours > 0);
    j->part.energies = e->energies;
    j->part.nn_index = e->nn_index;
    j->part.nn_square = e->nn_square;
    return ICD_OK;
}

static void loss_values(const engine *e, const icd_losses *l, int kl, icd_loss_stats *s)
{
    const double floor = 1e-6;           /* of a distance: log is -inf at a duplicate                           [ICD:8] */
    double share = l->scale_mean ? 1.0 / e->base.arch->n_scales : 1.0;
    const float *negative = e->energies + (size_t)e->base.arch->n_scales * (size_t)l->n;
    for (int i = 0; i < l->n; i++) {
        double plus = summed(e, l->n, e->energies, i), minus = summed(e, l->n, negative, i);
        s->energy_positive += plus / l->n;
        s->energy_negative += minus / l->n;
        s->loss_l2 += (squared(e, l->n, e->energies, i, l->scale_mean) + squared(e, l->n, negative, i, l->scale_mean)) / l->n;
        if (l->energy_positive)
            l->energy_positive[i] = plus;
        if (l->energy_negative)
            l->energy_negative[i] = minus;
    }
    s->loss_cd = share * (s->energy_positive - s->energy_negative);
    for (int i = 0; kl && i < l->kl_batch; i++) {
        s->loss_opt += share * summed(e, l->n, negative, i) / l->kl_batch;
        if (l->n_neighbours == 0)
            continue;
        double square = e->nn_square[i];
        s->loss_ent -= 0.5 * log(square > floor * floor ? square : floor * floor) / l->kl_batch;
        if (l->nn_index)
            l->nn_index[i] = e->nn_index[i];
        if (l->nn_distance)
            l->nn_distance[i] = sqrt(square);
    }
}

static void end_losses(engine *e, const icd_losses *l, int kl, icd_loss_stats *s)
{
    for (int v = ICD_GRAD_CD; v <= (l->apart ? ICD_GRAD_ENT : ICD_GRAD_KL); v++) {
        weight_job j = { e, 0, e->vector[ICD_PARAMETERS], e->vector[v] };
        icd_parallel(e->base.threads, e->base.arch->n_params, raw_job, &j);
    }
    memset(s, 0, sizeof *s);
    loss_values(e, l, kl, s);
    s->grad_cd = sqrt(square_of(e, e->vector[ICD_GRAD_CD], NULL));
    s->grad_kl = sqrt(square_of(e, e->vector[ICD_GRAD_KL], NULL));
    s->finite = isfinite(s->energy_positive) && isfinite(s->energy_negative) && isfinite(s->loss_opt) && isfinite(s->loss_ent)
                && isfinite(s->grad_cd) && isfinite(s->grad_kl);
}

/* Jobs of parts, in turns: chain, losses or both. */
static void run_parts(engine *e, job *j)
{
    for (int i = 0; i < TURNS; i++)
        icd_turn_init(&j->turn[i]);
    icd_parallel(e->base.threads, parts_of(e, j->n), step_job, j);
    for (int i = 0; i < TURNS; i++)
        icd_turn_destroy(&j->turn[i]);
}

static icd_status fast_gradients(icd_engine *base, const icd_losses *given, icd_loss_stats *stats, icd_err *err)
{
    engine *e = (engine *)base;
    icd_losses l = *given;
    job j = { .e = e, .n = l.n };
    ICD_TRY(begin_losses(e, &e->chain, &l, &j, err));
    ICD_TRY(prepare(e, 0, err));
    j.part.chain = &e->chain;
    j.part.labels = e->chain.labels ? e->labels : NULL;
    j.part.state = e->state;
    run_parts(e, &j);
    end_losses(e, &l, j.part.kl, stats);
    return ICD_OK;
}

/* Chain and losses part by part: what the last Langevin step has computed is still there when L_KL wants it. */
static icd_status fast_step(icd_engine *base, const icd_chain *c, const icd_losses *given, float *out, icd_chain_stats *chain,
                            icd_loss_stats *stats, icd_err *err)
{
    engine *e = (engine *)base;
    icd_losses l = *given;
    job j = { .e = e };
    if (c->use_ema)
        return icd_fail(err, ICD_EINVAL, "a training step's chain wants the parameters, not their EMA");
    ICD_TRY(begin_chain(e, c, out, &j, err));
    ICD_TRY(begin_losses(e, c, &l, &j, err));
    run_parts(e, &j);
    end_chain(e, c, chain);
    end_losses(e, &l, j.part.kl, stats);
    return ICD_OK;
}

static void adam_job(void *context, int thread, int i)
{
    chunk_job *j = context;
    engine *e = j->e;
    const icd_update *u = j->u;
    size_t at = (size_t)i * CHUNK;
    fast_adam a = { .count = chunk_count(e, i), .cd = e->vector[ICD_GRAD_CD] + at, .kl = e->vector[ICD_GRAD_KL] + at,
                    .theta = e->vector[ICD_PARAMETERS] + at, .ema = e->vector[ICD_EMA] + at, .m = e->vector[ICD_ADAM_M] + at,
                    .v = e->vector[ICD_ADAM_V] + at, .square = &j->square, .grad_clip = u->grad_clip, .lr = u->lr,
                    .beta1 = u->beta1, .beta2 = u->beta2, .c1 = 1.0 - pow(u->beta1, (double)u->t),
                    .c2 = 1.0 - pow(u->beta2, (double)u->t), .eps = u->adam_eps, .decay = u->ema };
    e->backend->adam(&e->worker[thread].run.ctx, &a);
}

/* Clipping by the norm of the whole gradient, Adam, EMA.                                          [ICD:alg1.17] [ICD:3.1] */
static icd_status fast_update(icd_engine *base, const icd_update *u, icd_err *err)
{
    engine *e = (engine *)base;
    for (int v = ICD_PARAMETERS; v <= ICD_GRAD_KL; v++)
        ICD_TRY(want_vector(e, (icd_vector)v, err));
    ICD_TRY(want_workers(e, base->threads, err));
    chunk_job j = { .e = e, .u = u };
    if (u->grad_clip > 0)
        j.square = square_of(e, e->vector[ICD_GRAD_CD], e->vector[ICD_GRAD_KL]);
    icd_parallel(base->threads, chunks_of(e), adam_job, &j);
    e->prepared[0] = e->prepared[1] = 0;
    return ICD_OK;
}

static icd_status fast_memory(icd_engine *base, const icd_work *w, icd_memory *out, icd_err *err)
{
    engine *e = (engine *)base;
    (void)err;
    size_t vectors = (size_t)(ICD_GRAD_KL + 1 + (w->apart ? 2 : 0)) + 1;       /* and the weights in use */
    int jobs = parts_of(e, w->batch), threads = jobs < base->threads ? jobs : base->threads;
    out->part = e->plan.part;
    out->parameters = (base->arch->n_values * vectors + e->plan.packed) * sizeof(float);
    out->work = worker_floats(&e->plan) * sizeof(float) * (size_t)threads
                + (size_t)(w->keep + 1) * (size_t)w->batch * e->d * sizeof(float) + (size_t)w->batch * (size_t)(32 + 8 * base->arch->n_scales);
    return ICD_OK;
}

static void fast_close(icd_engine *base)
{
    engine *e = (engine *)base;
    if (!e)
        return;
    for (int i = 0; i < ICD_VECTORS; i++)
        icd_free(e->vector[i]);
    for (int i = 0; i < 2; i++) {
        icd_free(e->used[i]);
        icd_free(e->packed[i]);
    }
    for (int t = 0; t < base->threads && e->memory; t++)
        icd_free(e->memory[t]);
    void *rest[] = { e->memory, e->worker, e->chunk, e->length, e->energies, e->nn_square, e->nn_index, e->labels,
                     e->finite, e->state };
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++)
        icd_free(rest[i]);
    icd_arena_release(&e->lists);
    icd_free(e);
}

/* Images in a part: few, so that a part's tensors stay near the core and threads share a batch evenly; more where images are
 * points; fewer if `memory` asks. It depends on the model and `memory`, never on the threads or the batch. */
static icd_status plan_parts(engine *e, size_t memory, int winograd, icd_err *err)
{
    for (int part = e->d < 256 ? 64 : 8;; part /= 2) {
        icd_arena_rewind(&e->lists);
        ICD_TRY(fast_plan_make(&e->plan, &e->lists, e->base.arch, e->backend, part, winograd, err));
        size_t bytes = worker_floats(&e->plan) * sizeof(float);
        if (bytes <= memory)
            return ICD_OK;
        if (part == 1)
            return icd_fail(err, ICD_ENOMEM, "one image needs %.0f MiB of work memory, and the setting `memory` allows %.0f",
                            ceil((double)bytes / 1048576.0), (double)memory / 1048576.0);
    }
}

icd_status fast_engine_open(icd_engine **out, const char *name, const fast_backend *b, const icd_arch *a,
                            const icd_engine_options *o, icd_err *err)
{
    engine *e = icd_alloc(1, sizeof *e);
    if (!e)
        return no_memory(err, "the engine", sizeof *e);
    memcpy(e->name, name, strlen(name) < sizeof e->name ? strlen(name) : sizeof e->name - 1);
    e->backend = b;
    e->d = (size_t)a->c * (size_t)a->h * (size_t)a->w;
    e->base = (icd_engine){ .name = e->name, .arch = a, .real_bytes = 4,
        .threads = o->threads > 0 ? o->threads : icd_machine_threads(), .close = fast_close, .import = fast_import,
        .export = fast_export, .energy = fast_energy, .chain = fast_chain, .trajectory = fast_trajectory,
        .gradients = fast_gradients, .step = fast_step, .update = fast_update, .memory = fast_memory };
    icd_status s = plan_parts(e, o->memory, o->winograd, err);
    if (s == ICD_OK)
        s = want((void **)&e->worker, (size_t)e->base.threads, sizeof *e->worker, "the engine", err);
    if (s == ICD_OK)
        s = want((void **)&e->memory, (size_t)e->base.threads, sizeof *e->memory, "the engine", err);
    if (s == ICD_OK)
        s = want((void **)&e->chunk, (size_t)chunks_of(e), sizeof *e->chunk, "the engine", err);
    if (s != ICD_OK) {
        fast_close(&e->base);
        return s;
    }
    *out = &e->base;
    return ICD_OK;
}

/* ---- by name ---- */

icd_status fast_engine_table(const char *name, const fast_backend **out, icd_err *err)
{
    const char *table = strncmp(name, "cpu:", 4) == 0 ? name + 4 : NULL;
    const fast_backend *b = fast_backend_find(table);
    if (!b && fast_backend_elsewhere(table))
        return icd_fail(err, ICD_EUNUSABLE, "engine %s: its kernels are for another processor than this build is", name);
    if (!b)
        return icd_fail(err, ICD_EINVAL, "this build has no engine '%.40s' (`icd info engines` lists them)", name);
    if (!b->usable())
        return icd_fail(err, ICD_EUNUSABLE, "engine %s: this machine's processor cannot run it (%s)", name, b->about);
    if (fast_backend_missing(b))
        return icd_fail(err, ICD_EINVAL, "the kernel table %s has no %s, which every plan may need", b->name,
                        fast_backend_missing(b));
    *out = b;
    return ICD_OK;
}
