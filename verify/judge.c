/* judge.c: the portable table on rounded factors, and the bound that it gives. */
#include "judge.h"

#include <math.h>

#include "fast/engine_fast.h"
#include "fast/portable/portable.h"

double verify_distance(const double *a, const double *b, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs(a[i] - b[i]);
        if (!(e <= most) && !(most != most))
            most = e;
        if (fabs(b[i]) > scale)
            scale = fabs(b[i]);
    }
    return scale > 0 ? most / scale : (double)INFINITY;
}

double verify_bound(icd_case usual, double own, double moved, icd_case *why)
{
    double bound = icd_cases[usual].bound * fmax(own, icd_cases[FLOOR_CASE].bound) + icd_cases[FACTORS_CASE].bound * moved;
    double most = fmax(icd_cases[HALF_CASE].bound, 2 * moved);
    *why = bound > most ? HALF_CASE : moved > 0 ? FACTORS_CASE : usual;
    return bound > most ? most : bound;
}

/* ---- rounding: to numbers of as many bits, over `grid` ---- */

static double grid = 1;

void verify_factors_round(int i) { grid = exp2((double)i / VERIFY_ROUNDINGS); }

static double unit_of(fast_conv_algorithm a) { return a == FAST_CONV_TF32 ? 0x1p-11 : a == FAST_CONV_BF16 ? 0x1p-8 : 0; }

static void round_to(double unit, size_t n, const float *values, float *out)
{
    for (size_t i = 0; i < n; i++) {
        int exponent;
        double fraction = frexp((double)values[i] * grid, &exponent);
        out[i] = (float)(ldexp(rint(fraction / unit) * unit, exponent) / grid);
    }
}

/* ---- the portable convolutions with that ---- */

/* Floats of n images in, and out. */
static size_t count_x(int n, const fast_conv *c)
{
    size_t planar = (size_t)c->ci * (size_t)c->hi * (size_t)c->wi;
    return (size_t)n * (c->planar ? planar : fast_blocked(c->ci, c->hi, c->wi));
}
static size_t count_y(int n, const fast_conv *c) { return (size_t)n * fast_blocked(c->co, c->ho, c->wo); }

static size_t scratch(int n, const fast_conv *c) { return (count_x(n, c) + count_y(n, c)) * sizeof(float); }

static void pack(fast_ctx *ctx, const fast_conv *c, const float *w, float *packed)
{
    fast_portable.conv_pack(ctx, c, w, packed);
    if (unit_of(c->fwd) > 0)
        round_to(unit_of(c->fwd), fast_portable.conv_packed(c), packed, packed);
}

static void fwd(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                const float *add, float *y)
{
    float *rounded = ctx->scratch;
    if (unit_of(c->fwd) > 0)
        round_to(unit_of(c->fwd), count_x(n, c), x, rounded);
    fast_portable.conv_fwd(ctx, n, c, unit_of(c->fwd) > 0 ? rounded : x, packed, bias, add, y);
}

static void bwd_x(fast_ctx *ctx, int n, const fast_conv *c, const float *gy, const float *packed, const float *add, float *gx)
{
    float *rounded = ctx->scratch;
    if (unit_of(c->bwd_x) > 0)
        round_to(unit_of(c->bwd_x), count_y(n, c), gy, rounded);
    fast_portable.conv_bwd_x(ctx, n, c, unit_of(c->bwd_x) > 0 ? rounded : gy, packed, add, gx);
}

static void bwd_w(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw)
{
    float *rounded_x = ctx->scratch, *rounded_gy = rounded_x + count_x(n, c);
    double unit = unit_of(c->bwd_w);
    if (unit <= 0) {
        fast_portable.conv_bwd_w(ctx, n, c, x, gy, scale, gw);
        return;
    }
    for (size_t i = 0; i < count_y(n, c); i++)
        rounded_gy[i] = scale ? scale[i / count_y(1, c)] * gy[i] : gy[i];
    round_to(unit, count_x(n, c), x, rounded_x);
    round_to(unit, count_y(n, c), rounded_gy, rounded_gy);
    fast_portable.conv_bwd_w(ctx, n, c, rounded_x, rounded_gy, NULL, gw);
}

icd_status verify_factors_open(verify_factors *f, const fast_backend *judged, const icd_arch *a, icd_err *err)
{
    icd_engine_options o = { .threads = 1, .memory = SIZE_MAX };
    if (judged->unit <= 0)
        return ICD_OK;
    f->table = fast_portable;
    f->table.conv_choose = judged->conv_choose;
    f->table.conv_scratch = scratch;
    f->table.conv_pack = pack;
    f->table.conv_fwd = fwd;
    f->table.conv_bwd_x = bwd_x;
    f->table.conv_bwd_w = bwd_w;
    ICD_TRY(fast_engine_open(&f->plain, fast_portable.name, &fast_portable, a, &o, err));
    return fast_engine_open(&f->rounded, fast_portable.name, &f->table, a, &o, err);
}

void verify_factors_close(verify_factors *f)
{
    icd_engine *both[] = { f->plain, f->rounded };
    for (int i = 0; i < 2; i++)
        if (both[i])
            both[i]->close(both[i]);
}
