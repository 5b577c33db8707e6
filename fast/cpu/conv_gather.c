/* conv_gather.c: any convolution, forward or back to the input, as one product of gathered patches and weights.
 *
 * The destination's pixels form s x s phases for the backward map (one for the forward map): within a phase, every pixel
 * meets the same taps at the same distances, so no product with a zero of the stride is formed. */
#include "fast/cpu/conv.h"

/* Rows of patches gathered at a time: about half a megabyte. */
static int gathered_rows(int kbs, int rows)
{
    int fit = (512 << 10) / (64 * kbs) / GEMM_ROWS * GEMM_ROWS;
    return conv_min(rows, fit > 4 * GEMM_ROWS ? fit : 4 * GEMM_ROWS);
}

/* A tap of a phase: pixel (q, r) of the phase reads the source at (q*step + dy, r*step + dx). */
typedef struct { int dy, dx, tap; } gather_tap;

typedef struct {
    const conv_map *m;
    int in, out;             /* blocks of channels */
    int step;                /* of the source, per pixel of a phase */
    int y0, x0, stride;      /* pixel (q, r) of the phase is (y0 + q stride, x0 + r stride) */
    int rows, columns;       /* of the phase */
    int taps;
    gather_tap *tap;
} phase;

/* The taps that phase (y0, x0) meets. */
static void find_taps(phase *f)
{
    const conv_map *m = f->m;
    f->taps = 0;
    for (int ky = 0; ky < m->k; ky++)
        for (int kx = 0; kx < m->k; kx++) {
            int dy = m->backward ? f->y0 + m->p - ky : ky - m->p, dx = m->backward ? f->x0 + m->p - kx : kx - m->p;
            if (m->backward) {
                if (dy % m->s || dx % m->s)
                    continue;
                dy /= m->s;
                dx /= m->s;
            }
            f->tap[f->taps++] = (gather_tap){ dy, dx, ky * m->k + kx };
        }
}

static phase make_phase(const conv_map *m, int y0, int x0, gather_tap *tap)
{
    int stride = m->backward ? m->s : 1;
    phase f = { m, fast_blocks(m->cs), fast_blocks(m->cd), m->backward ? 1 : m->s, y0, x0, stride,
        (m->hd - y0 + stride - 1) / stride, (m->wd - x0 + stride - 1) / stride, 0, tap };
    find_taps(&f);
    return f;
}

/* Row r of a phase: where its pixel lies. */
typedef struct { int image, q, r; } row_place;
static row_place find_row(const phase *f, int row)
{
    int in_image = f->rows * f->columns, r = row % in_image;
    return (row_place){ row / in_image, r / f->columns, r % f->columns };
}

static void copy16(float *to, const float *from)
{
    for (int i = 0; i < 16; i += V_LANES)
        v_store(to + i, from ? v_load(from + i) : v_zero());
}

/* patches[block][tap][row][16] of `count` rows of the phase. */
static void gather(const phase *f, const float *src, int first, int count, float *patches)
{
    const conv_map *m = f->m;
    ptrdiff_t plane = (ptrdiff_t)m->hs * m->ws * 16;
    for (int r = 0; r < count; r++) {
        row_place at = find_row(f, first + r);
        const float *image = src + at.image * f->in * plane;
        for (int t = 0; t < f->taps; t++) {
            int y = at.q * f->step + f->tap[t].dy, x = at.r * f->step + f->tap[t].dx;
            int ok = y >= 0 && y < m->hs && x >= 0 && x < m->ws;
            ptrdiff_t pixel = ok ? ((ptrdiff_t)y * m->ws + x) * 16 : 0;
            for (int b = 0; b < f->in; b++)
                copy16(patches + (((ptrdiff_t)b * f->taps + t) * count + r) * 16, ok ? image + b * plane + pixel : NULL);
        }
    }
}

