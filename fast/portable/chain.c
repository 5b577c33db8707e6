/* chain.c: the Langevin move, the nearest neighbour and the cotangent of the last state. */
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
void portable_nearest(fast_ctx *ctx, int n, int d, const float *x, int m, const float *X, int32_t *index, double *square)
{
    (void)ctx;
    for (int i = 0; i < n; i++) {
        index[i] = 0;
        square[i] = INFINITY;
        for (int k = 0; k < m; k++) {
            double s = square_distance(d, x + (size_t)i * (size_t)d, X + (size_t)k * (size_t)d);
            if (s < square[i]) {
                index[i] = k;
                square[i] = s;
            }
        }
    }
}

void portable_kl_cotangent(fast_ctx *ctx, int n, int d, float w_opt, const float *g, float w_ent, const float *x,
                           const float *X, const int32_t *index, const double *square, const float *inside, float *v)
{
    (void)ctx;
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)i * (size_t)d;
        int repelled = index && !(square[i] <= 1e-12);
        const float *nearest = repelled ? X + (size_t)index[i] * (size_t)d : NULL;
        for (size_t j = 0; j < (size_t)d; j++) {
            double a = (double)w_opt * (double)g[at + j];
            if (repelled)
                a -= (double)w_ent * ((double)x[at + j] - (double)nearest[j]) / square[i];
            v[at + j] = inside ? inside[at + j] * (float)a : (float)a;
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
    icd_stream s = { l->seed, l->iteration, l->purpose, l->sample + (uint32_t)i };
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
