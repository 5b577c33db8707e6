// stream.h: what stream.cpp and graph.cpp share: pieces of work, streams, events, graphs. Inside the emulator only.
#ifndef EMULATE_STREAM_H
#define EMULATE_STREAM_H

#include <functional>
#include <memory>
#include <vector>

#include "host.h"
#include "order.h"

namespace emulate {

struct work;
typedef std::shared_ptr<work> work_ref;
struct work {
    std::function<void()> run;
    std::vector<work_ref> after;                 // as far as not done
    bool done, wanted;
    place at;
};

// A piece of a graph, and the numbers of those it comes after: all lower than its own.
struct piece {
    std::function<void()> run;
    std::vector<size_t> after;
    place at;
};
typedef std::shared_ptr<std::vector<piece>> pieces;
struct graph { pieces all; };
struct graph_exec { pieces all; };

struct capture {
    stream *origin;          // that BeginCapture was called on; NULL: it has ended
    pieces all;
    strands order;
};

// captured: by this, and what comes next comes after `tips`.
struct stream {
    work_ref last;
    bool blocking;
    std::shared_ptr<capture> captured;
    std::vector<size_t> tips;
};
struct event {
    work_ref at;
    std::shared_ptr<double> ms;
    std::shared_ptr<capture> captured;
    std::vector<size_t> tips;
};

extern std::vector<stream *> streams;
// A number below n, by the options' seed.
uint64_t draw(uint64_t n);
// The next piece of what captures s.
void append_piece(stream *s, std::function<void()> run);
// What comes next on s comes after what e was recorded behind, s being captured from here on if it was not.
cudaError_t wait_captured(stream *s, const event *e);

}  // namespace emulate
#endif
