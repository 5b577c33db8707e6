/* augment_parts.h: the parts of augment.h with their choices made: no draws here but the crop's box and the field's. */
#ifndef ICD_AUGMENT_PARTS_H
#define ICD_AUGMENT_PARTS_H

#include "field.h"
#include "rng.h"

typedef struct { int top, left, h, w; } icd_box;      /* pixels */

/* torchvision's law of RandomResizedCrop: up to ten tries of an area and an aspect, sides rounded to pixels; where none
 * fits, the largest box in the middle whose aspect is between 3/4 and 4/3. Draws 0..39 of s. */
icd_box icd_crop_box(const icd_stream *s, double crop_min, int h, int w);

/* x (c,h,w) in place. work: c*h*w floats. */
void icd_crop(icd_box b, int c, int h, int w, float *x, float *work);      /* bilinear, corners not aligned, edges repeat */
void icd_flip(int c, int h, int w, float *x);                              /* left becomes right */
void icd_elastic(const icd_field *dx, const icd_field *dy, int c, int h, int w, float *x, float *work);
                                    /* the pixel at (x,y) comes from (x+dx, y+dy), bilinear, edges repeat */
void icd_blur(double sigma, int c, int h, int w, float *x, float *work);   /* Gaussian out to 3 sigma, reflected borders */

/* x (3,n): red, green, blue of n pixels in [0,1]; each result clamped to [0,1]. */
void icd_brightness(float factor, int n, float *x);      /* factor * x */
void icd_contrast(float factor, int n, float *x);        /* factor * x + (1-factor) * the image's mean grey */
void icd_saturation(float factor, int n, float *x);      /* factor * x + (1-factor) * the pixel's grey */
void icd_hue(float turn, int n, float *x);               /* the hue of HSV, by `turn` of the circle */
void icd_grey(int n, float *x);                          /* 0.299 red + 0.587 green + 0.114 blue, in all three */

#endif
