/* conv_first.cu: the convolution that sees planar images: few channels in, so bytes of y decide, and a patch's k are (channel,
 * tap) in the order of w's rows. The way back to the images is in conv_first_back.cu. */
#include "fast/cuda/conv.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

enum { FIRST_THREADS = 128, PATCH = 32 };

/* What a block needs to find x under a tap: j of a patch is channel j/(k k), tap j%(k k). */
struct first_map {
    fast_conv c;
    conv_divisor image, width, taps, side;       /* by pixels of y, its columns, k k, k */
    int n, patch, channel_tiles, per;            /* patch = ci k k; per: pixels a split */
};

/* Begin to copy x of y's pixel (n, u, v) at j of its patch; 0 on padding, beyond the patch and where !given. */
static __device__ __forceinline__ void first_copy(const first_map &g, const float *x, bool given, int n, int u, int v, int j,
                                                  float *to)
{
    int i = conv_quotient(j, g.taps), tap = j - i * static_cast<int>(g.taps.d), a = conv_quotient(tap, g.side);
    int r = u * g.c.s + a - g.c.p, c = v * g.c.s + tap - a * g.c.k - g.c.p;
    bool inside = given && j < g.patch && r >= 0 && r < g.c.hi && c >= 0 && c < g.c.wi;
    int64_t at = (static_cast<int64_t>(n) * g.c.ci + i) * (g.c.hi * g.c.wi) + (r * g.c.wi + c);
    conv_copy_one(to, inside ? x + at : x, inside);
}

/* y = w * x + bias + add; SWISH: and s = swish(y). A block makes 128 pixels x 8 COLS channels, its patches 32 numbers at a
 * time (all of 3x3x3).
 *
 *               tx 0..7: channels 4 tx.., 32 + 4 tx..      shared memory:
 *              +---------------------------+               patches[32][128 pixels], a thread its pixel: a warp reads x and
 *   ty 0..15:  | sum[i][j], in registers   |                  writes 32 neighbours
 *   pixels 4 ty.., 64 + 4 ty..             |               weights[32][8 COLS]
 *              +---------------------------+               both read 16 bytes at a time, neighbours by tx and ty; biases.
 *
 * 24 KiB and the biases. No pipeline: one step is all there is, and four blocks of a multiprocessor read, multiply and write
 * at once. */
