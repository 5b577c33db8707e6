// intrinsics.h: CUDA's device functions of one thread: arithmetic, wide loads and stores, atomics.
#ifndef EMULATE_INTRINSICS_H
#define EMULATE_INTRINSICS_H

#include <math.h>
#include <string.h>

#include "types.h"

namespace emulate {

template <class T, class F> inline T bits_as(F f)
{
    T t;
    static_assert(sizeof(T) == sizeof(F), "the same size");
    memcpy(&t, &f, sizeof t);
    return t;
}
inline unsigned __float_as_uint(float f) { return bits_as<unsigned>(f); }
inline int __float_as_int(float f) { return bits_as<int>(f); }
inline float __uint_as_float(unsigned u) { return bits_as<float>(u); }
inline float __int_as_float(int i) { return bits_as<float>(i); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }

// The device's quick approximations; here the exact functions. Names that glibc declares are macros.
inline float fast_exp(float x) { return expf(x); }
inline float fast_log(float x) { return logf(x); }
inline float fast_sin(float x) { return sinf(x); }
inline float fast_cos(float x) { return cosf(x); }
#define __expf emulate::fast_exp
#define __logf emulate::fast_log
#define __sinf emulate::fast_sin
#define __cosf emulate::fast_cos
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1.0f : 0.0f; }
inline float sinpif(float x) { return static_cast<float>(sin(3.14159265358979323846 * static_cast<double>(x))); }
inline float cospif(float x) { return static_cast<float>(cos(3.14159265358979323846 * static_cast<double>(x))); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline size_t min(size_t a, size_t b) { return a < b ? a : b; }
inline size_t max(size_t a, size_t b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// An access of more than a word. In checked builds a call, so that it is seen whole.
void wide_load(void *to, const void *from, size_t bytes, where at);
void wide_store(void *to, const void *from, size_t bytes, where at);
void misaligned(size_t bytes, where at);

template <class V> inline V load_wide(const void *p, where at)
{
    V v;
#ifdef EMULATE_CHECKED
    wide_load(&v, p, sizeof v, at);
#else
    if (reinterpret_cast<uintptr_t>(p) % sizeof v)
        misaligned(sizeof v, at);
    memcpy(&v, p, sizeof v);
#endif
    return v;
}

template <class V> inline void store_wide(void *p, const V &v, where at)
{
#ifdef EMULATE_CHECKED
    wide_store(p, &v, sizeof v, at);
#else
    if (reinterpret_cast<uintptr_t>(p) % sizeof v)
        misaligned(sizeof v, at);
    memcpy(p, &v, sizeof v);
#endif
}

inline float2 ld2(const float *p, where at = here()) { return load_wide<float2>(p, at); }
inline float4 ld4(const float *p, where at = here()) { return load_wide<float4>(p, at); }
inline uint2 ld2(const uint32_t *p, where at = here()) { return load_wide<uint2>(p, at); }
inline uint4 ld4(const uint32_t *p, where at = here()) { return load_wide<uint4>(p, at); }
inline void st2(float *p, float2 v, where at = here()) { store_wide(p, v, at); }
inline void st4(float *p, float4 v, where at = here()) { store_wide(p, v, at); }
inline void st2(uint32_t *p, uint2 v, where at = here()) { store_wide(p, v, at); }
inline void st4(uint32_t *p, uint4 v, where at = here()) { store_wide(p, v, at); }
template <class T> inline T __ldg(const T *p) { return *p; }

// int, unsigned, unsigned long long; add and exchange float too, compare and swap not.
template <class T> T atomicAdd(T *p, T v);
template <class T> T atomicMin(T *p, T v);
template <class T> T atomicMax(T *p, T v);
template <class T> T atomicExch(T *p, T v);
template <class T> T atomicCAS(T *p, T expected, T v);

void count_flops(uint64_t n);

}  // namespace emulate
#endif
