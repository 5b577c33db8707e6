// sample.cpp: counts of launches too large to run whole.
#include "sample.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <map>
#include <string>
#include <unordered_set>

#include "check.h"

namespace emulate {

// What has been met of global memory from one pointer of the arguments up to the next.
struct region {
    std::unordered_set<uintptr_t> sectors;
    size_t before = 0;                           // as many of them before the last block
    uintptr_t low = UINTPTR_MAX, high = 0;
};

struct shape {
    int number;
    std::string kernel, label;
    dim3 grid, block;
    size_t dynamic;
    uint64_t times, blocks, ran;
    emulate_counts others, last;                 // of the blocks but the last one, and of that
    uint64_t read, written;
};

static std::deque<shape> shapes;
static std::map<std::string, shape *> known;
static shape *current;
static std::vector<std::pair<int, uint64_t>> launched;           // every launch's shape and tag
static std::vector<uintptr_t> pointers;          // of the launch, ascending
static std::map<std::pair<uintptr_t, bool>, region> regions;

// What two launches that are alike have in common: where arguments point to is left out, but not whether they do.
static std::string key_of(const launch &l)
{
    char head[160];
    snprintf(head, sizeof head, "%u %u %u %u %u %u %zu ", l.grid.x, l.grid.y, l.grid.z, l.block.x, l.block.y, l.block.z,
             l.dynamic);
    std::string key = std::string(l.name) + '\n' + l.label + '\n' + head;
    pointers.clear();
    for (size_t i = 0; i < l.count; i++) {
        const char *from = static_cast<const char *>(l.args) + l.arguments[i].offset;
        for (size_t k = 0, step; k < l.arguments[i].bytes; k += step) {
            uintptr_t word = 0;
            step = std::min(sizeof word, l.arguments[i].bytes - k);
            memcpy(&word, from + k, step);
            if (step == sizeof word && global_space.holds(word)) {
                pointers.push_back(word);
                key += "pointer";
            } else {
                key.append(from + k, step);
            }
        }
    }
    std::sort(pointers.begin(), pointers.end());
    return key;
}

// The first block, the last, and others at multiples of the golden ratio between.
std::vector<uint64_t> sample_launch(const launch &l, uint64_t blocks)
{
    shape *&s = known[key_of(l)];
    std::vector<uint64_t> some;
    launched.push_back({s ? s->number : static_cast<int>(shapes.size()), l.tag});
    if (s) {
        s->times++;
        return some;
    }
    shapes.push_back({launched.back().first, l.name, l.label, l.grid, l.block, l.dynamic, 1, blocks, 0, {}, {}, 0, 0});
    current = s = &shapes.back();
    regions.clear();
    uint64_t want = std::min<uint64_t>(blocks, static_cast<uint64_t>(options.sample));
    for (uint64_t i = 0; want == blocks && i < blocks; i++)
        some.push_back(i);
    for (double at = 0; some.size() < want; at += 0.6180339887498949) {
        uint64_t b = some.empty() ? 0 : some.size() == 1 ? blocks - 1
                                      : static_cast<uint64_t>((at - static_cast<double>(static_cast<uint64_t>(at))) *
                                                              static_cast<double>(blocks));
        if (std::find(some.begin(), some.end(), b) == some.end())
            some.push_back(b);
    }
    std::sort(some.begin(), some.end());
    return some;
}

void sample_access(bool store, uintptr_t at, size_t bytes)
{
    if (options.sample == 0)
        return;
    auto after = std::upper_bound(pointers.begin(), pointers.end(), at);
    region &r = regions[{after == pointers.begin() ? 0 : *std::prev(after), store}];
    r.low = std::min(r.low, at);
    r.high = std::max(r.high, at + bytes);
    for (uintptr_t s = at / 32; s <= (at + bytes - 1) / 32; s++)
        r.sectors.insert(s);
}

// Field by field: to = f(to, from). All but the last field are numbers of 64 bits.
template <class F> static void each(emulate_counts &to, const emulate_counts &from, F f)
{
    uint64_t a[sizeof to / 8], b[sizeof to / 8];
    memcpy(a, &to, sizeof a);
    memcpy(b, &from, sizeof b);
    for (size_t i = 0; i < sizeof to / 8; i++)
        a[i] = f(a[i], b[i]);
    memcpy(&to, a, sizeof a);
}

// As many blocks but the last one as there are for each that ran.
static double others_by(const shape &s)
{
    return s.ran > 1 ? static_cast<double>(s.blocks - 1) / static_cast<double>(s.ran - 1) : 0;
}

static uint64_t bytes_met(bool store)
{
    double sum = 0;
    for (auto &of : regions) {
        const region &r = of.second;
        double sectors = others_by(*current) * static_cast<double>(r.before) + static_cast<double>(r.sectors.size() - r.before);
        if (of.first.second == store)
            sum += std::min(32 * sectors, static_cast<double>(r.high - r.low));
    }
    return static_cast<uint64_t>(sum + 0.5);
}

void sample_block_end(const emulate_counts &did)
{
    if (options.sample == 0)
        return;
    uint64_t b = now.index.x + uint64_t{now.of->grid.x} * (now.index.y + uint64_t{now.of->grid.y} * now.index.z);
    bool last = b + 1 == current->blocks;
    each(last ? current->last : current->others, did, [](uint64_t x, uint64_t y) { return x + y; });
    current->ran++;
    if (last) {
        current->read = bytes_met(false);
        current->written = bytes_met(true);
    }
    for (auto &r : regions)
        r.second.before = r.second.sectors.size();
}

}  // namespace emulate

using namespace emulate;

int emulate_ran(size_t i, uint64_t *tag)
{
    if (i >= launched.size())
        return -1;
    *tag = launched[i].second;
    return launched[i].first;
}

int emulate_shape_of(int i, emulate_shape *out)
{
    *out = {};
    if (i < 0 || static_cast<size_t>(i) >= shapes.size())
        return 0;
    const shape &s = shapes[static_cast<size_t>(i)];
    *out = {s.kernel.c_str(), s.label.c_str(), {s.grid.x, s.grid.y, s.grid.z}, {s.block.x, s.block.y, s.block.z}, s.dynamic,
            s.times, s.ran, s.last, s.read, s.written};
    double by = others_by(s);
    each(out->one, s.others, [by](uint64_t last, uint64_t sum) {
        return last + static_cast<uint64_t>(by * static_cast<double>(sum) + 0.5);
    });
    out->one.launches = 1;
    out->one.shared_bytes = s.last.shared_bytes;
    return 1;
}
