// Mamba's selective scan on a CPU, and its gradient: the loops that XLA cannot make of models/ops/selective_scan.py.
//
//     h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t          y_t = C_t . h_t
//
// XLA takes every step's (N, E) state through the cache several times, a loop for each operation. Here a block of channels
// is carried through time with its state in the first-level cache, an element's arithmetic in registers. Channels do not
// meet, so the cores share them; only dB and dC are sums over all of them. The gradient recomputes the states of a chunk
// from its first one (the forward pass keeps those), then walks back:
//
//     dh_t += C_t dy_t;  dC_t = h_t . dy_t;  dB_t = dh_t . (dt_t u_t);  d(dt u)_t = B_t . dh_t
//     dz_t = dh_t exp(dt_t A) h_{t-1};  ddt_t = A . dz_t;  dA += dt_t dz_t;  dh_{t-1} = exp(dt_t A) dh_t
//
// Axes, rows first: u, dt, y (B, T, E); A (N, E); B, C (B, T, N); states (B, N, E); borders (B, T / chunk, N, E). All float.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <condition_variable>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kLanes = 16;                                       // a cache line of channels
typedef float Vec __attribute__((vector_size(kLanes * 4)));      // as many machine vectors as that takes
typedef int32_t Int __attribute__((vector_size(kLanes * 4)));

// A group of channels in memory: kLanes of them, or what the width leaves for the last one (a size not known to the compiler
// makes every load a call).
template <bool kWhole>
struct Lanes {
  int64_t count;
  int64_t bytes() const { return kWhole ? sizeof(Vec) : count * sizeof(float); }
  Vec load(const float* x) const {
    Vec v = {};
    std::memcpy(&v, x, bytes());
    return v;
  }
  void store(float* x, Vec v) const { std::memcpy(x, &v, bytes()); }
};

// The next lines of a column lie too far apart for the hardware to foresee.
constexpr int64_t kAhead = 4;
inline void prefetch(const float* x) { __builtin_prefetch(x); }

template <typename Body>
void with_lanes(int64_t count, const Body& body) {
  if (count == kLanes)
    body(Lanes<true>{count});
  else
    body(Lanes<false>{count});
}

inline float sum(Vec v) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// e^x = 2^n e^r, |r| <= ln(2) / 2, by a polynomial (Moshier's Cephes, expf); below e^-87 it stays there.
inline Vec exp(Vec x) {
  x = x < -87.0f ? Vec{} - 87.0f : x;
  x = x > 88.0f ? Vec{} + 88.0f : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  Vec shifted = x * 1.44269504088896341f + shift;
  Vec n = shifted - shift;
  Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Int exponent = (Int)shifted << 23;  // the low bits of `shifted` are n
  return (Vec)((Int)p + exponent);
}

using F32 = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;

struct Sizes {
  int64_t batch, length, width, states, chunk;
  int64_t groups() const { return (width + kLanes - 1) / kLanes; }
  int64_t chunks() const { return (length + chunk - 1) / chunk; }
  int64_t te() const { return length * width; }
  int64_t tn() const { return length * states; }
  int64_t ne() const { return states * width; }
};

// Share 0, ..., n - 1 out among the cores: task(first, last) on the pool, and on this thread, which takes what no other has
// begun.
template <typename Task>
void share(ffi::ThreadPool& pool, int64_t n, const Task& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  const int64_t parts = std::clamp<int64_t>(pool.num_threads(), 1, n);
  auto shared = std::make_shared<Shared>();
  auto work = [shared, parts, n, &task] {
    for (int64_t i; (i = shared->next.fetch_add(1)) < parts;) {
      task(i * n / parts, (i + 1) * n / parts);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (++shared->done == parts) shared->all_done.notify_one();
    }
  };
  for (int64_t i = 1; i < parts; ++i)  // whoever comes late finds nothing left, and never touches the task
    pool.Schedule([work]() mutable { work(); });
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == parts; });
}

// One sequence.
struct Inputs {
  const float *u, *dt, *A, *B, *C;
  Inputs(const Sizes& s, int64_t b, F32 u, F32 dt, F32 A, F32 B, F32 C)
      : u(u.typed_data() + b * s.te()), dt(dt.typed_data() + b * s.te()), A(A.typed_data()),
        B(B.typed_data() + b * s.tn()), C(C.typed_data() + b * s.tn()) {}
};

