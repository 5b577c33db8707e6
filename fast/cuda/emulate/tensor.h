// tensor.h: asynchronous copies, matrix fragments and roundings, as fast/cuda/device.h describes them.
#ifndef EMULATE_TENSOR_H
#define EMULATE_TENSOR_H

#include "types.h"

namespace emulate {

void copy_async(void *to, const void *from, size_t bytes, size_t given, where at);
void copy_async_commit();
void copy_async_wait(unsigned keep);

template <int BYTES> inline void cp_async(void *to, const void *from, int given = BYTES, where at = here())
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    copy_async(to, from, BYTES, static_cast<size_t>(given), at);
}
inline void cp_async_commit() { copy_async_commit(); }
template <int KEEP> inline void cp_async_wait() { copy_async_wait(KEEP); }

// count matrices of 8 x 8 16-bit values; each lane gives the address of a row.
void load_matrices(uint32_t *to, const void *row, unsigned count, bool transposed, where at);

inline void ldmatrix_x1(uint32_t r[1], const void *row, where at = here()) { load_matrices(r, row, 1, false, at); }
inline void ldmatrix_x2(uint32_t r[2], const void *row, where at = here()) { load_matrices(r, row, 2, false, at); }
inline void ldmatrix_x4(uint32_t r[4], const void *row, where at = here()) { load_matrices(r, row, 4, false, at); }
inline void ldmatrix_x1_trans(uint32_t r[1], const void *row, where at = here()) { load_matrices(r, row, 1, true, at); }
inline void ldmatrix_x2_trans(uint32_t r[2], const void *row, where at = here()) { load_matrices(r, row, 2, true, at); }
inline void ldmatrix_x4_trans(uint32_t r[4], const void *row, where at = here()) { load_matrices(r, row, 4, true, at); }

void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2], where at = here());
void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], where at = here());

uint32_t tf32_round(float x);
uint16_t bf16_round(float x);
inline uint32_t bf16_pair(float low, float high)
{
    return bf16_round(low) | static_cast<uint32_t>(bf16_round(high)) << 16;
}

}  // namespace emulate
#endif
