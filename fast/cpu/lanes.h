/* lanes.h: sums over the pixels of a blocked tensor, lane by lane, and the lanes beyond c.
 * LANES_CHUNK pixels are summed in float, the chunks in double, in the order of the pixels. */
#ifndef FAST_CPU_LANES_H
#define FAST_CPU_LANES_H

#include "fast/backend.h"
#include "fast/cpu/simd.h"

enum { LANES_CHUNK = 64 };

/* lanes[0..V_LANES-1] += a */
V_INLINE void lanes_add(double *lanes, vec a)
{
    vd_storeu(lanes, vd_add(vd_loadu(lanes), vd_low(a)));
    vd_storeu(lanes + V_LANES / 2, vd_add(vd_loadu(lanes + V_LANES / 2), vd_high(a)));
}

/* The sum of V_LANES lanes of count pixels. */
V_INLINE vec lanes_sum(int count, const float *x)
{
    vec s[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
    int i = 0;
    for (; i + 4 <= count; i += 4)
        for (int u = 0; u < 4; u++)
            s[u] = v_add(s[u], v_load(x + 16 * (i + u)));
    for (; i < count; i++)
        s[0] = v_add(s[0], v_load(x + 16 * i));
    return v_add(v_add(s[0], s[1]), v_add(s[2], s[3]));
}

/* Lanes used.. of every pixel of one block become 0; used = 0 stands for all 16 used. */
static inline void lanes_clear(int used, int hw, float *block)
{
    for (int i = 0; used && i < hw; i++)
        memset(block + 16 * (size_t)i + used, 0, (size_t)(16 - used) * sizeof(float));
}

#endif
