// warp.cpp: threads that wait for one another: barriers of the block, operations of a warp.
#include "warp.h"

#include "check.h"
#include "collective.h"
#include "counts.h"

namespace emulate {

uint3 thread_index() { return self->index; }
uint3 block_index() { return now.index; }
dim3 block_size() { return now.of->block; }
dim3 grid_size() { return now.of->grid; }
unsigned lane_index() { return self->number % 32; }

unsigned barrier(const char *name, unsigned vote, where at)
{
    self->at = at;
    self->op = name;
    now.waiting++;
    now.votes += vote;
    wait_as(state::at_barrier);
    return now.count;
}

// Does t wait at the same operation as `me`?
static bool agrees(const thread &t, const thread &me)
{
    return t.is == state::at_warp_op && t.op == me.op && t.mask == me.mask && t.at.line == me.at.line;
}

// Lane i, if it is in me's mask.
static thread *lane_of(const thread &me, unsigned i)
{
    return me.mask >> i & 1 ? &now.threads[me.number / 32 * 32 + i] : nullptr;
}

// One that waits elsewhere, and for this lane too, never comes.
void explain_wait(const thread &me)
{
    for (unsigned i = 0; i < 32; i++) {
        const thread *t = lane_of(me, i);
        if (!t || agrees(*t, me))
            continue;
        if (t->is == state::at_warp_op && t->mask >> me.number % 32 & 1)
            fault(EMULATE_WARP, me.at, "divergent: %s with mask %08x here, %s with mask %08x at line %d in lane %u", me.op,
                  me.mask, t->op, t->mask, t->at.line, i);
        if (t->is == state::done)
            fault(EMULATE_WARP, me.at, "%s with mask %08x: lane %u has ended", me.op, me.mask, i);
    }
}

// The lanes of me's mask, once all of them wait at this operation.
static bool gather(const thread &me, thread **lanes)
{
    if ((now.at_warp_op[me.number / 32] & me.mask) != me.mask)
        return false;
    explain_wait(me);
    bool all = true;
    for (unsigned i = 0; i < 32; i++) {
        lanes[i] = lane_of(me, i);
        all = all && (!lanes[i] || agrees(*lanes[i], me));
    }
    return all;
}

void collective(const char *op, unsigned mask, void *data, where at, void (*run)(thread *const *lanes, unsigned mask))
{
    thread *me = self;
    unsigned lane = me->number % 32;
    size_t live = now.threads.size() - (me->number - lane);
    if (live < 32)
        mask &= (1u << live) - 1;
    if (!(mask >> lane & 1))
        fault(EMULATE_WARP, at, "%s: lane %u calls it, and is not in mask %08x", op, lane, mask);
    me->at = at;
    me->op = op;
    me->mask = mask;
    me->data = data;
    me->is = state::at_warp_op;
    now.at_warp_op[me->number / 32] |= 1u << lane;
    thread *lanes[32];
    if (!gather(*me, lanes)) {
        wait_as(state::at_warp_op);
        return;
    }
    count_waiting(me);
    if (run)
        run(lanes, mask);
    now.at_warp_op[me->number / 32] &= ~mask;
    for (thread *t : lanes)
        if (t && t != me)
            make_ready(t);
    me->is = state::ready;
}

void __syncwarp(unsigned mask, where at)
{
    collective("__syncwarp", mask, nullptr, at, [](thread *const *, unsigned m) { check_warp(m); count_warp_op(0); });
}

void __threadfence() { check_fence(); }

struct vote { int p; unsigned result; };

unsigned __ballot_sync(unsigned mask, int p, where at)
{
    vote v{p, 0};
    collective("a vote", mask, &v, at, [](thread *const *lanes, unsigned) {
        unsigned result = 0;
        for (unsigned i = 0; i < 32; i++)
            if (lanes[i] && static_cast<vote *>(lanes[i]->data)->p)
                result |= 1u << i;
        for (unsigned i = 0; i < 32; i++)
            if (lanes[i])
                static_cast<vote *>(lanes[i]->data)->result = result;
        count_warp_op(0);
    });
    return v.result;
}

struct given { uint64_t value, result; unsigned from; };

uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, where at)
{
    given g{value, 0, from};
    collective("a shuffle", mask, &g, at, [](thread *const *lanes, unsigned m) {
        for (unsigned i = 0; i < 32; i++) {
            if (!lanes[i])
                continue;
            given *mine = static_cast<given *>(lanes[i]->data);
            if (mine->from > 31 || !lanes[mine->from]) {
                self = lanes[i];
                fault(EMULATE_WARP, self->at, "lane %u shuffles from lane %u, which is not in mask %08x", i, mine->from, m);
            }
            mine->result = static_cast<given *>(lanes[mine->from]->data)->value;
        }
        count_warp_op(0);
    });
    return g.result;
}

}  // namespace emulate
