/* slots.h: the slots of fast/cpu other than convolution (fast/backend.h says what each does); table.c collects them. */
#ifndef FAST_CPU_SLOTS_H
#define FAST_CPU_SLOTS_H

#include "fast/backend.h"
#include "fast/cpu/names.h"

/* norm_swish.c, norm_swish2.c */
size_t CPU_(norm_scratch)(int n, const fast_norm *s);
void CPU_(norm_swish_fwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const float *add, float *y, const fast_norm_saved *saved);
void CPU_(norm_swish_bwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                          float *gbias);
void CPU_(norm_swish_tan)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                          const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t);
void CPU_(norm_swish_bwd2)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                           float *ggain, float *gbias);

/* act.c */
void CPU_(act_fwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, float *y);
void CPU_(act_bwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx);
void CPU_(act_bwd2)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                    const float *gy, float *hx);

/* pool.c */
void CPU_(avgpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y);
void CPU_(avgpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *gy, float *gx);
void CPU_(maxpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which);
void CPU_(maxpool_tan)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t);
void CPU_(maxpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx);
void CPU_(mean_fwd)(fast_ctx *, int n, int c, int hw, const float *x, float *y);
void CPU_(mean_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, float *gx);

/* elementwise.c */
void CPU_(pack)(fast_ctx *, int n, int c, int hw, const float *planar, float *blocked);
void CPU_(unpack)(fast_ctx *, int n, int c, int hw, const float *blocked, float *planar);
void CPU_(scale_add)(fast_ctx *, size_t count, const float *a, const float *x, const float *add, float *y);
void CPU_(mul_add)(fast_ctx *, size_t count, float a, const float *m, const float *x, const float *y, float *out);
void CPU_(dot)(fast_ctx *, int n, size_t count, const float *a, const float *b, const float *scale, float *out);

/* attention.c */
size_t CPU_(attn_scratch)(int n, const fast_attn *s);
void CPU_(attn_fwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                    float *rows);
void CPU_(attn_bwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                    const float *go, float *gq, float *gk, float *gv);
void CPU_(attn_tan)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                    const float *q_t, const float *k_t, const float *v_t, float *o_t);
void CPU_(attn_bwd2)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                     const float *q_t, const float *k_t, const float *v_t, const float *ho, const float *go, float *hq,
                     float *hk, float *hv);

/* nearest.c */
void CPU_(nearest)(fast_ctx *, const fast_nearest *e);

/* langevin.c */
void CPU_(langevin)(fast_ctx *, const fast_langevin *l);

/* update.c */
void CPU_(sum_squares)(fast_ctx *, size_t count, const float *a, const float *b, double *out);
void CPU_(adam)(fast_ctx *, const fast_adam *a);

#endif
