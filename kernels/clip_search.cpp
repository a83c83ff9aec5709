#include "kernels/clip_search.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void search_clip(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                 MatrixView<const float> c, MatrixView<std::uint8_t> steps) {
  if (c.cols < 1 || c.rows != w.cols || w.cols % c.cols != 0)
    throw Error("search_clip: c must be [in, group], in = " + std::to_string(w.cols) +
                " and group one of its divisors");
  if (steps.rows != w.rows || steps.cols != w.cols / c.cols)
    throw Error("search_clip: steps must be [rows, groups]");
  switch (place.device) {
    case Device::cpu:
      return cpu::search_clip(place, grid, w, c, steps);
    case Device::cuda:
      return cuda::search_clip(place, grid, w, c, steps);
  }
}

void clip_groups(const Place& place, MatrixView<const std::uint8_t> steps, MatrixView<float> w) {
  if (steps.cols < 1 || steps.rows != w.rows || w.cols % steps.cols != 0)
    throw Error("clip_groups: steps must be [rows, groups]");
  switch (place.device) {
    case Device::cpu:
      return cpu::clip_groups(place, steps, w);
    case Device::cuda:
      return cuda::clip_groups(place, steps, w);
  }
}

}  // namespace bitgrid
