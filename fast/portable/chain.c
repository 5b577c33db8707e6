/* chain.c: the Langevin move; the nearest neighbour with the cotangent of the last state. */
#include <math.h>

#include "common/rng.h"
#include "portable.h"

static double square_distance(int d, const float *x, const float *X)
{
    double sum = 0;
    for (int j = 0; j < d; j++) {
        double e = (double)x[j] - (double)X[j];
        double square = e * e;
        sum += square;
    }
    return sum;
}

/* A NaN is not smaller: where x has one, index 0 and INFINITY. */
static void search(const fast_nearest *e, int i)
{
    const float *x = e->x + (size_t)i * (size_t)e->d;
    e->index[i] = 0;
    e->square[i] = INFINITY;
    for (int k = 0; k < e->m; k++) {
        double s = square_distance(e->d, x, e->X + (size_t)k * (size_t)e->d);
        if (s < e->square[i]) {
            e->index[i] = k;
            e->square[i] = s;
        }
    }
}

void portable_nearest(fast_ctx *ctx, const fast_nearest *e)
{
    (void)ctx;
    for (int i = 0; i < e->n; i++) {
        size_t at = (size_t)i * (size_t)e->d;
        if (e->m > 0)
            search(e, i);
        int repelled = e->m > 0 && !(e->square[i] <= 1e-12);
        const float *nearest = repelled ? e->X + (size_t)e->index[i] * (size_t)e->d : NULL;
        for (size_t j = 0; j < (size_t)e->d; j++) {
            double a = (double)e->w_opt * (double)e->g[at + j];
            if (repelled)
                a -= (double)e->w_ent * ((double)e->x[at + j] - (double)nearest[j]) / e->square[i];
            e->v[at + j] = e->inside ? e->inside[at + j] * (float)a : (float)a;
        }
    }
}

enum { DRAWS = 64 };

/* z of pixels at..at+count-1 of image i. */
static void noise_of(const fast_langevin *l, int i, int at, int count, float *z)
{
    if (l->normals) {
        const double *from = l->normals + (size_t)i * (size_t)l->d + (size_t)at;
        for (int j = 0; j < count; j++)
            z[j] = (float)from[j];
        return;
    }
    icd_stream s = { l->seed, *l->iteration, l->purpose, l->sample + (uint32_t)i };
    icd_normals(&s, l->first + (uint64_t)at, (size_t)count, z);
}

/* Pixel j of the whole: moved, shaken by z, clamped; each operation rounded to float. Whether the result is finite. */
static int move(const fast_langevin *l, size_t j, float z)
{
    float value = l->x[j];
    if (l->g) {
        float drift = l->step_size * l->g[j];
        value = value - drift;
    }
    if (l->noise != 0.0f) {
        float shake = l->noise * z;
        value = value + shake;
    }
    if (l->inside)
        l->inside[j] = !l->clamp || (value >= 0.0f && value <= 1.0f) ? 1.0f : 0.0f;
    if (l->clamp)
        value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    l->out[j] = value;
    return isfinite(value) != 0;
}

void portable_langevin(fast_ctx *ctx, const fast_langevin *l)
{
    (void)ctx;
    float z[DRAWS] = { 0 };
    for (int i = 0; i < l->n; i++) {
        double square = 0;
        for (int at = 0; at < l->d; at += DRAWS) {
            int count = l->d - at < DRAWS ? l->d - at : DRAWS;
            if (l->noise != 0.0f)
                noise_of(l, i, at, count, z);
            for (int k = 0; k < count; k++) {
                size_t j = (size_t)i * (size_t)l->d + (size_t)(at + k);
                int finite = move(l, j, z[k]);
                if (l->finite && !finite)
                    l->finite[i] = 0;
                if (l->g)
                    square += (double)l->g[j] * (double)l->g[j];
            }
        }
        if (l->length)
            l->length[i] += sqrt(square);
    }
}
