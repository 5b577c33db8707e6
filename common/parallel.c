/* parallel.c: threads are started for each call; a call does milliseconds to seconds of work. */
#include "parallel.h"

#include <time.h>
#include <unistd.h>

typedef struct {
    pthread_mutex_t lock;
    int jobs, next;
    void (*job)(void *, int, int);
    void *context;
} crew;

typedef struct { crew *crew; int thread; } member;

static void *take_jobs(void *argument)
{
    member *m = argument;
    crew *c = m->crew;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        int j = c->next < c->jobs ? c->next++ : -1;
        pthread_mutex_unlock(&c->lock);
        if (j < 0)
            return NULL;
        c->job(c->context, m->thread, j);
    }
}

void icd_parallel(int threads, int jobs, void (*job)(void *, int, int), void *context)
{
    enum { MOST = 256 };
    crew c = { .jobs = jobs, .job = job, .context = context };
    pthread_t id[MOST];
    member m[MOST];
    int started = 0;
    if (threads > jobs)
        threads = jobs;
    if (threads > MOST)
        threads = MOST;
    pthread_mutex_init(&c.lock, NULL);
    for (int i = 1; i < threads; i++) {
        m[i] = (member){ &c, i };
        if (pthread_create(&id[started], NULL, take_jobs, &m[i]) == 0)
            started++;
    }
    m[0] = (member){ &c, 0 };
    take_jobs(&m[0]);
    for (int i = 0; i < started; i++)
        pthread_join(id[i], NULL);
    pthread_mutex_destroy(&c.lock);
}

void icd_turn_init(icd_turn *t)
{
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->moved, NULL);
    t->next = 0;
}

void icd_turn_wait(icd_turn *t, int j)
{
    pthread_mutex_lock(&t->lock);
    while (t->next != j)
        pthread_cond_wait(&t->moved, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void icd_turn_pass(icd_turn *t)
{
    pthread_mutex_lock(&t->lock);
    t->next++;
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->lock);
}

void icd_turn_destroy(icd_turn *t)
{
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->lock);
}

static void *work_aside(void *argument)
{
    icd_aside *a = argument;
    a->work(a->context);
    return NULL;
}

void icd_aside_begin(icd_aside *a, void (*work)(void *), void *context)
{
    a->work = work;
    a->context = context;
    a->started = pthread_create(&a->id, NULL, work_aside, a) == 0;
    if (!a->started)
        work(context);
}

void icd_aside_end(icd_aside *a)
{
    if (a->started)
        pthread_join(a->id, NULL);
}

double icd_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int icd_machine_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 256 ? 256 : (int)n;
}
