/* test_ref_values.c (float, double, complex): the values of every op and block, against numbers worked out by hand or plain
 * loops written from the formula. Nothing here differentiates but where the value is a derivative's (clamp, floors, ties). */
#include "ref_test.h"

#include <stdlib.h>

/* A number summed by a plain loop, and the sum of the absolute values of its terms: what its rounding error is measured by. */
typedef struct { double *v, *size; } direct;

static direct direct_new(size_t n)
{
    direct d = { calloc(n, sizeof(double)), calloc(n, sizeof(double)) };
    return d;
}

static void direct_add(direct d, size_t i, double term)
{
    d.v[i] += term;
    d.size[i] += fabs(term);
}

/* y against d. A sum of `terms` products is off by at most (terms + 2) eps sum |a||b| in any order. Frees d. */
static void check_direct(const tape *t, var y, direct d, int terms)
{
    CHECK(y >= 0);
    int wrong = 0;
    for (size_t i = 0; y >= 0 && i < shape_count(shape_of(t, y)); i++)
        if (!(fabs(at(t, y, i) - d.v[i]) <= (terms + 2) * EPS * d.size[i]) && wrong++ < 3)
            CHECK_NEAR(at(t, y, i), d.v[i], (terms + 2) * EPS * d.size[i]);
    CHECK(wrong == 0);
    free(d.v);
    free(d.size);
}

static size_t index4(shape s, int n, int c, int h, int w)
{
    return (((size_t)n * (size_t)s.c + (size_t)c) * (size_t)s.h + (size_t)h) * (size_t)s.w + (size_t)w;
}

/* ---- convolution and pools ---- */

TEST(box_over_ones_reaches_every_edge)
{
    tape t;
    tape_init(&t, 0);
    var x = tape_fill(&t, (shape){ 1, 1, 5, 5 }, 1.0), w = tape_fill(&t, (shape){ 1, 1, 3, 3 }, 1.0);
    CHECK_VALUES(&t, tape_conv2d(&t, x, w, 1, 1), 0,
                 4, 6, 6, 6, 4,  6, 9, 9, 9, 6,  6, 9, 9, 9, 6,  6, 9, 9, 9, 6,  4, 6, 6, 6, 4);
    CHECK_VALUES(&t, tape_conv2d(&t, x, w, 2, 1), 0, 4, 6, 4, 6, 9, 6, 4, 6, 4);
    CHECK_VALUES(&t, tape_conv2d(&t, x, w, 1, 0), 0, 9, 9, 9, 9, 9, 9, 9, 9, 9);
    /* cross-correlation: the window is not turned round */
    var ramp = LEAF(&t, ((shape){ 1, 1, 2, 3 }), 1, 2, 3, 4, 5, 6), tap = LEAF(&t, ((shape){ 1, 1, 2, 2 }), 1, 10, 100, 1000);
    CHECK_VALUES(&t, tape_conv2d(&t, ramp, tap, 1, 0), 0, 5421, 6532);
    var bias = LEAF(&t, ((shape){ 1, 1, 1, 1 }), 0.5);
    CHECK_VALUES(&t, conv_bias(&t, ramp, tap, bias, 1, 0), 0, 5421.5, 6532.5);
    CHECK_VALUES(&t, conv_bias(&t, ramp, tap, -1, 1, 0), 0, 5421, 6532);
    tape_release(&t);
}

