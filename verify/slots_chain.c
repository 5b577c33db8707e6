/* slots_chain.c: a Langevin move, Adam with its EMA, sums of squares: against their formulas written out. */
#include "slots.h"

#include <math.h>
#include <string.h>

/* ---- langevin ----                                                                      [ICD:alg1.10] [GL:1] */

enum { N = 3 };
typedef struct { fast_langevin l; uint64_t iteration; double *x, *g, *normals; int in_place, drawn; } move;

static double normal_of(const move *q, int i, int j)
{
    const fast_langevin *l = &q->l;
    icd_stream s = { l->seed, q->iteration, l->purpose, l->sample + (uint32_t)i };
    return q->drawn ? (double)icd_normal(&s, l->first + (uint64_t)j) : (double)(float)q->normals[i * l->d + j];
}

/* Values before the clamp in double, and what their rounding is measured by. */
static void expect(const move *q, double *before, double *size)
{
    const fast_langevin *l = &q->l;
    for (int k = 0; k < l->n * l->d; k++) {
        double drift = q->g ? (double)l->step_size * q->g[k] : 0;
        double kick = l->noise > 0 ? (double)l->noise * normal_of(q, k / l->d, k % l->d) : 0;
        before[k] = q->x[k] - drift + kick;
        size[k] = fabs(q->x[k]) + fabs(drift) + fabs(kick);
    }
}

