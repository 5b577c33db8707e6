// weights.cu: weight standardisation and spectral normalisation of w (o,m), and their derivatives, in double throughout: the
// matrices are small and stay in L2 from one launch to the next.
//
// Standardisation: a block for a row. Spectral: a launch for each of a round's two products, which reads the vector as the
// launch before left it, not normalised: every block works out its length (and projection) by itself, so that no launch is
// needed in between, and block 0 leaves the finished vector for the end:
//     u_0 -> [wT] -> v_1 -> [w] -> u_1 -> ... -> [w] -> u_12;  sigma = u.(w v) = |w v_12|^2/length
// and backwards the same with the adjoints. w v: a block for a row; wT u: a block for 32 columns, 16 rows of threads:
//     column  0 .. 31           thread (x, y) adds rows y, y + 16, ...; row 0 of threads adds the sixteen sums
//     rows y  [ 128 bytes  ]
#include "fast/cuda/reduce.h"
#include "fast/cuda/slots.h"

namespace CUDA_SIDE {

constexpr int ROW_THREADS = 256, COLUMN_ROWS = 16, ROUNDS = 12;
constexpr double SD_EPS = 1e-5, UNIT_EPS = 1e-12;

__device__ inline double wide(float x) { return static_cast<double>(x); }

// The sum over j < count of f(j), by all threads of the block.
template <class F> __device__ __forceinline__ double block_total(int count, double *room, F f)
{
    double sum = 0;
    for (int j = static_cast<int>(thread_rank()); j < count; j += static_cast<int>(blockDim.x * blockDim.y))
        sum += f(j);
    return block_sum(sum, room);
}

// ---- standardisation ----

struct row_moments { double mean, sd; };         // sd unbiased: divided by m - 1

__device__ inline row_moments moments_of(int m, const float *w, double *room)
{
    double mean = block_total(m, room, [=](int j) { return wide(w[j]); }) / m;
    double squares = block_total(m, room, [=](int j) { return (wide(w[j]) - mean) * (wide(w[j]) - mean); });
    return row_moments{ mean, sqrt(squares / (m - 1)) };
}

// A row of m by 256 threads, looked at three times: mean, squares about it, output; the last two from a cache. `room`: a double
// a warp. out may be w: a thread writes what it alone reads.
__global__ void __launch_bounds__(ROW_THREADS) weight_std_fwd(int m, const float *w, float *out)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    size_t at = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(m);
    row_moments r = moments_of(m, w + at, room);
    double by = 1.0 / (r.sd + SD_EPS);
    for (int j = static_cast<int>(threadIdx.x); j < m; j += ROW_THREADS)
        out[at + static_cast<size_t>(j)] = static_cast<float>((wide(w[at + static_cast<size_t>(j)]) - r.mean) * by);
}

// With e = w - mean, t = sd + eps:  gw += (gout - mean(gout))/t - e <gout,e>/(t^2 sd (m-1)); where sd = 0, e is too.
__global__ void __launch_bounds__(ROW_THREADS) weight_std_bwd(int m, const float *all_w, const float *all_gout, float *all_gw)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    size_t at = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(m);
    const float *w = all_w + at, *gout = all_gout + at;
    row_moments r = moments_of(m, w, room);
    double mean = block_total(m, room, [=](int j) { return wide(gout[j]); }) / m;
    double along = block_total(m, room, [=](int j) { return wide(gout[j]) * (wide(w[j]) - r.mean); });
    double by = 1.0 / (r.sd + SD_EPS), shrink = r.sd == 0 ? 0.0 : along * by * by / (r.sd * (m - 1));
    for (int j = static_cast<int>(threadIdx.x); j < m; j += ROW_THREADS)
        all_gw[at + static_cast<size_t>(j)] += static_cast<float>((wide(gout[j]) - mean) * by - (wide(w[j]) - r.mean) * shrink);
}

// ---- spectral ----

