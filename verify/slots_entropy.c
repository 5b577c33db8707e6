/* slots_entropy.c: the nearest of X, to the index and the last bit of the distance, and the cotangent of the last state.
 *                                                                                                  [ICD:6] [ICD:8] */
#include "slots.h"

#include <math.h>
#include <string.h>

/* Squared distance as the contract has it: over pixels in order, in double. */
static double distance(size_t d, const double *x, const double *X)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++)
        sum += (x[k] - X[k]) * (x[k] - X[k]);
    return sum;
}

/* kind 0: anything; 1: X all within 1e-4 of x, so that a float's sum cannot tell them apart; 2: each X twice, the first of two
 * must be found; 3: x is one of X, or all but. */
static double *neighbours(slots *v, int kind, int n, int m, size_t d, double *x)
{
    double *X = slots_normals(v, (size_t)m * d, kind == 1 ? 1e-4 : 1.0);
    for (size_t j = 0; j < (size_t)m; j++)
        for (size_t k = 0; k < d; k++) {
            double *to = &X[j * d + k];
            if (kind == 1)
                *to = (double)(float)(x[(j % (size_t)n) * d + k] + *to);
            else if (kind == 2 && j % 2)
                *to = X[(j - 1) * d + k];
            else if (kind == 3 && j == (size_t)(m / 2))
                *to = x[k];
        }
    if (kind == 3 && n > 1)      /* within 1e-7 of the same one */
        for (size_t k = 0; k < d; k++)
            x[d + k] = k == 0 ? (double)(float)(x[k] + 1e-7) : x[k];
    return X;
}

static void nearest(slots *v)
{
    static const int pixels[] = { 1, 2, 15, 16, 17, 31, 49, 784, 3072 };
    verify_row row[2] = { row_begin("nearest", "index, ties to the lowest"),
                          row_begin("nearest", "squared distance, to the bit") };
    verify_row nans = row_begin("nearest", "NaN in x: an index of X; NaN goes through");
    for (int i = 0; i < 72; i++) {
        int n = 1 + i % 5, m = 1 + 11 * i % 40 + (i % 9 == 4 ? 100 : 0), kind = i / 9 % 4;
        size_t d = (size_t)pixels[i % 9];
        slots_case(v, "%d of %d, %d pixels, kind %d", n, m, (int)d, kind);
        double *x = slots_normals(v, (size_t)n * d, 1.0), *X = neighbours(v, kind, n, m, d, x),
               *square = slots_zeros(v, (size_t)n);
        int index[5] = { 0 }, broken = i % 7 == 3;
        for (int a = 0; a < n; a++) {
            square[a] = INFINITY;
            for (int j = 0; j < m; j++) {
                double s = distance(d, x + (size_t)a * d, X + (size_t)j * d);
                if (s < square[a]) {
                    square[a] = s;
                    index[a] = j;
                }
            }
        }
        if (broken)
            x[slots_below(v, (int)d)] = NAN;          /* image 0; the others go on as they were */
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *a = slots_in(v, (size_t)n * d, sizeof(float), x), *b = slots_in(v, (size_t)m * d, sizeof(float), X);
            int32_t *at = slots_bytes(v, (size_t)n * sizeof *at, sizeof *at);
            double *s = slots_bytes(v, (size_t)n * sizeof *s, sizeof *s);
            GUARDED(&v->guard, v->table->nearest(&v->ctx, n, (int)d, a, m, b, at, s));
            const int32_t *found = slots_look(v, (size_t)n * sizeof *found, at);
            const double *got = slots_look(v, (size_t)n * sizeof *got, s);
            int wrong = 0, apart = 0;
            for (int j = broken; j < n; j++) {
                wrong += found[j] != index[j];
                apart += !(got[j] == square[j]);
            }
            slots_check_count(v, &row[0], wrong);
            slots_check_count(v, &row[1], apart);
            if (broken)
                slots_check_count(v, &nans, found[0] < 0 || found[0] >= m);
        }
    }
    slots_end(v, &row[0]);
    slots_end(v, &row[1]);
    slots_end(v, &nans);
}

