/* op_matmul.c: y = a b, aT b or a bT over the last two dimensions, for each (n,c). */
#include "gemm.h"
#include "ops.h"

#include <assert.h>
#include <string.h>

/* c[j] += sum_q a_q B[q][j]: a row of C. Four terms at a time, so that c is loaded and stored a quarter as often; a_q lies
 * `step` apart. */
static void add_rows(int n, int k, const real *a, size_t step, const real *B, real *c)
{
    int q = 0;
    for (; q + 4 <= k; q += 4, a += 4 * step) {
        real a0 = a[0], a1 = a[step], a2 = a[2 * step], a3 = a[3 * step];
        const real *b0 = B + (size_t)q * (size_t)n, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
        for (int j = 0; j < n; j++)
            c[j] += a0 * b0[j] + a1 * b1[j] + (a2 * b2[j] + a3 * b3[j]);
    }
    for (; q < k; q++, a += step)
        for (int j = 0; j < n; j++)
            c[j] += a[0] * B[(size_t)q * (size_t)n + (size_t)j];
}

/* C[i][j] += sum_k A[i][k] B[k][j] */
void gemm_nn(int m, int n, int k, const real *A, const real *B, real *C)
{
    for (int i = 0; i < m; i++)
        add_rows(n, k, A + (size_t)i * (size_t)k, 1, B, C + (size_t)i * (size_t)n);
}

/* C[i][j] += sum_k A[k][i] B[k][j] */
void gemm_tn(int m, int n, int k, const real *A, const real *B, real *C)
{
    for (int i = 0; i < m; i++)
        add_rows(n, k, A + i, (size_t)m, B, C + (size_t)i * (size_t)n);
}

/* C[i][j] += sum_k A[i][k] B[j][k], each sum in sixteen parts. */
void gemm_nt(int m, int n, int k, const real *A, const real *B, real *C)
{
    enum { PARTS = 16 };
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            const real *a = A + (size_t)i * (size_t)k, *b = B + (size_t)j * (size_t)k;
            real part[PARTS] = { 0 }, sum = 0;
            int q = 0;
            for (; q + PARTS <= k; q += PARTS)
                for (int p = 0; p < PARTS; p++)
                    part[p] += a[q + p] * b[q + p];
            for (; q < k; q++)
                sum += a[q] * b[q];
            for (int p = 0; p < PARTS; p++)
                sum += part[p];
            C[(size_t)i * (size_t)n + (size_t)j] += sum;
        }
}

static void matmul_forward(tape *t, var self)
{
    const node *p = &t->node[self];
    shape sa = shape_of(t, p->in[0]), sb = shape_of(t, p->in[1]), s = p->s;
    const real *a = value(t, p->in[0]), *b = value(t, p->in[1]);
    real *y = p->v;
    memset(y, 0, shape_count(s) * sizeof(real));
    for (int i = 0; i < s.n * s.c; i++) {
        switch (p->flags) {
        case MATMUL_NN: gemm_nn(s.h, s.w, sa.w, a, b, y); break;
        case MATMUL_TN: gemm_tn(s.h, s.w, sa.h, a, b, y); break;
        default:        gemm_nt(s.h, s.w, sa.w, a, b, y); break;
        }
        a += (size_t)sa.h * (size_t)sa.w;
        b += (size_t)sb.h * (size_t)sb.w;
        y += (size_t)s.h * (size_t)s.w;
    }
}

/*            ga          gb
 * y = a b    gy bT       aT gy
 * y = aT b   b gyT       a gy
 * y = a bT   gy b        gyT a    */
static void matmul_vjp(tape *t, var self, var gy)
{
    var a = t->node[self].in[0], b = t->node[self].in[1];
    int flags = t->node[self].flags;
    if (tape_wants(t, a))
        tape_give(t, a, flags == MATMUL_NN ? tape_matmul(t, gy, b, MATMUL_NT)
                      : flags == MATMUL_TN ? tape_matmul(t, b, gy, MATMUL_NT)
                                           : tape_matmul(t, gy, b, MATMUL_NN));
    if (tape_wants(t, b))
        tape_give(t, b, flags == MATMUL_NN ? tape_matmul(t, a, gy, MATMUL_TN)
                      : flags == MATMUL_TN ? tape_matmul(t, a, gy, MATMUL_NN)
                                           : tape_matmul(t, gy, a, MATMUL_TN));
}

const op op_matmul = { "matmul", 2, matmul_forward, matmul_vjp };

var tape_matmul(tape *t, var a, var b, int flags)
{
    if (a < 0 || b < 0)
        return -1;
    shape sa = shape_of(t, a), sb = shape_of(t, b);
    shape s = { sa.n, sa.c, flags == MATMUL_TN ? sa.w : sa.h, flags == MATMUL_NT ? sb.h : sb.w };
    assert(sa.n == sb.n && sa.c == sb.c);
    assert((flags == MATMUL_TN ? sa.h : sa.w) == (flags == MATMUL_NT ? sb.w : sb.h));
    return tape_record(t, &(node){ .op = &op_matmul, .in = { a, b }, .s = s, .flags = flags });
}
