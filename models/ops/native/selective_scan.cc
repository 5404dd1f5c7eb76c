// Mamba's selective scan on a CPU, and its gradient (models/ops/selective_scan/equation.py has both).
//
//     h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t          y_t = C_t . h_t
//
// XLA reads and writes the (N, E) state several times a step, in a loop for each operation. Here a group of channels goes
// through all of the time with its state in the first-level cache, and an element's arithmetic is in registers. Channels are
// independent, so the cores share them; only dB and dC are sums over all of them. The gradient recomputes the states of a
// chunk from its first one (the forward pass keeps those), then goes back in time, with dh_t for lambda_t:
//
//     dh_t += C_t dy_t;  dC_t = h_t . dy_t;  dB_t = dh_t . (dt_t u_t);  d(dt u)_t = B_t . dh_t
//     dl_t = dh_t exp(dt_t A) h_{t-1};  ddt_t = A . dl_t;  dA += dt_t dl_t;  dh_{t-1} = exp(dt_t A) dh_t
//
// The gated kernels compute in the same pass what a Mamba block has round its scan. What the gradient needs of it is computed
// again:
//
//     dt_t = softplus(delta_t + bias)                   out_t = (y_t + D u_t) silu(z_t)
//
// Axes, rows first: u, dt, z, y (B, T, E); A (N, E); D, bias (E); B, C (B, T, N); states (B, N, E); borders (B, T / chunk,
// N, E). All float.

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

struct Gate {  // null if there is none
  const float *z = nullptr, *D = nullptr, *bias = nullptr;
  bool is_there() const { return z; }
  Gate of(const Sizes& s, int64_t b) const { return is_there() ? Gate{z + b * s.te(), D, bias} : Gate{}; }
};

// One sequence.
struct Inputs {
  const float *u, *dt, *A, *B, *C;
  Gate gate;
  Inputs(const Sizes& s, int64_t b, F32 u, F32 dt, F32 A, F32 B, F32 C, Gate gate)
      : u(u.typed_data() + b * s.te()), dt(dt.typed_data() + b * s.te()), A(A.typed_data()),
        B(B.typed_data() + b * s.tn()), C(C.typed_data() + b * s.tn()), gate(gate.of(s, b)) {}
};

// One group of channels, from `at` on, through all of the time.
template <bool kGated, typename Lanes>
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
    const Vec u = lanes.load(x.u + t * E + at);
    Vec dt = lanes.load(x.dt + t * E + at);
    if (kGated) {
      dt = softplus(dt + lanes.load(x.gate.bias + at)).value;
      prefetch(x.gate.z + (t + kAhead) * E + at);
    }
    const Vec dtu = dt * u;
    Vec y_t = {};
    for (int64_t n = 0; n < N; ++n) {
      h[n] = exp(dt * A[n]) * h[n] + dtu * B[n];
      y_t += h[n] * C[n];
    }
    if (kGated) {
      const Vec z = lanes.load(x.gate.z + t * E + at);
      y_t = (y_t + lanes.load(x.gate.D + at) * u) * z * sigmoid(z);
    }
    lanes.store(y + t * E + at, y_t);
  }
  for (int64_t n = 0; n < N; ++n) lanes.store(h_last + n * E + at, h[n]);
}

// Where the gradients of the arrays that have a time are written. dz: null without a gate.
struct Outputs {
  float *du, *ddt, *dB, *dC, *dz;
};

// The gradient of some groups of channels. dh, dA (groups, N), dD and dbias (groups) are carried from chunk to chunk.
template <bool kGated>
struct Backward {
  const Sizes& s;
  const int64_t first, last;
  std::vector<Vec> dh, dA, dD, dbias;
  std::vector<Vec> A, decay, before, dB, dC;  // of a chunk: (N), and (C, N) each
  std::vector<Vec> dt, dy, slope;             // of a chunk and a group: (C); slope: d dt / d delta

  Backward(const Sizes& s, int64_t first, int64_t last)
      : s(s), first(first), last(last), dh((last - first) * s.states), dA(dh.size()), dD(last - first), dbias(dD.size()),
        A(s.states), decay(s.chunk * s.states), before(decay.size()), dB(decay.size()), dC(decay.size()), dt(s.chunk),
        dy(s.chunk), slope(s.chunk) {}

  template <typename Body>  // body(lanes, first channel, the group's number among these)
  void each_group(const Body& body) {
    for (int64_t group = first; group < last; ++group) {
      const int64_t at = group * kLanes;
      with_lanes(std::min<int64_t>(kLanes, s.width - at), [&](auto lanes) { body(lanes, at, group - first); });
    }
  }

