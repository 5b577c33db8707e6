/* slots.h: every slot of backend.h as CUDA kernels launched by host functions, CUDA_(SLOT) for each SLOT. All pointers are the
 * device's, save structs that are passed whole and loss_weights' list of scales. */
#ifndef FAST_CUDA_SLOTS_H
#define FAST_CUDA_SLOTS_H

#include "fast/backend.h"
#include "fast/cuda/device.h"

/* One source, two builds: for the device (nvcc), and for the emulator of any machine (a C++ compiler). */
#if defined(__CUDACC__)
#define CUDA_(name) cuda_##name
#else
#define CUDA_(name) emulated_##name
#endif

namespace CUDA_SIDE {
extern const fast_device device;         /* of all the tables (device.cu) */
void check(cudaError_t e, const char *call);     /* keeps the first failure, for device.fault() */
}
#define CHECKED(call) CUDA_SIDE::check(call, #call)

extern "C" {

/* Every launch goes to this stream, which the engine captures. (device.cu) */
extern cudaStream_t CUDA_(stream);
/* Zeros, for last_block() of reduce.h, which leaves them so. (device.cu) */
enum { CUDA_TICKETS = 256 };
extern unsigned *CUDA_(tickets);

enum { CUDA_SCRATCH = 4 << 20 };         /* the tables' `scratch`: what reductions may put between their two launches */

/* weights.cu */
void CUDA_(weight_std_fwd)(fast_ctx *, int o, int m, const float *w, float *out);
void CUDA_(weight_std_bwd)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
void CUDA_(spectral_fwd)(fast_ctx *, int o, int m, const float *w, float *out);
void CUDA_(spectral_bwd)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
size_t CUDA_(spectral_scratch)(int o, int m);

/* conv.cu */
void CUDA_(conv_choose)(int n, int winograd, fast_conv *c);
size_t CUDA_(conv_scratch)(int n, const fast_conv *c);
size_t CUDA_(conv_packed)(const fast_conv *c);
void CUDA_(conv_pack)(fast_ctx *, const fast_conv *c, const float *w, float *packed);
void CUDA_(conv_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                     const float *add, float *y);
void CUDA_(conv_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                       float *gx);
void CUDA_(conv_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw);
void CUDA_(conv_swish_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                           float *y, float *s);
void CUDA_(conv_swish_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *y, const float *gs, const float *packed,
                             const float *add, float *gx);
void CUDA_(bias_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, const float *scale, float *gb);

/* norm_swish.cu */
size_t CUDA_(norm_scratch)(int n, const fast_norm *s);
void CUDA_(norm_swish_fwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const float *add, float *y, const fast_norm_saved *saved);
void CUDA_(norm_swish_bwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                           float *gbias);
void CUDA_(norm_swish_tan)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t);
void CUDA_(norm_swish_bwd2)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                            const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                            float *ggain, float *gbias);
void CUDA_(class_affine_fwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *class_bias, float *image_gain, float *image_bias);
void CUDA_(class_affine_bwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *image_ggain, const float *image_gbias, float *ggain,
                             float *gbias, float *gclass_gain, float *gclass_bias);

/* act.cu */
void CUDA_(act_fwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, float *y);
void CUDA_(act_bwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx);
void CUDA_(act_bwd2)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                     const float *gy, float *hx);

/* pool.cu */
void CUDA_(avgpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y);
void CUDA_(avgpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *gy, float *gx);
void CUDA_(avgpool_swish_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, float *s);
void CUDA_(avgpool_swish_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *y, const float *gs, float *gx);
void CUDA_(maxpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which);
void CUDA_(maxpool_tan)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t);
void CUDA_(maxpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx);
void CUDA_(mean_fwd)(fast_ctx *, int n, int c, int hw, const float *x, float *y);
void CUDA_(mean_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, float *gx);

/* attention.cu */
size_t CUDA_(attn_scratch)(int n, const fast_attn *s);
void CUDA_(attn_fwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                     float *rows);
void CUDA_(attn_bwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *go, float *gq, float *gk, float *gv);
void CUDA_(attn_tan)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                     const float *rows, const float *q_t, const float *k_t, const float *v_t, float *o_t);
void CUDA_(attn_bwd2)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v,
                      const float *rows, const float *q_t, const float *k_t, const float *v_t, const float *ho,
                      const float *go, float *hq, float *hk, float *hv);

/* elementwise.cu */
void CUDA_(pack)(fast_ctx *, int n, int c, int hw, const float *planar, float *blocked);
void CUDA_(unpack)(fast_ctx *, int n, int c, int hw, const float *blocked, float *planar);
void CUDA_(scale_add)(fast_ctx *, size_t count, const float *a, const float *x, const float *add, float *y);
void CUDA_(copy)(fast_ctx *, size_t count, const float *from, float *to);
void CUDA_(zero)(fast_ctx *, size_t count, float *to);
void CUDA_(mul_add)(fast_ctx *, size_t count, float a, const float *m, const float *x, const float *y, float *out);
void CUDA_(dot)(fast_ctx *, int n, size_t count, const float *a, const float *b, const float *scale, float *out);
void CUDA_(loss_weights)(fast_ctx *, int n, int scales, const float *const *y, int together, float c0, float c1,
                         float *energy, float *weight);

/* langevin.cu, nearest.cu */
void CUDA_(langevin)(fast_ctx *, const fast_langevin *l);
void CUDA_(nearest)(fast_ctx *, const fast_nearest *e);

/* update.cu */
void CUDA_(sum_squares)(fast_ctx *, size_t count, const float *a, const float *b, double *out);
void CUDA_(adam)(fast_ctx *, const fast_adam *a);

}

#endif
