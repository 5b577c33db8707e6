// collective.h: what the lanes of a warp do together. Inside the emulator only.
#ifndef EMULATE_COLLECTIVE_H
#define EMULATE_COLLECTIVE_H

#include "block.h"

namespace emulate {

// Waits until every lane in mask has come to this operation at this line, then `run` sees them all, once: lanes[i] is NULL for
// lanes outside of the mask. lanes[i]->data: what lane i gave.
void collective(const char *op, unsigned mask, void *data, where at, void (*run)(thread *const *lanes, unsigned mask));

// t waits for ever: a fault, if the lanes of its mask do not agree or have ended.
void explain_wait(const thread &t);

}  // namespace emulate
#endif
