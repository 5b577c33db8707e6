/* test_algorithm.c: Algorithms 1 and 2 line by line, on an engine that computes nothing and writes down what it is asked. */
#include "common/algorithm1.h"
#include "common/algorithm2.h"

#include <stdlib.h>

#include "test.h"

enum { BATCH = 6, NN = 5, DATA = 9, H = 2, W = 3, D = H * W, MOST = 64 };

/* Its chains end in the numbers 1000 call + 10 image + pixel/100, so that every image tells where it comes from; its
 * gradients are nothing. `log` takes a letter a call: c chain, g gradients, u update. */
typedef struct {
    icd_engine base;
    icd_chain chain;
    icd_losses losses;
    icd_update update;
    float x0[MOST * D], positives[MOST * D], neighbours[NN * D];
    int32_t labels[MOST], positive_labels[MOST];
    char log[64];
    int chains, chain_fails, loss_fails;        /* fails: what it gives is not finite */
} recorder;

static float mark(int call, int image, int pixel) { return (float)(1000 * call + 10 * image) + (float)pixel / 100.0f; }

static icd_status record_chain(icd_engine *base, const icd_chain *c, float *out, icd_chain_stats *stats, icd_err *err)
{
    recorder *e = (recorder *)base;
    (void)err;
    e->chain = *c;
    strcat(e->log, "c");
    e->chains++;
    memcpy(e->x0, c->x0, (size_t)c->n * D * sizeof(float));
    if (c->labels)
        memcpy(e->labels, c->labels, (size_t)c->n * sizeof(int32_t));
    for (int i = 0; i < c->n * D; i++)
        out[i] = mark(e->chains, i / D, i % D);
    *stats = (icd_chain_stats){ 0.5, !e->chain_fails };
    return ICD_OK;
}

static icd_status record_gradients(icd_engine *base, const icd_losses *l, icd_loss_stats *stats, icd_err *err)
{
    recorder *e = (recorder *)base;
    (void)err;
    e->losses = *l;
    strcat(e->log, "g");
    memcpy(e->positives, l->positives, (size_t)l->n * D * sizeof(float));
    memcpy(e->neighbours, l->neighbours, (size_t)l->n_neighbours * D * sizeof(float));
    if (l->positive_labels)
        memcpy(e->positive_labels, l->positive_labels, (size_t)l->n * sizeof(int32_t));
    memset(stats, 0, sizeof *stats);
    stats->finite = !e->loss_fails;
    return ICD_OK;
}

static icd_status record_update(icd_engine *base, const icd_update *u, icd_err *err)
{
    recorder *e = (recorder *)base;
    (void)err;
    e->update = *u;
    strcat(e->log, "u");
    return ICD_OK;
}

typedef struct {
    icd_arena arena;
    icd_config c;
    icd_arch a;
    recorder e;
    float x[DATA * D];
    int32_t label[DATA];
    icd_images data;
    icd_training t;
    icd_iteration_stats stats;
} setup;

/* Data in [0,1), all different; a batch of 6, X of 5 as soon as the buffer holds more than 6. */
static void begin(setup *s)
{
    icd_err err;
    memset(s, 0, sizeof *s);
    icd_config_default(&s->c);
    icd_config *c = &s->c;
    c->augment = (icd_augment){ .crop_min = 1 };
    c->batch = BATCH;
    c->nn_set = NN;
    c->nn_min_buffer = BATCH;
    c->nn_augment = 0;
    c->buffer = ICD_FIFO;
    c->buffer_store = ICD_STORE_FLOAT;
    c->buffer_size = 1000;
    c->restart_prob = 0;
    c->seed = 42;
    c->steps = 7;
    c->step_size = 3.5;
    c->noise = 0.25;
    const icd_model_settings plain = { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 };
    CHECK_OK(icd_arch_parse(&s->arena, "conv 1 | mean | dense 1", &plain, 1, H, W, &s->a, &err));
    for (int i = 0; i < DATA * D; i++)
        s->x[i] = (float)i / (DATA * D);
    for (int i = 0; i < DATA; i++)
        s->label[i] = i % 4;
    s->data = (icd_images){ DATA, 1, H, W, s->x, s->label, 4 };
    s->e.base = (icd_engine){ .name = "recorder", .arch = &s->a, .threads = 2, .chain = record_chain,
                              .gradients = record_gradients, .update = record_update };
}

