/* backend.h: the kernel table: the whole of what a port has to write. fast/PORTING.md is the guide.
 *
 * A plan (plan.h) turns an architecture into calls of these slots; the engine (engine_fast.c) runs them on a few images at a
 * time, a part, one thread a part. A slot works on its own images only and knows nothing of threads. The plan has checked
 * every shape, so slots return nothing. A slot is a pure function of what it is given: no state, no clock, no thread count,
 * sums in an order that the shape alone decides.
 *
 * LAYOUTS  n images, c channels, h rows, w columns, float:
 *   planar    (n,c,h,w), as files and common/ have it. Images at the net's border.
 *   blocked   (n, B, h, w, 16), B = ceil(c/16): channel k is lane k%16 of block k/16. Everything within the net. Lanes beyond
 *             c are 0 in every tensor that a slot reads, and a slot leaves them 0 in every tensor that it writes.
 *   per-channel vectors (gain, bias, their gradients) are plain arrays of c floats, never padded.
 * ALIGNMENT  Tensors, packed weights and scratch begin at multiples of 64 bytes, save planar ones, parameters and their
 *   gradients, which are only aligned as floats. A blocked tensor has no padding behind it: a slot never reads or writes
 *   outside the counts given here.
 * ALIASING  Outputs never overlap inputs, save where a slot says "may be" so.
 * NAMES  x, y: input and output; x_t: tangent (derivative along a direction) of x; gy: adjoint of y in the plain backward
 *   pass, d sum E/dy, which is at once the adjoint of y_t in the second pass; hy: adjoint of y in the second pass,
 *   d sum E_t/dy. Passes: fwd, bwd, tan, bwd2 (second-order backward). A linear slot needs no tan and no bwd2 of its own.
 * NAN, INF  go through as IEEE arithmetic takes them; no slot may turn a NaN into a number.
 * WEIGHTS OF IMAGES  Where a slot sums a parameter's gradient over images, `scale` (n) multiplies image i's share; NULL: 1.
 *   Parameter gradients are added to what is there (+=).
 * MEMORY  Whatever a plan's passes do to tensors, rows and gradients, they do by slots: those may lie where only the table's
 *   processor reaches. */
#ifndef FAST_BACKEND_H
#define FAST_BACKEND_H

#include <stddef.h>
#include <stdint.h>

enum { FAST_LANES = 16 };
static inline int fast_blocks(int c) { return (c + FAST_LANES - 1) / FAST_LANES; }
/* Floats of one image of a blocked tensor. */
static inline size_t fast_blocked(int c, int h, int w) { return (size_t)fast_blocks(c) * (size_t)h * (size_t)w * FAST_LANES; }

/* One thread's work: `scratch` is what a slot may scribble in, as many bytes as the table's `scratch` or the largest answer of
 * its *_scratch functions, whichever is more, 64-byte aligned; its contents are lost between calls. */
typedef struct { void *scratch; size_t bytes; } fast_ctx;

/* ---- convolution; a dense layer is a 1x1 convolution of a 1x1 image ----                                [ICD:table5] */
typedef enum {
    FAST_CONV_AUTO,          /* the table's own choice (choose) */
    FAST_CONV_GEMM,          /* gather patches, multiply: any shape */
    FAST_CONV_DIRECT,        /* rows of the padded image multiplied in place: stride 1, or planar */
    FAST_CONV_WINOGRAD2,     /* F(2x2,3x3): 3x3 stride 1 pad 1 */
    FAST_CONV_WINOGRAD4,     /* F(4x4,3x3): likewise */
    FAST_CONV_TF32,          /* tensor cores: products of TF32, sums in float */
    FAST_CONV_BF16           /* of BF16 */
} fast_conv_algorithm;

typedef struct {
    int ci, hi, wi;          /* channels, rows, columns in */
    int co, ho, wo;          /* out: ho = (hi + 2p - k)/s + 1 */
    int k, s, p;             /* window k x k, stride, padding with zeros */
    int planar;              /* x (and gx) is planar: the layer that sees the image. y is always blocked */
    fast_conv_algorithm fwd, bwd_x, bwd_w;       /* how; set by choose(). portable/ ignores them */
} fast_conv;

