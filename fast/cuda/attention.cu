// attention.cu: o = softmax(q . k) v in four passes, tiles of 64 places against tiles of 64.        [ICD:table5.attn] [ANA:nets]
//
// Queries and keys play the same part, so one kernel does all: a block owns 64 rows (queries, or with KEYS keys) of one image and
// walks the columns (the others), 64 at a time. With x, z the rows' factors and y, u the columns' (queries: x = q, z = go; keys:
// y = k, u = v; z_t of the queries is ho, otherwise _t is a tangent; with KEYS the sides are swapped), a tile needs
//     s = x.y   l = x.y_t + x_t.y   g = z.u   b = z.u_t + z_t.u   p = exp(s - largest)/sum      by inner products, and adds
//     VALUES    p u                           fwd, gv            (fwd: online softmax)
//     VALUES_T  p (l - <l>) u + p u_t         tan, hv            <f> = sum of p f over the keys of a query
//     LOGITS    p (g - <g>) y                 gq, gk             (gq: online mean, which it leaves to gk)
//     LOGITS_T  h y + p (g - <g>) y_t         hq, hk             h = p (f - <f>), f = b + g (l - <l>) - l <g>
// to the rows' sums. MEANS finds <l>, <g>, <f> first. No float is added by two blocks: the order of each sum is fixed.
//
// Pipeline: a product runs in parts, each copied (cp.async) into one of two stages while the other is multiplied, one barrier a
// part. Stage: 4 slots of 64 places x 16 channels. Inner product: rows, columns of two blocks of channels; outer: 64 channels
// of columns. Place j lies at LINE (j%4) + PLACE (j/4): threads read rows 4ty + r, columns 4tx + s, and no two banks meet:
//     slot  | 0 4 8 .. 60 |pad| 1 5 9 .. 61 |pad| 2 6 .. | 3 7 .. |     each place 16 floats and 4 of padding
// The tile's weights go through `matrix` (64 x 68 floats) to the outer product, where a thread has rows pg + 16r and 4 channels.
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { TILE = 64, THREADS = 256, CHANNELS = FAST_LANES };
enum { PLACE = CHANNELS + 4, LINE = TILE / 4 * PLACE + 16, SLOT = 4 * LINE, STAGE = 4 * SLOT, ROW = TILE + 4 };
enum { TOP, INVERSE, MEAN_L, MEAN_G, MEAN_F, STATS };
enum { FLOATS = 2 * STAGE + TILE * ROW + STATS * TILE + TILE };

// Products, in this order, and what each pass has of them.
enum { XY, X_YT, XT_Y, ZU, Z_UT, ZT_U, OUT, OUT_T, PRODUCTS };
constexpr unsigned S = 1u << XY, L = 1u << X_YT | 1u << XT_Y, G = 1u << ZU, B = 1u << Z_UT | 1u << ZT_U;
constexpr unsigned ADD = 1u << OUT, ADD_T = 1u << OUT_T;
enum : unsigned {
    VALUES = S | ADD, VALUES_T = S | L | ADD | ADD_T, LOGITS = S | G | ADD, LOGITS_ONLINE = LOGITS | ADD_T,
    LOGITS_T = S | L | G | B | ADD | ADD_T, MEANS_L = S | L, MEANS = S | L | G | B
};
__host__ __device__ constexpr int following(unsigned pass, int product)
{
    do
        product = (product + 1) % PRODUCTS;
    while (!(pass >> product & 1));
    return product;
}

// x, x_t: blocks of dk; z, z_t: of dv.
struct side { const float *x, *x_t, *z, *z_t; int places; };
struct attention {
    side row, column;
    int k_blocks, v_blocks, channels;    // channels of out
    int tiles;                           // of rows, of an image
    size_t plane;                        // n sq
    float *rows, *means;                 // (n,sq,2) largest, 1/sum; (3,n,sq) <l>, <g>, <f>
    float *out;
};

// 16 bytes, or zeros, to shared memory: asynchronously where the device can.
__device__ inline void copy16(float *to, const float *from, bool there)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    st4(to, there ? ld4(from) : make_float4(0, 0, 0, 0));
#else
    cp_async<16>(to, from, there ? 16 : 0);
#endif
}
__device__ inline void copies_commit()
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

