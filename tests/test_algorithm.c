/* Algorithms 1 and 2 against an engine that computes nothing and writes down what it was asked: which x+, x~0, labels, X and
 * settings it gets, and what becomes of its answers. The draws are taken again here, each from its own stream. */
#include "common/algorithm1.h"
#include "common/algorithm2.h"
#include "test.h"

#include <time.h>

enum { MOST = 16, H = 2, W = 3, D = H * W, DATA = 7, CLASSES = 4, ROUNDS = 3 };

typedef struct {
    icd_engine base;
    /* what it shall answer */
    icd_status fail_chain, fail_gradients, fail_update;
    int finite_chain, finite_loss;
    int wait;                  /* gradients: until the next turn's images are prepared */
    int overlapped, missed;    /* how often they were, and were not within ten seconds */
    /* what it was asked */
    int chains, gradients, updates;
    icd_chain chain[ROUNDS];
    icd_losses losses;
    icd_update update;
    float x0[ROUNDS][MOST * D], out[MOST * D], positives[MOST * D], neighbours[MOST * D];
    int32_t labels[MOST], positive_labels[MOST];
} fake;

/* x_K = x_0/2 + (number of the image)/64: the next round can tell what it was given. */
static icd_status fake_chain(icd_engine *e, const icd_chain *c, float *out, icd_chain_stats *stats, icd_err *err)
{
    fake *f = (fake *)e;
    size_t n = (size_t)c->n;
    int slot = f->chains < ROUNDS ? f->chains : ROUNDS - 1;
    f->chain[slot] = *c;
    memcpy(f->x0[slot], c->x0, n * D * sizeof(float));
    memset(f->labels, -1, sizeof f->labels);
    if (c->labels)
        memcpy(f->labels, c->labels, n * sizeof(int32_t));
    for (size_t i = 0; i < n * D; i++)
        f->out[i] = c->x0[i] / 2 + (float)(c->first_sample + i / D) / 64;
    memcpy(out, f->out, n * D * sizeof(float));
    f->chains++;
    *stats = (icd_chain_stats){ 0.25, f->finite_chain };
    return f->fail_chain ? icd_fail(err, f->fail_chain, "the fake's chain") : ICD_OK;
}

static int prepared_ahead(int64_t turn);

static icd_status fake_gradients(icd_engine *e, const icd_losses *l, icd_loss_stats *stats, icd_err *err)
{
    fake *f = (fake *)e;
    f->losses = *l;
    memcpy(f->positives, l->positives, (size_t)l->n * D * sizeof(float));
    memset(f->positive_labels, -1, sizeof f->positive_labels);
    if (l->positive_labels)
        memcpy(f->positive_labels, l->positive_labels, (size_t)l->n * sizeof(int32_t));
    memcpy(f->neighbours, l->neighbours, (size_t)l->n_neighbours * D * sizeof(float));
    f->gradients++;
    if (f->wait)
        prepared_ahead(f->update.t + 2) ? f->overlapped++ : f->missed++;
    *stats = (icd_loss_stats){ .energy_positive = 3, .loss_cd = 5, .finite = f->finite_loss };
    return f->fail_gradients ? icd_fail(err, f->fail_gradients, "the fake's gradients") : ICD_OK;
}

static icd_status fake_update(icd_engine *e, const icd_update *u, icd_err *err)
{
    fake *f = (fake *)e;
    f->update = *u;
    f->updates++;
    return f->fail_update ? icd_fail(err, f->fail_update, "the fake's update") : ICD_OK;
}

/* ---- one small training ---- */

static icd_arena arena;
static icd_err err;
static icd_config config;
static icd_arch arch;
static icd_images data;
static fake engine;
static icd_training training;
static icd_iteration_stats stats;

/* Looks at what another thread is at, which is the test; that thread's own work is ordered by its end. */
#if defined(__GNUC__)
__attribute__((no_sanitize("thread")))
#endif
static int prepared_ahead(int64_t turn)
{
    const volatile icd_batch *next = &training.batch[turn % 2];
    for (int ms = 0; ms < 10000 && next->turn != turn; ms++)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    return next->turn == turn;
}

