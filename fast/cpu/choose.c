/* choose.c: which algorithm runs which pass of which convolution. */
#include "fast/cpu/conv.h"

static int winograd_fits(const fast_conv *c) { return c->k == 3 && c->s == 1 && c->p == 1 && !c->planar; }

static fast_conv_algorithm plain(const conv_map *m)
{
    return CPU_(direct_can)(m) && m->wd >= 7 ? FAST_CONV_DIRECT : FAST_CONV_GEMM;
}

static fast_conv_algorithm tiles(int n, int winograd, int h, int w)
{
    (void)n; (void)h; (void)w;
    return winograd >= 4 ? FAST_CONV_WINOGRAD4 : FAST_CONV_WINOGRAD2;
}

void CPU_(conv_choose)(int n, int winograd, fast_conv *c)
{
    conv_map forward = CPU_(conv_forward)(n, c), backward = CPU_(conv_backward)(n, c);
    if (winograd && winograd_fits(c)) {
        c->fwd = c->bwd_x = c->bwd_w = tiles(n, winograd, c->ho, c->wo);
        return;
    }
    c->fwd = plain(&forward);
    c->bwd_x = plain(&backward);
    c->bwd_w = FAST_CONV_GEMM;
}
