// host.h: what the files of the host functions share. Inside the emulator only.
#ifndef EMULATE_HOST_H
#define EMULATE_HOST_H

#include <functional>
#include <mutex>

#include "runtime.h"

namespace emulate {

// One host thread at a time works on the device.
extern std::recursive_mutex device;
#define ON_DEVICE std::lock_guard<std::recursive_mutex> on_device(device)

// Note an error for cudaGetLastError. A fault comes before every other error.
cudaError_t answer(cudaError_t e);
// Where a call may not come while a stream of this thread is captured.
bool capture_forbids();

// Queue work on a stream; and wait until all that is queued on it, or on all streams, is done.
void submit(cudaStream_t s, std::function<void()> run);
void finish(cudaStream_t s);
void finish_all();

// Do [p, p + bytes) lie in one allocation of the device; does p in one of cudaMallocHost?
bool on_device_whole(const void *p, size_t bytes);
bool is_device(const void *p);
bool is_pinned(const void *p);

}  // namespace emulate
#endif
