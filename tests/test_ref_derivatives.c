/* test_ref_derivatives.c (float, double, complex): derivatives of every op and block to the third order, and that the set of
 * ops is closed under differentiation. The routes and their bounds are in ref_derivatives.h. */
#include "ref_derivatives.h"

#include "ref/net.h"

#if REF_REAL == 32
enum { ORDERS_OP = 2, ORDERS_BLOCK = 2 };
#else
enum { ORDERS_OP = 3, ORDERS_BLOCK = 2 };
#endif

/* Ops whose derivative is zero wherever there is one: they alone may be without a rule. */
static const char *const without_rule[] = { "inside", "slope", "stop_gradient" };

static int has_no_rule(const char *name)
{
    for (size_t i = 0; i < sizeof without_rule / sizeof without_rule[0]; i++)
        if (strcmp(without_rule[i], name) == 0)
            return 1;
    return 0;
}

static int in_table(const op *o)
{
    for (int i = 0; ref_ops[i]; i++)
        if (ref_ops[i] == o)
            return 1;
    return 0;
}

/* Every node is a leaf or an op of the table. */
static void only_ops_of_the_table(const tape *t)
{
    for (int i = 0; i < t->n; i++) {
        const op *o = t->node[i].op;
        if (!in_table(o) && !(strcmp(o->name, "leaf") == 0 && o->inputs == 0 && !o->vjp)) {
            test_failures++;
            printf("an op that is not in ref_ops was recorded: %s\n", o->name);
        }
    }
}

/* Where a function is taken. AWAY: at least 0.2 from 0 and 1 and, in
 * windows of 2x2 on rows of four, from one another. */
typedef enum { ANY, POSITIVE, AWAY } domain;

static real *drawn_point(uint64_t seed, shape s, domain d)
{
    static const double away[] = { -0.6, 0.25, 0.75, 1.6 };
    size_t n = shape_count(s);
    real *x = icd_alloc(n, sizeof *x);
    draw(seed, n, x);
    for (size_t i = 0; i < n && d != ANY; i++)
        x[i] = (real)(d == POSITIVE ? 0.5 + fabs(re(x[i])) : away[(i + i / 4 * 2) % 4] + 0.05 * sin(re(x[i])));
    return x;
}

static void free_points(function *f)
{
    for (int i = 0; i < f->inputs; i++)
        icd_free(f->x[i]);
}

/* ---- every op ---- */

#define RECORD(name, expression) \
    static var name(tape *t, const var *in, const void *context) { (void)context; return expression; }

static const int32_t picks[] = { 3, 0, 5, 3, 1, 3 };
#define SIX ((shape){ 1, 2, 1, 3 })

