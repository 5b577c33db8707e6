/* rng.c: Philox 4x32-10 and normals from exactly rounded float32 operations. */
#include "rng.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Every value of type `rounded` is the float nearest to the result of one operation. Three things could spoil that:
 * precision kept beyond float (x87, s390x), which the stores of a volatile end; constants kept beyond float, so all are
 * written in hexadecimal, exactly; fused multiply-adds, which -ffp-contract=off forbids. Operations on floats in double or
 * longer, rounded again to float, are as if rounded once. */
#if FLT_EVAL_METHOD == 0
typedef float rounded;
#else
typedef volatile float rounded;
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

void icd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0; c1 = (uint32_t)p1; c2 = n2; c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

/* Block b of a stream. The counter holds everything but the seed: 32 bits of b, 32 of the sample, 32 + 8 of the
 * iteration, 8 of the purpose, 16 more of b. The key is the seed. */
static void block(const icd_stream *s, uint64_t b, uint32_t out[4])
{
    uint32_t counter[4] = { (uint32_t)b, s->sample, (uint32_t)s->iteration,
        (s->purpose & 0xFFu) | ((uint32_t)(s->iteration >> 32) & 0xFFu) << 8 | ((uint32_t)(b >> 32) & 0xFFFFu) << 16 };
    uint32_t key[2] = { (uint32_t)s->seed, (uint32_t)(s->seed >> 32) };
    icd_philox(counter, key, out);
}

uint32_t icd_bits(const icd_stream *s, uint64_t index)
{
    uint32_t r[4];
    block(s, index / 4, r);
    return r[index % 4];
}

static float unit(uint32_t r) { return (float)(r >> 8) * 0x1p-24f; }

float icd_uniform(const icd_stream *s, uint64_t index) { return unit(icd_bits(s, index)); }

uint32_t icd_below(const icd_stream *s, uint64_t index, uint32_t n)
{
    return (uint32_t)((uint64_t)icd_bits(s, index) * n >> 32);
}

/* -ln(u), 0 < u <= 1, to about 1e-7: u = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m-1)/(m+1)). */
static float minus_log(float u)
{
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    int e = (int)(bits >> 23) - 127;
    uint32_t mantissa = (bits & 0x7FFFFFu) | 0x3F800000u;
    if (mantissa > 0x3FB504F3u) {           /* m > sqrt(2) */
        mantissa -= 0x00800000u;
        e++;
    }
    float m;
    memcpy(&m, &mantissa, sizeof m);
    rounded top = m - 1.0f;
    rounded bottom = m + 1.0f;
    rounded z = top / bottom;
    rounded z2 = z * z;
    rounded p = z2 * 0x1.c71c72p-4f;         /* 1/9 */
    p = p + 0x1.24924ap-3f;                  /* 1/7 */
    p = p * z2;
    p = p + 0x1.99999ap-3f;                  /* 1/5 */
    p = p * z2;
    p = p + 0x1.555556p-2f;                  /* 1/3 */
    p = p * z2;
    p = p * z;
    p = p + z;
    p = p * 2.0f;                            /* ln m */
    rounded k = (float)e;
    rounded high = k * 0x1.62e4p-1f;         /* ln 2 in two parts; the first has 11 bits to spare */
    rounded low = k * 0x1.7f7d1cp-20f;
    p = p + low;
    p = p + high;
    return -p;
}

/* cos and sin of 2 pi r/2^32: the top three bits choose the octant, the others the angle a in [0, pi/4). */
static void cos_sin(uint32_t r, float *c, float *s)
{
    uint32_t octant = r >> 29, rest = r & 0x1FFFFFFFu;
    if (octant & 1u)
        rest = 0x20000000u - rest;
    rounded t = (float)rest;
    t = t * 0x1p-29f;
    rounded a = t * 0x1.921fb6p-1f;          /* pi/4 */
    rounded a2 = a * a;
    rounded p = a2 * 0x1.71de3ap-19f;        /* 1/9! */
    p = p - 0x1.a01a02p-13f;                 /* 1/7! */
    p = p * a2;
    p = p + 0x1.111112p-7f;                  /* 1/5! */
    p = p * a2;
    p = p - 0x1.555556p-3f;                  /* 1/3! */
    p = p * a2;
    p = p * a;
    rounded sine = p + a;
    rounded q = a2 * 0x1.a01a02p-16f;        /* 1/8! */
    q = q - 0x1.6c16c2p-10f;                 /* 1/6! */
    q = q * a2;
    q = q + 0x1.555556p-5f;                  /* 1/4! */
    q = q * a2;
    q = q - 0.5f;
    q = q * a2;
    rounded cosine = q + 1.0f;
    int swap = ((octant + 1u) & 2u) != 0;    /* octants 1, 2, 5, 6 */
    float x = swap ? sine : cosine, y = swap ? cosine : sine;
    *c = (octant >= 2u && octant <= 5u) ? -x : x;
    *s = octant >= 4u ? -y : y;
}

/* Two uniforms become two independent normals (Box and Muller 1958). */
static void box_muller(uint32_t r0, uint32_t r1, float *z0, float *z1)
{
    rounded u = (float)r0;
    u = u * 0x1p-32f;
    u = u + 0x1p-33f;                        /* in [2^-33, 1] */
    float l = minus_log(u);
    rounded two = l + l;
    if (two < 0.0f)
        two = 0.0f;
    rounded radius = sqrtf(two);             /* sqrt is exactly rounded by IEEE 754 */
    float c, s;
    cos_sin(r1, &c, &s);
    rounded a = radius * c;
    rounded b = radius * s;
    *z0 = a;
    *z1 = b;
}

static void normal4(const icd_stream *s, uint64_t b, float z[4])
{
    uint32_t r[4];
    block(s, b, r);
    box_muller(r[0], r[1], &z[0], &z[1]);
    box_muller(r[2], r[3], &z[2], &z[3]);
}

float icd_normal(const icd_stream *s, uint64_t index)
{
    float z[4];
    normal4(s, index / 4, z);
    return z[index % 4];
}

void icd_normals(const icd_stream *s, uint64_t first, size_t count, float *out)
{
    float z[4];
    for (size_t i = 0; i < count; ) {
        uint64_t at = first + i;
        normal4(s, at / 4, z);
        for (unsigned j = (unsigned)(at % 4); j < 4 && i < count; j++)
            out[i++] = z[j];
    }
}

void icd_uniforms(const icd_stream *s, uint64_t first, size_t count, float *out)
{
    uint32_t r[4];
    for (size_t i = 0; i < count; ) {
        uint64_t at = first + i;
        block(s, at / 4, r);
        for (unsigned j = (unsigned)(at % 4); j < 4 && i < count; j++)
            out[i++] = unit(r[j]);
    }
}
