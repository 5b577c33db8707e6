/* arch_params.c: the parameters of each layer, their names, shapes and first values, and the work of a forward pass. */
#include "arch_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rng.h"

static const char *const role_names[ICD_ROLES] = {
    "weight", "bias",
    "conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias",
    "class.gain", "class.bias",
    "conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias",
    "skip.weight",
    "conv.weight", "conv.bias",
    "query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias", "gamma",
    "theta.weight", "theta.bias", "phi.weight", "phi.bias", "g.weight", "g.bias", "out.weight", "out.bias",
};

/* Where the list stands. The first pass only counts: `param` is NULL. */
typedef struct {
    icd_arch *a;
    icd_param *param;
    int n, scale, layer;
    size_t values;
    int too_many;               /* a layer went over ICD_MAX_VALUES parameters in all */
} list;

static void add(list *t, icd_role role, int rank, int d0, int d1, int d2, int d3, icd_init init, uint64_t fan_in)
{
    /* At most 65536 x 2^31 x 255 x 255: fits in 64 bits. */
    uint64_t count = (uint64_t)d0 * (uint64_t)d1 * (uint64_t)d2 * (uint64_t)d3;
    if (t->too_many || count > ICD_MAX_VALUES - t->values) {
        t->too_many = 1;
        return;
    }
    if (t->param) {
        icd_scale *s = &t->a->scale[t->scale];
        icd_layer *l = &s->layer[t->layer];
        icd_param *p = &t->param[t->n];
        snprintf(p->name, sizeof p->name, "%s.%02d.%s.%s", s->name, t->layer, icd_layer_name(l->kind), role_names[role]);
        p->rank = rank;
        p->shape[0] = d0;
        p->shape[1] = d1;
        p->shape[2] = d2;
        p->shape[3] = d3;
        p->count = (size_t)count;
        p->offset = t->values;
        p->init = init;
        p->fan_in = (int)fan_in;
        p->standardised = t->a->model.weight_std && (role == ICD_CONV1_WEIGHT || role == ICD_CONV2_WEIGHT);
        l->param[role] = t->n;
    }
    t->n++;
    t->values += (size_t)count;
}

static void add_vector(list *t, icd_role role, int c, icd_init init, uint64_t fan_in)
{
    add(t, role, 1, c, 1, 1, 1, init, fan_in);
}

/* weight (co,ci,k,k) and, under the next role, bias (co). */
static void add_conv(list *t, icd_role weight, int co, int ci, int k, icd_init init)
{
    uint64_t fan_in = (uint64_t)ci * (uint64_t)k * (uint64_t)k;
    add(t, weight, 4, co, ci, k, k, init, fan_in);
    add_vector(t, (icd_role)(weight + 1), co, init, fan_in);
}

static void add_norm(list *t, icd_role weight, int c)
{
    if (t->a->model.norm == ICD_NORM_NONE)
        return;
    add_vector(t, weight, c, ICD_INIT_ONE, 0);
    add_vector(t, (icd_role)(weight + 1), c, ICD_INIT_ZERO, 0);
}

/* What `res C` and the first part of `down` have: conv1 (co,ci,3,3) and conv2 (co,co,3,3) with their norms. */
static void add_res(list *t, int ci, int co)
{
    int classes = t->a->model.classes;
    add_conv(t, ICD_CONV1_WEIGHT, co, ci, 3, ICD_INIT_FAN_IN);
    add_norm(t, ICD_NORM1_WEIGHT, co);
    if (classes > 0) {
        add(t, ICD_CLASS_GAIN, 2, classes, co, 1, 1, ICD_INIT_ONE, 0);
        add(t, ICD_CLASS_BIAS, 2, classes, co, 1, 1, ICD_INIT_ZERO, 0);
    }
    add_conv(t, ICD_CONV2_WEIGHT, co, co, 3, ICD_INIT_FAN_IN);
    add_norm(t, ICD_NORM2_WEIGHT, co);
    if (ci != co)
        add(t, ICD_SKIP_WEIGHT, 4, co, ci, 1, 1, ICD_INIT_FAN_IN, (uint64_t)ci);
}

