/* augment.c: which transition, and the parts that move pixels. The colours are in augment_color.c.      [ICD:B.2]
 *
 * Draws of one transition (u uniform, z normal). A part uses none but its own:
 *   0..39    crop: try k has 4k area u, 4k+1 aspect u, 4k+2 top, 4k+3 left (integers), k = 0..9
 *   40       flip u
 *   41..47   colour: jitter at all u, factors of brightness, contrast, saturation, hue u, their order (one of 24), grey u
 *   48, 49   blur at all u, sigma u
 *   64..     elastic z: the field for x, and from 128 the field for y */
#include "augment.h"

#include <math.h>
#include <string.h>

#include "augment_parts.h"

enum { TRIES = 10 };
enum { DRAW_CROP = 0, DRAW_FLIP = 40, DRAW_JITTER = 41, DRAW_FACTORS = 42, DRAW_ORDER = 46, DRAW_GREY = 47,
       DRAW_BLUR = 48, DRAW_SIGMA = 49, DRAW_FIELD_X = 64, DRAW_FIELD_Y = 128 };

static double uniform_in(const icd_stream *s, uint64_t index, double low, double high)
{
    return low + (high - low) * (double)icd_uniform(s, index);
}

static int happens(const icd_stream *s, uint64_t index, double p) { return (double)icd_uniform(s, index) < p; }

icd_box icd_crop_box(const icd_stream *s, double crop_min, int h, int w)
{
    const double widest = log(4.0 / 3.0);
    for (int k = 0; k < TRIES; k++) {
        uint64_t at = DRAW_CROP + 4 * (uint64_t)k;
        double area = (double)h * w * uniform_in(s, at, crop_min, 1.0);
        double aspect = exp(uniform_in(s, at + 1, -widest, widest));
        int bw = (int)(sqrt(area * aspect) + 0.5), bh = (int)(sqrt(area / aspect) + 0.5);
        if (bw < 1 || bw > w || bh < 1 || bh > h)
            continue;
        icd_box b = { (int)icd_below(s, at + 2, (uint32_t)(h - bh + 1)), (int)icd_below(s, at + 3, (uint32_t)(w - bw + 1)), bh, bw };
        return b;
    }
    int bw = 3 * w > 4 * h ? (4 * h + 1) / 3 : w, bh = 3 * h > 4 * w ? (4 * w + 1) / 3 : h;
    icd_box b = { (h - bh) / 2, (w - bw) / 2, bh, bw };
    return b;
}

/* The image y (h,w) at row r and column q, both already inside. */
static float bilinear(const float *y, int h, int w, float r, float q)
{
    int r0 = (int)r, q0 = (int)q, r1 = r0 + 1 < h ? r0 + 1 : r0, q1 = q0 + 1 < w ? q0 + 1 : q0;
    float a = r - (float)r0, b = q - (float)q0;
    const float *upper = y + (size_t)r0 * (size_t)w, *lower = y + (size_t)r1 * (size_t)w;
    float u = upper[q0] + b * (upper[q1] - upper[q0]), l = lower[q0] + b * (lower[q1] - lower[q0]);
    return u + a * (l - u);
}

static float within(float v, float low, float high) { return v > low ? v < high ? v : high : low; }

void icd_crop(icd_box b, int c, int h, int w, float *x, float *work)
{
    size_t n = (size_t)h * (size_t)w;
    memcpy(work, x, (size_t)c * n * sizeof *x);
    for (int r = 0; r < h; r++) {
        float from_r = ((float)r + 0.5f) * (float)b.h / (float)h - 0.5f;
        from_r = (float)b.top + within(from_r, 0.0f, (float)(b.h - 1));
        for (int q = 0; q < w; q++) {
            float from_q = ((float)q + 0.5f) * (float)b.w / (float)w - 0.5f;
            from_q = (float)b.left + within(from_q, 0.0f, (float)(b.w - 1));
            for (int i = 0; i < c; i++)
                x[(size_t)i * n + (size_t)r * (size_t)w + (size_t)q] = bilinear(work + (size_t)i * n, h, w, from_r, from_q);
        }
    }
}

void icd_flip(int c, int h, int w, float *x)
{
    for (int row = 0; row < c * h; row++, x += w)
        for (int q = 0; q < w / 2; q++) {
            float v = x[q];
            x[q] = x[w - 1 - q];
            x[w - 1 - q] = v;
        }
}

void icd_elastic(const icd_field *dx, const icd_field *dy, int c, int h, int w, float *x, float *work)
{
    size_t n = (size_t)h * (size_t)w;
    memcpy(work, x, (size_t)c * n * sizeof *x);
    for (int r = 0; r < h; r++)
        for (int q = 0; q < w; q++) {
            float u = ((float)q + 0.5f) / (float)w, v = ((float)r + 0.5f) / (float)h;
            float from_r = within((float)r + icd_field_at(dy, u, v), 0.0f, (float)(h - 1));
            float from_q = within((float)q + icd_field_at(dx, u, v), 0.0f, (float)(w - 1));
            for (int i = 0; i < c; i++)
                x[(size_t)i * n + (size_t)r * (size_t)w + (size_t)q] = bilinear(work + (size_t)i * n, h, w, from_r, from_q);
        }
}

