/* slots_pairs.c: two calls in one: swish after a convolution of planar images, and after an average. Against the tape of one
 * after the other; a table that lacks these slots has no rows.                                     [ICD:B.1] [ICD:2.4] */
#include "slots.h"

#include <math.h>

enum { CONV, POOL, KINDS };
enum { FWD, SWISHED, BWD, OUTPUTS };
enum { X, WEIGHT, BIAS, Y, GS, ADD, INPUTS };
static const struct { int k, s, p; } windows[] = { { 3, 1, 1 }, { 1, 1, 0 }, { 3, 2, 1 }, { 5, 1, 0 } };
static const char *const slot_names[KINDS][OUTPUTS] = {
    { "conv_swish_fwd", "conv_swish_fwd", "conv_swish_bwd_x" },
    { "avgpool_swish_fwd", "avgpool_swish_fwd", "avgpool_swish_bwd" }
};

/* A pool has the sizes of a convolution: n images of its lanes, window 3x3. Tensors as the tape wants them. */
typedef struct {
    int kind, n, lanes, in_place;
    fast_conv c;
    size_t x, y, weight;
    double *in[INPUTS], *want[OUTPUTS], *size[OUTPUTS];
} pair_case;

static int planar(const pair_case *q, int y) { return q->kind == CONV ? !y : q->lanes == 1; }

/* ---- what the tape says ---- */

/* y of x, gx of gy. */
static void linear(slots *v, const pair_case *q, double *const in[INPUTS], const double *gy, double *y, double *gx)
{
    const fast_conv *c = &q->c;
    slots_route(v, &(slot_route){ .function = q->kind == CONV ? SLOT_CONV : SLOT_AVGPOOL, .stride = c->s, .pad = c->p,
                                  .inputs = q->kind == POOL ? 1 : in[BIAS] ? 3 : 2, .gy = gy, .y = y,
                                  .in = { { .s = { q->n, c->ci, c->hi, c->wi }, .x = in[X], .gx = gx },
                                          { .s = { c->co, c->ci, c->k, c->k }, .x = in[WEIGHT] },
                                          { .s = { 1, c->co, 1, 1 }, .x = in[BIAS] } } });
}

/* swish(y) and swish'(y) gs. */
static void swish(slots *v, size_t count, const double *y, const double *gs, double *s, double *gy)
{
    slots_route(v, &(slot_route){ .function = SLOT_SWISH, .inputs = 1, .gy = gs, .y = s,
                                  .in = { { .s = { 1, 1, 1, (int)count }, .x = y, .gx = gy } } });
}

static void reference(slots *v, pair_case *q)
{
    double *gy = slots_zeros(v, q->y), *absolute[INPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        q->want[i] = slots_zeros(v, i == BWD ? q->x : q->y);
        q->size[i] = slots_zeros(v, i == BWD ? q->x : q->y);
    }
    size_t count[INPUTS] = { q->x, q->weight, (size_t)q->c.co, q->y, q->y, q->x };
    for (int i = 0; i < INPUTS; i++)
        absolute[i] = q->in[i] ? slots_absolute(v, count[i], q->in[i]) : NULL;
    swish(v, q->y, q->in[Y], q->in[GS], q->want[SWISHED], gy);
    linear(v, q, q->in, gy, q->want[FWD], q->want[BWD]);
    for (size_t i = 0; i < q->y; i++)
        gy[i] = 1.1 * absolute[GS][i];           /* |swish'| < 1.1 */
    linear(v, q, absolute, gy, q->size[FWD], q->size[BWD]);
    for (size_t i = 0; i < q->x && q->in[ADD]; i++) {
        q->want[BWD][i] += q->in[ADD][i];
        q->size[BWD][i] += absolute[ADD][i];
    }
}

/* ---- what the slots say ---- */

static float *given(slots *v, const pair_case *q, int y, const double *x)
{
    return planar(q, y) ? slots_in(v, y ? q->y : q->x, sizeof(float), x)
                        : slots_blocked_in(v, q->n, y ? q->c.co : q->c.ci, y ? q->c.ho * q->c.wo : q->c.hi * q->c.wi, x);
}
static float *room(slots *v, const pair_case *q, int y)
{
    return planar(q, y) ? slots_room(v, y ? q->y : q->x, sizeof(float))
                        : slots_blocked_room(v, q->n, y ? q->c.co : q->c.ci, y ? q->c.ho * q->c.wo : q->c.hi * q->c.wi);
}
static double *told(slots *v, const pair_case *q, int y, const float *x)
{
    return planar(q, y) ? slots_out(v, y ? q->y : q->x, x)
                        : slots_blocked_out(v, q->n, y ? q->c.co : q->c.ci, y ? q->c.ho * q->c.wo : q->c.hi * q->c.wi, x);
}

