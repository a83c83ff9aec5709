#include "core/text/python_random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "kernels/error.hpp"

namespace bitgrid {

PythonRandom::PythonRandom(std::int64_t seed) {
  // The key is |seed| in 32-bit words, the low one first; 0 has one word.
  const std::uint64_t magnitude =
      seed < 0 ? 0 - static_cast<std::uint64_t>(seed) : static_cast<std::uint64_t>(seed);
  const std::uint32_t key[2] = {static_cast<std::uint32_t>(magnitude),
                                static_cast<std::uint32_t>(magnitude >> 32)};
  const std::uint32_t length = key[1] != 0 ? 2 : 1;

  // init_genrand and init_by_array of Matsumoto and Nishimura's reference generator (2002).
  constexpr std::uint32_t n = kWords;
  state_[0] = 19650218;
  for (std::uint32_t i = 1; i < n; ++i)
    state_[i] = 1812433253 * (state_[i - 1] ^ state_[i - 1] >> 30) + i;
  const auto mix = [this](std::uint32_t& i, std::uint32_t factor) {
    state_[i] ^= (state_[i - 1] ^ state_[i - 1] >> 30) * factor;
  };
  const auto advance = [this](std::uint32_t& i) {
    if (++i == n) {
      state_[0] = state_[n - 1];
      i = 1;
    }
  };
  std::uint32_t i = 1;
  for (std::uint32_t step = 0, j = 0; step < n; ++step, j = (j + 1) % length) {
    mix(i, 1664525);
    state_[i] += key[j] + j;
    advance(i);
  }
  for (std::uint32_t step = 0; step < n - 1; ++step) {
    mix(i, 1566083941);
    state_[i] -= i;
    advance(i);
  }
  state_[0] = 0x80000000;
}

void PythonRandom::refill() {
  constexpr int kMiddle = 397;
  for (int i = 0; i < kWords; ++i) {
    const std::uint32_t y = (state_[i] & 0x80000000) | (state_[(i + 1) % kWords] & 0x7FFFFFFF);
    state_[i] = state_[(i + kMiddle) % kWords] ^ y >> 1 ^ ((y & 1) != 0 ? 0x9908B0DF : 0);
  }
  used_ = 0;
}

std::uint32_t PythonRandom::next() {
  if (used_ == kWords) refill();
  std::uint32_t y = state_[used_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9D2C5680;
  y ^= y << 15 & 0xEFC60000;
  return y ^ y >> 18;
}

std::uint64_t PythonRandom::getrandbits(int bits) {
  BITGRID_ASSERT(bits >= 1 && bits <= 64);
  if (bits <= 32) return next() >> (32 - bits);
  const std::uint64_t low = next();
  return low | static_cast<std::uint64_t>(next() >> (64 - bits)) << 32;
}

std::uint64_t PythonRandom::randbelow(std::uint64_t n) {
  BITGRID_ASSERT(n >= 1);
  const int bits = std::bit_width(n);
  std::uint64_t r = getrandbits(bits);
  while (r >= n) r = getrandbits(bits);
  return r;
}

std::int64_t PythonRandom::randint(std::int64_t a, std::int64_t b) {
  BITGRID_ASSERT(a <= b);
  return a + static_cast<std::int64_t>(
                 randbelow(static_cast<std::uint64_t>(b) - static_cast<std::uint64_t>(a) + 1));
}

double PythonRandom::random() {
  const std::uint32_t a = next() >> 5, b = next() >> 6;
  return (a * 67108864.0 + b) / 9007199254740992.0;  // (a·2²⁶ + b) / 2⁵³
}

std::vector<std::int64_t> PythonRandom::sample(std::int64_t n, std::int64_t k) {
  BITGRID_ASSERT(k >= 0 && k <= n);
  std::int64_t pool_size = 21;  // up to here a list takes less memory than a set of k
  if (k > 5) {
    std::int64_t power = 1;
    while (power < 3 * k) power *= 4;
    pool_size += power;
  }
  std::vector<std::int64_t> chosen;
  const auto below = [this](std::int64_t limit) {
    return static_cast<std::int64_t>(randbelow(static_cast<std::uint64_t>(limit)));
  };
  if (n <= pool_size) {
    std::vector<std::int64_t> pool(static_cast<std::size_t>(n));
    std::iota(pool.begin(), pool.end(), 0);
    for (std::int64_t i = 0; i < k; ++i) {
      const auto j = static_cast<std::size_t>(below(n - i));
      chosen.push_back(pool[j]);
      pool[j] = pool[static_cast<std::size_t>(n - i - 1)];
    }
    return chosen;
  }
  std::unordered_set<std::int64_t> seen;
  while (static_cast<std::int64_t>(chosen.size()) < k) {
    const std::int64_t j = below(n);
    if (seen.insert(j).second) chosen.push_back(j);
  }
  return chosen;
}

std::vector<std::int64_t> PythonRandom::choices(std::int64_t n, std::int64_t k) {
  BITGRID_ASSERT(n >= 1);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < k; ++i) {
    chosen.push_back(static_cast<std::int64_t>(std::floor(random() * static_cast<double>(n))));
  }
  return chosen;
}

}  // namespace bitgrid
