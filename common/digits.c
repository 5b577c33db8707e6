/* digits.c: handwritten-looking digits, drawn.
 *
 * Each way to write a digit is a few strokes, each a smooth curve through points. A curve is sampled, slanted, scaled, bent
 * by a smooth displacement field, moved so that its centre of mass lies at the image's centre plus a shift, and inked: a
 * pixel's value depends on its distance to the nearest stroke.
 *
 * Draws of digit i (stream: iteration 0, purpose ICD_DRAW_DATA, sample i):
 *   0 which digit   1 which way to write it   2 width   3 size   4, 5 shift   6 bend   (uniform)
 *   8 slant   16.. the field for x   72.. the field for y   (normal) */
#include "digits.h"

#include <assert.h>
#include <math.h>

#include "field.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, HEIGHT = 20 /* pixels, at size 1 */ };
enum { DRAW_DIGIT, DRAW_STYLE, DRAW_WIDTH, DRAW_SIZE, DRAW_SHIFT_X, DRAW_SHIFT_Y, DRAW_BEND,
       DRAW_SLANT = 8, DRAW_FIELD_X = 16, DRAW_FIELD_Y = 72 };
enum { MAX_STROKE = 13, MAX_STROKES = 4, PIECES = 8 /* straight pieces between two points */,
       MAX_CURVE = MAX_STROKES * (MAX_STROKE - 1) * PIECES + MAX_STROKES };

typedef struct { float x, y; } point;

/* Points in units of the digit's height: x to the right, y down from the top. A stroke that ends where it began is closed;
 * a corner is where one stroke ends and the next begins. */
typedef struct { int n; point p[MAX_STROKE]; } stroke;
typedef struct { int digit, strokes; stroke s[MAX_STROKES]; } glyph;

