/* engine_ref.c: the engine contract on tapes: parts, threads, vectors. No equation lives here but Adam's. */
#include "engine_ref.h"

#include <math.h>
#include <string.h>

#include "common/parallel.h"
#include "ops.h"
#include "step.h"

#if REF_REAL != 128        /* the complex build is for verify/ alone */

#if REF_REAL == 32
#define OPEN icd_engine_ref_open
#define NAME "ref"
#else
#define OPEN icd_engine_ref64_open
#define NAME "ref64"
#endif

typedef struct {
    icd_engine base;
    size_t memory;                       /* bytes for one thread's tape */
    real *vector[ICD_VECTORS];           /* (n_values) each; NULL until first used */
    real *prepared[2];                   /* parameters and EMA with weights standardised; NULL: not made since a change */
    tape *tape;                          /* (threads) */
    icd_chain chain;                     /* the last one; its pointers are valid until gradients() is done */
    real *state;                         /* (keep + 1, n, d): x_{K-keep} .. x_K */
    size_t state_count;
    int32_t *labels;                     /* (n) of the last chain */
} engine;

static size_t image_count(const engine *e)
{
    return (size_t)e->base.arch->c * (size_t)e->base.arch->h * (size_t)e->base.arch->w;
}

static icd_status no_memory(icd_err *err, const char *what, size_t bytes)
{
    return icd_fail(err, ICD_ENOMEM, "out of memory: %.1f MiB wanted for %s", (double)bytes / 1048576.0, what);
}

static icd_status want_vector(engine *e, icd_vector v, icd_err *err)
{
    if (!e->vector[v])
        e->vector[v] = icd_alloc(e->base.arch->n_values, sizeof(real));
    return e->vector[v] ? ICD_OK : no_memory(err, "a vector of parameters", e->base.arch->n_values * sizeof(real));
}

static void forget_prepared(engine *e)
{
    for (int i = 0; i < 2; i++) {
        icd_free(e->prepared[i]);
        e->prepared[i] = NULL;
    }
}

/* Parameters as the layers use them, made once after each change. */
static icd_status want_prepared(engine *e, int use_ema, icd_err *err)
{
    const icd_arch *a = e->base.arch;
    icd_vector v = use_ema ? ICD_EMA : ICD_PARAMETERS;
    ICD_TRY(want_vector(e, v, err));
    if (e->prepared[use_ema])
        return ICD_OK;
    real *out = icd_alloc(a->n_values, sizeof *out);
    var *p = icd_alloc((size_t)a->n_params, sizeof *p);
    tape *t = &e->tape[0];
    tape_rewind(t);
    if (out && p) {
        net_leaves(t, a, e->vector[v], p);
        net_prepare(t, a, p, p);
        for (int i = 0; i < a->n_params && t->status == ICD_OK; i++)
            memcpy(out + a->param[i].offset, value(t, p[i]), a->param[i].count * sizeof *out);
    }
    icd_status s = out && p ? t->status : ICD_ENOMEM;
    icd_free(p);
    if (s != ICD_OK) {
        icd_free(out);
        return no_memory(err, "the prepared weights", a->n_values * sizeof *out);
    }
    e->prepared[use_ema] = out;
    return ICD_OK;
}

/* ---- parts: how many images at once, and what that takes ---- */

typedef enum { ENERGY, CHAIN, CONTRASTIVE, KL } work_kind;

/* Bytes of the tape for n images, by recording the work without doing it. 0: the planning itself ran out of memory. */
static size_t plan(const engine *e, work_kind kind, const icd_losses *l, int n)
{
    const icd_arch *a = e->base.arch;
    icd_losses losses = l ? *l : (icd_losses){ .n = n, .kl_batch = n, .backprop_steps = 1 };
    icd_chain c = { .n = n, .steps = losses.backprop_steps, .step_size = 1, .clamp = 1 };
    tape t;
    tape_init(&t, 1);
    var *p = icd_alloc((size_t)a->n_params * 2, sizeof *p), *grad[2] = { p, p ? p + a->n_params : NULL };
    if (!p)
        return 0;
    shape s = { n, a->c, a->h, a->w };
    switch (kind) {
    case ENERGY:
    case CHAIN:
        net_leaves(&t, a, NULL, p);
        langevin_step(&t, a, p, tape_leaf(&t, s, NULL), NULL, &c, tape_leaf(&t, s, NULL), NULL);
        break;
    case CONTRASTIVE:
        contrastive_part(&t, a, NULL, &losses, 1, n, NULL, NULL, NULL, NULL, grad[0]);
        break;
    case KL:
        kl_part(&t, a, NULL, &losses, &c, 0, n, NULL, NULL, NULL, NULL, NULL, NULL, NULL, grad);
        break;
    }
    size_t bytes = t.status == ICD_OK ? tape_bytes(&t) : 0;
    icd_free(p);
    tape_release(&t);
    return bytes;
}

