// attend.h: o = softmax(q . k) v in four passes: tiles of 64 queries against tiles of 64 keys. [ICD:table5.attn] [ANA:nets]
//
// Queries and keys play the same part, so one scheme does all: a block owns 64 rows of an image (queries, or with KEYS keys)
// and walks the columns (the others), 64 at a time. x, z: the rows' vectors, y, u: the columns' (queries as rows: q, go; keys
// as columns: k, v; KEYS: the sides swapped); _t: tangents, save that the queries' z_t or u_t is ho. A tile needs
//     s = x.y   l = x.y_t + x_t.y   g = z.u   b = z.u_t + z_t.u   p = exp(s - largest)/sum      by inner products, and adds
//     VALUES    p u                           fwd, gv            (fwd: online softmax)
//     VALUES_T  p (l - <l>) u + p u_t         tan, hv            <f> = sum of p f over the keys of a query
//     LOGITS    p (g - <g>) y                 gq, gk             (gq: LOGITS_ONLINE finds <g> as it goes, for gk)
//     LOGITS_T  h y + p (g - <g>) y_t         hq, hk             h = p (f - <f>), f = b + g (l - <l>) - l <g>
// to its rows' sums. No sum is shared by two blocks: the order of each is fixed.
//
// A product runs in parts, each copied (cp.async) into one of two stages while the other is multiplied; one barrier a part. A
// stage: 4 slots of 64 places x 16 channels. Inner products: rows and columns of two blocks of channels; outer: 64 channels of
// columns. Place j of a slot is at LINE (j%4) + PLACE (j/4), so that rows 4ty + r and columns 4tx + s meet no bank twice:
//     | 0 4 8 .. 60 |pad| 1 5 9 .. 61 |pad| 2 6 .. 62 |pad| 3 7 .. 63 |pad|       each place 16 floats and 4 of padding
// A tile's weights go through `matrix` (64 x 68) to the outer product, where a thread has rows group + 16r of 4 channels.
#ifndef FAST_CUDA_ATTEND_H
#define FAST_CUDA_ATTEND_H

#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { TILE = 64, THREADS = 256, CHANNELS = FAST_LANES };
enum { PLACE = CHANNELS + 4, LINE = TILE / 4 * PLACE + 16, SLOT = 4 * LINE, STAGE = 4 * SLOT, ROW = TILE + 4 };
enum { TOP, INVERSE, MEAN_L, MEAN_G, MEAN_F, FACTOR, STATS };       // each of 64 places; FACTOR: worker::scale
enum { SHARED_FLOATS = 2 * STAGE + TILE * ROW + STATS * TILE };
// Blocks on a multiprocessor that the registers are to leave room for, where out is narrow; sm_75 has shared memory for one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
enum { RESIDENT = 1 };
#else
enum { RESIDENT = 2 };
#endif

// Products in their order, and which of them a pass has.
enum { XY, X_YT, XT_Y, ZU, Z_UT, ZT_U, OUT, OUT_T, PRODUCTS };
enum : unsigned {
    HAS_S = 1u << XY, HAS_L = 1u << X_YT | 1u << XT_Y, HAS_G = 1u << ZU, HAS_B = 1u << Z_UT | 1u << ZT_U,
    ADDS = 1u << OUT, ADDS_T = 1u << OUT_T,
    VALUES = HAS_S | ADDS, VALUES_T = HAS_S | HAS_L | ADDS | ADDS_T,
    LOGITS = HAS_S | HAS_G | ADDS, LOGITS_ONLINE = LOGITS | ADDS_T, LOGITS_T = HAS_S | HAS_L | HAS_G | HAS_B | ADDS | ADDS_T,
    MEANS_L = HAS_S | HAS_L, MEANS = HAS_S | HAS_L | HAS_G | HAS_B
};
__host__ __device__ constexpr int following(unsigned pass, int product)
{
    do
        product = (product + 1) % PRODUCTS;
    while (!(pass >> product & 1));
    return product;
}
// Does it read that mean of the queries?
__host__ __device__ constexpr bool reads(unsigned pass, int mean)
{
    return pass == LOGITS_T || (pass == VALUES_T && mean == MEAN_L) || (pass == LOGITS && mean == MEAN_G);
}

