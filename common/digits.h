/* digits.h, toys: data sets that need no file. */
#ifndef ICD_DIGITS_H
#define ICD_DIGITS_H

#include "images.h"

/* What is known of a drawn digit. Slant in radians, width (of the pen), shifts and bend in pixels, size dimensionless. */
typedef struct { int digit; float slant, width, size, shift_x, shift_y, bend; } icd_digit_factors;

/* n digits (n,1,28,28) in [0,1], white strokes on black, antialiased, MNIST-like in scale (digits about 20 pixels tall,
 * mean about 0.13). Digit i is a pure function of (seed, i). Labels are the digits 0..9; factors (n) may be NULL. */
icd_status icd_digits(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_digit_factors *factors, icd_err *err);

/* Anatomy's toys: 8 Gaussians on a circle of radius 1 with sd 0.15, and 4 concentric rings of radius 0.25, 0.5, 0.75, 1
 * with sd 0.02 (rings), mapped from [-2,2]^2 to [0,1]^2 (points beyond are redrawn): (n,2,1,1). Labels name the component. */
icd_status icd_gmm(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_err *err);
icd_status icd_rings(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_err *err);

#endif