/* conv2d, its two transposes and the two adjoint identities, from the one defining sum. */
static void check_conv(int k, int stride, int pad, int h, int w)
{
    tape t;
    tape_init(&t, 0);
    shape sx = { 2, 3, h, w }, sw = { 4, 3, k, k };
    shape sy = { 2, 4, (h + 2 * pad - k) / stride + 1, (w + 2 * pad - k) / stride + 1 };
    var x = drawn(&t, 1, sx), f = drawn(&t, 2, sw), g = drawn(&t, 3, sy);
    direct y = direct_new(shape_count(sy)), gx = direct_new(shape_count(sx)), gw = direct_new(shape_count(sw));
    for (int n = 0; n < sx.n; n++)
        for (int o = 0; o < sw.n; o++)
            for (int c = 0; c < sx.c; c++)
                for (int i = 0; i < sy.h; i++)
                    for (int j = 0; j < sy.w; j++)
                        for (int u = 0; u < k; u++)
                            for (int v = 0; v < k; v++) {
                                int r = i * stride + u - pad, q = j * stride + v - pad;
                                if (r < 0 || r >= h || q < 0 || q >= w)
                                    continue;
                                size_t ix = index4(sx, n, c, r, q), iw = index4(sw, o, c, u, v), iy = index4(sy, n, o, i, j);
                                direct_add(y, iy, at(&t, f, iw) * at(&t, x, ix));
                                direct_add(gx, ix, at(&t, f, iw) * at(&t, g, iy));
                                direct_add(gw, iw, at(&t, g, iy) * at(&t, x, ix));
                            }
    var Y = tape_conv2d(&t, x, f, stride, pad), GX = tape_conv2d_bwd_x(&t, g, f, sx, stride, pad);
    var GW = tape_conv2d_bwd_w(&t, g, x, sw, stride, pad);
    CHECK(shape_same(shape_of(&t, Y), sy));
    check_direct(&t, Y, y, 3 * k * k);
    check_direct(&t, GX, gx, 4 * k * k);
    check_direct(&t, GW, gw, 2 * sy.h * sy.w);

    /* <conv(x,w), g> = <x, bwd_x(g,w)> = <w, bwd_w(g,x)>: each term is one product of three, in another order */
    double size[3], a = dot(&t, Y, g, &size[0]), b = dot(&t, x, GX, &size[1]), c = dot(&t, f, GW, &size[2]);
    double bound = (3 * k * k + 2 * sy.h * sy.w + 16) * EPS * (size[0] + size[1] + size[2]);
    CHECK_NEAR(a, b, bound);
    CHECK_NEAR(a, c, bound);
    tape_release(&t);
}

TEST(convolution_is_its_sum_for_every_window)
{
    static const int kernels[] = { 1, 3, 4, 5 };
    for (int i = 0; i < 4; i++)
        for (int stride = 1; stride <= 2; stride++)
            for (int pad = 0; pad <= 2; pad++)
                if (pad < kernels[i]) {
                    check_conv(kernels[i], stride, pad, 6, 9);
                    check_conv(kernels[i], stride, pad, 7, 5);
                }
    check_conv(3, 3, 1, 8, 7);
    check_conv(5, 1, 4, 3, 2);        /* a window wider than the image */
    check_conv(1, 2, 2, 3, 3);        /* windows that see padding alone */
}

static void check_pool(int k, int stride, int pad, int h, int w)
{
    tape t;
    tape_init(&t, 0);
    shape sx = { 2, 3, h, w }, sy = { 2, 3, (h + 2 * pad - k) / stride + 1, (w + 2 * pad - k) / stride + 1 };
    var x = drawn(&t, 4, sx), g = drawn(&t, 5, sy);
    direct y = direct_new(shape_count(sy)), gx = direct_new(shape_count(sx));
    for (int n = 0; n < sx.n; n++)
        for (int c = 0; c < sx.c; c++)
            for (int i = 0; i < sy.h; i++)
                for (int j = 0; j < sy.w; j++)
                    for (int r = i * stride - pad; r < i * stride - pad + k; r++)
                        for (int q = j * stride - pad; q < j * stride - pad + k; q++)
                            if (r >= 0 && r < h && q >= 0 && q < w) {
                                direct_add(y, index4(sy, n, c, i, j), at(&t, x, index4(sx, n, c, r, q)) / (k * k));
                                direct_add(gx, index4(sx, n, c, r, q), at(&t, g, index4(sy, n, c, i, j)) / (k * k));
                            }
    check_direct(&t, tape_avgpool(&t, x, k, stride, pad), y, k * k);
    check_direct(&t, tape_avgpool_bwd(&t, g, sx, k, stride, pad), gx, k * k);
    tape_release(&t);
}

TEST(average_pool_counts_the_padding)
{
    tape t;
    tape_init(&t, 0);
    var ones = tape_fill(&t, (shape){ 1, 1, 4, 4 }, 9.0);
    CHECK_VALUES(&t, tape_avgpool(&t, ones, 3, 2, 1), 9 * 9 * EPS, 4, 6, 6, 9);
    tape_release(&t);
    check_pool(3, 2, 1, 8, 7);
    check_pool(3, 2, 1, 5, 6);
    check_pool(2, 2, 0, 5, 6);
    check_pool(3, 1, 1, 4, 4);
}