static double clamped(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

typedef struct { verify_row out, inside, length, finite, draws; } move_rows;

/* Where rounding could bring the value to the other side of 0 or 1, `inside` may be either. */
static int inside_wrong(const move *q, const float *inside, const double *before, const double *size)
{
    int wrong = 0;
    for (int k = 0; k < q->l.n * q->l.d; k++) {
        double margin = size[k] * 1e-6, b = before[k];
        int want = !q->l.clamp || (b >= 0 && b <= 1);
        if (!q->l.clamp || (fabs(b) > margin && fabs(b - 1) > margin))
            wrong += !(inside[k] == (float)want);
    }
    return wrong;
}

static void run_move(slots *v, move *q, guard_place place, move_rows *r)
{
    fast_langevin l = q->l;
    size_t count = (size_t)(l.n * l.d);
    double *before = slots_zeros(v, count), *size = slots_zeros(v, count), *want = slots_zeros(v, count);
    double *length = slots_zeros(v, (size_t)l.n);
    expect(q, before, size);
    int finite[N] = { 1, 1, 1 };
    for (size_t k = 0; k < count; k++) {
        want[k] = l.clamp ? clamped(before[k]) : before[k];
        finite[(int)k / l.d] &= want[k] - want[k] == 0;
    }
    for (int i = 0; i < l.n; i++) {
        double sum = 0;
        for (int j = 0; j < l.d && q->g; j++)
            sum += q->g[i * l.d + j] * q->g[i * l.d + j];
        length[i] = 1 + sqrt(sum);
    }
    slots_place(v, place, 0);
    float *x = q->in_place ? slots_inout(v, count, sizeof(float), q->x) : slots_in(v, count, sizeof(float), q->x);
    l.x = x;
    l.g = slots_in(v, count, sizeof(float), q->g);
    l.out = q->in_place ? x : slots_room(v, count, sizeof(float));
    l.inside = slots_room(v, count, sizeof(float));
    double *ones = slots_zeros(v, (size_t)l.n);
    const int all[N] = { 1, 1, 1 };
    for (int i = 0; i < l.n; i++)
        ones[i] = 1;
    l.iteration = slots_data_in(v, sizeof q->iteration, sizeof q->iteration, &q->iteration);
    l.length = slots_data_inout(v, (size_t)l.n * sizeof(double), sizeof(double), ones);
    l.finite = slots_data_inout(v, (size_t)l.n * sizeof(int), sizeof(int), all);
    if (q->normals)
        l.normals = slots_data_in(v, count * sizeof(double), sizeof(double), q->normals);
    GUARDED(&v->guard, v->table->langevin(&v->ctx, &l));
    const int *told = slots_look(v, (size_t)l.n * sizeof *told, l.finite);
    int broken = 0, wrong = 0;
    for (int i = 0; i < l.n; i++) {
        broken |= !finite[i];
        wrong += told[i] != finite[i];
    }
    double *got = slots_out(v, count, l.out);
    for (size_t k = 0; k < count && broken; k++)
        wrong += (got[k] - got[k] == 0) != (want[k] - want[k] == 0);
    slots_check_count(v, &r->finite, wrong);
    if (broken)
        return;
    slots_check(v, &r->out, FORMULA_CASE, 4, count, got, want, size);
    slots_check_count(v, &r->inside, inside_wrong(q, slots_look(v, count * sizeof(float), l.inside), before, size));
    slots_check(v, &r->length, CONV_CASE, l.d + 4, (size_t)l.n,
                slots_look(v, (size_t)l.n * sizeof(double), l.length), length, NULL);
    if (!q->g && q->drawn && !l.clamp && l.noise == 1) {      /* x = 0: the draws themselves, to the bit */
        wrong = 0;
        for (int k = 0; k < l.n * l.d; k++)
            wrong += !(got[k] == normal_of(q, k / l.d, k % l.d));
        slots_check_count(v, &r->draws, wrong);
    }
}

static void one_move(slots *v, int i, guard_place place, move_rows *r)
{
    static const int pixels[] = { 1, 2, 15, 16, 17, 48, 196, 784, 3 * 32 * 32 };
    int d = pixels[i % 9], draws = i % 5 == 4;
    size_t count = (size_t)(N * d);
    move q = { .iteration = (uint64_t)i << 33, .in_place = i % 2, .drawn = i % 3 > 0 };
    q.l = (fast_langevin){ .n = N, .d = d, .step_size = 0.1f, .noise = i % 7 == 3 ? 0.0f : 0.05f,
                           .clamp = i / 2 % 2, .seed = 77 + (uint64_t)i,
                           .first = (uint64_t)(i * 5), .purpose = ICD_DRAW_LANGEVIN, .sample = 3 };
    q.x = slots_normals(v, count, 0.5);
    q.g = i % 7 == 5 ? NULL : slots_normals(v, count, 2.0);
    for (size_t k = 0; k < count; k++)
        q.x[k] = fabs(q.x[k]);
    if (draws) {
        q = (move){ .iteration = q.iteration, .in_place = q.in_place, .drawn = 1, .x = slots_zeros(v, count), .l = q.l };
        q.l.noise = 1;
        q.l.clamp = 0;
    }
    q.normals = q.drawn ? NULL : slots_normals(v, count, 1.0);
    if (i % 6 == 1 && !draws)
        (i % 12 == 1 && q.g ? q.g : q.x)[slots_below(v, (int)count)] = i % 4 == 1 ? NAN : INFINITY;
    if (i % 6 == 1)
        q.l.clamp = i % 4 == 1 && q.l.clamp;          /* the clamp makes a number of an infinity, not of a NaN */
    run_move(v, &q, place, r);
}

void slots_chains(slots *v)
{
    move_rows r = { row_begin("langevin", "x - step g + noise z, clamped"),
                    row_begin("langevin", "inside, where the clamp cuts"), row_begin("langevin", "length, |g| of each chain"),
                    row_begin("langevin", "finite; NaN goes through"), row_begin("langevin", "the draws, to the bit") };
    for (int i = 0; i < 63; i++) {
        slots_case(v, "case %d", i);
        one_move(v, i, (guard_place)(i % GUARD_PLACES), &r);
    }
    slots_end(v, &r.out);
    slots_end(v, &r.inside);
    slots_end(v, &r.length);
    slots_end(v, &r.finite);
    slots_end(v, &r.draws);
}

/* ---- adam, sum_squares ----                                                         [ICD:alg1.17] [ICD:3.1] */

enum { CD, KL, THETA, EMA, M, V, VECTORS };

static void adam(slots *v)
{
    static const char *const names[VECTORS] = { "", "", "theta", "ema", "m", "v" };
    verify_row row[VECTORS], nans = row_begin("adam", "NaN goes through");
    for (int k = THETA; k < VECTORS; k++)
        row[k] = row_begin("adam", "%s, clipped and not", names[k]);
    for (int i = 1; i <= 41; i++) {
        size_t count = i == 41 ? 1000 : (size_t)i;
        slots_case(v, "%d parameters, case %d", (int)count, i);
        double *in[VECTORS], *want[VECTORS], *size[VECTORS], square = 0;
        for (int k = 0; k < VECTORS; k++) {
            in[k] = slots_normals(v, count, k == V ? 0.01 : 1.0);
            want[k] = slots_zeros(v, count);
            size[k] = slots_zeros(v, count);
        }
        if (i % 8 == 1)
            in[i % 16 == 1 ? CD : KL][slots_below(v, (int)count)] = NAN;
        for (size_t j = 0; j < count; j++) {
            in[V][j] = fabs(in[V][j]);
            square += (in[CD][j] + in[KL][j]) * (in[CD][j] + in[KL][j]);
        }
        fast_adam a = { .count = count, .grad_clip = i % 3 == 0 ? 0 : i % 3 == 1 ? 0.5 * sqrt(square) : 1e6,
                        .lr = 1e-2, .beta1 = i % 2 ? 0.9 : 0, .beta2 = 0.999, .c1 = i % 2 ? 0.271 : 1, .c2 = 0.0029,
                        .eps = 1e-8, .decay = 0.99 };
        if (square != square)
            square = 1;
        double clip = a.grad_clip > 0 && a.grad_clip / sqrt(square) < 1 ? a.grad_clip / sqrt(square) : 1;
        for (size_t j = 0; j < count; j++) {
            double g = clip * (in[CD][j] + in[KL][j]);
            want[M][j] = a.beta1 * in[M][j] + (1 - a.beta1) * g;
            want[V][j] = a.beta2 * in[V][j] + (1 - a.beta2) * g * g;
            want[THETA][j] = in[THETA][j] - a.lr * (want[M][j] / a.c1) / (sqrt(want[V][j] / a.c2) + a.eps);
            want[EMA][j] = a.decay * in[EMA][j] + (1 - a.decay) * want[THETA][j];
            for (int k = THETA; k < VECTORS; k++)
                size[k][j] = fabs(want[k][j]);
        }
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *p[VECTORS];
            for (int k = 0; k < VECTORS; k++)
                p[k] = k <= KL ? slots_in(v, count, sizeof(float), in[k]) : slots_inout(v, count, sizeof(float), in[k]);
            a.cd = p[CD];
            a.kl = p[KL];
            a.theta = p[THETA];
            a.ema = p[EMA];
            a.m = p[M];
            a.v = p[V];
            a.square = slots_data_in(v, sizeof square, sizeof square, &square);
            GUARDED(&v->guard, v->table->adam(&v->ctx, &a));
            for (int k = THETA; k < VECTORS; k++) {
                double *got = slots_out(v, count, p[k]);
                if (i % 8 == 1)
                    slots_check_nan(v, &nans, count, got, want[k]);
                else
                    slots_check(v, &row[k], ROUNDED_CASE, 1, count, got, want[k], size[k]);
            }
        }
    }
    for (int k = THETA; k < VECTORS; k++)
        slots_end(v, &row[k]);
    slots_end(v, &nans);
}

