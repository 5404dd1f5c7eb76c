// Softmax attention on a CPU, and its gradient: models/ops/attention/blocks.py with blocks for the core's caches.
//
//     X = Q K^T / sqrt(K);  P = exp(X - m);  l = sum P;  Y = P V / l         m: the running maximum (online softmax)
//
// Forward, a panel is some queries. Their scores are stored as (keys, queries), so that a maximum, a sum or a scaling takes
// one register for each key, and keys and values need not be copied. A panel's sums stay in the cache during the loop over keys.
//
// Backward, a panel is some keys, which stay in the cache during the loop over queries. Their scores are stored as (queries,
// keys). With the log-sum-exp of each query, and delta = dY . Y:
//
//     P = exp(X - lse);  dX = P (dY V^T - delta);  dV^T += dY^T P;  dK^T += Q^T dX;  dQ += dX K
//
// Panels beyond the diagonal or the window are skipped; in a panel on the edge, the scores beyond it are masked.
//
// Axes, rows first: q, y (B, T, H, K); k, v (B, S, J, K), J dividing H; lse (B, H, T). K is a multiple of 8. All float.

#include <cmath>
#include <numeric>

#include "gemm.h"

namespace {

constexpr int64_t kPanels = 8;       // of a block: queries forward, keys backward
constexpr int64_t kBlock = kPanels * kPanel;
constexpr int64_t kKeys = 128;       // of one step of the loop over keys, forward
constexpr int64_t kQueries = 64;     // of one step of the loop over queries, backward
constexpr float kMasked = -3e38f, kLowest = -1e30f;  // a masked score stays below every maximum

struct Sizes {
  int64_t batch, queries, keys, heads, key_heads, size;
  bool causal;
  int64_t window;  // 0: none

  Sizes(const F32& q, const F32& k, int64_t causal, int64_t window)
      : batch(q.dimensions()[0]), queries(q.dimensions()[1]), keys(k.dimensions()[1]), heads(q.dimensions()[2]),
        key_heads(k.dimensions()[2]), size(q.dimensions()[3]), causal(causal), window(window) {}

  int64_t q_stride() const { return heads * size; }
  int64_t k_stride() const { return key_heads * size; }
  int64_t q_at(int64_t b, int64_t t, int64_t h) const { return ((b * queries + t) * heads + h) * size; }
  int64_t k_at(int64_t b, int64_t s, int64_t j) const { return ((b * keys + s) * key_heads + j) * size; }
  float scale() const { return 1 / std::sqrt((float)size); }

