/* Checkpoints: everything back in its place, in either precision; files of other programs; files that are not of their model. */
#include <stdlib.h>

#include "common/checkpoint.h"
#include "ref/engine_ref.h"
#include "tempdir.h"
#include "test.h"

static icd_arena arena;
static icd_err err;
static icd_config config;
static icd_arch arch;
static icd_engine *engine, *other;
static icd_buffer buffer, back;
static double *v, *w;                /* n_values each */

typedef icd_status (*opener)(icd_engine **, const icd_arch *, const icd_engine_options *, icd_err *);
static const icd_engine_options options = { 1, (size_t)64 << 20, 4, 0 };
static const char *const kinds[] = { "parameters", "EMA", "m", "v" };

static void close_all(void)
{
    if (engine)
        engine->close(engine);
    if (other)
        other->close(other);
    engine = other = NULL;
    icd_arena_release(&arena);
}

/* Value i of vector k: no two alike, and not one of them a float unless `narrow`. */
static double number(int k, size_t i, int narrow)
{
    double x = (k + 1) * 0.1 + (double)i / 1009;
    return narrow ? (double)(float)x : x;
}

/* A model of 1x4x4 images with three classes, in both engines; the first filled with numbers, the second empty. */
static void setup(opener from, opener to, icd_buffer_store store)
{
    close_all();
    icd_config_default(&config);
    static const char *const given[] = { "arch=conv 2 | res 4 | flatten | dense 1", "image=1x4x4", "classes=3", "norm=instance",
        "buffer_size=5", "nn_set=3", "lr=0.1", "data=digits:9", "seed=18446744073709551615" };
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        CHECK_OK(icd_config_assign(&config, given[i], &err));
    CHECK_OK(icd_arch_parse(&arena, config.arch, &config.model, 1, 4, 4, &arch, &err));
    CHECK_OK(from(&engine, &arch, &options, &err));
    CHECK_OK(to(&other, &arch, &options, &err));
    v = icd_arena_alloc(&arena, arch.n_values, sizeof *v);
    w = icd_arena_alloc(&arena, arch.n_values, sizeof *w);
    for (int k = ICD_PARAMETERS; k <= ICD_ADAM_V; k++) {
        for (size_t i = 0; i < arch.n_values; i++)
            v[i] = number(k, i, 0);
        CHECK_OK(engine->import(engine, (icd_vector)k, v, &err));
        memset(v, 0, arch.n_values * sizeof *v);
        CHECK_OK(other->import(other, (icd_vector)k, v, &err));
    }
    CHECK_OK(icd_buffer_init(&buffer, &arena, ICD_FIFO, store, 5, 16, &err));
    CHECK_OK(icd_buffer_init(&back, &arena, ICD_FIFO, store, 5, 16, &err));
    for (int i = 0; i < 7; i++) {                    /* two more than it holds */
        float x[16];
        icd_stream s = { 1, 1, ICD_DRAW_TEST, (uint32_t)i };
        icd_uniforms(&s, 0, 16, x);
        icd_buffer_push(&buffer, &s, x, i % 3);
    }
}

static void check_vector(icd_engine *e, icd_vector which, int as, int narrow)
{
    CHECK_OK(e->export(e, which, w, &err));
    for (size_t i = 0; i < arch.n_values; i++)
        if (w[i] != number(as, i, narrow)) {
            CHECK_EQ(w[i], number(as, i, narrow));
            printf("%s, value %zu\n", kinds[which], i);
            return;
        }
}

