/* emulate.h: what a caller may ask of the emulator: how it schedules and checks, what it found, what it counted. C and C++. */
#ifndef EMULATE_H
#define EMULATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In which order threads, blocks and streams' work run: each must give the same result.
 * FORWARD: threads and blocks by number, work at once. REVERSE: the other way round, work as late as a wait allows. RANDOM:
 * threads, blocks and ready work drawn by seed. Cooperation between blocks beyond "the last one to arrive" is not emulated:
 * blocks run one after another. */
typedef enum { EMULATE_FORWARD, EMULATE_REVERSE, EMULATE_RANDOM } emulate_order;

typedef struct {
    emulate_order order;
    uint64_t seed;
    int check;               /* 1: look for races and wild accesses, where the kernel was compiled for it (EMULATE_CHECKED) */
    int count;               /* 1: count accesses, likewise; launches, barriers and tensor flops are always counted */
    int quiet;               /* 1: print no fault */
    size_t memory;           /* bytes of device memory there are; at most 8 GiB */
    int capability;          /* of the device that is played: 80 for sm_80 */
    int sample;              /* 0; or of launches that are alike only so many blocks of the first run: for counts alone */
} emulate_options;

enum { EMULATE_SHARED_MAX = 227 * 1024, EMULATE_SHARED_DEFAULT = 48 * 1024 };

/* The options now; the first call takes the order from the environment: ICD_EMULATE=forward, reverse or random:SEED. */
emulate_options emulate_get(void);
void emulate_set(emulate_options o);

typedef enum {
    EMULATE_OK,
    EMULATE_RACE_SHARED,     /* two threads of a block, shared memory, no barrier between */
    EMULATE_RACE_GLOBAL,     /* two threads of a block, global memory */
    EMULATE_RACE_BLOCKS,     /* two blocks of a launch, global memory */
    EMULATE_RACE_LAUNCHES,   /* two launches that neither streams, events nor a graph put one after the other, global memory */
    EMULATE_BARRIER,         /* __syncthreads that not every thread of the block reaches, or at different lines */
    EMULATE_WARP,            /* a warp operation whose lanes do not agree: mask, line, operation, source lane */
    EMULATE_UNINITIALISED,   /* shared memory read before this block wrote it */
    EMULATE_BOUNDS,          /* outside of any variable or allocation */
    EMULATE_MISALIGNED,
    EMULATE_COPY_PENDING,    /* cp.async: used before its wait, or never waited for */
    EMULATE_HOST_MEMORY,     /* a pointer to memory that is not the device's */
    EMULATE_LAUNCH           /* a launch that the device would refuse */
} emulate_kind;

typedef struct {
    emulate_kind kind;
    char kernel[128];
    unsigned block[3], thread[3];
    char file[256];
    int line;                /* 0: not known */
    char text[1024];         /* the whole of it in one line, as it was printed */
} emulate_fault;

/* The first fault since emulate_clear; NULL: none. It ended its launch, and every call since has returned an error. */
const emulate_fault *emulate_last_fault(void);
void emulate_clear(void);

/* How a kind of access went. A request is one instruction of one warp. Global: `units` are sectors of 32 bytes touched,
 * `ideal` as many as the distinct bytes need. Shared: `units` are passes over the 32 banks, `ideal` the fewest possible, 128
 * bytes each; units/ideal = 1: no bank conflict. */
typedef struct { uint64_t requests, bytes, units, ideal; } emulate_access;

typedef struct {
    uint64_t launches, blocks, threads;
    uint64_t barriers;       /* of blocks */
    uint64_t warp_ops;       /* shuffles, votes, __syncwarp, ldmatrix, mma */
    uint64_t flops;          /* what the kernel declares by FLOPS(n) */
    uint64_t tensor_flops;
    emulate_access global_load, global_store, shared_load, shared_store;
    uint64_t atomics;
    size_t shared_bytes;     /* static and dynamic, of the last launch */
} emulate_counts;

/* What the kernel of that name (as LAUNCH has it; NULL: all kernels) has done since the last reset. 0: never launched. */
int emulate_count(const char *kernel, emulate_counts *out);
/* The i-th kernel's name; NULL: there are no more. */
const char *emulate_kernel(int i);
/* The four kinds of access, line by line of the source, worst first, as a table on stdout. */
void emulate_print_lines(void);
void emulate_reset_counts(void);

/* With the option `sample`: launches are alike in kernel, label, grid, block and arguments, save where these point to. What a
 * label says stays with the launches until the next one. */
void emulate_label(const char *text);
typedef struct {
    const char *kernel, *label;
    unsigned grid[3], block[3];
    size_t dynamic;          /* bytes of dynamic shared memory */
    uint64_t times;          /* launches alike */
    uint64_t ran;            /* blocks of the first that ran: the first block, the last and some between */
    emulate_counts one;      /* of one launch: the last block, and the others taken as those that ran */
    uint64_t read, written;  /* distinct bytes of global memory: likewise, but no more than from the lowest to the highest that
                              * was met of what each argument points to */
} emulate_shape;
/* The i-th in the order of their first launches; 0: there are no more. */
int emulate_shape_of(int i, emulate_shape *out);

/* Likewise a number stays with the launches to come. The i-th launch that has run: the shape's number; -1: there are no more. */
void emulate_tag(uint64_t tag);
int emulate_ran(size_t i, uint64_t *tag);

/* Bytes allocated on the device now. */
size_t emulate_memory_used(void);

#ifdef __cplusplus
}
#endif
#endif
