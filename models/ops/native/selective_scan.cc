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

#include "common.h"

namespace {

struct Sizes {
  int64_t batch, length, width, states, chunk;
  int64_t groups() const { return (width + kLanes - 1) / kLanes; }
  int64_t chunks() const { return (length + chunk - 1) / chunk; }
  int64_t te() const { return length * width; }
  int64_t tn() const { return length * states; }
  int64_t ne() const { return states * width; }
};

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
