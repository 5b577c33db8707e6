/* attention.c: the two blocks in which every pixel sees every other. S = H*W pixels. */
#include "ops.h"

/* 1x1 convolution of x, seen as a matrix (N,1,channels,S). */
static var project(tape *t, var x, linear1x1 p)
{
    var y = conv_bias(t, x, p.weight, p.bias, 1, 0);
    shape s = shape_of(t, y);
    return tape_reshape(t, y, (shape){ s.n, 1, s.c, s.h * s.w });
}

/* out_i = gamma sum_j softmax_j(q_i . k_j) v_j + x_i: the softmax runs over the keys j.             [ICD:table5.attn] */
var self_attention(tape *t, var x, linear1x1 query, linear1x1 key, linear1x1 val, var gamma)
{
    shape s = shape_of(t, x);
    var q = project(t, x, query), k = project(t, x, key), v = project(t, x, val);
    var weights = softmax_rows(t, tape_matmul(t, q, k, MATMUL_TN));          /* (N,1,S_i,S_j) */
    var out = tape_matmul(t, v, weights, MATMUL_NT);                         /* (N,1,C,S_i) */
    return tape_add(t, tape_mul(t, tape_reshape(t, out, s), gamma), x);
}

/* out_i = W(sum_j softmax_j(theta_i . phi_j) g_j) + x_i, j over the 2x2 max-pooled pixels.                [ANA:nets] */
static var pooled(tape *t, var x, linear1x1 p)
{
    var y = maxpool2(t, conv_bias(t, x, p.weight, p.bias, 1, 0));
    shape s = shape_of(t, y);
    return tape_reshape(t, y, (shape){ s.n, 1, s.c, s.h * s.w });
}

var non_local(tape *t, var x, linear1x1 theta, linear1x1 phi, linear1x1 g, linear1x1 out)
{
    shape s = shape_of(t, x);
    var a = project(t, x, theta), b = pooled(t, x, phi), v = pooled(t, x, g);
    int inner = shape_of(t, a).h;
    var weights = softmax_rows(t, tape_matmul(t, a, b, MATMUL_TN));
    var y = tape_reshape(t, tape_matmul(t, v, weights, MATMUL_NT), (shape){ s.n, inner, s.h, s.w });
    return tape_add(t, conv_bias(t, y, out.weight, out.bias, 1, 0), x);
}