static void set(const char *assignment)
{
    CHECK_OK(icd_config_assign(&config, assignment, &err));
    training.batch[0].turn = training.batch[1].turn = 0;         /* what is prepared was prepared by the old settings */
}

/* Seven images of 2x3, all values different; no transitions; a buffer of eight. */
static void setup(int classes)
{
    icd_arena_release(&arena);
    icd_config_default(&config);
    static const char *const start[] = { "arch=conv 2 | mean | dense 1", "batch=4", "steps=5", "seed=11", "crop_min=1", "flip=0",
        "color_strength=0", "buffer_size=8", "nn_set=6", "nn_min_buffer=0", "restart_prob=0", "sample_rounds=3", "sample_steps=2" };
    for (size_t i = 0; i < sizeof start / sizeof start[0]; i++)
        set(start[i]);
    config.model.classes = classes;
    CHECK_OK(icd_arch_parse(&arena, config.arch, &config.model, 1, H, W, &arch, &err));
    data = (icd_images){ DATA, 1, H, W, icd_arena_alloc(&arena, DATA * D, sizeof(float)), icd_arena_alloc(&arena, DATA, sizeof(int32_t)),
                         CLASSES };
    for (int i = 0; i < DATA * D; i++)
        data.x[i] = (float)i / (DATA * D);
    for (int i = 0; i < DATA; i++)
        data.label[i] = (3 * i) % CLASSES;
    memset(&engine, 0, sizeof engine);
    engine.base = (icd_engine){ .name = "fake", .arch = &arch, .real_bytes = 4, .threads = 1, .chain = fake_chain,
                                .gradients = fake_gradients, .update = fake_update };
    engine.finite_chain = engine.finite_loss = 1;
}

static void begin(int threads)
{
    engine.base.threads = threads;
    engine.chains = engine.gradients = engine.updates = 0;
    CHECK_OK(icd_training_init(&training, &arena, &config, &arch, &engine.base, &data, &err));
}

static void turn(void)
{
    engine.chains = 0;
    CHECK_OK(icd_algorithm1_turn(&training, &stats, &err));
}

static icd_stream stream(uint64_t iteration, icd_purpose purpose, int sample)
{
    return (icd_stream){ 11, iteration, (uint32_t)purpose, (uint32_t)sample };
}

static int same(const float *a, const float *b) { return memcmp(a, b, D * sizeof(float)) == 0; }

static int mirrored(const float *a, const float *b)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            if (a[y * W + x] != b[y * W + W - 1 - x])
                return 0;
    return 1;
}

static void uniform(uint64_t iteration, int sample, float out[D])
{
    icd_stream s = stream(iteration, ICD_DRAW_UNIFORM, sample);
    for (int k = 0; k < D; k++)
        out[k] = icd_uniform(&s, (uint64_t)k);
}

static int drawn(uint64_t iteration, icd_purpose purpose, int sample, uint64_t index, int n)
{
    icd_stream s = stream(iteration, purpose, sample);
    return (int)icd_below(&s, index, (uint32_t)n);
}

/* ---- Algorithm 1 ---- */

