/* buffer.c: the replay buffer.                                                          [ICD:alg1.5] [ICD:alg1.18]
 *
 * Draws of one push (purpose ICD_DRAW_BUFFER, sample: the image's number in the batch): 0 and 1 the reservoir's choice,
 * 4+k the rounding of value k. */
#include "buffer.h"

#include <assert.h>
#include <string.h>

enum { DRAW_SLOT = 0, DRAW_ROUNDING = 4 };

icd_status icd_buffer_init(icd_buffer *b, icd_arena *a, icd_buffer_policy policy, icd_buffer_store store, int capacity,
                           size_t d, icd_err *err)
{
    assert(capacity > 0 && d > 0);
    icd_buffer new = { policy, store, capacity, 0, 0, d, NULL, NULL, NULL };
    size_t size = store == ICD_STORE_FLOAT ? sizeof *new.f : sizeof *new.u, n = (size_t)capacity;
    if (d <= SIZE_MAX / size) {
        void *values = icd_arena_alloc(a, n, d * size);
        new.f = store == ICD_STORE_FLOAT ? values : NULL;
        new.u = store == ICD_STORE_UINT8 ? values : NULL;
        new.label = values ? icd_arena_alloc(a, n, sizeof *new.label) : NULL;
    }
    if (!new.label)
        return icd_fail(err, ICD_ENOMEM, "no memory for a replay buffer of %d samples of %zu values, %zu bytes each", capacity,
                        d, size);
    *b = new;
    return ICD_OK;
}

/* floor(bits/2^64 * n), 0 <= it < n: the high half of the product, in parts of 32 bits. */
static uint64_t below64(uint64_t bits, uint64_t n)
{
    uint64_t b1 = bits >> 32, b0 = bits & 0xFFFFFFFFu, n1 = n >> 32, n0 = n & 0xFFFFFFFFu;
    uint64_t middle = b1 * n0 + (b0 * n0 >> 32), other = b0 * n1 + (middle & 0xFFFFFFFFu);
    return b1 * n1 + (middle >> 32) + (other >> 32);
}

/* Sample number t = seen + 1. */
int icd_buffer_slot(const icd_buffer *b, const icd_stream *s)
{
    if (b->count < b->capacity)
        return b->count;
    if (b->policy == ICD_FIFO)
        return (int)(b->seen % b->capacity);
    uint64_t bits = (uint64_t)icd_bits(s, DRAW_SLOT) << 32 | icd_bits(s, DRAW_SLOT + 1);
    uint64_t slot = below64(bits, (uint64_t)b->seen + 1);
    return slot < (uint64_t)b->capacity ? (int)slot : b->capacity;
}

/* floor(255 v + u), exact in double. NaN is stored as 0. */
static uint8_t rounded(float v, float u)
{
    double clamped = v > 0.0f ? v < 1.0f ? (double)v : 1.0 : 0.0;
    return (uint8_t)(255.0 * clamped + (double)u);
}

void icd_buffer_push(icd_buffer *b, const icd_stream *s, const float *x, int32_t label)
{
    int slot = icd_buffer_slot(b, s);
    b->seen++;
    if (slot == b->capacity)
        return;
    if (slot == b->count)
        b->count++;
    b->label[slot] = label;
    size_t at = (size_t)slot * b->d;
    if (b->store == ICD_STORE_FLOAT) {
        memcpy(b->f + at, x, b->d * sizeof *x);
        return;
    }
    float u[64];
    for (size_t k = 0; k < b->d; k++) {
        if (k % 64 == 0)
            icd_uniforms(s, DRAW_ROUNDING + k, b->d - k < 64 ? b->d - k : 64, u);
        b->u[at + k] = rounded(x[k], u[k % 64]);
    }
}

void icd_buffer_copy(const icd_buffer *from, int i, icd_buffer *to, int j)
{
    assert(from->store == to->store && from->d == to->d && i < from->capacity && j < to->capacity);
    size_t size = from->store == ICD_STORE_FLOAT ? sizeof *from->f : sizeof *from->u, d = from->d * size;
    const char *source = from->f ? (const char *)from->f : (const char *)from->u;
    char *target = to->f ? (char *)to->f : (char *)to->u;
    memcpy(target + (size_t)j * d, source + (size_t)i * d, d);
    to->label[j] = from->label[i];
}

void icd_buffer_get(const icd_buffer *b, int i, float *x)
{
    assert(i >= 0 && i < b->count);
    size_t at = (size_t)i * b->d;
    if (b->store == ICD_STORE_FLOAT)
        memcpy(x, b->f + at, b->d * sizeof *x);
    else
        for (size_t k = 0; k < b->d; k++)
            x[k] = (float)b->u[at + k] / 255.0f;
}
