/* step.c: icd step: one iteration of Algorithm 1 with every random draw given, and every intermediate written out. No
 * augmentation, no update: what an auditor compares with another implementation, number by number. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/algorithm1.h"
#include "common/formats.h"

static const char usage[] =
    "usage: icd step --model FILE --positives P.npy --start S.npy --neighbours X.npy --noise N.npy --out FILE\n"
    "                [--engine NAME] [--set key=value ...]\n"
    "  --model FILE        a checkpoint; its own parameters are used, not the EMA's\n"
    "  --positives P.npy   x+: (N,C,H,W) or (N,H,W,C), float32, or uint8 for v/255\n"
    "  --start S.npy       x_0 of the chains: as many\n"
    "  --neighbours X.npy  the set X of L_ent: (M,C,H,W)\n"
    "  --noise N.npy       standard normals (K,N,C,H,W), float32 or float64; its K is the number of steps\n"
    "  --positive-labels, --labels L.npy   classes (N) of the positives and the chains, for a model with classes\n"
    "  --out FILE          safetensors: x.0..x.K, energy.positive, energy.negative, loss.cd, loss.opt, loss.ent,\n"
    "                      nn.index, nn.distance, grad.cd.*, grad.opt.*, grad.ent.*: unweighted means over the batch\n"
    "  --engine NAME       (default ref; ref64 computes and writes doubles)\n"
    "  --set k=v ...       settings of the chain and the losses, where they should not be the model's own\n";

typedef struct { const char *model, *positives, *start, *neighbours, *noise, *positive_labels, *labels, *out, *engine; } files;

/* A rank 4 array of images, (N,C,H,W) or (N,H,W,C), as floats in x; or of rank 5, the normals (K,N,C,H,W), as doubles in
 * exact. lead: the axes before the image. */
typedef struct { int lead[2]; float *x; double *exact; } array;

static icd_status read_npy(icd_arena *a, const char *path, icd_npy *out, icd_err *err)
{
    icd_bytes bytes;
    ICD_TRY(icd_read_file(a, path, &bytes, err));
    return icd_parse_npy(path, bytes, out, err);
}

/* "(2, 1, 28)", for a message. */
static const char *shape_text(const icd_npy *npy, char out[200])
{
    size_t at = (size_t)snprintf(out, 200, "(");
    for (int i = 0; i < npy->rank; i++)
        at += (size_t)snprintf(out + at, 200 - at, i ? ", %zu" : "%zu", npy->shape[i]);
    snprintf(out + at, 200 - at, ")");
    return out;
}

static icd_status read_images(icd_arena *a, const char *path, int leads, const icd_arch *arch, array *out, icd_err *err)
{
    icd_npy npy;
    ICD_TRY(read_npy(a, path, &npy, err));
    size_t chw[3] = { (size_t)arch->c, (size_t)arch->h, (size_t)arch->w }, hwc[3] = { chw[1], chw[2], chw[0] };
    const size_t *tail = npy.shape + leads;
    int rank = npy.rank == leads + 3, first = rank && memcmp(tail, chw, sizeof chw) == 0;
    int last = rank && !first && leads == 1 && memcmp(tail, hwc, sizeof hwc) == 0;
    char there[200];
    if (!first && !last)
        return icd_fail(err, ICD_EFORMAT, "%s: shape %s, wanted (%s%d, %d, %d)", path, shape_text(&npy, there),
                        leads == 2 ? "K, N, " : "N, ", arch->c, arch->h, arch->w);
    for (int i = 0; i < leads; i++) {
        if (npy.shape[i] == 0 || npy.shape[i] > 1000000)
            return icd_fail(err, ICD_EFORMAT, "%s: axis %d has length %zu, wanted 1..1000000", path, i, npy.shape[i]);
        out->lead[i] = (int)npy.shape[i];
    }
    size_t d = chw[0] * chw[1] * chw[2];
    out->x = leads == 1 ? icd_arena_alloc(a, npy.count, sizeof *out->x) : NULL;
    out->exact = leads == 2 ? icd_arena_alloc(a, npy.count, sizeof *out->exact) : NULL;
    if (!out->x && !out->exact)
        return icd_fail(err, ICD_ENOMEM, "%s: out of memory for %zu values", path, npy.count);
    for (size_t i = 0; i < npy.count; i++) {
        size_t in = i % d, pixel = in % (chw[1] * chw[2]), channel = in / (chw[1] * chw[2]);
        double v = icd_npy_value(&npy, last ? i - in + pixel * chw[0] + channel : i);
        if (npy.type == 'u')
            v = (double)(float)(v / 255.0);
        if (!isfinite(v))
            return icd_fail(err, ICD_ENAN, "%s: value %zu is not finite", path, i);
        if (out->exact) {
            out->exact[i] = v;
            continue;
        }
        if ((double)(float)v != v)
            return icd_fail(err, ICD_EFORMAT, "%s: value %zu is %.17g, which float32 cannot hold; save it as float32", path, i, v);
        out->x[i] = (float)v;
    }
    return ICD_OK;
}

