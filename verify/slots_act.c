/* slots_act.c: activations alone, and copying between the two layouts.                                    [ICD:B.1] */
#include "slots.h"

#include <math.h>

static const struct { const char *name; fast_act act; slot_function f; float slope; icd_case bound; } acts[] = {
    { "swish", FAST_SWISH, SLOT_SWISH, 0.0f,  SWISH_CASE },
    { "lrelu", FAST_LRELU, SLOT_LRELU, 0.05f, LRELU_CASE },
};
enum { FWD, BWD, BWD2, PASSES };
enum { X, GY, X_T, HY, INPUTS };
static const char *const slot_names[PASSES] = { "act_fwd", "act_bwd", "act_bwd2" };

/* N(0,1) widened to what exp meets: -100, 0 and 100 among them. */
static double *arguments(slots *v, size_t count)
{
    static const double special[] = { 0, -100, 100, -88.8, 88.8, 1e-30, -20, 20, -1e4, 1e4 };
    double *x = slots_normals(v, count, 3.0);
    for (size_t i = 0; i < sizeof special / sizeof special[0] && i < count / 2; i++)
        x[count - 1 - i] = (double)(float)special[i];
    return x;
}

static void reference(slots *v, int which, int count, double *const in[INPUTS], double *const want[PASSES])
{
    slot_shape s = { 1, 1, 1, count };
    slot_route r = { .function = acts[which].f, .slope = (double)acts[which].slope, .inputs = 1, .gy = in[GY], .hy = in[HY],
                     .y = want[FWD], .in = { { .s = s, .x = in[X], .x_t = in[X_T], .gx = want[BWD], .hx = want[BWD2] } } };
    slots_route(v, &r);
}

static double *run(slots *v, int which, int p, size_t count, double *const in[INPUTS], int in_place)
{
    fast_act a = acts[which].act;
    float slope = acts[which].slope, *x = slots_in(v, count, 64, in[X]), *gy = NULL, *out;
    if (p == BWD && in_place) {
        gy = out = slots_inout(v, count, 64, in[GY]);
    } else {
        gy = p == FWD ? NULL : slots_in(v, count, 64, in[GY]);
        out = slots_room(v, count, 64);
    }
    if (p == FWD)
        GUARDED(&v->guard, v->table->act_fwd(&v->ctx, a, slope, count, x, out));
    else if (p == BWD)
        GUARDED(&v->guard, v->table->act_bwd(&v->ctx, a, slope, count, x, gy, out));
    else {
        float *x_t = slots_in(v, count, 64, in[X_T]), *hy = slots_in(v, count, 64, in[HY]);
        GUARDED(&v->guard, v->table->act_bwd2(&v->ctx, a, slope, count, x, x_t, hy, gy, out));
    }
    return slots_out(v, count, out);
}

/* What the rounding of each output is measured by: |x|, |gy|, |hy| + |x_t gy|. */
static double *sizes(slots *v, int p, size_t count, double *const in[INPUTS])
{
    double *s = slots_zeros(v, count);
    for (size_t i = 0; i < count; i++)
        s[i] = p == FWD ? fabs(in[X][i]) : p == BWD ? fabs(in[GY][i]) : fabs(in[HY][i]) + fabs(in[X_T][i] * in[GY][i]);
    return s;
}

/* Does a NaN in input k come out of pass p? The leaky ReLU's second derivative is 0, and what it multiplies may be left out. */
static int reads(fast_act a, int p, int k)
{
    static const int first[INPUTS] = { FWD, BWD, BWD2, BWD2 };
    return a == FAST_SWISH && k == X ? 1 : first[k] == p && !(a == FAST_LRELU && k == X_T);
}