static icd_status too_large(const engine *e, size_t bytes, icd_err *err)
{
    return icd_fail(err, ICD_ENOMEM, "one image needs %.0f MiB of work memory, and the setting `memory` allows %.0f",
                    ceil((double)bytes / 1048576.0), (double)e->memory / 1048576.0);
}

/* The part's size: a few images (so that threads share a batch evenly and a part stays in cache), fewer if memory asks. It
 * depends on the work and the setting `memory`, never on the threads: sums over parts are the same for any number. */
static icd_status choose_part(const engine *e, work_kind kind, const icd_losses *l, int *part, size_t *bytes, icd_err *err)
{
    int n = image_count(e) < 256 ? 64 : 8;
    for (;; n = (n + 1) / 2) {
        *bytes = plan(e, kind, l, n);
        *part = n;
        if (*bytes == 0)
            return icd_fail(err, ICD_ENOMEM, "out of memory while planning");
        if (*bytes <= e->memory)
            return ICD_OK;
        if (n == 1)
            return too_large(e, *bytes, err);
    }
}

/* ---- jobs: one part each ---- */

typedef struct {
    engine *e;
    icd_status *status;                  /* (jobs) */
    int part, n;                         /* images in a part, in all */
    size_t bytes;
    icd_turn turn;
    int use_ema;
    /* energy */
    const float *x;
    const int32_t *labels;
    double *energy, *per_scale;
    float *gradient;
    /* chain */
    const icd_chain *chain;
    float *out;
    double *gradient_norm;               /* (n): sum over the steps */
    unsigned char *finite;               /* (n) */
    /* losses */
    const icd_losses *losses;
    const real *positives, *neighbours;
    double *energies, *squares, *log_nn, *nn_distance;
    int32_t *nn_index;
} job;

static int jobs_of(int n, int part) { return (n + part - 1) / part; }

static icd_status run(engine *e, job *j, int jobs, void (*work)(void *, int, int), icd_err *err)
{
    j->e = e;
    j->status = icd_alloc((size_t)jobs, sizeof *j->status);
    if (!j->status)
        return no_memory(err, "a list of parts", (size_t)jobs * sizeof *j->status);
    icd_turn_init(&j->turn);
    icd_parallel(e->base.threads, jobs, work, j);
    icd_turn_destroy(&j->turn);
    icd_status s = ICD_OK;
    for (int i = 0; i < jobs && s == ICD_OK; i++)
        s = j->status[i];
    icd_free(j->status);
    return s == ICD_OK ? s : no_memory(err, "a part's tape", j->bytes);
}

static tape *fresh_tape(const job *j, int thread)
{
    tape *t = &j->e->tape[thread];
    tape_rewind(t);
    tape_reserve(t, j->bytes);
    return t;
}

static var *want_vars(tape *t, size_t count)
{
    var *p = icd_alloc(count, sizeof *p);
    if (!p)
        t->status = ICD_ENOMEM;
    return p;
}