// One group of channels, from `at` on, through all of the time.
template <typename Lanes>
void forward_group(const Sizes& s, Lanes lanes, int64_t at, const Inputs& x, const float* h0, float* y, float* h_last,
                   float* borders, Vec* h, Vec* A) {
  const int64_t E = s.width, N = s.states;
  for (int64_t n = 0; n < N; ++n) A[n] = lanes.load(x.A + n * E + at);
  for (int64_t n = 0; n < N; ++n) h[n] = lanes.load(h0 + n * E + at);
  for (int64_t t = 0; t < s.length; ++t) {
    if (borders && t % s.chunk == 0)
      for (int64_t n = 0; n < N; ++n) lanes.store(borders + (t / s.chunk * N + n) * E + at, h[n]);
    const float *B = x.B + t * N, *C = x.C + t * N;
    prefetch(x.dt + (t + kAhead) * E + at), prefetch(x.u + (t + kAhead) * E + at), prefetch(y + (t + kAhead) * E + at);
    const Vec dt = lanes.load(x.dt + t * E + at), dtu = dt * lanes.load(x.u + t * E + at);
    Vec y_t = {};
    for (int64_t n = 0; n < N; ++n) {
      h[n] = exp(dt * A[n]) * h[n] + dtu * B[n];
      y_t += h[n] * C[n];
    }
    lanes.store(y + t * E + at, y_t);
  }
  for (int64_t n = 0; n < N; ++n) lanes.store(h_last + n * E + at, h[n]);
}

// Some groups of the channels. dh and dA, (groups, N), are carried from chunk to chunk.
struct Backward {
  const Sizes& s;
  const int64_t first, last;
  std::vector<Vec> dh, dA;
  std::vector<Vec> A, decay, before, dB, dC;  // of a chunk: (N), and (C, N) each

  Backward(const Sizes& s, int64_t first, int64_t last)
      : s(s), first(first), last(last), dh((last - first) * s.states), dA(dh.size()), A(s.states),
        decay(s.chunk * s.states), before(decay.size()), dB(decay.size()), dC(decay.size()) {}

  template <typename Body>  // body(lanes, first channel, the group's part of dh, of dA)
  void each_group(const Body& body) {
    for (int64_t group = first; group < last; ++group) {
      const int64_t at = group * kLanes, row = (group - first) * s.states;
      with_lanes(std::min<int64_t>(kLanes, s.width - at), [&](auto lanes) { body(lanes, at, &dh[row], &dA[row]); });
    }
  }

  void chunk(int64_t c, const Inputs& x, const float* borders, const float* dy, float* du, float* ddt, float* dB_out,
             float* dC_out) {
    const int64_t begin = c * s.chunk, end = std::min(s.length, begin + s.chunk), N = s.states;
    std::fill(dB.begin(), dB.end(), Vec{});
    std::fill(dC.begin(), dC.end(), Vec{});
    each_group([&](auto lanes, int64_t at, Vec* dh, Vec* dA) {
      for (int64_t n = 0; n < N; ++n) A[n] = lanes.load(x.A + n * s.width + at);
      for (int64_t n = 0; n < N; ++n) before[n] = lanes.load(borders + (c * N + n) * s.width + at);
      for (int64_t t = begin; t < end; ++t) recompute(lanes, t * s.width + at, t, (t - begin) * N, t + 1 < end, x, dy);
      for (int64_t t = end; t-- > begin;) back(lanes, t * s.width + at, t, (t - begin) * N, x, dy, dh, dA, du, ddt);
    });
    for (int64_t i = 0; i < (end - begin) * N; ++i) {
      dB_out[begin * N + i] = sum(dB[i]);
      dC_out[begin * N + i] = sum(dC[i]);
    }
  }

  // i: of the group at this time in (T, E). row: of the time in the chunk's arrays.
  template <typename Lanes>
  void recompute(Lanes lanes, int64_t i, int64_t t, int64_t row, bool more, const Inputs& x, const float* dy) {
    const int64_t N = s.states;
    const float* B = x.B + t * N;
    const int64_t ahead = i + kAhead * s.width;
    prefetch(x.dt + ahead), prefetch(x.u + ahead), prefetch(dy + ahead);
    const Vec dt = lanes.load(x.dt + i), dtu = dt * lanes.load(x.u + i), dy_t = lanes.load(dy + i);
    for (int64_t n = 0; n < N; ++n) {
      decay[row + n] = exp(dt * A[n]);
      const Vec h = decay[row + n] * before[row + n] + dtu * B[n];
      if (more) before[row + N + n] = h;
      dC[row + n] += h * dy_t;
    }
  }

