// intrinsics.cpp: wide accesses and atomics, as the checker sees them. One thread runs at a time: nothing else is needed.
#include "intrinsics.h"

#include "block.h"
#include "check.h"
#include "lines.h"

#define CALLER reinterpret_cast<uintptr_t>(__builtin_return_address(0))

namespace emulate {

void misaligned(size_t bytes, where at) { fault(EMULATE_MISALIGNED, at, "misaligned: an access of %zu bytes", bytes); }

static void want_aligned(const void *p, size_t bytes, where at)
{
    if (reinterpret_cast<uintptr_t>(p) % bytes)
        misaligned(bytes, at);
}

void wide_load(void *to, const void *from, size_t bytes, where at)
{
    want_aligned(from, bytes, at);
    touch(from, bytes, access::read, site_of(at));
    memcpy(to, from, bytes);
}

void wide_store(void *to, const void *from, size_t bytes, where at)
{
    want_aligned(to, bytes, at);
    touch(to, bytes, access::write, site_of(at));
    memcpy(to, from, bytes);
}

template <class T> static T swap(T *p, T v)
{
    T old = *p;
    *p = v;
    return old;
}

template <class T> __attribute__((noinline)) T atomicAdd(T *p, T v)
{
    touch(p, sizeof v, access::atomic, CALLER);
    return swap<T>(p, *p + v);
}

template <class T> __attribute__((noinline)) T atomicMin(T *p, T v)
{
    touch(p, sizeof v, access::atomic, CALLER);
    return swap<T>(p, v < *p ? v : *p);
}

template <class T> __attribute__((noinline)) T atomicMax(T *p, T v)
{
    touch(p, sizeof v, access::atomic, CALLER);
    return swap<T>(p, v > *p ? v : *p);
}

template <class T> __attribute__((noinline)) T atomicExch(T *p, T v)
{
    touch(p, sizeof v, access::atomic, CALLER);
    return swap<T>(p, v);
}

template <class T> __attribute__((noinline)) T atomicCAS(T *p, T expected, T v)
{
    touch(p, sizeof v, access::atomic, CALLER);
    return swap<T>(p, *p == expected ? v : *p);
}

#define FOR_INTEGER(T) template T atomicAdd(T *, T); template T atomicMin(T *, T); template T atomicMax(T *, T); \
    template T atomicExch(T *, T); template T atomicCAS(T *, T, T);
FOR_INTEGER(int)
FOR_INTEGER(unsigned)
FOR_INTEGER(unsigned long long)
template float atomicAdd(float *, float);
template float atomicExch(float *, float);

}  // namespace emulate
