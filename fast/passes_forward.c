/* passes_forward.c: forward and tangent: nodes in order. */
#include "passes.h"

fast_affine fast_node_affine(const fast_run *r, const fast_node *d, float *grad)
{
    const fast_plan *p = r->plan;
    size_t rows = (size_t)p->part * (size_t)d->norm.c;
    float *own = r->arena + d->affine, *nowhere = r->arena + p->nowhere;
    if (d->norm.per_image)
        return (fast_affine){ own, own + rows, own + 2 * rows, own + 3 * rows };
    if (d->weight < 0)
        return (fast_affine){ r->arena + p->ones, r->arena + p->zeros, nowhere, nowhere };
    return (fast_affine){ fast_parameter(r, d->weight), fast_parameter(r, d->bias),
                          grad ? fast_gradient(r, d->weight, grad) : NULL, grad ? fast_gradient(r, d->bias, grad) : NULL };
}

/* ---- forward ---- */

static void node_forward(fast_run *r, const fast_node *d, int side)
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
        b->unpack(&r->ctx, r->n, in->c, in->h * in->w, x, r->arena + r->plan->temporary);
        b->pack(&r->ctx, r->n, out->c, 1, r->arena + r->plan->temporary, y);
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

void fast_forward(fast_run *r, int side)
{
    for (int i = 0; i < r->plan->n_nodes; i++)
        node_forward(r, &r->plan->node[i], side);
}

/* ---- tangent: linear nodes do to the tangent what they do to the value, without a bias ---- */

static void node_tangent(fast_run *r, const fast_node *d)
{
    const fast_backend *b = r->plan->backend;
    const fast_tensor *in = &r->plan->tensor[d->in[0]];
    const float *x = fast_value(r, d->in[0], 0), *x_t = fast_value(r, d->in[0], 1);
    const float *add_t = d->add >= 0 ? fast_value(r, d->add, 1) : NULL;
    float *y_t = fast_value(r, d->out, 1);
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
                    x_t, fast_value(r, d->in[1], 1), fast_value(r, d->in[2], 1), y_t);
        break;
    default:                             /* pack, avgpool, mean, flatten, scale_add */
        node_forward(r, d, 1);
        break;
    }
}

void fast_tangent(fast_run *r)
{
    for (int i = 0; i < r->plan->n_nodes; i++)
        node_tangent(r, &r->plan->node[i]);
}
