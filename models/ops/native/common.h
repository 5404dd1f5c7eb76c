// What the kernels share: vectors of floats, the exponential, and the cores of XLA's thread pool.
#pragma once

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

// A group of channels in memory: kLanes of them, or in the last group what the width leaves. kWhole says so at compile time,
// for the compiler makes a call of every load whose size it does not know.
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

// The rows of a column are too far apart in memory for the hardware to prefetch them.
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

// e^x = 2^n e^r, |r| <= ln(2) / 2, by a polynomial (Moshier's Cephes, expf). Below x = -87 it is e^-87, above 88 it is e^88.
// V: a Vec, or another vector of floats.
template <typename V>
inline V exp(V x) {
  using Int = decltype(x < x);
  x = x < -87.0f ? V{} - 87.0f : x;
  x = x > 88.0f ? V{} + 88.0f : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  V shifted = x * 1.44269504088896341f + shift;
  V n = shifted - shift;
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Int exponent = (Int)shifted << 23;  // the low bits of `shifted` are n
  return (V)((Int)p + exponent);
}

// The error is 3e-7, relative. Far from 0 it is exactly 0 and 1, so that padding holds an LSTM's cell.
inline Vec sigmoid(Vec x) {
  const Vec y = 1.0f / (1.0f + exp(-x));
  return x < -87.0f ? Vec{} : y;
}

// log(1 + e^x) and its slope, sigmoid(x). The error is 3e-7, relative, also where the value is small.
struct Softplus {
  Vec value, slope;
};
inline Softplus softplus(Vec x) {
  const Vec e = exp(x < 0.0f ? x : -x), s = e / (2.0f + e), q = s * s;
  Vec p = q * (1 / 15.0f) + 1 / 13.0f;  // log(1 + e) = 2 artanh(s), |s| <= 1/3
  p = p * q + 1 / 11.0f;
  p = p * q + 1 / 9.0f;
  p = p * q + 1 / 7.0f;
  p = p * q + 1 / 5.0f;
  p = p * q + 1 / 3.0f;
  p = p * q + 1.0f;
  return {(x > 0.0f ? x : Vec{}) + 2.0f * s * p, (x < 0.0f ? e : Vec{} + 1.0f) / (1.0f + e)};
}

using F32 = ffi::Buffer<ffi::F32>;
using Out = ffi::ResultBuffer<ffi::F32>;

// Run task(first, last) on parts of 0, ..., n - 1, on the threads of the pool and on this one. Each thread takes the next part
// that no other has begun.
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
  for (int64_t i = 1; i < parts; ++i)  // a thread that starts late finds no part left, and does not touch the task
    pool.Schedule([work]() mutable { work(); });
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == parts; });
}

}  // namespace