  template <typename Lanes>
  void back(Lanes lanes, int64_t i, int64_t t, int64_t row, const Inputs& x, const float* dy, Vec* dh, Vec* dA,
            float* du, float* ddt) {
    const int64_t N = s.states;
    const float *B = x.B + t * N, *C = x.C + t * N;
    const Vec dt = lanes.load(x.dt + i), u = lanes.load(x.u + i), dtu = dt * u, dy_t = lanes.load(dy + i);
    Vec ddtu = {}, ddt_t = {};
    for (int64_t n = 0; n < N; ++n) {
      const Vec dh_t = dh[n] + dy_t * C[n];
      dB[row + n] += dh_t * dtu;
      ddtu += dh_t * B[n];
      dh[n] = dh_t * decay[row + n];
      const Vec dz = dh[n] * before[row + n];
      ddt_t += dz * A[n];
      dA[n] += dz * dt;
    }
    lanes.store(du + i, ddtu * dt);
    lanes.store(ddt + i, ddt_t + ddtu * u);
  }
};

Sizes sizes(const F32& u, const F32& A, int64_t chunk) {
  return {u.dimensions()[0], u.dimensions()[1], u.dimensions()[2], A.dimensions()[0], chunk};
}

// borders: (B, T / chunk, N, E) to be differentiated, (B, 0, N, E) otherwise.
ffi::Error forward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 h0, Out y, Out h,
                   Out borders) {
  const Sizes s = sizes(u, A, chunk);
  const bool keep = borders->dimensions()[1] > 0;
  share(pool, s.groups(), [&](int64_t first, int64_t last) {
    std::vector<Vec> state(s.states), a(s.states);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t at = first * kLanes; at < std::min(s.width, last * kLanes); at += kLanes)
        with_lanes(std::min<int64_t>(kLanes, s.width - at), [&](auto lanes) {
          forward_group(s, lanes, at, Inputs(s, b, u, dt, A, B, C), h0.typed_data() + b * s.ne(),
                        y->typed_data() + b * s.te(), h->typed_data() + b * s.ne(),
                        keep ? borders->typed_data() + b * s.chunks() * s.ne() : nullptr, state.data(), a.data());
        });
  });
  return ffi::Error::Success();
}

ffi::Error backward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 borders, F32 dy,
                    F32 dh, Out du, Out ddt, Out dA, Out dB, Out dC, Out dh0) {
  const Sizes s = sizes(u, A, chunk);
  const int64_t btn = s.batch * s.tn();
  std::fill_n(dB->typed_data(), btn, 0.0f);
  std::fill_n(dC->typed_data(), btn, 0.0f);
  std::mutex mutex;
  share(pool, s.groups(), [&](int64_t first, int64_t last) {
    Backward work(s, first, last);
    std::vector<float> dB_part(s.tn()), dC_part(s.tn());
    for (int64_t b = 0; b < s.batch; ++b) {
      const float* dh_b = dh.typed_data() + b * s.ne();
      float* dh0_b = dh0->typed_data() + b * s.ne();
      work.each_group([&](auto lanes, int64_t at, Vec* dh, Vec*) {
        for (int64_t n = 0; n < s.states; ++n) dh[n] = lanes.load(dh_b + n * s.width + at);
      });
      const Inputs x(s, b, u, dt, A, B, C);
      for (int64_t c = s.chunks(); c-- > 0;)
        work.chunk(c, x, borders.typed_data() + b * s.chunks() * s.ne(), dy.typed_data() + b * s.te(),
                   du->typed_data() + b * s.te(), ddt->typed_data() + b * s.te(), dB_part.data(), dC_part.data());
      work.each_group([&](auto lanes, int64_t at, Vec* dh, Vec*) {
        for (int64_t n = 0; n < s.states; ++n) lanes.store(dh0_b + n * s.width + at, dh[n]);
      });
      std::lock_guard<std::mutex> lock(mutex);
      for (int64_t i = 0; i < s.tn(); ++i) dB->typed_data()[b * s.tn() + i] += dB_part[i];
      for (int64_t i = 0; i < s.tn(); ++i) dC->typed_data()[b * s.tn() + i] += dC_part[i];
    }
    work.each_group([&](auto lanes, int64_t at, Vec*, Vec* dA_g) {
      for (int64_t n = 0; n < s.states; ++n) lanes.store(dA->typed_data() + n * s.width + at, dA_g[n]);
    });
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(selective_scan_forward, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("chunk")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(selective_scan_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("chunk")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
