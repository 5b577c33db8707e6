/* bench_slots.c: the slots that memory bounds, and attention and the nearest neighbour: within a core's cache and beyond it. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

enum { TENSORS = 10, NEIGHBOURS = 100, PIXELS = 784 };

typedef struct bench_slot bench_slot;

/* One thread's call: tensors t[0..] of n images each, written where the slot writes. */
typedef struct {
    const fast_backend *b;
    const bench_slot *slot;
    fast_ctx *ctx;
    int n;
    float *t[TENSORS];
    const float *gain, *bias, *neighbours;
    float *stats, *gradient;             /* stats: the rows of attention too */
    double *doubles;
    int32_t *ints;
    uint8_t *bytes;
} bench_call;

/* moves: how many tensors an image moves at least, each read or written once; pooled: as many of a pool's size. products:
 * multiply-adds for an image, where they and not the memory bound the slot. */
struct bench_slot {
    const char *name;
    int c, h, w, groups, tensors;
    double moves, pooled, products;
    void (*run)(const bench_call *k);
};

static size_t count(const bench_slot *s) { return fast_blocked(s->c, s->h, s->w); }
static fast_norm norm_of(const bench_call *k) { return (fast_norm){ k->slot->c, k->slot->h, k->slot->w, k->slot->groups, 0 }; }

static void norm_fwd(const bench_call *k)
{
    fast_norm s = norm_of(k);
    fast_norm_saved saved = { k->t[1], k->stats };
    k->b->norm_swish_fwd(k->ctx, k->n, &s, k->t[0], k->gain, k->bias, NULL, k->t[2], &saved);
}

static void norm_bwd(const bench_call *k)
{
    fast_norm s = norm_of(k);
    fast_norm_saved saved = { k->t[1], k->stats };
    k->b->norm_swish_bwd(k->ctx, k->n, &s, k->t[0], k->gain, k->bias, &saved, k->t[2], k->t[3], NULL, NULL, NULL);
}

static void norm_tan(const bench_call *k)
{
    fast_norm s = norm_of(k);
    fast_norm_saved saved = { k->t[1], k->stats };
    k->b->norm_swish_tan(k->ctx, k->n, &s, k->t[0], k->gain, k->bias, &saved, k->t[2], NULL, k->t[3]);
}

static void norm_bwd2(const bench_call *k)
{
    fast_norm s = norm_of(k);
    fast_norm_saved saved = { k->t[1], k->stats };
    k->b->norm_swish_bwd2(k->ctx, k->n, &s, k->t[0], k->gain, k->bias, &saved, k->t[2], k->t[3], k->t[4], k->t[5], k->gradient,
                          k->gradient + k->slot->c);
}

static size_t all(const bench_call *k) { return (size_t)k->n * count(k->slot); }
static int blocks(const bench_call *k) { return k->n * fast_blocks(k->slot->c); }

static void swish_fwd(const bench_call *k) { k->b->act_fwd(k->ctx, FAST_SWISH, 0, all(k), k->t[0], k->t[1]); }
static void swish_bwd(const bench_call *k) { k->b->act_bwd(k->ctx, FAST_SWISH, 0, all(k), k->t[0], k->t[1], k->t[2]); }
static void swish_bwd2(const bench_call *k)
{
    k->b->act_bwd2(k->ctx, FAST_SWISH, 0, all(k), k->t[0], k->t[1], k->t[2], k->t[3], k->t[4]);
}

static void avgpool_fwd(const bench_call *k)
{
    k->b->avgpool_fwd(k->ctx, blocks(k), k->slot->h, k->slot->w, FAST_LANES, k->t[0], k->t[1]);
}
static void avgpool_bwd(const bench_call *k)
{
    k->b->avgpool_bwd(k->ctx, blocks(k), k->slot->h, k->slot->w, FAST_LANES, k->t[1], k->t[0]);
}
static void maxpool_fwd(const bench_call *k)
{
    k->b->maxpool_fwd(k->ctx, blocks(k), k->slot->h, k->slot->w, FAST_LANES, k->t[0], k->t[1], k->bytes);
}
static void maxpool_bwd(const bench_call *k)
{
    k->b->maxpool_bwd(k->ctx, blocks(k), k->slot->h, k->slot->w, FAST_LANES, k->bytes, k->t[1], k->t[0]);
}
static void mean_fwd(const bench_call *k)
{
    k->b->mean_fwd(k->ctx, k->n, k->slot->c, k->slot->h * k->slot->w, k->t[0], k->t[1]);
}

