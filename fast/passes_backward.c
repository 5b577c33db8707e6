/* passes_backward.c: backward and second: a scale's nodes in reverse order, adjoints flowing as the plan wired them. */
#include "passes.h"

/* What a pass is asked for: the arguments of fast_backward and fast_second. */
typedef struct {
    int side, want_x;
    const float *weight;
    const int32_t *labels;
    float *grad;
} request;

/* Scale by scale from its energy's own adjoint, one for each image; then what reads the image, the smallest scale first, since
 * there the scales' shares of its adjoint meet. */
static void each(fast_run *r, const request *q, const float *seed, void (*visit)(fast_run *, const fast_node *, const request *))
{
    const fast_plan *p = r->plan;
    for (int s = p->arch->n_scales - 1; s >= 0; s--) {
        fast_branch(r, s);
        p->backend->pack(&r->ctx, r->n, 1, 1, seed, fast_adjoint(r, p->output[s], q->side));
        for (int i = p->n_nodes - 1; i >= 0; i--)
            if (p->node[i].scale == s && !p->tensor[p->node[i].in[0]].of_image)
                visit(r, &p->node[i], q);
    }
    fast_join(r);
    for (int i = p->n_nodes - 1; i >= 0; i--)
        if (p->tensor[p->node[i].in[0]].of_image)
            visit(r, &p->node[i], q);
}

/* Input j's share goes straight to its adjoint, or, where another share is there already, through the temporary. */
static float *share(const fast_run *r, const fast_node *d, int j, int side)
{
    return d->plus[j] >= 0 ? r->arena + r->plan->temporary[d->scale] : fast_adjoint(r, d->in[j], side);
}

static void shared(fast_run *r, const fast_node *d, int j, int side)
{
    if (d->plus[j] >= 0)
        r->plan->backend->scale_add(&r->ctx, (size_t)r->n * r->plan->tensor[d->in[j]].count, NULL,
                                    r->arena + r->plan->temporary[d->scale], fast_adjoint(r, d->plus[j], side),
                                    fast_adjoint(r, d->in[j], side));
}

/* Nodes that are linear in x take the same step in both backward passes: gx = JT gy. `point`: the side of the values. */
static void linear_backward(fast_run *r, const fast_node *d, int side, int point, const float *gy)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]], *out = &r->plan->tensor[d->out];
    fast_planes planes = fast_pool_planes(r, in);
    float *gx = share(r, d, 0, side), *planar = r->arena + r->plan->temporary2[d->scale];
    switch (d->kind) {
    case FAST_NODE_PACK:
        b->unpack(&r->ctx, r->n, in->c, in->h * in->w, gy, gx);
        break;
    case FAST_NODE_FLATTEN:
        b->unpack(&r->ctx, r->n, out->c, 1, gy, planar);
        b->pack(&r->ctx, r->n, in->c, in->h * in->w, planar, gx);
        break;
    case FAST_NODE_AVGPOOL:
        b->avgpool_bwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, gy, gx);
        break;
    case FAST_NODE_MAXPOOL:
        b->maxpool_bwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, (const uint8_t *)fast_saved(r, d, point), gy, gx);
        break;
    case FAST_NODE_MEAN:
        b->mean_bwd(&r->ctx, r->n, in->c, in->h * in->w, gy, gx);
        break;
    default:                             /* scale_add */
        b->scale_add(&r->ctx, (size_t)r->n * in->count, fast_parameter(r, d->weight), gy, NULL, gx);
        break;
    }
    shared(r, d, 0, side);
}

static void conv_to_input(fast_run *r, const fast_node *d, int side, const float *gy)
{
    const float *add = d->plus[0] >= 0 ? fast_adjoint(r, d->plus[0], side) : NULL;
    r->plan->backend->conv_bwd_x(&r->ctx, r->n, &d->conv, gy, r->packed + d->packed, add, fast_adjoint(r, d->in[0], side));
}

/* ---- backward ---- */