TEST(settings_reach_the_engine)
{
    static const char *const given[] = { "step_size=7.5", "noise=0.25", "noise_order=before", "clamp=on", "w_opt=0.5", "w_ent=0.3",
        "energy_l2=2", "kl_sign=-1", "kl_batch=3", "backprop_steps=2", "scale_mean=on", "lr=0.125", "beta1=0.25", "beta2=0.75",
        "adam_eps=0.001", "grad_clip=4", "ema=0.875" };
    setup(0);
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        set(given[i]);
    begin(1);
    for (int t = 1; t <= 2; t++) {
        turn();
        const icd_chain *c = &engine.chain[0];
        CHECK(c->n == 4 && c->labels == NULL && c->steps == 5 && c->step_size == 7.5 && c->noise == 0.25);
        CHECK(c->noise_before == 1 && c->clamp == 1 && c->seed == 11 && c->iteration == (uint64_t)t);
        CHECK(c->purpose == ICD_DRAW_LANGEVIN && c->first_sample == 0 && c->normals == NULL && c->use_ema == 0 && c->keep == 2);
        const icd_losses *l = &engine.losses;
        CHECK(l->n == 4 && l->positive_labels == NULL && l->w_opt == 0.5 && l->w_ent == 0.3 && l->energy_l2 == 2);
        CHECK(l->kl_sign == -1 && l->kl_batch == 3 && l->backprop_steps == 2 && l->scale_mean == 1 && l->apart == 0);
        CHECK(!l->energy_positive && !l->energy_negative && !l->nn_index && !l->nn_distance);
        const icd_update *u = &engine.update;
        CHECK(u->t == t && u->lr == 0.125 && u->beta1 == 0.25 && u->beta2 == 0.75 && u->adam_eps == 0.001 && u->grad_clip == 4
              && u->ema == 0.875);
        CHECK(stats.chain.langevin_gradient == 0.25 && stats.loss.loss_cd == 5 && training.iteration == t);
        CHECK(engine.chains == 1 && engine.gradients == t && engine.updates == t);
    }
    set("backprop_steps=all");
    set("noise_order=after");
    set("clamp=off");
    turn();
    CHECK(engine.chain[0].keep == 5 && engine.losses.backprop_steps == 5 && !engine.chain[0].noise_before && !engine.chain[0].clamp);
}

TEST(positives_are_data)
{
    setup(CLASSES);
    begin(1);
    for (uint64_t t = 1; t <= 3; t++) {
        turn();
        for (int i = 0; i < 4; i++) {
            int datum = drawn(t, ICD_DRAW_POSITIVE, i, 0, DATA);
            CHECK(same(engine.positives + i * D, data.x + datum * D));
            CHECK_EQ(engine.positive_labels[i], data.label[datum]);
        }
    }
    set("data_noise=0.5");
    turn();
    for (int i = 0; i < 4; i++) {
        int datum = drawn(4, ICD_DRAW_POSITIVE, i, 0, DATA);
        icd_stream z = stream(4, ICD_DRAW_DATA_NOISE, i);
        for (int k = 0; k < D; k++)
            CHECK_NEAR(engine.positives[i * D + k], data.x[datum * D + k] + 0.5f * icd_normal(&z, (uint64_t)k), 1e-6);
    }
}

/* Which of the three sources each start comes from. buffer: as it was before the turn. */
static void check_starts(uint64_t t, int fresh_is_data, const float *buffer, const int32_t *labels, int count)
{
    for (int i = 0; i < config.batch; i++) {
        icd_stream s = stream(t, ICD_DRAW_START, i);
        const float *x0 = engine.x0[0] + i * D;
        float u[D];
        uniform(t, i, u);
        int slot = count > 0 ? drawn(t, ICD_DRAW_START, i, 1, count) : 0, datum = drawn(t, ICD_DRAW_START, i, 2, DATA);
        int restart = count == 0 || config.init == ICD_INIT_FROM_NOISE || icd_uniform(&s, 0) < config.restart_prob;
        if (!restart) {
            CHECK(same(x0, buffer + slot * D));
            CHECK_EQ(engine.labels[i], labels[slot]);
        } else if (fresh_is_data) {
            CHECK(same(x0, data.x + datum * D));
            CHECK_EQ(engine.labels[i], data.label[datum]);
        } else {
            CHECK(same(x0, u));
            CHECK_EQ(engine.labels[i], drawn(t, ICD_DRAW_LABEL, i, 0, CLASSES));
        }
    }
}

static void starts(const char *init, const char *restart_prob, int fresh_is_data)
{
    float before[8 * D];
    int32_t labels[8];
    setup(CLASSES);
    set(init);
    set(restart_prob);
    begin(1);
    for (uint64_t t = 1; t <= 4; t++) {
        int count = training.buffer.count;
        memcpy(before, training.buffer.f, sizeof before);
        memcpy(labels, training.buffer.label, sizeof labels);
        turn();
        check_starts(t, fresh_is_data, before, labels, count);
    }
    CHECK_EQ(training.buffer.count, 8);
}

