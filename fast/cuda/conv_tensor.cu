/* conv_tensor.cu: convolutions of blocked images on tensor cores, forward and backward to the input: implicit GEMM. */
#include "fast/cuda/conv_tensor.h"

namespace CUDA_SIDE {

enum : int { THREADS = 128, STAGES = 4, CHANNELS = 64, PACK_TAPS = 9 };
enum : int { SMALL = 6, MIDDLE, LARGE };          /* tiles of 2^6, 2^7, 2^8 pixels */

/* Words of 16 x 16 weights in the order of fragments, and of 16 rounded channels of a pixel. */
template <int KIND> __host__ __device__ constexpr int unit_words() { return KIND == BF16 ? 128 : 256; }
template <int KIND> __host__ __device__ constexpr int pixel_words() { return KIND == BF16 ? 8 : 16; }

/* One phase of a map: see conv_axis. */
struct map_shape {
    conv_map m;
    conv_axis rows, columns;
    tile_shape tile;
    int blocks_in, blocks_out, channel_tiles, steps;
    int whole;               /* 1: a patch serves all taps; 0: it is copied for each */
    int rounds;              /* copies of 16 bytes by each thread a step, where a patch serves all */
};

/* Patches that are copied ahead, and that lie in shared memory: TF32 is rounded in place. */
static inline __host__ __device__ int patches_ahead(int whole) { return whole ? 1 : STAGES - 1; }
static inline __host__ __device__ int patches_kept(int kind, int whole) { return patches_ahead(whole) + (kind == TF32); }

static inline size_t map_shared(int kind, int whole, int patch)
{
    int64_t fixed = (patch + 3) / 4 * 4 + STAGES * 4 * (kind == BF16 ? 128 : 256);
    int64_t pixel = 16 * patches_kept(kind, whole) + (kind == BF16 ? 2 * 8 : 0);
    return static_cast<size_t>(4 * (fixed + pixel * patch));
}

/* ---- weights: [block in][tap][block out][unit]. Lane l of a warp reads B of mma.sync as 16 bytes, g = l/4, t = l%4: channels
 * 4t..4t+3 in (k of an mma is any order that A has too), channel 4(g/2) + 2e + g%2 out, of tile e of the two of 8: so a lane's
 * results are four channels in a row. TF32: [e][lane][channel in]; BF16: [lane][e][pair of channels in]. ---- */

/* A block packs 16 x 16 channels, 9 taps at a time: w (co,ci,k,k) is read along its rows into shared memory, and written as
 * units in order. 256 threads; a barrier before and after the writing, no pipeline: it runs once for each set of weights.
 *
 *    w: o, i, tap   -->   room[o * width + i * taps + tap], 9 KiB   -->   packed: tap, word of the unit, rounded */
template <int KIND>
static __global__ void __launch_bounds__(256) conv_tensor_pack(conv_map m, int blocks_out, const float *w, uint32_t *packed)
{
    SHARED(float, room, [16 * (16 * PACK_TAPS + 2)]);
    const int thread = static_cast<int>(threadIdx.x), taps = m.k * m.k;
    const int block_in = static_cast<int>(blockIdx.x) / blocks_out, block_out = static_cast<int>(blockIdx.x) % blocks_out;
    const int rows = m.backward ? m.cs : m.cd, columns = m.backward ? m.cd : m.cs;
    const int width = 16 * PACK_TAPS + 2 * m.backward;       /* neighbours in and out then lie in different banks */
    const int row = (m.backward ? block_in : block_out) * 16, column = (m.backward ? block_out : block_in) * 16;
    for (int first = 0; first < taps; first += PACK_TAPS) {
        const int count = min(taps - first, static_cast<int>(PACK_TAPS));
        for (int id = thread; id < 256 * count; id += 256) {
            int o = id / (16 * count), i = id % (16 * count) / count, tap = id % count;
            bool inside = row + o < rows && column + i < columns;
            int64_t at = (static_cast<int64_t>(row + o) * columns + column + i) * taps + first + tap;
            room[o * width + i * count + tap] = inside ? w[at] : 0.0f;
        }
        __syncthreads();
        for (int id = thread; id < unit_words<KIND>() * count; id += 256) {
            int tap = id / unit_words<KIND>(), rest = id % unit_words<KIND>(), g = rest / 16 % 8, t = rest / 4 % 4;
            int e = KIND == BF16 ? rest % 4 / 2 : rest / 128, in = 4 * t + (KIND == BF16 ? rest % 2 * 2 : rest % 4);
            int out = g / 2 * 4 + 2 * e + g % 2;
            auto weight = [&](int c) { return room[(m.backward ? c * width + out * count : out * width + c * count) + tap]; };
            int64_t unit = (static_cast<int64_t>(block_in) * taps + first + tap) * blocks_out + block_out;
            packed[unit * unit_words<KIND>() + rest] =
                KIND == BF16 ? bf16_pair(weight(in), weight(in + 1)) : tf32_round(weight(in));
        }
        __syncthreads();
    }
}

/* ---- the map ---- */

/* A warp's ROWS x 16 pixels x 16 channels in times 16 UNITS channels out. Of each 16 pixels a lane reads its four channels of
 * pixels g and g + 8: TF32: A of two mma of k = 8; BF16: of one of k = 16. */
template <int KIND, int ROWS, int UNITS>
static __device__ __forceinline__ void multiply(const uint32_t *pixels, const int (&at)[ROWS][2], const uint32_t *weights,
                                                float (&sum)[ROWS][2 * UNITS][4])
{
    constexpr int HALVES = KIND == BF16 ? 1 : 2;
    uint32_t a[ROWS][HALVES][4];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        if constexpr (KIND == BF16) {
            uint2 upper = ld2(pixels + at[i][0]), lower = ld2(pixels + at[i][1]);
            a[i][0][0] = upper.x, a[i][0][1] = lower.x, a[i][0][2] = upper.y, a[i][0][3] = lower.y;
        } else {
            uint4 upper = ld4(pixels + at[i][0]), lower = ld4(pixels + at[i][1]);
            a[i][0][0] = upper.x, a[i][0][1] = lower.x, a[i][0][2] = upper.y, a[i][0][3] = lower.y;
            a[i][1][0] = upper.z, a[i][1][1] = lower.z, a[i][1][2] = upper.w, a[i][1][3] = lower.w;
        }
#pragma unroll
    for (int q = 0; q < UNITS * HALVES; q++) {   /* 16 bytes of weights: BF16: two tiles of 8 channels out; TF32: one */
        uint4 w = ld4(weights + q * 128);
        const uint32_t b[2][2] = { { w.x, w.y }, { w.z, w.w } };
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                if constexpr (KIND == BF16)
                    mma_bf16(sum[i][2 * q + e], a[i][0], b[e]);
                else
                    mma_tf32(sum[i][q], a[i][e], b[e]);
    }
}

/* dst = map(src) + bias + add. A block makes 64 ROWS/ACROSS pixels x 64 channels: 4/ACROSS warps down, ACROSS across, each
 * 16 ROWS pixels x 64/ACROSS channels in registers. A step multiplies 16 channels of src under one tap. Shared memory, `words`,
 * up to 96 KiB:   places of the patch's pixels | weights, 4 stages | patches, fp32 | BF16: two rounded patches
 *
 *   patch: the tile's pixels and their halo, 16 channels,       weights: 64 channels, one tap: a ring of four
 *   copied once for all taps, a part a step, while the one
 *   before is multiplied                                          step j   +-------+
 *      +------------------+                                     wait j      | j     | multiplied
 *      |  +------------+  |  pixel p, channel c at word           round     | j + 1 | \
 *      |  | tile       |  |  p*16 + c (TF32), rounded in          barrier   | j + 2 |  > under way
 *      |  |            |  |  place by the thread that copied      copy j+3  | j + 3 | /
 *      |  +------------+  |  it; p*8 + c/2 (BF16), from fp32      multiply  +-------+
 *      +------------------+
 *
 * A tap moves the patch's base alone. Lanes 4g + t read channels 4t.. of pixels g: 8 lanes (TF32) 128 bytes in a row, or two
 * rows of 64 in different halves of the banks; 16 lanes (BF16) four times 32 bytes: no conflict where tiles are 4 wide or more.
 * Strided maps and windows whose patch is too large copy the tile's pixels for each tap, three steps ahead. */
template <int KIND, int ROWS, int ACROSS>
static __global__ void __launch_bounds__(THREADS, ROWS == 4 ? 2 : 3)
conv_tensor_map(map_shape g, const float *src, const uint32_t *packed, const float *bias, const float *add, float *dst)
{
    constexpr int UNITS = 4 / ACROSS, UNIT = unit_words<KIND>(), PIXEL = pixel_words<KIND>();
    DYN_SHARED(uint32_t, words);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, patch = g.tile.patch;
    const int blocks_in = g.blocks_in, blocks_out = g.blocks_out;
    const int block_out = static_cast<int>(blockIdx.x) % g.channel_tiles * 4;
    const place first = tile_at(g.tile, static_cast<int>(blockIdx.x) / g.channel_tiles);
    uint32_t *places = words, *weights = words + (patch + 3) / 4 * 4, *patches = weights + STAGES * 4 * UNIT;
    uint32_t *rounded = KIND == BF16 ? patches + patches_kept(KIND, g.whole) * patch * 16 : patches;
    for (int p = thread; p < patch; p += THREADS)
        places[p] = patch_word(g.tile, p);
    __syncthreads();

    const int corner_row = g.rows.from + g.rows.from_step * first.row - (g.whole && g.rows.from_tap < 0 ? g.rows.taps - 1 : 0);
    const int corner_column = g.columns.from + g.columns.from_step * first.column
                              - (g.whole && g.columns.from_tap < 0 ? g.columns.taps - 1 : 0);
    auto copy_pixels = [&](int buffer, int block, int a, int b, int round, int rounds) {
        for (int id = thread + THREADS * round; id < 4 * patch && rounds > 0; id += THREADS, rounds--) {
            place p = word_place(places[id / 4]);
            int image = first.image + p.image, row = corner_row + g.rows.from_step * p.row + g.rows.from_tap * a;
            int column = corner_column + g.columns.from_step * p.column + g.columns.from_tap * b;
            bool inside = image < g.m.n && row >= 0 && row < g.m.hs && column >= 0 && column < g.m.ws;
            int64_t at = static_cast<int64_t>(image * blocks_in + block) * (g.m.hs * g.m.ws) + (row * g.m.ws + column);
            cp_async<16>(patches + buffer * patch * 16 + id * 4, inside ? src + at * 16 + id % 4 * 4 : src, inside ? 16 : 0);
        }
    };
    auto copy_weights = [&](int stage, int block, int a, int b) {
        int tap = (g.rows.first + g.rows.step * a) * g.m.k + g.columns.first + g.columns.step * b;
        int64_t unit = (static_cast<int64_t>(block) * (g.m.k * g.m.k) + tap) * blocks_out + block_out;
#pragma unroll
        for (int i = 0; i < UNIT / THREADS; i++) {
            int id = thread + THREADS * i;
            bool inside = block_out + id / (UNIT / 4) < blocks_out;
            cp_async<16>(weights + stage * 4 * UNIT + id * 4, inside ? packed + unit * UNIT + id * 4 : packed, inside ? 16 : 0);
        }
    };
    auto round_pixels = [&](int buffer, int turn) {
        for (int id = thread; id < 4 * patch; id += THREADS) {
            uint32_t *from = patches + buffer * patch * 16 + id * 4;
            if (KIND == BF16)
                st2(rounded + turn * patch * 8 + id * 2, bf16_of(ld4(from), 1));
            else
                st4(from, tf32_of(ld4(from), 1));
        }
    };

    struct { int step, block, a, b, buffer; } next = {}, now = {};
    auto advance = [&](auto &c) {
        c.step++;
        if (++c.b == g.columns.taps) {
            c.b = 0;
            if (++c.a == g.rows.taps)
                c.a = 0, c.block++;
        }
    };
    const int kept = patches_kept(KIND, g.whole);
    auto copy_step = [&] {
        if (next.step < g.steps) {
            copy_weights(next.step % STAGES, next.block, next.a, next.b);
            if (!g.whole) {
                copy_pixels(next.buffer, next.block, next.a, next.b, 0, patch);
                next.buffer = next.buffer + 1 == kept ? 0 : next.buffer + 1;
            }
            advance(next);
        }
    };
    if (g.whole)
        copy_pixels(0, 0, 0, 0, 0, patch);
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        copy_step();
        cp_async_commit();
    }