static void round_trip(opener from, opener to, int narrow, icd_buffer_store store)
{
    const char *path = temp_path("round");
    icd_checkpoint c;
    setup(from, to, store);
    CHECK_OK(icd_checkpoint_write(path, &config, engine, 123456789012345, 1, &buffer, &err));
    CHECK_OK(icd_checkpoint_read(&arena, path, NULL, &c, &err));
    CHECK_EQ(c.iteration, 123456789012345);
    char *wrote, *got;
    CHECK_OK(icd_config_print(&arena, &config, &wrote, &err));
    CHECK_OK(icd_config_print(&arena, &c.config, &got, &err));
    CHECK(strcmp(wrote, got) == 0);
    CHECK(strcmp(c.arch.line, arch.line) == 0 && c.arch.n_values == arch.n_values && c.arch.model.classes == 3);
    CHECK_EQ(c.file.n_tensors, 4 * arch.n_params + 3);
    CHECK_OK(icd_checkpoint_load(&c, other, 1, &back, &err));
    for (int k = ICD_PARAMETERS; k <= ICD_ADAM_V; k++)
        check_vector(other, (icd_vector)k, k, narrow);
    CHECK(back.count == 5 && back.seen == 7);
    CHECK(memcmp(back.label, buffer.label, 5 * sizeof(int32_t)) == 0);
    if (store == ICD_STORE_FLOAT)
        CHECK(memcmp(back.f, buffer.f, 5 * 16 * sizeof(float)) == 0);
    else
        CHECK(memcmp(back.u, buffer.u, 5 * 16) == 0);
}

TEST(everything_comes_back)
{
    round_trip(icd_engine_ref_open, icd_engine_ref_open, 1, ICD_STORE_FLOAT);
    round_trip(icd_engine_ref64_open, icd_engine_ref64_open, 0, ICD_STORE_UINT8);
    round_trip(icd_engine_ref64_open, icd_engine_ref_open, 1, ICD_STORE_FLOAT);      /* doubles into floats are rounded */
    round_trip(icd_engine_ref_open, icd_engine_ref64_open, 1, ICD_STORE_UINT8);
}

/* A model without training: no moments, no buffer; loading it for sampling leaves the moments alone. */
TEST(a_model_alone)
{
    const char *path = temp_path("model");
    icd_checkpoint c;
    setup(icd_engine_ref_open, icd_engine_ref_open, ICD_STORE_FLOAT);
    CHECK_OK(icd_checkpoint_write(path, &config, engine, 0, 0, NULL, &err));
    CHECK_OK(icd_checkpoint_read(&arena, path, NULL, &c, &err));
    CHECK_EQ(c.file.n_tensors, 2 * arch.n_params);
    CHECK_OK(icd_checkpoint_load(&c, other, 0, NULL, &err));
    check_vector(other, ICD_PARAMETERS, 0, 1);
    check_vector(other, ICD_EMA, 1, 1);
    CHECK_OK(other->export(other, ICD_ADAM_M, w, &err));
    for (size_t i = 0; i < arch.n_values; i++)
        CHECK_EQ(w[i], 0);
    CHECK_OK(icd_checkpoint_load(&c, other, 1, &back, &err));        /* iteration 0: training starts from it, all the same */
    CHECK_EQ(back.count, 0);
    CHECK_OK(icd_checkpoint_write(path, &config, engine, 4, 0, NULL, &err));
    CHECK_OK(icd_checkpoint_read(&arena, path, NULL, &c, &err));
    CHECK_EQ(icd_checkpoint_load(&c, other, 1, &back, &err), ICD_EFORMAT);
    CHECK_SAYS(err.text, "no adam.m. tensors, so this training cannot go on from it");
    CHECK_OK(icd_checkpoint_write(path, &config, engine, 4, 1, NULL, &err));
    CHECK_OK(icd_checkpoint_read(&arena, path, NULL, &c, &err));
    CHECK_EQ(icd_checkpoint_load(&c, other, 1, &back, &err), ICD_EFORMAT);
    CHECK_SAYS(err.text, "it has no replay buffer, so this training cannot go on from it");
    CHECK_OK(icd_checkpoint_load(&c, other, 1, NULL, &err));         /* nor does it have to, if none is wanted */
}

/* ---- files that another program wrote ---- */

/* What setup's engine holds as tensors, without any metadata but what is added; extra places at the end. */
static icd_safetensors file;
static icd_pair pair[8];

static void add(const char *key, const char *value) { pair[file.n_metadata++] = (icd_pair){ key, value }; }

