/* algorithm2.c: EBM sampling, line by line. Comments quote the lines of the paper's Algorithm 2, counted from its `Input`
 * and without its comments.                                                                             [ICD:alg2] */
#include "algorithm2.h"

#include "algorithm1.h"
#include "parallel.h"

typedef struct {
    const icd_config *c;
    const icd_arch *a;
    int round;
    uint32_t first;
    float *x, *work;
} transition;

/* x~0 = D(x~0)                                                                                          [ICD:alg2.4] */
static void apply_transition(void *context, int thread, int i)
{
    transition *t = context;
    const icd_arch *a = t->a;
    icd_stream s = { t->c->seed, (uint64_t)t->round, ICD_DRAW_SAMPLE_AUGMENT, t->first + (uint32_t)i };
    icd_augment_apply(&t->c->augment, &s, a->c, a->h, a->w, t->x + (size_t)i * (size_t)(a->c * a->h * a->w),
                      t->work + (size_t)thread * icd_augment_work(a->c, a->h, a->w));
}

icd_status icd_algorithm2(icd_engine *e, const icd_config *c, int n, uint32_t first, const int32_t *labels, float *x,
                          int (*progress)(void *, int), void *context, icd_err *err)
{
    const icd_arch *a = e->arch;
    size_t d = (size_t)a->c * (size_t)a->h * (size_t)a->w;
    float *work = icd_alloc(icd_augment_work(a->c, a->h, a->w) * (size_t)e->threads, sizeof *work);
    if (!work)
        return icd_fail(err, ICD_ENOMEM, "out of memory for transitions");

    /* x~0 ~ U                                                                                           [ICD:alg2.2] */
    for (int i = 0; i < n; i++) {
        icd_stream s = { c->seed, 0, ICD_DRAW_SAMPLE, first + (uint32_t)i };
        icd_uniforms(&s, 0, d, x + (size_t)i * d);
    }

    icd_status status = ICD_OK;
    icd_chain_stats stats = { 0, 1 };
    /* for n = 1..N                                                                                      [ICD:alg2.3] */
    for (int round = 1; round <= c->sample_rounds && status == ICD_OK; round++) {
        if (icd_augment_active(&c->augment, a->c, a->h, a->w)) {
            transition t = { c, a, round, first, x, work };
            icd_parallel(e->threads, n, apply_transition, &t);
        }
        /* for k = 1..K: x~k = x~k-1 - grad_x E(x~k-1) + omega;  x~0 = x~K                            [ICD:alg2.5-8] */
        icd_chain chain = icd_chain_settings(c);
        chain.n = n;
        chain.x0 = x;
        chain.labels = labels;
        chain.steps = c->sample_steps;
        chain.iteration = (uint64_t)round;
        chain.purpose = ICD_DRAW_SAMPLE;
        chain.first_sample = first;
        chain.use_ema = 1;
        status = e->chain(e, &chain, x, &stats, err);
        if (status == ICD_OK && !stats.finite)
            status = icd_fail(err, ICD_ENAN, "round %d: a sample left the finite numbers; a smaller step_size may help", round);
        if (status == ICD_OK && progress && progress(context, round))
            status = icd_fail(err, ICD_ESTOP, "stopped after round %d of %d", round, c->sample_rounds);
    }
    icd_free(work);
    return status;
}
