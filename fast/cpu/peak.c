/* peak.c: the yardsticks in this instruction set's vectors (fast/peak.h). */
#include "fast/peak.h"

#include "fast/cpu/simd.h"

/* As many chains as hide the latency of two or four units and stay in registers. */
#if defined(FAST_ISA_avx2)
#define TABLE "avx2"
enum { CHAINS = 12 };
#elif defined(FAST_ISA_avx512)
#define TABLE "avx512"
enum { CHAINS = 16 };
#else
#define TABLE "neon"
enum { CHAINS = 16 };
#endif

static volatile float sink;

static double fma_rounds(long rounds)
{
    vec a[CHAINS], x = v_set1(0.999f), y = v_set1(1e-3f);
    for (int i = 0; i < CHAINS; i++)
        a[i] = v_set1((float)i);
    for (long k = 0; k < rounds; k++) {
        V_UNROLL
        for (int i = 0; i < CHAINS; i++)
            a[i] = v_fma(a[i], x, y);
    }
    for (int i = 1; i < CHAINS; i++)
        a[0] = v_add(a[0], a[i]);
    sink = v_sum(a[0]);
    return 2.0 * CHAINS * V_LANES * (double)rounds;
}

static void triad(size_t count, const float *a, const float *b, float *c)
{
    vec three = v_set1(3.0f);
    size_t i = 0;
    for (; i + V_LANES <= count; i += V_LANES)
        v_storeu(c + i, v_fma(three, v_loadu(b + i), v_loadu(a + i)));
    for (; i < count; i++)
        c[i] = a[i] + 3.0f * b[i];
}

extern const fast_peak CPU_(fast_peak);
const fast_peak CPU_(fast_peak) = { TABLE, fma_rounds, triad };
