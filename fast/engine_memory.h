/* engine_memory.h: what an engine of fast/ holds, where it lies, and how it is taken: once, before it is first used. */
#ifndef FAST_ENGINE_MEMORY_H
#define FAST_ENGINE_MEMORY_H

#include "engine_fast.h"
#include "part.h"
#include "store.h"

/* The batch's rows, for as many images as the largest batch yet. */
typedef enum { ROW_LENGTH, ROW_ENERGIES, ROW_NN_SQUARE, ROW_NN_INDEX, ROW_LABELS, ROW_FINITE, ROWS } fast_row;

/* Squares of norms: of ICD_GRAD_CD, of ICD_GRAD_KL, of their sum. */
typedef enum { SQUARE_CD, SQUARE_KL, SQUARE_SUM, SQUARES } fast_square;

/* What the caller gives for one call, staged for a device. */
typedef enum { GIVEN_X0, GIVEN_NORMALS, GIVEN_POSITIVES, GIVEN_NEIGHBOURS, GIVEN_LABELS, GIVENS } fast_given;

/* What a chain or losses' slots are called with, beside what lies in memory: as long as it is the same, so are the calls. */
typedef struct {
    int n, prepared, last_step;
    fast_part part;
    icd_chain chain;
    icd_losses losses;
} fast_call;
typedef struct { unsigned number; fast_call call; int last_step; } fast_recorded;     /* last_step: as the calls leave it */

typedef struct {
    icd_engine base;
    char name[32];
    const fast_backend *backend;
    const fast_device *device;           /* the backend's; NULL: the host */
    icd_arena lists;                     /* of the plan */
    fast_plan plan;
    size_t d;                            /* pixels of an image */
    fast_block vector[ICD_VECTORS];      /* (n_values) floats each */
    fast_block used[2], packed[2];       /* parameters, EMA: as the layers use them, and packed */
    int prepared[2];                     /* are they those of the vectors now? */
    int crew;                            /* threads that call slots: base.threads, 1 for a device */
    fast_worker *worker;                 /* (crew) */
    fast_block *memory;                  /* (crew) */
    fast_block chunk;                    /* (SQUARES,chunks) doubles: squares of vectors' chunks */
    int rows;
    fast_block row[ROWS];
    fast_block given[GIVENS];
    fast_block iteration;                /* the last chain's: one uint64_t */
    fast_block state;                    /* (keep+1,n,d) */
    fast_block energies;                 /* (n_scales,n) of energy() */
    fast_block out;                      /* (n,d) images that the caller wants; a device's only */
    icd_chain chain;                     /* the last one, as slots see it; its normals are valid until gradients() is done */
    const icd_losses *ahead;             /* the caller's losses that have been begun with the chain, or NULL */
    icd_losses losses;                   /* those begun last, as slots see them */
    int kl;                              /* have they an L_KL? */
    fast_recorded recorded[FAST_RECORDS];     /* on a device */
    struct fast_lent *lent;              /* host memory that the caller works in */
} fast_engine;

/* Floats of one thread's block: arena, scratch, states, energies, gradients. */
size_t fast_worker_floats(const fast_plan *p);

float *fast_vector(const fast_engine *e, icd_vector v);
icd_status fast_want_vector(fast_engine *e, icd_vector v, icd_err *err);
/* Workers of the first `jobs` threads, and one at least. */
icd_status fast_want_workers(fast_engine *e, int jobs, icd_err *err);
icd_status fast_want_rows(fast_engine *e, int n, icd_err *err);
icd_status fast_want_state(fast_engine *e, size_t count, icd_err *err);
/* The caller's `host` (bytes), NULL or not, for slots: fast_give copies it to a device; fast_given_at is where they find it. */
icd_status fast_give(fast_engine *e, fast_given which, const void *host, size_t bytes, icd_err *err);
const void *fast_given_at(const fast_engine *e, fast_given which, const void *host);

/* Room for the weights of the parameters (use_ema: of the EMA), where every worker finds them; and what belongs there: as the
 * layers use them and packed. */
icd_status fast_want_weights(fast_engine *e, int use_ema, icd_err *err);
void fast_prepare(fast_engine *e, int use_ema);
/* Gradients by the parameters as used become those by the parameters. */
void fast_finish_gradient(fast_engine *e, icd_vector v);

/* Host memory for the caller, until the engine is closed. NULL: none that a device reads by itself. */
void *fast_lend(icd_engine *e, size_t bytes);

void fast_release(fast_engine *e);

#endif
