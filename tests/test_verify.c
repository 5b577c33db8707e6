/* test_verify.c: does `icd verify` notice? Kernel tables with one thing wrong each. */
#include <signal.h>
#include <stdlib.h>

#include "test.h"
#include "verify/verify.h"

extern const fast_backend fast_portable;
static const fast_backend *const sound = &fast_portable;

typedef struct { const char *slot, *where; int rows, failed, of_slot, said; } tally;

static void count(void *context, const icd_comparison *c)
{
    tally *t = context;
    t->rows++;
    t->failed += !icd_passed(c);
    t->of_slot += !icd_passed(c) && strcmp(c->model, t->slot) == 0;
    t->said += !icd_passed(c) && t->where && strstr(c->where, t->where) != NULL;
}

/* Rows that fail of the families with `only` in them: of `slot`, of others, and how many of them say `where`. */
static tally verify(const fast_backend *b, const char *only, const char *slot, const char *where)
{
    tally t = { slot, where, 0, 0, 0, 0 };
    icd_listener l = { count, &t };
    icd_err err = { "" };
    CHECK_OK(icd_verify_slots(b, only, &l, &err));
    return t;
}

static void must_fail(const fast_backend *b, const char *slot, const char *where)
{
    tally t = verify(b, slot, slot, where);
    CHECK(t.of_slot > 0);
    CHECK(t.failed == t.of_slot);
    if (where)
        CHECK(t.said > 0);
}

TEST(a_sound_table_passes)
{
    static const char *const families[] = { "weight_std", "norm_swish", "act_fwd", "avgpool", "pack", "attn_fwd", "dot",
                                            "nearest", "langevin", "adam" };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        tally t = verify(sound, families[i], "", NULL);
        CHECK(t.rows > 3);
        CHECK(t.failed == 0);
    }
    tally none = verify(sound, "no slot of this name", "", NULL);
    CHECK(none.rows == 0);
}

/* ---- touching what is not its own ---- */

static void writes_beyond(fast_ctx *x, size_t n, const float *a, const float *from, const float *add, float *y)
{
    sound->scale_add(x, n, a, from, add, y);
    y[n] = 0;
}
static void writes_before(fast_ctx *x, size_t n, const float *a, const float *from, const float *add, float *y)
{
    sound->scale_add(x, n, a, from, add, y);
    y[-1] = 0;
}
static void reads_beyond(fast_ctx *x, size_t n, const float *a, const float *from, const float *add, float *y)
{
    volatile float beyond = from[n];
    (void)beyond;
    sound->scale_add(x, n, a, from, add, y);
}
static void reads_before(fast_ctx *x, size_t n, const float *a, const float *from, const float *add, float *y)
{
    volatile float before = from[-1];
    (void)before;
    sound->scale_add(x, n, a, from, add, y);
}
static void scribbles(fast_ctx *x, size_t n, const float *a, const float *from, const float *add, float *y)
{
    *(float *)x->scratch = 0;            /* that it was not given */
    sound->scale_add(x, n, a, from, add, y);
}

TEST(guard_pages_see_one_value_too_far)
{
    void (*const wrong[])(fast_ctx *, size_t, const float *, const float *, const float *, float *) =
        { writes_beyond, writes_before, reads_beyond, reads_before, scribbles };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fast_backend b = *sound;
        b.scale_add = wrong[i];
        must_fail(&b, "scale_add", "its buffers");
    }
}

static void writes_input(fast_ctx *x, fast_act a, float slope, size_t n, const float *from, float *y)
{
    sound->act_fwd(x, a, slope, n, from, y);
    ((float *)(uintptr_t)from)[0] = 0;
}
TEST(inputs_cannot_be_written)
{
    fast_backend b = *sound;
    b.act_fwd = writes_input;
    must_fail(&b, "act_fwd", "writes an input");
}

static void dies(fast_ctx *x, size_t n, const float *a, const float *b, double *out)
{
    (void)x, (void)n, (void)a, (void)b, (void)out;
    raise(SIGSEGV);
}
TEST(a_crash_is_a_failed_comparison)
{
    fast_backend b = *sound;
    b.sum_squares = dies;
    tally t = verify(&b, "sum_squares", "crash", "signal");
    CHECK(t.of_slot == 1 && t.said == 1);
}

/* ---- wrong numbers ---- */

