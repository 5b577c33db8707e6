/* test_config.c: settings one by one, as files, and written out. */
#include "common/config.h"

#include "common/text.h"
#include "tests/test.h"

static icd_err err;

static icd_status set(icd_config *c, const char *assignment) { return icd_config_assign(c, assignment, &err); }
static icd_status parse(icd_config *c, const char *text) { return icd_config_parse(c, "run.txt", text, strlen(text), &err); }

/* Every setting and the preset alike; reals bit for bit. */
static int same(const icd_config *a, const icd_config *b)
{
    int ok = strcmp(a->preset, b->preset) == 0;
    for (const icd_setting *s = icd_settings; s->name; s++) {
        const char *p = (const char *)a + s->offset, *q = (const char *)b + s->offset;
        size_t n = s->type == ICD_SET_REAL ? sizeof(double)
                 : s->type == ICD_SET_INT64 || s->type == ICD_SET_UINT64 ? 8 : sizeof(int);
        ok = ok && (s->type == ICD_SET_TEXT ? strcmp(p, q) == 0 : memcmp(p, q, n) == 0);
    }
    return ok;
}

TEST(the_defaults_are_the_papers)
{
    icd_config c;
    icd_config_default(&c);
    CHECK(c.preset[0] == 0 && strcmp(c.arch, "paper-cifar10") == 0);
    CHECK_EQ(c.model.filters, 64);
    CHECK_EQ(c.model.norm, ICD_NORM_GROUP);
    CHECK_EQ(c.model.groups, 32);
    CHECK(!c.model.weight_std && !c.model.spectral_norm && c.model.multiscale && c.model.classes == 0);
    CHECK_EQ(c.steps, 40);
    CHECK_EQ(c.step_size, 500);
    CHECK_EQ(c.noise, 0.001);
    CHECK(c.noise_order == ICD_NOISE_AFTER && !c.clamp && c.init == ICD_INIT_FROM_BUFFER);
    CHECK_EQ(c.restart_prob, 0.01);
    CHECK(c.w_opt == 1 && c.w_ent == 1 && c.energy_l2 == 0 && c.kl_sign == 1 && c.kl_batch == 0);
    CHECK(c.backprop_steps == 1 && !c.scale_mean);
    CHECK(c.nn_set == 100 && !c.nn_augment && c.nn_min_buffer == 0);
    CHECK(c.buffer == ICD_FIFO && c.buffer_size == 10000 && c.buffer_store == ICD_STORE_FLOAT);
    CHECK(c.augment.crop_min == 0.02 && c.augment.flip == 0.5 && c.augment.color_strength == 1);
    CHECK(c.augment.blur_prob == 0 && c.augment.elastic == 0 && c.data_noise == 0);
    CHECK(c.batch == 128 && c.iterations == 100000);
    CHECK(c.lr == 2e-4 && c.beta1 == 0 && c.beta2 == 0.9 && c.adam_eps == 1e-8 && c.grad_clip == 0 && c.ema == 0.9999);
    CHECK(c.seed == 0 && c.threads == 0 && c.memory == 0 && c.sample_every == 100 && c.checkpoint_every == 100);
    CHECK(c.sample_rounds == 10 && c.sample_steps == 20);
    CHECK_OK(icd_config_check(&c, &err));
}

/* Each name sets its own field and no other. */
TEST(each_setting_has_its_own_field)
{
    icd_config base;
    icd_config_default(&base);
    for (const icd_setting *s = icd_settings; s->name; s++) {
        const char *value = s->type == ICD_SET_TEXT ? "toy" : s->type == ICD_SET_REAL ? "0.25"
            : s->type == ICD_SET_BOOL ? (strcmp(s->standard, "on") ? "on" : "off")
            : s->type == ICD_SET_CHOICE ? strrchr(s->choices, '|') + 1 : strcmp(s->name, "kl_sign") ? "7" : "-1";
        icd_config c = base;
        CHECK_OK(icd_config_set(&c, s->name, value, &err));
        CHECK(!same(&c, &base));
        for (const icd_setting *t = icd_settings; t->name; t++)
            if (t != s)
                CHECK_OK(icd_config_set(&c, t->name, t->standard, &err));
        CHECK(!same(&c, &base));
        CHECK_OK(icd_config_set(&c, s->name, s->standard, &err));
        CHECK(same(&c, &base));
        for (const icd_setting *t = icd_settings; t != s; t++)
            CHECK(strcmp(t->name, s->name) != 0 && t->offset != s->offset);
        CHECK(s->about && strlen(s->about) < 110);
    }
}