static void start(setup *s)
{
    icd_err err;
    CHECK_OK(icd_training_init(&s->t, &s->arena, &s->c, &s->a, &s->e.base, &s->data, &err));
}

static void turn(setup *s)
{
    icd_err err;
    s->e.log[0] = 0;
    CHECK_OK(icd_algorithm1_turn(&s->t, &s->stats, &err));
    CHECK(strcmp(s->e.log, "cgu") == 0);
}

static void end(setup *s) { icd_arena_release(&s->arena); }

static icd_stream stream(uint64_t iteration, icd_purpose purpose, int sample)
{
    return (icd_stream){ 42, iteration, (uint32_t)purpose, (uint32_t)sample };
}

static int same(const float *a, const float *b) { return memcmp(a, b, D * sizeof *a) == 0; }

TEST(positives_are_draws_from_the_data)
{
    setup s;
    begin(&s);
    s.c.model.classes = 4;
    start(&s);
    int seen[DATA] = { 0 };
    for (int k = 1; k <= 20; k++) {
        turn(&s);
        for (int i = 0; i < BATCH; i++) {
            icd_stream r = stream((uint64_t)k, ICD_DRAW_POSITIVE, i);
            int datum = (int)icd_below(&r, 0, DATA);
            CHECK(same(s.e.positives + i * D, s.x + datum * D));
            CHECK_EQ(s.e.positive_labels[i], s.label[datum]);
            seen[datum]++;
        }
    }
    for (int i = 0; i < DATA; i++)        /* 120 draws of 9: 13.3 each, sd 3.4 */
        CHECK(seen[i] > 0 && seen[i] < 31);

    /* Anatomy's epsilon_data */
    s.c.data_noise = 0.5;
    turn(&s);
    for (int i = 0; i < BATCH; i++) {
        icd_stream r = stream(21, ICD_DRAW_POSITIVE, i), z = stream(21, ICD_DRAW_DATA_NOISE, i);
        const float *x = s.x + (int)icd_below(&r, 0, DATA) * D;
        for (int p = 0; p < D; p++)
            CHECK_NEAR(s.e.positives[i * D + p], x[p] + 0.5f * icd_normal(&z, (uint64_t)p), 1e-6);
    }
    end(&s);
}

TEST(chains_start_in_the_buffer_or_afresh)
{
    setup s;
    begin(&s);
    s.c.model.classes = 4;
    s.c.restart_prob = 0.25;
    start(&s);
    int fresh = 0, first_half = 0, replayed = 0;
    for (int k = 1; k <= 200; k++) {
        turn(&s);
        CHECK(s.e.chain.labels != NULL);
        for (int i = 0; i < BATCH; i++) {
            const float *x = s.e.x0 + i * D;
            icd_stream u = stream((uint64_t)k, ICD_DRAW_UNIFORM, i), l = stream((uint64_t)k, ICD_DRAW_LABEL, i);
            float noise[D];
            icd_uniforms(&u, 0, D, noise);
            if (x[0] < 1000) {             /* not what an earlier chain left: uniform noise and a class of its own */
                CHECK(same(x, noise));
                CHECK_EQ(s.e.labels[i], icd_below(&l, 0, 4));
                fresh += k > 1;
            } else {                       /* an image of an earlier turn, whole, the latest 1000 images at most */
                int call = (int)x[0] / 1000, image = (int)x[0] % 1000 / 10;
                CHECK(call < k && call >= 1 && image < BATCH);
                for (int p = 0; p < D; p++)
                    CHECK_EQ(x[p], mark(call, image, p));
                CHECK(call > k - 1 - 1000 / BATCH - 1);
                replayed++;
                first_half += 2 * call <= k - 1;
            }
        }
        if (k == 1)
            CHECK_EQ(replayed, 0);          /* the buffer was empty */
    }
    /* 1194 starts: 298.5 fresh, sd 15; of the 895 others about half are from the older half */
    CHECK_NEAR(fresh, 298.5, 75);
    CHECK_NEAR(first_half, replayed / 2.0, 90);

    /* a chain keeps its label: x of image i went in with labels[i] */
    for (int i = 0; i < BATCH; i++)
        CHECK_EQ(s.t.buffer.label[(s.t.buffer.seen - BATCH + i) % 1000], s.e.labels[i]);
    end(&s);
}

