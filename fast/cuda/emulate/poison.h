// poison.h: memory that nobody may touch, for the address sanitizer where it is built in.
#ifndef EMULATE_POISON_H
#define EMULATE_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATE_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATE_POISON 1
#endif
#endif
#ifdef EMULATE_POISON
#include <sanitizer/asan_interface.h>
#endif

namespace emulate {

inline void poison(void *p, size_t bytes)
{
#ifdef EMULATE_POISON
    __asan_poison_memory_region(p, bytes);
#endif
    static_cast<void>(p), static_cast<void>(bytes);
}

inline void unpoison(void *p, size_t bytes)
{
#ifdef EMULATE_POISON
    __asan_unpoison_memory_region(p, bytes);
#endif
    static_cast<void>(p), static_cast<void>(bytes);
}

}  // namespace emulate
#endif