/* E of images first.. and, where asked for, grad_x E. */
static void energy_job(void *context, int thread, int index)
{
    job *j = context;
    const icd_arch *a = j->e->base.arch;
    int first = index * j->part, n = j->n - first < j->part ? j->n - first : j->part;
    size_t d = image_count(j->e);
    tape *t = fresh_tape(j, thread);
    var scale[ICD_MAX_SCALES], *q = want_vars(t, (size_t)a->n_params), g = -1;
    if (q) {
        net_leaves(t, a, j->e->prepared[j->use_ema], q);
        var x = tape_leaf_float(t, (shape){ n, a->c, a->h, a->w }, j->x + (size_t)first * d);
        var E = net_energy(t, a, q, x, j->labels ? j->labels + first : NULL, scale);
        if (j->gradient)
            tape_grad(t, E, -1, 1, &x, &g);
        for (int i = 0; i < n && t->status == ICD_OK; i++) {
            j->energy[first + i] = re(value(t, E)[i]);
            for (int s = 0; s < a->n_scales && j->per_scale; s++)
                j->per_scale[(first + i) * a->n_scales + s] = re(value(t, scale[s])[i]);
            for (size_t k = 0; k < d && j->gradient; k++)
                j->gradient[(size_t)(first + i) * d + k] = (float)re(value(t, g)[(size_t)i * d + k]);
        }
    }
    icd_free(q);
    j->status[index] = t->status;
}

/* K Langevin steps of chains first..                                                               [ICD:alg1.8-11] */
static void chain_job(void *context, int thread, int index)
{
    job *j = context;
    engine *e = j->e;
    const icd_arch *a = e->base.arch;
    const icd_chain *c = j->chain;
    int first = index * j->part, n = j->n - first < j->part ? j->n - first : j->part;
    size_t d = image_count(e), plane = (size_t)c->n * d, at = (size_t)first * d, count = (size_t)n * d;
    const int32_t *labels = c->labels ? c->labels + first : NULL;
    tape *t = fresh_tape(j, thread);
    var *q = want_vars(t, (size_t)a->n_params);
    real *x = icd_alloc(count, sizeof *x);
    if (!x)
        t->status = ICD_ENOMEM;
    icd_status status = t->status;
    for (size_t i = 0; i < count && status == ICD_OK; i++)
        x[i] = (real)c->x0[at + i];
    for (int k = 0; k <= c->steps && status == ICD_OK; k++) {
        if (k > 0) {
            var g;
            tape_rewind(t);
            net_leaves(t, a, e->prepared[c->use_ema], q);
            var before = tape_leaf(t, (shape){ n, a->c, a->h, a->w }, x);
            var after = langevin_step(t, a, q, before, labels, c, chain_noise(t, a, c, k, first, n), &g);
            status = t->status;
            for (int i = 0; i < n && status == ICD_OK; i++) {
                double sum = 0;
                for (size_t p = 0; p < d; p++)
                    sum += re(value(t, g)[(size_t)i * d + p]) * re(value(t, g)[(size_t)i * d + p]);
                j->gradient_norm[first + i] += sqrt(sum);
            }
            if (status == ICD_OK)
                memcpy(x, value(t, after), count * sizeof *x);
        }
        if (status == ICD_OK && e->state && k >= c->steps - c->keep)
            memcpy(e->state + (size_t)(k - (c->steps - c->keep)) * plane + at, x, count * sizeof *x);
    }
    for (int i = 0; i < n && status == ICD_OK; i++) {
        j->finite[first + i] = 1;
        for (size_t p = 0; p < d; p++) {
            j->out[at + (size_t)i * d + p] = (float)re(x[(size_t)i * d + p]);
            if (!isfinite(re(x[(size_t)i * d + p])))
                j->finite[first + i] = 0;
        }
    }
    icd_free(x);
    icd_free(q);
    j->status[index] = status;
}

/* vector += grad, once it is this part's turn. */
static void add_in_turn(job *j, const tape *t, icd_vector v, const var *grad)
{
    const icd_arch *a = j->e->base.arch;
    real *sum = j->e->vector[v];
    for (int i = 0; i < a->n_params && t->status == ICD_OK; i++) {
        const real *g = value(t, grad[i]);
        for (size_t k = 0; k < a->param[i].count; k++)
            sum[a->param[i].offset + k] += g[k];
    }
}

