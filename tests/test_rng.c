/* Philox against its paper's answers; normals against libm, against the normal law, and bit for bit against a constant. */
#include "common/rng.h"
#include "tests/test.h"

#include <stdlib.h>

enum { MANY = 1000000 };
static float z[MANY];
static const icd_stream base = { 2021, 7, ICD_DRAW_TEST, 3 };

static void philox_gives(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t w0, uint32_t w1,
                         uint32_t w2, uint32_t w3)
{
    uint32_t counter[4] = { c0, c1, c2, c3 }, key[2] = { k0, k1 }, out[4];
    icd_philox(counter, key, out);
    CHECK_EQ(out[0], w0);
    CHECK_EQ(out[1], w1);
    CHECK_EQ(out[2], w2);
    CHECK_EQ(out[3], w3);
}

/* The known answers that come with Random123 for philox4x32-10. */
TEST(philox_known_answers)
{
    const uint32_t f = 0xffffffffu;
    philox_gives(0, 0, 0, 0, 0, 0, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
    philox_gives(f, f, f, f, f, f, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu);
    philox_gives(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u,
                 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

/* The layout of the counter is part of the format of a run: word by word, from a stream with every field full. */
TEST(a_stream_is_counter_and_key)
{
    icd_stream s = { 0x1122334455667788u, 0xA1B2C3D4E5u, 0xF7, 0xCAFEBABEu };
    uint64_t index = ((uint64_t)0x1234 << 32 | 0x89ABCDEFu) * 4 + 2;
    uint32_t counter[4] = { 0x89ABCDEFu, 0xCAFEBABEu, 0xB2C3D4E5u, 0x1234A1F7u }, key[2] = { 0x55667788u, 0x11223344u }, out[4];
    icd_philox(counter, key, out);
    for (unsigned k = 0; k < 2; k++)
        CHECK_EQ(icd_bits(&s, index + k), out[2 + k]);
}

TEST(every_field_changes_the_draws)
{
    icd_stream s[9];
    for (int i = 0; i < 9; i++)
        s[i] = base;
    s[1].seed ^= 1;
    s[2].seed ^= (uint64_t)1 << 63;
    s[3].iteration ^= 1;
    s[4].iteration ^= (uint64_t)1 << 31;
    s[5].iteration ^= (uint64_t)1 << 39;
    s[6].purpose = ICD_DRAW_DATA;
    s[7].sample ^= 1;
    s[8].sample ^= 0x80000000u;
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < i; j++) {
            int same = 0;
            for (uint64_t k = 0; k < 1000; k++)
                same += icd_bits(&s[i], k) == icd_bits(&s[j], k);
            CHECK_EQ(same, 0);
        }
    for (int bit = 0; bit < 50; bit++)              /* the index: 48 bits of block and 2 within it */
        CHECK(icd_bits(&base, 5) != icd_bits(&base, 5 ^ (uint64_t)1 << bit));
}

TEST(bulk_draws_are_the_draws_one_by_one)
{
    const uint64_t starts[] = { 0, 1, 2, 3, 4, 17, 0xFFFFFFFFFu };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        for (size_t count = 0; count < 14; count++) {
            float n[15], u[15];
            n[count] = u[count] = -77.0f;
            icd_normals(&base, starts[i], count, n);
            icd_uniforms(&base, starts[i], count, u);
            for (size_t k = 0; k < count; k++) {
                CHECK_EQ(n[k], icd_normal(&base, starts[i] + k));
                CHECK_EQ(u[k], icd_uniform(&base, starts[i] + k));
            }
            CHECK(n[count] == -77.0f && u[count] == -77.0f);
        }
}

TEST(uniforms_are_uniform)
{
    int bin[100] = { 0 }, wrong = 0;
    double sum = 0, chi2 = 0;
    icd_uniforms(&base, 0, MANY, z);
    for (int i = 0; i < MANY; i++) {
        double scaled = (double)z[i] * 0x1p24;
        int fine = z[i] >= 0 && z[i] < 1 && scaled == floor(scaled);
        wrong += !fine;
        bin[fine ? (int)(z[i] * 100) : 0]++;
        sum += z[i];
    }
    for (int i = 0; i < 100; i++)
        chi2 += (bin[i] - MANY / 100.0) * (bin[i] - MANY / 100.0) / (MANY / 100.0);
    CHECK_EQ(wrong, 0);
    CHECK_NEAR(sum / MANY, 0.5, 4 * sqrt(1.0 / 12 / MANY));
    CHECK_NEAR(chi2, 99, 4 * sqrt(2 * 99.0));       /* 99 degrees of freedom */
}

TEST(below_is_in_range_and_even)
{
    int bin[7] = { 0 };
    for (uint64_t i = 0; i < 70000; i++) {
        uint32_t k = icd_below(&base, i, 7);
        CHECK(k < 7);
        if (k < 7)
            bin[k]++;
        CHECK_EQ(icd_below(&base, i, 1), 0);
        CHECK_EQ(k, floor((double)icd_bits(&base, i) * 7 / 0x1p32));
    }
    for (int k = 0; k < 7; k++)
        CHECK_NEAR(bin[k], 10000, 4 * sqrt(70000.0 * 6 / 49));
}

/* Means of powers within five standard errors: E z^k = 0 1 0 3 0 15 0 105, and the variance of z^k is E z^2k - (E z^k)^2. */
TEST(normal_moments)
{
    const double mean[] = { 0, 0, 1, 0, 3 }, variance[] = { 0, 1, 2, 15, 96 };
    icd_normals(&base, 0, MANY, z);
    for (int k = 1; k <= 4; k++) {
        double sum = 0;
        for (int i = 0; i < MANY; i++)
            sum += pow((double)z[i], k);
        CHECK_NEAR(sum / MANY, mean[k], 5 * sqrt(variance[k] / MANY));
    }
    for (int lag = 1; lag <= 4; lag++) {            /* the partners of one Box-Muller pair, of one block, of the next */
        double product = 0, squares = 0;
        for (int i = 0; i + lag < MANY; i++) {
            double a = z[i], b = z[i + lag];
            product += a * b;
            squares += (a * a - 1) * (b * b - 1);
        }
        CHECK_NEAR(product / MANY, 0, 5 / sqrt(MANY));
        CHECK_NEAR(squares / MANY, 0, 5 * 2 / sqrt(MANY));
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: sqrt(n) D exceeds 1.95 once in a thousand samples. */
TEST(normals_follow_the_normal_law)
{
    icd_normals(&base, 0, MANY, z);
    for (int above = 1; above <= 4; above++) {
        double p = erfc(above / sqrt(2.0)), count = 0;
        for (int i = 0; i < MANY; i++)
            count += fabsf(z[i]) > (float)above;
        CHECK_NEAR(count, p * MANY, 5 * sqrt(p * MANY));
    }
    qsort(z, MANY, sizeof z[0], ascending);
    double d = 0;
    for (int i = 0; i < MANY; i++) {
        double law = 0.5 * erfc(-(double)z[i] / sqrt(2.0));
        d = fmax(d, fmax(fabs(law - (double)i / MANY), fabs(law - (double)(i + 1) / MANY)));
    }
    CHECK_NEAR(sqrt(MANY) * d, 0, 1.95);
    CHECK(z[0] > -6.8f && z[MANY - 1] < 6.8f);
}

/* The same formula in double by libm, from the same bits: u = float(r0)/2^32 + 2^-33 rounded to float, and the whole angle. */
TEST(normals_are_accurate)
{
    const double turn = 6.283185307179586476925;
    double worst = 0;
    icd_normals(&base, 0, MANY, z);
    for (uint64_t i = 0; i < MANY; i += 2) {
        volatile float r0 = (float)icd_bits(&base, i), u = (float)((double)r0 * 0x1p-32 + 0x1p-33);
        double radius = sqrt(-2 * log((double)u)), angle = turn * (double)icd_bits(&base, i + 1) / 0x1p32;
        double scale = radius > 1 ? radius : 1;
        worst = fmax(worst, fabs(z[i] - radius * cos(angle)) / scale);
        worst = fmax(worst, fabs(z[i + 1] - radius * sin(angle)) / scale);
    }
    CHECK_NEAR(worst, 0, 4 * 0x1p-24);       /* four roundings: logarithm, root, cosine, product */
}

/* FNV-1a of the bits of draws first .. first+MANY-1. */
static uint64_t checksum(const icd_stream *s, uint64_t first)
{
    uint64_t hash = 14695981039346656037u;
    icd_normals(s, first, MANY, z);
    for (int i = 0; i < MANY; i++) {
        uint32_t bits;
        memcpy(&bits, &z[i], sizeof bits);
        for (int k = 0; k < 32; k += 8)
            hash = (hash ^ (bits >> k & 0xFFu)) * 1099511628211u;
    }
    return hash;
}

/* Every compiler, optimisation level and platform with IEEE floats must agree on these. */
TEST(normals_are_the_same_everywhere)
{
    const icd_stream other = { 0xFEDCBA9876543210u, 123456789012u, ICD_DRAW_LANGEVIN, 0xFFFFFFFFu };
    const uint64_t want[2] = { 0x22097eabe80231e3u, 0x273ce8c85fc4db04u };
    uint64_t got[2] = { checksum(&base, 0), checksum(&other, 31) };
    for (int k = 0; k < 2; k++) {
        CHECK(got[k] == want[k]);
        if (got[k] != want[k])
            printf("checksum %d is %08lx%08lx\n", k, (unsigned long)(got[k] >> 32), (unsigned long)(got[k] & 0xFFFFFFFFu));
    }
}

TEST_MAIN("rng", T(philox_known_answers), T(a_stream_is_counter_and_key), T(every_field_changes_the_draws),
          T(bulk_draws_are_the_draws_one_by_one), T(uniforms_are_uniform), T(below_is_in_range_and_even), T(normal_moments),
          T(normals_follow_the_normal_law), T(normals_are_accurate), T(normals_are_the_same_everywhere))
