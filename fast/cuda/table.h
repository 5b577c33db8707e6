/* table.h: the device, for the tables. */
#ifndef FAST_CUDA_TABLE_H
#define FAST_CUDA_TABLE_H

#include "fast/cuda/slots.h"

namespace CUDA_SIDE {
extern const fast_device device;
}

#endif
