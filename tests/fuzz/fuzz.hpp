#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "kernels/error.hpp"

namespace bitgrid::fuzz {

// Ends the process, for libFuzzer to keep the input.
[[noreturn]] inline void fail(std::string_view what) {
  std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// Runs fn. An Error whose message is one line of sensible length is how input is refused; any other
// exception escapes and counts as a crash. Returns whether fn ended without one.
template <class Fn>
bool accepted(Fn&& fn) {
  try {
    fn();
    return true;
  } catch (const Error& e) {
    const std::string_view message = e.what();
    if (message.empty() || message.size() > 2000)
      fail("the message is empty or longer than 2000 bytes");
    if (message.find_first_of("\n\r") != message.npos) fail("the message has more than one line");
    return false;
  }
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace bitgrid::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
