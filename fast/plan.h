/* plan.h: an architecture as a fixed list of kernel calls over one arena whose size is known before the first step.
 *
 * A plan is made once for (architecture, kernel table, part size) and never changes. Nodes are in the order of the forward
 * pass; tensors are what flows between them. Each tensor has room for two SIDES of n images each:
 *   value    [side 0][side 1]      side 0: the point of the last Langevin step; side 1: another point, or the tangent
 *   adjoint  [side 1][side 0]      side 0: plain adjoints gy; side 1: those of the other point, or second adjoints hy
 * so that (x, x_t) and (hy, gy) are each 2n images in a row, and the gradient of a weight, sum hy x + gy x_t, is one call. */
#ifndef FAST_PLAN_H
#define FAST_PLAN_H

#include "backend.h"
#include "common/arch.h"

typedef struct {
    int c, h, w, planar;
    size_t count;                    /* floats of one image */
    int of_image;                    /* the image or a pool of it: no parameter lies before it */
    /* Where its two sides are in the arena, in floats, and how far apart they are for each image: count, or 0 where both are one
     * place, since what is written there is read by the next node and by no other. */
    size_t value, value_step, adjoint, adjoint_step;
} fast_tensor;

typedef enum { FAST_NODE_PACK, FAST_NODE_CONV, FAST_NODE_NORM_SWISH, FAST_NODE_ACT, FAST_NODE_AVGPOOL, FAST_NODE_MAXPOOL,
               FAST_NODE_MEAN, FAST_NODE_FLATTEN, FAST_NODE_ATTENTION, FAST_NODE_SCALE_ADD } fast_node_kind;

typedef struct {
    fast_node_kind kind;
    int scale;                       /* whose net: 0..n_scales-1 */
    int in[3];                       /* tensors; attention: queries, keys, values; -1: none */
    int add;                         /* tensor that is added to the output, or -1: conv, norm_swish, scale_add */
    int out;
    /* Parameters (index into arch->param), -1: none. */
    int weight, bias;                /* conv; norm_swish: gain and bias; scale_add: weight is gamma */
    int class_gain, class_bias;      /* norm_swish of a conditional model */
    fast_conv conv;
    fast_norm norm;
    fast_attn attn;
    fast_act act;
    float slope;
    size_t packed;                   /* conv: where its packed weight is */
    /* What the forward pass leaves for the others, for two sides: offsets in the arena, and floats per image. */
    size_t saved, saved_count;       /* norm_swish: d, if kept; maxpool: which (bytes); attention: rows */
    size_t stats, stats_count;       /* norm_swish: stats */
    size_t affine;                   /* norm_swish with per_image: (4,part,c): gain, bias, their gradients */
    int swish;                       /* conv, avgpool: the next node is a swish of out, and the table has both in one slot */
    int with_last;                   /* act: it is that next node */
    /* How adjoints flow, the same in both backward passes. */
    int gy;                          /* the tensor in whose adjoint the output's is found: out, or what out was added to */
    int plus[3];                     /* input j's adjoint = this node's share + that of tensor plus[j]; -1: share alone.
                                      * `add`'s adjoint needs no call: it is the output's, until another share comes to it */
} fast_node;

enum { FAST_MAX_NODES = 1600, FAST_MAX_TENSORS = 1600 };

typedef struct {
    const icd_arch *arch;
    const fast_backend *backend;
    int part;                        /* n: images in a part, at most */
    int n_nodes, n_tensors;
    fast_node *node;
    fast_tensor *tensor;             /* 0: the image */
    int output[ICD_MAX_SCALES];      /* each scale's energy: blocked (1,1,1) */
    size_t floats;                   /* of the arena: tensors of two sides, saved values, temporaries */
    /* For each scale, since scales may run beside one another (on a device; else all are one): room for its largest tensor, n
     * images, twice; gradients that nobody wants. */
    size_t temporary[ICD_MAX_SCALES], temporary2[ICD_MAX_SCALES], nowhere[ICD_MAX_SCALES];
    size_t ones, zeros;              /* as many as the widest tensor has channels or a part images, like `nowhere` */
    size_t widest;                   /* how many those are */
    int branches;                    /* n_scales on a device, else 1 */
    size_t scratch;                  /* bytes a slot may want, in each branch */
    size_t packed;                   /* floats of all packed weights */
} fast_plan;

/* Memory of the lists from `a`. winograd: the largest tile allowed, 4, 2 or 0. ICD_EINVAL when the table lacks a slot, named. */
icd_status fast_plan_make(fast_plan *p, icd_arena *a, const icd_arch *arch, const fast_backend *b, int part, int winograd,
                          icd_err *err);

#endif
