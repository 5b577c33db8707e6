/* passes.h: the four passes of a plan over one part of a batch, in one thread's arena.
 *
 *   forward    value[side]                 from the image value(0, side)
 *   backward   adjoint[side] = d sum E/d   from value[side]; parameter gradients with a weight for each image and scale
 *   tangent    value[1] = d/dt at 0        of the forward pass at value[0] along the image value(0, 1)
 *   second     adjoint[1] = d sum E_t/d    from value[0], value[1], adjoint[0]; parameter gradients of sum E_t
 *
 * E_t = <grad E, direction>, so `second` gives grad_theta <v, grad_x E> and grad_x <v, grad_x E> = (hessian of E) v by
 * forward over reverse.                                                                                         [ICD:7] */
#ifndef FAST_PASSES_H
#define FAST_PASSES_H

#include "plan.h"

typedef struct {
    const fast_plan *plan;
    float *arena;                    /* (plan->floats), 64-byte aligned, this thread's own; plan->ones are 1, the rest 0 at first */
    void *scratch;                   /* (branches,plan->scratch bytes) */
    fast_ctx ctx;                    /* of the branch in which slots are called now */
    const float *theta;              /* (n_values) parameters as the layers use them */
    const float *packed;             /* (plan->packed) */
    int room;                        /* images between the two sides; at most plan->part */
    int n;                           /* images that the passes work on; at most room */
    int kept;                        /* 1: `second` will come: `backward` on side 0 leaves every adjoint that it wants */
} fast_run;

static inline float *fast_value(const fast_run *r, int tensor, int side)
{
    const fast_tensor *t = &r->plan->tensor[tensor];
    return r->arena + t->value + (size_t)side * (size_t)r->room * t->value_step;
}
static inline float *fast_adjoint(const fast_run *r, int tensor, int side)
{
    const fast_tensor *t = &r->plan->tensor[tensor];
    return r->arena + t->adjoint + (size_t)(1 - side) * (size_t)r->room * t->adjoint_step;
}

/* For a model with classes: the classes (n) of the images to come. (conditional.c) */
void fast_set_labels(fast_run *r, const int32_t *labels);

void fast_forward(fast_run *r, int side);

/* want_x: also the image's adjoint. weight (n_scales,n): parameter gradients, += into grad (n_values, by the parameters as the
 * layers use them), image i's share of scale s times weight[s*n + i]; NULL: none. labels as in fast_set_labels, or NULL. */
void fast_backward(fast_run *r, int side, int want_x, const float *weight, const int32_t *labels, float *grad);

void fast_tangent(fast_run *r);
void fast_second(fast_run *r, int want_x, const int32_t *labels, float *grad);

/* ---- shared by the files of the passes ---- */

/* On a device each scale's nodes are a branch of their own; between two joins only slots are called. */
static inline void fast_branch(fast_run *r, int scale)
{
    if (r->plan->branches > 1) {
        r->plan->backend->device->branch(scale);
        r->ctx.scratch = (char *)r->scratch + (size_t)scale * r->plan->scratch;
    }
}
static inline void fast_join(fast_run *r)
{
    if (r->plan->branches > 1)
        r->plan->backend->device->join();
    r->ctx.scratch = r->scratch;
}

/* gain, bias (gradients: ggain, gbias) of a norm_swish node. */
typedef struct { const float *gain, *bias; float *ggain, *gbias; } fast_affine;
fast_affine fast_node_affine(const fast_run *r, const fast_node *d, float *grad);
/* Conditional: put the (n,c) gradients back to zero before a node, and give them to the parameters after it. (conditional.c) */
void fast_conditional_zero(fast_run *r, const fast_node *d);
void fast_conditional_give(fast_run *r, const fast_node *d, const int32_t *labels, float *grad);

static inline fast_norm_saved fast_saved_norm(const fast_run *r, const fast_node *d, int side)
{
    size_t at = (size_t)side * (size_t)r->room;
    float *slope = d->saved_count ? r->arena + d->saved + at * d->saved_count : NULL;
    return (fast_norm_saved){ slope, r->arena + d->stats + at * d->stats_count };
}
static inline float *fast_saved(const fast_run *r, const fast_node *d, int side)
{
    return r->arena + d->saved + (size_t)side * (size_t)r->room * d->saved_count;
}
static inline const float *fast_parameter(const fast_run *r, int param)
{
    return param >= 0 ? r->theta + r->plan->arch->param[param].offset : NULL;
}
static inline float *fast_gradient(const fast_run *r, int param, float *grad)
{
    return param >= 0 ? grad + r->plan->arch->param[param].offset : NULL;
}

/* A pool's images: blocks of blocked tensors, channels of planar ones. */
typedef struct { int images, lanes; } fast_planes;
static inline fast_planes fast_pool_planes(const fast_run *r, const fast_tensor *t)
{
    return t->planar ? (fast_planes){ r->n * t->c, 1 } : (fast_planes){ r->n * fast_blocks(t->c), FAST_LANES };
}

#endif
