/* engine_ref.h: what the program sees of ref/. */
#ifndef REF_ENGINE_REF_H
#define REF_ENGINE_REF_H

#include "common/engine.h"

/* `ref` computes in float, `ref64` in double: the same files, compiled twice. The batch is cut in parts of a few images that
 * fit in options->memory; parts are worked on by threads and summed in their order, so `threads` never shows in a result. */
icd_status icd_engine_ref_open(icd_engine **e, const icd_arch *a, const icd_engine_options *o, icd_err *err);
icd_status icd_engine_ref64_open(icd_engine **e, const icd_arch *a, const icd_engine_options *o, icd_err *err);

#endif