static void sum_squares(slots *v)
{
    verify_row r = row_begin("sum_squares", "1..80 values and 20000"), nans = row_begin("sum_squares", "NaN goes through");
    for (int i = 1; i <= 81; i++) {
        size_t count = i == 81 ? 20000 : (size_t)i;
        int with_b = i % 2;
        slots_case(v, "%d values, b %d", (int)count, with_b);
        double *a = slots_normals(v, count, 1.0), *b = slots_normals(v, count, 1.0), want = 0;
        if (i % 8 == 1)
            (i % 16 == 1 ? a : b)[slots_below(v, (int)count)] = NAN;
        for (size_t j = 0; j < count; j++)
            want += (a[j] + (with_b ? b[j] : 0)) * (a[j] + (with_b ? b[j] : 0));
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *x = slots_in(v, count, sizeof(float), a), *y = with_b ? slots_in(v, count, sizeof(float), b) : NULL;
            double *out = slots_bytes(v, sizeof(double), sizeof(double));
            GUARDED(&v->guard, v->table->sum_squares(&v->ctx, count, x, y, out));
            double got = *(const double *)slots_look(v, sizeof got, out);
            if (i % 8 == 1)
                slots_check_nan(v, &nans, 1, &got, &want);
            else
                slots_check(v, &r, DOUBLE_CASE, (double)count + 4, 1, &got, &want, NULL);
        }
    }
    slots_end(v, &r);
    slots_end(v, &nans);
}

void slots_updates(slots *v)
{
    adam(v);
    sum_squares(v);
}
