#pragma once

#include <cstddef>
#include <string_view>

namespace bitgrid {

// Llama-3's splitting rule as a regular expression: what tokenizer.json must contain, and what
// piece_end implements.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The end of the piece that begins at begin; text is valid UTF-8 and begin < text.size().
std::size_t piece_end(std::string_view text, std::size_t begin);

}  // namespace bitgrid
