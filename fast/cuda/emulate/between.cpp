// between.cpp: which launches may still run beside others, and what those have touched.
#include "between.h"

#include <stdio.h>

#include <deque>

namespace emulate {

struct launched {
    const char *name;
    place in_streams, in_graph;
    // Work of streams has a place of its own: launches that share one are of one graph.
    bool before(const launched &b) const
    {
        const unsigned s = in_streams.strand;
        bool together = b.in_streams.strand == s && b.in_streams.seen[s] == in_streams.seen[s];
        return together ? comes_before(in_graph, b.in_graph) : comes_before(in_streams, b.in_streams);
    }
};

static std::deque<launched> recent;              // numbers from `first` on
static uint32_t first = 1;
static unsigned slot;                            // in launches::read, of the one that runs

void between_launch(const char *name)
{
    recent.push_back({name, *place_in_streams, *place_in_graph});
    slot = (place_in_streams->strand + place_in_graph->strand) % 3;
}

static uint32_t running() { return first + static_cast<uint32_t>(recent.size()) - 1; }

static bool unordered(uint32_t number)
{
    return number >= first && number < running() && !recent[number - first].before(recent.back());
}

static const char *tell(uint32_t number, const char *did)
{
    static char text[160];
    snprintf(text, sizeof text, "%.128s %s", recent[number - first].name, did);
    return text;
}

const char *between_unordered(const launches &by, bool writes)
{
    if (unordered(by.wrote))
        return tell(by.wrote, "wrote");
    for (size_t i = 0; writes && i < sizeof by.read / sizeof *by.read; i++)
        if (unordered(by.read[i]))
            return tell(by.read[i], "read");
    return nullptr;
}

void between_note(launches &by, bool writes) { (writes ? by.wrote : by.read[slot]) = running(); }

void between_forget(const reach &all)
{
    while (!recent.empty() && comes_before(recent.front().in_streams, all)) {
        recent.pop_front();
        first++;
    }
}

void between_forget_all()
{
    first += static_cast<uint32_t>(recent.size());
    recent.clear();
}

}  // namespace emulate
