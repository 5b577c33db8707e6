/* conv_tensor_weights.cu: the gradient of a convolution's weights on tensor cores. */
#include "fast/cuda/conv_tensor.h"

namespace CUDA_SIDE {

enum : int { LOG_PIXELS = 5, PIXELS = 1 << LOG_PIXELS, BLOCKS = 4, AHEAD = 2, TAPS = 3 };

/* A split sums `per` tiles of pixels. */
struct weights_shape {
    fast_conv c;
    tile_shape tile;
    int n, blocks_in, blocks_out, in_tiles, splits, per, most;          /* most: splits that scratch is asked for */
    int whole;               /* 1: 3x3 stride 1, a patch serves all nine taps; 0: one tap a block, a patch is a tile */
    int crossed;             /* 1: a tile's rows in the order 0, 2, 1, 3 */
};

static inline __host__ __device__ int weights_words(const tile_shape &t) { return BLOCKS * (t.patch + PIXELS) * 16; }
static inline __host__ __device__ int place_words(const tile_shape &t) { return (t.patch + 2 * PIXELS + 3) / 4 * 4; }
/* TF32: three stages; BF16: two of floats, two rounded, of half the size. */
static inline size_t weights_shared(const tile_shape &t)
{
    return 4 * static_cast<size_t>(place_words(t) + 3 * weights_words(t));
}

/* Pixels lie in lines: 16 channels of one. A line's chunks of four channels (TF32, 16 bytes), or of eight (BF16), are exchanged
 * so that what a warp reads at once of four (eight) lines in a row lies in different banks. */
template <int KIND> static __device__ __forceinline__ int chunk_at(int line, int chunk)
{
    return KIND == BF16 ? line * 8 + (chunk ^ (line >> 2 & 1)) * 4 : line * 16 + (chunk ^ (line & 2)) * 4;
}

/* A warp's 32 x 32 channels += x (lines `in`) times gy (lines `out`) over 8 pixels (TF32) or 16 (BF16).
 * TF32: lane (g, t) reads four channels 4g.. of pixels t and t + 4, which are rows g and g + 8 of two tiles of A, or column g
 * of four tiles of B. BF16: ldmatrix transposes: 16 pixels x 16 channels at a time. */
template <int KIND> struct operand { uint32_t r[2][4]; };

template <int KIND> static __device__ __forceinline__ operand<KIND> read(const uint32_t *lines, int first, int second, int lane)
{
    const int line[2] = { first, second };
    operand<KIND> o;
    if constexpr (KIND == BF16) {
#pragma unroll
        for (int i = 0; i < 2; i++)
            ldmatrix_x4_trans(o.r[i], lines + chunk_at<KIND>(line[i], lane >> 3 & 1));
    } else {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint4 v = ld4(lines + chunk_at<KIND>(line[i], lane >> 2 & 3));
            o.r[i][0] = v.x, o.r[i][1] = v.y, o.r[i][2] = v.z, o.r[i][3] = v.w;
        }
    }
    return o;
}

template <int KIND>
static __device__ __forceinline__ void multiply(const operand<KIND> &in, const operand<KIND> &out, float (&sum)[2][4][4])
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if constexpr (KIND == BF16) {
                const uint32_t b[2] = { out.r[e / 2][e % 2], out.r[e / 2][e % 2 + 2] };
                mma_bf16(sum[i][e], in.r[i], b);
            } else {
                const uint32_t a[4] = { in.r[0][2 * i], in.r[0][2 * i + 1], in.r[1][2 * i], in.r[1][2 * i + 1] };
                const uint32_t b[2] = { out.r[0][e], out.r[1][e] };
                mma_tf32(sum[i][e], a, b);
            }
}