static icd_status read_labels(icd_arena *a, const char *path, const char *option, int n, int classes, int32_t **out, icd_err *err)
{
    icd_npy npy;
    *out = NULL;
    if (classes == 0)
        return path ? icd_fail(err, ICD_EINVAL, "%s: the model has no classes, so %s is not wanted", path, option) : ICD_OK;
    if (!path)
        return icd_fail(err, ICD_EINVAL, "the model has %d classes: %s is missing", classes, option);
    ICD_TRY(read_npy(a, path, &npy, err));
    char there[200];
    if (npy.rank != 1 || npy.count != (size_t)n)
        return icd_fail(err, ICD_EFORMAT, "%s: shape %s, wanted (%d), a label for each image", path, shape_text(&npy, there), n);
    *out = icd_arena_alloc(a, npy.count, sizeof **out);
    if (!*out)
        return icd_fail(err, ICD_ENOMEM, "%s: out of memory", path);
    for (int i = 0; i < n; i++) {
        double v = icd_npy_value(&npy, (size_t)i);
        if (!(v >= 0 && v < classes && v == floor(v)))
            return icd_fail(err, ICD_EFORMAT, "%s: label %d is %g, wanted 0..%d", path, i, v, classes - 1);
        (*out)[i] = (int32_t)v;
    }
    return ICD_OK;
}

/* ---- the output file ---- */

typedef struct { icd_arena *a; icd_safetensors file; int most, narrow; } output;

/* One tensor of doubles, narrowed to float for a float engine. Returns where to write, NULL when out of memory. */
static icd_status put(output *o, const char *name, int rank, const size_t *shape, double *v, icd_err *err)
{
    icd_tensor t = { .rank = rank, .count = 1, .dtype = o->narrow ? ICD_F32 : ICD_F64, .data = v };
    for (int i = 0; i < rank; i++)
        t.count *= t.shape[i] = shape[i];
    char *copy = icd_arena_alloc(o->a, strlen(name) + 1, 1);
    float *f = o->narrow ? icd_arena_alloc(o->a, t.count, sizeof *f) : NULL;
    if (!copy || (o->narrow && !f) || o->file.n_tensors == o->most)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the results");
    memcpy(copy, name, strlen(name) + 1);
    for (size_t i = 0; i < t.count && f; i++)
        f[i] = (float)v[i];
    if (f)
        t.data = f;
    t.name = copy;
    o->file.tensor[o->file.n_tensors++] = t;
    return ICD_OK;
}