// A vector as the launch before left it: x; with g, that of the adjoint of unit(x), to which unit(x) itself is added where
// sigma holds it (`again`). x NULL: u_0, whose values are 1/sqrt(count). done: where block 0 leaves it finished.
struct raw_vector { int count, again; const double *x, *g; double *done; };

// Finished value j is x[j] by_x + g[j] by_g.
struct finish { double by_x, by_g; };
__device__ inline double finished(const raw_vector &v, finish f, int j)
{
    if (!v.x)
        return f.by_x;
    return v.g ? v.x[j] * f.by_x + v.g[j] * f.by_g : v.x[j] * f.by_x;
}

// unit(x) = x/l, l = sqrt(|x|^2 + eps); the adjoint of x from g, that of y = x/l: (g - y <y,g>)/l.
__device__ inline finish finish_of(const raw_vector &v, double *room)
{
    if (!v.x)
        return finish{ 1.0 / sqrt(static_cast<double>(v.count)), 0.0 };
    double by = 1.0 / sqrt(block_total(v.count, room, [=](int j) { return v.x[j] * v.x[j]; }) + UNIT_EPS);
    if (!v.g)
        return finish{ by, 0.0 };
    double along = block_total(v.count, room, [=](int j) { return v.x[j] * v.g[j]; });
    return finish{ v.again ? by - along * by * by * by : -along * by * by * by, by };
}

__device__ inline void leave(const raw_vector &v, finish f)
{
    int threads = static_cast<int>(blockDim.x * blockDim.y);
    for (int j = static_cast<int>(thread_rank()); blockIdx.x == 0 && j < v.count; j += threads)
        v.done[j] = finished(v, f, j);
}

// out (o) = w v
__global__ void __launch_bounds__(ROW_THREADS) spectral_times(int m, const float *w, raw_vector v, double *out)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    const float *row = w + static_cast<size_t>(blockIdx.x) * static_cast<size_t>(m);
    finish f = finish_of(v, room);
    leave(v, f);
    double sum = block_total(m, room, [=](int j) { return wide(row[j]) * finished(v, f, j); });
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

// out (m) = wT u
__global__ void __launch_bounds__(32 * COLUMN_ROWS)
spectral_times_transposed(int o, int m, const float *w, raw_vector u, double *out)
{
    SHARED(double, room, [32 * COLUMN_ROWS]);
    finish f = finish_of(u, room);
    leave(u, f);
    int j = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.y); j < m && i < o; i += COLUMN_ROWS)
        sum += wide(w[static_cast<size_t>(i) * static_cast<size_t>(m) + static_cast<size_t>(j)]) * finished(u, f, i);
    sum = column_sum<COLUMN_ROWS>(sum, room);
    if (j < m && threadIdx.y == 0)
        out[j] = sum;
}

// 1/sigma from x = w v of the last round: u.x = |x|^2/l.
__device__ inline double inverse_sigma(int o, const double *x, double *room)
{
    double square = block_total(o, room, [=](int i) { return x[i] * x[i]; });
    return sqrt(square + UNIT_EPS) / square;
}

// out may be w.
__global__ void __launch_bounds__(ROW_THREADS)
spectral_scale(int o, size_t count, const float *w, const double *last, float *out)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    double by = inverse_sigma(o, last, room);
    size_t stride = static_cast<size_t>(gridDim.x) * ROW_THREADS;
    for (size_t j = static_cast<size_t>(blockIdx.x) * ROW_THREADS + threadIdx.x; j < count; j += stride)
        out[j] = static_cast<float>(wide(w[j]) * by);
}

// along (o): <gout, w> row by row
__global__ void __launch_bounds__(ROW_THREADS) spectral_along(int m, const float *w, const float *gout, double *along)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    size_t at = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(m);
    const float *row = w + at, *grow = gout + at;
    double sum = block_total(m, room, [=](int j) { return wide(row[j]) * wide(grow[j]); });
    if (threadIdx.x == 0)
        along[blockIdx.x] = sum;
}

