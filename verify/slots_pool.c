/* slots_pool.c: average and largest over windows, mean over an image; blocked tensors and planar ones.
 *                                                                                        [ICD:2.4] [ICD:table5.down] */
#include "slots.h"

#include <math.h>
#include <string.h>

/* Tensors here are (images, h, w, lanes). As the tape wants them, (images, lanes, h, w), they are the channels of blocks. */
typedef struct { int images, h, w, lanes, ho, wo; size_t in, out; } pool_case;

static double *turned(slots *v, const pool_case *q, int h, int w, const double *x, int back)
{
    double *y = slots_zeros(v, (size_t)(q->images * q->lanes) * (size_t)(h * w));
    for (int i = 0; i < q->images; i++)
        for (int p = 0; p < h * w; p++)
            for (int l = 0; l < q->lanes; l++) {
                size_t a = ((size_t)i * (size_t)(h * w) + (size_t)p) * (size_t)q->lanes + (size_t)l;
                size_t b = ((size_t)i * (size_t)q->lanes + (size_t)l) * (size_t)(h * w) + (size_t)p;
                y[back ? a : b] = x[back ? b : a];
            }
    return y;
}

static pool_case sized(int i, int half)
{
    pool_case q = { 1 + i % 5, 1 + i % 17, 1 + (7 * i + 3) % 17, i % 2 ? 16 : 1, 0, 0, 0, 0 };
    if (half) {
        q.h += q.h == 1;
        q.w += q.w == 1;
    }
    q.ho = half ? q.h / 2 : (q.h + 1) / 2;
    q.wo = half ? q.w / 2 : (q.w + 1) / 2;
    q.in = (size_t)(q.images * q.lanes) * (size_t)(q.h * q.w);
    q.out = (size_t)(q.images * q.lanes) * (size_t)(q.ho * q.wo);
    return q;
}

/* y and gx of a pool of x and gy, all (images, h, w, lanes). */
static void reference(slots *v, const pool_case *q, slot_function f, const double *x, const double *gy, double **y, double **gx)
{
    double *ty = slots_zeros(v, q->out), *tg = slots_zeros(v, q->in);
    slots_route(v, &(slot_route){ .function = f, .inputs = 1, .y = ty, .gy = turned(v, q, q->ho, q->wo, gy, 0),
                                  .in = { { .s = { q->images, q->lanes, q->h, q->w }, .x = turned(v, q, q->h, q->w, x, 0),
                                            .gx = tg } } });
    *y = turned(v, q, q->ho, q->wo, ty, 1);
    *gx = turned(v, q, q->h, q->w, tg, 1);
}

static size_t alignment(const pool_case *q) { return q->lanes == 1 ? sizeof(float) : 64; }

static void average(slots *v)
{
    verify_row fwd = row_begin("avgpool_fwd", "rows and columns 1..17, 16 lanes and 1");
    verify_row bwd = row_begin("avgpool_bwd", "rows and columns 1..17, 16 lanes and 1");
    verify_row nans[2] = { row_begin("avgpool_fwd", "NaN goes through"), row_begin("avgpool_bwd", "NaN goes through") };
    for (int i = 0; i < 68; i++) {
        pool_case q = sized(i, 0);
        slots_case(v, "%d images, %dx%d, %d lanes", q.images, q.h, q.w, q.lanes);
        double *x = slots_normals(v, q.in, 1.0), *gy = slots_normals(v, q.out, 1.0), *y, *gx, *ys, *gxs;
        if (i % 8 == 2) {
            x[slots_below(v, (int)q.in)] = NAN;
            gy[slots_below(v, (int)q.out)] = NAN;
        }
        reference(v, &q, SLOT_AVGPOOL, x, gy, &y, &gx);
        reference(v, &q, SLOT_AVGPOOL, slots_absolute(v, q.in, x), slots_absolute(v, q.out, gy), &ys, &gxs);
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *from = slots_in(v, q.in, alignment(&q), x), *to = slots_room(v, q.out, alignment(&q));
            float *g = slots_in(v, q.out, alignment(&q), gy), *back = slots_room(v, q.in, alignment(&q));
            GUARDED(&v->guard, v->table->avgpool_fwd(&v->ctx, q.images, q.h, q.w, q.lanes, from, to));
            if (i % 8 == 2)
                slots_check_nan(v, &nans[0], q.out, slots_out(v, q.out, to), y);
            else
                slots_check(v, &fwd, POOL_CASE, 1, q.out, slots_out(v, q.out, to), y, ys);
            GUARDED(&v->guard, v->table->avgpool_bwd(&v->ctx, q.images, q.h, q.w, q.lanes, g, back));
            if (i % 8 == 2)
                slots_check_nan(v, &nans[1], q.in, slots_out(v, q.in, back), gx);
            else
                slots_check(v, &bwd, POOL_CASE, 1, q.in, slots_out(v, q.in, back), gx, gxs);
        }
    }
    slots_end(v, &fwd);
    slots_end(v, &nans[0]);
    slots_end(v, &bwd);
    slots_end(v, &nans[1]);
}

