/* slots_conv.c: the convolutions: every window of the built-in nets, every algorithm a table may be asked for, in three
 * directions, at sizes around the tiles.                                                              [ICD:table5] */
#include "slots.h"

#include <math.h>
#include <string.h>

typedef struct { const char *name; int k, s, p, planar, dense; } window;
static const window windows[] = {
    { "3x3",               3, 1, 1, 0, 0 },
    { "3x3, planar image", 3, 1, 1, 1, 0 },
    { "1x1",               1, 1, 0, 0, 0 },
    { "1x1, planar image", 1, 1, 0, 1, 0 },      /* points of the plane */
    { "3x3 s2",            3, 2, 1, 0, 0 },
    { "3x3 s2, planar",    3, 2, 1, 1, 0 },
    { "5x5 p0, planar",    5, 1, 0, 1, 0 },
    { "4x4 s2 p1",         4, 2, 1, 0, 0 },
    { "4x4 p0",            4, 1, 0, 0, 0 },
    { "dense",             1, 1, 0, 0, 1 },
};
enum { WINDOWS = sizeof windows / sizeof windows[0] };

static const struct { const char *name; fast_conv_algorithm a; int tile; icd_case bound; } algorithms[] = {
    { "chosen",    FAST_CONV_AUTO,      4, CONV_CASE },
    { "GEMM",      FAST_CONV_GEMM,      0, CONV_CASE },
    { "direct",    FAST_CONV_DIRECT,    0, CONV_CASE },
    { "Winograd2", FAST_CONV_WINOGRAD2, 2, WINOGRAD2_CASE },
    { "Winograd4", FAST_CONV_WINOGRAD4, 4, WINOGRAD4_CASE },
    { "TF32",      FAST_CONV_TF32,      0, TF32_CASE },
    { "BF16",      FAST_CONV_BF16,      0, BF16_CASE },
};
enum { WINOGRAD4 = 4, ALGORITHMS = sizeof algorithms / sizeof algorithms[0], FWD = 0, BWD_X, BWD_W, PASSES };

enum { X, WEIGHT, BIAS, ADD, GY, ADD_X, SCALE, GW, INPUTS };

/* in[]: random inputs; absolute[]: their absolute values. want[]: what must come out; size[]: the same of absolute values. */
typedef struct {
    fast_conv c;
    int n, with_bias, with_add, in_place;
    size_t count[INPUTS], out[PASSES];
    double *in[INPUTS], *absolute[INPUTS], *want[PASSES], *size[PASSES];
} conv_case;

/* ---- what the tape says ---- */

static int rounds(fast_conv_algorithm a) { return a == FAST_CONV_TF32 || a == FAST_CONV_BF16; }

