/* store.h: blocks of memory where a table's slots reach them, with a copy where the host does. */
#ifndef FAST_STORE_H
#define FAST_STORE_H

#include "backend.h"
#include "common/status.h"

/* Without a device `there` and `here` are one and the same, and put and get do nothing. All zeros: nothing taken yet. */
typedef struct { void *there, *here; size_t bytes; } fast_block;

/* At least `bytes` bytes, all zeros when they are first taken; a larger wish than before loses the contents. here is NULL on a
 * device unless with_copy. */
icd_status fast_block_want(fast_block *b, const fast_device *d, size_t bytes, int with_copy, const char *what, icd_err *err);
void fast_block_release(fast_block *b, const fast_device *d);

/* The first `bytes` bytes of here to there, and back. */
void fast_block_put(const fast_block *b, const fast_device *d, size_t bytes);
void fast_block_get(const fast_block *b, const fast_device *d, size_t bytes);

#endif