RECORD(rec_add, tape_add(t, in[0], in[1]))
RECORD(rec_sub, tape_sub(t, in[0], in[1]))
RECORD(rec_mul, tape_mul(t, in[0], in[1]))
RECORD(rec_square, tape_mul(t, in[0], in[0]))
RECORD(rec_affine, tape_affine(t, in[0], -1.75, 0.5))
RECORD(rec_recip, tape_recip(t, in[0]))
RECORD(rec_sqrt, tape_sqrt(t, in[0]))
RECORD(rec_exp, tape_exp(t, in[0]))
RECORD(rec_log, tape_log(t, in[0]))
RECORD(rec_logistic, tape_logistic(t, in[0]))
RECORD(rec_clamp, tape_clamp(t, in[0], 0.0, 1.0))
RECORD(rec_inside, tape_inside(t, in[0], 0.0, 1.0))
RECORD(rec_slope, tape_slope(t, in[0], 0.25))
RECORD(rec_sum_channels, tape_sum_to(t, in[0], (shape){ 2, 1, 2, 2 }))
RECORD(rec_sum_rest, tape_sum_to(t, in[0], (shape){ 1, 3, 1, 1 }))
RECORD(rec_broadcast, tape_broadcast(t, in[0], (shape){ 2, 3, 2, 2 }))
RECORD(rec_reshape, tape_reshape(t, in[0], (shape){ 3, 1, 4, 2 }))
RECORD(rec_matmul_nn, tape_matmul(t, in[0], in[1], MATMUL_NN))
RECORD(rec_matmul_tn, tape_matmul(t, in[0], in[1], MATMUL_TN))
RECORD(rec_matmul_nt, tape_matmul(t, in[0], in[1], MATMUL_NT))
RECORD(rec_matmul_self, tape_matmul(t, in[0], in[0], MATMUL_TN))
RECORD(rec_conv, tape_conv2d(t, in[0], in[1], 1, 1))
RECORD(rec_conv_stride, tape_conv2d(t, in[0], in[1], 2, 1))
RECORD(rec_conv_bwd_x, tape_conv2d_bwd_x(t, in[0], in[1], (shape){ 2, 2, 4, 5 }, 2, 1))
RECORD(rec_conv_bwd_w, tape_conv2d_bwd_w(t, in[0], in[1], (shape){ 3, 2, 3, 3 }, 2, 1))
RECORD(rec_avgpool, tape_avgpool(t, in[0], 3, 2, 1))
RECORD(rec_avgpool_bwd, tape_avgpool_bwd(t, in[0], (shape){ 2, 2, 4, 5 }, 3, 2, 1))
RECORD(rec_gather, tape_gather(t, in[0], picks, SIX))
RECORD(rec_scatter, tape_scatter(t, in[0], picks, SIX))

static const struct {
    const char *op;
    domain d;
    int inputs;
    shape s[2];
    var (*record)(tape *t, const var *in, const void *context);
} op_cases[] = {
    { "add", ANY, 2, { { 2, 3, 2, 2 }, { 2, 3, 2, 2 } }, rec_add },
    { "add", ANY, 2, { { 2, 1, 2, 2 }, { 1, 3, 1, 2 } }, rec_add },
    { "sub", ANY, 2, { { 2, 3, 2, 2 }, { 2, 3, 2, 2 } }, rec_sub },
    { "sub", ANY, 2, { { 2, 3, 2, 1 }, { 1, 1, 1, 4 } }, rec_sub },
    { "mul", ANY, 2, { { 2, 3, 2, 2 }, { 2, 3, 2, 2 } }, rec_mul },
    { "mul", ANY, 2, { { 1, 3, 1, 1 }, { 2, 3, 2, 2 } }, rec_mul },
    { "mul", ANY, 2, { { 2, 1, 2, 1 }, { 1, 3, 2, 2 } }, rec_mul },
    { "mul", ANY, 1, { { 1, 3, 2, 2 } }, rec_square },
    { "affine", ANY, 1, { { 1, 3, 2, 2 } }, rec_affine },
    { "recip", POSITIVE, 1, { { 1, 3, 2, 2 } }, rec_recip },
    { "sqrt", POSITIVE, 1, { { 1, 3, 2, 2 } }, rec_sqrt },
    { "exp", ANY, 1, { { 1, 3, 2, 2 } }, rec_exp },
    { "log", POSITIVE, 1, { { 1, 3, 2, 2 } }, rec_log },
    { "logistic", ANY, 1, { { 1, 3, 2, 2 } }, rec_logistic },
    { "clamp", AWAY, 1, { { 1, 3, 2, 2 } }, rec_clamp },
    { "inside", AWAY, 1, { { 1, 3, 2, 2 } }, rec_inside },
    { "slope", AWAY, 1, { { 1, 3, 2, 2 } }, rec_slope },
    { "sum_to", ANY, 1, { { 2, 3, 2, 2 } }, rec_sum_channels },
    { "sum_to", ANY, 1, { { 2, 3, 2, 2 } }, rec_sum_rest },
    { "broadcast", ANY, 1, { { 2, 1, 1, 2 } }, rec_broadcast },
    { "reshape", ANY, 1, { { 2, 3, 2, 2 } }, rec_reshape },
    { "matmul", ANY, 2, { { 2, 1, 2, 3 }, { 2, 1, 3, 4 } }, rec_matmul_nn },
    { "matmul", ANY, 2, { { 1, 2, 3, 2 }, { 1, 2, 3, 4 } }, rec_matmul_tn },
    { "matmul", ANY, 2, { { 2, 1, 2, 3 }, { 2, 1, 4, 3 } }, rec_matmul_nt },
    { "matmul", ANY, 1, { { 1, 1, 3, 2 } }, rec_matmul_self },
    { "conv2d", ANY, 2, { { 2, 2, 4, 5 }, { 3, 2, 3, 3 } }, rec_conv },
    { "conv2d", ANY, 2, { { 2, 2, 4, 5 }, { 3, 2, 4, 4 } }, rec_conv_stride },
    { "conv2d_bwd_x", ANY, 2, { { 2, 3, 2, 3 }, { 3, 2, 3, 3 } }, rec_conv_bwd_x },
    { "conv2d_bwd_w", ANY, 2, { { 2, 3, 2, 3 }, { 2, 2, 4, 5 } }, rec_conv_bwd_w },
    { "avgpool", ANY, 1, { { 2, 2, 4, 5 } }, rec_avgpool },
    { "avgpool_bwd", ANY, 1, { { 2, 2, 2, 3 } }, rec_avgpool_bwd },
    { "gather", ANY, 1, { { 1, 2, 1, 3 } }, rec_gather },
    { "scatter", ANY, 1, { { 1, 2, 1, 3 } }, rec_scatter },
};
enum { OP_CASES = sizeof op_cases / sizeof op_cases[0] };

