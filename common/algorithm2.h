/* algorithm2.h: ICD Algorithm 2, sampling from a trained model. */
#ifndef ICD_ALGORITHM2_H
#define ICD_ALGORITHM2_H

#include "config.h"
#include "engine.h"

/* Draw n samples with the EMA's parameters: sample_rounds rounds of a transition D and sample_steps Langevin steps, from
 * uniform noise. x (n,c,h,w) out; labels (n) for a model with classes, else NULL. Sample i is a pure function of
 * (seed, first + i, parameters). progress (NULL: none) is called after each round with the rounds done; if it returns
 * non-zero sampling stops with ICD_ESTOP. */
icd_status icd_algorithm2(icd_engine *e, const icd_config *c, int n, uint32_t first, const int32_t *labels, float *x,
                          int (*progress)(void *context, int round), void *context, icd_err *err);

#endif