/* partial[split][tap][channel in][channel out] = sum over the split's tiles of 32 pixels of x under the tap times scale gy. A
 * block makes 64 channels in x 64 out of GROUPS x PER taps: four warps a group, each 32 x 32 of PER taps in registers. Shared
 * memory, `words`: places of pixels, shifts | stages of floats (TF32 three, BF16 two) | BF16: two rounded, of half the size
 *
 *   a stage: lines of 16 channels                               channels out  0..31  32..63
 *     +--------------------------+                            in  0..31     | warp 0 | warp 2 |   of taps (group, 0..PER-1):
 *     | x: 4 blocks x patch      | the tile and its halo         32..63     | warp 1 | warp 3 |   a row of the window
 *     +--------------------------+
 *     | gy: 4 blocks x 32 pixels | zeros beyond the tensor    A tap moves the base of x's lines alone; gy is read once.
 *     +--------------------------+
 *
 * step j: wait for stage j; each thread rounds what it copied (gy times scale), TF32 in place, BF16 into one of two buffers;
 * barrier; copy stage j + 2; multiply. Rows of images that are 4 wide are taken in the order 0, 2, 1, 3 where that keeps eight
 * lines in different banks. */
template <int KIND, int GROUPS, int PER>
static __global__ void __launch_bounds__(128 * GROUPS)
conv_tensor_weights(weights_shape g, const float *x, const float *gy, const float *scale, float *partial)
{
    constexpr int THREADS = 128 * GROUPS, K = KIND == BF16 ? 16 : 8, STAGES = KIND == BF16 ? AHEAD : AHEAD + 1;
    DYN_SHARED(uint32_t, words);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, patch = g.tile.patch;
    const int blocks_in = g.blocks_in, blocks_out = g.blocks_out;
    const int block_in = static_cast<int>(blockIdx.x) % g.in_tiles * BLOCKS;
    const int block_out = static_cast<int>(blockIdx.x) / g.in_tiles * BLOCKS;
    const int first_tap = static_cast<int>(blockIdx.y) * GROUPS * PER;
    const int begin = static_cast<int>(blockIdx.z) * g.per, end = min(begin + g.per, g.tile.tiles);
    const int stage_words = weights_words(g.tile), gy_line = BLOCKS * patch;
    uint32_t *places = words, *shifts = places + patch + PIXELS, *stages = words + place_words(g.tile);
    auto tile_pixel = [&](int m) {
        place p = pixel_of(g.tile, m);
        if (g.crossed)
            p.row = (p.row & ~3) | (p.row & 1) << 1 | (p.row >> 1 & 1);
        return p;
    };
    for (int p = thread; p < patch + PIXELS; p += THREADS)
        places[p] = p < patch ? patch_word(g.tile, p) : place_word(tile_pixel(p - patch));
    if (thread < PIXELS)
        shifts[thread] = static_cast<uint32_t>(in_patch(g.tile, tile_pixel(thread)));
    __syncthreads();

    const int step = g.whole ? 1 : g.c.s, tap_row = g.whole ? 0 : first_tap / g.c.k, tap_column = first_tap - tap_row * g.c.k;
    auto copy_stage = [&](int stage, int tile) {
        place first = tile_at(g.tile, tile);
#pragma unroll 1
        for (int id = thread; id < stage_words / 4; id += THREADS) {
            bool of_x = id < 4 * gy_line;
            int line = of_x ? id / 4 : id / 4 - gy_line;
            int block = of_x ? (line >= patch) + (line >= 2 * patch) + (line >= 3 * patch) : line / PIXELS;
            place p = word_place(places[of_x ? line - block * patch : patch + line % PIXELS]);
            block += of_x ? block_in : block_out;
            int image = first.image + p.image, row = first.row + p.row, column = first.column + p.column;
            if (of_x)
                row = row * step + tap_row - g.c.p, column = column * step + tap_column - g.c.p;
            int rows = of_x ? g.c.hi : g.c.ho, columns = of_x ? g.c.wi : g.c.wo, blocks = of_x ? blocks_in : blocks_out;
            bool inside = image < g.n && block < blocks && row >= 0 && row < rows && column >= 0 && column < columns;
            int64_t at = static_cast<int64_t>(image * blocks + block) * (rows * columns) + (row * columns + column);
            const float *from = of_x ? x : gy;
            int to = KIND == BF16 ? id * 4 : chunk_at<KIND>(id / 4, id % 4);
            cp_async<16>(stages + stage * stage_words + to, inside ? from + at * 16 + id % 4 * 4 : from, inside ? 16 : 0);
        }
    };
    uint32_t *rounded = stages + AHEAD * stage_words;
    auto round_stage = [&](int stage, int tile, int turn) {
        int first = tile_at(g.tile, tile).image;
#pragma unroll 1
        for (int id = thread; id < stage_words / 4; id += THREADS) {
            int line = id / 4, chunk = id % 4;
            int image = first + (line < gy_line ? 0 : word_place(places[patch + (line - gy_line) % PIXELS]).image);
            float by = scale && line >= gy_line && image < g.n ? scale[image] : 1.0f;
            uint32_t *from = stages + stage * stage_words + (KIND == BF16 ? id * 4 : chunk_at<KIND>(line, chunk));
            if (KIND == BF16)
                st2(rounded + turn * (stage_words / 2) + chunk_at<KIND>(line, chunk / 2) + chunk % 2 * 2,
                    bf16_of(ld4(from), by));
            else
                st4(from, tf32_of(ld4(from), by));
        }
    };

    /* The lane's lines of gy, and of x (at tap 0) but for what its pixel adds. TF32: two pixels, BF16: two blocks. */
    const int quarter_in = warp % 2 * 2, quarter_out = warp / 2 % 2 * 2, group = warp / 4;
    const int pixel = KIND == BF16 ? lane / 16 * 8 + lane % 8 : lane % 4, block = KIND == BF16 ? 0 : lane / 16;
    const int x_line = (quarter_in + block) * patch + group * g.tile.patch_columns, x_next = KIND == BF16 ? patch : 0;
    const int y_line = gy_line + (quarter_out + block) * PIXELS + pixel, y_next = KIND == BF16 ? PIXELS : 4;

    float sum[PER][2][4][4] = {};
    for (int i = 0; i < AHEAD; i++) {
        if (begin + i < end)
            copy_stage(i, begin + i);
        cp_async_commit();
    }
    int now = 0, next = AHEAD % STAGES;
    for (int tile = begin; tile < end; tile++) {
        int turn = (tile - begin) % 2;
        cp_async_wait<AHEAD - 1>();
        round_stage(now, tile, turn);
        __syncthreads();
        if (tile + AHEAD < end)
            copy_stage(next, tile + AHEAD);
        cp_async_commit();
        const uint32_t *lines = KIND == BF16 ? rounded + turn * (stage_words / 2) : stages + now * stage_words;
#pragma unroll 1
        for (int k = 0; k < PIXELS / K; k++) {
            const int at = x_line + static_cast<int>(shifts[k * K + pixel]);
            const int next_at = x_line + x_next + static_cast<int>(shifts[k * K + pixel + (KIND == BF16 ? 0 : 4)]);
            const operand<KIND> out = read<KIND>(lines, y_line + k * K, y_line + k * K + y_next, lane);
#pragma unroll
            for (int i = 0; i < PER; i++)
                multiply<KIND>(read<KIND>(lines, at + i, next_at + i, lane), out, sum[i]);
        }
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
    cp_async_wait<0>();

    /* Of tile (i, e) of 16 x 8 the lane holds rows g (h = 0) and g + 8, columns 2t and 2t + 1: see read() for the channels.
     * TF32: eight in a row, of which two lanes exchange halves, so that together they store 32 bytes. */
    const int width = blocks_out * 16, in = (block_in + quarter_in) * 16 + lane / 4 * (KIND == BF16 ? 1 : 4), odd = lane % 2;
    const int out = (block_out + quarter_out) * 16 + (KIND == BF16 ? lane % 4 * 2 : lane / 2 % 2 * 16 + odd * 4);
    const int64_t tap = static_cast<int64_t>(blockIdx.z) * (g.c.k * g.c.k) + first_tap + group * PER;
    float *to = partial + (tap * blocks_in * 16 + in) * width + out;
#pragma unroll
    for (int t = 0; t < PER; t++, to += blocks_in * 16 * width)
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int down = KIND == BF16 ? 16 * i + 8 * h : 2 * i + h;
                if (KIND == TF32)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        float &a = sum[t][i][e][2 * h], &b = sum[t][i][e][2 * h + 1];
                        float other = __shfl_xor_sync(0xffffffffu, odd ? a : b, 1);
                        (odd ? a : b) = other;
                    }
                if (in + down >= blocks_in * 16)
                    continue;
#pragma unroll
                for (int e = 0; e < (KIND == BF16 ? 4 : 2); e++) {
                    const int right = 8 * e;
                    const float(&s)[4][4] = sum[t][i];
                    if (out + right >= width)
                        continue;
                    if (KIND == BF16)
                        st2(to + down * width + right, make_float2(s[e][2 * h], s[e][2 * h + 1]));
                    else
                        st4(to + down * width + right,
                            make_float4(s[0][2 * h + e], s[1][2 * h + e], s[2][2 * h + e], s[3][2 * h + e]));
                }
            }
}

