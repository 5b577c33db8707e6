/* step.c: the body of Algorithm 1's loop, to be read beside the paper. */
#include "step.h"

#include "common/rng.h"
#include "ops.h"

static shape images(const icd_arch *a, int n) { return (shape){ n, a->c, a->h, a->w }; }

/* What the losses divide an image's energy by: 1, or the number of scales with scale_mean. */
static double scale_share(const icd_arch *a, const icd_losses *l) { return l->scale_mean ? 1.0 / a->n_scales : 1.0; }

var chain_noise(tape *t, const icd_arch *a, const icd_chain *c, int k, int first, int n)
{
    size_t d = (size_t)a->c * (size_t)a->h * (size_t)a->w;
    if (c->normals)
        return tape_leaf_double(t, images(a, n), t->dry ? NULL : c->normals + ((size_t)(k - 1) * (size_t)c->n + (size_t)first) * d,
                                c->noise);
    var noise = tape_leaf(t, images(a, n), NULL);
    if (noise < 0 || t->dry)
        return noise;
    enum { AT_ONCE = 256 };
    float z[AT_ONCE];
    for (int i = 0; i < n; i++) {
        icd_stream s = { c->seed, c->iteration, c->purpose, c->first_sample + (uint32_t)(first + i) };
        real *to = value(t, noise) + (size_t)i * d;
        for (size_t j = 0; j < d; j += AT_ONCE) {
            size_t count = d - j < AT_ONCE ? d - j : AT_ONCE;
            icd_normals(&s, (uint64_t)(k - 1) * d + j, count, z);
            for (size_t r = 0; r < count; r++)
                to[j + r] = (real)(c->noise * (double)z[r]);
        }
    }
    return noise;
}

/* x_k = x_{k-1} - lambda grad_x E(x_{k-1}) + omega,  omega = sigma n_k                      [ICD:alg1.10] */
var langevin_step(tape *t, const icd_arch *a, const var *q, var x, const int32_t *labels, const icd_chain *c, var noise, var *g)
{
    var gradient = -1;
    if (c->noise_before)
        x = tape_add(t, x, noise);
    tape_grad(t, net_energy(t, a, q, x, labels, NULL), -1, 1, &x, &gradient);
    var next = tape_add(t, x, tape_affine(t, gradient, -c->step_size, 0.0));
    if (!c->noise_before)
        next = tape_add(t, next, noise);
    if (c->clamp)
        next = tape_clamp(t, next, 0.0, 1.0);
    if (g)
        *g = gradient;
    return next;
}

static void copy_out(const tape *t, var x, double *out)
{
    if (t->dry || t->status != ICD_OK)
        return;
    for (size_t i = 0; i < shape_count(shape_of(t, x)); i++)
        out[i] = re(value(t, x)[i]);
}

/* L_CD = <E(x+)> - <E(Omega(x-))>: x is a leaf, so nothing flows into the chain.                             [ICD:5] */
void contrastive_part(tape *t, const icd_arch *a, const real *theta, const icd_losses *l, double sign, int n, const real *x,
                      const int32_t *labels, double *energy, double *square, var *grad)
{
    var *p = icd_alloc((size_t)a->n_params * 2, sizeof *p), *q = p ? p + a->n_params : NULL, scale[ICD_MAX_SCALES];
    if (!p) {
        t->status = ICD_ENOMEM;
        return;
    }
    net_leaves(t, a, theta, p);
    net_prepare(t, a, p, q);
    var E = net_energy(t, a, q, tape_leaf(t, images(a, n), x), labels, scale);

    /* the term of the released code: E^2, or with scale_mean the mean of the scales' squares */
    var E2 = -1;
    if (l->scale_mean)
        for (int s = 0; s < a->n_scales; s++) {
            var square_s = tape_affine(t, tape_mul(t, scale[s], scale[s]), 1.0 / a->n_scales, 0.0);
            E2 = s == 0 ? square_s : tape_add(t, E2, square_s);
        }
    else
        E2 = tape_mul(t, E, E);

    var loss = tape_affine(t, tape_sum(t, E), sign * scale_share(a, l) / l->n, 0.0);
    if (l->energy_l2 != 0 && !l->apart)
        loss = tape_add(t, loss, tape_affine(t, tape_sum(t, E2), l->energy_l2 / l->n, 0.0));
    copy_out(t, E, energy);
    copy_out(t, E2, square);
    /* dL_CD/dtheta                                                                                           [ICD:14] */
    tape_grad(t, loss, -1, a->n_params, p, grad);
    icd_free(p);
}

/* L_KL = E_Omega(theta)(x^) - log NN(x^, X), x^ = x_K a function of theta through the last steps.            [ICD:6] */
void kl_part(tape *t, const icd_arch *a, const real *theta, const icd_losses *l, const icd_chain *c, int first, int n,
             const real *x0, const int32_t *labels, const real *neighbours, double *energy, double *log_nn, int32_t *nn_index,
             double *nn_distance, var *grad[2])
{
    var *p = icd_alloc((size_t)a->n_params * 3, sizeof *p), *q = p ? p + a->n_params : NULL;
    if (!p) {
        t->status = ICD_ENOMEM;
        return;
    }
    var *frozen = q + a->n_params;
    net_leaves(t, a, theta, p);
    net_prepare(t, a, p, q);
    net_frozen(t, a, q, frozen);

    /* x^ = the last m Langevin steps from Omega(x_{K-m}), theta live                                          [ICD:7] */
    var x = tape_leaf(t, images(a, n), x0);
    for (int k = c->steps - l->backprop_steps + 1; k <= c->steps; k++)
        x = langevin_step(t, a, q, x, labels, c, chain_noise(t, a, c, k, first, n), NULL);

    /* L_opt = <E_Omega(theta)(x^)>                                                                     [ICD:6] [ICD:7] */
    var E = net_energy(t, a, frozen, x, labels, NULL);
    var opt = tape_affine(t, tape_sum(t, E), scale_share(a, l) / l->kl_batch, 0.0);
    copy_out(t, E, energy);

    /* L_ent = -<log NN(x^, X)>                                                                                [ICD:8] */
    var ent = -1;
    if (l->n_neighbours > 0) {
        var log_distance = log_nearest(t, x, neighbours, l->n_neighbours, nn_index, nn_distance);
        ent = tape_affine(t, tape_sum(t, log_distance), -1.0 / l->kl_batch, 0.0);
        copy_out(t, log_distance, log_nn);
    } else {
        ent = tape_fill(t, (shape){ 1, 1, 1, 1 }, 0.0);
    }

    /* dL_KL/dtheta, or those of its two terms                                                                [ICD:18] */
    if (l->apart) {
        tape_grad(t, opt, -1, a->n_params, p, grad[0]);
        tape_grad(t, ent, -1, a->n_params, p, grad[1]);
    } else {
        var kl = tape_add(t, tape_affine(t, opt, l->kl_sign * l->w_opt, 0.0), tape_affine(t, ent, l->kl_sign * l->w_ent, 0.0));
        tape_grad(t, kl, -1, a->n_params, p, grad[0]);
    }
    icd_free(p);
}
