/* passes_forward.c: forward and tangent: a scale's nodes in order. */
#include "passes.h"

fast_affine fast_node_affine(const fast_run *r, const fast_node *d, float *grad)
{
    const fast_plan *p = r->plan;
    size_t rows = (size_t)p->part * (size_t)d->norm.c;
    float *own = r->arena + d->affine, *nowhere = r->arena + p->nowhere[d->scale];
    if (d->norm.per_image)
        return (fast_affine){ own, own + rows, own + 2 * rows, own + 3 * rows };
    if (d->weight < 0)
        return (fast_affine){ r->arena + p->ones, r->arena + p->zeros, nowhere, nowhere };
    return (fast_affine){ fast_parameter(r, d->weight), fast_parameter(r, d->bias),
                          grad ? fast_gradient(r, d->weight, grad) : NULL, grad ? fast_gradient(r, d->bias, grad) : NULL };
}

/* Pools of the image, then scale by scale: in any other order the results are the same. */
static void each(fast_run *r, int side, void (*visit)(fast_run *, const fast_node *, int side))
{
    const fast_plan *p = r->plan;
    for (int i = 0; i < p->n_nodes; i++)
        if (p->tensor[p->node[i].out].of_image)
            visit(r, &p->node[i], side);
    for (int s = 0; s < p->arch->n_scales; s++) {
        fast_branch(r, s);
        for (int i = 0; i < p->n_nodes; i++)
            if (p->node[i].scale == s && !p->tensor[p->node[i].out].of_image)
                visit(r, &p->node[i], side);
    }
    fast_join(r);
}

/* ---- forward ---- */

/* One node alone. */
static void node_value(fast_run *r, const fast_node *d, int side)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]], *out = &r->plan->tensor[d->out];
    const float *x = fast_value(r, d->in[0], side), *add = d->add >= 0 ? fast_value(r, d->add, side) : NULL;
    float *y = fast_value(r, d->out, side);
    size_t count = (size_t)r->n * out->count;
    fast_planes planes = fast_pool_planes(r, in);
    fast_norm_saved saved;
    fast_affine affine;
    switch (d->kind) {
    case FAST_NODE_PACK:
        b->pack(&r->ctx, r->n, in->c, in->h * in->w, x, y);
        break;
    case FAST_NODE_CONV:
        b->conv_fwd(&r->ctx, r->n, &d->conv, x, r->packed + d->packed, fast_parameter(r, d->bias), add, y);
        break;
    case FAST_NODE_NORM_SWISH:
        affine = fast_node_affine(r, d, NULL);
        saved = fast_saved_norm(r, d, side);
        b->norm_swish_fwd(&r->ctx, r->n, &d->norm, x, affine.gain, affine.bias, add, y, &saved);
        break;
    case FAST_NODE_ACT:
        b->act_fwd(&r->ctx, d->act, d->slope, count, x, y);
        break;
    case FAST_NODE_AVGPOOL:
        b->avgpool_fwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, x, y);
        break;
    case FAST_NODE_MAXPOOL:
        b->maxpool_fwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, x, y, (uint8_t *)fast_saved(r, d, side));
        break;
    case FAST_NODE_MEAN:
        b->mean_fwd(&r->ctx, r->n, in->c, in->h * in->w, x, y);
        break;
    case FAST_NODE_FLATTEN:
        b->unpack(&r->ctx, r->n, in->c, in->h * in->w, x, r->arena + r->plan->temporary[d->scale]);
        b->pack(&r->ctx, r->n, out->c, 1, r->arena + r->plan->temporary[d->scale], y);
        break;
    case FAST_NODE_ATTENTION:
        b->attn_fwd(&r->ctx, r->n, &d->attn, x, fast_value(r, d->in[1], side), fast_value(r, d->in[2], side), y,
                    fast_saved(r, d, side));
        break;
    case FAST_NODE_SCALE_ADD:
        b->scale_add(&r->ctx, count, fast_parameter(r, d->weight), x, add, y);
        break;
    }
}

/* A node, its swish with it where one slot does both. */
static void node_forward(fast_run *r, const fast_node *d, int side)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]];
    const float *x = fast_value(r, d->in[0], side);
    float *y = fast_value(r, d->out, side);
    fast_planes planes = fast_pool_planes(r, in);
    if (d->with_last)
        return;
    if (d->swish && d->kind == FAST_NODE_CONV)
        b->conv_swish_fwd(&r->ctx, r->n, &d->conv, x, r->packed + d->packed, fast_parameter(r, d->bias), y,
                          fast_value(r, d[1].out, side));
    else if (d->swish)
        b->avgpool_swish_fwd(&r->ctx, planes.images, in->h, in->w, planes.lanes, x, y, fast_value(r, d[1].out, side));
    else
        node_value(r, d, side);
}

void fast_forward(fast_run *r, int side)
{
    each(r, side, node_forward);
}

/* ---- tangent: linear nodes do to the tangent what they do to the value, without a bias ---- */

static void node_tangent(fast_run *r, const fast_node *d, int side)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]];
    const float *x = fast_value(r, d->in[0], 0), *x_t = fast_value(r, d->in[0], side);
    const float *add_t = d->add >= 0 ? fast_value(r, d->add, side) : NULL;
    float *y_t = fast_value(r, d->out, side);
    size_t count = (size_t)r->n * in->count;
    fast_planes planes = fast_pool_planes(r, in);
    fast_norm_saved saved;
    fast_affine affine;
    switch (d->kind) {
    case FAST_NODE_CONV:
        b->conv_fwd(&r->ctx, r->n, &d->conv, x_t, r->packed + d->packed, NULL, add_t, y_t);
        break;
    case FAST_NODE_NORM_SWISH:
        affine = fast_node_affine(r, d, NULL);
        saved = fast_saved_norm(r, d, 0);
        b->norm_swish_tan(&r->ctx, r->n, &d->norm, x, affine.gain, affine.bias, &saved, x_t, add_t, y_t);
        break;
    case FAST_NODE_ACT:
        b->act_bwd(&r->ctx, d->act, d->slope, count, x, x_t, y_t);
        break;
    case FAST_NODE_MAXPOOL:
        b->maxpool_tan(&r->ctx, planes.images, in->h, in->w, planes.lanes, (const uint8_t *)fast_saved(r, d, 0), x_t, y_t);
        break;
    case FAST_NODE_ATTENTION:
        b->attn_tan(&r->ctx, r->n, &d->attn, x, fast_value(r, d->in[1], 0), fast_value(r, d->in[2], 0), fast_saved(r, d, 0),
                    x_t, fast_value(r, d->in[1], side), fast_value(r, d->in[2], side), y_t);
        break;
    default:                             /* pack, avgpool, mean, flatten, scale_add */
        node_value(r, d, side);
        break;
    }
}

void fast_tangent(fast_run *r)
{
    each(r, 1, node_tangent);
}
