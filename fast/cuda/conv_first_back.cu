/* conv_first_back.cu: from a layer that sees planar images back to them: gx = wT * gy + add, gy also times swish'(y). */
#include "fast/cuda/conv.h"
#include "fast/cuda/swish.h"

namespace CUDA_SIDE {

enum { BACK = 3 };           /* channels of gx at a time */

struct first_back {
    fast_conv c;
    conv_divisor image, width;                   /* by pixels of gx, its columns */
    int n, tile_rows, tile_columns;              /* tiles an image */
};

/* Four channels of gy at `from`; SWISH: times swish'(y), as act_bwd rounds it. */
template <bool SWISH> static __device__ __forceinline__ float4 back_read(const float *y, const float *gy, int64_t from)
{
    float4 g = ld4(gy + from);
    if (SWISH) {
        float4 v = ld4(y + from);
        g = make_float4(g.x * swish_slope(v.x), g.y * swish_slope(v.y), g.z * swish_slope(v.z), g.w * swish_slope(v.w));
    }
    return g;
}

enum { BACK_WARPS = 4, BACK_THREADS = 32 * BACK_WARPS };
template <int COLUMNS> struct back_tile {
    enum { STRIPS = COLUMNS == 8 ? 2 : 1, ROWS = 8 / STRIPS, WIDE = COLUMNS + 2, PIXELS = 10 * WIDE, WEIGHTS = BACK * 9 * 8 };
    enum { LANES = COLUMNS * STRIPS, UNITS = 32 / LANES, ROOM = PIXELS * 8 + WEIGHTS + 24, SUMS = BACK * 8 * COLUMNS };
    static constexpr size_t bytes = BACK_WARPS * UNITS * ROOM * sizeof(float);
};
static __device__ __forceinline__ int back_at(int wide, int row, int column, int chunk)
{
    return (row * wide + column) * 8 + (chunk ^ (column >> 2 & 1)) * 4;
}

/* 3x3, stride 1, padding 1, three channels of gx (blockIdx.y): a block makes 8 rows of COLUMNS pixels, of one image, by units:
 * a unit makes them of eight channels of gy. A warp is UNITS units and takes the next ones when it is done; the units' sums are
 * added in order at the end. COLUMNS 32: one unit, 16 and 8: two, the latter with two strips of rows:
 *
 *     COLUMNS + 2                  a thread has one column and ROWS rows of it, 3 channels: up to 24 sums
 *   +-------------+                `room` in shared memory, of each unit its own, so that only the end has a barrier:
 *   | gy          | 8 + 2            gs[10 rows][COLUMNS + 2][8], its two chunks exchanged in every second four columns: eight
 *   |  +-------+  |                     neighbours' chunks lie in 32 banks
 *   |  | gx    |  |                  ws[3 channels of gx][9 taps][8], all of a unit read the same 16 bytes, and 24 floats of
 *   |  +-------+  |                     room, so that what two units copy lies in different banks
 *   +-------------+                A chunk and column of taps: 9 reads of ws, kept in registers, and one of gs for each row of
 *                                  gy, which serves three rows of gx: up to 19 reads for 288 fmaf.
 *
 * No pipeline: other warps multiply while one waits. */
template <int COLUMNS, bool SWISH>
__global__ void __launch_bounds__(BACK_THREADS, 4)
conv_first_x3(first_back g, const float *y, const float *gy, const float *packed, const float *add, float *gx)
{
    typedef back_tile<COLUMNS> tile;
    enum { ROWS = tile::ROWS, WIDE = tile::WIDE, UNITS = tile::UNITS, LANES = tile::LANES, ROOM = tile::ROOM };
    DYN_SHARED(float, room);
    const int lane = thread_x() % 32, warp = thread_x() / 32, padded = conv_tiles(g.c.co, FAST_LANES) * 16;
    const int n = block_x() / (g.tile_rows * g.tile_columns), at = block_x() % (g.tile_rows * g.tile_columns);
    const int row0 = at / g.tile_columns * 8, column0 = at % g.tile_columns * COLUMNS, channel = block_y() * BACK;
    float *units = room + warp * UNITS * ROOM, *unit = units + lane / LANES * ROOM, sum[ROWS][BACK] = {};
    for (int o = warp * UNITS * 8; o < padded; o += BACK_WARPS * UNITS * 8) {
        __syncwarp();
#pragma unroll 4
        for (int e = lane; e < tile::PIXELS * 2 * UNITS; e += 32) {
            int p = e / (2 * UNITS), q = e % (2 * UNITS), u = row0 - 1 + p / WIDE, v = column0 - 1 + p % WIDE;
            bool inside = u >= 0 && u < g.c.ho && v >= 0 && v < g.c.wo;
            int64_t pixel = static_cast<int64_t>(n * (padded / 16) + o / 16) * (g.c.ho * g.c.wo) + (u * g.c.wo + v);
            int64_t from = inside ? pixel * 16 + o % 16 + q * 4 : 0;
            float *to = units + q / 2 * ROOM + back_at(WIDE, p / WIDE, p % WIDE, q % 2);
            if (SWISH)
                st4(to, inside ? back_read<true>(y, gy, from) : make_float4(0, 0, 0, 0));
            else
                conv_copy(to, gy + from, inside);
        }
        for (int e = lane; e < tile::WEIGHTS / 4 * UNITS; e += 32) {
            int line = channel * 9 + e / (2 * UNITS), q = e % (2 * UNITS);
            bool inside = line < g.c.ci * 9;
            int64_t from = inside ? static_cast<int64_t>(line) * padded + o + q * 4 : 0;
            conv_copy(units + q / 2 * ROOM + (tile::PIXELS + e / (2 * UNITS)) * 8 + q % 2 * 4, packed + from, inside);
        }
        conv_copied();
        __syncwarp();
#pragma unroll 1
        for (int part = 0; part < 6; part++) {   /* chunk, column of taps */
            const int chunk = part / 3, b = part % 3;
            const float *ws = unit + tile::PIXELS * 8 + b * 8 + chunk * 4;
            const float *gs = unit + back_at(WIDE, lane % LANES / COLUMNS * ROWS, lane % COLUMNS + 2 - b, chunk);
            float4 w[BACK][3];
#pragma unroll
            for (int i = 0; i < BACK; i++)
#pragma unroll
                for (int a = 0; a < 3; a++)
                    w[i][a] = ld4(ws + (i * 9 + a * 3) * 8);
#pragma unroll
            for (int u = 0; u < ROWS + 2; u++) {
                float4 f = ld4(gs + u * WIDE * 8);
#pragma unroll
                for (int a = 0; a < 3; a++)
#pragma unroll
                    for (int i = 0; i < BACK; i++)
                        if (u + a >= 2 && u + a < ROWS + 2) {
                            float *to = &sum[u + a - 2][i];
                            *to = fmaf(f.w, w[i][a].w, fmaf(f.z, w[i][a].z, fmaf(f.y, w[i][a].y, fmaf(f.x, w[i][a].x, *to))));
                        }
            }
            FLOPS(2 * ROWS * BACK * 3 * 4);
        }
    }
    __syncwarp();
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < BACK; i++)
            unit[(i * ROWS + r) * LANES + lane % LANES] = sum[r][i];
    __syncthreads();
    for (int e = thread_x(); e < tile::SUMS; e += BACK_THREADS) {
        int i = channel + e / LANES / ROWS, r = row0 + e % LANES / COLUMNS * ROWS + e / LANES % ROWS, c = column0 + e % COLUMNS;
        float all = room[e];
#pragma unroll
        for (int k = 1; k < BACK_WARPS * UNITS; k++)
            all += room[k * ROOM + e];
        int64_t to = (static_cast<int64_t>(n) * g.c.ci + i) * (g.c.hi * g.c.wi) + (r * g.c.wi + c);
        if (i < g.c.ci && r < g.c.hi && c < g.c.wi)
            gx[to] = add ? all + add[to] : all;
    }
}

