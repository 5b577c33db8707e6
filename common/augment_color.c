/* augment_color.c: brightness, contrast, saturation, hue and grey, by torchvision's formulas. x is (3,n). */
#include <math.h>

#include "augment_parts.h"

static float clamp01(float v) { return v > 0.0f ? v < 1.0f ? v : 1.0f : 0.0f; }

static float grey(const float *x, int n, int i) { return 0.299f * x[i] + 0.587f * x[n + i] + 0.114f * x[2 * n + i]; }

void icd_brightness(float factor, int n, float *x)
{
    for (int i = 0; i < 3 * n; i++)
        x[i] = clamp01(factor * x[i]);
}

void icd_contrast(float factor, int n, float *x)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)grey(x, n, i);
    float mean = (float)(sum / n);
    for (int i = 0; i < 3 * n; i++)
        x[i] = clamp01(factor * x[i] + (1.0f - factor) * mean);
}

void icd_saturation(float factor, int n, float *x)
{
    for (int i = 0; i < n; i++) {
        float g = (1.0f - factor) * grey(x, n, i);
        for (int c = 0; c < 3; c++)
            x[c * n + i] = clamp01(factor * x[c * n + i] + g);
    }
}

/* Hue, 0 <= h < 1 of a turn from red, of a pixel whose greatest channel is `value`, `spread` above the least. */
static float hue_of(float r, float g, float b, float value, float spread)
{
    float sixths = value == r ? (g - b) / spread : value == g ? 2.0f + (b - r) / spread : 4.0f + (r - g) / spread;
    float h = sixths / 6.0f;
    return h - floorf(h);
}

/* A channel of hue h: `first` is 5 for red, 3 for green, 1 for blue. */
static float channel_of(float h, float value, float spread, float first)
{
    float k = fmodf(first + 6.0f * h, 6.0f), rise = fminf(k, 4.0f - k);
    return clamp01(value - spread * clamp01(rise));
}

void icd_hue(float turn, int n, float *x)
{
    for (int i = 0; i < n; i++) {
        float r = x[i], g = x[n + i], b = x[2 * n + i];
        float value = fmaxf(r, fmaxf(g, b)), spread = value - fminf(r, fminf(g, b));
        if (!(spread > 0.0f))
            continue;                   /* a grey has no hue */
        float h = hue_of(r, g, b, value, spread) + turn;
        h -= floorf(h);
        x[i] = channel_of(h, value, spread, 5.0f);
        x[n + i] = channel_of(h, value, spread, 3.0f);
        x[2 * n + i] = channel_of(h, value, spread, 1.0f);
    }
}

void icd_grey(int n, float *x)
{
    for (int i = 0; i < n; i++)
        x[i] = x[n + i] = x[2 * n + i] = clamp01(grey(x, n, i));
}
