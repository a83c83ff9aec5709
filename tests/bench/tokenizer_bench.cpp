#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include "core/text/split.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer.hpp"
#include "core/text/utf8.hpp"

// Megabytes of text per second through the demo's tokenizer, or the tokenizer.json that
// BITGRID_TOKENIZER names: the demo's texts, repeated. What is printed has been checked: decoding
// the ids gives the text. One JSON line per step, the median and the spread of nine runs.

namespace {

constexpr int kRuns = 9;

template <class Fn>
void report(const char* step, std::size_t bytes, Fn&& fn) {
  std::vector<double> rates;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    fn();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(bytes) / 1e6 / elapsed.count());
  }
  std::sort(rates.begin(), rates.end());
  std::cout
      << fmt::format(
             R"({{"bench": "tokenizer", "step": "{}", "megabytes": {:.1f}, "mb_per_s": {:.1f}, )"
             R"("slowest": {:.1f}, "fastest": {:.1f}, "compiler": "{}"}})",
             step, static_cast<double>(bytes) / 1e6, rates[kRuns / 2], rates.front(), rates.back(),
             __VERSION__)
      << '\n';
}

}  // namespace

int main() {
  const std::string demo = std::string(BITGRID_SOURCE_DIR) + "/sweeps/demo";
  const char* given = std::getenv("BITGRID_TOKENIZER");
  const std::string path = given != nullptr ? given : demo + "/model/tokenizer.json";
  const std::string json = bitgrid::read_file(path, "the benchmark");
  const auto tokenizer = bitgrid::Tokenizer::parse(json, "tokenizer.json");
  std::string text;
  for (const char* name :
       {"wikitext2/wiki.train.raw", "ptb/ptb.train.txt", "c4/en/c4-train.00000-of-01024.json.gz"}) {
    text += bitgrid::read_text(demo + "/data/" + name, "the benchmark");
  }
  const std::string once = text;
  while (text.size() < 4000000) text += once;

  const auto ids = tokenizer.encode(text, false);
  if (tokenizer.decode(ids) != text) {
    std::cerr << "decoding the ids does not give the text\n";
    return 1;
  }
  std::size_t kept = 0;  // what the steps compute, so that they are not left out
  report("parse tokenizer.json", json.size(),
         [&] { kept += static_cast<std::size_t>(bitgrid::Tokenizer::parse(json, "t").bos_id()); });
  report("check UTF-8", text.size(),
         [&] { kept += bitgrid::find_invalid_utf8(text) == text.npos; });
  report("split", text.size(), [&] {
    for (std::size_t at = 0; at < text.size(); ++kept) at = bitgrid::piece_end(text, at);
  });
  report("encode", text.size(), [&] { kept += tokenizer.encode(text, true).size(); });
  report("encode once, new tokenizer", once.size(),
         [&] { kept += bitgrid::Tokenizer::parse(json, "t").encode(once, true).size(); });
  report("decode", text.size(), [&] { kept += tokenizer.decode(ids).size(); });
  return kept == 0;
}
