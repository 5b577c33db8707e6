/* names.h: the names of fast/cpu, which is compiled once per instruction set: CPU_(conv_fwd) is conv_fwd__avx512. */
#ifndef FAST_CPU_NAMES_H
#define FAST_CPU_NAMES_H

#if defined(FAST_ISA_avx512)
#define CPU_(name) name##__avx512
#elif defined(FAST_ISA_avx2)
#define CPU_(name) name##__avx2
#elif defined(FAST_ISA_neon)
#define CPU_(name) name##__neon
#else
#error "fast/cpu is compiled with -DFAST_ISA_avx512, avx2 or neon"
#endif

#endif