TEST(each_op_has_a_case_and_each_case_an_op)
{
    for (int i = 0; ref_ops[i]; i++) {
        int cases = strcmp(ref_ops[i]->name, "stop_gradient") == 0;      /* it has a test of its own below */
        for (int c = 0; c < OP_CASES; c++)
            cases += strcmp(ref_ops[i]->name, op_cases[c].op) == 0;
        if (cases == 0) {
            test_failures++;
            printf("op %s has no case here\n", ref_ops[i]->name);
        }
        for (int j = 0; j < i; j++)
            CHECK(strcmp(ref_ops[i]->name, ref_ops[j]->name) != 0);
    }
    for (int c = 0; c < OP_CASES; c++) {
        int ops = 0;
        for (int i = 0; ref_ops[i]; i++)
            ops += strcmp(ref_ops[i]->name, op_cases[c].op) == 0;
        if (ops != 1) {
            test_failures++;
            printf("case %s has no op\n", op_cases[c].op);
        }
    }
}

TEST(the_set_of_ops_is_closed)
{
    for (int i = 0; ref_ops[i]; i++) {
        if ((ref_ops[i]->vjp == NULL) != has_no_rule(ref_ops[i]->name)) {
            test_failures++;
            printf("op %s: a rule is missing, or one of the list of ops without has one\n", ref_ops[i]->name);
        }
        CHECK(ref_ops[i]->forward != NULL);
    }
    /* what each rule records, and what the rules of that record (the derivatives below look at longer tapes) */
    for (int c = 0; c < OP_CASES; c++) {
        tape t;
        tape_init(&t, 0);
        var in[2] = { -1, -1 }, g[2], h[2];
        for (int i = 0; i < op_cases[c].inputs; i++) {
            real *x = drawn_point(40 + (uint64_t)i, op_cases[c].s[i], op_cases[c].d);
            in[i] = tape_leaf(&t, op_cases[c].s[i], x);
            icd_free(x);
        }
        var y = op_cases[c].record(&t, in, NULL);
        CHECK(strcmp(t.node[y].op->name, op_cases[c].op) == 0);
        tape_grad(&t, y, drawn(&t, 42, shape_of(&t, y)), op_cases[c].inputs, in, g);
        only_ops_of_the_table(&t);
        for (int i = 0; i < op_cases[c].inputs; i++)
            tape_grad(&t, g[i], drawn(&t, 43, shape_of(&t, g[i])), op_cases[c].inputs, in, h);
        only_ops_of_the_table(&t);
        CHECK(t.status == ICD_OK);
        tape_release(&t);
    }
}

