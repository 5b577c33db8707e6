/* slots.h: what the comparisons of a kernel table's slots share: random tensors, guarded buffers, rows of the table.
 *
 * A case is made in double, planar, with values that a float holds; what the tape says of it is double too. Its inputs are
 * then laid out as the contract wants them in read-only guarded buffers, its outputs poisoned, the slot called, and what it
 * wrote compared. Memory running out jumps to icd_verify_slots. */
#ifndef VERIFY_SLOTS_H
#define VERIFY_SLOTS_H

#include <stdint.h>

#include "common/memory.h"
#include "common/rng.h"
#include "guard.h"
#include "routes_slots.h"
#include "rows.h"

typedef struct {
    const fast_backend *table;
    icd_listener listener;
    guard guard;                  /* its crash is also where no memory jumps to */
    icd_arena arena;              /* of one case */
    fast_ctx ctx;
    icd_stream draw;
    uint64_t drawn;
    char where[96];               /* the case */
} slots;

/* ---- cases ---- */

/* Forget the last case; the new one's name. */
void slots_case(slots *v, const char *format, ...) ICD_PRINTF(2, 3);
/* Give the buffers back; the next lie at `place`; *ctx gets `scratch` bytes. */
void slots_place(slots *v, guard_place place, size_t scratch);

/* count doubles that floats hold: zeros, or N(0,1) times scale. */
double *slots_zeros(slots *v, size_t count);
double *slots_normals(slots *v, size_t count, double scale);
uint8_t *slots_places(slots *v, size_t count);                           /* zeros */
double *slots_absolute(slots *v, size_t count, const double *x);         /* |x| */
int slots_below(slots *v, int n);                                        /* a draw of 0..n-1 */
void slots_route(slots *v, const slot_route *r);                         /* slot_route_f64 */

/* ---- buffers: poisoned; `_in` ones filled and, with 64 or 4 the alignment promised, read-only ---- */

float *slots_room(slots *v, size_t count, size_t align);
void *slots_bytes(slots *v, size_t bytes, size_t align);
void *slots_data_in(slots *v, size_t bytes, size_t align, const void *data);       /* doubles, integers: as they are */
void *slots_data_inout(slots *v, size_t bytes, size_t align, const void *data);
float *slots_in(slots *v, size_t count, size_t align, const double *x);   /* x NULL: NULL */
float *slots_inout(slots *v, size_t count, size_t align, const double *x);
float *slots_blocked_room(slots *v, int n, int c, int hw);
float *slots_blocked_in(slots *v, int n, int c, int hw, const double *x); /* planar x */
float *slots_blocked_inout(slots *v, int n, int c, int hw, const double *x);

/* A buffer's bytes where the host reads them. */
const void *slots_look(slots *v, size_t bytes, const void *at);
/* Outputs as planar doubles. Lanes beyond c that are not 0 make everything infinite. */
double *slots_out(slots *v, size_t count, const float *x);
double *slots_blocked_out(slots *v, int n, int c, int hw, const float *x);

/* ---- rows ---- */

/* max |got - want|/scale against terms times the bound of `which`; scale NULL: the largest |want| (1, where all are 0).
 * After a call that touched what is not its own the error is infinite. */
void slots_check(slots *v, verify_row *r, icd_case which, double terms, size_t count, const double *got, const double *want,
                 const double *scale);
/* Where want is NaN, got is: 0, or 1. */
void slots_check_nan(slots *v, verify_row *r, size_t count, const double *got, const double *want);
/* The number of things that are wrong, which must be 0. */
void slots_check_count(slots *v, verify_row *r, int wrong);
void slots_end(slots *v, const verify_row *r);

/* ---- what there is ---- */

void slots_weights(slots *v);
void slots_convolutions(slots *v);
void slots_biases(slots *v);
void slots_norms(slots *v);
void slots_classes(slots *v);
void slots_activations(slots *v);
void slots_pools(slots *v);
void slots_layouts(slots *v);
void slots_attentions(slots *v);
void slots_elementwise(slots *v);
void slots_entropy(slots *v);
void slots_chains(slots *v);
void slots_updates(slots *v);
void slots_pairs(slots *v);

#endif
