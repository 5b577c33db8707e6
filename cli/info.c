/* info.c: icd info: a model file, or what this program has. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/algorithm1.h"
#include "fast/engine_fast.h"

static const char usage[] =
    "usage: icd info FILE | presets | settings | archs | engines   [--engine NAME] [--set key=value ...]\n"
    "  FILE       a checkpoint: its architecture, layer by layer, and what a training step would need\n"
    "  presets    the presets and what each sets (a preset's name alone: what it needs, too)\n"
    "  settings   every setting: range, default, meaning\n"
    "  archs      the built-in architectures\n"
    "  engines    the engines of this build\n";

static void print_presets(void)
{
    for (const icd_preset *p = icd_presets; p->name; p++) {
        printf("%-18s %s\n", p->name, p->about);
        for (const char *line = p->text; *line; ) {
            size_t n = strcspn(line, "\n");
            if (n > 0)
                printf("    %.*s\n", (int)n, line);
            line += n + (line[n] != '\0');
        }
    }
}

static void print_settings(void)
{
    for (const icd_setting *s = icd_settings; s->name; s++) {
        char range[128] = "";
        if (s->type == ICD_SET_CHOICE)
            snprintf(range, sizeof range, "%s", s->choices);
        else if (s->type == ICD_SET_BOOL)
            snprintf(range, sizeof range, "on|off");
        else if (s->type == ICD_SET_INT || s->type == ICD_SET_INT64 || s->type == ICD_SET_REAL)
            snprintf(range, sizeof range, "%s%g..%g", s->choices ? "all or " : "", s->choices ? 1.0 : s->min, s->max);
        printf("%-16s %-24s default %-14s %s\n", s->name, range, s->standard, s->about);
    }
}

/* Layer by layer: shapes and parameters. */
static void print_arch(const icd_arch *a)
{
    printf("architecture  %s\n", a->line);
    for (int s = 0; s < a->n_scales; s++) {
        const icd_scale *scale = &a->scale[s];
        size_t total = 0;
        for (int i = 0; i < scale->n_layers; i++) {
            const icd_layer *l = &scale->layer[i];
            size_t n = 0;
            for (int r = 0; r < ICD_ROLES; r++)
                if (l->param[r] >= 0)
                    n += a->param[l->param[r]].count;
            total += n;
            printf("  %s.%02d %-9s %4dx%dx%d -> %dx%dx%d  %9zu parameters\n", scale->name, i, icd_layer_name(l->kind), l->ci, l->hi,
                   l->wi, l->co, l->ho, l->wo, n);
        }
        printf("  %-22s %zu parameters\n", scale->name, total);
    }
    printf("parameters    %zu\nforward       %.1f MFLOP an image\n", a->n_values, icd_arch_flops(a) / 1e6);
}

static icd_status print_needs(const icd_config *c, icd_engine *e, icd_err *err)
{
    icd_memory m;
    icd_work w = icd_work_settings(c);
    ICD_TRY(e->memory(e, &w, &m, err));
    printf("training step engine %s, batch %d, K = %d: %.1f MiB for parameters, EMA, Adam and gradients, up to %.1f MiB of work\n"
           "              memory on %d thread%s, in parts of %d images\n", e->name, c->batch, c->steps,
           (double)m.parameters / 1048576.0, (double)m.work / 1048576.0, e->threads, e->threads == 1 ? "" : "s", m.part);
    return ICD_OK;
}

static void print_engines(void)
{
    for (const icd_engine_entry *e = cli_engines; e->name; e++)
        printf("%-13s %s\n", e->name, e->about);
    for (const fast_backend *const *b = fast_backends; *b; b++)
        printf("%s%-*s %s%s\n", (*b)->device ? "" : "cpu:", (*b)->device ? 13 : 9, (*b)->name, (*b)->about,
               (*b)->usable() ? "" : " (not on this machine)");
}

/* A preset as if it were trained: what it builds and needs. */
static icd_status print_preset(const char *name, const char *engine, const cli_sets *sets, icd_err *err)
{
    cli_model m;
    icd_status s = cli_open_preset(&m, name, engine, sets, err);
    if (s == ICD_OK) {
        print_arch(&m.checkpoint.arch);
        s = print_needs(&m.checkpoint.config, m.engine, err);
    }
    cli_close_model(&m);
    return s;
}

static icd_status print_file(const char *path, const char *engine, const cli_sets *sets, icd_err *err)
{
    cli_model m;
    icd_status s = cli_open_model(&m, path, engine, sets, NULL, 0, err);
    if (s == ICD_OK) {
        const icd_checkpoint *c = &m.checkpoint;
        const icd_tensor *buffer = icd_st_find(&c->file, "buffer.images");
        printf("%s\niteration     %lld\nimages        %s\n", path, (long long)c->iteration, c->config.image);
        print_arch(&c->arch);
        if (buffer)
            printf("buffer        %zu samples\n", buffer->shape[0]);
        s = print_needs(&c->config, m.engine, err);
        if (s == ICD_OK)
            printf("settings\n%s", icd_st_metadata(&c->file, "icd.config"));
    }
    cli_close_model(&m);
    return s;
}

int cli_info(int argc, char **argv)
{
    const char *what = NULL, *engine = NULL;
    cli_sets sets;
    icd_err err = { "" };
    icd_status s = ICD_OK;
    cli_parse(argc, argv, usage, (cli_option[]){ { "--engine", &engine, NULL }, { NULL, NULL, NULL } }, &what, &sets);
    cli_require(what, "what to tell about", usage);
    int preset = 0;
    for (const icd_preset *p = icd_presets; p->name; p++)
        preset |= strcmp(p->name, what) == 0;
    if (strcmp(what, "presets") == 0)
        print_presets();
    else if (strcmp(what, "settings") == 0)
        print_settings();
    else if (strcmp(what, "archs") == 0)
        for (const icd_builtin_arch *b = icd_builtin_archs; b->name; b++)
            printf("%-18s %dx%dx%d  %s\n    %s\n", b->name, b->c, b->h, b->w, b->about, b->text);
    else if (strcmp(what, "engines") == 0)
        print_engines();
    else if (preset)
        s = print_preset(what, engine, &sets, &err);
    else
        s = print_file(what, engine, &sets, &err);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
