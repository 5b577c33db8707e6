/* test_ref_engine.c (float, double): ref/'s engine against ref/'s graphs. The contract is tested in test_engine.c. */
#include "ref_test.h"

#if REF_REAL == 128

int main(void)
{
    printf("no engine in complex numbers\n");
    return 77;
}

#else

#include "ref/step.h"

#if REF_REAL == 32
#define OPEN icd_engine_ref_open
#define REAL_BYTES 4
#else
#define OPEN icd_engine_ref64_open
#define REAL_BYTES 8
#endif
#define FAST 0
#undef EPS
#include "engine_test.h"

/* Flat gradient += that of the vars. */
static void add_flat(const inputs *s, const tape *t, const var *g, double *flat)
{
    for (int i = 0; i < s->a.n_params; i++)
        for (size_t k = 0; k < s->a.param[i].count; k++)
            flat[s->a.param[i].offset + k] += at(t, g[i], k);
}

/* The engine's bookkeeping: parts, states and labels, against the graphs of step.h on the whole batch at once. */
TEST(gradients_are_those_of_the_graphs_on_the_whole_batch)
{
    inputs *s = begin();
    icd_err err;
    icd_chain_stats chain;
    icd_loss_stats loss;
    real *theta = calloc(s->a.n_values, sizeof *theta), *images = calloc((2 * N + X) * D, sizeof *images);
    double *state = calloc(N * D, sizeof *state), *want = calloc(s->a.n_values, sizeof *want);
    double *got = calloc(s->a.n_values, sizeof *got), E[N], square[N], log_nn[N], distance[N];
    static float x[N * D];
    int32_t index[N];
    for (size_t i = 0; i < s->a.n_values; i++)
        theta[i] = (real)s->theta[i];
    for (int m = 1; m <= STEPS; m++) {
        icd_engine *e = open_engine(s, 2, PLENTY);
        icd_chain c = chain_of(s);
        icd_losses l = losses_of(s);
        c.keep = STEPS;
        l.backprop_steps = m;
        l.kl_batch = 11;
        CHECK_OK(e->chain(e, &c, x, &chain, &err));
        CHECK_OK(e->gradients(e, &l, &loss, &err));
        for (int which = ICD_GRAD_CD; which <= ICD_GRAD_KL; which++) {
            memset(want, 0, s->a.n_values * sizeof *want);
            var g[128], *grad[2] = { g, NULL };
            tape t;
            tape_init(&t, 0);
            if (which == ICD_GRAD_CD) {
                CHECK_OK(e->trajectory(e, STEPS, state, &err));
                for (int i = 0; i < N * D; i++) {
                    images[i] = (real)s->positives[i];
                    images[N * D + i] = (real)state[i];
                }
                contrastive_part(&t, &s->a, theta, &l, 1, N, images, s->positive_labels, E, square, g);
                add_flat(s, &t, g, want);
                contrastive_part(&t, &s->a, theta, &l, -1, N, images + N * D, s->labels, E, square, g);
                add_flat(s, &t, g, want);
            } else {
                CHECK_OK(e->trajectory(e, STEPS - m, state, &err));
                for (int i = 0; i < N * D; i++)
                    images[i] = (real)state[i];
                for (int i = 0; i < X * D; i++)
                    images[N * D + i] = (real)s->neighbours[i];
                kl_part(&t, &s->a, theta, &l, &c, 0, l.kl_batch, images, s->labels, images + N * D, E, log_nn, index, distance,
                        grad);
                add_flat(s, &t, g, want);
            }
            CHECK(t.status == ICD_OK);
            tape_release(&t);
            CHECK_OK(e->export(e, (icd_vector)which, got, &err));
            double size = 0;
            for (size_t i = 0; i < s->a.n_values; i++)
                size = fmax(size, fabs(want[i]));
            CHECK(size > 0);
            for (size_t i = 0; i < s->a.n_values; i++)
                CHECK_NEAR(got[i], want[i], 1e3 * EPS * size);
        }
        e->close(e);
    }
    free(theta);
    free(images);
    free(state);
    free(want);
    free(got);
    end(s);
}

TEST_MAIN("ref engine", T(gradients_are_those_of_the_graphs_on_the_whole_batch))

#endif
