/* Drawn digits: what they look like in numbers, and that each factor does what it says. The toys: their laws. */
#include "common/digits.h"
#include "common/field.h"
#include "tests/test.h"

enum { N = 6000, SIDE = 28, PIXELS = SIDE * SIDE };
static icd_err err;
static icd_arena arena;
static icd_images set;
static icd_digit_factors factor[N];

/* Ink, centre of mass, and second moments about it, in pixels. */
typedef struct { double ink, x, y, xx, xy, yy; } moments;
static moments moment[N];

static moments moments_of(const float *x)
{
    moments m = { 0, 0, 0, 0, 0, 0 };
    for (int i = 0; i < PIXELS; i++) {
        m.ink += x[i];
        m.x += (double)x[i] * (i % SIDE);
        m.y += (double)x[i] * (i / SIDE);
    }
    m.x /= m.ink;
    m.y /= m.ink;
    for (int i = 0; i < PIXELS; i++) {
        double dx = i % SIDE - m.x, dy = i / SIDE - m.y;
        m.xx += x[i] * dx * dx / m.ink;
        m.xy += x[i] * dx * dy / m.ink;
        m.yy += x[i] * dy * dy / m.ink;
    }
    return m;
}

static void draw_once(void)
{
    if (set.n)
        return;
    CHECK_OK(icd_digits(&arena, 1, N, &set, factor, &err));
    for (int i = 0; i < set.n; i++)
        moment[i] = moments_of(set.x + (size_t)i * PIXELS);
}

TEST(digits_are_a_pure_function_of_seed_and_number)
{
    icd_arena a = { 0 };
    icd_images few, other;
    draw_once();
    CHECK_OK(icd_digits(&a, 1, 20, &few, NULL, &err));
    CHECK(memcmp(few.x, set.x, 20 * PIXELS * sizeof(float)) == 0);
    CHECK(memcmp(few.label, set.label, 20 * sizeof(int32_t)) == 0);
    CHECK_OK(icd_digits(&a, 2, 20, &other, NULL, &err));
    for (int i = 0; i < 20; i++)
        CHECK(memcmp(few.x + i * PIXELS, other.x + i * PIXELS, PIXELS * sizeof(float)) != 0);
    icd_arena_release(&a);
}

TEST(digits_have_labels_and_range)
{
    int count[10] = { 0 };
    double chi2 = 0;
    draw_once();
    CHECK(set.n == N && set.c == 1 && set.h == SIDE && set.w == SIDE && set.classes == 10);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(set.label[i], factor[i].digit);
        CHECK(set.label[i] >= 0 && set.label[i] < 10);
        if (set.label[i] >= 0 && set.label[i] < 10)
            count[set.label[i]]++;
    }
    for (int k = 0; k < 10; k++)
        chi2 += (count[k] - N / 10.0) * (count[k] - N / 10.0) / (N / 10.0);
    CHECK_NEAR(chi2, 9, 4 * sqrt(18.0));
}

/* MNIST has mean 0.131, mean square 0.112; its digits fit 20x20 pixels, so that the border is black. */
TEST(digits_have_the_ink_of_mnist)
{
    double sum = 0, squares = 0, border = 0;
    int outside = 0;
    draw_once();
    for (int i = 0; i < N; i++) {
        const float *x = set.x + (size_t)i * PIXELS;
        float most = 0;
        for (int k = 0; k < PIXELS; k++) {
            outside += !(x[k] >= 0 && x[k] <= 1);
            most = x[k] > most ? x[k] : most;
            sum += x[k];
            squares += (double)x[k] * x[k];
            if (k / SIDE == 0 || k / SIDE == SIDE - 1 || k % SIDE == 0 || k % SIDE == SIDE - 1)
                border += x[k];
        }
        CHECK(most > 0.99f);
        CHECK(moment[i].ink > 0.03 * PIXELS && moment[i].ink < 0.3 * PIXELS);
    }
    CHECK_EQ(outside, 0);
    CHECK_NEAR(sum / N / PIXELS, 0.131, 0.015);
    CHECK_NEAR(squares / N / PIXELS, 0.105, 0.015);
    CHECK(border < 0.003 * sum);
}

