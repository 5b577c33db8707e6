/* buffer.h: the replay buffer B of past chain states.                                      [ICD:alg1.5] [ICD:alg1.18] */
#ifndef ICD_BUFFER_H
#define ICD_BUFFER_H

#include "memory.h"
#include "rng.h"

typedef enum { ICD_FIFO, ICD_RESERVOIR } icd_buffer_policy;
typedef enum { ICD_STORE_FLOAT, ICD_STORE_UINT8 } icd_buffer_store;

/* FIFO: the newest `capacity` samples. Reservoir: sample number t replaces a random slot with probability capacity/t.
 * uint8 stores floor(255 v + u), u ~ U[0,1) (v clamped to [0,1]) and reads v/255, so the expectation of what is read is
 * what was stored. (The released code shrank values by 255/256 at each visit, and inverted them on MNIST: see paper_map.) */
typedef struct {
    icd_buffer_policy policy;
    icd_buffer_store store;
    int capacity, count;       /* count: slots in use */
    int64_t seen;              /* samples ever pushed */
    size_t d;                  /* values of one sample */
    float *f;                  /* (capacity,d), store float */
    uint8_t *u;                /* (capacity,d), store uint8 */
    int32_t *label;            /* (capacity), 0 where there are no classes */
} icd_buffer;

/* Memory from a. capacity, d > 0. */
icd_status icd_buffer_init(icd_buffer *b, icd_arena *a, icd_buffer_policy policy, icd_buffer_store store, int capacity,
                           size_t d, icd_err *err);

/* B <- B u {x}: x (d). s gives the draws (purpose ICD_DRAW_BUFFER; its sample is the image's number in the batch). */
void icd_buffer_push(icd_buffer *b, const icd_stream *s, const float *x, int32_t label);

/* The slot that the next push would take with these draws; `capacity` for none. */
int icd_buffer_slot(const icd_buffer *b, const icd_stream *s);

/* What is in slot i of one to slot j of another of the same store and d, as it is stored. */
void icd_buffer_copy(const icd_buffer *from, int i, icd_buffer *to, int j);

/* Sample in slot 0 <= i < count into x (d); its label is b->label[i]. */
void icd_buffer_get(const icd_buffer *b, int i, float *x);

#endif
