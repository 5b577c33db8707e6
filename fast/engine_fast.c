/* engine_fast.c: the engine contract: parts of a batch on threads, vectors, sums in the parts' order. */
#include "engine_memory.h"

#include <math.h>
#include <string.h>

#include "common/memory.h"
#include "common/parallel.h"
#include "weights.h"

enum { CHUNK = 1 << 16,                  /* values of a vector that one job updates; a device takes all at once */
       TURNS = ICD_GRAD_ENT - ICD_GRAD_CD + 1 };

/* ---- jobs: one part each ---- */

typedef struct {
    fast_engine *e;
    int n, chain, losses;                /* images; is there a chain, are there losses to do? */
    fast_part part;                      /* what all parts have in common */
    float *out;                          /* x_K for the caller */
    icd_turn turn[TURNS];                /* one for each gradient */
    /* energy */
    const float *x;
    const int32_t *labels;
    float *energies, *gradient;
} job;

static int parts_of(const fast_engine *e, int n) { return (n + e->plan.part - 1) / e->plan.part; }

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
    fast_engine *e = j->e;
    int index = p->first / e->plan.part;
    icd_turn *turn = &j->turn[v - ICD_GRAD_CD];
    icd_turn_wait(turn, index);
    e->backend->scale_add(&p->worker->run.ctx, e->base.arch->n_values, NULL, fast_vector(e, v), p->worker->grad,
                          fast_vector(e, v));
    icd_turn_pass(turn);
}