/* Is the node's swish done with it? Not where somebody wants a convolution's own gy: its weights, or `second`. */
static int swish_with(const fast_run *r, const fast_node *d, const request *q)
{
    return d->swish && (d->kind == FAST_NODE_AVGPOOL || (!q->weight && !r->kept));
}

static void swish_backward(fast_run *r, const fast_node *d, const request *q)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]];
    const float *y = fast_value(r, d->out, q->side), *gs = fast_adjoint(r, d[1].gy, q->side);
    fast_planes planes = fast_pool_planes(r, in);
    if (d->kind == FAST_NODE_CONV) {
        const float *add = d->plus[0] >= 0 ? fast_adjoint(r, d->plus[0], q->side) : NULL;
        b->conv_swish_bwd_x(&r->ctx, r->n, &d->conv, y, gs, r->packed + d->packed, add, fast_adjoint(r, d->in[0], q->side));
    } else {
        b->avgpool_swish_bwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, y, gs, share(r, d, 0, q->side));
        shared(r, d, 0, q->side);
    }
}

static void node_backward(fast_run *r, const fast_node *d, const request *q)
{
    const fast_backend *b = r->plan->backend;
    const int side = q->side;
    const float *weight = q->weight;
    float *grad = q->grad;
    const fast_tensor *in = &r->plan->tensor[d->in[0]], *out = &r->plan->tensor[d->out];
    const float *x = fast_value(r, d->in[0], side), *gy = fast_adjoint(r, d->gy, side);
    const float *scale = weight ? weight + d->scale * r->n : NULL;
    size_t count = out->count;
    fast_norm_saved saved;
    fast_affine affine;
    int to_input = q->want_x || !in->of_image;
    if ((d->with_last && swish_with(r, d - 1, q)) || (d->swish && swish_with(r, d, q) && !to_input))
        return;
    if (swish_with(r, d, q)) {
        swish_backward(r, d, q);
        return;
    }
    switch (d->kind) {
    case FAST_NODE_CONV:
        if (weight)
            b->conv_bwd_w(&r->ctx, r->n, &d->conv, x, gy, scale, fast_gradient(r, d->weight, grad));
        if (weight && d->bias >= 0)
            b->bias_bwd(&r->ctx, r->n, out->c, out->h * out->w, gy, scale, fast_gradient(r, d->bias, grad));
        if (to_input)
            conv_to_input(r, d, side, gy);
        break;
    case FAST_NODE_NORM_SWISH:
        affine = fast_node_affine(r, d, weight ? grad : NULL);
        saved = fast_saved_norm(r, d, side);
        if (weight && d->norm.per_image)
            fast_conditional_zero(r, d);
        b->norm_swish_bwd(&r->ctx, r->n, &d->norm, x, affine.gain, affine.bias, &saved, gy, share(r, d, 0, side), scale,
                          weight ? affine.ggain : NULL, weight ? affine.gbias : NULL);
        shared(r, d, 0, side);
        if (weight && d->norm.per_image)
            fast_conditional_give(r, d, q->labels, grad);
        break;
    case FAST_NODE_ACT:
        b->act_bwd(&r->ctx, d->act, d->slope, (size_t)r->n * count, x, gy, share(r, d, 0, side));
        shared(r, d, 0, side);
        break;
    case FAST_NODE_ATTENTION:
        b->attn_bwd(&r->ctx, r->n, &d->attn, x, fast_value(r, d->in[1], side), fast_value(r, d->in[2], side),
                    fast_saved(r, d, side), gy, fast_adjoint(r, d->in[0], side), fast_adjoint(r, d->in[1], side),
                    fast_adjoint(r, d->in[2], side));
        break;
    case FAST_NODE_SCALE_ADD:
        if (weight)
            b->dot(&r->ctx, r->n, count, x, gy, scale, fast_gradient(r, d->weight, grad));
        linear_backward(r, d, side, side, gy);
        break;
    default:
        if (to_input)
            linear_backward(r, d, side, side, gy);
        break;
    }
}