static void activation(slots *v, int which)
{
    verify_row row[PASSES], nans[PASSES];
    for (int p = 0; p < PASSES; p++) {
        row[p] = row_begin(slot_names[p], "%s, 1..80 values and 1000, -1e4..1e4", acts[which].name);
        nans[p] = row_begin(slot_names[p], "%s, NaN goes through", acts[which].name);
    }
    for (int i = 1; i <= 81; i++) {
        int count = i == 81 ? 1000 : i;
        slots_case(v, "%d values", count);
        double *in[INPUTS], *want[PASSES];
        for (int k = 0; k < INPUTS; k++)
            in[k] = k == X ? arguments(v, (size_t)count) : slots_normals(v, (size_t)count, 1.0);
        for (int p = 0; p < PASSES; p++)
            want[p] = slots_zeros(v, (size_t)count);
        reference(v, which, count, in, want);
        for (int p = 0; p < PASSES; p++)
            for (int place = GUARD_END; place < GUARD_ODD; place++) {
                slots_place(v, (guard_place)place, 0);
                double *got = run(v, which, p, (size_t)count, in, i % 2);
                slots_check(v, &row[p], acts[which].bound, 1, (size_t)count, got, want[p], sizes(v, p, (size_t)count, in));
            }
        for (int k = 0; k < INPUTS && i % 8 == 1; k++) {
            in[k][slots_below(v, count)] = NAN;
            reference(v, which, count, in, want);
            for (int p = 0; p < PASSES; p++) {
                if (reads(acts[which].act, p, k)) {
                    slots_place(v, GUARD_END, 0);
                    slots_check_nan(v, &nans[p], (size_t)count, run(v, which, p, (size_t)count, in, 0), want[p]);
                }
            }
            in[k] = k == X ? arguments(v, (size_t)count) : slots_normals(v, (size_t)count, 1.0);
        }
    }
    for (int p = 0; p < PASSES; p++) {
        slots_end(v, &row[p]);
        slots_end(v, &nans[p]);
    }
}

void slots_activations(slots *v)
{
    activation(v, 0);
    activation(v, 1);
}

/* pack and unpack are copies: exact, NaN and all; planar images may lie on any float. */
void slots_layouts(slots *v)
{
    const char *sizes = "channels 1..40, pixels 1..289";
    verify_row row[2] = { row_begin("pack", "%s", sizes), row_begin("unpack", "%s", sizes) };
    verify_row nans[2] = { row_begin("pack", "NaN goes through"), row_begin("unpack", "NaN goes through") };
    for (int i = 0; i < 40; i++) {
        int n = 1 + i % 3, c = 1 + i, hw = (1 + 5 * i % 17) * (1 + 3 * i % 17);
        slots_case(v, "%d images, %d channels, %d pixels", n, c, hw);
        size_t count = (size_t)(n * c) * (size_t)hw;
        double *x = slots_normals(v, count, 1.0);
        if (i % 4 == 0)
            x[slots_below(v, (int)count)] = NAN;
        for (int unpack = 0; unpack < 2; unpack++)
            for (int place = GUARD_END; place < GUARD_PLACES; place++) {
                slots_place(v, (guard_place)place, 0);
                float *from = unpack ? slots_blocked_in(v, n, c, hw, x) : slots_in(v, count, sizeof(float), x);
                float *to = unpack ? slots_room(v, count, sizeof(float)) : slots_blocked_room(v, n, c, hw);
                if (unpack)
                    GUARDED(&v->guard, v->table->unpack(&v->ctx, n, c, hw, from, to));
                else
                    GUARDED(&v->guard, v->table->pack(&v->ctx, n, c, hw, from, to));
                double *got = unpack ? slots_out(v, count, to) : slots_blocked_out(v, n, c, hw, to);
                if (i % 4 == 0)
                    slots_check_nan(v, &nans[unpack], count, got, x);
                else
                    slots_check(v, &row[unpack], EXACT_CASE, 1, count, got, x, NULL);
            }
    }
    for (int u = 0; u < 2; u++) {
        slots_end(v, &row[u]);
        slots_end(v, &nans[u]);
    }
}
