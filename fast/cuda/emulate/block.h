// block.h: the block that runs: its threads, what each waits for, and how a fault ends it. Inside the emulator only.
#ifndef EMULATE_BLOCK_H
#define EMULATE_BLOCK_H

#include <vector>

#include "emulate.h"
#include "fiber.h"
#include "types.h"

namespace emulate {

enum class state { begin, ready, at_barrier, at_warp_op, done };

struct thread {
    uint3 index;             // threadIdx
    unsigned number;         // in the block; lane = number % 32, warp = number / 32
    state is;
    where at;                // the barrier or warp operation that it waits at
    const char *op;          // that operation's name
    unsigned mask;
    void *data;              // its operands
    fiber *runs_on;
};

// One kernel launch, its arguments by value.
struct launch {
    const char *name, *label;
    uint64_t tag;
    const void *function;
    dim3 grid, block;
    size_t dynamic;          // bytes of dynamic shared memory
    void (*call)(const void *function, const void *args);    // as one thread
    const void *args;
    size_t args_bytes;
    const argument *arguments;
    size_t count;
    bool checked;            // its loads and stores are instrumented, and to be looked at
    where at;
};

struct block {
    const launch *of;
    uint3 index;             // blockIdx
    uint64_t number;         // in order of execution
    std::vector<thread> threads;
    std::vector<uint32_t> at_warp_op;            // by warp: the lanes that wait at a warp operation
    unsigned done, waiting;  // threads that have ended, that wait at a barrier
    unsigned votes;          // of the barrier that is filling, and of the last one
    unsigned count;
};

extern block now;
extern thread_local thread *self;                // the thread that runs on this host thread; NULL outside kernels

// Run l's blocks in the order of the options; false: a fault ended it. One host thread at a time.
bool run_blocks(const launch &l);
// Wait where `is` says until made ready.
void wait_as(state is);
void make_ready(thread *t);

// End the launch with a fault, in the thread that runs; outside kernels: note the fault and return.
void fault(emulate_kind kind, where at, const char *format, ...) __attribute__((format(printf, 3, 4)));
// The same at an address of code.
void fault_at(emulate_kind kind, uintptr_t pc, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Go back to where the launch was called; the block is never finished.
void leave_block();

extern emulate_options options;

}  // namespace emulate
#endif
