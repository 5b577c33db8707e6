// trace.cu: what ICD_CUDA_TRACE writes of a launch.
#include "fast/cuda/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fast/cuda/emulate/emulate.h"
#include "tests/test.h"

namespace CUDA_SIDE {

struct shape { int n; float a; };

// y[i] += a x[0][i]: x is an array of pointers, in device memory.
__global__ void add(shape s, const float *const *x, float *y)
{
    const int i = static_cast<int>(threadIdx.x + 4 * threadIdx.y);
    if (i < s.n)
        y[i] += s.a * x[0][i];
}

static char dir[] = "/tmp/icd-trace-XXXXXX";

// The whole of DIR/name, which is removed; its length.
static size_t take(const char *name, char *to, size_t room)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(to, 1, room - 1, f) : 0;
    to[n] = 0;
    if (f)
        fclose(f);
    remove(path);
    return n;
}

TEST(a_launch_as_files)
{
    CHECK(mkdtemp(dir) && setenv("ICD_CUDA_TRACE", dir, 1) == 0);
    float *x, *y, **list;
    const float two[3] = {1, 2, 3}, one[3] = {10, 20, 30};
    cudaMalloc(&x, sizeof two);
    cudaMalloc(&y, sizeof one);
    cudaMalloc(&list, sizeof x);
    cudaMemcpy(x, two, sizeof two, cudaMemcpyHostToDevice);
    cudaMemcpy(y, one, sizeof one, cudaMemcpyHostToDevice);
    cudaMemcpy(list, &x, sizeof x, cudaMemcpyHostToDevice);
    const float *const *from = list;
    LAUNCH(add, dim3(1, 1, 1), dim3(4, 2), 16, nullptr, (shape{3, 0.5f}), from, y);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);

    char text[4096], want[1024];
    CHECK(take("000000.txt", text, sizeof text) > 0);
    CHECK_SAYS(text, "kernel _ZN8icd_cuda3addENS_5shapeEPKPKfPf\ngrid 1 1 1\nblock 4 2 1\nshared 16\n"
                     "argument 0 8 030000000000003f\nargument 1 8 ");
    snprintf(want, sizeof want, "buffer 0 %zx 8\nbuffer 1 %zx 12\nbuffer 2 %zx 12\n", reinterpret_cast<size_t>(list),
             reinterpret_cast<size_t>(y), reinterpret_cast<size_t>(x));
    CHECK_SAYS(text, want);
    CHECK_EQ(take("000000.1.before.npy", text, sizeof text), 128 + sizeof one);
    CHECK(!memcmp(text, "\x93NUMPY\1\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (12,), }  ", 70));
    CHECK(text[127] == '\n' && !memcmp(text + 128, one, sizeof one));
    CHECK_EQ(take("000000.2.before.npy", text, sizeof text), 128 + sizeof two);
    CHECK(!memcmp(text + 128, two, sizeof two));
    CHECK_EQ(take("000000.1.after.npy", text, sizeof text), 128 + sizeof one);
    float after;
    memcpy(&after, text + 128, sizeof after);
    CHECK_EQ(after, 10.5);
    static const char *const others[] = {"000000.0.before.npy", "000000.0.after.npy", "000000.2.after.npy"};
    for (const char *rest : others)
        CHECK(take(rest, text, sizeof text) > 128);
    CHECK(rmdir(dir) == 0);
    cudaFree(x);
    cudaFree(y);
    cudaFree(list);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda trace", T(a_launch_as_files))