static void own_file(int prefixes)
{
    static const char *const prefix[] = { "", "ema.", "adam.m.", "adam.v." };
    file = (icd_safetensors){ .metadata = pair, .tensor = icd_arena_alloc(&arena, (size_t)(4 * arch.n_params + 8), sizeof *file.tensor) };
    double *x = icd_arena_alloc(&arena, 4 * arch.n_values, sizeof *x);
    for (int k = 0; k < prefixes; k++)
        for (int i = 0; i < arch.n_params; i++) {
            const icd_param *p = &arch.param[i];
            char *name = icd_arena_alloc(&arena, 96, 1);
            snprintf(name, 96, "%s%s", prefix[k], p->name);
            icd_tensor t = { .name = name, .dtype = ICD_F64, .rank = p->rank, .count = p->count,
                             .data = x + (size_t)k * arch.n_values + p->offset };
            for (int j = 0; j < p->rank; j++)
                t.shape[j] = (size_t)p->shape[j];
            for (size_t j = 0; j < p->count; j++)
                x[(size_t)k * arch.n_values + p->offset + j] = number(k, p->offset + j, 0);
            file.tensor[file.n_tensors++] = t;
        }
}

static icd_tensor *find(const char *name)
{
    for (int i = 0; i < file.n_tensors; i++)
        if (strcmp(file.tensor[i].name, name) == 0)
            return &file.tensor[i];
    printf("no tensor %s\n", name);
    exit(1);
}

static icd_status read_file(const int fallback[3], icd_checkpoint *c)
{
    const char *path = temp_path("other");
    CHECK_OK(icd_write_safetensors(path, &file, &err));
    err.text[0] = '\0';
    return icd_checkpoint_read(&arena, path, fallback, c, &err);
}

static const char settings[] = "classes = 3\nnorm = instance\nbuffer_size = 5\n";
static const int images[3] = { 1, 4, 4 };

static void foreign(int prefixes)
{
    setup(icd_engine_ref64_open, icd_engine_ref64_open, ICD_STORE_FLOAT);
    own_file(prefixes);
    add("made by", "hand");
    add("icd.arch", "full: conv 2 | res 4 | flatten | dense 1");
    add("icd.config", settings);
}

TEST(a_file_of_another_program)
{
    icd_checkpoint c;
    foreign(1);
    CHECK_EQ(read_file(NULL, &c), ICD_EFORMAT);
    CHECK_SAYS(err.text, "does not say the images' size");
    CHECK_OK(read_file(images, &c));
    CHECK(strcmp(c.config.image, "1x4x4") == 0 && c.iteration == 0 && c.config.model.classes == 3);
    CHECK(c.config.batch == 128);                                    /* what it does not say is the default */
    CHECK_OK(icd_checkpoint_load(&c, other, 0, NULL, &err));
    check_vector(other, ICD_PARAMETERS, 0, 0);
    check_vector(other, ICD_EMA, 0, 0);                              /* no EMA: the parameters' copy */

    foreign(2);
    CHECK_OK(read_file(images, &c));
    CHECK_OK(icd_checkpoint_load(&c, other, 0, NULL, &err));
    check_vector(other, ICD_EMA, 1, 0);

    /* What the file says of its images counts, not the fallback. */
    foreign(1);
    pair[2].value = "classes = 3\nnorm = instance\nimage = 1x4x4\n";
    static const int wrong[3] = { 3, 32, 32 };
    CHECK_OK(read_file(wrong, &c));
    CHECK_EQ(c.arch.h, 4);
    /* With the wrong size the last layer's weight has another shape. */
    foreign(1);
    static const int larger[3] = { 1, 5, 5 };
    CHECK_EQ(read_file(larger, &c), ICD_EFORMAT);
    CHECK_SAYS(err.text, "tensor full.03.dense.weight: shape (1, 64), and its architecture wants (1, 100)");
}

/* What is refused leaves *out alone. */
static void refused(const char *says)
{
    icd_checkpoint c = { .iteration = 77 };
    CHECK_EQ(read_file(images, &c), ICD_EFORMAT);
    CHECK_SAYS(err.text, says);
    CHECK(c.iteration == 77 && c.path == NULL);
}