/* ---- y = swish(gain xhat + bias) + add, xhat = (x - mean)/sqrt(var + 1e-5) over each group of channels of each image,
 * biased variance; groups = 0: xhat = x. swish(z) = z/(1 + exp(-z)).                                   [ICD:B.1] ---- */
typedef struct {
    int c, h, w;
    int groups;              /* divides c; 0: no normalisation */
    int per_image;           /* 1: gain and bias are (n,c), and so are their gradients (conditional models); 0: (c) */
} fast_norm;

/* What fwd leaves for the other passes: blocked d = swish'(z) (n images; NULL where the table recomputes it), and stats
 * (n, max(groups,1), 2): mean and 1/sqrt(var + 1e-5) (with groups = 0: 0 and 1). */
typedef struct { float *d; float *stats; } fast_norm_saved;

typedef enum { FAST_SWISH, FAST_LRELU } fast_act;

/* ---- o = softmax over keys (q . k) v: per image, (sq) queries and (sk) keys of dk channels, values of dv ----
 * q (n,dk,sq), k (n,dk,sk), v (n,dv,sk), o (n,dv,sq), all blocked with w = sq or sk, h = 1.     [ICD:table5.attn] [ANA:nets] */
typedef struct { int dk, dv, sq, sk; } fast_attn;

/* ---- one Langevin move of n chains of d pixels (planar) in one pass ----                       [ICD:alg1.10] [GL:1]
 * out = x - step_size g + noise z, then with clamp to [0,1], in this order of operations, in float.
 * z of image i, pixel j is (float)normals[i*d + j], or the draw icd_normal((seed, *iteration, purpose, sample + i), first+j). */
typedef struct {
    int n, d;
    const float *x;          /* out may be x */
    const float *g;          /* NULL: no drift */
    float *out;
    float step_size, noise;  /* noise 0: none drawn */
    int clamp;
    uint64_t seed, first;
    const uint64_t *iteration;       /* one, read when the move is made: a recorded call may be sent again for another */
    uint32_t purpose, sample;
    const double *normals;   /* NULL: draw */
    float *inside;           /* (n,d) or NULL: gets 1 where 0 <= value before the clamp <= 1, else 0 (1 without clamp) */
    double *length;          /* (n) or NULL: += |g_i|_2 */
    int *finite;             /* (n) or NULL: set to 0 if a pixel of out is not finite, else left alone */
} fast_langevin;

/* ---- nearest neighbour entropy: the search and the cotangent of the last state in one pass ----           [ICD:6] [ICD:8]
 * For each x the nearest of X: index, ties to the lowest, and the squared distance: both exactly those of sum over pixels in
 * order of ((double)x - X)^2, accumulated in double. A distance that is NaN is never the smallest; where none is smaller than
 * infinity: index 0, INFINITY. Then v = inside (w_opt g - w_ent (x - X[index])/square); square <= 1e-12: no second term. */
typedef struct {
    int n, d, m;             /* d at most 1 << 20; m 0: no second term, and index and square are left alone */
    const float *x, *X;      /* (n,d), (m,d) */
    const float *g;          /* (n,d) */
    const float *inside;     /* (n,d) or NULL: 1 */
    float w_opt, w_ent;
    int32_t *index;          /* (n) */
    double *square;          /* (n) */
    float *v;                /* (n,d) */
} fast_nearest;

/* ---- Adam with clipping by the norm of the whole gradient, then the EMA, in one pass ----     [ICD:alg1.17] [ICD:3.1]
 * g = clip (cd + kl), clip = grad_clip/sqrt(square) where grad_clip > 0 and that is below 1, else 1;
 * m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; theta -= lr (m/c1)/(sqrt(v/c2) + eps);
 * ema = decay ema + (1-decay) theta, that theta before it is rounded: each value in double from the floats that were stored,
 * and rounded once when it is stored. */
typedef struct {
    size_t count;
    const float *cd, *kl;
    float *theta, *ema, *m, *v;
    const double *square;    /* sum of (cd + kl)^2 over all parameters */
    double grad_clip, lr, beta1, beta2, c1, c2, eps, decay;
} fast_adam;

