/* bench.c: icd bench: what the parts of an iteration take, on random images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "common/algorithm1.h"

static const char usage[] =
    "usage: icd bench [--preset NAME] [--engine NAME] [--json] [--set key=value ...]\n"
    "  --preset NAME   what to time (default demo); medians of seven\n"
    "Prints milliseconds and GFLOP/s (counted as two per multiply-add of the convolutions and products) for a Langevin step, for\n"
    "L_CD and L_KL with their gradients, for the update, and for an iteration; and the bytes that the work takes.\n";

enum { REPEATS = 7 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, REPEATS, sizeof *v, ascending);
    return v[REPEATS / 2];
}

typedef struct { double chain, cd, kl, update; icd_memory memory; } timing;

static icd_status measure(icd_engine *e, const icd_config *c, icd_arena *a, timing *t, icd_err *err)
{
    const icd_arch *arch = e->arch;
    size_t d = (size_t)arch->c * (size_t)arch->h * (size_t)arch->w, n = (size_t)c->batch;
    float *x = icd_arena_alloc(a, (2 * n + (size_t)c->nn_set) * d, sizeof *x), *out = icd_arena_alloc(a, n * d, sizeof *out);
    int32_t *labels = icd_arena_alloc(a, n, sizeof *labels);
    if (!x || !out || !labels)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the images");
    icd_stream s = { c->seed, 0, ICD_DRAW_TEST, 0 };
    icd_uniforms(&s, 0, (2 * n + (size_t)c->nn_set) * d, x);
    icd_chain chain = icd_chain_settings(c);
    chain.n = c->batch;
    chain.x0 = x;
    chain.labels = arch->model.classes ? labels : NULL;
    chain.purpose = ICD_DRAW_TEST;
    chain.keep = icd_backprop_steps(c);
    icd_losses both = icd_loss_settings(c), cd;
    both.n = c->batch;
    both.positives = x + n * d;
    both.positive_labels = chain.labels;
    both.n_neighbours = c->nn_set;
    both.neighbours = x + 2 * n * d;
    cd = both;
    cd.w_opt = cd.w_ent = 0;
    icd_update update = { 1, 1e-6, c->beta1, c->beta2, c->adam_eps, c->grad_clip, c->ema };
    icd_chain_stats chain_stats;
    icd_loss_stats stats;
    icd_work w = icd_work_settings(c);
    ICD_TRY(e->memory(e, &w, &t->memory, err));
    double v[4][REPEATS];
    for (int i = -1; i < REPEATS; i++) {             /* one to warm up */
        double at[5];
        at[0] = cli_seconds();
        ICD_TRY(e->chain(e, &chain, out, &chain_stats, err));
        at[1] = cli_seconds();
        ICD_TRY(e->gradients(e, &cd, &stats, err));
        at[2] = cli_seconds();
        ICD_TRY(e->gradients(e, &both, &stats, err));
        at[3] = cli_seconds();
        ICD_TRY(e->update(e, &update, err));
        at[4] = cli_seconds();
        for (int k = 0; k < 4 && i >= 0; k++)
            v[k][i] = at[k + 1] - at[k];
        if (i >= 0)
            v[2][i] -= v[1][i];                      /* L_KL is what it adds */
    }
    t->chain = median(v[0]);
    t->cd = median(v[1]);
    t->kl = median(v[2]);
    t->update = median(v[3]);
    return ICD_OK;
}

static void print(const icd_engine *e, const icd_config *c, const timing *t, int json)
{
    double F = icd_arch_flops(e->arch) * c->batch / 1e9, K = c->steps, all = t->chain + t->cd + t->kl + t->update;
    struct { const char *what; double seconds, gflop; } row[] = {
        { "Langevin step", t->chain / K, 2 * F }, { "L_CD and gradient", t->cd, 6 * F }, { "L_KL and gradient", t->kl, 8 * F },
        { "update", t->update, 0 }, { "iteration", all, (2 * K + 14) * F } };
    if (json)
        printf("{\"engine\": \"%s\", \"threads\": %d, \"batch\": %d, \"steps\": %d, \"parameters\": %zu, \"bytes\": %zu, \"rows\": [",
               e->name, e->threads, c->batch, c->steps, e->arch->n_values, t->memory.parameters + t->memory.work);
    else
        printf("engine %s, %d threads, batch %d, K = %d, %zu parameters, %.1f MiB\n%-20s %12s %12s\n", e->name, e->threads,
               c->batch, c->steps, e->arch->n_values, (double)(t->memory.parameters + t->memory.work) / 1048576.0, "", "ms", "GFLOP/s");
    for (int i = 0; i < 5; i++)
        if (json)
            printf("%s{\"what\": \"%s\", \"ms\": %.3f, \"gflops\": %.2f}", i ? ", " : "", row[i].what, 1e3 * row[i].seconds,
                   row[i].gflop / row[i].seconds);
        else if (row[i].gflop > 0)
            printf("%-20s %12.2f %12.2f\n", row[i].what, 1e3 * row[i].seconds, row[i].gflop / row[i].seconds);
        else
            printf("%-20s %12.2f\n", row[i].what, 1e3 * row[i].seconds);
    if (json)
        printf("]}\n");
}

int cli_bench(int argc, char **argv)
{
    const char *preset = "demo", *engine = NULL;
    int json = 0;
    cli_sets sets;
    cli_model m = { 0 };
    timing t;
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--preset", &preset, NULL }, { "--engine", &engine, NULL }, { "--json", NULL, &json },
              { NULL, NULL, NULL } }, NULL, &sets);
    icd_status s = cli_open_preset(&m, preset, engine, &sets, &err);
    if (s == ICD_OK)
        s = measure(m.engine, &m.checkpoint.config, &m.arena, &t, &err);
    if (s == ICD_OK)
        print(m.engine, &m.checkpoint.config, &t, json);
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
