/* check_device.c: how long a device takes for every slot's call in one iteration of a preset: JSON for check_device.py.
 *
 *   check_device times --engine cuda:tf32 [--preset code-cifar10] [--samples 7] [--set key=value ...]
 * Exit 1: it failed, 77: this build or machine has no such engine. */
#include <stdio.h>
#include <stdlib.h>

#include "check_device.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "common/algorithm1.h"
#include "fast/engine_fast.h"

static const char usage[] = "usage: check_device times --engine NAME [--preset NAME] [--samples N] [--set key=value ...]\n";

static icd_status iterate(icd_engine *e, const icd_config *c, icd_err *err)
{
    icd_arena a = { 0 };
    bench_iteration it;
    icd_chain_stats chain;
    icd_loss_stats losses;
    icd_status s = bench_iteration_make(e->arch, c, &a, &it, err);
    it.chain.ahead = &it.both;
    for (int i = 0; i < 2 && s == ICD_OK; i++) {         /* the first measures, and does what is done once */
        check_device_reset();
        s = e->chain(e, &it.chain, it.out, &chain, err);
        s = s == ICD_OK ? e->gradients(e, &it.both, &losses, err) : s;
        if (s == ICD_OK)
            s = e->update(e, &it.update, err);
    }
    icd_arena_release(&a);
    return s;
}

static icd_status check(const char *engine, const fast_backend *b, const char *preset, const cli_sets *sets, int samples,
                        icd_err *err)
{
    static icd_config c;
    static icd_arch arch;
    icd_arena a = { 0 };
    icd_engine *e = NULL;
    int chw[3];
    ICD_TRY(icd_config_preset(&c, preset, err));
    ICD_TRY(cli_assign(&c, sets, 1, err));
    ICD_TRY(cli_image_shape(&c, NULL, chw, err));
    icd_engine_options o = { c.threads, (size_t)c.memory << 20, icd_winograd_tile(&c), 0 };
    icd_status s = icd_arch_parse(&a, c.arch, &c.model, chw[0], chw[1], chw[2], &arch, err);
    if (s == ICD_OK)
        s = fast_engine_open(&e, engine, check_device_timed(b, samples), &arch, &o, err);
    if (s == ICD_OK)
        s = cli_init_parameters(e, c.seed, err);
    if (s == ICD_OK)
        s = iterate(e, &c, err);
    if (s == ICD_OK) {
        printf("{\"engine\": \"%s\", \"preset\": \"%s\", \"batch\": %d, \"steps\": %d, \"rows\":\n", engine, preset, c.batch,
               c.steps);
        check_device_print();
        printf("}\n");
    }
    if (e)
        e->close(e);
    icd_arena_release(&a);
    return s;
}

int main(int argc, char **argv)
{
    const char *engine = NULL, *preset = "code-cifar10", *samples = "7";
    const fast_backend *b;
    cli_sets sets;
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--engine", &engine, NULL }, { "--preset", &preset, NULL },
              { "--samples", &samples, NULL }, { NULL, NULL, NULL } }, NULL, &sets);
    cli_require(engine, "--engine", usage);
    int many = atoi(samples);
    icd_status s = fast_engine_table(engine, &b, &err);
    if (s == ICD_EUNUSABLE)
        return cli_fail(s, &err), EXIT_SKIPPED;
    if (s == ICD_OK && !b->device)
        s = icd_fail(&err, ICD_EINVAL, "--engine %.40s: wanted one of a device", engine);
    if (s == ICD_OK)
        s = check(engine, b, preset, &sets, many > 0 ? many : 1, &err);
    return s == ICD_OK ? 0 : cli_fail(s, &err);
}
