// check_shape.h: the slots that launch, for whoever puts something before each; and the shapes of a call as text, from its
// arguments: check_shape(ctx, n, conv, x, ...) is "128 64x32x32>64x32x32 k3".
#ifndef CHECK_SHAPE_H
#define CHECK_SHAPE_H

#include <stdio.h>

#include <string>

#include "fast/backend.h"

// SLOT(name) for every slot of fast_backend that is called as name(ctx, ...) and returns nothing.
#define CHECK_SLOTS(SLOT) \
    SLOT(weight_std_fwd) SLOT(weight_std_bwd) SLOT(spectral_fwd) SLOT(spectral_bwd) \
    SLOT(conv_pack) SLOT(conv_fwd) SLOT(conv_bwd_x) SLOT(conv_bwd_w) SLOT(bias_bwd) \
    SLOT(norm_swish_fwd) SLOT(norm_swish_bwd) SLOT(norm_swish_tan) SLOT(norm_swish_bwd2) \
    SLOT(class_affine_fwd) SLOT(class_affine_bwd) SLOT(act_fwd) SLOT(act_bwd) SLOT(act_bwd2) \
    SLOT(avgpool_fwd) SLOT(avgpool_bwd) SLOT(maxpool_fwd) SLOT(maxpool_tan) SLOT(maxpool_bwd) SLOT(mean_fwd) SLOT(mean_bwd) \
    SLOT(pack) SLOT(unpack) SLOT(attn_fwd) SLOT(attn_bwd) SLOT(attn_tan) SLOT(attn_bwd2) \
    SLOT(copy) SLOT(zero) SLOT(scale_add) SLOT(mul_add) SLOT(dot) SLOT(loss_weights) SLOT(nearest) \
    SLOT(langevin) SLOT(sum_squares) SLOT(adam) \
    SLOT(conv_swish_fwd) SLOT(conv_swish_bwd_x) SLOT(avgpool_swish_fwd) SLOT(avgpool_swish_bwd)

namespace shape_text {

template <class... A> std::string say(const char *format, A... a)
{
    char text[96];
    snprintf(text, sizeof text, format, a...);
    return text;
}
template <class T> std::string of(const T &) { return ""; }          // tensors, factors, scratch
inline std::string of(const int &i) { return say("%d ", i); }
inline std::string of(const size_t &count) { return say("%zu ", count); }
inline std::string of(const fast_conv *const &c)
{
    return say("%dx%dx%d>%dx%dx%d k%d", c->ci, c->hi, c->wi, c->co, c->ho, c->wo, c->k);
}
inline std::string of(const fast_norm *const &s) { return say("%dx%dx%d g%d", s->c, s->h, s->w, s->groups); }
inline std::string of(const fast_attn *const &s) { return say("dk%d dv%d %dx%d", s->dk, s->dv, s->sq, s->sk); }
inline std::string of(const fast_langevin *const &l) { return say("n%d %d", l->n, l->d); }
inline std::string of(const fast_nearest *const &e) { return say("n%d %d of %d", e->n, e->d, e->m); }
inline std::string of(const fast_adam *const &a) { return say("%zu", a->count); }

}  // namespace shape_text

template <class... A> std::string check_shape(const A &...a)
{
    std::string s;
    ((s += shape_text::of(a)), ...);
    return s.empty() || s.back() != ' ' ? s : s.substr(0, s.size() - 1);
}

#endif
