/* config.c: the table of settings, and reading, checking and writing them. */
#include "config.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "text.h"

/* Enums are read and written as int. */
enum { ENUMS_ARE_INTS = 1 / (sizeof(icd_norm) == sizeof(int) && sizeof(icd_noise_order) == sizeof(int)
                             && sizeof(icd_chain_init) == sizeof(int) && sizeof(icd_buffer_policy) == sizeof(int)
                             && sizeof(icd_buffer_store) == sizeof(int)) };

#define AT(field) offsetof(icd_config, field)
#define INT(name, field, min, max, word, std, about)    { name, ICD_SET_INT, AT(field), min, max, word, std, about, 0 }
#define REAL(name, field, min, max, std, about)         { name, ICD_SET_REAL, AT(field), min, max, NULL, std, about, 0 }
#define BOOL(name, field, std, about)                   { name, ICD_SET_BOOL, AT(field), 0, 1, NULL, std, about, 0 }
#define CHOICE(name, field, words, std, about)          { name, ICD_SET_CHOICE, AT(field), 0, 0, words, std, about, 0 }

/* The defaults are the paper's CIFAR-10 run; where the paper is silent they are the released code's, or ours. */
const icd_setting icd_settings[] = {
    /* the model */
    { "arch", ICD_SET_TEXT, AT(arch), 1, sizeof((icd_config *)0)->arch - 1, NULL, "paper-cifar10",
      "the architecture: a built-in's name or a line of layers [ICD:B.1]", 1 },
    { "image", ICD_SET_TEXT, AT(image), 1, sizeof((icd_config *)0)->image - 1, NULL, "auto",
      "channels, rows and columns of an image, as 3x32x32; auto: the data's, or the built-in architecture's", 1 },
    { "data", ICD_SET_TEXT, AT(data), 1, sizeof((icd_config *)0)->data - 1, NULL, "none",
      "the training data, as after --data", 0 },
    { "filters", ICD_SET_INT, AT(model.filters), 1, 65536, NULL, "64", "channels that F stands for in the architecture", 1 },
    { "norm", ICD_SET_CHOICE, AT(model.norm), 0, 0, "none|group|instance|auto", "group",
      "the norm in res and down; auto: instance up to 128 channels, group above [ICD:B.1]", 1 },
    { "groups", ICD_SET_INT, AT(model.groups), 1, 65536, NULL, "32", "groups of the group norm, at most one a channel", 1 },
    { "weight_std", ICD_SET_BOOL, AT(model.weight_std), 0, 1, NULL, "off",
      "standardise the weights of the 3x3 convolutions in res and down", 1 },
    { "spectral_norm", ICD_SET_BOOL, AT(model.spectral_norm), 0, 1, NULL, "off",
      "divide each weight by its largest singular value; the paper removed it [ICD:3.1]", 1 },
    { "multiscale", ICD_SET_BOOL, AT(model.multiscale), 0, 1, NULL, "on",
      "sum the energies of all scales; off: the scale `full` alone [ICD:2.4]", 1 },
    { "classes", ICD_SET_INT, AT(model.classes), 0, 65536, NULL, "0",
      "gain and bias for each of so many classes; 0: an unconditional model", 1 },
    /* the chain */
    INT("steps", steps, 1, 1e6, NULL, "40", "K, Langevin steps of a chain [ICD:B.2]"),
    REAL("step_size", step_size, 0, 1e9, "500", "lambda, the step along the gradient [ICD:B.2]"),
    REAL("noise", noise, 0, 1e6, "0.001", "sigma, the noise of a step [ICD:B.2]"),
    CHOICE("noise_order", noise_order, "after|before", "after", "noise after the gradient step (paper) or before it (code)"),
    BOOL("clamp", clamp, "off", "clamp each state to [0,1]; the paper has no clamp, the code has"),
    CHOICE("init", init, "buffer|data|noise", "buffer",
           "where chains start: the replay buffer, data (true CD), uniform noise"),
    REAL("restart_prob", restart_prob, 0, 1, "0.01",
         "chance that a chain starts afresh; 0.01 in Algorithm 1, 0.001 in 3.1 and the code [ICD:alg1.5]"),
    /* the losses */
    REAL("w_opt", w_opt, 0, 1e6, "1", "weight of L_opt [ICD:6]"),
    REAL("w_ent", w_ent, 0, 1e6, "1", "weight of L_ent [ICD:8]"),
    REAL("energy_l2", energy_l2, 0, 1e6, "0", "weight of <E(x+)^2 + E(x-)^2>; not in the paper, 1 in the code"),
    INT("kl_sign", kl_sign, -1, 1, NULL, "1", "1: the paper's L_KL; -1: the sign of ICD (2), G&L's right KL [GL:5.4]"),
    INT("kl_batch", kl_batch, 0, 1e6, NULL, "0", "L_KL over the first so many chains of a batch; 0: over all"),
    INT("backprop_steps", backprop_steps, 0, 1e6, "all", "1",
        "Langevin steps that L_KL is differentiated through; all: the whole chain [ICD:D.2]"),
    BOOL("scale_mean", scale_mean, "off", "the losses average the scales' energies (code) instead of summing them"),
    /* the buffer */
    INT("nn_set", nn_set, 0, 1e6, NULL, "100", "past samples among which L_ent finds the nearest neighbour [ICD:2.2]"),
    BOOL("nn_augment", nn_augment, "off", "augment those samples (code)"),
    INT("nn_min_buffer", nn_min_buffer, 0, 1e9, NULL, "0", "L_ent waits until the buffer holds more samples than this"),
    CHOICE("buffer", buffer, "fifo|reservoir", "fifo", "what a full buffer keeps: the newest (paper), or all alike (code)"),
    INT("buffer_size", buffer_size, 1, 1e9, NULL, "10000", "samples that the buffer holds [ICD:3.1]"),
    CHOICE("buffer_store", buffer_store, "float|uint8", "float", "how it holds them; uint8 takes a quarter of the memory"),
    /* transitions */
    REAL("crop_min", augment.crop_min, 1e-6, 1, "0.02", "least area of the random resized crop; 1: none [ICD:B.2]"),
    REAL("flip", augment.flip, 0, 1, "0.5", "chance of a horizontal flip [ICD:B.2]"),
    REAL("color_strength", augment.color_strength, 0, 1, "1", "strength of the colour change; 0: none [ICD:B.2]"),
    REAL("blur_prob", augment.blur_prob, 0, 1, "0", "chance of a Gaussian blur: in ICD 2.3, not in its B.2 [ICD:2.3]"),
    REAL("elastic", augment.elastic, 0, 1e3, "0", "elastic deformation, pixels; 0: none [GL:6.3]"),
    REAL("data_noise", data_noise, 0, 1e6, "0", "noise added to the positives (Anatomy)"),
    /* training */
    INT("batch", batch, 1, 1e6, NULL, "128", "positives and chains of an iteration"),
    { "iterations", ICD_SET_INT64, AT(iterations), 1, 1e15, NULL, "100000", "iterations of a run", 0 },
    REAL("lr", lr, 0, 1e3, "0.0002", "Adam's learning rate (code; none in the paper)"),
    REAL("beta1", beta1, 0, 0.9999999, "0", "Adam's decay of the first moment (code)"),
    REAL("beta2", beta2, 0, 0.9999999, "0.9", "Adam's decay of the second moment (code)"),
    REAL("adam_eps", adam_eps, 1e-30, 1, "1e-08", "Adam's epsilon (code)"),
    REAL("grad_clip", grad_clip, 0, 1e9, "0", "largest L2 norm of the gradient; 0: off (paper)"),
    REAL("ema", ema, 0, 1, "0.9999", "decay of the parameters' moving average; 0: none [ICD:3.1]"),
    { "seed", ICD_SET_UINT64, AT(seed), 0, 0, NULL, "0", "every random draw is a function of it", 0 },
    INT("threads", threads, 0, 1024, NULL, "0", "0: as many as the machine has; no result depends on it"),
    INT("memory", memory, 0, 1e6, NULL, "0", "MiB that one thread's work may take; 0: 1024, and 4096 on a device"),
    CHOICE("winograd", winograd, "auto|2|off", "auto", "Winograd's convolutions: tiles up to 4x4 (auto), up to 2x2, none"),
    /* what a run writes */
    INT("sample_every", sample_every, 0, 1e9, NULL, "100", "iterations between sample grids; 0: none"),
    INT("checkpoint_every", checkpoint_every, 0, 1e9, NULL, "100", "iterations between checkpoints; 0: only at the end"),
    /* Algorithm 2 */
    INT("sample_rounds", sample_rounds, 1, 1e6, NULL, "10", "N, rounds of augmentation and chain when sampling [ICD:alg2]"),
    INT("sample_steps", sample_steps, 1, 1e6, NULL, "20", "K, Langevin steps of a round when sampling [ICD:2.3]"),
    { NULL, ICD_SET_INT, 0, 0, 0, NULL, NULL, NULL, 0 }
};

