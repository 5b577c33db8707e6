/* slots.c: the workbench of slots.h, and the list of what is compared. */
#include "slots.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NO_MEMORY = 1 };

/* ---- cases ---- */

static void *need(slots *v, void *p)
{
    if (!p)
        siglongjmp(v->guard.crash, NO_MEMORY);
    return p;
}

void slots_case(slots *v, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(v->where, sizeof v->where, format, list);
    va_end(list);
    icd_arena_rewind(&v->arena);
    guard_reset(&v->guard, GUARD_END);
}

void slots_place(slots *v, guard_place place, size_t scratch)
{
    guard_reset(&v->guard, place);
    v->ctx.bytes = scratch > v->table->scratch ? scratch : v->table->scratch;
    v->ctx.scratch = need(v, guard_take(&v->guard, v->ctx.bytes, 64));
}

double *slots_zeros(slots *v, size_t count) { return need(v, icd_arena_alloc(&v->arena, count, sizeof(double))); }

double *slots_normals(slots *v, size_t count, double scale)
{
    double *x = slots_zeros(v, count);
    for (size_t i = 0; i < count; i++) {
        float z = (float)((double)icd_normal(&v->draw, v->drawn++) * scale);
        x[i] = (double)z;
    }
    return x;
}

uint8_t *slots_places(slots *v, size_t count) { return need(v, icd_arena_alloc(&v->arena, count, 1)); }

double *slots_absolute(slots *v, size_t count, const double *x)
{
    double *y = slots_zeros(v, count);
    for (size_t i = 0; i < count; i++)
        y[i] = fabs(x[i]);
    return y;
}

int slots_below(slots *v, int n) { return (int)icd_below(&v->draw, v->drawn++, (uint32_t)n); }

void slots_route(slots *v, const slot_route *r)
{
    if (slot_route_f64(r) != ICD_OK)
        siglongjmp(v->guard.crash, NO_MEMORY);
}

/* ---- buffers ---- */

void *slots_bytes(slots *v, size_t bytes, size_t align) { return need(v, guard_take(&v->guard, bytes, align)); }

float *slots_room(slots *v, size_t count, size_t align) { return slots_bytes(v, count * sizeof(float), align); }

void *slots_data_inout(slots *v, size_t bytes, size_t align, const void *data)
{
    void *to = slots_bytes(v, bytes, align);
    guard_write(&v->guard, to, data, bytes);
    return to;
}

void *slots_data_in(slots *v, size_t bytes, size_t align, const void *data)
{
    void *to = slots_data_inout(v, bytes, align, data);
    guard_freeze(&v->guard, to);
    return to;
}

const void *slots_look(slots *v, size_t bytes, const void *at)
{
    if (!v->table->device)
        return at;
    void *copy = need(v, icd_arena_alloc(&v->arena, bytes ? bytes : 1, 1));
    guard_read(&v->guard, copy, at, bytes);
    return copy;
}

static float *floats(slots *v, size_t count) { return need(v, icd_arena_alloc(&v->arena, count ? count : 1, sizeof(float))); }

float *slots_inout(slots *v, size_t count, size_t align, const double *x)
{
    float *host = floats(v, count);
    for (size_t i = 0; i < count; i++)
        host[i] = (float)x[i];
    return slots_data_inout(v, count * sizeof *host, align, host);
}

float *slots_in(slots *v, size_t count, size_t align, const double *x)
{
    if (!x)
        return NULL;
    float *to = slots_inout(v, count, align, x);
    guard_freeze(&v->guard, to);
    return to;
}

float *slots_blocked_room(slots *v, int n, int c, int hw) { return slots_room(v, (size_t)n * fast_blocked(c, 1, hw), 64); }

/* Where channel k of pixel p of image i lies. */
static size_t blocked_at(int c, int hw, int i, int k, int p)
{
    return (size_t)i * fast_blocked(c, 1, hw) + ((size_t)(k / FAST_LANES) * (size_t)hw + (size_t)p) * FAST_LANES
           + (size_t)(k % FAST_LANES);
}

float *slots_blocked_inout(slots *v, int n, int c, int hw, const double *x)
{
    size_t count = (size_t)n * fast_blocked(c, 1, hw);
    float *host = floats(v, count);
    memset(host, 0, count * sizeof *host);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            for (int p = 0; p < hw; p++)
                host[blocked_at(c, hw, i, k, p)] = (float)*x++;
    return slots_data_inout(v, count * sizeof *host, 64, host);
}

float *slots_blocked_in(slots *v, int n, int c, int hw, const double *x)
{
    if (!x)
        return NULL;
    float *to = slots_blocked_inout(v, n, c, hw, x);
    guard_freeze(&v->guard, to);
    return to;
}

double *slots_out(slots *v, size_t count, const float *x)
{
    double *out = slots_zeros(v, count);
    const float *host = slots_look(v, count * sizeof *x, x);
    for (size_t i = 0; i < count; i++)
        out[i] = (double)host[i];
    return out;
}

