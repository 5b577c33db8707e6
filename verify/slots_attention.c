/* slots_attention.c: softmax attention in four passes; the passes after fwd are given the tape's rows.
 *                                                                                       [ICD:table5.attn] [ANA:nets] */
#include "slots.h"

#include <math.h>
#include <string.h>

enum { Q, KEY, VAL, Q_T, K_T, V_T, GO, HO, INPUTS };
enum { O, GQ, GK, GV, O_T, HQ, HK, HV, ROWS, OUTPUTS };

typedef struct {
    fast_attn s;
    int n;
    double largest;                         /* of sum |q||k|: what one rounding of a logit can be */
    size_t count[INPUTS], out[OUTPUTS];
    double *in[INPUTS], *want[OUTPUTS];
} attn_case;

/* Channels and pixels of each tensor. */
static void size_of(const fast_attn *s, int tensor, int *c, int *hw)
{
    *c = tensor == VAL || tensor == V_T || tensor == GO || tensor == HO ? s->dv : s->dk;
    *hw = tensor == Q || tensor == Q_T || tensor == GO || tensor == HO ? s->sq : s->sk;
}
static const int like[OUTPUTS] = { GO, Q, KEY, VAL, GO, Q, KEY, VAL, -1 };      /* outputs have an input's shape */

static void rows(attn_case *q, const double *query, const double *key, double *out)
{
    const fast_attn *s = &q->s;
    for (int i = 0; i < q->n * s->sq; i++) {
        double top = -INFINITY, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < s->sk; j++) {
                double logit = 0, size = 0;
                for (int k = 0; k < s->dk; k++) {
                    double a = query[(i / s->sq * s->dk + k) * s->sq + i % s->sq], b = key[(i / s->sq * s->dk + k) * s->sk + j];
                    logit += a * b;
                    size += fabs(a * b);
                }
                q->largest = size > q->largest ? size : q->largest;
                if (pass)
                    sum += exp(logit - top);
                else if (!(logit <= top))
                    top = logit;
            }
        out[2 * i] = top;
        out[2 * i + 1] = 1 / sum;
    }
}

static void reference(slots *v, attn_case *q, double *const in[INPUTS], double *const out[OUTPUTS])
{
    const fast_attn *s = &q->s;
    slot_route r = { .function = SLOT_ATTENTION, .inputs = 3, .gy = in[GO], .hy = in[HO], .y = out[O], .y_t = out[O_T],
                     .in = { { .s = { q->n, 1, s->dk, s->sq }, .x = in[Q], .x_t = in[Q_T], .gx = out[GQ], .hx = out[HQ] },
                             { .s = { q->n, 1, s->dk, s->sk }, .x = in[KEY], .x_t = in[K_T], .gx = out[GK], .hx = out[HK] },
                             { .s = { q->n, 1, s->dv, s->sk }, .x = in[VAL], .x_t = in[V_T], .gx = out[GV], .hx = out[HV] } } };
    slots_route(v, &r);
    rows(q, in[Q], in[KEY], out[ROWS]);
}

/* offset: what all logits share: exp of some hundreds is beyond a float, and of minus as much below. */
static void make_case(slots *v, attn_case *q, fast_attn s, int n, double offset)
{
    slots_case(v, "%d images, dk %d, dv %d, %d queries, %d keys, logits about %g", n, s.dk, s.dv, s.sq, s.sk, offset);
    *q = (attn_case){ .s = s, .n = n };
    for (int i = 0; i < INPUTS; i++) {
        int c, hw;
        size_of(&s, i, &c, &hw);
        q->count[i] = (size_t)(n * c) * (size_t)hw;
        q->in[i] = slots_normals(v, q->count[i], 1.0);
    }
    for (int i = 0; i < n * s.sq && offset != 0; i++)
        q->in[Q][i / s.sq * s.dk * s.sq + i % s.sq] = offset;
    for (int i = 0; i < n * s.sk && offset != 0; i++)
        q->in[KEY][i / s.sk * s.dk * s.sk + i % s.sk] = 1;
    for (int i = 0; i < OUTPUTS; i++) {
        q->out[i] = like[i] < 0 ? (size_t)(n * s.sq) * 2 : q->count[like[i]];
        q->want[i] = slots_zeros(v, q->out[i]);
    }
    reference(v, q, q->in, q->want);
}