TEST(values_as_they_may_be_written)
{
    icd_config c;
    icd_config_default(&c);
    CHECK_OK(set(&c, "  step_size =  1e2 "));
    CHECK_EQ(c.step_size, 100);
    CHECK_OK(set(&c, "w_ent=.3"));
    CHECK_EQ(c.w_ent, 0.3);
    CHECK_OK(set(&c, "kl_sign=-1"));
    CHECK_EQ(c.kl_sign, -1);
    CHECK_OK(set(&c, "backprop_steps=all"));
    CHECK_EQ(c.backprop_steps, ICD_BACKPROP_ALL);
    CHECK_OK(set(&c, "backprop_steps=3"));
    CHECK_EQ(c.backprop_steps, 3);
    CHECK_OK(set(&c, "seed=18446744073709551615"));
    CHECK(c.seed == UINT64_MAX);
    CHECK_OK(set(&c, "iterations=1000000000000"));
    CHECK(c.iterations == 1000000000000);
    static const char *const on[] = { "clamp=on", "clamp=1", "clamp=true", "clamp=YES" };
    static const char *const off[] = { "clamp=off", "clamp=0", "clamp=False", "clamp=no" };
    for (int i = 0; i < 4; i++) {
        CHECK_OK(set(&c, on[i]));
        CHECK_EQ(c.clamp, 1);
        CHECK_OK(set(&c, off[i]));
        CHECK_EQ(c.clamp, 0);
    }
    CHECK_OK(set(&c, "buffer=reservoir"));
    CHECK_EQ(c.buffer, ICD_RESERVOIR);
    CHECK_OK(set(&c, "buffer_store=uint8"));
    CHECK_EQ(c.buffer_store, ICD_STORE_UINT8);
    CHECK_OK(set(&c, "init=noise"));
    CHECK_EQ(c.init, ICD_INIT_FROM_NOISE);
    CHECK_OK(set(&c, "norm=auto"));
    CHECK_EQ(c.model.norm, ICD_NORM_AUTO);
    CHECK_OK(set(&c, "noise_order=before"));
    CHECK_EQ(c.noise_order, ICD_NOISE_BEFORE);
    CHECK_OK(set(&c, "arch= full: mean | dense 1 ; half: mean | dense 1 "));
    CHECK(strcmp(c.arch, "full: mean | dense 1 ; half: mean | dense 1") == 0);
}