/* A factor as tensor cores take it: of a float's 24 bits 11 are kept (TF32, ties away from 0) or 8 (BF16, ties to even). */
static double kept(fast_conv_algorithm a, double x)
{
    float f = (float)x;
    uint32_t bits;
    if (!rounds(a))
        return x;
    memcpy(&bits, &f, sizeof bits);
    bits = a == FAST_CONV_TF32 ? (bits + 0x1000) & 0xffffe000 : (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static double *all_kept(slots *v, fast_conv_algorithm a, size_t count, const double *x)
{
    double *out = slots_zeros(v, count);
    for (size_t i = 0; i < count; i++)
        out[i] = kept(a, x[i]);
    return out;
}

/* y = w*x + bias + add, gx = wT gy + add_x, gw = GW + sum scale gy x of the inputs given, factors as algorithm a takes them. */
static void reference(slots *v, const conv_case *q, fast_conv_algorithm a, double *const in[INPUTS], double *const out[PASSES])
{
    const fast_conv *c = &q->c;
    slot_shape y = { q->n, c->co, c->ho, c->wo };
    double *x = all_kept(v, a, q->count[X], in[X]), *w = all_kept(v, a, q->count[WEIGHT], in[WEIGHT]);
    slot_route r = { .function = SLOT_CONV, .stride = c->s, .pad = c->p, .inputs = 2 + q->with_bias,
                     .gy = all_kept(v, a, q->count[GY], in[GY]),
                     .y = out[FWD], .in = { { .s = { q->n, c->ci, c->hi, c->wi }, .x = x, .gx = out[BWD_X] },
                                            { .s = { c->co, c->ci, c->k, c->k }, .x = w },
                                            { .s = { 1, c->co, 1, 1 }, .x = in[BIAS] } } };
    slots_route(v, &r);
    double *scaled = slots_zeros(v, slot_count(y));
    for (size_t i = 0, plane = slot_count(y) / (size_t)q->n; i < slot_count(y); i++)
        scaled[i] = kept(a, in[GY][i] * (in[SCALE] ? in[SCALE][i / plane] : 1.0));
    r.gy = scaled;
    r.y = NULL;
    r.in[X].gx = NULL;
    r.in[WEIGHT].gx = out[BWD_W];
    slots_route(v, &r);
    static const int more[PASSES] = { ADD, ADD_X, GW };
    for (int p = 0; p < PASSES; p++)
        for (size_t i = 0; i < q->out[p] && in[more[p]] && (p == BWD_W || q->with_add); i++)
            out[p][i] += in[more[p]][i];
}

/* The largest of each plane in all of it: a Winograd tile mixes the values around it. */
static void spread(double *x, size_t count, size_t plane)
{
    for (size_t i = 0; i < count; i += plane) {
        double most = 0;
        for (size_t j = i; j < i + plane; j++)
            most = x[j] > most ? x[j] : most;
        for (size_t j = i; j < i + plane; j++)
            x[j] = most;
    }
}

static void make_case(slots *v, conv_case *q, const window *w, int n, int ci, int co, int h, int wide)
{
    fast_conv c = { .ci = ci, .hi = h, .wi = wide, .co = co, .k = w->k, .s = w->s, .p = w->p, .planar = w->planar };
    c.ho = (h + 2 * w->p - w->k) / w->s + 1;
    c.wo = (wide + 2 * w->p - w->k) / w->s + 1;
    slots_case(v, "%d images, %d to %d channels, %dx%d", n, ci, co, h, wide);
    *q = (conv_case){ .c = c, .n = n, .with_bias = slots_below(v, 3) > 0, .with_add = slots_below(v, 2),
                      .in_place = slots_below(v, 2) };
    size_t x = (size_t)n * (size_t)ci * (size_t)(h * wide), y = (size_t)n * (size_t)co * (size_t)(c.ho * c.wo),
           weight = (size_t)co * (size_t)ci * (size_t)(w->k * w->k);
    size_t count[INPUTS] = { x, weight, (size_t)co, y, y, x, (size_t)n, weight }, out[PASSES] = { y, x, weight };
    memcpy(q->count, count, sizeof count);
    memcpy(q->out, out, sizeof out);
    for (int i = 0; i < INPUTS; i++) {
        q->in[i] = i == SCALE && slots_below(v, 2) ? NULL : slots_normals(v, count[i], 1.0);
        q->absolute[i] = q->in[i] ? slots_absolute(v, count[i], q->in[i]) : NULL;
    }
    for (int p = 0; p < PASSES; p++) {
        q->want[p] = slots_zeros(v, out[p]);
        q->size[p] = slots_zeros(v, out[p]);
    }
    reference(v, q, FAST_CONV_AUTO, q->in, q->want);
    reference(v, q, FAST_CONV_AUTO, q->absolute, q->size);
    spread(q->size[FWD], y, (size_t)(c.ho * c.wo));
    spread(q->size[BWD_X], x, (size_t)(h * wide));
    spread(q->size[BWD_W], weight, (size_t)(w->k * w->k));
}

/* ---- what the slot says ---- */

static float *image_in(slots *v, const conv_case *q, const double *x)
{
    int hw = q->c.hi * q->c.wi;
    return q->c.planar ? slots_in(v, q->count[X], sizeof(float), x) : slots_blocked_in(v, q->n, q->c.ci, hw, x);
}

static float *packed(slots *v, const conv_case *q, double *const in[INPUTS])
{
    float *w = slots_in(v, q->count[WEIGHT], sizeof(float), in[WEIGHT]);
    float *to = slots_room(v, v->table->conv_packed(&q->c), 64);
    GUARDED(&v->guard, v->table->conv_pack(&v->ctx, &q->c, w, to));
    if (!v->guard.fault)
        guard_freeze(&v->guard, to);
    return to;
}

static double *forward(slots *v, const conv_case *q, double *const in[INPUTS])
{
    int hw = q->c.ho * q->c.wo;
    float *x = image_in(v, q, in[X]), *w = packed(v, q, in), *y;
    float *bias = q->with_bias ? slots_in(v, q->count[BIAS], sizeof(float), in[BIAS]) : NULL, *add = NULL;
    if (q->with_add && q->in_place)
        add = y = slots_blocked_inout(v, q->n, q->c.co, hw, in[ADD]);
    else {
        add = q->with_add ? slots_blocked_in(v, q->n, q->c.co, hw, in[ADD]) : NULL;
        y = slots_blocked_room(v, q->n, q->c.co, hw);
    }
    if (!v->guard.fault)
        GUARDED(&v->guard, v->table->conv_fwd(&v->ctx, q->n, &q->c, x, w, bias, add, y));
    return slots_blocked_out(v, q->n, q->c.co, hw, y);
}

static double *backward_x(slots *v, const conv_case *q, double *const in[INPUTS])
{
    int hw = q->c.hi * q->c.wi, place = q->with_add && q->in_place;
    float *gy = slots_blocked_in(v, q->n, q->c.co, q->c.ho * q->c.wo, in[GY]), *w = packed(v, q, in), *add = NULL, *gx;
    if (q->c.planar)
        gx = place ? slots_inout(v, q->count[X], sizeof(float), in[ADD_X]) : slots_room(v, q->count[X], sizeof(float));
    else
        gx = place ? slots_blocked_inout(v, q->n, q->c.ci, hw, in[ADD_X]) : slots_blocked_room(v, q->n, q->c.ci, hw);
    if (q->with_add)
        add = place ? gx : image_in(v, q, in[ADD_X]);
    if (!v->guard.fault)
        GUARDED(&v->guard, v->table->conv_bwd_x(&v->ctx, q->n, &q->c, gy, w, add, gx));
    return q->c.planar ? slots_out(v, q->count[X], gx) : slots_blocked_out(v, q->n, q->c.ci, hw, gx);
}

static double *backward_w(slots *v, const conv_case *q, double *const in[INPUTS])
{
    float *x = image_in(v, q, in[X]), *gy = slots_blocked_in(v, q->n, q->c.co, q->c.ho * q->c.wo, in[GY]);
    float *scale = slots_in(v, q->count[SCALE], sizeof(float), in[SCALE]);
    float *gw = slots_inout(v, q->count[GW], sizeof(float), in[GW]);
    GUARDED(&v->guard, v->table->conv_bwd_w(&v->ctx, q->n, &q->c, x, gy, scale, gw));
    return slots_out(v, q->count[GW], gw);
}

typedef double *(*pass)(slots *, const conv_case *, double *const in[INPUTS]);
static const pass passes[PASSES] = { forward, backward_x, backward_w };
static const char *const slot_names[PASSES] = { "conv_fwd", "conv_bwd_x", "conv_bwd_w" };

/* ---- one case by one algorithm ---- */

/* Roundings on the way of one value, at most: the terms of the longest sum, or those of Winograd's and its transforms. */
static double terms(const conv_case *q, int p, fast_conv_algorithm a)
{
    const fast_conv *c = &q->c;
    int tile = a == FAST_CONV_WINOGRAD2 ? 2 : 4, channels = p == FWD ? c->ci : c->co;
    if (a == FAST_CONV_WINOGRAD2 || a == FAST_CONV_WINOGRAD4)
        return 24 + (p == BWD_W ? q->n * ((c->ho + tile - 1) / tile) * ((c->wo + tile - 1) / tile) : channels);
    int rounded = a == FAST_CONV_TF32 ? 1 << 14 : a == FAST_CONV_BF16 ? 1 << 17 : 0;
    return rounded + 3 + (p == BWD_W ? q->n * c->ho * c->wo : channels * c->k * c->k);
}

static void choose(slots *v, conv_case *q, int which)
{
    v->table->conv_choose(q->n, algorithms[which].tile, &q->c);
    if (algorithms[which].a != FAST_CONV_AUTO)
        q->c.fwd = q->c.bwd_x = q->c.bwd_w = algorithms[which].a;
}

/* The bound of what was chosen. */
static icd_case bound_of(fast_conv_algorithm a)
{
    for (int i = 1; i < ALGORITHMS; i++)
        if (algorithms[i].a == a)
            return algorithms[i].bound;
    return CONV_CASE;
}

/* What must come out, and its size, where the tape's factors are rounded as algorithm `a` takes them. */
static void round_first(slots *v, const conv_case *q, fast_conv_algorithm a, double *want[PASSES], double *size[PASSES])
{
    for (int p = 0; p < PASSES; p++) {
        want[p] = slots_zeros(v, q->out[p]);
        size[p] = slots_zeros(v, q->out[p]);
    }
    reference(v, q, a, q->in, want);
    reference(v, q, a, q->absolute, size);
}

/* tensor: rows of passes that round their factors, against the tape with the same factors. */
static void compare(slots *v, conv_case *q, int which, int places, verify_row row[PASSES], verify_row tensor[PASSES],
                    verify_row *same)
{
    choose(v, q, which);
    fast_conv_algorithm used[PASSES] = { q->c.fwd, q->c.bwd_x, q->c.bwd_w }, rounded = FAST_CONV_AUTO;
    double *want[PASSES], *size[PASSES];
    for (int p = 0; p < PASSES; p++) {
        if (rounds(used[p]) && used[p] != rounded)
            round_first(v, q, rounded = used[p], want, size);
        double *first = NULL;
        int differ = 0;
        for (int place = GUARD_END; place < places; place++) {
            slots_place(v, (guard_place)place, v->table->conv_scratch(q->n, &q->c));
            double *got = passes[p](v, q, q->in);
            slots_check(v, &row[p], bound_of(used[p]), terms(q, p, used[p]), q->out[p], got, q->want[p], q->size[p]);
            if (rounds(used[p]))
                slots_check(v, &tensor[p], TENSOR_CASE, terms(q, p, FAST_CONV_AUTO), q->out[p], got, want[p], size[p]);
            differ += first && memcmp(first, got, q->out[p] * sizeof *got) != 0;
            first = got;
        }
        slots_check_count(v, same, differ);
    }
}

/* Which outputs depend on value `at` of input k: with ones everywhere and 1e30 there, those that come out huge, as NaN. (Not
 * NaN itself: the tape multiplies the padding's zeros, which a slot may leave out.) */
static void depends(slots *v, const conv_case *q, int k, int at, double *want[PASSES])
{
    double *ones[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        ones[i] = q->in[i] ? slots_zeros(v, q->count[i]) : NULL;
        for (size_t j = 0; j < q->count[i] && ones[i]; j++)
            ones[i][j] = i == k && (int)j == at ? 1e30 : 1;
    }
    for (int p = 0; p < PASSES; p++)
        want[p] = slots_zeros(v, q->out[p]);
    reference(v, q, FAST_CONV_AUTO, ones, want);
    for (int p = 0; p < PASSES; p++)
        for (size_t i = 0; i < q->out[p]; i++)
            want[p][i] = want[p][i] > 1e20 ? NAN : 0;
}

/* A NaN in each input reaches what depends on it. */
static void nan_case(slots *v, conv_case *q, int which, verify_row row[PASSES])
{
    static const int reads[PASSES][5] = { { X, WEIGHT, BIAS, ADD, -1 }, { GY, WEIGHT, ADD_X, -1, -1 },
                                          { X, GY, SCALE, GW, -1 } };
    choose(v, q, which);
    for (int p = 0; p < PASSES; p++)
        for (int i = 0; i < 5 && reads[p][i] >= 0; i++) {
            int k = reads[p][i], at = slots_below(v, (int)q->count[k]), taps = q->c.k * q->c.k;
            if (k == WEIGHT)      /* the tap that never lies on the padding */
                at = at / taps * taps + q->c.p * q->c.k + q->c.p;
            if (!q->in[k] || (k == BIAS && !q->with_bias) || ((k == ADD || k == ADD_X) && !q->with_add))
                continue;
            double *want[PASSES], number = q->in[k][at];
            depends(v, q, k, at, want);
            q->in[k][at] = NAN;
            slots_place(v, GUARD_END, v->table->conv_scratch(q->n, &q->c));
            slots_check_nan(v, &row[p], q->out[p], passes[p](v, q, q->in), want[p]);
            q->in[k][at] = number;
        }
}

/* ---- all of them ---- */

/* Shape number i of a window: channels 1..40, rows and columns 1..17, in an order that brings every pair of tails together. */
enum { SMALL = 24, LARGE = 5 };
static void shape(const window *w, int i, int out[5])
{
    static const int large[LARGE][5] = { { 1, 16, 32, 28, 28 }, { 1, 64, 48, 10, 10 }, { 1, 70, 130, 7, 7 },
                                         { 3, 40, 13, 4, 4 },
                                         { 1, 33, 36, 41, 57 } };      /* the last: more tiles than a cache holds at once */
    static const int dense[LARGE][5] = { { 5, 512, 1, 1, 1 }, { 64, 130, 70, 1, 1 }, { 17, 16, 16, 1, 1 },
                                         { 9, 300, 15, 1, 1 }, { 1, 300, 33, 1, 1 } };
    if (i < SMALL) {
        int five[5] = { 1 + i % 3, 1 + 7 * i % 40, 1 + (11 * i + 2) % 40, 1 + 5 * i % 17, 1 + (7 * i + 3) % 17 };
        memcpy(out, five, sizeof five);
    } else {
        memcpy(out, w->dense ? dense[i - SMALL] : large[i - SMALL], 5 * sizeof *out);
    }
    if (w->planar)
        out[1] = 1 + i % 3;
    for (int j = 3; j < 5; j++)
        out[j] = w->dense ? 1 : out[j] + 2 * w->p < w->k ? w->k : out[j];
}

static int fits(const slots *v, const window *w, int which)
{
    fast_conv_algorithm a = algorithms[which].a;
    int winograd = a == FAST_CONV_WINOGRAD2 || a == FAST_CONV_WINOGRAD4;
    if (rounds(a) || (v->table->device && a > FAST_CONV_GEMM))
        return 0;                        /* what some tables choose: nobody forces it on others; a device's know one in float */
    return (a != FAST_CONV_DIRECT || w->s == 1) && (!winograd || (w->k == 3 && w->s == 1));
}

static void one_window(slots *v, const window *w)
{
    verify_row row[ALGORITHMS][PASSES], tensor[PASSES], nans[PASSES];
    verify_row same = row_begin("conv_*", "%s, same bits wherever buffers lie", w->name);
    for (int p = 0; p < PASSES; p++) {
        tensor[p] = row_begin(slot_names[p], "%s, factors rounded first", w->name);
        nans[p] = row_begin(slot_names[p], "%s, NaN goes through", w->name);
        for (int a = 0; a < ALGORITHMS; a++)
            row[a][p] = row_begin(slot_names[p], "%s, %s", w->name, algorithms[a].name);
    }
    for (int i = 0; i < SMALL + LARGE; i++) {
        int s[5];
        conv_case q;
        shape(w, i, s);
        make_case(v, &q, w, s[0], s[1], s[2], s[3], s[4]);
        for (int a = 0; a < ALGORITHMS; a++)
            if (fits(v, w, a))
                compare(v, &q, a, i < SMALL ? GUARD_PLACES : GUARD_END + 1, row[a], tensor, &same);
        if (i < SMALL && i % 4 == 1)
            nan_case(v, &q, i / 4 % 2 && fits(v, w, WINOGRAD4) ? WINOGRAD4 : 0, nans);
    }
    for (int p = 0; p < PASSES; p++) {
        for (int a = 0; a < ALGORITHMS; a++)
            if (fits(v, w, a))
                slots_end(v, &row[a][p]);
        if (tensor[p].cases)             /* only where what was chosen rounds */
            slots_end(v, &tensor[p]);
        slots_end(v, &nans[p]);
    }
    slots_end(v, &same);
}

/* winograd is the largest tile that conv_choose may take, and what it takes must fit the window. */
static void choices(slots *v)
{
    verify_row r = row_begin("conv_choose", "what is chosen is allowed");
    for (int w = 0; w < WINDOWS; w++)
        for (int i = 0; i < SMALL + LARGE; i++)
            for (int tile = 0; tile <= 4; tile += 2) {
                int s[5];
                shape(&windows[w], i, s);
                fast_conv c = { .ci = s[1], .hi = s[3], .wi = s[4], .co = s[2], .k = windows[w].k, .s = windows[w].s,
                                .p = windows[w].p, .planar = windows[w].planar };
                c.ho = (c.hi + 2 * c.p - c.k) / c.s + 1;
                c.wo = (c.wi + 2 * c.p - c.k) / c.s + 1;
                slots_case(v, "%s, Winograd up to %d", windows[w].name, tile);
                v->table->conv_choose(s[0], tile, &c);
                fast_conv_algorithm a[PASSES] = { c.fwd, c.bwd_x, c.bwd_w };
                int wrong = 0;
                for (int p = 0; p < PASSES; p++) {
                    int taken = a[p] == FAST_CONV_WINOGRAD2 ? 2 : a[p] == FAST_CONV_WINOGRAD4 ? 4 : 0;
                    wrong += taken > tile || (taken && (c.k != 3 || c.s != 1 || c.p != 1))
                          || (a[p] == FAST_CONV_DIRECT && c.s != 1 && !c.planar);
                }
                slots_check_count(v, &r, wrong);
            }
    slots_end(v, &r);
}

void slots_convolutions(slots *v)
{
    choices(v);
    for (int w = 0; w < WINDOWS; w++)
        one_window(v, &windows[w]);
}