static const glyph glyphs[] = {
    { 0, 1, {{ 9, {{.35f,0}, {.12f,.16f}, {.03f,.5f}, {.11f,.85f}, {.33f,1}, {.57f,.84f}, {.65f,.5f}, {.58f,.16f}, {.35f,0}} }} },
    { 0, 1, {{ 9, {{.46f,.03f}, {.22f,.08f}, {.05f,.42f}, {.07f,.82f}, {.28f,1}, {.54f,.82f}, {.62f,.45f}, {.52f,.11f},
                   {.3f,.02f}} }} },
    { 1, 1, {{ 3, {{.21f,0}, {.2f,.5f}, {.2f,1}} }} },
    { 1, 2, {{ 2, {{0,.24f}, {.22f,0}} }, { 2, {{.22f,0}, {.22f,1}} }} },
    { 1, 3, {{ 2, {{.02f,.22f}, {.24f,0}} }, { 2, {{.24f,0}, {.24f,1}} }, { 2, {{0,1}, {.48f,1}} }} },
    { 2, 2, {{ 7, {{.06f,.24f}, {.17f,.05f}, {.38f,0}, {.57f,.12f}, {.55f,.36f}, {.36f,.64f}, {.03f,.97f}} },
             { 3, {{.03f,.97f}, {.34f,.95f}, {.68f,.97f}} }} },
    { 2, 1, {{ 11, {{.06f,.2f}, {.24f,.01f}, {.5f,.06f}, {.56f,.28f}, {.43f,.58f}, {.2f,.9f}, {.06f,.98f}, {0,.88f},
                    {.12f,.8f}, {.36f,.92f}, {.7f,.94f}} }} },
    { 3, 2, {{ 6, {{.04f,.14f}, {.26f,0}, {.5f,.06f}, {.54f,.27f}, {.4f,.42f}, {.2f,.47f}} },
             { 6, {{.2f,.47f}, {.5f,.54f}, {.6f,.74f}, {.48f,.94f}, {.24f,1}, {.0f,.88f}} }} },
    { 3, 3, {{ 2, {{.04f,.02f}, {.56f,.02f}} }, { 2, {{.56f,.02f}, {.24f,.4f}} },
             { 6, {{.24f,.4f}, {.5f,.48f}, {.6f,.7f}, {.48f,.93f}, {.24f,1}, {.0f,.9f}} }} },
    { 4, 3, {{ 3, {{.12f,.02f}, {.06f,.28f}, {.02f,.54f}} }, { 3, {{.02f,.54f}, {.3f,.55f}, {.62f,.5f}} },
             { 3, {{.58f,.04f}, {.53f,.5f}, {.48f,1}} }} },
    { 4, 1, {{ 7, {{.1f,.04f}, {.03f,.3f}, {.08f,.52f}, {.34f,.52f}, {.6f,.3f}, {.56f,.6f}, {.5f,1}} }} },
    { 4, 3, {{ 2, {{.5f,0}, {0,.66f}} }, { 2, {{0,.66f}, {.7f,.64f}} }, { 2, {{.5f,0}, {.48f,1}} }} },
    { 5, 3, {{ 2, {{.6f,.02f}, {.16f,.03f}} }, { 2, {{.16f,.03f}, {.1f,.44f}} },
             { 6, {{.1f,.44f}, {.34f,.37f}, {.58f,.52f}, {.56f,.82f}, {.32f,1}, {0,.91f}} }} },
    { 5, 3, {{ 3, {{.66f,0}, {.4f,.06f}, {.16f,.05f}} }, { 3, {{.16f,.05f}, {.12f,.24f}, {.14f,.4f}} },
             { 6, {{.14f,.4f}, {.36f,.48f}, {.5f,.66f}, {.46f,.88f}, {.26f,1}, {.02f,.92f}} }} },
    { 6, 1, {{ 10, {{.48f,0}, {.24f,.2f}, {.08f,.5f}, {.06f,.8f}, {.25f,1}, {.49f,.92f}, {.55f,.7f}, {.4f,.55f}, {.2f,.62f},
                    {.07f,.82f}} }} },
    { 6, 1, {{ 10, {{.26f,0}, {.1f,.3f}, {.04f,.62f}, {.1f,.9f}, {.3f,1}, {.5f,.88f}, {.5f,.66f}, {.34f,.56f}, {.16f,.66f},
                    {.08f,.84f}} }} },
    { 7, 2, {{ 3, {{0,.06f}, {.3f,.04f}, {.6f,.02f}} }, { 3, {{.6f,.02f}, {.42f,.46f}, {.28f,1}} }} },
    { 7, 3, {{ 3, {{0,.07f}, {.3f,.03f}, {.6f,.04f}} }, { 3, {{.6f,.04f}, {.4f,.46f}, {.24f,1}} },
             { 2, {{.14f,.54f}, {.64f,.48f}} }} },
    { 7, 3, {{ 2, {{.02f,.2f}, {.04f,.02f}} }, { 3, {{.04f,.02f}, {.34f,.05f}, {.6f,0}} },
             { 3, {{.6f,0}, {.5f,.42f}, {.44f,1}} }} },
    { 8, 1, {{ 13, {{.32f,.46f}, {.11f,.28f}, {.14f,.08f}, {.34f,0}, {.54f,.08f}, {.54f,.27f}, {.32f,.46f}, {.1f,.68f},
                    {.09f,.88f}, {.3f,1}, {.52f,.9f}, {.53f,.68f}, {.32f,.46f}} }} },
    { 8, 1, {{ 12, {{.6f,.08f}, {.38f,0}, {.14f,.08f}, {.16f,.3f}, {.38f,.5f}, {.53f,.72f}, {.44f,.95f}, {.2f,.98f},
                    {.06f,.8f}, {.2f,.58f}, {.46f,.34f}, {.6f,.08f}} }} },
    { 9, 2, {{ 8, {{.56f,.16f}, {.38f,0}, {.16f,.06f}, {.05f,.28f}, {.16f,.47f}, {.36f,.46f}, {.52f,.32f}, {.56f,.16f}} },
             { 3, {{.56f,.16f}, {.52f,.55f}, {.46f,1}} }} },
    { 9, 2, {{ 8, {{.54f,.18f}, {.38f,.01f}, {.16f,.06f}, {.06f,.27f}, {.16f,.46f}, {.36f,.46f}, {.5f,.34f}, {.54f,.18f}} },
             { 5, {{.54f,.18f}, {.57f,.5f}, {.48f,.86f}, {.26f,1}, {.04f,.92f}} }} },
};
enum { GLYPHS = sizeof glyphs / sizeof glyphs[0] };

