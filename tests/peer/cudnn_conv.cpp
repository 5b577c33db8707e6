// cudnn_conv.cpp: cuDNN's convolutions, stride 1, "same" padding, by its quickest algorithm and layout (channels first or last).
// Reads lines "n ci co h w k" and answers each with one line of JSON: microseconds of every direction in each precision. fp32 and
// tf32 read and write floats; bf16 reads and writes BF16, half the bytes. No bias, no sum.
//   nvcc -O2 cudnn_conv.cpp -lcudnn && echo 128 64 64 32 32 3 | ./a.out
#include <cuda_runtime.h>
#include <cudnn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

struct shape { int n, ci, co, h, w, k; };

void need(cudnnStatus_t s, const char *what)
{
    if (s != CUDNN_STATUS_SUCCESS) {
        std::fprintf(stderr, "cuDNN: %s: %s\n", what, cudnnGetErrorString(s));
        std::exit(1);
    }
}
void need(cudaError_t e, const char *what)
{
    if (e != cudaSuccess) {
        std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(e));
        std::exit(1);
    }
}
#define NEED(call) need(call, #call)

// Device memory of numbers that are neither 0 nor large, whatever their type: every byte is 0x3c.
struct memory {
    void *at = nullptr;
    explicit memory(size_t bytes)
    {
        NEED(cudaMalloc(&at, bytes ? bytes : 1));
        NEED(cudaMemset(at, 0x3c, bytes));
    }
    memory(const memory &) = delete;
    memory &operator=(const memory &) = delete;
    ~memory() { cudaFree(at); }
};

// Median of 7 measurements of at least 2 ms each, after a warm-up, in microseconds; -1: it does not run.
template <class F> double time_of(F run)
{
    cudaEvent_t from, to;
    float ms = 0;
    int repeats = 1;
    std::vector<double> us;
    NEED(cudaEventCreate(&from));
    NEED(cudaEventCreate(&to));
    bool good = run();
    for (int i = -1; i < 7 && good; i++) {
        NEED(cudaEventRecord(from));
        for (int j = 0; j < repeats && good; j++)
            good = run();
        NEED(cudaEventRecord(to));
        NEED(cudaEventSynchronize(to));
        NEED(cudaEventElapsedTime(&ms, from, to));
        if (i < 0)
            repeats = ms < 0.04f ? 50 : std::max(1, (int)(2 / ms));
        else
            us.push_back(1e3 * (double)ms / repeats);
    }
    NEED(cudaEventDestroy(from));
    NEED(cudaEventDestroy(to));
    std::sort(us.begin(), us.end());
    return good ? us[us.size() / 2] : -1;
}

