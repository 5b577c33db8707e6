/* train.c: icd train: Algorithm 1 over a data set, into a run folder:
 *   config.txt  log.csv  samples/ITERATION.png  checkpoint.safetensors                                              */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "common/algorithm1.h"
#include "common/dataset.h"
#include "common/formats.h"
#include "common/log.h"

static const char usage[] =
    "usage: icd train --preset NAME --data SPEC --out RUN [--engine NAME] [--set key=value ...]\n"
    "       icd train --config FILE --data SPEC --out RUN ...\n"
    "       icd train --resume --out RUN [--data SPEC] [--engine NAME] [--set iterations=N ...]\n"
    "  --preset NAME   settings to start from (`icd info presets` lists them); --config FILE: a run's config.txt instead\n"
    "  --data SPEC     digits[:N], gmm[:N], rings[:N], a file (IDX, CIFAR, .npy), FILE,LABELS, a folder, test:FOLDER\n"
    "  --out RUN       a new folder: config.txt, log.csv, samples/*.png, checkpoint.safetensors\n"
    "  --resume        go on from RUN/checkpoint.safetensors, to the same bits as if it had never stopped\n"
    "  --set k=v ...   any setting (`icd info settings` lists them)\n"
    "Ctrl-C finishes the iteration, saves, and leaves with status 130.\n";

static const char columns[] =
    "iteration,d,r,loss_cd,loss_opt,loss_ent,loss_l2,grad_cd,grad_kl,energy_positive,energy_negative,neighbours";

typedef struct {
    icd_arena arena;
    icd_config config;
    icd_arch arch;
    icd_images data;
    icd_engine *engine;
    icd_training training;
    FILE *log;
    const char *folder;
    char checkpoint[1100], log_path[1100], samples[1100];
    int64_t start;                       /* iterations done before this process */
    int draws;                           /* sample grids are wanted, and can be drawn */
    double since, shown;
} run;

static icd_status path_in(const run *r, char *out, size_t n, const char *name, icd_err *err)
{
    if (r->folder[0] == '\0')
        return icd_fail(err, ICD_EINVAL, "--out: empty, wanted the name of a folder");
    int length = snprintf(out, n, "%s/%s", r->folder, name);
    return length > 0 && (size_t)length < n ? ICD_OK : icd_fail(err, ICD_EINVAL, "--out: the name of the folder is too long");
}

/* A folder, and those above it that are not there yet. */
static icd_status make_folder(const char *path, icd_err *err)
{
    char above[1100];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(above, sizeof above, "%.*s", (int)(slash - path), path);
        if (mkdir(above, 0777) != 0 && errno != EEXIST)
            break;                              /* the one that fails below is the one to tell about */
    }
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return ICD_OK;
    return icd_fail(err, ICD_EIO, "%s: the folder cannot be made: %s", path, strerror(errno));
}

static icd_status write_text(const char *path, const char *text, icd_err *err)
{
    icd_writer w;
    ICD_TRY(icd_writer_open(&w, path, err));
    icd_status s = icd_writer_put(&w, text, strlen(text), err);
    if (s != ICD_OK) {
        icd_writer_abort(&w);
        return s;
    }
    return icd_writer_commit(&w, err);
}

static icd_status save(run *r, icd_err *err)
{
    return icd_checkpoint_write(r->checkpoint, &r->config, r->engine, r->training.iteration, 1, &r->training.buffer, err);
}

/* What killed processes left in a folder: files that were being written, NAME.tmp-NUMBER. */
static void sweep(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        char path[1400];
        const char *end = strstr(e->d_name, ".tmp-");
        if (end && end[5] != '\0' && end[5 + strspn(end + 5, "0123456789")] == '\0'
            && snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < (int)sizeof path)
            unlink(path);
    }
    if (d)
        closedir(d);
}

static icd_images shown_images(const run *r)
{
    return (icd_images){ r->config.batch < 64 ? r->config.batch : 64, r->arch.c, r->arch.h, r->arch.w, r->training.chains, NULL, 0 };
}

static int zoom(const run *r) { return r->arch.h < 64 ? 2 : 1; }

/* samples/000100.png: the first 64 chains as they ended. */
static icd_status write_samples(const run *r, icd_err *err)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%06lld.png", r->samples, (long long)r->training.iteration);
    icd_images s = shown_images(r);
    return icd_write_grid(path, &s, 0, zoom(r), err);
}

/* One line that says where the run is: on a terminal over and over, else every ten seconds. */
static void show(run *r, const icd_iteration_stats *s)
{
    double now = cli_seconds(), done = (double)(r->training.iteration - r->start), rate = done / (now - r->since);
    double left = (double)(r->config.iterations - r->training.iteration) / rate;
    int terminal = isatty(2), last = r->training.iteration == r->config.iterations;
    char time_left[32];
    if (!last && done > 1 && now - r->shown < (terminal ? 0.2 : 10.0))
        return;
    r->shown = now;
    fprintf(stderr, "%s%lld/%lld  d %+.4f  r %.3f  opt %+.3f  ent %+.3f  |g_cd| %.3g  |g_kl| %.3g  %.3g it/s  %s left%s",
            terminal ? "\r" : "", (long long)r->training.iteration, (long long)r->config.iterations,
            s->loss.energy_positive - s->loss.energy_negative, s->chain.langevin_gradient, s->loss.loss_opt, s->loss.loss_ent,
            s->loss.grad_cd, s->loss.grad_kl, rate, cli_duration(left, time_left), terminal && !last ? "   " : "\n");
}