TEST(max_pool_takes_the_largest_and_the_first_of_equals)
{
    tape t;
    tape_init(&t, 0);
    var x = LEAF(&t, ((shape){ 1, 2, 3, 5 }), 1, 2, -3, -1, 90,  4, 3, -2, -4, 90,  90, 90, 90, 90, 90,
                                             7, 7, 5, 8, 90,  7, 7, 8, 8, 90,  90, 90, 90, 90, 90);
    var y = maxpool2(&t, x), g;
    CHECK_VALUES(&t, y, 0, 4, -1, 7, 8);        /* a last odd row and column are dropped */
    tape_grad(&t, y, LEAF(&t, shape_of(&t, y), 1, 2, 3, 4), 1, &x, &g);
    CHECK_VALUES(&t, g, 0, 0, 0, 0, 2, 0,  1, 0, 0, 0, 0,  0, 0, 0, 0, 0,
                           3, 0, 0, 4, 0,  0, 0, 0, 0, 0,  0, 0, 0, 0, 0);
    for (int place = 0; place < 4; place++) {        /* a NaN goes through, wherever it lies */
        real four[4] = { 1, 5, 2, 3 };
        four[place] = (real)NAN;
        CHECK(isnan(at(&t, maxpool2(&t, tape_leaf(&t, (shape){ 1, 1, 2, 2 }, four)), 0)));
    }
    tape_release(&t);
}

/* ---- picking, summing, repeating ---- */

TEST(gather_picks_and_scatter_adds)
{
    tape t;
    tape_init(&t, 0);
    static const int32_t index[] = { 2, 0, 2, 5 };
    shape six = { 1, 2, 1, 3 }, four = { 4, 1, 1, 1 };
    var x = LEAF(&t, six, 10, 11, 12, 13, 14, 15), y = LEAF(&t, four, 1, 2, 4, 8);
    CHECK_VALUES(&t, tape_gather(&t, x, index, four), 0, 12, 10, 12, 15);
    CHECK_VALUES(&t, tape_scatter(&t, y, index, six), 0, 2, 0, 5, 0, 0, 8);
    tape_release(&t);
}

/* s with the dimensions of the mask's bits made 1. */
static shape masked(shape s, int mask)
{
    return (shape){ mask & 1 ? 1 : s.n, mask & 2 ? 1 : s.c, mask & 4 ? 1 : s.h, mask & 8 ? 1 : s.w };
}

/* Where (n,c,h,w) lies in a tensor some of whose dimensions are 1. */
static size_t index_in(shape s, int n, int c, int h, int w)
{
    return index4(s, s.n == 1 ? 0 : n, s.c == 1 ? 0 : c, s.h == 1 ? 0 : h, s.w == 1 ? 0 : w);
}

static void check_sums(shape big)
{
    for (int mask = 0; mask < 16; mask++) {
        tape t;
        tape_init(&t, 0);
        shape small = masked(big, mask);
        var x = drawn(&t, 6, big), y = drawn(&t, 7, small);
        direct sum = direct_new(shape_count(small)), repeat = direct_new(shape_count(big));
        for (int n = 0; n < big.n; n++)
            for (int c = 0; c < big.c; c++)
                for (int h = 0; h < big.h; h++)
                    for (int w = 0; w < big.w; w++) {
                        direct_add(sum, index_in(small, n, c, h, w), at(&t, x, index4(big, n, c, h, w)));
                        direct_add(repeat, index4(big, n, c, h, w), at(&t, y, index_in(small, n, c, h, w)));
                    }
        int terms = (int)(shape_count(big) / shape_count(small));
        for (size_t i = 0; i < shape_count(small); i++) {
            double mean = sum.v[i] / terms;
            CHECK_NEAR(at(&t, tape_mean_to(&t, x, small), i), mean, (terms + 4) * EPS * sum.size[i] / terms);
        }
        check_direct(&t, tape_sum_to(&t, x, small), sum, terms);
        check_direct(&t, tape_broadcast(&t, y, big), repeat, 0);
        tape_release(&t);
    }
}

TEST(sums_and_repeats_over_every_set_of_dimensions)
{
    check_sums((shape){ 2, 3, 4, 5 });
    check_sums((shape){ 3, 1, 2, 37 });       /* a row of two sixteens and a rest */
    tape t;
    tape_init(&t, 0);
    CHECK_VALUES(&t, tape_sum(&t, LEAF(&t, ((shape){ 2, 1, 1, 2 }), 1, 2, 4, 8)), 0, 15);
    var r = tape_reshape(&t, LEAF(&t, ((shape){ 1, 2, 3, 1 }), 1, 2, 3, 4, 5, 6), (shape){ 3, 1, 1, 2 });
    CHECK_VALUES(&t, r, 0, 1, 2, 3, 4, 5, 6);
    CHECK_EQ(at4(&t, r, 1, 0, 0, 1), 4);
    tape_release(&t);
}

