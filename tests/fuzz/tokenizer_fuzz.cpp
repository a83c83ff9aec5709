#include <optional>
#include <string_view>

#include "core/text/tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
constexpr std::string_view kText =
    "It's 12345 words:  naïve\tcafé <|begin_of_text|>\r\n\n 日本 \xf0\x9f\x91\x8d the theatre\n";
}

// A tokenizer that is accepted must encode and decode, or refuse to, without harm: its vocabulary
// may lack bytes.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bitgrid;
  std::optional<Tokenizer> tokenizer;
  fuzz::accepted(
      [&] { tokenizer.emplace(Tokenizer::parse(fuzz::text(data, size), "tokenizer.json")); });
  if (!tokenizer) return 0;
  for (const Specials specials : {Specials::recognise, Specials::as_text})
    fuzz::accepted([&] {
      const auto ids = tokenizer->encode(kText, tokenizer->bos_id() >= 0, specials);
      for (const auto id : ids)
        if (id < 0 || id >= tokenizer->vocab_size()) fuzz::fail("an id outside the vocabulary");
      (void)tokenizer->decode(ids);
      (void)tokenizer->decode(ids, true);
    });
  return 0;
}
