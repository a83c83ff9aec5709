#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/text/tokenizer.hpp"
#include "core/text/tokenizer_file.hpp"
#include "small_tokenizer.hpp"

namespace bitgrid::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

std::string refusal(const std::string& text) {
  return input_error([&] { Tokenizer::parse(text, "dir/tokenizer.json"); });
}

// The message about the small tokenizer after a JSON-pointer assignment.
std::string refusal_after(const std::string& pointer, const json& value) {
  json file = small_tokenizer();
  file[json::json_pointer(pointer)] = value;
  return refusal(file.dump());
}

TEST(TokenizerJson, ReadsTheSmallTokenizer) {
  const TokenizerFile file = read_tokenizer_json(small_tokenizer().dump(), "t");
  EXPECT_EQ(file.vocab.size(), 262u);
  EXPECT_EQ(file.vocab[0x20], " ");
  EXPECT_EQ(file.vocab[261], " abc!");
  ASSERT_EQ(file.merges.size(), 5u);
  EXPECT_EQ(file.merges[2], (Merge{256, 'c', 257}));
  EXPECT_EQ(file.added.size(), 4u);
  EXPECT_TRUE(file.whole_pieces);
  EXPECT_TRUE(file.adds_bos);
  EXPECT_EQ(file.bos_id, 300);
}

TEST(TokenizerJson, BothSpellingsOfMergesAreOne) {
  json pairs = small_tokenizer();
  pairs["model"]["merges"] =
      json::array({{"a", "b"}, {"b", "c"}, {"ab", "c"}, {alphabet_text(" "), "a"}, {"a", "a"}});
  EXPECT_EQ(read_tokenizer_json(pairs.dump(), "t"),
            read_tokenizer_json(small_tokenizer().dump(), "t"));
}