TEST(binary_ops_repeat_either_side)
{
    shape s = { 2, 3, 2, 5 };
    for (int ma = 0; ma < 16; ma++)
        for (int mb = 0; mb < 16; mb++) {
            tape t;
            tape_init(&t, 0);
            shape sa = masked(s, ma), sb = masked(s, mb), sy = masked(s, ma & mb);
            var a = drawn(&t, 8, sa), b = drawn(&t, 9, sb);
            var add = tape_add(&t, a, b), sub = tape_sub(&t, a, b), mul = tape_mul(&t, a, b);
            CHECK(shape_same(shape_of(&t, mul), sy));
            for (int n = 0; n < sy.n; n++)
                for (int c = 0; c < sy.c; c++)
                    for (int h = 0; h < sy.h; h++)
                        for (int w = 0; w < sy.w; w++) {
                            size_t i = index4(sy, n, c, h, w);
                            double p = at(&t, a, index_in(sa, n, c, h, w)), q = at(&t, b, index_in(sb, n, c, h, w));
                            CHECK_NEAR(at(&t, add, i), p + q, EPS * fabs(p + q));
                            CHECK_NEAR(at(&t, sub, i), p - q, EPS * fabs(p - q));
                            CHECK_NEAR(at(&t, mul, i), p * q, EPS * fabs(p * q));
                        }
            tape_release(&t);
        }
}

TEST(matrix_products_of_all_three_kinds)
{
    tape t;
    tape_init(&t, 0);
    CHECK_VALUES(&t, tape_matmul(&t, LEAF(&t, ((shape){ 1, 1, 2, 3 }), 1, 2, 3, 4, 5, 6),
                                 LEAF(&t, ((shape){ 1, 1, 3, 1 }), 1, 10, 100), MATMUL_NN), 0, 321, 654);
    for (int kind = MATMUL_NN; kind <= MATMUL_NT; kind++)
        for (int k = 1; k <= 35; k += 17) {        /* inner sizes 1, 18, 35: under, over and twice over sixteen */
            int m = 4, n = 3;
            shape sa = { 2, 3, kind == MATMUL_TN ? k : m, kind == MATMUL_TN ? m : k };
            shape sb = { 2, 3, kind == MATMUL_NT ? n : k, kind == MATMUL_NT ? k : n }, sy = { 2, 3, m, n };
            var a = drawn(&t, 10, sa), b = drawn(&t, 11, sb);
            direct y = direct_new(shape_count(sy));
            for (int p = 0; p < 2; p++)
                for (int c = 0; c < 3; c++)
                    for (int i = 0; i < m; i++)
                        for (int j = 0; j < n; j++)
                            for (int q = 0; q < k; q++)
                                direct_add(y, index4(sy, p, c, i, j),
                                           (kind == MATMUL_TN ? at4(&t, a, p, c, q, i) : at4(&t, a, p, c, i, q))
                                           * (kind == MATMUL_NT ? at4(&t, b, p, c, j, q) : at4(&t, b, p, c, q, j)));
            check_direct(&t, tape_matmul(&t, a, b, kind), y, k);
        }
    tape_release(&t);
}

/* ---- one number in, one out ---- */

TEST(elementwise_values_by_hand)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 1, 1, 1, 4 };
    var x = LEAF(&t, s, 0.25, 1, 4, 9);
    CHECK_VALUES(&t, tape_affine(&t, x, -2.0, 0.5), 0, 0, -1.5, -7.5, -17.5);
    CHECK_VALUES(&t, tape_recip(&t, x), EPS, 4, 1, 0.25, 1.0 / 9);
    CHECK_VALUES(&t, tape_sqrt(&t, x), EPS, 0.5, 1, 2, 3);
    CHECK_VALUES(&t, tape_log(&t, x), 4 * EPS, -1.3862943611198906, 0, 1.3862943611198906, 2.1972245773362196);
    CHECK_VALUES(&t, tape_exp(&t, tape_log(&t, x)), 64 * EPS, 0.25, 1, 4, 9);
    CHECK_VALUES(&t, tape_exp(&t, LEAF(&t, s, 0, 1, -1, 2)), 8 * EPS,
                 1, 2.718281828459045, 0.36787944117144233, 7.38905609893065);
    CHECK_VALUES(&t, tape_stop_gradient(&t, x), 0, 0.25, 1, 4, 9);
    tape_release(&t);
}

