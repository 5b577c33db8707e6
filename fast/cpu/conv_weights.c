/* conv_weights.c: gradient of the weights of any convolution: R[tap] = sum over pixels of gy times the shifted image.
 *
 * Taps of one row of the window and its row of pixels are read from phases of the padded image: column x of phase q is pixel
 * x s + q, so that consecutive outputs read consecutive pixels whatever the stride. */
#include "fast/cpu/conv.h"

typedef struct {
    int in, out, height, pitch;      /* blocks; rows of the padded image; pixels of a row of one phase */
    ptrdiff_t phase, block;          /* floats from a phase to the next, from a block to the next */
} weights_plan;

static weights_plan plan(const fast_conv *c)
{
    weights_plan p = { fast_blocks(c->ci), fast_blocks(c->co), c->hi + 2 * c->p, (c->wi + 2 * c->p + c->s - 1) / c->s, 0, 0 };
    p.phase = (ptrdiff_t)p.height * p.pitch * 16;
    p.block = p.phase * c->s;
    return p;
}

/* Floats of the products of one block of gy with one panel of blocks of x. */
static size_t panel_floats(const fast_conv *c) { return (size_t)c->k * (size_t)c->k * GEMM_BLOCKS * 256; }

size_t CPU_(gather_bwd_w_scratch)(const fast_conv *c)
{
    weights_plan p = plan(c);
    size_t panels = (size_t)p.out * (size_t)gemm_panels(p.in);
    size_t runs = conv_round((size_t)c->ho * sizeof(gemm_run) / sizeof(float));
    return (size_t)p.in * (size_t)p.block + panels * panel_floats(c) + runs;
}

/* One image times scale into phases. */
static void pad(const fast_conv *c, const weights_plan *p, float scale, const float *x, float *to)
{
    vec by = v_set1(scale);
    memset(to, 0, (size_t)p->in * (size_t)p->block * sizeof *to);
    for (int b = 0; b < p->in; b++)
        for (int y = 0; y < c->hi; y++)
            for (int j = 0; j < c->wi; j++, x += 16) {
                int at = j + c->p;
                float *pixel = to + b * p->block + at % c->s * p->phase + ((ptrdiff_t)(y + c->p) * p->pitch + at / c->s) * 16;
                for (int i = 0; i < 16; i += V_LANES)
                    v_store(pixel + i, v_mul(by, v_load(x + i)));
            }
}

/* Add one image's products. */
static void accumulate(const fast_conv *c, const weights_plan *p, const float *image, const float *gy, gemm_run *run, int first,
                       float *product)
{
    for (int o = 0; o < p->out; o++)
        for (int b = 0; b < p->in; b += GEMM_BLOCKS) {
            int blocks = conv_min(GEMM_BLOCKS, p->in - b);
            for (int t = 0; t < c->k * c->k; t++) {
                int ky = t / c->k, kx = t % c->k;
                for (int y = 0; y < c->ho; y++) {
                    run[y].a = gy + ((ptrdiff_t)o * c->ho + y) * c->wo * 16;
                    run[y].b = image + b * p->block + kx % c->s * p->phase +
                        ((ptrdiff_t)(y * c->s + ky) * p->pitch + kx / c->s) * 16;
                    run[y].length = c->wo;
                }
                CPU_(gemm_outer)(blocks, c->ho, run, p->block, !first, product + (ptrdiff_t)t * GEMM_BLOCKS * 256);
            }
            product += panel_floats(c);
        }
}

/* gw += products: [block out][panel in][tap][16 out][block][16 in]. */
static void add_to(const fast_conv *c, const weights_plan *p, const float *product, float *gw)
{
    int taps = c->k * c->k;
    for (int o = 0; o < c->co; o++)
        for (int i = 0; i < c->ci; i++) {
            int panel = i / 16 / GEMM_BLOCKS, blocks = gemm_panel_blocks(p->in, panel);
            const float *from = product + (size_t)(o / 16 * gemm_panels(p->in) + panel) * panel_floats(c) +
                (o % 16 * blocks + i / 16 % GEMM_BLOCKS) * 16 + i % 16;
            for (int t = 0; t < taps; t++)
                *gw++ += from[(ptrdiff_t)t * GEMM_BLOCKS * 256];
        }
}

void CPU_(gather_bwd_w)(float *scratch, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                        float *gw)
{
    weights_plan p = plan(c);
    float *image = scratch, *product = image + (size_t)p.in * (size_t)p.block;
    gemm_run *run = (gemm_run *)(void *)(product + (size_t)p.out * (size_t)gemm_panels(p.in) * panel_floats(c));
    for (int i = 0; i < n; i++) {
        pad(c, &p, scale ? scale[i] : 1.0f, x + (size_t)i * fast_blocked(c->ci, c->hi, c->wi), image);
        accumulate(c, &p, image, gy + (size_t)i * fast_blocked(c->co, c->ho, c->wo), run, i == 0, product);
    }
    if (n > 0)
        add_to(c, &p, product, gw);
}
