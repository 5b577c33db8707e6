/* table.c: the kernel table of one instruction set. Slots that cost next to nothing are the portable ones. */
#include "fast/cpu/conv.h"
#include "fast/cpu/slots.h"
#include "fast/portable/portable.h"

#if defined(FAST_ISA_avx512)
#define TABLE fast_avx512
static const char name[] = "avx512", about[] = "AVX-512 (F, VL, DQ, BW)";
static int usable(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2");
}
#elif defined(FAST_ISA_avx2)
#define TABLE fast_avx2
static const char name[] = "avx2", about[] = "AVX2 with FMA";
static int usable(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
#define TABLE fast_neon
static const char name[] = "neon", about[] = "NEON of 64-bit ARM";
static int usable(void) { return 1; }
#endif

extern const fast_backend TABLE;
const fast_backend TABLE = {
    .name = name, .about = about, .usable = usable,
    .weight_std_fwd = portable_weight_std_fwd, .weight_std_bwd = portable_weight_std_bwd,
    .spectral_fwd = portable_spectral_fwd, .spectral_bwd = portable_spectral_bwd, .spectral_scratch = portable_spectral_scratch,
    .conv_choose = CPU_(conv_choose), .conv_scratch = CPU_(conv_scratch), .conv_packed = CPU_(conv_packed),
    .conv_pack = CPU_(conv_pack), .conv_fwd = CPU_(conv_fwd), .conv_bwd_x = CPU_(conv_bwd_x), .conv_bwd_w = CPU_(conv_bwd_w),
    .bias_bwd = CPU_(bias_bwd),
    .norm_scratch = CPU_(norm_scratch), .norm_swish_fwd = CPU_(norm_swish_fwd), .norm_swish_bwd = CPU_(norm_swish_bwd),
    .norm_swish_tan = CPU_(norm_swish_tan), .norm_swish_bwd2 = CPU_(norm_swish_bwd2),
    .class_affine_fwd = portable_class_affine_fwd, .class_affine_bwd = portable_class_affine_bwd,
    .act_fwd = CPU_(act_fwd), .act_bwd = CPU_(act_bwd), .act_bwd2 = CPU_(act_bwd2),
    .avgpool_fwd = CPU_(avgpool_fwd), .avgpool_bwd = CPU_(avgpool_bwd), .maxpool_fwd = CPU_(maxpool_fwd),
    .maxpool_tan = CPU_(maxpool_tan), .maxpool_bwd = CPU_(maxpool_bwd), .mean_fwd = CPU_(mean_fwd), .mean_bwd = CPU_(mean_bwd),
    .pack = CPU_(pack), .unpack = CPU_(unpack),
    .attn_scratch = CPU_(attn_scratch), .attn_fwd = CPU_(attn_fwd), .attn_bwd = CPU_(attn_bwd), .attn_tan = CPU_(attn_tan),
    .attn_bwd2 = CPU_(attn_bwd2),
    .copy = portable_copy, .zero = portable_zero,
    .scale_add = CPU_(scale_add), .mul_add = CPU_(mul_add), .dot = CPU_(dot), .loss_weights = portable_loss_weights,
    .langevin = CPU_(langevin), .nearest = CPU_(nearest), .sum_squares = CPU_(sum_squares), .adam = CPU_(adam)
};