static void residual(const bench_call *k) { k->b->scale_add(k->ctx, all(k), NULL, k->t[0], k->t[1], k->t[2]); }
static void bias_bwd(const bench_call *k)
{
    k->b->bias_bwd(k->ctx, k->n, k->slot->c, k->slot->h * k->slot->w, k->t[0], NULL, k->gradient);
}
static void pack(const bench_call *k) { k->b->pack(k->ctx, k->n, k->slot->c, k->slot->h * k->slot->w, k->t[0], k->t[1]); }

static void attention_fwd(const bench_call *k)
{
    fast_attn s = { k->slot->groups, k->slot->c, k->slot->w, k->slot->w };
    k->b->attn_fwd(k->ctx, k->n, &s, k->t[0], k->t[1], k->t[2], k->t[3], k->stats);
}
static void attention_bwd(const bench_call *k)
{
    fast_attn s = { k->slot->groups, k->slot->c, k->slot->w, k->slot->w };
    k->b->attn_bwd(k->ctx, k->n, &s, k->t[0], k->t[1], k->t[2], k->stats, k->t[3], k->t[4], k->t[5], k->t[6]);
}
static void attention_tan(const bench_call *k)
{
    fast_attn s = { k->slot->groups, k->slot->c, k->slot->w, k->slot->w };
    k->b->attn_tan(k->ctx, k->n, &s, k->t[0], k->t[1], k->t[2], k->stats, k->t[4], k->t[5], k->t[6], k->t[3]);
}
static void attention_bwd2(const bench_call *k)
{
    fast_attn s = { k->slot->groups, k->slot->c, k->slot->w, k->slot->w };
    k->b->attn_bwd2(k->ctx, k->n, &s, k->t[0], k->t[1], k->t[2], k->stats, k->t[0], k->t[1], k->t[2], k->t[3], k->t[4], k->t[7],
                    k->t[8], k->t[9]);
}

static void langevin(const bench_call *k)
{
    static const uint64_t iteration = 1;
    fast_langevin l = { .n = k->n, .d = (int)count(k->slot), .x = k->t[0], .g = k->t[1], .out = k->t[2], .step_size = 1,
                        .noise = 0.005f, .clamp = 1, .seed = 1, .iteration = &iteration, .purpose = ICD_DRAW_TEST,
                        .length = k->doubles, .finite = k->ints };
    k->b->langevin(k->ctx, &l);
}

static void nearest(const bench_call *k)
{
    fast_nearest e = { .n = k->n, .d = PIXELS, .m = NEIGHBOURS, .x = k->t[0], .X = k->neighbours, .g = k->t[1], .w_opt = 1,
                       .w_ent = 0.3f, .index = k->ints, .square = k->doubles, .v = k->t[2] };
    k->b->nearest(k->ctx, &e);
}

static void sum_squares(const bench_call *k) { k->b->sum_squares(k->ctx, all(k), k->t[0], k->t[1], k->doubles); }

static void adam(const bench_call *k)
{
    static const double square = 1;
    fast_adam a = { .count = all(k), .cd = k->t[0], .kl = k->t[1], .theta = k->t[2], .ema = k->t[3], .m = k->t[4], .v = k->t[5],
                    .square = &square, .grad_clip = 0.5, .lr = 1e-4, .beta2 = 0.9, .c1 = 1, .c2 = 0.1, .eps = 1e-8,
                    .decay = 0.99 };
    k->b->adam(k->ctx, &a);
}

/* Attention as in code-cifar10 with 64 filters: dk = 16 (groups), dv = 128 (c), sq = sk = 64 (w). A pass multiplies so many
 * matrices of queries by keys along dk and dv: logits, products with the values, their tangents and transposes. */
#define ATTENTION(along_dk, along_dv) (64.0 * 64.0 * (16.0 * (along_dk) + 128.0 * (along_dv)))