/* Splits enough for a large device's hundred-odd processors: the block of nine taps has one to itself, others share. To store
 * and add up a split's partial sums of nine taps takes an eleventh of a tile's time: so no more splits than where
 * splits * blocks of these and tiles / splits tiles together take least. */
static weights_shape shape_of(int n, const fast_conv &c)
{
    weights_shape g = {};
    g.c = c;
    g.n = n;
    g.whole = c.k == TAPS && c.s == 1;
    g.tile = tile_of(LOG_PIXELS, 3, n, c.ho, c.wo, TAPS, TAPS);
    g.whole = g.whole && weights_shared(g.tile) <= SHARED_MOST;         /* tiny images are mostly halo */
    if (!g.whole)
        g.tile = tile_of(LOG_PIXELS, 3, n, c.ho, c.wo, 1, 1);
    g.crossed = g.tile.log_columns == 2 && g.tile.log_rows >= 2 && g.tile.patch_columns % 8 != 4;
    g.blocks_in = fast_blocks(c.ci);
    g.blocks_out = fast_blocks(c.co);
    g.in_tiles = conv_tiles(g.blocks_in, BLOCKS);
    int blocks = g.in_tiles * conv_tiles(g.blocks_out, BLOCKS) * (g.whole ? 1 : c.k * c.k);
    int most = (g.whole ? 132 : 264) / blocks;
    while (g.whole && most > 1 && blocks * most * most > 11 * g.tile.tiles)
        most--;
    most = most < 1 ? 1 : most > g.tile.tiles ? g.tile.tiles : most;
    g.per = conv_tiles(g.tile.tiles, most);
    g.splits = conv_tiles(g.tile.tiles, g.per);
    g.most = most;
    return g;
}