/* ---- where a table's tensors lie, if not in the host's memory; ctx->scratch and every pointer that a slot gets lie there,
 * save structs that are passed whole and loss_weights' list of scales. Slots may return before they are done. One host thread
 * calls them, and puts, gets and slots take effect in the order of the calls. ---- */
typedef enum { FAST_CHAIN, FAST_LOSSES, FAST_UPDATE, FAST_RECORDS } fast_record;
enum { FAST_BRANCHES = 3 };              /* one a scale */

typedef struct {
    int part;                            /* images that the table likes to work on at once */
    void *(*alloc)(size_t bytes);        /* zeros, aligned to 256 bytes; NULL: not to be had */
    void (*release)(void *);
    void *(*host)(size_t bytes);         /* zeros that the host reaches, and the device by itself; NULL: not to be had */
    void (*host_release)(void *);
    /* Of host() memory: `host` is read, and written, at any time until a wait for it. Of other memory: before they return. */
    void (*put)(void *to, const void *host, size_t bytes);
    void (*get)(void *host, const void *from, size_t bytes);
    void (*mark)(void);
    const char *(*wait)(void);           /* until all that was called before the last mark is done; then as fault() */
    size_t (*available)(void);           /* bytes that could be had now */
    /* What is called from begin to end, slots and branches only, may be recorded and sent as one. end's answer is the record's
     * number, 0 where it is not kept; again sends the record of that number once more: 1, or 0 where it is kept no more. */
    void (*begin)(fast_record);
    unsigned (*end)(fast_record);
    int (*again)(fast_record, unsigned number);
    /* Branches, slots only: what is called after branch(b), 0 <= b < FAST_BRANCHES, follows what was called before the first
     * branch() and what branch b had since; join(): what comes now follows all branches. */
    void (*branch)(int b);
    void (*join)(void);
    const char *(*fault)(void);          /* the first failure since it was last asked, waiting for all calls; NULL: none */
} fast_device;

typedef struct fast_backend fast_backend;
struct fast_backend {
    const char *name;                    /* portable, avx2, avx512, neon, cuda, cuda:tf32 ... */
    const char *about;
    int (*usable)(void);                 /* asks the machine, not the build: 1, or 0 */
    const fast_device *device;           /* NULL: the host's memory */
    double unit;                         /* 0; or what it rounds factors of convolutions to, if not to floats: 2^-11 for TF32 */
    int recomputes;                      /* 1: norm_swish_* take swish'(z) from x anew, and saved->d is NULL; 0: fwd saves it */
    size_t scratch;                      /* bytes of scratch that slots without a *_scratch function may want; most want none */

    /* -- weights, once after every change of the parameters -- */