TEST(logistic_never_overflows)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 1, 1, 1, 5 };
    var x = LEAF(&t, s, -800, -1, 0, 1, 800), y = tape_logistic(&t, x), g;
    CHECK_VALUES(&t, y, 2 * EPS, 0, 0.2689414213699951, 0.5, 0.7310585786300049, 1);
    CHECK_EQ(at(&t, y, 0), 0);
    CHECK_EQ(at(&t, y, 4), 1);
    tape_grad(&t, y, -1, 1, &x, &g);
    CHECK_VALUES(&t, g, 2 * EPS, 0, 0.19661193324148185, 0.25, 0.19661193324148185, 0);
    CHECK_VALUES(&t, swish(&t, x), 800 * EPS, 0, -0.2689414213699951, 0, 0.7310585786300049, 800);
    tape_release(&t);
}

TEST(clamp_and_slope_at_their_borders)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 1, 1, 1, 7 };
    var x = LEAF(&t, s, -0.5, 0, 0.25, 1, 1.5, -100, 100), y = tape_clamp(&t, x, 0, 1), g;
    CHECK_VALUES(&t, y, 0, 0, 0, 0.25, 1, 1, 0, 1);
    CHECK_VALUES(&t, tape_inside(&t, x, 0, 1), 0, 0, 1, 1, 1, 0, 0, 0);
    tape_grad(&t, y, LEAF(&t, s, 1, 2, 3, 4, 5, 6, 7), 1, &x, &g);
    CHECK_VALUES(&t, g, 0, 0, 2, 3, 4, 0, 0, 0);

    var z = LEAF(&t, s, -2, -0.5, 0, 0.5, 2, -8, 8), l = leaky_relu(&t, z, 0.25);
    CHECK_VALUES(&t, l, 0, -0.5, -0.125, 0, 0.5, 2, -2, 8);
    tape_grad(&t, l, LEAF(&t, s, 1, 1, 1, 1, 2, 2, 2), 1, &z, &g);
    CHECK_VALUES(&t, g, 0, 0.25, 0.25, 0.25, 1, 2, 0.5, 2);        /* at 0 the slope is that of the left */

    var nan = tape_fill(&t, (shape){ 1, 1, 1, 1 }, NAN);
    CHECK(isnan(at(&t, tape_clamp(&t, nan, 0, 1), 0)));
    CHECK(isnan(at(&t, leaky_relu(&t, nan, 0.25), 0)));
    tape_release(&t);
}

TEST(softmax_rows_are_distributions)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 2, 1, 3, 5 };
    var x = drawn(&t, 12, s), y = softmax_rows(&t, x);
    for (int n = 0; n < 2; n++)
        for (int h = 0; h < 3; h++) {
            double sum = 0, z = 0;
            for (int w = 0; w < 5; w++) {
                sum += at4(&t, y, n, 0, h, w);
                z += exp(at4(&t, x, n, 0, h, w));
            }
            CHECK_NEAR(sum, 1, 8 * EPS);
            for (int w = 0; w < 5; w++)
                CHECK_NEAR(at4(&t, y, n, 0, h, w), exp(at4(&t, x, n, 0, h, w)) / z, 16 * EPS);
        }
    var shifted = softmax_rows(&t, tape_affine(&t, x, 1.0, 64.0));        /* x + 64 is rounded at 64 eps */
    for (size_t i = 0; i < shape_count(s); i++)
        CHECK_NEAR(at(&t, shifted, i), at(&t, y, i), 256 * EPS);
    CHECK_VALUES(&t, softmax_rows(&t, LEAF(&t, ((shape){ 1, 1, 2, 2 }), 1000, 1000, -1000, -2000)), EPS, 0.5, 0.5, 1, 0);
    tape_release(&t);
}

/* ---- normalisations ---- */

static void check_group_norm(int groups)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 2, 6, 3, 4 }, vector = { 1, 6, 1, 1 };
    var x = tape_affine(&t, drawn(&t, 13, s), 2.0, 3.0), gain = drawn(&t, 14, vector), bias = drawn(&t, 15, vector);
    var y = group_norm(&t, x, groups, gain, bias);
    var plain = group_norm(&t, x, groups, tape_fill(&t, vector, 1.0), tape_fill(&t, vector, 0.0));
    int per = s.c / groups, count = per * s.h * s.w;
    for (int n = 0; n < s.n; n++)
        for (int g = 0; g < groups; g++) {
            double mean = 0, var_ = 0, mean_y = 0, var_y = 0;
            for (int c = g * per; c < (g + 1) * per; c++)
                for (int i = 0; i < s.h * s.w; i++)
                    mean += at4(&t, x, n, c, i / s.w, i % s.w) / count;
            for (int c = g * per; c < (g + 1) * per; c++)
                for (int i = 0; i < s.h * s.w; i++)
                    var_ += pow(at4(&t, x, n, c, i / s.w, i % s.w) - mean, 2) / count;
            for (int c = g * per; c < (g + 1) * per; c++)
                for (int i = 0; i < s.h * s.w; i++) {
                    double z = (at4(&t, x, n, c, i / s.w, i % s.w) - mean) / sqrt(var_ + 1e-5);
                    double p = at4(&t, plain, n, c, i / s.w, i % s.w);
                    double want = z * at(&t, gain, (size_t)c) + at(&t, bias, (size_t)c);
                    CHECK_NEAR(p, z, 64 * EPS);          /* numbers of size 10, means of 12 to 36 of them */
                    CHECK_NEAR(at4(&t, y, n, c, i / s.w, i % s.w), want, 256 * EPS);
                    mean_y += p / count;
                    var_y += p * p / count;
                }
            CHECK_NEAR(mean_y, 0, 64 * EPS);
            CHECK_NEAR(var_y, 1, 64 * EPS + 1e-5);       /* var/(var + 1e-5), var over 1 */
        }
    tape_release(&t);
}

