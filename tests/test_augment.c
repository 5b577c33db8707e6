/* The transitions, part by part against answers worked out by hand, then together: draws, probabilities, range. */
#include "common/augment.h"
#include "common/augment_parts.h"
#include "tests/test.h"

#include <stdlib.h>

enum { C = 3, H = 9, W = 12, COUNT = C * H * W };
static float work[(C + 4) * 32 * 32];
static const icd_augment off = { 1, 0, 0, 0, 0 };

static icd_stream stream(uint32_t sample)
{
    icd_stream s = { 42, 3, ICD_DRAW_AUGMENT, sample };
    return s;
}

/* count values in [0,1] from normals and uniforms apart from those of the transitions. */
static void fill(float *x, size_t count, uint32_t sample)
{
    icd_stream s = { 42, 3, ICD_DRAW_TEST, sample };
    icd_uniforms(&s, 0, count, x);
}

static int same(const float *x, const float *y, size_t count) { return memcmp(x, y, count * sizeof *x) == 0; }

static double farthest(const float *x, const float *y, size_t count)
{
    double d = 0;
    for (size_t i = 0; i < count; i++) {
        double e = fabs((double)x[i] - (double)y[i]);
        d = e <= d || d != d ? d : e;            /* NaN stays */
    }
    return d;
}

TEST(flip_is_the_mirror)
{
    float x[] = { 1, 2, 3, 4, 5,    6, 7, 8, 9, 10,     11, 12, 13, 14, 15,    16, 17, 18, 19, 20 };
    const float want[] = { 5, 4, 3, 2, 1,    10, 9, 8, 7, 6,     15, 14, 13, 12, 11,    20, 19, 18, 17, 16 };
    icd_flip(2, 2, 5, x);
    CHECK(same(x, want, 20));
}

TEST(a_crop_of_all_is_the_identity)
{
    float x[COUNT], y[COUNT];
    icd_box all = { 0, 0, H, W };
    fill(x, COUNT, 1);
    memcpy(y, x, sizeof y);
    icd_crop(all, C, H, W, x, work);
    CHECK(same(x, y, COUNT));
}

/* The box of 1x2 pixels (6, 10) becomes 2x4: a pixel is worth its half, so centres lie at -1/4, 1/4, 3/4, 5/4 of the two. */
TEST(a_crop_interpolates_between_pixel_centres)
{
    float x[] = { 1, 2, 3, 4,
                  5, 6, 10, 8 };
    const float want[] = { 6, 7, 9, 10,
                           6, 7, 9, 10 };
    icd_box b = { 1, 1, 1, 2 };
    icd_crop(b, 1, 2, 4, x, work);
    CHECK(same(x, want, 8));
}

/* On a ramp, bilinear interpolation is exact away from the edges; the formula is another than the code's. */
TEST(a_crop_enlarges_a_ramp)
{
    float x[2 * H * W];
    icd_box b = { 2, 3, 5, 7 };
    for (int i = 0; i < 2 * H * W; i++)
        x[i] = i < H * W ? (float)(i % W) : (float)((i - H * W) / W);
    icd_crop(b, 2, H, W, x, work);
    for (int r = 0; r < H; r++)
        for (int q = 0; q < W; q++) {
            double column = 3 + fmin(fmax((q + 0.5) * 7 / W - 0.5, 0), 6), row = 2 + fmin(fmax((r + 0.5) * 5 / H - 0.5, 0), 4);
            CHECK_NEAR(x[r * W + q], column, 1e-5);
            CHECK_NEAR(x[H * W + r * W + q], row, 1e-5);
        }
}

