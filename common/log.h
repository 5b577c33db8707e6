/* log.h: log.csv of a run, one row an iteration. */
#ifndef ICD_LOG_H
#define ICD_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "status.h"

/* Open PATH for rows of `columns` ("iteration,d,..."). A new log gets the columns as its header. With keep > 0 (a resumed
 * run) an existing log must have the same header; rows whose first field is over `keep` are dropped (atomically), the
 * others kept. */
icd_status icd_log_open(FILE **f, const char *path, const char *columns, int64_t keep, icd_err *err);
/* One row: the iteration, then n numbers with 9 significant digits. Flushed, so that a killed run keeps its rows. */
icd_status icd_log_row(FILE *f, const char *path, int64_t iteration, int n, const double *v, icd_err *err);

#endif
