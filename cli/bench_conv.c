/* bench_conv.c: the 3x3 convolutions of a net, part by part over a whole batch as the engine runs them. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "fast/plan.h"

typedef struct {
    const fast_backend *b;
    bench_threads threads;
    fast_conv conv;
    int batch, part, jobs;
    size_t in, out;                      /* floats of an image */
    float *x, *y, *packed;
    const float *bias;
} conv_job;

typedef struct { int first, n; } span;

static span images(const conv_job *c, int j)
{
    int first = j % c->jobs * c->part;
    return (span){ first, c->batch - first < c->part ? c->batch - first : c->part };
}

static void fwd(void *context, int thread, int j)
{
    conv_job *c = context;
    span s = images(c, j);
    c->b->conv_fwd(&c->threads.ctx[thread], s.n, &c->conv, c->x + (size_t)s.first * c->in, c->packed, c->bias, NULL,
                   c->y + (size_t)s.first * c->out);
}

static void bwd_x(void *context, int thread, int j)
{
    conv_job *c = context;
    span s = images(c, j);
    c->b->conv_bwd_x(&c->threads.ctx[thread], s.n, &c->conv, c->y + (size_t)s.first * c->out, c->packed, NULL,
                     c->x + (size_t)s.first * c->in);
}

static void bwd_w(void *context, int thread, int j)
{
    conv_job *c = context;
    span s = images(c, j);
    c->b->conv_bwd_w(&c->threads.ctx[thread], s.n, &c->conv, c->x + (size_t)s.first * c->in, c->y + (size_t)s.first * c->out,
                     NULL, c->threads.gradient[thread]);
}

static const struct { const char *name; void (*run)(void *, int, int); } direction[3] = {
    { "fwd", fwd }, { "bwd_x", bwd_x }, { "bwd_w", bwd_w } };

static const char *algorithm_name(fast_conv_algorithm a)
{
    static const char *const names[] = { "own", "gemm", "direct", "winograd2", "winograd4" };
    return names[a];
}

static fast_conv_algorithm chosen(const fast_conv *c, int d) { return d == 0 ? c->fwd : d == 1 ? c->bwd_x : c->bwd_w; }

static double operations(const fast_conv *c)
{
    return 2.0 * c->k * c->k * c->ci * c->co * c->ho * c->wo;
}

/* Numbers in [-1/2,1/2), 0 in the lanes beyond c. */
static void fill(float *v, int n, int c, int hw, int planar)
{
    icd_stream s = { 1, 0, ICD_DRAW_TEST, 0 };
    size_t blocks = planar ? (size_t)c : (size_t)fast_blocks(c), lanes = planar ? 1 : FAST_LANES;
    icd_uniforms(&s, 0, (size_t)n * blocks * (size_t)hw * lanes, v);
    for (size_t i = 0; i < (size_t)n * blocks * (size_t)hw * lanes; i++) {
        size_t channel = i / (lanes * (size_t)hw) % blocks * lanes + i % lanes;
        v[i] = channel < (size_t)c ? v[i] - 0.5f : 0;
    }
}

static icd_status prepare(conv_job *j, icd_arena *a, int threads, icd_err *err)
{
    const fast_conv *c = &j->conv;
    size_t weights = (size_t)(c->co * c->ci * c->k * c->k);
    float *w = icd_arena_alloc(a, weights, sizeof *w);
    j->jobs = (j->batch + j->part - 1) / j->part;
    j->in = c->planar ? (size_t)(c->ci * c->hi * c->wi) : fast_blocked(c->ci, c->hi, c->wi);
    j->out = fast_blocked(c->co, c->ho, c->wo);
    j->x = icd_arena_alloc(a, (size_t)j->batch * j->in, sizeof(float));
    j->y = icd_arena_alloc(a, (size_t)j->batch * j->out, sizeof(float));
    j->bias = icd_arena_alloc(a, (size_t)c->co, sizeof(float));
    j->packed = icd_arena_alloc(a, j->b->conv_packed(c), sizeof(float));
    j->threads = bench_threads_make(a, threads, j->b->conv_scratch(j->part, c), weights);
    if (!w || !j->x || !j->y || !j->bias || !j->packed || !j->threads.ctx)
        return icd_fail(err, ICD_ENOMEM, "out of memory for a convolution of %d images", j->batch);
    fill(w, c->co, c->ci, c->k * c->k, 1);
    fill(j->x, j->batch, c->ci, c->hi * c->wi, c->planar);
    fill(j->y, j->batch, c->co, c->ho * c->wo, 0);
    j->b->conv_pack(&j->threads.ctx[0], c, w, j->packed);
    return ICD_OK;
}