TEST(starts_come_from_the_buffer_or_are_fresh)
{
    starts("init=buffer", "restart_prob=0", 0);
    starts("init=buffer", "restart_prob=1", 0);
    starts("init=buffer", "restart_prob=0.4", 0);
    starts("init=noise", "restart_prob=0", 0);
    starts("init=data", "restart_prob=0", 1);
    starts("init=data", "restart_prob=1", 1);
    starts("init=data", "restart_prob=0.4", 1);
}

/* Of 3200 starts about a quarter. */
TEST(restart_prob_is_a_chance)
{
    int fresh = 0, n = 0;
    setup(0);
    set("batch=16");
    set("buffer_size=16");
    set("restart_prob=0.25");
    begin(1);
    turn();
    for (uint64_t t = 2; t <= 201; t++) {
        turn();
        for (int i = 0; i < 16; i++, n++) {
            float u[D];
            uniform(t, i, u);
            fresh += same(engine.x0[0] + i * D, u);
        }
    }
    CHECK_NEAR((double)fresh / n, 0.25, 4 * sqrt(0.25 * 0.75 / 3200));      /* four standard deviations of a fair count */
}

TEST(starts_are_transformed_and_nothing_else)
{
    float before[8 * D];
    setup(0);
    begin(1);
    turn();
    turn();
    set("flip=1");
    memcpy(before, training.buffer.f, sizeof before);
    turn();
    CHECK_EQ(stats.neighbours, 6);
    for (int i = 0; i < 4; i++) {
        CHECK(mirrored(engine.x0[0] + i * D, before + drawn(3, ICD_DRAW_START, i, 1, 8) * D));
        CHECK(same(engine.positives + i * D, data.x + drawn(3, ICD_DRAW_POSITIVE, i, 0, DATA) * D));
    }
    for (int j = 0; j < 6; j++)
        CHECK(same(engine.neighbours + j * D, before + drawn(3, ICD_DRAW_NEIGHBOUR, j, 0, 8) * D));
    set("nn_augment=on");
    memcpy(before, training.buffer.f, sizeof before);
    turn();
    for (int j = 0; j < 6; j++)
        CHECK(mirrored(engine.neighbours + j * D, before + drawn(4, ICD_DRAW_NEIGHBOUR, j, 0, 8) * D));
}

/* x as the transition of that stream makes it. */
static void transform(uint64_t iteration, icd_purpose purpose, int sample, const float *x, float out[D])
{
    float *work = icd_alloc(icd_augment_work(1, H, W), sizeof *work);
    icd_stream s = stream(iteration, purpose, sample);
    memcpy(out, x, D * sizeof *out);
    icd_augment_apply(&config.augment, &s, 1, H, W, out, work);
    icd_free(work);
}

TEST(each_transition_has_a_stream_of_its_own)
{
    float before[8 * D], want[D], x[2 * D];
    setup(0);
    set("flip=0.5");
    set("crop_min=0.3");
    set("nn_augment=on");
    begin(1);
    turn();
    for (uint64_t t = 2; t <= 4; t++) {
        int count = training.buffer.count;
        memcpy(before, training.buffer.f, sizeof before);
        turn();
        for (int i = 0; i < 4; i++) {
            transform(t, ICD_DRAW_AUGMENT, i, before + drawn(t, ICD_DRAW_START, i, 1, count) * D, want);
            CHECK(same(engine.x0[0] + i * D, want));
        }
        for (int j = 0; j < 6; j++) {
            transform(t, ICD_DRAW_NN_AUGMENT, j, before + drawn(t, ICD_DRAW_NEIGHBOUR, j, 0, count) * D, want);
            CHECK(same(engine.neighbours + j * D, want));
        }
    }
    engine.chains = 0;
    CHECK_OK(icd_algorithm2(&engine.base, &config, 2, 5, NULL, x, NULL, NULL, &err));
    for (int i = 0; i < 2; i++) {
        icd_stream s = stream(0, ICD_DRAW_SAMPLE, 5 + i);
        icd_uniforms(&s, 0, D, x);
        for (int r = 0; r < 3; r++) {
            transform((uint64_t)r + 1, ICD_DRAW_SAMPLE_AUGMENT, 5 + i, x, want);
            CHECK(same(engine.x0[r] + i * D, want));
            for (int k = 0; k < D; k++)
                x[k] = want[k] / 2 + (float)(5 + i) / 64;
        }
    }
}