    int at[ROWS][2];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            at[i][h] = in_patch(g.tile, pixel_of(g.tile, warp / ACROSS * 16 * ROWS + 16 * i + 8 * h + lane / 4)) * PIXEL
                       + lane % 4 * (PIXEL / 4);
    float sum[ROWS][2 * UNITS][4];
#pragma unroll
    for (int j = 0; j < 4 * UNITS; j++) {        /* see the end for the channels */
        int o = (block_out + warp % ACROSS * UNITS + j / 4) * 16 + lane % 4 * 4 + j % 4;
        float from = bias && o < g.m.cd ? bias[o] : 0.0f;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            sum[i][j / 2][j % 2] = sum[i][j / 2][j % 2 + 2] = from;
    }
    int turn = 1, taken = 0;                     /* of the two rounded patches (BF16); steps since the patch was new */
    while (now.step < g.steps) {
        cp_async_wait<STAGES - 2>();
        if (taken == 0) {
            turn ^= 1;
            round_pixels(now.buffer, turn);
        }
        __syncthreads();
        copy_step();
        int after = now.buffer + 1 == kept ? 0 : now.buffer + 1;
        if (g.whole && now.block + 1 < blocks_in)
            copy_pixels(after, now.block + 1, 0, 0, taken * g.rounds, g.rounds);
        cp_async_commit();
        int down = g.rows.from_tap < 0 ? g.rows.taps - 1 - now.a : now.a;
        int right = g.columns.from_tap < 0 ? g.columns.taps - 1 - now.b : now.b;
        const uint32_t *pixels = KIND == BF16 ? rounded + turn * patch * 8 : patches + now.buffer * patch * 16;
        multiply<KIND, ROWS, UNITS>(pixels + (g.whole ? (down * g.tile.patch_columns + right) * PIXEL : 0), at,
                                    weights + (now.step % STAGES * 4 + warp % ACROSS * UNITS) * UNIT + lane * 4, sum);
        advance(now);
        taken = !g.whole || (now.a == 0 && now.b == 0) ? 0 : taken + 1;
        now.buffer = taken == 0 ? after : now.buffer;
    }
    cp_async_wait<0>();

#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            place p = pixel_of(g.tile, warp / ACROSS * 16 * ROWS + 16 * i + 8 * h + lane / 4);
            int image = first.image + p.image, row = first.row + p.row, column = first.column + p.column;
            if (image >= g.m.n || row >= g.rows.count || column >= g.columns.count)
                continue;
            int to = (g.rows.to + g.rows.to_step * row) * g.m.wd + g.columns.to + g.columns.to_step * column;
#pragma unroll
            for (int u = 0; u < UNITS; u++) {
                int block = block_out + warp % ACROSS * UNITS + u, o = block * 16 + lane % 4 * 4;
                if (block >= blocks_out)
                    continue;
                int64_t d = (static_cast<int64_t>(image * blocks_out + block) * (g.m.hd * g.m.wd) + to) * 16 + lane % 4 * 4;
                const float *s = sum[i][2 * u] + 2 * h, *z = sum[i][2 * u + 1] + 2 * h;
                const float v[4] = { s[0], s[1], z[0], z[1] };
                st4(dst + d, conv_finish(v, o, g.m.cd, nullptr, add ? add + d : nullptr));
            }
        }
}

