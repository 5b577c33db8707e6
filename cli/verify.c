/* verify.c: icd verify: the conformance suite as a table, or as JSON. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "verify/verify.h"

static const char usage[] =
    "usage: icd verify [--engine ref|ref64] [--json]\n"
    "Compares derivatives by routes that share as little as can be, on small models of every architecture: the error, its\n"
    "bound, and where the bound comes from. ref also compares float with double. Exit 0: all passed, 1: not, 77: could not run.\n";

typedef struct { int json, rows, failed; const char *model; } table;

static void json_number(double v)
{
    if (v - v == 0)
        printf("%.3e", v);
    else
        printf("null");
}

static void tell(void *context, const icd_comparison *c)
{
    table *t = context;
    int passed = icd_passed(c);
    if (t->json) {
        printf("%s\n  {\"model\": \"%s\", \"what\": \"%s\", \"a\": \"%s\", \"b\": \"%s\", \"error\": ", t->rows ? "," : "", c->model,
               c->what, c->route_a, c->route_b);
        json_number(c->error);
        printf(", \"bound\": %.3e, \"reason\": \"%s\", \"passed\": %s}", c->bound, c->reason, passed ? "true" : "false");
    } else {
        if (!t->model || strcmp(t->model, c->model) != 0)
            printf("%s\n", c->model);
        printf("  %-42s %-28s %-29s %8.1e  %s %.0e\n", c->what, c->route_a, c->route_b, c->error, passed ? "<=" : "NOT <=", c->bound);
    }
    t->model = c->model;
    t->rows++;
    t->failed += !passed;
    fflush(stdout);
}

int cli_verify(int argc, char **argv)
{
    const char *engine = "ref";
    table t = { 0 };
    cli_sets sets;
    icd_err err = { "" };
    cli_parse(argc, argv, usage, (cli_option[]){ { "--engine", &engine, NULL }, { "--json", NULL, &t.json }, { NULL, NULL, NULL } },
              NULL, &sets);
    icd_status s = ICD_OK;
    if (strcmp(engine, "ref") != 0 && strcmp(engine, "ref64") != 0)
        s = icd_fail(&err, ICD_EINVAL, "--engine %.40s: verify knows ref and ref64", engine);
    else if (sets.n)
        s = icd_fail(&err, ICD_EINVAL, "verify has settings of its own; --set is not wanted");
    if (s == ICD_OK && t.json)
        printf("{\"engine\": \"%s\", \"comparisons\": [", engine);
    else if (s == ICD_OK)
        printf("  %-42s %-28s %-29s %8s     bound (reasons in verify/cases.def)\n", "what", "route a", "route b", "error");
    if (s == ICD_OK)
        s = icd_verify_ref(strcmp(engine, "ref") == 0, tell, &t, &err);
    if (t.json && t.rows)
        printf("\n], \"passed\": %d, \"failed\": %d}\n", t.rows - t.failed, t.failed);
    if (s != ICD_OK)
        return cli_fail(s, &err), s == ICD_ENOMEM ? EXIT_SKIPPED : EXIT_FAILED;
    if (!t.json)
        printf("verify         %d passed, %d failed\n", t.rows - t.failed, t.failed);
    return t.failed ? EXIT_FAILED : 0;
}
