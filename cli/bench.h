/* bench.h: what the files of `icd bench` share. */
#ifndef ICD_BENCH_H
#define ICD_BENCH_H

#include "common/config.h"
#include "common/engine.h"
#include "fast/backend.h"

/* Seconds of one pass over job(context, thread, j), j = 0..jobs-1, on threads: of seven measurements of many passes each, the
 * j of a later pass going on from `jobs` (so a job takes j % jobs), threads not started between. */
typedef struct { double median, best; } bench_time;
bench_time bench_seconds(int threads, int jobs, void (*job)(void *context, int thread, int j), void *context);
double bench_median(double *v, int n);

/* Every thread's scratch for slots. */
typedef struct { int threads; fast_ctx *ctx; float **gradient; } bench_threads;
/* scratch: bytes; gradient: floats each, for gradients that nobody reads. Memory from a. NULL ctx: out of it. */
bench_threads bench_threads_make(icd_arena *a, int threads, size_t scratch, size_t gradient);

/* What the machine can do at best, in the table's instructions. */
typedef struct { double gflops, cached, streamed; } bench_peaks;      /* GB/s of a triad: within a core's cache; beyond it */
enum { BENCH_CACHED = 3 << 18, BENCH_STREAMED = 192 << 20 };          /* bytes: of a thread; of all */

/* An iteration's calls (step, update) at the settings' sizes, on random images; cd: L_CD alone. Memory from a. */
typedef struct { icd_chain chain; icd_losses both, cd; icd_update update; float *out; } bench_iteration;
icd_status bench_iteration_make(const icd_arch *arch, const icd_config *c, icd_arena *a, bench_iteration *it, icd_err *err);

/* Printing: a table, or the members of a JSON object. */
typedef struct { int json, members; } bench_output;
void bench_member(bench_output *o, const char *name);                 /* , "name": */

icd_status bench_peak(bench_output *o, const fast_backend *b, int threads, bench_peaks *p, icd_err *err);
/* The 3x3 convolutions of the engine's net, a batch in parts as the engine has them, in three directions; with `all` by every
 * algorithm that the table may be asked for. (bench_conv.c) */
icd_status bench_convolutions(bench_output *o, const fast_backend *b, icd_engine *e, const icd_config *c, int winograd,
                              int all, const bench_peaks *p, icd_err *err);
/* The other slots. (bench_slots.c) */
icd_status bench_slots(bench_output *o, const fast_backend *b, int threads, const bench_peaks *p, icd_err *err);

#endif
