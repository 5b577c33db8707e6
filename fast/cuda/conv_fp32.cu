/* conv_fp32.cu: any convolution of blocked images in float: implicit GEMM, forward and backward. */
#include "fast/cuda/conv.h"

namespace CUDA_SIDE {

enum { THREADS = 128 };

/* One phase of a map: see conv_axis. `image` and `width` divide by its pixels an image and a row. */
struct fp32_map {
    conv_map m;
    conv_axis rows, columns;
    conv_divisor image, width;
    int pixels, channel_tiles;
};

/* A thread's pixels, the lanes of 16 channels that it reads at once: four loads of four for each of ROWS pixels, and for each
 * channel COLS weights: 4 ROWS + 4 COLS registers feed 16 ROWS COLS multiplications. */
template <int ROWS, int COLS>
static __device__ __forceinline__ void multiply(const float *pixels, const float *weights, int ty, int tx,
                                                float (&sum)[ROWS][COLS])
{
#pragma unroll
    for (int chunk = 0; chunk < 4; chunk++) {
        float x[ROWS][4];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            float4 v = ld4(pixels + conv_swizzle(ty + 16 * i, chunk));
            x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
        }
#pragma unroll
        for (int q = 0; q < 4; q++)
#pragma unroll
            for (int j = 0; j < COLS; j += 4) {
                float4 w = ld4(weights + (chunk * 4 + q) * 8 * COLS + j * 8 + tx * 4);
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    sum[i][j] = fmaf(x[i][q], w.x, sum[i][j]);
                    sum[i][j + 1] = fmaf(x[i][q], w.y, sum[i][j + 1]);
                    sum[i][j + 2] = fmaf(x[i][q], w.z, sum[i][j + 2]);
                    sum[i][j + 3] = fmaf(x[i][q], w.w, sum[i][j + 3]);
                }
            }
    }
    FLOPS(2 * 16 * ROWS * COLS);
}

/* dst = map(src) + bias + add. A block makes 16 ROWS pixels x 8 COLS channels (128 x 64, or 64 x 32), in steps of 16 channels
 * of src under one tap; blocks that share pixels are neighbours.
 *
 *                  tx 0..7: channels 4 tx.., 32 + 4 tx..        shared memory, STAGES times, a ring: one step's is multiplied
 *                 +---------------------------+                 while cp.async fills the others; one barrier a step
 *   ty 0..15:     | sum[i][j], in registers   |                 pixels[16 ROWS][16], chunks of 4 exchanged (conv_swizzle):
 *   pixels ty+16i |                           |                    a warp's 4 pixels lie in 16 different banks
 *                 +---------------------------+                 weights[16][8 COLS]: eight tx read 128 bytes in a row
 *
 * A step waits for its copies, meets at the barrier, begins those of STAGES - 1 steps on, and multiplies. 128 x 64: two stages
 * of 12 KiB; 64 x 32: four of 6 KiB; and the biases. Four threads copy a pixel's 64 bytes; where the tap lies on padding, or
 * there is no such pixel, zeros. */
template <int ROWS, int COLS>
__global__ void __launch_bounds__(THREADS, ROWS == 8 ? 3 : 5)
conv_gemm(fp32_map g, const float *src, const float *packed, const float *bias, const float *add, float *dst)
{
    enum { PIXELS = 16 * ROWS, CHANNELS = 8 * COLS, COPIES = ROWS / 2, STAGES = ROWS == 8 ? 2 : 4 };
    SHARED(float, pixels, [STAGES][PIXELS * 16]);
    SHARED(float, weights, [STAGES][16 * CHANNELS]);
    SHARED(float, biases, [CHANNELS]);
    const int t = thread_x(), tx = t % 8, ty = t / 8, chunk = t % 4;
    const int tile = block_x() / g.channel_tiles, channel = (block_x() % g.channel_tiles) * CHANNELS;
    const int blocks_in = conv_tiles(g.m.cs, FAST_LANES), blocks_out = conv_tiles(g.m.cd, FAST_LANES), padded = blocks_out * 16;
    const int steps = g.rows.taps * g.columns.taps * blocks_in;
    int image[COPIES], row[COPIES], column[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        int pixel = tile * PIXELS + t / 4 + 32 * i, j;
        image[i] = conv_quotient(pixel, g.image);
        pixel -= image[i] * static_cast<int>(g.image.d);
        j = conv_quotient(pixel, g.width);
        row[i] = image[i] < g.m.n ? g.rows.from + g.rows.from_step * j : -(1 << 30);
        column[i] = g.columns.from + g.columns.from_step * (pixel - j * static_cast<int>(g.width.d));
    }
    int block = 0, a = 0, b = 0;                 /* of the next step: channels of src, tap */
    auto fill = [&](int stage) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            int r = row[i] + g.rows.from_tap * a, c = column[i] + g.columns.from_tap * b, pixel = t / 4 + 32 * i;
            bool inside = r >= 0 && r < g.m.hs && c >= 0 && c < g.m.ws;
            int64_t at = static_cast<int64_t>(image[i] * blocks_in + block) * (g.m.hs * g.m.ws) + (r * g.m.ws + c);
            conv_copy(pixels[stage] + conv_swizzle(pixel, chunk), inside ? src + at * 16 + chunk * 4 : src, inside);
        }
        int tap = (g.rows.first + g.rows.step * a) * g.m.k + g.columns.first + g.columns.step * b;
