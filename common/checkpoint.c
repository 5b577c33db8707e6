/* checkpoint.c: models to files and back. */
#include "checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static const struct { icd_vector vector; const char *prefix; } groups[] = {
    { ICD_PARAMETERS, "" }, { ICD_EMA, "ema." }, { ICD_ADAM_M, "adam.m." }, { ICD_ADAM_V, "adam.v." }
};
enum { GROUPS = 4, MODEL_GROUPS = 2, NAME = 96 };

int icd_image_shape(const char *text, int chw[3])
{
    int end = 0, v[3];
    if (sscanf(text, "%6dx%6dx%6d%n", &v[0], &v[1], &v[2], &end) != 3 || text[end] != '\0' || v[0] < 1 || v[1] < 1 || v[2] < 1)
        return 0;
    memcpy(chw, v, sizeof v);
    return 1;
}

/* ---- reading ---- */

static void describe(const icd_tensor *t, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < t->rank && at + 24 < n; i++)
        at += (size_t)snprintf(out + at, n - at, i ? ", %zu" : "%zu", t->shape[i]);
}

static icd_status check_tensor(const icd_checkpoint *c, const icd_param *p, const icd_tensor *t, icd_err *err)
{
    int same = t->rank == p->rank;
    for (int i = 0; i < p->rank && same; i++)
        same = t->shape[i] == (size_t)p->shape[i];
    if (same && (t->dtype == ICD_F32 || t->dtype == ICD_F64))
        return ICD_OK;
    char got[128], want[128];
    icd_tensor wanted = { .rank = p->rank };
    for (int i = 0; i < p->rank; i++)
        wanted.shape[i] = (size_t)p->shape[i];
    describe(t, got, sizeof got);
    describe(&wanted, want, sizeof want);
    return icd_fail(err, ICD_EFORMAT, "%s: tensor %s: shape (%s)%s, and its architecture wants (%s) of F32 or F64", c->path,
                    t->name, got, same ? " of another type" : "", want);
}

/* Is it one that the architecture or the buffer has? */
static int is_known(const icd_checkpoint *c, const char *name)
{
    static const char *const buffer[] = { "buffer.images", "buffer.labels", "buffer.seen" };
    for (int i = 0; i < 3; i++)
        if (strcmp(name, buffer[i]) == 0)
            return 1;
    for (int g = 0; g < GROUPS; g++) {
        size_t n = strlen(groups[g].prefix);
        for (int i = 0; i < c->arch.n_params && strncmp(name, groups[g].prefix, n) == 0; i++)
            if (strcmp(name + n, c->arch.param[i].name) == 0)
                return 1;
    }
    return 0;
}

/* The parameters must be there, the other vectors in full or not at all, and no tensor that has no place. */
static icd_status check_tensors(const icd_checkpoint *c, icd_err *err)
{
    for (int g = 0; g < GROUPS; g++) {
        char name[NAME], missing[NAME] = "";
        int have = 0;
        for (int i = 0; i < c->arch.n_params; i++) {
            snprintf(name, sizeof name, "%s%s", groups[g].prefix, c->arch.param[i].name);
            const icd_tensor *t = icd_st_find(&c->file, name);
            if (t)
                ICD_TRY(check_tensor(c, &c->arch.param[i], t, err));
            else if (!missing[0])
                memcpy(missing, name, sizeof missing);
            have += t != NULL;
        }
        if (missing[0] && (have || g == 0))
            return icd_fail(err, ICD_EFORMAT, "%s: tensor %s is missing: is this a checkpoint of another architecture?",
                            c->path, missing);
    }
    for (int j = 0; j < c->file.n_tensors; j++) {
        char shown[NAME];
        if (!is_known(c, c->file.tensor[j].name))
            return icd_fail(err, ICD_EFORMAT, "%s: tensor %s is not one of this architecture's", c->path,
                            icd_quote(shown, sizeof shown, c->file.tensor[j].name, strlen(c->file.tensor[j].name)));
    }
    return ICD_OK;
}

