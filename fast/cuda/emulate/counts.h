// counts.h: what the launches of each kernel have done. Inside the emulator only.
#ifndef EMULATE_COUNTS_H
#define EMULATE_COUNTS_H

#include "block.h"

namespace emulate {

void count_launch(const launch &l);
void count_block();
void count_block_end();
void count_end();                                // of the launch
void count_barrier();
void count_warp_op(uint64_t tensor_flops);
// bytes 0: this lane passes its turn at pc.
void count_access(bool shared, bool atomic, bool store, uintptr_t at, size_t bytes, uintptr_t pc);
// t waits or has ended: once all lanes of its warp do, their accesses since the last time are put together.
void count_waiting(const thread *t);

}  // namespace emulate
#endif