__device__ inline float sum16(float v)
{
#pragma unroll
    for (int by = 8; by > 0; by /= 2)
        v += __shfl_xor_sync(~0u, v, by);
    return v;
}
__device__ inline float max16(float v)
{
#pragma unroll
    for (int by = 8; by > 0; by /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, by));
    return v;
}
__device__ inline float at(float4 v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

template <unsigned PASS, bool KEYS, int PARTS> struct worker {
    const attention &a;
    float *stages, *matrix, *stats, *factor;
    size_t image;
    int first, slab, turn;               // the block's first row; its PARTS x 64 channels of out; the stage that fills
    static constexpr bool SOFTMAX = PASS == VALUES && !KEYS;

    __device__ worker(const attention &a_, float *shared)
        : a(a_), stages(shared), matrix(stages + 2 * STAGE), stats(matrix + TILE * ROW), factor(stats + STATS * TILE),
          image(blockIdx.x / static_cast<unsigned>(a_.tiles)), first(static_cast<int>(blockIdx.x) % a_.tiles * TILE),
          slab(static_cast<int>(blockIdx.y)), turn(0)
    {
        copy<XY>(0, 0);
    }

    __device__ static int tx() { return static_cast<int>(threadIdx.x) % 16; }
    __device__ static int ty() { return static_cast<int>(threadIdx.x) / 16; }
    __device__ static int quad() { return static_cast<int>(threadIdx.x) % 4 * 4; }
    __device__ static int group() { return static_cast<int>(threadIdx.x) / 4 % 16; }
    __device__ int out_blocks() const { return PASS & G ? a.k_blocks : a.v_blocks; }
    __device__ int out_block(int part) const { return 4 * (slab * PARTS + part) + static_cast<int>(threadIdx.x) / 64; }

    // Places from.. of channel block `block` -> a slot; 0 beyond the image. A warp copies 8 places, 512 bytes in a row.
    __device__ void copy_slot(float *slot, const float *x, const side &of, int blocks, int block, int from) const
    {
        int j = static_cast<int>(threadIdx.x) / 4;
        bool there = from + j < of.places;
        const float *image_x = x + (image * static_cast<size_t>(blocks) + static_cast<size_t>(block)) *
                                       static_cast<size_t>(of.places) * CHANNELS;
        copy16(slot + j % 4 * LINE + j / 4 * PLACE + quad(),
               there ? image_x + static_cast<size_t>(from + j) * CHANNELS + static_cast<size_t>(quad()) : x, there);
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
            bool tangent = P == OUT_T && PASS != LOGITS_ONLINE;
            const float *columns = PASS & G ? (tangent ? a.column.x_t : a.column.x) : tangent ? a.column.z_t : a.column.z;
            for (int h = 0; h < 4 && 4 * (slab * PARTS + part) + h < out_blocks(); h++)
                copy_slot(stage + h * SLOT, columns, a.column, out_blocks(), 4 * (slab * PARTS + part) + h, tile * TILE);
        }
        copies_commit();
    }

    // A part of product P has come; what follows it is begun.
    template <int P> __device__ const float *arrive(int tile, int part)
    {
        copies_wait();
        __syncthreads();
        const float *stage = stages + turn * STAGE;
        turn ^= 1;
        constexpr int NEXT = following(PASS, P);
        if (part + 1 < parts<P>())
            copy<P>(tile, part + 1);
        else if ((tile + (NEXT <= P)) * TILE < a.column.places)
            copy<NEXT>(tile + (NEXT <= P), 0);
        return stage;
    }

    // sum[r][s] += <row 4ty + r, column 4tx + s>
    template <int P> __device__ void inner(int tile, float sum[4][4])
    {
        for (int part = 0; part < parts<P>(); part++) {
            const float *stage = arrive<P>(tile, part);
            int blocks = (P < ZU ? a.k_blocks : a.v_blocks) - 2 * part;
            for (int h = 0; h < 2 && h < blocks; h++, stage += 2 * SLOT)
#pragma unroll 1
                for (int c = 0; c < CHANNELS; c += 4) {
                    float4 rows[4];
#pragma unroll
                    for (int r = 0; r < 4; r++)
                        rows[r] = ld4(stage + r * LINE + ty() * PLACE + c);
#pragma unroll
                    for (int s = 0; s < 4; s++) {
                        float4 column = ld4(stage + SLOT + s * LINE + tx() * PLACE + c);
#pragma unroll
                        for (int r = 0; r < 4; r++) {
                            sum[r][s] = fmaf(rows[r].x, column.x, sum[r][s]);
                            sum[r][s] = fmaf(rows[r].y, column.y, sum[r][s]);
                            sum[r][s] = fmaf(rows[r].z, column.z, sum[r][s]);
                            sum[r][s] = fmaf(rows[r].w, column.w, sum[r][s]);
                        }
                    }
                    FLOPS(128);
                }
        }
    }

    __device__ void put_matrix(const float m[4][4])
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
            st4(matrix + (4 * ty() + r) * ROW + 4 * tx(), make_float4(m[r][0], m[r][1], m[r][2], m[r][3]));
    }

    // acc (rows group + 16r, channels quad ..) += matrix x columns
    __device__ void multiply(const float *slot, float acc[4][4])
    {
#pragma unroll 1
        for (int j = 0; j < TILE / 4; j++) {
            float4 m[4];
#pragma unroll
            for (int r = 0; r < 4; r++)
                m[r] = ld4(matrix + (group() + 16 * r) * ROW + 4 * j);
#pragma unroll
            for (int s = 0; s < 4; s++) {
                float4 column = ld4(slot + s * LINE + j * PLACE + quad());
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    acc[r][0] = fmaf(at(m[r], s), column.x, acc[r][0]);
                    acc[r][1] = fmaf(at(m[r], s), column.y, acc[r][1]);
                    acc[r][2] = fmaf(at(m[r], s), column.z, acc[r][2]);
                    acc[r][3] = fmaf(at(m[r], s), column.w, acc[r][3]);
                }
            }
            FLOPS(128);
        }
    }

    // before(part, factors of the thread's rows): what happens to the sums first.
    template <int P, class F> __device__ void outer(int tile, float acc[PARTS][4][4], F before)
    {
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const float *stage = arrive<P>(tile, part);
            before(part);
            if (out_block(part) < out_blocks())
                multiply(stage + static_cast<int>(threadIdx.x) / 64 * SLOT, acc[part]);
        }
    }

    // Largest logit, 1/sum and means of the queries from.. -> stats; 0 beyond the last.
    __device__ void read_stats(int from, int places)
    {
        int j = static_cast<int>(threadIdx.x);
        if (j >= TILE)
            return;
        size_t query = image * static_cast<size_t>(places) + static_cast<size_t>(from + j);
        bool there = from + j < places;
        float2 row = there ? ld2(a.rows + 2 * query) : make_float2(0, 0);
        stats[TOP * TILE + j] = row.x;
        stats[INVERSE * TILE + j] = row.y;
#pragma unroll
        for (int m = MEAN_L; m < STATS; m++)
            if (uses(m))
                stats[m * TILE + j] = there ? a.means[static_cast<size_t>(m - MEAN_L) * a.plane + query] : 0.0f;
    }
    __device__ static constexpr bool uses(int mean)
    {
        return mean == MEAN_L ? PASS == VALUES_T || PASS == LOGITS_T
                              : mean == MEAN_G ? PASS == LOGITS || PASS == LOGITS_T : PASS == LOGITS_T;
    }
    __device__ void thread_stats(int which, float v[4]) const
    {
        float4 four = ld4(stats + which * TILE + 4 * (KEYS ? tx() : ty()));
        v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    }
    __device__ bool there(int tile, int r, int s) const
    {
        return first + 4 * ty() + r < a.row.places && tile * TILE + 4 * tx() + s < a.column.places;
    }

    // 0 beyond the image's places, where a NaN of the row may have come.
    __device__ void mask(int tile, float m[4][4]) const
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                m[r][c] = there(tile, r, c) ? m[r][c] : 0.0f;
    }

    // s: logits; become weights.
    __device__ void weights(int tile, float s[4][4]) const
    {
        float top[4], inverse[4];
        thread_stats(TOP, top);
        thread_stats(INVERSE, inverse);
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                s[r][c] = there(tile, r, c) ? expf(s[r][c] - top[KEYS ? c : r]) * inverse[KEYS ? c : r] : 0.0f;
        FLOPS(16 * 4);
    }

    // Online softmax: s becomes exp(s - top), top the largest so far; factor: what earlier sums are to be multiplied by. Where
    // all so far are -inf, top counts as 0.
    __device__ void online_softmax(int tile, float s[4][4], float top[4], float sum[4])
    {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float most = top[r];
#pragma unroll
            for (int c = 0; c < 4; c++)
                most = tile * TILE + 4 * tx() + c < a.column.places ? fmaxf(most, s[r][c]) : most;
            most = max16(most);
            float base = most == -INFINITY ? 0.0f : most, shrink = expf(top[r] - base);
            top[r] = most;
            sum[r] *= shrink;
#pragma unroll
            for (int c = 0; c < 4; c++) {
                s[r][c] = there(tile, r, c) ? expf(s[r][c] - base) : 0.0f;
                sum[r] += s[r][c];
            }
            if (tx() == 0)
                factor[4 * ty() + r] = shrink;
        }
        FLOPS(16 * 6);
    }

    // Online mean: g becomes p (g - mean), mean that of the keys so far; factor: the old mean minus the new.
    __device__ void online_mean(const float p[4][4], float g[4][4], float weight[4], float total[4], float mean[4])
    {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float w = 0, t = 0;
#pragma unroll
            for (int c = 0; c < 4; c++) {
                w += p[r][c];
                t = fmaf(p[r][c], g[r][c], t);
            }
            weight[r] += sum16(w);
            total[r] += sum16(t);
            float now = weight[r] > 0 ? total[r] / weight[r] : total[r];
            if (tx() == 0)
                factor[4 * ty() + r] = mean[r] - now;
            mean[r] = now;
#pragma unroll
            for (int c = 0; c < 4; c++)
                g[r][c] = p[r][c] * (g[r][c] - now);
        }
        FLOPS(16 * 5);
    }

    // s, l, g, b of a tile, as far as the pass wants them; s becomes p where the statistics are there already.
    __device__ void products(int tile, float s[4][4], float l[4][4], float g[4][4], float b[4][4])
    {
#pragma unroll
        for (int i = 0; i < 16; i++)
            s[i / 4][i % 4] = l[i / 4][i % 4] = g[i / 4][i % 4] = b[i / 4][i % 4] = 0;
        if (!SOFTMAX && (KEYS || tile == 0))
            read_stats(KEYS ? tile * TILE : first, KEYS ? a.column.places : a.row.places);
        inner<XY>(tile, s);
        if constexpr ((PASS & L) != 0) {
            inner<X_YT>(tile, l);
            inner<XT_Y>(tile, l);
            mask(tile, l);
        }
        if constexpr ((PASS & G) != 0) {
            inner<ZU>(tile, g);
            mask(tile, g);
        }
        if constexpr ((PASS & B) != 0) {
            inner<Z_UT>(tile, b);
            inner<ZT_U>(tile, b);
            mask(tile, b);
        }
        if (!SOFTMAX)
            weights(tile, s);
    }

    // m = p (m - mean)
    __device__ void centre(int which, const float p[4][4], float m[4][4]) const
    {
        float mean[4];
        thread_stats(which, mean);
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                m[r][c] = p[r][c] * (m[r][c] - mean[KEYS ? c : r]);
        FLOPS(16 * 2);
    }

    // b becomes p (f - <f>), f = b + g (l - <l>) - l <g>.
    __device__ void second(const float p[4][4], const float l[4][4], const float g[4][4], float b[4][4]) const
    {
        float mean_l[4], mean_g[4], mean_f[4];
        thread_stats(MEAN_L, mean_l);
        thread_stats(MEAN_G, mean_g);
        thread_stats(MEAN_F, mean_f);
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                int i = KEYS ? c : r;
                float f = fmaf(g[r][c], l[r][c] - mean_l[i], fmaf(-l[r][c], mean_g[i], b[r][c]));
                b[r][c] = p[r][c] * (f - mean_f[i]);
            }
        FLOPS(16 * 7);
    }

    // acc of each row times its factor, or plus its factor times `other`.
    __device__ void scale(float acc[4][4], const float other[4][4]) const
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                acc[r][c] = other ? fmaf(factor[group() + 16 * r], other[r][c], acc[r][c]) : factor[group() + 16 * r] * acc[r][c];
        FLOPS(16);
    }

    // Of the block's rows, threads tx = 0 have v[r] of row 4ty + r: which query that is in all images; -1: none, or not this
    // thread's to write.
    __device__ long query(int r) const
    {
        int row = first + 4 * ty() + r;
        bool mine = tx() == 0 && slab == 0 && row < a.row.places;
        return mine ? static_cast<long>(image * static_cast<size_t>(a.row.places)) + row : -1;
    }

    __device__ void store(const float acc[PARTS][4][4])
    {
#pragma unroll
        for (int part = 0; part < PARTS; part++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int place = first + group() + 16 * r, left = a.channels - CHANNELS * out_block(part) - quad();
                if (out_block(part) >= out_blocks() || place >= a.row.places)
                    continue;
                size_t block = image * static_cast<size_t>(out_blocks()) + static_cast<size_t>(out_block(part));
                const float *v = acc[part][r];
                st4(a.out + (block * static_cast<size_t>(a.row.places) + static_cast<size_t>(place)) * CHANNELS + quad(),
                    make_float4(left > 0 ? v[0] : 0, left > 1 ? v[1] : 0, left > 2 ? v[2] : 0, left > 3 ? v[3] : 0));
            }
    }
};

