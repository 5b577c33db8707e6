// memory.cpp: device memory: a piece of address space, its allocations apart from one another by what nobody may touch.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>

#include "block.h"
#include "check.h"
#include "host.h"
#include "poison.h"

namespace emulate {

static const size_t ALIGN = 256, GAP = 256;
static const size_t RESERVED = size_t{8} << (sizeof(void *) > 4 ? 30 : 25);

static std::map<const char *, size_t> pinned;
static size_t used;

static bool reserve()
{
    if (global_space.bytes)
        return true;
    void *m = mmap(nullptr, RESERVED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return false;
    global_space.begin(reinterpret_cast<uintptr_t>(m), RESERVED);
    poison(m, RESERVED);
    return true;
}

static uintptr_t aligned(uintptr_t a) { return (a + ALIGN - 1) / ALIGN * ALIGN; }

// The first place with room for it; 0: none.
static uintptr_t find_place(size_t bytes)
{
    uintptr_t at = aligned(global_space.base + GAP), end = global_space.base + global_space.bytes;
    for (const range &r : global_space.live) {
        if (at + bytes + GAP <= r.begin)
            return at;
        at = aligned(r.begin + r.bytes + GAP);
    }
    return at < end && bytes + GAP <= end - at ? at : 0;
}

cudaError_t device_malloc(void **p, size_t bytes)
{
    ON_DEVICE;
    *p = nullptr;
    if (capture_forbids())
        return answer(cudaErrorStreamCaptureUnsupported);
    size_t limit = options.memory < RESERVED ? options.memory : RESERVED;
    if (!bytes || emulate_last_fault())
        return answer(cudaSuccess);
    uintptr_t at = bytes <= limit && used <= limit - bytes && reserve() ? find_place(bytes) : 0;
    if (!at)
        return answer(cudaErrorMemoryAllocation);
    used += bytes;
    global_space.add({at, bytes, nullptr});
    *p = reinterpret_cast<void *>(at);
    unpoison(*p, bytes);
    memset(*p, 0xff, bytes);
    return answer(cudaSuccess);
}

cudaError_t cudaFree(void *p)
{
    ON_DEVICE;
    if (!p)
        return answer(cudaSuccess);
    if (capture_forbids())
        return answer(cudaErrorStreamCaptureUnsupported);
    finish_all();
    uintptr_t at = reinterpret_cast<uintptr_t>(p);
    const range *r = global_space.holds(at) ? global_space.find(at) : nullptr;
    if (!r || r->begin != at)
        return answer(cudaErrorInvalidValue);
    size_t bytes = r->bytes;
    used -= bytes;
    memset(p, 0xff, bytes);
    poison(p, bytes);
    global_space.remove(at);
    return answer(cudaSuccess);
}

cudaError_t host_malloc(void **p, size_t bytes)
{
    ON_DEVICE;
    *p = bytes ? malloc(bytes) : nullptr;
    if (bytes && !*p)
        return answer(cudaErrorMemoryAllocation);
    if (*p)
        pinned[static_cast<char *>(*p)] = bytes;
    return answer(cudaSuccess);
}

cudaError_t cudaFreeHost(void *p)
{
    ON_DEVICE;
    if (!p)
        return answer(cudaSuccess);
    finish_all();
    if (!pinned.erase(static_cast<char *>(p)))
        return answer(cudaErrorInvalidValue);
    free(p);
    return answer(cudaSuccess);
}

bool is_device(const void *p) { return global_space.holds(reinterpret_cast<uintptr_t>(p)); }

bool on_device_whole(const void *p, size_t bytes)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(p);
    const range *r = is_device(p) ? global_space.find(at) : nullptr;
    return r && at - r->begin <= r->bytes && bytes <= r->bytes - (at - r->begin);
}

bool is_pinned(const void *p)
{
    auto after = pinned.upper_bound(static_cast<const char *>(p));
    return after != pinned.begin() && static_cast<size_t>(static_cast<const char *>(p) - (--after)->first) < after->second;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    ON_DEVICE;
    a->type = is_device(p) ? cudaMemoryTypeDevice : is_pinned(p) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    return answer(cudaSuccess);
}

// May `kind` copy between these? Both ends are looked at, whatever kind says.
static bool fits(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    bool to_device = kind == cudaMemcpyDefault ? is_device(to)
                                               : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDefault ? is_device(from)
                                                 : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return (to_device ? on_device_whole(to, bytes) : !is_device(to)) &&
           (from_device ? on_device_whole(from, bytes) : !is_device(from));
}

static cudaError_t refuse(const char *what, size_t bytes)
{
    if (!options.quiet)
        fprintf(stderr, "cuda-emulated: %s of %zu bytes: not within an allocation, or not the direction said\n", what, bytes);
    return answer(cudaErrorInvalidValue);
}

// Host memory that is not pinned may change as soon as the call is back: such copies are waited for.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    ON_DEVICE;
    if (!bytes)
        return answer(cudaSuccess);
    if (!fits(to, from, bytes, kind))
        return refuse("a copy", bytes);
    submit(s, [=] { memmove(to, from, bytes); });
    bool waits = (!is_device(to) && !is_pinned(to)) || (!is_device(from) && !is_pinned(from));
    if (waits && !capture_forbids())
        finish(s);
    return answer(cudaSuccess);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    ON_DEVICE;
    if (capture_forbids())
        return answer(cudaErrorStreamCaptureUnsupported);
    cudaError_t e = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    finish(nullptr);
    return e == cudaSuccess ? answer(e) : e;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    ON_DEVICE;
    if (!bytes)
        return answer(cudaSuccess);
    if (!on_device_whole(p, bytes))
        return refuse("a memset", bytes);
    submit(s, [=] { memset(p, value, bytes); });
    return answer(cudaSuccess);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    ON_DEVICE;
    if (capture_forbids())
        return answer(cudaErrorStreamCaptureUnsupported);
    cudaError_t e = cudaMemsetAsync(p, value, bytes, nullptr);
    finish(nullptr);
    return e == cudaSuccess ? answer(e) : e;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    ON_DEVICE;
    *total = options.memory < RESERVED ? options.memory : RESERVED;
    *free = used < *total ? *total - used : 0;
    return answer(cudaSuccess);
}

}  // namespace emulate

size_t emulate_memory_used(void) { return emulate::used; }
