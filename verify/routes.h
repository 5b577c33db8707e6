/* routes.h: one derivative by several roads. routes.c is compiled with each precision of ref/; numbers cross as double. */
#ifndef ICD_ROUTES_H
#define ICD_ROUTES_H

#include "common/engine.h"

/* A model, its raw parameters (n_values), and labels (n) where it has classes. */
typedef struct { const icd_arch *arch; const double *theta; const int32_t *labels; int n; } routes_model;

/* In the three precisions (suffix _f32, _f64, _complex): */
#define ROUTES(s) \
    /* E (n), grad_x sum E (n,d), grad_theta sum E (n_values); any may be NULL. */ \
    icd_status routes_energy##s(const routes_model *m, const double *x, double *E, double *gx, double *gtheta); \
    /* grad_theta <v, grad_x sum E(x)>: reverse over reverse.                                                [ICD:7] */ \
    icd_status routes_mixed##s(const routes_model *m, const double *x, const double *v, double *gtheta); \
    /* The states x_0..x_K (K+1,n,d) of a chain with given normals. */ \
    icd_status routes_chain##s(const routes_model *m, const icd_chain *c, double *states); \
    /* grad_theta of kl_sign (w_opt L_opt + w_ent L_ent): ref/step.c's kl_part, from x_{K-m} (n,d).     [ICD:6] [ICD:7] */ \
    icd_status routes_kl##s(const routes_model *m, const icd_chain *c, const icd_losses *l, const double *x, double *gtheta);
ROUTES(_f32)
ROUTES(_f64)
ROUTES(_complex)

/* The complex step: d/dt grad_x E(x + t v) and d/dt grad_theta E(x + t v) at t = 0 as Im grad E(x + i h v)/h, h = 1e-30:
 * first-order rules only, exact to rounding. Either output may be NULL. */
icd_status routes_cstep(const routes_model *m, const double *x, const double *v, double *hv, double *mixed);

#endif
