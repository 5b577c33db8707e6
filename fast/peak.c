/* peak.c: the yardsticks in plain C, and which table has its own (cpu/peak.c). */
#include "peak.h"

#include <string.h>

enum { CHAINS = 16 };

static volatile float sink;

static double plain_fma(long rounds)
{
    float a[CHAINS], x = 0.999f + 0 * sink, y = 1e-3f;
    for (int i = 0; i < CHAINS; i++)
        a[i] = (float)i;
    for (long k = 0; k < rounds; k++)
        for (int i = 0; i < CHAINS; i++)
            a[i] = a[i] * x + y;
    for (int i = 1; i < CHAINS; i++)
        a[0] += a[i];
    sink = a[0];
    return 2.0 * CHAINS * (double)rounds;
}

static void plain_triad(size_t count, const float *a, const float *b, float *c)
{
    for (size_t i = 0; i < count; i++)
        c[i] = a[i] + 3.0f * b[i];
}

static const fast_peak plain = { "portable", plain_fma, plain_triad };

#if defined(__x86_64__)
extern const fast_peak fast_peak__avx512, fast_peak__avx2;
static const fast_peak *const peaks[] = { &fast_peak__avx512, &fast_peak__avx2 };
#elif defined(__aarch64__)
extern const fast_peak fast_peak__neon;
static const fast_peak *const peaks[] = { &fast_peak__neon };
#else
static const fast_peak *const peaks[] = { &plain };
#endif

const fast_peak *fast_peak_of(const char *table)
{
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++)
        if (strcmp(peaks[i]->table, table) == 0)
            return peaks[i];
    return &plain;
}
