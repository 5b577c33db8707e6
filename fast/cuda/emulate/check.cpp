// check.cpp: finds accesses that nothing orders, and accesses to what is not there.
//
// A clock counts everything that orders: the begin of a launch and of a block, barriers, __syncwarp. Each word of shared and
// global memory has a cell with the clock of its last write and last reads, as seen by who made them. An access of thread t is
// ordered after one that thread u of its block made at clock k if a barrier of the block came after k, if u = t, or if both are
// of one warp and t met u in a __syncwarp after k (met[t][u] > k). Accesses of other blocks of the launch are not ordered,
// unless both are atomic, or this block has made an atomic access to a word after an atomic access of theirs that followed a
// __threadfence: the last block to arrive, which adds up what the others left: what was written before that access, by its
// thread or by others that a barrier or a __syncwarp has put before it. Accesses of other launches: between.h.
#include "check.h"

#include <sys/mman.h>

#include <algorithm>

#include "between.h"
#include "block.h"
#include "counts.h"
#include "lines.h"

namespace emulate {

struct cell {
    uint32_t write, read;    // clocks; 0: never
    uint32_t read_elsewhere; // the last read by another block, where `read` is by this one
    uint32_t write_pc, read_pc;
    uint32_t lanes;          // that read, of the warp of `reader`
    uint16_t writer, reader; // threads
    uint8_t flags;
    launches by;             // of global memory
};
enum { ATOMIC = 1, PUBLISHED = 2, PENDING = 4, MANY_WARPS = 8, SPLIT = 16 };

static uint32_t now_clock, launch_clock, block_clock, barrier_clock;
static uint32_t acquired;                        // accesses of other blocks up to here are ordered
static std::vector<uint32_t> thread_clock;       // of the thread's last __syncwarp
static std::vector<uint32_t> met;                // (threads, 32)
static std::vector<uint8_t> fenced;              // the thread has written nothing since its __threadfence

// A block's last atomic access after a __threadfence: by `thread` at clock `at`; what it put before it.
struct publication {
    uint32_t barrier, at, end;                   // clocks: the barrier before; the next block's begin (0: it has not begun)
    uint32_t met[32];                            // of its lane
    unsigned thread;
    bool has(unsigned u, uint32_t clock) const
    {
        return clock < barrier || (u == thread ? clock <= at : u / 32 == thread / 32 && met[u % 32] > clock);
    }
};
static std::vector<publication> publications;    // of the launch, in the order of their clocks

static bool checking() { return self && now.of->checked && options.check; }

// Cells for n things: address space only, until touched.
static cell *new_cells(size_t n)
{
    void *m = mmap(nullptr, n * sizeof(cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return m == MAP_FAILED ? nullptr : static_cast<cell *>(m);
}

static void forget(space &s)
{
    if (s.words)
        munmap(s.words, s.bytes / 4 * sizeof(cell));
    if (s.singles)
        munmap(s.singles, s.bytes * sizeof(cell));
    s.words = s.singles = nullptr;
}

static void prepare(space &s)
{
    if (s.words || !s.bytes)
        return;
    s.words = new_cells(s.bytes / 4);
    s.singles = new_cells(s.bytes);
    if (!s.words || !s.singles)
        fault(EMULATE_LAUNCH, now.of->at, "no room for the cells of %zu bytes of %s: set a smaller memory", s.bytes, s.name);
}

void check_launch()
{
    if (!now.of->checked || !options.check)
        return;
    if (now_clock > UINT32_MAX / 2) {
        forget(shared_space);
        forget(global_space);
        between_forget_all();
        now_clock = 0;
    }
    between_launch(now.of->name);
    prepare(shared_space);
    prepare(global_space);
    launch_clock = ++now_clock;
    acquired = 0;
    thread_clock.assign(now.threads.size(), 0);
    met.assign((now.threads.size() + 31) / 32 * 32 * 32, 0);
    fenced.assign(now.threads.size(), 0);
    publications.clear();
}

void check_block()
{
    acquired = 0;
    block_clock = barrier_clock = ++now_clock;
    if (!publications.empty() && !publications.back().end)
        publications.back().end = block_clock;
}
void check_barrier() { barrier_clock = ++now_clock; }

void check_warp(unsigned mask)
{
    if (!checking())
        return;
    uint32_t *warp = &met[self->number / 32 * 32 * 32], joined[32] = {}, clock = ++now_clock;
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned u = 0; u < 32; u++)
            if (mask >> lane & 1 && warp[lane * 32 + u] > joined[u])
                joined[u] = warp[lane * 32 + u];
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1))
            continue;
        thread_clock[self->number / 32 * 32 + lane] = clock;
        for (unsigned u = 0; u < 32; u++)
            warp[lane * 32 + u] = mask >> u & 1 ? clock : joined[u];
    }
}

