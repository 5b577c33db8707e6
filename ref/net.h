/* net.h: E_theta: an architecture's layers recorded on a tape. */
#ifndef REF_NET_H
#define REF_NET_H

#include "common/arch.h"
#include "tape.h"

/* One leaf per parameter: p (arch->n_params) from the flat vector theta (arch->n_values), whose memory they share. Conv weights are (O,I,k,k), dense
 * (O,I,1,1), gains and biases (1,C,1,1), class tables (classes,C,1,1), gamma (1,1,1,1). */
void net_leaves(tape *t, const icd_arch *a, const real *theta, var *p);

/* theta as the layers use it: weight standardisation and spectral normalisation applied.  p in, q out (may be p).  */
void net_prepare(tape *t, const icd_arch *a, const var *p, var *q);

/* Omega(theta): q[i] = stop_gradient(p[i]).                                                               [ICD:6] */
void net_frozen(tape *t, const icd_arch *a, const var *p, var *q);

/* E(x) = sum over scales E_s(D_s x), (N,1,1,1), of prepared parameters q. labels (N) or NULL. per_scale (n_scales vars) or
 * NULL.                                                                                                 [ICD:2.4] */
var net_energy(tape *t, const icd_arch *a, const var *q, var x, const int32_t *labels, var *per_scale);

#endif