TEST(crop_boxes_fit_and_follow_their_law)
{
    enum { BOXES = 20000, SIDE = 32 };
    const double least = 0.08;
    double area = 0, log_aspect = 0, fraction = 0, smallest = 1, largest = 0;
    int left_first = 0, left_last = 0, narrow = 0, top_first = 0, top_last = 0, low = 0;
    for (uint32_t k = 0; k < BOXES; k++) {
        icd_stream s = stream(k);
        icd_box b = icd_crop_box(&s, least, SIDE, SIDE);
        CHECK(b.h >= 1 && b.w >= 1 && b.top >= 0 && b.left >= 0 && b.top + b.h <= SIDE && b.left + b.w <= SIDE);
        fraction = (double)b.h * b.w / (SIDE * SIDE);
        area += fraction;
        log_aspect += log((double)b.w / b.h);
        smallest = fmin(smallest, fraction);
        largest = fmax(largest, fraction);
        if (b.w == SIDE - 4) {
            narrow++;
            left_first += b.left == 0;
            left_last += b.left == 4;
        }
        if (b.h == SIDE - 4) {
            low++;
            top_first += b.top == 0;
            top_last += b.top == 4;
        }
    }
    /* Large areas fit less often, so the mean area is a little under (0.08 + 1)/2. */
    CHECK_NEAR(area / BOXES, 0.51, 0.03);
    CHECK_NEAR(log_aspect / BOXES, 0, 0.01);
    CHECK_NEAR(smallest, 0.08, 0.015);
    CHECK(largest == 1);
    CHECK(narrow > 300 && low > 300);
    CHECK_NEAR(left_first, narrow / 5.0, 5 * sqrt(narrow * 0.16));      /* of five places, each alike */
    CHECK_NEAR(left_last, narrow / 5.0, 5 * sqrt(narrow * 0.16));
    CHECK_NEAR(top_first, low / 5.0, 5 * sqrt(low * 0.16));
    CHECK_NEAR(top_last, low / 5.0, 5 * sqrt(low * 0.16));
}

TEST(a_crop_that_never_fits_takes_the_middle)
{
    icd_stream s = stream(1);
    icd_box wide = icd_crop_box(&s, 0.999, 6, 60), tall = icd_crop_box(&s, 0.999, 60, 6);
    CHECK(wide.top == 0 && wide.h == 6 && wide.w == 8 && wide.left == 26);      /* 4/3 of 6 is 8 */
    CHECK(tall.left == 0 && tall.w == 6 && tall.h == 8 && tall.top == 26);
}

static icd_field constant_field(float v)
{
    icd_field f;
    for (int i = 0; i < ICD_FIELD_SIDE; i++)
        for (int j = 0; j < ICD_FIELD_SIDE; j++)
            f.c[i][j] = v;
    return f;
}

TEST(elastic_by_a_constant_is_a_shift)
{
    float x[] = { 0.0f, 0.1f, 0.2f, 0.3f,
                  0.4f, 0.5f, 0.6f, 0.7f,
                  0.8f, 0.9f, 1.0f, 0.5f };
    const float want[] = { 0.6f, 0.7f, 0.7f, 0.7f,
                           1.0f, 0.5f, 0.5f, 0.5f,
                           1.0f, 0.5f, 0.5f, 0.5f };
    icd_field right = constant_field(2), down = constant_field(1), none = constant_field(0);
    float y[12];
    memcpy(y, x, sizeof y);
    icd_elastic(&none, &none, 1, 3, 4, y, work);
    CHECK(same(x, y, 12));
    icd_elastic(&right, &down, 1, 3, 4, x, work);
    CHECK_NEAR(farthest(x, want, 12), 0, 1e-6);
    icd_field half = constant_field(0.5f);
    float z[] = { 0, 0.2f, 0.6f }, middle[] = { 0.1f, 0.4f, 0.6f };
    icd_elastic(&half, &none, 1, 1, 3, z, work);
    CHECK_NEAR(farthest(z, middle, 3), 0, 1e-6);
}

/* Where an image is its own coordinates, elastic deformation shows its displacements: their rms is the amplitude, and the
 * two axes move apart. */
TEST(elastic_amplitude_is_the_rms_displacement)
{
    enum { SIDE = 32, RUNS = 3000, MARGIN = 8 };
    static float x[2 * SIDE * SIDE];
    const icd_augment a = { 1, 0, 1.25, 0, 0 };
    double squares[2] = { 0 }, product = 0;
    int n = 0;
    for (uint32_t k = 0; k < RUNS; k++) {
        icd_stream s = stream(k);
        for (int i = 0; i < SIDE * SIDE; i++) {
            x[i] = (float)(i % SIDE) / SIDE;
            x[SIDE * SIDE + i] = (float)(i / SIDE) / SIDE;
        }
        icd_augment_apply(&a, &s, 2, SIDE, SIDE, x, work);
        for (int r = MARGIN; r < SIDE - MARGIN; r++)
            for (int q = MARGIN; q < SIDE - MARGIN; q++, n++) {
                double dx = (double)x[r * SIDE + q] * SIDE - q, dy = (double)x[SIDE * SIDE + r * SIDE + q] * SIDE - r;
                squares[0] += dx * dx;
                squares[1] += dy * dy;
                product += dx * dy;
            }
    }
    CHECK_NEAR(sqrt(squares[0] / n), 1.25, 0.06);
    CHECK_NEAR(sqrt(squares[1] / n), 1.25, 0.06);
    CHECK_NEAR(product / n, 0, 0.1);
}

