#include "kernels/inverse_factor.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u) {
  const std::int64_t in = h.s.cols;
  const bool fits = h.s.rows == in && u.rows == in && u.cols == in &&
                    static_cast<std::int64_t>(h.diagonal.size()) == in &&
                    (h.order.empty() || static_cast<std::int64_t>(h.order.size()) == in);
  if (!fits)
    throw Error("inverse_factor: s and u must be [in, in], diagonal and order [in], in = " +
                std::to_string(in));
  switch (place.device) {
    case Device::cpu:
      return cpu::inverse_factor(place, h, u);
    case Device::cuda:
      return cuda::inverse_factor(place, h, u);
  }
  return 0;
}

}  // namespace bitgrid