void check_fence()
{
    if (checking())
        fenced[self->number] = 1;
}

// One access while it is looked at.
struct view {
    space *of;
    access kind;
    uintptr_t at, pc;
    uint32_t clock;          // the thread's
    bool writes() const { return kind != access::read; }
};

static bool other_block(uint32_t clock) { return clock >= launch_clock && clock < block_clock && clock > acquired; }

// Did thread u of another block write at `clock` with nothing to put that before its block's publication?
static bool unpublished(unsigned u, uint32_t clock)
{
    if (clock < launch_clock || clock >= block_clock || publications.empty())
        return false;
    auto p = std::upper_bound(publications.begin(), publications.end(), clock,
                              [](uint32_t c, const publication &of) { return c < of.barrier; });
    return p != publications.begin() && (--p)->end > clock && !p->has(u, clock);
}

static void publish(uint32_t clock)
{
    publication p{barrier_clock, clock, 0, {}, self->number};
    std::copy_n(&met[self->number * 32], 32, p.met);
    if (!publications.empty() && !publications.back().end)
        publications.pop_back();
    publications.push_back(p);
}

// Has thread u's access at `clock` (not before this block) happened before what this thread does now?
static bool ordered(unsigned u, uint32_t clock)
{
    unsigned t = self->number;
    return clock < barrier_clock || u == t || (u / 32 == t / 32 && met[t * 32 + u % 32] > clock);
}

static void race(const view &v, emulate_kind kind, const char *other_did, unsigned other, uint32_t other_pc)
{
    const char *i_do = v.kind == access::read ? "reads" : v.kind == access::atomic ? "updates" : "writes";
    where w = where_of(long_pc(other_pc));
    if (kind == EMULATE_RACE_BLOCKS)
        fault_at(kind, v.pc, "race between blocks: %s global memory that another block %s at line %d", i_do, other_did, w.line);
    else
        fault_at(kind, v.pc, "race: %s %s that thread %u %s at line %d, no barrier between", i_do, v.of->name, other, other_did,
                 w.line);
}

static void against_write(const view &v, const cell &c)
{
    emulate_kind kind = v.of == &shared_space ? EMULATE_RACE_SHARED : EMULATE_RACE_GLOBAL;
    if (v.kind == access::atomic && c.flags & ATOMIC)
        return;
    if (v.of == &global_space && (other_block(c.write) || unpublished(c.writer, c.write)))
        race(v, EMULATE_RACE_BLOCKS, "wrote", c.writer, c.write_pc);
    if (c.write >= block_clock && !ordered(c.writer, c.write))
        race(v, kind, "wrote", c.writer, c.write_pc);
}

static void against_reads(const view &v, const cell &c)
{
    emulate_kind kind = v.of == &shared_space ? EMULATE_RACE_SHARED : EMULATE_RACE_GLOBAL;
    if (v.of == &global_space && (other_block(c.read) || other_block(c.read_elsewhere)))
        race(v, EMULATE_RACE_BLOCKS, "read", c.reader, c.read_pc);
    if (c.read < block_clock || c.read < barrier_clock)
        return;
    unsigned warp = c.reader / 32u;
    if (c.flags & MANY_WARPS || warp != self->number / 32)
        race(v, kind, "read", c.reader, c.read_pc);
    for (unsigned lane = 0; lane < 32; lane++)
        if (c.lanes >> lane & 1 && !ordered(warp * 32 + lane, c.read))
            race(v, kind, "read", warp * 32 + lane, c.read_pc);
}

static void note_read(const view &v, cell &c)
{
    unsigned t = self->number;
    if (c.read < barrier_clock) {
        if (other_block(c.read))
            c.read_elsewhere = c.read;
        c.lanes = 0;
        c.flags = static_cast<uint8_t>(c.flags & ~MANY_WARPS);
    } else if (c.reader / 32u != t / 32) {
        c.flags |= MANY_WARPS;
        c.lanes = 0;
    }
    c.lanes |= 1u << t % 32;
    c.reader = static_cast<uint16_t>(t);
    c.read = v.clock;
    c.read_pc = short_pc(v.pc);
}

static void note_write(const view &v, cell &c)
{
    bool published = v.kind == access::atomic && fenced[self->number];
    c.flags = static_cast<uint8_t>((c.flags & (MANY_WARPS | SPLIT)) | (v.kind == access::atomic ? ATOMIC : 0) |
                                   (published ? PUBLISHED : 0) | (v.kind == access::copy_begin ? PENDING : 0));
    if (published)
        publish(v.clock);
    c.write = v.clock;
    c.writer = static_cast<uint16_t>(self->number);
    c.write_pc = short_pc(v.pc);
}

