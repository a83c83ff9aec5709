#include "core/text/special_tokens.hpp"

#include <algorithm>

namespace bitgrid {

SpecialTokens::SpecialTokens(const std::vector<AddedToken>& tokens) {
  for (const AddedToken& token : tokens) entries_.push_back({token.content, token.id});
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.content < b.content; });
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Range& range = first_byte_[static_cast<unsigned char>(entries_[i].content.front())];
    if (range.begin == range.end) range.begin = i;
    range.end = i + 1;
  }
}

SpecialTokens::Match SpecialTokens::find(std::string_view text, std::size_t from) const {
  if (entries_.empty()) return {};
  for (std::size_t i = from; i < text.size(); ++i) {
    const Range range = first_byte_[static_cast<unsigned char>(text[i])];
    if (range.begin == range.end) continue;
    if (const Match match = longest_at(text, i); match.id >= 0) return match;
  }
  return {};
}

// Narrows the sorted entries byte by byte to those that agree with the text so far.
SpecialTokens::Match SpecialTokens::longest_at(std::string_view text, std::size_t begin) const {
  Match match;
  Range range = first_byte_[static_cast<unsigned char>(text[begin])];
  const auto at = [this](std::size_t i) {
    return entries_.begin() + static_cast<std::ptrdiff_t>(i);
  };
  for (std::size_t depth = 1; range.begin < range.end; ++depth) {
    // Within the range only one entry can end here, and it sorts first.
    if (entries_[range.begin].content.size() == depth) {
      match = {begin, begin + depth, entries_[range.begin].id};
      ++range.begin;
    }
    if (begin + depth == text.size()) break;
    const auto wanted = static_cast<unsigned char>(text[begin + depth]);
    const auto byte = [depth](const Entry& entry) {
      return static_cast<unsigned char>(entry.content[depth]);
    };
    const auto low = std::partition_point(at(range.begin), at(range.end),
                                          [&](const Entry& entry) { return byte(entry) < wanted; });
    const auto high = std::partition_point(
        low, at(range.end), [&](const Entry& entry) { return byte(entry) <= wanted; });
    range = {static_cast<std::size_t>(low - entries_.begin()),
             static_cast<std::size_t>(high - entries_.begin())};
  }
  return match;
}

}  // namespace bitgrid
