// faults.cu: every planted fault is told, with its kind, kernel, file and line, in every order; and what the host sees of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fast/cuda/emulate/emulate.h"
#include "tests/cuda/faults_kernels.h"
#include "tests/test.h"

namespace CUDA_SIDE {

typedef void (*kernel)(const float *, float *);
struct planted {
    const char *name;
    kernel run;
    emulate_kind kind;
    unsigned blocks, threads;
    size_t dynamic;
    int checked;             // only a checked build sees it
};
#define P(name, kind, blocks, threads, dynamic, checked) {#name, name, kind, blocks, threads, dynamic, checked}
static const planted all[] = {
    P(race_read, EMULATE_RACE_SHARED, 1, N, 0, 1), P(race_next_tile, EMULATE_RACE_SHARED, 1, N, 0, 1),
    P(race_two_writes, EMULATE_RACE_SHARED, 1, N, 0, 1), P(race_in_warp, EMULATE_RACE_SHARED, 1, N, 0, 1),
    P(race_other_half, EMULATE_RACE_SHARED, 1, N, 0, 1), P(race_of_bytes, EMULATE_RACE_SHARED, 1, N, 0, 1),
    P(race_word_then_byte, EMULATE_RACE_SHARED, 1, N, 0, 1),
    P(race_global, EMULATE_RACE_GLOBAL, 1, N, 0, 1), P(race_blocks_write, EMULATE_RACE_BLOCKS, 2, N, 0, 1),
    P(race_blocks_read, EMULATE_RACE_BLOCKS, 2, N, 0, 1), P(race_plain_sum, EMULATE_RACE_GLOBAL, 1, N, 0, 1),
    P(race_atomic_then_read, EMULATE_RACE_SHARED, 1, N, 0, 1), P(race_many_readers, EMULATE_RACE_SHARED, 1, 33, 0, 1),
    P(race_atomic_read, EMULATE_RACE_SHARED, 1, N, 0, 1), P(race_no_fence, EMULATE_RACE_BLOCKS, 4, 1, 0, 1),
    P(race_no_barrier, EMULATE_RACE_BLOCKS, 2, 64, 0, 1),
    P(barrier_two_lines, EMULATE_BARRIER, 1, N, 0, 0), P(barrier_in_branch, EMULATE_BARRIER, 1, N, 0, 0),
    P(barrier_after_return, EMULATE_BARRIER, 1, N, 0, 0), P(barrier_against_vote, EMULATE_WARP, 1, N, 0, 0),
    P(warp_half_comes, EMULATE_WARP, 1, N, 0, 0), P(warp_not_in_mask, EMULATE_WARP, 1, N, 0, 0),
    P(warp_from_outside, EMULATE_WARP, 1, N, 0, 0), P(warp_two_masks, EMULATE_WARP, 1, N, 0, 0),
    P(warp_two_lines, EMULATE_WARP, 1, N, 0, 0), P(warp_ended, EMULATE_WARP, 1, N, 0, 0),
    P(warp_part_mma, EMULATE_WARP, 1, 16, 0, 0),
    P(uninitialised_static, EMULATE_UNINITIALISED, 1, N, 0, 1), P(uninitialised_dynamic, EMULATE_UNINITIALISED, 1, N, 4 * N, 1),
    P(uninitialised_block, EMULATE_UNINITIALISED, 2, N, 0, 1),
    P(bounds_index, EMULATE_BOUNDS, 1, N, 0, 1), P(bounds_row, EMULATE_BOUNDS, 1, N, 0, 1),
    P(bounds_pointer, EMULATE_BOUNDS, 1, N, 0, 1), P(bounds_dynamic, EMULATE_BOUNDS, 1, N, 4 * N, 1),
    P(bounds_straddle, EMULATE_BOUNDS, 1, N, 0, 1), P(bounds_after, EMULATE_BOUNDS, 1, N, 0, 1),
    P(bounds_before, EMULATE_BOUNDS, 1, N, 0, 1),
    P(bounds_wide, EMULATE_BOUNDS, 1, N, 0, 1), P(bounds_freed, EMULATE_BOUNDS, 1, N, 0, 1),
    P(misaligned_load, EMULATE_MISALIGNED, 1, N, 0, 0), P(misaligned_store, EMULATE_MISALIGNED, 1, N, 0, 0),
    P(misaligned_word, EMULATE_MISALIGNED, 1, N, 0, 1), P(misaligned_copy, EMULATE_MISALIGNED, 1, N, 0, 0),
    P(misaligned_matrix, EMULATE_MISALIGNED, 1, 32, 0, 0), P(host_memory, EMULATE_HOST_MEMORY, 1, N, 0, 1),
    P(copy_not_waited, EMULATE_COPY_PENDING, 1, N, 0, 1), P(copy_wait_too_few, EMULATE_COPY_PENDING, 1, N, 0, 1),
    P(copy_no_barrier, EMULATE_COPY_PENDING, 1, N, 0, 1), P(copy_for_ever, EMULATE_COPY_PENDING, 1, N, 0, 0),
};

// Is `line` of the kernels' file marked with the fault's name?
static int is_marked(int line, const char *name)
{
    char text[512], mark[128];
    snprintf(mark, sizeof mark, "// FAULT %s\n", name);
    FILE *f = fopen(marked_file, "r");
    for (int i = 0; f && i < line; i++)
        if (!fgets(text, sizeof text, f))
            text[0] = 0;
    if (f)
        fclose(f);
    return f && line > 0 && strstr(text, mark) != nullptr;
}

// A copy's destination that another thread reads: unfinished or unordered, as the schedule has it.
static int is_kind(const planted &p, emulate_kind kind)
{
    return kind == p.kind || (p.run == copy_no_barrier && kind == EMULATE_RACE_SHARED);
}

static void provoke(const planted &p)
{
    float *x = nullptr, *y = nullptr, *gone = nullptr, host[1024];
    for (int i = 0; i < 1024; i++)
        host[i] = static_cast<float>(i % 100 + 1);
    CHECK(cudaMalloc(&x, sizeof host) == cudaSuccess && cudaMalloc(&y, sizeof host) == cudaSuccess);
    CHECK(cudaMalloc(&gone, sizeof host) == cudaSuccess && cudaFree(gone) == cudaSuccess);
    CHECK(cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice) == cudaSuccess);
    CHECK(cudaMemset(y, 0, sizeof host) == cudaSuccess);
    const float *from = p.run == host_memory ? host : p.run == bounds_freed ? gone : x;
    kernel run = p.run;
    emulate::launch_as(p.name, run, p.blocks, p.threads, p.dynamic, nullptr, EMULATE_IS_CHECKED, emulate::here(), from, y);
    cudaError_t e = cudaDeviceSynchronize();
    const emulate_fault *f = emulate_last_fault();
    if (!f) {
        test_failures++;
        printf("%s: nothing was told\n", p.name);
    } else if (!is_kind(p, f->kind) || !is_marked(f->line, p.name) || strcmp(f->kernel, p.name) ||
               strcmp(f->file, "faults_kernels.h")) {
        test_failures++;
        printf("%s: told kind %d: %s\n", p.name, f->kind, f->text);
    }
    CHECK(e == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure);
    emulate_clear();
    cudaGetLastError();
    CHECK(cudaFree(x) == cudaSuccess && cudaFree(y) == cudaSuccess);
}

