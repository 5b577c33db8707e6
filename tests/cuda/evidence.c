/* evidence.c: what the engine launches for one iteration, and what each launch does as the emulator counts it; for evidence.py.
 *
 *     evidence [--sample BLOCKS] [PRESET ...]        default: 3 blocks a launch; code-cifar10 code-mnist
 *
 * The engine itself runs an iteration at the preset's batch and K, in one part as on a device, once for each table of kernels;
 * of launches that are alike a few blocks of the first run (emulate.h: sample), so that results mean nothing and counts do. No
 * count depends on the images' values. A line of tab-separated NAME=VALUE for each kind of launch:
 *     kernel slot shape grid block (threads) dynamic shared (bytes; the latter with what is static) blocks ran
 *     read written (distinct bytes) flops tensor barriers warp_ops atomics
 *     gl gs sl ss (global, shared; loads, stores): REQUESTS,BYTES,UNITS,IDEAL
 *     PRESET:PRECISION:PHASE=LAUNCHES for the phases prepare, chain (all K steps), cd, kl, update
 * before them, for each run PRESET:PRECISION, slot shape run calls: the calls of a slot in a whole iteration; and behind them
 * branches and PRESET:PRECISION:PHASE=TIMES: the launches from a fork to its join, on each branch as N,N,..., the N-th of the
 * lines for launches from 0 on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/algorithm1.h"
#include "common/memory.h"
#include "fast/cuda/emulate/emulate.h"
#include "fast/engine_fast.h"
#include "tests/cuda/evidence.h"

extern const fast_backend fast_cuda_emulated, fast_cuda_emulated_tf32, fast_cuda_emulated_bf16;

enum { PART = 128, MOST = 4096, FORKS = 256, COLUMNS = 64 };

static void stop(const char *what)
{
    fprintf(stderr, "evidence: %s\n", what);
    exit(1);
}
static void want(icd_status s, const icd_err *err)
{
    if (s != ICD_OK)
        stop(err->text);
}

/* ---- launches of each kind and behind them branches of each kind, by phase ---- */

static struct { char name[48]; long long times[MOST + FORKS]; } column[COLUMNS];
static int columns;

static void count_now(long long *times)
{
    emulate_shape s;
    memset(times, 0, (MOST + FORKS) * sizeof *times);
    for (int i = 0; emulate_shape_of(i, &s); i++) {
        if (i == MOST)
            stop("too many kinds of launches");
        times[i] = (long long)s.times;
    }
    if (evidence_branches(times + MOST, FORKS) > FORKS)
        stop("too many kinds of branches");
}

/* What was launched since `before` into the next column, without that of columns first..first + less - 1. */
static void note(const char *name, const char *phase, const long long *before, int first, int less)
{
    if (columns == COLUMNS)
        stop("too many columns");
    long long *times = column[columns].times;
    snprintf(column[columns].name, sizeof column[columns].name, "%s:%s", name, phase);
    count_now(times);
    for (int i = 0; i < MOST + FORKS; i++) {
        times[i] -= before[i];
        for (int k = first; k < first + less; k++)
            times[i] -= column[k].times[i];
    }
    columns++;
}

/* ---- an iteration, phase by phase ---- */

static void iterate(icd_engine *e, const icd_config *c, const char *name)
{
    static long long before[MOST + FORKS];
    const icd_arch *a = e->arch;
    size_t d = (size_t)a->c * (size_t)a->h * (size_t)a->w, n = (size_t)c->batch, images = 2 * n + (size_t)c->nn_set;
    float *x = icd_alloc((images + n) * d, sizeof *x);
    double *theta = icd_alloc(a->n_values, sizeof *theta);
    icd_chain chain = icd_chain_settings(c);
    icd_losses both = icd_loss_settings(c), cd;
    icd_update u = { 1, c->lr, c->beta1, c->beta2, c->adam_eps, c->grad_clip, c->ema };
    icd_chain_stats cs;
    icd_loss_stats ls;
    icd_err err;
    int chain_column = columns;
    if (!x || !theta)
        stop("out of memory");
    for (size_t i = 0; i < a->n_values; i++)
        theta[i] = 0.01;
    chain.n = both.n = c->batch;
    chain.x0 = x;
    chain.keep = icd_backprop_steps(c);
    both.positives = x + n * d;
    both.n_neighbours = c->nn_set;
    both.neighbours = x + 2 * n * d;
    cd = both;
    cd.w_opt = cd.w_ent = 0;
    want(e->import(e, ICD_PARAMETERS, theta, &err), &err);
    want(e->chain(e, &chain, x + images * d, &cs, &err), &err);         /* prepares the weights */
    count_now(before);
    want(e->chain(e, &chain, x + images * d, &cs, &err), &err);
    note(name, "chain", before, chain_column, 0);
    count_now(before);
    want(e->gradients(e, &cd, &ls, &err), &err);
    note(name, "cd", before, chain_column, 0);
    chain.ahead = &both;                 /* as Algorithm 1 does */
    count_now(before);
    want(e->chain(e, &chain, x + images * d, &cs, &err), &err);
    want(e->gradients(e, &both, &ls, &err), &err);
    note(name, "kl", before, chain_column, 2);
    evidence_forget_calls();
    count_now(before);
    want(e->update(e, &u, &err), &err);
    note(name, "update", before, chain_column, 0);
    count_now(before);
    want(e->chain(e, &chain, x + images * d, &cs, &err), &err);
    want(e->gradients(e, &both, &ls, &err), &err);
    note(name, "prepare", before, chain_column, 3);
    evidence_print_calls(stdout, name);
    icd_free(x);
    icd_free(theta);
}

