// The recurrences of RNN, LSTM and GRU on a CPU, and their gradients: models/ops/gated/equation.py has the equations.
//
// A step is a product with W_h and little else. XLA calls a matrix product at every step and transposes the state for it. Here
// W is packed once for all steps (recurrence.h), and the cell of a group of channels is computed while its sums are in
// registers. The gradient's state is the gradient of the gates, dg: dh_{t-1} = W^T dg_t is a step like any other, with the
// transpose packed. The gradient of W is one product of the dg of all steps, outside.
//
// Axes, rows first: xg (the input's part of the gates, without the bias), gates (B, T, G D); bias (G D); h, cells (B, T, D);
// W (G D, D); h0, c0 (B, D). All float.

#include "recurrence.h"

namespace {

// A quotient of polynomials (Eigen's). The error is 3e-7, relative.
inline Vec tanh(Vec x) {
  x = x < -7.99881172180175781f ? Vec{} - 7.99881172180175781f : x;
  x = x > 7.99881172180175781f ? Vec{} + 7.99881172180175781f : x;
  const Vec z = x * x;
  Vec p = z * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * z - 8.60467152213735e-11f;
  p = p * z + 5.12229709037114e-08f;
  p = p * z + 1.48572235717979e-05f;
  p = p * z + 6.37261928875436e-04f;
  p = p * z + 4.89352455891786e-03f;
  Vec q = z * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * z + 2.26843463243900e-03f;
  q = q * z + 4.89352518554385e-03f;
  return x * p / q;
}

struct Sizes {
  int64_t batch, length, width;
  explicit Sizes(const F32& w, const F32& x) : batch(x.dimensions()[0]), length(x.dimensions()[1]), width(w.dimensions()[1]) {}
};

// The states of all steps, (B, T, D), and the one before them.
struct Rows {
  const float *first, *all;
  template <typename Lanes>
  Vec before(const Sizes& s, Lanes lanes, int64_t b, int64_t t, int64_t at) const {
    return lanes.load(t > 0 ? all + (b * s.length + t - 1) * s.width + at : first + b * s.width + at);
  }
};

struct RnnForward {
  static constexpr int kOuts = 1, kIns = 1;
  const Sizes s;
  const float *xg, *bias;
  float* h;
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t t, int64_t at, const Vec* sums, int64_t, float* state) const {
    const int64_t i = (b * s.length + t) * s.width + at;
    prefetch(xg + i + s.width);
    const Vec h_t = tanh(lanes.load(xg + i) + lanes.load(bias + at) + sums[0]);
    lanes.store(h + i, h_t);
    lanes.store(state, h_t);
  }
};

struct RnnBackward {
  static constexpr int kOuts = 1, kIns = 1;
  const Sizes s;
  const float *h, *dh_out;
  float *dxg, *dh0;
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t step, int64_t at, const Vec* sums, int64_t, float* state) const {
    if (step == s.length) return lanes.store(dh0 + b * s.width + at, sums[0]);
    const int64_t i = (b * s.length + s.length - 1 - step) * s.width + at;
    prefetch(h + i - s.width), prefetch(dh_out + i - s.width);
    const Vec h_t = lanes.load(h + i), dg = (sums[0] + lanes.load(dh_out + i)) * (1.0f - h_t * h_t);
    lanes.store(dxg + i, dg);
    lanes.store(state, dg);
  }
};

struct LstmForward {
  static constexpr int kOuts = 4, kIns = 1;
  const Sizes s;
  const float *xg, *bias;
  float *h, *c, *gates, *cells;  // c: (B, D), the present one; gates and cells: null if there will be no gradient
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t t, int64_t at, const Vec* sums, int64_t next, float* state) const {
    const int64_t D = s.width, row = b * s.length + t;
    const float* x = xg + row * 4 * D + at;
    for (int g = 4; g < 8; ++g) prefetch(x + g * D);
    const auto in = [&](int64_t g) { return lanes.load(x + g * D) + lanes.load(bias + g * D + at) + sums[g * next]; };
    const Vec i = sigmoid(in(0)), f = sigmoid(in(1)), g = tanh(in(2)), o = sigmoid(in(3));
    const Vec c_t = f * lanes.load(c + b * D + at) + i * g, h_t = o * tanh(c_t);
    lanes.store(c + b * D + at, c_t);
    lanes.store(h + row * D + at, h_t);
    lanes.store(state, h_t);
    if (!gates) return;
    float* to = gates + row * 4 * D + at;
    lanes.store(to, i), lanes.store(to + D, f), lanes.store(to + 2 * D, g), lanes.store(to + 3 * D, o);
    lanes.store(cells + row * D + at, c_t);
  }
};

