/* algorithm1.h: ICD Algorithm 1, once, for every engine. */
#ifndef ICD_ALGORITHM1_H
#define ICD_ALGORITHM1_H

#include "buffer.h"
#include "config.h"
#include "engine.h"
#include "images.h"

/* What one turn of the loop starts from, all of it drawn from the buffer as the turn before left it. */
typedef struct {
    int64_t turn;                      /* whose; 0: nothing is prepared */
    float *positives;                  /* (batch,d) x+ */
    float *starts;                     /* (batch,d) x~0 */
    float *neighbours;                 /* (nn_set,d) X */
    int32_t *positive_labels, *labels; /* (batch) */
    int n_neighbours;                  /* 0 while the buffer is smaller than nn_min_buffer */
    double seconds;                    /* that preparing it took */
} icd_batch;

/* Everything that an iteration reads or changes, but for what the engine holds. Pointers are the caller's and outlive it. */
typedef struct {
    const icd_config *config;
    const icd_arch *arch;
    icd_engine *engine;
    const icd_images *data;
    icd_buffer buffer;                 /* B */
    int64_t iteration;                 /* how many are done */
    /* work memory */
    icd_batch batch[2];                /* this turn's, and the next one's, which is prepared meanwhile: turn % 2 */
    float *chains;                     /* (batch,d) x~K */
    float *augment_work;               /* (threads, icd_augment_work) */
    icd_buffer overwritten;            /* what this turn's chains took the place of in B */
} icd_training;

typedef struct {
    icd_chain_stats chain;
    icd_loss_stats loss;
    int neighbours;                    /* size of X */
    double preparing, waiting;         /* seconds: to prepare the next turn, and of these after the update was asked for */
} icd_iteration_stats;

/* Memory from a. The data must have the architecture's image shape and, for a model with classes, labels below `classes`. */
icd_status icd_training_init(icd_training *t, icd_arena *a, const icd_config *config, const icd_arch *arch, icd_engine *engine,
                             const icd_images *data, icd_err *err);

/* One turn of the algorithm's while loop. ICD_ENAN if a state, energy, loss or gradient is not finite: the parameters and the
 * buffer are then as they were before the turn. A pure function of (seed, iteration, parameters, buffer, data).
 * As soon as x~K is there the next turn's images are prepared in threads of their own, while the engine computes gradients and
 * update; so settings and buffer are not changed from outside between two turns (save with batch[].turn = 0). */
icd_status icd_algorithm1_turn(icd_training *t, icd_iteration_stats *stats, icd_err *err);

/* How many steps the gradient goes back: backprop_steps with `all` resolved. */
static inline int icd_backprop_steps(const icd_config *c) { return c->backprop_steps == ICD_BACKPROP_ALL ? c->steps : c->backprop_steps; }

/* The part of the settings that the engine's calls want. */
icd_chain icd_chain_settings(const icd_config *c);
icd_losses icd_loss_settings(const icd_config *c);
icd_work icd_work_settings(const icd_config *c);

#endif
