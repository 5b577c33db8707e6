/* The colours: each formula against answers worked out by hand, and the order they come in. */
#include "common/augment.h"
#include "common/augment_parts.h"
#include "tests/test.h"

static float work[7 * 32];

static void fill(float *x, size_t count, uint32_t sample)
{
    icd_stream s = { 42, 3, ICD_DRAW_TEST, sample };
    icd_uniforms(&s, 0, count, x);
}

static double farthest(const float *x, const float *y, size_t count)
{
    double d = 0;
    for (size_t i = 0; i < count; i++) {
        double e = fabs((double)x[i] - (double)y[i]);
        d = e <= d || d != d ? d : e;            /* NaN stays */
    }
    return d;
}

/* Two pixels, (r,g,b) = (0.2, 0.4, 0.6) and (1, 0.5, 0): greys 0.363 and 0.5925, mean 0.47775. */
#define TWO_PIXELS { 0.2f, 1.0f,   0.4f, 0.5f,   0.6f, 0.0f }

static void expect_pixels(const float *x, const double want[6])
{
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(x[i], want[i], 2e-7);
}

TEST(brightness_multiplies)
{
    float x[6] = TWO_PIXELS;
    const double want[6] = { 0.3, 1, 0.6, 0.75, 0.9, 0 };
    icd_brightness(1.5f, 2, x);
    expect_pixels(x, want);
}

TEST(contrast_blends_with_the_mean_grey)
{
    float x[6] = TWO_PIXELS, y[6] = TWO_PIXELS;
    const double m = 0.47775, half[6] = { 0.1 + m / 2, 0.5 + m / 2, 0.2 + m / 2, 0.25 + m / 2, 0.3 + m / 2, m / 2 };
    const double twice[6] = { 0, 1, 0.8 - m, 1 - m, 1.2 - m, 0 };
    icd_contrast(0.5f, 2, x);
    expect_pixels(x, half);
    icd_contrast(2.0f, 2, y);
    expect_pixels(y, twice);
}

TEST(saturation_blends_with_grey)
{
    float x[6] = TWO_PIXELS, y[6] = TWO_PIXELS;
    const double g = 0.363, e = 0.5925, half[6] = { 0.1 + g / 2, 0.5 + e / 2, 0.2 + g / 2, 0.25 + e / 2, 0.3 + g / 2, e / 2 };
    icd_saturation(0.5f, 2, x);
    expect_pixels(x, half);
    const double none[6] = { g, e, g, e, g, e };
    icd_saturation(0.0f, 2, y);
    expect_pixels(y, none);
}

TEST(grey_has_equal_channels)
{
    float x[6] = TWO_PIXELS;
    const double want[6] = { 0.363, 0.5925, 0.363, 0.5925, 0.363, 0.5925 };
    icd_grey(2, x);
    expect_pixels(x, want);
}

TEST(hue_by_a_third_rotates_the_channels)
{
    enum { PIXELS = 400 };
    float x[3 * PIXELS], y[3 * PIXELS], z[3 * PIXELS];
    fill(x, 3 * PIXELS, 5);
    memcpy(y, x, sizeof y);
    memcpy(z, x, sizeof z);
    icd_hue((float)(1.0 / 3), PIXELS, y);                /* red -> green -> blue -> red */
    for (int c = 0; c < 3; c++)
        CHECK_NEAR(farthest(y + (c + 1) % 3 * PIXELS, x + c * PIXELS, PIXELS), 0, 1e-6);
    icd_hue((float)(-1.0 / 3), PIXELS, y);
    CHECK_NEAR(farthest(y, x, 3 * PIXELS), 0, 1e-6);
    icd_hue(0, PIXELS, z);
    CHECK_NEAR(farthest(z, x, 3 * PIXELS), 0, 1e-6);
}