/* Written out, so that every kernel is counted by its own name. */
#define LAUNCH_WEIGHTS(kind, groups, per)                                                                                   \
    do {                                                                                                                    \
        CHECKED(cudaFuncSetAttribute(conv_tensor_weights<kind, groups, per>, cudaFuncAttributeMaxDynamicSharedMemorySize,   \
                                     SHARED_MOST));                                                                         \
        LAUNCH((conv_tensor_weights<kind, groups, per>), grid, 128 * groups, bytes, CUDA_(stream), g, x, gy, scale, partial);\
    } while (0)

static void run_weights(const weights_shape &g, int kind, const float *x, const float *gy, const float *scale, float *partial)
{
    size_t bytes = weights_shared(g.tile);
    dim3 grid(static_cast<unsigned>(g.in_tiles * conv_tiles(g.blocks_out, BLOCKS)),
              static_cast<unsigned>(g.whole ? 1 : g.c.k * g.c.k), static_cast<unsigned>(g.splits));
    if (kind == BF16 && g.whole)
        LAUNCH_WEIGHTS(BF16, 3, 3);
    else if (kind == BF16)
        LAUNCH_WEIGHTS(BF16, 1, 1);
    else if (g.whole)
        LAUNCH_WEIGHTS(TF32, 3, 3);
    else
        LAUNCH_WEIGHTS(TF32, 1, 1);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

/* Never less for fewer images. */
size_t CUDA_(conv_tensor_bwd_w_scratch)(int n, const fast_conv *c)
{
    return static_cast<size_t>(shape_of(n, *c).most) * conv_partial(c) * sizeof(float);
}

void CUDA_(conv_tensor_bwd_w)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                              float *gw)
{
    weights_shape g = shape_of(n, *c);
    float *partial = static_cast<float *>(ctx->scratch);
    run_weights(g, c->bwd_w == FAST_CONV_BF16 ? BF16 : TF32, x, gy, scale, partial);
    CUDA_(conv_sum_splits)(c, g.splits, partial, gw);
}