TEST(group_norm_has_mean_0_and_variance_1_per_group)
{
    check_group_norm(1);
    check_group_norm(2);
    check_group_norm(6);        /* instance norm */
    /* the place and the size of epsilon: (-1, 1) has variance 1; (-1, 1)/1000 has 1e-6 */
    tape t;
    tape_init(&t, 0);
    var one = tape_fill(&t, (shape){ 1, 1, 1, 1 }, 1.0), zero = tape_fill(&t, (shape){ 1, 1, 1, 1 }, 0.0);
    var y = group_norm(&t, LEAF(&t, ((shape){ 1, 1, 1, 2 }), -1e-3, 1e-3), 1, one, zero);
    CHECK_VALUES(&t, y, 8 * EPS, -0.30151134457776363, 0.30151134457776363);       /* sqrt(1e-6/1.1e-5) */
    tape_release(&t);
}

TEST(weight_standardisation_is_unbiased)
{
    tape t;
    tape_init(&t, 0);
    /* 1, 2, 3, 6: mean 3, sum of squares 14, over 3: sd 2.160246899469287 */
    var w = LEAF(&t, ((shape){ 2, 1, 2, 2 }), 1, 2, 3, 6, 1e-5, 2e-5, 3e-5, 6e-5);
    double d = 2.160246899469287 + 1e-5, e = 2.160246899469287e-5 + 1e-5;
    CHECK_VALUES(&t, weight_standardise(&t, w), 16 * EPS, -2 / d, -1 / d, 0, 3 / d, -2e-5 / e, -1e-5 / e, 0, 3e-5 / e);
    shape s = { 3, 4, 3, 3 };
    var y = weight_standardise(&t, tape_affine(&t, drawn(&t, 16, s), 1.0, 2.0));
    for (int o = 0; o < s.n; o++) {
        double mean = 0, square = 0;
        for (int i = 0; i < 36; i++) {
            mean += at(&t, y, (size_t)(o * 36 + i)) / 36;
            square += pow(at(&t, y, (size_t)(o * 36 + i)), 2) / 35;
        }
        CHECK_NEAR(mean, 0, 64 * EPS);
        CHECK_NEAR(square, 1, 64 * EPS + 4e-5);          /* (sd/(sd + 1e-5))^2, sd over 0.5 */
    }
    tape_release(&t);
}

/* W (rows,columns) <- its product with a rotation of rows p and q by `angle`. */
static void rotate_rows(double *W, int columns, int p, int q, double angle)
{
    for (int j = 0; j < columns; j++) {
        double a = W[p * columns + j], b = W[q * columns + j];
        W[p * columns + j] = cos(angle) * a - sin(angle) * b;
        W[q * columns + j] = sin(angle) * a + cos(angle) * b;
    }
}

static void rotate_columns(double *W, int rows, int columns, int p, int q, double angle)
{
    for (int i = 0; i < rows; i++) {
        double a = W[i * columns + p], b = W[i * columns + q];
        W[i * columns + p] = cos(angle) * a - sin(angle) * b;
        W[i * columns + q] = sin(angle) * a + cos(angle) * b;
    }
}