template <unsigned PASS, bool KEYS, int PARTS> __global__ void __launch_bounds__(THREADS) attend(attention a)
{
    DYN_SHARED(float, shared);
    worker<PASS, KEYS, PARTS> w(a, shared);
    float acc[PARTS][4][4] = {}, weighted[1][4][4] = {};     // out; for the online mean the sum of p y
    float top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, sum[4] = {}, total[4] = {}, mean[4] = {};
    auto unchanged = [](int) {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        float s[4][4], l[4][4], g[4][4], b[4][4];
        w.products(tile, s, l, g, b);
        if constexpr (w.SOFTMAX) {
            w.online_softmax(tile, s, top, sum);
            w.put_matrix(s);
            w.template outer<OUT>(tile, acc, [&](int part) { w.scale(acc[part], nullptr); });
        } else if constexpr (PASS == VALUES) {
            w.put_matrix(s);
            w.template outer<OUT>(tile, acc, unchanged);
        } else if constexpr (PASS == VALUES_T) {
            w.centre(MEAN_L, s, l);
            w.put_matrix(l);
            w.template outer<OUT>(tile, acc, unchanged);
            __syncthreads();
            w.put_matrix(s);
            w.template outer<OUT_T>(tile, acc, unchanged);
        } else if constexpr (PASS == LOGITS) {
            w.centre(MEAN_G, s, g);
            w.put_matrix(g);
            w.template outer<OUT>(tile, acc, unchanged);
        } else if constexpr (PASS == LOGITS_ONLINE) {
            w.online_mean(s, g, sum, total, mean);
            w.put_matrix(g);
            w.template outer<OUT>(tile, acc, [&](int part) { w.scale(acc[part], weighted[0]); });
            __syncthreads();
            w.put_matrix(s);
            w.template outer<OUT_T>(tile, weighted, unchanged);
        } else {
            w.second(s, l, g, b);
            w.centre(MEAN_G, s, g);
            w.put_matrix(b);
            w.template outer<OUT>(tile, acc, unchanged);
            __syncthreads();
            w.put_matrix(g);
            w.template outer<OUT_T>(tile, acc, unchanged);
        }
    }
    if constexpr (w.SOFTMAX) {
        __syncthreads();
        for (int r = 0; r < 4; r++) {
            float inverse = 1.0f / sum16(sum[r]);
            if (w.tx() == 0)
                w.factor[4 * w.ty() + r] = inverse;
            if (w.query(r) >= 0)
                st2(a.rows + 2 * w.query(r), make_float2(top[r], inverse));
        }
        __syncthreads();
        for (int part = 0; part < PARTS; part++)
            w.scale(acc[part], nullptr);
    }
    if constexpr (PASS == LOGITS_ONLINE)
        for (int r = 0; r < 4; r++)
            if (w.query(r) >= 0)
                a.means[a.plane * (MEAN_G - MEAN_L) + static_cast<size_t>(w.query(r))] = mean[r];
    w.store(acc);
}