void fast_backward(fast_run *r, int side, int want_x, const float *weight, const int32_t *labels, float *grad)
{
    request q = { side, want_x, weight, labels, grad };
    each(r, &q, r->arena + r->plan->ones, node_backward);
}

/* ---- second: hy are adjoints of values, gy (of the plain pass, kept on side 0) those of tangents ---- */

/* sum hy x + gy x_t: where the sides touch, one batch of 2n images. */
static void conv_second_weight(fast_run *r, const fast_node *d, const float *hy, const float *gy, float *gw)
{
    const fast_backend *b = r->plan->backend;
    const float *x = fast_value(r, d->in[0], 0), *x_t = fast_value(r, d->in[0], 1);
    if (r->n == r->room) {
        b->conv_bwd_w(&r->ctx, 2 * r->n, &d->conv, x, hy, NULL, gw);
    } else {
        b->conv_bwd_w(&r->ctx, r->n, &d->conv, x, hy, NULL, gw);
        b->conv_bwd_w(&r->ctx, r->n, &d->conv, x_t, gy, NULL, gw);
    }
}

static void node_second(fast_run *r, const fast_node *d, const request *q)
{
    const fast_backend *b = r->plan->backend;
    float *grad = q->grad;
    const fast_tensor *out = &r->plan->tensor[d->out];
    const float *x = fast_value(r, d->in[0], 0), *x_t = fast_value(r, d->in[0], 1);
    const float *hy = fast_adjoint(r, d->gy, 1), *gy = fast_adjoint(r, d->gy, 0);
    fast_norm_saved saved;
    fast_affine affine;
    int to_input = q->want_x || !r->plan->tensor[d->in[0]].of_image;
    switch (d->kind) {
    case FAST_NODE_CONV:
        conv_second_weight(r, d, hy, gy, fast_gradient(r, d->weight, grad));
        if (d->bias >= 0)
            b->bias_bwd(&r->ctx, r->n, out->c, out->h * out->w, hy, NULL, fast_gradient(r, d->bias, grad));
        if (to_input)
            conv_to_input(r, d, 1, hy);
        break;
    case FAST_NODE_NORM_SWISH:
        affine = fast_node_affine(r, d, grad);
        saved = fast_saved_norm(r, d, 0);
        if (d->norm.per_image)
            fast_conditional_zero(r, d);
        b->norm_swish_bwd2(&r->ctx, r->n, &d->norm, x, affine.gain, affine.bias, &saved, x_t, hy, gy, share(r, d, 0, 1),
                           affine.ggain, affine.gbias);
        shared(r, d, 0, 1);
        if (d->norm.per_image)
            fast_conditional_give(r, d, q->labels, grad);
        break;
    case FAST_NODE_ACT:
        b->act_bwd2(&r->ctx, d->act, d->slope, (size_t)r->n * out->count, x, x_t, hy, gy, share(r, d, 0, 1));
        shared(r, d, 0, 1);
        break;
    case FAST_NODE_ATTENTION:
        b->attn_bwd2(&r->ctx, r->n, &d->attn, x, fast_value(r, d->in[1], 0), fast_value(r, d->in[2], 0), fast_saved(r, d, 0),
                     x_t, fast_value(r, d->in[1], 1), fast_value(r, d->in[2], 1), hy, gy, fast_adjoint(r, d->in[0], 1),
                     fast_adjoint(r, d->in[1], 1), fast_adjoint(r, d->in[2], 1));
        break;
    case FAST_NODE_SCALE_ADD:
        b->dot(&r->ctx, r->n, out->count, x, hy, NULL, fast_gradient(r, d->weight, grad));
        b->dot(&r->ctx, r->n, out->count, x_t, gy, NULL, fast_gradient(r, d->weight, grad));
        linear_backward(r, d, 1, 0, hy);
        break;
    default:
        if (to_input)
            linear_backward(r, d, 1, 0, hy);
        break;
    }
}

void fast_second(fast_run *r, int want_x, const int32_t *labels, float *grad)
{
    request q = { 1, want_x, NULL, labels, grad };
    each(r, &q, r->arena + r->plan->zeros, node_second);
}
