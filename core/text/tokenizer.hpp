#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

enum class Specials {
  recognise,
  as_text
};  // special-token strings inside text: tokens, or plain characters

// Byte-level BPE with Llama-3's splitting rule, from a Hugging Face tokenizer.json.
class Tokenizer {
 public:
  // Throws InputError naming the file and what is not supported.
  static Tokenizer load(const std::string& tokenizer_json_path);
  static Tokenizer parse(std::string_view json, const std::string& file);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text must be valid UTF-8 (InputError with the byte position otherwise). Thread-safe.
  std::vector<std::int32_t> encode(std::string_view text, bool add_bos,
                                   Specials specials = Specials::recognise) const;
  // Ids to UTF-8; invalid sequences become U+FFFD. An id outside the table is an Error.
  std::string decode(std::span<const std::int32_t> ids, bool skip_specials = false) const;

  std::int64_t vocab_size() const;  // ordinary and special tokens
  bool adds_bos() const;            // the file's post-processor prepends begin-of-text
  std::int32_t bos_id() const;      // −1 if the file has none
  // No added token holds a line feed. Then text that is cut behind a line feed, in front of
  // something that is no white space, has the ids of its two parts, end to end: the splitting rule
  // ends a piece there whatever follows.
  bool cuts_behind_lines() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The pieces that the splitting rule cuts valid UTF-8 text into; they cover the text.
std::vector<std::string_view> split_pieces(std::string_view text);

}  // namespace bitgrid
