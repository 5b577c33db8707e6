/* pool.c: average over 3x3 stride 2, maximum of 2x2, mean over pixels. Tensors are (images,h,w,lanes). */
#include <math.h>
#include <string.h>

#include "portable.h"

static size_t at(int h, int w, int lanes, int i, int y, int x, int l)
{
    return (((size_t)i * (size_t)h + (size_t)y) * (size_t)w + (size_t)x) * (size_t)lanes + (size_t)l;
}

/* The sum of the window around (2u,2v), of which only what lies in the image counts. */
static float window_sum(int h, int w, int lanes, int i, int u, int v, int l, const float *x)
{
    float sum = 0;
    for (int r = 2 * u - 1; r <= 2 * u + 1; r++)
        for (int s = 2 * v - 1; s <= 2 * v + 1; s++)
            if (r >= 0 && r < h && s >= 0 && s < w)
                sum += x[at(h, w, lanes, i, r, s, l)];
    return sum;
}

void portable_avgpool_fwd(fast_ctx *ctx, int images, int h, int w, int lanes, const float *x, float *y)
{
    (void)ctx;
    int ho = (h + 1) / 2, wo = (w + 1) / 2;
    for (int i = 0; i < images; i++)
        for (int u = 0; u < ho; u++)
            for (int v = 0; v < wo; v++)
                for (int l = 0; l < lanes; l++)
                    y[at(ho, wo, lanes, i, u, v, l)] = window_sum(h, w, lanes, i, u, v, l, x) / 9.0f;
}

/* Row r lies in the windows around 2u for r/2 <= u <= (r+1)/2: one or two; columns likewise. */
void portable_avgpool_bwd(fast_ctx *ctx, int images, int h, int w, int lanes, const float *gy, float *gx)
{
    (void)ctx;
    int ho = (h + 1) / 2, wo = (w + 1) / 2;
    for (int i = 0; i < images; i++)
        for (int r = 0; r < h; r++)
            for (int s = 0; s < w; s++)
                for (int l = 0; l < lanes; l++) {
                    float sum = 0;
                    for (int u = r / 2; u <= (r + 1) / 2 && u < ho; u++)
                        for (int v = s / 2; v <= (s + 1) / 2 && v < wo; v++)
                            sum += gy[at(ho, wo, lanes, i, u, v, l)];
                    gx[at(h, w, lanes, i, r, s, l)] = sum / 9.0f;
                }
}

/* The place 0..3 of the largest of the 2x2 values at (2u,2v). */
static uint8_t place_of_largest(int h, int w, int lanes, int i, int u, int v, int l, const float *x)
{
    uint8_t place = 0;
    float largest = x[at(h, w, lanes, i, 2 * u, 2 * v, l)];
    for (uint8_t k = 1; k < 4; k++) {
        float e = x[at(h, w, lanes, i, 2 * u + k / 2, 2 * v + k % 2, l)];
        if (e > largest || (isnan(e) && !isnan(largest))) {
            largest = e;
            place = k;
        }
    }
    return place;
}

void portable_maxpool_fwd(fast_ctx *ctx, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which)
{
    int ho = h / 2, wo = w / 2;
    for (int i = 0; i < images; i++)
        for (int u = 0; u < ho; u++)
            for (int v = 0; v < wo; v++)
                for (int l = 0; l < lanes; l++)
                    which[at(ho, wo, lanes, i, u, v, l)] = place_of_largest(h, w, lanes, i, u, v, l, x);
    portable_maxpool_tan(ctx, images, h, w, lanes, which, x, y);
}

void portable_maxpool_tan(fast_ctx *ctx, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t,
                          float *y_t)
{
    (void)ctx;
    int ho = h / 2, wo = w / 2;
    for (int i = 0; i < images; i++)
        for (int u = 0; u < ho; u++)
            for (int v = 0; v < wo; v++)
                for (int l = 0; l < lanes; l++) {
                    size_t j = at(ho, wo, lanes, i, u, v, l);
                    y_t[j] = x_t[at(h, w, lanes, i, 2 * u + which[j] / 2, 2 * v + which[j] % 2, l)];
                }
}

void portable_maxpool_bwd(fast_ctx *ctx, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx)
{
    (void)ctx;
    int ho = h / 2, wo = w / 2;
    memset(gx, 0, at(h, w, lanes, images, 0, 0, 0) * sizeof *gx);
    for (int i = 0; i < images; i++)
        for (int u = 0; u < ho; u++)
            for (int v = 0; v < wo; v++)
                for (int l = 0; l < lanes; l++) {
                    size_t j = at(ho, wo, lanes, i, u, v, l);
                    gx[at(h, w, lanes, i, 2 * u + which[j] / 2, 2 * v + which[j] % 2, l)] = gy[j];
                }
}

void portable_mean_fwd(fast_ctx *ctx, int n, int c, int hw, const float *x, float *y)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++) {
            double sum = 0;
            for (int p = 0; p < hw; p++)
                sum += (double)x[blocked_at(c, hw, i, k, p)];
            y[blocked_at(c, 1, i, k, 0)] = (float)(sum / hw);
        }
    portable_zero_tail(n, c, 1, y);
}

void portable_mean_bwd(fast_ctx *ctx, int n, int c, int hw, const float *gy, float *gx)
{
    (void)ctx;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            for (int p = 0; p < hw; p++)
                gx[blocked_at(c, hw, i, k, p)] = gy[blocked_at(c, 1, i, k, 0)] / (float)hw;
    portable_zero_tail(n, c, hw, gx);
}
