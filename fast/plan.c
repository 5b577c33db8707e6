/* plan.c: from an architecture to nodes, tensors, the flow of adjoints, and offsets in the arena. */
#include "plan.h"

#include <assert.h>
#include <string.h>

/* ---- nodes and tensors ---- */

static int new_tensor(fast_plan *p, int c, int h, int w, int planar)
{
    fast_tensor *t = &p->tensor[p->n_tensors];
    *t = (fast_tensor){ .c = c, .h = h, .w = w, .planar = planar };
    t->count = planar ? (size_t)c * (size_t)h * (size_t)w : fast_blocked(c, h, w);
    return p->n_tensors++;
}

static fast_node *new_node(fast_plan *p, fast_node_kind kind, int scale, int in, int out)
{
    fast_node *n = &p->node[p->n_nodes++];
    memset(n, 0, sizeof *n);
    n->kind = kind;
    n->scale = scale;
    n->in[0] = in;
    n->in[1] = n->in[2] = n->add = -1;
    n->out = out;
    n->weight = n->bias = n->class_gain = n->class_bias = -1;
    return n;
}

typedef struct { fast_plan *p; const icd_layer *l; int scale, winograd; } builder;

static int par(const builder *b, icd_role role) { return b->l->param[role]; }

/* The image enters through a convolution as it is, and through anything else blocked. */
static int blocked(const builder *b, int x)
{
    fast_tensor t = b->p->tensor[x];
    if (!t.planar)
        return x;
    int y = new_tensor(b->p, t.c, t.h, t.w, 0);
    new_node(b->p, FAST_NODE_PACK, b->scale, x, y);
    return y;
}

static int conv(const builder *b, int x, int co, int k, int s, int pad, int weight, int bias, int add)
{
    fast_plan *p = b->p;
    fast_tensor t = p->tensor[x];
    fast_conv c = { .ci = t.c, .hi = t.h, .wi = t.w, .co = co, .ho = (t.h + 2 * pad - k) / s + 1,
                    .wo = (t.w + 2 * pad - k) / s + 1, .k = k, .s = s, .p = pad, .planar = t.planar };
    int y = new_tensor(p, co, c.ho, c.wo, 0);
    fast_node *n = new_node(p, FAST_NODE_CONV, b->scale, x, y);
    n->add = add;
    n->weight = weight;
    n->bias = bias;
    p->backend->conv_choose(p->part, b->winograd, &c);
    n->conv = c;
    return y;
}

static int conv1x1(const builder *b, int x, int co, icd_role weight, int add)
{
    return conv(b, x, co, 1, 1, 0, par(b, weight), par(b, weight + 1), add);
}

static int same_shape(const builder *b, fast_node_kind kind, int x)
{
    fast_tensor t = b->p->tensor[x];
    int y = new_tensor(b->p, t.c, t.h, t.w, 0);
    new_node(b->p, kind, b->scale, x, y);
    return y;
}

static fast_node *last(const builder *b) { return &b->p->node[b->p->n_nodes - 1]; }

/* swish(norm(x)) + add */
static int norm_swish(const builder *b, int x, icd_role gain, int conditional, int add)
{
    const icd_model_settings *m = &b->p->arch->model;
    int y = same_shape(b, FAST_NODE_NORM_SWISH, x);
    fast_node *n = last(b);
    fast_tensor t = b->p->tensor[x];
    n->add = add;
    n->norm = (fast_norm){ .c = t.c, .h = t.h, .w = t.w, .groups = icd_norm_groups(m, t.c),
                           .per_image = conditional && m->classes > 0 };
    if (n->norm.groups) {
        n->weight = par(b, gain);
        n->bias = par(b, gain + 1);
    }
    if (n->norm.per_image) {
        n->class_gain = par(b, ICD_CLASS_GAIN);
        n->class_bias = par(b, ICD_CLASS_BIAS);
    }
    return y;
}

