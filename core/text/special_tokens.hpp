#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/tokenizer_file.hpp"

namespace bitgrid {

// Finds the texts of added tokens: at the leftmost place where one begins, the longest.
class SpecialTokens {
 public:
  explicit SpecialTokens(const std::vector<AddedToken>& tokens);

  struct Match {
    std::size_t begin = 0, end = 0;
    std::int32_t id = -1;  // −1: none found
  };
  Match find(std::string_view text, std::size_t from) const;

 private:
  struct Entry {
    std::string content;
    std::int32_t id;
  };
  struct Range {
    std::size_t begin = 0, end = 0;
  };
  Match longest_at(std::string_view text, std::size_t begin) const;

  std::vector<Entry>
      entries_;  // sorted by content, so that those with one beginning are neighbours
  std::array<Range, 256> first_byte_{};  // of entries_
};

}  // namespace bitgrid
