/* verify.h: comparisons of independent routes, as a table. */
#ifndef ICD_VERIFY_H
#define ICD_VERIFY_H

#include "common/status.h"
#include "fast/backend.h"

typedef struct {
    const char *model;       /* the group: what was computed on, or the slot */
    const char *what;        /* what was compared */
    const char *route_a, *route_b;
    double error, bound;     /* passed when error <= bound (NaN is not) */
    const char *reason;      /* where the bound comes from */
    const char *where;       /* of several cases in one row, the worst; "" where there is one */
} icd_comparison;

static inline int icd_passed(const icd_comparison *c) { return c->error <= c->bound; }

typedef struct { void (*tell)(void *context, const icd_comparison *c); void *context; } icd_listener;

/* Each runs its comparisons and tells each to the listener. ICD_OK or ICD_ENOMEM; how the comparisons went is what was told.
 * `only`: NULL, or what the names of the models to be looked at have in them. */

/* Derivatives by several routes. table NULL: ref64's, and (with floats) those of ref against it; otherwise those of the
 * engine over this table against them. */
icd_status icd_verify_ref(const fast_backend *table, int floats, const char *only, const icd_listener *l, icd_err *err);
/* Every slot of a kernel table against ref/'s tape in double, or with `only` (NULL: all) those of the families with a slot
 * whose name holds it. The table must be usable. */
icd_status icd_verify_slots(const fast_backend *b, const char *only, const icd_listener *l, icd_err *err);

/* The engine over a kernel table against ref64: everything that an iteration gives, in every setting, on every small model. */
icd_status icd_verify_engine(const fast_backend *table, const char *only, const icd_listener *l, icd_err *err);
/* Iterations of Algorithm 1 by that engine against ref64. */
icd_status icd_verify_training(const fast_backend *table, const char *only, const icd_listener *l, icd_err *err);

#endif