/* v = inside (w_opt g - w_ent d log NN(x)/dx), the derivative from the tape. */
static void cotangent(slots *v)
{
    static const int pixels[] = { 1, 2, 15, 17, 64, 196 };
    verify_row r = row_begin("kl_cotangent", "w_opt g - w_ent (x - nn)/square"),
               nans = row_begin("kl_cotangent", "NaN goes through");
    for (int i = 0; i < 48; i++) {
        int n = 1 + i % 3, m = 1 + i % 7, with_index = i % 4 > 0, with_inside = i % 3 > 0, twin = i % 5 == 2;
        size_t d = (size_t)pixels[i % 6], count = (size_t)n * d;
        float w_opt = i % 11 == 3 ? 0.0f : 0.8f, w_ent = 0.3f;
        slots_case(v, "%d of %d, %d pixels, index %d, inside %d, twin %d", n, m, (int)d, with_index, with_inside, twin);
        double *x = slots_normals(v, count, 1.0), *X = slots_normals(v, (size_t)m * d, 1.0), *g = slots_normals(v, count, 1.0);
        double *inside = slots_normals(v, count, 1.0), *slope = slots_zeros(v, count), *want = slots_zeros(v, count);
        double *size = slots_zeros(v, count), *square = slots_zeros(v, (size_t)n), *logs = slots_zeros(v, (size_t)n),
               *ones = slots_zeros(v, 3);
        int32_t index[3] = { 0 };
        if (twin)                                      /* at no distance the second term is 0 */
            memcpy(x, X, d * sizeof *x);
        for (int a = 0; a < n; a++) {
            square[a] = INFINITY;
            ones[a] = 1;
            for (int j = 0; j < m; j++) {
                double s = distance(d, x + (size_t)a * d, X + (size_t)j * d);
                if (s < square[a]) {
                    square[a] = s;
                    index[a] = j;
                }
            }
        }
        slots_route(v, &(slot_route){ .function = SLOT_LOG_NEAREST, .m = m, .X = X, .inputs = 1, .gy = ones, .y = logs,
                                      .in = { { .s = { n, (int)d, 1, 1 }, .x = x, .gx = slope } } });
        int broken = i % 8 == 7 && !twin ? 1 + i / 8 % 2 : 0;
        if (broken)
            (broken == 1 ? g : x)[slots_below(v, (int)count)] = NAN;
        for (size_t k = 0; k < count; k++) {
            inside[k] = inside[k] > 0 || broken;
            double pull = with_index ? (double)w_ent * (broken == 2 && x[k] != x[k] ? NAN : slope[k]) : 0;
            want[k] = (with_inside ? inside[k] : 1) * ((double)w_opt * g[k] - pull);
            size[k] = fabs((double)w_opt * g[k]) + fabs(pull);
        }
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *a = slots_in(v, count, sizeof(float), x), *b = slots_in(v, (size_t)m * d, sizeof(float), X);
            float *gradient = slots_in(v, count, sizeof(float), g);
            float *mask = slots_in(v, count, sizeof(float), with_inside ? inside : NULL);
            int32_t *at = slots_data_in(v, (size_t)n * sizeof *at, sizeof *at, index);
            double *s = slots_data_in(v, (size_t)n * sizeof *s, sizeof *s, square);
            float *out = slots_room(v, count, sizeof(float));
            GUARDED(&v->guard, v->table->kl_cotangent(&v->ctx, n, (int)d, w_opt, gradient, w_ent, a, b, with_index ? at : NULL,
                                                      s, mask, out));
            double *got = slots_out(v, count, out);
            if (!broken)
                slots_check(v, &r, FORMULA_CASE, 6, count, got, want, size);
            else if (broken == 1 || with_index)
                slots_check_nan(v, &nans, count, got, want);
        }
    }
    slots_end(v, &r);
    slots_end(v, &nans);
}

void slots_entropy(slots *v)
{
    nearest(v);
    cotangent(v);
}
