/* conv_planar.c: the layer that sees planar images: few channels, so a patch's k are (channel, tap) in the order of w's rows.
 *
 * Patches of 16 pixels of a row are 16 taps of as many consecutive pixels, transposed. */
#include "fast/cpu/conv.h"

/* The zero-padded image is (ci, h + 2p, pitch), with room for reads of 16 pixels beyond a row. */
typedef struct { int k, kbs, height, pitch; size_t image, patches, table; } planar_plan;
static planar_plan plan(const fast_conv *c)
{
    planar_plan p = { c->ci * c->k * c->k, 0, c->hi + 2 * c->p, 0, 0, 0, 0 };
    p.kbs = fast_blocks(p.k);
    p.pitch = c->wi + 2 * c->p + 16 * c->s;
    p.image = conv_round((size_t)c->ci * (size_t)p.height * (size_t)p.pitch);
    p.patches = (size_t)p.kbs * (size_t)c->ho * (size_t)c->wo * 16;
    p.table = conv_round((size_t)(p.kbs + fast_blocks(c->co)) * sizeof(gemm_k) / sizeof(float));
    return p;
}

size_t CPU_(planar_scratch)(const fast_conv *c)
{
    planar_plan p = plan(c);
    return p.image + p.patches + p.table + (size_t)p.kbs * 256;
}

static void pad(const fast_conv *c, const planar_plan *p, float scale, const float *x, float *to)
{
    memset(to, 0, p->image * sizeof *to);
    for (int i = 0; i < c->ci; i++)
        for (int y = 0; y < c->hi; y++, x += c->wi) {
            float *row = to + ((ptrdiff_t)i * p->height + y + c->p) * p->pitch + c->p;
            for (int j = 0; j < c->wi; j++)
                row[j] = scale * x[j];
        }
}

/* Where the elements kb*16.. of the first pixel's patch lie in the padded image. */
static void patch_places(const fast_conv *c, const planar_plan *p, int kb, ptrdiff_t at[16])
{
    int taps = c->k * c->k;
    for (int i = 0; i < conv_min(16, p->k - kb * 16); i++) {
        int tap = (kb * 16 + i) % taps, channel = (kb * 16 + i) / taps;
        at[i] = ((ptrdiff_t)channel * p->height + tap / c->k) * p->pitch + tap % c->k;
    }
}

/* 16 pixels at distance s, from and into the padded image. */
static void read_line(const float *from, int s, float *line)
{
    if (s == 1)
        for (int j = 0; j < 16; j += V_LANES)
            v_store(line + j, v_loadu(from + j));
    else
        for (int j = 0; j < 16; j++)
            line[j] = from[j * s];
}
static void add_line(const float *line, int s, float *to)
{
    if (s == 1)
        for (int j = 0; j < 16; j += V_LANES)
            v_storeu(to + j, v_add(v_loadu(to + j), v_load(line + j)));
    else
        for (int j = 0; j < 16; j++)
            to[j * s] += line[j];
}

/* patches[kb][pixel][16] of one image. */
static void gather(const fast_conv *c, const planar_plan *p, const float *image, float *patches)
{
    float lines[256] __attribute__((aligned(64))), turned[256] __attribute__((aligned(64)));
    for (int kb = 0; kb < p->kbs; kb++, patches += (ptrdiff_t)c->ho * c->wo * 16) {
        ptrdiff_t at[16];
        int count = conv_min(16, p->k - kb * 16);
        patch_places(c, p, kb, at);
        memset(lines, 0, sizeof lines);
        for (int oy = 0; oy < c->ho; oy++)
            for (int ox = 0; ox < c->wo; ox += 16) {
                const float *from = image + (ptrdiff_t)oy * c->s * p->pitch + ox * c->s;
                for (int k = 0; k < count; k++)
                    read_line(from + at[k], c->s, lines + 16 * k);
                v_transpose16(lines, 16, turned);
                memcpy(patches + ((ptrdiff_t)oy * c->wo + ox) * 16, turned, (size_t)conv_min(16, c->wo - ox) * 64);
            }
    }
}

/* The adjoint of gather: image += sum over patches. */
static void scatter(const fast_conv *c, const planar_plan *p, const float *patches, float *image)
{
    float rows[256] __attribute__((aligned(64))), lines[256] __attribute__((aligned(64)));
    for (int kb = 0; kb < p->kbs; kb++, patches += (ptrdiff_t)c->ho * c->wo * 16) {
        ptrdiff_t at[16];
        patch_places(c, p, kb, at);
        for (int oy = 0; oy < c->ho; oy++)
            for (int ox = 0; ox < c->wo; ox += 16) {
                int pixels = conv_min(16, c->wo - ox);
                memset(rows + 16 * pixels, 0, (size_t)(16 - pixels) * 64);
                memcpy(rows, patches + ((ptrdiff_t)oy * c->wo + ox) * 16, (size_t)pixels * 64);
                v_transpose16(rows, 16, lines);
                float *to = image + (ptrdiff_t)oy * c->s * p->pitch + ox * c->s;
                for (int k = 0; k < conv_min(16, p->k - kb * 16); k++)
                    add_line(lines + 16 * k, c->s, to + at[k]);
            }
    }
}

