#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

// Replaces the pair (left, right) of neighbouring tokens by merged, their concatenation.
struct Merge {
  std::int32_t left = 0, right = 0, merged = 0;
  bool operator==(const Merge&) const = default;
};

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false;
  bool operator==(const AddedToken&) const = default;
};

// What a tokenizer file says, checked: every single byte is a token, ids and tokens are unique,
// merges fit the tokens.
struct TokenizerFile {
  std::vector<std::string>
      vocab;  // ordinary tokens by id, as bytes; empty where the id is not an ordinary token's
  std::vector<Merge> merges;  // the first one is applied first
  std::vector<AddedToken> added;
  bool whole_pieces = false;  // a piece that is a token is not merged ("ignore_merges")
  bool adds_bos = false;      // a plain call prepends bos_id
  std::int32_t bos_id = -1;
  bool operator==(const TokenizerFile&) const = default;
};

// Hugging Face's tokenizer.json. Throws InputError naming file and field; anything that would
// change ids and is not implemented is refused.
TokenizerFile read_tokenizer_json(std::string_view text, const std::string& file);

// Meta's tokenizer.model: one line per token, "<base64 of its bytes> <rank>"; the rank is the id.
// The 256 special tokens after the last rank are not in the file and get Llama-3.0's names; a
// begin-of-text is prepended, as the converted tokenizer.json files say.
TokenizerFile read_rank_file(std::string_view text, const std::string& file);

}  // namespace bitgrid
