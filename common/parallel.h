/* parallel.h: independent jobs on threads. Which thread does which job never shows in a result: jobs share nothing, and
 * what must be summed is summed in the order of the jobs (icd_turn). */
#ifndef ICD_PARALLEL_H
#define ICD_PARALLEL_H

#include <pthread.h>

/* job(context, thread, j) for j = 0..jobs-1, each once, taken in ascending order by `threads` threads (the caller is thread
 * 0; a thread that cannot be started leaves its share to the others). Returns when all are done. */
void icd_parallel(int threads, int jobs, void (*job)(void *context, int thread, int j), void *context);

/* Turns: job j waits until jobs 0..j-1 have passed. Every job must take its turn, failed ones too. */
typedef struct { pthread_mutex_t lock; pthread_cond_t moved; int next; } icd_turn;
void icd_turn_init(icd_turn *t);
void icd_turn_wait(icd_turn *t, int j);
void icd_turn_pass(icd_turn *t);
void icd_turn_destroy(icd_turn *t);

/* How many threads the machine offers: at least 1. */
int icd_machine_threads(void);

#endif