static const bench_slot slots[] = {
    { "norm_swish_fwd", 64, 28, 28, 64, 3, 3, 0, 0, norm_fwd },
    { "norm_swish_bwd", 64, 28, 28, 64, 4, 4, 0, 0, norm_bwd },
    { "norm_swish_tan", 64, 28, 28, 64, 4, 4, 0, 0, norm_tan },
    { "norm_swish_bwd2", 64, 28, 28, 64, 6, 6, 0, 0, norm_bwd2 },
    { "norm_swish_fwd", 256, 7, 7, 32, 3, 3, 0, 0, norm_fwd },
    { "norm_swish_bwd", 256, 7, 7, 32, 4, 4, 0, 0, norm_bwd },
    { "norm_swish_tan", 256, 7, 7, 32, 4, 4, 0, 0, norm_tan },
    { "norm_swish_bwd2", 256, 7, 7, 32, 6, 6, 0, 0, norm_bwd2 },
    { "act_fwd, swish", 64, 28, 28, 0, 2, 2, 0, 0, swish_fwd },
    { "act_bwd, swish", 64, 28, 28, 0, 3, 3, 0, 0, swish_bwd },
    { "act_bwd2, swish", 64, 28, 28, 0, 5, 5, 0, 0, swish_bwd2 },
    { "scale_add, residual", 64, 28, 28, 0, 3, 3, 0, 0, residual },
    { "avgpool_fwd", 128, 28, 28, 0, 2, 1, 1, 0, avgpool_fwd },
    { "avgpool_bwd", 128, 28, 28, 0, 2, 1, 1, 0, avgpool_bwd },
    { "maxpool_fwd", 64, 28, 28, 0, 2, 1, 1, 0, maxpool_fwd },
    { "maxpool_bwd", 64, 28, 28, 0, 2, 1, 1, 0, maxpool_bwd },
    { "mean_fwd", 512, 4, 4, 0, 2, 1, 0, 0, mean_fwd },
    { "bias_bwd", 64, 28, 28, 0, 1, 1, 0, 0, bias_bwd },
    { "pack", 64, 28, 28, 0, 2, 2, 0, 0, pack },
    { "langevin", 16, 28, 28, 0, 3, 3, 0, 0, langevin },
    { "sum_squares", 64, 28, 28, 0, 2, 2, 0, 0, sum_squares },
    { "adam", 64, 28, 28, 0, 6, 10, 0, 0, adam },
    { "attn_fwd", 128, 1, 64, 16, 4, 0, 0, ATTENTION(1, 1), attention_fwd },
    { "attn_bwd", 128, 1, 64, 16, 7, 0, 0, ATTENTION(3, 2), attention_bwd },
    { "attn_tan", 128, 1, 64, 16, 7, 0, 0, ATTENTION(3, 2), attention_tan },
    { "attn_bwd2", 128, 1, 64, 16, 10, 0, 0, ATTENTION(7, 5), attention_bwd2 },
    { "nearest", 1, 28, 28, 0, 3, 0, 0, (double)PIXELS * NEIGHBOURS, nearest },
};

/* ---- running them ---- */

enum { IMAGES = 64, PATTERN = 1 << 18 };

typedef struct {
    const fast_backend *b;
    int threads;
    icd_arena arena;
    float *pattern, *memory;             /* (PATTERN) numbers in [0,1); BENCH_STREAMED bytes */
    bench_call *call;                    /* (threads) */
    int regions, by_thread;              /* a region: a call's tensors. Each thread its own, or each call the next */
} slot_bench;

static size_t floats_of(const bench_call *k) { return (size_t)k->slot->tensors * all(k); }

static void run(void *context, int thread, int j)
{
    const slot_bench *s = context;
    bench_call k = s->call[thread];
    float *region = s->memory + (size_t)(s->by_thread ? thread : j % s->regions) * floats_of(&k);
    for (int i = 0; i < k.slot->tensors; i++)
        k.t[i] = region + (size_t)i * all(&k);
    k.slot->run(&k);
}

static size_t scratch_of(const fast_backend *b)
{
    size_t most = 0;
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        fast_norm n = { slots[i].c, slots[i].h, slots[i].w, slots[i].groups, 0 };
        fast_attn a = { slots[i].groups, slots[i].c, slots[i].w, slots[i].w };
        size_t wanted = slots[i].products > 0 ? slots[i].groups ? b->attn_scratch(IMAGES, &a) : 0 : b->norm_scratch(IMAGES, &n);
        most = wanted > most ? wanted : most;
    }
    return most;
}

