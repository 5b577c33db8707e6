// streams.cu: streams, events, graphs and memory: what must be ordered is, in every order; what is not may be seen to be not.
#include "fast/cuda/device.h"

#include <thread>

#include "tests/cuda/order.h"
#include "tests/test.h"

namespace CUDA_SIDE {

enum { N = 64 };

__global__ void add(float *y, const float *x, float a)
{
    const unsigned t = threadIdx.x;
    y[t] += a * x[t];
}
__global__ void set(float *y, float a) { y[threadIdx.x] = a; }

static float *device_floats()
{
    float *p = nullptr;
    CHECK(cudaMalloc(&p, N * sizeof(float)) == cudaSuccess);
    CHECK(cudaMemset(p, 0, N * sizeof(float)) == cudaSuccess);
    return p;
}

static float first_of(const float *p)
{
    float v = -1;
    CHECK(cudaMemcpy(&v, p, sizeof v, cudaMemcpyDeviceToHost) == cudaSuccess);
    return v;
}

// y = 2, then z += 3 y on another stream, with or without the event between.
static float across_streams(bool wait)
{
    float *y = device_floats(), *z = device_floats();
    cudaStream_t a, b;
    cudaEvent_t e;
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    LAUNCH(set, 1, N, 0, a, y, 2.0f);
    cudaEventRecord(e, a);
    if (wait)
        cudaStreamWaitEvent(b, e);
    LAUNCH(add, 1, N, 0, b, z, y, 3.0f);
    CHECK(cudaStreamSynchronize(b) == cudaSuccess);
    const float got = first_of(z);
    CHECK(cudaEventSynchronize(e) == cudaSuccess && cudaEventQuery(e) == cudaSuccess);
    CHECK_EQ(first_of(y), 2);
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaEventDestroy(e);
    cudaFree(y);
    cudaFree(z);
    return got;
}

TEST(events_order_streams)
{
    order(EMULATE_FORWARD, 1);
    CHECK_EQ(across_streams(true), 6);
    order(EMULATE_REVERSE, 1);
    CHECK_EQ(across_streams(true), 6);
    order(EMULATE_REVERSE, 1, 0);
    CHECK_EQ(across_streams(false), 0);          // the fault shows
    for (uint64_t seed = 1; seed < 20; seed++) {
        order(EMULATE_RANDOM, seed);
        CHECK_EQ(across_streams(true), 6);
    }
}

// The default stream comes after and before every stream that is not made NonBlocking.
TEST(default_stream)
{
    order(EMULATE_REVERSE, 1);
    float *y = device_floats(), *z = device_floats();
    cudaStream_t a;
    cudaStreamCreate(&a);
    LAUNCH(set, 1, N, 0, a, y, 2.0f);
    LAUNCH(add, 1, N, 0, nullptr, z, y, 3.0f);
    LAUNCH(add, 1, N, 0, a, y, z, 1.0f);
    CHECK(cudaStreamSynchronize(a) == cudaSuccess);
    CHECK_EQ(first_of(y), 8);
    CHECK_EQ(first_of(z), 6);
    cudaStreamDestroy(a);
    cudaFree(y);
    cudaFree(z);
}

// Pinned memory is read when the copy is made, not when it is asked for.
TEST(pinned_memory_is_read_late)
{
    order(EMULATE_REVERSE, 1);
    float *y = device_floats(), *host;
    CHECK(cudaMallocHost(&host, 4) == cudaSuccess);
    cudaStream_t a;
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    host[0] = 1;
    cudaMemcpyAsync(y, host, 4, cudaMemcpyHostToDevice, a);
    host[0] = 2;
    cudaStreamSynchronize(a);
    CHECK_EQ(first_of(y), 2);
    float pageable = 3;
    cudaMemcpyAsync(y, &pageable, 4, cudaMemcpyHostToDevice, a);
    pageable = 4;
    cudaStreamSynchronize(a);
    CHECK_EQ(first_of(y), 3);
    cudaStreamDestroy(a);
    cudaFreeHost(host);
    cudaFree(y);
}

// y = in; then on two streams z = 2 y and w = 3 y; then z += w: a graph with a fork and a join, launched three times.
static void check_graph()
{
    float *y = device_floats(), *z = device_floats(), *w = device_floats(), *in;
    cudaMallocHost(&in, N * sizeof(float));
    cudaStream_t a, b;
    cudaEvent_t fork, join;
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
    cudaEventCreate(&fork);
    cudaEventCreate(&join);
    cudaGraph_t g;
    cudaGraphExec_t x;
    CHECK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    cudaMemcpyAsync(y, in, N * sizeof(float), cudaMemcpyHostToDevice, a);
    cudaEventRecord(fork, a);
    CHECK(cudaStreamWaitEvent(b, fork) == cudaSuccess);
    cudaMemsetAsync(z, 0, N * sizeof(float), a);
    LAUNCH(add, 1, N, 0, a, z, y, 2.0f);
    cudaMemsetAsync(w, 0, N * sizeof(float), b);
    LAUNCH(add, 1, N, 0, b, w, y, 3.0f);
    cudaEventRecord(join, b);
    CHECK(cudaStreamWaitEvent(a, join) == cudaSuccess);
    LAUNCH(add, 1, N, 0, a, z, w, 1.0f);
    float *more = nullptr;
    CHECK(cudaMalloc(&more, 4) == cudaErrorStreamCaptureUnsupported && cudaDeviceSynchronize() != cudaSuccess);
    cudaGetLastError();
    CHECK(cudaStreamEndCapture(a, &g) == cudaSuccess && cudaGraphInstantiate(&x, g) == cudaSuccess);
    CHECK_EQ(first_of(z), 0);                    // nothing has run yet
    for (int i = 1; i <= 3; i++) {
        for (int j = 0; j < N; j++)
            in[j] = static_cast<float>(i);
        CHECK(cudaGraphLaunch(x, a) == cudaSuccess && cudaStreamSynchronize(a) == cudaSuccess);
        CHECK_EQ(first_of(z), 5 * i);
    }
    cudaGraphExecDestroy(x);
    cudaGraphDestroy(g);
    cudaEventDestroy(fork);
    cudaEventDestroy(join);
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaFree(y);
    cudaFree(z);
    cudaFree(w);
    cudaFreeHost(in);
}
TEST(graphs)
{
    order(EMULATE_FORWARD, 1);
    check_graph();
    order(EMULATE_REVERSE, 1);
    check_graph();
    for (uint64_t seed = 1; seed < 10; seed++) {
        order(EMULATE_RANDOM, seed);
        check_graph();
    }
}

// y = a, or y = a twice: what a graph is brought up to date with.
static cudaGraph_t one_set(cudaStream_t s, float *y, float a, int times)
{
    cudaGraph_t g = nullptr;
    cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
    for (int i = 0; i < times; i++)
        LAUNCH(set, 1, N, 0, s, y, a);
    CHECK(cudaStreamEndCapture(s, &g) == cudaSuccess);
    return g;
}

TEST(a_graph_is_updated)
{
    order(EMULATE_REVERSE, 1);
    float *y = device_floats();
    cudaStream_t s;
    cudaStreamCreate(&s);
    cudaGraph_t first = one_set(s, y, 1, 1), second = one_set(s, y, 2, 1), longer = one_set(s, y, 3, 2);
    cudaGraphExec_t x;
    cudaGraphExecUpdateResultInfo info;
    cudaGraphInstantiate(&x, first);
    cudaGraphLaunch(x, s);
    CHECK(cudaGraphExecUpdate(x, second, &info) == cudaSuccess && info.result == cudaGraphExecUpdateSuccess);
    CHECK_EQ(first_of(y), 1);                    // as it was at the launch
    cudaGraphLaunch(x, s);
    CHECK_EQ(first_of(y), 2);
    CHECK(cudaGraphExecUpdate(x, longer, &info) == cudaErrorGraphExecUpdateFailure);
    cudaGetLastError();
    cudaGraphLaunch(x, s);
    CHECK_EQ(first_of(y), 2);
    cudaGraphExecDestroy(x);
    cudaGraphDestroy(first);
    cudaGraphDestroy(second);
    cudaGraphDestroy(longer);
    cudaStreamDestroy(s);
    cudaFree(y);
}

TEST(a_fork_must_be_joined)
{
    order(EMULATE_FORWARD, 1);
    float *y = device_floats();
    cudaStream_t a, b;
    cudaEvent_t fork;
    cudaGraph_t g;
    cudaStreamCreate(&a);
    cudaStreamCreate(&b);
    cudaEventCreate(&fork);
    cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed);
    cudaEventRecord(fork, a);
    cudaStreamWaitEvent(b, fork);
    LAUNCH(set, 1, N, 0, b, y, 2.0f);
    CHECK(cudaStreamEndCapture(b, &g) == cudaErrorStreamCaptureUnmatched && !g);
    CHECK(cudaStreamEndCapture(a, &g) == cudaErrorStreamCaptureUnjoined && !g);
    CHECK(cudaStreamEndCapture(a, &g) == cudaErrorStreamCaptureUnmatched);
    CHECK(cudaStreamWaitEvent(b, fork) == cudaErrorCapturedEvent && cudaEventQuery(fork) == cudaErrorCapturedEvent);
    cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed);
    cudaEventRecord(fork, b);
    CHECK(cudaStreamWaitEvent(a, fork) == cudaErrorStreamCaptureIsolation && cudaEventQuery(fork) == cudaSuccess);
    CHECK(cudaStreamEndCapture(a, &g) == cudaSuccess);
    cudaGraphDestroy(g);
    cudaGetLastError();
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaEventDestroy(fork);
    cudaFree(y);
}