TEST(derivatives_of_every_op)
{
    for (int c = 0; c < OP_CASES; c++) {
        function f = { .name = op_cases[c].op, .inputs = op_cases[c].inputs, .record = op_cases[c].record,
                       .constant = has_no_rule(op_cases[c].op) };
        for (int i = 0; i < f.inputs; i++) {
            f.s[i] = op_cases[c].s[i];
            f.x[i] = drawn_point(50 + (uint64_t)i, f.s[i], op_cases[c].d);
        }
        check_derivatives(&f, ORDERS_OP, only_ops_of_the_table);
        free_points(&f);
    }
}

TEST(stop_gradient_stops)
{
    tape t;
    tape_init(&t, 0);
    var x = LEAF(&t, ((shape){ 1, 1, 1, 3 }), 2, -3, 0.5), g, h;
    var y = tape_mul(&t, tape_stop_gradient(&t, x), x);        /* Omega(x) x: derivative x, not 2 x */
    CHECK_VALUES(&t, y, 0, 4, 9, 0.25);
    tape_grad(&t, y, -1, 1, &x, &g);
    CHECK_VALUES(&t, g, 0, 2, -3, 0.5);
    tape_grad(&t, g, -1, 1, &x, &h);                           /* Omega(x) again: nothing */
    CHECK_VALUES(&t, h, 0, 0, 0, 0);
    tape_grad(&t, tape_stop_gradient(&t, tape_mul(&t, x, x)), -1, 1, &x, &g);
    CHECK_VALUES(&t, g, 0, 0, 0, 0);
    /* a value behind the stop can be differentiated by */
    var s = tape_stop_gradient(&t, x);
    tape_grad(&t, tape_mul(&t, s, s), -1, 1, &s, &g);
    CHECK_VALUES(&t, g, 0, 4, -6, 1);
    tape_release(&t);
}

TEST(gradient_by_something_in_the_middle_or_unused)
{
    tape t;
    tape_init(&t, 0);
    var x = LEAF(&t, ((shape){ 1, 1, 1, 2 }), 3, 5), other = LEAF(&t, ((shape){ 1, 1, 1, 2 }), 1, 1), g[4];
    var m = tape_mul(&t, x, x), y = tape_mul(&t, m, tape_mul(&t, m, x));        /* x^5; by m at fixed x: 2 m x */
    tape_grad(&t, y, -1, 4, (var[]){ x, m, other, y }, g);
    /* by x with m among the variables: the whole derivative all the same */
    CHECK_VALUES(&t, g[0], 0, 405, 3125);
    CHECK_VALUES(&t, g[1], 0, 54, 250);
    CHECK_VALUES(&t, g[2], 0, 0, 0);
    CHECK_VALUES(&t, g[3], 0, 1, 1);
    var after = tape_mul(&t, y, y);
    tape_grad(&t, y, -1, 1, &after, g);                                          /* later than y: zero */
    CHECK_VALUES(&t, g[0], 0, 0, 0);
    tape_release(&t);
}

/* ---- every block ---- */

static const real points[] = { 1, -2, 0.5, 3,  -1, 1, 2, -0.5,  0.25, 0.75, -3, 1.5 };        /* 3 of 4 values */