icd_status icd_checkpoint_read(icd_arena *a, const char *path, const int fallback[3], icd_checkpoint *out, icd_err *err)
{
    icd_bytes bytes;
    icd_checkpoint *c = icd_arena_alloc(a, 1, sizeof *c);
    if (!c)
        return icd_fail(err, ICD_ENOMEM, "%s: out of memory", path);
    c->path = path;
    ICD_TRY(icd_read_file(a, path, &bytes, err));
    ICD_TRY(icd_parse_safetensors(a, path, bytes, &c->file, err));
    const char *arch = icd_st_metadata(&c->file, "icd.arch"), *config = icd_st_metadata(&c->file, "icd.config");
    const char *iteration = icd_st_metadata(&c->file, "icd.iteration"), *format = icd_st_metadata(&c->file, "icd.format");
    if (!arch || !config)
        return icd_fail(err, ICD_EFORMAT, "%s: metadata %s is missing: not a checkpoint of icd", path, arch ? "icd.config" : "icd.arch");
    if (format && strcmp(format, "1") != 0)
        return icd_fail(err, ICD_EFORMAT, "%s: metadata icd.format is '%.20s', and this program reads 1", path, format);
    if (iteration && (!icd_text_int64(iteration, &c->iteration) || c->iteration < 0))
        return icd_fail(err, ICD_EFORMAT, "%s: metadata icd.iteration is '%.20s', wanted a count", path, iteration);
    char name[1100];
    snprintf(name, sizeof name, "%s: metadata icd.config", path);
    icd_config_default(&c->config);
    ICD_TRY(icd_config_parse(&c->config, name, config, strlen(config), err));
    int chw[3];
    if (!icd_image_shape(c->config.image, chw)) {
        if (!fallback)
            return icd_fail(err, ICD_EFORMAT, "%s: its configuration does not say the images' size (image = CxHxW)", path);
        memcpy(chw, fallback, sizeof chw);
        snprintf(c->config.image, sizeof c->config.image, "%dx%dx%d", chw[0], chw[1], chw[2]);
    }
    icd_err inner = { "" };
    icd_status s = icd_arch_parse(a, arch, &c->config.model, chw[0], chw[1], chw[2], &c->arch, &inner);
    if (s != ICD_OK)
        return icd_fail(err, s, "%.400s: metadata icd.arch: %.500s", path, inner.text);
    ICD_TRY(check_tensors(c, err));
    *out = *c;
    return ICD_OK;
}

/* Also refused: what is finite in the file and not in the engine's precision. */
static icd_status load_vector(const icd_checkpoint *c, const char *prefix, int real_bytes, double *v, int *found, icd_err *err)
{
    char name[NAME];
    *found = 1;
    for (int i = 0; i < c->arch.n_params && *found; i++) {
        const icd_param *p = &c->arch.param[i];
        snprintf(name, sizeof name, "%s%s", prefix, p->name);
        const icd_tensor *t = icd_st_find(&c->file, name);
        if (!t) {
            *found = 0;
            break;
        }
        for (size_t k = 0; k < p->count; k++) {
            double value = icd_st_value(t, k);
            if (!isfinite(value) || (real_bytes == 4 && !isfinite((float)value)))
                return icd_fail(err, ICD_ENAN, "%s: tensor %s: value %zu is %g, wanted a finite number%s", c->path, name, k, value,
                                isfinite(value) ? " that a float can hold" : "");
            v[p->offset + k] = value;
        }
    }
    return ICD_OK;
}

static icd_status load_buffer(const icd_checkpoint *c, icd_buffer *b, icd_err *err)
{
    const icd_tensor *x = icd_st_find(&c->file, "buffer.images"), *l = icd_st_find(&c->file, "buffer.labels"),
                     *s = icd_st_find(&c->file, "buffer.seen");
    if (!x || !l || !s)
        return icd_fail(err, ICD_EFORMAT, "%s: it has no replay buffer, so this training cannot go on from it", c->path);
    size_t n = l->count;
    double seen = s->count == 1 ? icd_st_value(s, 0) : -1;
    icd_dtype want = b->store == ICD_STORE_FLOAT ? ICD_F32 : ICD_U8;
    if ((double)n != (seen < b->capacity ? seen : b->capacity) || x->count != n * b->d || x->dtype != want || l->dtype != ICD_I32
        || s->dtype != ICD_I64)
        return icd_fail(err, ICD_EFORMAT, "%s: its replay buffer is not one of %d samples of %zu values as %s "
                        "(buffer_size, buffer_store)", c->path, b->capacity, b->d, want == ICD_F32 ? "float" : "uint8");
    for (size_t i = 0; i < n; i++) {
        double label = icd_st_value(l, i);
        if (label < 0 || label >= (c->config.model.classes ? c->config.model.classes : 1))
            return icd_fail(err, ICD_EFORMAT, "%s: buffer.labels: value %zu is %g, beyond the classes", c->path, i, label);
        b->label[i] = (int32_t)label;
    }
    for (size_t i = 0; i < x->count; i++) {
        double v = icd_st_value(x, i);
        if (!isfinite(v))
            return icd_fail(err, ICD_ENAN, "%s: buffer.images: value %zu is not finite", c->path, i);
        if (b->store == ICD_STORE_FLOAT)
            b->f[i] = (float)v;
        else
            b->u[i] = (uint8_t)v;
    }
    b->count = (int)n;
    b->seen = (int64_t)seen;
    return ICD_OK;
}

