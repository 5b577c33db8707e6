/* winograd_transform.c: tiles of images to and from the points of Winograd's convolution. */
#include "fast/cpu/winograd.h"
#include "fast/cpu/winograd_tile.h"

winograd_grid CPU_(winograd_grid)(int m, int n, int h, int w)
{
    winograd_grid g = { m, (m + 2) * (m + 2), h, w, (h + m - 1) / m, (w + m - 1) / m, 0, 0, 0, 0 };
    g.tiles = n * g.rows * g.columns;
    g.chunk = conv_even(g.tiles, WINOGRAD_CHUNK);
    g.place = 16 * g.chunk;
    g.block = g.positions * g.place + 16;
    return g;
}

/* Where tile t lies: its image, and the row and column of its first output. */
typedef struct { int image, y, x; } tile_place;
static tile_place find_tile(const winograd_grid *g, int t)
{
    int in_image = g->rows * g->columns, r = t % in_image;
    return (tile_place){ t / in_image, r / g->columns * g->m, r % g->columns * g->m };
}

/* Rows and columns lo..hi-1 of a window of `side` pixels that begins at `at` lie within 0..size-1. */
typedef struct { int lo, hi; } span;
static span inside(int at, int side, int size)
{
    return (span){ at < 0 ? -at : 0, size - at < side ? size - at : side };
}

static const float zeros[16 * WINOGRAD_SIDE];

/* Pointers to the window's rows, at its first column within the image; zeros where the row is outside. */
V_INLINE void window_rows(const float *plane, int w, int y, int x, const int side, span rows, span columns, const float **row)
{
    for (int i = 0; i < side; i++)
        row[i] = i >= rows.lo && i < rows.hi ? plane + ((ptrdiff_t)(y + i) * w + x + columns.lo) * 16 : zeros;
}

V_INLINE void input_tile(const int m, const winograd_grid *g, const float *plane, int y, int x, float *v)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    span rows = inside(y, side, g->h), columns = inside(x, side, g->w);
    const float *row[S];
    window_rows(plane, g->w, y, x, side, rows, columns, row);
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][S];
        V_UNROLL
        for (int j = 0; j < side; j++) {
            vec d[S], r[S];
            if (j >= columns.lo && j < columns.hi) {
                for (int i = 0; i < side; i++)
                    d[i] = v_load(row[i] + (j - columns.lo) * 16 + half);
                winograd_bt(m, d, r);
            } else
                for (int i = 0; i < side; i++)
                    r[i] = v_zero();
            for (int i = 0; i < side; i++)
                t[i][j] = r[i];
        }
        V_UNROLL
        for (int i = 0; i < side; i++) {
            vec r[S];
            winograd_bt(m, t[i], r);
            for (int j = 0; j < side; j++)
                v_store(v + (i * side + j) * g->place + half, r[j]);
        }
    }
}

V_INLINE void input(const int m, const winograd_grid *g, int blocks, const float *x, int first, int count, float *v)
{
    ptrdiff_t plane = (ptrdiff_t)g->h * g->w * 16;
    for (int t = 0; t < count; t++) {
        tile_place at = find_tile(g, first + t);
        for (int b = 0; b < blocks; b++)
            input_tile(m, g, x + (at.image * blocks + b) * plane, at.y - 1, at.x - 1, v + b * g->block + t * 16);
    }
}

void CPU_(winograd_input)(const winograd_grid *g, int blocks, const float *x, int first, int count, float *v)
{
    if (g->m == 4)
        input(4, g, blocks, x, first, count, v);
    else
        input(2, g, blocks, x, first, count, v);
}