TEST(tensors_are_those_of_the_architecture)
{
    foreign(4);
    find("full.01.res.class.gain")->name = "full.01.res.class.gains";
    refused("tensor full.01.res.class.gain is missing");
    foreign(4);
    find("ema.full.00.conv.bias")->name = "ema.full.00.conv.b";
    refused("tensor ema.full.00.conv.bias is missing");
    foreign(4);
    find("adam.v.full.00.conv.weight")->name = "adam.w.full.00.conv.weight";
    refused("tensor adam.v.full.00.conv.weight is missing");
    foreign(1);
    file.tensor[file.n_tensors++] = (icd_tensor){ .name = "more\nthan that", .dtype = ICD_U8, .rank = 1, .shape = { 0 }, .data = "" };
    refused("tensor more?than that is not one of this architecture's");
    foreign(1);
    find("full.00.conv.bias")->rank = 2;
    find("full.00.conv.bias")->shape[1] = 1;
    refused("tensor full.00.conv.bias: shape (2, 1), and its architecture wants (2) of F32 or F64");
    foreign(1);
    static const int64_t whole[2] = { 1, 2 };
    find("full.00.conv.bias")->dtype = ICD_I64;
    find("full.00.conv.bias")->data = whole;
    refused("tensor full.00.conv.bias: shape (2) of another type");
    foreign(1);
    pair[1].key = "arch";
    refused("metadata icd.arch is missing");
    foreign(1);
    pair[2].key = "config";
    refused("metadata icd.config is missing");
    foreign(1);
    add("icd.format", "1.0");
    refused("metadata icd.format is '1.0', and this program reads 1");
    foreign(1);
    add("icd.iteration", "1e3");
    refused("metadata icd.iteration is '1e3', wanted a count");
    icd_checkpoint c;
    foreign(1);
    pair[1].value = "conv 2 | rez 4 | flatten | dense 1";
    CHECK_EQ(read_file(images, &c), ICD_EINVAL);
    CHECK_SAYS(err.text, "other: metadata icd.arch: architecture, position 10, 'rez'");
    foreign(1);
    pair[2].value = "classes = 3\nnorm = batch\n";
    CHECK_EQ(read_file(images, &c), ICD_EINVAL);
    CHECK_SAYS(err.text, "other: metadata icd.config, line 2: setting 'norm' is 'batch'");
}

TEST(numbers_are_finite)
{
    icd_checkpoint c;
    for (int bad = 0; bad < 3; bad++) {
        foreign(4);
        static const char *const where[] = { "full.00.conv.weight", "ema.full.03.dense.bias", "adam.v.full.00.conv.bias" };
        static const double what[] = { (double)INFINITY, (double)NAN, -(double)INFINITY };
        double *x = icd_arena_alloc(&arena, 64, sizeof *x);
        x[0] = what[bad];
        find(where[bad])->data = x;
        CHECK_OK(read_file(images, &c));
        CHECK_EQ(icd_checkpoint_load(&c, other, 1, NULL, &err), ICD_ENAN);
        CHECK_SAYS(err.text, where[bad]);
        CHECK_SAYS(err.text, ": value 0 is ");
    }
    /* Finite in the file, not in the engine. */
    foreign(1);
    double *x = icd_arena_alloc(&arena, 64, sizeof *x);
    x[1] = -1e300;
    find("full.00.conv.bias")->data = x;
    CHECK_OK(read_file(images, &c));
    CHECK_OK(icd_checkpoint_load(&c, other, 0, NULL, &err));
    icd_engine *narrow;
    CHECK_OK(icd_engine_ref_open(&narrow, &arch, &options, &err));
    CHECK_EQ(icd_checkpoint_load(&c, narrow, 0, NULL, &err), ICD_ENAN);
    CHECK_SAYS(err.text, "tensor full.00.conv.bias: value 1 is -1e+300, wanted a finite number that a float can hold");
    narrow->close(narrow);
}

/* A file that could not be read back is not written, and the older one stays. */
TEST(a_lost_state_is_not_saved)
{
    const char *path = temp_path("kept");
    icd_checkpoint c;
    setup(icd_engine_ref_open, icd_engine_ref_open, ICD_STORE_FLOAT);
    CHECK_OK(icd_checkpoint_write(path, &config, engine, 1, 1, &buffer, &err));
    for (size_t i = 0; i < arch.n_values; i++)
        v[i] = 1;
    v[arch.param[1].offset + 1] = (double)NAN;
    CHECK_OK(engine->import(engine, ICD_ADAM_V, v, &err));
    CHECK_EQ(icd_checkpoint_write(path, &config, engine, 2, 1, &buffer, &err), ICD_ENAN);
    CHECK_SAYS(err.text, "value 1 of adam.v.full.00.conv.bias is ");
    CHECK_OK(icd_checkpoint_read(&arena, path, NULL, &c, &err));
    CHECK_EQ(c.iteration, 1);
}

