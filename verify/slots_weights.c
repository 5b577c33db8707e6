/* slots_weights.c: weight standardisation and spectral normalisation.                                   [GL:5.2.2] */
#include "slots.h"

#include <math.h>

typedef void (*forward)(fast_ctx *, int o, int m, const float *w, float *out);
typedef void (*backward)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);

static void one(slots *v, slot_function f, const char *fwd_name, const char *bwd_name, forward fwd, backward bwd)
{
    int spectral = f == SLOT_SPECTRAL;
    verify_row row[2] = { row_begin(fwd_name, "1..40 rows of 1..360"), row_begin(bwd_name, "1..40 rows of 1..360") };
    verify_row nans[2] = { row_begin(fwd_name, "NaN goes through"), row_begin(bwd_name, "NaN goes through") };
    for (int i = 0; i < 40; i++) {
        int o = 1 + i, m = 9 * (1 + 7 * i % 40);
        if (i % 4 == 1)
            m = 2 + i;
        slots_case(v, "%d rows of %d", o, m);
        size_t count = (size_t)o * (size_t)m;
        double *w = slots_normals(v, count, 0.3), *gout = slots_normals(v, count, 1.0), *start = slots_normals(v, count, 1.0);
        double *want = slots_zeros(v, count), *gw = slots_zeros(v, count);
        if (i % 8 == 2)
            w[slots_below(v, (int)count)] = NAN;
        slots_route(v, &(slot_route){ .function = f, .inputs = 1, .gy = gout, .y = want,
                                      .in = { { .s = { o, m, 1, 1 }, .x = w, .gx = gw } } });
        for (size_t j = 0; j < count; j++)
            gw[j] += start[j];
        double terms = spectral ? 24.0 * (o + m) : m + 16.0;
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            size_t scratch = spectral ? v->table->spectral_scratch(o, m) : 0;
            slots_place(v, (guard_place)place, scratch);
            float *from = i % 2 ? slots_inout(v, count, sizeof(float), w) : slots_in(v, count, sizeof(float), w);
            float *to = i % 2 ? from : slots_room(v, count, sizeof(float));
            GUARDED(&v->guard, fwd(&v->ctx, o, m, from, to));
            if (i % 8 == 2)
                slots_check_nan(v, &nans[0], count, slots_out(v, count, to), want);
            else
                slots_check(v, &row[0], WEIGHTS_CASE, terms, count, slots_out(v, count, to), want, NULL);
            slots_place(v, (guard_place)place, scratch);
            from = slots_in(v, count, sizeof(float), w);
            float *g = slots_in(v, count, sizeof(float), gout), *sum = slots_inout(v, count, sizeof(float), start);
            GUARDED(&v->guard, bwd(&v->ctx, o, m, from, g, sum));
            if (i % 8 == 2)
                slots_check_nan(v, &nans[1], count, slots_out(v, count, sum), gw);
            else
                slots_check(v, &row[1], WEIGHTS_CASE, terms, count, slots_out(v, count, sum), gw, NULL);
        }
    }
    for (int b = 0; b < 2; b++) {
        slots_end(v, &row[b]);
        slots_end(v, &nans[b]);
    }
}

void slots_weights(slots *v)
{
    one(v, SLOT_WEIGHT_STD, "weight_std_fwd", "weight_std_bwd", v->table->weight_std_fwd, v->table->weight_std_bwd);
    one(v, SLOT_SPECTRAL, "spectral_fwd", "spectral_bwd", v->table->spectral_fwd, v->table->spectral_bwd);
}
