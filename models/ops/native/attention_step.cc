// Attention of one new token to itself and to a cache, which is not copied: what a Transformer decodes with on a CPU.
//
//     x_i = q . k_i / sqrt(K);  y = sum_i e^{x_i - m} v_i / sum_i e^{x_i - m},  m = max x_i
//
// Keys and values are read once, for all queries of a key head together. A head's slots are cut into pieces, which the cores
// share. Each piece has its own maximum and sums, and the pieces are added up at the end.
//
// Axes, rows first: q, y (B, 1, H, K); k, v (B, 1, J, K), J dividing H; caches (N, B, J, S, K); layer, filled: one number
// each. K is a multiple of 16. All float. The token at position p is in slot p mod S; `filled` tokens came before this one. It
// sees `window` tokens, itself included (0: all).

#include <cmath>
#include <utility>

#include "gemm.h"

namespace {

constexpr int64_t kBlock = 256;         // slots whose scores are computed at once
constexpr int64_t kPiece = 1024;        // slots
constexpr int64_t kWorthSharing = 2e6;  // bytes of keys and values; less is read in the time in which another core wakes up
constexpr float kMasked = -3e38f, kLowest = -1e30f;

using S32 = ffi::Buffer<ffi::S32>;
using Range = std::pair<int64_t, int64_t>;  // of slots

struct Step {
  int64_t batch, key_heads, group, slots, size;
  const float *q, *k, *v, *k_cache, *v_cache;  // the caches: of this layer
  float scale;

  int64_t row(int64_t b, int64_t j) const { return (b * key_heads + j) * slots * size; }
  int64_t query(int64_t b, int64_t j) const { return (b * key_heads + j) * group * size; }
};

// The running sums of each query of a key head: the maximum, the sum, and the weighted sum of values, (R, K).
struct Sums {
  std::vector<float> max, sum, values;
  Sums(int64_t group, int64_t size) : max(group, kLowest), sum(group), values(group * size) {}
};

float exp_of(float x) { return exp(Vec{} + x)[0]; }

float dot(int64_t size, const float* x, const float* y) {
  const Lanes<true> lanes{kLanes};
  Vec total = {};
  for (int64_t c = 0; c < size; c += kLanes) total += lanes.load(x + c) * lanes.load(y + c);
  return sum(total);
}

// The scores of n keys, and kMasked up to the next whole Vec; their maximum.
float score(const Step& s, const float* q, const float* keys, int64_t n, float* scores) {
  const Lanes<true> lanes{kLanes};
  float most = kLowest;
  for (int64_t i = 0; i < n; i += kLanes) {
    Vec x[kLanes] = {};
    const int64_t rows = std::min<int64_t>(kLanes, n - i);
    for (int64_t r = 0; r < rows; ++r) {
      Vec products = {};
      for (int64_t c = 0; c < s.size; c += kLanes)
        products += lanes.load(keys + (i + r) * s.size + c) * lanes.load(q + c);
      x[r] = products;
    }
    transpose(x);
    Vec total = {};
    for (int r = 0; r < kLanes; ++r) total += x[r];
    total *= s.scale;
    for (int64_t r = rows; r < kLanes; ++r) total[r] = kMasked;
    lanes.store(scores + i, total);
    for (int r = 0; r < kLanes; ++r) most = std::max(most, total[r]);
  }
  return most;
}

// kRows values, weighted, at once: the sum is read and written once for all of them.
template <int kRows>
void add_values(const Step& s, const float* weights, const float* values, float* sums) {
  const Lanes<true> lanes{kLanes};
  for (int64_t c = 0; c < s.size; c += kLanes) {
    Vec v[kRows];
#pragma GCC unroll 4
    for (int d = 0; d < kRows; ++d) v[d] = lanes.load(values + d * s.size + c);
    for (int64_t r = 0; r < s.group; ++r) {
      Vec x = lanes.load(sums + r * s.size + c);
#pragma GCC unroll 4
      for (int d = 0; d < kRows; ++d) x += weights[r * kBlock + d] * v[d];
      lanes.store(sums + r * s.size + c, x);
    }
  }
}

void add_block(const Step& s, int64_t b, int64_t j, int64_t first, int64_t n, Sums& sums, float* weights) {
  const Lanes<true> lanes{kLanes};
  const float *keys = s.k_cache + s.row(b, j) + first * s.size, *values = s.v_cache + s.row(b, j) + first * s.size;
  for (int64_t r = 0; r < s.group; ++r) {
    float *w = weights + r * kBlock, *to = &sums.values[r * s.size];
    const float before = sums.max[r], most = std::max(before, score(s, s.q + s.query(b, j) + r * s.size, keys, n, w));
    const float shrink = exp_of(before - most);
    Vec total = {};
    for (int64_t i = 0; i < n; i += kLanes) {
      const Vec e = exp(lanes.load(w + i) - most);
      lanes.store(w + i, e);
      total += e;
    }
    sums.max[r] = most, sums.sum[r] = sums.sum[r] * shrink + sum(total);
    for (int64_t c = 0; c < s.size; ++c) to[c] *= shrink;
  }
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) add_values<4>(s, weights + i, values + i * s.size, sums.values.data());
  for (; i < n; ++i) add_values<1>(s, weights + i, values + i * s.size, sums.values.data());
}

