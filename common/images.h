/* images.h: a set of images in memory, whatever file or generator it came from. */
#ifndef ICD_IMAGES_H
#define ICD_IMAGES_H

#include <stdint.h>

#include "memory.h"

typedef struct {
    int n, c, h, w;        /* n images of c channels, h rows, w columns; all positive */
    float *x;              /* (n,c,h,w), images in [0,1]; memory from the arena that the reader was given */
    int32_t *label;        /* (n), each in 0..classes-1; NULL where there are none */
    int classes;           /* 0 where there are no labels */
} icd_images;

/* The number of values of one image: c*h*w. */
static inline size_t icd_image_size(const icd_images *s) { return (size_t)s->c * (size_t)s->h * (size_t)s->w; }

#endif