#pragma unroll
        for (int i = 0; i < COLS / 4; i++) {
            int lane = (t + THREADS * i) / (2 * COLS), c = (t + THREADS * i) % (2 * COLS) * 4;
            int64_t at = static_cast<int64_t>((tap * blocks_in + block) * 16 + lane) * padded + channel + c;
            conv_copy(weights[stage] + lane * CHANNELS + c, channel + c < padded ? packed + at : packed, channel + c < padded);
        }
        if (++block == blocks_in) {
            block = 0;
            if (++b == g.columns.taps)
                b = 0, a++;
        }
    };
    if (t < CHANNELS)
        biases[t] = bias && channel + t < g.m.cd ? bias[channel + t] : 0.0f;
    float sum[ROWS][COLS] = {};
    for (int step = 1 - STAGES; step < steps; step++) {
        if (step >= 0) {
            conv_wait<STAGES - 2>();
            __syncthreads();
        }
        if (step + STAGES - 1 < steps)
            fill((step + STAGES - 1) % STAGES);
        conv_commit();
        if (step >= 0)
            multiply<ROWS, COLS>(pixels[step % STAGES], weights[step % STAGES], ty, tx, sum);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int pixel = tile * PIXELS + ty + 16 * i, n = conv_quotient(pixel, g.image);
        pixel -= n * static_cast<int>(g.image.d);
        int r = conv_quotient(pixel, g.width), c = pixel - r * static_cast<int>(g.width.d);
        int to = (g.rows.to + g.rows.to_step * r) * g.m.wd + g.columns.to + g.columns.to_step * c;
        if (n >= g.m.n)
            break;
#pragma unroll
        for (int j = 0; j < COLS; j += 4) {
            int o = channel + j * 8 + tx * 4;
            int64_t at = (static_cast<int64_t>(n * blocks_out + o / 16) * (g.m.hd * g.m.wd) + to) * 16 + o % 16;
            if (o < padded)
                st4(dst + at, conv_finish(&sum[i][j], o, g.m.cd, biases + j * 8 + tx * 4, add ? add + at : nullptr));
        }
    }
}

/* What the gradient of the weights runs over: sums of pixels from split * per on. A unit is 16 channels in under one tap. */
struct fp32_weights {
    fast_conv c;
    conv_divisor image, width;
    int pixels, per, units, channel_tiles;
};

/* partial[split][unit, lane][channel out] = sum over the split's pixels of x under the tap times scale gy. A block makes ROWS
 * units x 8 COLS channels out (128 x 64, or 64 x 32), in steps of 16 pixels: both operands lie as they are multiplied.
 *
 *              tx 0..7: channels out 4 tx.., 32 + 4 tx..        shared memory, twice (one barrier a step):
 *             +---------------------------+                     xs[16 pixels][ROWS units x 16 lanes], by cp.async;
 *   ty 0..15: | sum[i][j], in registers   |                     gs[16 pixels][8 COLS], read ahead into registers, times the
 *   rows 4 ty.., 64 + 4 ty..              |                        image's scale, stored after the multiplication.
 *             +---------------------------+                     Reads are of 4 x 16 and 8 x 16 bytes in a row: no conflict. */
