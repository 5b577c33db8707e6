/* norm_span.h: walks an image by spans: the fewest blocks of 16 channels whose groups do not straddle their ends.
 *
 * Lanes' sums (lanes.h) are combined per group in the order of the channels. What the passes need per lane is kept in
 * arrays of 16 a block, in scratch; lanes beyond c hold 0 there, so that nothing of a NaN in the statistics reaches them. */
#ifndef FAST_CPU_NORM_SPAN_H
#define FAST_CPU_NORM_SPAN_H

#include "fast/backend.h"
#include "fast/cpu/lanes.h"

enum { NORM_MEAN, NORM_SLOPE, NORM_BIAS, NORM_A, NORM_B, NORM_C0, NORM_C1, NORM_C2, NORM_COEFS };
enum { NORM_SUMS = 5 };

typedef struct {
    int wide;                       /* channels of a group; without groups 16 */
    int whole;                      /* blocks of a whole span */
    int channel, channels, blocks;  /* of this span: its first channel, how many, their blocks */
    float *coef[NORM_COEFS];        /* (16*whole) each */
    double *sum[NORM_SUMS];         /* (16*whole) each */
} norm_span;

static inline size_t norm_bytes(const fast_norm *s)
{
    return (size_t)fast_blocks(s->c) * 16 * (NORM_COEFS * sizeof(float) + NORM_SUMS * sizeof(double));
}

static inline norm_span norm_spans(const fast_ctx *ctx, const fast_norm *s)
{
    norm_span p = { .wide = s->groups ? s->c / s->groups : 16, .channel = 0 };
    int a = p.wide, b = 16;         /* gcd(wide, 16) */
    while (b) {
        int t = a % b;
        a = b;
        b = t;
    }
    p.whole = p.wide / a < fast_blocks(s->c) ? p.wide / a : fast_blocks(s->c);
    double *sums = ctx->scratch;
    for (int i = 0; i < NORM_SUMS; i++)
        p.sum[i] = sums + (size_t)i * 16 * (size_t)p.whole;
    float *coefs = (float *)(sums + (size_t)NORM_SUMS * 16 * (size_t)p.whole);
    for (int i = 0; i < NORM_COEFS; i++)
        p.coef[i] = coefs + (size_t)i * 16 * (size_t)p.whole;
    return p;
}

static inline void norm_clear_sums(const norm_span *p)
{
    memset(p->sum[0], 0, NORM_SUMS * 16 * (size_t)p->whole * sizeof(double));
}

/* Begin the span that starts at `channel`: 0 where there is none. Its sums and coefficients are 0. */
static inline int norm_begin(norm_span *p, const fast_norm *s, int channel)
{
    if (channel >= s->c)
        return 0;
    p->channel = channel;
    p->channels = s->c - channel < 16 * p->whole ? s->c - channel : 16 * p->whole;
    p->blocks = fast_blocks(p->channels);
    norm_clear_sums(p);
    memset(p->coef[0], 0, NORM_COEFS * 16 * (size_t)p->whole * sizeof(float));
    return 1;
}
static inline int norm_next(norm_span *p, const fast_norm *s) { return norm_begin(p, s, p->channel + 16 * p->whole); }

/* Where the span is in a tensor, its statistics in saved->stats, and its parameters in gain, bias and their gradients. */
static inline size_t norm_offset(const norm_span *p, const fast_norm *s, int image)
{
    size_t blocks = (size_t)image * (size_t)fast_blocks(s->c) + (size_t)(p->channel / 16);
    return blocks * (size_t)s->h * (size_t)s->w * 16;
}
static inline float *norm_stats(const norm_span *p, const fast_norm *s, const fast_norm_saved *saved, int image)
{
    return saved->stats + 2 * (s->groups ? (size_t)image * (size_t)s->groups + (size_t)(p->channel / p->wide) : (size_t)image);
}
static inline size_t norm_parameters(const norm_span *p, const fast_norm *s, int image)
{
    return (size_t)p->channel + (s->per_image ? (size_t)image * (size_t)s->c : 0);
}

/* How many floats on the next span begins, for the last pass over a span to fetch, where tensors of n images are too large to
 * be in a cache already; otherwise, and after the last span, 0. */
static inline size_t norm_ahead(const norm_span *p, const fast_norm *s, int n, int image)
{
    const size_t cached = (size_t)4 << 20;
    int last = image + 1 == n && p->channel + p->channels == s->c;
    int fetch = !last && (size_t)n * fast_blocked(s->c, s->h, s->w) > cached;
    return fetch ? 16 * (size_t)p->blocks * (size_t)s->h * (size_t)s->w : 0;
}
V_INLINE void norm_fetch(const float *x, size_t ahead) { __builtin_prefetch(x + ahead, 0, 2); }

