// evidence_slots.cpp: a kernel table that counts its slots' calls, and labels what they launch, by slot and shape.
#include <map>
#include <string>

#include "fast/cuda/emulate/emulate.h"
#include "tests/cuda/check_shape.h"
#include "tests/cuda/evidence.h"

static fast_backend real, labelled;
static fast_device device;
static std::map<std::string, long> calls;

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

const fast_backend *evidence_table(const fast_backend *table, int part)
{
    real = labelled = *table;
    device = *table->device;
    device.part = part;
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