template <int ROWS, int COLS>
__global__ void __launch_bounds__(THREADS)
conv_weights(fp32_weights g, const float *x, const float *gy, const float *scale, float *partial)
{
    enum { WIDTH = 16 * ROWS, CHANNELS = 8 * COLS, COPIES = ROWS / 2, READS = COLS / 4 };
    SHARED(float, xs, [2][16 * WIDTH]);
    SHARED(float, gs, [2][16 * CHANNELS]);
    const int t = thread_x(), tx = t % 8, ty = t / 8;
    const int first_unit = block_x() / g.channel_tiles * ROWS, channel = (block_x() % g.channel_tiles) * CHANNELS;
    const int blocks_in = conv_tiles(g.c.ci, FAST_LANES), blocks_out = conv_tiles(g.c.co, FAST_LANES), padded = blocks_out * 16;
    const int end = min(g.pixels, (block_y() + 1) * g.per);
    const int unit = first_unit + t % (4 * ROWS) / 4, tap = unit / blocks_in, block = unit % blocks_in;
    const int a = tap / g.c.k, b = tap % g.c.k, o = channel + t % (2 * COLS) * 4;
    float4 ahead[READS];
    auto fill = [&](int stage, int first) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            int k = (t + THREADS * i) / (4 * ROWS), pixel = first + k, n = conv_quotient(pixel, g.image);
            int p = pixel - n * static_cast<int>(g.image.d), u = conv_quotient(p, g.width);
            int r = u * g.c.s + a - g.c.p, c = (p - u * g.c.wo) * g.c.s + b - g.c.p;
            bool inside = pixel < end && unit < g.units && r >= 0 && r < g.c.hi && c >= 0 && c < g.c.wi;
            int64_t at = static_cast<int64_t>(n * blocks_in + block) * (g.c.hi * g.c.wi) + (r * g.c.wi + c);
            conv_copy(xs[stage] + (t + THREADS * i) * 4, inside ? x + at * 16 + t % 4 * 4 : x, inside);
        }
#pragma unroll
        for (int i = 0; i < READS; i++) {
            int pixel = first + (t + THREADS * i) / (2 * COLS), n = conv_quotient(pixel, g.image);
            int64_t at = static_cast<int64_t>(n * blocks_out + o / 16) * g.image.d + (pixel - n * static_cast<int>(g.image.d));
            bool inside = pixel < end && o < padded;
            float by = scale && inside ? scale[n] : 1.0f;
            float4 v = inside ? ld4(gy + at * 16 + o % 16) : make_float4(0, 0, 0, 0);
            ahead[i] = make_float4(by * v.x, by * v.y, by * v.z, by * v.w);
        }
    };
    auto keep = [&](int stage) {
#pragma unroll
        for (int i = 0; i < READS; i++)
            st4(gs[stage] + (t + THREADS * i) * 4, ahead[i]);
    };
    float sum[ROWS][COLS] = {};
    int stage = 0, first = block_y() * g.per;
    fill(0, first);
    keep(0);
    for (; first < end; first += 16, stage ^= 1) {
        conv_copied();
        __syncthreads();
        if (first + 16 < end)
            fill(stage ^ 1, first + 16);
#pragma unroll
        for (int k = 0; k < 16; k++) {
            float v[ROWS], w[COLS];
#pragma unroll
            for (int i = 0; i < ROWS; i += 4) {
                float4 f = ld4(xs[stage] + k * WIDTH + i * 16 + ty * 4);
                v[i] = f.x, v[i + 1] = f.y, v[i + 2] = f.z, v[i + 3] = f.w;
            }
#pragma unroll
            for (int j = 0; j < COLS; j += 4) {
                float4 f = ld4(gs[stage] + k * CHANNELS + j * 8 + tx * 4);
                w[j] = f.x, w[j + 1] = f.y, w[j + 2] = f.z, w[j + 3] = f.w;
            }
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLS; j++)
                    sum[i][j] = fmaf(v[i], w[j], sum[i][j]);
        }
        FLOPS(2 * 16 * ROWS * COLS);
        if (first + 16 < end)
            keep(stage ^ 1);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < COLS; j += 4) {
            int line = first_unit * 16 + i / 4 * 64 + ty * 4 + i % 4, out = channel + j * 8 + tx * 4;
            int64_t at = (static_cast<int64_t>(block_y()) * (g.units * 16) + line) * padded + out;
            if (line < g.units * 16 && out < padded)
                st4(partial + at, make_float4(sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]));
        }
}

/* ---- between w (co,ci,k,k) and [tap][channel in][channel out] (or [tap][channel out][channel in]) ---- */

enum { TAPS = 32, TURN = 256 };
struct fp32_turn {
    int ci, co, taps, backward, splits;
    int each;                /* taps of a block, at most TAPS */
    int in, out;             /* pitches: of a channel in, odd; of a channel out, 2 + 32 j: few banks are met twice */
    int64_t partial;
};

static __device__ __forceinline__ int turn_at(const fp32_turn &g, int o, int i, int t) { return o * g.out + i * g.in + t; }

