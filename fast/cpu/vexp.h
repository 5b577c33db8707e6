/* vexp.h: exp and the logistic function of vectors. A NaN goes through. */
#ifndef FAST_CPU_VEXP_H
#define FAST_CPU_VEXP_H

#include "fast/cpu/simd.h"

/* exp(sign x), sign 1 or -1, while |x| < 86.6; anything beyond. sign x = n ln 2 + sign f, |f| <= ln 2/2: the error is 1 ulp
 * and |n|/60 of one, from ln 2 as one float. n is rounded by adding 1.5 * 2^23, whose low bits then hold it. */
V_INLINE vec v_exp_within(vec x, float sign)
{
    const vec magic = v_set1(0x1.8p23f), one = v_set1(1.0f);
    vec t = v_fma(x, v_set1(sign * 0x1.715476p+0f), magic);
    vec f = v_fma(v_sub(t, magic), v_set1(sign * -0x1.62e43p-1f), x);
    vec p = v_fma(f, v_set1(0x1.6bf082p-10f), v_set1(sign * 0x1.122708p-7f));
    p = v_fma(p, f, v_set1(0x1.55560cp-5f));
    p = v_fma(p, f, v_set1(sign * 0x1.5554b0p-3f));
    p = v_fma(p, f, v_set1(0.5f));
    p = v_fma(p, f, v_set1(sign));
    p = v_fma(p, f, one);
    return vi_bits(vi_add(v_bits(p), vi_shift_left_23(v_bits(t))));
}

/* exp(x) for x <= 0; 0 below -86.6, short of the subnormals. */
V_INLINE vec v_exp(vec x) { return v_keep(v_not_less(x, v_set1(-86.6f)), v_exp_within(x, 1.0f)); }

/* 1/q for 1 <= q <= 2^125, to 1 ulp. */
V_INLINE vec v_recip(vec q)
{
#if defined(FAST_ISA_avx512)
    vec t = _mm512_rcp14_ps(q);
    return v_fma(t, v_fnma(q, t, v_set1(1.0f)), t);
#else
    return v_div(v_set1(1.0f), q);
#endif
}

/* s = 1/(1 + exp(-z)) and c = 1 - s, each to a few ulp of itself, save that s is 0 below -86.6 (as is c then: wherever it
 * matters it is multiplied by s), and c above 86.6. */
typedef struct { vec s, c; } v_logistic_pair;
V_INLINE v_logistic_pair v_logistic(vec z)
{
    vmask above = v_not_less(z, v_set1(-86.6f)), near = v_and(above, v_not_less(v_set1(86.6f), z));
    vec e = v_keep(near, v_exp_within(z, -1.0f));
    vec s = v_keep(above, v_recip(v_add(v_set1(1.0f), e)));
    return (v_logistic_pair){ s, v_mul(e, s) };
}

#endif
