/* guard.h: buffers between pages that nobody may touch, so that a slot which reads or writes one value too far is seen. On a
 * device they are allocations of their own, as large as was asked for: its tools (the emulator's checker, compute-sanitizer)
 * see what reaches beyond them. */
#ifndef VERIFY_GUARD_H
#define VERIFY_GUARD_H

#include <setjmp.h>
#include <stddef.h>

#include "fast/backend.h"

/* Where in its pages a buffer lies: flush with the forbidden page after it, flush with the one before it, or four bytes
 * behind the one before it (which only buffers that need no more than four bytes of alignment get). */
typedef enum { GUARD_END, GUARD_START, GUARD_ODD, GUARD_PLACES } guard_place;

enum { GUARD_BUFFERS = 24, GUARD_CRASH = 2 };
#define GUARD_BYTES ((size_t)12 << 20)      /* of one buffer at most */

typedef struct {
    guard_place place;
    int taken;
    unsigned char *map;                     /* page, buffer, page, buffer, ... page */
    size_t page;
    /* frozen: read-only; on a device, what it must still be after a call. block: the device's allocation. */
    struct { unsigned char *at; size_t bytes; int frozen; void *block, *kept; } buffer[GUARD_BUFFERS];
    const fast_device *device;              /* NULL: the host's pages */
    const char *fault;                      /* what the last guarded call did wrong, in words; NULL: nothing */
    const char *call;
    sigjmp_buf crash;
} guard;

/* 0: memory is out. guard_free forgives a guard that is all zeros. */
int guard_make(guard *g, const fast_device *device);
void guard_free(guard *g);

/* Give all buffers back; the next ones lie at `place`. */
void guard_reset(guard *g, guard_place place);

/* `bytes` bytes of 0xff (NaN as float and as double, -1 as integer), aligned to `align`, a power of two up to 64. NULL: more
 * than GUARD_BYTES, or too many buffers. */
void *guard_take(guard *g, size_t bytes, size_t align);

/* The buffer at p can only be read from now on. */
void guard_freeze(guard *g, const void *p);

/* Into a buffer, or a part of one, from the host's memory, and back. */
void guard_write(guard *g, void *to, const void *host, size_t bytes);
void guard_read(guard *g, void *host, const void *from, size_t bytes);

/* GUARDED(g, call): make the call; then g->fault says whether it touched what is not its own. What lies within a page of a
 * buffer but outside it must still be 0xff. Touching a forbidden page is noted, the page opened and the call goes on; any
 * other crash jumps to g->crash with g->call, the text of the call. */
#define GUARDED(g, code) do { guard_enter(g, #code); code; guard_leave(g); } while (0)
void guard_enter(guard *g, const char *call);
void guard_leave(guard *g);

#endif