/* One part of L_CD: jobs 0.. are parts of the positives, then parts of the negatives. */
static void contrastive_job(void *context, int thread, int index)
{
    job *j = context;
    engine *e = j->e;
    const icd_arch *a = e->base.arch;
    int parts = jobs_of(j->n, j->part), negative = index >= parts, first = (negative ? index - parts : index) * j->part;
    int n = j->n - first < j->part ? j->n - first : j->part, row = negative * j->n + first;
    size_t d = image_count(e);
    const real *x = negative ? e->state + ((size_t)e->chain.keep * (size_t)e->chain.n + (size_t)first) * d
                             : j->positives + (size_t)first * d;
    const int32_t *labels = negative ? e->labels : j->losses->positive_labels;
    tape *t = fresh_tape(j, thread);
    var *grad = want_vars(t, (size_t)a->n_params);
    if (grad)
        contrastive_part(t, a, e->vector[ICD_PARAMETERS], j->losses, negative ? -1.0 : 1.0, n, x,
                         labels ? labels + first : NULL, j->energies + row, j->squares + row, grad);
    icd_turn_wait(&j->turn, index);
    if (grad)
        add_in_turn(j, t, ICD_GRAD_CD, grad);
    icd_turn_pass(&j->turn);
    j->status[index] = t->status;
    icd_free(grad);
}

static void kl_job(void *context, int thread, int index)
{
    job *j = context;
    engine *e = j->e;
    const icd_arch *a = e->base.arch;
    const icd_losses *l = j->losses;
    int first = index * j->part, n = j->n - first < j->part ? j->n - first : j->part;
    size_t d = image_count(e);
    const real *x = e->state + ((size_t)(e->chain.keep - l->backprop_steps) * (size_t)e->chain.n + (size_t)first) * d;
    tape *t = fresh_tape(j, thread);
    var *grad[2] = { want_vars(t, 2 * (size_t)a->n_params), NULL };
    if (grad[0]) {
        grad[1] = grad[0] + a->n_params;
        kl_part(t, a, e->vector[ICD_PARAMETERS], l, &e->chain, first, n, x, e->labels ? e->labels + first : NULL,
                j->neighbours, j->energies + first, j->log_nn + first, j->nn_index + first, j->nn_distance + first, grad);
    }
    icd_turn_wait(&j->turn, index);
    if (grad[0]) {
        add_in_turn(j, t, l->apart ? ICD_GRAD_OPT : ICD_GRAD_KL, grad[0]);
        if (l->apart)
            add_in_turn(j, t, ICD_GRAD_ENT, grad[1]);
    }
    icd_turn_pass(&j->turn);
    j->status[index] = t->status;
    icd_free(grad[0]);
}

/* ---- the contract ---- */

static icd_status ref_import(icd_engine *base, icd_vector v, const double *from, icd_err *err)
{
    engine *e = (engine *)base;
    ICD_TRY(want_vector(e, v, err));
    for (size_t i = 0; i < base->arch->n_values; i++)
        e->vector[v][i] = (real)from[i];
    forget_prepared(e);
    return ICD_OK;
}

static icd_status ref_export(icd_engine *base, icd_vector v, double *to, icd_err *err)
{
    engine *e = (engine *)base;
    ICD_TRY(want_vector(e, v, err));
    for (size_t i = 0; i < base->arch->n_values; i++)
        to[i] = re(e->vector[v][i]);
    return ICD_OK;
}

static icd_status ref_energy(icd_engine *base, int use_ema, int n, const float *x, const int32_t *labels, double *energy,
                             double *per_scale, float *gradient, icd_err *err)
{
    engine *e = (engine *)base;
    job j = { .n = n, .x = x, .labels = labels, .energy = energy, .per_scale = per_scale, .gradient = gradient,
              .use_ema = use_ema };
    ICD_TRY(want_prepared(e, use_ema, err));
    ICD_TRY(choose_part(e, ENERGY, NULL, &j.part, &j.bytes, err));
    return run(e, &j, jobs_of(n, j.part), energy_job, err);
}

