/* portable.h: every slot of backend.h in scalar C99, portable_SLOT for each SLOT; other tables may take single slots. */
#ifndef FAST_PORTABLE_H
#define FAST_PORTABLE_H

#include "fast/backend.h"

extern const fast_backend fast_portable;

/* Where image i, channel k, pixel p is in a blocked tensor (n,B,hw,16) and in a planar one (n,c,hw). The next pixel is 16
 * floats on in the one, 1 in the other. */
static inline size_t blocked_at(int c, int hw, int i, int k, int p)
{
    size_t block = (size_t)i * (size_t)fast_blocks(c) + (size_t)(k / FAST_LANES);
    return (block * (size_t)hw + (size_t)p) * FAST_LANES + (size_t)(k % FAST_LANES);
}
static inline size_t planar_at(int c, int hw, int i, int k, int p)
{
    return ((size_t)i * (size_t)c + (size_t)k) * (size_t)hw + (size_t)p;
}

/* The lanes beyond c of y (n,B,hw,16) become 0. */
void portable_zero_tail(int n, int c, int hw, float *y);

/* weights.c */
void portable_weight_std_fwd(fast_ctx *, int o, int m, const float *w, float *out);
void portable_weight_std_bwd(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
void portable_spectral_fwd(fast_ctx *, int o, int m, const float *w, float *out);
void portable_spectral_bwd(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
size_t portable_spectral_scratch(int o, int m);

/* conv.c */
void portable_conv_choose(int n, int winograd, fast_conv *c);
size_t portable_conv_scratch(int n, const fast_conv *c);
size_t portable_conv_packed(const fast_conv *c);
void portable_conv_pack(fast_ctx *, const fast_conv *c, const float *w, float *packed);
void portable_conv_fwd(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                       const float *add, float *y);
void portable_conv_bwd_x(fast_ctx *, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                         float *gx);
void portable_conv_bwd_w(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw);
void portable_bias_bwd(fast_ctx *, int n, int c, int hw, const float *gy, const float *scale, float *gb);

/* norm.c */
size_t portable_norm_scratch(int n, const fast_norm *s);
void portable_norm_swish_fwd(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const float *add, float *y, const fast_norm_saved *saved);
void portable_norm_swish_bwd(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                             float *gbias);
void portable_norm_swish_tan(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                             const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t);
void portable_norm_swish_bwd2(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                              const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                              float *ggain, float *gbias);
void portable_class_affine_fwd(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                               const float *class_gain, const float *class_bias, float *image_gain, float *image_bias);
void portable_class_affine_bwd(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                               const float *class_gain, const float *image_ggain, const float *image_gbias, float *ggain,
                               float *gbias, float *gclass_gain, float *gclass_bias);

/* act.c */
void portable_act_fwd(fast_ctx *, fast_act a, float slope, size_t count, const float *x, float *y);
void portable_act_bwd(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx);
void portable_act_bwd2(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                       const float *gy, float *hx);

/* pool.c */
void portable_avgpool_fwd(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y);
void portable_avgpool_bwd(fast_ctx *, int images, int h, int w, int lanes, const float *gy, float *gx);
void portable_maxpool_fwd(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which);
void portable_maxpool_tan(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t);
void portable_maxpool_bwd(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx);
void portable_mean_fwd(fast_ctx *, int n, int c, int hw, const float *x, float *y);
void portable_mean_bwd(fast_ctx *, int n, int c, int hw, const float *gy, float *gx);

/* attention.c */
size_t portable_attn_scratch(int n, const fast_attn *s);
void portable_attn_fwd(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                       float *rows);
void portable_attn_bwd(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                       const float *rows, const float *go, float *gq, float *gk, float *gv);
void portable_attn_tan(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                       const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t);
void portable_attn_bwd2(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                        const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho,
                        const float *go, float *hq, float *hk, float *hv);

/* elementwise.c */
void portable_pack(fast_ctx *, int n, int c, int hw, const float *planar, float *blocked);
void portable_unpack(fast_ctx *, int n, int c, int hw, const float *blocked, float *planar);
void portable_scale_add(fast_ctx *, size_t count, const float *a, const float *x, const float *add, float *y);
void portable_copy(fast_ctx *, size_t count, const float *from, float *to);
void portable_zero(fast_ctx *, size_t count, float *to);
void portable_mul_add(fast_ctx *, size_t count, float a, const float *m, const float *x, const float *y, float *out);
void portable_dot(fast_ctx *, int n, size_t count, const float *a, const float *b, const float *scale, float *out);
void portable_loss_weights(fast_ctx *, int n, int scales, const float *const *y, int together, float c0, float c1,
                           float *energy, float *weight);

/* chain.c */
void portable_nearest(fast_ctx *, const fast_nearest *e);
void portable_langevin(fast_ctx *, const fast_langevin *l);

/* update.c */
void portable_sum_squares(fast_ctx *, size_t count, const float *a, const float *b, double *out);
void portable_adam(fast_ctx *, const fast_adam *a);

#endif
