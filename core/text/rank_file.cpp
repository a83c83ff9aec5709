#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "core/text/tokenizer_file.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr std::int32_t kSpecials = 256;
// Llama-3's longest token has 128 bytes. All cuts of a token are tried, which takes quadratic time.
constexpr std::size_t kTokenBytesMax = 1024;

int base64_digit(char c) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto found = kDigits.find(c);
  return found == kDigits.npos ? -1 : static_cast<int>(found);
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  unsigned bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int digit = i >= text.size() - padding ? 0 : base64_digit(text[i]);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(digit);
    if (i % 4 == 3) {
      for (int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xFF);
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

std::vector<std::string> read_ranks(std::string_view text, const std::string& name) {
  std::vector<std::string> vocab;
  std::size_t line = 0;
  while (!text.empty()) {
    ++line;
    const auto fail = [&](std::string_view what) -> void {
      throw InputError(fmt::format("{}:{}: {}", name, line, what));
    };
    std::string_view row = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), row.size() + 1));
    if (row.ends_with('\r')) row.remove_suffix(1);
    const std::size_t space = row.find(' ');
    if (space == row.npos) fail("expected a token in base64, a space and its rank");
    const auto bytes = decode_base64(row.substr(0, space));
    if (!bytes || bytes->empty()) fail("the token is not base64");
    if (bytes->size() > kTokenBytesMax)
      fail(fmt::format("the token has more than {} bytes", kTokenBytesMax));
    std::size_t rank = 0;
    const char* end = row.data() + row.size();
    const auto parsed = std::from_chars(row.data() + space + 1, end, rank);
    if (parsed.ec != std::errc() || parsed.ptr != end) fail("the rank is not a number");
    if (rank != vocab.size())
      fail(fmt::format("the rank is {}, expected {}: ranks count up from 0", rank, vocab.size()));
    vocab.push_back(*bytes);
  }
  return vocab;
}

// Every way to cut a token into two tokens is a merge; merges are ordered by the rank of the
// result, then of the left and the right side.
std::vector<Merge> merges_of(const std::vector<std::string>& vocab,
                             const std::unordered_map<std::string_view, std::int32_t>& ids) {
  std::vector<Merge> merges;
  for (std::int32_t merged = 0; merged < static_cast<std::int32_t>(vocab.size()); ++merged) {
    const std::string_view token = vocab[static_cast<std::size_t>(merged)];
    const std::size_t first = merges.size();
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ids.find(token.substr(0, cut));
      const auto right = ids.find(token.substr(cut));
      if (left != ids.end() && right != ids.end())
        merges.push_back({left->second, right->second, merged});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const Merge& a, const Merge& b) {
                return std::tie(a.left, a.right) < std::tie(b.left, b.right);
              });
  }
  return merges;
}

std::vector<AddedToken> llama3_specials(std::int32_t first) {
  std::vector<AddedToken> added;
  int reserved = 0;
  for (std::int32_t i = 0; i < kSpecials; ++i) {
    const std::string name = i == 0   ? "begin_of_text"
                             : i == 1 ? "end_of_text"
                             : i == 6 ? "start_header_id"
                             : i == 7 ? "end_header_id"
                             : i == 9 ? "eot_id"
                                      : fmt::format("reserved_special_token_{}", reserved++);
    added.push_back({first + i, fmt::format("<|{}|>", name), true});
  }
  return added;
}

}  // namespace

TokenizerFile read_rank_file(std::string_view text, const std::string& name) {
  TokenizerFile file;
  file.vocab = read_ranks(text, name);
  std::unordered_map<std::string_view, std::int32_t> ids;
  ids.reserve(file.vocab.size());
  for (std::size_t id = 0; id < file.vocab.size(); ++id) {
    if (!ids.emplace(file.vocab[id], static_cast<std::int32_t>(id)).second) {
      throw InputError(fmt::format("{}:{}: the token is there twice", name, id + 1));
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!ids.contains(std::string(1, static_cast<char>(byte)))) {
      throw InputError(fmt::format("{}: has no token for the single byte 0x{:02X}", name, byte));
    }
  }
  file.merges = merges_of(file.vocab, ids);
  file.whole_pieces = true;
  file.added = llama3_specials(static_cast<std::int32_t>(file.vocab.size()));
  file.adds_bos = true;
  file.bos_id = file.added.front().id;
  return file;
}

}  // namespace bitgrid
