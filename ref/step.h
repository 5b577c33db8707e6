/* step.h: the body of Algorithm 1's loop, as graphs: what is differentiated, by what, and where gradients stop.
 * Each function records onto a tape for n images; the engine runs them over the parts of a batch. */
#ifndef REF_STEP_H
#define REF_STEP_H

#include "common/engine.h"
#include "net.h"

/* x_k from x_{k-1}; q: prepared parameters; noise (N,C,H,W) = sigma n_k, or -1 for none. *g (may be NULL) gets
 * grad_x E where it was taken.                                                       [ICD:alg1.10] [GL:1] [ANA:langevin] */
var langevin_step(tape *t, const icd_arch *a, const var *q, var x, const int32_t *labels, const icd_chain *c, var noise, var *g);

/* sigma n_k for images first .. first+n-1 of the chain, k = 1..K: (n,c,h,w). */
var chain_noise(tape *t, const icd_arch *a, const icd_chain *c, int k, int first, int n);

/* One side of L_CD: sign/N sum_i E(x_i) + energy_l2/N sum_i E(x_i)^2, N the whole batch. Gradient by theta's leaves p into
 * grad (n_params vars). energy (n) and square (n: E^2, the term of energy_l2) get each image's values.           [ICD:5] */
void contrastive_part(tape *t, const icd_arch *a, const real *theta, const icd_losses *l, double sign, int n, const real *x,
                      const int32_t *labels, double *energy, double *square, var *grad);

/* L_opt and L_ent of chains first .. first+n-1, through the last m = backprop_steps Langevin steps.        [ICD:6] [ICD:7]
 * x: their states x_{K-m} (n,c,h,w); neighbours: X in this precision. Means are over kl_batch chains.
 * apart: grad[0] = by L_opt, grad[1] = by L_ent; otherwise grad[0] = by kl_sign (w_opt L_opt + w_ent L_ent). */
void kl_part(tape *t, const icd_arch *a, const real *theta, const icd_losses *l, const icd_chain *c, int first, int n,
             const real *x, const int32_t *labels, const real *neighbours, double *energy, double *log_nn, int32_t *nn_index,
             double *nn_distance, var *grad[2]);

#endif