double *slots_blocked_out(slots *v, int n, int c, int hw, const float *at)
{
    const float *x = slots_look(v, (size_t)n * fast_blocked(c, 1, hw) * sizeof *x, at);
    double *out = slots_zeros(v, (size_t)n * (size_t)c * (size_t)hw), *to = out;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < c; k++)
            for (int p = 0; p < hw; p++)
                *to++ = (double)x[blocked_at(c, hw, i, k, p)];
        for (int k = c; k < fast_blocks(c) * FAST_LANES; k++)
            for (int p = 0; p < hw; p++)
                if (!(x[blocked_at(c, hw, i, k, p)] == 0)) {
                    for (size_t all = 0; all < (size_t)n * (size_t)c * (size_t)hw; all++)
                        out[all] = INFINITY;
                    return out;
                }
    }
    return out;
}

/* ---- rows ---- */

static void note(slots *v, verify_row *r, icd_case which, double error, double bound)
{
    char where[sizeof v->where + 80];
    snprintf(where, sizeof where, "%s%s%s", v->where, v->guard.fault ? ": " : "", v->guard.fault ? v->guard.fault : "");
    row_note(r, which, v->guard.fault ? (double)INFINITY : error, bound, where);
}

void slots_check(slots *v, verify_row *r, icd_case which, double terms, size_t count, const double *got, const double *want,
                 const double *scale)
{
    double error = 0, most = 0;
    for (size_t i = 0; i < count && !scale; i++)
        most = fabs(want[i]) > most ? fabs(want[i]) : most;
    for (size_t i = 0; i < count; i++) {
        double apart = fabs(got[i] - want[i]), unit = scale ? scale[i] : most;
        double e = apart == 0 ? 0 : apart / (scale || unit > 0 ? unit : 1);
        if (!(e <= error) && !(error != error))      /* NaN wins */
            error = e;
    }
    note(v, r, which, error, icd_cases[which].bound * terms);
}

void slots_check_nan(slots *v, verify_row *r, size_t count, const double *got, const double *want)
{
    int lost = 0, there = 0;
    for (size_t i = 0; i < count; i++)
        if (want[i] != want[i]) {
            there++;
            lost += got[i] == got[i];
        }
    note(v, r, NAN_CASE, there ? (double)lost : (double)INFINITY, icd_cases[NAN_CASE].bound);
}

void slots_check_count(slots *v, verify_row *r, int wrong) { note(v, r, EXACT_CASE, wrong, icd_cases[EXACT_CASE].bound); }

void slots_end(slots *v, const verify_row *r) { row_end(r, &v->listener, v->table->name, "ref/ in double"); }

/* ---- all of it ---- */

static const struct { const char *slots; void (*run)(slots *); } parts[] = {
    { "weight_std_fwd weight_std_bwd spectral_fwd spectral_bwd", slots_weights },
    { "conv_choose conv_pack conv_fwd conv_bwd_x conv_bwd_w", slots_convolutions },
    { "bias_bwd", slots_biases },
    { "norm_swish_fwd norm_swish_bwd norm_swish_tan norm_swish_bwd2", slots_norms },
    { "class_affine_fwd class_affine_bwd", slots_classes },
    { "act_fwd act_bwd act_bwd2", slots_activations },
    { "avgpool_fwd avgpool_bwd maxpool_fwd maxpool_tan maxpool_bwd mean_fwd mean_bwd", slots_pools },
    { "pack unpack", slots_layouts },
    { "attn_fwd attn_bwd attn_tan attn_bwd2", slots_attentions },
    { "copy zero scale_add mul_add dot loss_weights", slots_elementwise },
    { "nearest", slots_entropy },
    { "langevin", slots_chains },
    { "adam sum_squares", slots_updates },
    { "conv_swish_fwd conv_swish_bwd_x avgpool_swish_fwd avgpool_swish_bwd", slots_pairs },
};

/* The numbers drawn for a part are the same whichever others run. */
static void all(slots *v, const char *only)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!only || strstr(parts[i].slots, only)) {
            v->drawn = 0;
            parts[i].run(v);
        }
}

/* A call that ended in a signal: what would have followed is not compared. */
static void crashed(slots *v)
{
    guard_leave(&v->guard);
    verify_row r = row_begin("crash", "%.60s", v->guard.call);
    v->guard.fault = "ended in a signal; nothing after it was compared";
    slots_check_count(v, &r, 1);
    slots_end(v, &r);
}

icd_status icd_verify_slots(const fast_backend *b, const char *only, const icd_listener *l, icd_err *err)
{
    slots *v = icd_alloc(1, sizeof *v);
    if (!v || !guard_make(&v->guard, b->device))
        return icd_free(v), icd_fail(err, ICD_ENOMEM, "out of memory for guarded buffers");
    v->table = b;
    v->listener = *l;
    v->draw = (icd_stream){ 13, 0, ICD_DRAW_TEST, 0 };
    icd_status s = ICD_OK;
    switch (sigsetjmp(v->guard.crash, 1)) {
    case 0:
        all(v, only);
        break;
    case NO_MEMORY:
        s = icd_fail(err, ICD_ENOMEM, "out of memory for a case of %s: %s", b->name, v->where);
        break;
    default:
        crashed(v);
    }
    icd_arena_release(&v->arena);
    guard_free(&v->guard);
    icd_free(v);
    return s;
}
