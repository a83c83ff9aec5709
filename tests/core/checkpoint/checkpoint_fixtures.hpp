#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/error.hpp"
#include "tests/core/checkpoint/model_files.hpp"

namespace bitgrid::test {

// The message of the error that fn throws, which must be one line; "nothing" if there is none.
template <class ErrorType, class Fn>
std::string thrown(Fn&& fn) {
  try {
    fn();
  } catch (const ErrorType& e) {
    EXPECT_THAT(e.what(), testing::Not(testing::HasSubstr("\n")));
    return e.what();
  }
  return "nothing";
}

// Why a model directory is refused, or "accepted".
inline std::string refusal(const std::string& directory) {
  const std::string why = thrown<InputError>([&] { Checkpoint::open(directory); });
  return why == "nothing" ? "accepted" : why;
}

inline Matrix<float> read_all(const Checkpoint& checkpoint, const std::string& name) {
  const auto& shape = checkpoint.find(name)->shape;
  Matrix<float> out(shape.size() == 1 ? 1 : shape[0], shape.back());
  checkpoint.read_rows(name, 0, out.view());
  return out;
}

}  // namespace bitgrid::test
