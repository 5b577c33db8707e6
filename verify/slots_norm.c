/* slots_norm.c: normalisation and swish in one, in four passes; each pass is given what the tape says that fwd leaves, so
 * that it stands or falls alone.                                                                         [ICD:B.1] */
#include "slots.h"

#include <math.h>
#include <string.h>

enum { X, GAIN, BIAS, ADD, GY, X_T, ADD_T, HY, SCALE, START_GAIN, START_BIAS, INPUTS };
enum { Y, SAVED_D, STATS, GX, GGAIN, GBIAS, Y_T, HX, HGAIN, HBIAS, OUTPUTS };

typedef struct {
    fast_norm s;
    int n, with_add, with_parameters;
    size_t count[INPUTS], out[OUTPUTS];
    double *in[INPUTS], *want[OUTPUTS];
} norm_case;

static void statistics(const norm_case *q, const double *x, double *stats)
{
    int groups = q->s.groups ? q->s.groups : 1;
    size_t count = q->count[X] / (size_t)q->n / (size_t)groups;
    for (int g = 0; g < q->n * groups; g++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < count; i++)
            mean += x[(size_t)g * count + i] / (double)count;
        for (size_t i = 0; i < count; i++)
            variance += (x[(size_t)g * count + i] - mean) * (x[(size_t)g * count + i] - mean) / (double)count;
        stats[2 * g] = q->s.groups ? mean : 0;
        stats[2 * g + 1] = q->s.groups ? 1 / sqrt(variance + 1e-5) : 1;
    }
}

static void add_to(double *to, size_t count, const double *more)
{
    for (size_t i = 0; i < count && more; i++)
        to[i] += more[i];
}

/* y and what is saved; then gx with the tangent and second order, none of which knows `scale`; then ggain, gbias. */
static void reference(slots *v, const norm_case *q, double *const in[INPUTS], double *const out[OUTPUTS])
{
    slot_shape image = { q->n, q->s.c, q->s.h, q->s.w }, vector = { q->s.per_image ? q->n : 1, q->s.c, 1, 1 };
    double *z = slots_zeros(v, q->count[X]), *ones = slots_zeros(v, q->count[X]), *scaled = slots_zeros(v, q->count[X]);
    for (size_t i = 0; i < q->count[X]; i++) {
        ones[i] = 1;
        scaled[i] = in[GY][i] * (in[SCALE] ? in[SCALE][i / (q->count[X] / (size_t)q->n)] : 1.0);
    }
    slot_route r = { .function = SLOT_NORM, .groups = q->s.groups, .inputs = 3, .y = z,
                     .in = { { .s = image, .x = in[X] }, { .s = vector, .x = in[GAIN] }, { .s = vector, .x = in[BIAS] } } };
    slots_route(v, &r);
    slots_route(v, &(slot_route){ .function = SLOT_SWISH, .inputs = 1, .gy = ones,
                                  .in = { { .s = image, .x = z, .gx = out[SAVED_D] } } });
    statistics(q, in[X], out[STATS]);

    r.function = SLOT_NORM_SWISH;
    r.y = out[Y];
    r.gy = in[GY];
    r.hy = in[HY];
    r.y_t = out[Y_T];
    r.in[0].x_t = in[X_T];
    r.in[0].gx = out[GX];
    r.in[0].hx = out[HX];
    r.in[1].hx = out[HGAIN];
    r.in[2].hx = out[HBIAS];
    slots_route(v, &r);
    slot_route parameters = { .function = SLOT_NORM_SWISH, .groups = q->s.groups, .inputs = 3, .gy = scaled,
                              .in = { { .s = image, .x = in[X] }, { .s = vector, .x = in[GAIN], .gx = out[GGAIN] },
                                      { .s = vector, .x = in[BIAS], .gx = out[GBIAS] } } };
    slots_route(v, &parameters);
    add_to(out[Y], q->out[Y], q->with_add ? in[ADD] : NULL);
    add_to(out[Y_T], q->out[Y_T], q->with_add ? in[ADD_T] : NULL);
    for (int p = 0; p < 2; p++) {
        add_to(out[p ? HGAIN : GGAIN], q->out[GGAIN], in[START_GAIN]);
        add_to(out[p ? HBIAS : GBIAS], q->out[GBIAS], in[START_BIAS]);
    }
}

