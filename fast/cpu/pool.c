/* pool.c: average over 3x3 stride 2, maximum of 2x2, mean over pixels. Tensors are (images,h,w,lanes), lanes 16 or 1. */
#include "fast/cpu/lanes.h"
#include "fast/cpu/slots.h"

/* ---- average ---- */

/* The sum of rows x cols pixels, `row` floats from row to row. */
V_INLINE vec window16(int rows, int cols, const float *x, size_t row)
{
    vec sum = v_zero();
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < cols; s++)
            sum = v_add(sum, v_load(x + (size_t)r * row + 16 * s));
    return sum;
}
static float window1(int rows, int cols, const float *x, size_t row)
{
    float sum = 0;
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < cols; s++)
            sum += x[(size_t)r * row + (size_t)s];
    return sum;
}

/* One row of y from the rows of x that its windows meet: `rows` rows, from x on. */
V_INLINE void average_row(int rows, int w, int lanes, const float *x, float *y)
{
    size_t row = (size_t)w * (size_t)lanes;
    for (int o = 0; 2 * o < w; o++) {
        int first = o ? 2 * o - 1 : 0, cols = (2 * o + 1 < w ? 2 * o + 1 : w - 1) - first + 1;
        const float *at = x + first * lanes;
        if (lanes == 1)
            y[o] = window1(rows, cols, at, row) * (1.0f / 9.0f);
        else
            for (int v = 0; v < 16; v += V_LANES) {
                vec sum = rows == 3 && cols == 3 ? window16(3, 3, at + v, row) : window16(rows, cols, at + v, row);
                v_store(y + 16 * o + v, v_mul(sum, v_set1(1.0f / 9.0f)));
            }
    }
}

V_INLINE void average(int images, int h, int w, int lanes, const float *x, float *y)
{
    size_t row = (size_t)w * (size_t)lanes, row_out = (size_t)((w + 1) / 2) * (size_t)lanes;
    for (int i = 0; i < images; i++, x += (size_t)h * row)
        for (int o = 0; 2 * o < h; o++, y += row_out) {
            int first = o ? 2 * o - 1 : 0, rows = (2 * o + 1 < h ? 2 * o + 1 : h - 1) - first + 1;
            average_row(rows, w, lanes, x + (size_t)first * row, y);
        }
}

void CPU_(avgpool_fwd)(fast_ctx *ctx, int images, int h, int w, int lanes, const float *x, float *y)
{
    (void)ctx;
    if (lanes == 16)
        average(images, h, w, 16, x, y);
    else
        average(images, h, w, 1, x, y);
}

/* One row of gx from the one or two rows a, b (NULL: none) of gy whose windows meet it: an even pixel lies in one column of
 * windows, an odd one in two. */
static void spread_row16(int w, const float *a, const float *b, float *gx)
{
    vec ninth = v_set1(1.0f / 9.0f);
    for (int v = 0; v < 16; v += V_LANES) {
        vec before = v_zero();
        for (int o = 0; 2 * o < w; o++) {
            vec here = v_load(a + 16 * o + v);
            if (b)
                here = v_add(here, v_load(b + 16 * o + v));
            here = v_mul(here, ninth);
            if (o)
                v_store(gx + 16 * (2 * o - 1) + v, v_add(before, here));
            v_store(gx + 16 * (2 * o) + v, here);
            before = here;
        }
        if (w % 2 == 0)
            v_store(gx + 16 * (w - 1) + v, before);
    }
}
static void spread_row1(int w, const float *a, const float *b, float *gx)
{
    float before = 0;
    for (int o = 0; 2 * o < w; o++) {
        float here = (b ? a[o] + b[o] : a[o]) * (1.0f / 9.0f);
        if (o)
            gx[2 * o - 1] = before + here;
        gx[2 * o] = here;
        before = here;
    }
    if (w % 2 == 0)
        gx[w - 1] = before;
}

