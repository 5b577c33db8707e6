/* bench.c: icd bench: what the kernels and the parts of an iteration take, on random images. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "cli.h"
#include "common/algorithm1.h"
#include "fast/engine_fast.h"
#include "verify/verify.h"

static const char usage[] =
    "usage: icd bench [--preset NAME] [--engine NAME] [--only PARTS] [--repeats N] [--json] [--set key=value ...]\n"
    "  --preset NAME   whose net and settings (default demo)\n"
    "  --only PARTS    some of convolutions,algorithms,slots,iteration; default all but algorithms, which is every algorithm\n"
    "                  at every convolution. ref, ref64 and cuda have the iteration alone\n"
    "  --repeats N     iterations to take medians of (default 7)\n"
    "For a kernel table that passes the comparisons of `icd verify` slot by slot (made first, seconds), and for no other: the\n"
    "net's 3x3 convolutions (GFLOP/s counted as direct convolution) and the other slots (GB/s), beside what the machine gave\n"
    "a bare loop in the same run; milliseconds and GFLOP/s (two per multiply-add of the convolutions and products) for a\n"
    "Langevin step, for L_CD and L_KL with their gradients, for the update, for an iteration; the bytes that the work takes.\n";

enum { MOST_REPEATS = 101 };

typedef struct { double chain, cd, kl, update, all, preparing, waiting, rss; icd_memory memory; } timing;    /* seconds; MiB */

icd_status bench_iteration_make(const icd_arch *arch, const icd_config *c, icd_arena *a, bench_iteration *it, icd_err *err)
{
    size_t d = (size_t)arch->c * (size_t)arch->h * (size_t)arch->w, n = (size_t)c->batch, images = 2 * n + (size_t)c->nn_set;
    float *x = icd_arena_alloc(a, images * d, sizeof *x);
    int32_t *labels = icd_arena_alloc(a, n, sizeof *labels);
    it->out = icd_arena_alloc(a, n * d, sizeof *it->out);
    if (!x || !it->out || !labels)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the images");
    icd_stream s = { c->seed, 0, ICD_DRAW_TEST, 0 };
    icd_uniforms(&s, 0, images * d, x);
    it->chain = icd_chain_settings(c);
    it->chain.n = c->batch;
    it->chain.x0 = x;
    it->chain.labels = arch->model.classes ? labels : NULL;
    it->chain.purpose = ICD_DRAW_TEST;
    it->chain.keep = icd_backprop_steps(c);
    it->both = icd_loss_settings(c);
    it->both.n = c->batch;
    it->both.positives = x + n * d;
    it->both.positive_labels = it->chain.labels;
    it->both.n_neighbours = c->nn_set;
    it->both.neighbours = x + 2 * n * d;
    it->cd = it->both;
    it->cd.w_opt = it->cd.w_ent = 0;
    it->update = (icd_update){ 1, 1e-6, c->beta1, c->beta2, c->adam_eps, c->grad_clip, c->ema };
    return ICD_OK;
}

/* Turns of Algorithm 1 on the engine, with the ends of its chain for data. */
typedef struct { icd_config config; icd_images data; icd_training training; } turns;

static icd_status turns_make(icd_engine *e, const icd_config *c, const bench_iteration *it, icd_arena *a, turns *t, icd_err *err)
{
    const icd_arch *arch = e->arch;
    int32_t *labels = icd_arena_alloc(a, (size_t)c->batch, sizeof *labels);
    if (!labels)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the labels");
    t->config = *c;
    t->config.lr = it->update.lr;
    t->config.iterations = INT_MAX;
    t->config.nn_min_buffer = 0;         /* X is whole from the second turn on */
    t->config.buffer_size = 2 * c->batch;
    t->data = (icd_images){ c->batch, arch->c, arch->h, arch->w, it->out, labels, arch->model.classes };
    return icd_training_init(&t->training, a, &t->config, arch, e, &t->data, err);
}