template <int COLS, bool SWISH>
__global__ void __launch_bounds__(FIRST_THREADS, 4)
conv_first_y(first_map g, const float *x, const float *packed, const float *bias, const float *add, float *y, float *s)
{
    enum { PIXELS = FIRST_THREADS, CHANNELS = 8 * COLS };
    SHARED(float, patches, [PATCH * PIXELS]);
    SHARED(float, weights, [PATCH * CHANNELS]);
    SHARED(float, biases, [CHANNELS]);
    const int t = thread_x(), tx = t % 8, ty = t / 8, blocks = conv_tiles(g.c.co, FAST_LANES);
    const int tile = block_x() / g.channel_tiles, channel = (block_x() % g.channel_tiles) * CHANNELS;
    const int pixels = static_cast<int>(g.image.d), n = conv_quotient(tile * PIXELS + t, g.image);
    const int p = tile * PIXELS + t - n * pixels, u = conv_quotient(p, g.width), v = p - u * g.c.wo;
    if (t < CHANNELS)
        biases[t] = bias && channel + t < g.c.co ? bias[channel + t] : 0.0f;
    float sum[8][COLS] = {};
    for (int j0 = 0; j0 < g.patch; j0 += PATCH) {
        const int rows = min(static_cast<int>(PATCH), g.patch - j0);
        if (j0 > 0)
            __syncthreads();
#pragma unroll 2
        for (int j = 0; j < rows; j++)
            first_copy(g, x, n < g.n, n, u, v, j0 + j, patches + j * PIXELS + t);
        for (int e = t; e < rows * 2 * COLS; e += FIRST_THREADS) {
            int o = channel + e % (2 * COLS) * 4;
            int64_t at = static_cast<int64_t>(j0 + e / (2 * COLS)) * (blocks * 16) + o;
            conv_copy(weights + e * 4, o < blocks * 16 ? packed + at : packed, o < blocks * 16);
        }
        conv_copied();
        __syncthreads();
#pragma unroll 2
        for (int j = 0; j < rows; j++) {
            float a[8], w[COLS];
#pragma unroll
            for (int i = 0; i < 8; i += 4) {
                float4 f = ld4(patches + j * PIXELS + i * 16 + ty * 4);
                a[i] = f.x, a[i + 1] = f.y, a[i + 2] = f.z, a[i + 3] = f.w;
            }
#pragma unroll
            for (int i = 0; i < COLS; i += 4) {
                float4 f = ld4(weights + j * CHANNELS + i * 8 + tx * 4);
                w[i] = f.x, w[i + 1] = f.y, w[i + 2] = f.z, w[i + 3] = f.w;
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int q = 0; q < COLS; q++)
                    sum[i][q] = fmaf(a[i], w[q], sum[i][q]);
            FLOPS(2 * 8 * COLS);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int pixel = tile * PIXELS + i / 4 * 64 + ty * 4 + i % 4, to = conv_quotient(pixel, g.image);
#pragma unroll
        for (int q = 0; q < COLS; q += 4) {
            int o = channel + q * 8 + tx * 4;
            int64_t at = (static_cast<int64_t>(to * blocks + o / 16) * pixels + (pixel - to * pixels)) * 16 + o % 16;
            if (to < g.n && o < blocks * 16) {
                float4 z = conv_finish(&sum[i][q], o, g.c.co, biases + q * 8 + tx * 4, add ? add + at : nullptr);
                st4(y + at, z);
                if (SWISH)
                    st4(s + at, make_float4(swish(z.x), swish(z.y), swish(z.z), swish(z.w)));
            }
        }
    }
}

/* partial[split][32 j of the patch][channel out] = sum over the split's pixels of x at j times scale gy, for 64 channels out.
 * Steps of 32 pixels; each of four warps makes the whole 64 x 32 of its own eight, and the four are added in order at the end.
 *
 *               tx 0..7: channels 4 tx.., 32 + 4 tx..      shared memory, `room`: two stages of 12.5 KiB, one multiplied
 *              +---------------------------+               while x (by cp.async) and gy (by registers, stored after the
 *   ty 0..3:   | sum[i][o], in registers   |               multiplication) fill the other; one barrier a step:
 *   j = ty+4i  |                           |                  patches[32 j][36]: 32 pixels and 4 floats of room, so that
 *              +---------------------------+                     the four ty read different banks
 *                                                             gs[32 pixels][64 channels], times scale */
__global__ void __launch_bounds__(FIRST_THREADS, 3)
conv_first_w(first_map g, const float *x, const float *gy, const float *scale, float *partial)
{
    enum { STEP = 32, PITCH = STEP + 4, CHANNELS = 64, STAGE = PATCH * PITCH + STEP * CHANNELS };
    SHARED(float, room, [2 * STAGE]);
    const int t = thread_x(), tx = t % 8, ty = t % 32 / 8, warp = t / 32, lane = t % 32;
    const int j0 = block_x() / g.channel_tiles * PATCH, channel = (block_x() % g.channel_tiles) * CHANNELS;
    const int blocks = conv_tiles(g.c.co, FAST_LANES), padded = blocks * 16, pixels = static_cast<int>(g.image.d);
    const int end = min(g.n * pixels, (block_y() + 1) * g.per), o = channel + t % 16 * 4;
    float4 gs[4];
    auto read = [&](int first, float *stage) {
        int n = conv_quotient(first + lane, g.image), p = first + lane - n * pixels, u = conv_quotient(p, g.width);
#pragma unroll 2
        for (int i = 0; i < 8; i++)
            first_copy(g, x, first + lane < end, n, u, p - u * g.c.wo, j0 + warp + 4 * i,
                       stage + (warp + 4 * i) * PITCH + lane);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int pixel = first + t / 16 + 8 * i, m = conv_quotient(pixel, g.image);
            bool inside = pixel < end && o < padded;
            int64_t at = (static_cast<int64_t>(m * blocks + o / 16) * pixels + (pixel - m * pixels)) * 16 + o % 16;
            float by = scale && inside ? scale[m] : 1.0f;
            float4 v = inside ? ld4(gy + at) : make_float4(0, 0, 0, 0);
            gs[i] = make_float4(by * v.x, by * v.y, by * v.z, by * v.w);
        }
    };
    auto keep = [&](float *stage) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            st4(stage + PATCH * PITCH + (t / 16 + 8 * i) * CHANNELS + t % 16 * 4, gs[i]);
    };
    float sum[8][8] = {}, *stage = room;
    int first = block_y() * g.per;
    read(first, stage);
    keep(stage);
    for (; first < end; first += STEP) {
        float *next = stage == room ? room + STAGE : room;
        conv_copied();
        __syncthreads();
        if (first + STEP < end)
            read(first + STEP, next);
#pragma unroll
        for (int quad = 0; quad < 8; quad += 4) {
            float a[8][4];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float4 f = ld4(stage + (ty + 4 * i) * PITCH + warp * 8 + quad);
                a[i][0] = f.x, a[i][1] = f.y, a[i][2] = f.z, a[i][3] = f.w;
            }
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const float *from = stage + PATCH * PITCH + (warp * 8 + quad + q) * CHANNELS + tx * 4;
                float4 low = ld4(from), high = ld4(from + 32);
                const float w[8] = { low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w };
#pragma unroll
                for (int i = 0; i < 8; i++)
#pragma unroll
                    for (int k = 0; k < 8; k++)
                        sum[i][k] = fmaf(a[i][q], w[k], sum[i][k]);
            }
        }
        FLOPS(2 * 8 * 8 * 8);
        stage = next;
        if (first + STEP < end)
            keep(stage);
    }
    for (int turn = 0; turn < 4; turn++) {
        __syncthreads();
        if (warp == turn)
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float *at = room + (ty + 4 * i) * CHANNELS + half * 32 + tx * 4;
                    float4 v = turn > 0 ? ld4(at) : make_float4(0, 0, 0, 0);
                    const float *s = sum[i] + half * 4;
                    st4(at, make_float4(v.x + s[0], v.y + s[1], v.z + s[2], v.w + s[3]));
                }
    }
    __syncthreads();
    const int lines = conv_tiles(g.patch, 16) * 16;
    for (int j = t / 16; j < PATCH && j0 + j < lines && o < padded; j += FIRST_THREADS / 16)
        st4(partial + (static_cast<int64_t>(block_y()) * lines + j0 + j) * padded + o, ld4(room + j * CHANNELS + t % 16 * 4));
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

