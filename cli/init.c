/* init.c: icd init: an untrained model, written as a checkpoint at iteration 0. */
#include <stdio.h>

#include "cli.h"

static const char usage[] =
    "usage: icd init --preset NAME --out FILE [--set key=value ...]\n"
    "  --preset NAME   start from a preset (`icd info presets` lists them)\n"
    "  --out FILE      the model: safetensors\n"
    "  --engine NAME   ref (float, the default) or ref64 (double): the precision of the file\n"
    "  --set k=v ...   settings (`icd info settings` lists them); seed draws the parameters\n";

/* theta and its EMA at their starting values. */
icd_status cli_init_parameters(icd_engine *e, uint64_t seed, icd_err *err)
{
    const icd_arch *a = e->arch;
    double *v = icd_alloc(a->n_values, sizeof *v);
    float *f = icd_alloc(a->n_values, sizeof *f);
    icd_status s = v && f ? ICD_OK : icd_fail(err, ICD_ENOMEM, "out of memory for %zu parameters", a->n_values);
    for (int p = 0; p < a->n_params && s == ICD_OK; p++)
        icd_param_init(a, p, seed, f + a->param[p].offset);
    for (size_t i = 0; i < a->n_values && s == ICD_OK; i++)
        v[i] = (double)f[i];
    if (s == ICD_OK)
        s = e->import(e, ICD_PARAMETERS, v, err);
    if (s == ICD_OK)
        s = e->import(e, ICD_EMA, v, err);
    icd_free(v);
    icd_free(f);
    return s;
}

int cli_init(int argc, char **argv)
{
    const char *preset = NULL, *out = NULL, *engine = NULL;
    cli_sets sets;
    cli_model m = { 0 };
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--preset", &preset, NULL }, { "--out", &out, NULL },
              { "--engine", &engine, NULL }, { NULL, NULL, NULL } }, NULL, &sets);
    cli_require(preset, "--preset", usage);
    cli_require(out, "--out", usage);
    icd_status s = cli_open_preset(&m, preset, engine, &sets, &err);
    if (s == ICD_OK)
        s = icd_checkpoint_write(out, &m.checkpoint.config, m.engine, 0, 0, NULL, &err);
    if (s == ICD_OK)
        printf("%s: %zu parameters, %s\n", out, m.checkpoint.arch.n_values, m.checkpoint.arch.line);
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
