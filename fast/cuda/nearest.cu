// nearest.cu: the nearest neighbour, to the last bit, and the cotangent of the last state.                          [ICD:8]
//
// One launch, one block an image x: distances, running minimum and index. Thread t owns neighbours t, t + 256, ... and walks
// their pixels in order, in double, so that the sum is the one that the contract asks for. The plain way is quick enough:
// 128 images x 1000 neighbours x 3072 pixels are 1.2e9 operations in double (0.1 ms on an H100, 0.3 on an A100), and as
// many bytes from the second-level cache (128 times 12 MB: 0.3 ms); an iteration of 40 steps takes hundreds.
//
// Rows of X lie apart, so PIXELS of each of 256 neighbours go through shared memory; the next chunk is on its way in
// registers while this one is summed, one barrier a chunk:
//     tile[2]:  neighbour 0: 16 pixels, 1 of padding | neighbour 1: ... | ... | neighbour 255
// Reading, lane t is at 17 t: 32 banks. Writing, a half warp has 16 pixels of one neighbour, the other half those of the one
// 16 further, 17 * 16 = 16 banks on: 32 banks. In global memory each half is 64 bytes in a row.
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { THREADS = 256, WARPS = THREADS / 32, PIXELS = 16, STRIDE = PIXELS + 1 };

struct candidate { double square; int index; };

// Of two, the nearer; where they are as near, the one that comes first.
__device__ inline candidate nearer(candidate a, candidate b)
{
    return b.square < a.square || (b.square == a.square && b.index < a.index) ? b : a;
}

// What a thread copies of a tile: one pixel of 16 neighbours, and perhaps one of x.
__device__ inline int tile_pixel() { return static_cast<int>(threadIdx.x) % PIXELS; }
__device__ inline int tile_row(int i)
{
    int t = static_cast<int>(threadIdx.x);
    return t / 32 + 8 * (i % 2) + 16 * (t / 16 % 2) + 32 * (i / 2);
}

struct chunk { float X[PIXELS], x; };

__device__ inline void fetch(chunk &c, int d, const float *x, int neighbours, const float *X, int from)
{
    int pixel = from + tile_pixel();
#pragma unroll
    for (int i = 0; i < PIXELS; i++)
        c.X[i] = pixel < d && tile_row(i) < neighbours
                     ? X[static_cast<size_t>(tile_row(i)) * static_cast<size_t>(d) + static_cast<size_t>(pixel)] : 0.0f;
    c.x = pixel < d && threadIdx.x < PIXELS ? x[pixel] : 0.0f;
}

__device__ inline void put(const chunk &c, float *tile, double *x)
{
#pragma unroll
    for (int i = 0; i < PIXELS; i++)
        tile[tile_row(i) * STRIDE + tile_pixel()] = c.X[i];
    if (threadIdx.x < PIXELS)
        x[threadIdx.x] = static_cast<double>(c.x);
}

__global__ void __launch_bounds__(THREADS, 2)
nearest_of(int d, const float *x, int m, const float *X, int32_t *index, double *square)
{
    SHARED(float, tile, [2][THREADS * STRIDE]);
    SHARED(double, pixels, [2][PIXELS]);
    SHARED(double, squares, [WARPS]);
    SHARED(int, indices, [WARPS]);
    x += static_cast<size_t>(blockIdx.x) * static_cast<size_t>(d);
    candidate best = {static_cast<double>(INFINITY), 0};
    for (int base = 0; base < m; base += THREADS) {
        const float *some = X + static_cast<size_t>(base) * static_cast<size_t>(d);
        int mine = base + static_cast<int>(threadIdx.x);
        double sum = 0;
        chunk next;
        fetch(next, d, x, m - base, some, 0);
        put(next, tile[0], pixels[0]);
        __syncthreads();
        for (int from = 0, now = 0; from < d; from += PIXELS, now ^= 1) {
            if (from + PIXELS < d)
                fetch(next, d, x, m - base, some, from + PIXELS);
            int count = d - from < PIXELS ? d - from : PIXELS;
            for (int p = 0; p < count && mine < m; p++) {
                double e = static_cast<double>(tile[now][static_cast<int>(threadIdx.x) * STRIDE + p]) - pixels[now][p];
                sum += e * e;
            }
            FLOPS(2 * 3 * count);            // one in double as two
            if (from + PIXELS < d)
                put(next, tile[now ^ 1], pixels[now ^ 1]);
            __syncthreads();
        }
        if (mine < m && sum < best.square)
            best = {sum, mine};
    }
#pragma unroll
    for (int by = 16; by > 0; by /= 2)
        best = nearer(best, {__shfl_xor_sync(WARP, best.square, by), __shfl_xor_sync(WARP, best.index, by)});
    if (warp_lane() == 0) {
        squares[threadIdx.x / 32] = best.square;
        indices[threadIdx.x / 32] = best.index;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int w = 1; w < WARPS; w++)
        best = nearer(best, {squares[w], indices[w]});
    index[blockIdx.x] = best.index;
    square[blockIdx.x] = best.square;
}

// A block: SPAN pixels of an image.
enum { SPAN = 4 * THREADS };

__global__ void __launch_bounds__(THREADS)
cotangent(int d, int spans, float w_opt, const float *g, float w_ent, const float *x, const float *X, const int32_t *index,
          const double *square, const float *inside, float *v)
{
    unsigned image = blockIdx.x / static_cast<unsigned>(spans), span = blockIdx.x % static_cast<unsigned>(spans);
    size_t at = static_cast<size_t>(image) * static_cast<size_t>(d);
    bool repelled = index && !(square[image] <= 1e-12);
    float repel = repelled ? static_cast<float>(static_cast<double>(w_ent) / square[image]) : 0.0f;
    const float *neighbour = repelled ? X + static_cast<size_t>(index[image]) * static_cast<size_t>(d) : nullptr;
#pragma unroll
    for (unsigned i = 0; i < SPAN; i += THREADS) {
        size_t j = static_cast<size_t>(span) * SPAN + i + threadIdx.x;
        if (j >= static_cast<size_t>(d))
            break;
        FLOPS(5);
        float a = w_opt * g[at + j];
        if (repelled)
            a = fmaf(-repel, x[at + j] - neighbour[j], a);
        v[at + j] = inside ? inside[at + j] * a : a;
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(nearest)(fast_ctx *, int n, int d, const float *x, int m, const float *X, int32_t *index, double *square)
{
    LAUNCH(nearest_of, static_cast<unsigned>(n), THREADS, 0, CUDA_(stream), d, x, m, X, index, square);
}

void CUDA_(kl_cotangent)(fast_ctx *, int n, int d, float w_opt, const float *g, float w_ent, const float *x, const float *X,
                         const int32_t *index, const double *square, const float *inside, float *v)
{
    int spans = (d - 1) / SPAN + 1;
    LAUNCH(cotangent, static_cast<unsigned>(n) * static_cast<unsigned>(spans), THREADS, 0, CUDA_(stream), d, spans, w_opt, g,
           w_ent, x, X, index, square, inside, v);
}