icd_status icd_checkpoint_load(const icd_checkpoint *c, icd_engine *e, int training, icd_buffer *b, icd_err *err)
{
    double *v = icd_alloc(c->arch.n_values, sizeof *v);
    if (!v)
        return icd_fail(err, ICD_ENOMEM, "%s: out of memory for %zu parameters", c->path, c->arch.n_values);
    icd_status s = ICD_OK;
    for (int g = 0; g < (training ? GROUPS : MODEL_GROUPS) && s == ICD_OK; g++) {
        int found;
        s = load_vector(c, groups[g].prefix, e->real_bytes, v, &found, err);
        if (s == ICD_OK && !found && groups[g].vector == ICD_EMA)
            s = load_vector(c, "", e->real_bytes, v, &found, err);
        if (s == ICD_OK && !found && c->iteration > 0)
            s = icd_fail(err, ICD_EFORMAT, "%s: no %s tensors, so this training cannot go on from it", c->path, groups[g].prefix);
        if (s == ICD_OK && found)
            s = e->import(e, groups[g].vector, v, err);
    }
    icd_free(v);
    if (s == ICD_OK && b && c->iteration > 0)
        s = load_buffer(c, b, err);
    return s;
}

/* ---- writing ---- */

/* The tensors of one vector in the engine's precision; memory from a. A file that could not be read back is not written. */
static icd_status put_vector(icd_arena *a, icd_engine *e, icd_vector v, const char *prefix, icd_safetensors *out, icd_err *err)
{
    const icd_arch *arch = e->arch;
    double *d = icd_arena_alloc(a, arch->n_values, sizeof *d);
    if (!d)
        return icd_fail(err, ICD_ENOMEM, "out of memory for a checkpoint");
    ICD_TRY(e->export(e, v, d, err));
    float *f = e->real_bytes == 4 ? icd_arena_alloc(a, arch->n_values, sizeof *f) : NULL;
    if (e->real_bytes == 4 && !f)
        return icd_fail(err, ICD_ENOMEM, "out of memory for a checkpoint");
    for (size_t i = 0; i < arch->n_values && f; i++)
        f[i] = (float)d[i];
    for (int i = 0; i < arch->n_params; i++) {
        const icd_param *p = &arch->param[i];
        for (size_t k = 0; k < p->count; k++)
            if (!isfinite(d[p->offset + k]))
                return icd_fail(err, ICD_ENAN, "not saved: value %zu of %s%s is %g", k, prefix, p->name, d[p->offset + k]);
        char *name = icd_arena_alloc(a, NAME, 1);
        if (!name)
            return icd_fail(err, ICD_ENOMEM, "out of memory for a checkpoint");
        snprintf(name, NAME, "%s%s", prefix, p->name);
        icd_tensor t = { .name = name, .dtype = e->real_bytes == 4 ? ICD_F32 : ICD_F64, .rank = p->rank, .count = p->count,
                         .data = f ? (const void *)(f + p->offset) : (const void *)(d + p->offset) };
        for (int k = 0; k < p->rank; k++)
            t.shape[k] = (size_t)p->shape[k];
        out->tensor[out->n_tensors++] = t;
    }
    return ICD_OK;
}

static void put_buffer(const icd_buffer *b, const icd_arch *a, icd_safetensors *out)
{
    size_t n = (size_t)b->count;
    int raw = b->store == ICD_STORE_UINT8;
    out->tensor[out->n_tensors++] = (icd_tensor){ .name = "buffer.images", .dtype = raw ? ICD_U8 : ICD_F32, .rank = 4,
        .shape = { n, (size_t)a->c, (size_t)a->h, (size_t)a->w }, .count = n * b->d,
        .data = raw ? (const void *)b->u : (const void *)b->f };
    out->tensor[out->n_tensors++] = (icd_tensor){ .name = "buffer.labels", .dtype = ICD_I32, .rank = 1, .shape = { n },
        .count = n, .data = b->label };
    out->tensor[out->n_tensors++] = (icd_tensor){ .name = "buffer.seen", .dtype = ICD_I64, .rank = 1, .shape = { 1 },
        .count = 1, .data = &b->seen };
}

icd_status icd_checkpoint_write(const char *path, const icd_config *c, icd_engine *e, int64_t iteration, int training,
                                const icd_buffer *b, icd_err *err)
{
    icd_arena a = { 0 };
    char *config, number[32];
    icd_safetensors out = { 0 };
    icd_pair metadata[4];
    out.tensor = icd_arena_alloc(&a, (size_t)e->arch->n_params * GROUPS + 3, sizeof *out.tensor);
    icd_status s = out.tensor ? icd_config_print(&a, c, &config, err) : icd_fail(err, ICD_ENOMEM, "out of memory for a checkpoint");
    for (int g = 0; g < (training ? GROUPS : MODEL_GROUPS) && s == ICD_OK; g++)
        s = put_vector(&a, e, groups[g].vector, groups[g].prefix, &out, err);
    if (s == ICD_OK) {
        if (b)
            put_buffer(b, e->arch, &out);
        snprintf(number, sizeof number, "%lld", (long long)iteration);
        metadata[0] = (icd_pair){ "icd.format", "1" };
        metadata[1] = (icd_pair){ "icd.arch", e->arch->line };
        metadata[2] = (icd_pair){ "icd.config", config };
        metadata[3] = (icd_pair){ "icd.iteration", number };
        out.metadata = metadata;
        out.n_metadata = 4;
        s = icd_write_safetensors(path, &out, err);
    }
    icd_arena_release(&a);
    return s;
}
