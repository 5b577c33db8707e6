// cuda.h: what a .cu file sees where no nvcc compiles it: CUDA's names, executed on the CPU. Included by fast/cuda/device.h.
#ifndef EMULATE_CUDA_H
#define EMULATE_CUDA_H

#include "intrinsics.h"
#include "runtime.h"
#include "shared.h"
#include "tensor.h"
#include "types.h"
#include "warp.h"

using namespace emulate;

#define threadIdx (emulate::thread_index())
#define blockIdx (emulate::block_index())
#define blockDim (emulate::block_size())
#define gridDim (emulate::grid_size())
#define warpSize 32

#ifdef EMULATE_CHECKED
#define EMULATE_IS_CHECKED true
#define FLOPS(n) emulate::count_flops(n)
#else
#define EMULATE_IS_CHECKED false
#define FLOPS(n) static_cast<void>(0)
#endif

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define LAUNCH(kernel, grid, block, bytes, stream, ...) \
    emulate::launch_as(#kernel, kernel, grid, block, bytes, stream, EMULATE_IS_CHECKED, emulate::here(), __VA_ARGS__)

#define SHARED(type, name, dims)                                                             \
    using name##_type = type dims;                                                           \
    static emulate::shared_variable name##_place = {#name, sizeof(name##_type), 0, 0};       \
    name##_type &name = *static_cast<name##_type *>(emulate::shared_place(&name##_place))

#define DYN_SHARED(type, name) type *const name = static_cast<type *>(emulate::shared_dynamic())

#endif
