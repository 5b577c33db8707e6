// runtime.h: CUDA's host functions, as far as an engine needs them, by their own names; each says what it does there too.
#ifndef EMULATE_RUNTIME_H
#define EMULATE_RUNTIME_H

#include <stddef.h>

#include <tuple>

#include "types.h"

namespace emulate {

enum cudaError_t {
    cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101, cudaErrorInvalidResourceHandle = 400, cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719, cudaErrorStreamCaptureUnsupported = 900, cudaErrorStreamCaptureMerge = 902,
    cudaErrorStreamCaptureUnmatched = 903, cudaErrorStreamCaptureUnjoined = 904, cudaErrorStreamCaptureIsolation = 905,
    cudaErrorCapturedEvent = 907, cudaErrorGraphExecUpdateFailure = 910
};
const char *cudaGetErrorName(cudaError_t e);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError();                  // and forgets it, unless a fault ended a launch: that stays
cudaError_t cudaPeekAtLastError();

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int major, minor, multiProcessorCount, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor;
    int regsPerBlock, regsPerMultiprocessor, l2CacheSize;
};
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaDeviceSynchronize();

// Memory: filled with NaN when new. Host memory by cudaMallocHost only is copied asynchronously.
cudaError_t device_malloc(void **p, size_t bytes);
cudaError_t host_malloc(void **p, size_t bytes);
template <class T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    void *m = nullptr;
    cudaError_t e = device_malloc(&m, bytes);
    *p = static_cast<T *>(m);
    return e;
}
template <class T> cudaError_t cudaMallocHost(T **p, size_t bytes)
{
    void *m = nullptr;
    cudaError_t e = host_malloc(&m, bytes);
    *p = static_cast<T *>(m);
    return e;
}
cudaError_t cudaFree(void *p);
cudaError_t cudaFreeHost(void *p);
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice };
struct cudaPointerAttributes { cudaMemoryType type; };
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p);

typedef struct stream *cudaStream_t;
typedef struct event *cudaEvent_t;
typedef struct graph *cudaGraph_t;
typedef struct graph_exec *cudaGraphExec_t;

enum cudaMemcpyKind {
    cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault
};
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s = nullptr);
cudaError_t cudaMemset(void *p, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s = nullptr);

enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2 };
cudaError_t cudaStreamCreate(cudaStream_t *s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags = 0);
cudaError_t cudaLaunchHostFunc(cudaStream_t s, void (*run)(void *), void *data);
cudaError_t cudaEventCreate(cudaEvent_t *e);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);

enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
enum cudaGraphExecUpdateResult { cudaGraphExecUpdateSuccess = 0, cudaGraphExecUpdateErrorTopologyChanged = 2 };
struct cudaGraphExecUpdateResultInfo { cudaGraphExecUpdateResult result; };
// x does what g says from now on, if both have as much work with the same dependences.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t x, cudaGraph_t g, cudaGraphExecUpdateResultInfo *info);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
struct cudaFuncAttributes { size_t sharedSizeBytes; int maxThreadsPerBlock, maxDynamicSharedSizeBytes; };
cudaError_t function_attribute(const void *f, cudaFuncAttribute a, int value);
cudaError_t function_attributes(cudaFuncAttributes *a, const void *f);
template <class F> cudaError_t cudaFuncSetAttribute(F *f, cudaFuncAttribute a, int value)
{
    return function_attribute(reinterpret_cast<const void *>(f), a, value);
}
template <class F> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, F *f)
{
    return function_attributes(a, reinterpret_cast<const void *>(f));
}

// A kernel's launch: checked, then queued on the stream with a copy of the arguments.
struct kernel_call {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t dynamic;
    cudaStream_t on;
    void (*call)(const void *function, const void *args);
    bool checked;
    where at;
    const argument *arguments;
    size_t count;
};
cudaError_t launch_kernel(const kernel_call &k, const void *args, size_t bytes);

template <class... P, class... A, size_t... I>
void launch_each(kernel_call k, void (*f)(P...), std::index_sequence<I...>, A... a)
{
    typedef std::tuple<P...> tuple;
    static_assert((std::is_trivially_copyable<P>::value && ...), "arguments are copied as bytes");
    tuple args{static_cast<P>(a)...};
    const char *base = reinterpret_cast<const char *>(&args);
    const argument arguments[] = {
        {static_cast<size_t>(reinterpret_cast<const char *>(&std::get<I>(args)) - base), sizeof(P)}...
    };
    k.function = reinterpret_cast<const void *>(f);
    k.call = [](const void *function, const void *of) {
        std::apply(reinterpret_cast<void (*)(P...)>(const_cast<void *>(function)), *static_cast<const tuple *>(of));
    };
    k.arguments = arguments;
    k.count = sizeof...(P);
    launch_kernel(k, base, sizeof args);
}

template <class... P, class... A>
void launch_as(const char *name, void (*f)(P...), dim3 grid, dim3 block, size_t dynamic, cudaStream_t on, bool checked,
               where at, A... a)
{
    static_assert(sizeof...(P) == sizeof...(A), "a kernel takes as many arguments as it declares");
    launch_each({name, nullptr, grid, block, dynamic, on, nullptr, checked, at, nullptr, 0}, f,
                std::index_sequence_for<P...>(), a...);
}

}  // namespace emulate
#endif
