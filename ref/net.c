/* net.c: layers and blocks. */
#include "net.h"

#include "ops.h"

static shape param_shape(const icd_param *p)
{
    switch (p->rank) {
    case 4:  return (shape){ p->shape[0], p->shape[1], p->shape[2], p->shape[3] };
    case 2:  break;
    default: return (shape){ 1, p->shape[0], 1, 1 };
    }
    return (shape){ p->shape[0], p->shape[1], 1, 1 };      /* dense weight (O,I) or class table (classes,C) */
}

void net_leaves(tape *t, const icd_arch *a, const real *theta, var *p)
{
    for (int i = 0; i < a->n_params; i++)
        p[i] = tape_share(t, param_shape(&a->param[i]), theta ? theta + a->param[i].offset : NULL);
}

/* A weight of a convolution or dense layer, which spectral normalisation divides; class tables and gamma are not. */
static int is_weight(const icd_param *p) { return p->rank == 4 || (p->rank == 2 && p->init == ICD_INIT_FAN_IN); }

void net_prepare(tape *t, const icd_arch *a, const var *p, var *q)
{
    for (int i = 0; i < a->n_params; i++) {
        q[i] = p[i];
        if (a->param[i].standardised)
            q[i] = weight_standardise(t, q[i]);
        if (a->model.spectral_norm && is_weight(&a->param[i]))
            q[i] = spectral_normalise(t, q[i]);
    }
}

void net_frozen(tape *t, const icd_arch *a, const var *p, var *q)
{
    for (int i = 0; i < a->n_params; i++)
        q[i] = tape_stop_gradient(t, p[i]);
}

typedef struct { tape *t; const icd_arch *a; const icd_layer *l; const var *q; const int32_t *labels; } context;

static var par(const context *c, icd_role role) { return c->l->param[role] >= 0 ? c->q[c->l->param[role]] : -1; }

static linear1x1 linear(const context *c, icd_role weight) { return (linear1x1){ par(c, weight), par(c, weight + 1) }; }

static var norm(const context *c, var x, icd_role gain)
{
    int groups = icd_norm_groups(&c->a->model, shape_of(c->t, x).c);
    return groups ? group_norm(c->t, x, groups, par(c, gain), par(c, gain + 1)) : x;
}

/* Row label[i] of a class table (classes,C) for image i: (N,C,1,1). */
static var class_row(const context *c, var table, int n)
{
    if (table < 0)
        return -1;
    int channels = shape_of(c->t, table).c;
    int32_t *index = tape_indices(c->t, (size_t)n * (size_t)channels);
    if (c->t->status != ICD_OK)
        return -1;
    for (int i = 0; i < n && !c->t->dry; i++)
        for (int k = 0; k < channels; k++)
            index[i * channels + k] = c->labels[i] * channels + k;
    return tape_gather(c->t, table, index, (shape){ n, channels, 1, 1 });
}

/* x + swish(norm2(conv2(swish(norm1(conv1(x)))))), with the class's gain and bias after norm1.      [ICD:table5.res] */
static var residual(const context *c, var x)
{
    tape *t = c->t;
    var h = conv_bias(t, x, par(c, ICD_CONV1_WEIGHT), par(c, ICD_CONV1_BIAS), 1, 1);
    h = norm(c, h, ICD_NORM1_WEIGHT);
    if (c->a->model.classes) {
        int n = shape_of(t, x).n;
        h = tape_mul(t, h, class_row(c, par(c, ICD_CLASS_GAIN), n));
        h = tape_add(t, h, class_row(c, par(c, ICD_CLASS_BIAS), n));
    }
    h = swish(t, h);
    h = conv_bias(t, h, par(c, ICD_CONV2_WEIGHT), par(c, ICD_CONV2_BIAS), 1, 1);
    h = swish(t, norm(c, h, ICD_NORM2_WEIGHT));
    var skip = c->l->param[ICD_SKIP_WEIGHT] >= 0 ? tape_conv2d(t, x, par(c, ICD_SKIP_WEIGHT), 1, 0) : x;
    return tape_add(t, h, skip);
}

/* residual, then conv 3x3 -> average pool 3x3 stride 2 pad 1 -> swish.                              [ICD:table5.down] */
static var down(const context *c, var x)
{
    var h = conv_bias(c->t, residual(c, x), par(c, ICD_DOWN_WEIGHT), par(c, ICD_DOWN_BIAS), 1, 1);
    return swish(c->t, tape_avgpool(c->t, h, 3, 2, 1));
}

/* y = W x + b on (N,I,1,1): a convolution whose window is the whole image. */
static var dense(const context *c, var x)
{
    return conv_bias(c->t, x, par(c, ICD_WEIGHT), par(c, ICD_BIAS), 1, 0);
}

static var layer(const context *c, var x)
{
    tape *t = c->t;
    shape s = shape_of(t, x);
    switch (c->l->kind) {
    case ICD_CONV:     return conv_bias(t, x, par(c, ICD_WEIGHT), par(c, ICD_BIAS), c->l->s, c->l->p);
    case ICD_SWISH:    return swish(t, x);
    case ICD_LRELU:    return leaky_relu(t, x, c->l->slope);
    case ICD_RES:      return residual(c, x);
    case ICD_DOWN:     return down(c, x);
    case ICD_ATTN:     return self_attention(t, x, linear(c, ICD_QUERY_WEIGHT), linear(c, ICD_KEY_WEIGHT),
                                             linear(c, ICD_VALUE_WEIGHT), par(c, ICD_GAMMA));
    case ICD_NONLOCAL: return non_local(t, x, linear(c, ICD_THETA_WEIGHT), linear(c, ICD_PHI_WEIGHT),
                                        linear(c, ICD_G_WEIGHT), linear(c, ICD_OUT_WEIGHT));
    case ICD_MAXPOOL:  return maxpool2(t, x);
    case ICD_MEAN:     return tape_mean_to(t, x, (shape){ s.n, s.c, 1, 1 });
    case ICD_FLATTEN:  return tape_reshape(t, x, (shape){ s.n, s.c * s.h * s.w, 1, 1 });
    case ICD_DENSE:    return dense(c, x);
    }
    return -1;
}

/* E(x) = sum_s E_s(D_s x): D_s is one average pool 3x3 stride 2 pad 1 for each halving.                  [ICD:2.4] */
var net_energy(tape *t, const icd_arch *a, const var *q, var x, const int32_t *labels, var *per_scale)
{
    var sum = -1;
    for (int s = 0; s < a->n_scales; s++) {
        const icd_scale *scale = &a->scale[s];
        var h = x;
        for (int i = 0; i < scale->pools; i++)
            h = tape_avgpool(t, h, 3, 2, 1);
        for (int i = 0; i < scale->n_layers && h >= 0; i++)
            h = layer(&(context){ t, a, &scale->layer[i], q, labels }, h);
        if (per_scale)
            per_scale[s] = h;
        sum = s == 0 ? h : tape_add(t, sum, h);
    }
    return sum;
}