/* Nearest mean image, means from half the digits: MNIST scores 0.82. Labels that were wrong, or blots, would score 0.1. */
TEST(digits_can_be_told_apart)
{
    static double mean[10][PIXELS];
    int count[10] = { 0 }, right = 0;
    draw_once();
    for (int i = 0; i < N / 2; i++) {
        count[set.label[i]]++;
        for (int k = 0; k < PIXELS; k++)
            mean[set.label[i]][k] += set.x[(size_t)i * PIXELS + (size_t)k];
    }
    for (int i = N / 2; i < N; i++) {
        int best = 0;
        double least = 1e9;
        for (int c = 0; c < 10; c++) {
            double d = 0;
            for (int k = 0; k < PIXELS; k++) {
                double e = mean[c][k] / count[c] - set.x[(size_t)i * PIXELS + (size_t)k];
                d += e * e;
            }
            if (d < least) {
                least = d;
                best = c;
            }
        }
        right += best == set.label[i];
    }
    CHECK(right > 0.75 * (N / 2));
}

static double factor_shift_x(const icd_digit_factors *f) { return (double)f->shift_x; }
static double factor_shift_y(const icd_digit_factors *f) { return (double)f->shift_y; }
static double factor_slant(const icd_digit_factors *f) { return tan((double)f->slant); }
static double factor_width(const icd_digit_factors *f) { return (double)f->width; }
static double factor_size(const icd_digit_factors *f) { return (double)f->size; }
static double measured_x(const moments *m) { return m->x; }
static double measured_y(const moments *m) { return m->y; }
static double measured_slant(const moments *m) { return -m->xy / m->yy; }
static double measured_ink(const moments *m) { return log(m->ink); }
static double measured_height(const moments *m) { return sqrt(m->yy); }

/* Least squares of a measure on a factor, with a constant for each digit: slope and correlation. */
static void regress(double (*measure)(const moments *), double (*of)(const icd_digit_factors *), double *slope, double *r)
{
    double n[10] = { 0 }, mx[10] = { 0 }, my[10] = { 0 }, xx = 0, xy = 0, yy = 0;
    draw_once();
    for (int i = 0; i < N; i++) {
        n[factor[i].digit]++;
        mx[factor[i].digit] += of(&factor[i]);
        my[factor[i].digit] += measure(&moment[i]);
    }
    for (int i = 0; i < N; i++) {
        int k = factor[i].digit;
        double x = of(&factor[i]) - mx[k] / n[k], y = measure(&moment[i]) - my[k] / n[k];
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    *slope = xy / xx;
    *r = xy / sqrt(xx * yy);
}

TEST(shift_moves_the_centre_of_mass)
{
    double slope, r, worst = 0;
    regress(measured_x, factor_shift_x, &slope, &r);
    CHECK_NEAR(slope, 1, 0.02);
    CHECK(r > 0.98);
    regress(measured_y, factor_shift_y, &slope, &r);
    CHECK_NEAR(slope, 1, 0.02);
    CHECK(r > 0.98);
    for (int i = 0; i < N; i++)
        worst = fmax(worst, hypot(moment[i].x - 13.5 - factor[i].shift_x, moment[i].y - 13.5 - factor[i].shift_y));
    CHECK(worst < 1);                       /* ink is a little less than length where strokes meet */
}

TEST(slant_shears)
{
    double slope, r;
    /* A shear by s takes cov(x,y) to cov(x,y) - s var(y) for the curve; a round pen adds to var(y) alone, so a little less. */
    regress(measured_slant, factor_slant, &slope, &r);
    CHECK_NEAR(slope, 0.95, 0.05);
    CHECK(r > 0.8);
}

TEST(width_adds_ink)
{
    double slope, r;
    regress(measured_ink, factor_width, &slope, &r);        /* ink is width times length: d log(ink) = d width / 2.5 */
    CHECK_NEAR(slope, 0.4, 0.05);
    CHECK(r > 0.8);
}

TEST(size_makes_taller)
{
    double slope, r;
    regress(measured_height, factor_size, &slope, &r);      /* a uniform 20 pixel stroke has sd 20/sqrt(12) = 5.8 */
    CHECK_NEAR(slope, 5.8, 1);
    CHECK(r > 0.6);
}

/* Bend is noise in the shape that no other factor explains: what slant leaves unexplained grows with its square. */
TEST(bend_deforms)
{
    double sum[2] = { 0 }, squares[2] = { 0 }, n[2] = { 0 };
    draw_once();
    for (int i = 0; i < N; i++) {
        if (factor[i].digit != 0 || (factor[i].bend > 0.4f && factor[i].bend < 0.8f))
            continue;
        int k = factor[i].bend > 0.6f;
        double left = measured_slant(&moment[i]) - factor_slant(&factor[i]);
        n[k]++;
        sum[k] += left;
        squares[k] += left * left;
    }
    double small = squares[0] / n[0] - sum[0] / n[0] * sum[0] / n[0], large = squares[1] / n[1] - sum[1] / n[1] * sum[1] / n[1];
    CHECK(large > 2 * small);
}

/* The field's mean square, over draws and over the square, is rms*rms; it changes little within a tenth of a cell. */
TEST(the_field_has_its_rms_and_is_smooth)
{
    double squares = 0, sum = 0, steps = 0;
    int n = 0;
    for (uint32_t k = 0; k < 2000; k++) {
        icd_stream s = { 5, 0, ICD_DRAW_TEST, k };
        icd_field f;
        icd_field_draw(&f, &s, 3, 1.5);
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 16; j++, n++) {
                float x = ((float)j + 0.5f) / 16, y = ((float)i + 0.5f) / 16, v = icd_field_at(&f, x, y);
                double step = icd_field_at(&f, x + 0.025f, y) - v;
                sum += v;
                squares += (double)v * v;
                steps += step * step;
            }
    }
    CHECK_NEAR(sum / n, 0, 0.05);
    CHECK_NEAR(sqrt(squares / n), 1.5, 0.02);
    CHECK(sqrt(steps / n) < 0.2);
}