static void head(const bench_output *o, const fast_conv *c, int batch)
{
    if (o->json)
        printf("{\"n\": %d, \"ci\": %d, \"co\": %d, \"h\": %d, \"w\": %d, \"k\": %d", batch, c->ci, c->co, c->hi, c->wi, c->k);
    else
        printf("%3d x %3d -> %3d at %2dx%-2d  ", batch, c->ci, c->co, c->hi, c->wi);
}

static void direction_row(const bench_output *o, const fast_conv *c, int d, double seconds, int batch, const bench_peaks *p)
{
    double g = 1e-9 * batch * operations(c) / seconds;
    const char *algorithm = algorithm_name(chosen(c, d));
    if (o->json)
        printf(", \"%s\": {\"ms\": %.4f, \"gflops\": %.1f, \"share\": %.3f, \"algorithm\": \"%s\"}", direction[d].name,
               1e3 * seconds, g, g / p->gflops, algorithm);
    else
        printf("  %8.1f %4.0f%% %-9s", g, 100 * g / p->gflops, algorithm);
}

static icd_status row(const bench_output *o, conv_job *j, int threads, const bench_peaks *p, icd_err *err)
{
    icd_arena a = { 0 };
    icd_status s = prepare(j, &a, threads, err);
    for (int d = 0; d < 3 && s == ICD_OK; d++)
        direction_row(o, &j->conv, d, bench_seconds(threads, j->jobs, direction[d].run, j).median, j->batch, p);
    icd_arena_release(&a);
    return s;
}

/* One shape: as chosen, or by every algorithm that it allows. */
static icd_status shape(const bench_output *o, conv_job *j, int threads, int all, const bench_peaks *p, icd_err *err)
{
    fast_conv c = j->conv;
    for (int a = all ? FAST_CONV_GEMM : FAST_CONV_AUTO; a <= (all ? FAST_CONV_WINOGRAD4 : FAST_CONV_AUTO); a++) {
        int winograd = a == FAST_CONV_WINOGRAD2 || a == FAST_CONV_WINOGRAD4;
        if (winograd && (c.planar || c.s != 1 || c.p != 1))
            continue;
        if (all)
            j->conv.fwd = j->conv.bwd_x = j->conv.bwd_w = (fast_conv_algorithm)a;
        if (o->json && all && a > FAST_CONV_GEMM)
            printf(", ");
        head(o, &c, j->batch);
        ICD_TRY(row(o, j, threads, p, err));
        printf(o->json ? "}" : "\n");
        fflush(stdout);
    }
    j->conv = c;
    return ICD_OK;
}

static int seen_before(const fast_plan *plan, int node)
{
    const fast_conv *c = &plan->node[node].conv;
    for (int i = 0; i < node; i++) {
        const fast_conv *b = &plan->node[i].conv;
        if (plan->node[i].kind == FAST_NODE_CONV && b->ci == c->ci && b->co == c->co && b->hi == c->hi && b->wi == c->wi
            && b->k == c->k)
            return 1;
    }
    return 0;
}

icd_status bench_convolutions(bench_output *o, const fast_backend *b, icd_engine *e, const icd_config *c, int winograd,
                              int all, const bench_peaks *p, icd_err *err)
{
    icd_arena a = { 0 };
    icd_work w = { .batch = c->batch };
    icd_memory m;
    fast_plan plan;
    icd_status s = e->memory(e, &w, &m, err);
    if (s == ICD_OK)
        s = fast_plan_make(&plan, &a, e->arch, b, m.part, winograd, err);
    if (o->json) {
        bench_member(o, all ? "algorithms" : "convolutions");
        printf("[");
    } else if (s == ICD_OK) {
        printf("\n3x3 convolutions in parts of %d images: GFLOP/s as direct, share of the peak, algorithm\n%27s", m.part, "");
        for (int d = 0; d < 3; d++)
            printf("  %-24s", direction[d].name);
        printf("\n");
    }
    for (int i = 0, n = 0; s == ICD_OK && i < plan.n_nodes; i++) {
        conv_job j = { .b = b, .conv = plan.node[i].conv, .batch = c->batch, .part = m.part };
        if (plan.node[i].kind != FAST_NODE_CONV || j.conv.k != 3 || seen_before(&plan, i))
            continue;
        if (o->json && n++)
            printf(", ");
        s = shape(o, &j, e->threads, all, p, err);
    }
    if (o->json)
        printf("]");
    icd_arena_release(&a);
    return s;
}
