// between.h: accesses to the same global memory by launches that nothing orders. Inside the emulator only.
//
// Each word knows the launch that wrote it last, and the last to read it on each of some strands (order.h). A launch that
// comes after those is in order. An atomic access is a write here: a counter that two launches share counts for neither.
// Copies and memsets are not looked at.
#ifndef EMULATE_BETWEEN_H
#define EMULATE_BETWEEN_H

#include <stdint.h>

#include "order.h"

namespace emulate {

// By number; 0: none. With more strands than there is room for, the last reader of those that share a place.
struct launches { uint32_t wrote, read[3]; };

// A checked launch begins, on the place that order.h knows.
void between_launch(const char *name);
// What one that is not ordered with the launch that runs has done, and which; NULL: nothing of which either was a write.
const char *between_unordered(const launches &by, bool writes);
void between_note(launches &by, bool writes);
// Whatever will run comes after the work of streams up to `all`; after everything.
void between_forget(const reach &all);
void between_forget_all();

}  // namespace emulate
#endif
