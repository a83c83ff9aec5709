#include <algorithm>

#include "kernels/multiversion.hpp"
#include "kernels/panel_lanes.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_panels.hpp"

namespace bitgrid::cpu {
namespace {

// Columns of u that are packed at a time; 128 rows of them are 48 KB.
constexpr std::int64_t kPackedColumns = 16 * kPanelStep;
// Panels that share what was packed.
constexpr std::int64_t kPanelsTogether = 8;

// The columns [first, end) of a step, once the columns before the step are in.
BITGRID_MULTIVERSION
void divide_step(const float* u, std::int64_t columns, float* d) {
  for (std::int64_t c = 0; c < columns; ++c)
    for (int l = 0; l < kPanelRows; ++l) {
      float value = d[c * kPanelRows + l];
      for (std::int64_t p = 0; p < c; ++p) value -= d[p * kPanelRows + l] * u[p * kPanelStep + c];
      d[c * kPanelRows + l] = value / u[c * kPanelStep + c];
    }
}

void solve_panel(const PackedSteps& packed, std::int64_t count, float* d) {
  for (std::int64_t s = 0; s * kPanelStep < count; ++s) {
    const std::int64_t first = s * kPanelStep;
    const std::int64_t columns = std::min(kPanelStep, count - first);
    float step[kPanelStep * kPanelRows] = {};
    std::copy_n(d + first * kPanelRows, columns * kPanelRows, step);
    subtract_step(d, packed.step(s), first, step);
    divide_step(packed.step(s) + first * kPanelStep, columns, step);
    std::copy_n(step, columns * kPanelRows, d + first * kPanelRows);
  }
}

void subtract_packed(const PackedSteps& packed, const float* e, std::int64_t count,
                     std::int64_t columns, float* w) {
  std::int64_t s = 0;
  for (; (s + 1) * kPanelStep <= columns; ++s)
    subtract_step(e, packed.step(s), count, w + s * kPanelStep * kPanelRows);
  const std::int64_t left = (columns - s * kPanelStep) * kPanelRows;
  if (left == 0) return;
  float step[kPanelStep * kPanelRows] = {};
  float* last = w + s * kPanelStep * kPanelRows;
  std::copy_n(last, left, step);
  subtract_step(e, packed.step(s), count, step);
  std::copy_n(step, left, last);
}

}  // namespace

void PackedSteps::pack(MatrixView<const float> u, std::int64_t first, std::int64_t count) {
  rows_ = u.rows;
  const std::int64_t steps = (count + kPanelStep - 1) / kPanelStep;
  values_.assign(static_cast<std::size_t>(steps * rows_ * kPanelStep), 0.0f);
  for (std::int64_t p = 0; p < rows_; ++p) {
    const float* from = u.row(p) + first;
    for (std::int64_t c = 0; c < count; ++c)
      values_[static_cast<std::size_t>((c / kPanelStep * rows_ + p) * kPanelStep +
                                       c % kPanelStep)] = from[c];
  }
}

BITGRID_MULTIVERSION
void subtract_step(const float* __restrict e, const float* __restrict u, std::int64_t count,
                   float* __restrict w) {
  if (count == 0) return;
  // The loop over lanes is the vector loop, and the six sums stay in registers. The compiler sees
  // this only where the inner loop surely runs.
  for (int l = 0; l < kPanelRows; ++l) {
    float a0 = w[l], a1 = w[kPanelRows + l], a2 = w[2 * kPanelRows + l];
    float a3 = w[3 * kPanelRows + l], a4 = w[4 * kPanelRows + l], a5 = w[5 * kPanelRows + l];
    std::int64_t p = 0;
    do {
      const float x = e[p * kPanelRows + l];
      a0 -= x * u[p * kPanelStep];
      a1 -= x * u[p * kPanelStep + 1];
      a2 -= x * u[p * kPanelStep + 2];
      a3 -= x * u[p * kPanelStep + 3];
      a4 -= x * u[p * kPanelStep + 4];
      a5 -= x * u[p * kPanelStep + 5];
    } while (++p < count);
    w[l] = a0;
    w[kPanelRows + l] = a1;
    w[2 * kPanelRows + l] = a2;
    w[3 * kPanelRows + l] = a3;
    w[4 * kPanelRows + l] = a4;
    w[5 * kPanelRows + l] = a5;
  }
}

void load_panels(const Place& place, MatrixView<const float> w, MatrixView<float> panels) {
  parallel_for(place, panels.rows, [&](std::int64_t i) {
    const std::int64_t first = i * kPanelRows, rows = std::min(kPanelRows, w.rows - first);
    float* panel = panels.row(i);
    for (std::int64_t j = 0; j < w.cols; ++j) {
      float* column = panel + j * kPanelRows;
      const float* from = w.row(first) + j;
      for (std::int64_t l = 0; l < rows; ++l) column[l] = from[l * w.stride];
      std::fill(column + rows, column + kPanelRows, 0.0f);
    }
  });
}

void store_panels(const Place& place, MatrixView<const float> panels, MatrixView<float> w) {
  parallel_for(place, panels.rows, [&](std::int64_t i) {
    const std::int64_t first = i * kPanelRows, rows = std::min(kPanelRows, w.rows - first);
    for (std::int64_t j = 0; j < w.cols; ++j)
      for (std::int64_t l = 0; l < rows; ++l) w(first + l, j) = panels.row(i)[j * kPanelRows + l];
  });
}

void subtract_products(const Place& place, MatrixView<const float> e, MatrixView<const float> u,
                       MatrixView<float> w) {
  const std::int64_t tiles = (w.rows + kPanelsTogether - 1) / kPanelsTogether;
  parallel_for(place, tiles, [&](std::int64_t tile) {
    PackedSteps packed;
    const std::int64_t end = std::min(w.rows, (tile + 1) * kPanelsTogether);
    for (std::int64_t first = 0; first < u.cols; first += kPackedColumns) {
      const std::int64_t columns = std::min(kPackedColumns, u.cols - first);
      packed.pack(u, first, columns);
      for (std::int64_t i = tile * kPanelsTogether; i < end; ++i)
        subtract_packed(packed, e.row(i), u.rows, columns, w.row(i) + first * kPanelRows);
    }
  });
}

void solve_feedback(const Place& place, MatrixView<const float> u, MatrixView<float> d) {
  PackedSteps packed;
  packed.pack(u, 0, u.cols);
  parallel_for(place, d.rows, [&](std::int64_t i) { solve_panel(packed, u.cols, d.row(i)); });
}

}  // namespace bitgrid::cpu