/* Known colours, a sixth and a twelfth of a turn apart: red, yellow, green; red, orange; greys stay. */
TEST(hue_goes_round_the_colour_circle)
{
    float x[9] = { 1, 1, 0.3f,   0, 1, 0.3f,   0, 0, 0.3f };       /* red, yellow, grey */
    const float sixth[9] = { 1, 0, 0.3f,   1, 1, 0.3f,   0, 0, 0.3f };
    icd_hue((float)(1.0 / 6), 3, x);
    CHECK_NEAR(farthest(x, sixth, 9), 0, 1e-6);
    float y[3] = { 0.9f, 0.1f, 0.1f };
    const float orange[3] = { 0.9f, 0.5f, 0.1f };
    icd_hue((float)(1.0 / 12), 1, y);
    CHECK_NEAR(farthest(y, orange, 3), 0, 1e-6);
    float black[3] = { 0, 0, 0 }, zero[3] = { 0, 0, 0 };
    icd_hue(0.4f, 1, black);
    CHECK_EQ(farthest(black, zero, 3), 0);
}

/* Order number 0..23 of the parts 0..3, as the digits of the number in the factorial system. */
static void nth_order(int n, int part[4])
{
    const int pick[4] = { n / 6, n / 2 % 3, n % 2, 0 };
    int left[4] = { 0, 1, 2, 3 };
    for (int j = 0; j < 4; j++) {
        part[j] = left[pick[j]];
        memmove(left + pick[j], left + pick[j] + 1, (size_t)(3 - pick[j]) * sizeof left[0]);
    }
}

/* v in [-1,1] sets the factor of a part at strength 1/2: 1 +- 0.4, and a turn of +- 0.1. */
static void do_part(int part, double v, int n, float *x)
{
    switch (part) {
    case 0: icd_brightness((float)(1 + 0.4 * v), n, x); break;
    case 1: icd_contrast((float)(1 + 0.4 * v), n, x); break;
    case 2: icd_saturation((float)(1 + 0.4 * v), n, x); break;
    case 3: icd_hue((float)(0.1 * v), n, x); break;
    }
}

/* With the stream's own factors, the transition is one of the 24 orders, and over many streams each is alike. (Some parts
 * commute, but for rounding; that is enough to tell.) */
TEST(the_parts_come_in_every_order)
{
    enum { RUNS = 4000, PIXELS = 6 };
    const icd_augment a = { 1, 0, 0, 0.5, 0 };
    int times[24] = { 0 }, found = 0;
    for (uint32_t k = 0; k < RUNS; k++) {
        float x[3 * PIXELS], y[3 * PIXELS], u[7];
        icd_stream s = { 42, 3, ICD_DRAW_AUGMENT, k };
        icd_uniforms(&s, 41, 7, u);
        if (u[0] >= 0.8f || u[6] < 0.2f)
            continue;                                       /* no jitter, or grey */
        fill(x, 3 * PIXELS, k);
        for (int i = 0; i < 3 * PIXELS; i++)
            x[i] = 0.35f + 0.3f * x[i];                     /* seldom clamped, so that orders differ */
        memcpy(y, x, sizeof y);
        icd_augment_apply(&a, &s, 3, 2, PIXELS / 2, x, work);
        double least = 1;
        int best = 0;
        for (int n = 0; n < 24; n++) {
            int part[4];
            float z[3 * PIXELS];
            nth_order(n, part);
            memcpy(z, y, sizeof z);
            for (int j = 0; j < 4; j++)
                do_part(part[j], 2.0 * (double)u[1 + part[j]] - 1.0, PIXELS, z);
            double d = farthest(x, z, 3 * PIXELS);
            if (d < least) {
                least = d;
                best = n;
            }
        }
        CHECK_NEAR(least, 0, 2e-6);
        times[best]++;
        found++;
    }
    double chi2 = 0, mean = found / 24.0;
    for (int n = 0; n < 24; n++)
        chi2 += (times[n] - mean) * (times[n] - mean) / mean;
    CHECK_NEAR(found, 0.64 * RUNS, 4 * sqrt(0.64 * 0.36 * RUNS));
    CHECK_NEAR(chi2, 23, 4 * sqrt(46.0));
}

TEST_MAIN("augment_color", T(brightness_multiplies), T(contrast_blends_with_the_mean_grey), T(saturation_blends_with_grey),
          T(grey_has_equal_channels), T(hue_by_a_third_rotates_the_channels), T(hue_goes_round_the_colour_circle),
          T(the_parts_come_in_every_order))
