/* Memory that runs out: a whole short run, in which the N-th allocation fails, for every N that there is. */
#include "common/algorithm1.h"
#include "common/algorithm2.h"
#include "common/checkpoint.h"
#include "common/dataset.h"
#include "common/formats.h"
#include "common/log.h"
#include "ref/engine_ref.h"
#include "tempdir.h"
#include "test.h"

static const char settings[] =
    "arch = conv 2 5 4 1 | res 4 | down 8 | attn | swish | mean | dense 1 ; half: conv 8 3 4 1 | nonlocal | flatten | dense 1\n"
    "image = 1x28x28\nclasses = 10\nweight_std = on\nspectral_norm = on\nnorm = instance\nmultiscale = on\n"
    "batch = 3\nsteps = 2\nbackprop_steps = all\nstep_size = 1\nw_ent = 0.3\nnn_set = 4\nnn_min_buffer = 0\nnn_augment = on\n"
    "buffer_size = 8\nbuffer_store = uint8\nbuffer = reservoir\ncrop_min = 0.5\nblur_prob = 0.5\nelastic = 1\n"
    "threads = 1\nsample_rounds = 2\nsample_steps = 1\n";

/* Everything that a run holds, released in one place whatever failed. */
typedef struct {
    icd_arena arena;
    icd_config config;
    icd_arch arch;
    icd_images data;
    icd_engine *engine, *again;
    icd_training training;
    icd_checkpoint checkpoint;
    icd_buffer buffer;
    float *samples;
} run;

/* Every file that a run writes. */
static const char *const names[] = { "checkpoint", "samples.png", "log.csv" };
enum { FILES = sizeof names / sizeof names[0] };

static icd_status init_parameters(run *r, icd_err *err)
{
    size_t n = r->arch.n_values;
    double *v = icd_arena_alloc(&r->arena, n, sizeof *v);
    float *f = icd_arena_alloc(&r->arena, n, sizeof *f);
    if (!v || !f)
        return icd_fail(err, ICD_ENOMEM, "out of memory in the test");
    for (int p = 0; p < r->arch.n_params; p++)
        icd_param_init(&r->arch, p, r->config.seed, f + r->arch.param[p].offset);
    for (size_t i = 0; i < n; i++)
        v[i] = (double)f[i];
    ICD_TRY(r->engine->import(r->engine, ICD_PARAMETERS, v, err));
    return r->engine->import(r->engine, ICD_EMA, v, err);
}

static icd_status turn(run *r, icd_err *err)
{
    icd_iteration_stats stats;
    int64_t before = r->training.iteration, seen = r->training.buffer.seen;
    icd_status s = icd_algorithm1_turn(&r->training, &stats, err);
    CHECK_EQ(r->training.iteration, before + (s == ICD_OK));
    CHECK_EQ(r->training.buffer.seen, seen + (s == ICD_OK ? r->config.batch : 0));
    return s;
}

static icd_status write_log(int64_t keep, icd_err *err)
{
    const char *path = temp_path("%s", names[2]);
    double d = 0.5;
    FILE *f;
    ICD_TRY(icd_log_open(&f, path, "iteration,d", keep, err));
    icd_status s = icd_log_row(f, path, keep + 1, 1, &d, err);
    fclose(f);
    return s;
}

