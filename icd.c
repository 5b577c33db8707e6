/* icd.c: the program: `icd COMMAND ...`, one file of cli/ a command. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct { const char *name; int (*run)(int, char **); const char *about; } commands[] = {
    { "train",  cli_train,  "train a model: Algorithm 1" },
    { "sample", cli_sample, "draw samples from a model: Algorithm 2" },
    { "energy", cli_energy, "the energy of each image of a data set" },
    { "step",   cli_step,   "one iteration with every random draw given, every intermediate written out" },
    { "verify", cli_verify, "compare gradients by independent routes" },
    { "bench",  cli_bench,  "time the parts of an iteration" },
    { "init",   cli_init,   "an untrained model" },
    { "info",   cli_info,   "about a model file, the presets, the settings, the architectures, the engines" },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *f)
{
    fprintf(f, "icd: energy-based models trained with improved contrastive divergence (Du et al. 2021)\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(f, "  icd %-7s %s\n", commands[i].name, commands[i].about);
    fprintf(f, "\n`icd COMMAND --help` says more.\n");
}

static const char *command_name(int i) { return i < COMMANDS ? commands[i].name : NULL; }

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        int status = commands[i].run(argc, argv);
        if (fflush(stdout) == 0 && !ferror(stdout))
            return status;
        cli_complain("standard output: cannot be written");
        return status ? status : EXIT_FAILED;
    }
    char text[256];
    const char *near = icd_nearest_word(argv[1], command_name);
    snprintf(text, sizeof text, "unknown command '%.40s'%s%s%s", argv[1], near ? "; did you mean '" : "", near ? near : "",
             near ? "'?" : "");
    cli_complain(text);
    usage(stderr);
    return EXIT_USAGE;
}
