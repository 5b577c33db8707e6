/* engine_memory.c: an engine's vectors, workers, rows and prepared weights. */
#include "engine_memory.h"

#include <string.h>

#include "common/parallel.h"
#include "weights.h"

static size_t rounded(size_t floats) { return (floats + 15) / 16 * 16; }

/* Branches' scratch, each plan->scratch; weights are prepared when there is one line of calls, and may go on into the next. */
static size_t scratch_floats(const fast_plan *p)
{
    size_t branches = (size_t)p->branches * p->scratch, weights = p->scratch + fast_weights_scratch(p);
    return rounded((branches > weights ? branches : weights) / sizeof(float));
}

size_t fast_worker_floats(const fast_plan *p)
{
    size_t nd = rounded((size_t)p->part * p->tensor[0].count), ns = rounded((size_t)(p->part * p->arch->n_scales));
    return p->floats + scratch_floats(p) + 4 * nd + 2 * ns + rounded(p->arch->n_values);
}

static void put_ones(const fast_engine *e, float *to, size_t count)
{
    float ones[64];
    for (size_t i = 0; i < 64; i++)
        ones[i] = 1;
    for (size_t at = 0; at < count; at += 64) {
        size_t bytes = (count - at < 64 ? count - at : 64) * sizeof(float);
        if (e->device)
            e->device->put(to + at, ones, bytes);
        else
            memcpy(to + at, ones, bytes);
    }
}

static icd_status want_worker(fast_engine *e, int t, icd_err *err)
{
    const fast_plan *p = &e->plan;
    if (e->memory[t].there)
        return ICD_OK;
    ICD_TRY(fast_block_want(&e->memory[t], e->device, fast_worker_floats(p) * sizeof(float), 0, "one thread's work", err));
    size_t nd = rounded((size_t)p->part * e->d), ns = rounded((size_t)(p->part * p->arch->n_scales));
    fast_worker *w = &e->worker[t];
    float *at = e->memory[t].there;
    w->run = (fast_run){ .plan = p, .arena = at, .scratch = at + p->floats, .ctx = { at + p->floats, p->scratch } };
    at += p->floats + scratch_floats(p);
    w->x = at;
    w->inside = at + nd;
    w->a = at + 2 * nd;
    w->g = at + 3 * nd;
    at += 4 * nd;
    w->energy = at;
    w->weight = at + ns;
    at += 2 * ns;
    w->grad = at;
    put_ones(e, w->run.arena + p->ones, p->widest);
    return ICD_OK;
}

icd_status fast_want_workers(fast_engine *e, int jobs, icd_err *err)
{
    for (int t = 0; t < e->crew && (t == 0 || t < jobs); t++)
        ICD_TRY(want_worker(e, t, err));
    return ICD_OK;
}

float *fast_vector(const fast_engine *e, icd_vector v) { return e->vector[v].there; }

icd_status fast_want_vector(fast_engine *e, icd_vector v, icd_err *err)
{
    return fast_block_want(&e->vector[v], e->device, e->base.arch->n_values * sizeof(float), 0, "a vector of parameters", err);
}

icd_status fast_want_rows(fast_engine *e, int n, icd_err *err)
{
    const size_t bytes[ROWS] = { sizeof(double), 2 * sizeof(float) * (size_t)e->base.arch->n_scales, sizeof(double),
                                 sizeof(int32_t), sizeof(int32_t), sizeof(int) };
    if (n <= e->rows)
        return ICD_OK;
    e->rows = 0;
    for (int i = 0; i < ROWS; i++)
        ICD_TRY(fast_block_want(&e->row[i], e->device, (size_t)n * bytes[i], 1, "a batch's results", err));
    e->rows = n;
    return ICD_OK;
}

icd_status fast_want_state(fast_engine *e, size_t count, icd_err *err)
{
    return fast_block_want(&e->state, e->device, count * sizeof(float), 0, "the chain's states", err);
}

icd_status fast_give(fast_engine *e, fast_given which, const void *host, size_t bytes, icd_err *err)
{
    if (!e->device || !host)
        return ICD_OK;
    ICD_TRY(fast_block_want(&e->given[which], e->device, bytes, 0, "the batch", err));
    e->device->put(e->given[which].there, host, bytes);
    return ICD_OK;
}

