// device.h: how one .cu source is compiled by nvcc for a device and by a C++ compiler to run on the CPU (emulate/).
//
// 1. Include this header and nothing of CUDA's. Everything else of the file lies in `namespace CUDA_SIDE { }`: the two builds
//    can be linked together, and a kernel's mangled name differs in that word alone.
// 2. Launch by LAUNCH(kernel, grid, block, shared bytes, stream, arguments...), which asks how it went. A template's name with
//    a comma goes in parentheses: LAUNCH((conv<64, 8>), ...). A kernel takes at least one argument.
// 3. Shared memory: SHARED(float, tile, [16][17]); at the top of the kernel, DYN_SHARED(float, name); for the dynamic part.
//    Both begin at a multiple of 16 bytes. More than 48 KiB: cudaFuncSetAttribute first, as CUDA wants it.
// 4. More than 4 bytes at once: ld2, ld4, st2, st4, never a cast pointer: so it is one access in both builds.
// 5. Inline PTX only here, behind a function that has its emulated twin in emulate/tensor.h. TF32, BF16 and cp.async need
//    sm_80; for sm_75 they compile to a trap, so that one fat binary holds all kernels. BF16 values are uint16_t.
// 6. Every barrier, vote and shuffle is the _sync kind, with its mask. Float atomics only where no result depends on the order.
// 7. Blocks do not wait for one another. The last block to arrive may read what all have written: __threadfence() before the
//    atomic counter, and __syncthreads() around it.
// 8. FLOPS(n): this thread does n fp32 operations here (an fmaf is 2), for the counts; nothing on the device.
// 9. Host code calls CUDA by its own names: the emulator has those of emulate/runtime.h. Every call is checked.
// 10. UNROLL before a loop whose bounds are constants. -ffp-contract=off and --fmad=false: write fmaf where one is meant.
#ifndef FAST_CUDA_DEVICE_H
#define FAST_CUDA_DEVICE_H

#ifndef __CUDACC__

#define CUDA_SIDE icd_emul
#include "fast/cuda/emulate/cuda.h"

#else

#include <cuda_runtime.h>
#include <stdint.h>

#define CUDA_SIDE icd_cuda
#define LAUNCH(kernel, grid, block, bytes, stream, ...) \
    (kernel<<<(grid), (block), (bytes), (stream)>>>(__VA_ARGS__), CUDA_SIDE::check(cudaGetLastError(), #kernel))
#define SHARED(type, name, dims) __shared__ __align__(16) type name dims
#define DYN_SHARED(type, name)                                   \
    extern __shared__ __align__(16) unsigned char dynamic_bytes[]; \
    type *const name = reinterpret_cast<type *>(dynamic_bytes)
#define FLOPS(n) static_cast<void>(0)
#define UNROLL _Pragma("unroll")

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define SM80(code) code
#else
#define SM80(code) __trap()
#endif

namespace icd_cuda {

void check(cudaError_t e, const char *call);     // keeps the first failure, and which call or kernel it was (device.cu)

#define INLINE __device__ __forceinline__

INLINE float2 ld2(const float *p) { return *reinterpret_cast<const float2 *>(p); }
INLINE float4 ld4(const float *p) { return *reinterpret_cast<const float4 *>(p); }
INLINE uint2 ld2(const uint32_t *p) { return *reinterpret_cast<const uint2 *>(p); }
INLINE uint4 ld4(const uint32_t *p) { return *reinterpret_cast<const uint4 *>(p); }
INLINE void st2(float *p, float2 v) { *reinterpret_cast<float2 *>(p) = v; }
INLINE void st4(float *p, float4 v) { *reinterpret_cast<float4 *>(p) = v; }
INLINE void st2(uint32_t *p, uint2 v) { *reinterpret_cast<uint2 *>(p) = v; }
INLINE void st4(uint32_t *p, uint4 v) { *reinterpret_cast<uint4 *>(p) = v; }

INLINE uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Begin to copy BYTES (4, 8 or 16) from global to shared memory: the first `given` of them, the rest 0. Both addresses are
// multiples of BYTES; with given = 0 `from` is not read.
template <int BYTES> INLINE void cp_async(void *to, const void *from, int given = BYTES)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    if (BYTES == 16)                             // past the first-level cache: what is copied is not read again from there
        SM80(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(given)
                          : "memory"));
    else
        SM80(asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared_address(to)), "l"(from), "r"(given),
                          "n"(BYTES == 16 ? 8 : BYTES) : "memory"));
}
// The copies begun since the last commit are a group. Wait until at most the KEEP last groups of this thread are under way.
INLINE void cp_async_commit() { SM80(asm volatile("cp.async.commit_group;" ::: "memory")); }
template <int KEEP> INLINE void cp_async_wait() { SM80(asm volatile("cp.async.wait_group %0;" ::"n"(KEEP) : "memory")); }

// Matrices of 8 x 8 16-bit values from shared memory, one to a register. Lane 8j + i gives the address of row i of matrix j (16
// bytes, aligned); lane l gets of each the values at row l/4, columns 2(l%4) (low half) and 2(l%4)+1; _trans: of its transpose.
INLINE void ldmatrix_x1(uint32_t r[1], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(shared_address(row)) : "memory");
}
INLINE void ldmatrix_x2(uint32_t r[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row)) : "memory");
}
INLINE void ldmatrix_x4(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
INLINE void ldmatrix_x1_trans(uint32_t r[1], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0])
                 : "r"(shared_address(row)) : "memory");
}
INLINE void ldmatrix_x2_trans(uint32_t r[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row)) : "memory");
}
INLINE void ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// D (16 x 8, fp32) += A B. Lane l holds d at rows g = l/4 (d[0], d[1]) and g + 8 (d[2], d[3]), columns 2t + (0, 1), t = l%4.
// A is 16 x 8: a[0] (g, t), a[1] (g+8, t), a[2] (g, t+4), a[3] (g+8, t+4); B is 8 x 8: b[0] (t, g), b[1] (t+4, g).
INLINE void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    SM80(asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}
// A is 16 x 16, pairs of columns: a[0] (g, 2t..), a[1] (g+8, 2t..), a[2] (g, 2t+8..), a[3] (g+8, 2t+8..); B is 16 x 8, pairs of
// rows: b[0] (2t.., g), b[1] (2t+8.., g). The first of a pair is the low half.
INLINE void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    SM80(asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

// To TF32, ties away from 0; to BF16, ties to even; a pair: `low` in the low half.
INLINE uint32_t tf32_round(float x)
{
    uint32_t r = 0;
    SM80(asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x)));
    return r;
}
INLINE uint32_t bf16_pair(float low, float high)
{
    uint32_t r = 0;
    SM80(asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)));
    return r;
}
INLINE uint16_t bf16_round(float x) { return static_cast<uint16_t>(bf16_pair(x, 0.0f)); }

#undef INLINE
#undef SM80

}  // namespace icd_cuda
#endif

namespace CUDA_SIDE {
// The value of a BF16.
__device__ __forceinline__ float bf16_float(uint16_t x) { return __uint_as_float(static_cast<uint32_t>(x) << 16); }
}
#endif
