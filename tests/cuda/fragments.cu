// fragments.cu: the layouts of mma and ldmatrix against tables written down from the text of the PTX ISA ("Matrix Fragments for
// mma.m16n8k8", "... mma.m16n8k16 with floating point type", "ldmatrix"), and the roundings to TF32 and BF16.
#include "fast/cuda/device.h"

#include <math.h>

#include "fast/cuda/emulate/emulate.h"
#include "tests/test.h"

namespace CUDA_SIDE {

// Where lane l holds element i: groupID = l >> 2, threadID_in_group = l % 4;
// row = group_row groupID + thread_row threadID_in_group + row, column likewise.
struct place { int group_row, thread_row, row, group_column, thread_column, column; };

// m16n8k8, .tf32.  a: row = groupID for a0 and a2, groupID + 8 for a1 and a3; col = threadID_in_group for a0 and a1,
// threadID_in_group + 4 for a2 and a3.  b: row = threadID_in_group for b0, threadID_in_group + 4 for b1; col = groupID.
static const place tf32_a[] = {{1, 0, 0, 0, 1, 0}, {1, 0, 8, 0, 1, 0}, {1, 0, 0, 0, 1, 4}, {1, 0, 8, 0, 1, 4}};
static const place tf32_b[] = {{0, 1, 0, 1, 0, 0}, {0, 1, 4, 1, 0, 0}};

// m16n8k16, .bf16, elements low to high, two to a register.  a: row = groupID for 0 <= i < 2 or 4 <= i < 6, groupID + 8
// otherwise; col = threadID_in_group * 2 + (i & 1) for i < 4, that + 8 for i >= 4.  b: row = threadID_in_group * 2 + (i & 1)
// for i < 2, that + 8 for i >= 2; col = groupID.
static const place bf16_a[] = {{1, 0, 0, 0, 2, 0}, {1, 0, 0, 0, 2, 1}, {1, 0, 8, 0, 2, 0}, {1, 0, 8, 0, 2, 1},
                               {1, 0, 0, 0, 2, 8}, {1, 0, 0, 0, 2, 9}, {1, 0, 8, 0, 2, 8}, {1, 0, 8, 0, 2, 9}};
static const place bf16_b[] = {{0, 2, 0, 1, 0, 0}, {0, 2, 1, 1, 0, 0}, {0, 2, 8, 1, 0, 0}, {0, 2, 9, 1, 0, 0}};

// c and d of both: row = groupID for c0 and c1, groupID + 8 for c2 and c3; col = threadID_in_group * 2 + (i & 1).
static const place sums_d[] = {{1, 0, 0, 0, 2, 0}, {1, 0, 0, 0, 2, 1}, {1, 0, 8, 0, 2, 0}, {1, 0, 8, 0, 2, 1}};

static int row_of(const place &p, int l) { return p.group_row * (l >> 2) + p.thread_row * (l % 4) + p.row; }
static int column_of(const place &p, int l) { return p.group_column * (l >> 2) + p.thread_column * (l % 4) + p.column; }

// a (32,4), b (32,2), d (32,4): what each lane holds.
__global__ void one_mma(int is_bf16, const uint32_t *a, const uint32_t *b, float *d)
{
    const unsigned l = threadIdx.x;
    float mine[4];
    for (unsigned i = 0; i < 4; i++)
        mine[i] = d[4 * l + i];
    if (is_bf16)
        mma_bf16(mine, a + 4 * l, b + 2 * l);
    else
        mma_tf32(mine, a + 4 * l, b + 2 * l);
    for (unsigned i = 0; i < 4; i++)
        d[4 * l + i] = mine[i];
}

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float number(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

// Whole numbers whose product has one answer: any element in a wrong place changes it.
static float a_at(int i, int k) { return static_cast<float>((i * 7 + k * 3 + i * k) % 29 - 14); }
static float b_at(int k, int j) { return static_cast<float>((k * 5 + j * 11 + k * k * j) % 31 - 15); }
static float c_at(int i, int j) { return static_cast<float>(i * 8 + j); }

static void check_mma(int is_bf16)
{
    const int depth = is_bf16 ? 16 : 8, per = is_bf16 ? 2 : 1;
    const place *pa = is_bf16 ? bf16_a : tf32_a, *pb = is_bf16 ? bf16_b : tf32_b;
    uint32_t a[32 * 4] = {}, b[32 * 2] = {};
    float d[32 * 4];
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4 * per; i++) {
            const uint32_t u = bits(a_at(row_of(pa[i], l), column_of(pa[i], l)));
            a[4 * l + i / per] |= is_bf16 ? u >> 16 << 16 * (i % 2) : u;
        }
        for (int i = 0; i < 2 * per; i++) {
            const uint32_t u = bits(b_at(row_of(pb[i], l), column_of(pb[i], l)));
            b[2 * l + i / per] |= is_bf16 ? u >> 16 << 16 * (i % 2) : u;
        }
        for (int i = 0; i < 4; i++)
            d[4 * l + i] = c_at(row_of(sums_d[i], l), column_of(sums_d[i], l));
    }
    uint32_t *da, *db;
    float *dd;
    cudaMalloc(&da, sizeof a);
    cudaMalloc(&db, sizeof b);
    cudaMalloc(&dd, sizeof d);
    cudaMemcpy(da, a, sizeof a, cudaMemcpyHostToDevice);
    cudaMemcpy(db, b, sizeof b, cudaMemcpyHostToDevice);
    cudaMemcpy(dd, d, sizeof d, cudaMemcpyHostToDevice);
    LAUNCH(one_mma, 1, 32, 0, nullptr, is_bf16, da, db, dd);
    CHECK(cudaMemcpy(d, dd, sizeof d, cudaMemcpyDeviceToHost) == cudaSuccess);
    for (int l = 0; l < 32; l++)
        for (int e = 0; e < 4; e++) {
            const int i = row_of(sums_d[e], l), j = column_of(sums_d[e], l);
            float want = c_at(i, j);
            for (int k = 0; k < depth; k++)
                want += a_at(i, k) * b_at(k, j);
            CHECK_EQ(d[4 * l + e], want);
        }
    cudaFree(da);
    cudaFree(db);
    cudaFree(dd);
}
TEST(mma_tf32_layout) { check_mma(0); }
TEST(mma_bf16_layout) { check_mma(1); }

