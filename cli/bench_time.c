/* bench_time.c: how `icd bench` measures, and the machine's own peaks. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "cli.h"
#include "common/parallel.h"
#include "fast/peak.h"

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

bench_time bench_seconds(int threads, int jobs, void (*job)(void *, int, int), void *context)
{
    enum { MEASUREMENTS = 7, MOST = 1 << 20 };
    const double long_enough = 0.02;
    double v[MEASUREMENTS], t;
    int passes = 1;
    for (;;) {                           /* also the warm-up */
        double begin = cli_seconds();
        icd_parallel(threads, jobs * passes, job, context);
        t = cli_seconds() - begin;
        if (t >= long_enough || jobs * passes >= MOST)
            break;
        passes = t < long_enough / 16 ? passes * 8 : passes * 2;
    }
    for (int i = 0; i < MEASUREMENTS; i++) {
        double begin = cli_seconds();
        icd_parallel(threads, jobs * passes, job, context);
        v[i] = (cli_seconds() - begin) / passes;
    }
    double median = bench_median(v, MEASUREMENTS);
    return (bench_time){ median, v[0] };
}

bench_threads bench_threads_make(icd_arena *a, int threads, size_t scratch, size_t gradient)
{
    bench_threads t = { threads, icd_arena_alloc(a, (size_t)threads, sizeof *t.ctx),
                        icd_arena_alloc(a, (size_t)threads, sizeof *t.gradient) };
    for (int i = 0; i < threads && t.ctx && t.gradient; i++) {
        t.ctx[i] = (fast_ctx){ icd_arena_alloc(a, 1, scratch), scratch };
        t.gradient[i] = icd_arena_alloc(a, gradient, sizeof(float));
        if (!t.ctx[i].scratch || !t.gradient[i])
            t.ctx = NULL;
    }
    return t.gradient ? t : (bench_threads){ threads, NULL, NULL };
}

void bench_member(bench_output *o, const char *name)
{
    printf("%s\"%s\": ", o->members++ ? ", " : "", name);
}

typedef struct { const fast_peak *peak; size_t count, apart; float *memory; int regions; double operations; } peak_job;

static void fma_job(void *context, int thread, int j)
{
    peak_job *p = context;
    double operations = p->peak->fma(200000);
    if (thread == 0 && j == 0)
        p->operations = operations;
}

static void triad_job(void *context, int thread, int j)
{
    peak_job *p = context;
    float *a = p->memory + (size_t)(p->regions ? j % p->regions : thread) * 3 * p->count;
    p->peak->triad(p->count, a, a + p->count, a + 2 * p->count);
}

icd_status bench_peak(bench_output *o, const fast_backend *b, int threads, bench_peaks *p, icd_err *err)
{
    peak_job j = { .peak = fast_peak_of(b->name), .count = BENCH_CACHED / 12 / 16 * 16 };
    int regions = BENCH_STREAMED / (int)(12 * j.count);
    j.memory = icd_alloc((size_t)(regions > threads ? regions : threads) * 3 * j.count, sizeof(float));
    if (!j.memory)
        return icd_fail(err, ICD_ENOMEM, "out of memory for measuring the memory");
    double bytes = 12e-9 * (double)j.count, seconds = bench_seconds(threads, threads, fma_job, &j).best;
    p->gflops = 1e-9 * threads * j.operations / seconds;
    p->cached = threads * bytes / bench_seconds(threads, threads, triad_job, &j).best;
    j.regions = regions;
    p->streamed = regions * bytes / bench_seconds(threads, regions, triad_job, &j).best;
    icd_free(j.memory);
    if (o->json) {
        bench_member(o, "peak");
        printf("{\"table\": \"%s\", \"gflops\": %.1f, \"cached_gbs\": %.1f, \"streamed_gbs\": %.1f}", j.peak->table, p->gflops,
               p->cached, p->streamed);
    } else {
        printf("\npeak of %s: %.0f GFLOP/s; a triad over %d KiB of each thread %.0f GB/s, over %d MiB %.0f GB/s\n",
               j.peak->table, p->gflops, BENCH_CACHED >> 10, p->cached, BENCH_STREAMED >> 20, p->streamed);
    }
    return ICD_OK;
}