/* A point spreads into the product of two Gaussians; far from the edges their weights are exp(-j^2/2 sigma^2) in proportion. */
TEST(blur_of_a_point_is_a_gaussian)
{
    enum { SIDE = 21, MIDDLE = SIDE / 2 };
    float x[SIDE * SIDE] = { 0 };
    const double sigma = 1.7;
    x[MIDDLE * SIDE + MIDDLE] = 1;
    icd_blur(sigma, 1, SIDE, SIDE, x, work);
    double sum = 0, top = x[MIDDLE * SIDE + MIDDLE];
    for (int r = 0; r < SIDE; r++)
        for (int q = 0; q < SIDE; q++) {
            int dr = r - MIDDLE, dq = q - MIDDLE;
            double want = abs(dr) <= 6 && abs(dq) <= 6 ? top * exp(-(dr * dr + dq * dq) / (2 * sigma * sigma)) : 0;
            CHECK_NEAR(x[r * SIDE + q], want, 1e-7);
            sum += (double)x[r * SIDE + q];
        }
    CHECK_NEAR(sum, 1, 1e-5);
    CHECK_NEAR(top, 1 / (2 * 3.14159265 * sigma * sigma), 0.001);
}

/* Of a line a b c, with weights k0 (the pixel), k1, k2 (its neighbours): reflected it reads ... c b [a b c] b a ... */
TEST(blur_reflects_at_the_borders)
{
    float x[3] = { 0.2f, 0.9f, 0.4f };
    const double a = 0.2, b = 0.9, c = 0.4, w1 = exp(-2.0), w2 = exp(-8.0), sum = 1 + 2 * w1 + 2 * w2;      /* sigma 1/2 */
    const double want[3] = { (a + w1 * (b + b) + w2 * (c + c)) / sum, (b + w1 * (a + c) + w2 * (b + b)) / sum,
                             (c + w1 * (b + b) + w2 * (a + a)) / sum };
    icd_blur(0.5, 1, 1, 3, x, work);
    for (int i = 0; i < 3; i++)
        CHECK_NEAR(x[i], want[i], 1e-6);
}

TEST(a_tiny_blur_leaves_all_as_it_is)
{
    float x[COUNT], y[COUNT];
    fill(x, COUNT, 3);
    memcpy(y, x, sizeof y);
    icd_blur(0.1, C, H, W, x, work);
    CHECK_NEAR(farthest(x, y, COUNT), 0, 1e-6);
}

TEST(a_constant_image_stays_constant)
{
    const icd_augment a = { 0.05, 0.5, 2.0, 0, 1.0 };
    for (uint32_t k = 0; k < 200; k++) {
        float x[COUNT], y[COUNT];
        icd_stream s = stream(k);
        for (int i = 0; i < COUNT; i++)
            x[i] = y[i] = 0.7f;
        icd_augment_apply(&a, &s, C, H, W, x, work);
        CHECK_NEAR(farthest(x, y, COUNT), 0, 2e-6);
    }
}

TEST(off_is_off)
{
    float x[COUNT], y[COUNT];
    const icd_augment color = { 1, 0, 0, 1, 0 }, all = { 0.1, 1, 1, 1, 1 };
    icd_stream s = stream(9);
    fill(x, COUNT, 7);
    x[0] = -0.5f;                                       /* where nothing is on, nothing is clamped either */
    memcpy(y, x, sizeof y);
    CHECK(!icd_augment_active(&off, C, H, W));
    icd_augment_apply(&off, &s, C, H, W, x, work);
    CHECK(same(x, y, COUNT));
    CHECK(icd_augment_active(&color, 3, H, W));
    for (int c = 1; c <= 4; c++)
        if (c != 3) {                                   /* colour makes no sense here */
            CHECK(!icd_augment_active(&color, c, H, W));
            icd_augment_apply(&color, &s, c < C ? c : C - 1, H, W, x, work);
            CHECK(same(x, y, COUNT));
        }
    CHECK(icd_augment_active(&all, 1, H, W) && icd_augment_active(&all, 1, 1, 2));
    CHECK(!icd_augment_active(&all, 2, 1, 1));          /* the toys' points are not images */
    icd_augment_apply(&all, &s, 2, 1, 1, x, work);
    CHECK(same(x, y, COUNT));
    const icd_augment each[5] = { { 0.5, 0, 0, 0, 0 }, { 1, 0.1, 0, 0, 0 }, { 1, 0, 0.1, 0, 0 }, color, { 1, 0, 0, 0, 0.1 } };
    for (int k = 0; k < 5; k++)
        CHECK(icd_augment_active(&each[k], 3, H, W));
}

