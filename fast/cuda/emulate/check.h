// check.h: the checker: every access of a checked launch goes through touch(). Inside the emulator only.
#ifndef EMULATE_CHECK_H
#define EMULATE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace emulate {

// One variable or allocation.
struct range { uintptr_t begin; size_t bytes; const char *name; };

struct cell;

// A kind of memory: what is allocated of it, and a cell for each word of it, and for each byte (used where a word has been
// accessed by less), made when first asked for.
struct space {
    const char *name;
    uintptr_t base = 0;
    size_t bytes = 0;
    std::vector<range> live = {};                // sorted
    size_t last = 0;                             // the one that was found last
    cell *words = nullptr, *singles = nullptr;

    void begin(uintptr_t base_, size_t bytes_);  // nothing is allocated
    void add(range r);
    void remove(uintptr_t begin);
    bool holds(uintptr_t a) const { return a - base < bytes; }
    // The range that holds a; the one before it where none does; NULL before the first.
    const range *find(uintptr_t a);
};
extern space shared_space, global_space;

enum class access { read, write, atomic, copy_begin, copy_end };

// Look at an access of the thread that runs, made by the code at pc. Nothing in launches that are not checked.
void touch(const volatile void *p, size_t bytes, access kind, uintptr_t pc);

// What orders accesses: a launch, a block, a barrier of the block, a __syncwarp of the lanes in mask.
void check_launch();
void check_block();
void check_barrier();
void check_warp(unsigned mask);
void check_fence();                              // __threadfence of this thread

}  // namespace emulate
#endif
