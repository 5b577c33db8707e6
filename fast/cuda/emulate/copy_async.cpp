// copy_async.cpp: cp.async. A copy is made as late as it may be, at its wait; until then its destination is NaN.
#include "copy_async.h"

#include <string.h>

#include <vector>

#include "block.h"
#include "check.h"
#include "counts.h"
#include "lines.h"
#include "tensor.h"

namespace emulate {

struct copy { char *to; const char *from; size_t bytes, given; unsigned group; uintptr_t pc; };
struct queue { unsigned group; std::vector<copy> copies; };

static std::vector<queue> queues;                // by thread

static queue &mine()
{
    if (queues.size() < now.threads.size())
        queues.resize(now.threads.size());
    return queues[self->number];
}

void copy_async(void *to, const void *from, size_t bytes, size_t given, where at)
{
    uintptr_t pc = site_of(at);
    if (reinterpret_cast<uintptr_t>(to) % bytes || (given && reinterpret_cast<uintptr_t>(from) % bytes))
        fault(EMULATE_MISALIGNED, at, "misaligned: a cp.async of %zu bytes", bytes);
    if (given > bytes)
        fault(EMULATE_BOUNDS, at, "cp.async: %zu bytes given, %zu copied", given, bytes);
    if (!shared_space.holds(reinterpret_cast<uintptr_t>(to)))
        fault(EMULATE_BOUNDS, at, "cp.async to what is not shared memory");
    if (given)
        touch(from, given, access::read, pc);
    else
        count_access(false, false, false, 0, 0, pc);
    touch(to, bytes, access::copy_begin, pc);
    memset(to, 0xff, bytes);
    queue &q = mine();
    q.copies.push_back({static_cast<char *>(to), static_cast<const char *>(from), bytes, given, q.group, pc});
}

void copy_async_commit() { mine().group++; }

void copy_async_wait(unsigned keep)
{
    queue &q = mine();
    size_t left = 0;
    for (const copy &c : q.copies)
        if (c.group + keep < q.group) {
            if (c.given)
                memcpy(c.to, c.from, c.given);
            memset(c.to + c.given, 0, c.bytes - c.given);
            touch(c.to, c.bytes, access::copy_end, c.pc);
        } else {
            q.copies[left++] = c;
        }
    q.copies.resize(left);
}

void copies_end()
{
    if (self->number >= queues.size())
        return;
    queue &q = queues[self->number];
    if (!q.copies.empty())
        fault_at(EMULATE_COPY_PENDING, q.copies[0].pc, "the thread ends, and has not waited for this cp.async");
    q.group = 0;
}

void copies_abandon() { queues.clear(); }

}  // namespace emulate