static icd_status make(slot_bench *s, icd_err *err)
{
    enum { CHANNELS = 512, STATS = IMAGES * 128, WHICH = 1 << 18 };
    icd_arena *a = &s->arena;
    icd_stream u = { 1, 0, ICD_DRAW_TEST, 0 };
    bench_threads t = bench_threads_make(a, s->threads, scratch_of(s->b), 2 * CHANNELS);
    float *gain = icd_arena_alloc(a, CHANNELS, sizeof *gain), *bias = icd_arena_alloc(a, CHANNELS, sizeof *bias);
    float *neighbours = icd_arena_alloc(a, NEIGHBOURS * PIXELS, sizeof *neighbours);
    s->pattern = icd_arena_alloc(a, PATTERN, sizeof(float));
    s->memory = icd_arena_alloc(a, BENCH_STREAMED, 1);
    s->call = icd_arena_alloc(a, (size_t)s->threads, sizeof *s->call);
    int made = t.ctx && gain && bias && neighbours && s->pattern && s->memory && s->call;
    for (int i = 0; i < s->threads && made; i++) {
        bench_call *k = &s->call[i];
        *k = (bench_call){ .b = s->b, .ctx = &t.ctx[i], .gain = gain, .bias = bias, .neighbours = neighbours,
                           .gradient = t.gradient[i], .stats = icd_arena_alloc(a, STATS, sizeof(float)),
                           .doubles = icd_arena_alloc(a, IMAGES, sizeof(double)),
                           .ints = icd_arena_alloc(a, IMAGES, sizeof(int32_t)), .bytes = icd_arena_alloc(a, WHICH, 1) };
        made = k->stats && k->doubles && k->ints && k->bytes;
    }
    if (!made)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the slots");
    for (int i = 0; i < CHANNELS; i++)
        gain[i] = 1;
    icd_uniforms(&u, 0, PATTERN, s->pattern);
    icd_uniforms(&u, 0, NEIGHBOURS * PIXELS, neighbours);
    return ICD_OK;
}

/* Seconds of an image. */
static double measure(slot_bench *s, const bench_slot *slot, int cached)
{
    size_t image = (size_t)slot->tensors * count(slot) * sizeof(float), n = BENCH_CACHED / image;
    for (int i = 0; i < s->threads; i++) {
        s->call[i].slot = slot;
        s->call[i].n = n < 1 ? 1 : n > IMAGES ? IMAGES : (int)n;
    }
    for (size_t at = 0; at < BENCH_STREAMED / sizeof(float); at += PATTERN)
        memcpy(s->memory + at, s->pattern, PATTERN * sizeof(float));
    s->by_thread = cached;
    s->regions = cached ? s->threads : BENCH_STREAMED / (int)(floats_of(&s->call[0]) * sizeof(float));
    return bench_seconds(s->threads, s->regions, run, s).median / (s->regions * s->call[0].n);
}

static double bytes_of(const bench_slot *s)
{
    double pooled = (double)((s->h + 1) / 2 * ((s->w + 1) / 2)) / (s->h * s->w);
    return sizeof(float) * (double)count(s) * (s->moves + s->pooled * pooled);
}

/* GB/s and share of the triad's, twice; or GFLOP/s and share of the peak. */
static void slot_row(const bench_output *o, slot_bench *s, const bench_slot *slot, const bench_peaks *p)
{
    double cached = measure(s, slot, 1), streamed = slot->products > 0 ? 0 : measure(s, slot, 0);
    if (o->json)
        printf("{\"slot\": \"%s\", \"c\": %d, \"h\": %d, \"w\": %d, ", slot->name, slot->c, slot->h, slot->w);
    else
        printf("%-20s %3d at %2dx%-2d ", slot->name, slot->c, slot->h, slot->w);
    if (slot->products > 0) {
        double g = 2e-9 * slot->products / cached;
        printf(o->json ? "\"gflops\": %.1f, \"share\": %.3f}" : " %8.1f GFLOP/s, %.2f of the peak\n", g, g / p->gflops);
        return;
    }
    double a = 1e-9 * bytes_of(slot) / cached, b = 1e-9 * bytes_of(slot) / streamed;
    printf(o->json ? "\"cached_gbs\": %.1f, \"cached_share\": %.3f, \"streamed_gbs\": %.1f, \"streamed_share\": %.3f}"
                   : " %8.1f %7.2f %9.1f %7.2f\n", a, a / p->cached, b, b / p->streamed);
}

icd_status bench_slots(bench_output *o, const fast_backend *b, int threads, const bench_peaks *p, icd_err *err)
{
    slot_bench s = { .b = b, .threads = threads };
    icd_status status = make(&s, err);
    if (status == ICD_OK && o->json)
        bench_member(o, "slots");
    else if (status == ICD_OK)
        printf("\nslots: GB/s, each tensor moved once, and share of the triad's\n%35s %8s %7s %9s %7s\n", "", "cached", "share",
               "streamed", "share");
    for (size_t i = 0; status == ICD_OK && i < sizeof slots / sizeof *slots; i++) {
        if (o->json)
            printf(i ? ", " : "[");
        slot_row(o, &s, &slots[i], p);
        fflush(stdout);
    }
    if (status == ICD_OK && o->json)
        printf("]");
    icd_arena_release(&s.arena);
    return status;
}
