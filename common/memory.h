/* memory.h: every byte that the libraries take comes from here.
 *
 * icd_alloc is the one door to the heap, so that a test can make the N-th allocation fail for every N.
 * An arena hands out blocks that live until the arena is released; nothing in it is freed apart. */
#ifndef ICD_MEMORY_H
#define ICD_MEMORY_H

#include <stddef.h>

#include "status.h"

/* count*size bytes, zeroed, aligned to 64. NULL when memory is out or count*size overflows. Free with icd_free. */
void *icd_alloc(size_t count, size_t size);
void icd_free(void *p);

/* Test hook: from now on the n-th call of icd_alloc (n = 1 the next one) fails once; 0 turns it off.
 * Returns how many calls there were since the last use of the hook. Not for use with threads running. */
long icd_alloc_fail_at(long n);

/* Bytes handed out by icd_alloc and not yet freed, and the most there ever were. */
size_t icd_alloc_live(void);
size_t icd_alloc_peak(void);

typedef struct icd_chunk icd_chunk;
typedef struct {
    icd_chunk *chunk;    /* newest first; owned */
    size_t used;         /* bytes handed out since the start, padding included */
} icd_arena;

/* An arena starts as {0}. The block is zeroed, aligned to 64, and lives until icd_arena_release.
 * NULL when memory is out or the size overflows; count or size of 0 gives a valid pointer. */
void *icd_arena_alloc(icd_arena *a, size_t count, size_t size);
void icd_arena_release(icd_arena *a);
/* The same without the zeros, for what is written in full at once. */
void *icd_arena_raw(icd_arena *a, size_t count, size_t size);

/* Make sure that the next blocks, `bytes` of them padding included, come from one piece. 0: memory is out. */
int icd_arena_reserve(icd_arena *a, size_t bytes);
/* Would that be so without taking memory? */
int icd_arena_holds(const icd_arena *a, size_t bytes);

/* Forget every block but keep the memory for the blocks to come: what a tape does between two parts. */
void icd_arena_rewind(icd_arena *a);

#endif
