// counts.cpp: accesses by warp: the k-th time that each lane comes by an address of code is one request of its warp.
#include "counts.h"

#include <stdio.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lines.h"
#include "sample.h"
#include "shared.h"

namespace emulate {

struct entry {
    uintptr_t pc, at;
    unsigned bytes, lane, turn;
    bool shared, store;
};

// By address of code, and apart what one cp.async does to global and to shared memory.
typedef std::tuple<uintptr_t, bool, bool> site;
struct kernel_counts { emulate_counts sum; std::map<site, emulate_access> lines; };
struct warp_log { std::vector<entry> entries; unsigned waiting, ended; };

static std::map<std::string, kernel_counts> kernels;
static kernel_counts *current;
static emulate_counts block_sum;                 // of the block that runs
static std::vector<warp_log> logs;
static bool counting;

// Distinct values among v; sorts it.
static size_t distinct(std::vector<uintptr_t> &v)
{
    std::sort(v.begin(), v.end());
    v.erase(std::unique(v.begin(), v.end()), v.end());
    return v.size();
}

static emulate_access global_request(const entry *e, size_t n)
{
    std::vector<uintptr_t> sectors, places;
    for (size_t i = 0; i < n; i++) {
        for (uintptr_t s = e[i].at / 32; s <= (e[i].at + e[i].bytes - 1) / 32; s++)
            sectors.push_back(s);
        places.push_back(e[i].at);
    }
    return {1, n * e->bytes, distinct(sectors), (distinct(places) * e->bytes + 31) / 32};
}

// Lanes go together as far as 128 bytes reach: 32, 16 of 8 bytes each, 8 of 16.
static emulate_access shared_request(const entry *e, size_t n)
{
    emulate_access sum = {1, n * e->bytes, 0, 0};
    unsigned together = e->bytes > 4 ? 128 / e->bytes : 32;
    for (size_t i = 0; i < n;) {
        std::vector<uintptr_t> words;
        unsigned group = e[i].lane / together;
        for (; i < n && e[i].lane / together == group; i++)
            for (uintptr_t a = e[i].at / 4; a <= (e[i].at + e[i].bytes - 1) / 4; a++)
                words.push_back(a);
        distinct(words);
        unsigned bank[32] = {}, most = 0;
        for (uintptr_t w : words)
            most = std::max(most, ++bank[w % 32]);
        sum.units += most;
        sum.ideal++;
    }
    return sum;
}

static void add(emulate_access &to, const emulate_access &a)
{
    to.requests += a.requests;
    to.bytes += a.bytes;
    to.units += a.units;
    to.ideal += a.ideal;
}

static emulate_access &sum_of(emulate_counts &c, bool shared, bool store)
{
    return shared ? store ? c.shared_store : c.shared_load : store ? c.global_store : c.global_load;
}

static void add_request(const entry *e, size_t n)
{
    emulate_access a = e->shared ? shared_request(e, n) : global_request(e, n);
    add(sum_of(block_sum, e->shared, e->store), a);
    add(current->lines[{e->pc, e->shared, e->store}], a);
    if (!e->shared)
        for (size_t i = 0; i < n; i++)
            sample_access(e[i].store, e[i].at, e[i].bytes);
}

static bool same_code(const entry &a, const entry &b)
{
    return a.pc == b.pc && a.shared == b.shared && a.store == b.store;
}

// Entries are in the order in which each lane made them. Those of no bytes are a lane's turn that it passes.
static void flush(warp_log &w)
{
    std::vector<entry> &v = w.entries;
    std::stable_sort(v.begin(), v.end(), [](const entry &a, const entry &b) {
        return std::tie(a.pc, a.shared, a.store, a.lane) < std::tie(b.pc, b.shared, b.store, b.lane);
    });
    for (size_t i = 0; i < v.size(); i++)
        v[i].turn = i > 0 && same_code(v[i - 1], v[i]) && v[i - 1].lane == v[i].lane ? v[i - 1].turn + 1 : 0;
    std::sort(v.begin(), v.end(), [](const entry &a, const entry &b) {
        return std::tie(a.pc, a.shared, a.store, a.turn, a.bytes, a.lane) <
               std::tie(b.pc, b.shared, b.store, b.turn, b.bytes, b.lane);
    });
    for (size_t i = 0, n; i < v.size(); i += n) {
        for (n = 1; i + n < v.size() && same_code(v[i], v[i + n]) && v[i].turn == v[i + n].turn && v[i].bytes == v[i + n].bytes;
             n++) {
        }
        if (v[i].bytes)
            add_request(&v[i], n);
    }
    v.clear();
    w.waiting = 0;
}

void count_launch(const launch &l)
{
    current = &kernels[l.name];
    current->sum.launches++;
    counting = l.checked && options.count;
    logs.assign(counting ? (now.threads.size() + 31) / 32 : 0, {});
}

static void flush_all()
{
    for (warp_log &w : logs) {
        flush(w);
        w.ended = 0;
    }
}

static void accumulate(emulate_counts &to, const emulate_counts &c)
{
    to.launches += c.launches, to.blocks += c.blocks, to.threads += c.threads, to.barriers += c.barriers;
    to.warp_ops += c.warp_ops, to.flops += c.flops, to.tensor_flops += c.tensor_flops, to.atomics += c.atomics;
    add(to.global_load, c.global_load);
    add(to.global_store, c.global_store);
    add(to.shared_load, c.shared_load);
    add(to.shared_store, c.shared_store);
    to.shared_bytes = std::max(to.shared_bytes, c.shared_bytes);
}

void count_block()
{
    block_sum = {};
    block_sum.blocks = 1;
    block_sum.threads = now.threads.size();
}

void count_block_end()
{
    flush_all();
    block_sum.shared_bytes = shared_used();
    accumulate(current->sum, block_sum);
    sample_block_end(block_sum);
}

void count_end() { logs.clear(); }

void count_barrier() { block_sum.barriers++; }

void count_warp_op(uint64_t tensor_flops)
{
    block_sum.warp_ops++;
    block_sum.tensor_flops += tensor_flops;
}

void count_flops(uint64_t n) { block_sum.flops += n; }

void count_access(bool shared, bool atomic, bool store, uintptr_t at, size_t bytes, uintptr_t pc)
{
    if (!counting)
        return;
    if (atomic)
        block_sum.atomics++;
    else
        logs[self->number / 32].entries.push_back({pc, at, static_cast<unsigned>(bytes), self->number % 32, 0, shared, store});
}

void count_waiting(const thread *t)
{
    if (!counting)
        return;
    warp_log &w = logs[t->number / 32];
    (t->is == state::done ? w.ended : w.waiting) |= 1u << t->number % 32;
    size_t lanes = std::min<size_t>(32, now.threads.size() - t->number / 32 * 32);
    if ((w.waiting | w.ended) == UINT32_MAX >> (32 - lanes))
        flush(w);
}

struct row { std::string kernel, file; int line; bool shared, store; emulate_access sum; };

static bool same_line(const row &a, const row &b)
{
    return a.line == b.line && a.shared == b.shared && a.store == b.store && a.kernel == b.kernel && a.file == b.file;
}

static void print_row(const row &r)
{
    unsigned long long requests = r.sum.requests, bytes = r.sum.bytes;
    printf("%-24s %s:%d  %s %s: %llu requests, %llu bytes, %.2f %s for each ideal one\n", r.kernel.c_str(), r.file.c_str(),
           r.line, r.shared ? "shared" : "global", r.store ? "store" : "load", requests, bytes,
           static_cast<double>(r.sum.units) / static_cast<double>(r.sum.ideal), r.shared ? "passes" : "sectors");
}

}  // namespace emulate

using namespace emulate;

int emulate_count(const char *kernel, emulate_counts *out)
{
    *out = {};
    for (auto &k : kernels)
        if (!kernel || k.first == kernel)
            accumulate(*out, k.second.sum);
    return out->launches > 0;
}

const char *emulate_kernel(int i)
{
    for (auto &k : kernels)
        if (i-- == 0)
            return k.first.c_str();
    return nullptr;
}

void emulate_print_lines(void)
{
    std::vector<row> rows;
    for (auto &k : kernels)
        for (auto &l : k.second.lines) {
            where at = where_of(std::get<0>(l.first));
            row r{k.first, at.file, at.line, std::get<1>(l.first), std::get<2>(l.first), {}};
            auto known = std::find_if(rows.begin(), rows.end(), [&](const row &o) { return same_line(o, r); });
            add((known == rows.end() ? *rows.insert(known, r) : *known).sum, l.second);
        }
    std::stable_sort(rows.begin(), rows.end(), [](const row &a, const row &b) {
        return a.sum.units * b.sum.ideal > b.sum.units * a.sum.ideal;
    });
    for (const row &r : rows)
        print_row(r);
}

void emulate_reset_counts(void)
{
    for (auto &k : kernels)
        k.second = {};
}
