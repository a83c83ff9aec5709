#include "kernels/gram.hpp"

#include <limits>
#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<double> s) {
  if (s.rows != x.cols || s.cols != x.cols)
    throw Error("gram: s must be [in, in], in = " + std::to_string(x.cols));
  if (x.rows > std::numeric_limits<std::int32_t>::max())
    throw Error("gram: " + std::to_string(x.rows) + " tokens are too many for one call");
  if (x.rows == 0 || x.cols == 0) return;
  switch (place.device) {
    case Device::cpu:
      return cpu::accumulate_gram(place, x, s);
    case Device::cuda:
      return cuda::accumulate_gram(place, x, s);
  }
}

}  // namespace bitgrid