static const struct { const char *assignment, *says; } wrong[] = {
    { "step_sise=1", "unknown setting 'step_sise'; did you mean 'step_size'?" },
    { "STEPS=1", "did you mean 'steps'" },
    { "stpes=1", "did you mean 'steps'" },
    { "restart=0", "unknown setting 'restart'" },
    { "learning_rate=1", "unknown setting 'learning_rate'; `icd info settings`" },
    { "=1", "unknown setting ''" },
    { "", "'' is not of the form key = value" },
    { "steps", "'steps' is not of the form key = value" },
    { "preset=demo", "'preset' sets all settings at once" },
    { "steps=", "setting 'steps' is '', wanted a whole number from 1 to 1000000" },
    { "steps=0", "setting 'steps' is '0', wanted a whole number from 1 to 1000000" },
    { "steps=-1", "wanted a whole number" },
    { "steps=1000001", "wanted a whole number" },
    { "steps=4294967297", "wanted a whole number" },
    { "steps=99999999999999999999", "wanted a whole number" },
    { "steps=1.0", "wanted a whole number" },
    { "steps=1 2", "wanted a whole number" },
    { "steps=0x10", "wanted a whole number" },
    { "steps=--1", "wanted a whole number" },
    { "backprop_steps=0", "wanted 'all' or a whole number from 1 to" },
    { "backprop_steps=All", "wanted 'all' or" },
    { "kl_batch=all", "wanted a whole number from 0" },
    { "seed=-1", "wanted a whole number from 0 to 18446744073709551615" },
    { "seed=18446744073709551616", "wanted a whole number from 0 to" },
    { "iterations=1e6", "wanted a whole number" },
    { "lr=", "setting 'lr' is '', wanted a number from 0 to 1000" },
    { "lr=nan", "wanted a number" },
    { "lr=inf", "wanted a number" },
    { "lr=-inf", "wanted a number" },
    { "lr=1e999", "wanted a number" },
    { "lr=0x1p-3", "wanted a number" },
    { "lr=1e", "wanted a number" },
    { "lr=1.2.3", "wanted a number" },
    { "lr=0,5", "wanted a number" },
    { "lr=1 ", NULL },
    { "lr=1f", "wanted a number" },
    { "lr=-0.0001", "wanted a number" },
    { "restart_prob=1.0000000001", "wanted a number from 0 to 1" },
    { "crop_min=0", "wanted a number from 1e-06 to 1" },
    { "beta2=1", "wanted a number from 0 to 0.9999999" },
    { "clamp=maybe", "setting 'clamp' is 'maybe', wanted on or off" },
    { "clamp=2", "wanted on or off" },
    { "clamp=", "wanted on or off" },
    { "norm=layer", "setting 'norm' is 'layer', wanted none|group|instance|auto" },
    { "norm=", "wanted none|" },
    { "norm=group|instance", "wanted none|" },
    { "norm=grou", "wanted none|" },
    { "arch=", "wanted 1 to 2047 bytes" },
    { "arch=a#b", "without #" },
    { "arch=a\001b", "'a?b'" },
    { "arch=a\177b", "control characters" },
    { "arch=\303\251", NULL },
};

TEST(errors_name_setting_value_and_range)
{
    icd_config c, before;
    icd_config_default(&c);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        before = c;
        icd_status s = set(&c, wrong[i].assignment);
        if (!wrong[i].says) {
            CHECK_EQ(s, ICD_OK);
            icd_config_default(&c);
            continue;
        }
        if (s != ICD_EINVAL)
            printf("%s was taken\n", wrong[i].assignment);
        CHECK_EQ(s, ICD_EINVAL);
        CHECK_SAYS(err.text, wrong[i].says);
        CHECK(same(&c, &before));
    }
    static char longer[6000];
    memset(longer, 'x', sizeof longer - 1);
    CHECK_EQ(icd_config_set(&c, "arch", longer, &err), ICD_EINVAL);
    CHECK_EQ(icd_config_set(&c, longer, "1", &err), ICD_EINVAL);
    memcpy(longer, "arch=", 5);
    CHECK_EQ(set(&c, longer), ICD_EINVAL);
    CHECK_SAYS(err.text, "longer than");
    longer[2047] = 0;
    CHECK_OK(icd_config_set(&c, "arch", longer, &err));
}