TEST(TokenizerJson, WhatIsNotSupportedIsRefusedWithFileAndField) {
  const std::vector<std::tuple<std::string, json, std::string>> cases = {
      {"/normalizer",
       {{"type", "NFC"}},
       "dir/tokenizer.json: normalizer is \"NFC\", expected null"},
      {"/model/type", "Unigram",
       "dir/tokenizer.json: model.type is \"Unigram\", expected \"BPE\": bitgrid reads byte-level "
       "BPE"},
      {"/model/byte_fallback", true, "model.byte_fallback is true, expected false"},
      {"/model/fuse_unk", true, "model.fuse_unk is true, expected false"},
      {"/model/dropout", 0.1, "model.dropout is 0.1, expected null"},
      {"/model/unk_token", "<unk>", "model.unk_token is \"<unk>\", expected null"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix is \"##\""},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix is \"</w>\""},
      {"/model/ignore_merges", "yes", "model.ignore_merges must be true or false"},
      {"/pre_tokenizer", nullptr,
       "pre_tokenizer is null, expected a Sequence of Split and ByteLevel"},
      {"/pre_tokenizer/type", "Metaspace", "pre_tokenizer is \"Metaspace\""},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{L}+",
       "pre_tokenizer.pretokenizers[0].pattern.Regex is"},
      {"/pre_tokenizer/pretokenizers/0/pattern",
       {{"String", " "}},
       "pattern.Regex is null, expected Llama-3's pattern"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", "behavior is \"Removed\""},
      {"/pre_tokenizer/pretokenizers/0/invert", true, "invert is true"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "add_prefix_space is true"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", true, "use_regex is true"},
      {"/pre_tokenizer/pretokenizers", json::array(), "pre_tokenizer.pretokenizers is an array"},
      {"/decoder", nullptr, "decoder is null, expected ByteLevel"},
      {"/decoder/type", "Metaspace", "decoder is \"Metaspace\", expected ByteLevel"},
      {"/post_processor",
       {{"type", "RobertaProcessing"}},
       "post_processor is \"RobertaProcessing\""},
      {"/post_processor/single", json::array(), "post_processor.single must be the text"},
      {"/post_processor/single/1",
       {{"SpecialToken", {{"id", "<|end|>"}}}},
       "post_processor.single must be the text"},
      {"/post_processor/single/0/SpecialToken/id", "<|x|>",
       "post_processor.single: \"<|x|>\" is not among the added"},
      {"/post_processor/special_tokens/<|begin_of_text|>/ids",
       {301},
       "[\"<|begin_of_text|>\"].ids must be [300]"},
      {"/added_tokens/1/lstrip", true, "added_tokens[1].lstrip is true, expected false"},
      {"/added_tokens/1/rstrip", true, "added_tokens[1].rstrip is true, expected false"},
      {"/added_tokens/1/single_word", true, "added_tokens[1].single_word is true, expected false"},
      {"/added_tokens/1/normalized", true, "added_tokens[1].normalized is true, expected false"},
      {"/added_tokens/1/content", "", "added_tokens[1].content must not be empty"},
      {"/added_tokens/1/content", "<|eot_id|>", "added_tokens[3].content is there twice"},
      {"/added_tokens/1/content", 5, "added_tokens[1].content must be a string"},
      {"/added_tokens/1/id", 300, "added_tokens[1].id is 300, which is another added token's"},
      {"/added_tokens/1/id", 97, "added_tokens[1].id is 97, which contradicts model.vocab"},
      {"/added_tokens/1/id", -1, "added_tokens[1].id is -1; expected an id from 0 to"},
      {"/added_tokens/1/content", "ab", "added_tokens[1].id is 301, which contradicts model.vocab"},
      {"/added_tokens", "none", "added_tokens must be an array"},
      {"/added_tokens/1", 3, "added_tokens[1] must be an object"},
      {"/model/vocab", json::array(), "model.vocab must be an object"},
      {"/model/vocab/ab", 2000000000, "model.vocab.ab is 2000000000; expected an id from 0 to"},
      {"/model/vocab/ab", 18446744073709551615u, "expected an id from 0 to"},
      {"/model/vocab/ab", 1e300, "expected an id from 0 to"},
      {"/model/vocab/ab", "256", "expected an id from 0 to"},
      {"/model/vocab/ab", 1.0, "expected an id from 0 to"},
      {"/model/vocab/ab", 97, "which is another token's"},
      {"/model/vocab/a b", 270, "model.vocab: \"a b\" is not written in the byte alphabet"},
      {"/model/vocab/\u4F60", 270, "is not written in the byte alphabet"},
      {"/model/vocab/", 270, "model.vocab: \"\" is not written in the byte alphabet"},
      {"/model/merges", "a b", "model.merges must be an array"},
      {"/model/merges/1", "b z", "model.merges[1]: \"bz\" is not in model.vocab"},
      {"/model/merges/1", "zz b", "model.merges[1]: \"zz\" is not in model.vocab"},
      {"/model/merges/1", "bc", "model.merges[1] must be \"left right\""},
      {"/model/merges/1", "b c ", "model.merges[1] must be \"left right\""},
      {"/model/merges/1", {"b"}, "model.merges[1] must be \"left right\""},
      {"/model/merges/1", {"b", 3}, "model.merges[1] must be \"left right\""},
      {"/model/merges/1", "a b", "model.merges[1] is there twice"},
      {"/model", nullptr, "model must be an object"},
  };
  for (const auto& [pointer, value, expected] : cases) {
    const std::string message = refusal_after(pointer, value);
    EXPECT_THAT(message, HasSubstr(expected)) << pointer << " = " << value;
    EXPECT_THAT(message, StartsWith("dir/tokenizer.json: ")) << pointer << " = " << value;
  }
}

TEST(TokenizerJson, EverySingleByteMustBeAToken) {
  json file = small_tokenizer();
  file["model"]["vocab"].erase(alphabet_text("\xAD"));
  EXPECT_THAT(refusal(file.dump()), HasSubstr("model.vocab has no token for the single byte 0xAD"));
}

TEST(TokenizerJson, MissingPartsAreNamed) {
  for (const char* key : {"model", "pre_tokenizer", "decoder"}) {
    json file = small_tokenizer();
    file.erase(key);
    EXPECT_THAT(refusal(file.dump()), HasSubstr(std::string("dir/tokenizer.json: ") + key)) << key;
  }
  json file = small_tokenizer();
  file["model"].erase("vocab");
  EXPECT_THAT(refusal(file.dump()), HasSubstr("model.vocab must be an object"));
  file = small_tokenizer();
  file["model"].erase("merges");
  EXPECT_THAT(refusal(file.dump()), HasSubstr("model.merges must be an array"));
}