/* x + swish(norm2(conv2(swish(norm1(conv1(x)))))): the sum is made in the last norm_swish.               [ICD:table5.res] */
static int residual(const builder *b, int x)
{
    int co = b->l->kind == ICD_RES ? b->l->co : b->l->ci;
    int skip = par(b, ICD_SKIP_WEIGHT) >= 0 ? conv(b, x, co, 1, 1, 0, par(b, ICD_SKIP_WEIGHT), -1, -1) : blocked(b, x);
    int h = conv(b, x, co, 3, 1, 1, par(b, ICD_CONV1_WEIGHT), par(b, ICD_CONV1_BIAS), -1);
    h = norm_swish(b, h, ICD_NORM1_WEIGHT, 1, -1);
    h = conv(b, h, co, 3, 1, 1, par(b, ICD_CONV2_WEIGHT), par(b, ICD_CONV2_BIAS), -1);
    return norm_swish(b, h, ICD_NORM2_WEIGHT, 0, skip);
}

static int activation(const builder *b, int x, fast_act act, double slope)
{
    int y = same_shape(b, FAST_NODE_ACT, blocked(b, x));
    last(b)->act = act;
    last(b)->slope = (float)slope;
    return y;
}

static int avgpool(const builder *b, int x)
{
    fast_tensor t = b->p->tensor[x];
    int y = new_tensor(b->p, t.c, (t.h + 1) / 2, (t.w + 1) / 2, t.planar);
    new_node(b->p, FAST_NODE_AVGPOOL, b->scale, x, y);
    return y;
}

/* residual, then conv 3x3 -> average pool -> swish.                                                    [ICD:table5.down] */
static int down(const builder *b, int x)
{
    int h = conv(b, residual(b, x), b->l->co, 3, 1, 1, par(b, ICD_DOWN_WEIGHT), par(b, ICD_DOWN_BIAS), -1);
    return activation(b, avgpool(b, h), FAST_SWISH, 0);
}

static int maxpool(const builder *b, int given)
{
    int x = blocked(b, given);
    fast_tensor t = b->p->tensor[x];
    int y = new_tensor(b->p, t.c, t.h / 2, t.w / 2, 0);
    new_node(b->p, FAST_NODE_MAXPOOL, b->scale, x, y);
    return y;
}

static int attend(const builder *b, int q, int k, int v)
{
    const fast_tensor *t = b->p->tensor;
    fast_attn a = { .dk = t[q].c, .dv = t[v].c, .sq = t[q].h * t[q].w, .sk = t[k].h * t[k].w };
    int y = new_tensor(b->p, t[v].c, t[q].h, t[q].w, 0);
    fast_node *n = new_node(b->p, FAST_NODE_ATTENTION, b->scale, q, y);
    n->in[1] = k;
    n->in[2] = v;
    n->attn = a;
    return y;
}

/* gamma softmax(qT k) v + x                                                                            [ICD:table5.attn] */
static int self_attention(const builder *b, int given)
{
    int x = blocked(b, given), c = b->p->tensor[x].c, inner = b->p->arch->param[par(b, ICD_QUERY_WEIGHT)].shape[0];
    int q = conv1x1(b, x, inner, ICD_QUERY_WEIGHT, -1);
    int k = conv1x1(b, x, inner, ICD_KEY_WEIGHT, -1);
    int o = attend(b, q, k, conv1x1(b, x, c, ICD_VALUE_WEIGHT, -1));
    int y = same_shape(b, FAST_NODE_SCALE_ADD, o);
    last(b)->add = x;
    last(b)->weight = par(b, ICD_GAMMA);
    return y;
}

/* w(softmax(thetaT phi) g) + x, phi and g max-pooled                                                          [ANA:nets] */
static int non_local(const builder *b, int given)
{
    int x = blocked(b, given), c = b->p->tensor[x].c, inner = b->p->arch->param[par(b, ICD_THETA_WEIGHT)].shape[0];
    int q = conv1x1(b, x, inner, ICD_THETA_WEIGHT, -1);
    int k = maxpool(b, conv1x1(b, x, inner, ICD_PHI_WEIGHT, -1));
    int v = maxpool(b, conv1x1(b, x, inner, ICD_G_WEIGHT, -1));
    return conv1x1(b, attend(b, q, k, v), c, ICD_OUT_WEIGHT, x);
}

