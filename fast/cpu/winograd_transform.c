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

static const float zeros[16 * WINOGRAD_SIDE] __attribute__((aligned(64)));

/* A window of `side` x `side` pixels of all blocks of an image. A row outside the image is zeros, and stays where it is from
 * block to block; a column outside is read from the nearest inside, and `keep` (all bits or none) clears it. */
typedef struct {
    int whole;               /* the window lies within the image */
    const float *row[WINOGRAD_SIDE];
    ptrdiff_t next[WINOGRAD_SIDE], column[WINOGRAD_SIDE];
    int32_t keep[WINOGRAD_SIDE];
} window;
V_INLINE window find_window(const winograd_grid *g, int blocks, const float *images, tile_place at, int border, const int side)
{
    window f;
    int y = at.y - border, x = at.x - border;
    span rows = inside(y, side, g->h), columns = inside(x, side, g->w);
    ptrdiff_t plane = (ptrdiff_t)g->h * g->w * 16;
    const float *first = images + at.image * blocks * plane + (x + columns.lo) * 16;
    f.whole = rows.lo == 0 && rows.hi == side && columns.lo == 0 && columns.hi == side;
    for (int i = 0; i < side; i++) {
        int ok = i >= rows.lo && i < rows.hi;
        f.row[i] = ok ? first + (ptrdiff_t)(y + i) * g->w * 16 : zeros;
        f.next[i] = ok ? plane : 0;
        ok = i >= columns.lo && i < columns.hi;
        f.column[i] = ok ? (i - columns.lo) * 16 : 0;
        f.keep[i] = ok ? -1 : 0;
    }
    return f;
}
V_INLINE void next_block(window *f, const int side)
{
    for (int i = 0; i < side; i++)
        f->row[i] += f->next[i];
}

/* Column j of a window, V_LANES channels from `half` on. */
V_INLINE void load_column(const window *f, const int whole, const int side, int j, int half, vec *d)
{
    for (int i = 0; i < side; i++)
        if (whole)
            d[i] = v_load(f->row[i] + 16 * j + half);
        else
            d[i] = vi_bits(vi_and(v_bits(v_load(f->row[i] + f->column[j] + half)), vi_set1(f->keep[j])));
}

/* One block of a window: v[position] = BT d B. */
V_INLINE void input_tile(const int m, const int whole, const window *f, ptrdiff_t place, float *v)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][S];
        for (int j = 0; j < side; j++) {
            vec d[S], r[S];
            load_column(f, whole, side, j, half, d);
            winograd_bt(m, d, r);
            for (int i = 0; i < side; i++)
                t[i][j] = r[i];
        }
        for (int i = 0; i < side; i++) {
            vec r[S];
            winograd_bt(m, t[i], r);
            for (int j = 0; j < side; j++)
                v_store(v + (i * side + j) * place + half, r[j]);
        }
    }
}

V_INLINE void input(const int m, const winograd_grid *g, int blocks, const float *x, int first, int count, float *v)
{
    for (int t = 0; t < count; t++) {
        window f = find_window(g, blocks, x, find_tile(g, first + t), 1, m + 2);
        for (int b = 0; b < blocks; b++, next_block(&f, m + 2))
            if (f.whole)
                input_tile(m, 1, &f, g->place, v + b * g->block + t * 16);
            else
                input_tile(m, 0, &f, g->place, v + b * g->block + t * 16);
    }
}

void CPU_(winograd_input)(const winograd_grid *g, int blocks, const float *x, int first, int count, float *v)
{
    if (g->m == 4)
        input(4, g, blocks, x, first, count, v);
    else
        input(2, g, blocks, x, first, count, v);
}

/* One block of a window of m x m outputs: v[position] = A (weight gy) AT. */
V_INLINE void spread_tile(const int m, const int whole, const window *f, float weight, ptrdiff_t place, float *v)
{
    enum { S = WINOGRAD_SIDE };
    const int side = m + 2;
    for (int half = 0; half < 16; half += V_LANES) {
        vec t[S][S], by = v_set1(weight);
        for (int j = 0; j < m; j++) {
            vec d[S], r[S];
            load_column(f, whole, m, j, half, d);
            for (int i = 0; i < m; i++)
                d[i] = v_mul(by, d[i]);
            winograd_a(m, d, r);
            for (int i = 0; i < side; i++)
                t[i][j] = r[i];
        }
        for (int i = 0; i < side; i++) {
            vec r[S];
            winograd_a(m, t[i], r);
            for (int j = 0; j < side; j++)
                v_store(v + (i * side + j) * place + half, r[j]);
        }
    }
}

V_INLINE void spread(const int m, const winograd_grid *g, int blocks, const float *gy, const float *scale, int first, int count,
                     float *v)
{
    for (int t = 0; t < count; t++) {
        tile_place at = find_tile(g, first + t);
        window f = find_window(g, blocks, gy, at, 0, m);
        for (int b = 0; b < blocks; b++, next_block(&f, m))
            if (f.whole)
                spread_tile(m, 1, &f, scale ? scale[at.image] : 1.0f, g->place, v + b * g->block + t * 16);
            else
                spread_tile(m, 0, &f, scale ? scale[at.image] : 1.0f, g->place, v + b * g->block + t * 16);
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
