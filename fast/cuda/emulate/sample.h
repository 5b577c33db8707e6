// sample.h: launches that are alike, and the few blocks of the first of them that stand for all. Inside the emulator only.
#ifndef EMULATE_SAMPLE_H
#define EMULATE_SAMPLE_H

#include <vector>

#include "block.h"

namespace emulate {

// The numbers of the blocks of l (of `blocks`) that are to run, ascending; none: a launch like it has run.
std::vector<uint64_t> sample_launch(const launch &l, uint64_t blocks);
// What the block that has just run did; and each of its accesses to global memory.
void sample_block_end(const emulate_counts &did);
void sample_access(bool store, uintptr_t at, size_t bytes);

}  // namespace emulate
#endif
