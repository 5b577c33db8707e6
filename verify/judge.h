/* judge.h: how far an engine over a kernel table may be from ref64: one rule for derivatives, whole steps and training. With
 * every error as a share of ref64's largest value,
 *
 *   bound = c max(|ref - ref64|, 1e-6) + 4 moved, at most max(1/2, 2 moved),   moved = max_i |rounded_i - plain|
 *
 * (c, 4 and why: cases.def). ref: ref/ in float; plain: the engine over the portable table; rounded_i: the same, where the
 * judged table's conv_choose takes tensor cores with the factors of the convolution, images, adjoints and weights, rounded as
 * those round: i = 0 to the same numbers, 1, 2, .. as coarsely, but to others. A table that rounds no factors has the first
 * term alone. A fault that the judged table shares with the portable one, or the plan, is in `rounded` and in `plain`: it
 * widens no bound. */
#ifndef VERIFY_JUDGE_H
#define VERIFY_JUDGE_H

#include "cases.h"
#include "common/engine.h"
#include "fast/backend.h"

/* max|a - b|/max|b|; NaN wins. Infinite where b is nothing but zeros, which prove nothing. */
double verify_distance(const double *a, const double *b, size_t n);

/* The bound where ref's own float has the error `own` and rounding factors moves as much as `moved` (0: nothing is rounded),
 * and why; `usual`: the case of c. */
double verify_bound(icd_case usual, double own, double moved, icd_case *why);

enum { VERIFY_ROUNDINGS = 8 };
typedef struct { icd_engine *plain, *rounded; fast_backend table; } verify_factors;

/* The two engines, with one thread; none where `judged` rounds no factors. */
icd_status verify_factors_open(verify_factors *f, const fast_backend *judged, const icd_arch *a, icd_err *err);
void verify_factors_close(verify_factors *f);
/* `rounded` rounds in way i < VERIFY_ROUNDINGS from its next import on. */
void verify_factors_round(int i);

#endif
