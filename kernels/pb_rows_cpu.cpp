#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/grid.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/panel_lanes.hpp"
#include "kernels/parallel.hpp"
#include "kernels/pb_rows.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kPanelsTogether = 8;  // share packed columns of U
constexpr int kRows = static_cast<int>(kPanelRows);

// What the rows of one panel have of their own, kPanelRows values side by side.
struct PanelGrids {
  const float *mean, *deviation;  // of the column's group
  const float *scale, *zero;
  float maxq;
};

// One column: w is what the weight has become by now.
BITGRID_MULTIVERSION
void round_column(const PanelGrids& g, const float* __restrict w, const std::uint8_t* kind,
                  float diagonal, float* __restrict e, std::uint8_t* code, double* loss,
                  std::int32_t* saturated) {
  float value[kRows], salient[kRows];
  std::int32_t beyond[kRows];
  for (int l = 0; l < kRows; ++l) {
    const float u = rne(w[l] / g.scale[l]) + g.zero[l];
    const float inside = grid_code(w[l], g.scale[l], g.zero[l], g.maxq);
    salient[l] = inside;
    beyond[l] = u != inside;
    value[l] = grid_value(inside, g.scale[l], g.zero[l]);
  }
  for (int l = 0; l < kRows; ++l) {
    const bool positive = w[l] - g.mean[l] >= 0;
    const float binary = positive ? g.mean[l] + g.deviation[l] : g.mean[l] - g.deviation[l];
    const bool is_salient = kind[l] == static_cast<std::uint8_t>(PbKind::salient);
    const bool is_binary = kind[l] == static_cast<std::uint8_t>(PbKind::binary);
    const float q = is_salient ? value[l] : is_binary ? binary : 0.0f;
    code[l] = is_salient  ? static_cast<std::uint8_t>(static_cast<std::int32_t>(salient[l]))
              : is_binary ? static_cast<std::uint8_t>(positive)
                          : std::uint8_t{0};
    saturated[l] += is_salient ? beyond[l] : 0;
    e[l] = (w[l] - q) / diagonal;
  }
  for (int l = 0; l < kRows; ++l) {
    const double error = e[l];
    loss[l] += 0.5 * error * error;
  }
}

// w −= e·u for one column inside a step.
BITGRID_MULTIVERSION
void subtract_column(const float* __restrict e, float u, float* __restrict w) {
  for (int l = 0; l < kRows; ++l) w[l] -= e[l] * u;
}

void store_column(const std::uint8_t* code, std::int64_t rows, std::uint8_t* to,
                  std::int64_t stride) {
  for (std::int64_t l = 0; l < rows; ++l) to[l * stride] = code[l];
}

// Up to kPanelsTogether panels of rows on their way through the columns.
class Tile {
 public:
  Tile(const PbColumns& c, const PbRows& rows, std::int64_t first, std::int64_t count)
      : c_(c),
        rows_(rows),
        first_(first),
        count_(count),
        in_(rows.w.cols),
        panels_(panel_count(count)),
        groups_(rows.means.cols),
        w_(panels_, in_ * kPanelRows),
        error_(panels_, std::min(c.block, in_) * kPanelRows),
        mean_(panels_, groups_ * kPanelRows),
        deviation_(panels_, groups_ * kPanelRows),
        scale_(panels_, kPanelRows),
        zero_(panels_, kPanelRows),
        loss_(panels_, kPanelRows),
        saturated_(panels_, kPanelRows) {
    cpu::load_panels(Place{}, rows.w.rows_from(first, count), w_.view());
    cpu::load_panels(Place{}, rows.means.rows_from(first, count), mean_.view());
    cpu::load_panels(Place{}, rows.deviations.rows_from(first, count), deviation_.view());
    scale_.fill(1.0f);  // rows that are missing divide by it, too
    zero_.fill(0.0f);
    loss_.fill(0.0);
    saturated_.fill(0);
    for (std::int64_t r = 0; r < count; ++r) {
      scale_.data()[r] = rows.scales(first + r, 0);
      zero_.data()[r] = static_cast<float>(rows.zeros(first + r, 0));
    }
  }

  void solve() {
    for (std::int64_t begin = 0; begin < in_; begin += c_.block) {
      const std::int64_t end = std::min(in_, begin + c_.block);
      if (c_.factor.rows > 0)
        packed_.pack(c_.factor.rows_from(begin, end - begin).cols_from(begin, end - begin), 0,
                     end - begin);
      for (std::int64_t i = 0; i < panels_; ++i) solve_block(begin, end, i);
      if (c_.factor.rows == 0 || end == in_) continue;
      cpu::subtract_products(Place{}, error_.view().cols_from(0, (end - begin) * kPanelRows),
                             c_.factor.rows_from(begin, end - begin).cols_from(end, in_ - end),
                             w_.view().cols_from(end * kPanelRows, (in_ - end) * kPanelRows));
    }
    for (std::int64_t r = 0; r < count_; ++r) {
      rows_.loss[static_cast<std::size_t>(first_ + r)] = loss_.data()[r];
      rows_.saturated[static_cast<std::size_t>(first_ + r)] = saturated_.data()[r];
    }
  }

