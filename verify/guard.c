/* guard.c: guarded buffers: one mapping with forbidden pages in it, and a signal handler that notes who touches them. */
#include "guard.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memory.h"

static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
enum { SIGNALS = sizeof signals / sizeof signals[0] };

/* A signal has no context of its own: calls are guarded one at a time, in one thread. */
static guard *guarded;
static struct sigaction before[SIGNALS];

static size_t stride(const guard *g) { return GUARD_BYTES + g->page; }
static unsigned char *begin(const guard *g, int i) { return g->map + g->page + (size_t)i * stride(g); }
static size_t mapped(const guard *g) { return g->page + GUARD_BUFFERS * stride(g); }

/* Forbid all, then allow the buffers as far as they are allowed. */
static int protect(guard *g)
{
    if (g->device)
        return 1;
    int failed = mprotect(g->map, mapped(g), PROT_NONE);
    for (int i = 0; i < GUARD_BUFFERS; i++)
        failed |= mprotect(begin(g, i), GUARD_BYTES, i < g->taken && g->buffer[i].frozen ? PROT_READ : PROT_READ | PROT_WRITE);
    return !failed;
}

int guard_make(guard *g, const fast_device *device)
{
    memset(g, 0, sizeof *g);
    g->device = device;
    if (device)
        return 1;
    g->page = (size_t)sysconf(_SC_PAGESIZE);
    int file = open("/dev/zero", O_RDWR);
    if (file < 0)
        return 0;
    void *map = mmap(NULL, mapped(g), PROT_NONE, MAP_PRIVATE, file, 0);
    close(file);
    if (map == MAP_FAILED)
        return 0;
    g->map = map;
    if (protect(g))
        return 1;
    guard_free(g);
    return 0;
}

void guard_free(guard *g)
{
    if (g->device)
        guard_reset(g, GUARD_END);
    if (g->map)
        munmap(g->map, mapped(g));
    memset(g, 0, sizeof *g);
}

void guard_reset(guard *g, guard_place place)
{
    for (int i = 0; i < g->taken; i++)
        if (g->device) {
            g->device->release(g->buffer[i].block);
            icd_free(g->buffer[i].kept);
        } else if (g->buffer[i].frozen) {
            mprotect(begin(g, i), GUARD_BYTES, PROT_READ | PROT_WRITE);
        }
    g->taken = 0;
    g->place = place;
    g->fault = NULL;
}

/* What is watched around buffer i: a page on either side, within the part that may be touched. */
static void margins(const guard *g, int i, unsigned char **from, unsigned char **to)
{
    unsigned char *first = begin(g, i), *last = first + GUARD_BYTES, *at = g->buffer[i].at, *end = at + g->buffer[i].bytes;
    *from = (size_t)(at - first) > g->page ? at - g->page : first;
    *to = (size_t)(last - end) > g->page ? end + g->page : last;
}

/* `odd` bytes, which belong to nobody, then the buffer. */
static void *take_of_device(guard *g, size_t bytes, size_t odd)
{
    int i = g->taken;
    unsigned char *block = g->device->alloc(odd + bytes ? odd + bytes : 1);
    if (!block)
        return NULL;
    g->buffer[i].block = block;
    g->buffer[i].kept = NULL;
    g->buffer[i].at = block + odd;
    g->buffer[i].bytes = bytes;
    g->buffer[i].frozen = 0;
    g->taken++;
    unsigned char poison[4096];
    memset(poison, 0xff, sizeof poison);
    for (size_t at = 0; at < odd + bytes; at += sizeof poison)
        g->device->put(block + at, poison, odd + bytes - at < sizeof poison ? odd + bytes - at : sizeof poison);
    return block + odd;
}

void *guard_take(guard *g, size_t bytes, size_t align)
{
    int i = g->taken;
    size_t odd = g->place == GUARD_ODD && align <= 4 ? 4 : 0;
    if (i == GUARD_BUFFERS || bytes + odd > GUARD_BYTES)
        return NULL;
    if (g->device)
        return take_of_device(g, bytes, odd);
    unsigned char *first = begin(g, i), *from, *to;
    size_t at = g->place == GUARD_END ? (GUARD_BYTES - bytes) & ~(align - 1) : odd;
    g->buffer[i].at = first + at;
    g->buffer[i].bytes = bytes;
    g->buffer[i].frozen = 0;
    g->taken++;
    margins(g, i, &from, &to);
    memset(from, 0xff, (size_t)(to - from));
    return first + at;
}

void guard_freeze(guard *g, const void *p)
{
    for (int i = 0; i < g->taken; i++)
        if (g->buffer[i].at == (const unsigned char *)p && !g->buffer[i].frozen) {
            g->buffer[i].frozen = 1;
            if (!g->device)
                mprotect(begin(g, i), GUARD_BYTES, PROT_READ);
            else if ((g->buffer[i].kept = icd_alloc(g->buffer[i].bytes, 2)) != NULL)
                guard_read(g, g->buffer[i].kept, p, g->buffer[i].bytes);
        }
}

void guard_write(guard *g, void *to, const void *host, size_t bytes)
{
    if (g->device)
        g->device->put(to, host, bytes);
    else
        memcpy(to, host, bytes);
}

void guard_read(guard *g, void *host, const void *from, size_t bytes)
{
    if (g->device)
        g->device->get(host, from, bytes);
    else
        memcpy(host, from, bytes);
}

static void trouble(int signal, siginfo_t *info, void *context)
{
    unsigned char *at = info->si_addr;
    (void)context;
    if ((signal == SIGSEGV || signal == SIGBUS) && at >= guarded->map && at < guarded->map + mapped(guarded)
        && !guarded->fault) {
        guarded->fault = "reads or writes outside its buffers, or writes an input";
        mprotect(guarded->map, mapped(guarded), PROT_READ | PROT_WRITE);
        return;
    }
    siglongjmp(guarded->crash, GUARD_CRASH);
}

void guard_enter(guard *g, const char *call)
{
    struct sigaction action = { .sa_sigaction = trouble, .sa_flags = SA_SIGINFO };
    sigemptyset(&action.sa_mask);
    g->fault = NULL;
    g->call = call;
    guarded = g;
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &action, &before[i]);
}

static int untouched(const unsigned char *from, const unsigned char *to)
{
    for (; from < to; from++)
        if (*from != 0xff)
            return 0;
    return 1;
}

static void leave_device(guard *g)
{
    g->fault = g->device->fault();
    for (int i = 0; i < g->taken && !g->fault; i++) {
        unsigned char *kept = g->buffer[i].kept, *now = kept ? kept + g->buffer[i].bytes : NULL;
        if (!g->buffer[i].frozen || !g->buffer[i].bytes)
            continue;
        if (kept)
            guard_read(g, now, g->buffer[i].at, g->buffer[i].bytes);
        if (!kept || memcmp(kept, now, g->buffer[i].bytes) != 0)
            g->fault = "writes an input";
    }
}

void guard_leave(guard *g)
{
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
    if (g->device) {
        leave_device(g);
        return;
    }
    if (g->fault)
        protect(g);
    for (int i = 0; i < g->taken && !g->fault; i++) {
        unsigned char *from, *to, *at = g->buffer[i].at;
        margins(g, i, &from, &to);
        if (!untouched(from, at) || !untouched(at + g->buffer[i].bytes, to))
            g->fault = "writes beside its buffers";
    }
}
