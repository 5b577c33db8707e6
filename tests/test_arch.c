/* test_arch.c: architecture lines. Parameter counts are those of the authors' nets, counted from the papers' code; work
 * is compared with figures got by another program; shapes and names are worked out by hand. */
#include "common/arch.h"

#include <stdlib.h>

#include "tests/test.h"

static icd_err err;

static icd_model_settings settings(int filters)
{
    icd_model_settings m = { .filters = filters, .norm = ICD_NORM_GROUP, .groups = 32, .multiscale = 1 };
    return m;
}

/* The parsed line or a built-in; static, so one at a time. */
static const icd_arch *parse(icd_arena *a, const char *text, const icd_model_settings *m, int c, int h, int w)
{
    static icd_arch arch;
    memset(&arch, 0, sizeof arch);
    CHECK_OK(icd_arch_parse(a, text, m, c, h, w, &arch, &err));
    return &arch;
}

static size_t values_of_scale(const icd_arch *a, const char *scale)
{
    size_t n = 0;
    for (int i = 0; i < a->n_params; i++)
        if (strncmp(a->param[i].name, scale, strlen(scale)) == 0)
            n += a->param[i].count;
    return n;
}

TEST(counts_agree_with_the_authors_nets)
{
    icd_arena a = { 0 };
    icd_model_settings m = settings(64);
    const icd_arch *r = parse(&a, "code-cifar10", &m, 3, 32, 32);
    CHECK_EQ(r->n_values, 6564196);
    CHECK_EQ(values_of_scale(r, "full."), 4859234);
    CHECK_EQ(values_of_scale(r, "half."), 1295809);
    CHECK_EQ(values_of_scale(r, "quarter."), 409153);
    CHECK_EQ(parse(&a, "code-mnist", &m, 1, 28, 28)->n_values, 3101313);
    m.filters = 32;
    CHECK_EQ(parse(&a, "toy", &m, 2, 1, 1)->n_values, 10593);
    CHECK_EQ(parse(&a, "anatomy-vanilla", &m, 3, 32, 32)->n_values, 693569);
    CHECK_EQ(parse(&a, "anatomy-nonlocal", &m, 3, 32, 32)->n_values, 628529);
    icd_arena_release(&a);
}

TEST(work_of_a_forward_pass)
{
    static const double mnist[] = { 43.6, 173.9, 694.5 };
    icd_arena a = { 0 };
    for (int i = 0; i < 3; i++) {
        icd_model_settings m = settings(16 << i);
        CHECK_NEAR(icd_arch_flops(parse(&a, "code-mnist", &m, 1, 28, 28)) / 1e6, mnist[i], 0.1);
    }
    icd_model_settings m = settings(64);
    CHECK_NEAR(icd_arch_flops(parse(&a, "code-cifar10", &m, 3, 32, 32)) / 1e6, 907.3, 0.1);
    /* By hand, layer by layer, on 4x4 = 16 pixels: res 8 -> 16 has a skip, attention has 2 channels for query and key. */
    m = settings(8);
    const icd_arch *r = parse(&a, "conv F | res 16 | attn | conv 4 2 2 0 | mean | dense 1", &m, 3, 4, 4);
    double conv = 2 * 3 * 8 * 9 * 16, res = 2 * 16 * (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16);
    double attn = 2 * 16 * (16 * 2 + 16 * 2 + 16 * 16) + 2 * 16 * 16 * (2 + 16), last = 2 * 16 * 4 * 4 * 4, dense = 2 * 4;
    CHECK_EQ(icd_arch_flops(r), conv + res + attn + last + dense);
    /* 4x4 pixels, 2x2 keys, 6 channels, 3 inside. */
    r = parse(&a, "conv 6 1 1 0 | nonlocal | mean | dense 1", &m, 1, 4, 4);
    CHECK_EQ(icd_arch_flops(r), 2 * 16 * 6 + 4 * (2 * 16 * 6 * 3) + 2 * (2 * 16 * 4 * 3) + 2 * 6);
    icd_arena_release(&a);
}