struct side { const float *x, *x_t, *z, *z_t; int places; };         // x, x_t: dk channels; z, z_t: dv
struct attention {
    side row, column;
    int k_blocks, v_blocks, channels;    // of 16; channels of out
    int tiles;                           // of rows, of an image
    size_t queries;                      // of all images
    float *rows, *means;                 // (queries,2) largest, 1/sum; (3,queries) <l>, <g>, <f>
    float *out;
};

typedef float four[4][4];                // what a thread has of a tile or of out
template <class F> __device__ inline void each(F f)
{
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            f(r, c);
}

// 16 bytes, or zeros, to shared memory: asynchronously where the device can.
__device__ inline void copy16(float *to, const float *from, bool there)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    st4(to, there ? ld4(from) : make_float4(0, 0, 0, 0));
#else
    cp_async<16>(to, from, there ? 16 : 0);
#endif
}
__device__ inline void copies_end()
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async_commit();
#endif
}
__device__ inline void copies_wait()
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async_wait<0>();
#endif
}

// Over the 16 threads of a row.
__device__ inline float row_sum(float v)
{
#pragma unroll
    for (int by = 8; by > 0; by /= 2)
        v += __shfl_xor_sync(~0u, v, by);
    return v;
}
__device__ inline float row_largest(float v)
{
#pragma unroll
    for (int by = 8; by > 0; by /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, by));
    return v;
}