/* ---- how a map is cut ---- */

static map_shape shape_of(const conv_map &m, int kind, int log_pixels, int phase_down, int phase_across)
{
    map_shape g = {};
    g.m = m;
    g.rows = conv_axis_of(m, m.hd, phase_down);
    g.columns = conv_axis_of(m, m.wd, phase_across);
    g.blocks_in = fast_blocks(m.cs);
    g.blocks_out = fast_blocks(m.cd);
    g.channel_tiles = conv_tiles(g.blocks_out, 4);
    int taps = g.rows.taps * g.columns.taps;
    g.steps = g.blocks_in * taps;
    g.tile = tile_of(log_pixels, 4, m.n, g.rows.count, g.columns.count, g.rows.taps, g.columns.taps);
    g.whole = taps >= STAGES - 1 && g.rows.from_step == 1 && map_shared(kind, 1, g.tile.patch) <= SHARED_MOST;
    if (g.whole)
        g.rounds = conv_tiles(4 * g.tile.patch, THREADS * (taps - STAGES + 2));
    else
        g.tile = tile_of(log_pixels, 4, m.n, g.rows.count, g.columns.count, 1, 1);
    return g;
}

/* The largest tile of which there are enough for the hundred-odd processors of a large device. Sums are in the same order. */
static int tile_for(const conv_map &m, int kind)
{
    auto blocks = [&](int log_pixels) {
        map_shape g = shape_of(m, kind, log_pixels, 0, 0);
        return g.tile.tiles * g.channel_tiles;
    };
    return blocks(LARGE) >= 216 ? LARGE : blocks(MIDDLE) >= 100 ? MIDDLE : SMALL;
}

