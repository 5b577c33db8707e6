/* evidence.h: what the two halves of the evidence program share. */
#ifndef TESTS_EVIDENCE_H
#define TESTS_EVIDENCE_H

#include <stdio.h>

#include "fast/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The table, working on parts of so many images, with every launch labelled "slot=SLOT<tab>shape=SHAPE". One at a time. */
const fast_backend *evidence_table(const fast_backend *table, int part);
/* A line for each label: its calls since they were last forgotten. */
void evidence_forget_calls(void);
void evidence_print_calls(FILE *to, const char *run);
/* How often each kind of branches has been launched, from the first branch() to join(): into times[kind], of `most` kinds; how
 * many kinds there are. And a kind's launches by branch, by the numbers of emulate_shape_of(): "0:5,7,7 2:6". */
int evidence_branches(long long *times, int most);
const char *evidence_branches_of(int kind);

#ifdef __cplusplus
}
#endif
#endif
