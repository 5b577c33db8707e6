// trace.h: every launch written to files, for whoever wants to replay it. Inside the emulator only.
#ifndef EMULATE_TRACE_H
#define EMULATE_TRACE_H

#include "block.h"

namespace emulate {

// Before and after l has run: nothing unless the environment has ICD_CUDA_TRACE=DIR (trace.cpp says what is written).
void trace_before(const launch &l);
void trace_after(const launch &l);

}  // namespace emulate
#endif