static first_map first_of(int n, const fast_conv *c, int channels)
{
    return first_map{ *c, conv_divide_by(c->ho * c->wo), conv_divide_by(c->wo), conv_divide_by(c->k * c->k),
                      conv_divide_by(c->k), n, c->ci * c->k * c->k, conv_tiles(c->co, channels), 0 };
}

/* As a 1x1 convolution of as many channels as a patch has numbers: so its weights are packed, [patch][channel out], for all
 * directions, and so its gradient is summed. */
static fast_conv first_patches(const fast_conv *c)
{
    fast_conv f = *c;
    f.ci = c->ci * c->k * c->k;
    f.k = 1;
    return f;
}

size_t CUDA_(conv_first_packed)(const fast_conv *c)
{
    fast_conv f = first_patches(c);
    return conv_partial(&f);
}

void CUDA_(conv_first_pack)(const fast_conv *c, const float *w, float *packed)
{
    fast_conv f = first_patches(c);
    conv_map m = conv_forward(1, &f);
    CUDA_(conv_fp32_pack)(&m, w, packed);
}

template <int COLS, bool SWISH>
static void first_run(int n, const fast_conv *c, const float *x, const float *packed, const float *bias, const float *add,
                      float *y, float *s)
{
    first_map g = first_of(n, c, 8 * COLS);
    unsigned blocks = (unsigned)conv_tiles(n * c->ho * c->wo, FIRST_THREADS) * (unsigned)g.channel_tiles;
    LAUNCH((conv_first_y<COLS, SWISH>), blocks, FIRST_THREADS, 0, CUDA_(stream), g, x, packed, bias, add, y, s);
}

void CUDA_(conv_first_fwd)(int n, const fast_conv *c, const float *x, const float *packed, const float *bias, const float *add,
                           float *y, float *s)
{
    (c->co > 32 ? s ? first_run<8, true> : first_run<8, false> : s ? first_run<4, true> : first_run<4, false>)(
        n, c, x, packed, bias, add, y, s);
}

/* 512 blocks in all (an H100 has 132 multiprocessors), splits of at least 8 steps. */
static dim3 first_grid(first_map *g)
{
    int pixels = g->n * (int)g->image.d, tiles = conv_tiles(g->patch, PATCH) * g->channel_tiles;
    int splits = conv_tiles(512, tiles), most = conv_tiles(pixels, 256);
    g->per = conv_tiles(conv_tiles(pixels, splits < most ? splits : most), 32) * 32;
    return dim3((unsigned)tiles, (unsigned)conv_tiles(pixels, g->per));
}

size_t CUDA_(conv_first_bwd_w_scratch)(int n, const fast_conv *c)
{
    first_map g = first_of(n, c, 64);
    fast_conv f = first_patches(c);
    return first_grid(&g).y * conv_partial(&f) * sizeof(float);
}

void CUDA_(conv_first_bwd_w)(fast_ctx *ctx, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                             float *gw)
{
    first_map g = first_of(n, c, 64);
    fast_conv f = first_patches(c);
    dim3 grid = first_grid(&g);
    float *partial = static_cast<float *>(ctx->scratch);
    LAUNCH(conv_first_w, grid, FIRST_THREADS, 0, CUDA_(stream), g, x, gy, scale, partial);
    CUDA_(conv_sum_splits)(&f, (int)grid.y, partial, gw);
}