  // Query t sees the keys from first_key(t) to before end_key(t); key s is seen by the queries from first_query(s) to before
  // end_query(s).
  int64_t first_key(int64_t t) const { return window ? std::max<int64_t>(0, t - window + 1) : 0; }
  int64_t end_key(int64_t t) const { return causal ? std::min(keys, t + 1) : keys; }
  int64_t first_query(int64_t s) const { return causal ? s : 0; }
  int64_t end_query(int64_t s) const { return window ? std::min(queries, s + window) : queries; }
};

int64_t down(int64_t x) { return x / 8 * 8; }  // to whole tiles
int64_t blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

// A register at a time and not a Vec: GCC keeps vectors in memory that are wider than the machine's registers.
Register load(const float* x) {
  Register v;
  std::memcpy(&v, x, sizeof v);
  return v;
}

void store(float* x, Register v) { std::memcpy(x, &v, sizeof v); }

IntRegister counting(int64_t from) {
  static constexpr int32_t kFirst[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  IntRegister v;
  std::memcpy(&v, kFirst, sizeof v);
  return v + (int32_t)from;
}

using Scratch = std::vector<Vec>;  // its floats begin at a cache line
Scratch scratch(int64_t floats) { return Scratch(blocks(floats, kLanes)); }
float* floats(Scratch& x) { return reinterpret_cast<float*>(x.data()); }

// Items 0, ..., n - 1, each for the next core that is free, since causal blocks differ in size. make(): a core's worker, which
// is called with the number of an item.
template <typename Make>
void share_unequal(ffi::ThreadPool& pool, int64_t n, const Make& make) {
  std::atomic<int64_t> next{0};
  share(pool, std::min<int64_t>(n, pool.num_threads()), [&](int64_t, int64_t) {
    auto work = make();
    for (int64_t i; (i = next.fetch_add(1)) < n;) work(i);
  });
}

// A block of queries.
struct Forward {
  const Sizes& s;
  const float *q, *k, *v;
  float *y, *lse;
  Scratch qT, out, scores, m, l;  // (panels, K, kPanel) twice; (kKeys, kPanel); (panels, kPanel) twice

  Forward(const Sizes& s, F32 q, F32 k, F32 v, Out y, Out lse)
      : s(s), q(q.typed_data()), k(k.typed_data()), v(v.typed_data()), y(y->typed_data()), lse(lse->typed_data()),
        qT(scratch(kBlock * s.size)), out(scratch(kBlock * s.size)), scores(scratch(kKeys * kPanel)), m(scratch(kBlock)),
        l(scratch(kBlock)) {}

  void operator()(int64_t item) {  // the last blocks first: they are the longest
    const int64_t head = item % s.heads, b = item / s.heads % s.batch, n = blocks(s.queries, kBlock);
    const int64_t t = (n - 1 - item / s.heads / s.batch) * kBlock, end = std::min(s.queries, t + kBlock);
    const int64_t j = head / (s.heads / s.key_heads), panel_floats = s.size * kPanel;
    std::fill(out.begin(), out.end(), Vec{});
    std::fill(m.begin(), m.end(), Vec{} + kLowest);
    std::fill(l.begin(), l.end(), Vec{});
    for (int64_t p = 0, at = t; at < end; ++p, at += kPanel)
      transpose(std::min<int64_t>(kPanel, end - at), s.size, q + s.q_at(b, at, head), s.q_stride(), s.scale(), kPanel,
                floats(qT) + p * panel_floats, kPanel);
    for (int64_t key = down(s.first_key(t)); key < s.end_key(end - 1); key += kKeys)
      for (int64_t p = 0, at = t; at < end; ++p, at += kPanel) {
        const int64_t last = std::min(end, at + kPanel) - 1;
        const int64_t from = std::max(key, down(s.first_key(at))), to = std::min(key + kKeys, s.end_key(last));
        if (from < to) take(p, at, last, from, to, k + s.k_at(b, from, j), v + s.k_at(b, from, j));
      }
    for (int64_t p = 0, at = t; at < end; ++p, at += kPanel) {
      const int64_t n = std::min<int64_t>(kPanel, end - at);
      finish(p, n, y + s.q_at(b, at, head), lse + (b * s.heads + head) * s.queries + at);
    }
  }

  // Panel p, the queries from `at` to `last`, takes the keys from `from` to before `to`, which begin at k and v.
  void take(int64_t p, int64_t at, int64_t last, int64_t from, int64_t to, const float* k, const float* v) {
    const int64_t n = to - from;
    float* scores = floats(this->scores);
    multiply<Left::kAlong, Start::kZero>(n, s.size, k, s.k_stride(), floats(qT) + p * s.size * kPanel, scores);
    if (from < s.first_key(last) || to > s.end_key(at)) mask(at, from, to, scores);
    float shrink[kPanel];
    for (int j = 0; j < kPanel; j += kRegister) {
      float *m = floats(this->m) + p * kPanel + j, *l = floats(this->l) + p * kPanel + j;
      Register most = load(m), sum = {};
      for (int64_t i = 0; i < n; ++i) {
        const Register x = load(scores + i * kPanel + j);
        most = x > most ? x : most;
      }
      for (int64_t i = 0; i < n; ++i) {
        float* x = scores + i * kPanel + j;
        const Register weight = exp(load(x) - most);
        sum += weight;
        store(x, weight);
      }
      const Register by = exp(load(m) - most);
      store(shrink + j, by);
      store(l, load(l) * by + sum);
      store(m, most);
    }
    float* out = floats(this->out) + p * s.size * kPanel;
    multiply<Left::kAcross, Start::kShrink>(s.size, n, v, s.k_stride(), scores, out, shrink);
  }

  void mask(int64_t at, int64_t from, int64_t to, float* scores) {
    for (int64_t key = from; key < to; ++key)
      for (int j = 0; j < kPanel; j += kRegister) {
        float* x = scores + (key - from) * kPanel + j;
        const IntRegister t = counting(at + j);
        const IntRegister seen = (t >= (int32_t)s.first_query(key)) & (t < (int32_t)s.end_query(key));
        store(x, seen ? load(x) : Register{} + kMasked);
      }
  }

  void finish(int64_t p, int64_t n, float* y, float* lse) {
    float* out = floats(this->out) + p * s.size * kPanel;
    for (int j = 0; j < kPanel; j += kRegister) {
      const Register by = 1.0f / load(floats(l) + p * kPanel + j);
      for (int64_t i = 0; i < s.size; ++i) {
        float* x = out + i * kPanel + j;
        store(x, load(x) * by);
      }
    }
    transpose(s.size, n, out, kPanel, 1, s.size, y, s.q_stride());
    for (int64_t i = 0; i < n; ++i) lse[i] = floats(m)[p * kPanel + i] + std::log(floats(l)[p * kPanel + i]);
  }
};

// Every `parts`-th block of one key head's keys. Each part has its own dQ, so that the order of the sums is always the same.
struct Backward {
  const Sizes& s;
  const float *q, *k, *v, *dy, *lse, *delta;
  const std::vector<float*>& dq;
  float *dk, *dv;
  const int64_t wide;                   // panels of a head's size
  Scratch kT, vT, dkT, dvT, k_rows;     // (panels, K, kPanel); (panels, wide, keys of a panel, kPanel)
  Scratch p, dx, dq_rows;               // (kQueries, kPanel) twice; (wide, kQueries, kPanel)

  Backward(const Sizes& s, F32 q, F32 k, F32 v, F32 dy, F32 lse, const float* delta, const std::vector<float*>& dq, Out dk,
           Out dv)
      : s(s), q(q.typed_data()), k(k.typed_data()), v(v.typed_data()), dy(dy.typed_data()), lse(lse.typed_data()),
        delta(delta), dq(dq), dk(dk->typed_data()), dv(dv->typed_data()), wide(blocks(s.size, kPanel)),
        kT(scratch(kBlock * s.size)), vT(kT), dkT(kT), dvT(kT), k_rows(scratch(kBlock * wide * kPanel)),
        p(scratch(kQueries * kPanel)), dx(p), dq_rows(scratch(wide * kQueries * kPanel)) {}

  void operator()(int64_t item) {
    const int64_t parts = dq.size(), j = item / parts % s.key_heads, b = item / parts / s.key_heads;
    for (int64_t round = 0, part = item % parts; round * parts < blocks(s.keys, kBlock); ++round) {
      const int64_t in_turn = round % 2 ? parts - 1 - part : part;  // forth and back: if causal, the first blocks are longer
      const int64_t from = (round * parts + in_turn) * kBlock;
      if (from < s.keys) block(b, j, from, std::min(s.keys, from + kBlock), dq[part]);
    }
  }

  // The keys from `from` to before `to`.
  void block(int64_t b, int64_t j, int64_t from, int64_t to, float* dq) {
    const int64_t panel_floats = s.size * kPanel, group = s.heads / s.key_heads;
    for (int64_t i = 0, at = from; at < to; ++i, at += kPanel) {
      const int64_t n = std::min<int64_t>(kPanel, to - at), place = s.k_at(b, at, j);
      transpose(n, s.size, k + place, s.k_stride(), s.scale(), kPanel, floats(kT) + i * panel_floats, kPanel);
      transpose(n, s.size, v + place, s.k_stride(), 1, kPanel, floats(vT) + i * panel_floats, kPanel);
      copy_rows(n, k + place, floats(k_rows) + i * wide * kPanel * kPanel);
    }
    std::fill(dkT.begin(), dkT.end(), Vec{});
    std::fill(dvT.begin(), dvT.end(), Vec{});
    for (int64_t head = j * group; head < (j + 1) * group; ++head)
      for (int64_t t = down(s.first_query(from)), end = s.end_query(to - 1); t < end; t += kQueries)
        queries(b, head, t, std::min(end, t + kQueries), from, to, dq);
    for (int64_t i = 0, at = from; at < to; ++i, at += kPanel) {
      const int64_t n = std::min<int64_t>(kPanel, to - at), place = s.k_at(b, at, j);
      transpose(s.size, n, floats(dkT) + i * panel_floats, kPanel, s.scale(), s.size, dk + place, s.k_stride());
      transpose(s.size, n, floats(dvT) + i * panel_floats, kPanel, 1, s.size, dv + place, s.k_stride());
    }
  }

  // k / sqrt(K), padded with zeros.
  void copy_rows(int64_t n, const float* k, float* rows) {
    std::fill_n(rows, wide * kPanel * kPanel, 0.0f);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < s.size; ++c)
        rows[(c / kPanel * kPanel + i) * kPanel + c % kPanel] = k[i * s.k_stride() + c] * s.scale();
  }

  // The queries from t to before `end`, with all panels of the block.
  void queries(int64_t b, int64_t head, int64_t t, int64_t end, int64_t from, int64_t to, float* dq) {
    std::fill(dq_rows.begin(), dq_rows.end(), Vec{});
    for (int64_t i = 0, at = from; at < to; ++i, at += kPanel) {
      const int64_t last = std::min(to, at + kPanel) - 1;
      const int64_t first = std::max(t, down(s.first_query(at))), stop = std::min(end, s.end_query(last));
      if (first < stop) pair(b, head, i, at, last, first, stop, floats(dq_rows) + (first - t) * kPanel);
    }
    for (int64_t i = 0; i < end - t; ++i) {
      float* to = dq + s.q_at(b, t + i, head);
      for (int64_t c = 0; c < s.size; c += 8)
        for (int64_t e = c; e < c + 8; ++e) to[e] += floats(dq_rows)[(c / kPanel * kQueries + i) * kPanel + e % kPanel];
    }
  }

  // Panel i, the keys from `at` to `last`, with the queries from t to before `end`.
  void pair(int64_t b, int64_t head, int64_t i, int64_t at, int64_t last, int64_t t, int64_t end, float* dq) {
    const int64_t n = end - t, stride = s.q_stride(), panel = i * s.size * kPanel, place = s.q_at(b, t, head);
    const float *q = this->q + place, *dy = this->dy + place;
    float *p = floats(this->p), *dx = floats(this->dx);
    multiply<Left::kAlong, Start::kZero>(n, s.size, q, stride, floats(kT) + panel, p);
    multiply<Left::kAlong, Start::kZero>(n, s.size, dy, stride, floats(vT) + panel, dx);
    const int64_t row = (b * s.heads + head) * s.queries + t;
    if (at < s.first_key(end - 1) || at + kPanel > s.end_key(t))
      slopes<true>(n, t, at, row, p, dx);
    else
      slopes<false>(n, t, at, row, p, dx);
    multiply<Left::kAcross, Start::kAdd>(s.size, n, dy, stride, p, floats(dvT) + panel);
    multiply<Left::kAcross, Start::kAdd>(s.size, n, q, stride, dx, floats(dkT) + panel);
    for (int64_t c = 0; c < wide; ++c)
      multiply<Left::kAlong, Start::kAdd>(n, last + 1 - at, dx, kPanel, floats(k_rows) + (i * wide + c) * kPanel * kPanel,
                                          dq + c * kQueries * kPanel);
  }

  // Scores become probabilities, and dY V^T becomes dX, in place. row: that of query t in lse and delta.
  template <bool kMask>
  void slopes(int64_t n, int64_t t, int64_t at, int64_t row, float* p, float* dx) {
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < kPanel; j += kRegister) {
        const int64_t place = i * kPanel + j;
        Register weight = exp(load(p + place) - lse[row + i]);
        if (kMask) {
          const IntRegister key = counting(at + j);
          const IntRegister seen = (key >= (int32_t)s.first_key(t + i)) & (key < (int32_t)s.end_key(t + i));
          weight = seen ? weight : Register{};
        }
        store(p + place, weight);
        store(dx + place, weight * (load(dx + place) - delta[row + i]));
      }
  }
};