// A block's work. PARTS x 64 channels of out.
template <unsigned PASS, bool KEYS, int PARTS> struct worker {
    const attention &a;
    float *stages, *matrix, *stats;      // stats: of each row, with KEYS of each column; FACTOR always of rows
    size_t image;
    int first, slab, turn;               // first row; which PARTS x 64 channels; the stage that fills
    static constexpr bool SOFTMAX = PASS == VALUES && !KEYS;

    __device__ worker(const attention &of, float *shared)
        : a(of), stages(shared), matrix(stages + 2 * STAGE), stats(matrix + TILE * ROW),
          image(blockIdx.x / static_cast<unsigned>(of.tiles)), first(static_cast<int>(blockIdx.x) % of.tiles * TILE),
          slab(static_cast<int>(blockIdx.y)), turn(0)
    {
        copy<XY>(0, 0);
    }
    __device__ static int thread() { return static_cast<int>(threadIdx.x); }
    __device__ static int tx() { return thread() % 16; }
    __device__ static int ty() { return thread() / 16; }
    __device__ static int quad() { return thread() % 4 * 4; }
    __device__ static int group() { return thread() / 4 % 16; }
    __device__ int out_blocks() const { return PASS & HAS_G ? a.k_blocks : a.v_blocks; }
    __device__ int out_block(int part) const { return 4 * (slab * PARTS + part) + thread() / 64; }

    // ---- copies ----

    // Places from.. of channel block `block` -> a slot; 0 beyond the image. A warp copies 8 places, 512 bytes in a row.
    __device__ void copy_slot(float *slot, const float *x, const side &of, int blocks, int block, int from) const
    {
        int j = thread() / 4;
        bool there = from + j < of.places;
        size_t line = image * static_cast<size_t>(blocks) + static_cast<size_t>(block);
        size_t at = (line * static_cast<size_t>(of.places) + static_cast<size_t>(from + j)) * CHANNELS;
        copy16(slot + j % 4 * LINE + j / 4 * PLACE + quad(), there ? x + at + quad() : x, there);
    }

    template <int P> __device__ int parts() const
    {
        return P < ZU ? (a.k_blocks + 1) / 2 : P < OUT ? (a.v_blocks + 1) / 2 : PARTS;
    }

    // Begin to copy a part of product P with a tile of columns.
    template <int P> __device__ void copy(int tile, int part)
    {
        float *stage = stages + turn * STAGE;
        if constexpr (P < OUT) {
            int blocks = P < ZU ? a.k_blocks : a.v_blocks;
            const float *rows = P == XT_Y ? a.row.x_t : P == ZT_U ? a.row.z_t : P < ZU ? a.row.x : a.row.z;
            const float *columns = P == X_YT ? a.column.x_t : P == Z_UT ? a.column.z_t : P < ZU ? a.column.x : a.column.z;
            for (int h = 0; h < 2 && 2 * part + h < blocks; h++) {
                copy_slot(stage + 2 * h * SLOT, rows, a.row, blocks, 2 * part + h, first);
                copy_slot(stage + (2 * h + 1) * SLOT, columns, a.column, blocks, 2 * part + h, tile * TILE);
            }
        } else {
            constexpr bool tangent = P == OUT_T && PASS != LOGITS_ONLINE;
            const float *columns = PASS & HAS_G ? (tangent ? a.column.x_t : a.column.x) : tangent ? a.column.z_t : a.column.z;
            int block = 4 * (slab * PARTS + part);
            for (int h = 0; h < 4 && block + h < out_blocks(); h++)
                copy_slot(stage + h * SLOT, columns, a.column, out_blocks(), block + h, tile * TILE);
        }
        copies_end();
    }

    // A part of product P has come; what follows it is begun.
    template <int P> __device__ const float *arrive(int tile, int part)
    {
        copies_wait();
        __syncthreads();
        const float *stage = stages + turn * STAGE;
        turn ^= 1;
        constexpr int NEXT = following(PASS, P);
        int then = tile + (NEXT <= P);
        if (part + 1 < parts<P>())
            copy<P>(tile, part + 1);
        else if (then * TILE < a.column.places)
            copy<NEXT>(then, 0);
        return stage;
    }

    // ---- products ----

    // sum[r][c] += <row 4ty + r, column 4tx + c>
    template <int P> __device__ void inner(int tile, four sum)
    {
        for (int part = 0; part < parts<P>(); part++) {
            const float *stage = arrive<P>(tile, part);
            int blocks = (P < ZU ? a.k_blocks : a.v_blocks) - 2 * part;
            for (int h = 0; h < 2 && h < blocks; h++, stage += 2 * SLOT)
#pragma unroll 1
                for (int k = 0; k < CHANNELS; k += 4) {
                    float4 rows[4];
#pragma unroll
                    for (int r = 0; r < 4; r++)
                        rows[r] = ld4(stage + r * LINE + ty() * PLACE + k);
#pragma unroll
                    for (int c = 0; c < 4; c++) {
                        float4 column = ld4(stage + SLOT + c * LINE + tx() * PLACE + k);
#pragma unroll
                        for (int r = 0; r < 4; r++) {
                            sum[r][c] = fmaf(rows[r].x, column.x, sum[r][c]);
                            sum[r][c] = fmaf(rows[r].y, column.y, sum[r][c]);
                            sum[r][c] = fmaf(rows[r].z, column.z, sum[r][c]);
                            sum[r][c] = fmaf(rows[r].w, column.w, sum[r][c]);
                        }
                    }
                    FLOPS(128);
                }
        }
    }

    // acc[r][c] += sum over columns of matrix (row group + 16r) times channel quad + c
    __device__ void multiply(const float *slot, four acc)
    {
#pragma unroll 1
        for (int j = 0; j < TILE; j += 4) {
            float weight[4][4];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float4 m = ld4(matrix + (group() + 16 * r) * ROW + j);
                weight[r][0] = m.x, weight[r][1] = m.y, weight[r][2] = m.z, weight[r][3] = m.w;
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float4 column = ld4(slot + i * LINE + j / 4 * PLACE + quad());
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    acc[r][0] = fmaf(weight[r][i], column.x, acc[r][0]);
                    acc[r][1] = fmaf(weight[r][i], column.y, acc[r][1]);
                    acc[r][2] = fmaf(weight[r][i], column.z, acc[r][2]);
                    acc[r][3] = fmaf(weight[r][i], column.w, acc[r][3]);
                }
            }
            FLOPS(128);
        }
    }

    // acc += m x columns; before(part) comes first, when m and FACTOR are everybody's.
    template <int P, class F> __device__ void outer(int tile, const four m, four *acc, F before)
    {
        if (P == OUT_T)
            __syncthreads();                     // the matrix of OUT has been read
#pragma unroll
        for (int r = 0; r < 4; r++)
            st4(matrix + (4 * ty() + r) * ROW + 4 * tx(), make_float4(m[r][0], m[r][1], m[r][2], m[r][3]));
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const float *stage = arrive<P>(tile, part);
            before(part);
            if (out_block(part) < out_blocks())
                multiply(stage + thread() / 64 * SLOT, acc[part]);
        }
    }
    template <int P> __device__ void outer(int tile, const four m, four *acc)
    {
        outer<P>(tile, m, acc, [](int) {});
    }

    // ---- statistics ----

    // Those of the queries from.. -> stats; 0 beyond the last.
    __device__ void read_stats(int from, int places)
    {
        if (thread() >= TILE)
            return;
        size_t query = image * static_cast<size_t>(places) + static_cast<size_t>(from + thread());
        bool there = from + thread() < places;
        float2 row = there ? ld2(a.rows + 2 * query) : make_float2(0, 0);
        stats[TOP * TILE + thread()] = row.x;
        stats[INVERSE * TILE + thread()] = row.y;
#pragma unroll
        for (int m = 0; m < 3; m++)
            if (reads(PASS, MEAN_L + m))
                stats[(MEAN_L + m) * TILE + thread()] = there ? a.means[static_cast<size_t>(m) * a.queries + query] : 0.0f;
    }
    struct stat { float of[4]; __device__ float operator()(int r, int c) const { return of[KEYS ? c : r]; } };
    __device__ stat get(int which) const
    {
        float4 v = ld4(stats + which * TILE + 4 * (KEYS ? tx() : ty()));
        return {{v.x, v.y, v.z, v.w}};
    }
    // Each thread tx = 0 has v of row 4ty + r; after a barrier thread j has that of row j as its own.
    __device__ void put(int which, int r, float v)
    {
        if (tx() == 0)
            stats[which * TILE + 4 * ty() + r] = v;
    }
    __device__ float own(int which) const { return stats[which * TILE + thread()]; }
    __device__ bool owns() const { return thread() < TILE && slab == 0 && first + thread() < a.row.places; }
    __device__ size_t own_query() const
    {
        return image * static_cast<size_t>(a.row.places) + static_cast<size_t>(first + thread());
    }

    __device__ bool there(int tile, int r, int c) const
    {
        return first + 4 * ty() + r < a.row.places && tile * TILE + 4 * tx() + c < a.column.places;
    }
    // 0 beyond the image, where a row's NaN times 0 has come.
    __device__ void mask(int tile, four m) const
    {
        each([&](int r, int c) { m[r][c] = there(tile, r, c) ? m[r][c] : 0.0f; });
    }

    // s, l, g, b as far as the pass wants them; s becomes p where the largest logits are known.
    __device__ void products(int tile, four s, four l, four g, four b)
    {
        each([&](int r, int c) { s[r][c] = l[r][c] = g[r][c] = b[r][c] = 0; });
        if (!SOFTMAX && (KEYS || tile == 0))
            read_stats(KEYS ? tile * TILE : first, KEYS ? a.column.places : a.row.places);
        inner<XY>(tile, s);
        if constexpr ((PASS & HAS_L) != 0) {
            inner<X_YT>(tile, l);
            inner<XT_Y>(tile, l);
            mask(tile, l);
        }
        if constexpr ((PASS & HAS_G) != 0) {
            inner<ZU>(tile, g);
            mask(tile, g);
        }
        if constexpr ((PASS & HAS_B) != 0) {
            inner<Z_UT>(tile, b);
            inner<ZT_U>(tile, b);
            mask(tile, b);
        }
        if constexpr (!SOFTMAX) {
            stat top = get(TOP), inverse = get(INVERSE);
            each([&](int r, int c) { s[r][c] = there(tile, r, c) ? expf(s[r][c] - top(r, c)) * inverse(r, c) : 0.0f; });
        }
        FLOPS(16 * 4);
    }

    // m = p (m - mean)
    __device__ void centre(int which, const four p, four m) const
    {
        stat mean = get(which);
        each([&](int r, int c) { m[r][c] = p[r][c] * (m[r][c] - mean(r, c)); });
        FLOPS(16 * 2);
    }

    // acc of each row times its FACTOR, or plus its FACTOR times `other`.
    __device__ void scale(four acc, const four other) const
    {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float factor = stats[FACTOR * TILE + group() + 16 * r];
#pragma unroll
            for (int c = 0; c < 4; c++)
                acc[r][c] = other ? fmaf(factor, other[r][c], acc[r][c]) : factor * acc[r][c];
        }
        FLOPS(16);
    }

    // The block's rows of out; lanes beyond the channels are 0.
    __device__ void store(const four *acc)
    {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            int left = a.channels - CHANNELS * out_block(part) - quad();
            size_t line = image * static_cast<size_t>(out_blocks()) + static_cast<size_t>(out_block(part));
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int place = first + group() + 16 * r;
                const float *v = acc[part][r];
                if (out_block(part) < out_blocks() && place < a.row.places)
                    st4(a.out + (line * static_cast<size_t>(a.row.places) + static_cast<size_t>(place)) * CHANNELS + quad(),
                        make_float4(left > 0 ? v[0] : 0, left > 1 ? v[1] : 0, left > 2 ? v[2] : 0, left > 3 ? v[3] : 0));
            }
        }
    }
};

