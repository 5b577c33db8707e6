// block.cpp: runs a block: each thread on a fiber, one at a time, until every thread has ended or none can go on.
#include "block.h"

#include <utility>

#include "check.h"
#include "collective.h"
#include "copy_async.h"
#include "counts.h"
#include "sample.h"
#include "shared.h"

namespace emulate {

block now;
thread_local thread *self;

static fiber host;                               // where the launch was called
static fiber *running = &host, *left = &host;    // the fiber that runs, the one before it
static std::vector<fiber *> fibers, idle;        // all that there are, those that no thread uses
static std::vector<unsigned> ready;              // threads that can go on, from `head`
static size_t head;
static uint64_t random_state;
static bool abandoned;                           // the block was left in the middle

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % n;
}

static void go(fiber *to)
{
    left = running;
    running = to;
    fiber_switch(left, to);
}

static void body();

static fiber *take_fiber()
{
    if (idle.empty()) {
        fiber *f = fiber_new(body);
        if (!f)
            fault(EMULATE_LAUNCH, now.of->at, "no memory for the stack of another thread");
        fibers.push_back(f);
        idle.push_back(f);
    }
    fiber *f = idle.back();
    idle.pop_back();
    return f;
}

void make_ready(thread *t)
{
    t->is = state::ready;
    ready.push_back(t->number);
}

// Every thread of the block that lives waits at a barrier: let them go on.
static void open_barrier()
{
    const thread *first = nullptr;
    for (thread &t : now.threads)
        if (t.is == state::at_barrier) {
            if (!first)
                first = &t;
            self = &t;
            if (t.at.line != first->at.line || t.op != first->op)
                fault(EMULATE_BARRIER, t.at, "divergent barrier: %s here, %s at line %d in thread %u", t.op, first->op,
                      first->at.line, first->number);
            if (now.done)
                fault(EMULATE_BARRIER, t.at, "%s while %u threads of the block have ended", t.op, now.done);
        }
    check_barrier();
    count_barrier();
    now.count = now.votes;
    now.votes = now.waiting = 0;
    for (thread &t : now.threads)
        make_ready(&t);
}

// No thread can go on: say why, at one of those that wait at a warp operation.
static void deadlock()
{
    const char *others = now.waiting ? "others wait at __syncthreads" : "others wait elsewhere, or have ended";
    for (thread &t : now.threads)
        if (t.is == state::at_warp_op) {
            self = &t;
            explain_wait(t);
            fault(EMULATE_WARP, t.at, "%s with mask %08x waits for ever: %s", t.op, t.mask, others);
        }
}

// The thread that goes on next; NULL: all have ended.
static thread *next()
{
    if (head == ready.size()) {
        ready.clear();
        head = 0;
        if (now.done == now.threads.size())
            return nullptr;
        if (now.waiting + now.done == now.threads.size())
            open_barrier();
        else
            deadlock();
    }
    if (options.order == EMULATE_REVERSE) {
        unsigned last = ready.back();
        ready.pop_back();
        return &now.threads[last];
    }
    if (options.order == EMULATE_RANDOM)
        std::swap(ready[head], ready[head + random_below(ready.size() - head)]);
    return &now.threads[ready[head++]];
}

void wait_as(state is)
{
    self->is = is;
    count_waiting(self);
    thread *t = next();
    if (!t->runs_on)
        t->runs_on = take_fiber();
    self = t;
    if (t->runs_on != running)
        go(t->runs_on);
}

// What every fiber does for ever: one thread from its beginning to its end, then a thread that has not begun, or another fiber.
static void body()
{
    fiber_entered(left);
    for (;;) {
        self->is = state::ready;
        now.of->call(now.of->function, now.of->args);
        copies_end();
        thread *ended = self;
        ended->is = state::done;
        ended->runs_on = nullptr;
        now.done++;
        count_waiting(ended);
        fiber *mine = running;
        thread *t = next();
        self = t;
        if (t && !t->runs_on) {
            t->runs_on = mine;
            continue;
        }
        idle.push_back(mine);
        go(t ? t->runs_on : &host);
    }
}

static void number_threads(const dim3 &b)
{
    now.threads.resize(size_t{b.x} * b.y * b.z);
    for (unsigned i = 0; i < now.threads.size(); i++) {
        now.threads[i].number = i;
        now.threads[i].index = {i % b.x, i / b.x % b.y, i / (b.x * b.y)};
    }
}

// Every fiber begins anew: the last block was left in the middle, or another host thread ran it.
static void restart_fibers()
{
    idle = fibers;
    for (fiber *f : fibers)
        fiber_restart(f, body);
}

void leave_block()
{
    abandoned = true;
    self = nullptr;
    go(&host);
}

static void run_block(const launch &l, uint64_t b)
{
    now.index = {static_cast<unsigned>(b % l.grid.x), static_cast<unsigned>(b / l.grid.x % l.grid.y),
                 static_cast<unsigned>(b / (uint64_t{l.grid.x} * l.grid.y))};
    now.done = now.waiting = now.votes = 0;
    now.at_warp_op.assign((now.threads.size() + 31) / 32, 0);
    ready.clear();
    head = 0;
    for (thread &t : now.threads) {
        t.is = state::begin;
        t.runs_on = nullptr;
        ready.push_back(t.number);
    }
    shared_begin_block();
    check_block();
    count_block();
    self = next();
    self->runs_on = take_fiber();
    go(self->runs_on);
    if (!abandoned) {
        count_block_end();
        return;
    }
    abandoned = false;
    restart_fibers();
    copies_abandon();
}

// Some blocks of a launch that differs from those before it, in ascending order.
static bool run_sample(const launch &l, uint64_t blocks)
{
    std::vector<uint64_t> some = sample_launch(l, blocks);
    if (some.empty()) {
        now.of = nullptr;
        return true;
    }
    shared_begin_launch(l);
    check_launch();
    count_launch(l);
    for (size_t i = 0; i < some.size() && !emulate_last_fault(); i++) {
        now.number = i;
        run_block(l, some[i]);
    }
    now.of = nullptr;
    count_end();
    return !emulate_last_fault();
}

bool run_blocks(const launch &l)
{
    static thread_local char here_now;
    static char *last_host;
    if (last_host != &here_now)
        restart_fibers();
    last_host = &here_now;
    now.of = &l;
    number_threads(l.block);
    random_state = (options.seed + 1) * 0x9e3779b97f4a7c15u | 1;
    uint64_t blocks = uint64_t{l.grid.x} * l.grid.y * l.grid.z;
    if (options.sample > 0)
        return run_sample(l, blocks);
    std::vector<uint64_t> order(options.order == EMULATE_RANDOM ? blocks : 0);
    for (uint64_t i = 0; i < order.size(); i++) {
        order[i] = i;
        std::swap(order[i], order[random_below(i + 1)]);
    }
    shared_begin_launch(l);
    check_launch();
    count_launch(l);
    for (uint64_t i = 0; i < blocks && !emulate_last_fault(); i++) {
        uint64_t b = options.order == EMULATE_FORWARD ? i : options.order == EMULATE_REVERSE ? blocks - 1 - i : order[i];
        now.number = i;
        run_block(l, b);
    }
    now.of = nullptr;
    count_end();
    return !emulate_last_fault();
}

}  // namespace emulate
