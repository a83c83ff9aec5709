#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace bitgrid {

// CPython's random.Random: MT19937 seeded by init_by_array, and the functions built on it, draw for
// draw. The study's scripts choose calibration windows and shots with it.
class PythonRandom {
 public:
  explicit PythonRandom(std::int64_t seed);

  std::uint64_t getrandbits(int bits);                   // 1 ≤ bits ≤ 64
  std::uint64_t randbelow(std::uint64_t n);              // 0 … n − 1; n ≥ 1
  std::int64_t randint(std::int64_t a, std::int64_t b);  // a … b, both included; a ≤ b
  double random();                                       // 0 ≤ x < 1
  std::vector<std::int64_t> sample(std::int64_t n,
                                   std::int64_t k);  // k different indices below n, k ≤ n
  std::vector<std::int64_t> choices(std::int64_t n, std::int64_t k);  // k indices below n
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i-- > 1;) std::swap(items[i], items[randbelow(i + 1)]);
  }

 private:
  static constexpr int kWords = 624;
  std::uint32_t next();
  void refill();
  std::array<std::uint32_t, kWords> state_{};
  int used_ = kWords;
};

}  // namespace bitgrid
