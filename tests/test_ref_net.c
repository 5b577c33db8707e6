/* test_ref_net.c (float, double, complex): the energy of whole models against a second forward pass, written here in plain
 * loops on doubles from the tables of the papers; and that a dry tape counts what a real one takes. */
#include <stdlib.h>

#include "ref/net.h"
#include "ref_test.h"

/* One image on its way through the layers. */
typedef struct { int c, h, w; double *v; } map;

static map map_new(int c, int h, int w)
{
    map m = { c, h, w, calloc((size_t)(c * h * w), sizeof(double)) };
    return m;
}

static double *px(map m, int c, int h, int w) { return &m.v[(c * m.h + h) * m.w + w]; }

static double inside_or_0(map m, int c, int h, int w) { return h < 0 || h >= m.h || w < 0 || w >= m.w ? 0 : *px(m, c, h, w); }

/* The model under test; weight[i]: parameter i as the layers use it (standardised, divided by its norm). */
typedef struct { const icd_arch *a; double **weight; int label; } network;

static const double *par(const network *n, const icd_layer *l, icd_role r) { return l->param[r] < 0 ? NULL : n->weight[l->param[r]]; }

/* Consumes x, as everything below. */
static map conv(map x, const double *w, const double *bias, int co, int k, int s, int p)
{
    map y = map_new(co, (x.h + 2 * p - k) / s + 1, (x.w + 2 * p - k) / s + 1);
    for (int o = 0; o < co; o++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++) {
                double sum = bias ? bias[o] : 0;
                for (int c = 0; c < x.c; c++)
                    for (int u = 0; u < k; u++)
                        for (int v = 0; v < k; v++)
                            sum += w[((o * x.c + c) * k + u) * k + v] * inside_or_0(x, c, i * s + u - p, j * s + v - p);
                *px(y, o, i, j) = sum;
            }
    free(x.v);
    return y;
}

static map copy(map x)
{
    map y = map_new(x.c, x.h, x.w);
    memcpy(y.v, x.v, (size_t)(x.c * x.h * x.w) * sizeof(double));
    return y;
}

static map each_swish(map x)
{
    for (int i = 0; i < x.c * x.h * x.w; i++)
        x.v[i] = x.v[i] / (1 + exp(-x.v[i]));
    return x;
}

static map pool3(map x)
{
    map y = map_new(x.c, (x.h - 1) / 2 + 1, (x.w - 1) / 2 + 1);
    for (int c = 0; c < x.c; c++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int u = -1; u <= 1; u++)
                    for (int v = -1; v <= 1; v++)
                        *px(y, c, i, j) += inside_or_0(x, c, 2 * i + u, 2 * j + v) / 9;
    free(x.v);
    return y;
}

