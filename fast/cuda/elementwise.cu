// elementwise.cu: layout, copies, linear combinations (one thread a quad, map.h), inner products, energies: all bytes bound.
#include "fast/cuda/map.h"
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

// ---- planar (n,c,hw) <-> blocked (n,B,hw,16) ----

constexpr int TILE = 64, TILE_ROW = TILE + 2, TILE_THREADS = 256;

struct packing { int n, c, hw, blocks; };

// Where lane l of pixel P is in a planar tensor; SIZE_MAX: nowhere.
__device__ inline size_t planar_at(const packing &s, size_t P, unsigned l)
{
    size_t hw = static_cast<size_t>(s.hw), blocks = static_cast<size_t>(s.blocks), c = static_cast<size_t>(s.c);
    size_t z = P / hw, image = z / blocks, channel = 16 * (z % blocks) + l;
    return image < static_cast<size_t>(s.n) && channel < c ? (image * c + channel) * hw + P % hw : SIZE_MAX;
}

// Calls f(lane, pixel of the tile) for the thread's four planar places.
template <class F> __device__ inline void planar_places(const packing &s, F f)
{
    unsigned t = threadIdx.x;
#pragma unroll
    for (unsigned k = 0; k < 16 * TILE / TILE_THREADS; k++)
        if (s.hw >= 8)
            f(t / TILE + TILE_THREADS / TILE * k, t % TILE);
        else
            f(t % 16, t / 16 + TILE_THREADS / 16 * k);
}

// A block turns a tile of 16 channels x 64 pixels, counted through all images and blocks of channels: P = (image B + block) hw
// + pixel. Planar accesses take 32 pixels of a channel a warp, or where images are tiny 2 pixels of 16 channels, which then lie
// together; blocked ones take quads, 8 pixels a warp. In shared memory a channel's row is 66 floats: a quad's four lanes are
// read at 4 x 66 = 8 (mod 32) banks from one another, so that 8 pixels x 4 quads meet every bank once.
//     tile     pixel 0 ..63        bank of lane l, pixel p: (2 l + p) % 32
//       lane 0 [ ......... ]--     written along rows (planar side), read by quads (blocked side)
//          ..15[ ......... ]--
// 256 threads, four floats each; one barrier, no pipeline: 4 KiB a block leave room for many. Lanes beyond c become 0.
__global__ void __launch_bounds__(TILE_THREADS) pack(packing s, const float *planar, float *blocked)
{
    SHARED(float, tile, [16][TILE_ROW]);
    size_t first = static_cast<size_t>(blockIdx.x) * TILE;
    planar_places(s, [&](unsigned l, unsigned p) {
        size_t at = planar_at(s, first + p, l);
        tile[l][p] = at == SIZE_MAX ? 0.0f : planar[at];
    });
    __syncthreads();
    unsigned p = threadIdx.x / 4, l = 4 * (threadIdx.x % 4);
    size_t P = first + p, end = static_cast<size_t>(s.n) * static_cast<size_t>(s.blocks) * static_cast<size_t>(s.hw);
    if (P < end)
        st4(blocked + 16 * P + l, make_float4(tile[l][p], tile[l + 1][p], tile[l + 2][p], tile[l + 3][p]));
}

// pack the other way round: `tile` is written by quads and read along its rows; lanes beyond c go nowhere.
__global__ void __launch_bounds__(TILE_THREADS) unpack(packing s, const float *blocked, float *planar)
{
    SHARED(float, tile, [16][TILE_ROW]);
    size_t first = static_cast<size_t>(blockIdx.x) * TILE;
    unsigned p = threadIdx.x / 4, l = 4 * (threadIdx.x % 4);
    size_t P = first + p, end = static_cast<size_t>(s.n) * static_cast<size_t>(s.blocks) * static_cast<size_t>(s.hw);
    if (P < end) {
        float4 v = ld4(blocked + 16 * P + l);
        tile[l][p] = v.x;
        tile[l + 1][p] = v.y;
        tile[l + 2][p] = v.z;
        tile[l + 3][p] = v.w;
    }
    __syncthreads();
    planar_places(s, [&](unsigned lane, unsigned pixel) {
        size_t at = planar_at(s, first + pixel, lane);
        if (at != SIZE_MAX)
            planar[at] = tile[lane][pixel];
    });
}