static icd_status ref_chain(icd_engine *base, const icd_chain *c, float *out, icd_chain_stats *stats, icd_err *err)
{
    engine *e = (engine *)base;
    size_t want = (size_t)(c->keep + 1) * (size_t)c->n * image_count(e);
    job j = { .n = c->n, .chain = c, .out = out };
    e->chain = (icd_chain){ 0 };        /* none, until this one is done */
    ICD_TRY(want_prepared(e, c->use_ema, err));
    ICD_TRY(choose_part(e, CHAIN, NULL, &j.part, &j.bytes, err));
    if (e->state_count != want) {
        icd_free(e->state);
        e->state_count = 0;
        e->state = icd_alloc(want, sizeof *e->state);
        if (!e->state)
            return no_memory(err, "the chain's states", want * sizeof *e->state);
        e->state_count = want;
    }
    icd_free(e->labels);
    e->labels = NULL;
    if (c->labels) {
        e->labels = icd_alloc((size_t)c->n, sizeof *e->labels);
        if (!e->labels)
            return no_memory(err, "labels", (size_t)c->n * sizeof *e->labels);
        memcpy(e->labels, c->labels, (size_t)c->n * sizeof *e->labels);
    }
    j.gradient_norm = icd_alloc((size_t)c->n, sizeof *j.gradient_norm);
    j.finite = icd_alloc((size_t)c->n, 1);
    icd_status s = j.gradient_norm && j.finite ? run(e, &j, jobs_of(c->n, j.part), chain_job, err)
                                               : no_memory(err, "chain statistics", (size_t)c->n * 9);
    if (s == ICD_OK) {
        e->chain = *c;
        /* r_t = lambda < 1/K sum_k |grad E(x_k)| >                                                        [ANA:r_t] */
        double sum = 0;
        stats->finite = 1;
        for (int i = 0; i < c->n; i++) {
            sum += j.gradient_norm[i];
            stats->finite &= j.finite[i];
        }
        stats->langevin_gradient = c->steps ? c->step_size * sum / ((double)c->n * c->steps) : 0;
    }
    icd_free(j.gradient_norm);
    icd_free(j.finite);
    return s;
}

static icd_status ref_trajectory(icd_engine *base, int k, double *x, icd_err *err)
{
    engine *e = (engine *)base;
    const icd_chain *c = &e->chain;
    int row = k - (c->steps - c->keep);
    if (row < 0 || k > c->steps || c->n == 0)
        return icd_fail(err, ICD_EINVAL, "state %d of the chain was not kept (%d..%d were)", k, c->steps - c->keep, c->steps);
    size_t count = (size_t)c->n * image_count(e);
    for (size_t i = 0; i < count; i++)
        x[i] = re(e->state[(size_t)row * count + i]);
    return ICD_OK;
}

static double norm_of(const engine *e, icd_vector v)
{
    double sum = 0;
    for (size_t i = 0; i < e->base.arch->n_values; i++)
        sum += re(e->vector[v][i]) * re(e->vector[v][i]);
    return sqrt(sum);
}

static icd_status zero_vector(engine *e, icd_vector v, icd_err *err)
{
    ICD_TRY(want_vector(e, v, err));
    memset(e->vector[v], 0, e->base.arch->n_values * sizeof(real));
    return ICD_OK;
}

static icd_status to_real(const float *x, size_t count, real **out, icd_err *err)
{
    *out = icd_alloc(count, sizeof(real));
    if (!*out)
        return no_memory(err, "images", count * sizeof(real));
    for (size_t i = 0; i < count; i++)
        (*out)[i] = (real)x[i];
    return ICD_OK;
}

/* Run the parts of L_CD, then those of L_KL; then the statistics. */
static icd_status loss_jobs(engine *e, const icd_losses *l, job *j, icd_loss_stats *stats, icd_err *err)
{
    const icd_arch *a = e->base.arch;
    size_t d = image_count(e);
    int kl = l->apart || ((l->w_opt != 0 || (l->w_ent != 0 && l->n_neighbours > 0)));
    real *positives = NULL, *neighbours = NULL;
    icd_status s = to_real(l->positives, (size_t)l->n * d, &positives, err);
    if (s == ICD_OK && l->n_neighbours > 0)
        s = to_real(l->neighbours, (size_t)l->n_neighbours * d, &neighbours, err);
    j->positives = positives;
    j->neighbours = neighbours;
    if (s == ICD_OK)
        s = choose_part(e, CONTRASTIVE, l, &j->part, &j->bytes, err);
    j->n = l->n;
    if (s == ICD_OK)
        s = run(e, j, 2 * jobs_of(l->n, j->part), contrastive_job, err);
    if (s == ICD_OK) {
        double share = l->scale_mean ? 1.0 / a->n_scales : 1.0;
        for (int i = 0; i < l->n; i++) {
            stats->energy_positive += j->energies[i] / l->n;
            stats->energy_negative += j->energies[l->n + i] / l->n;
            stats->loss_l2 += (j->squares[i] + j->squares[l->n + i]) / l->n;
            if (l->energy_positive)
                l->energy_positive[i] = j->energies[i];
            if (l->energy_negative)
                l->energy_negative[i] = j->energies[l->n + i];
        }
        stats->loss_cd = share * (stats->energy_positive - stats->energy_negative);
    }
    if (s == ICD_OK && kl)
        s = choose_part(e, KL, l, &j->part, &j->bytes, err);
    if (s == ICD_OK && kl) {
        double share = l->scale_mean ? 1.0 / a->n_scales : 1.0;
        j->n = l->kl_batch;
        s = run(e, j, jobs_of(j->n, j->part), kl_job, err);
        for (int i = 0; i < l->kl_batch && s == ICD_OK; i++) {
            stats->loss_opt += share * j->energies[i] / l->kl_batch;
            stats->loss_ent -= j->log_nn[i] / l->kl_batch;
            if (l->nn_index)
                l->nn_index[i] = j->nn_index[i];
            if (l->nn_distance)
                l->nn_distance[i] = j->nn_distance[i];
        }
    }
    icd_free(positives);
    icd_free(neighbours);
    return s;
}

