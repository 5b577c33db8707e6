/* slots_elementwise.c: copies, zeros, y = a x + add, m (x + a y), weighted inner products, and the losses' weights: against their formulas
 * written out in double. */
#include "slots.h"

#include <math.h>
#include <string.h>

static void copy_zero(slots *v)
{
    verify_row r[2] = { row_begin("copy", "1..80 values and 1000, NaN among them"), row_begin("zero", "1..80 values and 1000") };
    for (int i = 1; i <= 81; i++) {
        size_t count = i == 81 ? 1000 : (size_t)i;
        slots_case(v, "%d values", (int)count);
        double *x = slots_normals(v, count, 1.0), *zeros = slots_zeros(v, count);
        int broken = slots_below(v, (int)count);
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *from = slots_in(v, count, sizeof(float), x), *to = slots_room(v, count, sizeof(float));
            GUARDED(&v->guard, v->table->copy(&v->ctx, count, from, to));
            slots_check(v, &r[0], EXACT_CASE, 1, count, slots_out(v, count, to), x, NULL);
            float *old = slots_inout(v, count, sizeof(float), x);
            GUARDED(&v->guard, v->table->zero(&v->ctx, count, old));
            slots_check(v, &r[1], EXACT_CASE, 1, count, slots_out(v, count, old), zeros, NULL);
        }
        x[broken] = NAN;
        slots_place(v, GUARD_END, 0);
        float *from = slots_in(v, count, sizeof(float), x), *to = slots_inout(v, count, sizeof(float), zeros);
        GUARDED(&v->guard, v->table->copy(&v->ctx, count, from, to));
        size_t bytes = count * sizeof *to;
        slots_check_count(v, &r[0], memcmp(slots_look(v, bytes, to), slots_look(v, bytes, from), bytes) != 0);
    }
    slots_end(v, &r[0]);
    slots_end(v, &r[1]);
}

static void scale_add(slots *v)
{
    verify_row r = row_begin("scale_add", "1..80 values and 1000"), nans = row_begin("scale_add", "NaN goes through");
    for (int i = 1; i <= 81; i++) {
        size_t count = i == 81 ? 1000 : (size_t)i;
        int with_a = i % 3 > 0, with_add = i % 5 > 1, alias = i % 4;      /* 1: y is x, 2: y is add */
        slots_case(v, "%d values, a %d, add %d, in place %d", (int)count, with_a, with_add, alias);
        double *x = slots_normals(v, count, 1.0), *add = slots_normals(v, count, 1.0), *a = slots_normals(v, 1, 2.0);
        double *want = slots_zeros(v, count), *size = slots_zeros(v, count);
        if (i % 8 == 1)
            (i % 16 == 1 ? x : with_a ? a : add)[i % 16 == 1 || !with_a ? slots_below(v, (int)count) : 0] = NAN;
        for (size_t j = 0; j < count; j++) {
            want[j] = (with_a ? a[0] : 1) * x[j] + (with_add ? add[j] : 0);
            size[j] = fabs((with_a ? a[0] : 1) * x[j]) + (with_add ? fabs(add[j]) : 0);
        }
        int hit = 0;
        for (size_t j = 0; j < count; j++)
            hit += want[j] != want[j];
        for (int place = GUARD_END; place < GUARD_ODD; place++) {
            slots_place(v, (guard_place)place, 0);
            float *factor = with_a ? slots_in(v, 1, sizeof(float), a) : NULL, *y;
            float *from = alias == 1 ? slots_inout(v, count, 64, x) : slots_in(v, count, 64, x), *more = NULL;
            if (with_add)
                more = alias == 2 ? slots_inout(v, count, 64, add) : slots_in(v, count, 64, add);
            y = alias == 1 ? from : alias == 2 && with_add ? more : slots_room(v, count, 64);
            GUARDED(&v->guard, v->table->scale_add(&v->ctx, count, factor, from, more, y));
            if (hit)
                slots_check_nan(v, &nans, count, slots_out(v, count, y), want);
            else
                slots_check(v, &r, FORMULA_CASE, 3, count, slots_out(v, count, y), want, size);
        }
    }
    slots_end(v, &r);
    slots_end(v, &nans);
}

static void mul_add(slots *v)
{
    verify_row r = row_begin("mul_add", "1..80 values and 1000"), nans = row_begin("mul_add", "NaN goes through");
    for (int i = 1; i <= 81; i++) {
        size_t count = i == 81 ? 1000 : (size_t)i;
        int with_m = i % 3 > 0, with_x = i % 4 != 3, in_place = i % 2 && with_x;
        slots_case(v, "%d values, m %d, x %d, in place %d", (int)count, with_m, with_x, in_place);
        double *x = slots_normals(v, count, 1.0), *y = slots_normals(v, count, 1.0), *m = slots_normals(v, count, 1.0);
        double *want = slots_zeros(v, count), *size = slots_zeros(v, count);
        float a = (float)(0.1 * i - 3);
        if (i % 8 == 1)
            (i % 24 == 1 ? x : i % 24 == 9 || !with_m ? y : m)[slots_below(v, (int)count)] = NAN;
        for (size_t j = 0; j < count; j++) {
            want[j] = (with_m ? m[j] : 1) * ((with_x ? x[j] : 0) + (double)a * y[j]);
            size[j] = fabs(with_m ? m[j] : 1) * ((with_x ? fabs(x[j]) : 0) + fabs((double)a * y[j]));
        }
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *from = in_place ? slots_inout(v, count, sizeof(float), x) : slots_in(v, count, sizeof(float), with_x ? x : NULL);
            float *mask = with_m ? slots_in(v, count, sizeof(float), m) : NULL, *other = slots_in(v, count, sizeof(float), y);
            float *to = in_place ? from : slots_room(v, count, sizeof(float));
            GUARDED(&v->guard, v->table->mul_add(&v->ctx, count, a, mask, from, other, to));
            if (i % 8 == 1)
                slots_check_nan(v, &nans, count, slots_out(v, count, to), want);
            else
                slots_check(v, &r, FORMULA_CASE, 4, count, slots_out(v, count, to), want, size);
        }
    }
    slots_end(v, &r);
    slots_end(v, &nans);
}