static const char *nth_setting(int i) { return icd_settings[i].name; }
static const char *nth_preset(int i) { return icd_presets[i].name; }

static const icd_setting *find(const char *name)
{
    for (const icd_setting *s = icd_settings; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

/* ---- values ---- */

static void put(icd_config *c, const icd_setting *s, const void *v, size_t n) { memcpy((char *)c + s->offset, v, n); }
static void get(const icd_config *c, const icd_setting *s, void *v, size_t n)
{
    memcpy(v, (const char *)c + s->offset, n);
}

/* Word number i of "after|before": its length, 0 behind the last. */
static size_t choice(const char *choices, int i, const char **word)
{
    for (; i > 0 && *choices; i--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    *word = choices;
    return strcspn(choices, "|");
}

static const char *const yes[] = { "on", "true", "yes", "1" }, *const no[] = { "off", "false", "no", "0" };

static int is_one_of(const char *word, const char *const list[4])
{
    for (int i = 0; i < 4; i++)
        if (icd_same_word(word, list[i]))
            return 1;
    return 0;
}

static icd_status bad(const icd_setting *s, const char *value, icd_err *err)
{
    char shown[ICD_SHOWN], least[ICD_REAL_TEXT], most[ICD_REAL_TEXT];
    icd_show(value, strlen(value), shown);
    icd_real_text(s->min, least);
    icd_real_text(s->max, most);
    switch (s->type) {
    case ICD_SET_INT:
        if (s->choices)
            return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted '%s' or a whole number from %.0f to %.0f", s->name,
                            shown, s->choices, s->min + 1, s->max);
        /* fall through */
    case ICD_SET_INT64:
        return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted a whole number from %.0f to %.0f", s->name, shown,
                        s->min, s->max);
    case ICD_SET_UINT64:
        return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted a whole number from 0 to 18446744073709551615",
                        s->name, shown);
    case ICD_SET_REAL:
        return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted a number from %s to %s", s->name, shown, least, most);
    case ICD_SET_BOOL:
        return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted on or off", s->name, shown);
    case ICD_SET_CHOICE:
        return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted %s", s->name, shown, s->choices);
    case ICD_SET_TEXT:
        break;
    }
    return icd_fail(err, ICD_EINVAL, "setting '%s' is '%s', wanted %.0f to %.0f bytes without # or control characters", s->name,
                    shown, s->min, s->max);
}

