/* sample.c: icd sample: Algorithm 2, to a picture or an array. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "common/algorithm2.h"
#include "common/formats.h"
#include "common/text.h"

static const char usage[] =
    "usage: icd sample --model FILE --out FILE.png|FILE.npy [--count N] [--class C] [--engine NAME] [--set key=value ...]\n"
    "  --model FILE    a checkpoint; the EMA's parameters are used\n"
    "  --out FILE      .png: a grid of samples; .npy: float32 (N,C,H,W)\n"
    "  --count N       how many (default 64)\n"
    "  --class C       of a model with classes: all of this class (default: in turn)\n"
    "  --set k=v ...   seed, sample_rounds, sample_steps, step_size, noise, crop_min, ... (`icd info settings`)\n";

typedef struct { int rounds; double start; } clock_of;

static int show(void *context, int round)
{
    clock_of *c = context;
    char left[32];
    if (isatty(2))
        fprintf(stderr, "\rround %d/%d, %s left   ", round, c->rounds,
                cli_duration((cli_seconds() - c->start) / round * (c->rounds - round), left));
    if (isatty(2) && round == c->rounds)
        fputc('\n', stderr);
    return cli_stop_asked();
}

static int ends_in(const char *s, const char *end)
{
    return strlen(s) > strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static icd_status run(cli_model *m, const char *out, int64_t count, int64_t class, icd_err *err)
{
    const icd_config *c = &m->checkpoint.config;
    const icd_arch *a = &m->checkpoint.arch;
    icd_images s = { (int)count, a->c, a->h, a->w, NULL, NULL, c->model.classes };
    size_t n = (size_t)count, shape[4] = { n, (size_t)a->c, (size_t)a->h, (size_t)a->w };
    if (class >= 0 && c->model.classes == 0)
        return icd_fail(err, ICD_EINVAL, "--class %lld: the model has no classes", (long long)class);
    if (class >= c->model.classes)
        return icd_fail(err, ICD_EINVAL, "--class %lld: the model's classes are 0..%d", (long long)class, c->model.classes - 1);
    int zoom = a->h < 64 ? 2 : 1, array = ends_in(out, ".npy");
    if (!array)
        ICD_TRY(icd_grid_check(out, &s, 0, zoom, err));
    s.x = icd_image_size(&s) <= SIZE_MAX / sizeof(float) ? icd_arena_alloc(&m->arena, n, icd_image_size(&s) * sizeof(float)) : NULL;
    s.label = c->model.classes ? icd_arena_alloc(&m->arena, n, sizeof(int32_t)) : NULL;
    if (!s.x || (c->model.classes && !s.label))
        return icd_fail(err, ICD_ENOMEM, "out of memory for %zu samples", n);
    for (int i = 0; i < s.n && s.label; i++)
        s.label[i] = class >= 0 ? (int32_t)class : i % c->model.classes;
    clock_of clock = { c->sample_rounds, cli_seconds() };
    cli_catch_stop();
    ICD_TRY(icd_algorithm2(m->engine, c, s.n, 0, s.label, s.x, show, &clock, err));
    if (array)
        ICD_TRY(icd_write_npy(out, 'f', 4, shape, s.x, err));
    else
        ICD_TRY(icd_write_grid(out, &s, 0, zoom, err));
    printf("%s: %zu samples, %d rounds of %d steps\n", out, n, c->sample_rounds, c->sample_steps);
    return ICD_OK;
}

int cli_sample(int argc, char **argv)
{
    const char *model = NULL, *out = NULL, *engine = NULL, *count_text = "64", *class_text = NULL;
    cli_sets sets;
    cli_model m = { 0 };
    icd_err err = { "" };
    int64_t count, class = -1;
    cli_parse(argc, argv, usage, (cli_option[]){ { "--model", &model, NULL }, { "--out", &out, NULL }, { "--engine", &engine, NULL },
              { "--count", &count_text, NULL }, { "--class", &class_text, NULL }, { NULL, NULL, NULL } }, NULL, &sets);
    cli_require(model, "--model", usage);
    cli_require(out, "--out", usage);
    icd_status s = ICD_OK;
    if (!icd_text_int64(count_text, &count) || count < 1 || count > 10000000)
        s = icd_fail(&err, ICD_EINVAL, "--count %.40s: wanted 1..10000000", count_text);
    else if (class_text && (!icd_text_int64(class_text, &class) || class < 0))
        s = icd_fail(&err, ICD_EINVAL, "--class %.40s: wanted the number of a class", class_text);
    else if (!ends_in(out, ".png") && !ends_in(out, ".npy"))
        s = icd_fail(&err, ICD_EINVAL, "--out %.400s: wanted a name that ends in .png or .npy", out);
    if (s == ICD_OK)
        s = cli_open_model(&m, model, engine, &sets, NULL, 0, &err);
    if (s == ICD_OK)
        s = run(&m, out, count, class, &err);
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