 private:
  void solve_block(std::int64_t begin, std::int64_t end, std::int64_t panel) {
    float* error = error_.row(panel);
    for (std::int64_t at = begin; at < end; at += kPanelStep) {
      const std::int64_t columns = std::min(kPanelStep, end - at), done = at - begin;
      float step[kPanelStep * kPanelRows] = {};
      std::copy_n(w_.row(panel) + at * kPanelRows, columns * kPanelRows, step);
      const float* u = c_.factor.rows > 0 ? packed_.step(done / kPanelStep) : nullptr;
      if (u != nullptr) subtract_step(error, u, done, step);
      for (std::int64_t c = 0; c < columns; ++c) {
        float* w = step + c * kPanelRows;
        if (u != nullptr)
          for (std::int64_t p = 0; p < c; ++p)
            subtract_column(error + (done + p) * kPanelRows, u[(done + p) * kPanelStep + c], w);
        const float diagonal = u != nullptr ? u[(done + c) * kPanelStep + c] : 1.0f;
        round(panel, at + c, w, diagonal, error + (done + c) * kPanelRows);
      }
    }
  }

  void round(std::int64_t panel, std::int64_t column, const float* w, float diagonal, float* e) {
    const std::int64_t first = first_ + panel * kPanelRows;
    const std::int64_t rows = std::min(kPanelRows, count_ - panel * kPanelRows);
    std::uint8_t kind[kPanelRows], code[kPanelRows];
    std::fill_n(kind, kPanelRows, static_cast<std::uint8_t>(PbKind::dead));
    for (std::int64_t l = 0; l < rows; ++l) kind[l] = rows_.kinds(first + l, column);
    const std::int64_t group = column / c_.group * kPanelRows;
    const PanelGrids grids{mean_.row(panel) + group, deviation_.row(panel) + group,
                           scale_.row(panel), zero_.row(panel),
                           static_cast<float>((1 << c_.salient_bits) - 1)};
    round_column(grids, w, kind, diagonal, e, code, loss_.row(panel), saturated_.row(panel));
    store_column(code, rows, rows_.codes.row(first) + column, rows_.codes.stride);
  }

  const PbColumns& c_;
  const PbRows& rows_;
  std::int64_t first_, count_, in_, panels_, groups_;
  Matrix<float> w_, error_, mean_, deviation_, scale_, zero_;
  Matrix<double> loss_;
  Matrix<std::int32_t> saturated_;
  PackedSteps packed_;
};

}  // namespace

void pb_parameters(const Place& place, std::int64_t group, bool diluted, MatrixView<const float> w,
                   MatrixView<const std::uint8_t> kinds, MatrixView<float> means,
                   MatrixView<float> deviations) {
  const auto binary = [&](std::int64_t r, std::int64_t j) {
    return kinds(r, j) == static_cast<std::uint8_t>(PbKind::binary);
  };
  for_row_tiles(place, w.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      for (std::int64_t g = 0; g < means.cols; ++g) {
        const std::int64_t first = g * group, last = std::min(w.cols, first + group);
        double sum = 0, distance = 0;
        std::int64_t count = 0;
        for (std::int64_t j = first; j < last; ++j) {
          sum += binary(r, j) ? static_cast<double>(w(r, j)) : 0.0;
          count += binary(r, j);
        }
        const auto over = static_cast<double>(diluted ? last - first : count);
        const double mean = count > 0 ? sum / over : 0.0;
        for (std::int64_t j = first; j < last; ++j)
          distance += binary(r, j) ? std::fabs(static_cast<double>(w(r, j)) - mean) : 0.0;
        if (diluted) distance += static_cast<double>(last - first - count) * std::fabs(mean);
        means(r, g) = static_cast<float>(mean);
        deviations(r, g) = static_cast<float>(count > 0 ? distance / over : 0.0);
      }
  });
}

void pb_rows(const Place& place, const PbColumns& columns, const PbRows& rows) {
  constexpr std::int64_t tile_rows = kPanelsTogether * kPanelRows;
  const std::int64_t tiles = (rows.w.rows + tile_rows - 1) / tile_rows;
  parallel_for(place, tiles, [&](std::int64_t t) {
    const std::int64_t first = t * tile_rows;
    Tile(columns, rows, first, std::min(tile_rows, rows.w.rows - first)).solve();
  });
}

}  // namespace bitgrid::cpu