V_INLINE void spread_tile(const int m, const winograd_grid *g, const float *plane, float weight, int y, int x, float *v)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    span rows = inside(y, m, g->h), columns = inside(x, m, g->w);
    const float *row[S];
    window_rows(plane, g->w, y, x, m, rows, columns, row);
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][S], by = v_set1(weight);
        V_UNROLL
        for (int j = 0; j < m; j++) {
            vec d[S], r[S];
            if (j < columns.hi) {
                for (int i = 0; i < m; i++)
                    d[i] = v_mul(by, v_load(row[i] + j * 16 + half));
                winograd_a(m, d, r);
            } else
                for (int i = 0; i < side; i++)
                    r[i] = v_zero();
            for (int i = 0; i < side; i++)
                t[i][j] = r[i];
        }
        V_UNROLL
        for (int i = 0; i < side; i++) {
            vec r[S];
            winograd_a(m, t[i], r);
            for (int j = 0; j < side; j++)
                v_store(v + (i * side + j) * g->place + half, r[j]);
        }
    }
}

V_INLINE void spread(const int m, const winograd_grid *g, int blocks, const float *gy, const float *scale, int first, int count,
                     float *v)
{
    ptrdiff_t plane = (ptrdiff_t)g->h * g->w * 16;
    for (int t = 0; t < count; t++) {
        tile_place at = find_tile(g, first + t);
        for (int b = 0; b < blocks; b++)
            spread_tile(m, g, gy + (at.image * blocks + b) * plane, scale ? scale[at.image] : 1.0f, at.y, at.x,
                        v + b * g->block + t * 16);
    }
}

void CPU_(winograd_spread)(const winograd_grid *g, int blocks, const float *gy, const float *scale, int first, int count,
                           float *v)
{
    if (g->m == 4)
        spread(4, g, blocks, gy, scale, first, count, v);
    else
        spread(2, g, blocks, gy, scale, first, count, v);
}

/* lanes: valid ones of this block; `add` and y point at the tile's first output in its plane. */
V_INLINE void output_tile(const int m, const winograd_grid *g, const float *product, int rows, int columns, int lanes,
                          const float *bias, const float *add, float *y)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][S], shift = bias ? v_loadu(bias + half) : v_zero();
        int left = lanes - half;
        V_UNROLL
        for (int j = 0; j < side; j++) {
            vec u[S], r[S];
            for (int i = 0; i < side; i++)
                u[i] = v_load(product + (i * side + j) * g->place + half);
            winograd_at(m, u, r);
            for (int i = 0; i < m; i++)
                t[i][j] = r[i];
        }
        V_UNROLL
        for (int i = 0; i < m; i++) {
            if (i >= rows)
                break;
            vec r[S];
            winograd_at(m, t[i], r);
            for (int j = 0; j < m; j++) {
                ptrdiff_t at = ((ptrdiff_t)i * g->w + j) * 16 + half;
                if (j >= columns)
                    break;
                vec out = v_add(r[j], shift);
                if (add)
                    out = v_add(out, v_load(add + at));
                if (left < V_LANES)
                    out = v_select(v_first(left > 0 ? left : 0), out, v_zero());
                v_store(y + at, out);
            }
        }
    }
}

V_INLINE void output(const int m, const winograd_grid *g, int blocks, int first_block, int all_blocks, int lanes,
                     const float *product, int first, int count, const float *bias, const float *add, float *y)
{
    ptrdiff_t plane = (ptrdiff_t)g->h * g->w * 16;
    for (int t = 0; t < count; t++) {
        tile_place at = find_tile(g, first + t);
        int rows = conv_min(m, g->h - at.y), columns = conv_min(m, g->w - at.x);
        for (int b = 0; b < blocks; b++) {
            ptrdiff_t to = (at.image * all_blocks + first_block + b) * plane + ((ptrdiff_t)at.y * g->w + at.x) * 16;
            output_tile(m, g, product + b * g->block + t * 16, rows, columns, b == blocks - 1 ? lanes : 16,
                        bias ? bias + b * 16 : NULL, add ? add + to : NULL, y + to);
        }
    }
}

void CPU_(winograd_output)(const winograd_grid *g, int blocks, int first_block, int all_blocks, int lanes, const float *product,
                           int first, int count, const float *bias, const float *add, float *y)
{
    if (g->m == 4)
        output(4, g, blocks, first_block, all_blocks, lanes, product, first, count, bias, add, y);
    else
        output(2, g, blocks, first_block, all_blocks, lanes, product, first, count, bias, add, y);
}