/* offset, spread: mean and standard deviation of x. Small spreads bring out the 1e-5 beneath the root. */
static void make_case(slots *v, norm_case *q, fast_norm s, int n, double offset, double spread)
{
    slots_case(v, "%d images, %d channels in %d groups, %dx%d, x about %g +- %g", n, s.c, s.groups, s.h, s.w, offset, spread);
    *q = (norm_case){ .s = s, .n = n, .with_add = slots_below(v, 2), .with_parameters = slots_below(v, 4) > 0 };
    size_t x = (size_t)(n * s.c) * (size_t)(s.h * s.w), p = (size_t)s.c * (size_t)(s.per_image ? n : 1);
    size_t stats = (size_t)n * (size_t)(s.groups ? s.groups : 1) * 2;
    size_t count[INPUTS] = { x, p, p, x, x, x, x, x, (size_t)n, p, p }, out[OUTPUTS] = { x, x, stats, x, p, p, x, x, p, p };
    memcpy(q->count, count, sizeof count);
    memcpy(q->out, out, sizeof out);
    for (int i = 0; i < INPUTS; i++)
        q->in[i] = i == SCALE && slots_below(v, 2) ? NULL : slots_normals(v, count[i], i == X ? spread : 1.0);
    for (size_t i = 0; i < x; i++)
        q->in[X][i] = (double)(float)(q->in[X][i] + offset);
    for (int i = 0; i < OUTPUTS; i++)
        q->want[i] = slots_zeros(v, out[i]);
    reference(v, q, q->in, q->want);
}

/* ---- the slots: outputs into got[], those not asked for left NULL ---- */

static int pixels(const norm_case *q) { return q->s.h * q->s.w; }
static float *image_in(slots *v, const norm_case *q, const double *x)
{
    return slots_blocked_in(v, q->n, q->s.c, pixels(q), x);
}
static double *image_out(slots *v, const norm_case *q, const float *x)
{
    return slots_blocked_out(v, q->n, q->s.c, pixels(q), x);
}
static float *vector_in(slots *v, const norm_case *q, int i) { return slots_in(v, q->count[i], sizeof(float), q->in[i]); }

static float *sum_into(slots *v, const norm_case *q, int i)
{
    return q->with_parameters ? slots_inout(v, q->count[i], sizeof(float), q->in[i]) : NULL;
}

static fast_norm_saved saved_in(slots *v, const norm_case *q)
{
    float *d = v->table->recomputes ? NULL : image_in(v, q, q->want[SAVED_D]);
    return (fast_norm_saved){ d, slots_in(v, q->out[STATS], 64, q->want[STATS]) };
}

static void forward(slots *v, const norm_case *q, double *got[OUTPUTS])
{
    float *x = image_in(v, q, q->in[X]), *gain = vector_in(v, q, GAIN), *bias = vector_in(v, q, BIAS);
    float *add = q->with_add ? image_in(v, q, q->in[ADD]) : NULL, *y = slots_blocked_room(v, q->n, q->s.c, pixels(q));
    float *d = v->table->recomputes ? NULL : slots_blocked_room(v, q->n, q->s.c, pixels(q));
    fast_norm_saved saved = { d, slots_room(v, q->out[STATS], 64) };
    GUARDED(&v->guard, v->table->norm_swish_fwd(&v->ctx, q->n, &q->s, x, gain, bias, add, y, &saved));
    got[Y] = image_out(v, q, y);
    got[SAVED_D] = d ? image_out(v, q, d) : NULL;
    got[STATS] = slots_out(v, q->out[STATS], saved.stats);
}

static void backward(slots *v, const norm_case *q, double *got[OUTPUTS])
{
    float *x = image_in(v, q, q->in[X]), *gain = vector_in(v, q, GAIN), *bias = vector_in(v, q, BIAS);
    fast_norm_saved saved = saved_in(v, q);
    float *gy = image_in(v, q, q->in[GY]), *scale = vector_in(v, q, SCALE);
    float *gx = slots_blocked_room(v, q->n, q->s.c, pixels(q));
    float *ggain = sum_into(v, q, START_GAIN), *gbias = sum_into(v, q, START_BIAS);
    GUARDED(&v->guard, v->table->norm_swish_bwd(&v->ctx, q->n, &q->s, x, gain, bias, &saved, gy, gx, scale, ggain, gbias));
    got[GX] = image_out(v, q, gx);
    got[GGAIN] = ggain ? slots_out(v, q->out[GGAIN], ggain) : NULL;
    got[GBIAS] = gbias ? slots_out(v, q->out[GBIAS], gbias) : NULL;
}

