/* winograd_tile.h: Y = AT [(G g GT) * (BT d B)] A of one tile, for a block of channels.
 *
 * F(m x m, 3 x 3), Cook and Toom's construction with the points 0, +-a, (+-b,) infinity: m = 2 has a = 1; m = 4 has a = 5/8,
 * b = 3/2, whose errors are 2.4 times smaller than those of the usual 1 and 2, and whose constants are exact in float. With
 * side = m + 2 points, a position is one of side^2 places of a transformed tile. Sizes: d side x side, g 3 x 3, Y m x m. */
#ifndef FAST_CPU_WINOGRAD_TILE_H
#define FAST_CPU_WINOGRAD_TILE_H

#include <stddef.h>

#include "fast/cpu/simd.h"

enum { WINOGRAD_SIDE = 6 };               /* the larger of the two */
#define POINT_A 0.625f
#define POINT_B 1.5f
#define A2 (POINT_A * POINT_A)
#define B2 (POINT_B * POINT_B)

/* Evaluate the input: r = BT d. */
V_INLINE void winograd_bt(const int m, const vec *d, vec *r)
{
    if (m == 2) {
        r[0] = v_sub(d[2], d[0]);
        r[1] = v_add(d[2], d[1]);
        r[2] = v_sub(d[2], d[1]);
        r[3] = v_sub(d[3], d[1]);
        return;
    }
    vec a2 = v_set1(A2), b2 = v_set1(B2), product = v_set1(A2 * B2), sum = v_set1(A2 + B2);
    vec a = v_set1(POINT_A), b = v_set1(POINT_B);
    vec even_a = v_fnma(b2, d[2], d[4]), odd_a = v_fnma(b2, d[1], d[3]);
    vec even_b = v_fnma(a2, d[2], d[4]), odd_b = v_fnma(a2, d[1], d[3]);
    r[0] = v_fma(product, d[0], v_fnma(sum, d[2], d[4]));
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = v_fma(product, d[1], v_fnma(sum, d[3], d[5]));
}

/* Back from the points: r = AT u. */
V_INLINE void winograd_at(const int m, const vec *u, vec *r)
{
    vec sum_a = v_add(u[1], u[2]), odd_a = v_sub(u[1], u[2]);
    if (m == 2) {
        r[0] = v_add(u[0], sum_a);
        r[1] = v_add(u[3], odd_a);
        return;
    }
    vec sum_b = v_add(u[3], u[4]), odd_b = v_sub(u[3], u[4]);
    r[0] = v_add(u[0], v_add(sum_a, sum_b));
    r[1] = v_fma(v_set1(POINT_B), odd_b, v_mul(v_set1(POINT_A), odd_a));
    r[2] = v_fma(v_set1(B2), sum_b, v_mul(v_set1(A2), sum_a));
    r[3] = v_fma(v_set1(B2 * POINT_B), odd_b, v_fma(v_set1(A2 * POINT_A), odd_a, u[5]));
}

/* The adjoint of AT: r = A y. */
V_INLINE void winograd_a(const int m, const vec *y, vec *r)
{
    r[0] = y[0];
    if (m == 2) {
        r[1] = v_add(y[0], y[1]);
        r[2] = v_sub(y[0], y[1]);
        r[3] = y[1];
        return;
    }
    vec a = v_set1(POINT_A), b = v_set1(POINT_B), a2 = v_set1(A2), b2 = v_set1(B2);
    vec even_a = v_fma(a2, y[2], y[0]), odd_a = v_fma(a2, y[3], y[1]);
    vec even_b = v_fma(b2, y[2], y[0]), odd_b = v_fma(b2, y[3], y[1]);
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = y[3];
}

/* Row scales of G: at 0, +-a, +-b. */
#define G_0 (1.0f / (A2 * B2))
#define G_A (1.0f / (2.0f * A2 * (A2 - B2)))
#define G_B (1.0f / (2.0f * B2 * (B2 - A2)))

/* Evaluate the weights: r = G g. */
V_INLINE void winograd_g(const int m, const vec *g, vec *r)
{
    if (m == 2) {
        vec half = v_set1(0.5f), even = v_mul(half, v_add(g[0], g[2])), odd = v_mul(half, g[1]);
        r[0] = v_sub(v_zero(), g[0]);
        r[1] = v_add(even, odd);
        r[2] = v_sub(even, odd);
        r[3] = g[2];
        return;
    }
    vec even_a = v_fma(v_set1(G_A * A2), g[2], v_mul(v_set1(G_A), g[0])), odd_a = v_mul(v_set1(G_A * POINT_A), g[1]);
    vec even_b = v_fma(v_set1(G_B * B2), g[2], v_mul(v_set1(G_B), g[0])), odd_b = v_mul(v_set1(G_B * POINT_B), g[1]);
    r[0] = v_mul(v_set1(G_0), g[0]);
    r[1] = v_add(even_a, odd_a);
    r[2] = v_sub(even_a, odd_a);
    r[3] = v_add(even_b, odd_b);
    r[4] = v_sub(even_b, odd_b);
    r[5] = g[2];
}

/* The adjoint of G: r = GT u. */
V_INLINE void winograd_gt(const int m, const vec *u, vec *r)
{
    vec sum_a = v_add(u[1], u[2]), odd_a = v_sub(u[1], u[2]);
    if (m == 2) {
        vec half = v_set1(0.5f);
        r[0] = v_sub(v_mul(half, sum_a), u[0]);
        r[1] = v_mul(half, odd_a);
        r[2] = v_fma(half, sum_a, u[3]);
        return;
    }
    vec sum_b = v_add(u[3], u[4]), odd_b = v_sub(u[3], u[4]);
    r[0] = v_fma(v_set1(G_0), u[0], v_fma(v_set1(G_A), sum_a, v_mul(v_set1(G_B), sum_b)));
    r[1] = v_fma(v_set1(G_A * POINT_A), odd_a, v_mul(v_set1(G_B * POINT_B), odd_b));
    r[2] = v_fma(v_set1(G_A * A2), sum_a, v_fma(v_set1(G_B * B2), sum_b, u[5]));
}

#endif