/* Written out, so that every kernel is counted by its own name. */
#define LAUNCH_MAP(kind, rows, across)                                                                                      \
    do {                                                                                                                    \
        CHECKED(cudaFuncSetAttribute(conv_tensor_map<kind, rows, across>, cudaFuncAttributeMaxDynamicSharedMemorySize,      \
                                     SHARED_MOST));                                                                         \
        LAUNCH((conv_tensor_map<kind, rows, across>), blocks, THREADS, bytes, CUDA_(stream), g, src, packed, bias, add, dst);\
    } while (0)

static void run_map(const map_shape &g, int kind, int log_pixels, const float *src, const uint32_t *packed, const float *bias,
                    const float *add, float *dst)
{
    unsigned blocks = static_cast<unsigned>(g.tile.tiles * g.channel_tiles);
    size_t bytes = map_shared(kind, g.whole, g.tile.patch);
    if (kind == BF16)
        switch (log_pixels) {
        case LARGE:  LAUNCH_MAP(BF16, 4, 1); break;
        case MIDDLE: LAUNCH_MAP(BF16, 2, 1); break;
        default:     LAUNCH_MAP(BF16, 2, 2); break;
        }
    else
        switch (log_pixels) {
        case LARGE:  LAUNCH_MAP(TF32, 4, 1); break;
        case MIDDLE: LAUNCH_MAP(TF32, 2, 1); break;
        default:     LAUNCH_MAP(TF32, 2, 2); break;
        }
}