// TF32 operands: the low 13 bits do not count.
TEST(mma_tf32_drops_low_bits)
{
    uint32_t a[32 * 4], b[32 * 2], *da, *db;
    float d[32 * 4] = {}, *dd;
    for (uint32_t &u : a)
        u = bits(1.0f) | 0x1fff;
    for (uint32_t &u : b)
        u = bits(1.0f) | 0x1000;
    cudaMalloc(&da, sizeof a);
    cudaMalloc(&db, sizeof b);
    cudaMalloc(&dd, sizeof d);
    cudaMemcpy(da, a, sizeof a, cudaMemcpyHostToDevice);
    cudaMemcpy(db, b, sizeof b, cudaMemcpyHostToDevice);
    cudaMemset(dd, 0, sizeof d);
    LAUNCH(one_mma, 1, 32, 0, nullptr, 0, da, db, dd);
    cudaMemcpy(d, dd, sizeof d, cudaMemcpyDeviceToHost);
    for (float v : d)
        CHECK_EQ(v, 8);
    cudaFree(da);
    cudaFree(db);
    cudaFree(dd);
}

// out (count,32): the registers of each lane. Matrix j, row i, column k holds 64 j + 8 i + k.
__global__ void matrices(int count, int transposed, uint32_t *out)
{
    SHARED(uint16_t, s, [4][8][24]);             // rows 48 bytes apart
    const unsigned l = threadIdx.x;
    for (unsigned i = l; i < 256; i += 32)
        s[i / 64][i / 8 % 8][i % 8] = static_cast<uint16_t>(i);
    __syncwarp();
    const uint16_t *row = l < 8u * static_cast<unsigned>(count) ? &s[l / 8][l % 8][0] : nullptr;  // others are not used
    uint32_t r[4];
    if (count == 1 && !transposed)
        ldmatrix_x1(r, row);
    if (count == 2 && !transposed)
        ldmatrix_x2(r, row);
    if (count == 4 && !transposed)
        ldmatrix_x4(r, row);
    if (count == 1 && transposed)
        ldmatrix_x1_trans(r, row);
    if (count == 2 && transposed)
        ldmatrix_x2_trans(r, row);
    if (count == 4 && transposed)
        ldmatrix_x4_trans(r, row);
    for (int j = 0; j < count; j++)
        out[32 * j + static_cast<int>(l)] = r[j];
}

