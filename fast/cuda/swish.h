// swish.h: swish(z) = z s, s = 1/(1 + exp(-z)), and its derivatives on the device. A NaN goes through.
#ifndef FAST_CUDA_SWISH_H
#define FAST_CUDA_SWISH_H

#include "fast/cuda/device.h"

namespace CUDA_SIDE {

// s and c = 1 - s, each to a few roundings of itself: from exp(-|z|), so that neither is a difference and nothing overflows.
// expf errs by 1 ulp, the quotient (1 <= q <= 2, so nothing of it is special) by 2: within 7 roundings, SWISH has 16.
struct logistic { float s, c; };
__device__ inline logistic logistic_of(float z)
{
    FLOPS(4);
    float e = expf(-fabsf(z)), large = __fdividef(1.0f, 1.0f + e), small = e * large;
    return z < 0 ? logistic{ small, large } : logistic{ large, small };
}

__device__ inline float swish(float z) { return z * logistic_of(z).s; }

// swish' = s + z s c
__device__ inline float swish_1(float z, logistic g)
{
    FLOPS(3);
    return fmaf(z * g.s, g.c, g.s);
}

__device__ inline float swish_slope(float z) { return swish_1(z, logistic_of(z)); }

// swish'' = s c (2 + z (c - s))
__device__ inline float swish_2(float z, logistic g)
{
    FLOPS(5);
    return g.s * g.c * fmaf(z, g.c - g.s, 2.0f);
}

}  // namespace CUDA_SIDE
#endif