/* Turning a part off leaves the draws of the others: the whole is the parts one after another, for every subset of parts. */
TEST(parts_have_draws_of_their_own)
{
    const icd_augment all = { 0.2, 0.5, 1.5, 0.8, 0.5 };
    for (uint32_t k = 0; k < 60; k++)
        for (int subset = 1; subset < 32; subset++) {
            float x[COUNT], y[COUNT];
            icd_stream s = stream(k);
            icd_augment together = off;
            fill(x, COUNT, k);
            memcpy(y, x, sizeof y);
            for (int part = 0; part < 5; part++) {
                icd_augment alone = off;
                if (!(subset >> part & 1))
                    continue;
                switch (part) {
                case 0: alone.crop_min = together.crop_min = all.crop_min; break;
                case 1: alone.flip = together.flip = all.flip; break;
                case 2: alone.elastic = together.elastic = all.elastic; break;
                case 3: alone.color_strength = together.color_strength = all.color_strength; break;
                case 4: alone.blur_prob = together.blur_prob = all.blur_prob; break;
                }
                icd_augment_apply(&alone, &s, C, H, W, y, work);
            }
            icd_augment_apply(&together, &s, C, H, W, x, work);
            CHECK_NEAR(farthest(x, y, COUNT), 0, 2e-6);     /* each alone is clamped, which rounding alone can need */
        }
}

TEST(a_transition_is_a_pure_function_of_image_and_stream)
{
    const icd_augment a = { 0.2, 0.5, 1.5, 0.8, 0.5 };
    float x[COUNT], y[COUNT], z[COUNT];
    fill(x, COUNT, 1);
    memcpy(y, x, sizeof y);
    memcpy(z, x, sizeof z);
    icd_stream s = stream(4), other = stream(5);
    icd_augment_apply(&a, &s, C, H, W, x, work);
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
        work[i] = 1e9f;                                     /* what work holds does not matter */
    icd_augment_apply(&a, &s, C, H, W, y, work);
    CHECK(same(x, y, COUNT));
    icd_augment_apply(&a, &other, C, H, W, z, work);
    CHECK(!same(x, z, COUNT));
}

/* How often a part does anything, over many streams. */
static int changes(const icd_augment *a, int c, int runs)
{
    int n = 0;
    for (int k = 0; k < runs; k++) {
        float x[COUNT], y[COUNT];
        icd_stream s = stream((uint32_t)k);
        fill(x, COUNT, 2);
        memcpy(y, x, sizeof y);
        icd_augment_apply(a, &s, c, H, W, x, work);
        n += !same(x, y, COUNT);
    }
    return n;
}

TEST(parts_happen_with_their_probabilities)
{
    enum { RUNS = 4000 };
    const icd_augment flip = { 1, 0.3, 0, 0, 0 }, blur = { 1, 0, 0, 0, 0.7 }, always = { 1, 1, 0, 0, 0 };
    const icd_augment color = { 1, 0, 0, 0.5, 0 };
    CHECK_NEAR(changes(&flip, C, RUNS), 0.3 * RUNS, 4 * sqrt(0.21 * RUNS));
    /* A sigma under 0.18 gives neighbours a weight under half of an ulp of most pixels: some blurs change nothing. */
    CHECK_NEAR(changes(&blur, C, RUNS), 0.7 * RUNS, 4 * sqrt(0.21 * RUNS) + 0.05 * RUNS);
    CHECK_EQ(changes(&always, 1, RUNS), RUNS);
    CHECK_NEAR(changes(&color, C, RUNS), (1 - 0.2 * 0.8) * RUNS, 4 * sqrt(0.84 * 0.16 * RUNS));
    int grey = 0;
    double jittered = 0, up = 0;
    for (uint32_t k = 0; k < RUNS; k++) {
        float image[6] = { 0.31f, 0.31f, 0.30f, 0.30f, 0.29f, 0.29f };      /* all but brightness change it little */
        icd_stream s = stream(k);
        icd_augment_apply(&color, &s, 3, 1, 2, image, work);
        grey += image[0] == image[2] && image[2] == image[4];
        double before = 0.299 * 0.31 + 0.587 * 0.30 + 0.114 * 0.29;
        double after = 0.299 * (double)image[0] + 0.587 * (double)image[2] + 0.114 * (double)image[4];
        jittered += fabs(after - before) > 1e-4;
        up += after > before + 1e-4;
        CHECK(after > 0.55 * before && after < 1.45 * before);      /* brightness in 1 +- 0.4 */
    }
    CHECK_NEAR(grey, 0.2 * RUNS, 4 * sqrt(0.16 * RUNS));
    CHECK_NEAR(jittered, 0.8 * RUNS, 4 * sqrt(0.16 * RUNS) + 0.01 * RUNS);
    CHECK_NEAR(up, 0.4 * RUNS, 4 * sqrt(0.24 * RUNS) + 0.01 * RUNS);
}