/* Rows of a product over the pixels of one image: every panel, from a to c, both [block][pixel][16]. */
static void multiply(int pixels, int in, int depth, int out, int channels, gemm_k *k, const float *a, const float *packed,
                     const float *bias, const float *add, float *c)
{
    ptrdiff_t plane = (ptrdiff_t)pixels * 16;
    int step = conv_even(pixels, GEMM_ROWS);
    for (int o = 0; o < out; o += GEMM_BLOCKS) {
        int blocks = conv_min(GEMM_BLOCKS, out - o), lanes = conv_min(channels - (o + blocks - 1) * 16, 16);
        gemm_panel panel = { blocks, lanes, depth, in, k, packed, bias ? bias + o * 16 : NULL, plane,
            NULL, 0 };
        for (int b = 0; b < in; b++)
            k[b] = (gemm_k){ b * plane, (ptrdiff_t)b * 256 * blocks };
        packed += conv_panel_floats(1, in, blocks);
        for (int r = 0; r < pixels; r += step) {
            ptrdiff_t at = (ptrdiff_t)r * 16, to = o * plane + at;
            CPU_(gemm)(&panel, conv_min(step, pixels - r), a + at, add ? add + to : NULL, c + to, NULL);
        }
    }
}

size_t CPU_(planar_packed)(const fast_conv *c)
{
    return conv_panel_floats(1, plan(c).kbs, fast_blocks(c->co));
}

/* w (co, ci k k): forward contracts over (ci,k,k), backward over co. [panel][block in][16 in][block out][16 out] */
void CPU_(planar_pack)(const fast_conv *c, int backward, const float *w, float *packed)
{
    planar_plan p = plan(c);
    int out = backward ? p.kbs : fast_blocks(c->co), in = backward ? fast_blocks(c->co) : p.kbs;
    memset(packed, 0, CPU_(planar_packed)(c) * sizeof *packed);
    for (int o = 0; o < c->co; o++)
        for (int k = 0; k < p.k; k++) {
            int from = backward ? o : k, to = backward ? k : o, panel = to / 16 / GEMM_BLOCKS;
            int blocks = gemm_panel_blocks(out, panel);
            packed[conv_panel_floats(1, in, panel * GEMM_BLOCKS) +
                   ((size_t)from * (size_t)blocks + (size_t)(to / 16 % GEMM_BLOCKS)) * 16 + (size_t)to % 16] =
                w[(size_t)o * (size_t)p.k + (size_t)k];
        }
}

void CPU_(planar_fwd)(float *scratch, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                      const float *add, float *y)
{
    planar_plan p = plan(c);
    float *image = scratch, *patches = image + p.image;
    gemm_k *k = (gemm_k *)(void *)(patches + p.patches);
    size_t from = (size_t)c->ci * (size_t)c->hi * (size_t)c->wi, to = fast_blocked(c->co, c->ho, c->wo);
    for (int i = 0; i < n; i++) {
        pad(c, &p, 1.0f, x + (size_t)i * from, image);
        gather(c, &p, image, patches);
        multiply(c->ho * c->wo, p.kbs, conv_depth(p.k), fast_blocks(c->co), c->co, k, patches, packed, bias,
                 add ? add + (size_t)i * to : NULL, y + (size_t)i * to);
    }
}

void CPU_(planar_bwd_x)(float *scratch, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                        float *gx)
{
    planar_plan p = plan(c);
    float *image = scratch, *patches = image + p.image;
    gemm_k *k = (gemm_k *)(void *)(patches + p.patches);
    size_t from = fast_blocked(c->co, c->ho, c->wo);
    for (int i = 0; i < n; i++) {
        memset(image, 0, p.image * sizeof *image);
        multiply(c->ho * c->wo, fast_blocks(c->co), conv_depth(c->co), p.kbs, p.k, k, gy + (size_t)i * from, packed, NULL, NULL,
                 patches);
        scatter(c, &p, patches, image);
        for (int j = 0; j < c->ci; j++)
            for (int y = 0; y < c->hi; y++) {
                const float *row = image + ((ptrdiff_t)j * p.height + y + c->p) * p.pitch + c->p;
                ptrdiff_t at = (((ptrdiff_t)i * c->ci + j) * c->hi + y) * c->wi;
                for (int q = 0; q < c->wi; q++)
                    gx[at + q] = add ? row[q] + add[at + q] : row[q];
            }
    }
}

void CPU_(planar_bwd_w)(float *scratch, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                        float *gw)
{
    planar_plan p = plan(c);
    float *image = scratch, *patches = image + p.image, *product = patches + p.patches + p.table;
    int pixels = c->ho * c->wo;
    for (int i = 0; i < n; i++) {
        pad(c, &p, scale ? scale[i] : 1.0f, x + (size_t)i * (size_t)(c->ci * c->hi * c->wi), image);
        gather(c, &p, image, patches);
        for (int o = 0; o < fast_blocks(c->co); o++) {
            gemm_run run = { gy + ((ptrdiff_t)i * fast_blocks(c->co) + o) * pixels * 16, patches, pixels };
            for (int kb = 0; kb < p.kbs; kb++, run.b += (ptrdiff_t)pixels * 16) {
                CPU_(gemm_outer)(1, 1, &run, 0, 0, product);
                for (int row = 0; row < conv_min(16, c->co - o * 16); row++)
                    for (int q = 0; q < conv_min(16, p.k - kb * 16); q++)
                        gw[(ptrdiff_t)(o * 16 + row) * p.k + kb * 16 + q] += product[row * 16 + q];
            }
        }
    }
}
