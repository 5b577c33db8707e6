/* memory.c: the heap's one door, and arenas on top of it. */
#if defined(__linux__)
#define _DEFAULT_SOURCE          /* madvise */
#endif
#include "memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* Blocks of LARGE bytes and more lie on 2 MiB pages where the system has them: the arenas of fast/ are walked from end to end
 * many times a second, and on small pages a sixth of that time goes into looking up addresses. */
enum { ALIGN = 64, CHUNK = 1 << 20, PAGE = 2 << 20, LARGE = 2 * PAGE };

/* Before each block: what free() must get, and how much it was. */
typedef struct { void *base; size_t bytes; } header;

static struct { pthread_mutex_t lock; long calls, fail_at; size_t live, peak; } heap =
    { PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0 };

void *icd_alloc(size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX / 2) / size)
        return NULL;
    size_t bytes = count * size;
    pthread_mutex_lock(&heap.lock);
    heap.calls++;
    int fail = heap.fail_at != 0 && heap.calls == heap.fail_at;
    pthread_mutex_unlock(&heap.lock);
    if (fail)
        return NULL;
    size_t align = bytes >= LARGE ? PAGE : ALIGN;
    unsigned char *base = calloc(1, bytes + align + sizeof(header));
    if (!base)
        return NULL;
    uintptr_t p = ((uintptr_t)(base + sizeof(header)) + (align - 1)) & ~(uintptr_t)(align - 1);
#if defined(MADV_HUGEPAGE)
    if (align == PAGE)
        (void)madvise((void *)p, bytes, MADV_HUGEPAGE);      /* a wish: without it the block is only slower */
#endif
    header h = { base, bytes };
    memcpy((unsigned char *)p - sizeof h, &h, sizeof h);
    pthread_mutex_lock(&heap.lock);
    heap.live += bytes;
    if (heap.live > heap.peak)
        heap.peak = heap.live;
    pthread_mutex_unlock(&heap.lock);
    return (void *)p;
}

void icd_free(void *p)
{
    if (!p)
        return;
    header h;
    memcpy(&h, (unsigned char *)p - sizeof h, sizeof h);
    pthread_mutex_lock(&heap.lock);
    heap.live -= h.bytes;
    pthread_mutex_unlock(&heap.lock);
    free(h.base);
}

long icd_alloc_fail_at(long n)
{
    pthread_mutex_lock(&heap.lock);
    long calls = heap.calls;
    heap.calls = 0;
    heap.fail_at = n;
    pthread_mutex_unlock(&heap.lock);
    return calls;
}

size_t icd_alloc_live(void)
{
    pthread_mutex_lock(&heap.lock);
    size_t n = heap.live;
    pthread_mutex_unlock(&heap.lock);
    return n;
}

size_t icd_alloc_peak(void)
{
    pthread_mutex_lock(&heap.lock);
    size_t n = heap.peak;
    pthread_mutex_unlock(&heap.lock);
    return n;
}

struct icd_chunk {
    icd_chunk *next;
    size_t size, used;
    unsigned char *bytes;    /* size of them, aligned */
};

int icd_arena_holds(const icd_arena *a, size_t bytes)
{
    return a->chunk && a->chunk->size - a->chunk->used >= bytes;
}

int icd_arena_reserve(icd_arena *a, size_t bytes)
{
    if (icd_arena_holds(a, bytes))
        return 1;
    if (bytes > SIZE_MAX / 2)
        return 0;
    icd_chunk *c = icd_alloc(1, sizeof *c);
    if (!c)
        return 0;
    c->size = (bytes + ALIGN) & ~(size_t)(ALIGN - 1);
    c->bytes = icd_alloc(c->size, 1);
    if (!c->bytes) {
        icd_free(c);
        return 0;
    }
    c->next = a->chunk;
    a->chunk = c;
    return 1;
}

void *icd_arena_raw(icd_arena *a, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX / 4) / size)
        return NULL;
    size_t need = (count * size + ALIGN) & ~(size_t)(ALIGN - 1);
    icd_chunk *c = a->chunk;
    while (c && c->size - c->used < need)
        c = c->next;
    if (!c) {
        if (!icd_arena_reserve(a, need > CHUNK ? need : CHUNK))
            return NULL;
        c = a->chunk;
    }
    void *p = c->bytes + c->used;
    c->used += need;
    a->used += need;
    return p;
}

void *icd_arena_alloc(icd_arena *a, size_t count, size_t size)
{
    void *p = icd_arena_raw(a, count, size);
    if (p)
        memset(p, 0, count * size);
    return p;
}

void icd_arena_rewind(icd_arena *a)
{
    for (icd_chunk *c = a->chunk; c; c = c->next)
        c->used = 0;
    a->used = 0;
}

void icd_arena_release(icd_arena *a)
{
    while (a->chunk) {
        icd_chunk *c = a->chunk;
        a->chunk = c->next;
        icd_free(c->bytes);
        icd_free(c);
    }
    a->used = 0;
}
