// fragments.cpp: ldmatrix and mma.sync with the fragment layouts of the PTX ISA, and the roundings to TF32 and BF16.
#include <string.h>

#include "check.h"
#include "collective.h"
#include "counts.h"
#include "lines.h"
#include "tensor.h"

namespace emulate {

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

// cvt.rna.tf32.f32: 10 bits of mantissa, ties away from 0; a NaN becomes 0x7fffffff.
uint32_t tf32_round(float x)
{
    uint32_t u = bits_of(x);
    return x != x ? 0x7fffffffu : (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}

// cvt.rn.bf16.f32: 7 bits of mantissa, ties to even; a NaN becomes 0x7fff.
uint16_t bf16_round(float x)
{
    uint32_t u = bits_of(x);
    return static_cast<uint16_t>(x != x ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static void want_whole_warp(thread *const *lanes, unsigned mask)
{
    if (mask != ~0u)
        fault(EMULATE_WARP, lanes[__builtin_ctz(mask)]->at, "%s needs a whole warp", lanes[__builtin_ctz(mask)]->op);
}

struct rows { uint32_t *to; const unsigned char *row; unsigned count; bool transposed; };

// The two 16-bit values of matrix j that lane i gets: row i/4, columns 2(i%4) and 2(i%4)+1; transposed: those of the transpose.
static uint32_t pair_of(thread *const *lanes, unsigned j, unsigned i, bool transposed)
{
    uint16_t v[2];
    for (unsigned h = 0; h < 2; h++) {
        unsigned row = i / 4, column = 2 * (i % 4) + h;
        const rows *r = static_cast<rows *>(lanes[8 * j + (transposed ? column : row)]->data);
        memcpy(&v[h], r->row + 2 * (transposed ? row : column), 2);
    }
    return v[0] | static_cast<uint32_t>(v[1]) << 16;
}

static void load_run(thread *const *lanes, unsigned mask)
{
    want_whole_warp(lanes, mask);
    for (unsigned i = 0; i < 32; i++) {
        const rows *r = static_cast<rows *>(lanes[i]->data);
        for (unsigned j = 0; j < r->count; j++)
            r->to[j] = pair_of(lanes, j, i, r->transposed);
    }
    count_warp_op(0);
}

void load_matrices(uint32_t *to, const void *row, unsigned count, bool transposed, where at)
{
    static const char *const names[2][3] = {{"ldmatrix.x1", "ldmatrix.x2", "ldmatrix.x4"},
                                            {"ldmatrix.x1.trans", "ldmatrix.x2.trans", "ldmatrix.x4.trans"}};
    if (self->number % 32 < 8 * count) {         // the other lanes' addresses are not used
        if (reinterpret_cast<uintptr_t>(row) % 16)
            fault(EMULATE_MISALIGNED, at, "misaligned: a row of ldmatrix");
        if (!shared_space.holds(reinterpret_cast<uintptr_t>(row)))
            fault(EMULATE_BOUNDS, at, "ldmatrix of what is not shared memory");
        touch(row, 16, access::read, site_of(at));
    }
    rows r{to, static_cast<const unsigned char *>(row), count, transposed};
    collective(names[transposed][count / 2], ~0u, &r, at, load_run);
}

struct fragments { float *d; const uint32_t *a, *b; };

// A (16 x K, row by row), B (8 columns of K), D (16 x 8) += A B, products in order of k.
template <unsigned K> static void multiply(const float (&a)[16][K], const float (&b)[K][8], float (&d)[16][8])
{
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < K; k++)
            for (unsigned j = 0; j < 8; j++)
                d[i][j] += a[i][k] * b[k][j];
}

// Lane i holds d[0..3] at rows i/4, i/4, i/4+8, i/4+8, columns 2(i%4), +1, +0, +1.
static void exchange_d(thread *const *lanes, float (&d)[16][8], bool store)
{
    for (unsigned i = 0; i < 32; i++)
        for (unsigned e = 0; e < 4; e++) {
            float &own = static_cast<fragments *>(lanes[i]->data)->d[e], &whole = d[i / 4 + e / 2 * 8][2 * (i % 4) + e % 2];
            (store ? own : whole) = store ? whole : own;
        }
}

// m16n8k8, TF32: the low 13 bits of an operand are not looked at.
static void mma_tf32_run(thread *const *lanes, unsigned mask)
{
    want_whole_warp(lanes, mask);
    float a[16][8], b[8][8], d[16][8];
    for (unsigned i = 0; i < 32; i++) {
        const fragments *f = static_cast<fragments *>(lanes[i]->data);
        for (unsigned e = 0; e < 4; e++)
            a[i / 4 + e % 2 * 8][i % 4 + e / 2 * 4] = float_of(f->a[e] & 0xffffe000u);
        for (unsigned e = 0; e < 2; e++)
            b[i % 4 + e * 4][i / 4] = float_of(f->b[e] & 0xffffe000u);
    }
    exchange_d(lanes, d, false);
    multiply<8>(a, b, d);
    exchange_d(lanes, d, true);
    count_warp_op(2 * 16 * 8 * 8);
}

// m16n8k16, BF16: two values to a register, the first in its low half.
static void mma_bf16_run(thread *const *lanes, unsigned mask)
{
    want_whole_warp(lanes, mask);
    float a[16][16], b[16][8], d[16][8];
    for (unsigned i = 0; i < 32; i++) {
        const fragments *f = static_cast<fragments *>(lanes[i]->data);
        for (unsigned h = 0; h < 2; h++) {
            for (unsigned e = 0; e < 4; e++)
                a[i / 4 + e % 2 * 8][2 * (i % 4) + h + e / 2 * 8] = float_of(f->a[e] >> 16 * h << 16);
            for (unsigned e = 0; e < 2; e++)
                b[2 * (i % 4) + h + e * 8][i / 4] = float_of(f->b[e] >> 16 * h << 16);
        }
    }
    exchange_d(lanes, d, false);
    multiply<16>(a, b, d);
    exchange_d(lanes, d, true);
    count_warp_op(2 * 16 * 8 * 16);
}

void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2], where at)
{
    fragments f{d, a, b};
    collective("mma.m16n8k8.tf32", ~0u, &f, at, mma_tf32_run);
}

void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], where at)
{
    fragments f{d, a, b};
    collective("mma.m16n8k16.bf16", ~0u, &f, at, mma_bf16_run);
}

}  // namespace emulate