static icd_status ref_gradients(icd_engine *base, const icd_losses *given, icd_loss_stats *stats, icd_err *err)
{
    engine *e = (engine *)base;
    icd_losses l = *given;
    if (l.kl_batch == 0 || l.kl_batch > l.n)
        l.kl_batch = l.n;
    if (l.n != e->chain.n || l.backprop_steps < 1 || l.backprop_steps > e->chain.keep)
        return icd_fail(err, ICD_EINVAL, "gradients of %d images through %d steps, but the chain kept %d states of %d images",
                        l.n, l.backprop_steps, e->chain.keep, e->chain.n);
    ICD_TRY(want_vector(e, ICD_PARAMETERS, err));
    ICD_TRY(zero_vector(e, ICD_GRAD_CD, err));
    ICD_TRY(zero_vector(e, ICD_GRAD_KL, err));
    if (l.apart) {
        ICD_TRY(zero_vector(e, ICD_GRAD_OPT, err));
        ICD_TRY(zero_vector(e, ICD_GRAD_ENT, err));
    }
    memset(stats, 0, sizeof *stats);
    size_t n = (size_t)l.n;
    double *block = icd_alloc(6 * n, sizeof *block);
    job j = { .losses = &l, .energies = block, .squares = block ? block + 2 * n : NULL, .log_nn = block ? block + 4 * n : NULL,
              .nn_distance = block ? block + 5 * n : NULL, .nn_index = icd_alloc(n, sizeof *j.nn_index) };
    icd_status s = block && j.nn_index ? loss_jobs(e, &l, &j, stats, err) : no_memory(err, "losses", 7 * n * sizeof *block);
    icd_free(block);
    icd_free(j.nn_index);
    if (s != ICD_OK)
        return s;
    stats->grad_cd = norm_of(e, ICD_GRAD_CD);
    stats->grad_kl = norm_of(e, ICD_GRAD_KL);
    stats->finite = isfinite(stats->energy_positive) && isfinite(stats->energy_negative) && isfinite(stats->loss_opt)
                    && isfinite(stats->loss_ent) && isfinite(stats->grad_cd) && isfinite(stats->grad_kl);
    return ICD_OK;
}

/* theta <- Adam(theta, g), g = grad L_CD + grad L_KL clipped to norm grad_clip; EMA after it. [ICD:12] [ICD:alg1.17]
 * Adam as Kingma and Ba's algorithm 1: m, v with bias correction, epsilon outside the root. */
