/* tape.c: recording, and the backward pass. */
#include "tape.h"

#include <assert.h>
#include <string.h>

#include "ops.h"

void tape_init(tape *t, int dry)
{
    memset(t, 0, sizeof *t);
    t->dry = dry;
}

void tape_release(tape *t)
{
    icd_arena_release(&t->arena);
    icd_free(t->node);
    icd_free(t->work);
    memset(t, 0, sizeof *t);
}

void tape_rewind(tape *t)
{
    icd_arena_rewind(&t->arena);
    t->n = 0;
    t->bytes = 0;
    t->status = ICD_OK;
}

/* The next node, or -1. */
static var append(tape *t, const node *proto)
{
    if (t->status != ICD_OK)
        return -1;
    if (t->n == t->capacity) {
        int more = t->capacity ? 2 * t->capacity : 256;
        node *p = icd_alloc((size_t)more, sizeof *p);
        if (!p) {
            t->status = ICD_ENOMEM;
            return -1;
        }
        if (t->node)
            memcpy(p, t->node, (size_t)t->n * sizeof *p);
        icd_free(t->node);
        t->node = p;
        t->capacity = more;
    }
    t->node[t->n] = *proto;
    return t->n++;
}

static void *take(tape *t, size_t count, size_t size)
{
    t->bytes += (count * size + 64) & ~(size_t)63;
    if (t->dry || t->status != ICD_OK)
        return NULL;
    void *p = icd_arena_raw(&t->arena, count, size);
    if (!p)
        t->status = ICD_ENOMEM;
    return p;
}

real *tape_values(tape *t, size_t count) { return take(t, count, sizeof(real)); }
int32_t *tape_indices(tape *t, size_t count) { return take(t, count, sizeof(int32_t)); }

real *tape_work(tape *t, size_t count)
{
    if (count > t->work_count) {
        if (!t->dry) {
            icd_free(t->work);
            t->work_count = 0;
            t->work = icd_alloc(count, sizeof(real));
            if (!t->work) {
                t->status = ICD_ENOMEM;
                return NULL;
            }
        }
        t->work_count = count;
    }
    return t->work;
}

size_t tape_bytes(const tape *t)
{
    return t->bytes + t->work_count * sizeof(real) + (size_t)t->capacity * sizeof(node);
}

void tape_reserve(tape *t, size_t bytes)
{
    if (t->arena.chunk && !icd_arena_holds(&t->arena, bytes))
        icd_arena_release(&t->arena);
    if (!icd_arena_reserve(&t->arena, bytes))
        t->status = ICD_ENOMEM;
}

static void nothing(tape *t, var self) { (void)t; (void)self; }
static const op leaf = { "leaf", 0, nothing, NULL };

var tape_record(tape *t, const node *proto)
{
    for (int i = 0; i < proto->op->inputs; i++)
        if (proto->in[i] < 0)
            return -1;
    var self = append(t, proto);
    if (self < 0)
        return -1;
    if (!proto->v) {
        real *v = tape_values(t, shape_count(proto->s));
        if (t->status != ICD_OK)
            return -1;
        t->node[self].v = v;
    }
    if (!t->dry)
        proto->op->forward(t, self);
    return t->status == ICD_OK ? self : -1;
}

var tape_leaf(tape *t, shape s, const real *x)
{
    var self = tape_record(t, &(node){ .op = &leaf, .s = s });
    if (self >= 0 && !t->dry) {
        if (x)
            memcpy(value(t, self), x, shape_count(s) * sizeof(real));
        else
            memset(value(t, self), 0, shape_count(s) * sizeof(real));
    }
    return self;
}

var tape_share(tape *t, shape s, const real *x)
{
    static real none;       /* a dry tape has no values */
    return tape_record(t, &(node){ .op = &leaf, .s = s, .v = x && !t->dry ? (real *)(uintptr_t)x : &none });
}

var tape_leaf_float(tape *t, shape s, const float *x)
{
    var self = tape_record(t, &(node){ .op = &leaf, .s = s });
    if (self >= 0 && !t->dry)
        for (size_t i = 0; i < shape_count(s); i++)
            value(t, self)[i] = (real)x[i];
    return self;
}

var tape_leaf_double(tape *t, shape s, const double *x, double factor)
{
    var self = tape_record(t, &(node){ .op = &leaf, .s = s });
    if (self >= 0 && !t->dry)
        for (size_t i = 0; i < shape_count(s); i++)
            value(t, self)[i] = (real)(factor * x[i]);
    return self;
}

var tape_fill(tape *t, shape s, double x)
{
    var self = tape_record(t, &(node){ .op = &leaf, .s = s });
    if (self >= 0 && !t->dry)
        for (size_t i = 0; i < shape_count(s); i++)
            value(t, self)[i] = (real)x;
    return self;
}

int tape_wants(const tape *t, var input) { return t->follows[input]; }

void tape_give(tape *t, var input, var share)
{
    if (t->status != ICD_OK || !t->follows[input])
        return;
    assert(shape_same(shape_of(t, share), shape_of(t, input)));
    t->adjoint[input] = t->adjoint[input] < 0 ? share : tape_add(t, t->adjoint[input], share);
}

void tape_grad(tape *t, var y, var gy, int count, const var *wrt, var *out)
{
    for (int i = 0; i < count; i++)
        out[i] = -1;
    if (t->status != ICD_OK)
        return;
    int n = y + 1;
    unsigned char *follows = icd_alloc((size_t)n, 1);
    var *adjoint = icd_alloc((size_t)n, sizeof *adjoint);
    if (!follows || !adjoint) {
        icd_free(follows);
        icd_free(adjoint);
        t->status = ICD_ENOMEM;
        return;
    }
    for (int i = 0; i < count; i++)
        if (wrt[i] < n)
            follows[wrt[i]] = 1;
    for (int i = 0; i < n; i++) {
        const node *p = &t->node[i];
        for (int j = 0; j < p->op->inputs && p->op->vjp; j++)
            if (follows[p->in[j]])
                follows[i] = 1;
        adjoint[i] = -1;
    }
    adjoint[y] = gy >= 0 ? gy : tape_fill(t, shape_of(t, y), 1.0);
    t->follows = follows;
    t->adjoint = adjoint;
    for (var i = y; i >= 0 && t->status == ICD_OK; i--)
        if (adjoint[i] >= 0 && follows[i] && t->node[i].op->vjp)
            t->node[i].op->vjp(t, i, adjoint[i]);
    for (int i = 0; i < count && t->status == ICD_OK; i++)
        out[i] = wrt[i] < n && adjoint[wrt[i]] >= 0 && follows[wrt[i]] ? adjoint[wrt[i]]
                                                                       : tape_leaf(t, shape_of(t, wrt[i]), NULL);
    t->follows = NULL;
    t->adjoint = NULL;
    icd_free(follows);
    icd_free(adjoint);
}
