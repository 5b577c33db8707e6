/* conditional.c: models with classes: a gain and bias for each image, and their gradients given to the parameters. */
#include "passes.h"

void fast_set_labels(fast_run *r, const int32_t *labels)
{
    for (int k = 0; k < r->plan->n_nodes; k++) {
        const fast_node *d = &r->plan->node[k];
        if (d->kind != FAST_NODE_NORM_SWISH || !d->norm.per_image)
            continue;
        float *gain = r->arena + d->affine, *bias = gain + (size_t)r->plan->part * (size_t)d->norm.c;
        r->plan->backend->class_affine_fwd(&r->ctx, r->n, d->norm.c, labels, fast_parameter(r, d->weight),
                                           fast_parameter(r, d->bias), fast_parameter(r, d->class_gain),
                                           fast_parameter(r, d->class_bias), gain, bias);
    }
}

void fast_conditional_zero(fast_run *r, const fast_node *d)
{
    size_t rows = (size_t)r->plan->part * (size_t)d->norm.c;
    r->plan->backend->zero(&r->ctx, 2 * rows, r->arena + d->affine + 2 * rows);
}

void fast_conditional_give(fast_run *r, const fast_node *d, const int32_t *labels, float *grad)
{
    fast_affine own = fast_node_affine(r, d, grad);
    r->plan->backend->class_affine_bwd(&r->ctx, r->n, d->norm.c, labels, fast_parameter(r, d->weight), fast_parameter(r, d->bias),
                                       fast_parameter(r, d->class_gain), own.ggain, own.gbias, fast_gradient(r, d->weight, grad),
                                       fast_gradient(r, d->bias, grad), fast_gradient(r, d->class_gain, grad),
                                       fast_gradient(r, d->class_bias, grad));
}
