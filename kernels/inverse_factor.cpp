#include "kernels/inverse_factor.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

namespace {

void check(const char* name, const ScaledGram& h, MatrixView<float> factor) {
  const std::int64_t in = h.s.cols;
  const bool fits = h.s.rows == in && factor.rows == in && factor.cols == in &&
                    static_cast<std::int64_t>(h.diagonal.size()) == in &&
                    (h.order.empty() || static_cast<std::int64_t>(h.order.size()) == in);
  if (!fits)
    throw Error(
        std::string(name) +
        ": s and the factor must be [in, in], diagonal and order [in], in = " + std::to_string(in));
}

}  // namespace

std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u) {
  check("inverse_factor", h, u);
  switch (place.device) {
    case Device::cpu:
      return cpu::inverse_factor(place, h, u);
    case Device::cuda:
      return cuda::inverse_factor(place, h, u);
  }
  return 0;
}

std::int64_t feedback_factor(const Place& place, const ScaledGram& h, MatrixView<float> g,
                             std::span<double> d) {
  check("feedback_factor", h, g);
  if (static_cast<std::int64_t>(d.size()) != h.s.cols)
    throw Error("feedback_factor: d must be [in], in = " + std::to_string(h.s.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::feedback_factor(place, h, g, d);
    case Device::cuda:
      return cuda::feedback_factor(place, h, g, d);
  }
  return 0;
}

}  // namespace bitgrid