    /* w (o,m) -> out: each row minus its mean, divided by (unbiased sd + 1e-5). out may be w. gw += transpose of its
     * Jacobian times gout. */
    void (*weight_std_fwd)(fast_ctx *, int o, int m, const float *w, float *out);
    void (*weight_std_bwd)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
    /* w (o,m) / sigma, sigma = u.(w v) after 12 power iterations v = unit(wT u), u = unit(w v) from u = 1/sqrt(o),
     * unit(x) = x/sqrt(|x|^2 + 1e-12); the iterations are part of the function that bwd differentiates.      [GL:5.2.2] */
    void (*spectral_fwd)(fast_ctx *, int o, int m, const float *w, float *out);
    void (*spectral_bwd)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw);
    size_t (*spectral_scratch)(int o, int m);

    /* -- convolution. w (co,ci,k,k) -- */

    /* Choose fwd, bwd_x, bwd_w for parts of n images; winograd: the largest tile allowed, 4, 2 or 0 (none). */
    void (*conv_choose)(int n, int winograd, fast_conv *c);
    size_t (*conv_scratch)(int n, const fast_conv *c);                /* bytes for any of the three passes of n images */
    size_t (*conv_packed)(const fast_conv *c);                        /* floats of a packed weight, for fwd and bwd_x */
    void (*conv_pack)(fast_ctx *, const fast_conv *c, const float *w, float *packed);
    /* y = w * x + bias + add. bias (co) or NULL; add: like y or NULL, may be y. */
    void (*conv_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                     const float *add, float *y);
    /* gx = wT * gy + add. add: like gx or NULL, may be gx. */
    void (*conv_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                       float *gx);
    /* gw (co,ci,k,k) += sum over images and pixels scale gy x. */
    void (*conv_bwd_w)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *gy, const float *scale, float *gw);
    /* gb (c) += sum over images and pixels of scale gy. */
    void (*bias_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, const float *scale, float *gb);

    /* -- norm + swish, fused in each of the four passes -- */

    size_t (*norm_scratch)(int n, const fast_norm *s);                /* for any of the four passes of n images */
    /* add: like y or NULL. saved->d, if not NULL, and ->stats are written. */
    void (*norm_swish_fwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const float *add, float *y, const fast_norm_saved *saved);
    /* gx; ggain, gbias: +=, or NULL, with scale. (add's adjoint is gy itself.) */
    void (*norm_swish_bwd)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *gy, float *gx, const float *scale, float *ggain,
                           float *gbias);
    /* y_t = J x_t + add_t. add_t: like y_t or NULL. */
    void (*norm_swish_tan)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                           const fast_norm_saved *saved, const float *x_t, const float *add_t, float *y_t);
    /* hx from hy, gy (adjoints of y and y_t), x and x_t; ggain, gbias += those of sum (hy.y + gy.y_t) by gain and bias. */
    void (*norm_swish_bwd2)(fast_ctx *, int n, const fast_norm *s, const float *x, const float *gain, const float *bias,
                            const fast_norm_saved *saved, const float *x_t, const float *hy, const float *gy, float *hx,
                            float *ggain, float *gbias);

    /* -- gain and bias of images with classes: per_image gain = class_gain[label] gain, bias = class_gain[label] bias +
     * class_bias[label]. gain, bias (c), both or neither NULL (1 and 0); tables (classes,c); the images' (n,c) -- */

    void (*class_affine_fwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *class_bias, float *image_gain, float *image_bias);
    /* ggain, gbias (NULL where gain is), gclass_gain, gclass_bias: +=, from the gradients by the images'. */
    void (*class_affine_bwd)(fast_ctx *, int n, int c, const int32_t *labels, const float *gain, const float *bias,
                             const float *class_gain, const float *image_ggain, const float *image_gbias, float *ggain,
                             float *gbias, float *gclass_gain, float *gclass_bias);

    /* -- activation alone: swish, or x where x > 0 and slope x elsewhere. count floats of any layout -- */

    void (*act_fwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, float *y);
    /* gx = a'(x) gy; with gy = x_t the tangent. gx may be gy. */
    void (*act_bwd)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *gy, float *gx);
    /* hx = a'(x) hy + a''(x) x_t gy. */
    void (*act_bwd2)(fast_ctx *, fast_act a, float slope, size_t count, const float *x, const float *x_t, const float *hy,
                     const float *gy, float *hx);

    /* -- pools. lanes: 16 for a blocked tensor (images = n times blocks), 1 for a planar one (images = n times c) -- */

    /* y (images, (h+1)/2, (w+1)/2, lanes): average over 3x3, stride 2, padding 1 counted as 0. [ICD:2.4] [ICD:table5.down] */
    void (*avgpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y);
    void (*avgpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *gy, float *gx);
    /* y (images, h/2, w/2, lanes): largest of 2x2, ties to the first in row order, a NaN before any number. which: 0..3, the
     * place of the largest. tan gathers, bwd scatters (gx is written in full). */
    void (*maxpool_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which);
    void (*maxpool_tan)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t);
    void (*maxpool_bwd)(fast_ctx *, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx);
    /* y (n,c,1,1) blocked: mean over hw pixels; gx = gy/hw at each. */
    void (*mean_fwd)(fast_ctx *, int n, int c, int hw, const float *x, float *y);
    void (*mean_bwd)(fast_ctx *, int n, int c, int hw, const float *gy, float *gx);

    /* -- layout -- */

    void (*pack)(fast_ctx *, int n, int c, int hw, const float *planar, float *blocked);
    void (*unpack)(fast_ctx *, int n, int c, int hw, const float *blocked, float *planar);

    /* -- attention: never a whole sq x sk matrix in memory unless scratch says so -- */

    size_t (*attn_scratch)(int n, const fast_attn *s);
    /* rows (n,sq,2): largest logit and 1/sum exp(logit - largest) of each query, for the other passes. */
    void (*attn_fwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, float *o,
                     float *rows);
    void (*attn_bwd)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                     const float *go, float *gq, float *gk, float *gv);
    void (*attn_tan)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                     const float *q_t, const float *k_t, const float *v_t, float *o_t);
    void (*attn_bwd2)(fast_ctx *, int n, const fast_attn *s, const float *q, const float *k, const float *v, const float *rows,
                      const float *q_t, const float *k_t, const float *v_t, const float *ho, const float *go, float *hq,
                      float *hk, float *hv);

    /* -- elementwise, count floats -- */

    void (*copy)(fast_ctx *, size_t count, const float *from, float *to);
    void (*zero)(fast_ctx *, size_t count, float *to);
    /* y = a x + add. *a: a parameter; NULL: 1. add NULL: 0. y may be x or add. */
    void (*scale_add)(fast_ctx *, size_t count, const float *a, const float *x, const float *add, float *y);
    /* out = m (x + a y). m NULL: 1; x NULL: 0. out may be x. */
    void (*mul_add)(fast_ctx *, size_t count, float a, const float *m, const float *x, const float *y, float *out);
    /* *out += sum over images i of scale[i] <a_i, b_i>, (n,count) each, summed in double. */
    void (*dot)(fast_ctx *, int n, size_t count, const float *a, const float *b, const float *scale, float *out);

    /* -- energies and what the losses weigh them with -- */

    /* y[s] (n,1,1,1) blocked: what scale s gives. energy (scales,n): the same, unpadded. weight (scales,n) or NULL: gets
     * c0 + c1 E, E this scale's energy, or with `together` the sum of the scales'.                  [ICD:2.4] [ICD:5] */
    void (*loss_weights)(fast_ctx *, int n, int scales, const float *const *y, int together, float c0, float c1, float *energy,
                         float *weight);

    /* -- chain, entropy, update -- */

    void (*langevin)(fast_ctx *, const fast_langevin *l);
    void (*nearest)(fast_ctx *, const fast_nearest *e);
    /* *out = sum (a + b)^2, in double; b NULL: 0. */
    void (*sum_squares)(fast_ctx *, size_t count, const float *a, const float *b, double *out);
    void (*adam)(fast_ctx *, const fast_adam *a);

    /* -- two calls in one, each NULL where the table lacks it: the plan then makes the two calls. s = swish(y), like y; gs: its
     * adjoint. No output overlaps an input, save gx, which may be add. --                                  [ICD:B.1] -- */

    /* y = conv_fwd without add, and s; c planar. gx = conv_bwd_x of swish'(y) gs. */
    void (*conv_swish_fwd)(fast_ctx *, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                           float *y, float *s);
    void (*conv_swish_bwd_x)(fast_ctx *, int n, const fast_conv *c, const float *y, const float *gs, const float *packed,
                             const float *add, float *gx);
    /* y = avgpool_fwd, and s. gx = avgpool_bwd of swish'(y) gs. */
    void (*avgpool_swish_fwd)(fast_ctx *, int images, int h, int w, int lanes, const float *x, float *y, float *s);
    void (*avgpool_swish_bwd)(fast_ctx *, int images, int h, int w, int lanes, const float *y, const float *gs, float *gx);
};

/* Every table that this build has, best first; ends with NULL. */
extern const fast_backend *const fast_backends[];
/* The table of that name (NULL: the first usable). NULL: there is none. Not usable is not nowhere: ask usable(). */
const fast_backend *fast_backend_find(const char *name);
/* Where other builds have a table of that name that this one lacks, in words; NULL: nowhere. */
const char *fast_backend_elsewhere(const char *name);
/* The name of the first slot that the table leaves NULL; NULL: complete. */
const char *fast_backend_missing(const fast_backend *b);

#endif
