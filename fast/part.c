/* part.c: chain and losses of one part, with all that the passes can share. */
#include "part.h"

static size_t pixels(const fast_run *r) { return r->plan->tensor[0].count; }

static void begin(fast_run *r, int n, int room, const int32_t *labels)
{
    r->n = n;
    r->room = room;
    if (labels)
        fast_set_labels(r, labels);
}

static void copy(fast_run *r, size_t count, const float *from, float *to)
{
    r->plan->backend->copy(&r->ctx, count, from, to);
}

/* Energies of value[side] into `to` (scales,batch), from row `first` on, and weight[s,i] = c0 + c1 E. */
static void energies(fast_worker *w, int side, int together, float c0, float c1, float *weight, float *to, int batch, int first)
{
    fast_run *r = &w->run;
    const float *y[ICD_MAX_SCALES] = { NULL };
    int scales = r->plan->arch->n_scales;
    for (int s = 0; s < scales; s++)
        y[s] = fast_value(r, r->plan->output[s], side);
    r->plan->backend->loss_weights(&r->ctx, r->n, scales, y, together, c0, c1, w->energy, weight);
    for (int s = 0; s < scales; s++)
        copy(r, (size_t)r->n, w->energy + s * r->n, to + (size_t)s * (size_t)batch + first);
}

void fast_part_energy(fast_worker *w, int batch, int first, int n, const float *x, const int32_t *labels, float *energy,
                      float *gradient)
{
    fast_run *r = &w->run;
    size_t count = (size_t)n * pixels(r), at = (size_t)first * pixels(r);
    begin(r, n, n, labels ? labels + first : NULL);
    w->last_step = 0;
    copy(r, count, x + at, fast_value(r, 0, 0));
    fast_forward(r, 0);
    energies(w, 0, 0, 0, 0, NULL, energy, batch, first);
    if (gradient) {
        fast_backward(r, 0, 1, NULL, NULL, NULL);
        copy(r, count, fast_adjoint(r, 0, 0), gradient + at);
    }
}

/* ---- the chain ---- */

/* x_k into w->x from x_{k-1} (from), with everything that it computes left on side 0:                     [ICD:alg1.10]
 *   noise after:  y = x_{k-1};             x_k = y - lambda grad E(y) + sigma n_k
 *   noise before: y = x_{k-1} + sigma n_k; x_k = y - lambda grad E(y)                                            [GL:1] */
static void langevin_step(fast_part *p, int k, const float *from, int with_inside, int with_statistics)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const fast_backend *b = r->plan->backend;
    const icd_chain *c = p->chain;
    size_t d = pixels(r);
    float *y = fast_value(r, 0, 0);
    fast_langevin move = { .n = r->n, .d = (int)d, .seed = c->seed, .iteration = p->iteration, .purpose = c->purpose,
                           .sample = c->first_sample + (uint32_t)p->first, .first = (uint64_t)(k - 1) * d };
    if (c->normals)
        move.normals = c->normals + ((size_t)(k - 1) * (size_t)c->n + (size_t)p->first) * d;
    fast_langevin drift = move;
    if (c->noise_before) {
        move.x = from;
        move.out = y;
        move.noise = (float)c->noise;
        b->langevin(&r->ctx, &move);
    } else {
        copy(r, (size_t)r->n * d, from, y);
        drift.noise = (float)c->noise;
    }
    fast_forward(r, 0);
    r->kept = with_inside;               /* the steps that L_KL goes back through, and no other, want it */
    fast_backward(r, 0, 1, NULL, NULL, NULL);
    drift.x = y;
    drift.g = fast_adjoint(r, 0, 0);
    drift.out = w->x;
    drift.step_size = (float)c->step_size;
    drift.clamp = c->clamp;
    drift.inside = with_inside ? w->inside : NULL;
    drift.length = with_statistics ? p->length + p->first : NULL;
    drift.finite = with_statistics ? p->finite + p->first : NULL;
    b->langevin(&r->ctx, &drift);
}

static float *state_row(const fast_part *p, int k)
{
    const icd_chain *c = p->chain;
    return p->state + ((size_t)(k - (c->steps - c->keep)) * (size_t)c->n + (size_t)p->first) * pixels(&p->worker->run);
}

void fast_part_chain(fast_part *p)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const icd_chain *c = p->chain;
    size_t count = (size_t)p->n * pixels(r), at = (size_t)p->first * pixels(r);
    begin(r, p->n, p->n, p->labels ? p->labels + p->first : NULL);
    copy(r, count, c->x0 + at, w->x);
    for (int k = 0; k <= c->steps; k++) {
        if (k > 0)
            langevin_step(p, k, w->x, k == c->steps, 1);
        if (k >= c->steps - c->keep)
            copy(r, count, w->x, state_row(p, k));
    }
    w->last_step = c->steps > 0 && !c->use_ema ? 1 + p->first : 0;
    copy(r, count, w->x, p->out + at);
}

/* ---- L_CD ---- */

/* One side of L_CD, from value[side]: sign/N E(x_i) share + energy_l2/N E(x_i)^2, and its gradient into grad.     [ICD:5]
 * What energy_l2 weighs is E^2, or with scale_mean the mean of the scales' squares. */
static void contrastive(fast_part *p, int side, int row, double sign, int want_x, const int32_t *labels)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const icd_losses *l = p->losses;
    int scales = r->plan->arch->n_scales;
    double share = l->scale_mean ? 1.0 / scales : 1.0, l2 = l->apart ? 0 : 2 * l->energy_l2 / l->n;
    fast_forward(r, side);
    energies(w, side, !l->scale_mean, (float)(sign * share / l->n), (float)(l->scale_mean ? l2 / scales : l2), w->weight,
             p->energies + (size_t)row * (size_t)scales * (size_t)l->n, l->n, p->first);
    fast_backward(r, side, want_x, w->weight, labels, w->grad);
}