void CPU_(avgpool_bwd)(fast_ctx *ctx, int images, int h, int w, int lanes, const float *gy, float *gx)
{
    (void)ctx;
    size_t row = (size_t)w * (size_t)lanes, row_out = (size_t)((w + 1) / 2) * (size_t)lanes;
    int ho = (h + 1) / 2;
    for (int i = 0; i < images; i++, gy += (size_t)ho * row_out)
        for (int r = 0; r < h; r++, gx += row) {
            const float *a = gy + (size_t)(r / 2) * row_out;
            const float *b = r % 2 && r / 2 + 1 < ho ? a + row_out : NULL;
            if (lanes == 16)
                spread_row16(w, a, b, gx);
            else
                spread_row1(w, a, b, gx);
        }
}

/* ---- maximum. x (2 rows of w pixels) -> y, which (w/2 pixels) ---- */

/* Whether the largest so far stays, before e: it is no smaller, or a NaN. */
static inline int stays(float largest, float e) { return (e <= largest) | (largest != largest); }
V_INLINE vmask v_stays(vec largest, vec e) { return v_or(v_less_equal(e, largest), v_nan(largest)); }

static void largest_row16(int w, const float *x, float *y, uint8_t *which)
{
    for (int o = 0; o < w / 2; o++, x += 32, y += 16, which += 16) {
        int32_t places[16];
        for (int v = 0; v < 16; v += V_LANES) {
            const float *below = x + 16 * w;
            vec e[4] = { v_load(x + v), v_load(x + 16 + v), v_load(below + v), v_load(below + 16 + v) }, largest = e[0];
            veci place = vi_set1(0);
            for (int k = 1; k < 4; k++) {
                vmask same = v_stays(largest, e[k]);
                largest = v_select(same, largest, e[k]);
                place = vi_select(same, place, vi_set1(k));
            }
            v_store(y + v, largest);
            vi_storeu(places + v, place);
        }
        for (int l = 0; l < 16; l++)
            which[l] = (uint8_t)places[l];
    }
}

static void largest_row1(int w, const float *x, float *y, uint8_t *which)
{
    for (int o = 0; o < w / 2; o++, x += 2) {
        float e[4] = { x[0], x[1], x[w], x[w + 1] };
        int place = 0;
        for (int k = 1; k < 4; k++)
            place = stays(e[place], e[k]) ? place : k;
        y[o] = e[place];
        which[o] = (uint8_t)place;
    }
}

/* Places 0..3 as floats, to compare with. */
V_INLINE void places16(const uint8_t *which, float *place)
{
    for (int l = 0; l < 16; l++)
        place[l] = (float)which[l];
}

static void gather_row16(int w, const uint8_t *which, const float *x, float *y)
{
    for (int o = 0; o < w / 2; o++, x += 32, y += 16, which += 16) {
        float place[16];
        places16(which, place);
        for (int v = 0; v < 16; v += V_LANES) {
            vec k = v_loadu(place + v), e = v_load(x + v);
            e = v_select(v_equal(k, v_set1(1.0f)), v_load(x + 16 + v), e);
            e = v_select(v_equal(k, v_set1(2.0f)), v_load(x + 16 * w + v), e);
            v_store(y + v, v_select(v_equal(k, v_set1(3.0f)), v_load(x + 16 * w + 16 + v), e));
        }
    }
}
static void gather_row1(int w, const uint8_t *which, const float *x, float *y)
{
    for (int o = 0; o < w / 2; o++)
        y[o] = x[2 * o + which[o] / 2 * w + which[o] % 2];
}

