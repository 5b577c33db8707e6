/* weights.h: parameters as the layers use them: standardised, spectrally normalised, packed; and the way back for gradients. */
#ifndef FAST_WEIGHTS_H
#define FAST_WEIGHTS_H

#include "plan.h"

/* Parameter p of theta (n_values, raw) into used (n_values); work: scratch of this thread. */
void fast_use_parameter(const fast_plan *p, fast_ctx *work, int param, const float *theta, float *used);

/* The gradient by parameter p as used, in `grad`, becomes that by the raw parameter. */
void fast_raw_gradient(const fast_plan *p, fast_ctx *work, int param, const float *theta, float *grad);

/* Node d's weight, packed: nothing for nodes that are no convolution. */
void fast_pack_node(const fast_plan *p, fast_ctx *work, const fast_node *d, const float *used, float *packed);

/* Bytes that the first two want in work->scratch, beyond plan->scratch: two copies of the largest weight. */
size_t fast_weights_scratch(const fast_plan *p);

#endif