TEST(files)
{
    icd_config c, before;
    icd_config_default(&c);
    CHECK_OK(parse(&c, "# a run\n\n steps = 20   # fewer\r\n\tlr=0.5\nbatch = 3"));
    CHECK(c.steps == 20 && c.lr == 0.5 && c.batch == 3);
    CHECK_OK(icd_config_parse(&c, "x", "steps = 21garbage", 10, &err));      /* n counts, not a NUL */
    CHECK_EQ(c.steps, 21);
    CHECK_OK(parse(&c, ""));
    CHECK_OK(icd_config_parse(&c, "x", NULL, 0, &err));
    before = c;
    CHECK_EQ(parse(&c, "steps = 5\n\nlrr = 1\n"), ICD_EINVAL);
    CHECK_SAYS(err.text, "run.txt, line 3: unknown setting 'lrr'; did you mean 'lr'?");
    CHECK(same(&c, &before));
    CHECK_EQ(parse(&c, "steps = 5\nsteps = 5\n"), ICD_EINVAL);
    CHECK_SAYS(err.text, "run.txt, line 2: setting 'steps' was given in line 1 already");
    CHECK_EQ(parse(&c, "steps 5\n"), ICD_EINVAL);
    CHECK_SAYS(err.text, "line 1: 'steps 5' is not of the form");
    CHECK_EQ(icd_config_parse(&c, "run.txt", "lr = 1\0002\n", 9, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "NUL");
    CHECK_EQ(icd_config_parse(&c, "run.txt", "steps = x", 9, NULL), ICD_EINVAL);
}

TEST(a_file_may_start_from_a_preset)
{
    icd_config c, d, before;
    icd_config_default(&c);
    CHECK_OK(parse(&c, "preset = code-mnist\nsteps = 5\n"));
    CHECK_OK(icd_config_preset(&d, "code-mnist", &err));
    CHECK(strcmp(c.preset, "code-mnist") == 0);
    CHECK(c.steps == 5 && d.steps == 20 && c.energy_l2 == 1);
    before = c;
    CHECK_EQ(parse(&c, "steps = 5\npreset = demo\n"), ICD_EINVAL);
    CHECK_SAYS(err.text, "line 2: 'preset' sets all settings at once, so it must come first");
    CHECK_EQ(parse(&c, "preset = demmo\n"), ICD_EINVAL);
    CHECK_SAYS(err.text, "did you mean 'demo'");
    CHECK(same(&c, &before));
    CHECK_OK(parse(&c, "preset = none\n"));
    icd_config_default(&d);
    CHECK(same(&c, &d));
}

TEST(print_and_parse_is_the_identity)
{
    static const char *const values[] = { "lr=0.1", "noise=0.30000000000000004", "adam_eps=1e-30", "ema=0.9999999999999999",
        "step_size=123456.789012345", "restart_prob=-0", "seed=18446744073709551615", "iterations=999999999999999",
        "backprop_steps=all", "kl_sign=-1", "clamp=on", "norm=none", "init=data", "noise_order=before",
        "arch=full: conv F | mean | dense 1", "beta2=2.2250738585072014e-308", "beta1=4.9406564584124654e-324" };
    icd_arena a = { 0 };
    icd_config c, d;
    char *text = NULL, *again = NULL;
    CHECK_OK(icd_config_preset(&c, "code-mnist", &err));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        CHECK_OK(set(&c, values[i]));
    CHECK_OK(icd_config_print(&a, &c, &text, &err));
    CHECK_OK(icd_config_preset(&d, "gl-mnist", &err));                 /* whatever was there before */
    CHECK_OK(parse(&d, text));
    CHECK(same(&c, &d));
    CHECK_OK(icd_config_print(&a, &d, &again, &err));
    CHECK(strcmp(text, again) == 0);
    CHECK_SAYS(text, "preset = code-mnist\narch = full: conv F | mean | dense 1\n");
    CHECK_SAYS(text, "\nfilters = 64\n");
    CHECK_SAYS(text, "\nlr = 0.1\n");
    CHECK_SAYS(text, "\nnoise = 0.30000000000000004\n");
    CHECK_SAYS(text, "\nbackprop_steps = all\n");
    CHECK_SAYS(text, "\nclamp = on\n");
    CHECK_SAYS(text, "\nspectral_norm = off\n");
    CHECK_SAYS(text, "\nseed = 18446744073709551615\n");
    icd_config_default(&c);
    CHECK_OK(icd_config_print(&a, &c, &text, &err));
    CHECK_OK(parse(&d, text));                                         /* "preset = none" takes d's preset away */
    CHECK(same(&c, &d));
    icd_arena_release(&a);
}

TEST(what_no_single_setting_can_tell)
{
    static const struct { const char *set[3], *says; } cases[] = {
        { { "kl_sign=0" }, "'kl_sign' is '0', wanted 1 or -1" },
        { { "steps=3", "backprop_steps=4" }, "only steps = 3" },
        { { "steps=3", "backprop_steps=all" }, NULL },
        { { "steps=3", "backprop_steps=3" }, NULL },
        { { "batch=8", "kl_batch=9" }, NULL },
        { { "nn_set=0" }, "L_ent has no neighbours" },
        { { "nn_set=0", "w_ent=0" }, NULL },
        { { "buffer_size=99" }, "only buffer_size = 99" },
        { { "buffer_size=99", "w_ent=0" }, NULL },
        { { "buffer_size=100" }, NULL },
        { { "nn_min_buffer=10000" }, "buffer_size = 10000 can never exceed" },
        { { "nn_min_buffer=9999" }, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        icd_config c;
        icd_config_default(&c);
        for (int k = 0; k < 3 && cases[i].set[k]; k++)
            CHECK_OK(set(&c, cases[i].set[k]));
        icd_status s = icd_config_check(&c, &err);
        CHECK_EQ(s, cases[i].says ? ICD_EINVAL : ICD_OK);
        if (cases[i].says)
            CHECK_SAYS(err.text, cases[i].says);
    }
}

static const char *fruit(int i)
{
    static const char *const words[] = { "apple", "apricot", "fig", "banana" };
    return i < 4 ? words[i] : NULL;
}

TEST(nearest_words)
{
    CHECK(strcmp(icd_nearest_word("aple", fruit), "apple") == 0);
    CHECK(strcmp(icd_nearest_word("APRICOTS", fruit), "apricot") == 0);
    CHECK(strcmp(icd_nearest_word("bnaana", fruit), "banana") == 0);
    CHECK(icd_nearest_word("gif", fruit) == NULL);          /* two of three letters wrong */
    CHECK(strcmp(icd_nearest_word("ifg", fruit), "fig") == 0);
    CHECK(icd_nearest_word("cherry", fruit) == NULL);
    CHECK(icd_nearest_word("", fruit) == NULL);
    CHECK(icd_nearest_word("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", fruit) == NULL);
}

TEST(numbers_as_text)
{
    char t[ICD_REAL_TEXT], shown[ICD_SHOWN];
    icd_real_text(0.1, t);
    CHECK(strcmp(t, "0.1") == 0);
    icd_real_text(-1.7976931348623157e308, t);
    CHECK(strcmp(t, "-1.7976931348623157e+308") == 0);
    icd_real_text(500, t);
    CHECK(strcmp(t, "500") == 0);
    icd_real_text(-0.0, t);
    CHECK(strcmp(t, "-0") == 0);
    icd_real_text(1e15, t);
    CHECK(strcmp(t, "1e+15") == 0);
    CHECK(strcmp(icd_show("abc\n\xff", 5, shown), "abc??") == 0);
    static const char longer[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    CHECK(strcmp(icd_show(longer, 44, shown), "01234567890123456789012345678901234567890123") == 0);
    CHECK(strcmp(icd_show(longer, 45, shown), "01234567890123456789012345678901234567890123...") == 0);
    int64_t i = 5;
    uint64_t u = 5;
    double r = 5;
    CHECK(icd_text_int64("-9223372036854775808", &i) && i == INT64_MIN);
    CHECK(!icd_text_int64("9223372036854775808", &i) && i == INT64_MIN);
    CHECK(!icd_text_uint64("+1", &u) && !icd_text_uint64("", &u) && u == 5);
    CHECK(!icd_text_real("", &r) && !icd_text_real(" 1", &r) && !icd_text_real(".", &r) && r == 5);
}

TEST(memory_that_runs_out)
{
    icd_config c;
    icd_config_default(&c);
    int failed = 0;
    for (long n = 1; n < 5; n++) {
        icd_arena a = { 0 };
        char *text = NULL;
        icd_alloc_fail_at(n);
        icd_status s = icd_config_print(&a, &c, &text, &err);
        icd_alloc_fail_at(0);
        CHECK(s == ICD_OK ? text != NULL : s == ICD_ENOMEM && text == NULL);
        failed += s == ICD_ENOMEM;
        icd_arena_release(&a);
    }
    CHECK(failed > 0 && failed < 4);
    CHECK_EQ(icd_alloc_live(), 0);
}

TEST_MAIN("config", T(the_defaults_are_the_papers), T(each_setting_has_its_own_field), T(values_as_they_may_be_written),
          T(errors_name_setting_value_and_range), T(files), T(a_file_may_start_from_a_preset),
          T(print_and_parse_is_the_identity), T(what_no_single_setting_can_tell), T(nearest_words), T(numbers_as_text),
          T(memory_that_runs_out))
