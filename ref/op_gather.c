/* op_gather.c: picking values by index, and its transpose. */
#include "ops.h"

#include <string.h>

/* gather: y[i] = x[index[i]].  gx = scatter(gy). */
static void gather_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    const real *x = value(t, p->in[0]);
    for (size_t i = 0, n = shape_count(p->s); i < n; i++)
        p->v[i] = x[p->index[i]];
}

static void gather_vjp(tape *t, var self, var gy)
{
    node p = t->node[self];
    tape_give(t, p.in[0], tape_scatter(t, gy, p.index, shape_of(t, p.in[0])));
}

const op op_gather = { "gather", 1, gather_forward, gather_vjp };

var tape_gather(tape *t, var x, const int32_t *index, shape s)
{
    return tape_record(t, &(node){ .op = &op_gather, .in = { x }, .s = s, .index = index });
}

/* scatter: x = 0, then x[index[i]] += y[i] in the order of i.  gy = gather(gx). */
static void scatter_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    const real *y = value(t, p->in[0]);
    memset(p->v, 0, shape_count(p->s) * sizeof(real));
    for (size_t i = 0, n = shape_count(shape_of(t, p->in[0])); i < n; i++)
        p->v[p->index[i]] += y[i];
}

static void scatter_vjp(tape *t, var self, var h)
{
    node p = t->node[self];
    tape_give(t, p.in[0], tape_gather(t, h, p.index, shape_of(t, p.in[0])));
}

const op op_scatter = { "scatter", 1, scatter_forward, scatter_vjp };

var tape_scatter(tape *t, var y, const int32_t *index, shape s)
{
    return tape_record(t, &(node){ .op = &op_scatter, .in = { y }, .s = s, .index = index });
}
