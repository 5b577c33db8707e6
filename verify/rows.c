/* rows.c: the worst of several cases. */
#include "rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

verify_row row_begin(const char *group, const char *format, ...)
{
    verify_row r = { .group = group, .reason = icd_cases[EXACT_CASE].reason };
    va_list list;
    va_start(list, format);
    vsnprintf(r.what, sizeof r.what, format, list);
    va_end(list);
    return r;
}

static int worse(double error, double bound, const verify_row *r)
{
    int failed = !(error <= bound), before = !(r->error <= r->bound);
    if (r->cases == 0 || failed != before)
        return r->cases == 0 || failed;
    if (failed && (r->error != r->error || error != error))
        return error != error && r->error == r->error;
    return bound > 0 && r->bound > 0 ? error / bound > r->error / r->bound : bound > 0 || error > r->error;
}

void row_note(verify_row *r, icd_case why, double error, double bound, const char *where)
{
    if (worse(error, bound, r)) {
        r->error = error;
        r->bound = bound;
        r->reason = icd_cases[why].reason;
        snprintf(r->where, sizeof r->where, "%s", where);
    }
    r->cases++;
}

void row_end(const verify_row *r, const icd_listener *l, const char *route_a, const char *route_b)
{
    icd_comparison c = { r->group, r->what, route_a, route_b, r->cases ? r->error : (double)INFINITY, r->bound, r->reason,
                         r->where };
    l->tell(l->context, &c);
}