  void chunk(int64_t c, const Inputs& x, const float* borders, const float* dout, const Outputs& to) {
    const int64_t begin = c * s.chunk, end = std::min(s.length, begin + s.chunk), N = s.states;
    std::fill(dB.begin(), dB.end(), Vec{});
    std::fill(dC.begin(), dC.end(), Vec{});
    each_group([&](auto lanes, int64_t at, int64_t group) {
      for (int64_t n = 0; n < N; ++n) A[n] = lanes.load(x.A + n * s.width + at);
      for (int64_t n = 0; n < N; ++n) before[n] = lanes.load(borders + (c * N + n) * s.width + at);
      for (int64_t t = begin; t < end; ++t) recompute(lanes, at, t, t - begin, t + 1 < end, x, dout, to);
      for (int64_t t = end; t-- > begin;) back(lanes, at, t, t - begin, group, x, to);
    });
    for (int64_t i = 0; i < (end - begin) * N; ++i) {
      to.dB[begin * N + i] = sum(dB[i]);
      to.dC[begin * N + i] = sum(dC[i]);
    }
  }

  // step: the time in the chunk's arrays.
  template <typename Lanes>
  void recompute(Lanes lanes, int64_t at, int64_t t, int64_t step, bool more, const Inputs& x, const float* dout,
                 const Outputs& to) {
    const int64_t N = s.states, row = step * N, i = t * s.width + at, ahead = i + kAhead * s.width;
    const float *B = x.B + t * N, *C = x.C + t * N;
    prefetch(x.dt + ahead), prefetch(x.u + ahead), prefetch(dout + ahead);
    const Vec u = lanes.load(x.u + i), dout_t = lanes.load(dout + i);
    Vec z, s_z;
    dt[step] = lanes.load(x.dt + i), dy[step] = dout_t;
    if (kGated) {
      prefetch(x.gate.z + ahead);
      const Softplus p = softplus(dt[step] + lanes.load(x.gate.bias + at));
      z = lanes.load(x.gate.z + i), s_z = sigmoid(z);
      dt[step] = p.value, slope[step] = p.slope, dy[step] = dout_t * z * s_z;
    }
    const Vec dtu = dt[step] * u;
    Vec y = {};
    for (int64_t n = 0; n < N; ++n) {
      decay[row + n] = exp(dt[step] * A[n]);
      const Vec h = decay[row + n] * before[row + n] + dtu * B[n];
      if (more) before[row + N + n] = h;
      dC[row + n] += h * dy[step];
      if (kGated) y += h * C[n];
    }
    if (kGated) lanes.store(to.dz + i, dout_t * (y + lanes.load(x.gate.D + at) * u) * (s_z + z * s_z * (1.0f - s_z)));
  }

  template <typename Lanes>
  void back(Lanes lanes, int64_t at, int64_t t, int64_t step, int64_t group, const Inputs& x, const Outputs& to) {
    const int64_t N = s.states, row = step * N, i = t * s.width + at;
    const float *B = x.B + t * N, *C = x.C + t * N;
    Vec *dh = &this->dh[group * N], *dA = &this->dA[group * N];
    const Vec dt = this->dt[step], dy = this->dy[step], u = lanes.load(x.u + i), dtu = dt * u;
    Vec ddtu = {}, ddt = {};
    for (int64_t n = 0; n < N; ++n) {
      const Vec dh_t = dh[n] + dy * C[n];
      dB[row + n] += dh_t * dtu;
      ddtu += dh_t * B[n];
      dh[n] = dh_t * decay[row + n];
      const Vec dl = dh[n] * before[row + n];
      ddt += dl * A[n];
      dA[n] += dl * dt;
    }
    Vec du = ddtu * dt;
    ddt += ddtu * u;
    if (kGated) {
      du += lanes.load(x.gate.D + at) * dy;
      ddt *= slope[step];
      dD[group] += dy * u, dbias[group] += ddt;
    }
    lanes.store(to.du + i, du);
    lanes.store(to.ddt + i, ddt);
  }
};

Sizes sizes(const F32& u, const F32& A, int64_t chunk) {
  return {u.dimensions()[0], u.dimensions()[1], u.dimensions()[2], A.dimensions()[0], chunk};
}

// borders: (B, T / chunk, N, E) if there will be a gradient, (B, 0, N, E) otherwise.
template <bool kGated>
ffi::Error run_forward(ffi::ThreadPool& pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 h0, Gate gate,
                       Out y, Out h, Out borders) {
  const Sizes s = sizes(u, A, chunk);
  const bool keep = borders->dimensions()[1] > 0;
  share(pool, s.groups(), [&](int64_t first, int64_t last) {
    std::vector<Vec> state(s.states), a(s.states);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t at = first * kLanes; at < std::min(s.width, last * kLanes); at += kLanes)
        with_lanes(std::min<int64_t>(kLanes, s.width - at), [&](auto lanes) {
          forward_group<kGated>(s, lanes, at, Inputs(s, b, u, dt, A, B, C, gate), h0.typed_data() + b * s.ne(),
                                y->typed_data() + b * s.te(), h->typed_data() + b * s.ne(),
                                keep ? borders->typed_data() + b * s.chunks() * s.ne() : nullptr, state.data(), a.data());
        });
  });
  return ffi::Error::Success();
}