static int every(int64_t iteration, int n) { return n > 0 && iteration % n == 0; }

static icd_status iterate(run *r, icd_err *err)
{
    icd_training *t = &r->training;
    while (t->iteration < r->config.iterations) {
        icd_iteration_stats s;
        icd_status status = icd_algorithm1_turn(t, &s, err);
        if (status == ICD_ENAN) {
            icd_err why = *err;
            return icd_fail(err, status, "%.700s; the last good state is in %.200s", why.text, r->checkpoint);
        }
        ICD_TRY(status);
        double row[] = { s.loss.energy_positive - s.loss.energy_negative, s.chain.langevin_gradient, s.loss.loss_cd,
                         s.loss.loss_opt, s.loss.loss_ent, s.loss.loss_l2, s.loss.grad_cd, s.loss.grad_kl,
                         s.loss.energy_positive, s.loss.energy_negative, s.neighbours };
        ICD_TRY(icd_log_row(r->log, r->log_path, t->iteration, (int)(sizeof row / sizeof row[0]), row, err));
        show(r, &s);
        int last = t->iteration == r->config.iterations, stop = cli_stop_asked();
        if (r->draws && (every(t->iteration, r->config.sample_every) || last))
            ICD_TRY(write_samples(r, err));
        if (every(t->iteration, r->config.checkpoint_every) || last || stop)
            ICD_TRY(save(r, err));
        if (stop && !last)
            return icd_fail(err, ICD_ESTOP, "stopped and saved at iteration %lld; `icd train --resume --out %.300s` goes on",
                            (long long)t->iteration, r->folder);
    }
    return ICD_OK;
}

static icd_status train(run *r, icd_err *err)
{
    r->since = r->shown = cli_seconds();
    r->start = r->training.iteration;
    icd_status s = iterate(r, err);
    if (s != ICD_OK && r->training.iteration > r->start && isatty(2))
        fputc('\n', stderr);                      /* the line that says where the run is */
    return s;
}

/* What the step will take, said before it is taken. */
static icd_status announce(run *r, icd_err *err)
{
    const icd_config *c = &r->config;
    icd_memory m;
    icd_work w = icd_work_settings(c);
    ICD_TRY(r->engine->memory(r->engine, &w, &m, err));
    printf("%s: %zu parameters, %.1f MFLOP an image and pass; %d images of %s from %s; engine %s, %d thread%s; %.0f MiB\n",
           r->folder, r->arch.n_values, icd_arch_flops(&r->arch) / 1e6, r->data.n, c->image, c->data, r->engine->name,
           r->engine->threads, r->engine->threads == 1 ? "" : "s", (double)(m.parameters + m.work) / 1048576.0);
    icd_images s = shown_images(r);
    icd_err why = { "" };
    r->draws = c->sample_every > 0 && icd_grid_check(r->samples, &s, 0, zoom(r), &why) == ICD_OK;
    if (c->sample_every > 0 && !r->draws)
        printf("%s; none will be drawn\n", why.text);
    fflush(stdout);
    return ICD_OK;
}

static icd_status write_config(run *r, icd_err *err)
{
    char path[1100], *text;
    ICD_TRY(path_in(r, path, sizeof path, "config.txt", err));
    ICD_TRY(icd_config_print(&r->arena, &r->config, &text, err));
    return write_text(path, text, err);
}

static icd_status fill_folder(run *r, icd_err *err)
{
    ICD_TRY(make_folder(r->samples, err));
    ICD_TRY(write_config(r, err));
    return save(r, err);
}

/* A folder without a checkpoint is neither a run nor room for one: take it back. */
static void remove_folder(const run *r)
{
    char path[1100];
    if (path_in(r, path, sizeof path, "config.txt", NULL) == ICD_OK)
        unlink(path);
    rmdir(r->samples);
    rmdir(r->folder);
}

static icd_status start_new(run *r, const char *engine, icd_err *err)
{
    int chw[3];
    struct stat st;
    if (stat(r->folder, &st) == 0)
        return icd_fail(err, ICD_EIO, "%s: it exists; --resume goes on with a run, or choose another folder", r->folder);
    ICD_TRY(icd_load_dataset(&r->arena, r->config.data, r->config.seed, &r->data, err));
    ICD_TRY(cli_image_shape(&r->config, &r->data, chw, err));
    ICD_TRY(icd_arch_parse(&r->arena, r->config.arch, &r->config.model, chw[0], chw[1], chw[2], &r->arch, err));
    ICD_TRY(cli_open_engine(&r->engine, engine, &r->arch, &r->config, 0, err));
    ICD_TRY(icd_training_init(&r->training, &r->arena, &r->config, &r->arch, r->engine, &r->data, err));
    ICD_TRY(announce(r, err));
    ICD_TRY(cli_init_parameters(r->engine, r->config.seed, err));
    cli_catch_stop();                              /* from here on a Ctrl-C leaves a run behind */
    ICD_TRY(make_folder(r->folder, err));
    icd_status s = fill_folder(r, err);
    if (s != ICD_OK)
        remove_folder(r);
    return s;
}

