// shared.cpp: shared memory is one arena: the dynamic part, then the variables as they are first met, with gaps between that
// nothing may touch. Each part begins at a multiple of 128 bytes: at bank 0.
#include "shared.h"

#include <string.h>

#include <map>

#include "block.h"
#include "check.h"
#include "poison.h"

namespace emulate {

enum { GAP = 128, ARENA = 2 * EMULATE_SHARED_MAX };

alignas(128) static unsigned char arena[ARENA];
static size_t top, used;                         // where the next part begins; bytes in use
static uint64_t launches;
static size_t dynamic_at;
static std::map<const void *, size_t> limits;

size_t shared_used() { return used; }
void shared_allow(const void *function, size_t bytes) { limits[function] = bytes; }

size_t shared_limit(const void *function)
{
    auto found = limits.find(function);
    return found == limits.end() ? size_t{EMULATE_SHARED_DEFAULT} : found->second;
}

static size_t place(const char *name, size_t bytes)
{
    size_t at = top;
    top += (bytes + GAP + 127) / 128 * 128;
    used += bytes;
    unpoison(arena + at, bytes);
    memset(arena + at, 0xff, bytes);
    shared_space.add({reinterpret_cast<uintptr_t>(arena + at), bytes, name});
    return at;
}

void shared_begin_launch(const launch &l)
{
    launches++;
    top = GAP;
    used = 0;
    poison(arena, sizeof arena);
    shared_space.begin(reinterpret_cast<uintptr_t>(arena), sizeof arena);
    dynamic_at = place("the dynamic shared memory", l.dynamic);
}

void shared_begin_block()
{
    for (const range &r : shared_space.live)
        memset(reinterpret_cast<void *>(r.begin), 0xff, r.bytes);
}

void *shared_place(shared_variable *v)
{
    if (v->launch != launches) {
        size_t limit = shared_limit(now.of->function);
        if (limit < EMULATE_SHARED_DEFAULT)
            limit = EMULATE_SHARED_DEFAULT;
        if (used + v->bytes > limit)
            fault(EMULATE_LAUNCH, now.of->at, "%zu bytes of shared memory with %s, and %zu allowed", used + v->bytes, v->name,
                  limit);
        v->offset = place(v->name, v->bytes);
        v->launch = launches;
    }
    return arena + v->offset;
}

void *shared_dynamic() { return arena + dynamic_at; }

}  // namespace emulate
