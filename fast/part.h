/* part.h: the body of Algorithm 1's loop for one part of a batch, in one thread's memory. */
#ifndef FAST_PART_H
#define FAST_PART_H

#include "common/engine.h"
#include "passes.h"

/* One thread's memory, all of it taken before the first step. */
typedef struct {
    fast_run run;
    float *x;                        /* (part,d) the state x_k */
    float *inside;                   /* (part,d) C_k: 1 where the clamp let a pixel through */
    float *a;                        /* (part,d) dL_KL/dx_k */
    float *g;                        /* (part,d) grad E(x_K), where L_opt and L_ent go apart */
    float *energy, *weight;          /* (n_scales,part) */
    float *grad;                     /* (n_values) of one loss at a time, by the parameters as used */
    int last_step;                   /* 1 + first of the part whose last Langevin step is on side 0, in x and inside; 0: none */
} fast_worker;

typedef struct fast_part fast_part;

/* A part: images first .. first+n-1 of the batch. The arrays are the batch's; the part touches its own rows only. */
struct fast_part {
    fast_worker *worker;
    int first, n;
    const icd_chain *chain;
    const int32_t *labels;           /* (batch) of the chains, or NULL */
    const uint64_t *iteration;       /* the chain's, where slots find it */
    float *state;                    /* (keep+1,batch,d): x_{K-keep} .. x_K */
    /* chain */
    float *out;                      /* (batch,d) x_K */
    double *length;                  /* (batch) += |grad E| of every step */
    int *finite;                     /* (batch) */
    /* losses */
    const icd_losses *losses;        /* kl_batch resolved */
    int kl;                          /* is there an L_KL? */
    float *energies;                 /* (2,n_scales,batch): positives, then negatives */
    int32_t *nn_index;               /* (batch) */
    double *nn_square;               /* (batch) */
    void (*give)(fast_part *p, icd_vector v);      /* adds worker->grad to the batch's vector v, when it is this part's turn */
    void *owner;                     /* give's own */
};

/* E_s of images first .. first+n-1 of a batch: x (batch,d); energy (n_scales,batch), gradient (batch,d) or NULL. [ICD:2.4] */
void fast_part_energy(fast_worker *w, int batch, int first, int n, const float *x, const int32_t *labels, float *energy,
                      float *gradient);

/* K Langevin steps.                                                                              [ICD:alg1.8-11] [GL:1] */
void fast_part_chain(fast_part *p);

/* The gradients of L_CD and L_KL of this part, each given as soon as it is whole.                          [ICD:5] [ICD:6] [ICD:7] [ICD:8] */
void fast_part_losses(fast_part *p);

#endif