static map pool_max(map x)
{
    map y = map_new(x.c, x.h / 2, x.w / 2);
    for (int c = 0; c < x.c; c++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                *px(y, c, i, j) = fmax(fmax(*px(x, c, 2 * i, 2 * j), *px(x, c, 2 * i, 2 * j + 1)),
                                       fmax(*px(x, c, 2 * i + 1, 2 * j), *px(x, c, 2 * i + 1, 2 * j + 1)));
    free(x.v);
    return y;
}

static map group_normal(map x, int groups, const double *gain, const double *bias)
{
    int count = x.c / groups * x.h * x.w, plane = x.h * x.w;
    for (int g = 0; g < groups; g++) {
        double *v = x.v + g * count, mean = 0, var_ = 0;
        for (int i = 0; i < count; i++)
            mean += v[i] / count;
        for (int i = 0; i < count; i++)
            var_ += (v[i] - mean) * (v[i] - mean) / count;
        for (int i = 0; i < count; i++) {
            int c = g * (x.c / groups) + i / plane;
            v[i] = gain[c] * (v[i] - mean) / sqrt(var_ + 1e-5) + bias[c];
        }
    }
    return x;
}

/* Groups as the settings say, worked out here again. */
static map normal(const network *n, const icd_layer *l, map x, icd_role gain)
{
    const icd_model_settings *m = &n->a->model;
    int groups = m->groups < x.c ? m->groups : x.c;
    if (m->norm == ICD_NORM_INSTANCE || (m->norm == ICD_NORM_AUTO && x.c <= 128))
        groups = x.c;
    return m->norm == ICD_NORM_NONE ? x : group_normal(x, groups, par(n, l, gain), par(n, l, (icd_role)(gain + 1)));
}

static map residual(const network *n, const icd_layer *l, map x, int co)
{
    map skip = par(n, l, ICD_SKIP_WEIGHT) ? conv(copy(x), par(n, l, ICD_SKIP_WEIGHT), NULL, co, 1, 1, 0) : copy(x);
    map h = normal(n, l, conv(x, par(n, l, ICD_CONV1_WEIGHT), par(n, l, ICD_CONV1_BIAS), co, 3, 1, 1), ICD_NORM1_WEIGHT);
    for (int i = 0; i < h.c * h.h * h.w && n->a->model.classes; i++) {
        int at_class = n->label * co + i / (h.h * h.w);
        h.v[i] = h.v[i] * par(n, l, ICD_CLASS_GAIN)[at_class] + par(n, l, ICD_CLASS_BIAS)[at_class];
    }
    h = conv(each_swish(h), par(n, l, ICD_CONV2_WEIGHT), par(n, l, ICD_CONV2_BIAS), co, 3, 1, 1);
    h = each_swish(normal(n, l, h, ICD_NORM2_WEIGHT));
    for (int i = 0; i < h.c * h.h * h.w; i++)
        h.v[i] += skip.v[i];
    free(skip.v);
    return h;
}

/* y_i = sum_j softmax_j(q_i . k_j) v_j. Consumes q, k, v. */
static map attend(map q, map k, map v)
{
    int n = q.h * q.w, m = k.h * k.w;
    map y = map_new(v.c, q.h, q.w);
    for (int i = 0; i < n; i++) {
        double z = 0;
        for (int j = 0; j < m; j++) {
            double score = 0;
            for (int c = 0; c < q.c; c++)
                score += q.v[c * n + i] * k.v[c * m + j];
            z += exp(score);
            for (int c = 0; c < v.c; c++)
                y.v[c * n + i] += exp(score) * v.v[c * m + j];
        }
        for (int c = 0; c < v.c; c++)
            y.v[c * n + i] /= z;
    }
    free(q.v);
    free(k.v);
    free(v.v);
    return y;
}

static map linear(const network *n, const icd_layer *l, map x, icd_role w, int co)
{
    return conv(copy(x), par(n, l, w), par(n, l, (icd_role)(w + 1)), co, 1, 1, 0);
}

static map plus(map y, double factor, map x)
{
    for (int i = 0; i < x.c * x.h * x.w; i++)
        y.v[i] = factor * y.v[i] + x.v[i];
    free(x.v);
    return y;
}

static map layer(const network *n, const icd_layer *l, map x)
{
    map y;
    switch (l->kind) {
    case ICD_CONV:  return conv(x, par(n, l, ICD_WEIGHT), par(n, l, ICD_BIAS), l->co, l->k, l->s, l->p);
    case ICD_SWISH: return each_swish(x);
    case ICD_LRELU:
        for (int i = 0; i < x.c * x.h * x.w; i++)
            x.v[i] *= x.v[i] > 0 ? 1 : l->slope;
        return x;
    case ICD_RES:   return residual(n, l, x, l->co);
    case ICD_DOWN:
        y = conv(residual(n, l, x, l->ci), par(n, l, ICD_DOWN_WEIGHT), par(n, l, ICD_DOWN_BIAS), l->co, 3, 1, 1);
        return each_swish(pool3(y));
    case ICD_ATTN:
        y = attend(linear(n, l, x, ICD_QUERY_WEIGHT, l->ci / 8), linear(n, l, x, ICD_KEY_WEIGHT, l->ci / 8),
                   linear(n, l, x, ICD_VALUE_WEIGHT, l->ci));
        return plus(y, par(n, l, ICD_GAMMA)[0], x);
    case ICD_NONLOCAL:
        y = attend(linear(n, l, x, ICD_THETA_WEIGHT, l->ci / 2), pool_max(linear(n, l, x, ICD_PHI_WEIGHT, l->ci / 2)),
                   pool_max(linear(n, l, x, ICD_G_WEIGHT, l->ci / 2)));
        return plus(conv(y, par(n, l, ICD_OUT_WEIGHT), par(n, l, ICD_OUT_BIAS), l->ci, 1, 1, 0), 1, x);
    case ICD_MAXPOOL: return pool_max(x);
    case ICD_MEAN:
        y = map_new(x.c, 1, 1);
        for (int i = 0; i < x.c * x.h * x.w; i++)
            y.v[i / (x.h * x.w)] += x.v[i] / (x.h * x.w);
        free(x.v);
        return y;
    case ICD_FLATTEN:
        x.c *= x.h * x.w;
        x.h = x.w = 1;
        return x;
    case ICD_DENSE: return conv(x, par(n, l, ICD_WEIGHT), par(n, l, ICD_BIAS), l->co, 1, 1, 0);
    }
    return x;
}

/* Rows of w (rows, count): minus the mean, divided by unbiased sd + 1e-5. */
static void standardise(double *w, int rows, int count)
{
    for (int o = 0; o < rows; o++, w += count) {
        double mean = 0, square = 0;
        for (int i = 0; i < count; i++)
            mean += w[i] / count;
        for (int i = 0; i < count; i++)
            square += (w[i] - mean) * (w[i] - mean);
        for (int i = 0; i < count; i++)
            w[i] = (w[i] - mean) / (sqrt(square / (count - 1)) + 1e-5);
    }
}

/* w (rows, count) divided by |W v|, v after twelve power iterations from the ones. */
static void divide_by_norm(double *w, int rows, int count)
{
    double u[64], v[1024], sigma = 0;
    for (int o = 0; o < rows; o++)
        u[o] = 1;
    for (int k = 0; k < 12; k++) {
        double length = 0;
        for (int i = 0; i < count; i++) {
            v[i] = 0;
            for (int o = 0; o < rows; o++)
                v[i] += w[o * count + i] * u[o];
            length += v[i] * v[i];
        }
        sigma = 0;
        for (int o = 0; o < rows; o++) {
            u[o] = 0;
            for (int i = 0; i < count; i++)
                u[o] += w[o * count + i] * v[i] / sqrt(length);
            sigma += u[o] * u[o];
        }
    }
    for (int i = 0; i < rows * count; i++)
        w[i] /= sqrt(sigma);
}

static const struct { const char *line; icd_model_settings m; int c, h, w; } models[] = {
    { "conv 3 4 2 1 | lrelu 0.25 | flatten | dense 4 | swish | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 2, 5, 8 },
    { "conv 3 5 1 1 | swish | res 6 | res 6 | mean | dense 1", { 1, ICD_NORM_GROUP, 2, 1, 0, 1, 3 }, 1, 5, 6 },
    { "conv 4 | down 6 | down 3 | flatten | dense 1", { 1, ICD_NORM_INSTANCE, 2, 0, 0, 1, 2 }, 2, 6, 7 },
    { "conv 16 1 1 0 | attn | res 16 | mean | dense 1", { 1, ICD_NORM_AUTO, 4, 1, 0, 1, 0 }, 2, 3, 4 },
    { "conv 4 3 2 1 | nonlocal | swish | maxpool | flatten | dense 1", { 1, ICD_NORM_NONE, 1, 0, 0, 1, 0 }, 1, 9, 8 },
    { "conv 4 | res 6 | down 4 | flatten | dense 3 | dense 1", { 1, ICD_NORM_GROUP, 1, 1, 1, 1, 2 }, 2, 4, 5 },
    { "full: conv 8 | attn | swish | mean | dense 1; quarter: conv 2 | flatten | dense 1; half: conv 3 | swish | down 2 | mean | "
      "dense 1", { 1, ICD_NORM_GROUP, 3, 0, 0, 1, 0 }, 2, 9, 8 },
};
enum { MODELS = sizeof models / sizeof models[0], N = 3 };

static int is_matrix(const icd_param *p) { return p->rank == 4 || (p->rank == 2 && !strstr(p->name, "class")); }

static void check_model(int which)
{
    icd_arena arena = { 0 };
    icd_arch a;
    icd_err err;
    CHECK_OK(icd_arch_parse(&arena, models[which].line, &models[which].m, models[which].c, models[which].h, models[which].w,
                            &a, &err));
    if (test_failures)
        return;
    real *theta = calloc(a.n_values, sizeof *theta);
    draw(80 + (uint64_t)which, a.n_values, theta);
    double *weight[64], *flat = calloc(a.n_values, sizeof *flat);
    for (size_t i = 0; i < a.n_values; i++)
        flat[i] = re(theta[i] *= (real)0.5);
    for (int i = 0; i < a.n_params; i++) {
        const icd_param *p = &a.param[i];
        int rows = p->shape[0], count = (int)p->count / rows;
        weight[i] = flat + p->offset;
        if (a.model.weight_std && (strstr(p->name, "conv1.weight") || strstr(p->name, "conv2.weight")))
            standardise(weight[i], rows, count);
        if (a.model.spectral_norm && is_matrix(p))
            divide_by_norm(weight[i], rows, count);
    }
    static const int32_t labels[N] = { 1, 0, 1 };
    int d = a.c * a.h * a.w;
    tape t;
    var p[64], scale[ICD_MAX_SCALES];
    tape_init(&t, 0);
    net_leaves(&t, &a, theta, p);
    net_prepare(&t, &a, p, p);
    var x = drawn(&t, 90, (shape){ N, a.c, a.h, a.w }), E = net_energy(&t, &a, p, x, labels, scale);
    CHECK(t.status == ICD_OK && shape_same(shape_of(&t, E), (shape){ N, 1, 1, 1 }));
    for (int i = 0; i < N; i++) {
        network n = { &a, weight, labels[i] };
        double sum = 0, size = 0;
        for (int s = 0; s < a.n_scales; s++) {
            map m = map_new(a.c, a.h, a.w);
            for (int k = 0; k < d; k++)
                m.v[k] = at(&t, x, (size_t)(i * d + k));
            for (int k = 0; k < (strcmp(a.scale[s].name, "quarter") == 0 ? 2 : strcmp(a.scale[s].name, "half") == 0); k++)
                m = pool3(m);
            for (int k = 0; k < a.scale[s].n_layers; k++)
                m = layer(&n, &a.scale[s].layer[k], m);
            CHECK_EQ(m.c * m.h * m.w, 1);
            /* a dozen layers of sums of up to 200 terms, numbers up to 10 */
            CHECK_NEAR(at(&t, scale[s], (size_t)i), m.v[0], 3e3 * EPS * (1 + fabs(m.v[0])));
            sum += m.v[0];
            size += fabs(m.v[0]);
            free(m.v);
        }
        CHECK_NEAR(at(&t, E, (size_t)i), sum, 3e3 * EPS * (1 + size));
    }
    tape_release(&t);
    free(theta);
    free(flat);
    icd_arena_release(&arena);
}

TEST(energies_are_those_of_a_second_forward_pass)
{
    for (int i = 0; i < MODELS; i++) {
        check_model(i);
        if (test_failures)
            printf("in: %s\n", models[i].line);
    }
}

/* An engine reserves what a dry tape counts: it must be what a real tape takes. */
TEST(a_dry_tape_counts_what_a_real_one_takes)
{
    for (int which = 0; which < MODELS; which++) {
        icd_arena arena = { 0 };
        icd_arch a;
        icd_err err;
        CHECK_OK(icd_arch_parse(&arena, models[which].line, &models[which].m, models[which].c, models[which].h,
                                models[which].w, &a, &err));
        real *theta = calloc(a.n_values, sizeof *theta);
        draw(80, a.n_values, theta);
        static const int32_t labels[N] = { 1, 0, 1 };
        const real X[1024] = { 0 };
        size_t bytes[2], nodes[2];
        for (int dry = 0; dry <= 1; dry++) {
            tape t;
            var p[64], g[64], x;
            tape_init(&t, dry);
            net_leaves(&t, &a, dry ? NULL : theta, p);
            net_prepare(&t, &a, p, g);
            x = tape_leaf(&t, (shape){ N, a.c, a.h, a.w }, NULL);
            var E = net_energy(&t, &a, g, x, dry ? NULL : labels, NULL);
            tape_grad(&t, E, -1, 1, &x, &g[0]);
            tape_grad(&t, tape_add(&t, tape_sum(&t, g[0]), log_nearest(&t, g[0], X, 2, NULL, NULL)), -1, a.n_params, p, g);
            CHECK(t.status == ICD_OK);
            bytes[dry] = tape_bytes(&t);
            nodes[dry] = (size_t)t.n;
            if (!dry)
                CHECK(t.arena.used <= t.bytes);
            tape_release(&t);
        }
        CHECK_EQ(bytes[0], bytes[1]);
        CHECK_EQ(nodes[0], nodes[1]);
        free(theta);
        icd_arena_release(&arena);
    }
}

TEST_MAIN("ref net", T(energies_are_those_of_a_second_forward_pass), T(a_dry_tape_counts_what_a_real_one_takes))
