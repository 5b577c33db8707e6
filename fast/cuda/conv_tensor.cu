/* conv_tensor.cu: convolutions of blocked images on tensor cores, forward and backward to the input: implicit GEMM. */
#include "fast/cuda/conv_tensor.h"

namespace CUDA_SIDE {

enum : int { THREADS = 128, STAGES = 3, ROWS = 4, PACK_TAPS = 9 };
enum : uint32_t { NOWHERE = ~0u };               /* a pixel of the patch that is not in src */

/* Words of 16 x 16 weights in the order of fragments, and of 16 rounded channels of a pixel. */
template <int KIND> __host__ __device__ constexpr int unit_words() { return KIND == BF16 ? 128 : 256; }
template <int KIND> __host__ __device__ constexpr int pixel_words() { return KIND == BF16 ? 8 : 16; }

/* What a block makes: 256/parts pixels x 16 units channels; its four warps are 4/parts down x parts of the sum. */
struct cut { int units, parts; };

/* One phase of a map: see conv_axis. */
struct map_shape {
    conv_map m;
    conv_axis rows, columns;
    cut c;
    tile_shape tile;
    int blocks_in, blocks_out, channel_tiles;
    int taps, products;      /* of a block of channels in, of all: each 16 channels under one tap */
    int whole;               /* 1: a patch serves all taps; 0: it is copied for each */
    int rounds;              /* copies of 16 bytes by each thread a step, where a patch serves all */
};

/* Patches that lie in shared memory: as they are copied, and rounded. */
static inline __host__ __device__ int patches_copied(int whole, int parts) { return whole ? 1 : (STAGES - 1) * parts; }
static inline __host__ __device__ int patches_rounded(int whole, int parts) { return whole ? 2 : 2 * parts; }

static inline size_t map_shared(int kind, const map_shape &g)
{
    const int unit = kind == BF16 ? unit_words<BF16>() : unit_words<TF32>(), pixel = kind == BF16 ? 8 : 16, parts = g.c.parts;
    int patches = 16 * patches_copied(g.whole, parts) + pixel * patches_rounded(g.whole, parts);
    int64_t used = STAGES * parts * g.c.units * unit + static_cast<int64_t>(patches) * g.tile.patch;
    int64_t sums = (parts - 1) * ROWS * (4 / parts) * 2 * g.c.units * 128;       /* see add_parts */
    return static_cast<size_t>(4 * ((g.tile.patch + 3) / 4 * 4 + (used > sums ? used : sums)));
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

/* A warp's 64 pixels x 16 channels in times 16 UNITS channels out. Of each 16 pixels a lane reads its four channels of
 * pixels g and g + 8: TF32: A of two mma of k = 8; BF16: of one of k = 16. */
template <int KIND, int UNITS>
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

/* Each warp has a part of the sum for its 64 pixels, and finishes ROWS/PARTS of their ROWS rows of 16: it adds the other
 * parts' to its own, which they leave in shared memory as [64 pixels][row][part but the finisher's][tile][lane]. */
template <int UNITS, int PARTS>
static __device__ __forceinline__ void add_parts(float *room, int part, int lane, float (&sum)[ROWS][2 * UNITS][4])
{
    auto of = [&](int row, int after, int tile) {
        return room + (((row * (PARTS - 1) + after) * 2 * UNITS + tile) * 32 + lane) * 4;
    };
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        if (i / (ROWS / PARTS) != part)
#pragma unroll
            for (int j = 0; j < 2 * UNITS; j++) {
                const float *s = sum[i][j];
                st4(of(i, (part - i / (ROWS / PARTS) + PARTS) % PARTS - 1, j), make_float4(s[0], s[1], s[2], s[3]));
            }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        if (i / (ROWS / PARTS) == part)
#pragma unroll
            for (int j = 0; j < 2 * UNITS; j++)
#pragma unroll
                for (int after = 0; after < PARTS - 1; after++) {
                    float4 v = ld4(of(i, after, j));
                    sum[i][j][0] += v.x, sum[i][j][1] += v.y, sum[i][j][2] += v.z, sum[i][j][3] += v.w;
                }
}

/* dst = map(src) + bias + add. A block makes 256/PARTS pixels x 16 UNITS channels, a warp 64 pixels and all of the channels in
 * registers, so that what it reads serves often: 4/PARTS warps down, and PARTS that share the sum. A product is 16 channels of
 * src under one tap; PARTS in a row are a step, one for each part. Shared memory, `words`, up to 96 KiB:
 *   places of the patch's pixels | weights, 3 stages | the patch that is copied, fp32 | two rounded patches
 *
 *   patch: the tile's pixels and their halo, 16 channels,       weights: PARTS products: a ring of three
 *   copied once for all taps while the one before is
 *   multiplied, rounded when it is there                          step j   +-------+
 *      +------------------+                                     wait j      | j     | multiplied
 *      |  +------------+  |  pixel p, channel c of a rounded      round     | j + 1 | \ under way
 *      |  | tile       |  |  patch at word p*16 + c (TF32),       barrier   | j + 2 | /
 *      |  |            |  |  p*8 + c/2 (BF16), by the thread    copy j+2  +-------+
 *      |  +------------+  |  that copied it; what lies outside    multiply
 *      +------------------+  src is 0 from the beginning
 *
 * A tap moves the patch's base alone. Lanes 4g + t read channels 4t.. of pixels g: 8 lanes (TF32) 128 bytes in a row, or two
 * rows of 64 in different halves of the banks; 16 lanes (BF16) four times 32 bytes: no conflict where tiles are 4 wide or more.
 * Strided maps and windows whose patch is too large copy the tile's pixels for each product, two steps ahead. */
template <int KIND, int UNITS, int PARTS>
static __global__ void __launch_bounds__(THREADS, UNITS == 4 ? 2 : 5 - UNITS)
conv_tensor_map(map_shape g, const float *src, const uint32_t *packed, const float *bias, const float *add, float *dst)
{
    constexpr int UNIT = unit_words<KIND>(), PIXEL = pixel_words<KIND>(), STAGE = PARTS * UNITS * UNIT;
    constexpr int CHUNKS = UNITS * UNIT / 4;     /* of 16 bytes, of a product's weights */
    DYN_SHARED(uint32_t, words);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, patch = g.tile.patch;
    const int part = thread / 32 % PARTS, down = thread / 32 / PARTS;
    const int blocks_in = g.blocks_in, blocks_out = g.blocks_out;
    const int block_out = static_cast<int>(blockIdx.x) % g.channel_tiles * UNITS;
    const place first = tile_at(g.tile, static_cast<int>(blockIdx.x) / g.channel_tiles);
    uint32_t *places = words, *weights = words + (patch + 3) / 4 * 4, *copied = weights + STAGES * STAGE;
    uint32_t *rounded = copied + patches_copied(g.whole, PARTS) * patch * 16;

    const int corner_row = g.rows.from + g.rows.from_step * first.row - (g.whole && g.rows.from_tap < 0 ? g.rows.taps - 1 : 0);
    const int corner_column = g.columns.from + g.columns.from_step * first.column
                              - (g.whole && g.columns.from_tap < 0 ? g.columns.taps - 1 : 0);
    auto within = [&](int image, int row, int column) {
        return image < g.m.n && row >= 0 && row < g.m.hs && column >= 0 && column < g.m.ws;
    };
    for (int p = thread; p < patch; p += THREADS) {
        const uint32_t word = patch_word(g.tile, p);
        place at = word_place(word);
        bool inside = within(first.image + at.image, corner_row + at.row, corner_column + at.column);
        places[p] = inside || !g.whole ? word : NOWHERE;
    }
    for (int id = thread; g.whole && id < patch * PIXEL / 2; id += THREADS)
        st4(rounded + id * 4, make_uint4(0, 0, 0, 0));
    __syncthreads();

    auto copy_pixels = [&](int slot, int block, int a, int b, int round, int rounds) {
        for (int id = thread + THREADS * round; id < 4 * patch && rounds > 0; id += THREADS, rounds--) {
            const uint32_t word = places[id / 4];
            if (word == NOWHERE)
                continue;
            place p = word_place(word);
            int image = first.image + p.image, row = corner_row + g.rows.from_step * p.row + g.rows.from_tap * a;
            int column = corner_column + g.columns.from_step * p.column + g.columns.from_tap * b;
            bool inside = within(image, row, column);
            int64_t at = static_cast<int64_t>(image * blocks_in + block) * (g.m.hs * g.m.ws) + (row * g.m.ws + column);
            cp_async<16>(copied + slot * patch * 16 + id * 4, inside ? src + at * 16 + id % 4 * 4 : src, inside ? 16 : 0);
        }
    };
    auto copy_weights = [&](int slot, int block, int a, int b) {
        int tap = (g.rows.first + g.rows.step * a) * g.m.k + g.columns.first + g.columns.step * b;
        int64_t unit = (static_cast<int64_t>(block) * (g.m.k * g.m.k) + tap) * blocks_out + block_out;
#pragma unroll
        for (int i = 0; i < CHUNKS; i += THREADS) {
            const int id = thread + i;
            if (CHUNKS % THREADS && id >= CHUNKS)
                break;
            bool inside = block_out + id / (UNIT / 4) < blocks_out;
            const uint32_t *from = inside ? packed + unit * UNIT + id * 4 : packed;
            cp_async<16>(weights + slot * UNITS * UNIT + id * 4, from, inside ? 16 : 0);
        }
    };
    auto round_pixels = [&](int from_slot, int to_slot) {
        for (int id = thread; id < 4 * patch; id += THREADS) {
            if (places[id / 4] == NOWHERE)
                continue;
            uint4 v = ld4(copied + from_slot * patch * 16 + id * 4);
            if (KIND == BF16)
                st2(rounded + to_slot * patch * 8 + id * 2, bf16_of(v, 1));
            else
                st4(rounded + to_slot * patch * 16 + id * 4, tf32_of(v, 1));
        }
    };

    struct { int product, block, a, b; } next = {}, now = {};
    auto advance = [&](auto &c) {
        c.product++;
        if (++c.b == g.columns.taps) {
            c.b = 0;
            if (++c.a == g.rows.taps)
                c.a = 0, c.block++;
        }
    };
    auto copy_step = [&](int step) {             /* products step * PARTS.. */
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            if (next.product < g.products) {
                copy_weights(step % STAGES * PARTS + i, next.block, next.a, next.b);
                if (!g.whole)
                    copy_pixels(step % (STAGES - 1) * PARTS + i, next.block, next.a, next.b, 0, patch);
                advance(next);
            }
        cp_async_commit();
    };
    if (g.whole)
        copy_pixels(0, 0, 0, 0, 0, patch);
    for (int step = 0; step < STAGES - 1; step++)
        copy_step(step);

    int at[ROWS][2];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            at[i][h] = in_patch(g.tile, pixel_of(g.tile, down * 16 * ROWS + 16 * i + 8 * h + lane / 4)) * PIXEL
                       + lane % 4 * (PIXEL / 4);
    float sum[ROWS][2 * UNITS][4];
#pragma unroll
    for (int j = 0; j < 4 * UNITS; j++) {        /* see the end for the channels */
        int o = (block_out + j / 4) * 16 + lane % 4 * 4 + j % 4;
        float from = bias && part == 0 && o < g.m.cd ? bias[o] : 0.0f;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            sum[i][j / 2][j % 2] = sum[i][j / 2][j % 2 + 2] = from;
    }
    for (int i = 0; i < part; i++)
        advance(now);
    int patches = 0, round = 0;                  /* that are rounded; of the copies of the next one */
    for (int step = 0; step * PARTS < g.products; step++) {
        const int end = min((step + 1) * PARTS, g.products);
        cp_async_wait<STAGES - 2>();
        if (!g.whole)
            for (int i = 0; step * PARTS + i < end; i++)
                round_pixels(step % (STAGES - 1) * PARTS + i, step % 2 * PARTS + i);
        else if (patches * g.taps < end)
            round_pixels(0, patches++ % 2), round = 0;
        __syncthreads();
        if (g.whole && patches < blocks_in)
            copy_pixels(0, patches, 0, 0, round, g.rounds), round += g.rounds;
        copy_step(step + STAGES - 1);
        if (now.product < g.products) {
            int row = g.rows.from_tap < 0 ? g.rows.taps - 1 - now.a : now.a;
            int column = g.columns.from_tap < 0 ? g.columns.taps - 1 - now.b : now.b;
            const int slot = g.whole ? now.block % 2 : step % 2 * PARTS + part;
            multiply<KIND, UNITS>(rounded + (slot * patch + (g.whole ? row * g.tile.patch_columns + column : 0)) * PIXEL, at,
                                  weights + (step % STAGES * PARTS + part) * UNITS * UNIT + lane * 4, sum);
        }
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            advance(now);
    }
    cp_async_wait<0>();
    __syncthreads();
    if constexpr (PARTS > 1)
        add_parts<UNITS, PARTS>(reinterpret_cast<float *>(weights) + down * ROWS * (PARTS - 1) * UNITS * 256, part, lane, sum);

#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            place p = pixel_of(g.tile, down * 16 * ROWS + 16 * i + 8 * h + lane / 4);
            int image = first.image + p.image, row = first.row + p.row, column = first.column + p.column;
            if (i / (ROWS / PARTS) != part || image >= g.m.n || row >= g.rows.count || column >= g.columns.count)
                continue;
            int to = (g.rows.to + g.rows.to_step * row) * g.m.wd + g.columns.to + g.columns.to_step * column;
#pragma unroll
            for (int u = 0; u < UNITS; u++) {
                int block = block_out + u, o = block * 16 + lane % 4 * 4;
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

static map_shape shape_of(const conv_map &m, int kind, const cut &c, int phase_down, int phase_across)
{
    const int log_pixels = 8 - log2_above(c.parts);
    map_shape g = {};
    g.m = m;
    g.c = c;
    g.rows = conv_axis_of(m, m.hd, phase_down);
    g.columns = conv_axis_of(m, m.wd, phase_across);
    g.blocks_in = fast_blocks(m.cs);
    g.blocks_out = fast_blocks(m.cd);
    g.channel_tiles = conv_tiles(g.blocks_out, c.units);
    g.taps = g.rows.taps * g.columns.taps;
    g.products = g.blocks_in * g.taps;
    g.tile = tile_of(log_pixels, 4, m.n, g.rows.count, g.columns.count, g.rows.taps, g.columns.taps);
    const int steps = g.taps / c.parts;          /* at least, between two patches */
    g.whole = 1;
    g.whole = steps >= STAGES - 1 && g.rows.from_step == 1 && map_shared(kind, g) <= SHARED_MOST;
    if (g.whole)
        g.rounds = conv_tiles(4 * g.tile.patch, THREADS * (steps - STAGES + 2));
    else
        g.tile = tile_of(log_pixels, 4, m.n, g.rows.count, g.columns.count, 1, 1);
    return g;
}

/* The largest tile of which there are enough for the hundred-odd processors of a large device, two for each where a block makes
 * 256 pixels; with no more channels than there are. */
static map_shape choose(const conv_map &m, int kind, int phase_down, int phase_across)
{
    static const struct { cut c; int enough; } cuts[] = { { { 4, 1 }, 216 }, { { 4, 2 }, 100 }, { { 4, 4 }, 100 },
                                                          { { 2, 4 }, 100 }, { { 1, 4 }, 0 } };
    map_shape g = {};
    for (const auto &t : cuts) {
        g = shape_of(m, kind, t.c, phase_down, phase_across);
        if (g.tile.tiles * g.channel_tiles >= t.enough && t.c.units < 2 * g.blocks_out && map_shared(kind, g) <= SHARED_MOST)
            break;
    }
    return g;
}

/* Written out, so that every kernel is counted by its own name. */
#define LAUNCH_MAP(kind, units, parts)                                                                                      \
    do {                                                                                                                    \
        CHECKED(cudaFuncSetAttribute(conv_tensor_map<kind, units, parts>, cudaFuncAttributeMaxDynamicSharedMemorySize,      \
                                     SHARED_MOST));                                                                         \
        LAUNCH((conv_tensor_map<kind, units, parts>), blocks, THREADS, bytes, CUDA_(stream), g, src, packed, bias, add, dst);\
    } while (0)

static void run_map(const map_shape &g, int kind, const float *src, const uint32_t *packed, const float *bias,
                    const float *add, float *dst)
{
    unsigned blocks = static_cast<unsigned>(g.tile.tiles * g.channel_tiles);
    size_t bytes = map_shared(kind, g);
    switch ((kind == BF16 ? 100 : 0) + g.c.units * 10 + g.c.parts) {
    case  41: LAUNCH_MAP(TF32, 4, 1); break;
    case  42: LAUNCH_MAP(TF32, 4, 2); break;
    case  44: LAUNCH_MAP(TF32, 4, 4); break;
    case  24: LAUNCH_MAP(TF32, 2, 4); break;
    case  14: LAUNCH_MAP(TF32, 1, 4); break;
    case 141: LAUNCH_MAP(BF16, 4, 1); break;
    case 142: LAUNCH_MAP(BF16, 4, 2); break;
    case 144: LAUNCH_MAP(BF16, 4, 4); break;
    case 124: LAUNCH_MAP(BF16, 2, 4); break;
    default:  LAUNCH_MAP(BF16, 1, 4); break;
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
    const int kind = kind_of(a), phases = conv_phases(*m);
    for (int i = 0; i < phases * phases; i++) {
        map_shape g = choose(*m, kind, i / phases, i % phases);
        if (g.tile.tiles > 0)
            run_map(g, kind, src, reinterpret_cast<const uint32_t *>(packed), bias, add, dst);
    }
}
