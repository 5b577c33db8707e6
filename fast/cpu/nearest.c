/* nearest.c: the nearest neighbour, to the last bit, and the cotangent of the last state.                          [ICD:8]
 *
 * Tiles of IMAGES images and NEIGHBOURS neighbours: PIXELS pixels of both are widened to double, the neighbours transposed so
 * that they lie along the lanes, and each pair's running sum goes through all pixels in order, a lane a pair. */
#include <math.h>

#include "fast/cpu/simd.h"
#include "fast/cpu/slots.h"

enum { IMAGES = 16, NEIGHBOURS = 16, PIXELS = 64, HALF = V_LANES / 2 };

typedef struct {
    double x[IMAGES][PIXELS];
    double X[PIXELS][NEIGHBOURS];
    double sum[IMAGES][NEIGHBOURS];
} tile;

static void load_images(int images, int pixels, int d, const float *x, tile *t)
{
    for (int i = 0; i < images; i++)
        for (int p = 0; p < pixels; p++)
            t->x[i][p] = (double)x[(size_t)i * (size_t)d + (size_t)p];
}

static void load_neighbours(int neighbours, int pixels, int d, const float *X, tile *t)
{
    if (neighbours < NEIGHBOURS || pixels < PIXELS) {
        for (int j = 0; j < neighbours; j++)
            for (int p = 0; p < pixels; p++)
                t->X[p][j] = (double)X[(size_t)j * (size_t)d + (size_t)p];
        return;
    }
    float columns[16 * 16];
    for (int p = 0; p < PIXELS; p += 16) {
        v_transpose16(X + p, (size_t)d, columns);
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 16; j += HALF)
                vd_storeu(&t->X[p + k][j], vd_from_floats(columns + 16 * k + j));
    }
}

/* Four images, V_LANES neighbours. Each product is rounded before it is added. */
static void accumulate(int pixels, tile *t, int image, int neighbour)
{
    vecd s[4][2];
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < 2; v++)
            s[i][v] = vd_loadu(&t->sum[image + i][neighbour + v * HALF]);
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < 2; v++) {
            vecd X = vd_loadu(&t->X[p][neighbour + v * HALF]);
            for (int i = 0; i < 4; i++) {
                vecd e = vd_sub(X, vd_set1(t->x[image + i][p]));
                s[i][v] = vd_add(s[i][v], vd_mul(e, e));
            }
        }
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < 2; v++)
            vd_storeu(&t->sum[image + i][neighbour + v * HALF], s[i][v]);
}

/* t->sum: the squared distances of the tile's pairs. */
static void distances(int images, int neighbours, int d, const float *x, const float *X, tile *t)
{
    memset(t->sum, 0, sizeof t->sum);
    for (int p = 0; p < d; p += PIXELS) {
        int pixels = d - p < PIXELS ? d - p : PIXELS;
        load_images(images, pixels, d, x + p, t);
        load_neighbours(neighbours, pixels, d, X + p, t);
        for (int i = 0; i < images; i += 4)
            for (int j = 0; j < neighbours; j += V_LANES)
                accumulate(pixels, t, i, j);
    }
}

/* Images i0 .. i0+images-1: index, square. */
static void search(const fast_nearest *e, int i0, int images, tile *t)
{
    size_t d = (size_t)e->d;
    for (int i = i0; i < i0 + images; i++) {
        e->index[i] = 0;
        e->square[i] = INFINITY;
    }
    for (int j0 = 0; j0 < e->m; j0 += NEIGHBOURS) {
        int neighbours = e->m - j0 < NEIGHBOURS ? e->m - j0 : NEIGHBOURS;
        distances(images, neighbours, e->d, e->x + (size_t)i0 * d, e->X + (size_t)j0 * d, t);
        for (int i = 0; i < images; i++)
            for (int j = 0; j < neighbours; j++)
                if (t->sum[i][j] < e->square[i0 + i]) {
                    e->square[i0 + i] = t->sum[i][j];
                    e->index[i0 + i] = j0 + j;
                }
    }
}

/* attract g - repel (x - X), times inside */
V_INLINE void cotangent(int count, vec attract, const float *g, vec repel, const float *x, const float *X, const float *inside,
                        float *v)
{
    vec a = v_mul(attract, v_get(g, count));
    if (X)
        a = v_fnma(repel, v_sub(v_get(x, count), v_get(X, count)), a);
    v_put(v, count, inside ? v_mul(v_get(inside, count), a) : a);
}

static void cotangent_of(const fast_nearest *e, int i)
{
    size_t at = (size_t)i * (size_t)e->d;
    int repelled = e->m > 0 && !(e->square[i] <= 1e-12), j = 0;
    const float *nearest = repelled ? e->X + (size_t)e->index[i] * (size_t)e->d : NULL;
    const float *g = e->g + at, *x = e->x + at, *inside = e->inside ? e->inside + at : NULL;
    vec attract = v_set1(e->w_opt), repel = v_set1(repelled ? (float)(e->w_ent / e->square[i]) : 0.0f);
    for (; j + V_LANES <= e->d; j += V_LANES)
        cotangent(V_LANES, attract, g + j, repel, x + j, nearest ? nearest + j : NULL, inside ? inside + j : NULL,
                  e->v + at + j);
    if (j < e->d)
        cotangent(e->d - j, attract, g + j, repel, x + j, nearest ? nearest + j : NULL, inside ? inside + j : NULL,
                  e->v + at + j);
}

void CPU_(nearest)(fast_ctx *ctx, const fast_nearest *e)
{
    (void)ctx;
    tile t = { { { 0 } }, { { 0 } }, { { 0 } } };       /* what a part tile leaves unused is computed, and not looked at */
    for (int i0 = 0; i0 < e->n; i0 += IMAGES) {
        int images = e->n - i0 < IMAGES ? e->n - i0 : IMAGES;
        if (e->m > 0)
            search(e, i0, images, &t);
        for (int i = i0; i < i0 + images; i++)
            cotangent_of(e, i);
    }
}