TEST(starts_from_data_and_from_noise)
{
    setup s;
    begin(&s);
    s.c.init = ICD_INIT_FROM_NOISE;
    start(&s);
    for (int k = 1; k <= 3; k++) {
        turn(&s);
        for (int i = 0; i < BATCH * D; i++)
            CHECK(s.e.x0[i] < 1);
        CHECK(s.e.chain.labels == NULL);
    }
    s.c.init = ICD_INIT_FROM_DATA;
    s.c.restart_prob = 1;
    s.c.model.classes = 4;
    turn(&s);
    for (int i = 0; i < BATCH; i++) {
        icd_stream r = stream(4, ICD_DRAW_START, i);
        int datum = (int)icd_below(&r, 2, DATA);
        CHECK(same(s.e.x0 + i * D, s.x + datum * D));
        CHECK_EQ(s.e.labels[i], s.label[datum]);
    }
    s.c.restart_prob = 0;                /* otherwise the buffer */
    turn(&s);
    for (int i = 0; i < BATCH; i++)
        CHECK(s.e.x0[i * D] >= 1000);
    end(&s);
}

TEST(neighbours_come_from_the_buffer_as_it_was_before_the_turn)
{
    setup s;
    begin(&s);
    start(&s);
    turn(&s);
    CHECK_EQ(s.stats.neighbours, 0);       /* empty */
    turn(&s);
    CHECK_EQ(s.stats.neighbours, 0);       /* 6 images: not over nn_min_buffer */
    int differs = 0;
    for (int k = 3; k <= 12; k++) {
        turn(&s);
        CHECK_EQ(s.stats.neighbours, NN);
        CHECK_EQ(s.e.losses.n_neighbours, NN);
        for (int j = 0; j < NN; j++) {
            icd_stream r = stream((uint64_t)k, ICD_DRAW_NEIGHBOUR, j);
            int slot = (int)icd_below(&r, 0, (uint32_t)((k - 1) * BATCH));
            for (int p = 0; p < D; p++)
                CHECK_EQ(s.e.neighbours[j * D + p], mark(1 + slot / BATCH, slot % BATCH, p));
            differs += !same(s.e.neighbours + j * D, s.e.x0 + j * D);
        }
    }
    CHECK(differs > 40);                    /* of 50: drawn apart from the starts */
    s.c.w_ent = 0;
    turn(&s);
    CHECK_EQ(s.stats.neighbours, 0);
    end(&s);
}

static void mirrored(const float *x, float *out)
{
    for (int p = 0; p < D; p++)
        out[p] = x[p / W * W + W - 1 - p % W];
}