/* (c,h,w) -> (c*h*w,1,1) in that order */
static int flatten(const builder *b, int given)
{
    int x = blocked(b, given);
    fast_tensor t = b->p->tensor[x];
    int y = new_tensor(b->p, t.c * t.h * t.w, 1, 1, 0);
    new_node(b->p, FAST_NODE_FLATTEN, b->scale, x, y);
    return y;
}

static int mean(const builder *b, int given)
{
    int x = blocked(b, given), y = new_tensor(b->p, b->p->tensor[x].c, 1, 1, 0);
    new_node(b->p, FAST_NODE_MEAN, b->scale, x, y);
    return y;
}

static int layer(const builder *b, int x)
{
    const icd_layer *l = b->l;
    switch (l->kind) {
    case ICD_CONV:     return conv(b, x, l->co, l->k, l->s, l->p, par(b, ICD_WEIGHT), par(b, ICD_BIAS), -1);
    case ICD_SWISH:    return activation(b, x, FAST_SWISH, 0);
    case ICD_LRELU:    return activation(b, x, FAST_LRELU, l->slope);
    case ICD_RES:      return residual(b, x);
    case ICD_DOWN:     return down(b, x);
    case ICD_ATTN:     return self_attention(b, x);
    case ICD_NONLOCAL: return non_local(b, x);
    case ICD_MAXPOOL:  return maxpool(b, x);
    case ICD_MEAN:     return mean(b, x);
    case ICD_FLATTEN:  return flatten(b, x);
    case ICD_DENSE:    return conv(b, x, l->co, 1, 1, 0, par(b, ICD_WEIGHT), par(b, ICD_BIAS), -1);
    }
    return -1;
}

/* Scale s sees the image through s pools: each pool once, after the larger scales' layers, so that on the way back the
 * smaller scales' share of the image's adjoint is there first.                                                 [ICD:2.4] */
static void build(fast_plan *p, int winograd)
{
    const icd_arch *a = p->arch;
    builder b = { .p = p, .winograd = winograd };
    int image = new_tensor(p, a->c, a->h, a->w, 1), pools = 0;
    p->tensor[image].of_image = 1;
    for (int s = 0; s < a->n_scales; s++) {
        b.scale = s;
        for (; pools < a->scale[s].pools; pools++) {
            image = avgpool(&b, image);
            p->tensor[image].of_image = 1;
        }
        int x = image;
        for (int i = 0; i < a->scale[s].n_layers; i++) {
            b.l = &a->scale[s].layer[i];
            x = layer(&b, x);
        }
        p->output[s] = x;
    }
}

/* ---- the flow of adjoints ---- */

enum { NOTHING = -2, OWN = -1 };      /* else: the tensor whose adjoint it shares */

/* Walk backward once: who is the first to give a tensor its adjoint, and what do the others add theirs to? */
static void wire(fast_plan *p, int *from)
{
    for (int t = 0; t < p->n_tensors; t++)
        from[t] = NOTHING;
    for (int s = 0; s < p->arch->n_scales; s++)
        from[p->output[s]] = OWN;
    for (int i = p->n_nodes - 1; i >= 0; i--) {
        fast_node *n = &p->node[i];
        n->gy = from[n->out] >= 0 ? from[n->out] : n->out;
        if (n->add >= 0) {
            assert(from[n->add] == NOTHING);      /* a block's input, or its skip: nothing after the block reads it */
            from[n->add] = n->gy;
        }
        for (int j = 0; j < 3; j++) {
            n->plus[j] = -1;
            if (n->in[j] < 0)
                continue;
            int f = from[n->in[j]];
            if (f != NOTHING)
                n->plus[j] = f == OWN ? n->in[j] : f;
            from[n->in[j]] = OWN;
        }
    }
}

