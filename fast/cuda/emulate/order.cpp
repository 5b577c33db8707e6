// order.cpp: counters along strands.
#include "order.h"

#include <algorithm>

namespace emulate {

static const place nowhere{0, {0}};
const place *place_in_streams = &nowhere, *place_in_graph = &nowhere;

void extend(reach &to, const reach &from)
{
    to.resize(std::max(to.size(), from.size()));
    for (size_t i = 0; i < from.size(); i++)
        to[i] = std::max(to[i], from[i]);
}

place strands::next(reach after)
{
    after.resize(all.size());
    size_t s = 0;
    while (s < all.size() && after[s] < all[s])
        s++;
    if (s == all.size()) {
        all.push_back(0);
        after.push_back(0);
    }
    after[s] = ++all[s];
    return {static_cast<unsigned>(s), std::move(after)};
}

}  // namespace emulate
