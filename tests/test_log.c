/* log.csv: rows, a resumed run's rows, and logs that are not ours. */
#include "common/log.h"
#include "common/memory.h"
#include "tests/tempdir.h"
#include "tests/test.h"

#include <math.h>

static icd_err err;

static icd_status open_close(const char *path, const char *columns, int64_t keep)
{
    FILE *f = NULL;
    ICD_TRY(icd_log_open(&f, path, columns, keep, &err));
    return fclose(f) == 0 ? ICD_OK : ICD_EIO;
}

static int log_is(const char *want) { return temp_is(temp_path("log.csv"), want, strlen(want)); }

static const char *log_with(const char *text) { return temp_write(temp_path("log.csv"), text, strlen(text)); }

TEST(a_new_log)
{
    const double v[] = { 0.1, -1.0 / 3, 1e-300, NAN, -NAN, INFINITY, -INFINITY, 123456789.75 };
    FILE *f;
    CHECK_OK(icd_log_open(&f, temp_path("log.csv"), "iteration,a,b", 0, &err));
    CHECK(log_is("iteration,a,b\n"));
    CHECK_OK(icd_log_row(f, "log.csv", 1, 8, v, &err));
    CHECK(log_is("iteration,a,b\n1,0.1,-0.333333333,1e-300,nan,nan,inf,-inf,123456790\n"));      /* at once, not at the end */
    CHECK_OK(icd_log_row(f, "log.csv", INT64_C(5000000000), 0, v, &err));
    fclose(f);
    CHECK(log_is("iteration,a,b\n1,0.1,-0.333333333,1e-300,nan,nan,inf,-inf,123456790\n5000000000\n"));
    CHECK_OK(open_close(temp_path("log.csv"), "iteration,c", 0));
    CHECK(log_is("iteration,c\n"));
    CHECK_EQ(temp_entries(temp_folder), 1);
}

TEST(a_resumed_log_keeps_the_rows_up_to_the_checkpoint)
{
    FILE *f;
    double v = 9;
    log_with("iteration,a\n1,10\n2,20\n3,30\n4,4");           /* the last row is cut off */
    CHECK_OK(icd_log_open(&f, temp_path("log.csv"), "iteration,a", 2, &err));
    CHECK(log_is("iteration,a\n1,10\n2,20\n"));
    CHECK_OK(icd_log_row(f, "log.csv", 3, 1, &v, &err));
    fclose(f);
    CHECK(log_is("iteration,a\n1,10\n2,20\n3,9\n"));
    CHECK_OK(open_close(temp_path("log.csv"), "iteration,a", 100));
    CHECK(log_is("iteration,a\n1,10\n2,20\n3,9\n"));
    log_with("iteration,a\n1,10\n2,2");                       /* cut off, and within what is kept: dropped all the same */
    CHECK_OK(open_close(temp_path("log.csv"), "iteration,a", 100));
    CHECK(log_is("iteration,a\n1,10\n"));
    unlink(temp_path("log.csv"));
    CHECK_OK(open_close(temp_path("log.csv"), "iteration,a", 5));
    CHECK(log_is("iteration,a\n"));
}

TEST(logs_that_are_not_ours_stay_as_they_are)
{
    static const struct { const char *text, *says; } c[] = {
        { "iteration,b\n1,10\n", "log.csv: line 1: `iteration,b`, wanted the columns `iteration,a`" },
        { "iteration,a", "line 1: `iteration,a`, wanted the columns" },
        { "iteration,a,b\n", "line 1: `iteration,a,b`, wanted the columns" },
        { "", "line 1: ``, wanted the columns" },
        { "iteration,a\n1,10\nx,20\n", "log.csv: line 3: `x,20`, wanted a row that starts with its iteration" },
        { "iteration,a\n\n", "line 2: ``, wanted a row" },
        { "iteration,a\n-1,2\n", "line 2: `-1,2`, wanted a row" },
        { "iteration,a\n1.5,2\n", "line 2: `1.5,2`, wanted a row" },
        { "iteration,a\n99999999999999999999,2\n", "line 2: `99999999999999999999,2`, wanted a row" } };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        log_with(c[i].text);
        CHECK_EQ(open_close(temp_path("log.csv"), "iteration,a", 7), ICD_EFORMAT);
        CHECK_SAYS(err.text, c[i].says);
        CHECK(log_is(c[i].text));
        CHECK_EQ(temp_entries(temp_folder), 1);
    }
}

TEST(places_that_cannot_be_written)
{
    double v = 1;
    CHECK_EQ(open_close(temp_path("none/log.csv"), "iteration", 0), ICD_EIO);
    CHECK_SAYS(err.text, "none/log.csv: cannot be written: No such file");
    CHECK_EQ(open_close(temp_folder, "iteration", 3), ICD_EIO);
    CHECK_SAYS(err.text, "is a folder");
    FILE *f = fopen("/dev/full", "w");
    if (f) {
        CHECK_EQ(icd_log_row(f, "full.csv", 1, 1, &v, &err), ICD_EIO);
        CHECK_SAYS(err.text, "full.csv: cannot be written: No space left on device");
        fclose(f);
    }
}

TEST(memory_running_out_is_said)
{
    size_t live = icd_alloc_live();
    for (long n = 1; ; n++) {
        log_with("iteration,a\n1,10\n");
        icd_alloc_fail_at(n);
        icd_status s = open_close(temp_path("log.csv"), "iteration,a", 1);
        icd_alloc_fail_at(0);
        CHECK(icd_alloc_live() == live && log_is("iteration,a\n1,10\n"));
        if (s == ICD_OK)
            break;
        CHECK_EQ(s, ICD_ENOMEM);
        if (s != ICD_ENOMEM)
            break;
    }
}

TEST_MAIN("log", T(a_new_log), T(a_resumed_log_keeps_the_rows_up_to_the_checkpoint), T(logs_that_are_not_ours_stay_as_they_are),
          T(places_that_cannot_be_written), T(memory_running_out_is_said))