static packing packing_of(int n, int c, int hw) { return packing{ n, c, hw, fast_blocks(c) }; }
static unsigned tiles(const packing &s)
{
    size_t pixels = static_cast<size_t>(s.n) * static_cast<size_t>(s.blocks) * static_cast<size_t>(s.hw);
    return static_cast<unsigned>((pixels + TILE - 1) / TILE);
}

// ---- arrays, walked as map.h draws it: 256 threads, a quad each, nothing shared ----

// to = from: 8 bytes a float.
__global__ void __launch_bounds__(MAP_THREADS) copy(size_t count, size_t quads, const float *from, float *to)
{
    map(count, quads, [=](size_t at, auto kind) { put(to + at, get(from + at, kind)); });
}

// to = 0: 4 bytes a float.
__global__ void __launch_bounds__(MAP_THREADS) zero(size_t count, size_t quads, float *to)
{
    map(count, quads, [=](size_t at, auto kind) { put(to + at, each([](float) { return 0.0f; }, kind)); });
}

// y = *a x + add: 8 bytes a float, 12 with add.
__global__ void __launch_bounds__(MAP_THREADS)
scale_add(size_t count, size_t quads, const float *a, const float *x, const float *add, float *y)
{
    float factor = a ? *a : 1.0f;
    map(count, quads, [=](size_t at, auto kind) {
        auto scaled = each([=](float v) { return factor * v; }, get(x + at, kind));
        put(y + at, add ? scaled + get(add + at, kind) : scaled);
    });
}

// out = m (x + a y): 8 to 16 bytes a float.
__global__ void __launch_bounds__(MAP_THREADS)
mul_add(size_t count, size_t quads, float a, const float *m, const float *x, const float *y, float *out)
{
    map(count, quads, [=](size_t at, auto kind) {
        auto sum = each([=](float v) { return a * v; }, get(y + at, kind));
        if (x)
            sum = get(x + at, kind) + sum;
        put(out + at, m ? get(m + at, kind) * sum : sum);
    });
}

// ---- *out += sum over images i of scale[i] <a_i, b_i>, in double ----

constexpr int DOT_THREADS = 256, DOT_BLOCKS = 1024;

