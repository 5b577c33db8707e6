/* arch.h: an architecture: one line of text becomes scales, layers with their shapes, and a list of parameters.
 *
 *   full: conv F | swish | res F | down 2F | attn | swish | mean | dense 1 ; half: ...
 *
 * Scales are separated by `;` and named full, half, quarter (they see the image through 0, 1, 2 average pools 3x3 stride 2
 * pad 1, padding counted); a line without a name is `full`. Channel counts are numbers or multiples of the setting
 * `filters`: F, 2F, F/2. There are no derivatives here: ref/ and fast/ share this file. */
#ifndef ICD_ARCH_H
#define ICD_ARCH_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"

typedef enum {
    ICD_CONV,       /* conv C [k s p]   k 3, s 1, p k/2 unless given; with bias */
    ICD_SWISH,      /* swish            x * logistic(x) */
    ICD_LRELU,      /* lrelu A          x where x > 0, A x elsewhere */
    ICD_RES,        /* res C            conv1 3x3 -> norm1 -> [gain, bias of the class] -> swish -> conv2 3x3 -> norm2 -> swish,
                                        + x, through a 1x1 `skip` without bias where the channels change */
    ICD_DOWN,       /* down C           res at the incoming channels, then conv 3x3 to C, average pool 3x3 s2 p1, swish */
    ICD_ATTN,       /* attn             gamma * softmax_keys(q k) v + x; query and key of C/8 channels, value C; 1x1 convs */
    ICD_NONLOCAL,   /* nonlocal         w(softmax(theta phi) g) + x with C/2 channels, phi and g max-pooled 2x2 (Anatomy) */
    ICD_MAXPOOL,    /* maxpool          2x2 stride 2; a last odd row or column is dropped */
    ICD_MEAN,       /* mean             global mean: (C,h,w) -> (C,1,1) */
    ICD_FLATTEN,    /* flatten          (C,h,w) -> (C*h*w,1,1) in that order */
    ICD_DENSE       /* dense C          weight (C, in), bias (C) */
} icd_layer_kind;

typedef enum { ICD_NORM_NONE, ICD_NORM_GROUP, ICD_NORM_INSTANCE, ICD_NORM_AUTO } icd_norm;

/* Model-wide settings. */
typedef struct {
    int filters;             /* what F stands for */
    icd_norm norm;           /* group: min(groups, C) groups; instance: C groups; auto: instance up to 128 channels, else group */
    int groups;
    int weight_std;          /* conv1 and conv2 of res and down are weight-standardised */
    int spectral_norm;       /* every conv and dense weight is divided by its largest singular value */
    int multiscale;          /* 0: keep only the scale `full` */
    int classes;             /* conditional gain and bias per class in res and down; 0: none */
} icd_model_settings;

/* A parameter tensor's part in its layer; the text is the last part of its name. */
typedef enum {
    ICD_WEIGHT, ICD_BIAS,                                        /* weight, bias */
    ICD_CONV1_WEIGHT, ICD_CONV1_BIAS, ICD_NORM1_WEIGHT, ICD_NORM1_BIAS,   /* conv1.weight ... */
    ICD_CLASS_GAIN, ICD_CLASS_BIAS,                              /* class.gain, class.bias: (classes, C) */
    ICD_CONV2_WEIGHT, ICD_CONV2_BIAS, ICD_NORM2_WEIGHT, ICD_NORM2_BIAS,
    ICD_SKIP_WEIGHT,                                             /* skip.weight (O,I,1,1) */
    ICD_DOWN_WEIGHT, ICD_DOWN_BIAS,                              /* conv.weight, conv.bias of `down` */
    ICD_QUERY_WEIGHT, ICD_QUERY_BIAS, ICD_KEY_WEIGHT, ICD_KEY_BIAS, ICD_VALUE_WEIGHT, ICD_VALUE_BIAS, ICD_GAMMA,
    ICD_THETA_WEIGHT, ICD_THETA_BIAS, ICD_PHI_WEIGHT, ICD_PHI_BIAS, ICD_G_WEIGHT, ICD_G_BIAS, ICD_OUT_WEIGHT, ICD_OUT_BIAS,
    ICD_ROLES
} icd_role;

typedef struct {
    icd_layer_kind kind;
    int k, s, p;                     /* conv: kernel, stride, padding */
    double slope;                    /* lrelu */
    int ci, hi, wi, co, ho, wo;      /* channels, rows, columns in and out */
    int param[ICD_ROLES];            /* index into icd_arch.param, -1 where the layer has none */
} icd_layer;

enum { ICD_MAX_LAYERS = 64, ICD_MAX_SCALES = 3 };

typedef struct {
    char name[8];                    /* full, half, quarter */
    int pools;                       /* 0, 1, 2 average pools before the first layer */
    int n_layers;
    icd_layer layer[ICD_MAX_LAYERS];
} icd_scale;

typedef enum { ICD_INIT_ZERO, ICD_INIT_ONE, ICD_INIT_FAN_IN /* U(-b,b), b = 1/sqrt(fan_in) */ } icd_init;

typedef struct {
    char name[64];                   /* full.02.res.conv1.weight */
    int rank, shape[4];              /* as PyTorch lays it out: conv (O,I,kh,kw), dense (O,I), vectors (C), gamma (1) */
    size_t count, offset;            /* values, and where they start in the flat parameter vector */
    icd_init init;
    int fan_in;
    int standardised;                /* this weight goes through weight standardisation */
} icd_param;

typedef struct {
    icd_model_settings model;
    int c, h, w;                     /* of an image */
    int n_scales;
    icd_scale scale[ICD_MAX_SCALES];
    int n_params;
    icd_param *param;                /* in the order of the names; memory from the arena given */
    size_t n_values;                 /* sum of the counts */
    char line[2048];                 /* the line with every F replaced: what goes into a checkpoint */
} icd_arch;

/* Parse a line, or the name of a built-in (below), for images (c,h,w). An error names the position in the line (counted
 * from 1), the word there and what was wanted; also shapes that cannot be (an image too small, channels that the groups do
 * not divide, a last layer that does not end in one number). On failure *out is untouched. */
icd_status icd_arch_parse(icd_arena *a, const char *text, const icd_model_settings *m, int c, int h, int w, icd_arch *out,
                          icd_err *err);

/* Groups of the norm for `channels`: 0 for none. */
int icd_norm_groups(const icd_model_settings *m, int channels);

/* Multiply-adds, times two, of one forward pass over one image: convolutions, dense layers and attention products. */
double icd_arch_flops(const icd_arch *a);

/* The built-in lines: name, text, one line of what it is. */
typedef struct { const char *name, *text, *about; int c, h, w; } icd_builtin_arch;
extern const icd_builtin_arch icd_builtin_archs[];       /* ends with name NULL */
const icd_builtin_arch *icd_builtin_find(const char *name);

const char *icd_layer_name(icd_layer_kind k);            /* conv, swish, ... */

/* The starting value of parameter p: values (count). A pure function of (seed, p). */
void icd_param_init(const icd_arch *a, int p, uint64_t seed, float *values);

#endif
