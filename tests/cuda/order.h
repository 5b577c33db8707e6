// order.h: for the tests of streams and branches: the emulator in an order, told no faults aloud.
#ifndef CUDA_ORDER_H
#define CUDA_ORDER_H

#include "fast/cuda/emulate/emulate.h"

static inline void order(emulate_order o, uint64_t seed, int check = 1)
{
    emulate_options all = emulate_get();
    all.order = o;
    all.seed = seed;
    all.quiet = 1;
    all.check = check;
    emulate_set(all);
}

#endif
