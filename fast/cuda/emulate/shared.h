// shared.h: the shared memory of the block that runs.
#ifndef EMULATE_SHARED_H
#define EMULATE_SHARED_H

#include <stddef.h>
#include <stdint.h>

namespace emulate {

// A variable that a kernel declares by SHARED: one static object for each instance of the kernel.
struct shared_variable {
    const char *name;
    size_t bytes;
    uint64_t launch;         // the launch that `offset` belongs to
    size_t offset;
};

// Where it lies, the same for every thread of the block. At its first use in a launch it gets its place.
void *shared_place(shared_variable *v);
// The dynamic shared memory of the launch.
void *shared_dynamic();

struct launch;
void shared_begin_launch(const launch &l);
void shared_begin_block();                       // fills all of it with NaN
size_t shared_used();                            // bytes, static and dynamic
// The largest dynamic shared memory that `function` may be launched with.
size_t shared_limit(const void *function);
void shared_allow(const void *function, size_t bytes);

}  // namespace emulate
#endif
