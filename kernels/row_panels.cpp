#include "kernels/row_panels.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void check_panels(std::int64_t rows, std::int64_t columns, std::int64_t panels,
                  std::int64_t values) {
  if (panels != panel_count(rows) || values != columns * kPanelRows)
    throw Error("panels of [" + std::to_string(rows) + ", " + std::to_string(columns) +
                "] must be [" + std::to_string(panel_count(rows)) + ", " +
                std::to_string(columns * kPanelRows) + "]");
}

}  // namespace

void load_panels(const Place& place, MatrixView<const float> w, MatrixView<float> panels) {
  check_panels(w.rows, w.cols, panels.rows, panels.cols);
  switch (place.device) {
    case Device::cpu:
      return cpu::load_panels(place, w, panels);
    case Device::cuda:
      return cuda::load_panels(place, w, panels);
  }
}

void store_panels(const Place& place, MatrixView<const float> panels, MatrixView<float> w) {
  check_panels(w.rows, w.cols, panels.rows, panels.cols);
  switch (place.device) {
    case Device::cpu:
      return cpu::store_panels(place, panels, w);
    case Device::cuda:
      return cuda::store_panels(place, panels, w);
  }
}

void subtract_products(const Place& place, MatrixView<const float> e, MatrixView<const float> u,
                       MatrixView<float> w) {
  if (e.rows != w.rows || e.cols != u.rows * kPanelRows || w.cols != u.cols * kPanelRows)
    throw Error("subtract_products: e and w must be panels of the rows and columns of u");
  switch (place.device) {
    case Device::cpu:
      return cpu::subtract_products(place, e, u, w);
    case Device::cuda:
      return cuda::subtract_products(place, e, u, w);
  }
}

void solve_feedback(const Place& place, MatrixView<const float> u, MatrixView<float> d) {
  if (u.rows != u.cols || d.cols != u.cols * kPanelRows)
    throw Error("solve_feedback: u must be square, and d panels of its columns");
  switch (place.device) {
    case Device::cpu:
      return cpu::solve_feedback(place, u, d);
    case Device::cuda:
      return cuda::solve_feedback(place, u, d);
  }
}

}  // namespace bitgrid
