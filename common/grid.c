/* grid.c: sets of images as one picture. */
#include "formats.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <string.h>

enum { GROUND = 128, SQUARE = 128, DOT = 64 };       /* grey between images; pixels a side of a plot at zoom 1; ink of a point */

/* [0,1] -> 0..255 to nearest (the product exact: in float 0.7f * 255 would round up to a half); outside is clamped, NaN is 0. */
static uint8_t to_byte(float v)
{
    return !(v > 0) ? 0 : v >= 1 ? 255 : (uint8_t)((double)v * 255 + 0.5);
}

/* Points (x,y) of the unit square, y upwards, on white; each darkens its pixel. */
static icd_status write_scatter(const char *path, const icd_images *s, int zoom, icd_err *err)
{
    if (zoom > 64)
        return icd_fail(err, ICD_EINVAL, "%s: a plot enlarged %d times, wanted at most 64", path, zoom);
    int side = SQUARE * zoom;
    size_t n = (size_t)side * (size_t)side;
    uint8_t *px = icd_alloc(n, 1);                   /* (side,side) */
    if (!px)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu pixels", path, n);
    memset(px, 255, n);
    for (int i = 0; i < s->n; i++) {
        float x = s->x[2 * (size_t)i], y = s->x[2 * (size_t)i + 1];
        if (!(x >= 0 && x <= 1 && y >= 0 && y <= 1))
            continue;
        int column = (int)(x * (float)side), row = side - 1 - (int)(y * (float)side);
        uint8_t *p = px + (size_t)(row < 0 ? 0 : row) * (size_t)side + (column < side ? column : side - 1);
        *p = (uint8_t)(*p > DOT ? *p - DOT : 0);
    }
    icd_status status = icd_write_png(path, side, side, 1, px, err);
    icd_free(px);
    return status;
}

/* Image i of s, its upper left corner at px: rows of `stride` bytes, interleaved channels. */
static void draw_image(const icd_images *s, int i, int zoom, uint8_t *px, size_t stride)
{
    size_t c = (size_t)s->c, h = (size_t)s->h, w = (size_t)s->w, z = (size_t)zoom;
    const float *x = s->x + (size_t)i * icd_image_size(s);
    for (size_t row = 0; row < h * z; row++)
        for (size_t column = 0; column < w * z; column++)
            for (size_t k = 0; k < c; k++)
                px[row * stride + column * c + k] = to_byte(x[(k * h + row / z) * w + column / z]);
}

static int is_scatter(const icd_images *s) { return s->c == 2 && s->h == 1 && s->w == 1; }

/* Columns, rows, and pixels of the whole picture. */
typedef struct { int columns, rows; double width, height; } layout;

static icd_status lay_out(const char *path, const icd_images *s, int columns, int zoom, layout *out, icd_err *err)
{
    if (s->c != 1 && s->c != 3)
        return icd_fail(err, ICD_EINVAL, "%s: images of %d channels, wanted 1 or 3 for a picture", path, s->c);
    layout l = { columns > 0 ? columns : (int)ceil(sqrt((double)s->n)), 0, 0, 0 };
    if (l.columns > s->n)
        l.columns = s->n;
    l.rows = (s->n - 1) / l.columns + 1;
    l.width = (double)l.columns * ((double)s->w * zoom + 1) + 1;
    l.height = (double)l.rows * ((double)s->h * zoom + 1) + 1;
    if (!(l.width * l.height * s->c < (double)(INT_MAX / 4)))
        return icd_fail(err, ICD_EINVAL, "%s: a grid of %.0f by %.0f pixels is too large for a picture", path, l.width, l.height);
    *out = l;
    return ICD_OK;
}

icd_status icd_grid_check(const char *path, const icd_images *s, int columns, int zoom, icd_err *err)
{
    layout l;
    return is_scatter(s) ? ICD_OK : lay_out(path, s, columns, zoom, &l, err);
}

icd_status icd_write_grid(const char *path, const icd_images *s, int columns, int zoom, icd_err *err)
{
    layout l = { 0, 0, 0, 0 };
    assert(s->n > 0 && columns >= 0 && zoom > 0);
    if (is_scatter(s))
        return write_scatter(path, s, zoom, err);
    ICD_TRY(lay_out(path, s, columns, zoom, &l, err));
    size_t stride = (size_t)l.width * (size_t)s->c, cell_w = ((size_t)s->w * (size_t)zoom + 1) * (size_t)s->c,
           cell_h = ((size_t)s->h * (size_t)zoom + 1) * stride;
    uint8_t *px = icd_alloc((size_t)l.height, stride);
    if (!px)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %.0f by %.0f pixels", path, l.width, l.height);
    memset(px, GROUND, (size_t)l.height * stride);
    for (int i = 0; i < s->n; i++)
        draw_image(s, i, zoom,
                   px + stride + (size_t)s->c + (size_t)(i / l.columns) * cell_h + (size_t)(i % l.columns) * cell_w, stride);
    icd_status status = icd_write_png(path, (int)l.width, (int)l.height, s->c, px, err);
    icd_free(px);
    return status;
}
