/* cases.h: the bounds of cases.def by name: cases[KEY_CASE].bound, .reason. */
#ifndef VERIFY_CASES_H
#define VERIFY_CASES_H

#define CASE(key, bound, reason) key##_CASE,
typedef enum {
#include "cases.def"
    CASES
} icd_case;
#undef CASE

typedef struct { double bound; const char *reason; } icd_bound;
extern const icd_bound icd_cases[CASES];

#endif