TEST(neighbours_wait_for_the_buffer)
{
    setup(0);
    set("nn_min_buffer=4");
    begin(1);
    turn();
    CHECK_EQ(stats.neighbours, 0);               /* the buffer was empty */
    turn();
    CHECK_EQ(stats.neighbours, 0);               /* 4 is not more than 4 */
    turn();
    CHECK_EQ(stats.neighbours, 6);
    CHECK_EQ(engine.losses.n_neighbours, 6);
    set("nn_min_buffer=0");
    begin(1);
    turn();
    CHECK_EQ(engine.losses.n_neighbours, 0);     /* never out of an empty buffer */
    turn();
    CHECK_EQ(engine.losses.n_neighbours, 6);
    float four[4 * D];
    memcpy(four, training.buffer.f, sizeof four);
    set("w_ent=0");
    turn();
    CHECK_EQ(engine.losses.n_neighbours, 0);

    /* X is drawn before this turn's chains are stored: out of the first four alone. */
    set("w_ent=1");
    begin(1);
    turn();
    turn();
    for (int j = 0; j < 6; j++)
        CHECK(same(engine.neighbours + j * D, four + drawn(2, ICD_DRAW_NEIGHBOUR, j, 0, 4) * D));
}

TEST(ends_are_stored_in_their_order)
{
    setup(CLASSES);
    set("buffer_size=6");
    set("restart_prob=0.5");
    begin(1);
    static const int slots[3][4] = { { 0, 1, 2, 3 }, { 4, 5, 0, 1 }, { 2, 3, 4, 5 } };     /* the oldest goes first */
    for (int t = 0; t < 3; t++) {
        turn();
        for (int i = 0; i < 4; i++) {
            CHECK(same(training.buffer.f + slots[t][i] * D, engine.out + i * D));
            CHECK_EQ(training.buffer.label[slots[t][i]], engine.labels[i]);
        }
        CHECK_EQ(training.buffer.seen, 4 * (t + 1));
    }
    CHECK_EQ(training.buffer.count, 6);
}

/* A reservoir of bytes draws what it keeps and how it rounds from the stream of (turn, image). */
TEST(storing_has_a_stream_of_its_own)
{
    icd_buffer twin;
    setup(0);
    set("buffer=reservoir");
    set("buffer_store=uint8");
    set("buffer_size=6");
    begin(1);
    CHECK_OK(icd_buffer_init(&twin, &arena, ICD_RESERVOIR, ICD_STORE_UINT8, 6, D, &err));
    for (uint64_t t = 1; t <= 6; t++) {
        turn();
        for (int i = 0; i < 4; i++) {
            icd_stream s = stream(t, ICD_DRAW_BUFFER, i);
            icd_buffer_push(&twin, &s, engine.out + i * D, 0);
        }
        CHECK(memcmp(twin.u, training.buffer.u, 6 * D) == 0);
    }
}

