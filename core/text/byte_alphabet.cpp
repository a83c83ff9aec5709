#include "core/text/byte_alphabet.hpp"

#include <array>

#include "core/text/utf8.hpp"

namespace bitgrid {
namespace {

constexpr char32_t kCharacters = 0x144;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<short, kCharacters> byte{};  // −1: not in the alphabet
};
constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (short& byte : alphabet.byte) byte = -1;
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t character = stands_for_itself(byte) ? byte : next++;
    alphabet.character[byte] = character;
    alphabet.byte[character] = static_cast<short>(byte);
  }
  return alphabet;
}
constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_alphabet(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_valid_utf8(text.data() + i);
    if (c.value >= kCharacters || kAlphabet.byte[c.value] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[c.value]);
    i += c.bytes;
  }
  return bytes;
}

std::string byte_alphabet_text(unsigned char byte) {
  std::string text;
  append_utf8(text, kAlphabet.character[byte]);
  return text;
}

}  // namespace bitgrid
