/* engine.h: the contract: what an engine can do. Algorithms 1 and 2 are written on it, once for every engine.
 *
 * An engine holds, for one model: parameters, their EMA, Adam's moments, gradients, the trajectory of the last chain, and
 * its work memory. Its precision is its own (real_bytes); images cross the border as float; parameters, given normals and
 * results as double, so that nothing is lost either way. Same inputs, same bits, whatever `threads` is. */
#ifndef ICD_ENGINE_H
#define ICD_ENGINE_H

#include <stdint.h>

#include "arch.h"

typedef struct icd_engine icd_engine;

/* Vectors of n_values numbers that an engine holds, laid out as arch->param says. */
typedef enum {
    ICD_PARAMETERS, ICD_EMA, ICD_ADAM_M, ICD_ADAM_V,
    ICD_GRAD_CD,       /* of L_CD, with the energy_l2 term unless `apart` */
    ICD_GRAD_KL,       /* of kl_sign (w_opt L_opt + w_ent L_ent); not filled when `apart` */
    ICD_GRAD_OPT,      /* of L_opt alone, unweighted; filled when `apart` */
    ICD_GRAD_ENT,      /* of L_ent alone, unweighted; filled when `apart` */
    ICD_VECTORS
} icd_vector;

/* K Langevin steps from x0.                                                               [ICD:alg1.8-11] [GL:1]
 *   noise after:  x_k = x_{k-1} - step_size grad E(x_{k-1}) + noise n_k
 *   noise before: y = x_{k-1} + noise n_k;  x_k = y - step_size grad E(y)
 * then, with clamp, to [0,1]. n_k is normals[k][i] or the draw (seed, iteration, purpose, first_sample + i, k*D + pixel). */
typedef struct {
    int n;                     /* chains */
    const float *x0;           /* (n,c,h,w) */
    const int32_t *labels;     /* (n); NULL for a model without classes */
    int steps;
    double step_size, noise;
    int noise_before, clamp;
    uint64_t seed, iteration;
    uint32_t purpose, first_sample;
    const double *normals;     /* (steps,n,c,h,w) or NULL */
    int use_ema;               /* 1: sample from the EMA's parameters */
    int keep;                  /* how many states before x_K gradients() will need: 0, or 1..steps */
    /* NULL, or what gradients() will be given next: the same pointer, and until it is back nothing there changes. An engine may
     * begin with it as soon as it likes: the same bits, and quicker where it shares work between them. */
    const struct icd_losses *ahead;
} icd_chain;

typedef struct {
    double langevin_gradient;  /* r_t = step_size * mean over chains and steps of ||grad E||_2        [ANA:r_t] */
    int finite;                /* 0: a state was not finite */
} icd_chain_stats;

/* The losses of one iteration, at the end of the chain that chain() ran last (with keep >= backprop_steps). */
typedef struct icd_losses {
    int n;                             /* positives and chains */
    const float *positives;            /* (n,c,h,w) */
    const int32_t *positive_labels;    /* (n) or NULL */
    int n_neighbours;                  /* 0: L_ent is 0 */
    const float *neighbours;           /* X: (n_neighbours,c,h,w) */
    double w_opt, w_ent, energy_l2;
    int kl_sign, kl_batch;             /* kl_batch 0 = n */
    int backprop_steps;                /* 1..steps of that chain */
    int scale_mean;
    int apart;                         /* 1: each loss's gradient apart, unweighted (icd step) */
    /* Where to put per-image results; NULL = not wanted. */
    double *energy_positive, *energy_negative;     /* (n) each, summed over the scales */
    int32_t *nn_index;                             /* (kl_batch) index into neighbours; ties to the lowest */
    double *nn_distance;                           /* (kl_batch) L2 */
} icd_losses;

typedef struct {
    double energy_positive, energy_negative;       /* means */
    double loss_cd, loss_opt, loss_ent, loss_l2;   /* unweighted */
    double grad_cd, grad_kl;                       /* L2 norms of ICD_GRAD_CD and ICD_GRAD_KL           [ICD:fig9] */
    int finite;                                    /* 0: an energy, loss or gradient was not finite */
} icd_loss_stats;

/* Adam with gradient clipping, then the EMA.                                              [ICD:alg1.17] [ICD:3.1] */
typedef struct {
    int64_t t;                     /* 1 for the first update: Adam's bias correction */
    double lr, beta1, beta2, adam_eps, grad_clip, ema;   /* grad_clip 0 = off; ema: decay */
} icd_update;

typedef struct {
    int batch, keep, kl_batch, n_neighbours, apart;          /* sizes of the work to come, for memory() */
    int backprop_steps;
} icd_work;

typedef struct {
    size_t parameters;       /* bytes: parameters, EMA, Adam, gradients */
    size_t work;             /* bytes at most beyond them, during a step */
    int part;                /* images that are worked on at once in one thread */
} icd_memory;

struct icd_engine {
    const char *name;                  /* "ref", "ref64", "cpu", "cpu:avx2" */
    const icd_arch *arch;              /* the caller's; outlives the engine */
    int real_bytes;                    /* 4 or 8 */
    int threads;                       /* of the host; those that chains and images may be prepared on too */

    void (*close)(icd_engine *);

    /* n_values numbers in, or out. Setting PARAMETERS leaves the EMA alone. */
    icd_status (*import)(icd_engine *, icd_vector, const double *, icd_err *);
    icd_status (*export)(icd_engine *, icd_vector, double *, icd_err *);

    /* E_theta of n images: energy (n); per_scale (n, n_scales) and gradient (n,c,h,w) may be NULL.   [ICD:2.4] */
    icd_status (*energy)(icd_engine *, int use_ema, int n, const float *x, const int32_t *labels, double *energy,
                         double *per_scale, float *gradient, icd_err *);

    /* x_K (n,c,h,w) into out. The engine keeps the trajectory for gradients() as `keep` says. x0 and labels are read by then;
     * normals may be read again by gradients(). */
    icd_status (*chain)(icd_engine *, const icd_chain *, float *out, icd_chain_stats *, icd_err *);

    /* State k of the last chain, keep = steps: x (n,c,h,w), k = 0..steps. */
    icd_status (*trajectory)(icd_engine *, int k, double *x, icd_err *);

    icd_status (*gradients)(icd_engine *, const icd_losses *, icd_loss_stats *, icd_err *);

    /* With ICD_GRAD_CD + ICD_GRAD_KL as they are now (after a sum over processes, where there are several). */
    icd_status (*update)(icd_engine *, const icd_update *, icd_err *);

    /* What the work will take, told before any of it is taken. */
    icd_status (*memory)(icd_engine *, const icd_work *, icd_memory *, icd_err *);

    /* NULL, or host memory (zeros; NULL: not to be had) that x0, out, positives, neighbours are copied from and to without the
     * host's doing; the engine's, until it is closed. */
    void *(*lend)(icd_engine *, size_t bytes);
};

typedef struct {
    int threads;             /* 0: as many as the machine has */
    size_t memory;           /* bytes that one thread's work may take; 0: 1 GiB, and 4 GiB on a device */
    int winograd;            /* largest tile of Winograd's convolution that may be used: 4, 2, or 0 (none). ref/ has none */
    int images;              /* the most that a call is expected to have: a device takes no room for more. 0: not known */
} icd_engine_options;

/* One line per engine that this build has, in the order of preference. */
typedef struct {
    const char *name, *about;
    icd_status (*open)(icd_engine **, const icd_arch *, const icd_engine_options *, icd_err *);
} icd_engine_entry;

#endif
