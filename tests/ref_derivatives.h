/* ref_derivatives.h: derivatives of a recorded function, order by order, against an independent route.
 *
 * Let L_0 = <c, f(x)> with a drawn cotangent c, and L_k = <u_k, grad L_{k-1}> with drawn directions u_k, the gradient by
 * everything: the inputs x and the cotangent c. Then along a drawn direction v the derivative of L_{k-1} is <grad L_{k-1}, v>
 * by tape_grad; and, by nothing but evaluating L_{k-1},
 *   complex build: Im L_{k-1}(x + i h v)/h, h = 1e-30, exact to rounding;
 *   double build:  (L_{k-1}(x + h v) - L_{k-1}(x - h v))/2h, h = 1e-5: h^2 L'''/6 + eps L/h, 1e-10 of the sizes here;
 *   float build:   the same with h = 1/256: 1e-5 and 1e-4 of the sizes. */
#ifndef ICD_REF_DERIVATIVES_H
#define ICD_REF_DERIVATIVES_H

#include <stdlib.h>

#include "ref_test.h"

#if REF_REAL == 128
#define ROUTE_BOUND 1e-12
#elif REF_REAL == 64
#define ROUTE_BOUND 1e-6
#else
#define ROUTE_BOUND 2e-2
#endif

enum { MAX_INPUTS = 64, MAX_ORDER = 3 };

/* A function under test: record() makes y from the inputs; context is its own. */
typedef struct {
    const char *name;
    int inputs;
    shape s[MAX_INPUTS];
    real *x[MAX_INPUTS];                       /* where it is taken; owned by the caller */
    var (*record)(tape *t, const var *in, const void *context);
    const void *context;
    int constant;                              /* 1: y does not depend on the inputs, locally */
} function;

/* x + amount * direction `seed`, as a leaf. */
static inline var moved(tape *t, shape s, const real *x, uint64_t seed, real amount)
{
    var v = drawn(t, seed, s);
    for (size_t i = 0; i < shape_count(s); i++)
        value(t, v)[i] = x[i] + amount * value(t, v)[i];
    return v;
}

static inline uint64_t direction(int which, int input) { return 1000u * (uint64_t)(which + 1) + (uint64_t)input; }

/* Record L_order at x + amount v. in gets the inputs and, last, the cotangent. */
static inline var record_level(tape *t, const function *f, int order, real amount, var *in)
{
    for (int i = 0; i < f->inputs; i++)
        in[i] = moved(t, f->s[i], f->x[i], direction(0, i), amount);
    var y = f->record(t, in, f->context);
    shape sy = shape_of(t, y);
    real *c = icd_alloc(shape_count(sy), sizeof *c);
    draw(direction(1, 0), shape_count(sy), c);
    in[f->inputs] = moved(t, sy, c, direction(0, f->inputs), amount);
    icd_free(c);
    var L = tape_sum(t, tape_mul(t, y, in[f->inputs]));
    for (int k = 1; k <= order; k++) {
        var g[MAX_INPUTS + 1], next = -1;
        tape_grad(t, L, -1, f->inputs + 1, in, g);
        for (int i = 0; i <= f->inputs; i++) {
            var term = tape_sum(t, tape_mul(t, drawn(t, direction(1 + k, i), shape_of(t, g[i])), g[i]));
            next = i == 0 ? term : tape_add(t, next, term);
        }
        L = next;
    }
    return L;
}

static inline real level_at(const function *f, int order, real amount)
{
    tape t;
    var in[MAX_INPUTS + 1];
    tape_init(&t, 0);
    var L = record_level(&t, f, order, amount, in);
    real result = t.status == ICD_OK ? value(&t, L)[0] : (real)NAN;
    tape_release(&t);
    return result;
}

/* The derivative of L_order along v without differentiating L_order. */
static inline double other_route(const function *f, int order)
{
#if REF_REAL == 128
    return im(level_at(f, order, 1e-30 * I)) / 1e-30;
#elif REF_REAL == 64
    return (level_at(f, order, 1e-5) - level_at(f, order, -1e-5)) / 2e-5;
#else
    return (double)(level_at(f, order, 0x1p-8f) - level_at(f, order, -0x1p-8f)) * 128;
#endif
}

/* seen(t) looks at the tape after each order, or NULL. */
static inline void check_derivatives(const function *f, int orders, void (*seen)(const tape *t))
{
    for (int k = 0; k < orders; k++) {
        tape t;
        var in[MAX_INPUTS + 1], g[MAX_INPUTS + 1];
        tape_init(&t, 0);
        var L = record_level(&t, f, k, 0, in);
        tape_grad(&t, L, -1, f->inputs + 1, in, g);
        CHECK(t.status == ICD_OK);
        double sum = 0, size = 0;
        for (int i = 0; i <= f->inputs && t.status == ICD_OK; i++) {
            double part;
            sum += dot(&t, g[i], drawn(&t, direction(0, i), shape_of(&t, g[i])), &part);
            size += part;
            /* not 0 = 0 */
            CHECK(f->constant && i < f->inputs ? part == 0 : k > 0 || part > 0);
        }
        CHECK(k > 1 || size > 0 || f->constant);
        double other = other_route(f, k), bound = ROUTE_BOUND * (size + fabs(at(&t, L, 0)));
        if (!(fabs(sum - other) <= bound)) {
            test_failures++;
            printf("%s, order %d: %.17g, the other route %.17g, apart %.3g > %.3g\n", f->name, k + 1, sum, other,
                   fabs(sum - other), bound);
        }
        if (seen)
            seen(&t);
        tape_release(&t);
    }
}

#endif
