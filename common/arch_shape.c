/* arch_shape.c: the shape of what each layer takes and gives, and every reason why it cannot. */
#include "arch_internal.h"

#include <stdarg.h>
#include <stdio.h>

int icd_norm_groups(const icd_model_settings *m, int channels)
{
    int groups = m->groups < channels ? m->groups : channels;
    switch (m->norm) {
    case ICD_NORM_NONE:     return 0;
    case ICD_NORM_GROUP:    return groups;
    case ICD_NORM_INSTANCE: return channels;
    case ICD_NORM_AUTO:     return channels <= 128 ? channels : groups;
    }
    return 0;
}

typedef struct { const icd_model_settings *m; const icd_layer *l; int at; icd_err *err; } place;

ICD_PRINTF(2, 3) static icd_status refuse(const place *p, const char *format, ...)
{
    char why[256];
    va_list a;
    va_start(a, format);
    vsnprintf(why, sizeof why, format, a);
    va_end(a);
    return icd_fail(p->err, ICD_EINVAL, "architecture, position %d, '%s' on %dx%dx%d: %s", p->at, icd_layer_name(p->l->kind),
                    p->l->ci, p->l->hi, p->l->wi, why);
}

/* h and w of an image are at most ICD_MAX_SIDE and only shrink or grow by a padding, so the products fit in 64 bits. */
static icd_status check_values(const place *p, const char *what, uint64_t channels, uint64_t pixels)
{
    if (pixels > ICD_MAX_VALUES || channels > ICD_MAX_VALUES / pixels)
        return refuse(p, "%s of over %u values", what, ICD_MAX_VALUES);
    return ICD_OK;
}

/* A norm over `channels` of the layer's input size. */
static icd_status check_norm(const place *p, int channels)
{
    int groups = icd_norm_groups(p->m, channels);
    if (groups == 0)
        return ICD_OK;
    if (channels % groups != 0)
        return refuse(p, "the norm's %d groups do not divide %d channels", groups, channels);
    if (channels / groups == 1 && p->l->hi == 1 && p->l->wi == 1)
        return refuse(p, "the norm would be over a single value (1 channel a group, 1x1 pixels)");
    return ICD_OK;
}

/* Halving by an average pool 3x3, stride 2, padding 1. */
static int pooled(int side) { return (side - 1) / 2 + 1; }

static icd_status layer_shape(const place *p, icd_layer *l)
{
    uint64_t pixels = (uint64_t)l->hi * (uint64_t)l->wi;
    l->ho = l->hi;
    l->wo = l->wi;
    switch (l->kind) {
    case ICD_CONV:
        if (l->hi + 2 * l->p < l->k || l->wi + 2 * l->p < l->k)
            return refuse(p, "a kernel of %dx%d does not fit on it with padding %d", l->k, l->k, l->p);
        l->ho = (l->hi + 2 * l->p - l->k) / l->s + 1;
        l->wo = (l->wi + 2 * l->p - l->k) / l->s + 1;
        break;
    case ICD_RES:
        ICD_TRY(check_norm(p, l->co));
        break;
    case ICD_DOWN:
        ICD_TRY(check_norm(p, l->ci));
        ICD_TRY(check_values(p, "an activation", (uint64_t)l->co, pixels));
        l->ho = pooled(l->hi);
        l->wo = pooled(l->wi);
        break;
    case ICD_ATTN:
        if (l->ci < 8)
            return refuse(p, "attention needs 8 channels or more (query and key have an eighth of them)");
        ICD_TRY(check_values(p, "an attention map", pixels, pixels));
        l->co = l->ci;
        break;
    case ICD_NONLOCAL:
        if (l->ci % 2 != 0)
            return refuse(p, "a nonlocal block needs an even number of channels");
        if (l->hi < 2 || l->wi < 2)
            return refuse(p, "nothing left to pool, wanted 2x2 pixels or more");
        ICD_TRY(check_values(p, "an attention map", pixels, (uint64_t)(l->hi / 2) * (uint64_t)(l->wi / 2)));
        l->co = l->ci;
        break;
    case ICD_MAXPOOL:
        if (l->hi < 2 || l->wi < 2)
            return refuse(p, "nothing left to pool, wanted 2x2 pixels or more");
        l->co = l->ci;
        l->ho = l->hi / 2;
        l->wo = l->wi / 2;
        break;
    case ICD_MEAN:
        l->co = l->ci;
        l->ho = l->wo = 1;
        break;
    case ICD_FLATTEN:
        l->co = l->ci * l->hi * l->wi;
        l->ho = l->wo = 1;
        break;
    case ICD_DENSE:
        if (l->hi != 1 || l->wi != 1)
            return refuse(p, "wanted 1x1 pixels: `mean` or `flatten` before it");
        break;
    case ICD_SWISH:
    case ICD_LRELU:
        l->co = l->ci;
        break;
    }
    return check_values(p, "an activation", (uint64_t)l->co, (uint64_t)l->ho * (uint64_t)l->wo);
}

icd_status icd_arch_shapes(icd_arch *a, const icd_arch_positions *at, icd_err *err)
{
    for (int s = 0; s < a->n_scales; s++) {
        icd_scale *scale = &a->scale[s];
        int c = a->c, h = a->h, w = a->w;
        for (int i = 0; i < scale->pools; i++, h = pooled(h), w = pooled(w)) {
            if (h < 2 || w < 2)
                return icd_fail(err, ICD_EINVAL, "architecture, position %d, '%s': images of %dx%d are too small for it",
                                at->scale[s], scale->name, a->h, a->w);
        }
        for (int i = 0; i < scale->n_layers; i++) {
            icd_layer *l = &scale->layer[i];
            place p = { &a->model, l, at->layer[s][i], err };
            l->ci = c;
            l->hi = h;
            l->wi = w;
            ICD_TRY(layer_shape(&p, l));
            c = l->co;
            h = l->ho;
            w = l->wo;
            if (i == scale->n_layers - 1 && (c != 1 || h != 1 || w != 1))
                return refuse(&p, "the scale '%s' ends in %dx%dx%d, wanted 1x1x1, one energy an image", scale->name, c, h, w);
        }
    }
    return ICD_OK;
}