static float uniform_in(const icd_stream *s, uint64_t index, float low, float high)
{
    return low + (high - low) * icd_uniform(s, index);
}

static const glyph *choose_glyph(const icd_stream *s, int digit)
{
    int ways = 0, first = 0;
    for (int g = GLYPHS - 1; g >= 0; g--)
        if (glyphs[g].digit == digit) {
            first = g;
            ways++;
        }
    return &glyphs[first + (int)icd_below(s, DRAW_STYLE, (uint32_t)ways)];
}

/* Between b and c, at 0 <= t <= 1, of the Catmull-Rom spline through a, b, c, d. */
static point spline(point a, point b, point c, point d, float t)
{
    float wa = t * (-1.0f + t * (2.0f - t)), wb = 2.0f + t * t * (3.0f * t - 5.0f);
    float wc = t * (1.0f + t * (4.0f - 3.0f * t)), wd = t * t * (t - 1.0f);
    point p = { 0.5f * (wa * a.x + wb * b.x + wc * c.x + wd * d.x), 0.5f * (wa * a.y + wb * b.y + wc * c.y + wd * d.y) };
    return p;
}

static point beyond(point end, point before) { point p = { 2 * end.x - before.x, 2 * end.y - before.y }; return p; }

/* Points along a glyph's strokes, stroke after stroke; starts[] says where each begins, starts[strokes] is their number. */
static void trace(const glyph *g, point *curve, int *starts)
{
    int n = 0;
    for (int i = 0; i < g->strokes; i++) {
        const stroke *s = &g->s[i];
        int last = s->n - 1;
        int closed = s->p[0].x == s->p[last].x && s->p[0].y == s->p[last].y;
        starts[i] = n;
        for (int j = 0; j < last; j++) {
            point b = s->p[j], c = s->p[j + 1];
            point a = j > 0 ? s->p[j - 1] : closed ? s->p[last - 1] : beyond(b, c);
            point d = j + 1 < last ? s->p[j + 2] : closed ? s->p[1] : beyond(c, b);
            for (int k = 0; k < PIECES; k++)
                curve[n++] = spline(a, b, c, d, (float)k / (float)PIECES);
        }
        curve[n++] = s->p[last];
    }
    starts[g->strokes] = n;
    assert(n <= MAX_CURVE);
}

/* From units of the height to pixels: slant, size, bend, and the centre of mass where it should be. */
static void place(const glyph *g, const icd_digit_factors *f, const icd_stream *s, point *curve, const int *starts)
{
    icd_field bend_x, bend_y;
    icd_field_draw(&bend_x, s, DRAW_FIELD_X, f->bend);
    icd_field_draw(&bend_y, s, DRAW_FIELD_Y, f->bend);
    float shear = (float)tan((double)f->slant), scale = f->size * (float)HEIGHT, middle = (float)(SIDE - 1) / 2.0f;
    for (int i = 0; i < starts[g->strokes]; i++) {
        float x = middle + scale * (curve[i].x - 0.32f + shear * (0.5f - curve[i].y)), y = middle + scale * (curve[i].y - 0.5f);
        curve[i].x = x + icd_field_at(&bend_x, x / (float)SIDE, y / (float)SIDE);
        curve[i].y = y + icd_field_at(&bend_y, x / (float)SIDE, y / (float)SIDE);
    }
    float length = 0, sum_x = 0, sum_y = 0;
    for (int i = 0; i < g->strokes; i++)
        for (int j = starts[i]; j + 1 < starts[i + 1]; j++) {
            float dx = curve[j + 1].x - curve[j].x, dy = curve[j + 1].y - curve[j].y, l = sqrtf(dx * dx + dy * dy);
            length += l;
            sum_x += l * 0.5f * (curve[j].x + curve[j + 1].x);
            sum_y += l * 0.5f * (curve[j].y + curve[j + 1].y);
        }
    for (int i = 0; i < starts[g->strokes]; i++) {
        curve[i].x += middle + f->shift_x - sum_x / length;
        curve[i].y += middle + f->shift_y - sum_y / length;
    }
}