/* Where element e of the block's part of w lies in shared memory (-1: beyond w) and, *at, in w. */
static __device__ __forceinline__ int turn_w(const fp32_turn &g, int taps, int e, int64_t *at)
{
    int t = e % taps, i = e / taps % 16, o = e / taps / 16, in = block_x() * 16 + i, out = block_y() * 16 + o;
    *at = (static_cast<int64_t>(out) * g.ci + in) * g.taps + block_z() * g.each + t;
    return in < g.ci && out < g.co ? turn_at(g, o, i, t) : -1;
}

/* The same of the turned side: lanes in a row. */
static __device__ __forceinline__ int turn_packed(const fp32_turn &g, int e, int64_t *at)
{
    int lane = e % 16, line = e / 16 % 16, t = e / 256;
    int from = g.backward ? block_y() : block_x(), to = g.backward ? block_x() : block_y();
    int lines = conv_tiles(g.backward ? g.co : g.ci, FAST_LANES) * 16;
    int lanes = conv_tiles(g.backward ? g.ci : g.co, FAST_LANES) * 16;
    *at = (static_cast<int64_t>(block_z() * g.each + t) * lines + from * 16 + line) * lanes + to * 16 + lane;
    return g.backward ? turn_at(g, line, lane, t) : turn_at(g, lane, line, t);
}

/* w to packed. A block turns 16 x 16 channels and up to 32 taps, in shared memory, so that both sides are read and written in a
 * row; 256 threads, one barrier, no pipeline:
 *
 *    w: o, i, tap    -->   tile[o * out + i * in + tap]   -->   packed: tap, i, o (backward: tap, o, i)
 *
 * In w a warp has taps in a row, in packed 16 lanes of two lines: `out` = 2 (mod 32) and `in` odd keep most of these in banks
 * of their own. What is beyond w is 0 in packed. */
__global__ void __launch_bounds__(TURN) conv_turn(fp32_turn g, const float *w, float *packed)
{
    DYN_SHARED(float, tile);
    const int taps = min(g.each, g.taps - block_z() * g.each);
    int64_t at;
    for (int e = thread_x(); e < 256 * taps; e += TURN)
        tile[turn_at(g, e / taps / 16, e / taps % 16, e % taps)] = turn_w(g, taps, e, &at) < 0 ? 0.0f : w[at];
    __syncthreads();
    for (int e = thread_x(); e < 256 * taps; e += TURN) {
        int from = turn_packed(g, e, &at);
        packed[at] = tile[from];
    }
}

/* gw += the sum of the splits' partial sums, in their order: conv_turn the other way round. A thread adds up the splits of its
 * places, 16 lanes in a row; `tile` turns them; then gw is read and written along its rows. With few channels a block has few
 * taps, so that many blocks read. */
