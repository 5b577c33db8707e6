/* cli.h: what the commands share: options, engines, models, messages. Only cli/ and icd.c print or exit. */
#ifndef ICD_CLI_H
#define ICD_CLI_H

#include "common/checkpoint.h"
#include "common/config.h"
#include "common/engine.h"
#include "common/images.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SKIPPED = 77, EXIT_STOPPED = 130 };

/* One option of a command. value: takes an argument, and where to put it; flag: takes none. */
typedef struct { const char *name; const char **value; int *flag; } cli_option;

/* Parse argv[2..] by the list (ends with name NULL) and --set key=value [key=value ...], which are collected in
 * `assignments` (at most most). An unknown or repeated option, or a missing value, prints one line and the usage, and exits
 * with EXIT_USAGE; --help prints the usage and exits with 0. positional (NULL: none allowed) gets one bare argument. */
typedef struct { const char **list; int n; } cli_sets;
void cli_parse(int argc, char **argv, const char *usage, const cli_option *options, const char **positional, cli_sets *sets);

/* Print "icd: TEXT" to stderr, as one line whatever is in it. */
void cli_complain(const char *text);
/* The same for err's text (s's, where it has none), and return the exit status for s: what every command ends with on failure. */
int cli_fail(icd_status s, const icd_err *err);
/* A required option is missing: one line, the usage, exit. */
void cli_require(const char *value, const char *option, const char *usage);

/* Engines of this build; the list ends with name NULL. `cpu` and its tables are opened by name (fast/engine_fast.h). */
extern const icd_engine_entry cli_engines[];
/* images: the most that a call will have; 0: a batch. */
icd_status cli_open_engine(icd_engine **e, const char *name, const icd_arch *a, const icd_config *c, int images, icd_err *err);

/* Apply --set assignments; with of_model_too 0, one that would make another model is refused. */
icd_status cli_assign(icd_config *c, const cli_sets *sets, int of_model_too, icd_err *err);

/* c, h, w for a configuration: the setting `image`, else the data's, else the built-in architecture's. Writes the answer
 * back into the setting. */
icd_status cli_image_shape(icd_config *c, const icd_images *data, int chw[3], icd_err *err);

/* A model with its settings and its engine: from a file, with the parameters loaded (what sample, energy and step begin with),
 * or from a preset, with the parameters that the seed draws (init, bench, info PRESET). Close it whatever came of it. */
typedef struct { icd_arena arena; icd_checkpoint checkpoint; icd_engine *engine; } cli_model;
icd_status cli_open_model(cli_model *m, const char *path, const char *engine, const cli_sets *sets, const int fallback[3],
                          int images, icd_err *err);
icd_status cli_open_preset(cli_model *m, const char *preset, const char *engine, const cli_sets *sets, icd_err *err);
void cli_close_model(cli_model *m);

/* theta and its EMA at the starting values that the seed draws. (init.c) */
icd_status cli_init_parameters(icd_engine *e, uint64_t seed, icd_err *err);

/* Seconds since some start, for progress lines. "1h02m", "3m20s", "12s". */
double cli_seconds(void);
const char *cli_duration(double seconds, char out[32]);

/* Set by the first Ctrl-C (or SIGTERM) after cli_catch_stop; a second one kills. */
int cli_stop_asked(void);
void cli_catch_stop(void);

int cli_train(int argc, char **argv);
int cli_init(int argc, char **argv);
int cli_sample(int argc, char **argv);
int cli_energy(int argc, char **argv);
int cli_step(int argc, char **argv);
int cli_verify(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_info(int argc, char **argv);

#endif