struct LstmBackward {
  static constexpr int kOuts = 1, kIns = 4;
  const Sizes s;
  const float* gates;
  const Rows cells;
  const float* dh_out;
  float *dxg, *dh0, *dc;  // dc: (B, D), the present one
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t step, int64_t at, const Vec* sums, int64_t, float* state) const {
    const int64_t D = s.width, t = s.length - 1 - step, row = b * s.length + t;
    if (t < 0) return lanes.store(dh0 + b * D + at, sums[0]);
    const float* kept = gates + row * 4 * D + at;
    for (int g = 1; g < 5; ++g) prefetch(kept - g * D);
    prefetch(dh_out + (row - 1) * D + at), prefetch(cells.all + (row - 2) * D + at);
    const Vec i = lanes.load(kept), f = lanes.load(kept + D), g = lanes.load(kept + 2 * D), o = lanes.load(kept + 3 * D);
    const Vec tanh_c = tanh(lanes.load(cells.all + row * D + at)), dh = sums[0] + lanes.load(dh_out + row * D + at);
    const Vec dc_t = lanes.load(dc + b * D + at) + dh * o * (1.0f - tanh_c * tanh_c);
    const Vec d[] = {dc_t * g * i * (1.0f - i), dc_t * cells.before(s, lanes, b, t, at) * f * (1.0f - f),
                     dc_t * i * (1.0f - g * g), dh * tanh_c * o * (1.0f - o)};
    for (int g = 0; g < 4; ++g) lanes.store(state + g * D, d[g]), lanes.store(dxg + row * 4 * D + g * D + at, d[g]);
    lanes.store(dc + b * D + at, dc_t * f);
  }
};

struct GruForward {
  static constexpr int kOuts = 3, kIns = 1;
  const Sizes s;
  const float *xg, *bias, *b_n;
  const Rows before;
  float *h, *kept;  // kept: r, z, n and m = W_n h + b_n; null if there will be no gradient
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t t, int64_t at, const Vec* sums, int64_t next, float* state) const {
    const int64_t D = s.width, row = b * s.length + t;
    const float* x = xg + row * 3 * D + at;
    for (int g = 3; g < 6; ++g) prefetch(x + g * D);
    const auto in = [&](int64_t g) { return lanes.load(x + g * D) + lanes.load(bias + g * D + at); };
    const Vec r = sigmoid(in(0) + sums[0]), z = sigmoid(in(1) + sums[next]);
    const Vec m = sums[2 * next] + lanes.load(b_n + at), n = tanh(in(2) + r * m);
    const Vec h_t = (1.0f - z) * n + z * before.before(s, lanes, b, t, at);
    lanes.store(h + row * D + at, h_t);
    lanes.store(state, h_t);
    if (!kept) return;
    float* to = kept + row * 4 * D + at;
    lanes.store(to, r), lanes.store(to + D, z), lanes.store(to + 2 * D, n), lanes.store(to + 3 * D, m);
  }
};

struct GruBackward {
  static constexpr int kOuts = 1, kIns = 3;
  const Sizes s;
  const float* kept;
  const Rows before;
  const float* dh_out;
  float *dxg, *dg, *dh0;  // dh0: (B, D); before the last step it holds dh z, what does not go through W
  template <typename Lanes>
  void operator()(Lanes lanes, int64_t b, int64_t step, int64_t at, const Vec* sums, int64_t, float* state) const {
    const int64_t D = s.width, t = s.length - 1 - step, row = b * s.length + t;
    const Vec past = lanes.load(dh0 + b * D + at) + sums[0];
    if (t < 0) return lanes.store(dh0 + b * D + at, past);
    const float* from = kept + row * 4 * D + at;
    for (int g = 1; g < 5; ++g) prefetch(from - g * D);
    prefetch(dh_out + (row - 1) * D + at), prefetch(before.all + (row - 2) * D + at);
    const Vec r = lanes.load(from), z = lanes.load(from + D), n = lanes.load(from + 2 * D), m = lanes.load(from + 3 * D);
    const Vec dh = past + lanes.load(dh_out + row * D + at), dn = dh * (1.0f - z) * (1.0f - n * n);
    const Vec d[] = {dn * m * r * (1.0f - r), dh * (before.before(s, lanes, b, t, at) - n) * z * (1.0f - z), dn * r};
    for (int g = 0; g < 3; ++g) {
      lanes.store(state + g * D, d[g]);
      lanes.store(dg + row * 3 * D + g * D + at, d[g]);
      lanes.store(dxg + row * 3 * D + g * D + at, g < 2 ? d[g] : dn);
    }
    lanes.store(dh0 + b * D + at, dh * z);
  }
};