TEST(names_and_shapes_of_parameters)
{
    static const struct { const char *name; int rank, shape[4]; icd_init init; int fan_in, standardised; } want[] = {
        { "full.00.conv.weight", 4, { 16, 3, 3, 3 }, ICD_INIT_FAN_IN, 27, 0 },
        { "full.00.conv.bias", 1, { 16, 1, 1, 1 }, ICD_INIT_FAN_IN, 27, 0 },
        { "full.02.res.conv1.weight", 4, { 32, 16, 3, 3 }, ICD_INIT_FAN_IN, 144, 1 },
        { "full.02.res.conv1.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_FAN_IN, 144, 0 },
        { "full.02.res.norm1.weight", 1, { 32, 1, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "full.02.res.norm1.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "full.02.res.class.gain", 2, { 10, 32, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "full.02.res.class.bias", 2, { 10, 32, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "full.02.res.conv2.weight", 4, { 32, 32, 3, 3 }, ICD_INIT_FAN_IN, 288, 1 },
        { "full.02.res.conv2.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_FAN_IN, 288, 0 },
        { "full.02.res.norm2.weight", 1, { 32, 1, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "full.02.res.norm2.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "full.02.res.skip.weight", 4, { 32, 16, 1, 1 }, ICD_INIT_FAN_IN, 16, 0 },
        { "full.03.attn.query.weight", 4, { 4, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.query.bias", 1, { 4, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.key.weight", 4, { 4, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.key.bias", 1, { 4, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.value.weight", 4, { 32, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.value.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.03.attn.gamma", 1, { 1, 1, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "full.04.nonlocal.theta.weight", 4, { 16, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.theta.bias", 1, { 16, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.phi.weight", 4, { 16, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.phi.bias", 1, { 16, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.g.weight", 4, { 16, 32, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.g.bias", 1, { 16, 1, 1, 1 }, ICD_INIT_FAN_IN, 32, 0 },
        { "full.04.nonlocal.out.weight", 4, { 32, 16, 1, 1 }, ICD_INIT_ZERO, 16, 0 },
        { "full.04.nonlocal.out.bias", 1, { 32, 1, 1, 1 }, ICD_INIT_ZERO, 16, 0 },
        { "full.06.dense.weight", 2, { 1, 32 * 12 * 10, 1, 1 }, ICD_INIT_FAN_IN, 32 * 12 * 10, 0 },
        { "full.06.dense.bias", 1, { 1, 1, 1, 1 }, ICD_INIT_FAN_IN, 32 * 12 * 10, 0 },
        { "half.00.down.conv1.weight", 4, { 3, 3, 3, 3 }, ICD_INIT_FAN_IN, 27, 1 },
        { "half.00.down.conv1.bias", 1, { 3, 1, 1, 1 }, ICD_INIT_FAN_IN, 27, 0 },
        { "half.00.down.norm1.weight", 1, { 3, 1, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "half.00.down.norm1.bias", 1, { 3, 1, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "half.00.down.class.gain", 2, { 10, 3, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "half.00.down.class.bias", 2, { 10, 3, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "half.00.down.conv2.weight", 4, { 3, 3, 3, 3 }, ICD_INIT_FAN_IN, 27, 1 },
        { "half.00.down.conv2.bias", 1, { 3, 1, 1, 1 }, ICD_INIT_FAN_IN, 27, 0 },
        { "half.00.down.norm2.weight", 1, { 3, 1, 1, 1 }, ICD_INIT_ONE, 0, 0 },
        { "half.00.down.norm2.bias", 1, { 3, 1, 1, 1 }, ICD_INIT_ZERO, 0, 0 },
        { "half.00.down.conv.weight", 4, { 5, 3, 3, 3 }, ICD_INIT_FAN_IN, 27, 0 },
        { "half.00.down.conv.bias", 1, { 5, 1, 1, 1 }, ICD_INIT_FAN_IN, 27, 0 },
        { "half.02.dense.weight", 2, { 1, 5, 1, 1 }, ICD_INIT_FAN_IN, 5, 0 },
        { "half.02.dense.bias", 1, { 1, 1, 1, 1 }, ICD_INIT_FAN_IN, 5, 0 },
    };
    enum { N = sizeof want / sizeof want[0] };
    icd_arena a = { 0 };
    icd_model_settings m = settings(16);
    m.classes = 10;
    m.weight_std = 1;
    const icd_arch *r = parse(&a, "full: conv F | swish | res 2F | attn | nonlocal | flatten | dense 1; "
                                  "half: down 5 | mean | dense 1", &m, 3, 12, 10);
    CHECK_EQ(r->n_params, N);
    size_t offset = 0;
    for (int i = 0; i < N && i < r->n_params; i++) {
        const icd_param *p = &r->param[i];
        size_t count = 1;
        for (int d = 0; d < want[i].rank; d++)
            count *= (size_t)want[i].shape[d];
        CHECK(strcmp(p->name, want[i].name) == 0);
        CHECK_EQ(p->rank, want[i].rank);
        CHECK(memcmp(p->shape, want[i].shape, (size_t)want[i].rank * sizeof(int)) == 0);
        CHECK_EQ(p->init, want[i].init);
        if (want[i].init == ICD_INIT_FAN_IN)
            CHECK_EQ(p->fan_in, want[i].fan_in);
        CHECK_EQ(p->standardised, want[i].standardised);
        CHECK_EQ(p->count, count);
        CHECK_EQ(p->offset, offset);
        offset += count;
    }
    CHECK_EQ(r->n_values, offset);
    const icd_layer *res = &r->scale[0].layer[2];
    CHECK_EQ(res->param[ICD_CONV1_WEIGHT], 2);
    CHECK_EQ(res->param[ICD_SKIP_WEIGHT], 12);
    CHECK_EQ(res->param[ICD_WEIGHT], -1);
    CHECK_EQ(r->scale[1].layer[0].param[ICD_SKIP_WEIGHT], -1);
    CHECK_EQ(r->scale[1].layer[0].param[ICD_DOWN_BIAS], 41);
    CHECK(strcmp(r->line, "full: conv 16 | swish | res 32 | attn | nonlocal | flatten | dense 1 ; "
                          "half: down 5 | mean | dense 1") == 0);
    icd_arena_release(&a);
}

TEST(names_of_the_design_come_out)
{
    static const char *const names[] = { "full.00.conv.weight", "full.02.res.conv1.weight", "full.02.res.norm1.weight",
        "full.03.down.conv.weight", "full.06.attn.query.weight", "full.06.attn.gamma", "full.13.dense.weight",
        "half.00.conv.bias", "quarter.05.down.conv2.weight" };
    icd_arena a = { 0 };
    icd_model_settings m = settings(64);
    const icd_arch *r = parse(&a, "code-cifar10", &m, 3, 32, 32);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        int found = 0;
        for (int i = 0; i < r->n_params; i++)
            found += strcmp(r->param[i].name, names[k]) == 0;
        CHECK_EQ(found, 1);
    }
    CHECK(strcmp(r->scale[2].name, "quarter") == 0 && r->scale[2].pools == 2);
    CHECK_EQ(r->scale[2].layer[0].hi, 8);
    icd_arena_release(&a);
}

TEST(shapes_by_hand)
{
    static const int want[][6] = {    /* ci hi wi co ho wo on 3x13x10 */
        { 3, 13, 10, 4, 7, 5 },       /* conv 4 3 2 1: (13+2-3)/2+1, (10+2-3)/2+1 */
        { 4, 7, 5, 8, 4, 3 },         /* down 8: rounds up */
        { 8, 4, 3, 8, 2, 1 },         /* maxpool: rounds down */
        { 8, 2, 1, 6, 4, 3 },         /* conv 6 3 1 2: grows by 2 */
        { 6, 4, 3, 72, 1, 1 },        /* flatten */
        { 72, 1, 1, 1, 1, 1 },
    };
    icd_arena a = { 0 };
    icd_model_settings m = settings(4);
    const icd_arch *r = parse(&a, "conv F 3 2 1|down 2F|maxpool|conv 6 3 1 2|flatten|dense 1", &m, 3, 13, 10);
    CHECK_EQ(r->n_scales, 1);
    CHECK(strcmp(r->scale[0].name, "full") == 0);
    CHECK_EQ(r->scale[0].n_layers, 6);
    for (int i = 0; i < 6; i++) {
        const icd_layer *l = &r->scale[0].layer[i];
        const int got[6] = { l->ci, l->hi, l->wi, l->co, l->ho, l->wo };
        for (int k = 0; k < 6; k++)
            CHECK_EQ(got[k], want[i][k]);
    }
    CHECK(strcmp(r->line, "full: conv 4 3 2 1 | down 8 | maxpool | conv 6 3 1 2 | flatten | dense 1") == 0);
    r = parse(&a, " \t conv 4F/8 5 | lrelu 0.05 | mean | dense 1\n", &m, 1, 7, 7);   /* p = k/2, blanks of any kind */
    CHECK_EQ(r->scale[0].layer[0].co, 2);
    CHECK_EQ(r->scale[0].layer[0].p, 2);
    CHECK_EQ(r->scale[0].layer[1].slope, 0.05);
    CHECK(strcmp(r->line, "full: conv 2 5 1 2 | lrelu 0.05 | mean | dense 1") == 0);
    icd_arena_release(&a);
}

TEST(every_builtin_parses_and_its_line_parses_to_the_same)
{
    icd_arena a = { 0 };
    for (const icd_builtin_arch *b = icd_builtin_archs; b->name; b++) {
        icd_model_settings m = settings(16);
        icd_arch first = *parse(&a, b->name, &m, b->c, b->h, b->w);
        m.filters = 1;                                     /* the line has no F left */
        const icd_arch *again = parse(&a, first.line, &m, b->c, b->h, b->w);
        CHECK(strcmp(first.line, again->line) == 0);
        CHECK_EQ(first.n_params, again->n_params);
        CHECK_EQ(first.n_values, again->n_values);
        CHECK(icd_builtin_find(b->name) == b);
        CHECK(first.n_values > 0 && icd_arch_flops(&first) > 0);
    }
    CHECK(icd_builtin_find("mnist") == NULL);
    icd_arena_release(&a);
}

/* Table 5: what each block puts out, and half and quarter with the first Downs gone. */
TEST(paper_tables)
{
    static const int table5[] = { 64, 64, 64, 64, 64, 64, 128, 128, 256, 256 };
    static const int table6[] = { 64, 64, 128, 128, 256, 512, 512, 512, 512 };
    icd_arena a = { 0 };
    icd_model_settings m = settings(64);
    const icd_arch *r = parse(&a, "paper-cifar10", &m, 3, 32, 32);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(r->scale[0].layer[i].co, table5[i]);
    CHECK_EQ(r->scale[0].layer[9].ho, 2);
    CHECK_EQ(r->scale[1].n_layers, r->scale[0].n_layers - 1);
    CHECK_EQ(r->scale[1].layer[8].ho, 2);
    CHECK_EQ(r->scale[2].n_layers, r->scale[0].n_layers - 2);
    CHECK_EQ(r->scale[2].layer[7].ho, 2);
    r = parse(&a, "paper-celeba", &m, 3, 128, 128);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(r->scale[0].layer[i].co, table6[i]);
    CHECK_EQ(r->scale[0].layer[8].ho, 4);
    CHECK_EQ(r->scale[1].layer[7].ho, 4);
    CHECK_EQ(r->scale[2].layer[6].ho, 4);
    icd_arena_release(&a);
}

TEST(groups_of_the_norm)
{
    icd_model_settings m = settings(64);
    CHECK_EQ(icd_norm_groups(&m, 64), 32);
    CHECK_EQ(icd_norm_groups(&m, 20), 20);
    m.norm = ICD_NORM_INSTANCE;
    CHECK_EQ(icd_norm_groups(&m, 256), 256);
    m.norm = ICD_NORM_AUTO;
    CHECK_EQ(icd_norm_groups(&m, 128), 128);
    CHECK_EQ(icd_norm_groups(&m, 129), 32);
    m.norm = ICD_NORM_NONE;
    CHECK_EQ(icd_norm_groups(&m, 64), 0);
    icd_arena a = { 0 };
    const icd_arch *r = parse(&a, "res 4 | mean | dense 1", &m, 1, 8, 8);
    CHECK_EQ(r->scale[0].layer[0].param[ICD_NORM1_WEIGHT], -1);
    CHECK_EQ(r->n_params, 4 + 1 + 2);                      /* two convolutions, the skip, dense */
    icd_arena_release(&a);
}

TEST(multiscale_off_keeps_full)
{
    icd_arena a = { 0 };
    icd_model_settings m = settings(64);
    m.multiscale = 0;
    const icd_arch *r = parse(&a, "code-cifar10", &m, 3, 32, 32);
    CHECK_EQ(r->n_scales, 1);
    CHECK_EQ(r->n_values, 4859234);
    /* `quarter` could not be on these images, but it is not there. */
    r = parse(&a, "quarter: mean | dense 1; full: mean | dense 1", &m, 3, 1, 1);
    CHECK(strcmp(r->line, "full: mean | dense 1") == 0);
    icd_arena_release(&a);
}

/* Text, what the error must say, position first. Images are 3x16x16, F = 12, groups = 8. */
static const struct { const char *text, *position, *says; } wrong[] = {
    { "", "position 1, at its end", "wanted a layer" },
    { "   ", "position 4, at its end", "wanted a layer" },
    { "conf F | mean | dense 1", "position 1, 'conf'", "did you mean 'conv'" },
    { "code-mnits", "position 1, 'code-mnits'", "did you mean 'code-mnist'" },
    { "conv F | xyzzy | dense 1", "position 10, 'xyzzy'", "layers are conv" },
    { "Conv F", "position 1, 'Conv'", "did you mean 'conv'" },
    { "conv | mean", "position 6, '|'", "wanted `conv C [k s p]`" },
    { "mean | dense", "position 13, at its end", "wanted `dense C`" },
    { "conv 0 | mean", "position 6, '0'", "0 channels" },
    { "conv -4 | mean", "position 6, '-4'", "wanted channels" },
    { "conv 65537", "position 6, '65537'", "wanted 1 to 65536" },
    { "conv 99999999999999999999", "position 6", "wanted channels" },
    { "conv 9999999F", "position 6, '9999999F'", "119999988 channels" },
    { "conv F/5", "position 6, 'F/5'", "not a whole number of channels where F = 12" },
    { "conv F/0", "position 6, 'F/0'", "wanted channels" },
    { "conv F/", "position 6, 'F/'", "wanted channels" },
    { "conv FF", "position 6, 'FF'", "wanted channels" },
    { "conv 2f", "position 6, '2f'", "wanted channels" },
    { "conv 8 0", "position 8, '0'", "kernel" },
    { "conv 8 256", "position 8, '256'", "1 to 255" },
    { "conv 8 3 0", "position 10, '0'", "stride" },
    { "conv 8 3 1 3", "position 12, '3'", "from 0 to 2" },
    { "conv 8 3 1 1 7", "position 14, '7'", "wanted | or ;" },
    { "swish 3", "position 7, '3'", "wanted | or ;" },
    { "lrelu", "position 6, at its end", "wanted `lrelu A`" },
    { "lrelu -0.1", "position 7, '-0.1'", "slope" },
    { "lrelu nan", "position 7, 'nan'", "slope" },
    { "lrelu 0x1p-3", "position 7, '0x1p-3'", "slope" },
    { "mean |", "position 7, at its end", "wanted a layer" },
    { "mean || dense 1", "position 7, '|'", "wanted a layer" },
    { "mean | dense 1 ;", "position 17, at its end", "wanted a layer" },
    { "mean | dense 1 : swish", "position 16, ':'", "wanted | or ;" },
    { "hald: mean | dense 1", "position 1, 'hald'", "did you mean 'half'" },
    { "eighth: mean | dense 1", "position 1, 'eighth'", "wanted full, half or quarter" },
    { "full: mean | dense 1 ; mean | dense 1", "position 24, 'mean'", "'full' is given twice" },
    { "half: mean | dense 1 ; half: mean | dense 1", "position 24, 'half'", "'half' is given twice" },
    { "conv F | dense 1", "position 10, 'dense' on 12x16x16", "1x1 pixels" },
    { "conv F", "position 1, 'conv' on 3x16x16", "ends in 12x16x16, wanted 1x1x1" },
    { "mean | dense 2", "position 8, 'dense'", "ends in 2x1x1" },
    { "conv 1", "position 1", "ends in 1x16x16" },
    { "res F | mean | dense 1", "position 1, 'res'", "8 groups do not divide 12 channels" },
    { "conv 8 | down F | down 8 | mean | dense 1", "position 19, 'down'", "8 groups do not divide 12 channels" },
    { "mean | res 8", "position 8, 'res' on 3x1x1", "single value" },
    { "conv 7 | attn | mean | dense 1", "position 10, 'attn' on 7x16x16", "8 channels" },
    { "conv 7 | nonlocal | mean | dense 1", "position 10, 'nonlocal' on 7x16x16", "even" },
    { "conv 8 15 15 0 | nonlocal", "position 18, 'nonlocal' on 8x1x1", "pool" },
    { "mean | maxpool | dense 1", "position 8, 'maxpool' on 3x1x1", "pool" },
    { "conv 8 17 1 0", "position 1, 'conv' on 3x16x16", "17x17 does not fit" },
    { "maxpool|maxpool|maxpool|maxpool|maxpool", "position 33, 'maxpool' on 3x1x1", "pool" },
    { "conv 65536 | conv 65536 | mean | dense 1", "position 14, 'conv'", "parameters" },
    { "mean | dense 32768 | dense 32768 | dense 32768 | dense 1", "position 36, 'dense'", "parameters" },   /* their sum */
    { "flatten | dense 65536 | dense 65536 | dense 1", "position 25, 'dense'", "parameters" },
};

TEST(errors_name_the_position)
{
    icd_arena a = { 0 };
    icd_model_settings m = settings(12);
    m.groups = 8;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        icd_arch r;
        memset(&r, 0x5A, sizeof r);
        icd_arch before;
        memcpy(&before, &r, sizeof r);
        icd_status s = icd_arch_parse(&a, wrong[i].text, &m, 3, 16, 16, &r, &err);
        CHECK_EQ(s, ICD_EINVAL);
        CHECK_SAYS(err.text, wrong[i].position);
        CHECK_SAYS(err.text, wrong[i].says);
        CHECK(memcmp(&before, &r, sizeof r) == 0);
        CHECK_EQ(icd_arch_parse(&a, wrong[i].text, &m, 3, 16, 16, &r, NULL), ICD_EINVAL);
    }
    icd_arena_release(&a);
}

TEST(images_that_are_too_small_or_too_large)
{
    icd_arena a = { 0 };
    icd_arch r;
    icd_model_settings m = settings(16);
    CHECK_EQ(icd_arch_parse(&a, "full: mean|dense 1;quarter: mean|dense 1", &m, 3, 2, 2, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "position 20, 'quarter': images of 2x2 are too small");
    CHECK_OK(icd_arch_parse(&a, "full: mean|dense 1;quarter: mean|dense 1", &m, 3, 3, 3, &r, &err));
    CHECK_EQ(icd_arch_parse(&a, "mean|dense 1", &m, 0, 2, 2, &r, &err), ICD_EINVAL);
    CHECK_EQ(icd_arch_parse(&a, "mean|dense 1", &m, 3, 2, 65537, &r, &err), ICD_EINVAL);
    CHECK_EQ(icd_arch_parse(&a, "mean|dense 1", &m, 3, 65536, 65536, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "3x65536x65536");
    CHECK_EQ(icd_arch_parse(&a, "conv 65536 | mean|dense 1", &m, 1, 256, 256, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "an activation of over 2147483647 values");
    CHECK_EQ(icd_arch_parse(&a, "conv 8 | attn | mean|dense 1", &m, 1, 256, 256, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "an attention map of over 2147483647 values");
    CHECK_EQ(icd_arch_parse(&a, "down 8192 | mean|dense 1", &m, 1, 512, 512, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "an activation of over");
    m.filters = 0;
    CHECK_EQ(icd_arch_parse(&a, "mean|dense 1", &m, 3, 2, 2, &r, &err), ICD_EINVAL);
    m = settings(16);
    m.multiscale = 0;
    CHECK_EQ(icd_arch_parse(&a, "half: mean|dense 1", &m, 3, 8, 8, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "no scale 'full'");
    icd_arena_release(&a);
}

TEST(long_lines_and_strange_bytes)
{
    static char text[4096];
    icd_arena a = { 0 };
    icd_arch r;
    icd_model_settings m = settings(16);
    memset(text, 0, sizeof text);
    for (int i = 0; i < 64; i++)
        strcat(text, "swish|");
    strcat(text, "mean");
    CHECK_EQ(icd_arch_parse(&a, text, &m, 1, 4, 4, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "position 385, 'mean': more than 64 layers");
    memset(text, ' ', 2048);
    text[2048] = 0;
    CHECK_EQ(icd_arch_parse(&a, text, &m, 1, 4, 4, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "2048 characters long, wanted at most 2047");
    /* Short in F, too long with its numbers in. */
    m.filters = 65536;
    text[0] = 0;
    for (int s = 0; s < 3; s++) {
        strcat(text, s == 0 ? "full:" : s == 1 ? ";half:" : ";quarter:");
        for (int i = 0; i < 60; i++)
            strcat(text, i ? "|conv F 1" : "conv F 1");
    }
    CHECK(strlen(text) < 2048);
    CHECK_EQ(icd_arch_parse(&a, text, &m, 1, 4, 4, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "over 2047 characters");
    CHECK_EQ(icd_arch_parse(&a, "mean | \x01\n\xff\x7f", &m, 1, 4, 4, &r, &err), ICD_EINVAL);
    CHECK_SAYS(err.text, "position 8, '?'");
    icd_arena_release(&a);
}

TEST(first_values)
{
    icd_arena a = { 0 };
    icd_model_settings m = settings(16);
    icd_arch r = *parse(&a, "code-mnist", &m, 1, 28, 28);
    float *v = icd_arena_alloc(&a, r.n_values, sizeof *v), *w = icd_arena_alloc(&a, r.n_values, sizeof *w);
    for (int p = 0; p < r.n_params; p++) {
        const icd_param *q = &r.param[p];
        icd_param_init(&r, p, 7, v);
        if (strstr(q->name, "norm")) {
            float want = strstr(q->name, "weight") ? 1.0f : 0.0f;
            for (size_t i = 0; i < q->count; i++)
                CHECK_EQ(v[i], want);
            continue;
        }
        /* Uniform over (-b,b): bounded, and mean and variance b^2/3 within 5 standard errors. */
        double b = 1 / sqrt((double)q->fan_in), n = (double)q->count, sum = 0, squares = 0;
        for (size_t i = 0; i < q->count; i++) {
            CHECK(fabs((double)v[i]) <= b * 1.0000002);
            sum += (double)v[i];
            squares += (double)v[i] * (double)v[i];
        }
        CHECK_NEAR(sum / n, 0, 5 * b / sqrt(3 * n));
        CHECK_NEAR(squares / n, b * b / 3, 5 * b * b * sqrt(4.0 / 45 / n));
    }
    icd_param_init(&r, 0, 7, v);                            /* fan-in 9: b = 1/3; the same draws, other seeds others */
    icd_param_init(&r, 0, 7, w);
    CHECK(memcmp(v, w, r.param[0].count * sizeof *v) == 0);
    icd_param_init(&r, 0, 8, w);
    CHECK(memcmp(v, w, r.param[0].count * sizeof *v) != 0);
    icd_arena_release(&a);
}

TEST(memory_that_runs_out)
{
    icd_model_settings m = settings(16);
    int failed = 0, calls = 0;
    for (long n = 1; n < 20; n++) {
        icd_arena a = { 0 };
        icd_arch r;
        icd_alloc_fail_at(n);
        icd_status s = icd_arch_parse(&a, "code-cifar10", &m, 3, 32, 32, &r, &err);
        icd_alloc_fail_at(0);
        if (s == ICD_ENOMEM) {
            CHECK_SAYS(err.text, "no memory");
            failed++;
        } else {
            CHECK_EQ(s, ICD_OK);
        }
        calls++;
        icd_arena_release(&a);
    }
    CHECK(failed >= 1 && failed < calls);
    CHECK_EQ(icd_alloc_live(), 0);
}

TEST_MAIN("arch", T(counts_agree_with_the_authors_nets), T(work_of_a_forward_pass), T(names_and_shapes_of_parameters),
          T(names_of_the_design_come_out), T(shapes_by_hand), T(every_builtin_parses_and_its_line_parses_to_the_same),
          T(paper_tables), T(groups_of_the_norm), T(multiscale_off_keeps_full), T(errors_name_the_position),
          T(images_that_are_too_small_or_too_large), T(long_lines_and_strange_bytes), T(first_values),
          T(memory_that_runs_out))
