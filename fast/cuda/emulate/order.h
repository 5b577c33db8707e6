// order.h: which of two pieces of work comes before the other, if either does. Inside the emulator only.
#ifndef EMULATE_ORDER_H
#define EMULATE_ORDER_H

#include <stdint.h>

#include <vector>

namespace emulate {

// How many pieces of each strand are done before something, or are it.
typedef std::vector<uint32_t> reach;
void extend(reach &to, const reach &from);

// A piece is the seen[strand]-th of a strand, in which each comes after the one before.
struct place { unsigned strand; reach seen; };
inline bool comes_before(const place &a, const reach &b) { return a.strand < b.size() && a.seen[a.strand] <= b[a.strand]; }
inline bool comes_before(const place &a, const place &b) { return comes_before(a, b.seen); }

// As few strands as it takes: a piece goes behind the first whose last piece it comes after, or begins another.
struct strands {
    reach all;               // pieces that there are
    place next(reach after);
};

// Of the piece that runs: its place among the work of streams, and within a graph; that is of no strand outside graphs.
extern const place *place_in_streams, *place_in_graph;

}  // namespace emulate
#endif