TEST(transitions_change_the_starts_and_no_datum)
{
    setup s;
    begin(&s);
    s.c.init = ICD_INIT_FROM_NOISE;
    s.c.augment.flip = 1;                  /* every image, and nothing else */
    start(&s);
    turn(&s);
    for (int i = 0; i < BATCH; i++) {
        icd_stream u = stream(1, ICD_DRAW_UNIFORM, i), r = stream(1, ICD_DRAW_POSITIVE, i);
        float noise[D], want[D];
        icd_uniforms(&u, 0, D, noise);
        mirrored(noise, want);
        CHECK(same(s.e.x0 + i * D, want));
        CHECK(same(s.e.positives + i * D, s.x + (int)icd_below(&r, 0, DATA) * D));
    }
    /* the transition's own stream: turns, images and the neighbours' transitions differ. A flip half the time. */
    s.c.augment.flip = 0.5;
    s.c.nn_min_buffer = 0;
    s.c.nn_augment = 1;
    /* numbers in [0,1], which a transition's clamp leaves alone */
    for (int i = 0; i < BATCH * D; i++)
        s.t.buffer.f[i] = s.x[i];
    turn(&s);
    for (int i = 0; i < BATCH; i++) {
        icd_stream u = stream(2, ICD_DRAW_UNIFORM, i), g = stream(2, ICD_DRAW_AUGMENT, i);
        float want[D], work[5 * D];
        icd_uniforms(&u, 0, D, want);
        icd_augment_apply(&s.c.augment, &g, 1, H, W, want, work);
        CHECK(same(s.e.x0 + i * D, want));
    }
    int flipped = 0;
    for (int j = 0; j < NN; j++) {
        icd_stream r = stream(2, ICD_DRAW_NEIGHBOUR, j), g = stream(2, ICD_DRAW_NN_AUGMENT, j);
        float want[D], work[5 * D];
        const float *from = s.x + (int)icd_below(&r, 0, BATCH) * D;
        memcpy(want, from, sizeof want);
        icd_augment_apply(&s.c.augment, &g, 1, H, W, want, work);
        CHECK(same(s.e.neighbours + j * D, want));
        flipped += !same(want, from);
    }
    CHECK(flipped > 0);
    for (int i = 0; i < BATCH * D; i++)
        CHECK_EQ(s.t.buffer.f[i], s.x[i]);        /* what is stored stays as it is */
    s.c.nn_augment = 0;
    s.c.augment.flip = 1;
    for (int i = 0; i < 2 * BATCH * D; i++)
        s.t.buffer.f[i] = s.x[i % (DATA * D)];
    turn(&s);
    for (int j = 0; j < NN; j++) {
        icd_stream r = stream(3, ICD_DRAW_NEIGHBOUR, j);
        CHECK(same(s.e.neighbours + j * D, s.x + (int)icd_below(&r, 0, 2 * BATCH) * D % (DATA * D)));
    }
    end(&s);
}

TEST(the_engine_gets_the_settings)
{
    setup s;
    begin(&s);
    icd_config *c = &s.c;
    c->noise_order = ICD_NOISE_BEFORE;
    c->clamp = 1;
    c->w_opt = 0.5;
    c->w_ent = 0.3;
    c->energy_l2 = 2;
    c->kl_sign = -1;
    c->kl_batch = 4;
    c->backprop_steps = 3;
    c->scale_mean = 1;
    c->lr = 0.1;
    c->beta1 = 0.2;
    c->beta2 = 0.3;
    c->adam_eps = 0.4;
    c->grad_clip = 0.5;
    c->ema = 0.6;
    start(&s);
    turn(&s);
    turn(&s);
    const icd_chain *k = &s.e.chain;
    CHECK(k->n == BATCH && k->steps == 7 && k->step_size == 3.5 && k->noise == 0.25 && k->noise_before == 1 && k->clamp == 1);
    CHECK(k->seed == 42 && k->iteration == 2 && k->purpose == ICD_DRAW_LANGEVIN && k->first_sample == 0 && !k->normals);
    CHECK(k->use_ema == 0 && k->keep == 3);
    const icd_losses *l = &s.e.losses;
    CHECK(l->n == BATCH && l->w_opt == 0.5 && l->w_ent == 0.3 && l->energy_l2 == 2 && l->kl_sign == -1 && l->kl_batch == 4);
    CHECK(l->backprop_steps == 3 && l->scale_mean == 1 && l->apart == 0);
    const icd_update *u = &s.e.update;
    CHECK(u->t == 2 && u->lr == 0.1 && u->beta1 == 0.2 && u->beta2 == 0.3 && u->adam_eps == 0.4 && u->grad_clip == 0.5
          && u->ema == 0.6);
    c->noise_order = ICD_NOISE_AFTER;
    c->clamp = 0;
    c->backprop_steps = ICD_BACKPROP_ALL;
    turn(&s);
    CHECK(k->noise_before == 0 && k->clamp == 0 && k->keep == 7 && l->backprop_steps == 7);
    CHECK_EQ(s.t.iteration, 3);
    CHECK_EQ(s.t.buffer.count, 3 * BATCH);
    for (int i = 0; i < 3 * BATCH; i++)        /* B <- B u x_K, in order */
        CHECK_EQ(s.t.buffer.f[i * D + 1], mark(1 + i / BATCH, i % BATCH, 1));
    end(&s);
}