struct descriptions {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    descriptions(const shape &s, cudnnDataType_t type, cudnnMathType_t math, cudnnTensorFormat_t layout)
    {
        NEED(cudnnCreateTensorDescriptor(&x));
        NEED(cudnnCreateTensorDescriptor(&y));
        NEED(cudnnCreateFilterDescriptor(&w));
        NEED(cudnnCreateConvolutionDescriptor(&conv));
        NEED(cudnnSetTensor4dDescriptor(x, layout, type, s.n, s.ci, s.h, s.w));
        NEED(cudnnSetTensor4dDescriptor(y, layout, type, s.n, s.co, s.h, s.w));
        NEED(cudnnSetFilter4dDescriptor(w, type, layout, s.co, s.ci, s.k, s.k));
        NEED(cudnnSetConvolution2dDescriptor(conv, s.k / 2, s.k / 2, 1, 1, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        NEED(cudnnSetConvolutionMathType(conv, math));
    }
    descriptions(const descriptions &) = delete;
    descriptions &operator=(const descriptions &) = delete;
    ~descriptions()
    {
        cudnnDestroyTensorDescriptor(x);
        cudnnDestroyTensorDescriptor(y);
        cudnnDestroyFilterDescriptor(w);
        cudnnDestroyConvolutionDescriptor(conv);
    }
};

// The quickest that find() knows and that may be used, timed: find(count, results), run(algorithm, workspace, bytes).
template <class Perf, class Find, class Run> double best_of(const descriptions &d, cudnnMathType_t math, Find find, Run run)
{
    Perf found[16];
    int count = 0;
    double best = -1;
    if (find(16, &count, found) != CUDNN_STATUS_SUCCESS)
        return -1;
    for (int i = 0, tried = 0; i < count && tried < 2; i++) {        // they are sorted by time
        if (found[i].status != CUDNN_STATUS_SUCCESS || (math == CUDNN_FMA_MATH && found[i].mathType != CUDNN_FMA_MATH))
            continue;
        tried++;
        memory work(found[i].memory);
        NEED(cudnnSetConvolutionMathType(d.conv, found[i].mathType));
        double us = time_of([&] { return run(found[i].algo, work.at, found[i].memory) == CUDNN_STATUS_SUCCESS; });
        if (us > 0 && (best < 0 || us < best))
            best = us;
    }
    NEED(cudnnSetConvolutionMathType(d.conv, math));
    return best;
}

void measure(cudnnHandle_t cudnn, const shape &s)
{
    const struct { const char *name; cudnnDataType_t type; cudnnMathType_t math; size_t bytes; } precisions[] = {
        {"fp32", CUDNN_DATA_FLOAT, CUDNN_FMA_MATH, 4}, {"tf32", CUDNN_DATA_FLOAT, CUDNN_TENSOR_OP_MATH, 4},
        {"bf16", CUDNN_DATA_BFLOAT16, CUDNN_TENSOR_OP_MATH, 2}};
    const float one = 1, zero = 0;
    std::printf("{\"n\": %d, \"ci\": %d, \"co\": %d, \"h\": %d, \"w\": %d, \"k\": %d", s.n, s.ci, s.co, s.h, s.w, s.k);
    for (const auto &p : precisions) {
        double best[3] = {-1, -1, -1};
        size_t pixels = (size_t)s.n * (size_t)s.h * (size_t)s.w;
        memory x(pixels * (size_t)s.ci * p.bytes), y(pixels * (size_t)s.co * p.bytes);
        memory w((size_t)s.co * (size_t)s.ci * (size_t)s.k * (size_t)s.k * p.bytes);
        for (cudnnTensorFormat_t layout : {CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC}) {
            const descriptions d(s, p.type, p.math, layout);
            const double us[3] = {
                best_of<cudnnConvolutionFwdAlgoPerf_t>(d, p.math, [&](int most, int *count, cudnnConvolutionFwdAlgoPerf_t *r) {
                    return cudnnFindConvolutionForwardAlgorithm(cudnn, d.x, d.w, d.conv, d.y, most, count, r);
                }, [&](cudnnConvolutionFwdAlgo_t a, void *work, size_t bytes) {
                    return cudnnConvolutionForward(cudnn, &one, d.x, x.at, d.w, w.at, d.conv, a, work, bytes, &zero, d.y, y.at);
                }),
                best_of<cudnnConvolutionBwdDataAlgoPerf_t>(d, p.math, [&](int most, int *count,
                                                                          cudnnConvolutionBwdDataAlgoPerf_t *r) {
                    return cudnnFindConvolutionBackwardDataAlgorithm(cudnn, d.w, d.y, d.conv, d.x, most, count, r);
                }, [&](cudnnConvolutionBwdDataAlgo_t a, void *work, size_t bytes) {
                    return cudnnConvolutionBackwardData(cudnn, &one, d.w, w.at, d.y, y.at, d.conv, a, work, bytes, &zero, d.x,
                                                        x.at);
                }),
                best_of<cudnnConvolutionBwdFilterAlgoPerf_t>(d, p.math, [&](int most, int *count,
                                                                            cudnnConvolutionBwdFilterAlgoPerf_t *r) {
                    return cudnnFindConvolutionBackwardFilterAlgorithm(cudnn, d.x, d.y, d.conv, d.w, most, count, r);
                }, [&](cudnnConvolutionBwdFilterAlgo_t a, void *work, size_t bytes) {
                    return cudnnConvolutionBackwardFilter(cudnn, &one, d.x, x.at, d.y, y.at, d.conv, a, work, bytes, &zero, d.w,
                                                          w.at);
                })};
            for (int i = 0; i < 3; i++)
                if (us[i] > 0 && (best[i] < 0 || us[i] < best[i]))
                    best[i] = us[i];
        }
        std::printf(", \"%s\": {", p.name);
        const char *const names[3] = {"conv_fwd", "conv_bwd_x", "conv_bwd_w"};
        for (int i = 0, before = 0; i < 3; i++)
            if (best[i] > 0)
                std::printf("%s\"%s\": %.3f", before++ ? ", " : "", names[i], best[i]);
        std::printf("}");
    }
    std::printf("}\n");
    std::fflush(stdout);
}

}

int main()
{
    cudnnHandle_t cudnn;
    shape s;
    NEED(cudnnCreate(&cudnn));
    while (std::scanf("%d %d %d %d %d %d", &s.n, &s.ci, &s.co, &s.h, &s.w, &s.k) == 6)
        measure(cudnn, s);
    NEED(cudnnDestroy(cudnn));
}
