/* arch_builtin.c: the architectures of the papers and of their authors' code, as lines of text.
 * F is the setting `filters`: 64 in the paper's tables, 32 in Anatomy's nets. */
#include "arch.h"

#include <string.h>

const icd_builtin_arch icd_builtin_archs[] = {
    { "paper-mnist",
      "full: conv F | down 2F | down 4F | down 8F | mean | dense 1",
      "the code's MNIST net in the style of ICD Table 5, which has no MNIST net: no swish of its own", 1, 28, 28 },

    { "code-mnist",
      "full: conv F | swish | down 2F | down 4F | down 8F | swish | mean | dense 1",
      "the released code's MNIST net", 1, 28, 28 },

    /* half and quarter: "with the first [two] down-sampled residual blocks removed" (B.1).      [ICD:table5] [ICD:B.1] */
    { "paper-cifar10",
      "full: conv F | res F | down F | res F | down F | attn | res 2F | down 2F | res 4F | down 4F | mean | dense 1 ; "
      "half: conv F | res F | res F | down F | attn | res 2F | down 2F | res 4F | down 4F | mean | dense 1 ; "
      "quarter: conv F | res F | res F | attn | res 2F | down 2F | res 4F | down 4F | mean | dense 1",
      "ICD Table 5 to the letter: CIFAR-10 and ImageNet 32x32", 3, 32, 32 },

    /* half and quarter lose the last stages and the attention; wider than the table from the second Down on. */
    { "code-cifar10",
      "full: conv F | swish | res F | down F | res F | down 2F | attn | res 2F | down 4F | res 4F | down 8F | swish | mean | "
      "dense 1 ; "
      "half: conv F | swish | res F | down F | res F | down 2F | res 2F | down 4F | swish | mean | dense 1 ; "
      "quarter: conv F | swish | res F | down F | res F | down 2F | swish | mean | dense 1",
      "the released code's CIFAR-10 net", 3, 32, 32 },

    /* Table 6 has "Down 256" and then "Self Attention 512": that block has 256 channels inside and puts out 512.
     * [ICD:table6] */
    { "paper-celeba",
      "full: conv F | down F | down 2F | down 2F | res 4F | down 8F | attn | res 8F | down 8F | mean | dense 1 ; "
      "half: conv F | down 2F | down 2F | res 4F | down 8F | attn | res 8F | down 8F | mean | dense 1 ; "
      "quarter: conv F | down 2F | res 4F | down 8F | attn | res 8F | down 8F | mean | dense 1",
      "ICD Table 6: CelebA-HQ and LSUN at 128x128", 3, 128, 128 },

    { "code-celeba",
      "full: conv F/2 | swish | down F | down F | down F | down 2F | res 2F | down 4F | attn | res 4F | down 8F | swish | "
      "mean | dense 1 ; "
      "half: conv F | swish | down F | down F | down F | down 2F | res 2F | down 4F | swish | mean | dense 1 ; "
      "quarter: conv F | swish | down F | down F | down F | down 2F | swish | mean | dense 1",
      "the released code's CelebA net: four early Downs where Table 6 has three", 3, 128, 128 },

    { "gl-mnist",
      "full: conv F/2 3 2 1 | swish | conv F 3 2 1 | swish | conv 2F 3 2 1 | swish | conv 2F 3 2 1 | swish | mean | "
      "dense F | swish | dense 1",
      "a reconstruction of G&L's MNIST net: 8.3 gives 4 layers, a latent of 128 (F = 64) and two linear layers", 1, 28, 28 },

    { "anatomy-vanilla",
      "full: conv F 3 1 1 | lrelu 0.05 | conv 2F 4 2 1 | lrelu 0.05 | conv 4F 4 2 1 | lrelu 0.05 | conv 8F 4 2 1 | "
      "lrelu 0.05 | conv 1 4 1 0",
      "Anatomy's plain net (filters = 32) for 32x32 images", 3, 32, 32 },

    { "anatomy-nonlocal",
      "full: conv F | lrelu 0.05 | maxpool | nonlocal | conv 2F | lrelu 0.05 | maxpool | nonlocal | conv 4F | lrelu 0.05 | "
      "maxpool | flatten | dense 8F | lrelu 0.05 | dense 1",
      "Anatomy's net with non-local blocks (filters = 32) for 32x32 images", 3, 32, 32 },

    { "toy",
      "full: conv F 1 1 0 | lrelu 0.05 | conv 2F 1 1 0 | lrelu 0.05 | conv 2F 1 1 0 | lrelu 0.05 | conv 2F 1 1 0 | "
      "lrelu 0.05 | conv 1 1 1 0",
      "Anatomy's net for points of the plane (filters = 32)", 2, 1, 1 },

    { NULL, NULL, NULL, 0, 0, 0 }
};

const icd_builtin_arch *icd_builtin_find(const char *name)
{
    for (const icd_builtin_arch *b = icd_builtin_archs; b->name; b++)
        if (strcmp(b->name, name) == 0)
            return b;
    return NULL;
}
