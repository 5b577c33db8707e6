/* energy.c: icd energy: E_theta of each image of a data set, as .npy. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/dataset.h"
#include "common/formats.h"

static const char usage[] =
    "usage: icd energy --model FILE --data SPEC --out FILE.npy [--per-scale] [--parameters] [--engine NAME] [--set key=value ...]\n"
    "  --model FILE    a checkpoint; the EMA's parameters are used\n"
    "  --data SPEC     digits[:N], gmm[:N], rings[:N], a file, FILE,LABELS, a folder, or test:FOLDER\n"
    "  --out FILE.npy  energies (N), float64; low is likely\n"
    "  --per-scale     (N, scales) instead of the sum\n"
    "  --parameters    use the parameters themselves, not their EMA\n";

static icd_status run(cli_model *m, const char *data, const char *out, int per_scale, int use_ema, icd_err *err)
{
    const icd_arch *a = &m->checkpoint.arch;
    icd_images set;
    ICD_TRY(icd_load_dataset(&m->arena, data, m->checkpoint.config.seed, &set, err));
    if (set.c != a->c || set.h != a->h || set.w != a->w)
        return icd_fail(err, ICD_EINVAL, "%s: images of %dx%dx%d (channels, rows, columns), and the model wants %dx%dx%d", data, set.c, set.h, set.w, a->c, a->h, a->w);
    int classes = m->checkpoint.config.model.classes;
    for (int i = 0; i < set.n && classes; i++)
        if (!set.label)
            return icd_fail(err, ICD_EINVAL, "%s: no labels, and the model has %d classes", data, classes);
        else if (set.label[i] < 0 || set.label[i] >= classes)
            return icd_fail(err, ICD_EINVAL, "%s: image %d has label %d, and the model has classes 0..%d", data, i, (int)set.label[i],
                            classes - 1);
    size_t n = (size_t)set.n, shape[2] = { n, (size_t)a->n_scales };
    double *E = icd_arena_alloc(&m->arena, n, sizeof *E), *scales = icd_arena_alloc(&m->arena, n * shape[1], sizeof *scales);
    if (!E || !scales)
        return icd_fail(err, ICD_ENOMEM, "out of memory for %zu energies", n);
    ICD_TRY(m->engine->energy(m->engine, use_ema, set.n, set.x, classes ? set.label : NULL, E, scales, NULL, err));
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += E[i];
    ICD_TRY(icd_write_npy(out, 'd', per_scale ? 2 : 1, shape, per_scale ? scales : E, err));
    printf("%s: %zu energies, mean %.6g\n", out, n, sum / (double)n);
    return ICD_OK;
}

int cli_energy(int argc, char **argv)
{
    const char *model = NULL, *data = NULL, *out = NULL, *engine = NULL;
    int per_scale = 0, parameters = 0;
    cli_sets sets;
    cli_model m = { 0 };
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--model", &model, NULL }, { "--data", &data, NULL }, { "--out", &out, NULL },
              { "--engine", &engine, NULL }, { "--per-scale", NULL, &per_scale }, { "--parameters", NULL, &parameters },
              { NULL, NULL, NULL } }, NULL, &sets);
    cli_require(model, "--model", usage);
    cli_require(data, "--data", usage);
    cli_require(out, "--out", usage);
    icd_status s = cli_open_model(&m, model, engine, &sets, NULL, 0, &err);
    if (s == ICD_OK)
        s = run(&m, data, out, per_scale, !parameters, &err);
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
