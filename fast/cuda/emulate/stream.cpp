// stream.cpp: streams, events and graphs: pieces of work and what each must come after. The order of the options says when a
// piece runs: at once, as late as somebody waits for it, or at random; never before what it comes after.
#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include <time.h>

#include "block.h"
#include "host.h"

namespace emulate {

struct work;
typedef std::shared_ptr<work> work_ref;
struct work {
    std::function<void()> run;
    std::vector<work_ref> after;
    bool done, wanted;
};

struct graph { std::vector<work_ref> all; };
struct graph_exec { std::vector<work_ref> all; };
// before: `last` as it was when the capture began, which waits for nothing.
struct stream { work_ref last; bool blocking; std::shared_ptr<graph> captured; work_ref before; };
struct event { work_ref at; std::shared_ptr<graph> captured; std::shared_ptr<double> ms; };

std::recursive_mutex device;
static stream null_stream{nullptr, true, nullptr, nullptr};
static std::vector<stream *> streams{&null_stream};
static std::vector<work_ref> pending;            // in the order in which they were queued
static int captures;                             // streams that BeginCapture was called on
static std::thread::id capturing;                // the host thread that did; no thread: relaxed
static bool captures_globally;
static thread_local cudaError_t last_error;

cudaError_t answer(cudaError_t e)
{
    if (emulate_last_fault())
        e = cudaErrorLaunchFailure;
    if (e != cudaSuccess && e != cudaErrorNotReady)
        last_error = e;
    return e;
}

cudaError_t cudaPeekAtLastError() { return answer(last_error); }

cudaError_t cudaGetLastError()
{
    cudaError_t e = answer(last_error);
    last_error = cudaSuccess;
    return e;
}

bool capture_forbids() { return captures && (captures_globally || capturing == std::this_thread::get_id()); }

static stream *real(cudaStream_t s) { return s ? s : &null_stream; }

static uint64_t draw(uint64_t n)
{
    static uint64_t x = options.seed * 0x9e3779b97f4a7c15u | 1;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return (x >> 11) % n;
}

static bool is_ready(const work &w)
{
    for (const work_ref &a : w.after)
        if (!a->done)
            return false;
    return true;
}

static void perform(work &w)
{
    if (w.run && !emulate_last_fault())
        w.run();
    w.done = true;
    w.run = nullptr;
    w.after.clear();
}

// One of the works that can run: the first queued, at random any.
static void run_one(bool only_wanted)
{
    std::vector<size_t> can;
    for (size_t i = 0; i < pending.size(); i++)
        if ((!only_wanted || pending[i]->wanted) && is_ready(*pending[i])) {
            can.push_back(i);
            if (options.order != EMULATE_RANDOM)
                break;
        }
    size_t i = can[options.order == EMULATE_RANDOM ? draw(can.size()) : 0];
    work_ref w = pending[i];
    pending.erase(pending.begin() + static_cast<ptrdiff_t>(i));
    perform(*w);
}

// Run what w needs, and w.
static void complete(const work_ref &w)
{
    if (!w || w->done)
        return;
    w->wanted = true;
    for (size_t i = pending.size(); i-- > 0;)
        if (pending[i]->wanted)
            for (const work_ref &a : pending[i]->after)
                a->wanted = true;
    while (!w->done)
        run_one(options.order != EMULATE_RANDOM);
}

static work_ref new_work(std::function<void()> run, std::vector<work_ref> after)
{
    std::vector<work_ref> real_ones;
    for (const work_ref &a : after)
        if (a && !a->done)
            real_ones.push_back(a);
    return std::make_shared<work>(work{std::move(run), std::move(real_ones), false, false});
}

// Put it at the end of the stream, after `also` too.
static void append(stream *s, std::function<void()> run, const work_ref &also)
{
    std::vector<work_ref> after{s->last, also};
    if (s->captured) {
        s->last = new_work(std::move(run), after);
        s->captured->all.push_back(s->last);
        return;
    }
    if (s->blocking)
        after.push_back(null_stream.last);
    if (s == &null_stream)
        for (stream *other : streams)
            if (other->blocking && !other->captured)
                after.push_back(other->last);
    s->last = new_work(std::move(run), after);
    pending.push_back(s->last);
    if (options.order == EMULATE_FORWARD)
        complete(s->last);
    while (options.order == EMULATE_RANDOM && !pending.empty() && draw(2))
        run_one(false);
}

void submit(cudaStream_t s, std::function<void()> run) { append(real(s), std::move(run), nullptr); }
void finish(cudaStream_t s) { complete(real(s)->last); }

void finish_all()
{
    while (!pending.empty())
        run_one(false);
}

cudaError_t cudaDeviceSynchronize()
{
    ON_DEVICE;
    if (capture_forbids())
        return answer(cudaErrorStreamCaptureUnsupported);
    finish_all();
    return answer(cudaSuccess);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    ON_DEVICE;
    *s = new stream{nullptr, !(flags & cudaStreamNonBlocking), nullptr, nullptr};
    streams.push_back(*s);
    return answer(cudaSuccess);
}
cudaError_t cudaStreamCreate(cudaStream_t *s) { return cudaStreamCreateWithFlags(s, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    ON_DEVICE;
    for (size_t i = 1; i < streams.size(); i++)
        if (streams[i] == s) {
            complete(s->last);
            streams.erase(streams.begin() + static_cast<ptrdiff_t>(i));
            delete s;
            return answer(cudaSuccess);
        }
    return answer(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    ON_DEVICE;
    if (real(s)->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    finish(s);
    return answer(cudaSuccess);
}

// Asking makes progress, or a loop that asks would never end.
static cudaError_t query(const work_ref &w)
{
    if (w && !w->done)
        run_one(false);
    return answer(w && !w->done ? cudaErrorNotReady : cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    ON_DEVICE;
    return query(real(s)->last);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    ON_DEVICE;
    stream *on = real(s);
    if (e->captured && !on->captured) {          // this stream is captured too, from here on
        on->captured = e->captured;
        on->before = on->last;
        on->last = nullptr;
    }
    if (on->captured && e->captured != on->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    append(on, nullptr, e->at);
    return answer(cudaSuccess);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, void (*run)(void *), void *data)
{
    ON_DEVICE;
    submit(s, [=] { run(data); });
    return answer(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new event{nullptr, nullptr, std::make_shared<double>(0)};
    return answer(cudaSuccess);
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return answer(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    ON_DEVICE;
    std::shared_ptr<double> ms = e->ms;
    submit(s, [ms] {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        *ms = 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
    });
    e->at = real(s)->last;
    e->captured = real(s)->captured;
    return answer(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    ON_DEVICE;
    if (e->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    complete(e->at);
    return answer(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    ON_DEVICE;
    return query(e->at);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    ON_DEVICE;
    if (!from->at || !to->at)
        return answer(cudaErrorInvalidResourceHandle);
    if (!from->at->done || !to->at->done)
        return answer(cudaErrorNotReady);
    *ms = static_cast<float>(*to->ms - *from->ms);
    return answer(cudaSuccess);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    ON_DEVICE;
    if (!s || s->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    s->before = s->last;
    s->last = nullptr;
    s->captured = std::make_shared<graph>();
    captures++;
    captures_globally = mode == cudaStreamCaptureModeGlobal;
    capturing = mode == cudaStreamCaptureModeRelaxed ? std::thread::id() : std::this_thread::get_id();
    return answer(cudaSuccess);
}

// Does `w` come after `before`, or is it that?
static bool comes_after(const work_ref &w, const work_ref &before)
{
    if (!before || w == before)
        return true;
    if (w)
        for (const work_ref &a : w->after)
            if (comes_after(a, before))
                return true;
    return false;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    ON_DEVICE;
    *g = nullptr;
    if (!s || !s->captured)
        return answer(cudaErrorStreamCaptureUnmatched);
    std::shared_ptr<graph> whole = s->captured;
    work_ref end = s->last;
    bool joined = true;
    for (stream *other : streams)
        if (other->captured == whole) {
            joined = joined && comes_after(end, other->last);
            other->captured = nullptr;
            other->last = other->before;
            other->before = nullptr;
        }
    captures--;
    if (!joined)
        return answer(cudaErrorStreamCaptureUnmatched);
    *g = new graph(*whole);
    return answer(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    *x = new graph_exec{g->all};
    return answer(cudaSuccess);
}

// What piece i comes after, by number.
static std::vector<size_t> dependences(const std::vector<work_ref> &all, size_t i)
{
    std::vector<size_t> numbers;
    for (const work_ref &a : all[i]->after)
        numbers.push_back(static_cast<size_t>(std::find(all.begin(), all.end(), a) - all.begin()));
    return numbers;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t x, cudaGraph_t g, cudaGraphExecUpdateResultInfo *info)
{
    ON_DEVICE;
    bool same = x->all.size() == g->all.size();
    for (size_t i = 0; same && i < x->all.size(); i++)
        same = dependences(x->all, i) == dependences(g->all, i);
    info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (same)
        x->all = g->all;
    return answer(same ? cudaSuccess : cudaErrorGraphExecUpdateFailure);
}

// Each piece once, after those it comes after: the first that can, the last, or any.
static void run_graph(const std::vector<work_ref> &all)
{
    std::vector<work_ref> left = all;
    for (const work_ref &w : all)
        w->done = false;
    while (!left.empty() && !emulate_last_fault()) {
        std::vector<size_t> can;
        for (size_t i = 0; i < left.size(); i++)
            if (is_ready(*left[i])) {
                can.push_back(i);
                if (options.order == EMULATE_FORWARD)
                    break;
            }
        size_t i = options.order == EMULATE_RANDOM ? can[draw(can.size())] : can.back();
        if (left[i]->run)
            left[i]->run();
        left[i]->done = true;
        left.erase(left.begin() + static_cast<ptrdiff_t>(i));
    }
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    ON_DEVICE;
    std::vector<work_ref> all = x->all;
    submit(s, [all] { run_graph(all); });
    return answer(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    delete g;
    return answer(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x)
{
    delete x;
    return answer(cudaSuccess);
}

}  // namespace emulate