/* Every other pair of images' terms cancels but for a trillionth, which a sum in float would lose. */
static void dot(slots *v)
{
    verify_row r = row_begin("dot", "1..40 and 5000 values, cancelling"), nans = row_begin("dot", "NaN goes through");
    for (int i = 1; i <= 41; i++) {
        size_t count = i == 41 ? 5000 : (size_t)i;
        int n = 1 + i % 4, with_scale = i % 3 > 0;
        slots_case(v, "%d images of %d values, scale %d", n, (int)count, with_scale);
        size_t all = (size_t)n * count;
        double *a = slots_normals(v, all, 1.0), *b = slots_normals(v, all, 1.0), *scale = slots_normals(v, (size_t)n, 1.0);
        double *want = slots_normals(v, 1, 1.0), start = want[0];
        for (size_t j = 1; j < all; j += 2) {
            a[j] = (double)(float)(1e6 * a[j]);
            if (j >= 3 && j % 4 == 3 && j / count == (j - 2) / count) {
                a[j] = -a[j - 2];
                b[j] = b[j - 2];
            }
        }
        if (i % 8 == 1)
            (i % 16 == 1 ? a : b)[slots_below(v, (int)all)] = NAN;
        double size = 1e-9 * fabs(start);
        for (size_t j = 0; j < all; j++) {
            double term = (with_scale ? scale[j / count] : 1) * a[j] * b[j];
            want[0] += term;
            size += 1e-9 * fabs(term);       /* a rounding to double is 2e-9 of one to float */
        }
        double unit = fabs(want[0]) + fabs(start) + size;
        for (int place = GUARD_END; place < GUARD_ODD; place++) {
            slots_place(v, (guard_place)place, 0);
            float *x = slots_in(v, all, 64, a), *y = slots_in(v, all, 64, b), *s = NULL;
            if (with_scale)
                s = slots_in(v, (size_t)n, sizeof(float), scale);
            float *out = slots_inout(v, 1, sizeof(float), &start);
            GUARDED(&v->guard, v->table->dot(&v->ctx, n, count, x, y, s, out));
            if (i % 8 == 1)
                slots_check_nan(v, &nans, 1, slots_out(v, 1, out), want);
            else
                slots_check(v, &r, FORMULA_CASE, 4, 1, slots_out(v, 1, out), want, &unit);
        }
    }
    slots_end(v, &r);
    slots_end(v, &nans);
}

/* Energies of up to three scales; the weight of image i and scale s is c0 + c1 E, E of the scale or of all. */
static void loss_weights(slots *v)
{
    verify_row r[2] = { row_begin("loss_weights", "energies"), row_begin("loss_weights", "weights") };
    verify_row nans = row_begin("loss_weights", "NaN goes through");
    for (int i = 0; i < 48; i++) {
        int n = 1 + i % 7, scales = 1 + i % 3, together = i / 3 % 2, with_weight = i % 8 > 0;
        int broken = i % 6 == 5 && with_weight;
        float c0 = (float)(0.3 * (i % 5) - 0.7), c1 = (float)(0.1 * (i % 4));
        slots_case(v, "%d images, %d scales, together %d", n, scales, together);
        size_t count = (size_t)(n * scales);
        double *E = slots_normals(v, count, 2.0), *want = slots_zeros(v, count), *size = slots_zeros(v, count);
        if (broken)
            E[slots_below(v, (int)count)] = NAN;
        for (int k = 0; k < n * scales; k++) {
            double sum = 0, absolute = 0;
            for (int s = 0; s < scales; s++)
                if (together || s == k / n) {
                    sum += E[s * n + k % n];
                    absolute += fabs(E[s * n + k % n]);
                }
            want[k] = (double)c0 + (double)c1 * sum;
            size[k] = fabs((double)c0) + fabs((double)c1) * absolute;
        }
        for (int place = GUARD_END; place < GUARD_ODD; place++) {
            const float *y[3] = { NULL, NULL, NULL };
            slots_place(v, (guard_place)place, 0);
            for (int s = 0; s < scales; s++)
                y[s] = slots_blocked_in(v, n, 1, 1, E + s * n);
            float *energy = slots_room(v, count, sizeof(float));
            float *weight = with_weight ? slots_room(v, count, sizeof(float)) : NULL;
            GUARDED(&v->guard, v->table->loss_weights(&v->ctx, n, scales, y, together, c0, c1, energy, weight));
            if (broken) {
                slots_check_nan(v, &nans, count, slots_out(v, count, energy), E);
                if (c1 > 0)
                    slots_check_nan(v, &nans, count, slots_out(v, count, weight), want);
                continue;
            }
            slots_check(v, &r[0], EXACT_CASE, 1, count, slots_out(v, count, energy), E, NULL);
            if (weight)
                slots_check(v, &r[1], FORMULA_CASE, scales + 2, count, slots_out(v, count, weight), want, size);
        }
    }
    slots_end(v, &r[0]);
    slots_end(v, &r[1]);
    slots_end(v, &nans);
}

void slots_elementwise(slots *v)
{
    copy_zero(v);
    scale_add(v);
    mul_add(v);
    dot(v);
    loss_weights(v);
}
