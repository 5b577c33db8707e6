/* engine_fast.h: the engine contract over a plan and a kernel table: engines cpu, cpu:avx512, cpu:avx2, cpu:neon, cpu:portable. */
#ifndef FAST_ENGINE_FAST_H
#define FAST_ENGINE_FAST_H

#include "backend.h"
#include "common/engine.h"

/* The best table that this machine can use; or the one named, which is an error where the build or the machine lacks it. */
icd_status icd_engine_cpu_open(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err);
icd_status icd_engine_avx512_open(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err);
icd_status icd_engine_avx2_open(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err);
icd_status icd_engine_neon_open(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err);
icd_status icd_engine_portable_open(icd_engine **out, const icd_arch *a, const icd_engine_options *o, icd_err *err);

/* The same over any table: how a port, or a test, brings its own. name: "cpu:mine". */
icd_status fast_engine_open(icd_engine **out, const char *name, const fast_backend *b, const icd_arch *a,
                            const icd_engine_options *o, icd_err *err);

#endif
