// evidence_slots.cpp: a kernel table that counts its slots' calls, and labels what they launch, by slot and shape; and tells
// which launches lie on branches.
#include <map>
#include <string>
#include <vector>

#include "fast/cuda/emulate/emulate.h"
#include "tests/cuda/check_shape.h"
#include "tests/cuda/evidence.h"

static fast_backend real, labelled;
static fast_device device;
static std::map<std::string, long> calls;
static uint64_t forks;                           // that there were; launches are tagged by fork and branch, 0 on the main line
static bool branched;

template <auto SLOT> struct slot;
template <class... A, void (*fast_backend::*SLOT)(fast_ctx *, A...)> struct slot<SLOT> {
    static inline const char *name = nullptr;
    static void call(fast_ctx *ctx, A... a)
    {
        std::string label = std::string("slot=") + name + "\tshape=" + check_shape(a...);
        calls[label]++;
        emulate_label(label.c_str());
        (real.*SLOT)(ctx, a...);
    }
};

static void branch(int b)
{
    forks += !branched;
    branched = true;
    emulate_tag(forks * FAST_BRANCHES + static_cast<uint64_t>(b));
    real.device->branch(b);
}

static void join()
{
    branched = false;
    emulate_tag(0);
    real.device->join();
}

// What is recorded is recorded anew each time: a record that is sent again calls no slots.
static int again(fast_record, unsigned) { return 0; }

const fast_backend *evidence_table(const fast_backend *table, int part)
{
    real = labelled = *table;
    device = *table->device;
    device.part = part;
    device.again = again;
    device.branch = branch;
    device.join = join;
    labelled.device = &device;
#define SLOT(s) slot<&fast_backend::s>::name = #s; labelled.s = slot<&fast_backend::s>::call;
    CHECK_SLOTS(SLOT)
#undef SLOT
    return &labelled;
}

void evidence_forget_calls(void) { calls.clear(); }

void evidence_print_calls(FILE *to, const char *run)
{
    for (const auto &c : calls)
        fprintf(to, "%s\trun=%s\tcalls=%ld\n", c.first.c_str(), run, c.second);
}

static std::vector<std::string> kinds;
static std::map<std::string, long long> launched;

// The launches of one fork, `on` each branch, are all there.
static void end_fork(std::string *on)
{
    std::string text;
    for (int b = 0; b < FAST_BRANCHES; b++) {
        if (!on[b].empty())
            text += (text.empty() ? "" : " ") + std::to_string(b) + ":" + on[b];
        on[b].clear();
    }
    if (text.empty())
        return;
    if (!launched[text]++)
        kinds.push_back(text);
}

int evidence_branches(long long *times, int most)
{
    static size_t seen;
    uint64_t tag, fork = 0;
    std::string on[FAST_BRANCHES];
    for (int shape; (shape = emulate_ran(seen, &tag)) >= 0; seen++) {
        if (tag / FAST_BRANCHES != fork)
            end_fork(on);
        fork = tag / FAST_BRANCHES;
        std::string &branch_launches = on[tag % FAST_BRANCHES];
        if (tag)
            branch_launches += (branch_launches.empty() ? "" : ",") + std::to_string(shape);
    }
    end_fork(on);
    for (int i = 0; i < most && i < static_cast<int>(kinds.size()); i++)
        times[i] = launched[kinds[static_cast<size_t>(i)]];
    return static_cast<int>(kinds.size());
}

const char *evidence_branches_of(int kind) { return kinds[static_cast<size_t>(kind)].c_str(); }