// All rounds' finished vectors: u[t-1] and gu[t] at (o) + t-1, gv[t] and v[t] likewise, t = 1..ROUNDS.
struct spectral_rounds { const double *u, *gu, *v, *gv; };

// d(w/sigma) = dw/sigma - w dsigma/sigma^2, and dsigma/dw = sum over rounds of gu_t v_tT + u_{t-1} gv_tT, where gu of the last
// round holds the u vT of sigma = uT w v too. A block for ROW_THREADS columns and every gridDim.y-th row; a thread keeps its
// column's 24 values.
__global__ void __launch_bounds__(ROW_THREADS)
spectral_give(int o, int m, spectral_rounds r, const double *last, const double *along, const float *gout, float *gw)
{
    SHARED(double, room, [ROW_THREADS / 32]);
    double by = inverse_sigma(o, last, room), factor = block_total(o, room, [=](int i) { return along[i]; }) * by * by;
    int j = static_cast<int>(blockIdx.x * ROW_THREADS + threadIdx.x);
    if (j >= m)
        return;
    double v[ROUNDS], gv[ROUNDS];
#pragma unroll
    for (int t = 0; t < ROUNDS; t++) {
        v[t] = r.v[static_cast<size_t>(t) * static_cast<size_t>(m) + static_cast<size_t>(j)];
        gv[t] = r.gv[static_cast<size_t>(t) * static_cast<size_t>(m) + static_cast<size_t>(j)];
    }
    for (int i = static_cast<int>(blockIdx.y); i < o; i += static_cast<int>(gridDim.y)) {
        double gsigma = 0;
#pragma unroll
        for (int t = 0; t < ROUNDS; t++) {
            size_t at = static_cast<size_t>(t) * static_cast<size_t>(o) + static_cast<size_t>(i);
            gsigma += r.gu[at] * v[t] + r.u[at] * gv[t];
        }
        size_t at = static_cast<size_t>(i) * static_cast<size_t>(m) + static_cast<size_t>(j);
        gw[at] += static_cast<float>(wide(gout[at]) * by - factor * gsigma);
    }
}

// Where everything is in scratch: as products leave it (u, v, gu, gv) and finished (the same, done), ROUNDS vectors of each,
// round t's at t - 1. Finished u are those that go into a round, u_0 .. u_11: u_12 is in gu_12 alone.
struct spectral_room { double *u, *v, *gu, *gv, *done_u, *done_v, *done_gu, *done_gv, *along; };

static spectral_room lay_out(int o, int m, double *at)
{
    size_t rows = static_cast<size_t>(ROUNDS) * static_cast<size_t>(o);
    size_t columns = static_cast<size_t>(ROUNDS) * static_cast<size_t>(m);
    double *v = at + 4 * rows;
    return spectral_room{ at, v, at + rows, v + columns, at + 2 * rows, v + 2 * columns, at + 3 * rows, v + 3 * columns,
                          v + 4 * columns };
}

static void times(int o, int m, const float *w, raw_vector v, double *out)
{
    LAUNCH(spectral_times, static_cast<unsigned>(o), ROW_THREADS, 0, CUDA_(stream), m, w, v, out);
}

static void times_transposed(int o, int m, const float *w, raw_vector u, double *out)
{
    dim3 grid(static_cast<unsigned>((m + 31) / 32)), block(32, COLUMN_ROWS);
    LAUNCH(spectral_times_transposed, grid, block, 0, CUDA_(stream), o, m, w, u, out);
}

// Vectors t of u and v, t = 1..ROUNDS (t = 0: what comes before); NULL stays NULL.
static double *round_of(double *first, int count, int t)
{
    return t < 1 ? nullptr : first + static_cast<size_t>(t - 1) * static_cast<size_t>(count);
}