/* 1/sd of channel c of the span, whose statistics are `stats`. */
static inline float norm_rstd(const norm_span *p, const fast_norm *s, const float *stats, int c)
{
    return stats[s->groups ? 2 * (c / p->wide) + 1 : 1];
}

/* Fill the coefficients MEAN, SLOPE = gain/sd and, where there is a bias, BIAS. gain, bias: the span's. */
static inline void norm_fill_lanes(const norm_span *p, const fast_norm *s, const float *stats, const float *gain,
                                   const float *bias)
{
    for (int c = 0; c < p->channels; c += p->wide, stats += s->groups ? 2 : 0)
        for (int l = c; l < c + p->wide && l < p->channels; l++) {
            p->coef[NORM_MEAN][l] = stats[0];
            p->coef[NORM_SLOPE][l] = gain[l] * stats[1];
            p->coef[NORM_BIAS][l] = bias ? bias[l] : 0;
        }
}

/* One vector's lanes of up to LANES_CHUNK pixels of a span: `count` vectors, 16 floats apart, from `at` on in the span's
 * tensor; their coefficients and sums begin at `lane`. A walk goes over lanes, then pixels, then blocks. */
typedef struct { int count, lane, pixel; size_t at; } norm_chunk;

static inline norm_chunk norm_chunk_of(const norm_span *p, int hw, int lane, int pixel)
{
    int left = lane < 16 * p->blocks ? hw - pixel : 0;
    return (norm_chunk){ left < LANES_CHUNK ? left : LANES_CHUNK, lane, pixel,
                         16 * ((size_t)(lane / 16) * (size_t)hw + (size_t)pixel) + (size_t)(lane % 16) };
}
static inline norm_chunk norm_first_chunk(const norm_span *p, int hw) { return norm_chunk_of(p, hw, 0, 0); }
static inline norm_chunk norm_next_chunk(const norm_span *p, int hw, norm_chunk k)
{
    int lane = k.lane + V_LANES, pixel = k.pixel;
    if (lane % 16 == 0) {
        pixel += LANES_CHUNK;
        if (pixel < hw)
            lane -= 16;
        else
            pixel = 0;
    }
    return norm_chunk_of(p, hw, lane, pixel);
}
#define NORM_EACH_CHUNK(k, p, hw) for (norm_chunk k = norm_first_chunk(p, hw); k.count; k = norm_next_chunk(p, hw, k))

/* The sum of a group's lanes, channels c .. c + wide - 1 of the span. */
static inline double norm_group(const norm_span *p, int sum, int c)
{
    double s = 0;
    for (int l = c; l < c + p->wide; l++)
        s += p->sum[sum][l];
    return s;
}
/* The same with each lane's sum times its coefficient `weight`. */
static inline double norm_group_weighted(const norm_span *p, int sum, int weight, int c)
{
    double s = 0;
    for (int l = c; l < c + p->wide; l++)
        s += (double)p->coef[weight][l] * p->sum[sum][l];
    return s;
}
static inline void norm_fill(const norm_span *p, int coef, int c, double value)
{
    for (int l = c; l < c + p->wide; l++)
        p->coef[coef][l] = (float)value;
}

/* plain += sums of t, cross += sums of t e, with e = x - mean, t = f g (f NULL: g). Per lane of a chunk. */
V_INLINE void norm_cross_sums(int count, const float *x, const float *f, const float *g, vec mean, double *plain, double *cross)
{
    vec a[2] = { v_zero(), v_zero() }, b[2] = { v_zero(), v_zero() };
    for (int i = 0; i < count; i += 2)
        for (int u = 0; u < 2 && i + u < count; u++) {
            int at = 16 * (i + u);
            vec t = f ? v_mul(v_load(f + at), v_load(g + at)) : v_load(g + at);
            a[u] = v_add(a[u], t);
            b[u] = v_fma(t, v_sub(v_load(x + at), mean), b[u]);
        }
    lanes_add(plain, v_add(a[0], a[1]));
    lanes_add(cross, v_add(b[0], b[1]));
}

/* Coefficients A and B such that P x_t = (x_t - A + B e)/sd: mean(x_t) and -mean(x_t e)/sd^2. Uses sums 0 and 1. */
static inline void norm_tangent_sums(const norm_span *p, int hw, const float *stats, const float *x, const float *x_t)
{
    double m = (double)p->wide * hw;
    NORM_EACH_CHUNK(k, p, hw)
        norm_cross_sums(k.count, x + k.at, NULL, x_t + k.at, v_load(p->coef[NORM_MEAN] + k.lane), p->sum[0] + k.lane,
                        p->sum[1] + k.lane);
    for (int c = 0; c < p->channels; c += p->wide, stats += 2) {
        norm_fill(p, NORM_A, c, norm_group(p, 0, c) / m);
        norm_fill(p, NORM_B, c, -norm_group(p, 1, c) / m * stats[1] * stats[1]);
    }
}

#endif