/* Whether one part happens says nothing of another: flip, blur, colour and a crop. */
TEST(parts_happen_apart)
{
    enum { RUNS = 4000, PARTS = 4 };
    const icd_augment part[PARTS] = { { 1, 0.5, 0, 0, 0 }, { 1, 0, 0, 0, 0.5 }, { 1, 0, 0, 1, 0 }, { 0.9, 0, 0, 0, 0 } };
    int alone[PARTS] = { 0 }, both[PARTS][PARTS] = { { 0 } };
    for (uint32_t k = 0; k < RUNS; k++) {
        int happened[PARTS];
        for (int i = 0; i < PARTS; i++) {
            float x[COUNT], y[COUNT];
            icd_stream s = stream(k);
            fill(x, COUNT, 2);
            memcpy(y, x, sizeof y);
            icd_augment_apply(&part[i], &s, C, H, W, x, work);
            happened[i] = !same(x, y, COUNT);
            alone[i] += happened[i];
        }
        for (int i = 0; i < PARTS; i++)
            for (int j = 0; j < i; j++)
                both[i][j] += happened[i] && happened[j];
    }
    for (int i = 0; i < PARTS; i++)
        for (int j = 0; j < i; j++)
            CHECK_NEAR(both[i][j], (double)alone[i] * alone[j] / RUNS, 4 * sqrt(RUNS / 16.0));
}

TEST(the_result_is_in_range)
{
    const icd_augment wild = { 0.01, 0.5, 4.0, 3.0, 1.0 };
    int outside = 0;
    for (uint32_t k = 0; k < 2000; k++) {
        float x[COUNT];
        icd_stream s = stream(k);
        fill(x, COUNT, k);
        for (int i = 0; i < COUNT; i++)
            x[i] = x[i] < 0.3f ? 0.0f : x[i] > 0.7f ? 1.0f : x[i];
        icd_augment_apply(&wild, &s, C, H, W, x, work);
        for (int i = 0; i < COUNT; i++)
            outside += !(x[i] >= 0 && x[i] <= 1);
    }
    CHECK_EQ(outside, 0);
}

/* The smallest and oddest images, under the sanitizers: no part reads or writes beyond them. */
TEST(every_small_shape_works)
{
    const icd_augment a = { 0.01, 0.5, 3.0, 1.0, 1.0 };
    for (int c = 1; c <= 4; c++)
        for (int h = 1; h <= 5; h++)
            for (int w = 1; w <= 5; w++)
                for (uint32_t k = 0; k < 20; k++) {
                    float x[4 * 5 * 5 + 1], y[8 * 5 * 5 + 1];
                    size_t count = (size_t)(c * h * w), room = icd_augment_work(c, h, w);
                    icd_stream s = stream(k);
                    fill(x, count, k);
                    x[count] = y[room] = -9;
                    icd_augment_apply(&a, &s, c, h, w, x, y);
                    CHECK(x[count] == -9 && y[room] == -9);
                    for (size_t i = 0; i < count; i++)
                        CHECK(x[i] >= 0 && x[i] <= 1);
                }
}

TEST_MAIN("augment", T(flip_is_the_mirror), T(a_crop_of_all_is_the_identity), T(a_crop_interpolates_between_pixel_centres),
          T(a_crop_enlarges_a_ramp), T(crop_boxes_fit_and_follow_their_law), T(a_crop_that_never_fits_takes_the_middle),
          T(elastic_by_a_constant_is_a_shift), T(elastic_amplitude_is_the_rms_displacement), T(blur_of_a_point_is_a_gaussian),
          T(blur_reflects_at_the_borders), T(a_tiny_blur_leaves_all_as_it_is), T(a_constant_image_stays_constant),
          T(off_is_off), T(parts_have_draws_of_their_own), T(a_transition_is_a_pure_function_of_image_and_stream),
          T(parts_happen_with_their_probabilities), T(parts_happen_apart), T(the_result_is_in_range),
          T(every_small_shape_works))