static void iterate(const spectral_room &r, int o, int m, const float *w)
{
    for (int t = 1; t <= ROUNDS; t++) {
        raw_vector u = { o, 0, round_of(r.u, o, t - 1), nullptr, round_of(r.done_u, o, t) };
        times_transposed(o, m, w, u, round_of(r.v, m, t));
        raw_vector v = { m, 0, round_of(r.v, m, t), nullptr, round_of(r.done_v, m, t) };
        times(o, m, w, v, round_of(r.u, o, t));
    }
}

// The adjoints of w v_t (gu) and of wT u_{t-1} (gv) for d sigma = 1. Of sigma = u.(w v) of the last round: that of u is w v, as
// it lies in u[ROUNDS]; and v's share of sigma itself is wT u: the `again` of that round. The last product is there to finish
// gv_1; what it gives, the adjoint of the constant u_0, goes where nothing is read.
static void iterate_bwd(const spectral_room &r, int o, int m, const float *w)
{
    for (int t = ROUNDS; t >= 1; t--) {
        const double *from = t == ROUNDS ? round_of(r.u, o, t) : round_of(r.gu, o, t);
        raw_vector gu = { o, t == ROUNDS, round_of(r.u, o, t), from, round_of(r.done_gu, o, t) };
        times_transposed(o, m, w, gu, round_of(r.gv, m, t));
        raw_vector gv = { m, 0, round_of(r.v, m, t), round_of(r.gv, m, t), round_of(r.done_gv, m, t) };
        times(o, m, w, gv, t > 1 ? round_of(r.gu, o, t - 1) : round_of(r.gu, o, ROUNDS));
    }
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;

void CUDA_(weight_std_fwd)(fast_ctx *, int o, int m, const float *w, float *out)
{
    LAUNCH(weight_std_fwd, static_cast<unsigned>(o), ROW_THREADS, 0, CUDA_(stream), m, w, out);
}

void CUDA_(weight_std_bwd)(fast_ctx *, int o, int m, const float *w, const float *gout, float *gw)
{
    LAUNCH(weight_std_bwd, static_cast<unsigned>(o), ROW_THREADS, 0, CUDA_(stream), m, w, gout, gw);
}

size_t CUDA_(spectral_scratch)(int o, int m)
{
    return (4 * ROUNDS * (static_cast<size_t>(o) + static_cast<size_t>(m)) + static_cast<size_t>(o)) * sizeof(double);
}

void CUDA_(spectral_fwd)(fast_ctx *ctx, int o, int m, const float *w, float *out)
{
    spectral_room r = lay_out(o, m, static_cast<double *>(ctx->scratch));
    size_t count = static_cast<size_t>(o) * static_cast<size_t>(m);
    unsigned blocks = static_cast<unsigned>((m - 1) / ROW_THREADS + 1);
    iterate(r, o, m, w);
    LAUNCH(spectral_scale, blocks * static_cast<unsigned>(o < 16 ? o : 16), ROW_THREADS, 0, CUDA_(stream), o, count, w,
           round_of(r.u, o, ROUNDS), out);
}

void CUDA_(spectral_bwd)(fast_ctx *ctx, int o, int m, const float *w, const float *gout, float *gw)
{
    spectral_room r = lay_out(o, m, static_cast<double *>(ctx->scratch));
    dim3 grid(static_cast<unsigned>((m - 1) / ROW_THREADS + 1), static_cast<unsigned>(o < 32 ? o : 32));
    spectral_rounds rounds = { r.done_u, r.done_gu, r.done_v, r.done_gv };
    iterate(r, o, m, w);
    iterate_bwd(r, o, m, w);
    LAUNCH(spectral_along, static_cast<unsigned>(o), ROW_THREADS, 0, CUDA_(stream), m, w, gout, r.along);
    LAUNCH(spectral_give, grid, ROW_THREADS, 0, CUDA_(stream), o, m, rounds, round_of(r.u, o, ROUNDS), r.along, gout, gw);
}
