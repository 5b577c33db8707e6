/* table.cu: the kernel tables of the device (cuda, cuda:tf32, cuda:bf16) or of the emulator (cuda-emulated ...). They differ in
 * how they choose convolutions. */
#include "fast/cuda/conv.h"

#if defined(__CUDACC__)
#define NAME "cuda"
#define WANTS(sm) ": wants a GPU of sm_" #sm " or newer and its driver"
#define TABLE(precision) fast_cuda##precision
#else
#define NAME "cuda-emulated"
#define WANTS(sm) ", executed on the CPU"
#define TABLE(precision) fast_cuda_emulated##precision
#endif

/* sm_75 and up; the tables of the tensor cores sm_80 and up. */
static int capability()
{
    int count = 0;
    cudaDeviceProp p;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count < 1 || cudaGetDeviceProperties(&p, 0) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return p.major * 10 + p.minor;
}
static int usable() { return capability() >= 75; }
static int usable_tensor() { return capability() >= 80; }

static fast_backend table(const char *name, const char *about, int (*may)(void), double unit,
                          void (*choose)(int, int, fast_conv *))
{
    fast_backend t = fast_backend();
    t.name = name;
    t.about = about;
    t.usable = may;
    t.device = &CUDA_SIDE::device;
    t.recomputes = 1;
    t.scratch = CUDA_SCRATCH;
    t.unit = unit;
    t.conv_choose = choose;
#define SLOT(slot) t.slot = CUDA_(slot);
    SLOT(weight_std_fwd) SLOT(weight_std_bwd) SLOT(spectral_fwd) SLOT(spectral_bwd) SLOT(spectral_scratch)
    SLOT(conv_scratch) SLOT(conv_packed) SLOT(conv_pack) SLOT(conv_fwd) SLOT(conv_bwd_x) SLOT(conv_bwd_w) SLOT(bias_bwd)
    SLOT(norm_scratch) SLOT(norm_swish_fwd) SLOT(norm_swish_bwd) SLOT(norm_swish_tan) SLOT(norm_swish_bwd2)
    SLOT(class_affine_fwd) SLOT(class_affine_bwd) SLOT(act_fwd) SLOT(act_bwd) SLOT(act_bwd2)
    SLOT(avgpool_fwd) SLOT(avgpool_bwd) SLOT(maxpool_fwd) SLOT(maxpool_tan) SLOT(maxpool_bwd) SLOT(mean_fwd) SLOT(mean_bwd)
    SLOT(pack) SLOT(unpack) SLOT(attn_scratch) SLOT(attn_fwd) SLOT(attn_bwd) SLOT(attn_tan) SLOT(attn_bwd2)
    SLOT(copy) SLOT(zero) SLOT(scale_add) SLOT(mul_add) SLOT(dot) SLOT(loss_weights) SLOT(langevin)
    SLOT(nearest) SLOT(sum_squares) SLOT(adam)
    SLOT(conv_swish_fwd) SLOT(conv_swish_bwd_x) SLOT(avgpool_swish_fwd) SLOT(avgpool_swish_bwd)
#undef SLOT
    return t;
}

extern "C" {
extern const fast_backend TABLE(), TABLE(_tf32), TABLE(_bf16);
const fast_backend TABLE() = table(NAME, "CUDA kernels; convolutions in fp32" WANTS(75), usable, 0, CUDA_(conv_choose));
const fast_backend TABLE(_tf32) = table(NAME ":tf32", "CUDA kernels; convolutions in TF32" WANTS(80), usable_tensor, 1.0 / 2048,
                                        CUDA_(conv_choose_tf32));
const fast_backend TABLE(_bf16) = table(NAME ":bf16", "CUDA kernels; convolutions in BF16" WANTS(80), usable_tensor, 1.0 / 256,
                                        CUDA_(conv_choose_bf16));
}