/* The chain, L_CD and the update alone, then an iteration as train does it; L_KL is what that takes beyond them. */
static icd_status measure(icd_engine *e, const icd_config *c, int repeats, timing *t, icd_err *err)
{
    icd_arena a = { 0 };
    bench_iteration it;
    icd_chain_stats chain_stats;
    icd_loss_stats stats;
    icd_work w = icd_work_settings(c);
    turns train;
    icd_iteration_stats turn;
    double v[7][MOST_REPEATS], at[5];
    icd_status s = e->memory(e, &w, &t->memory, err);
    if (s == ICD_OK)
        s = bench_iteration_make(e->arch, c, &a, &it, err);
    if (s == ICD_OK)
        s = turns_make(e, c, &it, &a, &train, err);
    for (int i = -2; i < repeats && s == ICD_OK; i++) {              /* two to warm up: the first turn finds no X */
        at[0] = cli_seconds();
        s = e->chain(e, &it.chain, it.out, &chain_stats, err);
        at[1] = cli_seconds();
        s = s == ICD_OK ? e->gradients(e, &it.cd, &stats, err) : s;
        at[2] = cli_seconds();
        s = s == ICD_OK ? e->update(e, &it.update, err) : s;
        at[3] = cli_seconds();
        s = s == ICD_OK ? icd_algorithm1_turn(&train.training, &turn, err) : s;
        at[4] = cli_seconds();
        if (i < 0)
            continue;
        v[0][i] = at[1] - at[0];
        v[1][i] = at[2] - at[1];
        v[2][i] = at[4] - at[3] - (at[3] - at[0]) - turn.waiting;
        v[3][i] = at[3] - at[2];
        v[4][i] = at[4] - at[3];
        v[5][i] = turn.preparing;
        v[6][i] = turn.waiting;
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    t->rss = (double)use.ru_maxrss / 1024;
    icd_arena_release(&a);
    ICD_TRY(s);
    t->chain = bench_median(v[0], repeats);
    t->cd = bench_median(v[1], repeats);
    t->kl = bench_median(v[2], repeats);
    t->update = bench_median(v[3], repeats);
    t->all = bench_median(v[4], repeats);
    t->preparing = bench_median(v[5], repeats);
    t->waiting = bench_median(v[6], repeats);
    return ICD_OK;
}

static void print_iteration(bench_output *o, const icd_engine *e, const icd_config *c, const timing *t)
{
    int kl = c->w_opt != 0 || c->w_ent != 0;
    double F = icd_arch_flops(e->arch) * c->batch / 1e9, K = c->steps;
    struct { const char *what; double seconds, gflop; } row[] = {
        { "Langevin step", t->chain / K, 2 * F }, { "L_CD and gradient", t->cd, 6 * F },
        { "L_KL and gradient", t->kl, kl ? 4 * F : 0 },
        { "update", t->update, 0 }, { "iteration", t->all, (2 * K + 6 + 4 * kl) * F } };
    double mib = (double)(t->memory.parameters + t->memory.work) / 1048576.0;
    if (o->json) {
        bench_member(o, "bytes");
        printf("%zu, \"part\": %d, \"peak_rss_mib\": %.1f, \"rows\": [", t->memory.parameters + t->memory.work, t->memory.part,
               t->rss);
    } else {
        printf("\nbatch %d in parts of %d, K = %d, %zu parameters; %.1f MiB for parameters and work, %.1f MiB the process at "
               "most\n%-20s %12s %12s\n", c->batch, t->memory.part, c->steps, e->arch->n_values, mib, t->rss, "", "ms",
               "GFLOP/s");
    }
    for (int i = 0; i < 5; i++)
        if (o->json)
            printf("%s{\"what\": \"%s\", \"ms\": %.3f, \"gflops\": %.2f}", i ? ", " : "", row[i].what, 1e3 * row[i].seconds,
                   row[i].gflop / row[i].seconds);
        else if (row[i].gflop > 0)
            printf("%-20s %12.2f %12.2f\n", row[i].what, 1e3 * row[i].seconds, row[i].gflop / row[i].seconds);
        else
            printf("%-20s %12.2f\n", row[i].what, 1e3 * row[i].seconds);
    if (o->json)
        printf("], \"preparing_ms\": %.3f, \"waiting_ms\": %.3f", 1e3 * t->preparing, 1e3 * t->waiting);
    else
        printf("preparation of the next batch %.2f ms, beside losses, gradients and update (%.2f ms); %.2f ms of it waited for\n",
               1e3 * t->preparing, 1e3 * (t->cd + t->kl + t->update), 1e3 * t->waiting);
}

/* ---- no figures for kernels that compute something else ---- */

typedef struct { int rows, failed; char what[160]; } verdict;

static void judge(void *context, const icd_comparison *c)
{
    verdict *v = context;
    v->rows++;
    if (!icd_passed(c) && !v->failed++)
        snprintf(v->what, sizeof v->what, "%.60s, %.60s", c->model, c->what);
}

static icd_status checked(bench_output *o, const fast_backend *b, icd_err *err)
{
    verdict v = { 0, 0, "" };
    icd_listener l = { judge, &v };
    ICD_TRY(icd_verify_slots(b, NULL, &l, err));
    if (v.failed)
        return icd_fail(err, ICD_EINVAL, "the kernels of %s are not timed: %d of %d comparisons failed, the first: %s "
                        "(icd verify --engine cpu:%s)", b->name, v.failed, v.rows, v.what, b->name);
    if (o->json) {
        bench_member(o, "checked");
        printf("%d", v.rows);
    } else {
        printf("%s passed %d comparisons of its slots with ref\n", b->name, v.rows);
    }
    return ICD_OK;
}

/* ---- the command ---- */

enum { CONVOLUTIONS = 1, ALGORITHMS = 2, SLOTS = 4, ITERATION = 8 };

static icd_status parts_wanted(const char *text, int *parts, icd_err *err)
{
    static const char *const names[] = { "convolutions", "algorithms", "slots", "iteration" };
    if (!text) {
        *parts = CONVOLUTIONS | SLOTS | ITERATION;
        return ICD_OK;
    }
    for (*parts = 0; *text; text += *text == ',') {
        size_t n = strcspn(text, ",");
        int i = 0;
        while (i < 4 && (strlen(names[i]) != n || strncmp(names[i], text, n) != 0))
            i++;
        if (i == 4)
            return icd_fail(err, ICD_EINVAL, "--only %.40s: wanted some of convolutions,algorithms,slots,iteration", text);
        *parts |= 1 << i;
        text += n;
    }
    return ICD_OK;
}

static icd_status kernels(bench_output *o, const fast_backend *b, icd_engine *e, const icd_config *c, int parts, icd_err *err)
{
    bench_peaks p;
    ICD_TRY(bench_peak(o, b, e->threads, &p, err));
    if (parts & CONVOLUTIONS)
        ICD_TRY(bench_convolutions(o, b, e, c, icd_winograd_tile(c), 0, &p, err));
    if (parts & ALGORITHMS)
        ICD_TRY(bench_convolutions(o, b, e, c, icd_winograd_tile(c), 1, &p, err));
    if (parts & SLOTS)
        ICD_TRY(bench_slots(o, b, e->threads, &p, err));
    return ICD_OK;
}

static icd_status bench(bench_output *o, icd_engine *e, const icd_config *c, int parts, int repeats, icd_err *err)
{
    const fast_backend *b = NULL;        /* ref has none */
    timing t;
    if (fast_engine_is(e->name))
        ICD_TRY(fast_engine_table(e->name, &b, err));
    if (b && b->device && !(parts & ITERATION))
        return icd_fail(err, ICD_EINVAL, "bench has a device's iteration alone; `make cuda-check` times its kernels");
    if (o->json) {
        printf("{");
        bench_member(o, "engine");
        printf("\"%s\", \"threads\": %d, \"batch\": %d, \"steps\": %d, \"parameters\": %zu", e->name, e->threads, c->batch,
               c->steps, e->arch->n_values);
    } else {
        printf("engine %s, %d threads\n", e->name, e->threads);
    }
    if (b)
        ICD_TRY(checked(o, b, err));
    if (parts & ITERATION) {             /* before the others, whose memory is not that of training */
        ICD_TRY(measure(e, c, repeats, &t, err));
        print_iteration(o, e, c, &t);
    }
    if (b && !b->device && parts & ~ITERATION)
        ICD_TRY(kernels(o, b, e, c, parts, err));
    if (o->json)
        printf("}\n");
    return ICD_OK;
}

int cli_bench(int argc, char **argv)
{
    const char *preset = "demo", *engine = NULL, *only = NULL, *repeats = "7";
    int json = 0, parts = 0;
    cli_sets sets;
    cli_model m = { 0 };
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--preset", &preset, NULL }, { "--engine", &engine, NULL },
              { "--only", &only, NULL }, { "--repeats", &repeats, NULL }, { "--json", NULL, &json }, { NULL, NULL, NULL } },
              NULL, &sets);
    char *end;
    long n = strtol(repeats, &end, 10);
    icd_status s = parts_wanted(only, &parts, &err);
    if (s == ICD_OK && (*end || n < 1 || n > MOST_REPEATS))
        s = icd_fail(&err, ICD_EINVAL, "--repeats %.40s: wanted a number from 1 to %d", repeats, MOST_REPEATS);
    if (s == ICD_OK)
        s = cli_open_preset(&m, preset, engine, &sets, &err);
    if (s == ICD_OK) {
        bench_output o = { json, 0 };
        s = bench(&o, m.engine, &m.checkpoint.config, parts, (int)n, &err);
    }
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
