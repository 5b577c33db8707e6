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

/* work(context) in a thread of its own, or where none can be started at once; `end` returns when it is done. */
typedef struct { pthread_t id; int started; void (*work)(void *context); void *context; } icd_aside;
void icd_aside_begin(icd_aside *a, void (*work)(void *context), void *context);
void icd_aside_end(icd_aside *a);

/* A clock in seconds that only goes forward. */
double icd_seconds(void);

/* How many threads the machine offers: at least 1. */
int icd_machine_threads(void);

#endif
