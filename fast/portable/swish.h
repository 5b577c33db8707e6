/* swish.h: swish(z) = z s, s = 1/(1 + exp(-z)), and its derivatives. */
#ifndef FAST_PORTABLE_SWISH_H
#define FAST_PORTABLE_SWISH_H

#include <math.h>

static inline float logistic(float z) { return 1.0f / (1.0f + expf(-z)); }

static inline float swish(float z) { return z / (1.0f + expf(-z)); }

/* s(1-s), without the difference that cancels. */
static inline float logistic_1(float z)
{
    float e = expf(-fabsf(z));
    return e / ((1.0f + e) * (1.0f + e));
}

/* s + z s(1-s) */
static inline float swish_1(float z) { return logistic(z) + z * logistic_1(z); }

/* s(1-s)(2 + z(1-2s)) */
static inline float swish_2(float z) { return logistic_1(z) * (2.0f + z * (1.0f - 2.0f * logistic(z))); }

#endif
