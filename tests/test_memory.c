/* The heap's door and the arena: alignment, zeros, overflow, the failure hook, the accounts. */
#include "common/memory.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdint.h>

static int is_aligned(const void *p) { return (uintptr_t)p % 64 == 0; }

static int is_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

TEST(blocks_are_aligned_and_zeroed)
{
    const size_t sizes[] = { 1, 3, 63, 64, 65, 1000, 4096, 100000 };
    for (int round = 0; round < 2; round++)         /* the second round gets memory that the first has dirtied */
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *p = icd_alloc(sizes[i], 3);
            CHECK(p != NULL);
            if (!p)
                return;
            CHECK(is_aligned(p) && is_zero(p, 3 * sizes[i]));
            memset(p, 0xA5, 3 * sizes[i]);
            icd_free(p);
        }
    icd_free(NULL);
}

TEST(overflow_is_refused)
{
    icd_arena a = { 0 };
    const size_t root = (size_t)1 << (sizeof(size_t) * 4);      /* root * root is 0 in size_t */
    CHECK(icd_alloc(root, root) == NULL);
    CHECK(icd_alloc(SIZE_MAX, 2) == NULL);
    CHECK(icd_alloc(SIZE_MAX, 1) == NULL);
    CHECK(icd_alloc(SIZE_MAX - 64, 1) == NULL);
    CHECK(icd_arena_alloc(&a, root, root) == NULL);
    CHECK(icd_arena_alloc(&a, SIZE_MAX, 1) == NULL);
    CHECK(icd_arena_alloc(&a, SIZE_MAX / 2 + 2, 2) == NULL);
    CHECK_EQ(a.used, 0);
    icd_arena_release(&a);
}

TEST(live_and_peak_count_bytes)
{
    size_t live = icd_alloc_live(), peak = icd_alloc_peak();
    void *p = icd_alloc(10, 100), *q = icd_alloc(1, 500);
    CHECK_EQ(icd_alloc_live(), live + 1500);
    icd_free(p);
    CHECK_EQ(icd_alloc_live(), live + 500);
    CHECK(icd_alloc_peak() >= live + 1500 && icd_alloc_peak() >= peak);
    icd_free(q);
    CHECK_EQ(icd_alloc_live(), live);
    p = icd_alloc(peak + 4096, 1);
    CHECK_EQ(icd_alloc_peak(), live + peak + 4096);
    icd_free(p);
    CHECK_EQ(icd_alloc_peak(), live + peak + 4096);
}

TEST(the_hook_fails_one_call)
{
    icd_alloc_fail_at(3);
    void *p[5];
    for (int i = 0; i < 5; i++)
        p[i] = icd_alloc(8, 1);
    CHECK(p[0] && p[1] && !p[2] && p[3] && p[4]);
    CHECK_EQ(icd_alloc_fail_at(0), 5);
    for (int i = 0; i < 5; i++)
        icd_free(p[i]);
    p[0] = icd_alloc(8, 1);
    CHECK(p[0] != NULL);
    icd_free(p[0]);
    CHECK_EQ(icd_alloc_fail_at(0), 1);
}

TEST(arena_blocks_are_apart_aligned_and_zeroed)
{
    icd_arena a = { 0 };
    unsigned char *p[200];
    for (int i = 0; i < 200; i++) {
        p[i] = icd_arena_alloc(&a, (size_t)i * 37, 11);
        CHECK(p[i] != NULL && is_aligned(p[i]) && is_zero(p[i], (size_t)i * 37 * 11));
        if (!p[i])
            return;
        memset(p[i], i, (size_t)i * 37 * 11);
    }
    for (int i = 0; i < 200; i++)
        for (size_t k = 0; k < (size_t)i * 37 * 11; k++)
            if (p[i][k] != (unsigned char)i) {
                CHECK(p[i][k] == (unsigned char)i);
                break;
            }
    CHECK(a.used >= 199 * 200 / 2 * 37 * 11);
    icd_arena_release(&a);
    CHECK(a.chunk == NULL && a.used == 0);
}

TEST(an_arena_grows_past_a_chunk_and_gives_all_back)
{
    size_t live = icd_alloc_live();
    icd_arena a = { 0 };
    unsigned char *small = icd_arena_alloc(&a, 1, 1);
    unsigned char *big = icd_arena_alloc(&a, 5u << 20, 1);
    CHECK(small && big);
    if (big)
        big[(5u << 20) - 1] = 1;
    CHECK(icd_alloc_live() >= live + (6u << 20));
    icd_arena_release(&a);
    CHECK_EQ(icd_alloc_live(), live);
    icd_arena_release(&a);
}