static icd_status ref_update(icd_engine *base, const icd_update *u, icd_err *err)
{
    engine *e = (engine *)base;
    for (int v = ICD_PARAMETERS; v <= ICD_GRAD_KL; v++)
        ICD_TRY(want_vector(e, (icd_vector)v, err));
    real *theta = e->vector[ICD_PARAMETERS], *ema = e->vector[ICD_EMA], *m = e->vector[ICD_ADAM_M], *v = e->vector[ICD_ADAM_V];
    const real *cd = e->vector[ICD_GRAD_CD], *kl = e->vector[ICD_GRAD_KL];
    size_t n = base->arch->n_values;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += re(cd[i] + kl[i]) * re(cd[i] + kl[i]);
    double norm = sqrt(sum), clip = u->grad_clip > 0 && norm > u->grad_clip ? u->grad_clip / norm : 1.0;
    double c1 = 1.0 - pow(u->beta1, (double)u->t), c2 = 1.0 - pow(u->beta2, (double)u->t);
    for (size_t i = 0; i < n; i++) {
        double g = clip * re(cd[i] + kl[i]);
        double mi = u->beta1 * re(m[i]) + (1.0 - u->beta1) * g;
        double vi = u->beta2 * re(v[i]) + (1.0 - u->beta2) * g * g;
        m[i] = (real)mi;
        v[i] = (real)vi;
        theta[i] = (real)(re(theta[i]) - u->lr * (mi / c1) / (sqrt(vi / c2) + u->adam_eps));
        ema[i] = (real)(u->ema * re(ema[i]) + (1.0 - u->ema) * re(theta[i]));
    }
    forget_prepared(e);
    return ICD_OK;
}

static icd_status ref_memory(icd_engine *base, const icd_work *w, icd_memory *out, icd_err *err)
{
    engine *e = (engine *)base;
    icd_losses l = { .n = w->batch, .kl_batch = w->kl_batch ? w->kl_batch : w->batch, .backprop_steps = w->backprop_steps,
                     .n_neighbours = w->n_neighbours, .energy_l2 = 1, .w_opt = 1, .w_ent = 1, .kl_sign = 1, .apart = w->apart };
    size_t most = 0, d = image_count(e), bytes;
    int part;
    for (int kind = CHAIN; kind <= KL; kind++) {        /* the most that any of it needs for one image, said at once */
        bytes = plan(e, (work_kind)kind, &l, 1);
        if (bytes == 0)
            return icd_fail(err, ICD_ENOMEM, "out of memory while planning");
        most = bytes > most ? bytes : most;
    }
    if (most > e->memory)
        return too_large(e, most, err);
    most = 0;
    for (int kind = CHAIN; kind <= KL; kind++) {
        ICD_TRY(choose_part(e, (work_kind)kind, &l, &part, &bytes, err));
        most = bytes > most ? bytes : most;
    }
    int jobs = jobs_of(w->batch, part), threads = jobs < base->threads ? jobs : base->threads;
    out->part = part;
    out->parameters = base->arch->n_values * sizeof(real) * (size_t)(ICD_GRAD_KL + 2 + (w->apart ? 2 : 0));
    out->work = most * (size_t)threads
                + sizeof(real) * d * ((size_t)(w->keep + 2) * (size_t)w->batch + (size_t)w->n_neighbours);
    return ICD_OK;
}

static void ref_close(icd_engine *base)
{
    engine *e = (engine *)base;
    if (!e)
        return;
    for (int i = 0; i < ICD_VECTORS; i++)
        icd_free(e->vector[i]);
    forget_prepared(e);
    for (int i = 0; i < e->base.threads && e->tape; i++)
        tape_release(&e->tape[i]);
    icd_free(e->tape);
    icd_free(e->state);
    icd_free(e->labels);
    icd_free(e);
}

icd_status OPEN(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err)
{
    engine *e = icd_alloc(1, sizeof *e);
    if (!e)
        return no_memory(err, "the engine", sizeof *e);
    e->base = (icd_engine){ .name = NAME, .arch = a, .real_bytes = (int)sizeof(real),
        .threads = o->threads > 0 ? o->threads : icd_machine_threads(), .close = ref_close, .import = ref_import,
        .export = ref_export, .energy = ref_energy, .chain = ref_chain, .trajectory = ref_trajectory,
        .gradients = ref_gradients, .update = ref_update, .memory = ref_memory };
    e->memory = o->memory ? o->memory : (size_t)1 << 30;
    e->tape = icd_alloc((size_t)e->base.threads, sizeof *e->tape);
    if (!e->tape) {
        icd_free(e);
        return no_memory(err, "the engine", sizeof *e);
    }
    for (int i = 0; i < e->base.threads; i++)
        tape_init(&e->tape[i], 0);
    *out = &e->base;
    return ICD_OK;
}

#else
typedef int nothing_in_the_complex_build;
#endif