static void tangent(slots *v, const norm_case *q, double *got[OUTPUTS])
{
    float *x = image_in(v, q, q->in[X]), *gain = vector_in(v, q, GAIN), *bias = vector_in(v, q, BIAS);
    fast_norm_saved saved = saved_in(v, q);
    float *x_t = image_in(v, q, q->in[X_T]), *add = q->with_add ? image_in(v, q, q->in[ADD_T]) : NULL;
    float *y_t = slots_blocked_room(v, q->n, q->s.c, pixels(q));
    GUARDED(&v->guard, v->table->norm_swish_tan(&v->ctx, q->n, &q->s, x, gain, bias, &saved, x_t, add, y_t));
    got[Y_T] = image_out(v, q, y_t);
}

static void second_order(slots *v, const norm_case *q, double *got[OUTPUTS])
{
    float *x = image_in(v, q, q->in[X]), *gain = vector_in(v, q, GAIN), *bias = vector_in(v, q, BIAS);
    fast_norm_saved saved = saved_in(v, q);
    float *x_t = image_in(v, q, q->in[X_T]), *hy = image_in(v, q, q->in[HY]), *gy = image_in(v, q, q->in[GY]);
    float *hx = slots_blocked_room(v, q->n, q->s.c, pixels(q));
    float *ggain = slots_inout(v, q->count[START_GAIN], sizeof(float), q->in[START_GAIN]);
    float *gbias = slots_inout(v, q->count[START_BIAS], sizeof(float), q->in[START_BIAS]);
    GUARDED(&v->guard,
            v->table->norm_swish_bwd2(&v->ctx, q->n, &q->s, x, gain, bias, &saved, x_t, hy, gy, hx, ggain, gbias));
    got[HX] = image_out(v, q, hx);
    got[HGAIN] = slots_out(v, q->out[HGAIN], ggain);
    got[HBIAS] = slots_out(v, q->out[HBIAS], gbias);
}

static const struct {
    const char *slot;
    void (*run)(slots *, const norm_case *, double *[OUTPUTS]);
    icd_case bound;
    int reads[8];            /* inputs; ends with -1 */
} passes[] = {
    { "norm_swish_fwd",  forward,      NORM_CASE,        { X, GAIN, BIAS, ADD, -1 } },
    { "norm_swish_bwd",  backward,     NORM_CASE,        { X, GAIN, BIAS, GY, SCALE, START_GAIN, START_BIAS, -1 } },
    { "norm_swish_tan",  tangent,      NORM_CASE,        { X, GAIN, BIAS, X_T, ADD_T, -1 } },
    { "norm_swish_bwd2", second_order, NORM_SECOND_CASE, { X, GAIN, BIAS, X_T, HY, GY, START_GAIN, -1 } },
};
enum { PASSES = sizeof passes / sizeof passes[0] };

/* How much the subtraction of the mean magnifies the rounding of x, beyond what NORM's bound allows for: a group of three drawn
 * values can lie close together far from 0. */
static double magnified(const norm_case *q)
{
    double most = 1.5;
    for (size_t i = 0; i < q->out[STATS]; i += 2)
        most = fmax(most, fabs(q->want[STATS][i]) * q->want[STATS][i + 1]);
    return most / 1.5;
}

/* Values that one output of the kind adds up. */
static double terms(const norm_case *q, int output)
{
    double group = q->s.groups ? (double)(q->s.c / q->s.groups) * pixels(q) : 1, image = pixels(q);
    int vector = output == GGAIN || output == GBIAS || output == HGAIN || output == HBIAS;
    return 32 + group + (vector ? (q->s.per_image ? 1 : q->n) * image : 0);
}

static void compare(slots *v, const norm_case *q, int p, verify_row *row, verify_row *same)
{
    double *first[OUTPUTS] = { NULL };
    int differ = 0;
    for (int place = GUARD_END; place < GUARD_PLACES; place++) {
        double *got[OUTPUTS] = { NULL };
        slots_place(v, (guard_place)place, v->table->norm_scratch(q->n, &q->s));
        passes[p].run(v, q, got);
        for (int o = 0; o < OUTPUTS; o++) {
            if (got[o])
                slots_check(v, row, passes[p].bound, magnified(q) * terms(q, o), q->out[o], got[o], q->want[o], NULL);
            differ += got[o] && first[o] && memcmp(got[o], first[o], q->out[o] * sizeof(double)) != 0;
            first[o] = got[o];
        }
    }
    slots_check_count(v, same, differ);
}