TEST(spectral_normalisation_divides_by_the_largest_singular_value)
{
    /* diag(5, 1, 1/2) between rotations; 12 iterations leave (1/5)^48 of the second direction in sigma */
    double W[3 * 4] = { 5, 0, 0, 0,  0, 1, 0, 0,  0, 0, 0.5, 0 };
    rotate_rows(W, 4, 0, 1, 0.7);
    rotate_rows(W, 4, 1, 2, -1.1);
    rotate_columns(W, 3, 4, 0, 3, 0.4);
    rotate_columns(W, 3, 4, 1, 2, 2.0);
    rotate_columns(W, 3, 4, 0, 2, -0.9);
    tape t;
    tape_init(&t, 0);
    shape s = { 3, 1, 2, 2 };
    var w = leaf_of(&t, s, W), y = spectral_normalise(&t, w), twice = spectral_normalise(&t, tape_affine(&t, w, 2.0, 0.0));
    for (size_t i = 0; i < 12; i++) {
        CHECK_NEAR(at(&t, y, i), W[i] / 5, 64 * EPS + 1e-12);
        CHECK_NEAR(at(&t, twice, i), at(&t, y, i), 64 * EPS + 1e-12);
    }
    /* one row: its length */
    CHECK_VALUES(&t, spectral_normalise(&t, LEAF(&t, ((shape){ 1, 2, 1, 1 }), -3, 4)), 8 * EPS + 1e-13, -0.6, 0.8);
    tape_release(&t);
}

/* ---- attention ---- */

typedef struct { tape *t; var x; linear1x1 p; } projection;

/* Channel o of a 1x1 convolution at pixel i of image n; with pool, i counts the 2x2 max-pooled pixels. */
static double project_at(const projection *p, int n, int o, int i, int pool)
{
    shape s = shape_of(p->t, p->x);
    int columns = pool ? s.w / 2 : s.w, h = i / columns * (pool ? 2 : 1), w = i % columns * (pool ? 2 : 1);
    double best = -INFINITY;
    for (int q = 0; q < (pool ? 4 : 1); q++) {
        double y = at(p->t, p->p.bias, (size_t)o);
        for (int c = 0; c < s.c; c++)
            y += at4(p->t, p->p.weight, o, c, 0, 0) * at4(p->t, p->x, n, c, h + q / 2, w + q % 2);
        best = y > best ? y : best;
    }
    return best;
}

/* sum_j softmax_j(q_i . k_j) v_j[o] */
static double attend(const projection *q, const projection *k, const projection *v, int n, int o, int i, int keys, int pool)
{
    double sum = 0, z = 0;
    int inner = shape_of(q->t, q->p.weight).n;
    for (int j = 0; j < keys; j++) {
        double score = 0;
        for (int c = 0; c < inner; c++)
            score += project_at(q, n, c, i, 0) * project_at(k, n, c, j, pool);
        z += exp(score);
        sum += exp(score) * project_at(v, n, o, j, pool);
    }
    return sum / z;
}

static linear1x1 drawn_linear(tape *t, uint64_t seed, int out, int in)
{
    linear1x1 l = { tape_affine(t, drawn(t, seed, (shape){ out, in, 1, 1 }), 0.5, 0.0), drawn(t, seed + 1, (shape){ 1, out, 1, 1 }) };
    return l;
}

TEST(self_attention_is_its_formula)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 2, 16, 2, 3 };
    var x = drawn(&t, 20, s), gamma = LEAF(&t, ((shape){ 1, 1, 1, 1 }), -0.75);
    projection q = { &t, x, drawn_linear(&t, 21, 2, 16) }, k = { &t, x, drawn_linear(&t, 23, 2, 16) };
    projection v = { &t, x, drawn_linear(&t, 25, 16, 16) };
    var y = self_attention(&t, x, q.p, k.p, v.p, gamma);
    CHECK(shape_same(shape_of(&t, y), s));
    for (int n = 0; n < s.n; n++)
        for (int c = 0; c < s.c; c++)
            for (int i = 0; i < 6; i++)
                CHECK_NEAR(at4(&t, y, n, c, i / 3, i % 3),
                           -0.75 * attend(&q, &k, &v, n, c, i, 6, 0) + at4(&t, x, n, c, i / 3, i % 3),
                           4096 * EPS);     /* scores up to 30, and exp makes their absolute error a relative one */
    tape_release(&t);
}

TEST(non_local_block_is_its_formula)
{
    tape t;
    tape_init(&t, 0);
    shape s = { 2, 4, 4, 5 };
    var x = drawn(&t, 30, s);
    projection theta = { &t, x, drawn_linear(&t, 31, 2, 4) }, phi = { &t, x, drawn_linear(&t, 33, 2, 4) };
    projection g = { &t, x, drawn_linear(&t, 35, 2, 4) };
    linear1x1 out = drawn_linear(&t, 37, 4, 2);
    var y = non_local(&t, x, theta.p, phi.p, g.p, out);
    CHECK(shape_same(shape_of(&t, y), s));
    for (int n = 0; n < s.n; n++)
        for (int i = 0; i < 20; i++) {
            double inner[2] = { attend(&theta, &phi, &g, n, 0, i, 4, 1), attend(&theta, &phi, &g, n, 1, i, 4, 1) };
            for (int c = 0; c < s.c; c++) {
                double want = at(&t, out.bias, (size_t)c) + at4(&t, x, n, c, i / 5, i % 5);
                for (int p = 0; p < 2; p++)
                    want += at4(&t, out.weight, c, p, 0, 0) * inner[p];
                CHECK_NEAR(at4(&t, y, n, c, i / 5, i % 5), want, 4096 * EPS);
            }
        }
    tape_release(&t);
}

