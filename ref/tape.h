/* tape.h: tensors of rank 4, and a tape of the operations that made them.
 *
 * The backward pass over a tape (tape_grad) records onto the same tape, so its results can be differentiated again:
 * derivatives of any order come from one set of rules. The set of ops is closed: a rule records only ops of the table
 * ref_ops, and each of those has a rule (tests/test_ref_tape.c walks the table).
 *
 * Errors are sticky: after the first failure every call does nothing and returns var -1; look at t->status once. */
#ifndef REF_TAPE_H
#define REF_TAPE_H

#include <stdint.h>

#include "common/memory.h"
#include "real.h"

typedef struct { int n, c, h, w; } shape;          /* images: N, C, H, W; other uses say theirs */
static inline size_t shape_count(shape s) { return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w; }
static inline int shape_same(shape a, shape b) { return a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w; }

typedef int32_t var;                               /* a node's number on its tape */
typedef struct tape tape;

typedef struct {
    const char *name;
    int inputs;
    void (*forward)(tape *t, var self);            /* fill node[self].v from the inputs' */
    /* Given gy, the adjoint of self, give each input its share with tape_give. NULL: the derivative is zero wherever it
     * exists (constants, masks, stop-gradient), and nothing flows. */
    void (*vjp)(tape *t, var self, var gy);
} op;

typedef struct {
    const op *op;
    var in[2];
    shape s;
    real *v;                    /* shape_count(s) values, owned by the tape */
    double a, b;                /* the op's constants, where it has any */
    int k, stride, pad;         /* window of a convolution or pool */
    int flags;                  /* matmul: which input is transposed */
    const int32_t *index;       /* gather and scatter */
} node;

struct tape {
    icd_arena arena;
    node *node;
    int n, capacity;
    int dry;                    /* 1: only shapes and sizes, no values: for memory planning */
    size_t bytes;               /* of values, and with dry what they would be */
    real *work;                 /* one buffer that every op may scribble in during its forward; grows to the largest need */
    size_t work_count;
    icd_status status;
    /* during tape_grad */
    var *adjoint;               /* of each node so far, -1 for none */
    const unsigned char *follows;   /* does the node depend on what we differentiate by? */
};

void tape_init(tape *t, int dry);
void tape_release(tape *t);
void tape_rewind(tape *t);                         /* forget all nodes, keep the memory */

/* New leaf with a copy of x (NULL: zeros; or, dry, nothing). A leaf has no inputs; differentiate by it or not. */
var tape_leaf(tape *t, shape s, const real *x);
/* New leaf that shares x's memory, which must outlive the tape's use of it. */
var tape_share(tape *t, shape s, const real *x);
var tape_leaf_float(tape *t, shape s, const float *x);
var tape_leaf_double(tape *t, shape s, const double *x, double factor);   /* factor*x */
var tape_fill(tape *t, shape s, double value);

/* Record an op: fills in the node from `proto` (op, in, s, constants), takes memory, runs forward. */
var tape_record(tape *t, const node *proto);
real *tape_values(tape *t, size_t count);          /* memory until the next rewind; NULL on failure or dry */
int32_t *tape_indices(tape *t, size_t count);      /* likewise */
real *tape_work(tape *t, size_t count);            /* memory until the next call of this; NULL on failure or dry */
size_t tape_bytes(const tape *t);                  /* what the tape holds, or dry would hold */
void tape_reserve(tape *t, size_t bytes);          /* an empty tape: take that much at once, as a dry run told */

static inline shape shape_of(const tape *t, var x) { return x < 0 ? (shape){ 0, 0, 0, 0 } : t->node[x].s; }
static inline real *value(const tape *t, var x) { return t->node[x].v; }

/* d(sum of gy*y)/d wrt[i] into out[i], i < count. gy has y's shape; -1 stands for ones. Recorded like everything else. An
 * input on which y does not depend gets zeros.                                                              [ICD:7] */
void tape_grad(tape *t, var y, var gy, int count, const var *wrt, var *out);
void tape_give(tape *t, var input, var share);     /* for rules: add share to the input's adjoint */
int tape_wants(const tape *t, var input);          /* for rules: is this input's adjoint needed? */

/* Every op there is; ends with NULL. */
extern const op *const ref_ops[];

#endif