static icd_status put_gradient(output *o, icd_engine *e, icd_vector v, const char *loss, icd_err *err)
{
    double *g = icd_arena_alloc(o->a, e->arch->n_values, sizeof *g);
    if (!g)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the results");
    ICD_TRY(e->export(e, v, g, err));
    for (int i = 0; i < e->arch->n_params; i++) {
        const icd_param *p = &e->arch->param[i];
        char name[96];
        size_t shape[4];
        for (int k = 0; k < p->rank; k++)
            shape[k] = (size_t)p->shape[k];
        snprintf(name, sizeof name, "grad.%s.%s", loss, p->name);
        ICD_TRY(put(o, name, p->rank, shape, g + p->offset, err));
    }
    return ICD_OK;
}

static icd_status compute(icd_arena *a, icd_engine *e, icd_config *c, const files *f, icd_err *err)
{
    const icd_arch *arch = e->arch;
    array positives = { 0 }, start = { 0 }, neighbours = { 0 }, noise = { 0 };
    ICD_TRY(read_images(a, f->positives, 1, arch, &positives, err));
    ICD_TRY(read_images(a, f->start, 1, arch, &start, err));
    ICD_TRY(read_images(a, f->neighbours, 1, arch, &neighbours, err));
    ICD_TRY(read_images(a, f->noise, 2, arch, &noise, err));
    int n = positives.lead[0], K = noise.lead[0];
    if (start.lead[0] != n || noise.lead[1] != n)
        return icd_fail(err, ICD_EINVAL, "%s has %d images, %s %d and %s noise for %d: they must be as many", f->positives, n,
                        f->start, start.lead[0], f->noise, noise.lead[1]);
    c->steps = K;
    if (icd_backprop_steps(c) > K)
        return icd_fail(err, ICD_EINVAL, "backprop_steps = %d, and %s has %d steps", c->backprop_steps, f->noise, K);
    int32_t *positive_labels, *labels;
    ICD_TRY(read_labels(a, f->positive_labels, "--positive-labels", n, c->model.classes, &positive_labels, err));
    ICD_TRY(read_labels(a, f->labels, "--labels", n, c->model.classes, &labels, err));

    size_t d = (size_t)arch->c * (size_t)arch->h * (size_t)arch->w, N = (size_t)n;
    int kl = c->kl_batch > 0 && c->kl_batch < n ? c->kl_batch : n;
    float *x = icd_arena_alloc(a, N * d, sizeof *x);
    double *energies = icd_arena_alloc(a, 3 * N, sizeof *energies), *states = icd_arena_alloc(a, (size_t)K + 1, N * d * sizeof *states);
    int32_t *index = icd_arena_alloc(a, N, sizeof *index);
    int64_t *index64 = icd_arena_alloc(a, N, sizeof *index64);
    output o = { .a = a, .most = K + 1 + 8 + 3 * arch->n_params, .narrow = e->real_bytes == 4 };
    o.file.tensor = icd_arena_alloc(a, (size_t)o.most, sizeof *o.file.tensor);
    if (!x || !energies || !states || !index || !index64 || !o.file.tensor)
        return icd_fail(err, ICD_ENOMEM, "out of memory for the results");

    icd_chain chain = icd_chain_settings(c);
    icd_chain_stats chain_stats;
    chain.n = n;
    chain.x0 = start.x;
    chain.labels = labels;
    chain.normals = noise.exact;
    chain.keep = K;
    ICD_TRY(e->chain(e, &chain, x, &chain_stats, err));
    if (!chain_stats.finite)
        return icd_fail(err, ICD_ENAN, "the chain left the finite numbers");

    icd_losses losses = icd_loss_settings(c);
    icd_loss_stats stats;
    losses.n = n;
    losses.positives = positives.x;
    losses.positive_labels = positive_labels;
    losses.n_neighbours = neighbours.lead[0];
    losses.neighbours = neighbours.x;
    losses.apart = 1;
    losses.energy_positive = energies;
    losses.energy_negative = energies + N;
    losses.nn_index = index;
    losses.nn_distance = energies + 2 * N;
    ICD_TRY(e->gradients(e, &losses, &stats, err));
    if (!stats.finite)
        return icd_fail(err, ICD_ENAN, "a loss or gradient is not finite");

    size_t shape[4] = { N, (size_t)arch->c, (size_t)arch->h, (size_t)arch->w }, few = (size_t)kl;
    for (int k = 0; k <= K; k++) {
        char name[32];
        snprintf(name, sizeof name, "x.%d", k);
        ICD_TRY(e->trajectory(e, k, states + (size_t)k * N * d, err));
        ICD_TRY(put(&o, name, 4, shape, states + (size_t)k * N * d, err));
    }
    ICD_TRY(put(&o, "energy.positive", 1, &N, energies, err));
    ICD_TRY(put(&o, "energy.negative", 1, &N, energies + N, err));
    ICD_TRY(put(&o, "nn.distance", 1, &few, energies + 2 * N, err));
    for (int i = 0; i < kl; i++)
        index64[i] = index[i];
    o.file.tensor[o.file.n_tensors++] = (icd_tensor){ .name = "nn.index", .dtype = ICD_I64, .rank = 1, .shape = { few },
                                                      .count = few, .data = index64 };
    ICD_TRY(put(&o, "loss.cd", 0, NULL, &stats.loss_cd, err));
    ICD_TRY(put(&o, "loss.opt", 0, NULL, &stats.loss_opt, err));
    ICD_TRY(put(&o, "loss.ent", 0, NULL, &stats.loss_ent, err));
    ICD_TRY(put_gradient(&o, e, ICD_GRAD_CD, "cd", err));
    ICD_TRY(put_gradient(&o, e, ICD_GRAD_OPT, "opt", err));
    ICD_TRY(put_gradient(&o, e, ICD_GRAD_ENT, "ent", err));
    ICD_TRY(icd_write_safetensors(f->out, &o.file, err));
    printf("%s: K = %d, N = %d, L_CD %.6g, L_opt %.6g, L_ent %.6g\n", f->out, K, n, stats.loss_cd, stats.loss_opt, stats.loss_ent);
    return ICD_OK;
}