static void step_job(void *context, int thread, int index)
{
    job *j = context;
    fast_engine *e = j->e;
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

static icd_status failed(const fast_engine *e, const char *fault, icd_err *err)
{
    return icd_fail(err, ICD_EUNUSABLE, "engine %s: %.400s", e->name, fault);
}

/* After calls whose results somebody reads: did the device do them? */
static icd_status done(fast_engine *e, icd_err *err)
{
    const char *fault = e->device ? e->device->fault() : NULL;
    return fault ? failed(e, fault, err) : ICD_OK;
}

static icd_status fast_import(icd_engine *base, icd_vector v, const double *from, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    size_t n = base->arch->n_values;
    ICD_TRY(fast_want_vector(e, v, err));
    float *to = e->device ? icd_alloc(n, sizeof *to) : fast_vector(e, v);
    if (!to)
        return icd_fail(err, ICD_ENOMEM, "out of memory: %.1f MiB wanted for a vector", (double)n / 262144);
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
    e->prepared[0] = e->prepared[1] = 0;
    if (e->device) {
        e->device->put(fast_vector(e, v), to, n * sizeof *to);
        icd_free(to);
    }
    return done(e, err);
}

/* count floats from where slots have them, as doubles */
static icd_status bring(fast_engine *e, size_t count, const float *from, double *to, icd_err *err)
{
    float *copy = e->device ? icd_alloc(count, sizeof *copy) : NULL;
    if (e->device && !copy)
        return icd_fail(err, ICD_ENOMEM, "out of memory: %.1f MiB wanted for a copy", (double)count / 262144);
    if (e->device)
        e->device->get(copy, from, count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        to[i] = (double)(copy ? copy : from)[i];
    icd_free(copy);
    return done(e, err);
}

static icd_status fast_export(icd_engine *base, icd_vector v, double *to, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    ICD_TRY(fast_want_vector(e, v, err));
    return bring(e, base->arch->n_values, fast_vector(e, v), to, err);
}

/* E(x_i) = sum_s E_s(x_i), of energies (n_scales,n)                                                             [ICD:2.4] */
static double summed(const fast_engine *e, int n, const float *energies, int i)
{
    double sum = 0;
    for (int s = 0; s < e->base.arch->n_scales; s++)
        sum += (double)energies[(size_t)s * (size_t)n + (size_t)i];
    return sum;
}

/* What energy_l2 weighs: E^2, or with scale_mean the mean of the scales' squares. */
static double squared(const fast_engine *e, int n, const float *energies, int i, int scale_mean)
{
    int scales = e->base.arch->n_scales;
    double sum = summed(e, n, energies, i), square = 0;
    for (int s = 0; s < scales; s++) {
        double of_scale = (double)energies[(size_t)s * (size_t)n + (size_t)i];
        square += of_scale * of_scale / scales;
    }
    return scale_mean ? square : sum * sum;
}

/* Where slots write (n,d) images for the caller: `host` itself, or on a device a block that the caller gets a copy of. */
static icd_status images_out(fast_engine *e, int n, float *host, float **there, icd_err *err)
{
    *there = host;
    if (!e->device || !host)
        return ICD_OK;
    ICD_TRY(fast_block_want(&e->out, e->device, (size_t)n * e->d * sizeof(float), 0, "images", err));
    *there = e->out.there;
    return ICD_OK;
}

static void images_home(fast_engine *e, int n, float *host)
{
    if (e->device && host)
        e->device->get(host, e->out.there, (size_t)n * e->d * sizeof(float));
}

static icd_status fast_energy(icd_engine *base, int use_ema, int n, const float *x, const int32_t *labels, double *energy,
                              double *per_scale, float *gradient, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    int scales = base->arch->n_scales;
    size_t bytes = (size_t)n * (size_t)scales * sizeof(float);
    job j = { .e = e, .n = n };
    ICD_TRY(fast_want_weights(e, use_ema, err));
    fast_prepare(e, use_ema);
    ICD_TRY(fast_give(e, GIVEN_X0, x, (size_t)n * e->d * sizeof *x, err));
    ICD_TRY(fast_give(e, GIVEN_LABELS, labels, (size_t)n * sizeof *labels, err));
    j.x = fast_given_at(e, GIVEN_X0, x);
    j.labels = fast_given_at(e, GIVEN_LABELS, labels);
    ICD_TRY(images_out(e, n, gradient, &j.gradient, err));
    ICD_TRY(fast_block_want(&e->energies, e->device, bytes, 1, "energies", err));
    j.energies = e->energies.there;
    icd_parallel(e->crew, parts_of(e, n), energy_job, &j);
    fast_block_get(&e->energies, e->device, bytes);
    images_home(e, n, gradient);
    ICD_TRY(done(e, err));
    for (int i = 0; i < n; i++) {
        const float *of = e->energies.here;
        energy[i] = summed(e, n, of, i);
        for (int s = 0; s < scales && per_scale; s++)
            per_scale[i * scales + s] = (double)of[(size_t)s * (size_t)n + (size_t)i];
    }
    return ICD_OK;
}

/* Room for a chain and what is known before it runs. *c: its pointers become those that slots reach. */
static icd_status begin_chain(fast_engine *e, icd_chain *c, float *out, job *j, icd_err *err)
{
    size_t n = (size_t)c->n;
    e->chain = (icd_chain){ 0 };         /* none, until this one is done */
    e->ahead = NULL;
    ICD_TRY(fast_want_weights(e, c->use_ema, err));
    for (int t = 0; t < e->crew; t++)
        e->worker[t].last_step = 0;
    ICD_TRY(fast_want_rows(e, c->n, err));
    ICD_TRY(fast_want_state(e, (size_t)(c->keep + 1) * n * e->d, err));
    ICD_TRY(fast_give(e, GIVEN_X0, c->x0, n * e->d * sizeof *c->x0, err));
    ICD_TRY(fast_give(e, GIVEN_NORMALS, c->normals, (size_t)c->steps * n * e->d * sizeof *c->normals, err));
    c->x0 = fast_given_at(e, GIVEN_X0, c->x0);
    c->normals = fast_given_at(e, GIVEN_NORMALS, c->normals);
    ICD_TRY(images_out(e, c->n, out, &j->part.out, err));
    j->out = out;
    if (c->labels) {
        memcpy(e->row[ROW_LABELS].here, c->labels, n * sizeof *c->labels);
        fast_block_put(&e->row[ROW_LABELS], e->device, n * sizeof *c->labels);
    }
    double *length = e->row[ROW_LENGTH].here;
    int *finite = e->row[ROW_FINITE].here;
    for (size_t i = 0; i < n; i++) {
        length[i] = 0;
        finite[i] = 1;
    }
    fast_block_put(&e->row[ROW_LENGTH], e->device, n * sizeof *length);
    fast_block_put(&e->row[ROW_FINITE], e->device, n * sizeof *finite);
    *(uint64_t *)e->iteration.here = c->iteration;
    fast_block_put(&e->iteration, e->device, sizeof c->iteration);
    j->chain = 1;
    j->n = c->n;
    j->part.chain = c;
    j->part.iteration = e->iteration.there;
    j->part.labels = c->labels ? e->row[ROW_LABELS].there : NULL;
    j->part.state = e->state.there;
    j->part.length = e->row[ROW_LENGTH].there;
    j->part.finite = e->row[ROW_FINITE].there;
    return ICD_OK;
}

/* r_t = lambda < 1/K sum_k |grad E(x_k)| >                                                                    [ANA:r_t] */
static icd_status end_chain(fast_engine *e, const icd_chain *c, icd_chain_stats *stats, icd_err *err)
{
    const char *fault = e->device ? e->device->wait() : NULL;
    const double *length = e->row[ROW_LENGTH].here;
    const int *finite = e->row[ROW_FINITE].here;
    double sum = 0;
    if (fault)
        return failed(e, fault, err);
    stats->finite = 1;
    for (int i = 0; i < c->n; i++) {
        sum += length[i];
        stats->finite &= finite[i];
    }
    stats->langevin_gradient = c->steps ? c->step_size * sum / ((double)c->n * c->steps) : 0;
    e->chain = *c;
    return ICD_OK;
}

static icd_status fast_trajectory(icd_engine *base, int k, double *x, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    const icd_chain *c = &e->chain;
    int row = k - (c->steps - c->keep);
    if (row < 0 || k > c->steps || c->n == 0)
        return icd_fail(err, ICD_EINVAL, "state %d of the chain was not kept (%d..%d were)", k, c->steps - c->keep, c->steps);
    size_t count = (size_t)c->n * e->d;
    return bring(e, count, (const float *)e->state.there + (size_t)row * count, x, err);
}

/* ---- losses ---- */

static int last_gradient(const icd_losses *l) { return l->apart ? ICD_GRAD_ENT : ICD_GRAD_KL; }

typedef struct { fast_engine *e; fast_square which; const float *a, *b; const icd_update *u; } chunk_job;

static size_t chunk_size(const fast_engine *e) { return e->device ? e->base.arch->n_values : (size_t)CHUNK; }

static size_t chunk_count(const fast_engine *e, int i)
{
    size_t left = e->base.arch->n_values - (size_t)i * chunk_size(e);
    return left < chunk_size(e) ? left : chunk_size(e);
}

static int chunks_of(const fast_engine *e) { return (int)((e->base.arch->n_values + chunk_size(e) - 1) / chunk_size(e)); }

/* (chunks), where slots reach them */
static double *squares(const fast_engine *e, fast_square which)
{
    return (double *)e->chunk.there + (size_t)which * (size_t)chunks_of(e);
}

static void square_job(void *context, int thread, int i)
{
    chunk_job *j = context;
    fast_engine *e = j->e;
    size_t at = (size_t)i * chunk_size(e);
    e->backend->sum_squares(&e->worker[thread].run.ctx, chunk_count(e, i), j->a + at, j->b ? j->b + at : NULL,
                            squares(e, j->which) + i);
}

/* |a + b|^2 into the first of its squares; b NULL: 0 */
static void square_of(fast_engine *e, fast_square which, const float *a, const float *b)
{
    chunk_job j = { .e = e, .which = which, .a = a, .b = b };
    double *sum = squares(e, which);
    icd_parallel(e->crew, chunks_of(e), square_job, &j);
    for (int i = 1; i < chunks_of(e); i++)                   /* not on a device, where there is one chunk */
        sum[0] += sum[i];
}

static double norm_of(const fast_engine *e, fast_square which)
{
    return sqrt(((const double *)e->chunk.here)[(size_t)which * (size_t)chunks_of(e)]);
}

/* Room for the losses of chain c, and what is known before they run; e->losses: with the pointers that slots reach. */
static icd_status begin_losses(fast_engine *e, const icd_chain *c, const icd_losses *given, job *j, icd_err *err)
{
    icd_losses *l = &e->losses;
    size_t image = e->d * sizeof(float);
    *l = *given;
    if (l->kl_batch == 0 || l->kl_batch > l->n)
        l->kl_batch = l->n;
    if (l->n != c->n || l->backprop_steps < 1 || l->backprop_steps > c->keep)
        return icd_fail(err, ICD_EINVAL, "gradients of %d images through %d steps, but the chain kept %d states of %d images",
                        l->n, l->backprop_steps, c->keep, c->n);
    ICD_TRY(fast_give(e, GIVEN_POSITIVES, l->positives, (size_t)l->n * image, err));
    ICD_TRY(fast_give(e, GIVEN_LABELS, l->positive_labels, (size_t)l->n * sizeof *l->positive_labels, err));
    if (l->n_neighbours > 0)
        ICD_TRY(fast_give(e, GIVEN_NEIGHBOURS, l->neighbours, (size_t)l->n_neighbours * image, err));
    l->positives = fast_given_at(e, GIVEN_POSITIVES, l->positives);
    l->positive_labels = fast_given_at(e, GIVEN_LABELS, l->positive_labels);
    l->neighbours = fast_given_at(e, GIVEN_NEIGHBOURS, l->neighbours);
    for (int v = ICD_GRAD_CD; v <= last_gradient(l); v++)
        ICD_TRY(fast_want_vector(e, (icd_vector)v, err));
    e->kl = l->apart || l->w_opt != 0 || (l->w_ent != 0 && l->n_neighbours > 0);
    j->losses = 1;
    j->part.losses = l;
    j->part.kl = e->kl;
    j->part.energies = e->row[ROW_ENERGIES].there;
    j->part.nn_index = e->row[ROW_NN_INDEX].there;
    j->part.nn_square = e->row[ROW_NN_SQUARE].there;
    return ICD_OK;
}

static void loss_values(const fast_engine *e, const icd_losses *l, int kl, icd_loss_stats *s)
{
    const double floor = 1e-6;           /* of a distance: log is -inf at a duplicate                           [ICD:8] */
    double share = l->scale_mean ? 1.0 / e->base.arch->n_scales : 1.0;
    const float *positive = e->row[ROW_ENERGIES].here, *negative = positive + (size_t)e->base.arch->n_scales * (size_t)l->n;
    const double *nn_square = e->row[ROW_NN_SQUARE].here;
    const int32_t *nn_index = e->row[ROW_NN_INDEX].here;
    for (int i = 0; i < l->n; i++) {
        double plus = summed(e, l->n, positive, i), minus = summed(e, l->n, negative, i);
        s->energy_positive += plus / l->n;
        s->energy_negative += minus / l->n;
        s->loss_l2 += (squared(e, l->n, positive, i, l->scale_mean) + squared(e, l->n, negative, i, l->scale_mean)) / l->n;
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
        double square = nn_square[i];
        s->loss_ent -= 0.5 * log(square > floor * floor ? square : floor * floor) / l->kl_batch;
        if (l->nn_index)
            l->nn_index[i] = nn_index[i];
        if (l->nn_distance)
            l->nn_distance[i] = sqrt(square);
    }
}

static icd_status end_losses(fast_engine *e, icd_loss_stats *s, icd_err *err)
{
    ICD_TRY(done(e, err));
    memset(s, 0, sizeof *s);
    loss_values(e, &e->losses, e->kl, s);
    s->grad_cd = norm_of(e, SQUARE_CD);
    s->grad_kl = norm_of(e, SQUARE_KL);
    s->finite = isfinite(s->energy_positive) && isfinite(s->energy_negative) && isfinite(s->loss_opt) && isfinite(s->loss_ent)
                && isfinite(s->grad_cd) && isfinite(s->grad_kl);
    return ICD_OK;
}

/* ---- chain and losses ---- */

static void run_losses(fast_engine *e, job *j)
{
    int last = last_gradient(&e->losses);
    for (int v = ICD_GRAD_CD; v <= last; v++)
        e->backend->zero(&e->worker[0].run.ctx, e->base.arch->n_values, fast_vector(e, (icd_vector)v));
    for (int i = 0; i < TURNS; i++)
        icd_turn_init(&j->turn[i]);
    icd_parallel(e->crew, parts_of(e, j->n), step_job, j);
    for (int i = 0; i < TURNS; i++)
        icd_turn_destroy(&j->turn[i]);
    for (int v = ICD_GRAD_CD; v <= last; v++)
        fast_finish_gradient(e, (icd_vector)v);
    square_of(e, SQUARE_CD, fast_vector(e, ICD_GRAD_CD), NULL);
    square_of(e, SQUARE_KL, fast_vector(e, ICD_GRAD_KL), NULL);
}

/* Chain, losses, or both part by part: what the last Langevin step has computed is still there when L_KL wants it. */
static void call_slots(fast_engine *e, job *j, int use_ema)
{
    fast_prepare(e, use_ema);
    if (j->losses)
        run_losses(e, j);
    else
        icd_parallel(e->crew, parts_of(e, j->n), step_job, j);
}

/* Without what slots do not see: the caller's places for results, and what is read from memory. */
static void call_of(const fast_engine *e, const job *j, int use_ema, fast_call *c)
{
    memset(c, 0, sizeof *c);             /* compared as bytes */
    c->n = j->n;
    c->prepared = e->prepared[use_ema];
    c->last_step = e->worker[0].last_step;
    c->part = j->part;
    c->part.chain = NULL;
    c->part.losses = NULL;
    c->chain = *j->part.chain;
    c->chain.labels = NULL;
    c->chain.iteration = 0;
    c->chain.ahead = NULL;
    if (j->losses) {
        c->losses = *j->part.losses;
        c->losses.energy_positive = c->losses.energy_negative = c->losses.nn_distance = NULL;
        c->losses.nn_index = NULL;
    }
}

/* On a device what was recorded is sent again where it would be recorded just so. */
static void call_device(fast_engine *e, job *j, int use_ema, fast_record which)
{
    fast_recorded *r = &e->recorded[which];
    fast_call call;
    call_of(e, j, use_ema, &call);
    if (r->number && memcmp(&call, &r->call, sizeof call) == 0 && e->device->again(which, r->number)) {
        e->prepared[use_ema] = 1;
        e->worker[0].last_step = r->last_step;
        return;
    }
    e->device->begin(which);
    call_slots(e, j, use_ema);
    r->number = e->device->end(which);
    r->call = call;
    r->last_step = e->worker[0].last_step;
}

/* What the host wants to know of the results is on its way when it returns. */
static void run(fast_engine *e, job *j, fast_record which)
{
    size_t n = (size_t)j->n;
    int use_ema = j->chain && j->part.chain->use_ema;
    if (e->device)
        call_device(e, j, use_ema, which);
    else
        call_slots(e, j, use_ema);
    if (j->chain) {
        fast_block_get(&e->row[ROW_LENGTH], e->device, n * sizeof(double));
        fast_block_get(&e->row[ROW_FINITE], e->device, n * sizeof(int));
        images_home(e, j->n, j->out);
        if (e->device)
            e->device->mark();
    }
    if (j->losses) {
        fast_block_get(&e->row[ROW_ENERGIES], e->device, 2 * (size_t)e->base.arch->n_scales * n * sizeof(float));
        fast_block_get(&e->row[ROW_NN_SQUARE], e->device, n * sizeof(double));
        fast_block_get(&e->row[ROW_NN_INDEX], e->device, n * sizeof(int32_t));
        fast_block_get(&e->chunk, e->device, SQUARE_SUM * sizeof(double));
    }
}

/* With losses ahead a device gets them right behind the chain, and x_K is there while it computes them. */
static icd_status fast_chain(icd_engine *base, const icd_chain *given, float *out, icd_chain_stats *stats, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    icd_chain c = *given;
    job j = { .e = e };
    ICD_TRY(begin_chain(e, &c, out, &j, err));
    if (c.ahead && !c.use_ema)
        ICD_TRY(begin_losses(e, &c, c.ahead, &j, err));
    job first = j;
    first.losses = e->device ? 0 : j.losses;
    run(e, &first, FAST_CHAIN);
    j.chain = 0;
    if (j.losses && e->device)
        run(e, &j, FAST_LOSSES);
    ICD_TRY(end_chain(e, &c, stats, err));
    e->ahead = j.losses ? given->ahead : NULL;
    return ICD_OK;
}

static icd_status fast_gradients(icd_engine *base, const icd_losses *l, icd_loss_stats *stats, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    job j = { .e = e, .n = l->n };
    if (e->ahead != l) {
        ICD_TRY(fast_want_weights(e, 0, err));
        ICD_TRY(begin_losses(e, &e->chain, l, &j, err));
        j.part.chain = &e->chain;
        j.part.iteration = e->iteration.there;
        j.part.labels = e->chain.labels ? e->row[ROW_LABELS].there : NULL;
        j.part.state = e->state.there;
        run(e, &j, FAST_LOSSES);
    }
    e->ahead = NULL;
    return end_losses(e, stats, err);
}

static void adam_job(void *context, int thread, int i)
{
    chunk_job *j = context;
    fast_engine *e = j->e;
    const icd_update *u = j->u;
    size_t at = (size_t)i * chunk_size(e);
    fast_adam a = { .count = chunk_count(e, i), .cd = fast_vector(e, ICD_GRAD_CD) + at, .kl = fast_vector(e, ICD_GRAD_KL) + at,
                    .theta = fast_vector(e, ICD_PARAMETERS) + at, .ema = fast_vector(e, ICD_EMA) + at,
                    .m = fast_vector(e, ICD_ADAM_M) + at, .v = fast_vector(e, ICD_ADAM_V) + at,
                    .square = squares(e, SQUARE_SUM), .grad_clip = u->grad_clip, .lr = u->lr, .beta1 = u->beta1, .beta2 = u->beta2,
                    .c1 = 1.0 - pow(u->beta1, (double)u->t), .c2 = 1.0 - pow(u->beta2, (double)u->t), .eps = u->adam_eps,
                    .decay = u->ema };
    e->backend->adam(&e->worker[thread].run.ctx, &a);
}

/* Clipping by the norm of the whole gradient, Adam, EMA.                                          [ICD:alg1.17] [ICD:3.1] */
static icd_status fast_update(icd_engine *base, const icd_update *u, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    for (int v = ICD_PARAMETERS; v <= ICD_GRAD_KL; v++)
        ICD_TRY(fast_want_vector(e, (icd_vector)v, err));
    ICD_TRY(fast_want_workers(e, e->crew, err));
    chunk_job j = { .e = e, .u = u };
    if (e->device)
        e->device->begin(FAST_UPDATE);
    if (u->grad_clip > 0)
        square_of(e, SQUARE_SUM, fast_vector(e, ICD_GRAD_CD), fast_vector(e, ICD_GRAD_KL));
    icd_parallel(e->crew, chunks_of(e), adam_job, &j);
    if (e->device)
        e->device->end(FAST_UPDATE);
    e->prepared[0] = e->prepared[1] = 0;
    return done(e, err);
}

static icd_status fast_memory(icd_engine *base, const icd_work *w, icd_memory *out, icd_err *err)
{
    fast_engine *e = (fast_engine *)base;
    (void)err;
    size_t vectors = (size_t)(ICD_GRAD_KL + 1 + (w->apart ? 2 : 0)) + 1;       /* and the weights in use */
    int jobs = parts_of(e, w->batch), threads = jobs < e->crew ? jobs : e->crew;
    out->part = e->plan.part;
    out->parameters = (base->arch->n_values * vectors + e->plan.packed) * sizeof(float);
    out->work = fast_worker_floats(&e->plan) * sizeof(float) * (size_t)threads
                + (size_t)(w->keep + 1) * (size_t)w->batch * e->d * sizeof(float)
                + (size_t)w->batch * (size_t)(32 + 8 * base->arch->n_scales);
    return ICD_OK;
}

static void fast_close(icd_engine *base)
{
    if (base)
        fast_release((fast_engine *)base);
}

/* Images in a part: few, so that a part's tensors stay near the core and threads share a batch evenly; more where images are
 * points; fewer if `memory` asks. It depends on the model and `memory`, never on the threads or the batch: of a device's part,
 * which takes all images at once, only as much is left out as would stay empty. */
static icd_status plan_parts(fast_engine *e, size_t memory, int winograd, int images, icd_err *err)
{
    int most = e->device ? e->device->part : e->d < 256 ? 64 : 8;
    while (e->device && images > 0 && most / 2 >= images)
        most /= 2;
    for (int part = most;; part /= 2) {
        icd_arena_rewind(&e->lists);
        ICD_TRY(fast_plan_make(&e->plan, &e->lists, e->base.arch, e->backend, part, winograd, err));
        size_t bytes = fast_worker_floats(&e->plan) * sizeof(float);
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
    fast_engine *e = icd_alloc(1, sizeof *e);
    if (!e)
        return icd_fail(err, ICD_ENOMEM, "out of memory: the engine");
    memcpy(e->name, name, strlen(name) < sizeof e->name ? strlen(name) : sizeof e->name - 1);
    e->backend = b;
    e->device = b->device;
    e->d = (size_t)a->c * (size_t)a->h * (size_t)a->w;
    e->base = (icd_engine){ .name = e->name, .arch = a, .real_bytes = 4,
        .threads = o->threads > 0 ? o->threads : icd_machine_threads(), .close = fast_close, .import = fast_import,
        .export = fast_export, .energy = fast_energy, .chain = fast_chain, .trajectory = fast_trajectory,
        .gradients = fast_gradients, .update = fast_update, .memory = fast_memory, .lend = fast_lend };
    e->crew = b->device ? 1 : e->base.threads;
    e->worker = icd_alloc((size_t)e->crew, sizeof *e->worker);
    e->memory = icd_alloc((size_t)e->crew, sizeof *e->memory);
    icd_status s = plan_parts(e, o->memory ? o->memory : e->device ? UINT32_MAX : (size_t)1 << 30, o->winograd, o->images,
                              err);
    if (s == ICD_OK && (!e->worker || !e->memory))
        s = icd_fail(err, ICD_ENOMEM, "out of memory: the engine");
    if (s == ICD_OK)
        s = fast_block_want(&e->chunk, b->device, (size_t)(SQUARES * chunks_of(e)) * sizeof(double), 1, "the engine", err);
    if (s == ICD_OK)
        s = fast_block_want(&e->iteration, b->device, sizeof(uint64_t), 1, "the engine", err);
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
    const char *table = strncmp(name, "cpu:", 4) == 0 ? name + 4 : strcmp(name, "cpu") == 0 ? NULL : name;
    const fast_backend *b = fast_backend_find(table);
    const char *elsewhere = b ? NULL : fast_backend_elsewhere(table);
    if (elsewhere)
        return icd_fail(err, ICD_EUNUSABLE, "engine %s: its kernels are %s", name, elsewhere);
    if (b && !b->device != (table != name))
        b = NULL;                        /* cpu:cuda */
    if (!b)
        return icd_fail(err, ICD_EINVAL, "this build has no engine '%.40s' (`icd info engines` lists them)", name);
    if (!b->usable())
        return icd_fail(err, ICD_EUNUSABLE, "engine %s: this machine cannot run it (%s)", name, b->about);
    if (fast_backend_missing(b))
        return icd_fail(err, ICD_EINVAL, "the kernel table %s has no %s, which every plan may need", b->name,
                        fast_backend_missing(b));
    *out = b;
    return ICD_OK;
}
