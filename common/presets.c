/* presets.c: named settings. A preset holds only what differs from the defaults (config.c), which are paper-cifar10. */
#include "config.h"

#define NO_TRANSITIONS "crop_min = 1\nflip = 0\ncolor_strength = 0\n"
#define NO_KL "w_opt = 0\nw_ent = 0\n"

/* What every run of the released code has and the paper has not. */
#define CODE \
    "norm = auto\nweight_std = on\n" \
    "step_size = 100\nnoise_order = before\nclamp = on\nrestart_prob = 0.001\n" \
    "w_ent = 0.3\nenergy_l2 = 1\nscale_mean = on\n" \
    "nn_augment = on\nnn_min_buffer = 1000\nbuffer = reservoir\nbuffer_store = uint8\n" \
    "grad_clip = 0.5\nema = 0.99\n"

/* G&L 8: Adam at 1e-4 without momentum (beta1 = 0, the default), clipping at 0.1, 10 steps, noise 0.005. They say "high
 * values, between 10 and 1000" for the step and nothing of clamp, batch and EMA; 10, on, 64 and none are ours. Their own transition is elastic; "10 %
 * reset" of true CD is 6.1. The transformation comes "every 100 step" when sampling. */
#define GL \
    "arch = gl-mnist\nmultiscale = off\n" \
    "steps = 10\nstep_size = 10\nnoise = 0.005\nclamp = on\n" NO_KL NO_TRANSITIONS \
    "batch = 64\nlr = 0.0001\nbeta2 = 0.999\ngrad_clip = 0.1\nema = 0\nsample_steps = 100\n"

/* Anatomy's toys live in [-2,2]^2, ours in [0,1]^2: x' = x/4 + 1/2. With epsilon = 0.125 there, proper Langevin here is
 * noise = epsilon/4 and step_size = noise^2/2 (temperature 1). Chains persist: 10000 of them, never restarted. The
 * released runs use SGD; Adam and its settings are ours. */
#define TOY \
    "arch = toy\nfilters = 32\nmultiscale = off\n" \
    "steps = 500\nstep_size = 0.00048828125\nnoise = 0.03125\nrestart_prob = 0\n" NO_KL NO_TRANSITIONS \
    "batch = 100\niterations = 200000\nlr = 0.001\nbeta1 = 0.9\nbeta2 = 0.999\nema = 0.99\n" \
    "sample_rounds = 1\nsample_steps = 500\n"

/* Anatomy's CIFAR-10. Theirs are images in [-1,1] and a net that gives f, the energy being 2f/epsilon^2, with x <- x - grad f
 * + epsilon n. Here the energy is f, x' = (x + 1)/2, so step_size = 1/4 and the noises are halved: epsilon = 0.01, that of the
 * data 0.03. Adam's epsilon shrinks by epsilon^2/2, as the gradients do. */
#define NON_CONVERGENT \
    "filters = 32\nmultiscale = off\n" \
    "steps = 150\nstep_size = 0.25\nnoise = 0.005\ninit = noise\n" NO_KL NO_TRANSITIONS \
    "data_noise = 0.015\nbatch = 100\nlr = 0.0001\nbeta1 = 0.9\nbeta2 = 0.999\nadam_eps = 5e-13\nema = 0\n" \
    "sample_rounds = 1\nsample_steps = 150\n"

const icd_preset icd_presets[] = {
    { "paper-cifar10", "ICD on CIFAR-10 and ImageNet 32x32 as the paper has it (Table 5, B.2): the defaults", "" },

    { "paper-celeba", "ICD on CelebA-HQ and LSUN at 128x128 (Table 6, B.2); blur as in 2.3, its chance is the code's",
      "arch = paper-celeba\nstep_size = 1000\ncrop_min = 0.08\nblur_prob = 0.5\n" },

    { "paper-mnist", "ICD on MNIST by the paper's algorithm; it gives no MNIST settings, so the chain's are the code's",
      "arch = paper-mnist\nmultiscale = off\nsteps = 20\nstep_size = 100\nbatch = 64\n" NO_TRANSITIONS },

    { "code-cifar10", "ICD on CIFAR-10 as the released code runs it",
      "arch = code-cifar10\n" CODE "crop_min = 0.08\n" },

    { "code-celeba", "ICD on CelebA-HQ as the released code runs it",
      "arch = code-celeba\n" CODE "crop_min = 0.08\ncolor_strength = 0.5\nblur_prob = 0.5\n" },

    { "code-mnist", "ICD on MNIST as the released code runs it",
      "arch = code-mnist\nmultiscale = off\n" CODE "steps = 20\nkl_batch = 32\nbatch = 64\n" NO_TRANSITIONS },

    { "gl-mnist", "G&L's likelihood training on MNIST: elastic transitions, no other trick (6.3, 8)",
      GL "elastic = 2\n" },

    { "gl-cd-mnist", "G&L's true CD on MNIST: chains start from data, one in ten afresh, no trick (6.1)",
      GL "init = data\nrestart_prob = 0.1\n" },

    { "toy", "Anatomy's convergent learning in 2D, `--data gmm` or `--data rings` (Adam in place of SGD)", TOY },

    { "anatomy-vanilla", "Anatomy's non-convergent learning of CIFAR-10: 150 steps from uniform noise each time",
      "arch = anatomy-vanilla\n" NON_CONVERGENT },

    { "anatomy-nonlocal", "the same with Anatomy's non-local net",
      "arch = anatomy-nonlocal\n" NON_CONVERGENT },

    { "demo", "a small model of drawn digits in a few minutes on two cores, `--data digits`",
      "arch = conv 8 | swish | conv 16 4 2 1 | swish | down 32 | down 32 | swish | mean | dense 1\nimage = 1x28x28\n"
      "multiscale = off\nnorm = auto\nweight_std = on\n"
      "steps = 20\nstep_size = 100\nnoise_order = before\nclamp = on\nrestart_prob = 0.001\n" NO_TRANSITIONS
      "w_ent = 0.3\nenergy_l2 = 1\nkl_batch = 16\nnn_min_buffer = 200\nbuffer = reservoir\nbuffer_size = 2000\n"
      "batch = 32\niterations = 200\nlr = 0.001\ngrad_clip = 0.5\nema = 0.99\nsample_every = 20\ncheckpoint_every = 40\n" },

    { NULL, NULL, NULL }
};
