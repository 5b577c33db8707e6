// copy_async.h: copies that are under way. Inside the emulator only; kernels see them in tensor.h.
#ifndef EMULATE_COPY_ASYNC_H
#define EMULATE_COPY_ASYNC_H

namespace emulate {

void copies_end();                               // the thread that runs has ended: it must have waited for all
void copies_abandon();                           // the block was left in the middle

}  // namespace emulate
#endif
