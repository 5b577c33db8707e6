/* vexp.h: exp and the logistic function of vectors. A NaN goes through. */
#ifndef FAST_CPU_VEXP_H
#define FAST_CPU_VEXP_H

#include "fast/cpu/simd.h"

/* exp(x) for x <= 0, to 1 ulp; 0 below -86.6, short of the subnormals. x = n ln 2 + f, |f| <= ln 2/2. */
V_INLINE vec v_exp(vec x)
{
    veci n = v_round(v_mul(x, v_set1(0x1.715476p+0f)));
    vec k = vi_float(n);
    vec f = v_fnma(k, v_set1(0x1.62e4p-1f), x);          /* ln 2 in two parts: k times the first is exact */
    f = v_fnma(k, v_set1(0x1.7f7d1cp-20f), f);
    vec p = v_fma(f, v_set1(0x1.6bf082p-10f), v_set1(0x1.122708p-7f));
    p = v_fma(p, f, v_set1(0x1.55560cp-5f));
    p = v_fma(p, f, v_set1(0x1.5554b0p-3f));
    p = v_fma(p, f, v_set1(0.5f));
    p = v_fma(p, f, v_set1(1.0f));
    p = v_fma(p, f, v_set1(1.0f));
    vec y = vi_bits(vi_add(v_bits(p), vi_shift_left_23(n)));
    return v_select(v_less(x, v_set1(-86.6f)), v_zero(), y);
}

/* 1/q for 1 <= q <= 2, to 1 ulp. */
V_INLINE vec v_recip(vec q)
{
#if defined(FAST_ISA_avx512)
    vec t = _mm512_rcp14_ps(q);
    return v_fma(t, v_fnma(q, t, v_set1(1.0f)), t);
#else
    return v_div(v_set1(1.0f), q);
#endif
}

/* s = 1/(1 + exp(-z)) and c = 1 - s, each to a few ulp of itself. */
typedef struct { vec s, c; } v_logistic_pair;
V_INLINE v_logistic_pair v_logistic(vec z)
{
    vec e = v_exp(vi_bits(vi_or(v_bits(z), vi_set1(INT32_MIN))));      /* exp(-|z|) */
    vec t = v_recip(v_add(v_set1(1.0f), e)), u = v_mul(e, t);
    vmask negative = v_less(z, v_zero());
    return (v_logistic_pair){ v_select(negative, u, t), v_select(negative, t, u) };
}

#endif
