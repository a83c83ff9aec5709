#include "kernels/fdb_joint_scales.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void check_shapes(const FdbObjective& objective, MatrixView<const float> w,
                  MatrixView<const float> scale1, MatrixView<const float> scale2,
                  MatrixView<const std::uint8_t> codes, std::span<const double> loss) {
  if (objective.group < 1 || w.cols % objective.group != 0)
    throw Error("fdb_joint_scales: group " + std::to_string(objective.group) + " does not divide " +
                std::to_string(w.cols) + " columns");
  const auto is = [](auto view, std::int64_t rows, std::int64_t cols) {
    return view.rows == rows && view.cols == cols;
  };
  const std::int64_t groups = w.cols / objective.group;
  if (!is(objective.gram, w.cols, w.cols) || !is(scale1, w.rows, groups) ||
      !is(scale2, w.rows, groups) || !is(codes, w.rows, w.cols) ||
      static_cast<std::int64_t>(loss.size()) != w.rows)
    throw Error(
        "fdb_joint_scales: gram must be [in, in], scales, codes and loss one row per row of " +
        std::to_string(w.rows));
}

}  // namespace

void fdb_row_losses(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                    MatrixView<const float> scale1, MatrixView<const float> scale2,
                    MatrixView<const std::uint8_t> codes, std::span<double> loss) {
  check_shapes(objective, w, scale1, scale2, codes, loss);
  switch (place.device) {
    case Device::cpu:
      return cpu::fdb_row_losses(place, objective, w, scale1, scale2, codes, loss);
    case Device::cuda:
      return cuda::fdb_row_losses(place, objective, w, scale1, scale2, codes, loss);
  }
}

void fdb_joint_scales(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                      MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                      MatrixView<float> scale2, std::span<double> loss) {
  check_shapes(objective, w, scale1, scale2, codes, loss);
  switch (place.device) {
    case Device::cpu:
      return cpu::fdb_joint_scales(place, objective, w, codes, scale1, scale2, loss);
    case Device::cuda:
      return cuda::fdb_joint_scales(place, objective, w, codes, scale1, scale2, loss);
  }
}

}  // namespace bitgrid
