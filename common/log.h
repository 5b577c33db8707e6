/* log.h: log.csv of a run, one row an iteration. */
#ifndef ICD_LOG_H
#define ICD_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "status.h"

/* Open PATH for rows of `columns` ("iteration,d,..."). A new log gets the columns as its header; keep = 0 starts one, and
 * replaces an older log. With keep > 0 (a resumed run) an existing log must have the same header; rows whose first field is
 * over `keep`, and a last row cut off by a kill, are dropped (atomically), the others kept. On failure an existing log is
 * as it was. */
icd_status icd_log_open(FILE **f, const char *path, const char *columns, int64_t keep, icd_err *err);
/* One row: the iteration, then n numbers with 9 significant digits. Flushed, so that a killed run keeps its rows.
 * Not a number is `nan`. After a failure the row may be there in part. */
icd_status icd_log_row(FILE *f, const char *path, int64_t iteration, int n, const double *v, icd_err *err);

#endif
