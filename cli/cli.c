/* cli.c: what the commands share. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fast/engine_fast.h"
#include "ref/engine_ref.h"

const icd_engine_entry cli_engines[] = {
    { "cpu", "planned kernels: the quickest table that this machine can use; cpu:NAME is one of them", NULL },
    { "ref", "plain C99 in float, on a tape: to be read beside the paper", icd_engine_ref_open },
    { "ref64", "the same in double", icd_engine_ref64_open },
    { NULL, NULL, NULL }
};

void cli_complain(const char *text)
{
    fputs("icd: ", stderr);
    for (; *text; text++)
        fputc((unsigned char)*text < ' ' || *text == 127 ? '?' : *text, stderr);
    fputc('\n', stderr);
}

static void usage_error(const char *usage, const char *format, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, format, what);
    cli_complain(text);
    fputs(usage, stderr);
    exit(EXIT_USAGE);
}

void cli_parse(int argc, char **argv, const char *usage, const cli_option *options, const char **positional, cli_sets *sets)
{
    enum { MOST_SETS = 256, MOST_OPTIONS = 32 };
    static const char *assignment[MOST_SETS];
    int seen[MOST_OPTIONS] = { 0 };
    sets->list = assignment;
    sets->n = 0;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (strcmp(argv[i], "--set") == 0) {
            int first = i + 1;
            while (i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0 && strchr(argv[i + 1], '=')) {
                if (sets->n == MOST_SETS)
                    usage_error(usage, "more than %s settings", "256");
                sets->list[sets->n++] = argv[++i];
            }
            if (i + 1 == first)
                usage_error(usage, "%s wants key=value after it", "--set");
            continue;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            if (!positional || *positional)
                usage_error(usage, "what is '%s' for?", argv[i]);
            *positional = argv[i];
            continue;
        }
        int k = 0;
        while (options[k].name && strcmp(options[k].name, argv[i]) != 0)
            k++;
        if (!options[k].name)
            usage_error(usage, "unknown option %s", argv[i]);
        if (seen[k]++)
            usage_error(usage, "%s is there twice", argv[i]);
        if (options[k].flag)
            *options[k].flag = 1;
        else if (i + 1 == argc || strncmp(argv[i + 1], "--", 2) == 0)
            usage_error(usage, "%s wants a value after it", argv[i]);
        else
            *options[k].value = argv[++i];
    }
}

void cli_require(const char *value, const char *option, const char *usage)
{
    if (!value)
        usage_error(usage, "%s is missing", option);
}

int cli_fail(icd_status s, const icd_err *err)
{
    cli_complain(err->text[0] ? err->text : icd_status_text(s));
    return s == ICD_ESTOP ? EXIT_STOPPED : EXIT_FAILED;
}

static const char *engine_name(int i) { return cli_engines[i].name; }

icd_status cli_open_engine(icd_engine **e, const char *name, const icd_arch *a, const icd_config *c, int images, icd_err *err)
{
    icd_engine_options o = { c->threads, (size_t)c->memory << 20, icd_winograd_tile(c), images > 0 ? images : c->batch };
    const fast_backend *table;
    if (!name)
        name = "cpu";
    if (fast_engine_is(name)) {
        ICD_TRY(fast_engine_table(name, &table, err));
        return fast_engine_open(e, name, table, a, &o, err);
    }
    for (const icd_engine_entry *p = cli_engines; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return p->open(e, a, &o, err);
    const char *near = icd_nearest_word(name, engine_name);
    return icd_fail(err, ICD_EINVAL, "this build has no engine '%.40s'%s%s%s (`icd info engines` lists them)", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

#define BLANKS " \t\r\n\v\f"

icd_status cli_assign(icd_config *c, const cli_sets *sets, int of_model_too, icd_err *err)
{
    for (int i = 0; i < sets->n; i++) {
        const char *name = sets->list[i] + strspn(sets->list[i], BLANKS);
        size_t n = strcspn(name, "=" BLANKS);
        for (const icd_setting *s = icd_settings; s->name && !of_model_too; s++)
            if (s->of_model && strlen(s->name) == n && strncmp(s->name, name, n) == 0)
                return icd_fail(err, ICD_EINVAL, "--set %s: this setting makes another model; it is fixed in the file", sets->list[i]);
        ICD_TRY(icd_config_assign(c, sets->list[i], err));
    }
    return icd_config_check(c, err);
}

icd_status cli_image_shape(icd_config *c, const icd_images *data, int chw[3], icd_err *err)
{
    const icd_builtin_arch *b = icd_builtin_find(c->arch);
    if (icd_image_shape(c->image, chw))
        return ICD_OK;
    if (strcmp(c->image, "auto") != 0)
        return icd_fail(err, ICD_EINVAL, "image = %s: wanted channels x rows x columns, as 3x32x32, or auto", c->image);
    if (data) {
        chw[0] = data->c; chw[1] = data->h; chw[2] = data->w;
    } else if (b) {
        chw[0] = b->c; chw[1] = b->h; chw[2] = b->w;
    } else {
        return icd_fail(err, ICD_EINVAL, "how large are the images? --set image=CxHxW says it");
    }
    snprintf(c->image, sizeof c->image, "%dx%dx%d", chw[0], chw[1], chw[2]);
    return ICD_OK;
}

icd_status cli_open_model(cli_model *m, const char *path, const char *engine, const cli_sets *sets, const int fallback[3],
                          int images, icd_err *err)
{
    memset(m, 0, sizeof *m);
    ICD_TRY(icd_checkpoint_read(&m->arena, path, fallback, &m->checkpoint, err));
    ICD_TRY(cli_assign(&m->checkpoint.config, sets, 0, err));
    ICD_TRY(cli_open_engine(&m->engine, engine, &m->checkpoint.arch, &m->checkpoint.config, images, err));
    return icd_checkpoint_load(&m->checkpoint, m->engine, 0, NULL, err);
}

icd_status cli_open_preset(cli_model *m, const char *preset, const char *engine, const cli_sets *sets, icd_err *err)
{
    icd_config *c = &m->checkpoint.config;
    icd_arch *a = &m->checkpoint.arch;
    int chw[3];
    memset(m, 0, sizeof *m);
    ICD_TRY(icd_config_preset(c, preset, err));
    ICD_TRY(cli_assign(c, sets, 1, err));
    ICD_TRY(cli_image_shape(c, NULL, chw, err));
    ICD_TRY(icd_arch_parse(&m->arena, c->arch, &c->model, chw[0], chw[1], chw[2], a, err));
    ICD_TRY(cli_open_engine(&m->engine, engine, a, c, 0, err));
    return cli_init_parameters(m->engine, c->seed, err);
}

void cli_close_model(cli_model *m)
{
    if (m->engine)
        m->engine->close(m->engine);
    icd_arena_release(&m->arena);
}

double cli_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *cli_duration(double seconds, char out[32])
{
    long s = seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000L;
    if (s < 60)
        snprintf(out, 32, "%lds", s);
    else if (s < 3600)
        snprintf(out, 32, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(out, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    return out;
}

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    if (stop_asked) {
        signal(number, SIG_DFL);
        raise(number);
    }
    stop_asked = 1;
}

int cli_stop_asked(void) { return stop_asked; }

void cli_catch_stop(void)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    a.sa_flags = SA_RESTART;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}
