/* slots_classes.c: the gain and bias of images with classes, and the way back: against their formulas in double. */
#include "slots.h"

#include <math.h>

enum { CLASSES = 3, MOST = 5 };

typedef struct {
    int n, c, with_affine;
    int32_t label[MOST];
    double *gain, *bias, *class_gain, *class_bias;       /* (c), (c), (CLASSES,c), (CLASSES,c) */
} class_case;

static int has_nan(size_t count, const double *x)
{
    for (size_t i = 0; i < count; i++)
        if (isnan(x[i]))
            return 1;
    return 0;
}

static void forward(slots *v, const class_case *q, verify_row *r, verify_row *nans)
{
    size_t count = (size_t)(q->n * q->c), c = (size_t)q->c;
    double *want[2] = { slots_zeros(v, count), slots_zeros(v, count) }, *size[2] = { slots_zeros(v, count), slots_zeros(v, count) };
    for (size_t at = 0; at < count; at++) {
        size_t k = at % c, row = (size_t)q->label[at / c] * c + k;
        want[0][at] = q->class_gain[row] * (q->with_affine ? q->gain[k] : 1);
        want[1][at] = q->class_bias[row] + (q->with_affine ? q->class_gain[row] * q->bias[k] : 0);
        size[0][at] = fabs(want[0][at]);
        size[1][at] = fabs(q->class_bias[row]) + (q->with_affine ? fabs(q->class_gain[row] * q->bias[k]) : 0);
    }
    for (int place = GUARD_END; place < GUARD_PLACES; place++) {
        slots_place(v, (guard_place)place, 0);
        int32_t *labels = slots_data_in(v, (size_t)q->n * sizeof *labels, sizeof *labels, q->label);
        float *gain = slots_in(v, c, sizeof(float), q->with_affine ? q->gain : NULL);
        float *bias = slots_in(v, c, sizeof(float), q->with_affine ? q->bias : NULL);
        float *class_gain = slots_in(v, CLASSES * c, sizeof(float), q->class_gain);
        float *class_bias = slots_in(v, CLASSES * c, sizeof(float), q->class_bias);
        float *got[2] = { slots_room(v, count, sizeof(float)), slots_room(v, count, sizeof(float)) };
        GUARDED(&v->guard, v->table->class_affine_fwd(&v->ctx, q->n, q->c, labels, gain, bias, class_gain, class_bias, got[0],
                                                      got[1]));
        for (int o = 0; o < 2; o++)
            if (has_nan(count, want[o]))
                slots_check_nan(v, nans, count, slots_out(v, count, got[o]), want[o]);
            else
                slots_check(v, r, FORMULA_CASE, 3, count, slots_out(v, count, got[o]), want[o], size[o]);
    }
}

