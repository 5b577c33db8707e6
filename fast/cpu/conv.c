/* conv.c: the convolution's slots: each pass by the algorithm that fast_conv names (AUTO: the general one). */
#include "fast/cpu/conv.h"

static int winograd_tile(fast_conv_algorithm a) { return a == FAST_CONV_WINOGRAD4 ? 4 : a == FAST_CONV_WINOGRAD2 ? 2 : 0; }

static size_t map_scratch(const conv_map *m, fast_conv_algorithm a)
{
    if (winograd_tile(a))
        return CPU_(winograd_scratch)(m, winograd_tile(a));
    return a == FAST_CONV_DIRECT ? CPU_(direct_scratch)(m) : CPU_(gather_scratch)(m);
}

static size_t map_packed(const conv_map *m, fast_conv_algorithm a)
{
    return winograd_tile(a) ? CPU_(winograd_packed)(m, winograd_tile(a)) : CPU_(gather_packed)(m);
}

static void map_pack(const conv_map *m, fast_conv_algorithm a, const float *w, float *packed)
{
    if (winograd_tile(a))
        CPU_(winograd_pack)(m, winograd_tile(a), w, packed);
    else
        CPU_(gather_pack)(m, w, packed);
}

static void map_run(float *scratch, const conv_map *m, fast_conv_algorithm a, const float *src, const float *packed,
                    const float *bias, const float *add, float *dst)
{
    if (winograd_tile(a))
        CPU_(winograd_run)(scratch, m, winograd_tile(a), src, packed, bias, add, dst);
    else if (a == FAST_CONV_DIRECT)
        CPU_(direct_run)(scratch, m, src, packed, bias, add, dst);
    else
        CPU_(gather_run)(scratch, m, src, packed, bias, add, dst);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* The bias with zeros up to whole blocks comes first in the scratch. */
static size_t padded_bias(const fast_conv *c) { return (size_t)fast_blocks(c->co) * 16; }

static size_t scratch_floats(int n, const fast_conv *c)
{
    conv_map forward = CPU_(conv_forward)(n, c), backward = CPU_(conv_backward)(n, c);
    size_t floats;
    if (c->planar)
        floats = CPU_(planar_scratch)(c);
    else {
        int tile = winograd_tile(c->bwd_w);
        floats = larger(map_scratch(&forward, c->fwd), map_scratch(&backward, c->bwd_x));
        floats = larger(floats, tile ? CPU_(winograd_bwd_w_scratch)(n, c, tile) : CPU_(gather_bwd_w_scratch)(c));
    }
    return padded_bias(c) + floats;
}

/* Enough for fewer images too: tiles are grouped evenly, so fewer may want a little more. */
size_t CPU_(conv_scratch)(int n, const fast_conv *c)
{
    size_t floats = 0;
    for (int i = 1; i <= n; i++)
        floats = larger(floats, scratch_floats(i, c));
    return floats * sizeof(float);
}

/* Floats of the forward map's weights; the backward map's follow. */
static size_t forward_packed(const fast_conv *c)
{
    conv_map forward = CPU_(conv_forward)(1, c);
    return c->planar ? CPU_(planar_packed)(c) : map_packed(&forward, c->fwd);
}

size_t CPU_(conv_packed)(const fast_conv *c)
{
    conv_map backward = CPU_(conv_backward)(1, c);
    return forward_packed(c) + (c->planar ? CPU_(planar_packed)(c) : map_packed(&backward, c->bwd_x));
}

void CPU_(conv_pack)(fast_ctx *ctx, const fast_conv *c, const float *w, float *packed)
{
    conv_map forward = CPU_(conv_forward)(1, c), backward = CPU_(conv_backward)(1, c);
    float *back = packed + forward_packed(c);
    (void)ctx;
    if (c->planar) {
        CPU_(planar_pack)(c, 0, w, packed);
        CPU_(planar_pack)(c, 1, w, back);
    } else {
        map_pack(&forward, c->fwd, w, packed);
        map_pack(&backward, c->bwd_x, w, back);
    }
}

void CPU_(conv_fwd)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                    const float *add, float *y)
{
    float *padded = ctx->scratch, *scratch = padded + padded_bias(c);
    conv_map forward = CPU_(conv_forward)(n, c);
    memset(padded, 0, padded_bias(c) * sizeof *padded);
    if (bias)
        memcpy(padded, bias, (size_t)c->co * sizeof *padded);
    if (c->planar)
        CPU_(planar_fwd)(scratch, n, c, x, packed, padded, add, y);
    else
        map_run(scratch, &forward, c->fwd, x, packed, bias ? padded : NULL, add, y);
}

void CPU_(conv_bwd_x)(fast_ctx *ctx, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                      float *gx)
{
    float *scratch = (float *)ctx->scratch + padded_bias(c);
    conv_map backward = CPU_(conv_backward)(n, c);
    packed += forward_packed(c);
    if (c->planar)
        CPU_(planar_bwd_x)(scratch, n, c, gy, packed, add, gx);
    else
        map_run(scratch, &backward, c->bwd_x, gy, packed, NULL, add, gx);
}

void CPU_(conv_bwd_w)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw)
{
    float *scratch = (float *)ctx->scratch + padded_bias(c);
    if (c->planar)
        CPU_(planar_bwd_w)(scratch, n, c, x, gy, scale, gw);
    else if (winograd_tile(c->bwd_w))
        CPU_(winograd_bwd_w)(scratch, n, c, winograd_tile(c->bwd_w), x, gy, scale, gw);
    else
        CPU_(gather_bwd_w)(scratch, n, c, x, gy, scale, gw);
}

/* Sums of four interleaved sets of pixels of each image, so that additions overlap. */
void CPU_(bias_bwd)(fast_ctx *ctx, int n, int c, int hw, const float *gy, const float *scale, float *gb)
{
    (void)ctx;
    for (int b = 0; b < fast_blocks(c); b++)
        for (int half = 0; half < 16 && b * 16 + half < c; half += V_LANES) {
            vec total = v_zero();
            for (int i = 0; i < n; i++) {
                const float *at = gy + ((size_t)i * (size_t)fast_blocks(c) + (size_t)b) * (size_t)hw * 16 + half;
                vec part[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
                int j = 0;
                for (; j + 4 <= hw; j += 4)
                    for (int q = 0; q < 4; q++, at += 16)
                        part[q] = v_add(part[q], v_load(at));
                for (; j < hw; j++, at += 16)
                    part[0] = v_add(part[0], v_load(at));
                vec sum = v_add(v_add(part[0], part[1]), v_add(part[2], part[3]));
                total = scale ? v_fma(v_set1(scale[i]), sum, total) : v_add(total, sum);
            }
            int lanes = conv_min(V_LANES, c - b * 16 - half);
            float *to = gb + b * 16 + half;
            v_store_n(to, lanes, v_add(v_load_n(to, lanes), total));
        }
}