static int kind_of(fast_conv_algorithm a) { return a == FAST_CONV_BF16 ? BF16 : TF32; }

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

size_t CUDA_(conv_tensor_packed)(const conv_map *m, fast_conv_algorithm a)
{
    size_t unit = static_cast<size_t>(kind_of(a) == BF16 ? unit_words<BF16>() : unit_words<TF32>());
    return static_cast<size_t>(fast_blocks(m->cs) * m->k * m->k) * static_cast<size_t>(fast_blocks(m->cd)) * unit;
}

void CUDA_(conv_tensor_pack)(const conv_map *m, fast_conv_algorithm a, const float *w, float *packed)
{
    uint32_t *to = reinterpret_cast<uint32_t *>(packed);
    int blocks_out = fast_blocks(m->cd);
    unsigned blocks = static_cast<unsigned>(fast_blocks(m->cs) * blocks_out);
    if (kind_of(a) == BF16)
        LAUNCH(conv_tensor_pack<BF16>, blocks, 256, 0, CUDA_(stream), *m, blocks_out, w, to);
    else
        LAUNCH(conv_tensor_pack<TF32>, blocks, 256, 0, CUDA_(stream), *m, blocks_out, w, to);
}

void CUDA_(conv_tensor_run)(const conv_map *m, fast_conv_algorithm a, const float *src, const float *packed, const float *bias,
                            const float *add, float *dst)
{
    int kind = kind_of(a), log_pixels = tile_for(*m, kind), phases = conv_phases(*m);
    for (int i = 0; i < phases * phases; i++) {
        map_shape g = shape_of(*m, kind, log_pixels, i / phases, i % phases);
        if (g.tile.tiles > 0)
            run_map(g, kind, log_pixels, src, reinterpret_cast<const uint32_t *>(packed), bias, add, dst);
    }
}
