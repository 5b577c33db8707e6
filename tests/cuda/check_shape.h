// check_shape.h: the shapes of a slot's call as text, from its arguments: check_shape(ctx, n, conv, x, ...) is
// "128 64x32x32>64x32x32 k3".
#ifndef CHECK_SHAPE_H
#define CHECK_SHAPE_H

#include <stdio.h>

#include <string>

#include "fast/backend.h"

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
