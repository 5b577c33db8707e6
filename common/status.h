/* status.h: how every function says that it failed.
 *
 * Libraries never print and never exit. A function that can fail returns icd_status and, where the
 * caller passed an icd_err, leaves one line in it: what was wrong, where, and what was wanted.
 * A broken precondition (a bug of the caller) asserts. */
#ifndef ICD_STATUS_H
#define ICD_STATUS_H

#include <stddef.h>

typedef enum {
    ICD_OK = 0,
    ICD_ENOMEM,      /* memory ran out, or a size would not fit in size_t */
    ICD_EINVAL,      /* a setting, an architecture or a combination that cannot be */
    ICD_EIO,         /* a file could not be opened, read, written or renamed */
    ICD_EFORMAT,     /* a file's bytes are not what its format says */
    ICD_ENAN,        /* a number that is not finite turned up */
    ICD_ESTOP,       /* stopped on request, state saved */
    ICD_EUNUSABLE    /* this build or this machine cannot do it */
} icd_status;

typedef struct { char text[1024]; } icd_err;

#if defined(__GNUC__)
#define ICD_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ICD_PRINTF(f, a)
#endif

/* Format one line into err (NULL is allowed) and return s, so that `return icd_fail(...)` reads well. */
icd_status icd_fail(icd_err *err, icd_status s, const char *format, ...) ICD_PRINTF(3, 4);

/* "ok", "out of memory", ...: static text, never NULL. */
const char *icd_status_text(icd_status s);

#define ICD_TRY(call) do { icd_status s_ = (call); if (s_ != ICD_OK) return s_; } while (0)

#endif
