/* augment.h: data augmentation as Markov transitions D(.) of the chains.            [ICD:2.3] [ICD:B.2] [GL:5.3.2] */
#ifndef ICD_AUGMENT_H
#define ICD_AUGMENT_H

#include "rng.h"
#include "status.h"

/* Each part with its parameter and the value that turns it off. In this order: crop, flip, elastic, colour, blur. */
typedef struct {
    double crop_min;         /* random resized crop: area from U(crop_min,1) of the image, aspect log-uniform 3/4..4/3,
                                bilinear back to the full size; 1 = off; in (0,1] */
    double flip;             /* probability of a horizontal flip; 0 = off */
    double elastic;          /* elastic deformation: rms displacement along each axis, in pixels (smooth random field: a
                                bicubic spline of 4x4 cells); 0 = off */
    double color_strength;   /* SimCLR's s: with p 0.8 brightness, contrast, saturation each +-0.8 s and hue +-0.2 s of a turn,
                                in random order, then with p 0.2 greyscale; 0 = off; off unless there are 3 channels */
    double blur_prob;        /* probability of a Gaussian blur, sigma U(0.1,2) pixels; 0 = off */
} icd_augment;

/* True if any part is on for c channels of h by w pixels (1x1 "images" have none). */
int icd_augment_active(const icd_augment *a, int c, int h, int w);

/* x (c,h,w) in [0,1], in place, result clamped to [0,1]; where no part is on, x is left as it is. All draws come from
 * stream s (its purpose and sample set by the caller), so D is a pure function of (x, s). Each part has draws of its own:
 * turning one off does not change another. work: (c+4)*h*w floats, contents lost. */
void icd_augment_apply(const icd_augment *a, const icd_stream *s, int c, int h, int w, float *x, float *work);
static inline size_t icd_augment_work(int c, int h, int w) { return (size_t)(c + 4) * (size_t)h * (size_t)w; }

#endif
