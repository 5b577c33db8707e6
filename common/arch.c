/* arch.c: from a line of text to layers.
 *
 *   line    = scale { ";" scale }
 *   scale   = [ name ":" ] layer { "|" layer }        name = full, half, quarter
 *   layer   = word { number }
 *   C       = number | [number] "F" [ "/" number ] */
#include "arch_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "text.h"

/* The arguments of each kind of layer, in the order of the enum. */
static const struct { const char *name, *usage; int least, most; } kinds[] = {
    { "conv", "conv C [k s p]", 1, 4 }, { "swish", "swish", 0, 0 }, { "lrelu", "lrelu A", 1, 1 },
    { "res", "res C", 1, 1 },           { "down", "down C", 1, 1 }, { "attn", "attn", 0, 0 },
    { "nonlocal", "nonlocal", 0, 0 },   { "maxpool", "maxpool", 0, 0 }, { "mean", "mean", 0, 0 },
    { "flatten", "flatten", 0, 0 },     { "dense", "dense C", 1, 1 },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const char *const scale_names[ICD_MAX_SCALES] = { "full", "half", "quarter" };   /* after 0, 1, 2 pools */

const char *icd_layer_name(icd_layer_kind k) { return kinds[k].name; }

enum { MAX_WORD = 32 };

typedef struct {
    char kind;                  /* 'w' a word, or the sign itself: | ; : and 0 for the end */
    size_t at, length;          /* in the text, from 0 */
    char word[MAX_WORD + 1];    /* its beginning */
} token;

typedef struct {
    const char *text;
    size_t next;                /* where the token after `t` starts */
    token t;                    /* the token that is looked at */
    icd_err *err;
} reader;

static void advance(reader *r)
{
    const char *s = r->text;
    size_t i = r->next;
    while (icd_is_blank(s[i]))
        i++;
    size_t start = i;
    if (s[i] == '|' || s[i] == ';' || s[i] == ':') {
        r->t.kind = s[i++];
    } else if (s[i]) {
        r->t.kind = 'w';
        while (s[i] && !icd_is_blank(s[i]) && !strchr("|;:", s[i]))
            i++;
    } else {
        r->t.kind = 0;
    }
    r->t.at = start;
    r->t.length = i - start;
    r->next = i;
    size_t n = r->t.length < MAX_WORD ? r->t.length : MAX_WORD;
    memcpy(r->t.word, s + start, n);
    r->t.word[n] = 0;
}

ICD_PRINTF(2, 3) static icd_status refuse(const reader *r, const char *format, ...)
{
    char why[400], shown[ICD_SHOWN];
    va_list a;
    va_start(a, format);
    vsnprintf(why, sizeof why, format, a);
    va_end(a);
    if (r->t.kind == 0)
        return icd_fail(r->err, ICD_EINVAL, "architecture, position %zu, at its end: %s", r->t.at + 1, why);
    return icd_fail(r->err, ICD_EINVAL, "architecture, position %zu, '%s': %s", r->t.at + 1,
                    icd_show(r->text + r->t.at, r->t.length, shown), why);
}

/* Digits at *s as a number of at most 9999999, *s moved behind them; -1 where there are none or too many. */
static int digits(const char **s)
{
    int v = -1;
    while (**s >= '0' && **s <= '9') {
        v = (v < 0 ? 0 : v * 10) + (*(*s)++ - '0');
        if (v > 9999999)
            return -1;
    }
    return v;
}

static icd_status read_channels(const reader *r, int filters, int *out)
{
    const char *s = r->t.word;
    int v = *s == 'F' ? 1 : digits(&s), divisor = 1;
    int64_t channels = v;
    if (*s == 'F' && v >= 0) {
        s++;
        channels *= filters;
        if (*s == '/') {
            s++;
            divisor = digits(&s);
        }
    }
    if (v < 0 || divisor < 1 || *s || r->t.length > MAX_WORD)
        return refuse(r, "wanted channels: a number, or a multiple of the filters like F, 2F, F/2");
    if (channels % divisor != 0)
        return refuse(r, "not a whole number of channels where F = %d", filters);
    channels /= divisor;
    if (channels < 1 || channels > ICD_MAX_CHANNELS)
        return refuse(r, "%lld channels, wanted 1 to %d", (long long)channels, ICD_MAX_CHANNELS);
    *out = (int)channels;
    return ICD_OK;
}

static icd_status read_number(const reader *r, const char *what, int least, int most, int *out)
{
    const char *s = r->t.word;
    int v = digits(&s);
    if (*s || r->t.length > MAX_WORD || v < least || v > most)
        return refuse(r, "wanted the %s, a number from %d to %d", what, least, most);
    *out = v;
    return ICD_OK;
}

static const char *nth_layer(int i) { return i < KINDS ? kinds[i].name : NULL; }
static const char *nth_builtin(int i) { return icd_builtin_archs[i].name; }
static const char *nth_scale(int i) { return i < ICD_MAX_SCALES ? scale_names[i] : NULL; }

static icd_status unknown_layer(const reader *r)
{
    const char *near = icd_nearest_word(r->t.word, nth_layer);
    if (near)
        return refuse(r, "unknown layer; did you mean '%s'?", near);
    near = icd_nearest_word(r->t.word, nth_builtin);
    if (near)
        return refuse(r, "neither a layer nor a built-in architecture; did you mean '%s'?", near);
    return refuse(r, "unknown layer; layers are conv, swish, lrelu, res, down, attn, nonlocal, maxpool, mean, flatten, dense");
}

/* Argument number i of a layer. */
static icd_status read_argument(const reader *r, int i, int filters, icd_layer *l)
{
    if (l->kind == ICD_LRELU) {
        double slope;
        if (r->t.length > MAX_WORD || !icd_text_real(r->t.word, &slope) || !(slope >= 0 && slope <= 1))
            return refuse(r, "wanted the slope, a number from 0 to 1");
        l->slope = slope;
        return ICD_OK;
    }
    switch (i) {
    case 0:  return read_channels(r, filters, &l->co);
    case 1:  ICD_TRY(read_number(r, "kernel's side", 1, ICD_MAX_KERNEL, &l->k)); l->p = l->k / 2; return ICD_OK;
    case 2:  return read_number(r, "stride", 1, ICD_MAX_KERNEL, &l->s);
    default: return read_number(r, "padding (under the kernel's side)", 0, l->k - 1, &l->p);
    }
}

static icd_status read_layer(reader *r, int filters, icd_layer *l)
{
    memset(l, 0, sizeof *l);
    if (r->t.kind != 'w')
        return refuse(r, "wanted a layer");
    int kind = 0;
    while (kind < KINDS && strcmp(kinds[kind].name, r->t.word) != 0)
        kind++;
    if (kind == KINDS)
        return unknown_layer(r);
    l->kind = (icd_layer_kind)kind;
    if (l->kind == ICD_CONV)
        l->k = 3, l->s = 1, l->p = 1;
    advance(r);
    int n = 0;
    for (; r->t.kind == 'w' && n < kinds[kind].most; n++, advance(r))
        ICD_TRY(read_argument(r, n, filters, l));
    if (n < kinds[kind].least)
        return refuse(r, "wanted `%s`", kinds[kind].usage);
    if (r->t.kind == 'w')
        return refuse(r, "wanted | or ; after `%s`", kinds[kind].usage);
    return ICD_OK;
}

/* One scale and its layers. r is at its first word and is left at `;` or the end. */
static icd_status read_scale(reader *r, int filters, icd_scale *s, int *scale_at, int *layer_at)
{
    memset(s, 0, sizeof *s);
    *scale_at = (int)r->t.at + 1;
    reader ahead = *r;
    advance(&ahead);
    if (r->t.kind == 'w' && ahead.t.kind == ':') {
        while (s->pools < ICD_MAX_SCALES && strcmp(scale_names[s->pools], r->t.word) != 0)
            s->pools++;
        if (s->pools == ICD_MAX_SCALES) {
            const char *near = icd_nearest_word(r->t.word, nth_scale);
            return refuse(r, "unknown scale; wanted full, half or quarter%s%s%s", near ? " (did you mean '" : "",
                          near ? near : "", near ? "'?)" : "");
        }
        *r = ahead;
        advance(r);
    }
    snprintf(s->name, sizeof s->name, "%s", scale_names[s->pools]);
    for (;;) {
        if (s->n_layers == ICD_MAX_LAYERS)
            return refuse(r, "more than %d layers in the scale '%s'", ICD_MAX_LAYERS, s->name);
        layer_at[s->n_layers] = (int)r->t.at + 1;
        ICD_TRY(read_layer(r, filters, &s->layer[s->n_layers++]));
        if (r->t.kind != '|')
            break;
        advance(r);
    }
    return r->t.kind == ':' ? refuse(r, "wanted | or ; or the end") : ICD_OK;
}

/* Every scale of the line; with multiscale off only `full` is kept, but all are read. */
static icd_status read_scales(reader *r, icd_arch *a, icd_arch_positions *at)
{
    int seen[ICD_MAX_SCALES] = { 0 };
    advance(r);
    for (;;) {
        reader start = *r;
        icd_scale s;
        int scale_at, layer_at[ICD_MAX_LAYERS] = { 0 };
        ICD_TRY(read_scale(r, a->model.filters, &s, &scale_at, layer_at));
        if (seen[s.pools]++)
            return refuse(&start, "the scale '%s' is given twice", s.name);
        if (a->model.multiscale || s.pools == 0) {
            a->scale[a->n_scales] = s;
            at->scale[a->n_scales] = scale_at;
            memcpy(at->layer[a->n_scales++], layer_at, sizeof layer_at);
        }
        if (r->t.kind == 0)
            break;
        advance(r);
    }
    return a->n_scales ? ICD_OK : refuse(r, "multiscale is off and there is no scale 'full'");
}

/* The line as it goes into a checkpoint: numbers for F, one blank between words, every scale named. 0: too long. */
static int write_line(const icd_arch *a, char *out, size_t size)
{
    size_t n = 0;
    for (int s = 0; s < a->n_scales; s++) {
        for (int i = 0; i < a->scale[s].n_layers; i++) {
            const icd_layer *l = &a->scale[s].layer[i];
            char word[96], real[ICD_REAL_TEXT];
            const char *name = kinds[l->kind].name;
            if (l->kind == ICD_LRELU) {
                icd_real_text(l->slope, real);
                snprintf(word, sizeof word, "%s %s", name, real);
            } else if (l->kind == ICD_CONV && !(l->k == 3 && l->s == 1 && l->p == 1)) {
                snprintf(word, sizeof word, "%s %d %d %d %d", name, l->co, l->k, l->s, l->p);
            } else if (kinds[l->kind].most > 0) {
                snprintf(word, sizeof word, "%s %d", name, l->co);
            } else {
                snprintf(word, sizeof word, "%s", name);
            }
            int m = i > 0 ? snprintf(out + n, size - n, " | %s", word)
                          : snprintf(out + n, size - n, "%s%s: %s", s ? " ; " : "", a->scale[s].name, word);
            if (m < 0 || (size_t)m >= size - n)
                return 0;
            n += (size_t)m;
        }
    }
    return 1;
}

/* A built-in's line where the text is its name, blanks around it aside; else the text. */
static const char *line_of(const char *text)
{
    char name[MAX_WORD + 1];
    while (icd_is_blank(*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && icd_is_blank(text[n - 1]))
        n--;
    if (n > MAX_WORD)
        return NULL;
    memcpy(name, text, n);
    name[n] = 0;
    const icd_builtin_arch *b = icd_builtin_find(name);
    return b ? b->text : NULL;
}

icd_status icd_arch_parse(icd_arena *arena, const char *text, const icd_model_settings *m, int c, int h, int w, icd_arch *out,
                          icd_err *err)
{
    icd_arch a;
    icd_arch_positions at;
    memset(&a, 0, sizeof a);
    memset(&at, 0, sizeof at);
    if (strlen(text) >= sizeof a.line)
        return icd_fail(err, ICD_EINVAL, "architecture: %zu characters long, wanted at most %zu", strlen(text),
                        sizeof a.line - 1);
    if (m->filters < 1 || m->filters > ICD_MAX_CHANNELS || m->groups < 1 || m->groups > ICD_MAX_CHANNELS || m->classes < 0
        || m->classes > ICD_MAX_CHANNELS)
        return icd_fail(err, ICD_EINVAL, "architecture: filters = %d, groups = %d, classes = %d, wanted at most %d each",
                        m->filters, m->groups, m->classes, ICD_MAX_CHANNELS);
    if (c < 1 || h < 1 || w < 1 || c > ICD_MAX_CHANNELS || h > ICD_MAX_SIDE || w > ICD_MAX_SIDE
        || (uint64_t)c * (uint64_t)h * (uint64_t)w > ICD_MAX_VALUES)
        return icd_fail(err, ICD_EINVAL, "architecture: images of %dx%dx%d (channels, rows, columns) cannot be", c, h, w);
    a.model = *m;
    a.c = c;
    a.h = h;
    a.w = w;
    const char *builtin = line_of(text);
    reader r = { builtin ? builtin : text, 0, { 0, 0, 0, "" }, err };
    ICD_TRY(read_scales(&r, &a, &at));
    if (!write_line(&a, a.line, sizeof a.line))
        return icd_fail(err, ICD_EINVAL, "architecture: over %zu characters long with its numbers filled in",
                        sizeof a.line - 1);
    ICD_TRY(icd_arch_shapes(&a, &at, err));
    ICD_TRY(icd_arch_list_params(arena, &a, &at, err));
    *out = a;
    return ICD_OK;
}
