#pragma once

#include <span>
#include <string>
#include <string_view>

namespace bitgrid {

// The word of `words` closest to `text` by edit distance, or "" if none is close.
std::string nearest_word(std::string_view text, std::span<const std::string> words);

}  // namespace bitgrid
