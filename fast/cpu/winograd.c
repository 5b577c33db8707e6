/* winograd.c: a 3x3 convolution of stride 1 and padding 1 in Winograd's domain: a product of tiles and weights per position.
 *
 * Tiles are taken in groups whose transformed inputs V stay in the second-level cache; each panel of outputs multiplies all
 * positions of the group and goes back to the image while it is still there. Weights pass once per group, in order. */
#include "fast/cpu/winograd.h"
#include "fast/cpu/winograd_tile.h"

/* Tiles of a group: V takes about 3/4 MB, but weights that come from afar want many tiles each. */
static int group_tiles(const winograd_grid *g, int blocks_in)
{
    int fit = (768 << 10) / (g->positions * blocks_in * 64), least = 64;
    int tiles = conv_min(g->tiles, fit > least ? fit : least);
    int groups = (g->tiles + tiles - 1) / tiles, chunks = (g->tiles + g->chunk - 1) / g->chunk;
    return (chunks + groups - 1) / groups * g->chunk;
}

typedef struct {
    winograd_grid g;
    int in, out;             /* blocks of channels */
    int group;               /* tiles, a multiple of the chunk */
    size_t v_chunk, m_chunk; /* floats of a chunk of V, and of products of one panel */
} winograd_plan;

static winograd_plan plan(const conv_map *m, int tile)
{
    winograd_plan p = { CPU_(winograd_grid)(tile, m->n, m->hd, m->wd), fast_blocks(m->cs), fast_blocks(m->cd), 0, 0, 0 };
    p.group = group_tiles(&p.g, p.in);
    p.v_chunk = (size_t)p.in * (size_t)p.g.block;
    p.m_chunk = (size_t)GEMM_BLOCKS * (size_t)p.g.block;
    return p;
}

size_t CPU_(winograd_scratch)(const conv_map *m, int tile)
{
    winograd_plan p = plan(m, tile);
    size_t chunks = (size_t)(p.group / p.g.chunk);
    return chunks * (p.v_chunk + p.m_chunk) + conv_round((size_t)p.in * sizeof(gemm_k) / sizeof(float));
}

/* Weights beyond so many kilobytes do not stay in the second-level cache from group to group. */
enum { FAR_WEIGHTS = 1024 };

/* Products of one position and panel for the chunks of a group of `count` tiles. Far weights of the next position are
 * fetched meanwhile, a share by each call. */
static void multiply(const winograd_plan *p, gemm_panel *panel, int position, int count, const float *v, float *product)
{
    const winograd_grid *g = &p->g;
    int step = conv_even(g->chunk, GEMM_ROWS), calls = (count + g->chunk - 1) / g->chunk * ((g->chunk + step - 1) / step);
    int lines = (16 * panel->blocks + calls - 1) / calls, far = p->in * p->out * g->positions > FAR_WEIGHTS;
    panel->ahead = far ? panel->w + (ptrdiff_t)p->in * 256 * panel->blocks : NULL;
    panel->ahead_lines = lines;
    for (int first = 0; first < count; first += g->chunk, v += p->v_chunk, product += p->m_chunk) {
        int tiles = conv_min(g->chunk, count - first);
        for (int t = 0; t < tiles; t += step) {
            ptrdiff_t at = position * g->place + t * 16;
            CPU_(gemm)(panel, conv_min(step, tiles - t), v + at, NULL, product + at, NULL);
            if (far)
                panel->ahead += (ptrdiff_t)p->in * lines * 16;
        }
    }
}