static icd_status set_text(icd_config *c, const icd_setting *s, const char *value, icd_err *err)
{
    size_t n = strlen(value);
    if (n < (size_t)s->min || n > (size_t)s->max)
        return bad(s, value, err);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 127 || value[i] == '#')        /* UTF-8 is welcome */
            return bad(s, value, err);
    put(c, s, value, n + 1);
    return ICD_OK;
}

static icd_status set_value(icd_config *c, const icd_setting *s, const char *value, icd_err *err)
{
    int64_t i = 0;
    uint64_t u = 0;
    double r = 0;
    int v = 0;
    switch (s->type) {
    case ICD_SET_INT:
        if (s->choices && strcmp(value, s->choices) == 0)
            i = (int64_t)s->min;
        else if (!icd_text_int64(value, &i) || (double)i < s->min + (s->choices ? 1 : 0) || (double)i > s->max)
            return bad(s, value, err);
        v = (int)i;
        put(c, s, &v, sizeof v);
        return ICD_OK;
    case ICD_SET_INT64:
        if (!icd_text_int64(value, &i) || (double)i < s->min || (double)i > s->max)
            return bad(s, value, err);
        put(c, s, &i, sizeof i);
        return ICD_OK;
    case ICD_SET_UINT64:
        if (!icd_text_uint64(value, &u))
            return bad(s, value, err);
        put(c, s, &u, sizeof u);
        return ICD_OK;
    case ICD_SET_REAL:
        if (!icd_text_real(value, &r) || !(r >= s->min && r <= s->max))
            return bad(s, value, err);
        put(c, s, &r, sizeof r);
        return ICD_OK;
    case ICD_SET_BOOL:
        v = is_one_of(value, yes);
        if (!v && !is_one_of(value, no))
            return bad(s, value, err);
        put(c, s, &v, sizeof v);
        return ICD_OK;
    case ICD_SET_CHOICE:
        for (const char *word;; v++) {
            size_t n = choice(s->choices, v, &word);
            if (n == 0)
                return bad(s, value, err);
            if (strlen(value) == n && memcmp(value, word, n) == 0)
                break;
        }
        put(c, s, &v, sizeof v);
        return ICD_OK;
    case ICD_SET_TEXT:
        return set_text(c, s, value, err);
    }
    return bad(s, value, err);
}