static void nan_case(slots *v, norm_case *q, int p, verify_row *row)
{
    for (int i = 0; passes[p].reads[i] >= 0; i++) {
        int k = passes[p].reads[i];
        if (!q->in[k] || ((k == ADD || k == ADD_T) && !q->with_add) || (!q->with_parameters && (k == SCALE || k >= START_GAIN)))
            continue;
        double *want[OUTPUTS], *kept = q->want[SAVED_D], *got[OUTPUTS] = { NULL }, *all_want, *all_got;
        int at = slots_below(v, (int)q->count[k]);
        double number = q->in[k][at];
        for (int o = 0; o < OUTPUTS; o++)
            want[o] = slots_zeros(v, q->out[o]);
        q->in[k][at] = NAN;
        reference(v, q, q->in, want);
        slots_place(v, GUARD_END, v->table->norm_scratch(q->n, &q->s));
        memcpy(q->want[STATS], want[STATS], q->out[STATS] * sizeof(double));
        q->want[SAVED_D] = want[SAVED_D];
        passes[p].run(v, q, got);
        size_t total = 0, room = 0;
        for (int o = 0; o < OUTPUTS; o++)
            room += got[o] ? q->out[o] : 0;
        all_want = slots_zeros(v, room);
        all_got = slots_zeros(v, room);
        for (int o = 0; o < OUTPUTS; o++)
            for (size_t j = 0; got[o] && j < q->out[o]; j++, total++) {
                all_want[total] = want[o][j];
                all_got[total] = got[o][j];
            }
        slots_check_nan(v, row, total, all_got, all_want);
        q->want[SAVED_D] = kept;
        q->in[k][at] = number;
        statistics(q, q->in[X], q->want[STATS]);
    }
}

/* c and groups around the 16 lanes: whole images as one group, groups within a block, across blocks, one channel each. */
static const struct { int c, groups; } sizes[] = {
    { 1, 1 }, { 3, 1 }, { 4, 2 }, { 8, 8 }, { 15, 5 }, { 16, 1 }, { 16, 4 }, { 16, 16 }, { 17, 17 }, { 24, 2 }, { 24, 3 },
    { 31, 31 }, { 32, 1 }, { 32, 32 }, { 33, 3 }, { 33, 11 }, { 36, 2 }, { 40, 40 }, { 48, 16 }, { 64, 32 },
    { 5, 0 }, { 16, 0 }, { 35, 0 },
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

void slots_norms(slots *v)
{
    verify_row row[PASSES][2], nans[PASSES], same = row_begin("norm_swish_*", "same bits wherever buffers lie");
    for (int p = 0; p < PASSES; p++) {
        row[p][0] = row_begin(passes[p].slot, "groups of channels");
        row[p][1] = row_begin(passes[p].slot, "no normalisation (groups 0)");
        nans[p] = row_begin(passes[p].slot, "NaN goes through");
    }
    for (int i = 0; i < 2 * SIZES; i++) {
        int z = i % SIZES, h = 1 + 5 * i % 17, w = 1 + (7 * i + 4) % 17;
        fast_norm s = { .c = sizes[z].c, .h = h, .w = w, .groups = sizes[z].groups, .per_image = i % 3 == 1 };
        static const double offset[4] = { 0, 0.5, 0, -3 }, spread[4] = { 1, 1, 0.003, 2 };
        norm_case q;
        if (s.groups && s.c / s.groups * h * w < 3)      /* a group of one value is its own mean: 0 = 0 */
            s.h += 2;
        make_case(v, &q, s, 1 + i % 3, offset[i % 4], spread[i % 4]);
        for (int p = 0; p < PASSES; p++)
            compare(v, &q, p, &row[p][s.groups == 0], &same);
        if (i % 4 == 2)
            for (int p = 0; p < PASSES; p++)
                nan_case(v, &q, p, &nans[p]);
    }
    for (int p = 0; p < PASSES; p++) {
        slots_end(v, &row[p][0]);
        slots_end(v, &row[p][1]);
        slots_end(v, &nans[p]);
    }
    slots_end(v, &same);
}
