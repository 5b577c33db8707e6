// onednn_conv.cpp: oneDNN's convolutions, stride 1, "same" padding, in the layouts that it likes best and without any reorder.
// Reads lines "n ci co h w k" and answers each with one line of JSON: GFLOP/s of every direction and algorithm, two operations
// per multiply-add, taps in the padding counted and Winograd counted as direct: what `icd bench` counts.
//   c++ -O2 onednn_conv.cpp -ldnnl && echo 64 64 64 28 28 3 | OMP_NUM_THREADS=2 ./a.out
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <unordered_map>
#include <vector>

using namespace dnnl;

namespace {

struct shape { memory::dim n, ci, co, h, w, k; };

const auto f32 = memory::data_type::f32;

double seconds()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Median of 7 measurements of at least 10 ms each, after a warm-up.
template <class F> double time_of(F run)
{
    run();
    double begin = seconds();
    run();
    int repeats = std::max(1, (int)(0.01 / (seconds() - begin)));
    std::vector<double> each(7);
    for (double &t : each) {
        begin = seconds();
        for (int i = 0; i < repeats; i++)
            run();
        t = (seconds() - begin) / repeats;
    }
    std::sort(each.begin(), each.end());
    return each[each.size() / 2];
}

// Memory of that layout, filled with numbers in [-0.5, 0.5).
memory filled(const memory::desc &d, const engine &e)
{
    memory m(d, e);
    float *v = static_cast<float *>(m.get_data_handle());
    for (size_t i = 0; i < d.get_size() / sizeof *v; i++)
        v[i] = (float)((i * 2654435761u >> 12) & 1023) / 1024.f - 0.5f;
    return m;
}

memory::desc any(const memory::dims &d) { return memory::desc(d, f32, memory::format_tag::any); }

// The primitive descriptors of the three directions; version 3 builds them without a descriptor of the operation between.
struct directions {
    convolution_forward::primitive_desc fwd;
    convolution_backward_data::primitive_desc bwd_x;
    convolution_backward_weights::primitive_desc bwd_w;

    directions(const shape &s, algorithm a, const engine &e)
    {
        const auto x = any({s.n, s.ci, s.h, s.w}), w = any({s.co, s.ci, s.k, s.k}), y = any({s.n, s.co, s.h, s.w});
        const memory::dims one{1, 1}, pad{s.k / 2, s.k / 2};
        const auto kind = prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
        fwd = {e, kind, a, x, w, y, one, pad, pad};
        bwd_x = {e, a, x, w, y, one, pad, pad, fwd};
        bwd_w = {e, a, x, w, y, one, pad, pad, fwd};
#else
        fwd = {{kind, a, x, w, y, one, pad, pad}, e};
        bwd_x = {{a, x, w, y, one, pad, pad}, e, fwd};
        bwd_w = {{a, x, w, y, one, pad, pad}, e, fwd};
#endif
    }
};

using arguments = std::unordered_map<int, memory>;

template <class P, class D> double gflops(const shape &s, const D &desc, const arguments &a, stream &q)
{
    P primitive(desc);
    double t = time_of([&] { primitive.execute(q, a); q.wait(); });
    return 2e-9 * (double)(s.n * s.ci * s.co * s.h * s.w * s.k * s.k) / t;
}

void measure(const shape &s, const engine &e, stream &q)
{
    struct { const char *name; algorithm a; } algorithms[] = {
        {"direct", algorithm::convolution_direct}, {"winograd", algorithm::convolution_winograd}};
    std::printf("{\"n\": %d, \"ci\": %d, \"co\": %d, \"h\": %d, \"w\": %d, \"k\": %d", (int)s.n, (int)s.ci, (int)s.co, (int)s.h,
                (int)s.w, (int)s.k);
    for (auto &a : algorithms)
        try {
            const directions d(s, a.a, e);
            const double fwd = gflops<convolution_forward>(s, d.fwd, {
                {DNNL_ARG_SRC, filled(d.fwd.src_desc(), e)},
                {DNNL_ARG_WEIGHTS, filled(d.fwd.weights_desc(), e)},
                {DNNL_ARG_DST, filled(d.fwd.dst_desc(), e)}}, q);
            const double bwd_x = gflops<convolution_backward_data>(s, d.bwd_x, {
                {DNNL_ARG_DIFF_DST, filled(d.bwd_x.diff_dst_desc(), e)},
                {DNNL_ARG_WEIGHTS, filled(d.bwd_x.weights_desc(), e)},
                {DNNL_ARG_DIFF_SRC, filled(d.bwd_x.diff_src_desc(), e)}}, q);
            const double bwd_w = gflops<convolution_backward_weights>(s, d.bwd_w, {
                {DNNL_ARG_SRC, filled(d.bwd_w.src_desc(), e)},
                {DNNL_ARG_DIFF_DST, filled(d.bwd_w.diff_dst_desc(), e)},
                {DNNL_ARG_DIFF_WEIGHTS, filled(d.bwd_w.diff_weights_desc(), e)}}, q);
            std::printf(", \"%s\": {\"fwd\": %.1f, \"bwd_x\": %.1f, \"bwd_w\": %.1f}", a.name, fwd, bwd_x, bwd_w);
        } catch (const error &) {                  // the library has no such kernel for this shape or machine
        }
    std::printf("}\n");
    std::fflush(stdout);
}

}

int main()
{
    engine e(engine::kind::cpu, 0);
    stream q(e);
    int v[6];
    while (std::scanf("%d %d %d %d %d %d", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) == 6)
        measure({v[0], v[1], v[2], v[3], v[4], v[5]}, e, q);
}
