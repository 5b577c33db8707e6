/* models.h: the small models that whole derivatives are compared on: every built-in architecture and every setting. */
#ifndef VERIFY_MODELS_H
#define VERIFY_MODELS_H

#include "common/arch.h"

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

#endif
