// update.cu: the gradient's length; Adam with clipping and the moving average, in one pass.                [ICD:alg1.17]
//
// Both are bound by bytes: 4 to 8 a value for the sum, 40 for Adam (six floats read, four written), against some 40 operations
// in double; thread j takes values j, j + all threads, ..., a float each, since parameters are aligned as floats only.
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

enum { THREADS = 256, WARPS = THREADS / 32, MOST_BLOCKS = 2048 };

static unsigned blocks_for(size_t count)
{
    size_t blocks = (count + THREADS - 1) / THREADS, most = MOST_BLOCKS;
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

// *out = sum (a + b)^2, in one launch:
//     values  --each thread, in order-->  256 sums  --block_sum, `room`-->  partial[block]  --the `last` block-->  *out
// The last block to arrive adds up the partials, thread t those of t, t + 256, ..., then block_sum: in the order of the blocks,
// whichever was last. No pipeline: what hides the way to memory is up to eight blocks a multiprocessor.
__global__ void __launch_bounds__(THREADS)
square_sum(size_t count, const float *a, const float *b, double *partial, unsigned *ticket, double *out)
{
    SHARED(double, room, [WARPS]);
    SHARED(unsigned, last, [1]);
    size_t stride = static_cast<size_t>(gridDim.x) * THREADS;
    double sum = 0;
    for (size_t j = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x; j < count; j += stride) {
        double e = static_cast<double>(a[j]) + (b ? static_cast<double>(b[j]) : 0.0);
        sum = fma(e, e, sum);
        FLOPS(2 * 3);                            // one in double as two
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
    if (!last_block(ticket, gridDim.x, last))
        return;
    sum = 0;
    for (unsigned i = threadIdx.x; i < gridDim.x; i += THREADS)
        sum += partial[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        *out = sum;
}

// A thread has a parameter at a time: six loads, the step in double registers, four stores; nothing is shared or staged. Every
// thread finds the clipping from *square by itself.
__global__ void __launch_bounds__(THREADS) adam_step(fast_adam a)
{
    double ratio = a.grad_clip / sqrt(*a.square), clip = a.grad_clip > 0 && ratio < 1 ? ratio : 1.0;
    double rest1 = 1 - a.beta1, rest2 = 1 - a.beta2, rest = 1 - a.decay, rate = a.lr / a.c1, over_c2 = 1 / a.c2;
    size_t stride = static_cast<size_t>(gridDim.x) * THREADS;
    for (size_t j = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x; j < a.count; j += stride) {
        double g = clip * (static_cast<double>(a.cd[j]) + static_cast<double>(a.kl[j]));
        double m = fma(a.beta1, static_cast<double>(a.m[j]), rest1 * g);
        double v = fma(a.beta2, static_cast<double>(a.v[j]), rest2 * g * g);
        double theta = static_cast<double>(a.theta[j]) - rate * m / (sqrt(v * over_c2) + a.eps);
        double ema = fma(a.decay, static_cast<double>(a.ema[j]), rest * theta);
        FLOPS(2 * 40);                           // the quotient and the root as ten each
        a.m[j] = static_cast<float>(m);
        a.v[j] = static_cast<float>(v);
        a.theta[j] = static_cast<float>(theta);
        a.ema[j] = static_cast<float>(ema);
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(sum_squares)(fast_ctx *ctx, size_t count, const float *a, const float *b, double *out)
{
    static_assert(MOST_BLOCKS * sizeof(double) <= CUDA_SCRATCH, "the partial sums fit the scratch of every slot");
    double *partial = static_cast<double *>(ctx->scratch);
    LAUNCH(square_sum, blocks_for(count), THREADS, 0, CUDA_(stream), count, a, b, partial, CUDA_(tickets), out);
}

void CUDA_(adam)(fast_ctx *, const fast_adam *a) { LAUNCH(adam_step, blocks_for(a->count), THREADS, 0, CUDA_(stream), *a); }
