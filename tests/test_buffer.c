/* The replay buffer: who stays, who goes, and that storing a sample changes nothing on average.       [ICD:alg1.18] */
#include "common/buffer.h"
#include "tests/test.h"

static icd_err err;

static icd_stream draw_of_push(int64_t push)
{
    icd_stream s = { 11, (uint64_t)(push / 64), ICD_DRAW_BUFFER, (uint32_t)(push % 64) };
    return s;
}

static void push_value(icd_buffer *b, float v, int32_t label)
{
    float x[3] = { v, v + 1000, v + 2000 };
    icd_stream s = draw_of_push(b->seen);
    icd_buffer_push(b, &s, x, label);
}

static float value_in(const icd_buffer *b, int slot)
{
    float x[3];
    icd_buffer_get(b, slot, x);
    CHECK(x[1] == x[0] + 1000 && x[2] == x[0] + 2000);
    return x[0];
}

TEST(fifo_keeps_the_newest_and_wraps)
{
    icd_arena a = { 0 };
    icd_buffer b;
    CHECK_OK(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_FLOAT, 5, 3, &err));
    for (int t = 0; t < 23; t++) {
        push_value(&b, (float)t, 100 + t);
        CHECK_EQ(b.seen, t + 1);
        CHECK_EQ(b.count, t < 4 ? t + 1 : 5);
        for (int back = 0; back < b.count; back++) {        /* sample t-back lies in slot (t-back) mod 5 */
            int slot = (t - back) % 5;
            CHECK_EQ(value_in(&b, slot), t - back);
            CHECK_EQ(b.label[slot], 100 + t - back);
        }
    }
    icd_arena_release(&a);
}

/* After `seen` pushes each sample is still there with probability capacity/seen: chi-square over ages, in many runs. */
TEST(a_reservoir_is_a_uniform_sample_of_the_past)
{
    enum { CAPACITY = 8, SEEN = 40, RUNS = 5000 };
    int kept[SEEN] = { 0 };
    icd_arena a = { 0 };
    for (int run = 0; run < RUNS; run++) {
        icd_buffer b;
        icd_arena_rewind(&a);
        CHECK_OK(icd_buffer_init(&b, &a, ICD_RESERVOIR, ICD_STORE_FLOAT, CAPACITY, 1, &err));
        for (int t = 0; t < SEEN; t++) {
            float v = (float)t;
            icd_stream s = { (uint64_t)run, 5, ICD_DRAW_BUFFER, (uint32_t)t };
            icd_buffer_push(&b, &s, &v, t);
        }
        CHECK(b.count == CAPACITY && b.seen == SEEN);
        for (int i = 0; i < CAPACITY; i++) {
            float v;
            icd_buffer_get(&b, i, &v);
            CHECK_EQ(v, b.label[i]);
            kept[b.label[i]]++;
        }
    }
    double p = (double)CAPACITY / SEEN, mean = RUNS * p, chi2 = 0;
    for (int t = 0; t < SEEN; t++)
        chi2 += (kept[t] - mean) * (kept[t] - mean) / (mean * (1 - p));
    /* The 40 counts add to a constant, so this is (39/40 of) 40 degrees of freedom: mean 40, sd sqrt(80). */
    CHECK_NEAR(chi2, 40, 4 * sqrt(80.0));
    icd_arena_release(&a);
}

/* Far into a run, sample t goes in with probability capacity/t, and to every slot alike; also beyond 2^32 samples. */
TEST(a_late_sample_enters_rarely_and_anywhere)
{
    enum { CAPACITY = 10, PUSHES = 200000 };
    const int64_t starts[] = { 1000, (int64_t)3 << 32 };
    for (int k = 0; k < 2; k++) {
        icd_arena a = { 0 };
        icd_buffer b;
        CHECK_OK(icd_buffer_init(&b, &a, ICD_RESERVOIR, ICD_STORE_FLOAT, CAPACITY, 1, &err));
        float v = 1;
        int entered = 0, in_slot[CAPACITY] = { 0 };
        for (int i = 0; i < CAPACITY; i++) {
            icd_stream s = draw_of_push(i);
            icd_buffer_push(&b, &s, &v, 0);
        }
        for (int i = 0; i < PUSHES; i++) {
            b.seen = starts[k] - 1;                         /* as if each were number starts[k] */
            icd_stream s = draw_of_push(i + CAPACITY);
            icd_buffer_push(&b, &s, &v, i + 1);
            for (int j = 0; j < CAPACITY; j++)
                if (b.label[j] == i + 1) {
                    entered++;
                    in_slot[j]++;
                }
        }
        double expected = (double)PUSHES * CAPACITY / (double)starts[k];
        CHECK_NEAR(entered, expected, 5 * sqrt(expected));
        for (int j = 0; k == 0 && j < CAPACITY; j++)
            CHECK_NEAR(in_slot[j], expected / CAPACITY, 5 * sqrt(expected / CAPACITY));
        icd_arena_release(&a);
    }
}

/* What is read back is v on average: each push errs by less than a level, and a million by five standard errors at most.
 * A shrink by 255/256, or by half a level, would be a hundred standard errors off. */