/* Image i of a batch is the same in a larger batch, and on any number of threads. */
TEST(draws_depend_on_the_sample_alone)
{
    static fake one;
    setup(CLASSES);
    set("flip=0.5");
    set("data_noise=0.125");
    begin(1);
    turn();
    turn();
    one = engine;
    for (int threads = 2; threads <= 3; threads++) {
        begin(threads);
        turn();
        turn();
        CHECK(memcmp(engine.x0[0], one.x0[0], sizeof one.x0[0]) == 0);
        CHECK(memcmp(engine.positives, one.positives, sizeof one.positives) == 0);
        CHECK(memcmp(engine.neighbours, one.neighbours, sizeof one.neighbours) == 0);
        CHECK(memcmp(engine.labels, one.labels, sizeof one.labels) == 0);
    }
    begin(1);
    turn();
    one = engine;
    set("batch=9");
    set("nn_set=8");
    begin(2);
    turn();
    CHECK(memcmp(engine.x0[0], one.x0[0], 4 * D * sizeof(float)) == 0);
    CHECK(memcmp(engine.positives, one.positives, 4 * D * sizeof(float)) == 0);
    CHECK(memcmp(engine.labels, one.labels, 4 * sizeof(int32_t)) == 0);
    CHECK(!same(engine.x0[0], engine.x0[0] + D) && !same(engine.x0[0], engine.x0[0] + 4 * D));
}

/* A turn that fails with `status` and says `text`; gradients and updates are calls that there may have been. */
static void fails(icd_status status, const char *text, int gradients, int updates)
{
    static float before[8 * D];
    static fake good;
    int count = training.buffer.count;
    int64_t seen = training.buffer.seen, iteration = training.iteration;
    memcpy(before, training.buffer.f, sizeof before);
    engine.chains = engine.gradients = engine.updates = 0;
    CHECK_EQ(icd_algorithm1_turn(&training, &stats, &err), status);
    CHECK_SAYS(err.text, text);
    CHECK(engine.chains == 1 && engine.gradients == gradients && engine.updates == updates);
    CHECK(training.buffer.count == count && training.buffer.seen == seen && training.iteration == iteration);
    CHECK(memcmp(before, training.buffer.f, sizeof before) == 0);
    good = engine;
    engine.finite_chain = engine.finite_loss = 1;
    engine.fail_chain = engine.fail_gradients = engine.fail_update = ICD_OK;
    turn();                                      /* once more: the same start */
    CHECK(memcmp(good.x0[0], engine.x0[0], sizeof good.x0[0]) == 0);
    CHECK_EQ(training.iteration, iteration + 1);
}

TEST(a_turn_that_fails_changes_nothing)
{
    setup(0);
    begin(1);
    turn();
    engine.finite_chain = 0;
    fails(ICD_ENAN, "iteration 2: the chain left the finite numbers", 0, 0);
    engine.finite_loss = 0;
    fails(ICD_ENAN, "iteration 3: a loss or gradient is not finite (mean energies 3 and 0)", 1, 0);
    engine.fail_chain = ICD_ENOMEM;
    fails(ICD_ENOMEM, "the fake's chain", 0, 0);
    engine.fail_gradients = ICD_ENOMEM;
    fails(ICD_ENOMEM, "the fake's gradients", 1, 0);
    engine.fail_update = ICD_EINVAL;
    fails(ICD_EINVAL, "the fake's update", 1, 1);
}

/* What a turn that fails after its chain put into the buffer is taken out again: where it grows, where a batch goes round it
 * more than once, where a reservoir leaves some out. */
TEST(a_failed_turn_gives_the_buffer_back)
{
    static const char *const given[3][3] = { { "buffer=fifo", "buffer_store=float", "buffer_size=10" },
        { "buffer=fifo", "buffer_store=uint8", "buffer_size=4" }, { "buffer=reservoir", "buffer_store=uint8", "buffer_size=6" } };
    for (int i = 0; i < 3; i++) {
        setup(CLASSES);
        for (int k = 0; k < 3; k++)
            set(given[i][k]);
        if (i == 1)
            set("batch=9");
        begin(2);
        for (int t = 1; t <= 5; t++) {
            const icd_buffer *b = &training.buffer, before = *b;
            size_t n = (size_t)b->capacity, bytes = n * D * (b->f ? sizeof *b->f : sizeof *b->u);
            unsigned char values[10 * D * sizeof(float)];
            int32_t labels[10];
            memcpy(values, b->f ? (void *)b->f : (void *)b->u, bytes);
            memcpy(labels, b->label, n * sizeof *labels);
            engine.fail_update = ICD_EINVAL;
            engine.chains = 0;
            CHECK_EQ(icd_algorithm1_turn(&training, &stats, &err), ICD_EINVAL);
            CHECK(b->count == before.count && b->seen == before.seen);
            CHECK(memcmp(values, b->f ? (void *)b->f : (void *)b->u, bytes) == 0);
            CHECK(memcmp(labels, b->label, n * sizeof *labels) == 0);
            engine.fail_update = ICD_OK;
            turn();
            CHECK_EQ(b->seen, before.seen + config.batch);
        }
    }
}

