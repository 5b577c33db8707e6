/* real.h: the number type of ref/. Every file of ref/ is compiled three times, with REF_REAL = 32 (float), 64 (double) and
 * 128 (double complex); the external names get a suffix (names.h), so that all three live in one program.
 *
 * The complex build exists for the complex step: Im f(x + i h v)/h is the directional derivative of f to rounding, with no
 * backward pass at all. So nothing here may use conj or abs: rules are analytic, and comparisons look at the real part. */
#ifndef REF_REAL_H
#define REF_REAL_H

#include <math.h>

#if REF_REAL == 32
typedef float real;
#define REF_(name) name##_f32
static inline double re(real x) { return (double)x; }
static inline real real_exp(real x) { return expf(x); }
static inline real real_log(real x) { return logf(x); }
static inline real real_sqrt(real x) { return sqrtf(x); }
#elif REF_REAL == 64
typedef double real;
#define REF_(name) name##_f64
static inline double re(real x) { return x; }
static inline real real_exp(real x) { return exp(x); }
static inline real real_log(real x) { return log(x); }
static inline real real_sqrt(real x) { return sqrt(x); }
#elif REF_REAL == 128
#include <complex.h>
typedef double complex real;
#define REF_(name) name##_complex
static inline double re(real x) { return creal(x); }
static inline real real_exp(real x) { return cexp(x); }
static inline real real_log(real x) { return clog(x); }
static inline real real_sqrt(real x) { return csqrt(x); }
#else
#error "REF_REAL must be 32, 64 or 128"
#endif

#include "names.h"

#endif