static float *packed(slots *v, const pair_case *q)
{
    if (q->kind == POOL)
        return NULL;
    float *w = slots_in(v, q->weight, sizeof(float), q->in[WEIGHT]), *to = slots_room(v, v->table->conv_packed(&q->c), 64);
    GUARDED(&v->guard, v->table->conv_pack(&v->ctx, &q->c, w, to));
    guard_freeze(&v->guard, to);
    return to;
}

static void run(slots *v, const pair_case *q, double *got[OUTPUTS])
{
    const fast_backend *t = v->table;
    float *x = given(v, q, 0, q->in[X]), *w = packed(v, q), *bias = slots_in(v, (size_t)q->c.co, sizeof(float), q->in[BIAS]);
    float *y = room(v, q, 1), *s = room(v, q, 1), *gs = given(v, q, 1, q->in[GS]), *z = given(v, q, 1, q->in[Y]);
    float *gx = q->in_place ? slots_inout(v, q->x, sizeof(float), q->in[ADD]) : room(v, q, 0);
    float *add = q->in_place ? gx : slots_in(v, q->x, sizeof(float), q->in[ADD]);
    if (q->kind == CONV)
        GUARDED(&v->guard, t->conv_swish_fwd(&v->ctx, q->n, &q->c, x, w, bias, y, s));
    else
        GUARDED(&v->guard, t->avgpool_swish_fwd(&v->ctx, q->n, q->c.hi, q->c.wi, q->lanes, x, y, s));
    got[FWD] = told(v, q, 1, y);
    got[SWISHED] = told(v, q, 1, s);
    const char *fault = v->guard.fault;
    if (q->kind == CONV)
        GUARDED(&v->guard, t->conv_swish_bwd_x(&v->ctx, q->n, &q->c, z, gs, w, add, gx));
    else
        GUARDED(&v->guard, t->avgpool_swish_bwd(&v->ctx, q->n, q->c.hi, q->c.wi, q->lanes, z, gs, gx));
    got[BWD] = told(v, q, 0, gx);
    v->guard.fault = fault ? fault : v->guard.fault;
}

/* ---- cases ---- */

static void fill(slots *v, pair_case *q)
{
    fast_conv *c = &q->c;
    c->planar = q->kind == CONV;
    c->ho = (c->hi + 2 * c->p - c->k) / c->s + 1;
    c->wo = (c->wi + 2 * c->p - c->k) / c->s + 1;
    q->x = (size_t)(q->n * c->ci) * (size_t)(c->hi * c->wi);
    q->y = (size_t)(q->n * c->co) * (size_t)(c->ho * c->wo);
    q->weight = (size_t)(c->co * c->ci) * (size_t)(c->k * c->k);
    size_t count[INPUTS] = { q->x, q->kind == CONV ? q->weight : 0, (size_t)c->co, q->y, q->y, q->x };
    for (int i = 0; i < INPUTS; i++) {
        int may_lack = i == BIAS || i == ADD;
        q->in[i] = (may_lack && (q->kind == POOL || slots_below(v, 3) == 0)) || count[i] == 0
                       ? NULL : slots_normals(v, count[i], i == Y ? 3.0 : 1.0);
    }
    q->in_place = q->in[ADD] && slots_below(v, 2);
    if (q->kind == CONV)
        v->table->conv_choose(q->n, 4, c);
}

static void convolution(slots *v, int window, int i, pair_case *q)
{
    static const int large[][5] = { { 2, 3, 64, 32, 32 }, { 1, 3, 48, 16, 16 }, { 3, 3, 70, 8, 8 }, { 1, 1, 16, 28, 28 },
                                    { 1, 2, 130, 41, 37 } };
    int small[5] = { 1 + i % 3, 1 + i % 4, 1 + (11 * i + 2) % 40, 1 + 5 * i % 17, 1 + (7 * i + 3) % 19 };
    const int *s = i < 16 ? small : large[i - 16], k = windows[window].k;
    *q = (pair_case){ .kind = CONV, .n = s[0],
                      .c = { .ci = s[1], .co = s[2], .hi = s[3] < k ? k : s[3], .wi = s[4] < k ? k : s[4], .k = k,
                             .s = windows[window].s, .p = windows[window].p } };
    slots_case(v, "%d images, %d to %d channels, %dx%d, window %d", q->n, s[1], s[2], q->c.hi, q->c.wi, k);
}