/* x of few values, so that ties are the rule. which is found from gx: the tape sends gy = 1 to the largest. */
static void largest(slots *v)
{
    const char *sizes = "rows and columns 2..17, 16 lanes and 1";
    verify_row fwd = row_begin("maxpool_fwd", "%s", sizes), tie = row_begin("maxpool_fwd", "which, with ties");
    verify_row bwd = row_begin("maxpool_bwd", "%s", sizes), tan = row_begin("maxpool_tan", "%s", sizes);
    for (int i = 0; i < 68; i++) {
        pool_case q = sized(i, 1);
        slots_case(v, "%d images, %dx%d, %d lanes", q.images, q.h, q.w, q.lanes);
        double *x = slots_normals(v, q.in, 1.0), *gy = slots_normals(v, q.out, 1.0), *ones = slots_zeros(v, q.out);
        double *y, *gx, *at;
        uint8_t *which = slots_places(v, q.out);
        double *y_t = slots_zeros(v, q.out), *x_t = slots_normals(v, q.in, 1.0);
        for (size_t j = 0; j < q.in && i % 3 == 0; j++)
            x[j] = floor(x[j]);
        for (size_t j = 0; j < q.out; j++)
            ones[j] = 1;
        reference(v, &q, SLOT_MAXPOOL, x, ones, &y, &at);
        reference(v, &q, SLOT_MAXPOOL, x, gy, &y, &gx);
        for (int m = 0; m < q.images; m++)
            for (int p = 0; p < q.h / 2 * 2 * q.w; p++)
                for (int l = 0; l < q.lanes && p % q.w < q.w / 2 * 2; l++) {
                    int r = p / q.w, c = p % q.w;
                    size_t to = ((size_t)(m * q.ho + r / 2) * (size_t)q.wo + (size_t)(c / 2)) * (size_t)q.lanes + (size_t)l;
                    size_t from = ((size_t)(m * q.h + r) * (size_t)q.w + (size_t)c) * (size_t)q.lanes + (size_t)l;
                    if (at[from] == 1) {
                        which[to] = (uint8_t)(r % 2 * 2 + c % 2);
                        y_t[to] = x_t[from];
                    }
                }
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *from = slots_in(v, q.in, alignment(&q), x), *to = slots_room(v, q.out, alignment(&q));
            uint8_t *w = slots_bytes(v, q.out, q.lanes == 1 ? 1 : 16);
            GUARDED(&v->guard, v->table->maxpool_fwd(&v->ctx, q.images, q.h, q.w, q.lanes, from, to, w));
            slots_check(v, &fwd, EXACT_CASE, 1, q.out, slots_out(v, q.out, to), y, NULL);
            const uint8_t *told = slots_look(v, q.out, w);
            int wrong = 0;
            for (size_t j = 0; j < q.out; j++)
                wrong += told[j] != which[j];
            slots_check_count(v, &tie, wrong);
            guard_write(&v->guard, w, which, q.out);
            guard_freeze(&v->guard, w);
            float *g = slots_in(v, q.out, alignment(&q), gy), *back = slots_room(v, q.in, alignment(&q));
            float *t = slots_in(v, q.in, alignment(&q), x_t), *to_t = slots_room(v, q.out, alignment(&q));
            GUARDED(&v->guard, v->table->maxpool_bwd(&v->ctx, q.images, q.h, q.w, q.lanes, w, g, back));
            slots_check(v, &bwd, EXACT_CASE, 1, q.in, slots_out(v, q.in, back), gx, NULL);
            GUARDED(&v->guard, v->table->maxpool_tan(&v->ctx, q.images, q.h, q.w, q.lanes, w, t, to_t));
            slots_check(v, &tan, EXACT_CASE, 1, q.out, slots_out(v, q.out, to_t), y_t, NULL);
        }
    }
    slots_end(v, &fwd);
    slots_end(v, &tie);
    slots_end(v, &bwd);
    slots_end(v, &tan);
}