/* Gradients of the parameters: gain, bias, class_gain, class_bias. */
static void backward(slots *v, const class_case *q, int break_one, verify_row *r, verify_row *nans)
{
    enum { GAIN, BIAS, CLASS_GAIN, CLASS_BIAS, OUTPUTS };
    size_t c = (size_t)q->c, count = (size_t)q->n * c, counts[OUTPUTS] = { c, c, CLASSES * c, CLASSES * c };
    double *gg = slots_normals(v, count, 1.0), *gb = slots_normals(v, count, 1.0);
    double *start[OUTPUTS], *want[OUTPUTS], *size[OUTPUTS];
    if (break_one)
        (break_one % 2 ? gg : gb)[slots_below(v, (int)count)] = NAN;
    for (int o = 0; o < OUTPUTS; o++) {
        start[o] = slots_normals(v, counts[o], 1.0);
        want[o] = slots_zeros(v, counts[o]);
        size[o] = slots_absolute(v, counts[o], start[o]);
        for (size_t k = 0; k < counts[o]; k++)
            want[o][k] = start[o][k];
    }
    for (size_t at = 0; at < count; at++) {
        size_t k = at % c, row = (size_t)q->label[at / c] * c + k;
        double by_gain = gg[at] * (q->with_affine ? q->gain[k] : 1), by_bias = q->with_affine ? gb[at] * q->bias[k] : 0;
        const double terms[OUTPUTS] = { gg[at] * q->class_gain[row], gb[at] * q->class_gain[row], by_gain + by_bias, gb[at] };
        const double sizes[OUTPUTS] = { fabs(terms[GAIN]), fabs(terms[BIAS]), fabs(by_gain) + fabs(by_bias), fabs(gb[at]) };
        for (int o = 0; o < OUTPUTS; o++) {
            want[o][counts[o] == c ? k : row] += terms[o];
            size[o][counts[o] == c ? k : row] += sizes[o];
        }
    }
    for (int place = GUARD_END; place < GUARD_PLACES; place++) {
        float *got[OUTPUTS] = { NULL };
        slots_place(v, (guard_place)place, 0);
        int32_t *labels = slots_data_in(v, (size_t)q->n * sizeof *labels, sizeof *labels, q->label);
        float *gain = slots_in(v, c, sizeof(float), q->with_affine ? q->gain : NULL);
        float *bias = slots_in(v, c, sizeof(float), q->with_affine ? q->bias : NULL);
        float *class_gain = slots_in(v, CLASSES * c, sizeof(float), q->class_gain);
        float *image_gg = slots_in(v, count, sizeof(float), gg), *image_gb = slots_in(v, count, sizeof(float), gb);
        for (int o = q->with_affine ? GAIN : CLASS_GAIN; o < OUTPUTS; o++)
            got[o] = slots_inout(v, counts[o], sizeof(float), start[o]);
        GUARDED(&v->guard, v->table->class_affine_bwd(&v->ctx, q->n, q->c, labels, gain, bias, class_gain, image_gg, image_gb,
                                                      got[GAIN], got[BIAS], got[CLASS_GAIN], got[CLASS_BIAS]));
        for (int o = 0; o < OUTPUTS; o++)
            if (got[o] && has_nan(counts[o], want[o]))
                slots_check_nan(v, nans, counts[o], slots_out(v, counts[o], got[o]), want[o]);
            else if (got[o])
                slots_check(v, r, FORMULA_CASE, q->n + 3, counts[o], slots_out(v, counts[o], got[o]), want[o], size[o]);
    }
}

void slots_classes(slots *v)
{
    verify_row r[2] = { row_begin("class_affine_fwd", "1..5 images of 1..40 channels, 3 classes"),
                        row_begin("class_affine_bwd", "1..5 images of 1..40 channels, 3 classes") };
    verify_row nans[2] = { row_begin("class_affine_fwd", "NaN goes through"), row_begin("class_affine_bwd", "NaN goes through") };
    for (int i = 0; i < 60; i++) {
        class_case q = { .n = 1 + i % MOST, .c = 1 + i * 7 % 40, .with_affine = i % 3 > 0 };
        int break_one = i % 10 == 7 || i % 10 == 4 ? i : 0;
        slots_case(v, "%d images, %d channels, gain and bias %d", q.n, q.c, q.with_affine);
        for (int k = 0; k < q.n; k++)
            q.label[k] = (int32_t)slots_below(v, CLASSES);
        q.gain = slots_normals(v, (size_t)q.c, 1.0);
        q.bias = slots_normals(v, (size_t)q.c, 1.0);
        q.class_gain = slots_normals(v, (size_t)(CLASSES * q.c), 1.0);
        q.class_bias = slots_normals(v, (size_t)(CLASSES * q.c), 1.0);
        backward(v, &q, break_one, &r[1], &nans[1]);
        if (break_one)
            (i % 20 < 10 ? q.class_gain : q.class_bias)[(size_t)q.label[0] * (size_t)q.c] = NAN;
        forward(v, &q, &r[0], &nans[0]);
    }
    for (int k = 0; k < 2; k++) {
        slots_end(v, &r[k]);
        slots_end(v, &nans[k]);
    }
}
