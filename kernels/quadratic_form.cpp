#include "kernels/quadratic_form.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void quadratic_form(const Place& place, MatrixView<const float> d, MatrixView<const float> s,
                    std::span<double> values) {
  if (s.rows != d.cols || s.cols != d.cols)
    throw Error("quadratic_form: s must be [in, in], in = " + std::to_string(d.cols));
  if (static_cast<std::int64_t>(values.size()) != d.rows)
    throw Error("quadratic_form: values must have one entry per row, " + std::to_string(d.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::quadratic_form(place, d, s, values);
    case Device::cuda:
      return cuda::quadratic_form(place, d, s, values);
  }
}

}  // namespace bitgrid
