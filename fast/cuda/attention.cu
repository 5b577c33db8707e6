// attention.cu: attention forward and backward (attend.h): fwd 1 launch; bwd 3: gq, which leaves <g> for gk; gk; gv.
#include "fast/cuda/attend.h"

namespace CUDA_SIDE {

// o: queries as rows, online softmax. s becomes exp(s - top), top the largest logit so far (0 while all are -inf); what the
// earlier tiles have given is multiplied by exp(old top - new top), the row's FACTOR.
template <int PARTS> __global__ void __launch_bounds__(THREADS, PARTS < 4 ? RESIDENT : 1) attend_forward(attention a)
{
    DYN_SHARED(float, shared);
    worker<VALUES, false, PARTS> w(a, shared);
    four acc[PARTS] = {};
    float top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, sum[4] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four s, l, g, b;
        w.products(tile, s, l, g, b);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float most = top[r];
#pragma unroll
            for (int c = 0; c < 4; c++)
                most = w.there(tile, r, c) ? fmaxf(most, s[r][c]) : most;
            most = row_largest(most);
            float base = most == -INFINITY ? 0.0f : most, shrink = expf(top[r] - base);
            top[r] = most;
            sum[r] *= shrink;
#pragma unroll
            for (int c = 0; c < 4; c++) {
                s[r][c] = w.there(tile, r, c) ? expf(s[r][c] - base) : 0.0f;
                sum[r] += s[r][c];
            }
            w.put(FACTOR, r, shrink);
        }
        FLOPS(16 * 6);
        w.template outer<OUT>(tile, s, acc, [&](int part) { w.scale(acc[part], nullptr); });
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 4; r++) {
        w.put(TOP, r, top[r]);
        w.put(FACTOR, r, 1.0f / row_sum(sum[r]));
    }
    __syncthreads();
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        w.scale(acc[part], nullptr);
    if (w.owns())
        st2(a.rows + 2 * w.own_query(), make_float2(w.own(TOP), w.own(FACTOR)));
    w.store(acc);
}

// gq: queries as rows: sum over keys of p (g - <g>) y, <g> being known only at the end: the mean of the tiles so far stands in
// for it, and when it moves, the sum so far gets (old mean - new mean) sum of p y. Nothing large is ever subtracted.
__global__ void __launch_bounds__(THREADS, RESIDENT) attend_backward_queries(attention a)
{
    DYN_SHARED(float, shared);
    worker<LOGITS_ONLINE, false, 1> w(a, shared);
    four acc[1] = {}, weighted[1] = {};          // weighted: sum of p y
    float weight[4] = {}, total[4] = {}, mean[4] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float tile_weight = 0, tile_total = 0;
#pragma unroll
            for (int c = 0; c < 4; c++) {
                tile_weight += p[r][c];
                tile_total = fmaf(p[r][c], g[r][c], tile_total);
            }
            weight[r] += row_sum(tile_weight);
            total[r] += row_sum(tile_total);
            float now = weight[r] > 0 ? total[r] / weight[r] : total[r];
            w.put(FACTOR, r, mean[r] - now);
            mean[r] = now;
#pragma unroll
            for (int c = 0; c < 4; c++)
                g[r][c] = p[r][c] * (g[r][c] - now);
        }
        FLOPS(16 * 5);
        w.template outer<OUT>(tile, g, acc, [&](int part) { w.scale(acc[part], weighted[0]); });
        w.template outer<OUT_T>(tile, p, weighted);
    }
#pragma unroll
    for (int r = 0; r < 4; r++)
        w.put(MEAN_G, r, mean[r]);
    __syncthreads();
    if (w.owns())
        a.means[(MEAN_G - MEAN_L) * a.queries + w.own_query()] = w.own(MEAN_G);
    w.store(acc);
}

// gk: keys as rows. A tile's s and g give the weights p (g - <g>), which go through `matrix` to their product with the queries.
__global__ void __launch_bounds__(THREADS, RESIDENT) attend_backward_keys(attention a)
{
    DYN_SHARED(float, shared);
    worker<LOGITS, true, 1> w(a, shared);
    four acc[1] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
        w.centre(MEAN_G, p, g);
        w.template outer<OUT>(tile, g, acc);
    }
    w.store(acc);
}

// gv: keys as rows. A tile's s give the weights p, which go through `matrix` to their product with go, 64 channels a part.
template <int PARTS> __global__ void __launch_bounds__(THREADS, PARTS < 4 ? RESIDENT : 1) attend_backward_values(attention a)
{
    DYN_SHARED(float, shared);
    worker<VALUES, true, PARTS> w(a, shared);
    four acc[PARTS] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
        w.template outer<OUT>(tile, p, acc);
    }
    w.store(acc);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

size_t CUDA_(attn_scratch)(int n, const fast_attn *s)
{
    return 3 * static_cast<size_t>(n) * static_cast<size_t>(s->sq) * sizeof(float);
}

void CUDA_(attn_fwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                     float *rows)
{
    side query = {q, nullptr, nullptr, nullptr, s->sq}, key = {k, nullptr, v, nullptr, s->sk};
    attention a = into(queries_of(ctx, n, s, query, key, rows), s->dv, o);
    ATTEND_WIDE(n, a, attend_forward<1>, attend_forward<2>, attend_forward<4>);
}

void CUDA_(attn_bwd)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *go, float *gq, float *gk, float *gv)
{
    side query = {q, nullptr, go, nullptr, s->sq}, key = {k, nullptr, v, nullptr, s->sk};
    attention a = queries_of(ctx, n, s, query, key, rows);
    attention for_q = into(a, s->dk, gq), for_k = into(keys_of(a), s->dk, gk), for_v = into(keys_of(a), s->dv, gv);
    ATTEND(attend_backward_queries, 1, n, for_q);
    ATTEND(attend_backward_keys, 1, n, for_k);
    ATTEND_WIDE(n, for_v, attend_backward_values<1>, attend_backward_values<2>, attend_backward_values<4>);
}