// dz, dD, dbias: null without a gate.
template <bool kGated>
ffi::Error run_backward(ffi::ThreadPool& pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 borders, Gate gate,
                        F32 dout, F32 dh, Out du, Out ddt, Out dA, Out dB, Out dC, Out dh0, float* dz, float* dD,
                        float* dbias) {
  const Sizes s = sizes(u, A, chunk);
  const int64_t btn = s.batch * s.tn();
  std::fill_n(dB->typed_data(), btn, 0.0f);
  std::fill_n(dC->typed_data(), btn, 0.0f);
  std::mutex mutex;
  share(pool, s.groups(), [&](int64_t first, int64_t last) {
    Backward<kGated> work(s, first, last);
    std::vector<float> dB_part(s.tn()), dC_part(s.tn());
    for (int64_t b = 0; b < s.batch; ++b) {
      const float* dh_b = dh.typed_data() + b * s.ne();
      float* dh0_b = dh0->typed_data() + b * s.ne();
      work.each_group([&](auto lanes, int64_t at, int64_t group) {
        for (int64_t n = 0; n < s.states; ++n) work.dh[group * s.states + n] = lanes.load(dh_b + n * s.width + at);
      });
      const Inputs x(s, b, u, dt, A, B, C, gate);
      const Outputs to{du->typed_data() + b * s.te(), ddt->typed_data() + b * s.te(), dB_part.data(), dC_part.data(),
                       kGated ? dz + b * s.te() : nullptr};
      for (int64_t c = s.chunks(); c-- > 0;)
        work.chunk(c, x, borders.typed_data() + b * s.chunks() * s.ne(), dout.typed_data() + b * s.te(), to);
      work.each_group([&](auto lanes, int64_t at, int64_t group) {
        for (int64_t n = 0; n < s.states; ++n) lanes.store(dh0_b + n * s.width + at, work.dh[group * s.states + n]);
      });
      std::lock_guard<std::mutex> lock(mutex);
      for (int64_t i = 0; i < s.tn(); ++i) dB->typed_data()[b * s.tn() + i] += dB_part[i];
      for (int64_t i = 0; i < s.tn(); ++i) dC->typed_data()[b * s.tn() + i] += dC_part[i];
    }
    work.each_group([&](auto lanes, int64_t at, int64_t group) {
      for (int64_t n = 0; n < s.states; ++n)
        lanes.store(dA->typed_data() + n * s.width + at, work.dA[group * s.states + n]);
      if (kGated) lanes.store(dD + at, work.dD[group]), lanes.store(dbias + at, work.dbias[group]);
    });
  });
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 h0, Out y, Out h,
                   Out borders) {
  return run_forward<false>(pool, chunk, u, dt, A, B, C, h0, Gate{}, y, h, borders);
}

ffi::Error backward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 dt, F32 A, F32 B, F32 C, F32 borders, F32 dy,
                    F32 dh, Out du, Out ddt, Out dA, Out dB, Out dC, Out dh0) {
  return run_backward<false>(pool, chunk, u, dt, A, B, C, borders, Gate{}, dy, dh, du, ddt, dA, dB, dC, dh0, nullptr,
                             nullptr, nullptr);
}

Gate gate(const F32& z, const F32& D, const F32& bias) { return {z.typed_data(), D.typed_data(), bias.typed_data()}; }

ffi::Error gated_forward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 delta, F32 A, F32 B, F32 C, F32 h0, F32 z,
                         F32 D, F32 bias, Out out, Out h, Out borders) {
  return run_forward<true>(pool, chunk, u, delta, A, B, C, h0, gate(z, D, bias), out, h, borders);
}

ffi::Error gated_backward(ffi::ThreadPool pool, int64_t chunk, F32 u, F32 delta, F32 A, F32 B, F32 C, F32 borders, F32 z,
                          F32 D, F32 bias, F32 dout, F32 dh, Out du, Out ddelta, Out dA, Out dB, Out dC, Out dh0,
                          Out dz, Out dD, Out dbias) {
  return run_backward<true>(pool, chunk, u, delta, A, B, C, borders, gate(z, D, bias), dout, dh, du, ddelta, dA, dB, dC,
                            dh0, dz->typed_data(), dD->typed_data(), dbias->typed_data());
}

}  // namespace

// The arguments that both kinds have in common.
#define FORWARD \
  ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("chunk") \
      .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
#define BACKWARD FORWARD.Arg<F32>().Arg<F32>()
#define GRADIENTS Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>()

XLA_FFI_DEFINE_HANDLER_SYMBOL(selective_scan_forward, forward, FORWARD.Ret<F32>().Ret<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(selective_scan_backward, backward, BACKWARD.GRADIENTS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(gated_selective_scan_forward, gated_forward,
                              FORWARD.Arg<F32>().Arg<F32>().Arg<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(gated_selective_scan_backward, gated_backward,
                              BACKWARD.Arg<F32>().Arg<F32>().Arg<F32>().GRADIENTS.Ret<F32>().Ret<F32>().Ret<F32>());
