/* weights.c: weight standardisation, then spectral normalisation, and their transposes. */
#include "weights.h"

/* Spectral normalisation divides the weights of convolutions and dense layers; class tables, gains and gamma stay. */
static int spectral(const fast_plan *p, const icd_param *q)
{
    return p->arch->model.spectral_norm && (q->rank == 4 || (q->rank == 2 && q->init == ICD_INIT_FAN_IN));
}

static int columns(const icd_param *q) { return (int)(q->count / (size_t)q->shape[0]); }

void fast_use_parameter(const fast_plan *p, fast_ctx *work, int param, const float *theta, float *used)
{
    const icd_param *q = &p->arch->param[param];
    const float *from = theta + q->offset;
    float *to = used + q->offset;
    p->backend->copy(work, q->count, from, to);
    if (q->standardised)
        p->backend->weight_std_fwd(work, q->shape[0], columns(q), to, to);
    if (spectral(p, q)) {
        float *copy = (float *)work->scratch + p->scratch / sizeof(float);
        p->backend->copy(work, q->count, to, copy);
        p->backend->spectral_fwd(work, q->shape[0], columns(q), copy, to);
    }
}

void fast_raw_gradient(const fast_plan *p, fast_ctx *work, int param, const float *theta, float *grad)
{
    const icd_param *q = &p->arch->param[param];
    float *first = (float *)work->scratch + p->scratch / sizeof(float), *second = first + (q->count + 15) / 16 * 16;
    float *g = grad + q->offset;
    if (spectral(p, q)) {
        const float *w = theta + q->offset;
        if (q->standardised) {
            p->backend->weight_std_fwd(work, q->shape[0], columns(q), w, first);
            w = first;
        }
        p->backend->copy(work, q->count, g, second);
        p->backend->zero(work, q->count, g);
        p->backend->spectral_bwd(work, q->shape[0], columns(q), w, second, g);
    }
    if (q->standardised) {
        p->backend->copy(work, q->count, g, second);
        p->backend->zero(work, q->count, g);
        p->backend->weight_std_bwd(work, q->shape[0], columns(q), theta + q->offset, second, g);
    }
}

void fast_pack_node(const fast_plan *p, fast_ctx *work, const fast_node *d, const float *used, float *packed)
{
    if (d->kind == FAST_NODE_CONV)
        p->backend->conv_pack(work, &d->conv, used + p->arch->param[d->weight].offset, packed + d->packed);
}

size_t fast_weights_scratch(const fast_plan *p)
{
    size_t most = 0;
    for (int i = 0; i < p->arch->n_params; i++) {
        const icd_param *q = &p->arch->param[i];
        if ((q->standardised || spectral(p, q)) && q->count > most)
            most = q->count;
    }
    return 2 * ((most + 15) / 16 * 16) * sizeof(float);
}
