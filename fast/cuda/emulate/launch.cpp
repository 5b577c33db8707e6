// launch.cpp: a kernel's launch, refused as the device would, else queued; and what the device says of itself.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <string>
#include <vector>

#include "block.h"
#include "host.h"
#include "lines.h"
#include "shared.h"
#include "trace.h"

namespace emulate {

// What is wrong with k; NULL: nothing.
static const char *refusal(const kernel_call &k)
{
    uint64_t threads = uint64_t{k.block.x} * k.block.y * k.block.z;
    if (!threads || threads > 1024 || k.block.x > 1024 || k.block.y > 1024 || k.block.z > 64)
        return "a block has 1 to 1024 threads, at most 64 in z";
    if (!k.grid.x || !k.grid.y || !k.grid.z || k.grid.x > 0x7fffffffu || k.grid.y > 65535 || k.grid.z > 65535)
        return "a grid has 1 to 2^31 - 1 blocks in x, to 65535 in y and z";
    if (k.dynamic > shared_limit(k.function))
        return "more dynamic shared memory than the function is allowed (cudaFuncSetAttribute)";
    return nullptr;
}

// What is queued: the launch with its name and arguments, by value.
struct queued {
    const char *name;
    std::string label;
    std::vector<uint64_t> args;
    std::vector<argument> arguments;
    launch l;
};

static std::string label;                        // of the launches to come
static uint64_t tag;

cudaError_t launch_kernel(const kernel_call &k, const void *args, size_t bytes)
{
    ON_DEVICE;
    if (const char *why = refusal(k)) {
        if (!options.quiet)
            fprintf(stderr, "cuda-emulated: %s:%d: %s<<<(%u,%u,%u), (%u,%u,%u), %zu>>> refused: %s\n", k.at.file, k.at.line,
                    kernel_name(k.function, k.name), k.grid.x, k.grid.y, k.grid.z, k.block.x, k.block.y, k.block.z,
                    k.dynamic, why);
        return answer(cudaErrorInvalidConfiguration);
    }
    queued q{kernel_name(k.function, k.name), label, std::vector<uint64_t>((bytes + 15) / 16 * 2 + 2),
             {k.arguments, k.arguments + k.count}, {}};
    memcpy(q.args.data(), args, bytes);
    q.l = {q.name, nullptr, tag, k.function, k.grid, k.block, k.dynamic, k.call, nullptr, bytes, nullptr, k.count, k.checked,
           k.at};
    submit(k.on, [q] {
        launch l = q.l;
        l.label = q.label.c_str();
        l.args = q.args.data();
        l.arguments = q.arguments.data();
        trace_before(l);
        run_blocks(l);
        trace_after(l);
    });
    return answer(cudaSuccess);
}

cudaError_t function_attribute(const void *f, cudaFuncAttribute a, int value)
{
    ON_DEVICE;
    if (a != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return answer(cudaSuccess);
    if (value < 0 || value > EMULATE_SHARED_MAX)
        return answer(cudaErrorInvalidValue);
    shared_allow(f, static_cast<size_t>(value));
    return answer(cudaSuccess);
}

cudaError_t function_attributes(cudaFuncAttributes *a, const void *f)
{
    ON_DEVICE;
    *a = {0, 1024, static_cast<int>(shared_limit(f))};
    return answer(cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return answer(cudaSuccess);
}

cudaError_t cudaGetDevice(int *d)
{
    *d = 0;
    return answer(cudaSuccess);
}

cudaError_t cudaSetDevice(int d) { return answer(d ? cudaErrorInvalidDevice : cudaSuccess); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int d)
{
    *p = {};
    if (d)
        return answer(cudaErrorInvalidDevice);
    snprintf(p->name, sizeof p->name, "emulated sm_%d", options.capability);
    size_t free;
    cudaMemGetInfo(&free, &p->totalGlobalMem);
    p->sharedMemPerBlock = EMULATE_SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = EMULATE_SHARED_MAX;
    p->sharedMemPerMultiprocessor = EMULATE_SHARED_MAX + 1024;
    p->major = options.capability / 10;
    p->minor = options.capability % 10;
    p->multiProcessorCount = 2;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 2048;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->l2CacheSize = 1 << 20;
    return answer(cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return answer(cudaSuccess);
}
cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

const char *cudaGetErrorName(cudaError_t e)
{
    switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureMerge: return "cudaErrorStreamCaptureMerge";
    case cudaErrorStreamCaptureUnmatched: return "cudaErrorStreamCaptureUnmatched";
    case cudaErrorStreamCaptureUnjoined: return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation: return "cudaErrorStreamCaptureIsolation";
    case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
    case cudaErrorGraphExecUpdateFailure: return "cudaErrorGraphExecUpdateFailure";
    }
    return "an unknown error";
}

const char *cudaGetErrorString(cudaError_t e)
{
    const emulate_fault *f = emulate_last_fault();
    return e == cudaErrorLaunchFailure && f ? f->text : cudaGetErrorName(e);
}

}  // namespace emulate

void emulate_label(const char *text) { emulate::label = text; }
void emulate_tag(uint64_t tag) { emulate::tag = tag; }