// A worker of the host waits for an event while this thread queues more.
TEST(two_host_threads)
{
    for (uint64_t seed = 1; seed < 10; seed++) {
        order(EMULATE_RANDOM, seed);
        float *y = device_floats(), seen = 0;
        cudaStream_t a;
        cudaEvent_t e;
        cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
        cudaEventCreate(&e);
        LAUNCH(set, 1, N, 0, a, y, 7.0f);
        cudaEventRecord(e, a);
        std::thread worker([&] {
            cudaEventSynchronize(e);
            seen = first_of(y);
        });
        float *z = device_floats();
        for (int i = 0; i < 20; i++)
            LAUNCH(add, 1, N, 0, a, z, y, 1.0f);
        worker.join();
        CHECK(cudaStreamSynchronize(a) == cudaSuccess);
        CHECK_EQ(seen, 7);
        CHECK_EQ(first_of(z), 140);
        cudaEventDestroy(e);
        cudaStreamDestroy(a);
        cudaFree(y);
        cudaFree(z);
    }
}

static void called(void *data) { *static_cast<int *>(data) += 1; }

TEST(host_functions_and_times)
{
    order(EMULATE_REVERSE, 1);
    int calls = 0;
    float ms = -1;
    cudaStream_t a;
    cudaEvent_t from, to;
    cudaStreamCreate(&a);
    cudaEventCreate(&from);
    cudaEventCreate(&to);
    cudaEventRecord(from, a);
    cudaLaunchHostFunc(a, called, &calls);
    cudaEventRecord(to, a);
    CHECK(calls == 0 && cudaEventElapsedTime(&ms, from, to) == cudaErrorNotReady);
    while (cudaEventQuery(to) == cudaErrorNotReady) {
    }
    CHECK(calls == 1 && cudaStreamQuery(a) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&ms, from, to) == cudaSuccess && ms >= 0);
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    cudaStreamDestroy(a);
}