// ---- launches ----

static inline attention queries_of(fast_ctx *ctx, int n, const fast_attn *s, side query, side key, const float *rows)
{
    return {query, key, fast_blocks(s->dk), fast_blocks(s->dv), 0, (s->sq + TILE - 1) / TILE,
            static_cast<size_t>(n) * static_cast<size_t>(s->sq), const_cast<float *>(rows), static_cast<float *>(ctx->scratch),
            nullptr};
}
// The same with keys as rows.
static inline attention keys_of(attention a)
{
    side query = a.row;
    a.row = a.column;
    a.column = query;
    a.tiles = (a.row.places + TILE - 1) / TILE;
    return a;
}
static inline attention into(attention a, int channels, float *out)
{
    a.channels = channels;
    a.out = out;
    return a;
}
static inline dim3 attend_grid(int n, const attention &a, int parts)
{
    int slabs = (fast_blocks(a.channels) - 1) / (4 * parts) + 1;
    return dim3(static_cast<unsigned>(n) * static_cast<unsigned>(a.tiles), static_cast<unsigned>(slabs));
}

// kernel (with commas: in parentheses) over the rows of n images, `parts` x 64 channels of a.out a block.
#define ATTEND(kernel, parts, n, a)                                                                                           \
    do {                                                                                                                      \
        CHECKED(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,                                     \
                                     static_cast<int>(SHARED_FLOATS * sizeof(float))));                                       \
        LAUNCH(kernel, attend_grid(n, a, parts), THREADS, SHARED_FLOATS * sizeof(float), CUDA_(stream), a);                   \
    } while (0)
// The kernel of 1, 2 or 4 PARTS, as the values have channels.
#define ATTEND_WIDE(n, a, kernel1, kernel2, kernel4)            \
    do {                                                        \
        if (a.v_blocks <= 4)                                    \
            ATTEND(kernel1, 1, n, a);                           \
        else if (a.v_blocks <= 8)                               \
            ATTEND(kernel2, 2, n, a);                           \
        else                                                    \
            ATTEND(kernel4, 4, n, a);                           \
    } while (0)

}  // namespace CUDA_SIDE
#endif