/* The next turn's images are there before gradients() is back, which here waits for them; the last turn prepares nothing; and a
 * turn that was prepared meanwhile starts from the same bits as one that was not. */
TEST(the_next_turn_is_prepared_while_gradients_are_computed)
{
    static fake in_turn[3];
    static float buffer[8 * D];
    for (int ahead = 0; ahead < 2; ahead++) {
        setup(CLASSES);
        set("iterations=3");
        set("flip=0.5");
        begin(2);
        engine.wait = ahead;
        for (int t = 0; t < 3; t++) {
            if (t == 2)
                engine.wait = 0;
            if (!ahead)
                training.batch[0].turn = training.batch[1].turn = 0;
            turn();
            if (ahead) {
                CHECK(memcmp(engine.x0[0], in_turn[t].x0[0], sizeof engine.x0[0]) == 0);
                CHECK(memcmp(engine.positives, in_turn[t].positives, sizeof engine.positives) == 0);
                CHECK(memcmp(engine.neighbours, in_turn[t].neighbours, sizeof engine.neighbours) == 0);
                CHECK(memcmp(engine.labels, in_turn[t].labels, sizeof engine.labels) == 0);
                CHECK(t < 2 ? stats.preparing > 0 : stats.preparing == 0);
            }
            in_turn[t] = engine;
        }
        CHECK(training.batch[0].turn != 4);
        if (ahead)
            CHECK(memcmp(buffer, training.buffer.f, sizeof buffer) == 0);
        memcpy(buffer, training.buffer.f, sizeof buffer);
    }
    CHECK(engine.overlapped == 2 && engine.missed == 0);
}