static void run(const char *preset)
{
    static const struct { const char *name; const fast_backend *table; } tables[] = {
        { "bf16", &fast_cuda_emulated_bf16 }, { "tf32", &fast_cuda_emulated_tf32 }, { "fp32", &fast_cuda_emulated }
    };
    icd_config c;
    icd_err err;
    icd_arena arena = { 0 };
    icd_arch a;
    want(icd_config_preset(&c, preset, &err), &err);
    const icd_builtin_arch *built = icd_builtin_find(c.arch);
    int chw[3] = { built ? built->c : 1, built ? built->h : 28, built ? built->w : 28 };
    want(icd_arch_parse(&arena, c.arch, &c.model, chw[0], chw[1], chw[2], &a, &err), &err);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        icd_engine_options o = { 1, (size_t)1 << 40, icd_winograd_tile(&c), 0 };
        icd_engine *e;
        char name[40];
        snprintf(name, sizeof name, "%.30s:%s", preset, tables[i].name);
        want(fast_engine_open(&e, name, evidence_table(tables[i].table, PART), &a, &o, &err), &err);
        iterate(e, &c, name);
        fprintf(stderr, "%s: %.0f MiB of device memory\n", name, (double)emulate_memory_used() / 1048576);
        e->close(e);
    }
    icd_arena_release(&arena);
}

/* ---- the table ---- */

static void number(const char *what, uint64_t v) { printf("\t%s=%llu", what, (unsigned long long)v); }

static void accesses(const char *what, const emulate_access *a)
{
    printf("\t%s=%llu,%llu,%llu,%llu", what, (unsigned long long)a->requests, (unsigned long long)a->bytes,
           (unsigned long long)a->units, (unsigned long long)a->ideal);
}

static void print_times(int row)
{
    for (int k = 0; k < columns; k++)
        if (column[k].times[row] != 0)
            printf("\t%s=%lld", column[k].name, column[k].times[row]);
    printf("\n");
}

static void print(const emulate_shape *s, int i)
{
    const emulate_counts *c = &s->one;
    printf("kernel=%s\t%s\tgrid=%u,%u,%u\tblock=%u", s->kernel, s->label, s->grid[0], s->grid[1], s->grid[2],
           s->block[0] * s->block[1] * s->block[2]);
    number("dynamic", s->dynamic);
    number("shared", c->shared_bytes);
    number("blocks", c->blocks);
    number("ran", s->ran);
    number("read", s->read);
    number("written", s->written);
    number("flops", c->flops);
    number("tensor", c->tensor_flops);
    number("barriers", c->barriers);
    number("warp_ops", c->warp_ops);
    number("atomics", c->atomics);
    accesses("gl", &c->global_load);
    accesses("gs", &c->global_store);
    accesses("sl", &c->shared_load);
    accesses("ss", &c->shared_store);
    print_times(i);
}

int main(int argc, char **argv)
{
    emulate_options o = emulate_get();
    o.check = 0;
    o.count = 1;
    o.sample = 3;
    o.memory = (size_t)8 << 30;
    int first = argc > 2 && strcmp(argv[1], "--sample") == 0 ? 3 : 1;
    if (first == 3)
        o.sample = atoi(argv[2]);
    emulate_set(o);
    for (int i = first; i < argc; i++)
        run(argv[i]);
    if (first == argc) {
        run("code-cifar10");
        run("code-mnist");
    }
    emulate_shape s;
    for (int i = 0; emulate_shape_of(i, &s); i++)
        print(&s, i);
    for (int i = 0, n = evidence_branches(NULL, 0); i < n; i++) {
        printf("branches=%s", evidence_branches_of(i));
        print_times(MOST + i);
    }
    return 0;
}
