/* conditional.c: gain and bias of a class: z = class_gain (gain xhat + bias) + class_bias, as one gain and bias per image. */
#include "passes.h"

#include <string.h>

typedef struct { const float *gain, *bias, *class_gain, *class_bias; int c; } tables;

static tables tables_of(const fast_run *r, const fast_node *d)
{
    return (tables){ fast_parameter(r, d->weight), fast_parameter(r, d->bias), fast_parameter(r, d->class_gain),
                     fast_parameter(r, d->class_bias), d->norm.c };
}

void fast_set_labels(fast_run *r, const int32_t *labels)
{
    for (int k = 0; k < r->plan->n_nodes; k++) {
        const fast_node *d = &r->plan->node[k];
        if (d->kind != FAST_NODE_NORM_SWISH || !d->norm.per_image)
            continue;
        tables t = tables_of(r, d);
        float *gain = r->arena + d->affine, *bias = gain + (size_t)r->plan->part * (size_t)t.c;
        for (int i = 0; i < r->n; i++)
            for (int c = 0; c < t.c; c++) {
                float class_gain = t.class_gain[labels[i] * t.c + c];
                gain[i * t.c + c] = t.gain ? class_gain * t.gain[c] : class_gain;
                bias[i * t.c + c] = t.class_bias[labels[i] * t.c + c] + (t.bias ? class_gain * t.bias[c] : 0);
            }
    }
}

void fast_conditional_zero(const fast_run *r, const fast_node *d)
{
    size_t rows = (size_t)r->plan->part * (size_t)d->norm.c;
    memset(r->arena + d->affine + 2 * rows, 0, 2 * rows * sizeof(float));
}

void fast_conditional_give(const fast_run *r, const fast_node *d, const int32_t *labels, float *grad)
{
    tables t = tables_of(r, d);
    fast_affine own = fast_node_affine(r, d, grad);
    float *to_gain = fast_gradient(r, d->weight, grad), *to_bias = fast_gradient(r, d->bias, grad);
    float *to_class_gain = fast_gradient(r, d->class_gain, grad), *to_class_bias = fast_gradient(r, d->class_bias, grad);
    for (int i = 0; i < r->n; i++)
        for (int c = 0; c < t.c; c++) {
            float gg = own.ggain[i * t.c + c], gb = own.gbias[i * t.c + c];
            int row = labels[i] * t.c + c;
            to_class_gain[row] += t.gain ? gg * t.gain[c] + gb * t.bias[c] : gg;
            to_class_bias[row] += gb;
            if (to_gain) {
                to_gain[c] += gg * t.class_gain[row];
                to_bias[c] += gb * t.class_gain[row];
            }
        }
}