// "The elements of row r are in threads 4r to 4r + 3, two consecutive ones in each": threads by row, four times two columns.
static const int row_of_thread[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,
                                      4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7};
static const int column_of_thread[4] = {0, 2, 4, 6};

TEST(ldmatrix_layout)
{
    uint32_t *out, got[128];
    cudaMalloc(&out, sizeof got);
    for (int count = 1; count <= 4; count *= 2)
        for (int transposed = 0; transposed < 2; transposed++) {
            LAUNCH(matrices, 1, 32, 0, nullptr, count, transposed, out);
            CHECK(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost) == cudaSuccess);
            for (int j = 0; j < count; j++)
                for (int l = 0; l < 32; l++) {
                    const int r = row_of_thread[l], c = column_of_thread[l % 4];
                    const int low = transposed ? 8 * c + r : 8 * r + c, high = transposed ? 8 * (c + 1) + r : 8 * r + c + 1;
                    CHECK_EQ(got[32 * j + l], 64 * j + low + ((64 * j + high) << 16));
                }
        }
    cudaFree(out);
}

// cvt.rna.tf32.f32: to the nearest with 10 bits of mantissa, ties away from zero.
TEST(tf32_rounding)
{
    static const uint32_t table[][2] = {
        {0x3f800000, 0x3f800000}, {0x3f800fff, 0x3f800000}, {0x3f801000, 0x3f802000}, {0x3f801001, 0x3f802000},
        {0x3f802fff, 0x3f802000}, {0x3f803000, 0x3f804000}, {0xbf801000, 0xbf802000}, {0xbf800fff, 0xbf800000},
        {0x3fffffff, 0x40000000}, {0x7f7fffff, 0x7f800000}, {0x7f800000, 0x7f800000}, {0xff800000, 0xff800000},
        {0x7fc00000, 0x7fffffff}, {0xff800001, 0x7fffffff}, {0x00000000, 0x00000000}, {0x80000000, 0x80000000},
        {0x00001000, 0x00002000}, {0x00000fff, 0x00000000},
    };
    for (const auto &t : table)
        CHECK_EQ(tf32_round(number(t[0])), t[1]);
}

// cvt.rn.bf16.f32: to the nearest with 7 bits of mantissa, ties to even.
TEST(bf16_rounding)
{
    static const uint32_t table[][2] = {
        {0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82},
        {0x3f817fff, 0x3f81}, {0xbf818000, 0xbf82}, {0xbf808000, 0xbf80}, {0x7f7fffff, 0x7f80}, {0x7f7f7fff, 0x7f7f},
        {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fff}, {0xffc00000, 0x7fff}, {0x80000000, 0x8000},
        {0x00008000, 0x0000}, {0x00018000, 0x0002},
    };
    for (const auto &t : table) {
        CHECK_EQ(bf16_round(number(t[0])), t[1]);
        CHECK_EQ(bf16_pair(number(t[0]), 1.0f), t[1] | 0x3f800000u);
        CHECK_EQ(bf16_pair(1.0f, number(t[0])), t[1] << 16 | 0x3f80u);
    }
    CHECK_EQ(bf16_float(0x3fc0), 1.5);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda fragments", T(mma_tf32_layout), T(mma_bf16_layout), T(mma_tf32_drops_low_bits), T(ldmatrix_layout),
          T(tf32_rounding), T(bf16_rounding))
