/* checkpoint.h: a model in a file: safetensors with the parameters under their own names, the EMA under `ema.`, Adam's moments
 * under `adam.m.` and `adam.v.`, the replay buffer under `buffer.`; metadata icd.arch, icd.config, icd.iteration, icd.format. */
#ifndef ICD_CHECKPOINT_H
#define ICD_CHECKPOINT_H

#include "buffer.h"
#include "config.h"
#include "engine.h"
#include "safetensors.h"

typedef struct {
    icd_config config;
    icd_arch arch;
    int64_t iteration;         /* updates done */
    icd_safetensors file;
    const char *path;
} icd_checkpoint;

/* Read a file's metadata and check that its tensors are those of its architecture. Where the configuration has image = auto
 * (a file made by another program), c, h, w are taken from `fallback` (rank 3), or refused if that is NULL. The arena and path
 * must outlive out. On failure *out is untouched. */
icd_status icd_checkpoint_read(icd_arena *a, const char *path, const int fallback[3], icd_checkpoint *out, icd_err *err);

/* Parameters into the engine, and the EMA (the parameters' copy where the file has none); with training, Adam's moments and
 * (b not NULL) the buffer too. A value that is not finite is ICD_ENAN with its tensor. */
icd_status icd_checkpoint_load(const icd_checkpoint *c, icd_engine *e, int training, icd_buffer *b, icd_err *err);

/* Write it atomically. training: Adam's moments too; b: the buffer, or NULL. Numbers have the engine's precision. */
icd_status icd_checkpoint_write(const char *path, const icd_config *c, icd_engine *e, int64_t iteration, int training,
                                const icd_buffer *b, icd_err *err);

/* "CxHxW" of the setting `image`: 1 if it is that, 0 for "auto" (or anything else). */
int icd_image_shape(const char *text, int chw[3]);

#endif
