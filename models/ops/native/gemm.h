// Products with a panel: kPanel columns of floats, which is as many as the registers hold well.
//
//     C (rows, kPanel) = A (rows, n) B (n, kPanel)
//
// B and C are panels, kPanel floats from row to row. A may have any layout, since it is read element by element: each one is
// copied to all lanes of a register. A tile of kTile rows of C stays in registers during the loop over n.
#pragma once

#include "common.h"

namespace {

#if defined(__AVX512F__)  // 32 registers of 16 floats: 8 x 2 hold C
constexpr int kRegister = 16, kTile = 8, kRegisters = 2;
#elif defined(__AVX__)  // 16 of 8: 4 x 2
constexpr int kRegister = 8, kTile = 4, kRegisters = 2;
#else  // NEON has 32 of 4: 4 x 4
constexpr int kRegister = 4, kTile = 4, kRegisters = 4;
#endif
constexpr int kPanel = kRegister * kRegisters;
typedef float Register __attribute__((vector_size(kRegister * 4)));
typedef int32_t IntRegister __attribute__((vector_size(kRegister * 4)));
static_assert(kPanel % kLanes == 0 && 8 % kTile == 0, "a panel is whole Vecs, and 8 rows whole tiles");

enum class Left { kAlong, kAcross };       // neighbours in A: along n, or across the rows; the others are `stride` apart
enum class Start { kZero, kAdd, kShrink };  // C = AB, C + AB, or C shrink + AB, shrink being (kPanel)

template <Left kLeft, Start kStart, int kRows>
inline void multiply_tile(int64_t n, const float* a, int64_t stride, const float* b, float* c, const float* shrink) {
  Register sum[kRows][kRegisters];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) {
      sum[i][j] = Register{};
      if (kStart != Start::kZero) std::memcpy(&sum[i][j], c + i * kPanel + j * kRegister, sizeof(Register));
      if (kStart == Start::kShrink) {
        Register by;
        std::memcpy(&by, shrink + j * kRegister, sizeof(Register));
        sum[i][j] *= by;
      }
    }
  for (int64_t k = 0; k < n; ++k) {
    Register right[kRegisters];
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j)  // one by one: of an array that is copied at once GCC keeps a copy
      std::memcpy(&right[j], b + k * kPanel + j * kRegister, sizeof(Register));
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const float left = kLeft == Left::kAlong ? a[i * stride + k] : a[k * stride + i];
#pragma GCC unroll 4
      for (int j = 0; j < kRegisters; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j)
      std::memcpy(c + i * kPanel + j * kRegister, &sum[i][j], sizeof(Register));
}

template <Left kLeft, Start kStart>
void multiply(int64_t rows, int64_t n, const float* a, int64_t stride, const float* b, float* c,
              const float* shrink = nullptr) {
  const int64_t step = kLeft == Left::kAlong ? stride : 1;
  int64_t i = 0;
  for (; i + kTile <= rows; i += kTile)
    multiply_tile<kLeft, kStart, kTile>(n, a + i * step, stride, b, c + i * kPanel, shrink);
  for (; i < rows; ++i) multiply_tile<kLeft, kStart, 1>(n, a + i * step, stride, b, c + i * kPanel, shrink);
}

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Int{__VA_ARGS__})
#endif

// 16 x 16 in registers: 4 times, the rows of the first half are interleaved with those of the second (a perfect shuffle).
inline void transpose(Vec* x) {
  static_assert(kLanes == 16, "4 rounds are for 16 x 16");
  for (int round = 0; round < 4; ++round) {
    Vec y[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      y[2 * i] = SHUFFLE(x[i], x[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      y[2 * i + 1] = SHUFFLE(x[i], x[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    std::memcpy(x, y, sizeof y);
  }
}

// to (columns, width) = scale from^T, where from is (rows, columns). It is padded with zeros from `rows` to `width`.
inline void transpose(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float scale, int64_t width,
                      float* to, int64_t to_stride) {
  for (int64_t c = 0; c < columns; c += kLanes)
    for (int64_t r = 0; r < width; r += kLanes) {
      const int64_t wide = std::min<int64_t>(kLanes, columns - c);
      Vec x[kLanes];
      with_lanes(wide, [&](auto lanes) {
        for (int i = 0; i < kLanes; ++i)
          x[i] = r + i < rows ? lanes.load(from + (r + i) * from_stride + c) * scale : Vec{};
      });
      transpose(x);
      with_lanes(std::min<int64_t>(kLanes, width - r), [&](auto lanes) {
        for (int i = 0; i < wide; ++i) lanes.store(to + (c + i) * to_stride + r, x[i]);
      });
    }
}

}  // namespace
