#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text_fixtures.hpp"

namespace bitgrid::test {

inline std::string alphabet_text(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += byte_alphabet_text(static_cast<unsigned char>(byte));
  return text;
}

// A tokenizer that can be followed by eye: byte b has id b; then come ab 256, abc 257, bc 258, " a"
// 259, aa 260, " abc!" 261 (which no merge builds), and the specials from 300 on. Merges in this
// order: a+b, b+c, ab+c, " "+a, a+a.
inline nlohmann::json small_tokenizer() {
  using nlohmann::json;
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocab[alphabet_text(std::string(1, static_cast<char>(byte)))] = byte;
  int id = 256;
  for (const char* token : {"ab", "abc", "bc", " a", "aa", " abc!"})
    vocab[alphabet_text(token)] = id++;
  json added = json::array();
  id = 300;
  for (const char* content : {"<|begin_of_text|>", "<|end|>", "<|end|>x", "<|eot_id|>"}) {
    added.push_back({{"id", id++},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const json bos_template = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<|begin_of_text|>", {{"id", "<|begin_of_text|>"}, {"ids", {300}}}}}}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", std::string(kLlama3Pattern)}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"},
               {"add_prefix_space", false},
               {"trim_offsets", true},
               {"use_regex", false}}}}}},
          {"post_processor", bos_template},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", true},
            {"vocab", vocab},
            {"merges", {"a b", "b c", "ab c", alphabet_text(" ") + " a", "a a"}}}}};
}

}  // namespace bitgrid::test
