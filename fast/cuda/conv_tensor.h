/* conv_tensor.h: what the convolutions on tensor cores share: tiles of pixels, and the roundings. */
#ifndef FAST_CUDA_CONV_TENSOR_H
#define FAST_CUDA_CONV_TENSOR_H

#include "fast/cuda/conv.h"

namespace CUDA_SIDE {

enum : int { TF32, BF16 };
enum : int { LOG_TALLEST = 6 };                  /* rows of a patch fit in 8 bits */
enum : int { SHARED_MOST = 96 * 1024 };          /* bytes of dynamic shared memory that every device from sm_80 on has */

/* `images` x 2^log_rows x 2^log_columns pixels of the output; the patch of the input under the taps that one copy serves. */
struct tile_shape {
    int log_rows, log_columns, images;
    int patch_rows, patch_columns, patch;        /* patch: pixels, of all images */
    conv_divisor down, across;                   /* tiles of an image */
    int tiles;                                   /* in all */
};

static inline int log2_above(int x)
{
    int l = 0;
    while (1 << l < x)
        l++;
    return l;
}

/* 2^log_pixels pixels, rows no longer than 2^log_widest; taps: those down and across that a patch serves. */
static inline tile_shape tile_of(int log_pixels, int log_widest, int n, int rows, int columns, int taps_down, int taps_across)
{
    tile_shape t = {};
    t.log_columns = log2_above(columns) < log_widest ? log2_above(columns) : log_widest;
    int room = log_pixels - t.log_columns;
    room = log2_above(rows) < room ? log2_above(rows) : room;
    t.log_rows = room < LOG_TALLEST ? room : LOG_TALLEST;
    t.images = 1 << (log_pixels - t.log_columns - t.log_rows);
    t.patch_rows = (1 << t.log_rows) + taps_down - 1;
    t.patch_columns = (1 << t.log_columns) + taps_across - 1;
    t.patch = t.images * t.patch_rows * t.patch_columns;
    int down = conv_tiles(rows, 1 << t.log_rows), across = conv_tiles(columns, 1 << t.log_columns);
    t.down = conv_divide_by(down > 0 ? down : 1);
    t.across = conv_divide_by(across > 0 ? across : 1);
    t.tiles = conv_tiles(n, t.images) * down * across;
    return t;
}

/* A pixel of a tile or of its patch: image, row, column. Tile number `tile`'s first: the same of the whole tensor. */
struct place { int image, row, column; };

static __device__ __forceinline__ place tile_at(const tile_shape &t, int tile)
{
    int above = conv_quotient(tile, t.across), group = conv_quotient(above, t.down);
    return place{ group * t.images, (above - group * static_cast<int>(t.down.d)) << t.log_rows,
                  (tile - above * static_cast<int>(t.across.d)) << t.log_columns };
}

/* Pixel m of a tile, row by row, image by image. */
static __device__ __forceinline__ place pixel_of(const tile_shape &t, int m)
{
    int row = m >> t.log_columns;
    return place{ row >> t.log_rows, row & ((1 << t.log_rows) - 1), m & ((1 << t.log_columns) - 1) };
}

static __device__ __forceinline__ int in_patch(const tile_shape &t, place p)
{
    return (p.image * t.patch_rows + p.row) * t.patch_columns + p.column;
}

/* Places in a word, so that nothing is divided while the kernel copies. */
static __device__ __forceinline__ uint32_t place_word(place p)
{
    return static_cast<uint32_t>(p.image << 16 | p.row << 8 | p.column);
}
static __device__ __forceinline__ place word_place(uint32_t w)
{
    return place{ static_cast<int>(w >> 16), static_cast<int>(w >> 8 & 255), static_cast<int>(w & 255) };
}
static __device__ __forceinline__ uint32_t patch_word(const tile_shape &t, int p)
{
    int image = p / (t.patch_rows * t.patch_columns), rest = p - image * t.patch_rows * t.patch_columns;
    return place_word(place{ image, rest / t.patch_columns, rest % t.patch_columns });
}

static __device__ __forceinline__ uint4 tf32_of(uint4 v, float by)
{
    return make_uint4(tf32_round(by * __uint_as_float(v.x)), tf32_round(by * __uint_as_float(v.y)),
                      tf32_round(by * __uint_as_float(v.z)), tf32_round(by * __uint_as_float(v.w)));
}
static __device__ __forceinline__ uint2 bf16_of(uint4 v, float by)
{
    return make_uint2(bf16_pair(by * __uint_as_float(v.x), by * __uint_as_float(v.y)),
                      bf16_pair(by * __uint_as_float(v.z), by * __uint_as_float(v.w)));
}

}  // namespace CUDA_SIDE
#endif