static void average(slots *v, int i, pair_case *q)
{
    *q = (pair_case){ .kind = POOL, .n = 1 + i % 5, .lanes = i % 2 ? FAST_LANES : 1,
                      .c = { .hi = 1 + i % 17, .wi = 1 + (7 * i + 3) % 17, .k = 3, .s = 2, .p = 1 } };
    q->c.ci = q->c.co = q->lanes;
    slots_case(v, "%d images, %dx%d, %d lanes", q->n, q->c.hi, q->c.wi, q->lanes);
}

/* In every place; with a NaN in input `bad`, not -1, what it reaches. s must be the swish of the y that was written. gx errs as
 * the single slots do: by m U for sums of m terms, and 16 U for swish'. */
static void compare(slots *v, pair_case *q, int bad, verify_row row[OUTPUTS], verify_row nans[OUTPUTS])
{
    const fast_conv *c = &q->c;
    double sums[OUTPUTS] = { c->ci * c->k * c->k + 3, 1, c->co * c->k * c->k + 3 + 16 };
    reference(v, q);
    for (int place = GUARD_END; place < GUARD_PLACES; place++) {
        double *got[OUTPUTS];
        slots_place(v, (guard_place)place, q->kind == CONV ? v->table->conv_scratch(q->n, c) : 0);
        run(v, q, got);
        if (bad == X || bad == BIAS)
            for (int o = FWD; o <= SWISHED; o++)
                slots_check_nan(v, &nans[o], q->y, got[o], q->want[FWD]);
        else if (bad >= 0)
            slots_check_nan(v, &nans[BWD], q->x, got[BWD], q->want[BWD]);
        else {
            double *s = slots_zeros(v, q->y), *gy = slots_zeros(v, q->y);
            swish(v, q->y, got[FWD], q->in[GS], s, gy);
            slots_check(v, &row[FWD], CONV_CASE, q->kind == CONV ? sums[FWD] : 10, q->y, got[FWD], q->want[FWD], q->size[FWD]);
            slots_check(v, &row[SWISHED], SWISH_CASE, 1, q->y, got[SWISHED], s, slots_absolute(v, q->y, got[FWD]));
            slots_check(v, &row[BWD], CONV_CASE, q->kind == CONV ? sums[BWD] : 10 + 16, q->x, got[BWD], q->want[BWD],
                        q->size[BWD]);
        }
    }
}

static void pairs(slots *v, int kind, int cases, void (*make)(slots *, int, pair_case *))
{
    static const char *const what[OUTPUTS] = { "y", "swish(y)", "of swish'(y) gs" };
    verify_row row[OUTPUTS], nans[OUTPUTS];
    for (int o = 0; o < OUTPUTS; o++) {
        row[o] = row_begin(slot_names[kind][o], "%s", what[o]);
        nans[o] = row_begin(slot_names[kind][o], "%s, NaN goes through", what[o]);
    }
    for (int i = 0; i < cases; i++) {
        pair_case q;
        static const int nan_in[] = { X, GS, Y, BIAS, ADD };
        make(v, i, &q);
        fill(v, &q);
        compare(v, &q, -1, row, nans);
        int bad = nan_in[i % 5];
        size_t count[INPUTS] = { q.x, 0, (size_t)q.c.co, q.y, q.y, q.x };
        if (q.in[bad]) {
            q.in[bad][slots_below(v, (int)count[bad])] = NAN;
            compare(v, &q, bad, row, nans);
        }
    }
    for (int o = 0; o < OUTPUTS; o++) {
        slots_end(v, &row[o]);
        slots_end(v, &nans[o]);
    }
}

static void any_window(slots *v, int i, pair_case *q) { convolution(v, i / 21, i % 21, q); }

void slots_pairs(slots *v)
{
    if (v->table->conv_swish_fwd && v->table->conv_swish_bwd_x)
        pairs(v, CONV, 84, any_window);
    if (v->table->avgpool_swish_fwd && v->table->avgpool_swish_bwd)
        pairs(v, POOL, 68, average);
}
