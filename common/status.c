/* status.c: one line of text for each failure. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

icd_status icd_fail(icd_err *err, icd_status s, const char *format, ...)
{
    if (err) {
        va_list a;
        va_start(a, format);
        vsnprintf(err->text, sizeof err->text, format, a);
        va_end(a);
    }
    return s;
}

const char *icd_status_text(icd_status s)
{
    switch (s) {
    case ICD_OK:      return "ok";
    case ICD_ENOMEM:  return "out of memory";
    case ICD_EINVAL:  return "invalid setting";
    case ICD_EIO:     return "input or output failed";
    case ICD_EFORMAT: return "malformed file";
    case ICD_ENAN:    return "not a finite number";
    case ICD_ESTOP:   return "stopped";
    case ICD_EUNUSABLE: return "not possible on this machine";
    }
    return "unknown status";
}