/* Products of the gathered rows with every panel of weights. */
static void multiply(const phase *f, gemm_k *k, int first, int count, const float *patches, const float *packed,
                     const float *bias, const float *add, float *dst)
{
    const conv_map *m = f->m;
    ptrdiff_t plane = (ptrdiff_t)m->hd * m->wd * 16;
    int step = conv_even(count, GEMM_ROWS), all = m->k * m->k;
    for (int o = 0; o < f->out; o += GEMM_BLOCKS) {
        int blocks = conv_min(GEMM_BLOCKS, f->out - o), lanes = conv_min(m->cd - (o + blocks - 1) * 16, 16);
        gemm_panel panel = { blocks, lanes, conv_depth(m->cs), f->in * f->taps, k, packed, bias ? bias + o * 16 : NULL, plane,
            NULL, 0 };
        for (int b = 0, i = 0; b < f->in; b++)
            for (int t = 0; t < f->taps; t++, i++)
                k[i] = (gemm_k){ (ptrdiff_t)i * count * 16, ((ptrdiff_t)b * all + f->tap[t].tap) * 256 * blocks };
        packed += conv_panel_floats(all, f->in, blocks);
        for (int r = 0; r < count; r += step) {
            ptrdiff_t to[GEMM_ROWS];
            int rows = conv_min(step, count - r);
            for (int i = 0; i < rows; i++) {
                row_place at = find_row(f, first + r + i);
                int y = f->y0 + at.q * f->stride, x = f->x0 + at.r * f->stride;
                to[i] = ((ptrdiff_t)at.image * f->out + o) * plane + ((ptrdiff_t)y * m->wd + x) * 16;
            }
            CPU_(gemm)(&panel, rows, patches + (ptrdiff_t)r * 16, add, dst, to);
        }
    }
}

/* Scratch: the table of k, the taps, the patches. */
static size_t table_floats(const conv_map *m)
{
    size_t taps = (size_t)m->k * (size_t)m->k;
    return conv_round((taps * (size_t)fast_blocks(m->cs) * sizeof(gemm_k) + taps * sizeof(gather_tap)) / sizeof(float));
}

size_t CPU_(gather_scratch)(const conv_map *m)
{
    int kbs = m->k * m->k * fast_blocks(m->cs);
    return table_floats(m) + (size_t)kbs * 16 * (size_t)gathered_rows(kbs, m->n * m->hd * m->wd);
}

void CPU_(gather_run)(float *scratch, const conv_map *m, const float *src, const float *packed, const float *bias,
                      const float *add, float *dst)
{
    int phases = m->backward ? m->s : 1, kbs = m->k * m->k * fast_blocks(m->cs);
    gemm_k *k = (gemm_k *)(void *)scratch;
    gather_tap *tap = (gather_tap *)(void *)(k + kbs);
    float *patches = scratch + table_floats(m);
    for (int y0 = 0; y0 < conv_min(phases, m->hd); y0++)
        for (int x0 = 0; x0 < conv_min(phases, m->wd); x0++) {
            phase f = make_phase(m, y0, x0, tap);
            int rows = m->n * f.rows * f.columns, step = gathered_rows(kbs, rows);
            for (int first = 0; first < rows; first += step) {
                int count = conv_min(step, rows - first);
                gather(&f, src, first, count, patches);
                multiply(&f, k, first, count, patches, packed, bias, add, dst);
            }
        }
}

size_t CPU_(gather_packed)(const conv_map *m)
{
    return conv_panel_floats(m->k * m->k, fast_blocks(m->cs), fast_blocks(m->cd));
}

/* w (co,ci,k,k) -> [panel][block in][tap][16 in][block out][16 out]; in and out change places for the backward map. */
void CPU_(gather_pack)(const conv_map *m, const float *w, float *packed)
{
    int out = fast_blocks(m->cd), in = fast_blocks(m->cs), taps = m->k * m->k;
    size_t per_in = (size_t)taps * (size_t)(m->backward ? m->cd : 1);
    size_t per_out = (size_t)taps * (size_t)(m->backward ? 1 : m->cs);
    memset(packed, 0, CPU_(gather_packed)(m) * sizeof *packed);
    for (int o = 0; o < out; o++) {
        int blocks = gemm_panel_blocks(out, o / GEMM_BLOCKS), lanes = conv_min(16, m->cd - o * 16);
        float *panel = packed + conv_panel_floats(taps, in, o / GEMM_BLOCKS * GEMM_BLOCKS) + o % GEMM_BLOCKS * 16;
        for (int c = 0; c < m->cs; c++)
            for (int t = 0; t < taps; t++) {
                const float *from = w + (size_t)c * per_in + (size_t)o * 16 * per_out + (size_t)t;
                float *to = panel + (((ptrdiff_t)c / 16 * taps + t) * 16 + c % 16) * 16 * blocks;
                for (int lane = 0; lane < lanes; lane++)
                    to[lane] = from[(size_t)lane * per_out];
            }
    }
}
