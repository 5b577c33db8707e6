/* toys.c: two distributions in the plane.                                                                [ANA:toys]
 *
 * Draws of point i (stream: purpose ICD_DRAW_DATA, sample i, iteration 1 for gmm, 2 for rings): 0 the component; then, for
 * each attempt k = 0, 1, ..., the normals 4(k+1) .. 4(k+1)+2. There is no libm here, so every platform draws the same points. */
#include "digits.h"

#include <math.h>

#include "rng.h"

enum { GAUSSIANS = 8, RINGS = 4 };
enum { GMM_DATASET = 1, RINGS_DATASET = 2 };      /* the stream's iteration; icd_digits has 0 */

/* One attempt at a point p of component k, in the plane. Return 0 where the draws give no point. */
typedef int attempt(const icd_stream *s, uint64_t first, int k, float p[2]);

static int gmm_point(const icd_stream *s, uint64_t first, int k, float p[2])
{
    const float d = 0.70710678f;                  /* sqrt(1/2) */
    const float centre[GAUSSIANS][2] = { { 1, 0 }, { d, d }, { 0, 1 }, { -d, d }, { -1, 0 }, { -d, -d }, { 0, -1 }, { d, -d } };
    for (int j = 0; j < 2; j++)
        p[j] = centre[k][j] + 0.15f * icd_normal(s, first + (uint64_t)j);
    return 1;
}

static int rings_point(const icd_stream *s, uint64_t first, int k, float p[2])
{
    float x = icd_normal(s, first), y = icd_normal(s, first + 1);      /* their direction is uniform */
    float length = sqrtf(x * x + y * y), radius = 0.25f * (float)(k + 1) + 0.02f * icd_normal(s, first + 2);
    if (!(length > 0))
        return 0;
    p[0] = radius * x / length;
    p[1] = radius * y / length;
    return 1;
}

static icd_status draw(icd_arena *a, const char *name, attempt *point, int dataset, int components, uint64_t seed, int n,
                       icd_images *out, icd_err *err)
{
    if (n < 1)
        return icd_fail(err, ICD_EINVAL, "%s: asked for %d points, wanted 1 or more", name, n);
    icd_images set = { n, 2, 1, 1, NULL, NULL, components };
    set.x = icd_arena_alloc(a, (size_t)n, 2 * sizeof *set.x);
    set.label = icd_arena_alloc(a, (size_t)n, sizeof *set.label);
    if (!set.x || !set.label)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %d points", name, n);
    for (int i = 0; i < n; i++) {
        icd_stream s = { seed, (uint64_t)dataset, ICD_DRAW_DATA, (uint32_t)i };
        int k = (int)icd_below(&s, 0, (uint32_t)components), inside = 0;
        float p[2] = { 0, 0 };
        for (uint64_t first = 4; !inside; first += 4)
            inside = point(&s, first, k, p) && fabsf(p[0]) <= 2 && fabsf(p[1]) <= 2;
        for (int j = 0; j < 2; j++)
            set.x[2 * (size_t)i + (size_t)j] = 0.25f * p[j] + 0.5f;
        set.label[i] = k;
    }
    *out = set;
    return ICD_OK;
}

icd_status icd_gmm(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_err *err)
{
    return draw(a, "gmm", gmm_point, GMM_DATASET, GAUSSIANS, seed, n, out, err);
}

icd_status icd_rings(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_err *err)
{
    return draw(a, "rings", rings_point, RINGS_DATASET, RINGS, seed, n, out, err);
}
