/* test_presets.c: every preset is whole, and says what its source says. */
#include "common/checkpoint.h"
#include "common/config.h"

#include "tests/test.h"

static icd_err err;

static icd_config preset(const char *name)
{
    icd_config c;
    icd_config_default(&c);
    CHECK_OK(icd_config_preset(&c, name, &err));
    return c;
}

TEST(each_preset_parses_checks_and_builds)
{
    for (const icd_preset *p = icd_presets; p->name; p++) {
        icd_arena a = { 0 };
        icd_arch arch;
        icd_config c = preset(p->name), d;
        char *text = NULL;
        CHECK(strcmp(c.preset, p->name) == 0);
        CHECK(strlen(p->name) < sizeof c.preset && strlen(p->about) < 110);
        CHECK_OK(icd_config_check(&c, &err));
        const icd_builtin_arch *b = icd_builtin_find(c.arch);
        int size[3] = { b ? b->c : 0, b ? b->h : 0, b ? b->w : 0 };
        CHECK(b != NULL || icd_image_shape(c.image, size));       /* `icd info PRESET` must know the image's size */
        CHECK_OK(icd_arch_parse(&a, c.arch, &c.model, size[0], size[1], size[2], &arch, &err));
        CHECK_OK(icd_config_print(&a, &c, &text, &err));
        icd_config_default(&d);
        CHECK_OK(icd_config_parse(&d, p->name, text, strlen(text), &err));
        CHECK(memcmp(&c, &d, sizeof c) == 0);
        icd_arena_release(&a);
    }
}

/* A line that repeats a default is noise, one given twice a mistake (the reader refuses it). */
TEST(a_preset_holds_only_what_differs)
{
    icd_config standard;
    icd_config_default(&standard);
    for (const icd_preset *p = icd_presets; p->name; p++) {
        for (const char *line = p->text; *line;) {
            size_t n = strcspn(line, "\n");
            icd_config c = standard;
            CHECK_OK(icd_config_parse(&c, p->name, line, n, &err));
            if (memcmp(&c, &standard, sizeof c) == 0) {
                printf("%s: %.*s is the default\n", p->name, (int)n, line);
                test_failures++;
            }
            line += n + (line[n] == '\n');
        }
        for (const icd_preset *q = icd_presets; q != p; q++)
            CHECK(strcmp(p->name, q->name) != 0);
    }
}