/* A NaN at any of the four places is the largest, also with another number or a NaN beside it: which names the first NaN. */
static void largest_nan(slots *v)
{
    verify_row r = row_begin("maxpool_fwd", "NaN before any number");
    for (int i = 0; i < 32; i++) {
        pool_case q = { 2, 2, 2, i % 2 ? 16 : 1, 1, 1, 0, 0 };
        q.in = (size_t)(8 * q.lanes);
        q.out = (size_t)(2 * q.lanes);
        int mask = i / 2, first = 0;
        slots_case(v, "NaN at places %d%d%d%d", mask & 1, mask >> 1 & 1, mask >> 2 & 1, mask >> 3 & 1);
        double *x = slots_normals(v, q.in, 1.0), *want = slots_zeros(v, q.out);
        while (mask && !(mask >> first & 1))
            first++;
        for (size_t j = 0; j < q.in; j++)
            if (mask >> (int)(j / (size_t)q.lanes % 4) & 1)
                x[j] = NAN;
        for (size_t j = 0; j < q.out; j++)
            want[j] = NAN;
        slots_place(v, GUARD_END, 0);
        float *from = slots_in(v, q.in, alignment(&q), x), *to = slots_room(v, q.out, alignment(&q));
        uint8_t *w = slots_bytes(v, q.out, q.lanes == 1 ? 1 : 16);
        GUARDED(&v->guard, v->table->maxpool_fwd(&v->ctx, q.images, 2, 2, q.lanes, from, to, w));
        const uint8_t *told = slots_look(v, q.out, w);
        int wrong = 0;
        for (size_t j = 0; j < q.out && mask; j++)
            wrong += told[j] != first;
        if (mask) {
            slots_check_nan(v, &r, q.out, slots_out(v, q.out, to), want);
            slots_check_count(v, &r, wrong);
        }
    }
    slots_end(v, &r);
}

static void mean(slots *v)
{
    verify_row fwd = row_begin("mean_fwd", "channels 1..40, pixels 1..289"),
               bwd = row_begin("mean_bwd", "channels 1..40, pixels 1..289");
    verify_row nans = row_begin("mean_fwd", "NaN goes through");
    for (int i = 0; i < 40; i++) {
        int n = 1 + i % 4, c = 1 + i, h = 1 + 5 * i % 17, w = 1 + (3 * i + 1) % 17;
        slots_case(v, "%d images, %d channels, %dx%d", n, c, h, w);
        size_t in = (size_t)(n * c) * (size_t)(h * w), out = (size_t)(n * c);
        double *x = slots_normals(v, in, 1.0), *gy = slots_normals(v, out, 1.0), *y = slots_zeros(v, out),
               *gx = slots_zeros(v, in);
        double *size = slots_zeros(v, out);
        if (i % 8 == 2)
            x[slots_below(v, (int)in)] = NAN;
        slot_route r = { .function = SLOT_MEAN, .inputs = 1, .y = size,
                         .in = { { .s = { n, c, h, w }, .x = slots_absolute(v, in, x) } } };
        slots_route(v, &r);
        r.in[0].x = x;
        r.in[0].gx = gx;
        r.gy = gy;
        r.y = y;
        slots_route(v, &r);
        for (int place = GUARD_END; place < GUARD_ODD; place++) {
            slots_place(v, (guard_place)place, 0);
            float *from = slots_blocked_in(v, n, c, h * w, x), *to = slots_blocked_room(v, n, c, 1);
            float *g = slots_blocked_in(v, n, c, 1, gy), *back = slots_blocked_room(v, n, c, h * w);
            GUARDED(&v->guard, v->table->mean_fwd(&v->ctx, n, c, h * w, from, to));
            if (i % 8 == 2)
                slots_check_nan(v, &nans, out, slots_blocked_out(v, n, c, 1, to), y);
            else
                slots_check(v, &fwd, CONV_CASE, h * w + 2, out, slots_blocked_out(v, n, c, 1, to), y, size);
            GUARDED(&v->guard, v->table->mean_bwd(&v->ctx, n, c, h * w, g, back));
            slots_check(v, &bwd, CONV_CASE, 3, in, slots_blocked_out(v, n, c, h * w, back), gx, slots_absolute(v, in, gx));
        }
    }
    slots_end(v, &fwd);
    slots_end(v, &nans);
    slots_end(v, &bwd);
}

void slots_pools(slots *v)
{
    average(v);
    largest(v);
    largest_nan(v);
    mean(v);
}
