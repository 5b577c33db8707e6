// space.cpp: what is allocated in shared and in global memory.
#include <algorithm>

#include "check.h"

namespace emulate {

space shared_space{"shared memory"}, global_space{"global memory"};

static bool before(uintptr_t a, const range &r) { return a < r.begin; }

void space::begin(uintptr_t base_, size_t bytes_)
{
    base = base_;
    bytes = bytes_;
    live.clear();
    last = 0;
}

void space::add(range r) { live.insert(std::upper_bound(live.begin(), live.end(), r.begin, before), r); }

void space::remove(uintptr_t at)
{
    live.erase(std::remove_if(live.begin(), live.end(), [=](const range &r) { return r.begin == at; }), live.end());
}

const range *space::find(uintptr_t a)
{
    if (last < live.size() && a - live[last].begin < live[last].bytes)
        return &live[last];
    auto after = std::upper_bound(live.begin(), live.end(), a, before);
    if (after == live.begin())
        return nullptr;
    last = static_cast<size_t>(after - live.begin()) - 1;
    return &live[last];
}

}  // namespace emulate
