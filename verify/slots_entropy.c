/* slots_entropy.c: the nearest of X, to the index and the last bit of the distance, and the cotangent of the last state.
 *                                                                                                  [ICD:6] [ICD:8] */
#include "slots.h"

#include <math.h>

/* x and g (n,d), X (m,d), inside (n,d) or NULL; what must come: index and square (n), v (n,d), measured by size. */
typedef struct {
    int n, m;
    size_t d;
    float w_opt, w_ent;
    double *x, *X, *g, *inside, *square, *v, *size;
    int *index;
} sought;

/* kind 0: anything; 1: X all within 1e-4 of x, so that a float's sum cannot tell them apart; 2: each X twice, the first of two
 * must be found; 3: x is one of X, or all but. */
static void draw(slots *v, int kind, sought *q)
{
    size_t d = q->d, n = (size_t)q->n;
    q->x = slots_normals(v, n * d, 1.0);
    q->X = slots_normals(v, (size_t)q->m * d, kind == 1 ? 1e-4 : 1.0);
    for (size_t j = 0; j < (size_t)q->m; j++)
        for (size_t k = 0; k < d; k++) {
            double *to = &q->X[j * d + k];
            if (kind == 1)
                *to = (double)(float)(q->x[(j % n) * d + k] + *to);
            else if (kind == 2 && j % 2)
                *to = q->X[(j - 1) * d + k];
            else if (kind == 3 && j == (size_t)(q->m / 2))
                *to = q->x[k];
        }
    if (kind == 3 && n > 1)      /* within 1e-7 of the same one */
        for (size_t k = 0; k < d; k++)
            q->x[d + k] = k == 0 ? (double)(float)(q->x[k] + 1e-7) : q->x[k];
}

/* Squared distances as the contract has them: over pixels in order, in double. */
static void search(sought *q, int i)
{
    q->square[i] = INFINITY;
    q->index[i] = 0;
    for (int j = 0; j < q->m; j++) {
        const double *x = q->x + (size_t)i * q->d, *X = q->X + (size_t)j * q->d;
        double sum = 0;
        for (size_t k = 0; k < q->d; k++)
            sum += (x[k] - X[k]) * (x[k] - X[k]);
        if (sum < q->square[i]) {
            q->square[i] = sum;
            q->index[i] = j;
        }
    }
}

/* v = inside (w_opt g - w_ent d log NN(x)/dx), the derivative from the tape. broken: a NaN in g (1) or in image 0 of x (2), to
 * which then none is nearest. */
static void expect(slots *v, int broken, sought *q)
{
    size_t n = (size_t)q->n, count = n * q->d;
    double *slope = slots_zeros(v, count), *logs = slots_zeros(v, n), *ones = slots_zeros(v, n);
    q->v = slots_zeros(v, count);
    q->size = slots_zeros(v, count);
    q->square = slots_zeros(v, n);
    for (size_t i = 0; i < n; i++)
        ones[i] = 1;
    if (q->m > 0)
        slots_route(v, &(slot_route){ .function = SLOT_LOG_NEAREST, .m = q->m, .X = q->X, .inputs = 1, .gy = ones, .y = logs,
                                      .in = { { .s = { q->n, (int)q->d, 1, 1 }, .x = q->x, .gx = slope } } });
    if (broken)
        (broken == 1 ? q->g : q->x)[slots_below(v, (int)q->d)] = NAN;
    for (int i = 0; i < q->n; i++)
        search(q, i);
    for (size_t k = 0; k < count; k++) {
        double pull = q->m == 0 ? 0 : (double)q->w_ent * (broken == 2 && k < q->d ? q->x[k] / q->square[0] : slope[k]);
        q->v[k] = (q->inside ? q->inside[k] : 1) * ((double)q->w_opt * q->g[k] - pull);
        q->size[k] = fabs((double)q->w_opt * q->g[k]) + fabs(pull);
    }
}