RECORD(rec_swish, swish(t, in[0]))
RECORD(rec_lrelu, leaky_relu(t, in[0], 0.25))
RECORD(rec_softmax, softmax_rows(t, in[0]))
RECORD(rec_maxpool, maxpool2(t, in[0]))
RECORD(rec_mean, tape_mean_to(t, in[0], (shape){ 2, 4, 1, 1 }))
RECORD(rec_group_norm, group_norm(t, in[0], 2, in[1], in[2]))
RECORD(rec_instance_norm, group_norm(t, in[0], 4, in[1], in[2]))
RECORD(rec_layer_norm, group_norm(t, in[0], 1, in[1], in[2]))
RECORD(rec_weight_std, weight_standardise(t, in[0]))
RECORD(rec_spectral, spectral_normalise(t, in[0]))
RECORD(rec_attention, self_attention(t, in[0], ((linear1x1){ in[1], in[2] }), ((linear1x1){ in[3], in[4] }),
                                     ((linear1x1){ in[5], in[6] }), in[7]))
RECORD(rec_non_local, non_local(t, in[0], ((linear1x1){ in[1], in[2] }), ((linear1x1){ in[3], in[4] }),
                                ((linear1x1){ in[5], in[6] }), ((linear1x1){ in[7], in[8] })))
RECORD(rec_conv_bias, conv_bias(t, in[0], in[1], in[2], 2, 2))
RECORD(rec_nearest, log_nearest(t, in[0], points, 3, NULL, NULL))

static const struct {
    const char *name;
    domain d;
    int inputs;
    shape s[9];
    var (*record)(tape *t, const var *in, const void *context);
} block_cases[] = {
    { "swish", ANY, 1, { { 2, 4, 2, 3 } }, rec_swish },
    { "leaky_relu", AWAY, 1, { { 2, 4, 2, 3 } }, rec_lrelu },
    { "softmax_rows", ANY, 1, { { 2, 1, 3, 4 } }, rec_softmax },
    { "maxpool2", AWAY, 1, { { 1, 2, 5, 4 } }, rec_maxpool },
    { "mean_to", ANY, 1, { { 2, 4, 2, 3 } }, rec_mean },
    { "group_norm of 2", ANY, 3, { { 2, 4, 2, 3 }, { 1, 4, 1, 1 }, { 1, 4, 1, 1 } }, rec_group_norm },
    { "group_norm of 1", ANY, 3, { { 2, 4, 2, 3 }, { 1, 4, 1, 1 }, { 1, 4, 1, 1 } }, rec_layer_norm },
    { "instance norm", ANY, 3, { { 2, 4, 2, 3 }, { 1, 4, 1, 1 }, { 1, 4, 1, 1 } }, rec_instance_norm },
    { "weight_standardise", ANY, 1, { { 3, 2, 3, 3 } }, rec_weight_std },
    { "spectral_normalise", ANY, 1, { { 3, 2, 2, 2 } }, rec_spectral },
    { "self_attention", ANY, 8, { { 2, 8, 2, 2 }, { 1, 8, 1, 1 }, { 1, 1, 1, 1 }, { 1, 8, 1, 1 }, { 1, 1, 1, 1 },
                                  { 8, 8, 1, 1 }, { 1, 8, 1, 1 }, { 1, 1, 1, 1 } }, rec_attention },
    { "non_local", ANY, 9, { { 2, 4, 4, 3 }, { 2, 4, 1, 1 }, { 1, 2, 1, 1 }, { 2, 4, 1, 1 }, { 1, 2, 1, 1 },
                             { 2, 4, 1, 1 }, { 1, 2, 1, 1 }, { 4, 2, 1, 1 }, { 1, 4, 1, 1 } }, rec_non_local },
    { "conv_bias", ANY, 3, { { 2, 2, 4, 5 }, { 3, 2, 5, 5 }, { 1, 3, 1, 1 } }, rec_conv_bias },
    { "log_nearest", ANY, 1, { { 3, 1, 2, 2 } }, rec_nearest },
};

TEST(derivatives_of_every_block)
{
    for (size_t c = 0; c < sizeof block_cases / sizeof block_cases[0]; c++) {
        function f = { .name = block_cases[c].name, .inputs = block_cases[c].inputs, .record = block_cases[c].record };
        for (int i = 0; i < f.inputs; i++) {
            f.s[i] = block_cases[c].s[i];
            f.x[i] = drawn_point(60 + (uint64_t)i, f.s[i], block_cases[c].d);
        }
        check_derivatives(&f, ORDERS_BLOCK, only_ops_of_the_table);
        free_points(&f);
    }
}