TEST(TokenizerJson, OptionalPartsMayBeMissing) {
  json file = small_tokenizer();
  for (const char* key :
       {"normalizer", "post_processor", "added_tokens", "truncation", "padding", "version"}) {
    file.erase(key);
  }
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                          "fuse_unk", "byte_fallback", "ignore_merges"}) {
    file["model"].erase(key);
  }
  const TokenizerFile read = read_tokenizer_json(file.dump(), "t");
  EXPECT_FALSE(read.whole_pieces);
  EXPECT_FALSE(read.adds_bos);
  EXPECT_EQ(read.bos_id, -1);
  EXPECT_TRUE(read.added.empty());
}

TEST(TokenizerJson, AnAddedTokenMayStandAmongTheOrdinaryOnes) {
  json file = small_tokenizer();
  file["model"]["vocab"]["<|eot_id|>"] = 303;
  EXPECT_EQ(refusal(file.dump()), "");
}

TEST(TokenizerJson, BeginOfTextFollowsThePostProcessor) {
  const auto modes = [](const json& post_processor) {
    json file = small_tokenizer();
    file["post_processor"] = post_processor;
    const TokenizerFile read = read_tokenizer_json(file.dump(), "t");
    return std::pair(read.adds_bos, read.bos_id);
  };
  const json with_bos = small_tokenizer()["post_processor"];
  json text_only = with_bos;
  text_only["single"].erase(0);
  const json byte_level = {{"type", "ByteLevel"}};
  const auto sequence = [](const json& parts) {
    return json{{"type", "Sequence"}, {"processors", parts}};
  };
  EXPECT_EQ(modes(with_bos), std::pair(true, 300));
  EXPECT_EQ(modes(text_only), std::pair(false, 300));
  EXPECT_EQ(modes(nullptr), std::pair(false, 300));
  EXPECT_EQ(modes(byte_level), std::pair(false, 300));
  EXPECT_EQ(modes(sequence(json::array({byte_level, with_bos}))), std::pair(true, 300));
  EXPECT_EQ(modes(sequence(json::array({byte_level}))), std::pair(false, 300));
  EXPECT_THAT(refusal_after("/post_processor", sequence(json::array({with_bos, with_bos}))),
              HasSubstr("post_processor.processors[1].single is the second template"));
}

TEST(TokenizerJson, BrokenJsonIsOneLineWithThePlace) {
  const std::string good = small_tokenizer().dump();
  EXPECT_EQ(refusal(good), "");
  EXPECT_THAT(refusal(""), HasSubstr("dir/tokenizer.json: not valid JSON: parse error"));
  EXPECT_THAT(refusal("{\n\n  \"a\": tru\n}"), HasSubstr("at line 4"));
  EXPECT_THAT(refusal("[]"), HasSubstr("must hold a JSON object"));
  EXPECT_THAT(refusal("7"), HasSubstr("must hold a JSON object"));
  EXPECT_THAT(refusal("{\"a\": \"\xFF\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\"a\": \"\\ud800\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\"a\": 1, \"a\": 2}"), HasSubstr("the key \"a\" appears twice"));
  EXPECT_THAT(refusal(good + std::string("\0{}", 3)), HasSubstr("a zero byte (byte"));
  EXPECT_THAT(refusal("\xef\xbb\xbf" + good), HasSubstr("starts with a byte order mark"));
  EXPECT_THAT(refusal(good + "{}"), HasSubstr("not valid JSON"));
  for (std::size_t cut = 0; cut < good.size(); cut += 97)
    EXPECT_NE(refusal(good.substr(0, cut)), "") << cut;
}

TEST(TokenizerJson, DeepNestingEndsEarly) {
  std::string arrays(1000000, '[');
  EXPECT_THAT(refusal(arrays), HasSubstr("nested deeper than 32 levels"));
  std::string objects;
  for (int i = 0; i < 200000; ++i) objects += "{\"a\":";
  EXPECT_THAT(refusal(objects), HasSubstr("nested deeper than 32 levels"));
}

// One flipped, dropped or doubled byte anywhere: read or refused, never anything else.
TEST(TokenizerJson, DamagedFilesAreReadOrRefused) {
  std::mt19937 random(3);
  const std::string good = small_tokenizer().dump();
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    const std::size_t at = random() % text.size();
    switch (random() % 3) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, 1 + random() % 20);
        break;
      default:
        text.insert(at, text.substr(random() % text.size(), random() % 20));
    }
    try {
      const Tokenizer tokenizer = Tokenizer::parse(text, "t");
      EXPECT_EQ(tokenizer.decode(tokenizer.encode("abc <|end|> abc!", false)), "abc <|end|> abc!");
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace bitgrid::test
