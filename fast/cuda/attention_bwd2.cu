// attention_bwd2.cu: attention's tangent and second-order backward pass (attend.h): tan 2 launches, bwd2 4: the queries' means,
// then a launch for each output.
#include "fast/cuda/attend.h"

namespace CUDA_SIDE {

// Of each query <l>, and with MEANS <g> and <f> = <b> + <g l> - 2 <g> <l>: inner products only, in registers.
template <unsigned PASS> __global__ void __launch_bounds__(THREADS, 1) attend_means(attention a)
{
    DYN_SHARED(float, shared);
    worker<PASS, false, 1> w(a, shared);
    float sum_l[4] = {}, sum_g[4] = {}, sum_f[4] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
        each([&](int r, int c) {
            sum_l[r] = fmaf(p[r][c], l[r][c], sum_l[r]);
            sum_g[r] = fmaf(p[r][c], g[r][c], sum_g[r]);
            sum_f[r] = fmaf(p[r][c], fmaf(g[r][c], l[r][c], b[r][c]), sum_f[r]);
        });
        FLOPS(16 * 8);
    }
#pragma unroll
    for (int r = 0; r < 4; r++) {
        float mean_l = row_sum(sum_l[r]), mean_g = row_sum(sum_g[r]);
        w.put(MEAN_L, r, mean_l);
        w.put(MEAN_G, r, mean_g);
        w.put(MEAN_F, r, fmaf(-2 * mean_g, mean_l, row_sum(sum_f[r])));
    }
    __syncthreads();
    for (int m = 0; m < (PASS == MEANS ? 3 : 1) && w.owns(); m++)
        a.means[static_cast<size_t>(m) * a.queries + w.own_query()] = w.own(MEAN_L + m);
}

// o_t (queries as rows), hv (KEYS): a tile's p (l - <l>), times u, then its p, times u_t: two products through `matrix`.
template <int PARTS, bool KEYS> __global__ void __launch_bounds__(THREADS, 1) attend_values_t(attention a)
{
    DYN_SHARED(float, shared);
    worker<VALUES_T, KEYS, PARTS> w(a, shared);
    four acc[PARTS] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
        w.centre(MEAN_L, p, l);
        w.template outer<OUT>(tile, l, acc);
        w.template outer<OUT_T>(tile, p, acc);
    }
    w.store(acc);
}

// hq (queries as rows), hk (KEYS): a tile's h, times y, then its p (g - <g>), times y_t: two products through `matrix`.
template <bool KEYS> __global__ void __launch_bounds__(THREADS, 1) attend_logits_t(attention a)
{
    DYN_SHARED(float, shared);
    worker<LOGITS_T, KEYS, 1> w(a, shared);
    four acc[1] = {};
    for (int tile = 0; tile * TILE < a.column.places; tile++) {
        four p, l, g, b;
        w.products(tile, p, l, g, b);
        auto mean_l = w.get(MEAN_L), mean_g = w.get(MEAN_G);
        each([&](int r, int c) {
            b[r][c] = fmaf(g[r][c], l[r][c] - mean_l(r, c), fmaf(-l[r][c], mean_g(r, c), b[r][c]));
        });
        FLOPS(16 * 5);
        w.centre(MEAN_F, p, b);
        w.centre(MEAN_G, p, g);
        w.template outer<OUT>(tile, b, acc);
        w.template outer<OUT_T>(tile, g, acc);
    }
    w.store(acc);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(attn_tan)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t)
{
    side query = {q, q_t, nullptr, nullptr, s->sq}, key = {k, k_t, v, v_t, s->sk};
    attention for_o = into(queries_of(ctx, n, s, query, key, rows), s->dv, o_t), means = into(for_o, 1, nullptr);
    ATTEND(attend_means<MEANS_L>, 1, n, means);
    ATTEND_WIDE(n, for_o, (attend_values_t<1, false>), (attend_values_t<2, false>), (attend_values_t<4, false>));
}

void CUDA_(attn_bwd2)(fast_ctx *ctx, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                      const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho,
                      const float *go, float *hq, float *hk, float *hv)
{
    side query = {q, q_t, go, ho, s->sq}, key = {k, k_t, v, v_t, s->sk};
    attention a = into(queries_of(ctx, n, s, query, key, rows), 1, nullptr);
    attention for_q = into(a, s->dk, hq), for_k = into(keys_of(a), s->dk, hk), for_v = into(keys_of(a), s->dv, hv);
    ATTEND(attend_means<MEANS>, 1, n, a);
    ATTEND(attend_logits_t<false>, 1, n, for_q);
    ATTEND(attend_logits_t<true>, 1, n, for_k);
    ATTEND_WIDE(n, for_v, (attend_values_t<1, true>), (attend_values_t<2, true>), (attend_values_t<4, true>));
}
