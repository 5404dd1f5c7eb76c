// The depthwise causal convolution in front of a scan, with its SiLU, and their gradient (models/ops/causal_conv.py).
//
//     a_t = bias + sum_k w_k x_{t-K+1+k}          y_t = a_t, or a_t sigmoid(a_t)
//     g_t = dy_t, or dy_t (s + a_t s (1 - s)), s = sigmoid(a_t)
//     dx_t = sum_k w_k g_{t+K-1-k};  dw_k = sum_t g_t x_{t-K+1+k};  dbias = sum_t g_t
//
// XLA computes g again, from x, for each of the K + 2 sums in the gradient. Here a row of time is read once, and the K rows that
// the sums still need stay in the first-level cache. The cores share pieces of time.
//
// Axes, rows first: x, y (B, T, E); w (K, E); before (B, K-1, E), the inputs before x. All float.

#include "common.h"

namespace {

constexpr int64_t kPiece = 1024, kMostPieces = 64;  // rows of time; pieces of a sequence

struct Conv {
  int64_t batch, length, width, taps;
  bool silu;
  const float *x, *before, *w, *bias;

  int64_t pieces() const { return std::clamp<int64_t>(length / kPiece, 1, kMostPieces); }
  int64_t begin(int64_t piece) const { return piece * length / pieces(); }
  int64_t row(int64_t b, int64_t t) const { return (b * length + t) * width; }
  int64_t row_before(int64_t b, int64_t t) const { return (b * (taps - 1) + taps - 1 + t) * width; }  // t < 0
  const float* input(int64_t b, int64_t t) const { return t < 0 ? before + row_before(b, t) : x + row(b, t); }

  template <typename Body>  // body(lanes, first channel)
  void each_group(const Body& body) const {
    for (int64_t at = 0; at < width; at += kLanes)
      with_lanes(std::min<int64_t>(kLanes, width - at), [&](auto lanes) { body(lanes, at); });
  }

  template <typename Lanes>
  Vec sum_at(Lanes lanes, int64_t b, int64_t t, int64_t at) const {
    Vec a = lanes.load(bias + at);
    for (int64_t k = 0; k < taps; ++k)
      a += lanes.load(w + k * width + at) * lanes.load(input(b, t - taps + 1 + k) + at);
    return a;
  }
};

Conv conv(int64_t silu, const F32& x, const F32& w, const F32& bias, const F32& before) {
  const auto shape = x.dimensions();
  return {shape[0], shape[1], shape[2], w.dimensions()[0], silu != 0,
          x.typed_data(), before.typed_data(), w.typed_data(), bias.typed_data()};
}

ffi::Error forward(ffi::ThreadPool pool, int64_t silu, F32 x, F32 w, F32 bias, F32 before, Out y) {
  const Conv c = conv(silu, x, w, bias, before);
  share(pool, c.batch * c.pieces(), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t b = i / c.pieces(), piece = i % c.pieces();
      for (int64_t t = c.begin(piece); t < c.begin(piece + 1); ++t)
        c.each_group([&](auto lanes, int64_t at) {
          const Vec a = c.sum_at(lanes, b, t, at);
          lanes.store(y->typed_data() + c.row(b, t) + at, c.silu ? a * sigmoid(a) : a);
        });
    }
  });
  return ffi::Error::Success();
}

// One piece of a sequence. dw, (K + 1, E): its share of the weights' gradient, the bias's last.
struct Piece {
  const Conv& c;
  const float* dy;
  float *dx, *dbefore, *dw;
  std::vector<float> ring;  // g of the last K rows, (K, E)

  float* kept(int64_t t) { return ring.data() + t % c.taps * c.width; }

  void run(int64_t b, int64_t begin, int64_t end) {
    int64_t next = begin;  // the first row whose g is still to be computed
    for (int64_t t = begin == 0 ? 1 - c.taps : begin; t < end; ++t) {
      for (; next <= std::min(t + c.taps - 1, c.length - 1); ++next) make(b, next, next < end);
      float* out = t < 0 ? dbefore + c.row_before(b, t) : dx + c.row(b, t);
      c.each_group([&](auto lanes, int64_t at) {
        Vec sum = {};
        for (int64_t k = 0; k < c.taps; ++k) {
          const int64_t from = t + c.taps - 1 - k;
          if (from >= 0 && from < c.length) sum += lanes.load(c.w + k * c.width + at) * lanes.load(kept(from) + at);
        }
        lanes.store(out + at, sum);
      });
    }
  }

  void make(int64_t b, int64_t t, bool mine) {  // the rows after this piece count for dx alone
    c.each_group([&](auto lanes, int64_t at) {
      Vec g = lanes.load(dy + c.row(b, t) + at);
      if (c.silu) {
        const Vec a = c.sum_at(lanes, b, t, at), s = sigmoid(a);
        g *= s + a * s * (1.0f - s);
      }
      lanes.store(kept(t) + at, g);
      if (!mine) return;
      for (int64_t k = 0; k < c.taps; ++k) {
        float* to = dw + k * c.width + at;
        lanes.store(to, lanes.load(to) + g * lanes.load(c.input(b, t - c.taps + 1 + k) + at));
      }
      float* to = dw + c.taps * c.width + at;
      lanes.store(to, lanes.load(to) + g);
    });
  }
};

ffi::Error backward(ffi::ThreadPool pool, int64_t silu, F32 x, F32 w, F32 bias, F32 before, F32 dy, Out dx, Out dw,
                    Out dbias, Out dbefore) {
  const Conv c = conv(silu, x, w, bias, before);
  const int64_t n = c.batch * c.pieces(), size = (c.taps + 1) * c.width;
  std::vector<float> parts(n * size);  // summed in order, so that the result does not depend on which thread was first
  share(pool, n, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      Piece piece{c, dy.typed_data(), dx->typed_data(), dbefore->typed_data(), parts.data() + i * size,
                  std::vector<float>(c.taps * c.width)};
      piece.run(i / c.pieces(), c.begin(i % c.pieces()), c.begin(i % c.pieces() + 1));
    }
  });
  for (int64_t i = 1; i < n; ++i)
    for (int64_t j = 0; j < size; ++j) parts[j] += parts[i * size + j];
  std::copy_n(parts.data(), c.taps * c.width, dw->typed_data());
  std::copy_n(parts.data() + c.taps * c.width, c.width, dbias->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(causal_conv_forward, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("silu")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(causal_conv_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("silu")
                                  .Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>().Arg<F32>()
                                  .Ret<F32>().Ret<F32>().Ret<F32>().Ret<F32>());