typedef struct { verify_row index, square, v, nans; } sought_rows;

static void run(slots *v, guard_place place, int broken, const sought *q, sought_rows *r)
{
    size_t n = (size_t)q->n, count = n * q->d;
    slots_place(v, place, 0);
    fast_nearest e = { .n = q->n, .d = (int)q->d, .m = q->m, .w_opt = q->w_opt, .w_ent = q->w_ent };
    e.x = slots_in(v, count, sizeof(float), q->x);
    e.X = slots_in(v, (size_t)q->m * q->d, sizeof(float), q->m ? q->X : NULL);
    e.g = slots_in(v, count, sizeof(float), q->g);
    e.inside = slots_in(v, count, sizeof(float), q->inside);
    e.index = q->m ? slots_bytes(v, n * sizeof *e.index, sizeof *e.index) : NULL;
    e.square = q->m ? slots_bytes(v, n * sizeof *e.square, sizeof *e.square) : NULL;
    e.v = slots_room(v, count, sizeof(float));
    GUARDED(&v->guard, v->table->nearest(&v->ctx, &e));
    double *got = slots_out(v, count, e.v);
    if (broken)
        slots_check_nan(v, &r->nans, count, got, q->v);
    else
        slots_check(v, &r->v, FORMULA_CASE, 6, count, got, q->v, q->size);
    if (q->m == 0)
        return;
    const int32_t *index = slots_look(v, n * sizeof *index, e.index);
    const double *square = slots_look(v, n * sizeof *square, e.square);
    int wrong = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += index[i] != q->index[i];
        apart += !(square[i] == q->square[i]);
    }
    slots_check_count(v, &r->index, wrong);
    slots_check_count(v, &r->square, apart);
}

void slots_entropy(slots *v)
{
    /* The last two: so many images that a block of a device's threads has several tiles of neighbours, or all. */
    enum { USUAL = 120, MANY = 2, MOST = 2100 };
    static const int pixels[] = { 1, 2, 15, 16, 17, 31, 49, 196, 784, 3072 };
    sought_rows r = { row_begin("nearest", "index, ties to the lowest"), row_begin("nearest", "squared distance, to the bit"),
                      row_begin("nearest", "w_opt g - w_ent (x - nn)/square"), row_begin("nearest", "NaN goes through") };
    static int index[MOST];
    for (int i = 0; i < USUAL + MANY; i++) {
        int many = i - USUAL, kind = i / 10 % 4, broken = i % 7 == 3;
        sought q = { .n = 1 + i % 5, .index = index, .m = i % 11 == 7 ? 0 : 1 + 11 * i % 40 + (i % 9 == 4 ? 100 : 0),
                     .d = (size_t)pixels[i % 10], .w_opt = i % 13 ? 0.8f : 0, .w_ent = 0.3f };
        if (many >= 0)
            q.n = many ? MOST : 1000, q.m = many ? 70 : 100, q.d = 2 + (size_t)many, kind = 2;
        if (broken && q.m > 0 && i % 2)
            broken = 2;
        slots_case(v, "%d of %d, %d pixels, kind %d, inside %d, NaN %d", q.n, q.m, (int)q.d, kind, i % 3 > 0, broken);
        size_t count = (size_t)q.n * q.d;
        draw(v, kind, &q);
        q.g = slots_normals(v, count, 1.0);
        q.inside = i % 3 > 0 ? slots_normals(v, count, 1.0) : NULL;
        for (size_t k = 0; q.inside && k < count; k++)
            q.inside[k] = q.inside[k] > 0 || broken;
        expect(v, broken, &q);
        for (int place = GUARD_END; place < GUARD_PLACES; place++)
            run(v, (guard_place)place, broken, &q, &r);
    }
    slots_end(v, &r.index);
    slots_end(v, &r.square);
    slots_end(v, &r.v);
    slots_end(v, &r.nans);
}
