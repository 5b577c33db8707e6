/* conv_planar.c: the layer that sees planar images: few channels, so a patch's k are (channel, tap) in the order of w's rows.
 *
 * Forward and to the weights a pixel is read where it lies in the zero-padded image, (ci, h + 2p, pitch), and multiplied with
 * whole vectors of outputs. Back to the image, patches of 16 pixels of a row are 16 taps of as many consecutive pixels,
 * transposed. */
#include "fast/cpu/conv.h"

/* Elements of a patch, and those that follow one another for certain in the image where outputs do too; blocks of elements;
 * floats of the padded image, of the elements' places, of the patches with the table of their product. */
typedef struct { int k, run, kbs, height, pitch; size_t image, at, patches, table; } planar_plan;
static planar_plan plan(const fast_conv *c)
{
    planar_plan p = { .k = c->ci * c->k * c->k, .run = c->k == 3 && c->s == 1 ? 3 : 1, .height = c->hi + 2 * c->p };
    p.kbs = fast_blocks(p.k);
    p.pitch = c->wi + 2 * c->p + 16 * c->s;      /* add_line goes up to 15 pixels beyond a row */
    p.image = conv_round((size_t)c->ci * (size_t)p.height * (size_t)p.pitch);
    p.at = conv_round((size_t)p.k * sizeof(ptrdiff_t) / sizeof(float));
    p.patches = (size_t)p.kbs * (size_t)c->ho * (size_t)c->wo * 16;
    p.table = conv_round((size_t)fast_blocks(c->co) * sizeof(gemm_k) / sizeof(float));
    return p;
}

size_t CPU_(planar_packed)(const fast_conv *c)
{
    return conv_panel_floats(1, plan(c).kbs, fast_blocks(c->co));
}