TEST(unknown_presets)
{
    icd_config c = preset("demo"), before = c;
    CHECK_EQ(icd_config_preset(&c, "code-mnits", &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "unknown preset 'code-mnits'; did you mean 'code-mnist'?");
    CHECK_EQ(icd_config_preset(&c, "something-else", &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "icd info presets");
    CHECK(memcmp(&c, &before, sizeof c) == 0);
}

TEST(the_papers)                                           /* [ICD:B.2] */
{
    icd_config c = preset("paper-cifar10"), d = preset("paper-celeba");
    CHECK(c.steps == 40 && c.step_size == 500 && c.noise == 0.001);
    CHECK(c.augment.crop_min == 0.02 && c.augment.flip == 0.5 && c.augment.color_strength == 1 && c.augment.blur_prob == 0);
    CHECK(d.steps == 40 && d.step_size == 1000 && d.noise == 0.001);
    CHECK(d.augment.crop_min == 0.08 && d.augment.flip == 0.5 && d.augment.color_strength == 1);
    CHECK(strcmp(c.arch, "paper-cifar10") == 0 && strcmp(d.arch, "paper-celeba") == 0);
    CHECK(c.w_opt == 1 && c.w_ent == 1 && c.ema == 0.9999 && c.nn_set == 100 && c.buffer_size == 10000);
    c = preset("paper-mnist");
    CHECK(c.w_ent == 1 && c.energy_l2 == 0 && !c.clamp && c.noise_order == ICD_NOISE_AFTER && c.augment.flip == 0);
}

TEST(the_released_code)
{
    static const char *const names[] = { "code-mnist", "code-cifar10", "code-celeba" };
    for (int i = 0; i < 3; i++) {
        icd_config c = preset(names[i]);
        CHECK(c.noise == 0.001 && c.noise_order == ICD_NOISE_BEFORE && c.clamp && c.restart_prob == 0.001);
        CHECK(c.w_opt == 1 && c.w_ent == 0.3 && c.energy_l2 == 1 && c.scale_mean && c.kl_sign == 1);
        CHECK(c.model.norm == ICD_NORM_AUTO && c.model.weight_std && c.model.groups == 32);
        CHECK(c.nn_augment && c.nn_set == 100 && c.nn_min_buffer == 1000);
        CHECK(c.buffer == ICD_RESERVOIR && c.buffer_store == ICD_STORE_UINT8 && c.buffer_size == 10000);
        CHECK(c.lr == 2e-4 && c.beta1 == 0 && c.beta2 == 0.9 && c.adam_eps == 1e-8 && c.ema == 0.99 && c.grad_clip == 0.5);
    }
    icd_config m = preset("code-mnist"), c = preset("code-cifar10");
    CHECK(m.steps == 20 && m.step_size == 100 && m.kl_batch == 32 && m.batch == 64 && m.model.filters == 64);
    CHECK(!m.model.multiscale && !icd_augment_active(&m.augment, 1, 28, 28));
    CHECK(c.steps == 40 && c.step_size == 100 && c.batch == 128 && c.kl_batch == 0 && c.model.multiscale);
    CHECK(c.augment.crop_min == 0.08 && c.augment.color_strength == 1 && c.augment.flip == 0.5);
}

TEST(gagnon_and_lajoie)                                    /* [GL:8] [GL:6.1] */
{
    icd_config c = preset("gl-mnist"), d = preset("gl-cd-mnist");
    CHECK(c.lr == 1e-4 && c.beta1 == 0 && c.beta2 == 0.999 && c.grad_clip == 0.1 && c.noise == 0.005 && c.steps == 10);
    CHECK(c.w_opt == 0 && c.w_ent == 0 && c.augment.elastic > 0 && c.init == ICD_INIT_FROM_BUFFER && c.restart_prob == 0.01);
    CHECK(c.augment.crop_min == 1 && c.augment.flip == 0 && c.augment.color_strength == 0);
    CHECK(d.init == ICD_INIT_FROM_DATA && d.restart_prob == 0.1 && !icd_augment_active(&d.augment, 1, 28, 28));
    CHECK(d.w_opt == 0 && d.w_ent == 0 && d.noise == 0.005);
}

TEST(anatomy)
{
    icd_config c = preset("toy"), d = preset("anatomy-vanilla");
    const double epsilon = 0.125 / 4;                      /* on our square */
    CHECK_EQ(c.noise, epsilon);
    CHECK_EQ(c.step_size, epsilon * epsilon / 2);
    CHECK(c.steps == 500 && c.batch == 100 && c.restart_prob == 0 && !c.clamp && c.w_opt == 0 && c.w_ent == 0);
    CHECK(d.steps == 150 && d.init == ICD_INIT_FROM_NOISE && d.batch == 100 && d.lr == 1e-4 && !d.clamp);
    CHECK_EQ(d.step_size, 0.25);                           /* x' = (x+1)/2: d/dx = d/dx' / 2, and x' moves by half */
    CHECK_EQ(d.noise, 0.01 / 2);
    CHECK_EQ(d.data_noise, 0.03 / 2);
    CHECK_EQ(d.noise * d.noise / (2 * d.step_size), 0.01 * 0.01 / 2);   /* temperature of f: U = 2f/epsilon^2 */
}

TEST_MAIN("presets", T(each_preset_parses_checks_and_builds), T(a_preset_holds_only_what_differs), T(unknown_presets),
          T(the_papers), T(the_released_code), T(gagnon_and_lajoie), T(anatomy))
