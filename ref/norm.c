/* norm.c: normalisations, written as their formulas. */
#include "ops.h"

/* y = gain (x - mean)/sqrt(var + eps) + bias, mean and biased variance over one group of channels of one image.
 * Instance norm is groups = C.                                                                          [ICD:B.1] */
var group_norm(tape *t, var x, int groups, var gain, var bias)
{
    const double eps = 1e-5;
    if (x < 0)
        return -1;
    shape s = shape_of(t, x);
    shape grouped = { s.n, groups, s.c / groups, s.h * s.w }, one = { s.n, groups, 1, 1 };
    var v = tape_reshape(t, x, grouped);
    var centred = tape_sub(t, v, tape_mean_to(t, v, one));
    var variance = tape_mean_to(t, tape_mul(t, centred, centred), one);
    var scale = tape_recip(t, tape_sqrt(t, tape_affine(t, variance, 1.0, eps)));
    var normal = tape_reshape(t, tape_mul(t, centred, scale), s);
    return tape_add(t, tape_mul(t, normal, gain), bias);
}

/* w <- (w - mean)/(sd + 1e-5) for each output channel, sd unbiased: divided by count - 1. */
var weight_standardise(tape *t, var w)
{
    const double eps = 1e-5;
    if (w < 0)
        return -1;
    shape s = shape_of(t, w), rows = { s.n, 1, 1, s.c * s.h * s.w }, one = { s.n, 1, 1, 1 };
    var v = tape_reshape(t, w, rows);
    var centred = tape_sub(t, v, tape_mean_to(t, v, one));
    var sum = tape_sum_to(t, tape_mul(t, centred, centred), one);
    var sd = tape_sqrt(t, tape_affine(t, sum, 1.0 / (rows.w - 1), 0.0));
    return tape_reshape(t, tape_mul(t, centred, tape_recip(t, tape_affine(t, sd, 1.0, eps))), s);
}

/* x/sqrt(|x|^2 + 1e-12) */
static var unit(tape *t, var x)
{
    var norm = tape_sqrt(t, tape_affine(t, tape_sum(t, tape_mul(t, x, x)), 1.0, 1e-12));
    return tape_mul(t, x, tape_recip(t, norm));
}

/* w/sigma, sigma = uT W v after power iterations v = unit(WT u), u = unit(W v) from u = ones/sqrt(O).   [GL:5.2.2]
 * The iterations are part of the function: a pure function of w, whose derivative is exact for any number of them. */
var spectral_normalise(tape *t, var w)
{
    if (w < 0)
        return -1;
    shape s = shape_of(t, w), matrix = { 1, 1, s.n, s.c * s.h * s.w };
    var W = tape_reshape(t, w, matrix), v = -1;
    var u = tape_fill(t, (shape){ 1, 1, s.n, 1 }, 1.0 / sqrt((double)s.n));
    for (int i = 0; i < SPECTRAL_ITERATIONS; i++) {
        v = unit(t, tape_matmul(t, W, u, MATMUL_TN));
        u = unit(t, tape_matmul(t, W, v, MATMUL_NN));
    }
    var sigma = tape_matmul(t, u, tape_matmul(t, W, v, MATMUL_NN), MATMUL_TN);
    return tape_mul(t, w, tape_recip(t, sigma));
}
