/* choose.c: which algorithm runs which pass of which convolution.
 *
 * A 3x3 convolution of t rows is 9 products (t x ci)(ci x co); F(2x2) makes 16 of a quarter as many rows, F(4x4) 36 of a
 * sixteenth. Weights that do not stay in the L2 cache cost as much time as some more rows. Measured on one core of a Xeon
 * with AVX-512 (240 GFLOP/s, L3 29 GB/s), forward, GFLOP/s as direct, parts of 8 images (4 where it says so):
 *
 *                64@28  128@14  256@7  16@28  32@14  64@7  64@16  128@8  256@4  256@4 n = 4
 *   direct         167     167    146    158    183   193    197    207    121    105
 *   F(2x2,3x3)     312     363    260    168    260   267    329    403    333    304
 *   F(4x4,3x3)     526     456    400    311    384   479    574    615    363    182
 */
#include "fast/cpu/conv.h"

/* Kilobytes of weights that stay near, and what farther ones cost in rows: streamed through the products of fwd and bwd_x, or
 * formed by bwd_w. */
enum { NEAR_WEIGHTS = 512, STREAMED = 18, FORMED = 8 };

static double cost(const conv_map *m, int positions, double rows, int far_rows)
{
    int kilobytes = positions * fast_blocks(m->cs) * fast_blocks(m->cd);
    return positions * (rows + (kilobytes > NEAR_WEIGHTS ? far_rows : 2));
}

static double winograd_cost(const conv_map *m, int tile, int far_rows)
{
    double tiles = (double)m->n * ((m->hd + tile - 1) / tile) * ((m->wd + tile - 1) / tile);
    return cost(m, (tile + 2) * (tile + 2), tile == 2 ? 1.15 * tiles : tiles, far_rows);      /* 1.15: the transforms' share */
}

/* Rows of an image in place, unless they are so short that too few sums are under way at a time; then gathered patches. */
static fast_conv_algorithm plain(const conv_map *m)
{
    int columns = m->k == 1 && m->p == 0 ? m->hd * m->wd : m->wd;
    int sums = conv_even(columns, GEMM_ROWS) * GEMM_BLOCKS * V_BLOCK;
    return CPU_(direct_can)(m) && sums >= 10 ? FAST_CONV_DIRECT : FAST_CONV_GEMM;
}

static fast_conv_algorithm choose(const conv_map *m, int largest, int far_rows, fast_conv_algorithm otherwise)
{
    double best = cost(m, 9, 1.1 * m->n * m->hd * m->wd, far_rows);
    if (m->k != 3 || m->s != 1 || m->p != 1)
        return otherwise;
    for (int tile = 2; tile <= largest; tile += 2) {
        double c = winograd_cost(m, tile, far_rows);
        if (c < best) {
            best = c;
            otherwise = tile == 4 ? FAST_CONV_WINOGRAD4 : FAST_CONV_WINOGRAD2;
        }
    }
    return otherwise;
}

void CPU_(conv_choose)(int n, int winograd, fast_conv *c)
{
    conv_map forward = CPU_(conv_forward)(n, c), backward = CPU_(conv_backward)(n, c);
    c->fwd = c->bwd_x = c->bwd_w = FAST_CONV_GEMM;
    if (c->planar) {                     /* conv_planar.c has but one way */
        c->fwd = c->bwd_w = FAST_CONV_DIRECT;
        return;
    }
    c->fwd = choose(&forward, winograd, STREAMED, plain(&forward));
    c->bwd_x = choose(&backward, winograd, STREAMED, plain(&backward));
    c->bwd_w = choose(&forward, winograd, FORMED, FAST_CONV_GEMM);
}