const void *fast_given_at(const fast_engine *e, fast_given which, const void *host)
{
    return e->device && host ? e->given[which].there : host;
}

/* ---- weights ---- */

typedef struct { fast_engine *e; int which; const float *theta; float *vector; } weight_job;

static void use_job(void *context, int thread, int p)
{
    weight_job *j = context;
    fast_use_parameter(&j->e->plan, &j->e->worker[thread].run.ctx, p, j->theta, j->e->used[j->which].there);
}

static void pack_job(void *context, int thread, int i)
{
    weight_job *j = context;
    fast_engine *e = j->e;
    fast_pack_node(&e->plan, &e->worker[thread].run.ctx, &e->plan.node[i], e->used[j->which].there, e->packed[j->which].there);
}

static void raw_job(void *context, int thread, int p)
{
    weight_job *j = context;
    fast_raw_gradient(&j->e->plan, &j->e->worker[thread].run.ctx, p, j->theta, j->vector);
}

icd_status fast_want_weights(fast_engine *e, int use_ema, icd_err *err)
{
    fast_block *used = &e->used[use_ema], *packed = &e->packed[use_ema];
    ICD_TRY(fast_want_vector(e, use_ema ? ICD_EMA : ICD_PARAMETERS, err));
    ICD_TRY(fast_block_want(used, e->device, e->base.arch->n_values * sizeof(float), 0, "the weights in use", err));
    ICD_TRY(fast_block_want(packed, e->device, e->plan.packed * sizeof(float), 0, "packed weights", err));
    ICD_TRY(fast_want_workers(e, e->crew, err));
    for (int t = 0; t < e->crew; t++) {
        e->worker[t].run.theta = used->there;
        e->worker[t].run.packed = packed->there;
    }
    return ICD_OK;
}

/* Once after each change; K steps of a chain find them ready. */
void fast_prepare(fast_engine *e, int use_ema)
{
    if (e->prepared[use_ema])
        return;
    weight_job j = { e, use_ema, fast_vector(e, use_ema ? ICD_EMA : ICD_PARAMETERS), NULL };
    icd_parallel(e->crew, e->base.arch->n_params, use_job, &j);
    icd_parallel(e->crew, e->plan.n_nodes, pack_job, &j);
    e->prepared[use_ema] = 1;
    for (int t = 0; t < e->crew; t++)
        e->worker[t].last_step = 0;
}

void fast_finish_gradient(fast_engine *e, icd_vector v)
{
    weight_job j = { e, 0, fast_vector(e, ICD_PARAMETERS), fast_vector(e, v) };
    icd_parallel(e->crew, e->base.arch->n_params, raw_job, &j);
}

typedef struct fast_lent { void *memory; struct fast_lent *next; } lent;

void *fast_lend(icd_engine *base, size_t bytes)
{
    fast_engine *e = (fast_engine *)base;
    lent *l = e->device ? icd_arena_alloc(&e->lists, 1, sizeof *l) : NULL;
    void *memory = l ? e->device->host(bytes) : NULL;
    if (memory) {
        *l = (lent){ memory, e->lent };
        e->lent = l;
    }
    return memory;
}

void fast_release(fast_engine *e)
{
    for (lent *l = e->lent; l; l = l->next)
        e->device->host_release(l->memory);
    struct { fast_block *block; int count; } all[] = {
        { e->vector, ICD_VECTORS }, { e->used, 2 }, { e->packed, 2 }, { e->memory, e->memory ? e->crew : 0 },
        { &e->chunk, 1 }, { e->row, ROWS }, { e->given, GIVENS }, { &e->iteration, 1 }, { &e->state, 1 },
        { &e->energies, 1 }, { &e->out, 1 },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int k = 0; k < all[i].count; k++)
            fast_block_release(&all[i].block[k], e->device);
    icd_free(e->memory);
    icd_free(e->worker);
    icd_arena_release(&e->lists);
    icd_free(e);
}