static void provoke_all(emulate_order order, uint64_t seed)
{
    emulate_options o = emulate_get();
    o.quiet = 1;
    o.order = order;
    o.seed = seed;
    emulate_set(o);
    for (const planted &p : all)
        if (!p.checked || EMULATE_IS_CHECKED)
            provoke(p);
    CHECK_EQ(emulate_memory_used(), 0);
}

TEST(every_fault_forward) { provoke_all(EMULATE_FORWARD, 1); }
TEST(every_fault_reverse) { provoke_all(EMULATE_REVERSE, 1); }
TEST(every_fault_at_random)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        provoke_all(EMULATE_RANDOM, seed);
}

__global__ void large_static(float *y)
{
    SHARED(float, s, [12 * 1024 + 1]);
    s[threadIdx.x] = 1;
    y[threadIdx.x] = s[threadIdx.x];
}

TEST(launches_that_the_device_refuses)
{
    emulate_options o = emulate_get();
    o.quiet = 1;
    emulate_set(o);
    float *y;
    cudaMalloc(&y, 4096);
    const float *x = y;
    LAUNCH(race_global, 1, 1025, 0, nullptr, x, y);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration && cudaGetLastError() == cudaSuccess);
    LAUNCH(race_global, 1, dim3(1, 1, 65), 0, nullptr, x, y);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    LAUNCH(race_global, dim3(1, 65536), 32, 0, nullptr, x, y);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    LAUNCH(race_global, 0, 32, 0, nullptr, x, y);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    LAUNCH(bounds_dynamic, 1, 32, 49153, nullptr, x, y);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaFuncSetAttribute(bounds_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449) == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && !emulate_last_fault());
    LAUNCH(large_static, 1, 32, 0, nullptr, y);
    cudaDeviceSynchronize();
    CHECK(emulate_last_fault() && emulate_last_fault()->kind == EMULATE_LAUNCH);
    emulate_clear();
    cudaFree(y);
}

TEST(a_kernel_runs_after_a_fault_is_cleared)
{
    emulate_options o = emulate_get();
    o.quiet = 1;
    emulate_set(o);
    float *x, *y;
    cudaMalloc(&x, 4096);
    cudaMalloc(&y, 4096);
    const float *from = x;
    LAUNCH(barrier_in_branch, 1, N, 0, nullptr, from, y);
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
    CHECK(cudaMemset(y, 0, 4096) == cudaErrorLaunchFailure);
    CHECK_SAYS(cudaGetErrorString(cudaErrorLaunchFailure), "barrier_in_branch");
    emulate_clear();
    cudaGetLastError();
    LAUNCH(host_memory, 1, N, 0, nullptr, from, y);          // with device memory there is nothing wrong with it
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    cudaFree(x);
    cudaFree(y);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda faults", T(every_fault_forward), T(every_fault_reverse), T(every_fault_at_random),
          T(launches_that_the_device_refuses), T(a_kernel_runs_after_a_fault_is_cleared))