TEST(data_must_fit_the_model)
{
    setup(CLASSES);
    snprintf(config.data, sizeof config.data, "some.npy");
    icd_images other = data;
    other.w = 4;
    CHECK_EQ(icd_training_init(&training, &arena, &config, &arch, &engine.base, &other, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "some.npy: images of 1x2x4 (channels, rows, columns), and the model wants 1x2x3");
    other = data;
    other.label = NULL;
    CHECK_EQ(icd_training_init(&training, &arena, &config, &arch, &engine.base, &other, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "some.npy: no labels, and the model has 4 classes");
    data.label[6] = 4;
    CHECK_EQ(icd_training_init(&training, &arena, &config, &arch, &engine.base, &data, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "some.npy: image 6 has label 4, and the model has classes 0..3");
    data.label[6] = -1;
    CHECK_EQ(icd_training_init(&training, &arena, &config, &arch, &engine.base, &data, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "image 6 has label -1");
    setup(0);
    data.label = NULL;
    begin(1);
    turn();
}

/* ---- Algorithm 2 ---- */

static int stop_after;
static int progress(void *context, int round)
{
    *(int *)context = round;
    return round == stop_after;
}

TEST(sampling_takes_rounds_with_the_ema)
{
    static const int32_t labels[2] = { 3, 1 };
    float x[2 * D], u[D];
    int rounds = 0;
    setup(CLASSES);
    set("flip=1");
    set("step_size=3");
    set("noise=0.5");
    set("clamp=on");
    stop_after = 0;
    CHECK_OK(icd_algorithm2(&engine.base, &config, 2, 5, labels, x, progress, &rounds, &err));
    CHECK(rounds == 3 && engine.chains == 3 && engine.gradients == 0 && engine.updates == 0);
    for (int r = 0; r < 3; r++) {
        const icd_chain *c = &engine.chain[r];
        CHECK(c->n == 2 && c->steps == 2 && c->step_size == 3 && c->noise == 0.5 && c->clamp == 1 && c->seed == 11);
        CHECK(c->iteration == (uint64_t)(r + 1) && c->purpose == ICD_DRAW_SAMPLE && c->first_sample == 5 && c->use_ema == 1
              && c->keep == 0 && c->normals == NULL);
        CHECK(c->labels == labels);
    }
    /* x~0 ~ U, then D before each round: mirrored three times, and what the engine does in between. */
    for (int i = 0; i < 2; i++) {
        icd_stream s = stream(0, ICD_DRAW_SAMPLE, 5 + i);
        icd_uniforms(&s, 0, D, u);
        CHECK(mirrored(engine.x0[0] + i * D, u));
        for (int r = 0; r < 2; r++) {
            float end[D];
            for (int k = 0; k < D; k++)
                end[k] = engine.x0[r][i * D + k] / 2 + (float)(5 + i) / 64;
            CHECK(mirrored(engine.x0[r + 1] + i * D, end));
        }
    }
    CHECK(memcmp(x, engine.out, sizeof x) == 0);
}

TEST(a_sample_does_not_depend_on_the_request)
{
    float whole[9 * D], part[9 * D];
    setup(0);
    set("flip=0.5");
    set("crop_min=0.3");
    set("blur_prob=0.5");
    CHECK_OK(icd_algorithm2(&engine.base, &config, 9, 100, NULL, whole, NULL, NULL, &err));
    for (int threads = 1; threads <= 3; threads++) {
        engine.base.threads = threads;
        CHECK_OK(icd_algorithm2(&engine.base, &config, 4, 100, NULL, part, NULL, NULL, &err));
        CHECK_OK(icd_algorithm2(&engine.base, &config, 5, 104, NULL, part + 4 * D, NULL, NULL, &err));
        CHECK(memcmp(whole, part, sizeof whole) == 0);
    }
    CHECK(!same(whole, whole + D));
}

TEST(sampling_stops_and_fails)
{
    float x[2 * D];
    int rounds = 0;
    setup(0);
    size_t live = icd_alloc_live();
    stop_after = 2;
    CHECK_EQ(icd_algorithm2(&engine.base, &config, 2, 0, NULL, x, progress, &rounds, &err), ICD_ESTOP);
    CHECK_SAYS(err.text, "stopped after round 2 of 3");
    CHECK(engine.chains == 2 && rounds == 2);
    engine.finite_chain = 0;
    CHECK_EQ(icd_algorithm2(&engine.base, &config, 2, 0, NULL, x, NULL, NULL, &err), ICD_ENAN);
    CHECK_SAYS(err.text, "round 1: a sample left the finite numbers");
    CHECK_EQ(engine.chains, 3);
    engine.fail_chain = ICD_ENOMEM;
    CHECK_EQ(icd_algorithm2(&engine.base, &config, 2, 0, NULL, x, NULL, NULL, &err), ICD_ENOMEM);
    CHECK_SAYS(err.text, "the fake's chain");
    CHECK_EQ(icd_alloc_live(), live);
    icd_arena_release(&arena);
}

TEST_MAIN("algorithm", T(settings_reach_the_engine), T(positives_are_data), T(starts_come_from_the_buffer_or_are_fresh),
          T(restart_prob_is_a_chance), T(starts_are_transformed_and_nothing_else), T(each_transition_has_a_stream_of_its_own),
          T(neighbours_wait_for_the_buffer), T(ends_are_stored_in_their_order), T(storing_has_a_stream_of_its_own),
          T(draws_depend_on_the_sample_alone), T(a_turn_that_fails_changes_nothing),
          T(a_failed_turn_gives_the_buffer_back), T(the_next_turn_is_prepared_while_gradients_are_computed), T(data_must_fit_the_model),
          T(sampling_takes_rounds_with_the_ema), T(a_sample_does_not_depend_on_the_request), T(sampling_stops_and_fails))