/* Lower d2 (28,28), squared distances in pixels, to the distance from the piece a-b, at pixels nearer than `reach`. */
static void near_piece(point a, point b, float reach, float *d2)
{
    float dx = b.x - a.x, dy = b.y - a.y, l2 = dx * dx + dy * dy;
    float low_x = fminf(a.x, b.x) - reach, high_x = fmaxf(a.x, b.x) + reach;
    float low_y = fminf(a.y, b.y) - reach, high_y = fmaxf(a.y, b.y) + reach;
    int x0 = low_x > 0 ? (int)low_x : 0, x1 = high_x < (float)SIDE ? (int)high_x + 1 : SIDE;
    int y0 = low_y > 0 ? (int)low_y : 0, y1 = high_y < (float)SIDE ? (int)high_y + 1 : SIDE;
    for (int y = y0; y < y1 && y < SIDE; y++)
        for (int x = x0; x < x1 && x < SIDE; x++) {
            float px = (float)x - a.x, py = (float)y - a.y;
            float t = l2 > 0 ? (px * dx + py * dy) / l2 : 0;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            float ex = px - t * dx, ey = py - t * dy, e2 = ex * ex + ey * ey;
            if (e2 < d2[y * SIDE + x])
                d2[y * SIDE + x] = e2;
        }
}

/* x (28,28): 1 on the stroke, 0 off it, and in between over one pixel around its edge. */
static void ink(const glyph *g, float width, const point *curve, const int *starts, float *x)
{
    float reach = 0.5f * width + 0.5f;
    for (int i = 0; i < PIXELS; i++)
        x[i] = reach * reach;
    for (int i = 0; i < g->strokes; i++)
        for (int j = starts[i]; j + 1 < starts[i + 1]; j++)
            near_piece(curve[j], curve[j + 1], reach, x);
    for (int i = 0; i < PIXELS; i++) {
        float v = reach - sqrtf(x[i]);
        x[i] = v > 0 ? v < 1 ? v : 1 : 0;
    }
}

static void draw_digit(const icd_stream *s, icd_digit_factors *f, float *x)
{
    point curve[MAX_CURVE];
    int starts[MAX_STROKES + 1];
    float slant = 0.12f + 0.2f * icd_normal(s, DRAW_SLANT);
    f->digit = (int)icd_below(s, DRAW_DIGIT, 10);
    f->slant = slant < -0.5f ? -0.5f : slant > 0.6f ? 0.6f : slant;
    f->width = uniform_in(s, DRAW_WIDTH, 1.7f, 3.3f);
    f->size = uniform_in(s, DRAW_SIZE, 0.8f, 1.0f);
    f->shift_x = uniform_in(s, DRAW_SHIFT_X, -1.2f, 1.2f);
    f->shift_y = uniform_in(s, DRAW_SHIFT_Y, -1.2f, 1.2f);
    f->bend = uniform_in(s, DRAW_BEND, 0.2f, 1.0f);
    const glyph *g = choose_glyph(s, f->digit);
    trace(g, curve, starts);
    place(g, f, s, curve, starts);
    ink(g, f->width, curve, starts, x);
}

icd_status icd_digits(icd_arena *a, uint64_t seed, int n, icd_images *out, icd_digit_factors *factors, icd_err *err)
{
    if (n < 1)
        return icd_fail(err, ICD_EINVAL, "digits: asked for %d images, wanted 1 or more", n);
    icd_images set = { n, 1, SIDE, SIDE, NULL, NULL, 10 };
    set.x = icd_arena_alloc(a, (size_t)n, PIXELS * sizeof *set.x);
    set.label = icd_arena_alloc(a, (size_t)n, sizeof *set.label);
    if (!set.x || !set.label)
        return icd_fail(err, ICD_ENOMEM, "digits: no memory for %d images of %dx%d", n, SIDE, SIDE);
    for (int i = 0; i < n; i++) {
        icd_stream s = { seed, 0, ICD_DRAW_DATA, (uint32_t)i };
        icd_digit_factors f;
        draw_digit(&s, &f, set.x + (size_t)i * PIXELS);
        set.label[i] = f.digit;
        if (factors)
            factors[i] = f;
    }
    *out = set;
    return ICD_OK;
}
