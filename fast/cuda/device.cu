/* device.cu: the device as fast/backend.h wants it: memory, copies, recorded work, faults. */
#include <stdio.h>
#include <string.h>

#include "fast/cuda/slots.h"

extern "C" {
cudaStream_t CUDA_(stream) = nullptr;
unsigned *CUDA_(tickets) = nullptr;
}

namespace CUDA_SIDE {

/* What is called between begin and end is captured and launched as one graph, kept for the next time: a chain's thousands of
 * launches then cost the host one call. Where arguments have changed they are written into the graph that is there. */
static struct { cudaGraphExec_t graph; unsigned number; } recorded[FAST_RECORDS];
static unsigned records;                 /* yet */
static cudaEvent_t marked;

/* Branch 0 goes on in the main stream. The others wait for where it was when the branches began, and join() waits for them:
 * events alone, so that a capture gets the branches as they are. */
static cudaStream_t main_stream, side[FAST_BRANCHES];
static cudaEvent_t begun, reached[FAST_BRANCHES];
static int branched, used[FAST_BRANCHES];
static char failed[256];                 /* the first failure; "": none */

void check(cudaError_t e, const char *call)
{
    if (e != cudaSuccess && !failed[0])
        snprintf(failed, sizeof failed, "%.150s: %.80s", call, cudaGetErrorString(e));
}

static int start()
{
    if (!CUDA_(stream))
        CHECKED(cudaStreamCreateWithFlags(&CUDA_(stream), cudaStreamNonBlocking));
    for (int b = 1; b < FAST_BRANCHES; b++) {
        if (!side[b])
            CHECKED(cudaStreamCreateWithFlags(&side[b], cudaStreamNonBlocking));
        if (!reached[b])
            CHECKED(cudaEventCreateWithFlags(&reached[b], cudaEventDisableTiming));
    }
    if (!begun)
        CHECKED(cudaEventCreateWithFlags(&begun, cudaEventDisableTiming));
    if (CUDA_(stream) && !CUDA_(tickets)) {
        CHECKED(cudaMalloc(&CUDA_(tickets), CUDA_TICKETS * sizeof(unsigned)));
        if (CUDA_(tickets))
            CHECKED(cudaMemsetAsync(CUDA_(tickets), 0, CUDA_TICKETS * sizeof(unsigned), CUDA_(stream)));
    }
    if (!marked)
        CHECKED(cudaEventCreateWithFlags(&marked, cudaEventDisableTiming));
    return CUDA_(tickets) && marked;
}

static void *alloc(size_t bytes)
{
    unsigned char *p = nullptr;
    cudaError_t e = start() ? cudaMalloc(&p, bytes) : cudaErrorInvalidDevice;
    if (e != cudaSuccess) {
        cudaGetLastError();
        if (e != cudaErrorMemoryAllocation)      /* which NULL tells */
            check(e, "cudaMalloc");
        return nullptr;
    }
    CHECKED(cudaMemsetAsync(p, 0, bytes, CUDA_(stream)));
    return p;
}

static void release(void *p)
{
    CHECKED(cudaStreamSynchronize(CUDA_(stream)));
    CHECKED(cudaFree(p));
}

static void *host_alloc(size_t bytes)
{
    unsigned char *p = nullptr;
    cudaError_t e = start() ? cudaMallocHost(&p, bytes) : cudaErrorInvalidDevice;
    if (e != cudaSuccess) {
        cudaGetLastError();
        return nullptr;
    }
    return memset(p, 0, bytes);
}

static void host_release(void *p)
{
    CHECKED(cudaStreamSynchronize(CUDA_(stream)));
    CHECKED(cudaFreeHost(p));
}

/* Page-locked memory is copied when its turn in the stream comes. Other memory too where a device reaches all of the host's
 * (CUDA promises only that the call "might be synchronous"): there the copy is waited for. */
static void copied(const void *host)
{
    cudaPointerAttributes a = {};
    CHECKED(cudaPointerGetAttributes(&a, host));
    if (a.type != cudaMemoryTypeHost)
        CHECKED(cudaStreamSynchronize(CUDA_(stream)));
}

static void put(void *to, const void *host, size_t bytes)
{
    CHECKED(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, CUDA_(stream)));
    copied(host);
}

static void get(void *host, const void *from, size_t bytes)
{
    CHECKED(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, CUDA_(stream)));
    copied(host);
}

static void mark() { CHECKED(cudaEventRecord(marked, CUDA_(stream))); }

static size_t available()
{
    size_t left = 0, total = 0;
    CHECKED(cudaMemGetInfo(&left, &total));
    return left;
}

/* Relaxed: the driver may load a kernel at its first launch, which may be here. */
static void begin(fast_record) { CHECKED(cudaStreamBeginCapture(CUDA_(stream), cudaStreamCaptureModeRelaxed)); }

/* Is the graph now what `from` says? Only arguments may differ. */
static int update(cudaGraphExec_t graph, cudaGraph_t from)
{
    cudaGraphExecUpdateResultInfo info;
    if (graph && cudaGraphExecUpdate(graph, from, &info) == cudaSuccess)
        return 1;
    cudaGetLastError();
    return 0;
}

static int again(fast_record which, unsigned number)
{
    auto &r = recorded[which];
    if (!r.graph || r.number != number)
        return 0;
    CHECKED(cudaGraphLaunch(r.graph, CUDA_(stream)));
    return 1;
}

static unsigned end(fast_record which)
{
    auto &r = recorded[which];
    cudaGraph_t graph = nullptr;
    CHECKED(cudaStreamEndCapture(CUDA_(stream), &graph));
    if (!graph)
        return 0;
    r.number = ++records;
    if (!update(r.graph, graph)) {
        if (r.graph)
            CHECKED(cudaGraphExecDestroy(r.graph));
        r.graph = nullptr;
        CHECKED(cudaGraphInstantiate(&r.graph, graph, 0));
    }
    CHECKED(cudaGraphDestroy(graph));
    again(which, r.number);
    return r.number;
}

static void branch(int b)
{
    if (!branched) {
        main_stream = CUDA_(stream);
        CHECKED(cudaEventRecord(begun, main_stream));
        branched = 1;
    }
    if (b > 0 && !used[b]) {
        CHECKED(cudaStreamWaitEvent(side[b], begun, 0));
        used[b] = 1;
    }
    CUDA_(stream) = b > 0 ? side[b] : main_stream;
}

static void join()
{
    if (!branched)
        return;
    CUDA_(stream) = main_stream;
    for (int b = 1; b < FAST_BRANCHES; b++)
        if (used[b]) {
            CHECKED(cudaEventRecord(reached[b], side[b]));
            CHECKED(cudaStreamWaitEvent(main_stream, reached[b], 0));
            used[b] = 0;
        }
    branched = 0;
}

static const char *failure()
{
    static char told[sizeof failed];
    CHECKED(cudaGetLastError());
    memcpy(told, failed, sizeof told);
    failed[0] = 0;
    return told[0] ? told : nullptr;
}

static const char *wait()
{
    CHECKED(cudaEventSynchronize(marked));
    return failure();
}

static const char *fault()
{
    if (CUDA_(stream))
        CHECKED(cudaStreamSynchronize(CUDA_(stream)));
    return failure();
}

#if defined(__CUDACC__)
enum { PART = 128 };
#else
enum { PART = 8 };
#endif

const fast_device device = { PART, alloc, release, host_alloc, host_release, put, get, mark, wait, available,
                             begin, end, again, branch, join, fault };

}  // namespace CUDA_SIDE