/* ---- whole models: derivatives by the images and by every parameter ---- */

typedef struct { const icd_arch *a; const int32_t *labels; } model;

static var record_energy(tape *t, const var *in, const void *context)
{
    const model *m = context;
    var q[MAX_INPUTS];
    net_prepare(t, m->a, in + 1, q);
    return net_energy(t, m->a, q, in[0], m->labels, NULL);
}

static const struct { const char *line; icd_model_settings m; int c, h, w; } models[] = {
    { "conv 2 | swish | mean | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 1, 4, 5 },
    { "conv 2 4 2 1 | lrelu 0.25 | flatten | dense 2 | swish | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 2, 4, 6 },
    { "res 4 | flatten | dense 1", { 1, ICD_NORM_GROUP, 2, 1, 0, 1, 3 }, 2, 3, 4 },
    { "res 2 | mean | dense 1", { 1, ICD_NORM_AUTO, 2, 0, 0, 1, 0 }, 2, 3, 3 },
    { "down 3 | flatten | dense 1", { 1, ICD_NORM_INSTANCE, 1, 1, 0, 1, 2 }, 2, 4, 3 },
    { "down 3 | swish | mean | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 1, 3, 4 },
    { "conv 8 | attn | swish | mean | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 1, 3, 3 },
    { "conv 4 | nonlocal | maxpool | flatten | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 1, 4, 5 },
    { "conv 3 | swish | res 2 | mean | dense 1", { 1, ICD_NORM_GROUP, 1, 0, 1, 1, 0 }, 1, 3, 4 },
    { "full: conv 2 | swish | down 2 | mean | dense 1; half: conv 2 | res 2 | mean | dense 1; quarter: conv 2 | swish | "
      "flatten | dense 1", { 1, ICD_NORM_INSTANCE, 1, 1, 0, 1, 0 }, 1, 7, 6 },
};

TEST(derivatives_of_whole_models)
{
    static const int32_t labels[] = { 1, 0 };
    for (size_t c = 0; c < sizeof models / sizeof models[0]; c++) {
        icd_arena arena = { 0 };
        icd_arch a;
        icd_err err;
        CHECK_OK(icd_arch_parse(&arena, models[c].line, &models[c].m, models[c].c, models[c].h, models[c].w, &a, &err));
        if (test_failures)
            return;
        model m = { &a, labels };
        function f = { .name = models[c].line, .inputs = 1 + a.n_params, .record = record_energy, .context = &m };
        CHECK(f.inputs <= MAX_INPUTS);
        tape dry;
        var p[MAX_INPUTS];
        tape_init(&dry, 1);
        net_leaves(&dry, &a, NULL, p);
        f.s[0] = (shape){ 2, a.c, a.h, a.w };
        f.x[0] = drawn_point(70, f.s[0], ANY);
        for (int i = 0; i < a.n_params; i++) {
            f.s[1 + i] = shape_of(&dry, p[i]);
            f.x[1 + i] = drawn_point(71 + (uint64_t)i, f.s[1 + i], ANY);
            for (size_t k = 0; k < a.param[i].count; k++)
                f.x[1 + i][k] *= (real)0.5;
        }
        tape_release(&dry);
        check_derivatives(&f, ORDERS_BLOCK, only_ops_of_the_table);
        free_points(&f);
        icd_arena_release(&arena);
    }
}

TEST_MAIN("ref derivatives", T(each_op_has_a_case_and_each_case_an_op), T(the_set_of_ops_is_closed),
          T(derivatives_of_every_op), T(stop_gradient_stops), T(gradient_by_something_in_the_middle_or_unused),
          T(derivatives_of_every_block), T(derivatives_of_whole_models))
