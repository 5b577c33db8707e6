// tiles.cu: convolutions on tensor cores with every tile that conv_tensor.cu cuts maps into, whichever it would choose for the
// shape: small integers, which every kind holds, so that sums are exact in any order.
#include "fast/cuda/conv_tensor.cu"

#include <vector>

#include "fast/cuda/emulate/emulate.h"
#include "tests/test.h"

cudaStream_t CUDA_(stream) = nullptr;

namespace CUDA_SIDE {

void check(cudaError_t e, const char *call)
{
    if (e != cudaSuccess)
        printf("%s: error %d\n", call, static_cast<int>(e)), test_failures++;
}

struct device_floats {
    float *p;
    explicit device_floats(const std::vector<float> &v)
    {
        CHECKED(cudaMalloc(&p, v.size() * sizeof(float)));
        CHECKED(cudaMemcpy(p, v.data(), v.size() * sizeof(float), cudaMemcpyHostToDevice));
    }
    ~device_floats() { CHECKED(cudaFree(p)); }
};

// Integers from -3 to 3; those of a blocked tensor's channels beyond c are 0.
static std::vector<float> some(size_t count, unsigned seed)
{
    std::vector<float> v(count);
    for (size_t i = 0; i < count; i++)
        v[i] = static_cast<float>(static_cast<int>((static_cast<unsigned>(i) + seed) * 2654435761u >> 16) % 7 - 3);
    return v;
}
static size_t at(int channels, int pixels, int n, int c, int pixel)
{
    return static_cast<size_t>(((n * fast_blocks(channels) + c / 16) * pixels + pixel) * 16 + c % 16);
}
static std::vector<float> image(int n, int channels, int pixels, unsigned seed)
{
    std::vector<float> v = some(at(channels, pixels, n, 0, 0), seed);
    for (int i = 0; i < n; i++)
        for (int c = channels; c < 16 * fast_blocks(channels); c++)
            for (int pixel = 0; pixel < pixels; pixel++)
                v[at(channels, pixels, i, c, pixel)] = 0;
    return v;
}

// dst += map(src), by the formula: output (r, c) sees input (r s - p + a, c s - p + b) under tap (a, b).
static void add_map(const conv_map &m, const std::vector<float> &src, const std::vector<float> &w, std::vector<float> &dst)
{
    const int rows = m.backward ? m.hs : m.hd, columns = m.backward ? m.ws : m.wd;
    const int high = m.backward ? m.hd : m.hs, wide = m.backward ? m.wd : m.ws, taps = m.k * m.k;
    for (int out = 0; out < rows * columns; out++)
        for (int tap = 0; tap < taps; tap++) {
            int y = out / columns * m.s - m.p + tap / m.k, x = out % columns * m.s - m.p + tap % m.k;
            if (y < 0 || y >= high || x < 0 || x >= wide)
                continue;
            int from = m.backward ? out : y * wide + x, to = m.backward ? y * wide + x : out;
            for (int n = 0; n < m.n; n++)
                for (int d = 0; d < m.cd; d++)
                    for (int s = 0; s < m.cs; s++) {
                        int weight = (m.backward ? s * m.cd + d : d * m.cs + s) * taps + tap;
                        dst[at(m.cd, m.hd * m.wd, n, d, to)] +=
                            src[at(m.cs, m.hs * m.ws, n, s, from)] * w[static_cast<size_t>(weight)];
                    }
        }
}

// Values that differ from the formula's; -1 where a tile of this cut does not fit. ran[whole]: launches.
static int wrong(const conv_map &m, int kind, const cut &c, int ran[2])
{
    const fast_conv_algorithm a = kind == BF16 ? FAST_CONV_BF16 : FAST_CONV_TF32;
    const std::vector<float> src = image(m.n, m.cs, m.hs * m.ws, 1), add = image(m.n, m.cd, m.hd * m.wd, 2);
    const std::vector<float> w = some(static_cast<size_t>(m.cs * m.cd * m.k * m.k), 3);
    const std::vector<float> bias = some(static_cast<size_t>(m.cd), 4);
    const int phases = conv_phases(m);
    for (int i = 0; i < phases * phases; i++)
        if (map_shared(kind, shape_of(m, kind, c, i / phases, i % phases)) > SHARED_MOST)
            return -1;
    std::vector<float> want = add, got(add.size(), NAN);
    for (int n = 0; n < m.n; n++)
        for (int d = 0; d < m.cd; d++)
            for (int pixel = 0; pixel < m.hd * m.wd; pixel++)
                want[at(m.cd, m.hd * m.wd, n, d, pixel)] += bias[static_cast<size_t>(d)];
    add_map(m, src, w, want);
    const device_floats from(src), weights(w), some_bias(bias), some_add(add), to(got);
    const device_floats packed(std::vector<float>(CUDA_(conv_tensor_packed)(&m, a), NAN));
    CUDA_(conv_tensor_pack)(&m, a, weights.p, packed.p);
    for (int i = 0; i < phases * phases; i++) {
        map_shape g = shape_of(m, kind, c, i / phases, i % phases);
        if (g.tile.tiles == 0)
            continue;
        run_map(g, kind, from.p, reinterpret_cast<const uint32_t *>(packed.p), some_bias.p, some_add.p, to.p);
        ran[g.whole]++;
    }
    CHECKED(cudaMemcpy(got.data(), to.p, got.size() * sizeof(float), cudaMemcpyDeviceToHost));
    int differ = 0;
    for (size_t i = 0; i < got.size(); i++)
        differ += !(got[i] == want[i]);
    return differ;
}

TEST(every_tile)
{
    static const int shapes[][8] = {             // n, channels in, out, rows, columns, window, stride, padding
        { 2, 20, 70, 9, 18, 3, 1, 1 }, { 9, 70, 33, 4, 4, 3, 1, 1 },  { 5, 33, 20, 2, 1, 3, 1, 1 },
        { 1, 40, 17, 8, 8, 3, 1, 1 },  { 2, 40, 34, 7, 9, 3, 2, 1 },  { 1, 16, 40, 8, 20, 4, 2, 1 },
        { 3, 70, 36, 5, 6, 1, 1, 0 },  { 1, 17, 40, 9, 9, 5, 1, 0 },
    };
    static const cut cuts[] = { { 4, 1 }, { 4, 2 }, { 4, 4 }, { 2, 4 }, { 1, 4 } };
    emulate_options o = emulate_get();
    o.order = EMULATE_RANDOM;
    o.seed = 7;
    emulate_set(o);
    for (int kind = TF32; kind <= BF16; kind++)
        for (const cut &c : cuts) {
            int ran[2] = { 0, 0 }, fitted = 0;
            for (const int *s : shapes) {
                fast_conv f = {};
                f.ci = s[1], f.co = s[2], f.hi = s[3], f.wi = s[4], f.k = s[5], f.s = s[6], f.p = s[7];
                f.ho = (f.hi + 2 * f.p - f.k) / f.s + 1;
                f.wo = (f.wi + 2 * f.p - f.k) / f.s + 1;
                for (const conv_map &m : { conv_forward(s[0], &f), conv_backward(s[0], &f) }) {
                    int differ = wrong(m, kind, c, ran);
                    fitted += differ >= 0;
                    if (differ > 0)
                        printf("kind %d, %d units, %d parts, %d>%d, %dx%d, window %d, backward %d:\n", kind, c.units, c.parts,
                               m.cs, m.cd, m.hd, m.wd, m.k, m.backward);
                    CHECK_EQ(differ > 0 ? differ : 0, 0);
                }
            }
            CHECK(ran[1] >= 8 && fitted >= 8);
            CHECK(ran[0] >= 4 || (c.units == 4 && c.parts == 4));    // too large for a patch each tap
        }
    CHECK(!emulate_last_fault());
    CHECK_EQ(emulate_memory_used(), 0);
}

}  // namespace CUDA_SIDE

using namespace CUDA_SIDE;
TEST_MAIN("cuda tiles", T(every_tile))
