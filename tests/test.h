/* test.h: what a test program is made of. Each tests/test_*.c is one program:
 *
 *   TEST(conv2d_padding_reaches_every_edge) { CHECK(...); }
 *   TEST_MAIN("conv2d", T(conv2d_padding_reaches_every_edge), ...)
 *
 * It prints a line for each failure and one "N passed, M failed" line, and exits 0, 1, or 77 where nothing could run. */
#ifndef ICD_TEST_H
#define ICD_TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

static int test_failures;        /* of the test that runs now */

#define TEST(name) static void name(void)

#define CHECK(condition) do { if (!(condition)) { test_failures++; \
    printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); } } while (0)

/* |a - b| <= bound; NaN fails. */
#define CHECK_NEAR(a, b, bound) do { double a_ = (double)(a), b_ = (double)(b), e_ = fabs(a_ - b_), t_ = (double)(bound); \
    if (!(e_ <= t_)) { test_failures++; \
    printf("%s:%d: %s = %.17g, %s = %.17g, apart %.3g > %.3g\n", __FILE__, __LINE__, #a, a_, #b, b_, e_, t_); } } while (0)

#define CHECK_EQ(a, b) do { double a_ = (double)(a), b_ = (double)(b); if (!(a_ == b_)) { test_failures++; \
    printf("%s:%d: %s = %.17g, wanted %s = %.17g\n", __FILE__, __LINE__, #a, a_, #b, b_); } } while (0)

/* `text` holds `part`. */
#define CHECK_SAYS(text, part) do { if (!strstr((text), (part))) { test_failures++; \
    printf("%s:%d: \"%s\" does not say \"%s\"\n", __FILE__, __LINE__, (text), (part)); } } while (0)

/* A call that must succeed: prints err's line where it does not. */
#define CHECK_OK(call) do { icd_status s_ = (call); if (s_ != ICD_OK) { test_failures++; \
    printf("%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, icd_status_text(s_), err.text); } } while (0)

/* The float that v of a uint8 is read as: v/255, rounded by the assignment where expressions are wider (FLT_EVAL_METHOD). */
static inline float test_level(int v)
{
    float x = (float)v / 255.0f;
    return x;
}

typedef struct { const char *name; void (*run)(void); } test_case;
#define T(name) { #name, name }

static inline int test_main(const char *suite, const test_case *t, int n, int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (int i = 0; i < n; i++) {
        if (argc > 1 && !strstr(t[i].name, argv[1]))
            continue;
        test_failures = 0;
        t[i].run();
        if (test_failures) {
            failed++;
            printf("FAILED %s/%s\n", suite, t[i].name);
        } else {
            passed++;
        }
        fflush(stdout);
    }
    printf("%-14s %d passed, %d failed\n", suite, passed, failed);
    return failed ? 1 : passed ? 0 : 77;
}

#define TEST_MAIN(suite, ...) int main(int argc, char **argv) { \
    static const test_case t[] = { __VA_ARGS__ }; \
    return test_main(suite, t, (int)(sizeof t / sizeof t[0]), argc, argv); }

#endif
