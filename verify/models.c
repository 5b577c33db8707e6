/* models.c: the small models of models.h. */
#include "models.h"

#include <string.h>

#include "common/rng.h"

static const struct {
    const char *name, *arch;
    int filters, norm, groups, weight_std, spectral, multiscale, classes, c, h, w;
} models[VERIFY_MODELS] = {
    { "code-mnist, auto norm, weight_std",    "code-mnist",       4, ICD_NORM_AUTO,     32, 1, 0, 0, 0, 1, 12, 12 },
    { "paper-mnist, 2 groups",                "paper-mnist",      4, ICD_NORM_GROUP,     2, 0, 0, 0, 0, 1, 12, 12 },
    { "code-mnist, no norm, spectral_norm",   "code-mnist",       4, ICD_NORM_NONE,     32, 0, 1, 0, 0, 1, 9, 9 },
    { "code-mnist, instance norm, 3 classes", "code-mnist",       4, ICD_NORM_INSTANCE, 32, 1, 0, 0, 3, 1, 8, 8 },
    { "code-cifar10, multi-scale, attention", "code-cifar10",     4, ICD_NORM_AUTO,     32, 1, 0, 1, 0, 3, 20, 20 },
    { "paper-cifar10, multi-scale, attention", "paper-cifar10",    8, ICD_NORM_GROUP,     4, 0, 0, 1, 0, 3, 12, 12 },
    { "code-celeba, multi-scale, no norm",    "code-celeba",      4, ICD_NORM_NONE,     32, 1, 0, 1, 0, 3, 16, 16 },
    { "paper-celeba, 2 groups, 2 classes",    "paper-celeba",     4, ICD_NORM_GROUP,     2, 0, 0, 1, 2, 3, 16, 16 },
    { "gl-mnist",                             "gl-mnist",         8, ICD_NORM_NONE,     32, 0, 0, 0, 0, 1, 28, 28 },
    { "anatomy-vanilla",                      "anatomy-vanilla",  4, ICD_NORM_NONE,     32, 0, 0, 0, 0, 3, 32, 32 },
    { "anatomy-nonlocal",                     "anatomy-nonlocal", 4, ICD_NORM_NONE,     32, 0, 0, 0, 0, 3, 16, 16 },
    { "toy",                                  "toy",              8, ICD_NORM_NONE,     32, 0, 0, 0, 0, 2, 1, 1 },
};

static icd_status make_theta(verify_model *m)
{
    const icd_arch *a = &m->arch;
    float *start = icd_arena_alloc(&m->arena, a->n_values, sizeof *start);
    m->theta = icd_arena_alloc(&m->arena, a->n_values, sizeof *m->theta);
    if (!start || !m->theta)
        return ICD_ENOMEM;
    for (int p = 0; p < a->n_params; p++) {
        icd_stream s = { 7, 0, ICD_DRAW_TEST, (uint32_t)p };
        size_t at = a->param[p].offset;
        float nudge = a->param[p].init == ICD_INIT_FAN_IN ? 0.0f : 0.3f;
        icd_param_init(a, p, 7, start + at);
        for (size_t i = 0; i < a->param[p].count; i++)
            m->theta[at + i] = (double)(float)((double)start[at + i] + (double)nudge * (double)icd_normal(&s, i));
    }
    return ICD_OK;
}

int verify_model_wanted(int i, const char *only) { return !only || strstr(models[i].name, only) != NULL; }

icd_status verify_model_make(int i, verify_model *m, icd_err *err)
{
    icd_model_settings s = { models[i].filters, (icd_norm)models[i].norm, models[i].groups, models[i].weight_std,
                             models[i].spectral, models[i].multiscale, models[i].classes };
    *m = (verify_model){ .name = models[i].name };
    ICD_TRY(icd_arch_parse(&m->arena, models[i].arch, &s, models[i].c, models[i].h, models[i].w, &m->arch, err));
    return make_theta(m);
}

void verify_model_free(verify_model *m) { icd_arena_release(&m->arena); }