/* gx: both rows, in full. */
static void scatter_row16(int w, const uint8_t *which, const float *gy, float *gx)
{
    for (int o = 0; o < w / 2; o++) {
        float place[16];
        places16(which + 16 * o, place);
        for (int v = 0; v < 16; v += V_LANES)
            for (int k = 0; k < 4; k++) {
                vmask here = v_equal(v_loadu(place + v), v_set1((float)k));
                v_store(gx + 16 * (k / 2 * w + 2 * o + k % 2) + v, v_keep(here, v_load(gy + 16 * o + v)));
            }
    }
    for (int r = 0; w % 2 && r < 2; r++)
        memset(gx + 16 * (r * w + w - 1), 0, 16 * sizeof *gx);
}
static void scatter_row1(int w, const uint8_t *which, const float *gy, float *gx)
{
    memset(gx, 0, 2 * (size_t)w * sizeof *gx);
    for (int o = 0; o < w / 2; o++)
        gx[2 * o + which[o] / 2 * w + which[o] % 2] = gy[o];
}

void CPU_(maxpool_fwd)(fast_ctx *ctx, int images, int h, int w, int lanes, const float *x, float *y, uint8_t *which)
{
    (void)ctx;
    size_t row = (size_t)w * (size_t)lanes, row_out = (size_t)(w / 2) * (size_t)lanes;
    for (int i = 0; i < images; i++, x += (size_t)(h % 2) * row)
        for (int o = 0; o < h / 2; o++, x += 2 * row, y += row_out, which += row_out) {
            if (lanes == 16)
                largest_row16(w, x, y, which);
            else
                largest_row1(w, x, y, which);
        }
}

void CPU_(maxpool_tan)(fast_ctx *ctx, int images, int h, int w, int lanes, const uint8_t *which, const float *x_t, float *y_t)
{
    (void)ctx;
    size_t row = (size_t)w * (size_t)lanes, row_out = (size_t)(w / 2) * (size_t)lanes;
    for (int i = 0; i < images; i++, x_t += (size_t)(h % 2) * row)
        for (int o = 0; o < h / 2; o++, x_t += 2 * row, y_t += row_out, which += row_out) {
            if (lanes == 16)
                gather_row16(w, which, x_t, y_t);
            else
                gather_row1(w, which, x_t, y_t);
        }
}

void CPU_(maxpool_bwd)(fast_ctx *ctx, int images, int h, int w, int lanes, const uint8_t *which, const float *gy, float *gx)
{
    (void)ctx;
    size_t row = (size_t)w * (size_t)lanes, row_out = (size_t)(w / 2) * (size_t)lanes;
    for (int i = 0; i < images; i++) {
        for (int o = 0; o < h / 2; o++, gx += 2 * row, gy += row_out, which += row_out) {
            if (lanes == 16)
                scatter_row16(w, which, gy, gx);
            else
                scatter_row1(w, which, gy, gx);
        }
        memset(gx, 0, (size_t)(h % 2) * row * sizeof *gx);
        gx += (size_t)(h % 2) * row;
    }
}

/* ---- mean ---- */

void CPU_(mean_fwd)(fast_ctx *ctx, int n, int c, int hw, const float *x, float *y)
{
    (void)ctx;
    size_t blocks = (size_t)n * (size_t)fast_blocks(c);
    for (size_t b = 0; b < blocks; b++, x += 16 * (size_t)hw, y += 16) {
        double sum[16] = { 0 };
        for (int p = 0; p < hw; p += LANES_CHUNK)
            for (int v = 0; v < 16; v += V_LANES)
                lanes_add(sum + v, lanes_sum(hw - p < LANES_CHUNK ? hw - p : LANES_CHUNK, x + 16 * (size_t)p + v));
        for (int l = 0; l < 16; l++)
            y[l] = (float)(sum[l] / hw);
    }
}

void CPU_(mean_bwd)(fast_ctx *ctx, int n, int c, int hw, const float *gy, float *gx)
{
    (void)ctx;
    size_t blocks = (size_t)n * (size_t)fast_blocks(c);
    for (size_t b = 0; b < blocks; b++, gy += 16)
        for (int v = 0; v < 16; v += V_LANES) {
            vec share = v_div(v_load(gy + v), v_set1((float)hw));
            for (int p = 0; p < hw; p++)
                v_store(gx + (b * (size_t)hw + (size_t)p) * 16 + (size_t)v, share);
        }
}
