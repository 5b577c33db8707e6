/* models.h: the small models that whole derivatives are compared on: every built-in architecture and every setting. */
#ifndef VERIFY_MODELS_H
#define VERIFY_MODELS_H

#include "cases.h"
#include "common/arch.h"
#include "fast/backend.h"

enum { VERIFY_MODELS = 12 };

typedef struct {
    icd_arena arena;
    const char *name;
    icd_arch arch;
    double *theta;           /* (n_values), of values that a float holds; gammas, gains and biases off their starting 0 and 1 */
} verify_model;

/* Has model i's name `only` in it? NULL: every name has. */
int verify_model_wanted(int i, const char *only);
icd_status verify_model_make(int i, verify_model *m, icd_err *err);
void verify_model_free(verify_model *m);

/* max|a - b|/max|b|; NaN wins. Infinite where b is nothing but zeros, which prove nothing. */
double verify_distance(const double *a, const double *b, size_t n);
/* out = the n values rounded to `unit`: as many bits as a table keeps of a convolution's factors. */
void verify_round(double unit, size_t n, const double *values, double *out);
/* The bound on a table's error where ref's own float has the error `yard`, and why: `usual`, PRECISION or HALF. */
double verify_yardstick(const fast_backend *table, icd_case usual, double yard, icd_case *why);

#endif