__global__ void __launch_bounds__(TURN) conv_sum(fp32_turn g, const float *partial, float *gw)
{
    DYN_SHARED(float, tile);
    const int taps = min(g.each, g.taps - block_z() * g.each);
    int64_t at;
    for (int e = thread_x(); e < 256 * taps; e += TURN) {
        int to = turn_packed(g, e, &at);
        float sum = 0;
        for (int split = 0; split < g.splits; split++)
            sum += partial[split * g.partial + at];
        tile[to] = sum;
    }
    __syncthreads();
    for (int e = thread_x(); e < 256 * taps; e += TURN) {
        int from = turn_w(g, taps, e, &at);
        if (from >= 0)
            gw[at] += tile[from];
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

static fp32_turn turn_of(int ci, int co, int taps, int backward, int each)
{
    int in = each | 1;
    return fp32_turn{ ci, co, taps, backward, 0, each, in, conv_tiles(16 * in - 2, 32) * 32 + 2, 0 };
}

static dim3 turn_grid(const fp32_turn *g)
{
    return dim3((unsigned)fast_blocks(g->ci), (unsigned)fast_blocks(g->co), (unsigned)conv_tiles(g->taps, g->each));
}

static size_t turn_bytes(const fp32_turn *g) { return 16 * (size_t)g->out * sizeof(float); }

size_t CUDA_(conv_fp32_packed)(const conv_map *m)
{
    return (size_t)(m->k * m->k) * (size_t)fast_blocks(m->cs) * 16 * (size_t)fast_blocks(m->cd) * 16;
}

void CUDA_(conv_fp32_pack)(const conv_map *m, const float *w, float *packed)
{
    int ci = m->backward ? m->cd : m->cs, co = m->backward ? m->cs : m->cd;
    fp32_turn g = turn_of(ci, co, m->k * m->k, m->backward, m->k * m->k < TAPS ? m->k * m->k : TAPS);
    LAUNCH(conv_turn, turn_grid(&g), TURN, turn_bytes(&g), CUDA_(stream), g, w, packed);
}

/* Fewer blocks than this leave multiprocessors idle (an H100 has 132): then smaller ones. Both add in the same order, so the
 * results are the same bits. The emulator takes few images at a time, and should see both. */
#if defined(__CUDACC__)
enum { BUSY = 2 * 132 };
#else
enum { BUSY = 4 };
#endif
enum { SPLIT_BLOCKS = 4 * 132 };

void CUDA_(conv_sum_splits)(const fast_conv *c, int splits, const float *partial, float *gw)
{
    int taps = c->k * c->k, blocks = fast_blocks(c->ci) * fast_blocks(c->co), each = taps < TAPS ? taps : TAPS;
    while (each > 1 && blocks * conv_tiles(taps, each) < BUSY / 2)
        each = (each + 1) / 2;
    fp32_turn g = turn_of(c->ci, c->co, taps, 0, each);
    g.splits = splits;
    g.partial = (int64_t)conv_partial(c);
    LAUNCH(conv_sum, turn_grid(&g), TURN, turn_bytes(&g), CUDA_(stream), g, partial, gw);
}

template <int ROWS, int COLS>
static unsigned gemm_grid(fp32_map *g)
{
    g->channel_tiles = conv_tiles(g->m.cd, 8 * COLS);
    return (unsigned)conv_tiles(g->pixels, 16 * ROWS) * (unsigned)g->channel_tiles;
}

void CUDA_(conv_fp32_run)(const conv_map *m, const float *src, const float *packed, const float *bias, const float *add,
                          float *dst)
{
    fp32_map g;
    g.m = *m;
    for (int phase = 0; phase < conv_phases(*m) * conv_phases(*m); phase++) {
        g.rows = conv_axis_of(*m, m->hd, phase / conv_phases(*m));
        g.columns = conv_axis_of(*m, m->wd, phase % conv_phases(*m));
        g.pixels = m->n * g.rows.count * g.columns.count;
        if (g.pixels == 0)
            continue;
        g.image = conv_divide_by(g.rows.count * g.columns.count);
        g.width = conv_divide_by(g.columns.count);
        unsigned large = gemm_grid<8, 8>(&g);
        if (large >= BUSY && m->cd > 32)
            LAUNCH((conv_gemm<8, 8>), large, THREADS, 0, CUDA_(stream), g, src, packed, bias, add, dst);
        else {
            unsigned small = gemm_grid<4, 4>(&g);
            LAUNCH((conv_gemm<4, 4>), small, THREADS, 0, CUDA_(stream), g, src, packed, bias, add, dst);
        }
    }
}

/* Units by channels in tiles of ROWS x 8 COLS, and enough splits of at least 8 steps. */
template <int ROWS, int COLS>
static dim3 weights_grid(fp32_weights *g)
{
    g->channel_tiles = conv_tiles(g->c.co, 8 * COLS);
    int tiles = conv_tiles(g->units, ROWS) * g->channel_tiles;
    int splits = conv_tiles(SPLIT_BLOCKS, tiles), most = conv_tiles(g->pixels, 128);
    g->per = conv_tiles(conv_tiles(g->pixels, splits < most ? splits : most), 16) * 16;
    return dim3((unsigned)tiles, (unsigned)conv_tiles(g->pixels, g->per));
}

static int weights_large(const fast_conv *c) { return c->co > 32 && c->k * c->k * fast_blocks(c->ci) > 4; }

static dim3 weights_of(int n, const fast_conv *c, fp32_weights *g)
{
    *g = fp32_weights{ *c, conv_divide_by(c->ho * c->wo), conv_divide_by(c->wo), n * c->ho * c->wo, 0,
                        c->k * c->k * fast_blocks(c->ci), 0 };
    return weights_large(c) ? weights_grid<8, 8>(g) : weights_grid<4, 4>(g);
}

size_t CUDA_(conv_fp32_bwd_w_scratch)(int n, const fast_conv *c)
{
    fp32_weights g;
    return weights_of(n, c, &g).y * conv_partial(c) * sizeof(float);
}

void CUDA_(conv_fp32_bwd_w)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                            float *gw)
{
    fp32_weights g;
    dim3 grid = weights_of(n, c, &g);
    float *partial = static_cast<float *>(ctx->scratch);
    if (weights_large(c))
        LAUNCH((conv_weights<8, 8>), grid, THREADS, 0, CUDA_(stream), g, x, gy, scale, partial);
    else
        LAUNCH((conv_weights<4, 4>), grid, THREADS, 0, CUDA_(stream), g, x, gy, scale, partial);
    CUDA_(conv_sum_splits)(c, (int)grid.y, partial, gw);
}
