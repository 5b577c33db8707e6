/* philox.h: the normals of common/rng.c, V_LANES/2 blocks of 4 at a time, the same to the last bit: every operation is the
 * scalar one's, rounded once, and nothing is fused. v64: V_LANES/2 integers of 64 bits, of which Philox uses the low 32. */
#ifndef FAST_CPU_PHILOX_H
#define FAST_CPU_PHILOX_H

#include "fast/cpu/simd.h"

#if defined(FAST_ISA_avx512)
typedef __m512i v64;
V_INLINE v64 v64_set1(uint64_t a) { return _mm512_set1_epi64((long long)a); }
V_INLINE v64 v64_count(void) { return _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7); }
V_INLINE v64 v64_add(v64 a, v64 b) { return _mm512_add_epi64(a, b); }
V_INLINE v64 v64_xor(v64 a, v64 b) { return _mm512_xor_si512(a, b); }
V_INLINE v64 v64_mul_low(v64 a, v64 b) { return _mm512_mul_epu32(a, b); }
V_INLINE v64 v64_high(v64 a) { return _mm512_shuffle_epi32(a, (_MM_PERM_ENUM)0xF5); }
V_INLINE v64 v64_shift_right(v64 a, int by) { return _mm512_srli_epi64(a, (unsigned)by); }
V_INLINE v64 v64_shift_left(v64 a, int by) { return _mm512_slli_epi64(a, (unsigned)by); }
V_INLINE veci v64_pair(v64 low, v64 high) { return _mm512_mask_blend_epi32(0xAAAA, low, _mm512_slli_epi64(high, 32)); }
V_INLINE veci vi_xor(veci a, veci b) { return _mm512_xor_si512(a, b); }
V_INLINE veci vi_shift_left(veci a, int by) { return _mm512_slli_epi32(a, (unsigned)by); }
V_INLINE veci vi_sign(veci a) { return _mm512_srai_epi32(a, 31); }
V_INLINE vec vi_unsigned_float(veci a) { return _mm512_cvtepu32_ps(a); }
V_INLINE void v_store_interleaved(float *p, vec a, vec b)
{
    __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    v_storeu(p, _mm512_permutex2var_ps(a, low, b));
    v_storeu(p + V_LANES, _mm512_permutex2var_ps(a, high, b));
}
#elif defined(FAST_ISA_avx2)
typedef __m256i v64;
V_INLINE v64 v64_set1(uint64_t a) { return _mm256_set1_epi64x((long long)a); }
V_INLINE v64 v64_count(void) { return _mm256_setr_epi64x(0, 1, 2, 3); }
V_INLINE v64 v64_add(v64 a, v64 b) { return _mm256_add_epi64(a, b); }
V_INLINE v64 v64_xor(v64 a, v64 b) { return _mm256_xor_si256(a, b); }
V_INLINE v64 v64_mul_low(v64 a, v64 b) { return _mm256_mul_epu32(a, b); }
V_INLINE v64 v64_high(v64 a) { return _mm256_shuffle_epi32(a, 0xF5); }
V_INLINE v64 v64_shift_right(v64 a, int by) { return _mm256_srli_epi64(a, by); }
V_INLINE v64 v64_shift_left(v64 a, int by) { return _mm256_slli_epi64(a, by); }
V_INLINE veci v64_pair(v64 low, v64 high) { return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA); }
V_INLINE veci vi_xor(veci a, veci b) { return _mm256_xor_si256(a, b); }
V_INLINE veci vi_shift_left(veci a, int by) { return _mm256_slli_epi32(a, by); }
V_INLINE veci vi_sign(veci a) { return _mm256_srai_epi32(a, 31); }
V_INLINE vec vi_unsigned_float(veci a)          /* the halves are exact, their sum is rounded once */
{
    vec high = _mm256_cvtepi32_ps(_mm256_srli_epi32(a, 16));
    vec low = _mm256_cvtepi32_ps(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)));
    return v_add(v_mul(high, v_set1(0x1p16f)), low);
}
V_INLINE void v_store_interleaved(float *p, vec a, vec b)
{
    vec low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
    v_storeu(p, _mm256_permute2f128_ps(low, high, 0x20));
    v_storeu(p + V_LANES, _mm256_permute2f128_ps(low, high, 0x31));
}
#elif defined(FAST_ISA_neon)
typedef uint64x2_t v64;
V_INLINE v64 v64_set1(uint64_t a) { return vdupq_n_u64(a); }
V_INLINE v64 v64_count(void) { return vcombine_u64(vcreate_u64(0), vcreate_u64(1)); }
V_INLINE v64 v64_add(v64 a, v64 b) { return vaddq_u64(a, b); }
V_INLINE v64 v64_xor(v64 a, v64 b) { return veorq_u64(a, b); }
V_INLINE v64 v64_mul_low(v64 a, v64 b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
V_INLINE v64 v64_high(v64 a) { return vshrq_n_u64(a, 32); }
V_INLINE v64 v64_shift_right(v64 a, int by) { return vshlq_u64(a, vdupq_n_s64(-by)); }
V_INLINE v64 v64_shift_left(v64 a, int by) { return vshlq_u64(a, vdupq_n_s64(by)); }
V_INLINE veci v64_pair(v64 low, v64 high) { return vreinterpretq_s32_u64(vsliq_n_u64(low, high, 32)); }
V_INLINE veci vi_xor(veci a, veci b) { return veorq_s32(a, b); }
V_INLINE veci vi_shift_left(veci a, int by) { return vshlq_s32(a, vdupq_n_s32(by)); }
V_INLINE veci vi_sign(veci a) { return vshrq_n_s32(a, 31); }
V_INLINE vec vi_unsigned_float(veci a) { return vcvtq_f32_u32(vreinterpretq_u32_s32(a)); }
V_INLINE void v_store_interleaved(float *p, vec a, vec b)
{
    float32x4x2_t both = { { a, b } };
    vst2q_f32(p, both);
}
#endif

/* A stream of draws, ready to use: what does not change from block to block (common/rng.c, block and icd_philox). */
enum { PHILOX_ROUNDS = 10, PHILOX_WAYS = 2, PHILOX_DRAWS = PHILOX_WAYS * 2 * V_LANES };
typedef struct { v64 sample, iteration, rest, key[PHILOX_ROUNDS][2]; } philox_stream;

static inline philox_stream philox_begin(uint64_t seed, uint64_t iteration, uint32_t purpose, uint32_t sample)
{
    philox_stream s;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    s.sample = v64_set1(sample);
    s.iteration = v64_set1((uint32_t)iteration);
    s.rest = v64_set1((purpose & 0xFFu) | ((uint32_t)(iteration >> 32) & 0xFFu) << 8);
    for (int round = 0; round < PHILOX_ROUNDS; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        s.key[round][0] = v64_set1(k0);
        s.key[round][1] = v64_set1(k1);
    }
    return s;
}

/* -ln(u), u = m 2^e with m in [sqrt(1/2), sqrt(2)) */
V_INLINE vec philox_minus_log(vec u)
{
    veci shifted = vi_add(v_bits(u), vi_set1(0x3F800000 - 0x3F3504F4));
    vec k = vi_float(vi_sub(vi_shift_right_23(shifted), vi_set1(127)));
    vec m = vi_bits(vi_add(vi_and(shifted, vi_set1(0x7FFFFF)), vi_set1(0x3F3504F4)));
    vec z = v_div(v_sub(m, v_set1(1.0f)), v_add(m, v_set1(1.0f))), z2 = v_mul(z, z);
    vec p = v_add(v_mul(z2, v_set1(0x1.c71c72p-4f)), v_set1(0x1.24924ap-3f));
    p = v_add(v_mul(p, z2), v_set1(0x1.99999ap-3f));
    p = v_add(v_mul(p, z2), v_set1(0x1.555556p-2f));
    p = v_mul(v_mul(p, z2), z);
    p = v_mul(v_add(p, z), v_set1(2.0f));
    p = v_add(p, v_mul(k, v_set1(0x1.7f7d1cp-20f)));
    p = v_add(p, v_mul(k, v_set1(0x1.62e4p-1f)));
    return vi_bits(vi_xor(v_bits(p), vi_set1(INT32_MIN)));
}

/* cos and sin of 2 pi r/2^32; the octant is r's top three bits: 31, 30, 29. */
V_INLINE void philox_cos_sin(veci r, vec *c, vec *s)
{
    veci odd = vi_sign(vi_shift_left(r, 2));                       /* all ones where bit 29 is set */
    veci rest = vi_and(r, vi_set1(0x1FFFFFFF));
    rest = vi_add(vi_xor(rest, odd), vi_and(odd, vi_set1(0x20000001)));        /* 2^29 - rest in odd octants */
    vec a = v_mul(v_mul(vi_float(rest), v_set1(0x1p-29f)), v_set1(0x1.921fb6p-1f)), a2 = v_mul(a, a);
    vec p = v_sub(v_mul(a2, v_set1(0x1.71de3ap-19f)), v_set1(0x1.a01a02p-13f));
    p = v_add(v_mul(p, a2), v_set1(0x1.111112p-7f));
    p = v_sub(v_mul(p, a2), v_set1(0x1.555556p-3f));
    vec sine = v_add(v_mul(v_mul(p, a2), a), a);
    vec q = v_sub(v_mul(a2, v_set1(0x1.a01a02p-16f)), v_set1(0x1.6c16c2p-10f));
    q = v_add(v_mul(q, a2), v_set1(0x1.555556p-5f));
    q = v_sub(v_mul(q, a2), v_set1(0.5f));
    vec cosine = v_add(v_mul(q, a2), v_set1(1.0f));
    veci mixed = vi_xor(r, vi_shift_left(r, 1));                   /* bit 31: bits 31 and 30 differ; bit 30: 30 and 29 */
    veci swap = vi_and(vi_xor(v_bits(sine), v_bits(cosine)), vi_sign(vi_shift_left(mixed, 1)));
    veci sign = vi_set1(INT32_MIN);
    *c = vi_bits(vi_xor(vi_xor(v_bits(cosine), swap), vi_and(mixed, sign)));
    *s = vi_bits(vi_xor(vi_xor(v_bits(sine), swap), vi_and(r, sign)));
}

/* z (PHILOX_DRAWS): the normals of blocks first, first + 1, ... Two vectors of blocks go side by side, each being one long
 * chain of dependent operations. */
V_INLINE void philox_normals(const philox_stream *s, uint64_t first, float *z)
{
    v64 c[PHILOX_WAYS][4];
    for (int w = 0; w < PHILOX_WAYS; w++) {
        c[w][0] = v64_add(v64_set1(first + (uint64_t)(w * V_LANES / 2)), v64_count());
        c[w][1] = s->sample;
        c[w][2] = s->iteration;
        c[w][3] = v64_xor(s->rest, v64_shift_left(v64_shift_right(c[w][0], 32), 16));
    }
    for (int round = 0; round < PHILOX_ROUNDS; round++)
        for (int w = 0; w < PHILOX_WAYS; w++) {
            v64 p0 = v64_mul_low(c[w][0], v64_set1(0xD2511F53u)), p1 = v64_mul_low(c[w][2], v64_set1(0xCD9E8D57u));
            c[w][0] = v64_xor(v64_xor(v64_high(p1), c[w][1]), s->key[round][0]);
            c[w][2] = v64_xor(v64_xor(v64_high(p0), c[w][3]), s->key[round][1]);
            c[w][1] = p1;
            c[w][3] = p0;
        }
    for (int w = 0; w < PHILOX_WAYS; w++) {
        vec u = v_add(v_mul(vi_unsigned_float(v64_pair(c[w][0], c[w][2])), v_set1(0x1p-32f)), v_set1(0x1p-33f));
        vec l = philox_minus_log(u), two = v_add(l, l), cosine, sine;
        vec radius = v_sqrt(v_select(v_less(two, v_zero()), v_zero(), two));
        philox_cos_sin(v64_pair(c[w][1], c[w][3]), &cosine, &sine);
        v_store_interleaved(z + 2 * w * V_LANES, v_mul(radius, cosine), v_mul(radius, sine));
    }
}

#endif