enum { ANY_THREADS = 128 };
/* Any window: a thread makes a pixel of gx, three channels (blockIdx.y), from what it finds in caches:
 *
 *     gx (r, c)  <--  gy (u, v) under the taps (a, b) with u s = r + p - a, v s = c + p - b, four channels at a time
 *
 * Neighbours read neighbours of gy, and the same weights. Nothing is shared: few layers want it, on small images. */
template <bool SWISH>
__global__ void __launch_bounds__(ANY_THREADS)
conv_first_x(first_back g, const float *y, const float *gy, const float *packed, const float *add, float *gx)
{
    const int at = block_x() * ANY_THREADS + thread_x(), n = conv_quotient(at, g.image), k = g.c.k, s = g.c.s;
    const int pixel = at - n * static_cast<int>(g.image.d), r = conv_quotient(pixel, g.width), c = pixel - r * g.c.wi;
    const int channel = block_y() * BACK, blocks = conv_tiles(g.c.co, FAST_LANES);
    float sum[BACK] = {};
    if (n >= g.n)
        return;
    for (int tap = 0; tap < k * k; tap++) {
        int u = r + g.c.p - tap / k, v = c + g.c.p - tap % k;
        if (u < 0 || v < 0 || u % s || v % s || u / s >= g.c.ho || v / s >= g.c.wo)
            continue;
#pragma unroll 2
        for (int o = 0; o < blocks * 16; o += 4) {
            int64_t from = static_cast<int64_t>(n * blocks + o / 16) * (g.c.ho * g.c.wo) + (u / s * g.c.wo + v / s);
            float4 f = back_read<SWISH>(y, gy, from * 16 + o % 16);
#pragma unroll
            for (int i = 0; i < BACK; i++)
                if (channel + i < g.c.ci) {
                    float4 w = ld4(packed + static_cast<int64_t>((channel + i) * (k * k) + tap) * (blocks * 16) + o);
                    sum[i] = fmaf(f.w, w.w, fmaf(f.z, w.z, fmaf(f.y, w.y, fmaf(f.x, w.x, sum[i]))));
                }
            FLOPS(2 * BACK * 4);
        }
    }
#pragma unroll
    for (int i = 0; i < BACK; i++) {
        int64_t to = (static_cast<int64_t>(n) * g.c.ci + channel + i) * g.image.d + pixel;
        if (channel + i < g.c.ci)
            gx[to] = add ? sum[i] + add[to] : sum[i];
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

template <int COLUMNS, bool SWISH>
static void back_run(int n, const fast_conv *c, const float *y, const float *gy, const float *packed, const float *add,
                     float *gx)
{
    first_back g = { *c, {}, {}, n, conv_tiles(c->hi, 8), conv_tiles(c->wi, COLUMNS) };
    dim3 grid((unsigned)n * (unsigned)(g.tile_rows * g.tile_columns), (unsigned)conv_tiles(c->ci, BACK));
    const size_t bytes = back_tile<COLUMNS>::bytes;
    CHECKED(cudaFuncSetAttribute(conv_first_x3<COLUMNS, SWISH>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    LAUNCH((conv_first_x3<COLUMNS, SWISH>), grid, BACK_THREADS, bytes, CUDA_(stream), g, y, gy, packed, add, gx);
}

static void back_run_any(int n, const fast_conv *c, const float *y, const float *gy, const float *packed, const float *add,
                         float *gx)
{
    first_back g = { *c, conv_divide_by(c->hi * c->wi), conv_divide_by(c->wi), n, 0, 0 };
    dim3 grid((unsigned)conv_tiles(n * c->hi * c->wi, ANY_THREADS), (unsigned)conv_tiles(c->ci, BACK));
    if (y)
        LAUNCH(conv_first_x<true>, grid, ANY_THREADS, 0, CUDA_(stream), g, y, gy, packed, add, gx);
    else
        LAUNCH(conv_first_x<false>, grid, ANY_THREADS, 0, CUDA_(stream), g, y, gy, packed, add, gx);
}

void CUDA_(conv_first_bwd_x)(int n, const fast_conv *c, const float *y, const float *gy, const float *packed, const float *add,
                             float *gx)
{
    if (c->k != 3 || c->s != 1 || c->p != 1)
        back_run_any(n, c, y, gy, packed, add, gx);
    else if (c->wi > 16)
        (y ? back_run<32, true> : back_run<32, false>)(n, c, y, gy, packed, add, gx);
    else if (c->wi > 8)
        (y ? back_run<16, true> : back_run<16, false>)(n, c, y, gy, packed, add, gx);
    else
        (y ? back_run<8, true> : back_run<8, false>)(n, c, y, gy, packed, add, gx);
}
