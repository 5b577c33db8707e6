/* ref_test.h: what the tests of ref/ share. Numbers are drawn, so that no test differentiates a plain sum. */
#ifndef ICD_REF_TEST_H
#define ICD_REF_TEST_H

#include "common/rng.h"
#include "ref/ops.h"
#include "test.h"

#if REF_REAL == 32
#define EPS 0x1p-23
#else
#define EPS 0x1p-52
#endif

#if REF_REAL == 128
static inline double im(real x) { return cimag(x); }
#endif

/* Standard normals, the same at every run; another `seed`, other numbers. */
static inline void draw(uint64_t seed, size_t n, real *x)
{
    icd_stream s = { seed, 0, ICD_DRAW_TEST, 0 };
    for (size_t i = 0; i < n; i++)
        x[i] = (real)icd_normal(&s, i);
}

/* A leaf of drawn numbers. */
static inline var drawn(tape *t, uint64_t seed, shape s)
{
    var x = tape_leaf(t, s, NULL);
    draw(seed, shape_count(s), value(t, x));
    return x;
}

/* Value i of x, its real part. */
static inline double at(const tape *t, var x, size_t i) { return re(value(t, x)[i]); }
static inline double at4(const tape *t, var x, int n, int c, int h, int w)
{
    shape s = shape_of(t, x);
    return at(t, x, (((size_t)n * (size_t)s.c + (size_t)c) * (size_t)s.h + (size_t)h) * (size_t)s.w + (size_t)w);
}

/* sum_i a_i b_i, and into *size the sum of the absolute values. */
static inline double dot(const tape *t, var a, var b, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t i = 0; i < shape_count(shape_of(t, a)); i++) {
        sum += at(t, a, i) * at(t, b, i);
        *size += fabs(at(t, a, i) * at(t, b, i));
    }
    return sum;
}

/* Leaf of n numbers written out. */
#define LEAF(t, s, ...) leaf_of(t, s, (const double[]){ __VA_ARGS__ })
static inline var leaf_of(tape *t, shape s, const double *x)
{
    var v = tape_leaf(t, s, NULL);
    for (size_t i = 0; i < shape_count(s); i++)
        value(t, v)[i] = (real)x[i];
    return v;
}

/* The values of x against numbers written out. */
#define CHECK_VALUES(t, x, bound, ...) do { const double want_[] = { __VA_ARGS__ }; \
    CHECK_EQ(shape_count(shape_of(t, x)), sizeof want_ / sizeof want_[0]); \
    for (size_t i_ = 0; i_ < sizeof want_ / sizeof want_[0]; i_++) CHECK_NEAR(at(t, x, i_), want_[i_], bound); } while (0)

#endif
