/* langevin.c: update, noise and clamp of a chain in one pass.                                        [ICD:alg1.10] [GL:1] */
#include <math.h>

#include "fast/cpu/philox.h"
#include "fast/cpu/slots.h"

enum { PIXELS = 512 };      /* whose noise is drawn at a time */

/* Fetch the pixels whose noise is being drawn: PHILOX_DRAWS from `at` on, or what there is up to `end`. */
V_INLINE void fetch(const fast_langevin *l, size_t at, size_t end)
{
    for (size_t j = at; j < at + PHILOX_DRAWS && j < end; j += 16) {
        __builtin_prefetch(l->x + j, 0);
        if (l->g)
            __builtin_prefetch(l->g + j, 0);
        __builtin_prefetch(l->out + j, 1);
    }
}

/* z[0..count-1]: the noise of pixels at.. of image i. Returns where it begins in `spare`. */
static const float *draw(const fast_langevin *l, const philox_stream *s, int i, int at, int count, float *spare)
{
    if (l->normals) {
        const double *from = l->normals + (size_t)i * (size_t)l->d + (size_t)at;
        for (int j = 0; j < count; j++)
            spare[j] = (float)from[j];
        return spare;
    }
    uint64_t first = l->first + (uint64_t)at;
    size_t here = (size_t)i * (size_t)l->d + (size_t)at;
    int skip = (int)(first % 4);
    for (int j = 0; j < skip + count; j += PHILOX_DRAWS) {
        fetch(l, here + (size_t)j, here + (size_t)count);
        philox_normals(s, first / 4 + (uint64_t)(j / 4), spare + j);
    }
    return spare + skip;
}

typedef struct { vec step_size, noise; vecd square[2]; vmask finite; } move_state;

/* count pixels; g, z, inside NULL: none. Nothing is fused. */
V_INLINE void move(move_state *s, int clamp, int count, const float *x, const float *g, const float *z, float *out,
                   float *inside)
{
    vec value = v_get(x, count), zero = v_zero(), one = v_set1(1.0f);
    if (g) {
        vec gradient = v_get(g, count);
        value = v_sub(value, v_mul(s->step_size, gradient));
        vecd low = vd_low(gradient), high = vd_high(gradient);
        s->square[0] = vd_fma(low, low, s->square[0]);
        s->square[1] = vd_fma(high, high, s->square[1]);
    }
    if (z)
        value = v_add(value, v_mul(s->noise, v_get(z, count)));
    if (inside) {
        vmask in = v_and(v_less_equal(zero, value), v_less_equal(value, one));
        v_put(inside, count, clamp ? v_select(in, one, zero) : one);
    }
    if (clamp)
        value = v_select(v_less(value, zero), zero, v_select(v_less(one, value), one, value));
    v_put(out, count, value);
    s->finite = v_and(s->finite, v_equal(v_mul(value, zero), zero));
}

/* Pixels at..at+count-1 of the whole. */
V_INLINE void move_all(move_state *s, const fast_langevin *l, size_t at, int count, const float *z, const float *g, int clamp)
{
    const float *x = l->x + at;
    float *out = l->out + at, *inside = l->inside ? l->inside + at : NULL;
    int j = 0;
    for (; j + V_LANES <= count; j += V_LANES)
        move(s, clamp, V_LANES, x + j, g ? g + j : NULL, z ? z + j : NULL, out + j, inside ? inside + j : NULL);
    if (j < count)
        move(s, clamp, count - j, x + j, g ? g + j : NULL, z ? z + j : NULL, out + j, inside ? inside + j : NULL);
}

void CPU_(langevin)(fast_ctx *ctx, const fast_langevin *l)
{
    (void)ctx;
    float spare[PIXELS + 4 + PHILOX_DRAWS];
    for (int i = 0; i < l->n; i++) {
        philox_stream stream = philox_begin(l->seed, *l->iteration, l->purpose, l->sample + (uint32_t)i);
        move_state s = { v_set1(l->step_size), v_set1(l->noise), { vd_zero(), vd_zero() }, v_equal(v_zero(), v_zero()) };
        for (int j = 0; j < l->d; j += PIXELS) {
            int count = l->d - j < PIXELS ? l->d - j : PIXELS;
            size_t at = (size_t)i * (size_t)l->d + (size_t)j;
            const float *z = l->noise != 0.0f ? draw(l, &stream, i, j, count, spare) : NULL;
            move_all(&s, l, at, count, z, l->g ? l->g + at : NULL, l->clamp);
        }
        if (l->length)
            l->length[i] += sqrt(vd_sum(vd_add(s.square[0], s.square[1])));
        if (l->finite && !v_all(s.finite))
            l->finite[i] = 0;
    }
}
