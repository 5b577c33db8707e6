/* conv_direct.c: stride 1: rows of the image, padded with zeros, multiplied where they lie. */
#include "fast/cpu/conv.h"

/* Zeros around the source, so that every tap of every pixel can be read. */
static int border(const conv_map *m) { return m->backward ? m->k - 1 - m->p : m->p; }

int CPU_(direct_can)(const conv_map *m) { return m->s == 1 && border(m) >= 0; }

/* Without a border the source is read in place; a 1x1 window reads an image as one row. */
static size_t padded_floats(const conv_map *m)
{
    int b = border(m);
    return b ? fast_blocked(m->cs, m->hs + 2 * b, m->ws + 2 * b) : 0;
}

size_t CPU_(direct_scratch)(const conv_map *m)
{
    size_t kbs = (size_t)m->k * (size_t)m->k * (size_t)fast_blocks(m->cs);
    return padded_floats(m) + conv_round(kbs * sizeof(gemm_k) / sizeof(float));
}

/* One image into `to`, b zeros around it. */
static void pad(const conv_map *m, int b, const float *from, float *to)
{
    size_t row = (size_t)m->ws * 16, edge = (size_t)b * 16, line = row + 2 * edge;
    for (int c = 0; c < fast_blocks(m->cs); c++)
        for (int y = -b; y < m->hs + b; y++, to += line)
            if (y < 0 || y >= m->hs)
                memset(to, 0, line * sizeof *to);
            else {
                memset(to, 0, edge * sizeof *to);
                memcpy(to + edge, from, row * sizeof *to);
                memset(to + edge + row, 0, edge * sizeof *to);
                from += row;
            }
}

static void multiply(const conv_map *m, gemm_k *k, const float *src, int width, ptrdiff_t plane, const float *packed,
                     const float *bias, const float *add, float *dst)
{
    int in = fast_blocks(m->cs), out = fast_blocks(m->cd), taps = m->k * m->k;
    int rows = m->k == 1 && width == m->wd ? 1 : m->hd, columns = rows == 1 ? m->hd * m->wd : m->wd;
    int step = conv_even(columns, GEMM_ROWS);
    ptrdiff_t to_plane = (ptrdiff_t)m->hd * m->wd * 16;
    for (int o = 0; o < out; o += GEMM_BLOCKS) {
        int blocks = conv_min(GEMM_BLOCKS, out - o), lanes = conv_min(m->cd - (o + blocks - 1) * 16, 16);
        gemm_panel panel = { blocks, lanes, conv_depth(m->cs), in * taps, k, packed, bias ? bias + o * 16 : NULL, to_plane,
            NULL, 0 };
        for (int b = 0, i = 0; b < in; b++)
            for (int t = 0; t < taps; t++, i++) {
                int tap = m->backward ? taps - 1 - t : t;
                k[i] = (gemm_k){ b * plane + ((ptrdiff_t)(t / m->k) * width + t % m->k) * 16,
                    ((ptrdiff_t)b * taps + tap) * 256 * blocks };
            }
        packed += conv_panel_floats(taps, in, blocks);
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < columns; x += step) {
                ptrdiff_t to = o * to_plane + ((ptrdiff_t)y * columns + x) * 16;
                CPU_(gemm)(&panel, conv_min(step, columns - x), src + ((ptrdiff_t)y * width + x) * 16, add ? add + to : NULL,
                           dst + to, NULL);
            }
    }
}

void CPU_(direct_run)(float *scratch, const conv_map *m, const float *src, const float *packed, const float *bias,
                      const float *add, float *dst)
{
    int b = border(m), width = m->ws + 2 * b;
    ptrdiff_t plane = (ptrdiff_t)(m->hs + 2 * b) * width * 16;
    gemm_k *k = (gemm_k *)(void *)(scratch + padded_floats(m));
    size_t from = fast_blocked(m->cs, m->hs, m->ws), to = fast_blocked(m->cd, m->hd, m->wd);
    for (int i = 0; i < m->n; i++) {
        const float *image = src + (size_t)i * from;
        if (b) {
            pad(m, b, image, scratch);
            image = scratch;
        }
        multiply(m, k, image, width, plane, packed, bias, add ? add + (size_t)i * to : NULL, dst + (size_t)i * to);
    }
}