// partial[r][s] = the sum of block (s, r): slice s of images r, r + gridDim.y, ... A slice is every gridDim.x-th 256 quads:
//     quads of an image   | block 0 | block 1 | .. | block 0 | ..      thread t: quad t of each, 512 bytes in a row a warp
// A thread adds its own in order, a block by block_sum in `room`; no pipeline, each load is added as it comes.
__global__ void __launch_bounds__(DOT_THREADS)
dot_slices(int n, size_t count, size_t quads, const float *a, const float *b, const float *scale, double *partial)
{
    SHARED(double, room, [DOT_THREADS / 32]);
    size_t stride = static_cast<size_t>(gridDim.x) * DOT_THREADS;
    double total = 0;
    for (int i = static_cast<int>(blockIdx.y); i < n; i += static_cast<int>(gridDim.y)) {
        const float *p = a + static_cast<size_t>(i) * count, *q = b + static_cast<size_t>(i) * count;
        double sum = 0;
        for (size_t j = static_cast<size_t>(blockIdx.x) * DOT_THREADS + threadIdx.x; j < count - 3 * quads; j += stride)
            if (j < quads) {
                float4 u = ld4(p + 4 * j), v = ld4(q + 4 * j);
                sum = fma(static_cast<double>(u.x), static_cast<double>(v.x), sum);
                sum = fma(static_cast<double>(u.y), static_cast<double>(v.y), sum);
                sum = fma(static_cast<double>(u.z), static_cast<double>(v.z), sum);
                sum = fma(static_cast<double>(u.w), static_cast<double>(v.w), sum);
            } else
                sum = fma(static_cast<double>(p[j + 3 * quads]), static_cast<double>(q[j + 3 * quads]), sum);
        total += scale ? static_cast<double>(scale[i]) * sum : sum;
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0)
        partial[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

// One block adds up the blocks' sums: thread t those of t, t + 256, ..., then block_sum in `room`.
__global__ void __launch_bounds__(DOT_THREADS) dot_finish(int count, const double *partial, float *out)
{
    SHARED(double, room, [DOT_THREADS / 32]);
    double sum = 0;
    for (int j = static_cast<int>(threadIdx.x); j < count; j += DOT_THREADS)
        sum += partial[j];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        *out += static_cast<float>(sum);
}

// ---- energies and the losses' weights: one thread an image, nothing shared ----

// energy (n) = lane 0 of y (n,1,1,1), blocked.
__global__ void __launch_bounds__(MAP_THREADS) energies(int n, const float *y, float *energy)
{
    int i = static_cast<int>(blockIdx.x * MAP_THREADS + threadIdx.x);
    if (i < n)
        energy[i] = y[static_cast<size_t>(i) * FAST_LANES];
}

// weight (scales,n) = c0 + c1 energy, or with `together` c0 + c1 times the sum over the image's scales, in their order.
__global__ void __launch_bounds__(MAP_THREADS)
weights(int n, int scales, int together, float c0, float c1, const float *energy, float *weight)
{
    int i = static_cast<int>(blockIdx.x * MAP_THREADS + threadIdx.x);
    if (i >= n)
        return;
    float sum = 0;
    for (int s = 0; together && s < scales; s++)
        sum += energy[s * n + i];
    for (int s = 0; s < scales; s++)
        weight[s * n + i] = fmaf(c1, together ? sum : energy[s * n + i], c0);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(pack)(fast_ctx *, int n, int c, int hw, const float *planar, float *blocked)
{
    packing s = packing_of(n, c, hw);
    LAUNCH(pack, tiles(s), TILE_THREADS, 0, CUDA_(stream), s, planar, blocked);
}

void CUDA_(unpack)(fast_ctx *, int n, int c, int hw, const float *blocked, float *planar)
{
    packing s = packing_of(n, c, hw);
    LAUNCH(unpack, tiles(s), TILE_THREADS, 0, CUDA_(stream), s, blocked, planar);
}

void CUDA_(copy)(fast_ctx *, size_t count, const float *from, float *to)
{
    size_t quads = map_quads(count, from, to);
    LAUNCH(copy, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, from, to);
}

void CUDA_(zero)(fast_ctx *, size_t count, float *to)
{
    size_t quads = map_quads(count, to);
    LAUNCH(zero, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, to);
}

void CUDA_(scale_add)(fast_ctx *, size_t count, const float *a, const float *x, const float *add, float *y)
{
    size_t quads = map_quads(count, x, add, y);
    LAUNCH(scale_add, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, a, x, add, y);
}

void CUDA_(mul_add)(fast_ctx *, size_t count, float a, const float *m, const float *x, const float *y, float *out)
{
    size_t quads = map_quads(count, m, x, y, out);
    LAUNCH(mul_add, map_blocks(count, quads), MAP_THREADS, 0, CUDA_(stream), count, quads, a, m, x, y, out);
}

void CUDA_(dot)(fast_ctx *ctx, int n, size_t count, const float *a, const float *b, const float *scale, float *out)
{
    static_assert(DOT_BLOCKS * sizeof(double) <= CUDA_SCRATCH, "the partial sums have room");
    unsigned rows = static_cast<unsigned>(n < DOT_BLOCKS ? n : DOT_BLOCKS), most = DOT_BLOCKS / rows;
    size_t quads = count % 4 == 0 ? map_quads(count, a, b) : 0, wanted = (count + 16 * DOT_THREADS - 1) / (16 * DOT_THREADS);
    dim3 grid(wanted > most ? most : wanted > 0 ? static_cast<unsigned>(wanted) : 1, rows);
    double *partial = static_cast<double *>(ctx->scratch);
    LAUNCH(dot_slices, grid, DOT_THREADS, 0, CUDA_(stream), n, count, quads, a, b, scale, partial);
    LAUNCH(dot_finish, 1, DOT_THREADS, 0, CUDA_(stream), static_cast<int>(grid.x * grid.y), partial, out);
}

void CUDA_(loss_weights)(fast_ctx *, int n, int scales, const float *const *y, int together, float c0, float c1,
                         float *energy, float *weight)
{
    unsigned blocks = item_blocks(static_cast<size_t>(n));
    for (int s = 0; s < scales; s++)
        LAUNCH(energies, blocks, MAP_THREADS, 0, CUDA_(stream), n, y[s], energy + s * n);
    if (weight)
        LAUNCH(weights, blocks, MAP_THREADS, 0, CUDA_(stream), n, scales, together, c0, c1, energy, weight);
}
