#pragma once

#include <cstdint>

#include "dist/transfer.hpp"

// Small pieces for the length of a test, so that kilobytes go the way of gigabytes.
class SmallPieces {
 public:
  explicit SmallPieces(std::int64_t bytes) : before_(bitgrid::dist::piece_bytes()) {
    bitgrid::dist::set_piece_bytes_for_tests(bytes);
  }
  ~SmallPieces() { bitgrid::dist::set_piece_bytes_for_tests(before_); }
  SmallPieces(const SmallPieces&) = delete;
  SmallPieces& operator=(const SmallPieces&) = delete;

 private:
  std::int64_t before_;
};