static float *in(slots *v, const attn_case *q, int tensor)
{
    int c, hw;
    size_of(&q->s, tensor, &c, &hw);
    return slots_blocked_in(v, q->n, c, hw, q->in[tensor]);
}

static float *room(slots *v, const attn_case *q, int output)
{
    int c, hw;
    size_of(&q->s, like[output], &c, &hw);
    return slots_blocked_room(v, q->n, c, hw);
}

static double *out(slots *v, const attn_case *q, int output, const float *x)
{
    int c, hw;
    size_of(&q->s, like[output], &c, &hw);
    return slots_blocked_out(v, q->n, c, hw, x);
}

static float *rows_in(slots *v, const attn_case *q) { return slots_in(v, q->out[ROWS], 64, q->want[ROWS]); }

static void forward(slots *v, const attn_case *c, double *got[OUTPUTS])
{
    float *q = in(v, c, Q), *k = in(v, c, KEY), *u = in(v, c, VAL), *o = room(v, c, O), *r = slots_room(v, c->out[ROWS], 64);
    GUARDED(&v->guard, v->table->attn_fwd(&v->ctx, c->n, &c->s, q, k, u, o, r));
    got[O] = out(v, c, O, o);
    got[ROWS] = slots_out(v, c->out[ROWS], r);
}

static void backward(slots *v, const attn_case *c, double *got[OUTPUTS])
{
    float *q = in(v, c, Q), *k = in(v, c, KEY), *u = in(v, c, VAL), *r = rows_in(v, c), *go = in(v, c, GO);
    float *gq = room(v, c, GQ), *gk = room(v, c, GK), *gv = room(v, c, GV);
    GUARDED(&v->guard, v->table->attn_bwd(&v->ctx, c->n, &c->s, q, k, u, r, go, gq, gk, gv));
    got[GQ] = out(v, c, GQ, gq);
    got[GK] = out(v, c, GK, gk);
    got[GV] = out(v, c, GV, gv);
}

static void tangent(slots *v, const attn_case *c, double *got[OUTPUTS])
{
    float *q = in(v, c, Q), *k = in(v, c, KEY), *u = in(v, c, VAL), *r = rows_in(v, c);
    float *q_t = in(v, c, Q_T), *k_t = in(v, c, K_T), *v_t = in(v, c, V_T), *o_t = room(v, c, O_T);
    GUARDED(&v->guard, v->table->attn_tan(&v->ctx, c->n, &c->s, q, k, u, r, q_t, k_t, v_t, o_t));
    got[O_T] = out(v, c, O_T, o_t);
}

static void second_order(slots *v, const attn_case *c, double *got[OUTPUTS])
{
    float *q = in(v, c, Q), *k = in(v, c, KEY), *u = in(v, c, VAL), *r = rows_in(v, c);
    float *q_t = in(v, c, Q_T), *k_t = in(v, c, K_T), *v_t = in(v, c, V_T), *ho = in(v, c, HO), *go = in(v, c, GO);
    float *hq = room(v, c, HQ), *hk = room(v, c, HK), *hv = room(v, c, HV);
    GUARDED(&v->guard, v->table->attn_bwd2(&v->ctx, c->n, &c->s, q, k, u, r, q_t, k_t, v_t, ho, go, hq, hk, hv));
    got[HQ] = out(v, c, HQ, hq);
    got[HK] = out(v, c, HK, hk);
    got[HV] = out(v, c, HV, hv);
}

static const struct {
    const char *slot;
    void (*run)(slots *, const attn_case *, double *[OUTPUTS]);
    icd_case bound;
    int reads[9];            /* inputs; ends with -1 */
} passes[] = {
    { "attn_fwd",  forward,      ATTENTION_CASE,        { Q, KEY, VAL, -1 } },
    { "attn_bwd",  backward,     ATTENTION_CASE,        { Q, KEY, VAL, GO, -1 } },
    { "attn_tan",  tangent,      ATTENTION_CASE,        { Q, KEY, VAL, Q_T, K_T, V_T, -1 } },
    { "attn_bwd2", second_order, ATTENTION_SECOND_CASE, { Q, KEY, VAL, Q_T, K_T, V_T, HO, GO, -1 } },
};
enum { PASSES = sizeof passes / sizeof passes[0] };