/* ---- the buffer ---- */

static void buffer_refused(const char *says)
{
    icd_checkpoint c;
    CHECK_OK(read_file(images, &c));
    icd_status s = icd_checkpoint_load(&c, other, 1, &back, &err);
    CHECK(s == ICD_EFORMAT || s == ICD_ENAN);
    CHECK_SAYS(err.text, says);
}

static float values[5 * 16];
static int32_t labels[6];
static int64_t seen;

static void with_buffer(void)
{
    foreign(4);
    add("icd.iteration", "9");
    memset(values, 0, sizeof values);
    memset(labels, 0, sizeof labels);
    seen = 7;
    file.tensor[file.n_tensors++] = (icd_tensor){ "buffer.images", ICD_F32, 4, { 5, 1, 4, 4 }, 80, values };
    file.tensor[file.n_tensors++] = (icd_tensor){ "buffer.labels", ICD_I32, 1, { 5 }, 5, labels };
    file.tensor[file.n_tensors++] = (icd_tensor){ "buffer.seen", ICD_I64, 1, { 1 }, 1, &seen };
}

TEST(the_buffer_is_one_of_these_settings)
{
    icd_checkpoint c;
    with_buffer();
    labels[4] = 2;
    values[79] = 0.5f;
    CHECK_OK(read_file(images, &c));
    CHECK_OK(icd_checkpoint_load(&c, other, 1, &back, &err));
    CHECK(back.count == 5 && back.seen == 7 && back.label[4] == 2 && back.f[79] == 0.5f);

    static const char not_one[] = "its replay buffer is not one of 5 samples of 16 values as float (buffer_size, buffer_store)";
    with_buffer();
    seen = 3;                                        /* fewer than there are */
    buffer_refused(not_one);
    with_buffer();
    seen = -1;
    buffer_refused(not_one);
    with_buffer();                                   /* a buffer that was full at 4 */
    find("buffer.images")->shape[0] = 4;
    find("buffer.images")->count = 64;
    find("buffer.labels")->shape[0] = find("buffer.labels")->count = 4;
    buffer_refused(not_one);
    with_buffer();                                   /* fewer images than labels */
    find("buffer.images")->shape[0] = 4;
    find("buffer.images")->count = 64;
    buffer_refused(not_one);
    with_buffer();                                   /* more labels than images */
    seen = 6;
    find("buffer.labels")->shape[0] = find("buffer.labels")->count = 6;
    buffer_refused(not_one);
    with_buffer();
    find("buffer.images")->dtype = ICD_U8;
    buffer_refused(not_one);
    with_buffer();
    find("buffer.seen")->dtype = ICD_F64;
    buffer_refused(not_one);
    with_buffer();
    labels[3] = 3;
    buffer_refused("buffer.labels: value 3 is 3, beyond the classes");
    with_buffer();
    labels[0] = -1;
    buffer_refused("buffer.labels: value 0 is -1, beyond the classes");
    with_buffer();
    values[17] = (float)NAN;
    buffer_refused("buffer.images: value 17 is not finite");
    with_buffer();
    file.n_tensors--;
    buffer_refused("it has no replay buffer");
}

TEST(image_shapes)
{
    int chw[3] = { 7, 7, 7 };
    static const char *const not[] = { "auto", "", "3x32", "0x1x1", "3x32x32x1", "3x32x32 ", "-1x2x3", "3 x 4 x 5", "1x2x9999999", "ax2x3" };
    for (size_t i = 0; i < sizeof not / sizeof not[0]; i++) {
        if (icd_image_shape(not[i], chw))
            printf("taken: '%s'\n", not[i]);
        CHECK(!icd_image_shape(not[i], chw) && chw[0] == 7 && chw[1] == 7 && chw[2] == 7);
    }
    CHECK(icd_image_shape("3x32x64", chw) && chw[0] == 3 && chw[1] == 32 && chw[2] == 64);
    close_all();
}

TEST_MAIN("checkpoint", T(everything_comes_back), T(a_model_alone), T(a_file_of_another_program),
          T(tensors_are_those_of_the_architecture), T(numbers_are_finite), T(a_lost_state_is_not_saved),
          T(the_buffer_is_one_of_these_settings), T(image_shapes))
