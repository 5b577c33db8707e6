/* algorithm1.c: EBM training, line by line. Comments quote the lines of the paper's Algorithm 1, counted from its `Input`
 * and without its comments.                                                                             [ICD:alg1] */
#include "algorithm1.h"

#include <string.h>

#include "parallel.h"

/* Both batches and x~K, as many images of them as there can be where the engine reads them best. 0: memory is out. */
static int take_images(icd_training *t, icd_arena *a)
{
    const icd_config *c = t->config;
    size_t d = t->buffer.d, n = (size_t)c->batch, one = (2 * n + (size_t)c->nn_set) * d, all = 2 * one + n * d;
    float *x = t->engine->lend ? t->engine->lend(t->engine, all * sizeof *x) : NULL;
    int32_t *labels = icd_arena_alloc(a, 4 * n, sizeof *labels);
    if (!x)
        x = icd_arena_alloc(a, all, sizeof *x);
    t->augment_work = icd_arena_alloc(a, icd_augment_work(t->arch->c, t->arch->h, t->arch->w) * (size_t)t->engine->threads,
                                      sizeof *t->augment_work);
    if (!x || !labels || !t->augment_work)
        return 0;
    for (int i = 0; i < 2; i++, x += one, labels += 2 * n)
        t->batch[i] = (icd_batch){ .positives = x, .starts = x + n * d, .neighbours = x + 2 * n * d,
                                   .positive_labels = labels, .labels = labels + n };
    t->chains = x;
    return 1;
}

icd_status icd_training_init(icd_training *t, icd_arena *a, const icd_config *config, const icd_arch *arch, icd_engine *engine,
                             const icd_images *data, icd_err *err)
{
    if (data->c != arch->c || data->h != arch->h || data->w != arch->w)
        return icd_fail(err, ICD_EINVAL, "%s: images of %dx%dx%d (channels, rows, columns), and the model wants %dx%dx%d",
                        config->data, data->c, data->h, data->w, arch->c, arch->h, arch->w);
    for (int i = 0; i < data->n && config->model.classes; i++)
        if (!data->label || data->label[i] < 0 || data->label[i] >= config->model.classes)
            return data->label ? icd_fail(err, ICD_EINVAL, "%s: image %d has label %d, and the model has classes 0..%d",
                                          config->data, i, (int)data->label[i], config->model.classes - 1)
                               : icd_fail(err, ICD_EINVAL, "%s: no labels, and the model has %d classes", config->data,
                                          config->model.classes);
    memset(t, 0, sizeof *t);
    t->config = config;
    t->arch = arch;
    t->engine = engine;
    t->data = data;
    size_t d = icd_image_size(data);
    ICD_TRY(icd_buffer_init(&t->buffer, a, config->buffer, config->buffer_store, config->buffer_size, d, err));
    ICD_TRY(icd_buffer_init(&t->overwritten, a, ICD_FIFO, config->buffer_store, config->batch, d, err));
    return take_images(t, a) ? ICD_OK : icd_fail(err, ICD_ENOMEM, "out of memory for a batch of %d images", config->batch);
}

icd_chain icd_chain_settings(const icd_config *c)
{
    return (icd_chain){ .steps = c->steps, .step_size = c->step_size, .noise = c->noise,
                        .noise_before = c->noise_order == ICD_NOISE_BEFORE, .clamp = c->clamp, .seed = c->seed };
}

icd_losses icd_loss_settings(const icd_config *c)
{
    return (icd_losses){ .w_opt = c->w_opt, .w_ent = c->w_ent, .energy_l2 = c->energy_l2, .kl_sign = c->kl_sign,
                         .kl_batch = c->kl_batch, .backprop_steps = icd_backprop_steps(c), .scale_mean = c->scale_mean };
}

icd_work icd_work_settings(const icd_config *c)
{
    return (icd_work){ .batch = c->batch, .keep = icd_backprop_steps(c), .kl_batch = c->kl_batch, .n_neighbours = c->nn_set,
                       .backprop_steps = icd_backprop_steps(c) };
}

static icd_stream stream(const icd_training *t, int64_t turn, icd_purpose purpose, int sample)
{
    return (icd_stream){ t->config->seed, (uint64_t)turn, (uint32_t)purpose, (uint32_t)sample };
}

/* b gets what that turn starts from. */
typedef struct { const icd_training *t; icd_batch *b; int64_t turn; } preparation;

static void copy_datum(const icd_training *t, int datum, float *x, int32_t *label)
{
    size_t d = icd_image_size(t->data);
    memcpy(x, t->data->x + (size_t)datum * d, d * sizeof *x);
    *label = t->data->label && t->config->model.classes ? t->data->label[datum] : 0;
}