/* The longest sum, and what rounding does to exp: a logit l is a sum of dk products, wrong by up to dk |l| U, and the subtraction
 * of the largest adds |l| U; both that error and the same of the logits in the denominator are relative errors of a weight. */
static double terms(const attn_case *q)
{
    const fast_attn *s = &q->s;
    int most = s->sk > s->sq ? s->sk : s->sq;
    return 32 + most + s->dv + 2 * (s->dk + 1) * (1 + q->largest);
}

static void compare(slots *v, const attn_case *q, int p, verify_row *row, verify_row *same)
{
    double *first[OUTPUTS] = { NULL };
    int differ = 0;
    for (int place = GUARD_END; place < GUARD_PLACES; place++) {
        double *got[OUTPUTS] = { NULL };
        slots_place(v, (guard_place)place, v->table->attn_scratch(q->n, &q->s));
        passes[p].run(v, q, got);
        for (int o = 0; o < OUTPUTS; o++) {
            if (got[o])
                slots_check(v, row, passes[p].bound, terms(q), q->out[o], got[o], q->want[o], NULL);
            differ += got[o] && first[o] && memcmp(got[o], first[o], q->out[o] * sizeof(double)) != 0;
            first[o] = got[o];
        }
    }
    slots_check_count(v, same, differ);
}

static void nan_case(slots *v, attn_case *q, int p, verify_row *row)
{
    for (int i = 0; passes[p].reads[i] >= 0; i++) {
        int k = passes[p].reads[i], at = slots_below(v, (int)q->count[k]);
        double *want[OUTPUTS], *got[OUTPUTS] = { NULL }, *kept = q->want[ROWS], number = q->in[k][at];
        for (int o = 0; o < OUTPUTS; o++)
            want[o] = slots_zeros(v, q->out[o]);
        q->in[k][at] = NAN;
        reference(v, q, q->in, want);
        q->want[ROWS] = want[ROWS];
        slots_place(v, GUARD_END, v->table->attn_scratch(q->n, &q->s));
        passes[p].run(v, q, got);
        for (int o = 0; o < OUTPUTS; o++) {
            int there = 0;
            for (size_t j = 0; j < q->out[o]; j++)
                there += want[o][j] != want[o][j];
            if (got[o] && there && o != ROWS)
                slots_check_nan(v, row, q->out[o], got[o], want[o]);
        }
        q->want[ROWS] = kept;
        q->in[k][at] = number;
    }
}

static const struct { int n, dk, dv, sq, sk; double offset; } sizes[] = {
    { 1, 1, 1, 1, 1, 0 },      { 2, 1, 3, 4, 1, 0 },     { 1, 2, 16, 7, 5, 0 },      { 2, 8, 17, 16, 16, 0 },
    { 1, 15, 33, 17, 15, 0 },  { 3, 4, 32, 15, 33, 0 },  { 1, 16, 16, 64, 16, 0 },   { 1, 17, 40, 65, 31, 0 },
    { 2, 8, 64, 49, 49, 0 },   { 1, 33, 8, 3, 130, 0 },  { 1, 12, 24, 100, 65, 0 },  { 1, 4, 20, 20, 37, 200 },
    { 1, 4, 20, 20, 37, -200 }, { 1, 80, 140, 70, 66, 0 },  { 1, 8, 260, 66, 65, 0 },
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

void slots_attentions(slots *v)
{
    verify_row row[PASSES], nans[PASSES], same = row_begin("attn_*", "same bits wherever buffers lie");
    for (int p = 0; p < PASSES; p++) {
        row[p] = row_begin(passes[p].slot, "channels 1..260, pixels 1..130");
        nans[p] = row_begin(passes[p].slot, "NaN goes through");
    }
    for (int i = 0; i < SIZES; i++) {
        attn_case q;
        make_case(v, &q, (fast_attn){ sizes[i].dk, sizes[i].dv, sizes[i].sq, sizes[i].sk }, sizes[i].n, sizes[i].offset);
        for (int p = 0; p < PASSES; p++)
            compare(v, &q, p, &row[p], &same);
        if (i % 3 == 1 && sizes[i].sk > 1)
            for (int p = 0; p < PASSES; p++)
                nan_case(v, &q, p, &nans[p]);
    }
    for (int p = 0; p < PASSES; p++) {
        slots_end(v, &row[p]);
        slots_end(v, &nans[p]);
    }
    slots_end(v, &same);
}
