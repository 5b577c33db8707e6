/* ops.h: what can be recorded. Primitive ops first (each in op_*.c with its rule), then functions made of them. */
#ifndef REF_OPS_H
#define REF_OPS_H

#include "tape.h"

/* ---- primitive ops ---- */

extern const op op_sum_to, op_broadcast, op_reshape, op_matmul, op_conv2d, op_conv2d_bwd_x, op_conv2d_bwd_w, op_avgpool,
    op_avgpool_bwd, op_gather, op_scatter;

/* Elementwise; where a dimension of one input is 1 the other's is taken (broadcasting). op_elementwise.c */
var tape_add(tape *t, var a, var b);
var tape_sub(tape *t, var a, var b);
var tape_mul(tape *t, var a, var b);
var tape_affine(tape *t, var x, double a, double b);       /* a*x + b */
var tape_recip(tape *t, var x);                            /* 1/x, x != 0 */
var tape_sqrt(tape *t, var x);                             /* x > 0 */
var tape_exp(tape *t, var x);
var tape_log(tape *t, var x);                              /* x > 0 */
var tape_logistic(tape *t, var x);                         /* 1/(1 + exp(-x)), every finite x */
var tape_clamp(tape *t, var x, double lo, double hi);      /* derivative 1 where lo <= x <= hi, else 0 */
var tape_inside(tape *t, var x, double lo, double hi);     /* 1 where lo <= x <= hi, else 0; derivative 0 */
var tape_slope(tape *t, var x, double a);                  /* 1 where x > 0, a elsewhere; derivative 0 */
var tape_stop_gradient(tape *t, var x);                    /* Omega(x): x, derivative 0                    [ICD:5] */

/* op_reduce.c: each is the other's transpose. s has each dimension of x or 1 (the other way round in broadcast). */
var tape_sum_to(tape *t, var x, shape s);
var tape_broadcast(tape *t, var x, shape s);
var tape_reshape(tape *t, var x, shape s);                 /* same count, same order; shares memory */

/* op_matmul.c: over the last two dimensions, for each (n,c): plain a b, aT b, a bT. The three are closed. */
enum { MATMUL_NN = 0, MATMUL_TN = 1, MATMUL_NT = 2 };
var tape_matmul(tape *t, var a, var b, int flags);

/* op_conv2d.c: bilinear in (x, w), and each of the three is one of the others' rules.
 * x (N,I,H,W), w (O,I,k,k), y (N,O,H',W'), H' = (H + 2 pad - k)/stride + 1. */
var tape_conv2d(tape *t, var x, var w, int stride, int pad);
var tape_conv2d_bwd_x(tape *t, var gy, var w, shape x, int stride, int pad);     /* transpose in x */
var tape_conv2d_bwd_w(tape *t, var gy, var x, shape w, int stride, int pad);     /* transpose in w */

/* op_pool.c: average over k by k windows, padding counted as zeros, and its transpose. */
var tape_avgpool(tape *t, var x, int k, int stride, int pad);
var tape_avgpool_bwd(tape *t, var gy, shape x, int k, int stride, int pad);

/* op_gather.c: y[i] = x[index[i]], and its transpose x[index[i]] += y[i]. index (count of s) must live as long as the tape. */
var tape_gather(tape *t, var x, const int32_t *index, shape s);
var tape_scatter(tape *t, var y, const int32_t *index, shape s);

/* ---- functions made of them ---- */

var tape_sum(tape *t, var x);                              /* (1,1,1,1) */
var tape_mean_to(tape *t, var x, shape s);
var swish(tape *t, var x);                                 /* x*logistic(x)                             [ICD:B.1] */
var leaky_relu(tape *t, var x, double a);
var softmax_rows(tape *t, var x);                          /* over w */
var maxpool2(tape *t, var x);                              /* 2x2 stride 2; ties to the first in row order, NaN before numbers */

/* norm.c. gain, bias (1,C,1,1); groups divide C; eps 1e-5, biased variance.                            [ICD:B.1] */
var group_norm(tape *t, var x, int groups, var gain, var bias);
/* w (O,I,k,k): minus its mean over (I,k,k), divided by (unbiased sd + 1e-5). */
var weight_standardise(tape *t, var w);
/* w seen as (O, I*k*k), divided by its largest singular value: SPECTRAL_ITERATIONS power iterations from the all-ones
 * vector, differentiated like everything else.                                                         [GL:5.2.2] */
enum { SPECTRAL_ITERATIONS = 12 };
var spectral_normalise(tape *t, var w);

/* attention.c. x (N,C,H,W); q, k (N,C/8,S), v (N,C,S) in, out = gamma * sum_j softmax_j(q_i . k_j) v_j + x  [ICD:table5.attn] */
typedef struct { var weight, bias; } linear1x1;
var self_attention(tape *t, var x, linear1x1 query, linear1x1 key, linear1x1 val, var gamma);
/* Embedded Gaussian non-local block: out(softmax(theta^T phi) g) + x, phi and g max-pooled by 2.               [ANA:nets] */
var non_local(tape *t, var x, linear1x1 theta, linear1x1 phi, linear1x1 g, linear1x1 out);

var conv_bias(tape *t, var x, var w, var bias, int stride, int pad);    /* bias (1,O,1,1) or -1 */

/* nearest.c. For each image of x (N,...): log of the L2 distance to the nearest of X (m images; constants), (N,1,1,1).
 * Ties go to the lowest index. Domain: at or below NN_FLOOR the value is log(NN_FLOOR) and the gradient zero (log is -inf and
 * its gradient 0/0 at a duplicate). index and distance (N) get what was found, before the floor; NULL: not wanted. [ICD:8] */
#define NN_FLOOR 1e-6
var log_nearest(tape *t, var x, const real *X, int m, int32_t *index, double *distance);

#endif