// The slots that are seen, in pieces: those of the ring's latest pass, and those of the pass before.
std::vector<Range> pieces(int64_t slots, int64_t filled, int64_t window) {
  const int64_t turned = filled % slots, seen = window ? window - 1 : filled;  // tokens before this one
  std::vector<Range> ranges = {{std::max<int64_t>(0, turned - seen), turned}}, cut;
  if (filled >= slots) ranges.push_back({std::max(turned, turned + slots - seen), slots});
  for (auto [first, last] : ranges)
    for (; first < last; first += kPiece) cut.push_back({first, std::min(last, first + kPiece)});
  return cut;
}

ffi::Error step(ffi::ThreadPool pool, int64_t window, F32 q, F32 k, F32 v, F32 k_cache, F32 v_cache, S32 layer, S32 filled,
                Out y) {
  const auto shape = k_cache.dimensions();
  const int64_t at = layer.typed_data()[0] * shape[1] * shape[2] * shape[3] * shape[4];
  const Step s = {shape[1], shape[2], q.dimensions()[2] / shape[2], shape[3], shape[4], q.typed_data(), k.typed_data(),
                  v.typed_data(), k_cache.typed_data() + at, v_cache.typed_data() + at, 1 / std::sqrt((float)shape[4])};
  const std::vector<Range> cut = pieces(s.slots, filled.typed_data()[0], window);
  const int64_t n_heads = s.batch * s.key_heads, n = n_heads * cut.size();
  std::vector<Sums> all(n, Sums(s.group, s.size));
  const auto work = [&](int64_t begin, int64_t end) {
    std::vector<float> weights(s.group * kBlock);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / cut.size();
      const auto [first, last] = cut[i % cut.size()];
      for (int64_t slot = first; slot < last; slot += kBlock)
        add_block(s, head / s.key_heads, head % s.key_heads, slot, std::min(kBlock, last - slot), all[i], weights.data());
    }
  };
  const int64_t bytes = n * std::min(kPiece, s.slots) * s.size * 2 * sizeof(float);
  if (n > 0 && bytes >= kWorthSharing)
    share(pool, n, work);
  else
    work(0, n);
  for (int64_t head = 0; head < n_heads; ++head)
    for (int64_t r = 0; r < s.group; ++r) {
      const Sums* mine = all.data() + head * cut.size();
      const int64_t from = (head * s.group + r) * s.size;
      const float own = s.scale * dot(s.size, s.q + from, s.k + head * s.size);
      float most = own, total = 0;
      for (size_t i = 0; i < cut.size(); ++i) most = std::max(most, mine[i].max[r]);
      float* out = y->typed_data() + from;
      const float e = exp_of(own - most);
      total += e;
      for (int64_t c = 0; c < s.size; ++c) out[c] = e * s.v[head * s.size + c];
      for (size_t i = 0; i < cut.size(); ++i) {
        const float e = exp_of(mine[i].max[r] - most);
        total += e * mine[i].sum[r];
        for (int64_t c = 0; c < s.size; ++c) out[c] += e * mine[i].values[r * s.size + c];
      }
      for (int64_t c = 0; c < s.size; ++c) out[c] /= total;
    }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(attention_step, step,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("window")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<S32>().Arg<S32>()
                                  .Ret<F32>());