// <l>, and with MEANS <g> and <f> = <b> + <g l> - 2 <g> <l>.
template <unsigned PASS> __global__ void __launch_bounds__(THREADS) attend_means(attention a)
{
    DYN_SHARED(float, shared);
    worker<PASS, false, 1> w(a, shared);
    float sum_l[4] = {}, sum_g[4] = {}, sum_f[4] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        float p[4][4], l[4][4], g[4][4], b[4][4];
        w.products(tile, p, l, g, b);
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                sum_l[r] = fmaf(p[r][c], l[r][c], sum_l[r]);
                sum_g[r] = fmaf(p[r][c], g[r][c], sum_g[r]);
                sum_f[r] = fmaf(p[r][c], fmaf(g[r][c], l[r][c], b[r][c]), sum_f[r]);
            }
        FLOPS(16 * 8);
    }
    for (int r = 0; r < 4; r++) {
        float mean_l = sum16(sum_l[r]), mean_g = PASS & G ? sum16(sum_g[r]) : 0, mean_f = PASS & G ? sum16(sum_f[r]) : 0;
        if (w.query(r) < 0)
            continue;
        float *mean = a.means + w.query(r);
        mean[0] = mean_l;
        if (PASS & G) {
            mean[a.plane] = mean_g;
            mean[2 * a.plane] = fmaf(-2 * mean_g, mean_l, mean_f);
        }
    }
}