/* In the order of the roles. */
static void add_layer(list *t, const icd_layer *l)
{
    int ci = l->ci, co = l->co;
    switch (l->kind) {
    case ICD_CONV:
        add_conv(t, ICD_WEIGHT, co, ci, l->k, ICD_INIT_FAN_IN);
        break;
    case ICD_RES:
        add_res(t, ci, co);
        break;
    case ICD_DOWN:
        add_res(t, ci, ci);
        add_conv(t, ICD_DOWN_WEIGHT, co, ci, 3, ICD_INIT_FAN_IN);
        break;
    case ICD_ATTN:
        add_conv(t, ICD_QUERY_WEIGHT, ci / 8, ci, 1, ICD_INIT_FAN_IN);
        add_conv(t, ICD_KEY_WEIGHT, ci / 8, ci, 1, ICD_INIT_FAN_IN);
        add_conv(t, ICD_VALUE_WEIGHT, ci, ci, 1, ICD_INIT_FAN_IN);
        add_vector(t, ICD_GAMMA, 1, ICD_INIT_ZERO, 0);
        break;
    case ICD_NONLOCAL:
        add_conv(t, ICD_THETA_WEIGHT, ci / 2, ci, 1, ICD_INIT_FAN_IN);
        add_conv(t, ICD_PHI_WEIGHT, ci / 2, ci, 1, ICD_INIT_FAN_IN);
        add_conv(t, ICD_G_WEIGHT, ci / 2, ci, 1, ICD_INIT_FAN_IN);
        /* The block starts as the identity; but a weight of zeros has no largest singular value to be divided by. */
        add_conv(t, ICD_OUT_WEIGHT, ci, ci / 2, 1, t->a->model.spectral_norm ? ICD_INIT_FAN_IN : ICD_INIT_ZERO);
        break;
    case ICD_DENSE:
        add(t, ICD_WEIGHT, 2, co, ci, 1, 1, ICD_INIT_FAN_IN, (uint64_t)ci);
        add_vector(t, ICD_BIAS, co, ICD_INIT_FAN_IN, (uint64_t)ci);
        break;
    case ICD_SWISH:
    case ICD_LRELU:
    case ICD_MAXPOOL:
    case ICD_MEAN:
    case ICD_FLATTEN:
        break;
    }
}

/* One pass over the layers; 0 where there are too many parameters, t then stands at the layer. */
static int walk(list *t)
{
    for (t->scale = 0; t->scale < t->a->n_scales; t->scale++) {
        icd_scale *s = &t->a->scale[t->scale];
        for (t->layer = 0; t->layer < s->n_layers; t->layer++) {
            for (int r = 0; r < ICD_ROLES; r++)
                s->layer[t->layer].param[r] = -1;
            add_layer(t, &s->layer[t->layer]);
            if (t->too_many)
                return 0;
        }
    }
    return 1;
}

icd_status icd_arch_list_params(icd_arena *arena, icd_arch *a, const icd_arch_positions *at, icd_err *err)
{
    list count = { .a = a };
    if (!walk(&count))
        return icd_fail(err, ICD_EINVAL, "architecture, position %d, '%s': with it the model has over %u parameters",
                        at->layer[count.scale][count.layer],
                        icd_layer_name(a->scale[count.scale].layer[count.layer].kind), ICD_MAX_VALUES);
    list fill = { .a = a, .param = icd_arena_alloc(arena, (size_t)count.n, sizeof(icd_param)) };
    if (!fill.param)
        return icd_fail(err, ICD_ENOMEM, "architecture: no memory for the list of %d parameters", count.n);
    walk(&fill);
    a->param = fill.param;
    a->n_params = fill.n;
    a->n_values = fill.values;
    return ICD_OK;
}

/* 2 ci co k k multiply-adds for each of the pixels that come out. */
static double conv_flops(double ci, double co, double k, double pixels) { return 2 * ci * co * k * k * pixels; }

static double layer_flops(const icd_layer *l)
{
    double ci = l->ci, co = l->co, in = (double)l->hi * l->wi, out = (double)l->ho * l->wo, keys;
    switch (l->kind) {
    case ICD_CONV:
        return conv_flops(ci, co, l->k, out);
    case ICD_RES:
        return conv_flops(ci, co, 3, in) + conv_flops(co, co, 3, in) + (l->ci != l->co ? conv_flops(ci, co, 1, in) : 0);
    case ICD_DOWN:
        return 2 * conv_flops(ci, ci, 3, in) + conv_flops(ci, co, 3, in);
    case ICD_ATTN:
        return 2 * conv_flops(ci, l->ci / 8, 1, in) + conv_flops(ci, ci, 1, in) + 2 * in * in * (l->ci / 8 + ci);
    case ICD_NONLOCAL:
        keys = (double)(l->hi / 2) * (l->wi / 2);
        return 4 * conv_flops(ci, ci / 2, 1, in) + 2 * in * keys * ci;
    case ICD_DENSE:
        return conv_flops(ci, co, 1, 1);
    case ICD_SWISH:
    case ICD_LRELU:
    case ICD_MAXPOOL:
    case ICD_MEAN:
    case ICD_FLATTEN:
        break;
    }
    return 0;
}

double icd_arch_flops(const icd_arch *a)
{
    double sum = 0;
    for (int s = 0; s < a->n_scales; s++)
        for (int i = 0; i < a->scale[s].n_layers; i++)
            sum += layer_flops(&a->scale[s].layer[i]);
    return sum;
}

void icd_param_init(const icd_arch *a, int p, uint64_t seed, float *values)
{
    const icd_param *q = &a->param[p];
    if (q->init != ICD_INIT_FAN_IN) {
        for (size_t i = 0; i < q->count; i++)
            values[i] = q->init == ICD_INIT_ONE ? 1.0f : 0.0f;
        return;
    }
    /* One rounded float operation a line: the same bits everywhere, as in rng.c. */
    icd_stream s = { seed, 0, ICD_DRAW_INIT, (uint32_t)p };
    float root = (float)q->fan_in;
    root = sqrtf(root);
    float bound = 1.0f / root;
    icd_uniforms(&s, 0, q->count, values);
    for (size_t i = 0; i < q->count; i++) {
        float u = 2.0f * values[i];          /* exact, as is the next */
        u = u - 1.0f;
        values[i] = u * bound;
    }
}
