/* gemm.c: C = A W with C in registers: a row of A is read in place, 16 k at a time, one broadcast per k. */
#include "fast/cpu/gemm.h"

enum { VECS = GEMM_BLOCKS * V_BLOCK };

/* X(m) for each row of a tile: compilers keep variables in registers more surely than they do a large array. */
#if defined(FAST_ISA_avx512)
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)
#else
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)
#endif

/* Add bias and add, clear the lanes beyond the channels, store one row. */
V_INLINE void finish(const gemm_panel *p, const int vecs, const vec *acc, const float *add, float *c)
{
    V_UNROLL
    for (int v = 0; v < vecs; v++) {
        ptrdiff_t at = v / V_BLOCK * p->c_block + v % V_BLOCK * V_LANES;
        vec y = acc[v];
        if (p->bias)
            y = v_add(y, v_loadu(p->bias + v * V_LANES));
        if (add)
            y = v_add(y, v_load(add + at));
        int left = p->lanes - v % V_BLOCK * V_LANES;
        if (v / V_BLOCK == p->blocks - 1 && left < V_LANES)
            y = v_select(v_first(left > 0 ? left : 0), y, v_zero());
        v_store(c + at, y);
    }
}

#define ZERO(m) vec acc##m[VECS]; if (m < rows) { V_UNROLL for (int v = 0; v < vecs; v++) acc##m[v] = v_zero(); }
#define MULTIPLY(m) if (m < rows) { \
        vec xm = v_set1(x[16 * m]); \
        V_UNROLL for (int v = 0; v < vecs; v++) acc##m[v] = v_fma(xm, wk[v], acc##m[v]); }
#define FINISH(m) if (m < rows) finish(p, vecs, acc##m, add ? add + c_at[m] : NULL, c + c_at[m]);

V_INLINE void tile(const gemm_panel *p, const int rows, const int vecs, const float *a, const float *add, float *c,
                   const ptrdiff_t *c_at)
{
    const float *ahead = p->ahead;
    EACH_ROW(ZERO)
    for (int kb = 0; kb < p->kbs; kb++) {
        const float *x = a + p->k[kb].a, *w = p->w + p->k[kb].w, *end = x + p->depth;
        if (ahead)
            for (int i = 0; i < p->ahead_lines; i++, ahead += 16)
                __builtin_prefetch(ahead, 0, 2);
        while (x < end)
            for (int k = 0; k < 4; k++, x++, w += vecs * V_LANES) {
                vec wk[VECS];
                V_UNROLL
                for (int v = 0; v < vecs; v++)
                    wk[v] = v_load(w + v * V_LANES);
                EACH_ROW(MULTIPLY)
            }
    }
    EACH_ROW(FINISH)
}

#define ROWS(m) case m + 1: tile(p, m + 1, VECS, a, add, c, c_at); break;
#define ROWS_LAST(m) case m + 1: tile(p, m + 1, V_BLOCK, a, add, c, c_at); break;

void CPU_(gemm)(const gemm_panel *p, int rows, const float *a, const float *add, float *c, const ptrdiff_t *c_at)
{
    static const ptrdiff_t in_order[] = { 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208 };
    if (!c_at)
        c_at = in_order;
    if (p->blocks == GEMM_BLOCKS)
        switch (rows) { EACH_ROW(ROWS) default: break; }
#if defined(FAST_ISA_avx512)
    else
        switch (rows) { EACH_ROW(ROWS_LAST) default: break; }
#endif
}

/* Rows of a tile of R: 16 in parts that fit the registers. */
#if defined(FAST_ISA_avx512)
enum { OUTER_ROWS = 8 };
#else
enum { OUTER_ROWS = 6 };
#endif

#define OUTER_LOAD(m) vec acc##m[VECS]; if (m < rows) { V_UNROLL for (int v = 0; v < vecs; v++) \
        acc##m[v] = add ? v_load(r + 16 * (vecs / V_BLOCK) * m + v * V_LANES) : v_zero(); }
#define OUTER_STORE(m) if (m < rows) { V_UNROLL for (int v = 0; v < vecs; v++) \
        v_store(r + 16 * (vecs / V_BLOCK) * m + v * V_LANES, acc##m[v]); }
#define OUTER_MULTIPLY(m) if (m < rows) { \
        vec am = v_set1(a[m]); \
        V_UNROLL for (int v = 0; v < vecs; v++) acc##m[v] = v_fma(am, bt[v], acc##m[v]); }
#define EACH_OUTER_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

V_INLINE void outer(const int rows, const int vecs, int runs, const gemm_run *run, int first, ptrdiff_t b_block, int add,
                    float *r)
{
    EACH_OUTER_ROW(OUTER_LOAD)
    for (int i = 0; i < runs; i++) {
        const float *a = run[i].a + first, *b = run[i].b;
        for (int t = 0; t < run[i].length; t++, a += 16, b += 16) {
            vec bt[VECS];
            V_UNROLL
            for (int v = 0; v < vecs; v++)
                bt[v] = v_load(b + v / V_BLOCK * b_block + v % V_BLOCK * V_LANES);
            EACH_OUTER_ROW(OUTER_MULTIPLY)
        }
    }
    EACH_OUTER_ROW(OUTER_STORE)
}

void CPU_(gemm_outer)(int blocks, int runs, const gemm_run *run, ptrdiff_t b_block, int add, float *r)
{
    for (int first = 0; first < 16; first += OUTER_ROWS) {
        float *to = r + 16 * blocks * first;
        int full = 16 - first >= OUTER_ROWS;
        if (blocks == GEMM_BLOCKS && full)
            outer(OUTER_ROWS, VECS, runs, run, first, b_block, add, to);
        else if (full)
            outer(OUTER_ROWS, V_BLOCK, runs, run, first, b_block, add, to);
        else
            outer(16 % OUTER_ROWS, V_BLOCK, runs, run, first, b_block, add, to);
    }
}
