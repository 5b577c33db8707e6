// nearest.cu: the nearest neighbour, to the last bit, and the cotangent of the last state, in one launch.    [ICD:6] [ICD:8]
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { IMAGES = 4, NEIGHBOURS = 32, PIXELS = 64, STRIDE = PIXELS + 1, THREADS = 32 * IMAGES, BLOCKS = 512 };
static_assert(BLOCKS / 2 <= CUDA_TICKETS, "one for each group of images whose neighbours are split");
static_assert(BLOCKS * IMAGES * (sizeof(double) + sizeof(int)) <= CUDA_SCRATCH, "the splits' candidates");

struct candidate { double square; int index; };

// Of two, the nearer; where they are as near, the one that comes first.
__device__ inline candidate nearer(candidate a, candidate b)
{
    return b.square < a.square || (b.square == a.square && b.index < a.index) ? b : a;
}

// The nearest of the warp's, in every lane.
__device__ inline candidate warp_nearest(candidate c)
{
#pragma unroll
    for (int by = 16; by > 0; by /= 2)
        c = nearer(c, {__shfl_xor_sync(WARP, c.square, by), __shfl_xor_sync(WARP, c.index, by)});
    return c;
}

// What a thread copies of a chunk: pixel t % 64 of every second row from t / 64.
enum { ROWS = THREADS / PIXELS, OF_X = NEIGHBOURS / ROWS, OF_IMAGES = IMAGES / ROWS };
struct chunk { float X[OF_X], x[OF_IMAGES]; };

__device__ inline int chunk_row() { return static_cast<int>(threadIdx.x) / PIXELS; }
__device__ inline int chunk_pixel() { return static_cast<int>(threadIdx.x) % PIXELS; }

// `rows` rows of d pixels, of which those from pixel `from` on: to[i] gets that of row chunk_row() + i ROWS, or 0.
template <int COUNT> __device__ inline void fetch(float (&to)[COUNT], int d, int rows, const float *a, int from)
{
    int pixel = from + chunk_pixel();
    const float *p = a + static_cast<size_t>(chunk_row()) * static_cast<size_t>(d) + static_cast<size_t>(pixel);
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        to[i] = pixel < d && chunk_row() + i * ROWS < rows ? p[i * ROWS * d] : 0.0f;
}

__device__ inline void put(const chunk &c, float *X, double *x)
{
#pragma unroll
    for (int i = 0; i < OF_X; i++)
        X[(chunk_row() + i * ROWS) * STRIDE + chunk_pixel()] = c.X[i];
#pragma unroll
    for (int i = 0; i < OF_IMAGES; i++)
        x[(chunk_row() + i * ROWS) * PIXELS + chunk_pixel()] = static_cast<double>(c.x[i]);
}

// v of one image, by a warp.
__device__ inline void cotangent(const fast_nearest &e, int image, candidate best)
{
    size_t at = static_cast<size_t>(image) * static_cast<size_t>(e.d);
    bool repelled = e.m > 0 && !(best.square <= 1e-12);
    float repel = repelled ? static_cast<float>(static_cast<double>(e.w_ent) / best.square) : 0.0f;
    const float *neighbour = repelled ? e.X + static_cast<size_t>(best.index) * static_cast<size_t>(e.d) : nullptr;
#pragma unroll 4
    for (int j = static_cast<int>(warp_lane()); j < e.d; j += 32) {
        size_t p = at + static_cast<size_t>(j);
        FLOPS(5);
        float a = e.w_opt * e.g[p];
        if (repelled)
            a = fmaf(-repel, e.x[p] - neighbour[j], a);
        e.v[p] = e.inside ? e.inside[p] * a : a;
    }
}