/* The value as text: the text itself for ICD_SET_TEXT, else into out. */
enum { VALUE_TEXT = 64 };
static const char *value_text(const icd_config *c, const icd_setting *s, char out[VALUE_TEXT])
{
    int v = 0;
    int64_t i = 0;
    uint64_t u = 0;
    double r = 0;
    const char *word;
    size_t n;
    switch (s->type) {
    case ICD_SET_INT:
        get(c, s, &v, sizeof v);
        if (s->choices && v == (int)s->min)
            return s->choices;
        snprintf(out, VALUE_TEXT, "%d", v);
        return out;
    case ICD_SET_INT64:
        get(c, s, &i, sizeof i);
        snprintf(out, VALUE_TEXT, "%lld", (long long)i);
        return out;
    case ICD_SET_UINT64:
        get(c, s, &u, sizeof u);
        snprintf(out, VALUE_TEXT, "%llu", (unsigned long long)u);
        return out;
    case ICD_SET_REAL:
        get(c, s, &r, sizeof r);
        icd_real_text(r, out);
        return out;
    case ICD_SET_BOOL:
        get(c, s, &v, sizeof v);
        return v ? "on" : "off";
    case ICD_SET_CHOICE:
        get(c, s, &v, sizeof v);
        n = choice(s->choices, v, &word);
        snprintf(out, VALUE_TEXT, "%.*s", (int)n, word);
        return out;
    case ICD_SET_TEXT:
        break;
    }
    return (const char *)c + s->offset;
}

/* ---- whole configurations ---- */

void icd_config_default(icd_config *c)
{
    memset(c, 0, sizeof *c);
    for (const icd_setting *s = icd_settings; s->name; s++) {
        icd_status ok = set_value(c, s, s->standard, NULL);
        assert(ok == ICD_OK);
        (void)ok;
    }
}