void CPU_(winograd_run)(float *scratch, const conv_map *m, int tile, const float *src, const float *packed,
                        const float *bias, const float *add, float *dst)
{
    winograd_plan p = plan(m, tile);
    const winograd_grid *g = &p.g;
    int chunks = p.group / g->chunk;
    float *v = scratch, *product = v + (size_t)chunks * p.v_chunk;
    gemm_k *k = (gemm_k *)(void *)(product + (size_t)chunks * p.m_chunk);
    for (int first = 0; first < g->tiles; first += p.group) {
        int count = conv_min(p.group, g->tiles - first);
        for (int t = 0; t < count; t += g->chunk)
            CPU_(winograd_input)(g, p.in, src, first + t, conv_min(g->chunk, count - t),
                                 v + (size_t)(t / g->chunk) * p.v_chunk);
        const float *w = packed;
        for (int o = 0; o < p.out; o += GEMM_BLOCKS) {
            int blocks = conv_min(GEMM_BLOCKS, p.out - o), lanes = conv_min(m->cd - (o + blocks - 1) * 16, 16);
            gemm_panel panel = { blocks, 16, conv_depth(m->cs), p.in, k, w, NULL, g->block, NULL, 0 };
            for (int b = 0; b < p.in; b++)
                k[b] = (gemm_k){ b * g->block, (ptrdiff_t)b * 256 * blocks };
            for (int q = 0; q < g->positions; q++, panel.w += (ptrdiff_t)p.in * 256 * blocks)
                multiply(&p, &panel, q, count, v, product);
            w = panel.w;
            for (int t = 0; t < count; t += g->chunk)
                CPU_(winograd_output)(g, blocks, o, p.out, lanes, product + (size_t)(t / g->chunk) * p.m_chunk, first + t,
                                      conv_min(g->chunk, count - t), bias ? bias + o * 16 : NULL, add, dst);
        }
    }
}

size_t CPU_(winograd_packed)(const conv_map *m, int tile)
{
    return conv_panel_floats((tile + 2) * (tile + 2), fast_blocks(m->cs), fast_blocks(m->cd));
}

/* u[position*step] = G g GT of g (9 taps of 16 channels), turned by 180 degrees for the backward map. */
V_INLINE void weight_tile(const int m, int turn, const float *taps, ptrdiff_t step, float *u)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][3];
        V_UNROLL
        for (int j = 0; j < 3; j++) {
            vec g[3], r[S];
            for (int i = 0; i < 3; i++)
                g[i] = v_loadu(taps + (turn ? 8 - (3 * i + j) : 3 * i + j) * 16 + half);
            winograd_g(m, g, r);
            for (int i = 0; i < side; i++)
                t[i][j] = r[i];
        }
        V_UNROLL
        for (int i = 0; i < side; i++) {
            vec r[S];
            winograd_g(m, t[i], r);
            for (int j = 0; j < side; j++)
                v_store(u + (i * side + j) * step + half, r[j]);
        }
    }
}

/* w (co,ci,3,3) -> [panel][position][block in][16 in][block out][16 out]; for the backward map in and out change places. */
void CPU_(winograd_pack)(const conv_map *m, int tile, const float *w, float *packed)
{
    int in = fast_blocks(m->cs), out = fast_blocks(m->cd);
    size_t per_in = m->backward ? (size_t)m->cd * 9 : 9, per_out = m->backward ? 9 : (size_t)m->cs * 9;
    memset(packed, 0, CPU_(winograd_packed)(m, tile) * sizeof *packed);
    for (int o = 0; o < out; o++) {
        int blocks = gemm_panel_blocks(out, o / GEMM_BLOCKS);
        float *panel = packed + conv_panel_floats((tile + 2) * (tile + 2), in, o / GEMM_BLOCKS * GEMM_BLOCKS);
        for (int c = 0; c < m->cs; c++) {
            float taps[9 * 16] __attribute__((aligned(64)));
            CPU_(conv_lanes)(w + (size_t)c * per_in + (size_t)o * 16 * per_out, per_out, conv_min(16, m->cd - o * 16), 9, taps);
            float *u = panel + (ptrdiff_t)c * 16 * blocks + o % GEMM_BLOCKS * 16;
            ptrdiff_t step = (ptrdiff_t)in * 256 * blocks;
            if (tile == 4)
                weight_tile(4, m->backward, taps, step, u);
            else
                weight_tile(2, m->backward, taps, step, u);
        }
    }
}