TEST(a_constant_field_is_constant_and_ends_at_the_edge)
{
    icd_field f;
    for (int i = 0; i < ICD_FIELD_SIDE; i++)
        for (int j = 0; j < ICD_FIELD_SIDE; j++)
            f.c[i][j] = 3.0f;
    for (int i = -2; i <= 12; i++)
        CHECK_NEAR(icd_field_at(&f, (float)i / 10, 1 - (float)i / 7), 3, 1e-5);
    for (int i = 0; i < ICD_FIELD_SIDE; i++)        /* a ramp down the rows, which cubic splines reproduce */
        for (int j = 0; j < ICD_FIELD_SIDE; j++)
            f.c[i][j] = (float)i;
    CHECK_NEAR(icd_field_at(&f, 0.3f, 0), 1, 1e-5);
    CHECK_NEAR(icd_field_at(&f, 0.9f, 0.375f), 2.5, 1e-5);
    CHECK_NEAR(icd_field_at(&f, 0.9f, 1), 5, 1e-5);
    CHECK_EQ(icd_field_at(&f, 0.5f, 7), icd_field_at(&f, 0.5f, 1));
    CHECK_EQ(icd_field_at(&f, 0.5f, -7), icd_field_at(&f, 0.5f, 0));
}

TEST(gmm_has_eight_components)
{
    enum { POINTS = 40000 };
    icd_arena a = { 0 };
    icd_images g;
    double n[8] = { 0 }, sum[8][2] = { { 0 } }, squares = 0;
    CHECK_OK(icd_gmm(&a, 9, POINTS, &g, &err));
    CHECK(g.n == POINTS && g.c == 2 && g.h == 1 && g.w == 1 && g.classes == 8);
    for (int i = 0; i < POINTS; i++) {
        double angle = 6.283185307179586 * g.label[i] / 8, p[2] = { cos(angle), sin(angle) };
        n[g.label[i]]++;
        for (int j = 0; j < 2; j++) {
            float v = g.x[2 * i + j];
            CHECK(v >= 0 && v <= 1);
            double off = 4 * ((double)v - 0.5) - p[j];
            sum[g.label[i]][j] += off;
            squares += off * off;
        }
    }
    CHECK_NEAR(sqrt(squares / (2 * POINTS)), 0.15, 5 * 0.15 / sqrt(4.0 * POINTS));
    for (int k = 0; k < 8; k++) {
        CHECK_NEAR(n[k], POINTS / 8, 5 * sqrt(POINTS / 8.0));
        CHECK_NEAR(sum[k][0] / n[k], 0, 5 * 0.15 / sqrt(n[k]));
        CHECK_NEAR(sum[k][1] / n[k], 0, 5 * 0.15 / sqrt(n[k]));
    }
    icd_arena_release(&a);
}

