// graph.cpp: work that is captured instead of queued, and graphs of it: each piece after what it depends on, else in the order
// of the options: the first that can run, the last, or any.
#include <algorithm>
#include <functional>
#include <memory>
#include <thread>

#include "block.h"
#include "stream.h"

namespace emulate {

static int captures;                             // streams that BeginCapture was called on
static std::thread::id capturing;                // the host thread that did; no thread: relaxed
static bool captures_globally;

bool capture_forbids() { return captures && (captures_globally || capturing == std::this_thread::get_id()); }

static void unite(std::vector<size_t> &to, const std::vector<size_t> &from)
{
    to.insert(to.end(), from.begin(), from.end());
    std::sort(to.begin(), to.end());
    to.erase(std::unique(to.begin(), to.end()), to.end());
}

static reach reach_of(const std::vector<piece> &all, const std::vector<size_t> &some)
{
    reach r;
    for (size_t i : some)
        extend(r, all[i].at.seen);
    return r;
}

void append_piece(stream *s, std::function<void()> run)
{
    std::vector<piece> &all = *s->captured->all;
    all.push_back({std::move(run), s->tips, s->captured->order.next(reach_of(all, s->tips))});
    s->tips = {all.size() - 1};
}

cudaError_t wait_captured(stream *s, const event *e)
{
    if (!e->captured)
        return cudaErrorStreamCaptureIsolation;
    if (!e->captured->origin)
        return cudaErrorCapturedEvent;
    if (s->captured && s->captured != e->captured)
        return cudaErrorStreamCaptureMerge;
    s->captured = e->captured;
    unite(s->tips, e->tips);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    ON_DEVICE;
    if (!s || s->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    s->captured = std::make_shared<capture>(capture{s, std::make_shared<std::vector<piece>>(), {}});
    captures++;
    captures_globally = mode == cudaStreamCaptureModeGlobal;
    capturing = mode == cudaStreamCaptureModeRelaxed ? std::thread::id() : std::this_thread::get_id();
    return answer(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    ON_DEVICE;
    *g = nullptr;
    if (!s || !s->captured || s->captured->origin != s)
        return answer(cudaErrorStreamCaptureUnmatched);
    std::shared_ptr<capture> whole = s->captured;
    const reach end = reach_of(*whole->all, s->tips);
    bool joined = true;
    for (stream *other : streams)
        if (other->captured == whole) {
            for (size_t i : other->tips)
                joined = joined && comes_before((*whole->all)[i].at, end);
            other->captured = nullptr;
            other->tips.clear();
        }
    whole->origin = nullptr;
    captures--;
    if (!joined)
        return answer(cudaErrorStreamCaptureUnjoined);
    *g = new graph{whole->all};
    return answer(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    *x = new graph_exec{g->all};
    return answer(cudaSuccess);
}

static bool alike(const piece &a, const piece &b) { return a.after == b.after; }

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t x, cudaGraph_t g, cudaGraphExecUpdateResultInfo *info)
{
    ON_DEVICE;
    bool same = std::equal(x->all->begin(), x->all->end(), g->all->begin(), g->all->end(), alike);
    info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (same)
        x->all = g->all;
    return answer(same ? cudaSuccess : cudaErrorGraphExecUpdateFailure);
}

// Of the pieces that can run, ascending: where the one that does stands.
static size_t choice(const std::vector<size_t> &can)
{
    return options.order == EMULATE_FORWARD ? 0 : options.order == EMULATE_REVERSE ? can.size() - 1 : draw(can.size());
}

static void run_graph(const std::vector<piece> &all)
{
    std::vector<std::vector<size_t>> before(all.size());
    std::vector<size_t> waits(all.size()), can;
    for (size_t i = 0; i < all.size(); i++) {
        for (size_t a : all[i].after)
            before[a].push_back(i);
        waits[i] = all[i].after.size();
        if (!waits[i])
            can.push_back(i);
    }
    const place *outside = place_in_graph;
    while (!can.empty() && !emulate_last_fault()) {
        auto chosen = can.begin() + static_cast<ptrdiff_t>(choice(can));
        const size_t i = *chosen;
        can.erase(chosen);
        place_in_graph = &all[i].at;
        all[i].run();
        for (size_t next : before[i])
            if (!--waits[next])
                can.insert(std::upper_bound(can.begin(), can.end(), next), next);
    }
    place_in_graph = outside;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    ON_DEVICE;
    if (s && s->captured)
        return answer(cudaErrorStreamCaptureUnsupported);
    pieces all = x->all;
    submit(s, [all] { run_graph(*all); });
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