TEST(rewinding_keeps_the_memory_and_zeroes_again)
{
    icd_arena a = { 0 };
    for (int round = 0; round < 3; round++) {
        size_t live = icd_alloc_live();
        for (int i = 0; i < 30; i++) {
            unsigned char *p = icd_arena_alloc(&a, 100000, 1);
            CHECK(p && is_zero(p, 100000));
            if (p)
                memset(p, 0x5A, 100000);
        }
        if (round > 0)
            CHECK_EQ(icd_alloc_live(), live);       /* nothing new from the heap */
        CHECK(a.used >= 3000000 && a.used < 3100000);
        icd_arena_rewind(&a);
        CHECK_EQ(a.used, 0);
    }
    icd_arena_release(&a);
}

TEST(what_was_reserved_comes_from_one_piece)
{
    icd_arena a = { 0 };
    CHECK(!icd_arena_holds(&a, 1));
    CHECK(icd_arena_alloc(&a, 1000, 1) != NULL);
    CHECK(icd_arena_reserve(&a, 3u << 20) && icd_arena_holds(&a, 3u << 20));
    size_t live = icd_alloc_live();
    unsigned char *last = NULL;
    for (int i = 0; i < 3; i++) {
        unsigned char *p = icd_arena_raw(&a, (1u << 20) - 64, 1);
        CHECK(p != NULL && (i == 0 || p == last + (1u << 20)));
        last = p;
    }
    CHECK_EQ(icd_alloc_live(), live);
    CHECK(icd_arena_reserve(&a, 0));
    CHECK(!icd_arena_reserve(&a, SIZE_MAX) && !icd_arena_reserve(&a, SIZE_MAX - 63));
    for (long n = 1; n <= 2; n++) {
        icd_alloc_fail_at(n);
        CHECK(!icd_arena_reserve(&a, 4u << 20));
        icd_alloc_fail_at(0);
        CHECK_EQ(icd_alloc_live(), live);
    }
    icd_arena_release(&a);
}

TEST(an_empty_block_is_a_valid_pointer)
{
    icd_arena a = { 0 };
    void *p = icd_arena_alloc(&a, 0, 8), *q = icd_arena_alloc(&a, 8, 0);
    CHECK(p && q && p != q);
    void *r = icd_alloc(0, 8);
    CHECK(r != NULL);
    icd_free(r);
    icd_arena_release(&a);
}

TEST(an_arena_survives_each_failure)
{
    size_t live = icd_alloc_live();
    for (long n = 1; n <= 3; n++) {
        icd_arena a = { 0 };
        icd_alloc_fail_at(n);
        void *first = icd_arena_alloc(&a, 100, 1);
        CHECK((first != NULL) == (n > 2));          /* a chunk is two calls: its header and its bytes */
        void *second = icd_arena_alloc(&a, 100, 1);
        CHECK(second != NULL && second != first);
        icd_alloc_fail_at(0);
        icd_arena_release(&a);
        CHECK_EQ(icd_alloc_live(), live);
    }
}

static void *take_and_give(void *unused)
{
    for (int i = 0; i < 20000; i++)
        icd_free(icd_alloc((size_t)(i % 100), 7));
    return unused;
}

TEST(threads_keep_the_accounts_right)
{
    size_t live = icd_alloc_live();
    icd_alloc_fail_at(0);
    pthread_t t[4];
    int started = 0;
    while (started < 4 && pthread_create(&t[started], NULL, take_and_give, NULL) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(icd_alloc_live(), live);
    CHECK_EQ(icd_alloc_fail_at(0), 20000 * started);
}

TEST_MAIN("memory", T(blocks_are_aligned_and_zeroed), T(overflow_is_refused), T(live_and_peak_count_bytes),
          T(the_hook_fails_one_call), T(arena_blocks_are_apart_aligned_and_zeroed),
          T(an_arena_grows_past_a_chunk_and_gives_all_back), T(rewinding_keeps_the_memory_and_zeroes_again),
          T(what_was_reserved_comes_from_one_piece), T(an_empty_block_is_a_valid_pointer), T(an_arena_survives_each_failure), T(threads_keep_the_accounts_right))