/* Lanes beyond c, NaN, += and the padding: three slots of one run. */
static void dirty_lanes(fast_ctx *x, int n, const fast_conv *c, const float *from, const float *w, const float *bias,
                        const float *add, float *y)
{
    sound->conv_fwd(x, n, c, from, w, bias, add, y);
    if (c->co % FAST_LANES)
        y[fast_blocked(c->co, c->ho, c->wo) - 1] = 1;
}
static void eats_nan(fast_ctx *x, int n, const fast_conv *c, const float *gy, const float *w, const float *add, float *gx)
{
    sound->conv_bwd_x(x, n, c, gy, w, add, gx);
    size_t count = (size_t)n * (c->planar ? (size_t)(c->ci * c->hi * c->wi) : fast_blocked(c->ci, c->hi, c->wi));
    for (size_t i = 0; i < count; i++)
        gx[i] = gx[i] == gx[i] ? gx[i] : 0.0f;
}
static void overwrites(fast_ctx *x, int n, const fast_conv *c, const float *from, const float *gy, const float *scale,
                       float *gw)
{
    memset(gw, 0, (size_t)(c->co * c->ci * c->k * c->k) * sizeof *gw);
    sound->conv_bwd_w(x, n, c, from, gy, scale, gw);
}
typedef struct { const char *slot[3]; int failed[3], others; } by_slot;
static void count_slots(void *context, const icd_comparison *c)
{
    by_slot *t = context;
    int known = 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(c->model, t->slot[i]) == 0) {
            t->failed[i] += !icd_passed(c);
            known = 1;
        }
    t->others += !known && !icd_passed(c);
}
TEST(convolutions_are_looked_at)
{
    fast_backend b = *sound;
    b.conv_fwd = dirty_lanes;
    b.conv_bwd_x = eats_nan;
    b.conv_bwd_w = overwrites;
    by_slot t = { { "conv_fwd", "conv_bwd_x", "conv_bwd_w" }, { 0 }, 0 };
    icd_listener l = { count_slots, &t };
    icd_err err = { "" };
    CHECK_OK(icd_verify_slots(&b, "conv_fwd", &l, &err));
    for (int i = 0; i < 3; i++)
        CHECK(t.failed[i] >= 8);          /* a row for each window at least */
    CHECK(t.others == 0);
}

static void wrong_sign(fast_ctx *x, int n, const fast_norm *s, const float *from, const float *gain, const float *bias,
                       const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                       float *ggain, float *gbias)
{
    sound->norm_swish_bwd2(x, n, s, from, gain, bias, saved, x_t, hy, gy, hx, ggain, gbias);
    for (size_t i = 0; i < (size_t)n * fast_blocked(s->c, s->h, s->w); i++)
        hx[i] = -hx[i];
}
static void a_little_off(fast_ctx *x, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                         const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t)
{
    sound->attn_tan(x, n, s, q, k, v, rows, q_t, k_t, v_t, o_t);
    for (size_t i = 0; i < (size_t)n * fast_blocked(s->dv, 1, s->sq); i++)
        o_t[i] *= 1.001f;
}
static void in_float(fast_ctx *x, int n, size_t count, const float *a, const float *b, const float *scale, float *out)
{
    (void)x;
    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < count; j++)
            *out += (scale ? scale[i] : 1.0f) * a[(size_t)i * count + j] * b[(size_t)i * count + j];
}
static void last_of_ties(fast_ctx *x, const fast_nearest *e)
{
    sound->nearest(x, e);
    for (int i = 0; i < e->n && e->m > 0; i++) {
        const float *X = e->X + e->index[i] * e->d;
        if (e->index[i] + 1 < e->m && memcmp(X, X + e->d, (size_t)e->d * sizeof *X) == 0)
            e->index[i]++;
    }
}
static void by_address(fast_ctx *x, int n, const fast_norm *s, const float *from, const float *gain, const float *bias,
                       const fast_norm_saved *saved, const float *x_t, const float *add, float *y)
{
    sound->norm_swish_tan(x, n, s, from, gain, bias, saved, x_t, add, y);
    if ((uintptr_t)y % 4096 == 0)
        y[0] += y[0] * 2e-7f;
}

TEST(numbers_are_looked_at)
{
    fast_backend b = *sound;
    b.norm_swish_bwd2 = wrong_sign;
    must_fail(&b, "norm_swish_bwd2", NULL);
    b = *sound;
    b.attn_tan = a_little_off;
    must_fail(&b, "attn_tan", NULL);
    b = *sound;
    b.dot = in_float;
    must_fail(&b, "dot", NULL);
    b = *sound;
    b.nearest = last_of_ties;
    must_fail(&b, "nearest", NULL);
}

TEST(bits_that_depend_on_the_address_are_seen)
{
    fast_backend b = *sound;
    b.norm_swish_tan = by_address;
    CHECK(verify(&b, "norm_swish_tan", "norm_swish_*", NULL).of_slot == 1);
}

TEST_MAIN("verify", T(a_sound_table_passes), T(guard_pages_see_one_value_too_far), T(inputs_cannot_be_written),
          T(a_crash_is_a_failed_comparison), T(convolutions_are_looked_at), T(numbers_are_looked_at),
          T(bits_that_depend_on_the_address_are_seen))
