/* backend.c: which kernel tables this build has, and what a table lacks. */
#include "backend.h"

#include <string.h>

extern const fast_backend fast_portable;
#if defined(__x86_64__)
extern const fast_backend fast_avx512, fast_avx2;
#elif defined(__aarch64__)
extern const fast_backend fast_neon;
#endif

#if defined(FAST_CUDA)
extern const fast_backend fast_cuda, fast_cuda_tf32, fast_cuda_bf16;
#endif
#if defined(FAST_CUDA_EMULATED)
extern const fast_backend fast_cuda_emulated, fast_cuda_emulated_tf32, fast_cuda_emulated_bf16;
#endif

const fast_backend *const fast_backends[] = {
#if defined(__x86_64__)
    &fast_avx512, &fast_avx2,
#elif defined(__aarch64__)
    &fast_neon,
#endif
    &fast_portable,
#if defined(FAST_CUDA)
    &fast_cuda, &fast_cuda_tf32, &fast_cuda_bf16,
#endif
#if defined(FAST_CUDA_EMULATED)
    &fast_cuda_emulated, &fast_cuda_emulated_tf32, &fast_cuda_emulated_bf16,
#endif
    NULL
};

const fast_backend *fast_backend_find(const char *name)
{
    for (const fast_backend *const *b = fast_backends; *b; b++)
        if (name ? strcmp((*b)->name, name) == 0 : (*b)->usable())
            return *b;
    return NULL;
}

const char *fast_backend_elsewhere(const char *name)
{
    static const struct { const char *name, *where; } tables[] = {
        { "avx512", "for another processor than this build is" }, { "avx2", "for another processor than this build is" },
        { "neon", "for another processor than this build is" },
        { "cuda", "in builds by `make CUDA=1`" }, { "cuda:tf32", "in builds by `make CUDA=1`" },
        { "cuda:bf16", "in builds by `make CUDA=1`" },
        { "cuda-emulated", "in builds by `make EMULATE=1`" }, { "cuda-emulated:tf32", "in builds by `make EMULATE=1`" },
        { "cuda-emulated:bf16", "in builds by `make EMULATE=1`" },
    };
    for (size_t i = 0; name && i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i].name, name) == 0 && !fast_backend_find(name))
            return tables[i].where;
    return NULL;
}

const char *fast_backend_missing(const fast_backend *b)
{
#define NEED(slot) if (!b->slot) return #slot;
    NEED(weight_std_fwd) NEED(weight_std_bwd) NEED(spectral_fwd) NEED(spectral_bwd) NEED(spectral_scratch)
    NEED(conv_choose) NEED(conv_scratch) NEED(conv_packed) NEED(conv_pack) NEED(conv_fwd) NEED(conv_bwd_x) NEED(conv_bwd_w)
    NEED(bias_bwd)
    NEED(norm_scratch) NEED(norm_swish_fwd) NEED(norm_swish_bwd) NEED(norm_swish_tan) NEED(norm_swish_bwd2)
    NEED(class_affine_fwd) NEED(class_affine_bwd)
    NEED(act_fwd) NEED(act_bwd) NEED(act_bwd2)
    NEED(avgpool_fwd) NEED(avgpool_bwd) NEED(maxpool_fwd) NEED(maxpool_tan) NEED(maxpool_bwd) NEED(mean_fwd) NEED(mean_bwd)
    NEED(pack) NEED(unpack)
    NEED(attn_scratch) NEED(attn_fwd) NEED(attn_bwd) NEED(attn_tan) NEED(attn_bwd2)
    NEED(copy) NEED(zero) NEED(scale_add) NEED(mul_add) NEED(dot) NEED(loss_weights) NEED(langevin)
    NEED(nearest) NEED(sum_squares) NEED(adam)
#undef NEED
    return NULL;
}
