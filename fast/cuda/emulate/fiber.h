// fiber.h: a stack of its own and the place where its code was left.
#ifndef EMULATE_FIBER_H
#define EMULATE_FIBER_H

#include <stddef.h>

namespace emulate {

struct fiber {
    void *sp;                // where it was left; with ucontext its ucontext_t
    char *stack;
    size_t bytes;
    void *shadow;            // what the address sanitizer keeps of a fiber that does not run
};

// A new stack, above a page that faults. `entry` never returns. NULL: no memory.
fiber *fiber_new(void (*entry)());
// Forget where it was left: the next switch to it begins `entry` anew.
void fiber_restart(fiber *f, void (*entry)());
// Leave `from`, which runs, and go on with `to`.
void fiber_switch(fiber *from, fiber *to);
// The first thing that an entry does; `from` is who switched to it first (its stack is then known).
void fiber_entered(fiber *from);

}  // namespace emulate
#endif
