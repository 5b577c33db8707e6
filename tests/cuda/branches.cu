// branches.cu: branches that fork from a stream and join it, as fast/cuda/device.cu has them: one event for all forks, one a
// branch for its joins, captured and not; and launches of two branches that touch the same memory, which the checker tells.
#include "fast/cuda/device.h"

#include <string>

#include "tests/cuda/order.h"
#include "tests/test.h"

namespace CUDA_SIDE {

enum { N = 64, BRANCHES = 3, ROUNDS = 4 };

__global__ void add(float *y, const float *x, float a) { y[threadIdx.x] += a * x[threadIdx.x]; }
__global__ void times(float *y, float a) { y[threadIdx.x] *= a; }
__global__ void nothing(float *) {}

// A main stream with side streams, and arrays: y[1], ... of the branches.
struct net {
    cudaStream_t on[BRANCHES] = {};
    cudaEvent_t begun = nullptr, reached[BRANCHES] = {};
    float *y[BRANCHES + 1] = {};

    net()
    {
        for (int b = 0; b < BRANCHES; b++) {
            cudaStreamCreateWithFlags(&on[b], cudaStreamNonBlocking);
            cudaEventCreateWithFlags(&reached[b], cudaEventDisableTiming);
        }
        cudaEventCreateWithFlags(&begun, cudaEventDisableTiming);
        for (float *&p : y) {
            cudaMalloc(&p, N * sizeof(float));
            CHECK(cudaMemset(p, 0, N * sizeof(float)) == cudaSuccess);
        }
        cudaDeviceSynchronize();
    }
    net(const net &) = delete;
    net &operator=(const net &) = delete;
    ~net()
    {
        for (int b = 0; b < BRANCHES; b++) {
            cudaStreamDestroy(on[b]);
            cudaEventDestroy(reached[b]);
        }
        cudaEventDestroy(begun);
        for (float *p : y)
            cudaFree(p);
    }
    void fork()
    {
        cudaEventRecord(begun, on[0]);
        for (int b = 1; b < BRANCHES; b++)
            CHECK(cudaStreamWaitEvent(on[b], begun) == cudaSuccess);
    }
    void join(int first = 1)
    {
        for (int b = first; b < BRANCHES; b++) {
            cudaEventRecord(reached[b], on[b]);
            CHECK(cudaStreamWaitEvent(on[0], reached[b]) == cudaSuccess || emulate_last_fault());
        }
    }
    // Some rounds of: the main line's value times a; each branch adds it to its own, twice; the main line adds each branch's.
    void rounds(float *main, float a)
    {
        for (int i = 0; i < ROUNDS; i++) {
            LAUNCH(times, 1, N, 0, on[0], main, a);
            fork();
            for (int k = 0; k < 2; k++)
                for (int b = BRANCHES; b-- > 0;)
                    LAUNCH(add, 1, N, 0, on[b], y[1 + b], main, 1.0f);
            join();
            for (int b = 0; b < BRANCHES; b++)
                LAUNCH(add, 1, N, 0, on[0], main, y[1 + b], 1.0f);
        }
    }
    float value(const float *p)
    {
        float v = -1;
        cudaMemcpyAsync(&v, p, sizeof v, cudaMemcpyDeviceToHost, on[0]);
        CHECK(cudaStreamSynchronize(on[0]) == cudaSuccess);
        return v;
    }
    cudaGraph_t captured(float *main, float a)
    {
        cudaGraph_t g = nullptr;
        CHECK(cudaStreamBeginCapture(on[0], cudaStreamCaptureModeRelaxed) == cudaSuccess);
        rounds(main, a);
        CHECK(cudaStreamEndCapture(on[0], &g) == cudaSuccess && g);
        return g;
    }
};

// What `rounds` makes of main and of the branches' sums, which go on from before.
static void by_hand(float &main, float &sum, float a)
{
    for (int i = 0; i < ROUNDS; i++) {
        main *= a;
        for (int k = 0; k < 2; k++)
            sum += main;
        for (int b = 0; b < BRANCHES; b++)
            main += sum;
    }
}

// Not captured, captured, captured again and brought up to date, not captured again: the same streams and events throughout.
static void check_branches()
{
    net n;
    float *main = nullptr, wanted = 1, sum = 0, host[N];
    for (float &v : host)
        v = 1;
    cudaMalloc(&main, sizeof host);
    cudaMemcpy(main, host, sizeof host, cudaMemcpyHostToDevice);
    n.rounds(main, 0.5f);
    by_hand(wanted, sum, 0.5f);
    CHECK_EQ(n.value(main), wanted);
    cudaGraphExec_t x;
    cudaGraphExecUpdateResultInfo info;
    cudaGraph_t g = n.captured(main, 0.25f);
    CHECK_EQ(n.value(main), wanted);             // nothing of it has run
    CHECK(cudaGraphInstantiate(&x, g) == cudaSuccess && cudaGraphLaunch(x, n.on[0]) == cudaSuccess);
    cudaGraphDestroy(g);
    by_hand(wanted, sum, 0.25f);
    g = n.captured(main, 0.125f);
    CHECK(cudaGraphExecUpdate(x, g, &info) == cudaSuccess && cudaGraphLaunch(x, n.on[0]) == cudaSuccess);
    cudaGraphDestroy(g);
    by_hand(wanted, sum, 0.125f);
    n.rounds(main, 0.5f);
    by_hand(wanted, sum, 0.5f);
    CHECK_EQ(n.value(main), wanted);
    CHECK_EQ(n.value(n.y[1]), sum);
    CHECK_EQ(n.value(n.y[BRANCHES]), sum);
    cudaGraphExecDestroy(x);
    cudaFree(main);
}

TEST(branches_in_every_order)
{
    order(EMULATE_FORWARD, 1, 1);
    check_branches();
    order(EMULATE_REVERSE, 1, 1);
    check_branches();
    for (uint64_t seed = 1; seed < 20; seed++) {
        order(EMULATE_RANDOM, seed, 1);
        check_branches();
    }
    CHECK(!emulate_last_fault());
}

// The same launches with other branches are another graph.
TEST(a_graph_of_other_branches_is_no_update)
{
    order(EMULATE_FORWARD, 1, 1);
    net n;
    cudaGraph_t g[2];
    for (int i = 0; i < 2; i++) {
        cudaStreamBeginCapture(n.on[0], cudaStreamCaptureModeRelaxed);
        n.fork();
        LAUNCH(nothing, 1, N, 0, n.on[i], n.y[0]);
        LAUNCH(nothing, 1, N, 0, n.on[0], n.y[0]);
        n.join();
        CHECK(cudaStreamEndCapture(n.on[0], &g[i]) == cudaSuccess);
    }
    cudaGraphExec_t x;
    cudaGraphExecUpdateResultInfo info;
    cudaGraphInstantiate(&x, g[0]);
    CHECK(cudaGraphExecUpdate(x, g[0], &info) == cudaSuccess);
    CHECK(cudaGraphExecUpdate(x, g[1], &info) == cudaErrorGraphExecUpdateFailure &&
          info.result == cudaGraphExecUpdateErrorTopologyChanged);
    cudaGetLastError();
    cudaGraphExecDestroy(x);
    cudaGraphDestroy(g[0]);
    cudaGraphDestroy(g[1]);
}

TEST(a_branch_that_is_not_joined_is_refused)
{
    order(EMULATE_FORWARD, 1, 1);
    net n;
    cudaGraph_t g;
    cudaStreamBeginCapture(n.on[0], cudaStreamCaptureModeRelaxed);
    for (int i = 0; i < 100; i++) {              // as many ways from end to begin as 3 to the power of 100
        n.fork();
        for (cudaStream_t s : n.on)
            LAUNCH(nothing, 1, N, 0, s, n.y[0]);
        n.join(i < 99 ? 1 : 2);
    }
    CHECK(cudaStreamEndCapture(n.on[0], &g) == cudaErrorStreamCaptureUnjoined && !g);
    cudaGetLastError();
    check_branches();                            // the streams are as before
}

// As large as a chain of 40 steps: in all orders, and brought up to date, within seconds where a quadratic way takes minutes.
TEST(a_large_graph)
{
    for (emulate_order o : {EMULATE_FORWARD, EMULATE_REVERSE, EMULATE_RANDOM}) {
        order(o, 3, 0);
        net n;
        cudaGraph_t g = nullptr;
        cudaGraphExec_t x = nullptr;
        cudaGraphExecUpdateResultInfo info;
        for (int times = 0; times < 2; times++) {
            cudaStreamBeginCapture(n.on[0], cudaStreamCaptureModeRelaxed);
            for (int i = 0; i < 12000 / 300; i++) {
                n.fork();
                for (int k = 0; k < 300; k++)
                    LAUNCH(nothing, 1, 1, 0, n.on[k % BRANCHES], n.y[0]);
                n.join();
            }
            CHECK(cudaStreamEndCapture(n.on[0], &g) == cudaSuccess);
            CHECK((x ? cudaGraphExecUpdate(x, g, &info) : cudaGraphInstantiate(&x, g)) == cudaSuccess);
            CHECK(cudaGraphLaunch(x, n.on[0]) == cudaSuccess && cudaStreamSynchronize(n.on[0]) == cudaSuccess);
            cudaGraphDestroy(g);
        }
        cudaGraphExecDestroy(x);
    }
}

// ---- two branches at the same memory ----

__global__ void writes_first(float *p) { p[threadIdx.x] = 1; }
__global__ void writes_second(float *p) { p[threadIdx.x] = 2; }
__global__ void reads(float *to, const float *p) { to[threadIdx.x] = p[threadIdx.x]; }
__global__ void counts(int *p) { atomicAdd(p, 1); }
__global__ void writes_bytes(unsigned char *p) { p[2 * threadIdx.x] = 1; }

typedef void (*what)(net &n);
static void two_writes(net &n)
{
    LAUNCH(writes_first, 1, N, 0, n.on[1], n.y[0]);
    LAUNCH(writes_second, 1, N, 0, n.on[2], n.y[0]);
}
static void one_word(net &n)
{
    LAUNCH(writes_first, 1, N / 2, 0, n.on[1], n.y[0]);
    LAUNCH(writes_second, 1, N / 2, 0, n.on[2], n.y[0] + N / 2 - 1);
}
static void a_read(net &n)
{
    LAUNCH(reads, 1, N, 0, n.on[1], n.y[1], n.y[0]);
    LAUNCH(reads, 1, N, 0, n.on[0], n.y[2], n.y[0]);
    LAUNCH(writes_second, 1, N, 0, n.on[2], n.y[0]);
}
static void two_counts(net &n)
{
    LAUNCH(counts, 1, N, 0, n.on[1], reinterpret_cast<int *>(n.y[0]));
    LAUNCH(counts, 1, N, 0, n.on[0], reinterpret_cast<int *>(n.y[0]));
}
static void long_before(net &n)
{
    LAUNCH(writes_first, 1, N, 0, n.on[0], n.y[0]);
    for (int i = 0; i < 10; i++)
        LAUNCH(writes_first, 1, N, 0, n.on[0], n.y[1]);
    LAUNCH(reads, 1, N, 0, n.on[1], n.y[2], n.y[0]);
}
static void apart(net &n)
{
    LAUNCH(writes_first, 1, N / 2, 0, n.on[1], n.y[0]);
    LAUNCH(writes_second, 1, N / 2, 0, n.on[2], n.y[0] + N / 2);
    unsigned char *bytes = reinterpret_cast<unsigned char *>(n.y[1]);
    LAUNCH(writes_bytes, 1, N, 0, n.on[1], bytes);
    LAUNCH(writes_bytes, 1, N, 0, n.on[0], bytes + 1);
    for (int b = 0; b < BRANCHES; b++)
        LAUNCH(reads, 1, N / 4, 0, n.on[b], n.y[2] + b * (N / 4), n.y[3]);
}
static void one_after_another(net &n)
{
    LAUNCH(writes_first, 1, N, 0, n.on[1], n.y[0]);
    n.join();
    LAUNCH(writes_first, 1, N, 0, n.on[0], n.y[0]);
    n.fork();
    LAUNCH(writes_second, 1, N, 0, n.on[2], n.y[0]);
    LAUNCH(reads, 1, N, 0, n.on[2], n.y[1], n.y[0]);
}

// Names of both, or NULL where nothing is wrong; captured, or on the streams themselves.
static void provoke(what run, const char *first, const char *second, int captured)
{
    net n;
    cudaGraph_t g = nullptr;
    cudaGraphExec_t x = nullptr;
    if (captured)
        cudaStreamBeginCapture(n.on[0], cudaStreamCaptureModeRelaxed);
    n.fork();
    run(n);
    n.join();
    if (captured) {
        CHECK(cudaStreamEndCapture(n.on[0], &g) == cudaSuccess && cudaGraphInstantiate(&x, g) == cudaSuccess);
        cudaGraphLaunch(x, n.on[0]);
        cudaGraphExecDestroy(x);
        cudaGraphDestroy(g);
    }
    cudaError_t e = cudaStreamSynchronize(n.on[0]);
    const emulate_fault *f = emulate_last_fault();
    CHECK((e == cudaErrorLaunchFailure) == (first != nullptr) && !f == !first);
    if (f && first) {
        CHECK(f->kind == EMULATE_RACE_LAUNCHES && !strcmp(f->file, "branches.cu"));
        CHECK_SAYS(f->text, first);
        CHECK_SAYS(f->text, second);
        CHECK_SAYS(f->text, "of an allocation of 256");
    } else if (f) {
        printf("%s\n", f->text);
    }
    emulate_clear();
    cudaGetLastError();
}

static void provoke_all(emulate_order o, uint64_t seed)
{
    order(o, seed, 1);
    for (int captured = 0; captured < 2; captured++) {
        provoke(two_writes, "writes_first", "writes_second", captured);
        provoke(one_word, "writes_first", "writes_second", captured);
        provoke(a_read, "reads", "writes_second", captured);
        provoke(two_counts, "counts wrote", "[kernel counts", captured);
        provoke(long_before, "reads", "writes_first", captured);
        provoke(one_after_another, nullptr, nullptr, captured);
    }
}

TEST(branches_that_touch_the_same)
{
    if (!EMULATE_IS_CHECKED)
        return;
    provoke_all(EMULATE_FORWARD, 1);
    provoke_all(EMULATE_REVERSE, 1);
    for (uint64_t seed = 1; seed < 10; seed++)
        provoke_all(EMULATE_RANDOM, seed);
}

TEST(branches_that_do_not)
{
    for (int captured = 0; captured < 2; captured++) {
        order(EMULATE_REVERSE, 1, 1);
        provoke(apart, nullptr, nullptr, captured);
        order(EMULATE_RANDOM, 2, 1);
        provoke(apart, nullptr, nullptr, captured);
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda branches", T(branches_in_every_order), T(a_graph_of_other_branches_is_no_update),
          T(a_branch_that_is_not_joined_is_refused), T(a_large_graph), T(branches_that_touch_the_same),
          T(branches_that_do_not))
