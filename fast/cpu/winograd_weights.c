/* winograd_weights.c: gradient of 3x3 weights, the adjoint of Winograd's convolution in them:
 * gw += GT [sum over tiles (A gy AT) * (BT d B)] G. */
#include "fast/cpu/winograd.h"
#include "fast/cpu/winograd_tile.h"

/* Tiles of a group: both transforms take about 1 MB; one group alone sums in registers throughout. */
static int group_tiles(const winograd_grid *g, int blocks)
{
    int fit = (1 << 20) / (g->positions * blocks * 64), least = 64;
    int most = conv_min(g->tiles, fit > least ? fit : least);
    int groups = (g->tiles + most - 1) / most, chunks = (g->tiles + g->chunk - 1) / g->chunk;
    return (chunks + groups - 1) / groups * g->chunk;
}

typedef struct {
    winograd_grid g;
    int in, out, group;      /* blocks; tiles of a group */
    size_t v_chunk, z_chunk; /* floats of a chunk of each transform */
    size_t pair;             /* floats of the sums of one block out and one panel in, over all positions */
    int pairs;               /* kept: all, or one at a time if there is only one group */
} weights_plan;

static weights_plan plan(int n, const fast_conv *c, int tile)
{
    weights_plan p = { CPU_(winograd_grid)(tile, n, c->ho, c->wo), fast_blocks(c->ci), fast_blocks(c->co), 0, 0, 0, 0, 0 };
    p.group = group_tiles(&p.g, p.in + p.out);
    p.v_chunk = (size_t)p.in * (size_t)p.g.block;
    p.z_chunk = (size_t)p.out * (size_t)p.g.block;
    p.pair = (size_t)p.g.positions * GEMM_BLOCKS * 256;
    p.pairs = p.group >= p.g.tiles ? 1 : p.out * gemm_panels(p.in);
    return p;
}

size_t CPU_(winograd_bwd_w_scratch)(int n, const fast_conv *c, int tile)
{
    weights_plan p = plan(n, c, tile);
    size_t chunks = (size_t)(p.group / p.g.chunk);
    return chunks * (p.v_chunk + p.z_chunk) + (size_t)p.pairs * p.pair + conv_round(chunks * sizeof(gemm_run) / sizeof(float));
}

/* Sums over a group of `count` tiles for block o of gy and the panel of x that begins with block b. */
static void multiply(const weights_plan *p, int o, int b, int count, const float *v, const float *z, gemm_run *run, int add,
                     float *sums)
{
    const winograd_grid *g = &p->g;
    int blocks = conv_min(GEMM_BLOCKS, p->in - b);
    for (int q = 0; q < g->positions; q++) {
        int runs = 0;
        for (int t = 0; t < count; t += g->chunk, runs++) {
            run[runs].a = z + (size_t)runs * p->z_chunk + o * g->block + q * g->place;
            run[runs].b = v + (size_t)runs * p->v_chunk + b * g->block + q * g->place;
            run[runs].length = conv_min(g->chunk, count - t);
        }
        CPU_(gemm_outer)(blocks, runs, run, g->block, add, sums + (ptrdiff_t)q * GEMM_BLOCKS * 256);
    }
}

/* gw[16 in][9] += GT U G for one channel out; u: 16 in of position 0, step floats from a position to the next. */
V_INLINE void weight_tile(const int m, const float *u, ptrdiff_t step, int lanes, float *gw)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    float taps[9 * 16] __attribute__((aligned(64)));
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[3][S];
        V_UNROLL
        for (int j = 0; j < side; j++) {
            vec d[S], r[3];
            for (int i = 0; i < side; i++)
                d[i] = v_load(u + (i * side + j) * step + half);
            winograd_gt(m, d, r);
            for (int i = 0; i < 3; i++)
                t[i][j] = r[i];
        }
        V_UNROLL
        for (int i = 0; i < 3; i++) {
            vec r[3];
            winograd_gt(m, t[i], r);
            for (int j = 0; j < 3; j++)
                v_store(taps + (3 * i + j) * 16 + half, r[j]);
        }
    }
    for (int lane = 0; lane < lanes; lane++)
        for (int tap = 0; tap < 9; tap++)
            gw[lane * 9 + tap] += taps[tap * 16 + lane];
}

static void finish(const weights_plan *p, const fast_conv *c, int o, int b, const float *sums, float *gw)
{
    int blocks = conv_min(GEMM_BLOCKS, p->in - b);
    for (int row = 0; row < conv_min(16, c->co - o * 16); row++)
        for (int i = 0; i < blocks; i++) {
            const float *u = sums + (row * blocks + i) * 16;
            int lanes = conv_min(16, c->ci - (b + i) * 16);
            float *to = gw + ((ptrdiff_t)(o * 16 + row) * c->ci + (b + i) * 16) * 9;
            if (p->g.m == 4)
                weight_tile(4, u, GEMM_BLOCKS * 256, lanes, to);
            else
                weight_tile(2, u, GEMM_BLOCKS * 256, lanes, to);
        }
}

void CPU_(winograd_bwd_w)(float *scratch, int n, const fast_conv *c, int tile, const float *x, const float *gy,
                          const float *scale, float *gw)
{
    weights_plan p = plan(n, c, tile);
    const winograd_grid *g = &p.g;
    size_t chunks = (size_t)(p.group / g->chunk);
    float *v = scratch, *z = v + chunks * p.v_chunk, *sums = z + chunks * p.z_chunk;
    gemm_run *run = (gemm_run *)(void *)(sums + (size_t)p.pairs * p.pair);
    for (int first = 0; first < g->tiles; first += p.group) {
        int count = conv_min(p.group, g->tiles - first), last = first + count == g->tiles;
        for (int t = 0; t < count; t += g->chunk) {
            int tiles = conv_min(g->chunk, count - t);
            CPU_(winograd_input)(g, p.in, x, first + t, tiles, v + (size_t)(t / g->chunk) * p.v_chunk);
            CPU_(winograd_spread)(g, p.out, gy, scale, first + t, tiles, z + (size_t)(t / g->chunk) * p.z_chunk);
        }
        float *pair = sums;
        for (int o = 0; o < p.out; o++)
            for (int b = 0; b < p.in; b += GEMM_BLOCKS) {
                multiply(&p, o, b, count, v, z, run, first > 0, pair);
                if (last)
                    finish(&p, c, o, b, pair, gw);
                if (p.pairs > 1)
                    pair += p.pair;
            }
    }
}
