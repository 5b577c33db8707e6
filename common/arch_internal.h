/* arch_internal.h: what the parts of the architecture reader share: arch.c reads the text, arch_shape.c gives each layer its
 * shapes, arch_params.c its parameters. */
#ifndef ICD_ARCH_INTERNAL_H
#define ICD_ARCH_INTERNAL_H

#include "arch.h"

enum { ICD_MAX_CHANNELS = 65536, ICD_MAX_SIDE = 65536, ICD_MAX_KERNEL = 255 };
#define ICD_MAX_VALUES 2147483647u      /* of one activation, one attention map, or the whole model's parameters */

/* Where things are in the text, counted from 1. */
typedef struct {
    int scale[ICD_MAX_SCALES], layer[ICD_MAX_SCALES][ICD_MAX_LAYERS];
} icd_arch_positions;

/* Fill hi..wo of every layer, or say which one cannot be. */
icd_status icd_arch_shapes(icd_arch *a, const icd_arch_positions *at, icd_err *err);

/* Fill param of every layer and of the architecture; memory from the arena. Needs the shapes. */
icd_status icd_arch_list_params(icd_arena *arena, icd_arch *a, const icd_arch_positions *at, icd_err *err);

#endif