/* ---- sizes ---- */

static size_t take(size_t *at, size_t floats)
{
    size_t here = *at;
    *at += (floats + 15) / 16 * 16;
    return here;
}

static void at_least(size_t *most, size_t want)
{
    if (want > *most)
        *most = want;
}

/* How many nodes read tensor t. */
static int readers(const fast_plan *p, int t)
{
    int n = 0;
    for (int i = 0; i < p->n_nodes; i++) {
        const fast_node *d = &p->node[i];
        n += (d->in[0] == t) + (d->in[1] == t) + (d->in[2] == t) + (d->add == t);
    }
    return n;
}

/* Who needs no room of its own: a value that only the pool or mean right behind it reads, and that no backward pass wants; and
 * the adjoint of a pool's result, which an activation writes and the pool reads. They pass through the temporaries. */
static void find_passing(fast_plan *p)
{
    for (int i = 0; i < p->n_tensors; i++)
        p->tensor[i].value_step = p->tensor[i].adjoint_step = p->tensor[i].count;
    for (int i = 1; i < p->n_nodes; i++) {
        const fast_node *before = &p->node[i - 1], *d = &p->node[i];
        fast_tensor *t = &p->tensor[d->in[0]];
        if (before->out != d->in[0] || readers(p, d->in[0]) != 1)
            continue;
        int pools = d->kind == FAST_NODE_AVGPOOL || d->kind == FAST_NODE_MEAN;
        if (pools && (before->kind == FAST_NODE_CONV || before->kind == FAST_NODE_NORM_SWISH || before->kind == FAST_NODE_ACT))
            t->value_step = 0;
        if (d->kind == FAST_NODE_ACT && before->kind == FAST_NODE_AVGPOOL && d->plus[0] < 0)
            t->adjoint_step = 0;
    }
}

/* Nodes whose swish comes with them in one slot. Nothing else reads what the swish does. */
static void find_swish(fast_plan *p)
{
    const fast_backend *b = p->backend;
    for (int i = 1; i < p->n_nodes; i++) {
        fast_node *before = &p->node[i - 1], *d = &p->node[i];
        int pool = before->kind == FAST_NODE_AVGPOOL && b->avgpool_swish_fwd && b->avgpool_swish_bwd;
        int conv = before->kind == FAST_NODE_CONV && before->conv.planar && before->add < 0 && b->conv_swish_fwd
                   && b->conv_swish_bwd_x;
        if (d->kind == FAST_NODE_ACT && d->act == FAST_SWISH && before->out == d->in[0] && readers(p, before->out) == 1)
            before->swish = d->with_last = pool || conv;
        if (pool && d->with_last)        /* written while the pool reads what may pass through the temporary */
            p->tensor[d->out].value_step = p->tensor[d->out].count;
    }
}

/* Two temporaries for each branch: of the largest tensor that its nodes read or write. What passes through them lies there. */
static void lay_out_temporaries(fast_plan *p, size_t *at)
{
    size_t most[ICD_MAX_SCALES] = { 0 };
    for (int i = 0; i < p->n_nodes; i++) {
        const fast_node *d = &p->node[i];
        at_least(&most[d->scale % p->branches], p->tensor[d->in[0]].count);
        at_least(&most[d->scale % p->branches], p->tensor[d->out].count);
    }
    for (int s = 0; s < p->arch->n_scales; s++) {
        p->temporary[s] = s < p->branches ? take(at, (size_t)p->part * most[s]) : p->temporary[0];
        p->temporary2[s] = s < p->branches ? take(at, (size_t)p->part * most[s]) : p->temporary2[0];
        p->nowhere[s] = s < p->branches ? take(at, p->widest) : p->nowhere[0];
    }
    for (int i = 0; i < p->n_nodes; i++) {
        const fast_node *d = &p->node[i];
        fast_tensor *t = &p->tensor[d->out];
        t->value = t->value_step ? t->value : p->temporary[d->scale];
        t->adjoint = t->adjoint_step ? t->adjoint : p->temporary2[d->scale];
    }
}

