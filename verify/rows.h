/* rows.h: one row of the table: the worst of several cases, by error/bound. */
#ifndef VERIFY_ROWS_H
#define VERIFY_ROWS_H

#include "cases.h"
#include "verify.h"

typedef struct {
    const char *group;
    char what[80], where[160];
    double error, bound;
    const char *reason;
    int cases;
} verify_row;

verify_row row_begin(const char *group, const char *format, ...) ICD_PRINTF(2, 3);
/* NaN is worst. */
void row_note(verify_row *r, icd_case why, double error, double bound, const char *where);
/* Tell it. A row without a case has compared nothing, and failed. */
void row_end(const verify_row *r, const icd_listener *l, const char *route_a, const char *route_b);

#endif
