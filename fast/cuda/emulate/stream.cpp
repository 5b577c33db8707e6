// stream.cpp: streams and events: pieces of work and what each must come after. The order of the options says when a piece
// runs: at once, as late as somebody waits for it, or at random; never before what it comes after.
#include <time.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "between.h"
#include "block.h"
#include "stream.h"

namespace emulate {

std::recursive_mutex device;
static stream null_stream{nullptr, true, nullptr, {}};
std::vector<stream *> streams{&null_stream};
static std::vector<work_ref> pending;            // in the order in which they were queued
static strands queued;                           // all work of streams
static reach waited;                             // of it, what the host knows to be done
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

static stream *real(cudaStream_t s) { return s ? s : &null_stream; }

uint64_t draw(uint64_t n)
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
    place_in_streams = &w.at;
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

// What the host queues from now on comes after all that r says.
static void host_waited(const reach &r)
{
    extend(waited, r);
    reach all = waited;                          // what that is before all that is queued already, too
    for (const work_ref &p : pending)
        for (size_t i = 0; i < all.size(); i++)
            all[i] = std::min(all[i], i < p->at.seen.size() ? p->at.seen[i] : 0);
    between_forget(all);
}

// Run what w needs, and w.
static void run_until(const work_ref &w)
{
    if (w->done)
        return;
    w->wanted = true;
    for (size_t i = pending.size(); i-- > 0;)
        if (pending[i]->wanted)
            for (const work_ref &a : pending[i]->after)
                a->wanted = true;
    while (!w->done)
        run_one(options.order != EMULATE_RANDOM);
}

static void complete(const work_ref &w)
{
    if (!w)
        return;
    run_until(w);
    host_waited(w->at.seen);
}

static work_ref new_work(std::function<void()> run, const std::vector<work_ref> &after)
{
    std::vector<work_ref> waits;
    reach seen = waited;
    for (const work_ref &a : after)
        if (a) {
            extend(seen, a->at.seen);
            if (!a->done)
                waits.push_back(a);
        }
    return std::make_shared<work>(work{std::move(run), std::move(waits), false, false, queued.next(std::move(seen))});
}

// Put it at the end of the stream, after `also` too.
static void append(stream *s, std::function<void()> run, const work_ref &also)
{
    if (s->captured) {
        append_piece(s, std::move(run));
        return;
    }
    std::vector<work_ref> after{s->last, also};
    if (s->blocking)
        after.push_back(null_stream.last);
    if (s == &null_stream)
        for (stream *other : streams)
            if (other->blocking && !other->captured)
                after.push_back(other->last);
    s->last = new_work(std::move(run), after);
    pending.push_back(s->last);
    if (options.order == EMULATE_FORWARD)
        run_until(s->last);
    while (options.order == EMULATE_RANDOM && !pending.empty() && draw(2))
        run_one(false);
}

void submit(cudaStream_t s, std::function<void()> run) { append(real(s), std::move(run), nullptr); }
void finish(cudaStream_t s) { complete(real(s)->last); }

void finish_all()
{
    while (!pending.empty())
        run_one(false);
    host_waited(queued.all);
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
    *s = new stream{nullptr, !(flags & cudaStreamNonBlocking), nullptr, {}};
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
    if (w && !w->done)
        return answer(cudaErrorNotReady);
    if (w)
        host_waited(w->at.seen);
    return answer(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    ON_DEVICE;
    return query(real(s)->last);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    ON_DEVICE;
    if (e->captured || (real(s)->captured && e->at))
        return answer(wait_captured(real(s), e));
    if (e->at)
        append(real(s), nullptr, e->at);
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
    *e = new event{nullptr, std::make_shared<double>(0), nullptr, {}};
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
    e->captured = real(s)->captured;
    e->tips = real(s)->tips;
    if (e->captured)
        return answer(cudaSuccess);
    std::shared_ptr<double> ms = e->ms;
    submit(s, [ms] {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        *ms = 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
    });
    e->at = real(s)->last;
    return answer(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    ON_DEVICE;
    if (e->captured)
        return answer(cudaErrorCapturedEvent);
    complete(e->at);
    return answer(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    ON_DEVICE;
    return e->captured ? answer(cudaErrorCapturedEvent) : query(e->at);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    ON_DEVICE;
    if (!from->at || !to->at || from->captured || to->captured)
        return answer(cudaErrorInvalidResourceHandle);
    if (!from->at->done || !to->at->done)
        return answer(cudaErrorNotReady);
    *ms = static_cast<float>(*to->ms - *from->ms);
    return answer(cudaSuccess);
}

}  // namespace emulate
