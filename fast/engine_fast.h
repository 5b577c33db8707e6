/* engine_fast.h: the engine contract over a plan and a kernel table: engines `cpu`, `cpu:NAME`, and a device's by their tables'
 * names (backend.c): `cuda`, `cuda:tf32`, `cuda-emulated` ... */
#ifndef FAST_ENGINE_FAST_H
#define FAST_ENGINE_FAST_H

#include <string.h>

#include "backend.h"
#include "common/engine.h"

static inline int fast_engine_is(const char *engine)
{
    return strcmp(engine, "cpu") == 0 || strncmp(engine, "cpu:", 4) == 0 || strncmp(engine, "cuda", 4) == 0;
}

/* The table behind such a name; `cpu` is the best that this machine can use. ICD_EUNUSABLE: it is of another build, or this
 * machine's processor cannot run it. ICD_EINVAL: there is none of that name, or it lacks a slot, named. */
icd_status fast_engine_table(const char *engine, const fast_backend **out, icd_err *err);

/* An engine of that name over a table, for images of a's shape; a outlives it. ICD_ENOMEM, ICD_EINVAL (a lacking slot). */
icd_status fast_engine_open(icd_engine **out, const char *name, const fast_backend *b, const icd_arch *a,
                            const icd_engine_options *o, icd_err *err);

#endif