static void lay_out(fast_plan *p)
{
    const fast_backend *b = p->backend;
    size_t n = (size_t)p->part, at = 0;
    int widest = p->part;
    p->branches = b->device ? p->arch->n_scales : 1;
    assert(p->branches <= FAST_BRANCHES);
    find_passing(p);
    find_swish(p);
    at_least(&p->scratch, b->scratch);
    for (int i = 0; i < p->n_tensors; i++) {
        fast_tensor *t = &p->tensor[i];
        t->value = take(&at, 2 * n * t->value_step);
        t->adjoint = take(&at, 2 * n * t->adjoint_step);
        widest = t->c > widest ? t->c : widest;
    }
    for (int i = 0; i < p->n_nodes; i++) {
        fast_node *d = &p->node[i];
        const fast_tensor *out = &p->tensor[d->out];
        switch (d->kind) {
        case FAST_NODE_CONV:
            d->packed = take(&p->packed, b->conv_packed(&d->conv));
            at_least(&p->scratch, b->conv_scratch(p->part, &d->conv));
            at_least(&p->scratch, b->conv_scratch(2 * p->part, &d->conv));     /* the two sides at once */
            break;
        case FAST_NODE_NORM_SWISH:
            d->saved_count = b->recomputes ? 0 : out->count;
            d->stats_count = 2 * (size_t)(d->norm.groups > 0 ? d->norm.groups : 1);
            d->stats = take(&at, 2 * n * d->stats_count);
            if (d->norm.per_image)
                d->affine = take(&at, 4 * n * (size_t)d->norm.c);
            at_least(&p->scratch, b->norm_scratch(p->part, &d->norm));
            break;
        case FAST_NODE_MAXPOOL:
            d->saved_count = out->count / sizeof(float);      /* bytes; a block has 16 */
            break;
        case FAST_NODE_ATTENTION:
            d->saved_count = 2 * (size_t)d->attn.sq;
            at_least(&p->scratch, b->attn_scratch(p->part, &d->attn));
            break;
        default:
            break;
        }
        d->saved = take(&at, 2 * n * d->saved_count);
    }
    if (p->arch->model.spectral_norm)
        for (int i = 0; i < p->arch->n_params; i++) {
            const icd_param *q = &p->arch->param[i];
            at_least(&p->scratch, b->spectral_scratch(q->shape[0], (int)(q->count / (size_t)q->shape[0])));
        }
    p->scratch = (p->scratch + 63) / 64 * 64;
    p->widest = (size_t)widest;
    lay_out_temporaries(p, &at);
    p->ones = take(&at, p->widest);
    p->zeros = take(&at, p->widest);
    p->floats = at;
}

icd_status fast_plan_make(fast_plan *p, icd_arena *a, const icd_arch *arch, const fast_backend *b, int part, int winograd,
                          icd_err *err)
{
    memset(p, 0, sizeof *p);
    const char *missing = fast_backend_missing(b);
    if (missing)
        return icd_fail(err, ICD_EINVAL, "the kernel table %s has no %s, which every plan may need", b->name, missing);
    p->arch = arch;
    p->backend = b;
    p->part = part;
    p->node = icd_arena_alloc(a, FAST_MAX_NODES, sizeof *p->node);
    p->tensor = icd_arena_alloc(a, FAST_MAX_TENSORS, sizeof *p->tensor);
    int *from = icd_arena_alloc(a, FAST_MAX_TENSORS, sizeof *from);
    if (!p->node || !p->tensor || !from)
        return icd_fail(err, ICD_ENOMEM, "out of memory while planning");
    build(p, winograd);
    wire(p, from);
    lay_out(p);
    return ICD_OK;
}