TEST(a_turn_that_fails_leaves_all_as_it_was)
{
    setup s;
    icd_err err;
    begin(&s);
    start(&s);
    turn(&s);
    s.e.chain_fails = 1;
    s.e.log[0] = 0;
    CHECK(icd_algorithm1_turn(&s.t, &s.stats, &err) == ICD_ENAN);
    CHECK(strcmp(s.e.log, "c") == 0);
    CHECK_SAYS(err.text, "iteration 2");
    s.e.chain_fails = 0;
    s.e.loss_fails = 1;
    s.e.log[0] = 0;
    CHECK(icd_algorithm1_turn(&s.t, &s.stats, &err) == ICD_ENAN);
    CHECK(strcmp(s.e.log, "cg") == 0);
    CHECK(s.t.iteration == 1 && s.t.buffer.count == BATCH && s.t.buffer.seen == BATCH);
    end(&s);
}

TEST(a_turn_is_a_pure_function_whatever_the_threads)
{
    setup a, b;
    begin(&a);
    begin(&b);
    a.c.restart_prob = b.c.restart_prob = 0.5;
    a.c.augment = b.c.augment = (icd_augment){ 0.3, 0.5, 0.5, 1, 0.5 };
    a.c.nn_augment = b.c.nn_augment = 1;
    a.e.base.threads = 1;
    b.e.base.threads = 3;
    start(&a);
    start(&b);
    for (int k = 0; k < 6; k++) {
        turn(&a);
        turn(&b);
        CHECK(memcmp(a.e.x0, b.e.x0, sizeof a.e.x0) == 0);
        CHECK(memcmp(a.e.neighbours, b.e.neighbours, sizeof a.e.neighbours) == 0);
        CHECK(memcmp(a.e.positives, b.e.positives, sizeof a.e.positives) == 0);
    }
    end(&a);
    end(&b);
}

TEST(data_that_do_not_fit_are_refused)
{
    setup s;
    icd_err err;
    begin(&s);
    s.data.h = H + 1;
    CHECK(icd_training_init(&s.t, &s.arena, &s.c, &s.a, &s.e.base, &s.data, &err) == ICD_EINVAL);
    CHECK_SAYS(err.text, "1x3x3");
    CHECK_SAYS(err.text, "1x2x3");
    s.data.h = H;
    s.c.model.classes = 3;
    CHECK(icd_training_init(&s.t, &s.arena, &s.c, &s.a, &s.e.base, &s.data, &err) == ICD_EINVAL);
    CHECK_SAYS(err.text, "image 3 has label 3");
    s.data.label = NULL;
    CHECK(icd_training_init(&s.t, &s.arena, &s.c, &s.a, &s.e.base, &s.data, &err) == ICD_EINVAL);
    CHECK_SAYS(err.text, "no labels");
    end(&s);
}

/* ---- Algorithm 2 ---- */

static int stop_after(void *context, int round) { return round == *(int *)context; }