ffi::Error forward(ffi::ThreadPool pool, int64_t causal, int64_t window, F32 q, F32 k, F32 v, Out y, Out lse) {
  const Sizes s(q, k, causal, window);
  share_unequal(pool, s.batch * s.heads * blocks(s.queries, kBlock), [&] { return Forward(s, q, k, v, y, lse); });
  return ffi::Error::Success();
}

ffi::Error backward(ffi::ThreadPool pool, int64_t causal, int64_t window, F32 q, F32 k, F32 v, F32 y, F32 lse, F32 dy,
                    Out dq, Out dk, Out dv) {
  const Sizes s(q, k, causal, window);
  const int64_t rows = s.batch * s.queries * s.heads, total = rows * s.size;
  std::vector<float> delta(rows);
  share(pool, rows, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {  // (B, T, H) to (B, H, T)
      const float *y_i = y.typed_data() + i * s.size, *dy_i = dy.typed_data() + i * s.size;
      float sum[8] = {};
      for (int64_t c = 0; c < s.size; c += 8)
        for (int64_t e = 0; e < 8; ++e) sum[e] += y_i[c + e] * dy_i[c + e];
      delta[(i / s.heads / s.queries * s.heads + i % s.heads) * s.queries + i / s.heads % s.queries] =
          std::accumulate(sum, sum + 8, 0.0f);
    }
  });
  // With many heads to a core, there is one part. With few, which would not share evenly, there are more parts.
  const int64_t groups = s.batch * s.key_heads, cores = pool.num_threads();
  const int64_t parts = groups >= 4 * cores ? 1 : std::min(blocks(s.keys, kBlock), cores / std::gcd(cores, groups));
  std::vector<std::vector<float>> others(parts - 1, std::vector<float>(total));
  std::vector<float*> dq_parts{dq->typed_data()};
  for (auto& other : others) dq_parts.push_back(other.data());
  std::fill_n(dq->typed_data(), total, 0.0f);
  share_unequal(pool, groups * parts, [&] { return Backward(s, q, k, v, dy, lse, delta.data(), dq_parts, dk, dv); });
  share(pool, total, [&](int64_t first, int64_t last) {
    for (auto& other : others)
      for (int64_t i = first; i < last; ++i) dq->typed_data()[i] += other[i];
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(attention_forward, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("causal").Attr<int64_t>("window")
                                  .Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(attention_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("causal").Attr<int64_t>("window")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
