#include "kernels/triangle.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void check(const char* operation, std::int64_t rows, std::int64_t cols, std::size_t packed) {
  if (rows != cols || static_cast<std::int64_t>(packed) != packed_triangle_size(rows))
    throw Error(std::string(operation) + ": [" + std::to_string(rows) + ", " +
                std::to_string(cols) + "] does not fit a packed triangle of " +
                std::to_string(packed) + " values");
}

}  // namespace

void pack_lower(const Place& place, MatrixView<const double> s, std::span<double> packed) {
  check("pack_lower", s.rows, s.cols, packed.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::pack_lower(place, s, packed);
    case Device::cuda:
      return cuda::pack_lower(place, s, packed);
  }
}

void unpack_lower(const Place& place, std::span<const double> packed, MatrixView<double> s) {
  check("unpack_lower", s.rows, s.cols, packed.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::unpack_lower(place, packed, s);
    case Device::cuda:
      return cuda::unpack_lower(place, packed, s);
  }
}

void add_packed(const Place& place, std::span<const double> from, std::span<double> into) {
  if (from.size() != into.size()) throw Error("add_packed: the two sums differ in length");
  switch (place.device) {
    case Device::cpu:
      return cpu::add_packed(place, from, into);
    case Device::cuda:
      return cuda::add_packed(place, from, into);
  }
}

}  // namespace bitgrid
