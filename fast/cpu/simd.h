/* simd.h: vectors of V_LANES floats: 16 (AVX-512), 8 (AVX2 and FMA) or 4 (NEON); a block of 16 channels is V_BLOCK vectors.
 *
 * vec: floats; veci: int32; vecd: V_LANES/2 doubles; vmask: one truth per lane of vec. Comparisons with a NaN are false, save
 * v_not_less. v_keep(m,a) = a where m, else 0.
 * v_max and v_min give b where either operand is a NaN. v_fma(a,b,c) = a b + c, v_fnma = c - a b, rounded once.
 * v_load and v_store want multiples of the vector's size, v_loadu and v_storeu of 4 bytes; v_load_n reads count <= V_LANES
 * floats and fills with zeros, v_store_n writes as many. Sums over lanes are by halves: lane i + lane i + V_LANES/2, ... */
#ifndef FAST_CPU_SIMD_H
#define FAST_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#include "fast/cpu/names.h"

#define V_INLINE static inline __attribute__((always_inline))
/* Before a short loop over an array of vec: unrolled, its elements live in registers. (clang does so of itself, and asked to,
 * does it too late.) */
#if defined(__clang__)
#define V_UNROLL
#else
#define V_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(FAST_ISA_avx512)
#include <immintrin.h>
enum { V_LANES = 16 };
typedef __m512 vec;
typedef __m512i veci;
typedef __m512d vecd;
typedef __mmask16 vmask;