TEST(memory)
{
    order(EMULATE_FORWARD, 1);
    emulate_options o = emulate_get(), small = o;
    small.memory = 1 << 20;
    emulate_set(small);
    size_t free, total;
    char *p = nullptr, *q = nullptr, *r = nullptr;
    CHECK(cudaMalloc(&p, 600000) == cudaSuccess && cudaMalloc(&q, 600000) == cudaErrorMemoryAllocation && !q);
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
    CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess && total == 1 << 20 && free == total - 600000);
    CHECK(cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue && cudaMalloc(&q, 600000) == cudaSuccess);
    CHECK(cudaMalloc(&r, 100) == cudaSuccess && reinterpret_cast<uintptr_t>(r) % 256 == 0);
    char host[128] = "text";
    CHECK(cudaMemcpy(r, host, 100, cudaMemcpyHostToDevice) == cudaSuccess);
    CHECK(cudaMemcpy(r, host, 101, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(host, r + 50, 51, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(r, host, 10, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(q + 1000, r, 100, cudaMemcpyDefault) == cudaSuccess);
    CHECK(cudaMemset(r, 0, 101) == cudaErrorInvalidValue && cudaMemset(q, 0, 600000) == cudaSuccess);
    cudaFree(q);
    cudaFree(r);
    cudaGetLastError();
    CHECK_EQ(emulate_memory_used(), 0);
    emulate_set(o);
    cudaDeviceProp d;
    CHECK(cudaGetDeviceProperties(&d, 0) == cudaSuccess && d.major == 9 && cudaGetDeviceProperties(&d, 1) != cudaSuccess);
    cudaGetLastError();
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda streams", T(events_order_streams), T(default_stream), T(pinned_memory_is_read_late), T(graphs),
          T(a_graph_is_updated), T(a_fork_must_be_joined), T(two_host_threads), T(host_functions_and_times), T(memory))
