// What RNN, LSTM and GRU share: h -> W h at every step, for a few sequences at once, and a team of threads for all steps.
//
// W is packed once a call, because it is read at every step. A panel holds kVecs vectors of outputs for each number that is
// summed over, so that a step reads a panel from its beginning to its end and sums in registers. All outputs of a group of
// channels come from one block of panels, and the cell takes them at once, while they are in the cache.
#pragma once

#include <chrono>
#include <thread>

#include "common.h"

namespace {

// A tile of sums that the machine's registers hold: kVecs vectors for each of kRows sequences.
#ifdef __AVX512F__
constexpr int64_t kVecs = 2, kRows = 8;
#else
constexpr int64_t kVecs = 1, kRows = 4;
#endif
constexpr int64_t kShared = 1 << 16;  // multiply-adds of a step for which a meeting of threads pays

// sums (kVecs, R) = panel (n, kVecs) x rows (R, n). With few sequences each sum is split into several partial sums, since one
// addition waits for the one before.
template <int R>
void multiply(const Vec* panel, int64_t n, const float* rows, Vec* sums) {
  constexpr int kParts = std::max<int>(1, 8 / (kVecs * R));
  Vec part[kParts][kVecs][R] = {};
  const auto add = [&](Vec(&sum)[kVecs][R], int64_t k) {
    for (int v = 0; v < kVecs; ++v) {
      const Vec w = panel[k * kVecs + v];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[v][r] += w * rows[r * n + k];
    }
  };
  int64_t k = 0;
  for (; k + kParts <= n; k += kParts)
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) add(part[p], k + p);
  for (; k < n; ++k) add(part[0], k);
  for (int v = 0; v < kVecs; ++v)
    for (int r = 0; r < R; ++r) {
      for (int p = 1; p < kParts; ++p) part[0][v][r] += part[p][v][r];
      sums[v * R + r] = part[0][v][r];
    }
}

using Multiply = void (*)(const Vec*, int64_t, const float*, Vec*);
#ifdef __AVX512F__
constexpr Multiply kMultiply[] = {multiply<1>, multiply<2>, multiply<3>, multiply<4>,
                                  multiply<5>, multiply<6>, multiply<7>, multiply<8>};
#else
constexpr Multiply kMultiply[] = {multiply<1>, multiply<2>, multiply<3>, multiply<4>};
#endif

// Threads that do a scan together and meet after each step. The threads of the pool that start at once belong to the team. One
// that starts later finds it closed and does not touch the task. So a busy pool costs a short wait, and cannot cause a deadlock.
class Team {
 public:
  template <typename Task>  // task(member, members, meet)
  static void run(ffi::ThreadPool& pool, int64_t wanted, const Task& task) {
    auto team = std::make_shared<Team>();
    for (int64_t i = 1; i < wanted; ++i)
      pool.Schedule([team, &task]() mutable {
        int64_t member = team->came_;
        do {
          if (member < 0) return;
        } while (!team->came_.compare_exchange_weak(member, member + 1));
        wait([&] { return team->members_ > 0; });
        task(member + 1, team->members_, [&] { team->meet(); });
        ++team->left_;
      });
    const auto late = std::chrono::steady_clock::now() + std::chrono::microseconds(100);
    while (team->came_ + 1 < wanted && std::chrono::steady_clock::now() < late) {
    }
    const int64_t others = team->came_.exchange(-1);
    team->members_ = others + 1;
    task(0, others + 1, [&] { team->meet(); });
    wait([&] { return team->left_ == others; });
  }

 private:
  void meet() {
    if (members_ == 1) return;
    const int64_t meeting = meeting_;
    if (++arrived_ == members_) {
      arrived_ = 0;
      meeting_ = meeting + 1;
    } else {
      wait([&] { return meeting_ != meeting; });
    }
  }

  template <typename Ready>
  static void wait(const Ready& ready) {
    for (int64_t i = 0; !ready(); ++i)
      if (i > 4096) std::this_thread::yield();
  }