/* How many positives there are, and their size, for a model file that does not say it. */
static icd_status size_of(const char *path, int nchw[4], icd_err *err)
{
    icd_arena a = { 0 };
    icd_npy npy;
    icd_status s = read_npy(&a, path, &npy, err);
    if (s == ICD_OK && npy.rank != 4)
        s = icd_fail(err, ICD_EFORMAT, "%s: %d axes, wanted 4: (N,C,H,W)", path, npy.rank);
    for (int i = 0; i < 4 && s == ICD_OK; i++)
        nchw[i] = npy.shape[i] > 0 && npy.shape[i] < 65536 ? (int)npy.shape[i] : 1;
    icd_arena_release(&a);
    return s;
}

int cli_step(int argc, char **argv)
{
    files f = { 0 };
    cli_sets sets;
    cli_model m = { 0 };
    icd_err err = { "" };
    int nchw[4];
    const cli_option options[] = { { "--model", &f.model, NULL }, { "--positives", &f.positives, NULL }, { "--start", &f.start, NULL },
        { "--neighbours", &f.neighbours, NULL }, { "--noise", &f.noise, NULL }, { "--positive-labels", &f.positive_labels, NULL },
        { "--labels", &f.labels, NULL }, { "--out", &f.out, NULL }, { "--engine", &f.engine, NULL }, { NULL, NULL, NULL } };
    cli_parse(argc, argv, usage, options, NULL, &sets);
    cli_require(f.model, "--model", usage);
    cli_require(f.positives, "--positives", usage);
    cli_require(f.start, "--start", usage);
    cli_require(f.neighbours, "--neighbours", usage);
    cli_require(f.noise, "--noise", usage);
    cli_require(f.out, "--out", usage);
    icd_status s = size_of(f.positives, nchw, &err);
    if (s == ICD_OK)
        s = cli_open_model(&m, f.model, f.engine, &sets, nchw + 1, nchw[0], &err);
    if (s == ICD_OK)
        s = compute(&m.arena, m.engine, &m.checkpoint.config, &f, &err);
    cli_close_model(&m);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