/* x+_i ~ p_D                                                                                            [ICD:alg1.4]
 * With data_noise, plus that much Gaussian noise: Anatomy's epsilon_data.                          [ANA:data_noise] */
static void draw_positive(const preparation *p, int i)
{
    const icd_training *t = p->t;
    size_t d = icd_image_size(t->data);
    float *x = p->b->positives + (size_t)i * d;
    icd_stream s = stream(t, p->turn, ICD_DRAW_POSITIVE, i);
    copy_datum(t, (int)icd_below(&s, 0, (uint32_t)t->data->n), x, &p->b->positive_labels[i]);
    if (t->config->data_noise > 0) {
        icd_stream z = stream(t, p->turn, ICD_DRAW_DATA_NOISE, i);
        for (size_t k = 0; k < d; k++)
            x[k] += (float)t->config->data_noise * icd_normal(&z, k);
    }
}

/* x~0_i ~ B with probability 1 - restart_prob, and U otherwise                                          [ICD:alg1.5]
 * init = noise: always U [ICD:D.1] [ANA:init]. init = data: fresh starts are data, not noise [GL:6.1]. */
static void draw_start(const preparation *p, int i)
{
    const icd_training *t = p->t;
    icd_batch *b = p->b;
    const icd_config *c = t->config;
    size_t d = icd_image_size(t->data);
    float *x = b->starts + (size_t)i * d;
    icd_stream s = stream(t, p->turn, ICD_DRAW_START, i);
    int fresh = t->buffer.count == 0 || c->init == ICD_INIT_FROM_NOISE || icd_uniform(&s, 0) < c->restart_prob;
    if (!fresh) {
        int slot = (int)icd_below(&s, 1, (uint32_t)t->buffer.count);
        icd_buffer_get(&t->buffer, slot, x);
        b->labels[i] = t->buffer.label[slot];
    } else if (c->init == ICD_INIT_FROM_DATA) {
        copy_datum(t, (int)icd_below(&s, 2, (uint32_t)t->data->n), x, &b->labels[i]);
    } else {
        icd_stream u = stream(t, p->turn, ICD_DRAW_UNIFORM, i), l = stream(t, p->turn, ICD_DRAW_LABEL, i);
        icd_uniforms(&u, 0, d, x);
        b->labels[i] = c->model.classes ? (int32_t)icd_below(&l, 0, (uint32_t)c->model.classes) : 0;
    }
}

static void augment(const preparation *p, int thread, icd_purpose purpose, int sample, float *x)
{
    const icd_arch *a = p->t->arch;
    icd_stream s = stream(p->t, p->turn, purpose, sample);
    icd_augment_apply(&p->t->config->augment, &s, a->c, a->h, a->w, x,
                      p->t->augment_work + (size_t)thread * icd_augment_work(a->c, a->h, a->w));
}

/* Jobs 0..batch-1 make x+_i and x~0_i; the others one element of X each. */
static void prepare(void *context, int thread, int job)
{
    const preparation *p = context;
    const icd_training *t = p->t;
    icd_batch *b = p->b;
    const icd_config *c = t->config;
    size_t d = icd_image_size(t->data);
    int active = icd_augment_active(&c->augment, t->arch->c, t->arch->h, t->arch->w);
    if (job < c->batch) {
        draw_positive(p, job);
        draw_start(p, job);
        /* x~0_i = D(x~0_i)                                                                              [ICD:alg1.7] */
        if (active)
            augment(p, thread, ICD_DRAW_AUGMENT, job, b->starts + (size_t)job * d);
        return;
    }
    /* X ~ B for nearest neighbour entropy calculation                                                   [ICD:alg1.6]
     * Drawn before this turn's chains are stored, as in the paper (the released code draws after). */
    int j = job - c->batch;
    icd_stream s = stream(t, p->turn, ICD_DRAW_NEIGHBOUR, j);
    icd_buffer_get(&t->buffer, (int)icd_below(&s, 0, (uint32_t)t->buffer.count), b->neighbours + (size_t)j * d);
    if (c->nn_augment && active)
        augment(p, thread, ICD_DRAW_NN_AUGMENT, j, b->neighbours + (size_t)j * d);
}

/* x+ ~ p_D,  x~0 ~ B or U,  X ~ B,  x~0 = D(x~0)                                                      [ICD:alg1.4-7] */
static void prepare_all(void *context)
{
    preparation *p = context;
    const icd_config *c = p->t->config;
    double begin = icd_seconds();
    p->b->n_neighbours = c->w_ent != 0 && p->t->buffer.count > c->nn_min_buffer ? c->nn_set : 0;
    icd_parallel(p->t->engine->threads, c->batch + p->b->n_neighbours, prepare, p);
    p->b->seconds = icd_seconds() - begin;
    p->b->turn = p->turn;
}