  alignas(64) std::atomic<int64_t> came_{0}, members_{0}, left_{0};
  alignas(64) std::atomic<int64_t> arrived_{0};
  alignas(64) std::atomic<int64_t> meeting_{0};
};

// The matrix of a step, W (kOuts * width, n): weight(output, channel, input) is one of its entries.
template <int kOuts>
struct Panels {
  static constexpr int64_t kGroups = kOuts % kVecs == 0 ? 1 : kVecs;  // of channels in a block
  static constexpr int64_t kPanels = kGroups * kOuts / kVecs;
  const int64_t width, n;
  std::vector<Vec> packed;

  Panels(int64_t width, int64_t n) : width(width), n(n), packed(blocks() * kPanels * n * kVecs) {}
  int64_t blocks() const { return (width + kGroups * kLanes - 1) / (kGroups * kLanes); }
  Vec* panel(int64_t block, int64_t p) { return &packed[(block * kPanels + p) * n * kVecs]; }

  template <typename Weight>
  void pack(int64_t block, const Weight& weight) {
    for (int64_t unit = 0; unit < kGroups * kOuts; ++unit) {
      const int64_t at = (block * kGroups + unit / kOuts) * kLanes, lanes = std::clamp<int64_t>(width - at, 0, kLanes);
      float* to = (float*)(panel(block, unit / kVecs) + unit % kVecs);
      for (int64_t k = 0; k < n; ++k, to += kVecs * kLanes)
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = weight(unit % kOuts, at + lane, k);
    }
  }
};

// Steps 0, ..., steps - 1 of all sequences. The state is (batch, kIns * width), first `start`, or zero where that is null.
// cell(lanes, sequence, step, first channel, sums, distance from one output's sum to the next, new state) computes a group of
// channels.
template <typename Cell, typename Weight>
void scan(ffi::ThreadPool& pool, int64_t batch, int64_t steps, int64_t width, const float* start, const Weight& weight,
          const Cell& cell) {
  using P = Panels<Cell::kOuts>;
  const int64_t n = Cell::kIns * width, tiles = (batch + kRows - 1) / kRows;
  P panels(width, n);
  std::vector<float> states[2] = {std::vector<float>(batch * n), std::vector<float>(batch * n)};
  if (start) std::copy_n(start, batch * n, states[0].data());
  const int64_t wanted = n * width * Cell::kOuts * batch < kShared ? 1 : std::min<int64_t>(pool.num_threads(), panels.blocks());
  Team::run(pool, wanted, [&](int64_t member, int64_t members, const auto& meet) {
    const int64_t first = member * panels.blocks() / members, last = (member + 1) * panels.blocks() / members;
    for (int64_t block = first; block < last; ++block) panels.pack(block, weight);
    Vec sums[P::kPanels * kVecs * kRows];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t from = tile * batch / tiles, rows = (tile + 1) * batch / tiles - from;
      for (int64_t step = 0; step < steps; ++step) {
        const float* now = &states[step % 2][from * n];
        float* next = &states[1 - step % 2][from * n];
        for (int64_t i = first; i < last; ++i) {
          const int64_t block = step % 2 ? first + last - 1 - i : i;  // forth and back: the last ones are still in the cache
          for (int64_t p = 0; p < P::kPanels; ++p)
            if (start || step > 0)
              kMultiply[rows - 1](panels.panel(block, p), n, now, sums + p * kVecs * rows);
            else
              std::fill_n(sums + p * kVecs * rows, kVecs * rows, Vec{});
          for (int64_t group = 0; group < P::kGroups; ++group) {
            const int64_t at = (block * P::kGroups + group) * kLanes;
            if (at >= width) break;
            with_lanes(std::min<int64_t>(kLanes, width - at), [&](auto lanes) {
              for (int64_t r = 0; r < rows; ++r)
                cell(lanes, from + r, step, at, sums + group * Cell::kOuts * rows + r, rows, next + r * n + at);
            });
          }
        }
        meet();
      }
    }
  });
}

}  // namespace