// A pair's distance is one sum in double over its pixels in order, so a thread has a pair, and a block 4 images by the 32
// neighbours of a tile; the tiles are shared out to `splits` blocks:
//              tile 0    tile 1    ..  tile `splits`
//   warp 0   | block 0 | block 1 | .. | block 0 |      image 0 of the four; a lane is a neighbour of the tile, and keeps its
//   ..       |         |         |    |         |      running minimum in registers
//   warp 3   |         |         |    |         |      image 3
// Shared memory holds two chunks of 64 pixels: X[2][32][65] as floats, rows one apart in their banks, so that 32 lanes read
// 32 banks; x[2][4][64] as doubles, which a warp reads as one. While a chunk is summed, the next is on its way to registers,
// 16 + 2 floats a thread, a warp's load 128 bytes in a row; it is put into the other half, and one barrier ends the chunk.
// Beyond d both are 0, which adds nothing.
// The lanes' minima meet by shuffles, ties to the lower index, and wait in scratch, [image][split]; the `last` of an image's
// blocks to arrive takes the nearest over the splits (a minimum: whoever is last) and writes index, square and the cotangent,
// a warp an image.
// What takes time is the chain of d additions in double: on paper some 30 us for 3072 pixels on an H100.
__global__ void __launch_bounds__(THREADS)
nearest_of(fast_nearest e, int splits, double *squares, int *indices, unsigned *tickets)
{
    SHARED(float, X, [2][NEIGHBOURS * STRIDE]);
    SHARED(double, x, [2][IMAGES * PIXELS]);
    SHARED(unsigned, last, [1]);
    int group = static_cast<int>(blockIdx.x) / splits, split = static_cast<int>(blockIdx.x) % splits;
    int first = group * IMAGES, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const float *images = e.x + static_cast<size_t>(first) * static_cast<size_t>(e.d);
    candidate best = {static_cast<double>(INFINITY), 0};
    for (int base = split * NEIGHBOURS; base < e.m; base += splits * NEIGHBOURS) {
        const float *tile = e.X + static_cast<size_t>(base) * static_cast<size_t>(e.d);
        double sum = 0;
        chunk next;
        fetch(next.X, e.d, e.m - base, tile, 0);
        fetch(next.x, e.d, e.n - first, images, 0);
        put(next, X[0], x[0]);
        __syncthreads();
        for (int from = 0, now = 0; from < e.d; from += PIXELS, now ^= 1) {
            bool more = from + PIXELS < e.d;
            if (more) {
                fetch(next.X, e.d, e.m - base, tile, from + PIXELS);
                fetch(next.x, e.d, e.n - first, images, from + PIXELS);
            }
#pragma unroll 16
            for (int p = 0; p < PIXELS; p++) {
                double apart = static_cast<double>(X[now][lane * STRIDE + p]) - x[now][warp * PIXELS + p];
                sum += apart * apart;
            }
            FLOPS(2 * 3 * PIXELS);               // one in double as two
            if (more)
                put(next, X[now ^ 1], x[now ^ 1]);
            __syncthreads();
        }
        if (base + lane < e.m && sum < best.square)
            best = {sum, base + lane};
    }
    best = warp_nearest(best);
    int image = first + warp;
    if (splits > 1) {
        if (lane == 0) {
            squares[image * splits + split] = best.square;
            indices[image * splits + split] = best.index;
        }
        if (!last_block(tickets + group, static_cast<unsigned>(splits), last))
            return;
        best = {static_cast<double>(INFINITY), 0};
        for (int s = lane; s < splits; s += 32)
            best = nearer(best, {squares[image * splits + s], indices[image * splits + s]});
        best = warp_nearest(best);
    }
    if (image >= e.n)
        return;
    if (lane == 0 && e.m > 0) {
        e.index[image] = best.index;
        e.square[image] = best.square;
    }
    cotangent(e, image, best);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(nearest)(fast_ctx *ctx, const fast_nearest *e)
{
    int groups = (e->n - 1) / IMAGES + 1, tiles = (e->m - 1) / NEIGHBOURS + 1, most = BLOCKS / groups;
    int splits = tiles < most ? tiles : most;
    splits = splits < 1 ? 1 : splits;
    double *squares = static_cast<double *>(ctx->scratch);
    int *indices = reinterpret_cast<int *>(squares + groups * IMAGES * (splits > 1 ? splits : 0));
    LAUNCH(nearest_of, static_cast<unsigned>(groups * splits), THREADS, 0, CUDA_(stream), *e, splits, squares, indices,
           CUDA_(tickets));
}
