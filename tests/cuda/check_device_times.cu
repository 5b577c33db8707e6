/* check_device_times.cu: the table of check_device.h: one template that stands before every slot, and the device's clock. */
#include <stdio.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "fast/cuda/slots.h"
#include "tests/cuda/check_shape.h"

extern "C" {
#include "check_device.h"
}

namespace CUDA_SIDE {
namespace {

struct row { long calls; double us; };
std::map<std::pair<std::string, std::string>, row> rows;
const fast_backend *table;
int samples;

/* ---- how long it takes ---- */

/* Microseconds of one of `many` calls in a graph. */
template <class F> double graph_us(F call, int many, cudaEvent_t from, cudaEvent_t to)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    std::vector<double> us;
    bool good = cudaStreamBeginCapture(CUDA_(stream), cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    for (int i = 0; i < many && good; i++)
        call();
    good = cudaStreamEndCapture(CUDA_(stream), &graph) == cudaSuccess && good;
    good = good && cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess;
    for (int i = -1; i < samples && good; i++) {                     /* one to warm up */
        float ms = 0;
        good = cudaEventRecord(from, CUDA_(stream)) == cudaSuccess && cudaGraphLaunch(exec, CUDA_(stream)) == cudaSuccess
               && cudaEventRecord(to, CUDA_(stream)) == cudaSuccess && cudaEventSynchronize(to) == cudaSuccess
               && cudaEventElapsedTime(&ms, from, to) == cudaSuccess;
        if (i >= 0 && good)
            us.push_back(1e3 * static_cast<double>(ms) / many);
    }
    if (exec)
        good = cudaGraphExecDestroy(exec) == cudaSuccess && good;
    if (graph)
        good = cudaGraphDestroy(graph) == cudaSuccess && good;
    if (!good || us.empty())
        return -1;
    std::nth_element(us.begin(), us.begin() + static_cast<long>(us.size() / 2), us.end());
    return us[us.size() / 2];
}

/* As many in a graph as take two milliseconds, at most 50; -1: a call failed, and the device's fault() says how. */
template <class F> double time_of(F call)
{
    cudaEvent_t from = nullptr, to = nullptr;
    double us = -1;
    if (cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess) {
        us = graph_us(call, 1, from, to);
        if (us >= 0 && us < 1000)
            us = graph_us(call, us > 40 ? static_cast<int>(2000 / us) : 50, from, to);
    }
    if (from)
        cudaEventDestroy(from);
    if (to)
        cudaEventDestroy(to);
    return us;
}

/* ---- before every slot ---- */

template <auto SLOT> struct timed;
template <class... A, void (*fast_backend::*SLOT)(A...)> struct timed<SLOT> {
    static inline const char *name = nullptr;
    static void call(A... a)
    {
        row &r = rows.insert({{name, check_shape(a...)}, {0, -2}}).first->second;
        r.calls++;
        (table->*SLOT)(a...);
        if (r.us < -1)
            r.us = time_of([=] { (table->*SLOT)(a...); });
    }
};

/* Nothing is recorded, or lies beside anything else: each call is timed alone. */
void begin(fast_record) {}
unsigned end(fast_record) { return 0; }
int again(fast_record, unsigned) { return 0; }
void branch(int) {}
void join() {}

}  // namespace
}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

extern "C" {

const fast_backend *check_device_timed(const fast_backend *of, int many)
{
    static fast_backend t;
    static fast_device d;
    table = of;
    samples = many;
    rows.clear();
    t = *of;
    d = *of->device;
    d.begin = begin;
    d.end = end;
    d.again = again;
    d.branch = branch;
    d.join = join;
    t.device = &d;
#define SLOT(slot) timed<&fast_backend::slot>::name = #slot; t.slot = timed<&fast_backend::slot>::call;
    CHECK_SLOTS(SLOT)
#undef SLOT
    return &t;
}

void check_device_reset(void)
{
    for (auto &r : rows)
        r.second.calls = 0;
}

void check_device_print(void)
{
    const char *before = "[";
    for (const auto &r : rows) {
        printf("%s{\"slot\": \"%s\", \"shape\": \"%s\", \"calls\": %ld, \"us\": %.3f}", before, r.first.first.c_str(),
               r.first.second.c_str(), r.second.calls, r.second.us);
        before = ",\n";
    }
    printf("]");
}

}
