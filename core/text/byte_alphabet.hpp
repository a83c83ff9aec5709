#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bitgrid {

// tokenizer.json writes each byte of a token as one printable character: bytes 21–7E, A1–AC and
// AE–FF as the code point of the same value, the other 68 in increasing order as U+0100 … U+0143 (a
// space is "Ġ").

// Nothing if text, which is valid UTF-8, has a character outside the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view text);
std::string byte_alphabet_text(unsigned char byte);

}  // namespace bitgrid