static icd_status short_run(run *r, icd_err *err)
{
    const char *path = temp_path("%s", names[0]);
    icd_engine_options options = { 1, (size_t)64 << 20, 4, 0 };
    icd_config_default(&r->config);
    ICD_TRY(icd_config_parse(&r->config, "settings", settings, strlen(settings), err));
    ICD_TRY(icd_load_dataset(&r->arena, "digits:64", 1, &r->data, err));
    ICD_TRY(icd_arch_parse(&r->arena, r->config.arch, &r->config.model, 1, 28, 28, &r->arch, err));
    ICD_TRY(icd_engine_ref_open(&r->engine, &r->arch, &options, err));
    ICD_TRY(init_parameters(r, err));
    ICD_TRY(icd_training_init(&r->training, &r->arena, &r->config, &r->arch, r->engine, &r->data, err));
    ICD_TRY(turn(r, err));
    ICD_TRY(write_log(0, err));
    ICD_TRY(turn(r, err));
    ICD_TRY(write_log(1, err));

    int32_t labels[3] = { 0, 5, 9 };
    r->samples = icd_arena_alloc(&r->arena, 3 * 784, sizeof *r->samples);
    if (!r->samples)
        return icd_fail(err, ICD_ENOMEM, "out of memory in the test");
    ICD_TRY(icd_algorithm2(r->engine, &r->config, 3, 0, labels, r->samples, NULL, NULL, err));

    icd_images drawn = { 3, 1, 28, 28, r->samples, NULL, 0 };
    ICD_TRY(icd_write_grid(temp_path("%s", names[1]), &drawn, 0, 2, err));
    ICD_TRY(icd_checkpoint_write(path, &r->config, r->engine, r->training.iteration, 1, &r->training.buffer, err));
    ICD_TRY(icd_checkpoint_read(&r->arena, path, NULL, &r->checkpoint, err));
    ICD_TRY(icd_engine_ref_open(&r->again, &r->checkpoint.arch, &options, err));
    ICD_TRY(icd_buffer_init(&r->buffer, &r->arena, r->config.buffer, r->config.buffer_store, r->config.buffer_size, 784, err));
    return icd_checkpoint_load(&r->checkpoint, r->again, 1, &r->buffer, err);
}

static void release(run *r)
{
    if (r->engine)
        r->engine->close(r->engine);
    if (r->again)
        r->again->close(r->again);
    icd_arena_release(&r->arena);
}

TEST(every_allocation_may_fail)
{
    size_t live = icd_alloc_live();
    icd_err err = { "" };
    long calls = 0, n;
    icd_status s = ICD_ENOMEM;
    for (n = 1; s != ICD_OK && test_failures < 10; n++) {
        run r = { .config = { .steps = 0 } };
        err.text[0] = '\0';
        for (int i = 0; i < FILES; i++)
            unlink(temp_path("%s", names[i]));
        icd_alloc_fail_at(n);
        s = short_run(&r, &err);
        calls = icd_alloc_fail_at(0);
        if (s != ICD_OK && s != ICD_ENOMEM)
            printf("allocation %ld: %s: %s\n", n, icd_status_text(s), err.text);
        CHECK(s == ICD_OK || (s == ICD_ENOMEM && err.text[0] && !strchr(err.text, '\n')));
        if (s == ICD_OK) {
            CHECK_EQ(calls, n - 1);                  /* no failure went unseen */
            CHECK_EQ(r.checkpoint.iteration, 2);
            CHECK_EQ(r.buffer.count, 6);
            CHECK(memcmp(r.buffer.u, r.training.buffer.u, 6 * 784) == 0);
        }
        release(&r);
        CHECK_EQ(icd_alloc_live(), live);
        /* A file is there in whole, or not at all, and nothing lies beside them. */
        struct stat st;
        int there = 0;
        for (int i = 0; i < FILES; i++)
            there += stat(temp_path("%s", names[i]), &st) == 0;
        CHECK_EQ(temp_entries(temp_folder), there);
        if (stat(temp_path("%s", names[0]), &st) == 0) {
            icd_arena a = { 0 };
            icd_checkpoint c;
            CHECK_OK(icd_checkpoint_read(&a, temp_path("%s", names[0]), NULL, &c, &err));
            icd_arena_release(&a);
        }
    }
    CHECK(s == ICD_OK);
    CHECK(n > 100);                                  /* a run that takes memory that seldom is not the one above */
    printf("%ld allocations, each failed once\n", n - 2);
}

TEST_MAIN("short_run", T(every_allocation_may_fail))