/* ---- the nearest neighbour ---- */

TEST(nearest_neighbour_index_ties_floor_and_nan)
{
    tape t;
    tape_init(&t, 0);
    /* 2 pixels: (0,0) is 5 from (3,4), 13 from (5,12); (3,3) is 1 from the first; (9,4) ties; the fourth is X[2] itself */
    const real X[] = { 3, 4, 5, 12, 15, 4, 3, 4, 0, 0 };
    var x = LEAF(&t, ((shape){ 5, 1, 1, 2 }), 0, 0,  3, 3,  9, 4,  15, 4,  NAN, 0), g;
    int32_t index[5] = { -1, -1, -1, -1, -1 };
    double distance[5];
    var y = log_nearest(&t, x, X, 4, index, distance);
    CHECK(shape_same(shape_of(&t, y), (shape){ 5, 1, 1, 1 }));
    CHECK_NEAR(at(&t, y, 0), 1.6094379124341003, 4 * EPS);        /* ln 5 */
    CHECK_NEAR(at(&t, y, 1), 0, 4 * EPS);
    CHECK_NEAR(at(&t, y, 2), 1.791759469228055, 4 * EPS);         /* ln 6 */
    CHECK_NEAR(at(&t, y, 3), -13.815510557964274, 32 * EPS);      /* ln 1e-6: the floor */
    CHECK(isnan(at(&t, y, 4)));
    CHECK_EQ(index[0], 0);
    CHECK_EQ(index[1], 0);        /* X[3] is the same image: the lowest index */
    CHECK_EQ(index[2], 0);
    CHECK_EQ(index[3], 2);
    CHECK(index[4] >= 0 && index[4] < 4);
    CHECK_EQ(distance[0], 5);
    CHECK_EQ(distance[1], 1);
    CHECK_EQ(distance[2], 6);
    CHECK_EQ(distance[3], 0);     /* before the floor */
    tape_grad(&t, y, LEAF(&t, ((shape){ 5, 1, 1, 1 }), 1, 2, 1, 1, 0), 1, &x, &g);
    const double want[] = { -3.0 / 25, -4.0 / 25,  0, -2,  1.0 / 6, 0,  0, 0 };       /* (x - nn)/|x - nn|^2 */
    for (size_t i = 0; i < 8; i++)
        CHECK_NEAR(at(&t, g, i), want[i], 8 * EPS);
    CHECK(isnan(at(&t, g, 8)));
    /* a little under and over the floor of 1e-6 */
    const real origin[] = { 0, 0 };
    var near = LEAF(&t, ((shape){ 2, 1, 1, 2 }), 0.9e-6, 0,  0, 2e-6);
    y = log_nearest(&t, near, origin, 1, NULL, NULL);
    CHECK_NEAR(at(&t, y, 0), log(1e-6), 32 * EPS);
    CHECK_NEAR(at(&t, y, 1), log(2e-6), 32 * EPS);
    tape_grad(&t, y, -1, 1, &near, &g);
    CHECK_VALUES(&t, g, 5e5 * 8 * EPS, 0, 0, 0, 5e5);
    tape_release(&t);
}

TEST_MAIN("ref values", T(box_over_ones_reaches_every_edge), T(convolution_is_its_sum_for_every_window),
          T(average_pool_counts_the_padding), T(max_pool_takes_the_largest_and_the_first_of_equals),
          T(gather_picks_and_scatter_adds), T(sums_and_repeats_over_every_set_of_dimensions),
          T(binary_ops_repeat_either_side), T(matrix_products_of_all_three_kinds), T(elementwise_values_by_hand),
          T(logistic_never_overflows), T(clamp_and_slope_at_their_borders), T(softmax_rows_are_distributions),
          T(group_norm_has_mean_0_and_variance_1_per_group), T(weight_standardisation_is_unbiased),
          T(spectral_normalisation_divides_by_the_largest_singular_value), T(self_attention_is_its_formula),
          T(non_local_block_is_its_formula), T(nearest_neighbour_index_ties_floor_and_nan))