V_INLINE vec v_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vec v_set1(float a) { return _mm512_set1_ps(a); }
V_INLINE vec v_load(const float *p) { return _mm512_load_ps(p); }
V_INLINE vec v_loadu(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void v_store(float *p, vec a) { _mm512_store_ps(p, a); }
V_INLINE void v_storeu(float *p, vec a) { _mm512_storeu_ps(p, a); }
V_INLINE vmask v_first(int count) { return (vmask)((1u << count) - 1u); }
V_INLINE vec v_load_n(const float *p, int count) { return _mm512_maskz_loadu_ps(v_first(count), p); }
V_INLINE void v_store_n(float *p, int count, vec a) { _mm512_mask_storeu_ps(p, v_first(count), a); }
V_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
V_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
V_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
V_INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
V_INLINE vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
V_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
V_INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
V_INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
V_INLINE vmask v_less(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V_INLINE vmask v_less_equal(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
V_INLINE vmask v_equal(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
V_INLINE vmask v_not_less(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
V_INLINE vmask v_nan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
V_INLINE vec v_keep(vmask m, vec a) { return _mm512_maskz_mov_ps(m, a); }
V_INLINE vmask v_and(vmask a, vmask b) { return (vmask)(a & b); }
V_INLINE vmask v_or(vmask a, vmask b) { return (vmask)(a | b); }
V_INLINE int v_any(vmask m) { return m != 0; }
V_INLINE int v_all(vmask m) { return m == 0xFFFF; }
V_INLINE vec v_select(vmask m, vec yes, vec no) { return _mm512_mask_blend_ps(m, no, yes); }

V_INLINE veci vi_set1(int32_t a) { return _mm512_set1_epi32(a); }
V_INLINE veci vi_loadu(const int32_t *p) { return _mm512_loadu_si512((const void *)p); }
V_INLINE void vi_storeu(int32_t *p, veci a) { _mm512_storeu_si512((void *)p, a); }
V_INLINE veci vi_add(veci a, veci b) { return _mm512_add_epi32(a, b); }
V_INLINE veci vi_sub(veci a, veci b) { return _mm512_sub_epi32(a, b); }
V_INLINE veci vi_and(veci a, veci b) { return _mm512_and_si512(a, b); }
V_INLINE veci vi_or(veci a, veci b) { return _mm512_or_si512(a, b); }
V_INLINE veci vi_shift_left_23(veci a) { return _mm512_slli_epi32(a, 23); }
V_INLINE veci vi_shift_right_23(veci a) { return _mm512_srai_epi32(a, 23); }
V_INLINE veci vi_select(vmask m, veci yes, veci no) { return _mm512_mask_blend_epi32(m, no, yes); }
V_INLINE veci v_round(vec a) { return _mm512_cvtps_epi32(a); }
V_INLINE vec vi_float(veci a) { return _mm512_cvtepi32_ps(a); }
V_INLINE vec vi_bits(veci a) { return _mm512_castsi512_ps(a); }
V_INLINE veci v_bits(vec a) { return _mm512_castps_si512(a); }

V_INLINE vecd vd_zero(void) { return _mm512_setzero_pd(); }
V_INLINE vecd vd_set1(double a) { return _mm512_set1_pd(a); }
V_INLINE vecd vd_loadu(const double *p) { return _mm512_loadu_pd(p); }
V_INLINE void vd_storeu(double *p, vecd a) { _mm512_storeu_pd(p, a); }
V_INLINE vecd vd_from_floats(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
V_INLINE void vd_to_floats(float *p, vecd a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
V_INLINE vecd vd_low(vec a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
V_INLINE vecd vd_high(vec a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
V_INLINE vecd vd_add(vecd a, vecd b) { return _mm512_add_pd(a, b); }
V_INLINE vecd vd_sub(vecd a, vecd b) { return _mm512_sub_pd(a, b); }
V_INLINE vecd vd_mul(vecd a, vecd b) { return _mm512_mul_pd(a, b); }
V_INLINE vecd vd_div(vecd a, vecd b) { return _mm512_div_pd(a, b); }
V_INLINE vecd vd_sqrt(vecd a) { return _mm512_sqrt_pd(a); }
V_INLINE vecd vd_fma(vecd a, vecd b, vecd c) { return _mm512_fmadd_pd(a, b, c); }

/* 16 x 16 floats at `from`, rows stride floats apart -> transposed at `to`, rows 16 apart. */
V_INLINE void v_transpose16(const float *from, size_t stride, float *to)
{
    vec r[16], t[16];
    for (int i = 0; i < 16; i++)
        r[i] = v_loadu(from + (size_t)i * stride);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[4 * i + j]), b = _mm512_castps_pd(t[4 * i + 2 + j]);
            r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for (int j = 0; j < 8; j++) {
        int odd = j / 4, k = j % 4;
        vec a = t[4 * odd + k], b = t[8 + 4 * odd + k];
        v_storeu(to + 16 * (4 * odd + k), _mm512_shuffle_f32x4(a, b, 0x88));
        v_storeu(to + 16 * (8 + 4 * odd + k), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
}

#elif defined(FAST_ISA_avx2)
#include <immintrin.h>
enum { V_LANES = 8 };
typedef __m256 vec;
typedef __m256i veci;
typedef __m256d vecd;
typedef __m256 vmask;

V_INLINE vec v_zero(void) { return _mm256_setzero_ps(); }
V_INLINE vec v_set1(float a) { return _mm256_set1_ps(a); }
V_INLINE vec v_load(const float *p) { return _mm256_load_ps(p); }
V_INLINE vec v_loadu(const float *p) { return _mm256_loadu_ps(p); }
V_INLINE void v_store(float *p, vec a) { _mm256_store_ps(p, a); }
V_INLINE void v_storeu(float *p, vec a) { _mm256_storeu_ps(p, a); }
V_INLINE vmask v_first(int count)
{
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}
V_INLINE vec v_load_n(const float *p, int count) { return _mm256_maskload_ps(p, _mm256_castps_si256(v_first(count))); }
V_INLINE void v_store_n(float *p, int count, vec a) { _mm256_maskstore_ps(p, _mm256_castps_si256(v_first(count)), a); }
V_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
V_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
V_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
V_INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
V_INLINE vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
V_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
V_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
V_INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
V_INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
V_INLINE vmask v_less(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
V_INLINE vmask v_less_equal(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
V_INLINE vmask v_equal(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
V_INLINE vmask v_not_less(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
V_INLINE vmask v_nan(vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
V_INLINE vec v_keep(vmask m, vec a) { return _mm256_and_ps(m, a); }
V_INLINE vmask v_and(vmask a, vmask b) { return _mm256_and_ps(a, b); }
V_INLINE vmask v_or(vmask a, vmask b) { return _mm256_or_ps(a, b); }
V_INLINE int v_any(vmask m) { return _mm256_movemask_ps(m) != 0; }
V_INLINE int v_all(vmask m) { return _mm256_movemask_ps(m) == 0xFF; }
V_INLINE vec v_select(vmask m, vec yes, vec no) { return _mm256_blendv_ps(no, yes, m); }

V_INLINE veci vi_set1(int32_t a) { return _mm256_set1_epi32(a); }
V_INLINE veci vi_loadu(const int32_t *p) { return _mm256_loadu_si256((const void *)p); }
V_INLINE void vi_storeu(int32_t *p, veci a) { _mm256_storeu_si256((void *)p, a); }
V_INLINE veci vi_add(veci a, veci b) { return _mm256_add_epi32(a, b); }
V_INLINE veci vi_sub(veci a, veci b) { return _mm256_sub_epi32(a, b); }
V_INLINE veci vi_and(veci a, veci b) { return _mm256_and_si256(a, b); }
V_INLINE veci vi_or(veci a, veci b) { return _mm256_or_si256(a, b); }
V_INLINE veci vi_shift_left_23(veci a) { return _mm256_slli_epi32(a, 23); }
V_INLINE veci vi_shift_right_23(veci a) { return _mm256_srai_epi32(a, 23); }
V_INLINE veci v_round(vec a) { return _mm256_cvtps_epi32(a); }
V_INLINE vec vi_float(veci a) { return _mm256_cvtepi32_ps(a); }
V_INLINE vec vi_bits(veci a) { return _mm256_castsi256_ps(a); }
V_INLINE veci v_bits(vec a) { return _mm256_castps_si256(a); }
V_INLINE veci vi_select(vmask m, veci yes, veci no) { return v_bits(v_select(m, vi_bits(yes), vi_bits(no))); }

V_INLINE vecd vd_zero(void) { return _mm256_setzero_pd(); }
V_INLINE vecd vd_set1(double a) { return _mm256_set1_pd(a); }
V_INLINE vecd vd_loadu(const double *p) { return _mm256_loadu_pd(p); }
V_INLINE void vd_storeu(double *p, vecd a) { _mm256_storeu_pd(p, a); }
V_INLINE vecd vd_from_floats(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
V_INLINE void vd_to_floats(float *p, vecd a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }
V_INLINE vecd vd_low(vec a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
V_INLINE vecd vd_high(vec a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
V_INLINE vecd vd_add(vecd a, vecd b) { return _mm256_add_pd(a, b); }
V_INLINE vecd vd_sub(vecd a, vecd b) { return _mm256_sub_pd(a, b); }
V_INLINE vecd vd_mul(vecd a, vecd b) { return _mm256_mul_pd(a, b); }
V_INLINE vecd vd_div(vecd a, vecd b) { return _mm256_div_pd(a, b); }
V_INLINE vecd vd_sqrt(vecd a) { return _mm256_sqrt_pd(a); }
V_INLINE vecd vd_fma(vecd a, vecd b, vecd c) { return _mm256_fmadd_pd(a, b, c); }

V_INLINE void v_transpose8(const float *from, size_t stride, float *to)
{
    vec r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = v_loadu(from + (size_t)i * stride);
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            r[4 * i + 2 * j] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + 2 + j], 0x44);
            r[4 * i + 2 * j + 1] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + 2 + j], 0xee);
        }
    for (int j = 0; j < 4; j++) {
        v_storeu(to + 16 * j, _mm256_permute2f128_ps(r[j], r[4 + j], 0x20));
        v_storeu(to + 16 * (4 + j), _mm256_permute2f128_ps(r[j], r[4 + j], 0x31));
    }
}
V_INLINE void v_transpose16(const float *from, size_t stride, float *to)
{
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 16; j += 8)
            v_transpose8(from + (size_t)i * stride + j, stride, to + 16 * j + i);
}

#elif defined(FAST_ISA_neon)
#include <arm_neon.h>
enum { V_LANES = 4 };
typedef float32x4_t vec;
typedef int32x4_t veci;
typedef float64x2_t vecd;
typedef uint32x4_t vmask;

V_INLINE vec v_zero(void) { return vdupq_n_f32(0.0f); }
V_INLINE vec v_set1(float a) { return vdupq_n_f32(a); }
V_INLINE vec v_load(const float *p) { return vld1q_f32(p); }
V_INLINE vec v_loadu(const float *p) { return vld1q_f32(p); }
V_INLINE void v_store(float *p, vec a) { vst1q_f32(p, a); }
V_INLINE void v_storeu(float *p, vec a) { vst1q_f32(p, a); }
V_INLINE vmask v_first(int count)
{
    static const int32_t lane[4] = { 0, 1, 2, 3 };
    return vcltq_s32(vld1q_s32(lane), vdupq_n_s32(count));
}
V_INLINE vec v_load_n(const float *p, int count)
{
    float a[4] = { 0 };
    for (int i = 0; i < count; i++)
        a[i] = p[i];
    return vld1q_f32(a);
}
V_INLINE void v_store_n(float *p, int count, vec a)
{
    float b[4];
    vst1q_f32(b, a);
    for (int i = 0; i < count; i++)
        p[i] = b[i];
}
V_INLINE vec v_add(vec a, vec b) { return vaddq_f32(a, b); }
V_INLINE vec v_sub(vec a, vec b) { return vsubq_f32(a, b); }
V_INLINE vec v_mul(vec a, vec b) { return vmulq_f32(a, b); }
V_INLINE vec v_div(vec a, vec b) { return vdivq_f32(a, b); }
V_INLINE vec v_sqrt(vec a) { return vsqrtq_f32(a); }
V_INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
V_INLINE vec v_fnma(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
V_INLINE vmask v_less(vec a, vec b) { return vcltq_f32(a, b); }
V_INLINE vmask v_less_equal(vec a, vec b) { return vcleq_f32(a, b); }
V_INLINE vmask v_equal(vec a, vec b) { return vceqq_f32(a, b); }
V_INLINE vmask v_not_less(vec a, vec b) { return vmvnq_u32(vcltq_f32(a, b)); }
V_INLINE vmask v_nan(vec a) { return vmvnq_u32(vceqq_f32(a, a)); }
V_INLINE vec v_keep(vmask m, vec a) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a))); }
V_INLINE vmask v_and(vmask a, vmask b) { return vandq_u32(a, b); }
V_INLINE vmask v_or(vmask a, vmask b) { return vorrq_u32(a, b); }
V_INLINE int v_any(vmask m) { return vmaxvq_u32(m) != 0; }
V_INLINE int v_all(vmask m) { return vminvq_u32(m) != 0; }
V_INLINE vec v_select(vmask m, vec yes, vec no) { return vbslq_f32(m, yes, no); }
V_INLINE vec v_max(vec a, vec b) { return v_select(vcgtq_f32(a, b), a, b); }
V_INLINE vec v_min(vec a, vec b) { return v_select(vcltq_f32(a, b), a, b); }

V_INLINE veci vi_set1(int32_t a) { return vdupq_n_s32(a); }
V_INLINE veci vi_loadu(const int32_t *p) { return vld1q_s32(p); }
V_INLINE void vi_storeu(int32_t *p, veci a) { vst1q_s32(p, a); }
V_INLINE veci vi_add(veci a, veci b) { return vaddq_s32(a, b); }
V_INLINE veci vi_sub(veci a, veci b) { return vsubq_s32(a, b); }
V_INLINE veci vi_and(veci a, veci b) { return vandq_s32(a, b); }
V_INLINE veci vi_or(veci a, veci b) { return vorrq_s32(a, b); }
V_INLINE veci vi_shift_left_23(veci a) { return vshlq_n_s32(a, 23); }
V_INLINE veci vi_shift_right_23(veci a) { return vshrq_n_s32(a, 23); }
V_INLINE veci vi_select(vmask m, veci yes, veci no) { return vbslq_s32(m, yes, no); }
V_INLINE veci v_round(vec a) { return vcvtnq_s32_f32(a); }
V_INLINE vec vi_float(veci a) { return vcvtq_f32_s32(a); }
V_INLINE vec vi_bits(veci a) { return vreinterpretq_f32_s32(a); }
V_INLINE veci v_bits(vec a) { return vreinterpretq_s32_f32(a); }

V_INLINE vecd vd_zero(void) { return vdupq_n_f64(0.0); }
V_INLINE vecd vd_set1(double a) { return vdupq_n_f64(a); }
V_INLINE vecd vd_loadu(const double *p) { return vld1q_f64(p); }
V_INLINE void vd_storeu(double *p, vecd a) { vst1q_f64(p, a); }
V_INLINE vecd vd_from_floats(const float *p) { return vcvt_f64_f32(vld1_f32(p)); }
V_INLINE void vd_to_floats(float *p, vecd a) { vst1_f32(p, vcvt_f32_f64(a)); }
V_INLINE vecd vd_low(vec a) { return vcvt_f64_f32(vget_low_f32(a)); }
V_INLINE vecd vd_high(vec a) { return vcvt_f64_f32(vget_high_f32(a)); }
V_INLINE vecd vd_add(vecd a, vecd b) { return vaddq_f64(a, b); }
V_INLINE vecd vd_sub(vecd a, vecd b) { return vsubq_f64(a, b); }
V_INLINE vecd vd_mul(vecd a, vecd b) { return vmulq_f64(a, b); }
V_INLINE vecd vd_div(vecd a, vecd b) { return vdivq_f64(a, b); }
V_INLINE vecd vd_sqrt(vecd a) { return vsqrtq_f64(a); }
V_INLINE vecd vd_fma(vecd a, vecd b, vecd c) { return vfmaq_f64(c, a, b); }

V_INLINE void v_transpose16(const float *from, size_t stride, float *to)
{
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 16; j += 4) {
            const float *f = from + (size_t)i * stride + j;
            float32x4x2_t a = vtrnq_f32(vld1q_f32(f), vld1q_f32(f + stride));
            float32x4x2_t b = vtrnq_f32(vld1q_f32(f + 2 * stride), vld1q_f32(f + 3 * stride));
            float *t = to + 16 * j + i;
            vst1q_f32(t, vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0])));
            vst1q_f32(t + 16, vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1])));
            vst1q_f32(t + 32, vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0])));
            vst1q_f32(t + 48, vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1])));
        }
}
#endif

enum { V_BLOCK = 16 / V_LANES };

/* v_load_n and v_store_n for a count that the compiler may know to be all lanes. */
V_INLINE vec v_get(const float *p, int count) { return count == V_LANES ? v_loadu(p) : v_load_n(p, count); }
V_INLINE void v_put(float *p, int count, vec a)
{
    if (count == V_LANES)
        v_storeu(p, a);
    else
        v_store_n(p, count, a);
}

V_INLINE float v_sum(vec a)
{
    float s[V_LANES];
    v_storeu(s, a);
    for (int half = V_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}
V_INLINE double vd_sum(vecd a)
{
    double s[V_LANES / 2];
    vd_storeu(s, a);
    for (int half = V_LANES / 4; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

#endif