TEST(sampling_starts_in_noise_and_runs_its_rounds)
{
    setup s;
    icd_err err;
    begin(&s);
    s.c.sample_rounds = 3;
    s.c.sample_steps = 11;
    s.c.augment.flip = 1;
    float x[4 * D];
    const int32_t labels[4] = { 3, 2, 1, 0 };
    CHECK_OK(icd_algorithm2(&s.e.base, &s.c, 4, 7, labels, x, NULL, NULL, &err));
    CHECK(strcmp(s.e.log, "ccc") == 0);
    const icd_chain *k = &s.e.chain;
    CHECK(k->n == 4 && k->steps == 11 && k->step_size == 3.5 && k->noise == 0.25 && k->use_ema == 1 && k->keep == 0);
    CHECK(k->seed == 42 && k->iteration == 3 && k->purpose == ICD_DRAW_SAMPLE && k->first_sample == 7);
    CHECK(memcmp(s.e.labels, labels, sizeof labels) == 0);
    for (int i = 0; i < 4 * D; i++) {
        CHECK_EQ(x[i], mark(3, i / D, i % D));
        CHECK_EQ(s.e.x0[i], 1);                      /* D(.) of the second round's end, whose marks it clamps to 1 */
    }

    s.c.sample_rounds = 1;                           /* the first round: D(uniform noise of sample 7 + i) */
    CHECK_OK(icd_algorithm2(&s.e.base, &s.c, 4, 7, labels, x, NULL, NULL, &err));
    for (int i = 0; i < 4; i++) {
        icd_stream u = stream(0, ICD_DRAW_SAMPLE, 7 + i);
        float noise[D], want[D];
        icd_uniforms(&u, 0, D, noise);
        mirrored(noise, want);
        CHECK(same(s.e.x0 + i * D, want));
    }
    s.c.augment.flip = 0.5;
    CHECK_OK(icd_algorithm2(&s.e.base, &s.c, 4, 7, labels, x, NULL, NULL, &err));
    for (int i = 0; i < 4; i++) {
        icd_stream u = stream(0, ICD_DRAW_SAMPLE, 7 + i), g = stream(1, ICD_DRAW_SAMPLE_AUGMENT, 7 + i);
        float want[D], work[5 * D];
        icd_uniforms(&u, 0, D, want);
        icd_augment_apply(&s.c.augment, &g, 1, H, W, want, work);
        CHECK(same(s.e.x0 + i * D, want));
    }

    s.c.sample_rounds = 5;
    s.e.log[0] = 0;
    int last = 2;
    CHECK(icd_algorithm2(&s.e.base, &s.c, 4, 7, NULL, x, stop_after, &last, &err) == ICD_ESTOP);
    CHECK(strcmp(s.e.log, "cc") == 0);
    CHECK(k->labels == NULL);
    s.e.chain_fails = 1;
    CHECK(icd_algorithm2(&s.e.base, &s.c, 4, 7, NULL, x, NULL, NULL, &err) == ICD_ENAN);
    size_t live = icd_alloc_live();
    icd_alloc_fail_at(1);
    CHECK(icd_algorithm2(&s.e.base, &s.c, 4, 7, NULL, x, NULL, NULL, &err) == ICD_ENOMEM);
    icd_alloc_fail_at(0);
    CHECK_EQ(icd_alloc_live(), live);
    end(&s);
}

TEST_MAIN("algorithm", T(positives_are_draws_from_the_data), T(chains_start_in_the_buffer_or_afresh),
          T(starts_from_data_and_from_noise), T(neighbours_come_from_the_buffer_as_it_was_before_the_turn),
          T(transitions_change_the_starts_and_no_datum), T(the_engine_gets_the_settings),
          T(a_turn_that_fails_leaves_all_as_it_was), T(a_turn_is_a_pure_function_whatever_the_threads),
          T(data_that_do_not_fit_are_refused), T(sampling_starts_in_noise_and_runs_its_rounds))
