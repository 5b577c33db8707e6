/* log.c: log.csv, one row an iteration. */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"

/* A row's first field. A row is a line with its end of line. */
static icd_status row_iteration(const char *path, size_t line, const unsigned char *p, size_t n, int64_t *out, icd_err *err)
{
    int64_t v = 0;
    size_t i = 0;
    for (; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
        if (v > (INT64_MAX - 9) / 10)
            break;
        v = v * 10 + (p[i] - '0');
    }
    if (i == 0 || i == n || (p[i] != ',' && p[i] != '\n')) {
        char there[40];
        return icd_fail(err, ICD_EFORMAT, "%s: line %zu: `%s`, wanted a row that starts with its iteration", path, line,
                        icd_quote(there, sizeof there, p, n - 1));
    }
    *out = v;
    return ICD_OK;
}

static size_t line_length(const unsigned char *p, size_t n)
{
    const unsigned char *end = n == 0 ? NULL : memchr(p, '\n', n);
    return end ? (size_t)(end - p) + 1 : 0;          /* 0: no whole line is left */
}

/* The header and the rows up to `keep` of `old` into w. */
static icd_status copy_rows(icd_writer *w, const char *path, icd_bytes old, const char *columns, int64_t keep, icd_err *err)
{
    size_t at = line_length(old.p, old.n);
    if (at != strlen(columns) + 1 || memcmp(old.p, columns, at - 1) != 0) {
        char there[60];
        return icd_fail(err, ICD_EFORMAT, "%s: line 1: `%s`, wanted the columns `%s`", path,
                        icd_quote(there, sizeof there, old.p, at > 0 ? at - 1 : old.n), columns);
    }
    ICD_TRY(icd_writer_put(w, old.p, at, err));
    size_t n;
    for (size_t line = 2; (n = line_length(old.p + at, old.n - at)) > 0; line++, at += n) {
        int64_t iteration = 0;
        ICD_TRY(row_iteration(path, line, old.p + at, n, &iteration, err));
        if (iteration <= keep)
            ICD_TRY(icd_writer_put(w, old.p + at, n, err));
    }
    return ICD_OK;
}

static icd_status write_start(const char *path, const char *columns, int64_t keep, icd_arena *a, icd_err *err)
{
    icd_bytes old;
    struct stat st;
    int resumed = keep > 0 && (stat(path, &st) == 0 || errno != ENOENT);
    if (resumed)
        ICD_TRY(icd_read_file(a, path, &old, err));
    icd_writer w;
    ICD_TRY(icd_writer_open(&w, path, err));
    icd_status s;
    if (resumed) {
        s = copy_rows(&w, path, old, columns, keep, err);
    } else {
        s = icd_writer_put(&w, columns, strlen(columns), err);
        if (s == ICD_OK)
            s = icd_writer_put(&w, "\n", 1, err);
    }
    if (s != ICD_OK) {
        icd_writer_abort(&w);
        return s;
    }
    return icd_writer_commit(&w, err);
}

icd_status icd_log_open(FILE **f, const char *path, const char *columns, int64_t keep, icd_err *err)
{
    icd_arena a = { 0 };
    icd_status s = write_start(path, columns, keep, &a, err);
    icd_arena_release(&a);
    ICD_TRY(s);
    FILE *opened = fopen(path, "a");
    if (!opened)
        return icd_fail(err, ICD_EIO, "%s: cannot be opened for writing: %s", path, strerror(errno));
    *f = opened;
    return ICD_OK;
}

icd_status icd_log_row(FILE *f, const char *path, int64_t iteration, int n, const double *v, icd_err *err)
{
    assert(iteration >= 0);
    int bad = fprintf(f, "%" PRId64, iteration) < 0;
    for (int i = 0; i < n; i++)
        bad |= (isnan(v[i]) ? fputs(",nan", f) : fprintf(f, ",%.9g", v[i])) < 0;
    bad |= fputc('\n', f) == EOF;
    if (fflush(f) != 0 || bad)
        return icd_fail(err, ICD_EIO, "%s: cannot be written: %s", path, strerror(errno));
    return ICD_OK;
}
