/* gemm.h: the three matrix products, C += A B in the order of the formula. Matrices are dense, row by row. */
#ifndef REF_GEMM_H
#define REF_GEMM_H

#include <stddef.h>

#include "real.h"

void gemm_nn(int m, int n, int k, const real *A, const real *B, real *C);    /* A (m,k), B (k,n) */
void gemm_tn(int m, int n, int k, const real *A, const real *B, real *C);    /* A (k,m), B (k,n) */
void gemm_nt(int m, int n, int k, const real *A, const real *B, real *C);    /* A (m,k), B (n,k) */

#endif