icd_status icd_config_preset(icd_config *c, const char *name, icd_err *err)
{
    char shown[ICD_SHOWN];
    for (const icd_preset *p = icd_presets; p->name; p++) {
        if (strcmp(p->name, name) != 0)
            continue;
        icd_config d;
        icd_config_default(&d);
        ICD_TRY(icd_config_parse(&d, p->name, p->text, strlen(p->text), err));
        snprintf(d.preset, sizeof d.preset, "%s", p->name);
        *c = d;
        return ICD_OK;
    }
    const char *near = icd_nearest_word(name, nth_preset);
    icd_show(name, strlen(name), shown);
    if (near)
        return icd_fail(err, ICD_EINVAL, "unknown preset '%s'; did you mean '%s'?", shown, near);
    return icd_fail(err, ICD_EINVAL, "unknown preset '%s'; `icd info presets` lists them", shown);
}

icd_status icd_config_set(icd_config *c, const char *key, const char *value, icd_err *err)
{
    const icd_setting *s = find(key);
    if (s)
        return set_value(c, s, value, err);
    char shown[ICD_SHOWN];
    icd_show(key, strlen(key), shown);
    if (strcmp(key, "preset") == 0)
        return icd_fail(err, ICD_EINVAL, "'preset' sets all settings at once, so it stands first in a file, or is the "
                        "option --preset");
    const char *near = icd_nearest_word(key, nth_setting);
    if (near)
        return icd_fail(err, ICD_EINVAL, "unknown setting '%s'; did you mean '%s'?", shown, near);
    return icd_fail(err, ICD_EINVAL, "unknown setting '%s'; `icd info settings` lists them", shown);
}

/* s[0..n-1] without blanks around it, as a string in out (of the given size); 0 if it does not fit. */
static int trimmed(const char *s, size_t n, char *out, size_t size)
{
    while (n > 0 && icd_is_blank(*s))
        s++, n--;
    while (n > 0 && icd_is_blank(s[n - 1]))
        n--;
    if (n >= size)
        return 0;
    memcpy(out, s, n);
    out[n] = 0;
    return 1;
}

enum { MAX_KEY = 64, MAX_VALUE = 4096 };

/* "key = value" in s[0..n-1]. */
static icd_status split(const char *s, size_t n, char key[MAX_KEY], char value[MAX_VALUE], icd_err *err)
{
    char shown[ICD_SHOWN];
    const char *sign = memchr(s, '=', n);
    if (!sign)
        return icd_fail(err, ICD_EINVAL, "'%s' is not of the form key = value", icd_show(s, n, shown));
    if (memchr(s, 0, n))
        return icd_fail(err, ICD_EINVAL, "'%s' has a NUL byte in it", icd_show(s, n, shown));
    if (!trimmed(s, (size_t)(sign - s), key, MAX_KEY))
        return icd_fail(err, ICD_EINVAL, "unknown setting '%s'", icd_show(s, n, shown));
    if (!trimmed(sign + 1, n - (size_t)(sign + 1 - s), value, MAX_VALUE))
        return icd_fail(err, ICD_EINVAL, "setting '%s' is longer than %d characters", icd_show(key, strlen(key), shown),
                        MAX_VALUE - 1);
    return ICD_OK;
}

icd_status icd_config_assign(icd_config *c, const char *assignment, icd_err *err)
{
    char key[MAX_KEY], value[MAX_VALUE];
    ICD_TRY(split(assignment, strlen(assignment), key, value, err));
    return icd_config_set(c, key, value, err);
}

/* The line `preset = NAME`, which must come before every setting; `none` is the defaults. */
static icd_status parse_preset(icd_config *c, const char *value, int first, icd_err *err)
{
    if (!first)
        return icd_fail(err, ICD_EINVAL, "'preset' sets all settings at once, so it must come first");
    if (strcmp(value, "none") != 0)
        return icd_config_preset(c, value, err);
    icd_config_default(c);
    return ICD_OK;
}