static attention queries(fast_ctx *ctx, int n, const fast_attn *s, const side &query, const side &key, const float *rows)
{
    return {query, key, fast_blocks(s->dk), fast_blocks(s->dv), 0, (s->sq + TILE - 1) / TILE,
            static_cast<size_t>(n) * static_cast<size_t>(s->sq), const_cast<float *>(rows), static_cast<float *>(ctx->scratch),
            nullptr};
}

// The same with keys as rows.
static attention keys(attention a)
{
    side query = a.row;
    a.row = a.column;
    a.column = query;
    a.tiles = (a.row.places + TILE - 1) / TILE;
    return a;
}

static dim3 grid_of(const attention &a, int n, int parts)
{
    int slabs = (fast_blocks(a.channels) + 4 * parts - 1) / (4 * parts);
    return dim3(static_cast<unsigned>(n) * static_cast<unsigned>(a.tiles), static_cast<unsigned>(slabs > 0 ? slabs : 1));
}

static attention into(attention a, int channels, float *out)
{
    a.channels = channels;
    a.out = out;
    return a;
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

// kernel (in parentheses) over all rows of n images; a block makes `parts` x 64 channels of a.out.
#define ATTEND(kernel, parts, n, a)                                                                               \
    do {                                                                                                          \
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, FLOATS * int(sizeof(float)));   \
        LAUNCH(kernel, grid_of(a, n, parts), THREADS, FLOATS * sizeof(float), CUDA_(stream), a);                  \
    } while (0)