/* B <- B u x~K                                                                                         [ICD:alg1.18]
 * Before the lines above it, which do not ask: the next turn can be prepared while they are computed. */
static void store_ends(icd_training *t, const icd_batch *b)
{
    for (int i = 0; i < t->config->batch; i++) {
        icd_stream s = stream(t, b->turn, ICD_DRAW_BUFFER, i);
        int slot = icd_buffer_slot(&t->buffer, &s);
        if (slot < t->buffer.capacity)
            icd_buffer_copy(&t->buffer, slot, &t->overwritten, i);
        icd_buffer_push(&t->buffer, &s, t->chains + (size_t)i * t->buffer.d, b->labels[i]);
    }
}

/* And back, from the last to the first: each where its push, with the buffer as it then was, put it. */
static void take_back_ends(icd_training *t, const icd_batch *b, const icd_buffer *before)
{
    for (int i = t->config->batch; i-- > 0;) {
        icd_stream s = stream(t, b->turn, ICD_DRAW_BUFFER, i);
        int left = before->capacity - before->count;
        t->buffer.count = before->count + (i < left ? i : left);
        t->buffer.seen = before->seen + i;
        int slot = icd_buffer_slot(&t->buffer, &s);
        if (slot < t->buffer.capacity)
            icd_buffer_copy(&t->overwritten, i, &t->buffer, slot);
    }
}

/* What there is to learn from x+ and x~K: lines 12 to 17. */
static icd_status learn(icd_training *t, const icd_losses *losses, int64_t turn, icd_loss_stats *stats, icd_err *err)
{
    const icd_config *c = t->config;
    icd_engine *e = t->engine;
    /* x- = Omega(x~K), x^- = x~K;  L_CD, L_KL and their gradients                                   [ICD:alg1.12-16] */
    ICD_TRY(e->gradients(e, losses, stats, err));
    if (!stats->finite)
        return icd_fail(err, ICD_ENAN, "iteration %lld: a loss or gradient is not finite (mean energies %g and %g)",
                        (long long)turn, stats->energy_positive, stats->energy_negative);

    /* Here the gradients of several processes are summed, where there are several: each has ICD_GRAD_CD and ICD_GRAD_KL of
     * its share of the batch. */

    /* Update theta based on Delta theta using Adam                                                     [ICD:alg1.17] */
    icd_update update = { turn, c->lr, c->beta1, c->beta2, c->adam_eps, c->grad_clip, c->ema };
    return e->update(e, &update, err);
}

icd_status icd_algorithm1_turn(icd_training *t, icd_iteration_stats *stats, icd_err *err)
{
    const icd_config *c = t->config;
    icd_engine *e = t->engine;
    int64_t turn = t->iteration + 1;
    icd_batch *b = &t->batch[turn % 2];
    preparation this = { t, b, turn }, next = { t, &t->batch[(turn + 1) % 2], turn + 1 };
    if (b->turn != turn)
        prepare_all(&this);
    stats->neighbours = b->n_neighbours;

    icd_losses losses = icd_loss_settings(c);
    losses.n = c->batch;
    losses.positives = b->positives;
    losses.positive_labels = c->model.classes ? b->positive_labels : NULL;
    losses.n_neighbours = b->n_neighbours;
    losses.neighbours = b->neighbours;

    /* for k = 1..K: x~k = x~k-1 - grad_x E(Omega(x~k-1)) + omega                                     [ICD:alg1.8-11] */
    icd_chain chain = icd_chain_settings(c);
    chain.n = c->batch;
    chain.x0 = b->starts;
    chain.labels = c->model.classes ? b->labels : NULL;
    chain.iteration = (uint64_t)turn;
    chain.purpose = ICD_DRAW_LANGEVIN;
    chain.keep = icd_backprop_steps(c);
    chain.ahead = &losses;
    ICD_TRY(e->chain(e, &chain, t->chains, &stats->chain, err));
    if (!stats->chain.finite)
        return icd_fail(err, ICD_ENAN, "iteration %lld: the chain left the finite numbers; a smaller step_size or lr may help",
                        (long long)turn);

    icd_buffer before = t->buffer;
    icd_aside aside = { 0 };
    store_ends(t, b);
    if (turn < c->iterations)
        icd_aside_begin(&aside, prepare_all, &next);
    icd_status s = learn(t, &losses, turn, &stats->loss, err);
    double learned = icd_seconds();
    icd_aside_end(&aside);
    stats->waiting = icd_seconds() - learned;
    stats->preparing = turn < c->iterations ? next.b->seconds : 0;
    if (s == ICD_OK)
        t->iteration = turn;
    else
        take_back_ends(t, b, &before);
    return s;
}