icd_status icd_config_parse(icd_config *c, const char *name, const char *text, size_t n, icd_err *err)
{
    enum { SETTINGS = sizeof icd_settings / sizeof icd_settings[0] };
    int line_of[SETTINGS] = { 0 };       /* where each setting was given */
    icd_config d = *c;
    int number = 1, first = 1;
    for (size_t i = 0; i < n; number++) {
        const char *line = text + i, *end = memchr(line, '\n', n - i);
        size_t length = end ? (size_t)(end - line) : n - i;
        i += length + 1;
        const char *comment = memchr(line, '#', length);
        if (comment)
            length = (size_t)(comment - line);
        while (length > 0 && icd_is_blank(line[length - 1]))
            length--;
        if (length == 0)
            continue;
        char key[MAX_KEY], value[MAX_VALUE];
        icd_err why = { "" };
        icd_status status = split(line, length, key, value, &why);
        const icd_setting *s = status == ICD_OK ? find(key) : NULL;
        if (s && line_of[s - icd_settings])
            status = icd_fail(&why, ICD_EINVAL, "setting '%s' was given in line %d already", key, line_of[s - icd_settings]);
        else if (status == ICD_OK && strcmp(key, "preset") == 0)
            status = parse_preset(&d, value, first, &why);
        else if (status == ICD_OK)
            status = icd_config_set(&d, key, value, &why);
        if (status != ICD_OK)
            return icd_fail(err, status, "%s, line %d: %s", name, number, why.text);
        if (s)
            line_of[s - icd_settings] = number;
        first = 0;
    }
    *c = d;
    return ICD_OK;
}

icd_status icd_config_check(const icd_config *c, icd_err *err)
{
    if (c->kl_sign == 0)
        return icd_fail(err, ICD_EINVAL, "setting 'kl_sign' is '0', wanted 1 or -1");
    if (c->backprop_steps != ICD_BACKPROP_ALL && c->backprop_steps > c->steps)
        return icd_fail(err, ICD_EINVAL, "setting 'backprop_steps' is %d, but a chain has only steps = %d",
                        c->backprop_steps, c->steps);
    if (c->w_ent > 0) {
        if (c->nn_set == 0)
            return icd_fail(err, ICD_EINVAL, "setting 'nn_set' is 0, so L_ent has no neighbours: set w_ent = 0 as well");
        if (c->nn_set > c->buffer_size)
            return icd_fail(err, ICD_EINVAL, "setting 'nn_set' is %d, but the buffer holds only buffer_size = %d", c->nn_set,
                            c->buffer_size);
        if (c->nn_min_buffer >= c->buffer_size)
            return icd_fail(err, ICD_EINVAL, "setting 'nn_min_buffer' is %d, which buffer_size = %d can never exceed",
                            c->nn_min_buffer, c->buffer_size);
    }
    return ICD_OK;
}

icd_status icd_config_print(icd_arena *a, const icd_config *c, char **text, icd_err *err)
{
    char number[VALUE_TEXT];
    size_t size = sizeof "preset = \n" + sizeof c->preset;
    for (const icd_setting *s = icd_settings; s->name; s++)
        size += strlen(s->name) + strlen(value_text(c, s, number)) + sizeof " = \n";
    char *out = icd_arena_alloc(a, size, 1);
    if (!out)
        return icd_fail(err, ICD_ENOMEM, "no memory for the %zu bytes of the settings as text", size);
    size_t n = (size_t)snprintf(out, size, "preset = %s\n", c->preset[0] ? c->preset : "none");
    for (const icd_setting *s = icd_settings; s->name; s++)
        n += (size_t)snprintf(out + n, size - n, "%s = %s\n", s->name, value_text(c, s, number));
    *text = out;
    return ICD_OK;
}
