/* conv_map.c: the two linear maps of a convolution, and its weights by lanes. */
#include "fast/cpu/conv.h"

conv_map CPU_(conv_forward)(int n, const fast_conv *c)
{
    return (conv_map){ n, c->ci, c->hi, c->wi, c->co, c->ho, c->wo, c->k, c->s, c->p, 0 };
}

conv_map CPU_(conv_backward)(int n, const fast_conv *c)
{
    return (conv_map){ n, c->co, c->ho, c->wo, c->ci, c->hi, c->wi, c->k, c->s, c->p, 1 };
}

void CPU_(conv_lanes)(const float *w, size_t stride, int lanes, int taps, float *out)
{
    memset(out, 0, (size_t)taps * 16 * sizeof *out);
    for (int lane = 0; lane < lanes; lane++)
        for (int t = 0; t < taps; t++)
            out[t * 16 + lane] = w[(size_t)lane * stride + (size_t)t];
}