/* The padded image and places, then the patches and their table, or the sums of bwd_w: (k, co in whole blocks). */
size_t CPU_(planar_scratch)(const fast_conv *c)
{
    planar_plan p = plan(c);
    size_t product = p.patches + p.table, sums = (size_t)p.k * (size_t)fast_blocks(c->co) * 16;
    return p.image + p.at + (product > sums ? product : sums);
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

/* Zeros for the image, and where the elements of the first output's patch lie in it. */
static const ptrdiff_t *begin(const fast_conv *c, const planar_plan *p, float *image)
{
    ptrdiff_t *at = (ptrdiff_t *)(void *)(image + p->image);
    memset(image, 0, p->image * sizeof *image);
    for (int k = 0; k < p->k; k++)
        at[k] = ((ptrdiff_t)(k / c->k / c->k) * p->height + k / c->k % c->k) * p->pitch + k % c->k;
    return at;
}

/* One image times scale within its border of zeros. */
static void fill(const fast_conv *c, const planar_plan *p, float scale, const float *x, float *image)
{
    for (int i = 0; i < c->ci; i++)
        for (int y = 0; y < c->hi; y++, x += c->wi) {
            float *row = image + ((ptrdiff_t)i * p->height + y + c->p) * p->pitch + c->p;
            for (int j = 0; j < c->wi; j += V_LANES) {
                int count = conv_min(V_LANES, c->wi - j);
                v_put(row + j, count, v_mul(v_set1(scale), v_get(x + j, count)));
            }
        }
}

/* ---- forward ---- */

/* A panel of outputs; x and y: a row's first pixel. */
typedef struct {
    int k, run, s, pixels;   /* of planar_plan; stride; pixels of a row of y */
    int blocks, lanes;       /* 1..GEMM_BLOCKS; valid lanes of the last */
    const ptrdiff_t *at;     /* of planar_plan */
    const float *w, *bias;   /* [k][block][16], [block][16] */
    ptrdiff_t plane;         /* floats from a block of y (and add) to the next */
} planar_panel;

/* A tile of pixels by vectors of outputs is held in registers, with the weights of a run; fewer vectors take more pixels. */
enum { TILE_VECS = GEMM_BLOCKS * V_BLOCK, TILE = V_LANES == 16 ? 12 : 4, TILE_LAST = V_LANES == 16 ? 14 : 4 };

/* acc[m] += sum over i < run of x[m s + i] w[i], m < pixels. With runs the stride is 1, and outputs share what is read. */
V_INLINE void run_forward(const int pixels, const int vecs, const int run, const int s, const float *x, const float *w,
                          vec acc[][TILE_VECS])
{
    vec wk[3][TILE_VECS];
    V_UNROLL
    for (int i = 0; i < run; i++)
        V_UNROLL
        for (int v = 0; v < vecs; v++)
            wk[i][v] = v_load(w + (i * vecs + v) * V_LANES);
    V_UNROLL
    for (int j = 0; j < pixels + run - 1; j++) {
        vec xj = v_set1(x[j * s]);
        V_UNROLL
        for (int i = 0; i < run; i++)
            if (j - i >= 0 && j - i < pixels)
                V_UNROLL
                for (int v = 0; v < vecs; v++)
                    acc[j - i][v] = v_fma(xj, wk[i][v], acc[j - i][v]);
    }
}

/* y[m] = bias + sum over k of x[at[k] + m s] w[k] (+ add), m < pixels. */
V_INLINE void tile(const planar_panel *p, const int pixels, const int vecs, const int run, const int s, const float *x,
                   const float *add, float *y)
{
    vec acc[TILE_LAST][TILE_VECS];
    const ptrdiff_t plane = p->plane;
    V_UNROLL
    for (int m = 0; m < pixels; m++)
        V_UNROLL
        for (int v = 0; v < vecs; v++)
            acc[m][v] = v_load(p->bias + v * V_LANES);
    for (int k = 0; k < p->k; k += run)
        run_forward(pixels, vecs, run, s, x + p->at[k], p->w + k * vecs * V_LANES, acc);
    if (add)
        V_UNROLL
        for (int m = 0; m < pixels; m++)
            V_UNROLL
            for (int v = 0; v < vecs; v++)
                acc[m][v] = v_add(acc[m][v], v_load(add + v / V_BLOCK * plane + m * 16 + v % V_BLOCK * V_LANES));
    if (p->lanes < 16)       /* a NaN has reached the other lanes too */
        V_UNROLL
        for (int v = vecs - V_BLOCK; v < vecs; v++) {
            int left = p->lanes - v % V_BLOCK * V_LANES;
            vmask valid = v_first(left < 0 ? 0 : conv_min(left, V_LANES));
            V_UNROLL
            for (int m = 0; m < pixels; m++)
                acc[m][v] = v_keep(valid, acc[m][v]);
        }
    V_UNROLL
    for (int m = 0; m < pixels; m++)
        V_UNROLL
        for (int v = 0; v < vecs; v++)
            v_store(y + v / V_BLOCK * plane + m * 16 + v % V_BLOCK * V_LANES, acc[m][v]);
}

V_INLINE void forward_tiles(const planar_panel *p, const int most, const int vecs, const int run, const int s, const float *x,
                            const float *add, float *y)
{
    for (int left = p->pixels, step; left > 0; left -= step, x += step * s, y += step * 16) {
        step = left >= most ? most : left >= 8 ? 8 : left >= 4 ? 4 : 1;
        if (step == most)
            tile(p, most, vecs, run, s, x, add, y);
        else if (step == 8)
            tile(p, most < 8 ? most : 8, vecs, run, s, x, add, y);
        else if (step == 4)
            tile(p, 4, vecs, run, s, x, add, y);
        else
            tile(p, 1, vecs, run, s, x, add, y);
        add = add ? add + step * 16 : NULL;
    }
}

static void forward_row(const planar_panel *p, const float *x, const float *add, float *y)
{
    if (p->run == 3 && p->blocks == GEMM_BLOCKS)
        forward_tiles(p, TILE, TILE_VECS, 3, 1, x, add, y);
    else if (p->run == 3)
        forward_tiles(p, TILE_LAST, V_BLOCK, 3, 1, x, add, y);
    else if (p->blocks == GEMM_BLOCKS)
        forward_tiles(p, TILE, TILE_VECS, 1, p->s, x, add, y);
    else
        forward_tiles(p, TILE_LAST, V_BLOCK, 1, p->s, x, add, y);
}

/* bias: of whole blocks. */
void CPU_(planar_fwd)(float *scratch, int n, const fast_conv *c, const float *x, const float *packed, const float *bias,
                      const float *add, float *y)
{
    planar_plan p = plan(c);
    const ptrdiff_t *at = begin(c, &p, scratch);
    int out = fast_blocks(c->co);
    ptrdiff_t plane = (ptrdiff_t)c->ho * c->wo * 16;
    for (int i = 0; i < n; i++) {
        fill(c, &p, 1.0f, x + (ptrdiff_t)i * c->ci * c->hi * c->wi, scratch);
        for (int o = 0; o < out; o += GEMM_BLOCKS) {
            int blocks = conv_min(GEMM_BLOCKS, out - o), lanes = conv_min(c->co - (o + blocks - 1) * 16, 16);
            planar_panel panel = { p.k, p.run, c->s, c->wo, blocks, lanes, at, packed + conv_panel_floats(1, p.kbs, o),
                bias + o * 16, plane };
            for (int q = 0; q < c->ho; q++) {
                ptrdiff_t to = (i * out + o) * plane + (ptrdiff_t)q * c->wo * 16;
                forward_row(&panel, scratch + (ptrdiff_t)q * c->s * p.pitch, add ? add + to : NULL, y + to);
            }
        }
    }
}

/* ---- to the weights ---- */

/* Runs and vectors of outputs whose sums are held in registers, pixels at a time, and pixels after which sums are added to
 * memory, so that gy is read from the nearest cache for further ones. */
enum { RUNS = 9, OUTER_VECS = V_LANES == 8 ? 1 : 2, AT_ONCE = 4, BAND = 128 };

/* Some rows. x and gy: their first pixel; rows of gy lie one after the other. */
typedef struct {
    int k, run, s, rows, pixels;
    ptrdiff_t pitch, plane;  /* floats from a row of x to the next, from a block of gy to the next */
    const ptrdiff_t *at;
    const float *x, *gy;
} planar_band;

/* acc[r][i] += x[r][m s + i] gy[m], m < pixels, r < runs, i < run. */
V_INLINE void products(const int pixels, const int runs, const int run, const int vecs, const int s, const float *const *x,
                       const float *gy, ptrdiff_t plane, vec acc[][3][OUTER_VECS])
{
    V_UNROLL
    for (int m = 0; m < pixels; m++) {
        vec g[OUTER_VECS];
        V_UNROLL
        for (int v = 0; v < vecs; v++)
            g[v] = v_load(gy + v / V_BLOCK * plane + m * 16 + v % V_BLOCK * V_LANES);
        V_UNROLL
        for (int r = 0; r < runs; r++)
            V_UNROLL
            for (int i = 0; i < run; i++) {
                vec xi = v_set1(x[r][m * s + i]);
                V_UNROLL
                for (int v = 0; v < vecs; v++)
                    acc[r][i][v] = v_fma(xi, g[v], acc[r][i][v]);
            }
    }
}

/* sum[k] += the sum over the band's pixels of x[at[k]] gy, k < runs run; from one sum to the next are `apart` floats. */
V_INLINE void outer(const planar_band *b, const int runs, const int run, const int vecs, const int s, const ptrdiff_t *at,
                    const float *gy, ptrdiff_t apart, float *sum)
{
    vec acc[RUNS][3][OUTER_VECS];
    V_UNROLL
    for (int r = 0; r < runs; r++)
        V_UNROLL
        for (int i = 0; i < run; i++)
            V_UNROLL
            for (int v = 0; v < vecs; v++)
                acc[r][i][v] = v_zero();
    for (int q = 0; q < b->rows; q++) {
        const float *x[RUNS];
        V_UNROLL
        for (int r = 0; r < runs; r++)
            x[r] = b->x + q * b->pitch + at[r * run];
        for (int left = b->pixels, step; left > 0; left -= step, gy += step * 16) {
            step = left >= AT_ONCE ? AT_ONCE : 1;
            if (step == AT_ONCE)
                products(AT_ONCE, runs, run, vecs, s, x, gy, b->plane, acc);
            else
                products(1, runs, run, vecs, s, x, gy, b->plane, acc);
            V_UNROLL
            for (int r = 0; r < runs; r++)
                x[r] += step * s;
        }
    }
    V_UNROLL
    for (int r = 0; r < runs; r++)
        V_UNROLL
        for (int i = 0; i < run; i++)
            V_UNROLL
            for (int v = 0; v < vecs; v++) {
                float *to = sum + (r * run + i) * apart + v * V_LANES;
                v_store(to, v_add(v_load(to), acc[r][i][v]));
            }
}

/* Every element with some vectors of outputs. */
V_INLINE void elements(const planar_band *b, const int vecs, const float *gy, ptrdiff_t apart, float *sum)
{
    for (int k = 0, step; k < b->k; k += step, sum += step * apart) {
        step = b->k - k >= 9 ? 9 : 1;
        if (b->run == 3)
            outer(b, 3, 3, vecs, 1, b->at + k, gy, apart, sum);
        else if (step == 9)
            outer(b, 9, 1, vecs, b->s, b->at + k, gy, apart, sum);
        else
            outer(b, 1, 1, vecs, b->s, b->at + k, gy, apart, sum);
    }
}

static void add_band(const planar_band *b, int vectors, float *sums)
{
    for (int v = 0; v < vectors; v += OUTER_VECS) {
        const float *gy = b->gy + v / V_BLOCK * b->plane + v % V_BLOCK * V_LANES;
        if (v + OUTER_VECS <= vectors)
            elements(b, OUTER_VECS, gy, vectors * V_LANES, sums + v * V_LANES);
        else
            elements(b, 1, gy, vectors * V_LANES, sums + v * V_LANES);
    }
}

void CPU_(planar_bwd_w)(float *scratch, int n, const fast_conv *c, const float *x, const float *gy, const float *scale,
                        float *gw)
{
    planar_plan p = plan(c);
    const ptrdiff_t *at = begin(c, &p, scratch);
    float *sums = scratch + p.image + p.at;
    int out = fast_blocks(c->co) * 16, rows = c->wo < BAND ? BAND / c->wo : 1;
    memset(sums, 0, (size_t)p.k * (size_t)out * sizeof *sums);
    for (int i = 0; i < n; i++) {
        fill(c, &p, scale ? scale[i] : 1.0f, x + (ptrdiff_t)i * c->ci * c->hi * c->wi, scratch);
        for (int q = 0; q < c->ho; q += rows) {
            planar_band b = { p.k, p.run, c->s, conv_min(rows, c->ho - q), c->wo, (ptrdiff_t)p.pitch * c->s,
                (ptrdiff_t)c->ho * c->wo * 16, at, scratch + (ptrdiff_t)q * c->s * p.pitch,
                gy + (ptrdiff_t)i * out * c->ho * c->wo + (ptrdiff_t)q * c->wo * 16 };
            add_band(&b, out / V_LANES, sums);
        }
    }
    for (int o = 0; o < c->co; o++)
        for (int k = 0; k < p.k; k++)
            *gw++ += sums[(ptrdiff_t)k * out + o];
}

/* ---- back to the image ---- */

/* 16 pixels at distance s, into the padded image. */
static void add_line(const float *line, int s, float *to)
{
    if (s == 1)
        for (int j = 0; j < 16; j += V_LANES)
            v_storeu(to + j, v_add(v_loadu(to + j), v_load(line + j)));
    else
        for (int j = 0; j < 16; j++)
            to[j * s] += line[j];
}

/* image += sum over patches[kb][pixel][16]. */
static void scatter(const fast_conv *c, const planar_plan *p, const ptrdiff_t *at, const float *patches, float *image)
{
    float rows[256] __attribute__((aligned(64))), lines[256] __attribute__((aligned(64)));
    for (int kb = 0; kb < p->kbs; kb++, at += 16, patches += (ptrdiff_t)c->ho * c->wo * 16)
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

/* Rows of a product over the pixels of one image: every panel, from a to c, both [block][pixel][16]. */
static void multiply(int pixels, int in, int depth, int out, int channels, gemm_k *k, const float *a, const float *packed,
                     float *c)
{
    ptrdiff_t plane = (ptrdiff_t)pixels * 16;
    int step = conv_even(pixels, GEMM_ROWS);
    for (int o = 0; o < out; o += GEMM_BLOCKS) {
        int blocks = conv_min(GEMM_BLOCKS, out - o), lanes = conv_min(channels - (o + blocks - 1) * 16, 16);
        gemm_panel panel = { blocks, lanes, depth, in, k, packed, NULL, plane, NULL, 0 };
        for (int b = 0; b < in; b++)
            k[b] = (gemm_k){ b * plane, (ptrdiff_t)b * 256 * blocks };
        packed += conv_panel_floats(1, in, blocks);
        for (int r = 0; r < pixels; r += step) {
            ptrdiff_t at = (ptrdiff_t)r * 16, to = o * plane + at;
            CPU_(gemm)(&panel, conv_min(step, pixels - r), a + at, NULL, c + to, NULL);
        }
    }
}

void CPU_(planar_bwd_x)(float *scratch, int n, const fast_conv *c, const float *gy, const float *packed, const float *add,
                        float *gx)
{
    planar_plan p = plan(c);
    const ptrdiff_t *at = begin(c, &p, scratch);
    float *image = scratch, *patches = image + p.image + p.at;
    gemm_k *k = (gemm_k *)(void *)(patches + p.patches);
    size_t from = fast_blocked(c->co, c->ho, c->wo);
    for (int i = 0; i < n; i++) {
        memset(image, 0, p.image * sizeof *image);
        multiply(c->ho * c->wo, fast_blocks(c->co), conv_depth(c->co), p.kbs, p.k, k, gy + (size_t)i * from, packed, patches);
        scatter(c, &p, at, patches, image);
        for (int j = 0; j < c->ci; j++)
            for (int y = 0; y < c->hi; y++) {
                const float *row = image + ((ptrdiff_t)j * p.height + y + c->p) * p.pitch + c->p;
                ptrdiff_t to = (((ptrdiff_t)i * c->ci + j) * c->hi + y) * c->wi;
                for (int q = 0; q < c->wi; q++)
                    gx[to + q] = add ? row[q] + add[to + q] : row[q];
            }
    }
}
