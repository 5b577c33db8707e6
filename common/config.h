/* config.h: settings. One table (config.c) says each one's name, range, default and meaning; presets are lists of
 * `key = value` lines; a run's config.txt is the whole table written out and reads back to the same settings. */
#ifndef ICD_CONFIG_H
#define ICD_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "arch.h"
#include "augment.h"
#include "buffer.h"

typedef enum { ICD_NOISE_AFTER, ICD_NOISE_BEFORE } icd_noise_order;
typedef enum { ICD_INIT_FROM_BUFFER, ICD_INIT_FROM_DATA, ICD_INIT_FROM_NOISE } icd_chain_init;

enum { ICD_BACKPROP_ALL = 0 };       /* backprop_steps: `all` */

typedef struct {
    char preset[32];                 /* the preset that the settings started from; "" for none */
    /* the model */
    char arch[2048];                 /* a built-in's name or a line */
    char image[32];                  /* "CxHxW", or "auto": the data's size, or the built-in architecture's */
    char data[1024];                 /* what --data said (dataset.h); "none" */
    icd_model_settings model;        /* filters norm groups weight_std spectral_norm multiscale classes */
    /* the chain                                                                            [ICD:alg1.8-11] */
    int steps;                       /* K */
    double step_size, noise;         /* lambda, sigma */
    icd_noise_order noise_order;
    int clamp;
    icd_chain_init init;
    double restart_prob;             /* chance that a chain starts afresh */
    /* the losses                                                                           [ICD:5-8] */
    double w_opt, w_ent, energy_l2;
    int kl_sign;                     /* +1 ICD (6), -1 G&L's "right" KL */
    int kl_batch;                    /* L_KL over the first n chains; 0 (or more than there are) = all */
    int backprop_steps;              /* 1, m, or ICD_BACKPROP_ALL */
    int scale_mean;                  /* losses average the scales' energies instead of summing them */
    /* the buffer */
    int nn_set, nn_augment, nn_min_buffer;
    icd_buffer_policy buffer;
    int buffer_size;
    icd_buffer_store buffer_store;
    /* transitions */
    icd_augment augment;             /* crop_min flip color_strength blur_prob elastic */
    double data_noise;               /* sd of the noise added to the positives (Anatomy's epsilon_data) */
    /* training */
    int batch;
    int64_t iterations;
    double lr, beta1, beta2, adam_eps, grad_clip, ema;
    uint64_t seed;
    int threads;                     /* 0 = as many as the machine has; no result depends on it */
    int memory;                      /* MiB that an engine may take for one thread's work; 0: as engine.h says */
    enum { ICD_WINOGRAD_AUTO, ICD_WINOGRAD_2, ICD_WINOGRAD_OFF } winograd;
    /* what a run writes */
    int sample_every, checkpoint_every;
    /* Algorithm 2 */
    int sample_rounds, sample_steps; /* N, K */
} icd_config;

/* The setting `winograd` as the largest tile: 4, 2, or 0. */
static inline int icd_winograd_tile(const icd_config *c)
{
    return c->winograd == ICD_WINOGRAD_AUTO ? 4 : c->winograd == ICD_WINOGRAD_2 ? 2 : 0;
}

typedef enum { ICD_SET_INT, ICD_SET_INT64, ICD_SET_UINT64, ICD_SET_REAL, ICD_SET_BOOL, ICD_SET_CHOICE, ICD_SET_TEXT } icd_set_type;

typedef struct {
    const char *name;
    icd_set_type type;
    size_t offset;                   /* in icd_config */
    double min, max;                 /* numbers: allowed range, ends included */
    const char *choices;             /* choice: "after|before", in the order of the enum; other types: a word that stands for
                                        `min` ("all" for backprop_steps), or NULL */
    const char *standard;            /* the default, as text */
    const char *about;               /* one line: meaning, unit, paper key */
    int of_model;                    /* changing it makes another model: --resume and --model refuse to */
} icd_setting;

extern const icd_setting icd_settings[];      /* ends with name NULL */

typedef struct { const char *name, *about, *text; } icd_preset;
extern const icd_preset icd_presets[];        /* ends with name NULL; text: `key = value` lines */

void icd_config_default(icd_config *c);
/* The defaults, then the preset's lines. An unknown name is an error that names the nearest one. */
icd_status icd_config_preset(icd_config *c, const char *name, icd_err *err);
/* One setting. Errors name the setting, what was given, the range or choices; for an unknown key, the nearest known one.
 * On failure *c is unchanged. */
icd_status icd_config_set(icd_config *c, const char *key, const char *value, icd_err *err);
/* "key=value" as on the command line. */
icd_status icd_config_assign(icd_config *c, const char *assignment, icd_err *err);
/* `key = value` lines; # starts a comment; errors name file and line. Text need not end in NUL. On failure *c is unchanged. */
icd_status icd_config_parse(icd_config *c, const char *name, const char *text, size_t n, icd_err *err);
/* What no single setting can tell: nn_set with w_ent, backprop_steps over steps ... */
icd_status icd_config_check(const icd_config *c, icd_err *err);
/* Every setting as `key = value` lines, reals with 17 digits where needed; parse(print(c)) == c. Text from a. */
icd_status icd_config_print(icd_arena *a, const icd_config *c, char **text, icd_err *err);

/* The known word nearest to `word` by edit distance (case ignored), or NULL if none is near. next(i) lists words. */
const char *icd_nearest_word(const char *word, const char *(*next)(int i));

#endif
