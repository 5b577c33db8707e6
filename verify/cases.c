/* cases.c: the table of cases.def. */
#include "cases.h"

/* Half a unit in the last place of 1: what one rounding to float, or to double, adds at most, as a share. */
#define U 0x1p-24
#define D 0x1p-53

#define CASE(key, bound, reason) { bound, reason },
const icd_bound icd_cases[CASES] = {
#include "cases.def"
};
