/* verify.c: icd verify: the conformance suite as a table, or as JSON. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "fast/engine_fast.h"
#include "verify/verify.h"

static const char usage[] =
    "usage: icd verify [--engine ref|ref64|cpu|cpu:NAME] [--only WORD] [--json]\n"
    "Compares what an engine computes by routes that share as little as can be: error, bound, and where the bound comes\n"
    "from. ref: derivatives, float with double. cpu (the best table that this machine can use) or cpu:NAME: every slot of the\n"
    "kernel table, the derivatives, whole engines, iterations of training. Without --engine: ref, then cpu.\n"
    "--only WORD: of a kernel table, one part (derivatives, engine, training; engine:attention: of it, the models with that\n"
    "in their name), or the families of slots with WORD in a name (conv, norm ...; slots: all of them).\n"
    "Exit 0: all passed, 1: not, 77: could not run here.\n";

typedef struct { int json, rows, failed, part_rows, part_failed, begun; const char *model; } table;

static void json_number(double v)
{
    if (v - v == 0)
        printf("%.3e", v);
    else
        printf("null");
}

static void json_row(const table *t, const icd_comparison *c, int passed)
{
    printf("%s\n  {\"model\": \"%s\", \"what\": \"%s\", \"a\": \"%s\", \"b\": \"%s\", \"error\": ", t->rows ? "," : "",
           c->model, c->what, c->route_a, c->route_b);
    json_number(c->error);
    printf(", \"bound\": %.3e, \"reason\": \"%s\", \"where\": \"%s\", \"passed\": %s}", c->bound, c->reason, c->where,
           passed ? "true" : "false");
}

static void tell(void *context, const icd_comparison *c)
{
    table *t = context;
    int passed = icd_passed(c);
    if (t->json) {
        json_row(t, c, passed);
    } else {
        if (!t->model || strcmp(t->model, c->model) != 0)
            printf("%s\n", c->model);
        printf("  %-50s %-28s %-29s %8.1e  %s %.0e%s%s\n", c->what, c->route_a, c->route_b, c->error, passed ? "<=" : "NOT <=",
               c->bound, c->where[0] ? "  at " : "", c->where);
    }
    t->model = c->model;
    t->rows++;
    t->part_rows++;
    t->failed += !passed;
    t->part_failed += !passed;
    fflush(stdout);
}

/* The closing line of a part. */
static void part_done(table *t, const char *name, const char *engine)
{
    if (!t->json && t->part_rows)
        printf("-- %s of %s: %d passed, %d failed\n", name, engine, t->part_rows - t->part_failed, t->part_failed);
    t->part_rows = t->part_failed = 0;
    t->model = NULL;
}

enum { SLOTS, DERIVATIVES, ENGINE, TRAINING, PARTS };
static const char *const part_names[PARTS] = { "slots", "derivatives", "engine", "training" };

/* `of`: NULL, or what the names of the slots, or of the models, have in them. */
static icd_status run_part(int part, const fast_backend *b, const char *of, const icd_listener *l, icd_err *err)
{
    switch (part) {
    case SLOTS:       return icd_verify_slots(b, of, l, err);
    case DERIVATIVES: return icd_verify_ref(b, 0, of, l, err);
    case ENGINE:      return icd_verify_engine(b, of, l, err);
    default:          return icd_verify_training(b, of, l, err);
    }
}

/* `only`: NULL, the name of a part, PART:MODELS, or a word in the name of a slot. */
static icd_status verify_cpu(table *t, const char *engine, const char *only, icd_err *err)
{
    icd_listener l = { tell, t };
    const fast_backend *b;
    const char *of = only;
    int chosen = only ? SLOTS : PARTS;
    ICD_TRY(fast_engine_table(engine, &b, err));
    t->begun = 1;
    for (int i = 0; i < PARTS && only; i++) {
        size_t n = strlen(part_names[i]);
        if (strncmp(only, part_names[i], n) == 0 && (!only[n] || (only[n] == ':' && i != SLOTS))) {
            chosen = i;
            of = only[n] ? only + n + 1 : NULL;
        }
    }
    for (int i = 0; i < PARTS; i++)
        if (chosen == PARTS || i == chosen) {
            ICD_TRY(run_part(i, b, of, &l, err));
            part_done(t, part_names[i], b->name);
        }
    return ICD_OK;
}

static icd_status verify_ref(table *t, int floats, icd_err *err)
{
    icd_listener l = { tell, t };
    ICD_TRY(icd_verify_ref(NULL, floats, NULL, &l, err));
    part_done(t, "derivatives", floats ? "ref" : "ref64");
    return ICD_OK;
}

static icd_status verify(table *t, const char *engine, const char *only, icd_err *err)
{
    if (!engine) {
        if (!only)
            ICD_TRY(verify_ref(t, 1, err));
        return verify_cpu(t, "cpu", only, err);
    }
    if (fast_engine_is(engine))
        return verify_cpu(t, engine, only, err);
    return verify_ref(t, strcmp(engine, "ref") == 0, err);
}

static icd_status check(const char *engine, const char *only, const cli_sets *sets, icd_err *err)
{
    int cpu = !engine || fast_engine_is(engine);
    if (!cpu && strcmp(engine, "ref") != 0 && strcmp(engine, "ref64") != 0)
        return icd_fail(err, ICD_EINVAL, "--engine %.40s: verify knows cpu, cpu:NAME, cuda, ref and ref64", engine);
    if (only && !cpu)
        return icd_fail(err, ICD_EINVAL, "--only picks parts of what is compared of a kernel table, and --engine %s has none",
                        engine);
    if (sets->n)
        return icd_fail(err, ICD_EINVAL, "verify has settings of its own; --set is not wanted");
    return ICD_OK;
}

int cli_verify(int argc, char **argv)
{
    const char *engine = NULL, *only = NULL;
    table t = { 0 };
    cli_sets sets;
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--engine", &engine, NULL }, { "--only", &only, NULL },
                                                 { "--json", NULL, &t.json }, { NULL, NULL, NULL } }, NULL, &sets);
    icd_status s = check(engine, only, &sets, &err);
    if (s != ICD_OK)
        return cli_fail(s, &err);
    if (t.json)
        printf("{\"engine\": \"%s\", \"comparisons\": [", engine ? engine : "ref, cpu");
    else
        printf("  %-50s %-28s %-29s %8s     bound (reasons in verify/cases.def)\n", "what", "route a", "route b", "error");
    s = verify(&t, engine, only, &err);
    if (t.json)
        printf("\n], \"passed\": %d, \"failed\": %d}\n", t.rows - t.failed, t.failed);
    if (s != ICD_OK)                     /* a device that fails on the way is no skip */
        return cli_fail(s, &err), s == ICD_ENOMEM || (s == ICD_EUNUSABLE && !t.begun) ? EXIT_SKIPPED : EXIT_FAILED;
    if (t.rows == 0)
        return cli_complain("nothing of that name was compared"), EXIT_FAILED;
    if (!t.json)
        printf("verify         %d passed, %d failed\n", t.rows - t.failed, t.failed);
    return t.failed ? EXIT_FAILED : 0;
}
