#include "kernels/scale_columns.hpp"

#include <string>

namespace bitgrid {
namespace {
void check_size(const char* what, std::int64_t in, std::size_t size) {
  if (static_cast<std::int64_t>(size) != in)
    throw Error(std::string(what) + " must have one value per column, " + std::to_string(in));
}
}  // namespace

void column_maxima(const Place& place, MatrixView<const float> w, std::span<float> largest) {
  check_size("column_maxima: largest", w.cols, largest.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::column_maxima(place, w, largest);
    case Device::cuda:
      return cuda::column_maxima(place, w, largest);
  }
}

void scale_columns(const Place& place, std::span<const float> factors, MatrixView<float> w) {
  check_size("scale_columns: factors", w.cols, factors.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::scale_columns(place, factors, w);
    case Device::cuda:
      return cuda::scale_columns(place, factors, w);
  }
}

}  // namespace bitgrid
