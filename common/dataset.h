/* dataset.h: from what a user types after --data to images in memory. */
#ifndef ICD_DATASET_H
#define ICD_DATASET_H

#include "images.h"

/* SPEC is one of
 *   digits[:N]   28x28 digits drawn from strokes, N of them (10000)                 (digits.h)
 *   gmm[:N]      Anatomy's 2D toys, N points (10000) as (N,2,1,1) in [0,1]           (digits.h)
 *   rings[:N]
 *   FILE         IDX, CIFAR binary or .npy, recognised by what is in it (IDX and .npy by magic, CIFAR by size)
 *   FILE,LABELS  images and a file of labels (IDX or .npy)
 *   FOLDER       with train-images-idx3-ubyte (MNIST and its like; labels too where there are any) or with
 *                data_batch_1.bin .. data_batch_5.bin (CIFAR-10)
 *   test:FOLDER  its test part: t10k-images-idx3-ubyte, test_batch.bin
 * seed draws digits and toys. Memory from a; on failure *out is untouched. */
icd_status icd_load_dataset(icd_arena *a, const char *spec, uint64_t seed, icd_images *out, icd_err *err);

#endif