TEST(rings_have_four_radii)
{
    enum { POINTS = 40000 };
    icd_arena a = { 0 };
    icd_images g;
    double n[4] = { 0 }, sum[4] = { 0 }, squares[4] = { 0 }, turns[2] = { 0 };
    CHECK_OK(icd_rings(&a, 9, POINTS, &g, &err));
    CHECK(g.n == POINTS && g.c == 2 && g.classes == 4);
    for (int i = 0; i < POINTS; i++) {
        double x = 4 * ((double)g.x[2 * i] - 0.5), y = 4 * ((double)g.x[2 * i + 1] - 0.5), r = hypot(x, y);
        int k = g.label[i];
        n[k]++;
        sum[k] += r - 0.25 * (k + 1);
        squares[k] += pow(r - 0.25 * (k + 1), 2);
        turns[0] += (x * x - y * y) / (r * r);
        turns[1] += (x + y) / r;
    }
    for (int k = 0; k < 4; k++) {
        CHECK_NEAR(n[k], POINTS / 4, 5 * sqrt(POINTS / 4.0));
        CHECK_NEAR(sum[k] / n[k], 0, 5 * 0.02 / sqrt(n[k]));
        CHECK_NEAR(sqrt(squares[k] / n[k]), 0.02, 5 * 0.02 / sqrt(2 * n[k]));
    }
    CHECK_NEAR(turns[0] / POINTS, 0, 5 * sqrt(0.5 / POINTS));
    CHECK_NEAR(turns[1] / POINTS, 0, 5 * sqrt(1.0 / POINTS));
    icd_arena_release(&a);
}

TEST(each_failure_is_said)
{
    typedef icd_status toy(icd_arena *, uint64_t, int, icd_images *, icd_err *);
    toy *const toys[2] = { icd_gmm, icd_rings };
    icd_images out = { 7, 7, 7, 7, NULL, NULL, 7 };
    icd_arena a = { 0 };
    CHECK_EQ(icd_digits(&a, 1, 0, &out, NULL, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "asked for 0 images");
    for (int k = 0; k < 2; k++) {
        CHECK_EQ(toys[k](&a, 1, -3, &out, &err), ICD_EINVAL);
        CHECK_SAYS(err.text, "asked for -3 points");
    }
    /* 400 digits take over a chunk, so that the labels need another: four calls in all. */
    for (long n = 1; n <= 4; n++) {
        icd_alloc_fail_at(n);
        CHECK_EQ(icd_digits(&a, 1, 400, &out, NULL, &err), ICD_ENOMEM);
        icd_alloc_fail_at(0);
        CHECK_SAYS(err.text, "400 images");
        icd_arena_release(&a);
    }
    for (long n = 1; n <= 2; n++)
        for (int k = 0; k < 2; k++) {
            icd_alloc_fail_at(n);
            CHECK_EQ(toys[k](&a, 1, 5, &out, &err), ICD_ENOMEM);
            icd_alloc_fail_at(0);
            icd_arena_release(&a);
        }
    CHECK(out.n == 7 && out.x == NULL);
    icd_arena_release(&arena);
}

TEST_MAIN("digits", T(digits_are_a_pure_function_of_seed_and_number), T(digits_have_labels_and_range),
          T(digits_have_the_ink_of_mnist), T(digits_can_be_told_apart), T(shift_moves_the_centre_of_mass), T(slant_shears),
          T(width_adds_ink), T(size_makes_taller), T(bend_deforms), T(the_field_has_its_rms_and_is_smooth),
          T(a_constant_field_is_constant_and_ends_at_the_edge), T(gmm_has_eight_components), T(rings_have_four_radii),
          T(each_failure_is_said))
