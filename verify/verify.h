/* verify.h: comparisons of independent routes, as a table. */
#ifndef ICD_VERIFY_H
#define ICD_VERIFY_H

#include "common/status.h"

typedef struct {
    const char *model;       /* what was computed on */
    const char *what;        /* what was compared */
    const char *route_a, *route_b;
    double error, bound;     /* max|a - b|/max|b|; passed when error <= bound (NaN is not) */
    const char *reason;      /* where the bound comes from */
} icd_comparison;

/* Run every comparison for ref64 (and, with floats, of ref against it), telling each to `tell`. ICD_ENOMEM or ICD_OK; how the
 * comparisons went is what was told. */
icd_status icd_verify_ref(int floats, void (*tell)(void *context, const icd_comparison *c), void *context, icd_err *err);

static inline int icd_passed(const icd_comparison *c) { return c->error <= c->bound; }

#endif