template <typename Cell>
ffi::Error forward(ffi::ThreadPool& pool, const float* w, const float* h0, const Cell& cell) {
  const int64_t D = cell.s.width;
  scan(pool, cell.s.batch, cell.s.length, D, h0, [=](int64_t gate, int64_t channel, int64_t k) {
    return w[(gate * D + channel) * D + k]; }, cell);
  return ffi::Error::Success();
}

template <typename Cell>  // the last step gives dh0
ffi::Error backward(ffi::ThreadPool& pool, const float* w, const Cell& cell) {
  const int64_t D = cell.s.width;
  scan(pool, cell.s.batch, cell.s.length + 1, D, nullptr, [=](int64_t, int64_t channel, int64_t k) {
    return w[k * D + channel]; }, cell);
  return ffi::Error::Success();
}

float* unless_empty(Out& x) { return x->element_count() ? x->typed_data() : nullptr; }

ffi::Error rnn_forward_(ffi::ThreadPool pool, F32 xg, F32 w, F32 bias, F32 h0, Out h) {
  return forward(pool, w.typed_data(), h0.typed_data(), RnnForward{Sizes(w, xg), xg.typed_data(), bias.typed_data(), h->typed_data()});
}

ffi::Error rnn_backward_(ffi::ThreadPool pool, F32 h, F32 w, F32 dh, Out dxg, Out dh0) {
  return backward(pool, w.typed_data(), RnnBackward{Sizes(w, h), h.typed_data(), dh.typed_data(), dxg->typed_data(),
                                                    dh0->typed_data()});
}

// gates, cells: (B, T, ...) if there will be a gradient, (B, 0, ...) otherwise.
ffi::Error lstm_forward_(ffi::ThreadPool pool, F32 xg, F32 w, F32 bias, F32 h0, F32 c0, Out h, Out c, Out gates, Out cells) {
  std::copy_n(c0.typed_data(), c0.element_count(), c->typed_data());
  return forward(pool, w.typed_data(), h0.typed_data(), LstmForward{Sizes(w, xg), xg.typed_data(), bias.typed_data(), h->typed_data(),
                                                                    c->typed_data(), unless_empty(gates), unless_empty(cells)});
}

ffi::Error lstm_backward_(ffi::ThreadPool pool, F32 gates, F32 w, F32 cells, F32 c0, F32 dh, F32 dc, Out dxg, Out dh0,
                          Out dc0) {
  std::copy_n(dc.typed_data(), dc.element_count(), dc0->typed_data());
  return backward(pool, w.typed_data(), LstmBackward{Sizes(w, gates), gates.typed_data(),
                                                     Rows{c0.typed_data(), cells.typed_data()}, dh.typed_data(),
                                                     dxg->typed_data(), dh0->typed_data(), dc0->typed_data()});
}

// kept: (B, T, 4 D) if there will be a gradient, (B, 0, 4 D) otherwise.
ffi::Error gru_forward_(ffi::ThreadPool pool, F32 xg, F32 w, F32 bias, F32 b_n, F32 h0, Out h, Out kept) {
  return forward(pool, w.typed_data(), h0.typed_data(), GruForward{Sizes(w, xg), xg.typed_data(), bias.typed_data(), b_n.typed_data(),
                                                                   Rows{h0.typed_data(), h->typed_data()}, h->typed_data(),
                                                                   unless_empty(kept)});
}

ffi::Error gru_backward_(ffi::ThreadPool pool, F32 h, F32 w, F32 kept, F32 h0, F32 dh, Out dxg, Out dg, Out dh0) {
  std::fill_n(dh0->typed_data(), dh0->element_count(), 0.0f);
  return backward(pool, w.typed_data(), GruBackward{Sizes(w, h), kept.typed_data(), Rows{h0.typed_data(), h.typed_data()},
                                                    dh.typed_data(), dxg->typed_data(), dg->typed_data(), dh0->typed_data()});
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnn_forward, rnn_forward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnn_backward, rnn_backward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_forward, lstm_forward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_backward, lstm_backward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(gru_forward, gru_forward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(gru_backward, gru_backward_,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>());