static icd_status resume(run *r, const char *data, const char *engine, const cli_sets *sets, icd_err *err)
{
    icd_checkpoint c;
    ICD_TRY(icd_checkpoint_read(&r->arena, r->checkpoint, NULL, &c, err));
    r->config = c.config;
    r->arch = c.arch;
    ICD_TRY(cli_assign(&r->config, sets, 0, err));
    if (data)
        ICD_TRY(icd_config_set(&r->config, "data", data, err));
    if (c.iteration >= r->config.iterations)
        return icd_fail(err, ICD_EINVAL, "%s: all %lld iterations are done; --set iterations=N asks for more", r->folder,
                        (long long)c.iteration);
    ICD_TRY(icd_load_dataset(&r->arena, r->config.data, r->config.seed, &r->data, err));
    ICD_TRY(cli_open_engine(&r->engine, engine, &r->arch, &r->config, 0, err));
    const icd_tensor *first = icd_st_find(&c.file, c.arch.param[0].name);
    if (!engine && r->engine->real_bytes != (first->dtype == ICD_F64 ? 8 : 4))
        return icd_fail(err, ICD_EINVAL, "%s: numbers of %d bytes, and engine %s has %d: name the engine that the run had, --engine NAME",
                        r->checkpoint, first->dtype == ICD_F64 ? 8 : 4, r->engine->name, r->engine->real_bytes);
    ICD_TRY(icd_training_init(&r->training, &r->arena, &r->config, &r->arch, r->engine, &r->data, err));
    ICD_TRY(announce(r, err));
    ICD_TRY(icd_checkpoint_load(&c, r->engine, 1, &r->training.buffer, err));
    r->training.iteration = c.iteration;
    cli_catch_stop();
    sweep(r->folder);
    sweep(r->samples);
    ICD_TRY(make_folder(r->samples, err));
    return write_config(r, err);
}

static icd_status run_all(run *r, const char *preset, const char *config, const char *data, const char *engine, int again,
                          const cli_sets *sets, icd_err *err)
{
    ICD_TRY(path_in(r, r->checkpoint, sizeof r->checkpoint, "checkpoint.safetensors", err));
    ICD_TRY(path_in(r, r->log_path, sizeof r->log_path, "log.csv", err));
    ICD_TRY(path_in(r, r->samples, sizeof r->samples, "samples", err));
    if (again) {
        ICD_TRY(resume(r, data, engine, sets, err));
    } else {
        if (preset) {
            ICD_TRY(icd_config_preset(&r->config, preset, err));
        } else {
            icd_bytes text;
            ICD_TRY(icd_read_file(&r->arena, config, &text, err));
            icd_config_default(&r->config);
            ICD_TRY(icd_config_parse(&r->config, config, (const char *)text.p, text.n, err));
        }
        ICD_TRY(cli_assign(&r->config, sets, 1, err));
        if (data)
            ICD_TRY(icd_config_set(&r->config, "data", data, err));
        if (strcmp(r->config.data, "none") == 0)
            return icd_fail(err, ICD_EINVAL, "--data is missing: digits, a file or a folder");
        ICD_TRY(start_new(r, engine, err));
    }
    ICD_TRY(icd_log_open(&r->log, r->log_path, columns, r->training.iteration, err));
    ICD_TRY(train(r, err));
    printf("%s: %lld iterations done; `icd sample --model %s --out samples.png` draws from it\n", r->folder,
           (long long)r->training.iteration, r->checkpoint);
    return ICD_OK;
}

int cli_train(int argc, char **argv)
{
    const char *preset = NULL, *config = NULL, *data = NULL, *out = NULL, *engine = NULL;
    int again = 0;
    cli_sets sets;
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--preset", &preset, NULL }, { "--config", &config, NULL }, { "--data", &data, NULL },
              { "--out", &out, NULL }, { "--engine", &engine, NULL }, { "--resume", NULL, &again }, { NULL, NULL, NULL } },
              NULL, &sets);
    cli_require(out, "--out", usage);
    icd_status s;
    run r = { .folder = out };
    if (again ? preset || config : !preset == !config)
        s = icd_fail(&err, ICD_EINVAL, again ? "--resume takes its settings from the run; --set changes some"
                                             : "one of --preset and --config says the settings; --resume goes on with a run");
    else
        s = run_all(&r, preset, config, data, engine, again, &sets, &err);
    if (r.log)
        fclose(r.log);
    if (r.engine)
        r.engine->close(r.engine);
    icd_arena_release(&r.arena);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