/* i reflected about the centres of the end pixels into 0..n-1: -1 is 1, n is n-2. */
static int reflect(int i, int n)
{
    if (n == 1)
        return 0;
    int period = 2 * (n - 1);
    i = i % period;
    i = i < 0 ? i + period : i;
    return i < n ? i : period - i;
}

enum { MAX_RADIUS = 16 };

/* One line of n pixels, `step` apart, from `from` to `to`, weighted k[0..radius] on both sides. */
static void blur_line(const float *k, int radius, int n, size_t step, const float *from, float *to)
{
    for (int i = 0; i < n; i++) {
        float sum = k[0] * from[(size_t)i * step];
        for (int j = 1; j <= radius; j++)
            sum += k[j] * (from[(size_t)reflect(i - j, n) * step] + from[(size_t)reflect(i + j, n) * step]);
        to[(size_t)i * step] = sum;
    }
}

void icd_blur(double sigma, int c, int h, int w, float *x, float *work)
{
    float k[MAX_RADIUS + 1];
    double sum = 1.0;
    int radius = (int)ceil(3.0 * sigma);
    radius = radius > MAX_RADIUS ? MAX_RADIUS : radius;
    for (int j = 1; j <= radius; j++)
        sum += 2.0 * exp(-0.5 * j * j / (sigma * sigma));
    for (int j = 0; j <= radius; j++)
        k[j] = (float)(exp(-0.5 * j * j / (sigma * sigma)) / sum);
    for (int i = 0; i < c; i++, x += (size_t)h * (size_t)w) {
        for (int r = 0; r < h; r++)
            blur_line(k, radius, w, 1, x + (size_t)r * (size_t)w, work + (size_t)r * (size_t)w);
        for (int q = 0; q < w; q++)
            blur_line(k, radius, h, (size_t)w, work + q, x + q);
    }
}

/* SimCLR's colour distortion of strength `a`: x (3,n). */
static void color(double a, const icd_stream *s, int n, float *x)
{
    if (happens(s, DRAW_JITTER, 0.8)) {
        double low = 0.8 * a < 1.0 ? 1.0 - 0.8 * a : 0.0, turn = 0.2 * a < 0.5 ? 0.2 * a : 0.5;
        uint32_t order = icd_below(s, DRAW_ORDER, 24);
        int left[4] = { 0, 1, 2, 3 };
        for (int k = 4; k >= 1; k--) {              /* order, in the factorial number system, picks from what is left */
            int pick = (int)(order % (uint32_t)k), part = left[pick];
            order /= (uint32_t)k;
            left[pick] = left[k - 1];
            uint64_t at = DRAW_FACTORS + (uint64_t)part;
            switch (part) {
            case 0: icd_brightness((float)uniform_in(s, at, low, 1.0 + 0.8 * a), n, x); break;
            case 1: icd_contrast((float)uniform_in(s, at, low, 1.0 + 0.8 * a), n, x); break;
            case 2: icd_saturation((float)uniform_in(s, at, low, 1.0 + 0.8 * a), n, x); break;
            case 3: icd_hue((float)uniform_in(s, at, -turn, turn), n, x); break;
            }
        }
    }
    if (happens(s, DRAW_GREY, 0.2))
        icd_grey(n, x);
}

static int has_color(const icd_augment *a, int c) { return a->color_strength > 0 && c == 3; }

int icd_augment_active(const icd_augment *a, int c, int h, int w)
{
    if (h == 1 && w == 1)
        return 0;
    return a->crop_min < 1 || a->flip > 0 || a->elastic > 0 || has_color(a, c) || a->blur_prob > 0;
}

void icd_augment_apply(const icd_augment *a, const icd_stream *s, int c, int h, int w, float *x, float *work)
{
    if (!icd_augment_active(a, c, h, w))
        return;
    if (a->crop_min < 1)
        icd_crop(icd_crop_box(s, a->crop_min, h, w), c, h, w, x, work);
    if (happens(s, DRAW_FLIP, a->flip))
        icd_flip(c, h, w, x);
    if (a->elastic > 0) {
        icd_field dx, dy;
        icd_field_draw(&dx, s, DRAW_FIELD_X, a->elastic);
        icd_field_draw(&dy, s, DRAW_FIELD_Y, a->elastic);
        icd_elastic(&dx, &dy, c, h, w, x, work);
    }
    if (has_color(a, c))
        color(a->color_strength, s, h * w, x);
    if (happens(s, DRAW_BLUR, a->blur_prob))
        icd_blur(uniform_in(s, DRAW_SIGMA, 0.1, 2.0), c, h, w, x, work);
    size_t count = (size_t)c * (size_t)h * (size_t)w;
    for (size_t i = 0; i < count; i++)
        x[i] = within(x[i], 0.0f, 1.0f);
}
