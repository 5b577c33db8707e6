/* check_device.h: every call of a kernel table's slots, by the shapes that it is called with: how often and how long. */
#ifndef CHECK_DEVICE_H
#define CHECK_DEVICE_H

#include "fast/backend.h"

/* A table that does what `of`, one of a device, does, call by call without a graph; the first call of each slot with each shape
 * is repeated between two events of the device, as a graph of many, `samples` times, and the median kept. The repetitions write
 * where the call does: sums grow, and what is computed means nothing. There is one such table at a time. */
const fast_backend *check_device_timed(const fast_backend *of, int samples);

/* Forget how often slots were called, and not how long they take. */
void check_device_reset(void);

/* [{"slot": "conv_fwd", "shape": "128 64x32x32>64x32x32 k3", "calls": 12, "us": 34.5}, ...] to stdout; us: of one call. */
void check_device_print(void);

#endif