static void against_launches(const view &v, cell &c)
{
    if (const char *other = between_unordered(c.by, v.writes())) {
        const range *r = v.of->find(v.at);
        fault_at(EMULATE_RACE_LAUNCHES, v.pc, "race between launches: %s global memory (byte %zu of an allocation of %zu) "
                 "that %s, and neither comes after the other", v.writes() ? "writes" : "reads", v.at - r->begin, r->bytes,
                 other);
    }
    between_note(c.by, v.writes());
}

static void look(const view &v, cell &c)
{
    if (v.kind == access::copy_end) {
        note_write(v, c);
        return;
    }
    if (c.flags & PENDING && c.write >= block_clock)
        fault_at(EMULATE_COPY_PENDING, v.pc, "shared memory that the cp.async at line %d is to fill, before its wait",
                 where_of(long_pc(c.write_pc)).line);
    bool reads = v.kind == access::read || v.kind == access::atomic;
    if (reads && v.of == &shared_space && c.write < block_clock)
        fault_at(EMULATE_UNINITIALISED, v.pc, "reads shared memory that nothing has been written to");
    if (v.kind == access::atomic && v.of == &global_space && c.flags & PUBLISHED && other_block(c.write))
        acquired = c.write;
    if (v.of == &global_space)
        against_launches(v, c);
    against_write(v, c);
    if (v.writes())
        against_reads(v, c), note_write(v, c);
    else
        note_read(v, c);
}

// A word seen by its bytes from now on.
static void split(space &s, size_t word)
{
    if (s.words[word].flags & SPLIT)
        return;
    for (size_t i = 0; i < 4; i++)
        s.singles[word * 4 + i] = s.words[word];
    s.words[word].flags |= SPLIT;
}

static void look_at_all(view v, size_t bytes)
{
    size_t first = v.at - v.of->base;
    for (size_t i = first; i < first + bytes;) {
        bool whole = i % 4 == 0 && i + 4 <= first + bytes;
        if (!whole)
            split(*v.of, i / 4);
        if (whole && !(v.of->words[i / 4].flags & SPLIT)) {
            look(v, v.of->words[i / 4]);
            i += 4;
        } else {
            look(v, v.of->singles[i++]);
        }
    }
}

static void out_of_bounds(const view &v, size_t bytes, const range *r)
{
    if (r && r->name)
        fault_at(EMULATE_BOUNDS, v.pc, "%zu bytes out of bounds: %zu after the begin of %s, which has %zu", bytes,
                 v.at - r->begin, r->name, r->bytes);
    else if (r)
        fault_at(EMULATE_BOUNDS, v.pc, "%zu bytes out of bounds: %zu after the begin of an allocation of %zu", bytes,
                 v.at - r->begin, r->bytes);
    else
        fault_at(EMULATE_BOUNDS, v.pc, "%zu bytes out of bounds of %s", bytes, v.of->name);
}

// Memory that is neither shared nor global: the thread's own stack, the arguments and the program's constants are good to read.
static void elsewhere(const view &v)
{
    const fiber *f = self->runs_on;
    if (v.at - reinterpret_cast<uintptr_t>(f->stack) < f->bytes)
        return;
    bool constant = v.at - reinterpret_cast<uintptr_t>(now.of->args) < now.of->args_bytes || in_program(v.at);
    if (!constant || v.writes())
        fault_at(EMULATE_HOST_MEMORY, v.pc, "%s memory that is not the device's", v.writes() ? "writes" : "reads");
}

void touch(const volatile void *p, size_t bytes, access kind, uintptr_t pc)
{
    if (!self || !now.of->checked || !(options.check || options.count))
        return;
    view v{nullptr, kind, reinterpret_cast<uintptr_t>(p), pc, barrier_clock};
    v.of = shared_space.holds(v.at) ? &shared_space : global_space.holds(v.at) ? &global_space : nullptr;
    if (!v.of) {
        elsewhere(v);
        return;
    }
    const range *r = v.of->find(v.at);
    if (!r || v.at - r->begin >= r->bytes || bytes > r->bytes - (v.at - r->begin))
        out_of_bounds(v, bytes, r);
    if (bytes <= 16 && !(bytes & (bytes - 1)) && v.at % bytes)
        fault_at(EMULATE_MISALIGNED, pc, "misaligned: %zu bytes of %s, %zu beyond a multiple of that", bytes, v.of->name,
                 v.at % bytes);
    if (kind != access::copy_end)
        count_access(v.of == &shared_space, kind == access::atomic, v.writes(), v.at, bytes, pc);
    if (!options.check)
        return;
    if (v.writes() && v.of == &global_space && kind != access::atomic)
        fenced[self->number] = 0;
    v.clock = std::max(v.clock, thread_clock[self->number]);
    look_at_all(v, bytes);
}

}  // namespace emulate