TEST(uint8_storage_is_unbiased)
{
    enum { D = 1000, PUSHES = 1000 };
    const float values[] = { 0.0f, 1.0f, 0.5f, 0.3137f, 0.001f, 0.9995f, 200.25f / 255.0f };
    static float x[D], y[D];
    for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
        icd_arena a = { 0 };
        icd_buffer b;
        CHECK_OK(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_UINT8, 2, D, &err));
        double level = 255 * (double)values[k], fraction = level - floor(level), sum = 0, worst = 0;
        for (int i = 0; i < D; i++)
            x[i] = values[k];
        for (int t = 0; t < PUSHES; t++) {
            icd_stream s = draw_of_push(t);
            icd_buffer_push(&b, &s, x, 0);
            icd_buffer_get(&b, t % 2, y);
            for (int i = 0; i < D; i++) {
                double error = 255 * (double)y[i] - level;
                sum += error;
                worst = fmax(worst, fabs(error));
            }
        }
        double n = (double)D * PUSHES;
        CHECK_NEAR(sum / n, 0, 5 * sqrt(fraction * (1 - fraction) / n) + 255 * 0x1p-24);
        CHECK(worst < 1 + 255 * 0x1p-24);
        icd_arena_release(&a);
    }
}

/* A sample replayed a thousand times, as chains with no steps would, neither fades, brightens nor inverts: a whole number
 * of levels stays what it is. */
TEST(replaying_uint8_samples_leaves_them_alone)
{
    icd_arena a = { 0 };
    icd_buffer b;
    float x[256], y[256];
    CHECK_OK(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_UINT8, 1, 256, &err));
    for (int i = 0; i < 256; i++)
        y[i] = x[i] = (float)i / 255.0f;
    for (int t = 0; t < 1000; t++) {
        icd_stream s = draw_of_push(t);
        icd_buffer_push(&b, &s, y, 0);
        icd_buffer_get(&b, 0, y);
    }
    /* Where float(i/255) lies below i/255, a level is lost with probability under 1e-5 a push: allow one of 256. */
    int moved = 0;
    for (int i = 0; i < 256; i++) {
        moved += y[i] != x[i];
        CHECK_NEAR(y[i], x[i], 1.001 / 255);
    }
    CHECK(moved <= 1);
    CHECK(b.u[0] == 0 && b.u[255] == 255);
    icd_arena_release(&a);
}

TEST(uint8_clamps_what_lies_outside)
{
    icd_arena a = { 0 };
    icd_buffer b;
    const float x[4] = { -3.0f, 1.0001f, 1e30f, -0.0f };
    const uint8_t want[4] = { 0, 255, 255, 0 };
    CHECK_OK(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_UINT8, 1, 4, &err));
    for (int t = 0; t < 100; t++) {
        icd_stream s = draw_of_push(t);
        icd_buffer_push(&b, &s, x, 0);
        CHECK(memcmp(b.u, want, 4) == 0);
    }
    icd_arena_release(&a);
}

/* A push is a pure function of the buffer and the stream, and values have draws of their own. */
TEST(pushes_repeat_and_values_round_apart)
{
    enum { D = 500 };
    icd_arena a = { 0 };
    icd_buffer b[2];
    float x[D];
    for (int i = 0; i < D; i++)
        x[i] = 0.5f;                                        /* 127.5: up or down with equal chance */
    for (int k = 0; k < 2; k++) {
        CHECK_OK(icd_buffer_init(&b[k], &a, ICD_RESERVOIR, ICD_STORE_UINT8, 3, D, &err));
        for (int t = 0; t < 50; t++) {
            icd_stream s = draw_of_push(t);
            icd_buffer_push(&b[k], &s, x, t);
        }
    }
    CHECK(memcmp(b[0].u, b[1].u, 3 * D) == 0 && memcmp(b[0].label, b[1].label, 3 * sizeof(int32_t)) == 0);
    CHECK(memcmp(b[0].u, b[0].u + D, D) != 0);
    int up = 0;
    for (int i = 0; i < D; i++)
        up += b[0].u[i] == 128;
    CHECK_NEAR(up, D / 2, 5 * sqrt(D / 4.0));
    icd_arena_release(&a);
}

TEST(memory_out_is_said_and_leaves_the_buffer)
{
    for (long n = 1; n <= 2; n++) {
        icd_arena a = { 0 };
        icd_buffer b = { ICD_FIFO, ICD_STORE_FLOAT, 77, 0, 0, 1, NULL, NULL, NULL };
        icd_alloc_fail_at(n);
        CHECK_EQ(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_FLOAT, 10, 784, &err), ICD_ENOMEM);
        icd_alloc_fail_at(0);
        CHECK_SAYS(err.text, "10 samples of 784 values");
        CHECK_EQ(b.capacity, 77);
        icd_arena_release(&a);
    }
    icd_arena a = { 0 };
    icd_buffer b = { ICD_FIFO, ICD_STORE_FLOAT, 77, 0, 0, 1, NULL, NULL, NULL };
    CHECK_EQ(icd_buffer_init(&b, &a, ICD_FIFO, ICD_STORE_FLOAT, 1, SIZE_MAX / 2, &err), ICD_ENOMEM);
    icd_arena_release(&a);
}

TEST_MAIN("buffer", T(fifo_keeps_the_newest_and_wraps), T(a_reservoir_is_a_uniform_sample_of_the_past),
          T(a_late_sample_enters_rarely_and_anywhere), T(uint8_storage_is_unbiased),
          T(replaying_uint8_samples_leaves_them_alone), T(uint8_clamps_what_lies_outside),
          T(pushes_repeat_and_values_round_apart), T(memory_out_is_said_and_leaves_the_buffer))
