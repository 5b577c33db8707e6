/* routes_slots.h: what the slots of fast/backend.h compute, by ref/'s tape in double: value, gradient, tangent and second
 * order of one function. The tangent is reverse over reverse (d<JT u, x_t>/du), so nothing here knows a rule of fast/. */
#ifndef ICD_ROUTES_SLOTS_H
#define ICD_ROUTES_SLOTS_H

#include "common/status.h"

typedef struct { int n, c, h, w; } slot_shape;
static inline size_t slot_count(slot_shape s) { return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w; }

typedef enum {
    SLOT_CONV,           /* in: x, w, bias (or only two) */
    SLOT_NORM,           /* in: x, gain, bias; groups 0: no normalisation */
    SLOT_NORM_SWISH,     /* swish of that */
    SLOT_SWISH, SLOT_LRELU, SLOT_AVGPOOL, SLOT_MAXPOOL, SLOT_MEAN,
    SLOT_ATTENTION,      /* in: q (n,1,dk,sq), k (n,1,dk,sk), v (n,1,dv,sk); out (n,1,dv,sq) */
    SLOT_WEIGHT_STD, SLOT_SPECTRAL,
    SLOT_LOG_NEAREST     /* in: x (n,d,1,1); X (m,d): log of the distance to the nearest, (n,1,1,1) */
} slot_function;

typedef struct {
    slot_shape s;
    const double *x;     /* the point */
    const double *x_t;   /* the direction of the tangent; NULL: zeros */
    double *gx;          /* out: JT gy; NULL: not wanted */
    double *hx;          /* out: derivative of <gy, J x_t> + <hy, y>; NULL: not wanted */
} slot_input;

typedef struct {
    slot_function function;
    int stride, pad, groups, m;
    double slope;
    const double *X;
    int inputs;
    slot_input in[3];
    const double *gy, *hy;
    double *y, *y_t;     /* out, like gy; NULL: not wanted */
} slot_route;

icd_status slot_route_f32(const slot_route *r);
icd_status slot_route_f64(const slot_route *r);
icd_status slot_route_complex(const slot_route *r);

#endif