static void give(fast_part *p, icd_vector v)
{
    fast_worker *w = p->worker;
    p->give(p, v);
    w->run.plan->backend->zero(&w->run.ctx, w->run.plan->arch->n_values, w->grad);
}

/* ---- L_KL ---- */

/* grad -= lambda grad_theta <a, grad_x E(y)>, and leaves -lambda H(y) a in adjoint(image, side 1): the tangent is
 * -lambda a, in which both are linear.                                                                            [ICD:7] */
static void through_step(fast_part *p, int want_x, const int32_t *labels)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    r->plan->backend->mul_add(&r->ctx, (size_t)r->n * pixels(r), (float)-p->chain->step_size, NULL, NULL, w->a,
                              fast_value(r, 0, 1));
    fast_tangent(r);
    fast_second(r, want_x, labels, w->grad);
}

/* From dL/dx_K, already masked by C_K, back through the last m steps: a_{k-1} = C_{k-1} (a_k - lambda H a_k).
 * The passes of step K are on side 0; those of earlier steps are made again from their states.                  [ICD:D.2] */
static void through_chain(fast_part *p, const int32_t *labels)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    int steps = p->chain->steps, m = p->losses->backprop_steps;
    for (int k = steps; k > steps - m; k--) {
        if (k < steps) {
            langevin_step(p, k, state_row(p, k - 1), 1, 0);
            r->plan->backend->mul_add(&r->ctx, (size_t)r->n * pixels(r), 1, w->inside, w->a, fast_adjoint(r, 0, 1), w->a);
        }
        through_step(p, k > steps - m + 1, labels);
    }
}

/* dL/dx_K = C_K (w_opt grad E(x_K) - w_ent (x_K - nn)/|x_K - nn|^2), each 1/kl_batch, nn the nearest of the first
 * `neighbours`; 0: without it.                                                                          [ICD:6] [ICD:8] */
static void last_cotangent(fast_part *p, double w_opt, double w_ent, int neighbours, const float *g)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const icd_losses *l = p->losses;
    fast_nearest e = { .n = r->n, .d = (int)pixels(r), .m = neighbours, .x = state_row(p, p->chain->steps), .X = l->neighbours,
                       .g = g, .inside = w->inside, .w_opt = (float)(w_opt / l->kl_batch),
                       .w_ent = (float)(w_ent / l->kl_batch), .index = p->nn_index + p->first,
                       .square = p->nn_square + p->first, .v = w->a };
    r->plan->backend->nearest(&r->ctx, &e);
}

static void kl(fast_part *p, int images, const int32_t *labels)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const icd_losses *l = p->losses;
    double share = l->scale_mean ? 1.0 / r->plan->arch->n_scales : 1.0;
    r->n = images;
    if (!l->apart) {
        if (images) {
            last_cotangent(p, l->kl_sign * l->w_opt * share, l->kl_sign * l->w_ent, l->n_neighbours,
                           fast_adjoint(r, 0, 1));
            through_chain(p, labels);
        }
        give(p, ICD_GRAD_KL);
        return;
    }
    if (images) {
        /* grad_x E(x_K), which the first of the two ways back overwrites */
        copy(r, (size_t)r->n * pixels(r), fast_adjoint(r, 0, 1), w->g);
        last_cotangent(p, share, 0, 0, w->g);
        through_chain(p, labels);
    }
    give(p, ICD_GRAD_OPT);
    if (images && l->n_neighbours > 0) {
        if (l->backprop_steps > 1)
            langevin_step(p, p->chain->steps, state_row(p, p->chain->steps - 1), 1, 0);
        last_cotangent(p, 0, 1, l->n_neighbours, w->g);
        through_chain(p, labels);
    }
    give(p, ICD_GRAD_ENT);
}

/* Side 0 keeps the last Langevin step for L_KL; side 1 has the positives, then x_K. */
void fast_part_losses(fast_part *p)
{
    fast_worker *w = p->worker;
    fast_run *r = &w->run;
    const icd_losses *l = p->losses;
    size_t count = (size_t)p->n * pixels(r);
    const int32_t *labels = p->labels ? p->labels + p->first : NULL;
    const int32_t *positive_labels = l->positive_labels ? l->positive_labels + p->first : NULL;
    int kl_images = p->kl && p->first < l->kl_batch ? l->kl_batch - p->first : 0;
    if (kl_images > p->n)
        kl_images = p->n;
    r->plan->backend->zero(&r->ctx, r->plan->arch->n_values, w->grad);
    begin(r, p->n, p->n, positive_labels);
    copy(r, count, l->positives + (size_t)p->first * pixels(r), fast_value(r, 0, 1));
    contrastive(p, 1, 0, 1, 0, positive_labels);

    begin(r, p->n, p->n, labels);
    if (kl_images && w->last_step != 1 + p->first)
        langevin_step(p, p->chain->steps, state_row(p, p->chain->steps - 1), 1, 0);
    /* x- = Omega(x_K): one forward and one backward pass serve L_CD and L_opt                                    [ICD:5] */
    copy(r, count, state_row(p, p->chain->steps), fast_value(r, 0, 1));
    contrastive(p, 1, 1, -1, kl_images > 0, labels);
    give(p, ICD_GRAD_CD);
    if (p->kl)
        kl(p, kl_images, labels);
    w->last_step = 0;
}