#define ATTEND_VALUES(pass, keys, n, a)                 \
    do {                                                \
        if (a.v_blocks <= 4)                            \
            ATTEND((attend<pass, keys, 1>), 1, n, a);   \
        else if (a.v_blocks <= 8)                       \
            ATTEND((attend<pass, keys, 2>), 2, n, a);   \
        else                                            \
            ATTEND((attend<pass, keys, 4>), 4, n, a);   \
    } while (0)

size_t CUDA_(attn_scratch)(int n, const fast_attn *s)
{
    return 3 * static_cast<size_t>(n) * static_cast<size_t>(s->sq) * sizeof(float);
}

void CUDA_(attn_fwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                     float *rows)
{
    side query = {q, nullptr, nullptr, nullptr, s->sq}, key = {k, nullptr, v, nullptr, s->sk};
    attention a = into(queries(ctx, n, s, query, key, rows), s->dv, o);
    ATTEND_VALUES(VALUES, false, n, a);
}

void CUDA_(attn_bwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *go, float *gq, float *gk, float *gv)
{
    side query = {q, nullptr, go, nullptr, s->sq}, key = {k, nullptr, v, nullptr, s->sk};
    attention a = queries(ctx, n, s, query, key, rows);
    attention for_q = into(a, s->dk, gq), for_k = into(keys(a), s->dk, gk), for_v = into(keys(a), s->dv, gv);
    ATTEND((attend<LOGITS_ONLINE, false, 1>), 1, n, for_q);
    ATTEND((attend<LOGITS, true, 1>), 1, n, for_k);
    ATTEND_VALUES(VALUES, true, n, for_v);
}

void CUDA_(attn_tan)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t)
{
    side query = {q, q_t, nullptr, nullptr, s->sq}, key = {k, k_t, v, v_t, s->sk};
    attention a = queries(ctx, n, s, query, key, rows), for_o = into(a, s->dv, o_t);
    ATTEND(attend_means<MEANS_L>, 1, n, a);
    ATTEND_VALUES(VALUES_T, false, n, for_o);
}

void CUDA_(attn_bwd2)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                      const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho,
                      const float *go, float *hq, float *hk, float *hv)
{
    side query = {q, q_t, go, ho, s->sq}, key = {k, k_t, v, v_t, s->sk};
    attention a = queries(ctx, n, s, query, key, rows);
    attention for_q = into(a, s->dk, hq), for_k = into(keys(a), s->dk, hk), for_v = into(keys(a), s->dv, hv);
    ATTEND(attend_means<MEANS>, 1, n, a);
    ATTEND((attend<LOGITS_T, false, 1>), 1, n, for_q);
    ATTEND((attend<LOGITS_T, true, 1>), 1, n, for_k);
    ATTEND_VALUES(VALUES_T, true, n, for_v);
}
