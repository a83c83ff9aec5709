#include "core/model/llama_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

LlamaConfig parse(const std::string& members) {
  return parse_llama_config(
      "{\"model_type\": \"llama\"" + (members.empty() ? "" : ", " + members) + "}", "config.json");
}

// One line that names the file and the key.
void expect_refused(const std::string& text, const std::string& key) {
  try {
    parse_llama_config(text, "dir/config.json");
    ADD_FAILURE() << "accepted: " << text;
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), testing::StartsWith("dir/config.json: ")) << text;
    EXPECT_THAT(e.what(), testing::HasSubstr(key)) << text;
    EXPECT_THAT(e.what(), testing::Not(testing::HasSubstr("\n"))) << text;
  }
}
void expect_member_refused(const std::string& members, const std::string& key) {
  expect_refused("{\"model_type\": \"llama\", " + members + "}", key);
}

std::string file_text(const std::string& path) {
  std::ifstream in(std::string(BITGRID_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(LlamaConfigTest, MissingAndNullKeysTakeDefaults) {
  EXPECT_EQ(parse(""), LlamaConfig{});
  EXPECT_EQ(parse(
                R"("hidden_size": null, "num_key_value_heads": null, "head_dim": null,
                     "rope_scaling": null, "rope_theta": null, "quantization_config": null,
                     "hidden_act": null, "attention_bias": null)"),
            LlamaConfig{});
  EXPECT_EQ(parse(R"("num_attention_heads": 16)").kv_head_count, 16);
  EXPECT_EQ(parse(R"("num_attention_heads": 16)").head_size, 256);
}

TEST(LlamaConfigTest, ReadsTheDemoModel) {
  LlamaConfig expected;
  expected.hidden_size = 128;
  expected.intermediate_size = 384;
  expected.layer_count = 4;
  expected.head_count = 4;
  expected.kv_head_count = 2;
  expected.head_size = 32;
  expected.vocab_size = 1024;
  expected.max_position_embeddings = 1024;
  expected.rms_norm_eps = 1e-5;
  expected.rope_theta = 500000;
  EXPECT_EQ(parse_llama_config(file_text("sweeps/demo/model/config.json"), "config.json"),
            expected);
}

TEST(LlamaConfigTest, ReadsBothSpellingsOfTheRope) {
  const LlamaConfig older =
      parse_llama_config(file_text("tests/data/model/tiny/rope31/config.json"), "config.json");
  EXPECT_TRUE(older.rope_scaled);
  EXPECT_EQ(older.rope_scaling, (RopeScaling{8, 1, 4, 64}));
  EXPECT_EQ(older.rope_theta, 500000);
  const LlamaConfig newer =
      parse_llama_config(file_text("tests/data/model/tiny/tied/config.json"), "config.json");
  EXPECT_FALSE(newer.rope_scaled);
  EXPECT_EQ(newer.rope_theta, 500000);
  EXPECT_TRUE(newer.tie_word_embeddings);
  EXPECT_EQ(newer.head_size, 32);
  EXPECT_EQ(newer.query_size(), 128);
  EXPECT_EQ(newer.kv_size(), 32);
}

const std::string kLlama3 = R"("rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
  "high_freq_factor": 4.0, "original_max_position_embeddings": 8192)";

TEST(LlamaConfigTest, AcceptsTwoRopeSpellingsThatAgree) {
  const LlamaConfig both =
      parse("\"rope_theta\": 5e5, \"rope_scaling\": {" + kLlama3 +
            "}, \"rope_parameters\": {\"rope_theta\": 500000, " + kLlama3 + "}");
  EXPECT_EQ(both.rope_scaling, (RopeScaling{32, 1, 4, 8192}));
  EXPECT_EQ(both.rope_theta, 500000);
  EXPECT_EQ(parse("\"rope_theta\": 7, \"rope_parameters\": {" + kLlama3 + "}").rope_theta, 7);
  EXPECT_FALSE(parse(R"("rope_scaling": {"type": "default"})").rope_scaled);
  EXPECT_TRUE(parse("\"rope_scaling\": {\"type\": \"llama3\", " + kLlama3 + "}").rope_scaled);
  EXPECT_FALSE(parse(R"("rope_parameters": {"rope_theta": 3})").rope_scaled);
}

TEST(LlamaConfigTest, RefusesRopesThatDisagreeOrAreUnknown) {
  expect_member_refused(R"("rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5})",
                        "rope_parameters");
  expect_member_refused(
      "\"rope_scaling\": {" + kLlama3 + R"(}, "rope_parameters": {"rope_type": "default"})",
      "rope_parameters");
  expect_member_refused(
      R"("rope_scaling": {"type": "default"}, "rope_parameters": {)" + kLlama3 + "}",
      "rope_parameters");
  for (const char* type : {"linear", "dynamic", "yarn", "longrope", "a\\nb"})
    expect_member_refused(
        std::string(R"("rope_scaling": {"factor": 2, "rope_type": ")") + type + "\"}",
        "rope_scaling.rope_type");
  expect_member_refused(R"("rope_scaling": {"factor": 2, "type": "linear"})", "rope_scaling.type");
  expect_member_refused("\"rope_scaling\": {\"type\": \"default\", " + kLlama3 + "}",
                        "rope_scaling.rope_type");
  expect_member_refused(R"("rope_scaling": {"factor": 2})", "rope_scaling.rope_type");
  expect_member_refused(R"("rope_scaling": "llama3")", "rope_scaling");
  expect_member_refused(R"("rope_parameters": {"full_attention": {"rope_theta": 1}})",
                        "rope_parameters.");
  expect_member_refused(R"("rope_parameters": {"partial_rotary_factor": 0.5})",
                        "partial_rotary_factor");
}

TEST(LlamaConfigTest, RefusesScalingThatMakesNoSense) {
  const auto scaling = [](const std::string& key, const std::string& value) {
    std::string text = kLlama3;
    const auto at = text.find("\"" + key + "\": ") + key.size() + 4;
    text.replace(at,
                 text.find_first_of(",}\n", at) == std::string::npos
                     ? std::string::npos
                     : text.find_first_of(",}\n", at) - at,
                 value);
    return "\"rope_scaling\": {" + text + "}";
  };
  expect_member_refused(scaling("factor", "0.5"), "rope_scaling.factor");
  expect_member_refused(scaling("factor", "null"), "rope_scaling.factor");
  expect_member_refused(scaling("factor", "\"8\""), "rope_scaling.factor");
  expect_member_refused(scaling("low_freq_factor", "0"), "rope_scaling.low_freq_factor");
  expect_member_refused(scaling("low_freq_factor", "4"), "rope_scaling.high_freq_factor");
  expect_member_refused(scaling("high_freq_factor", "null"), "rope_scaling.high_freq_factor");
  expect_member_refused(scaling("original_max_position_embeddings", "0.5"),
                        "rope_scaling.original_max_position_embeddings");
  expect_member_refused(scaling("original_max_position_embeddings", "null"),
                        "rope_scaling.original_max_position_embeddings");
}

TEST(LlamaConfigTest, TakesWholeNumbersInAnySpelling) {
  EXPECT_EQ(parse(R"("hidden_size": 4096.0)").hidden_size, 4096);
  EXPECT_EQ(parse(R"("vocab_size": 1.28256e5)").vocab_size, 128256);
  EXPECT_EQ(parse(R"("rope_theta": 500000)").rope_theta, 500000);
  EXPECT_EQ(parse(R"("rope_theta": 5e5)").rope_theta, 500000);
}

TEST(LlamaConfigTest, RefusesSizesThatAreNone) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"})
    for (const char* value : {"0", "-1", "4096.5", "\"8\"", "true", "[8]", "{}", "2147483648",
                              "1e300", "18446744073709551616", "9223372036854775808"})
      expect_member_refused(std::string("\"") + key + "\": " + value, key);
}

TEST(LlamaConfigTest, RefusesSizesThatDoNotFitTogether) {
  expect_member_refused(R"("num_attention_heads": 32, "num_key_value_heads": 5)",
                        "num_key_value_heads");
  expect_member_refused(R"("num_attention_heads": 4, "num_key_value_heads": 8)",
                        "num_key_value_heads");
  expect_member_refused(R"("hidden_size": 100, "num_attention_heads": 3)", "head_dim");
  expect_member_refused(R"("hidden_size": 12, "num_attention_heads": 4)", "head_dim");  // 3 is odd
  expect_member_refused(R"("head_dim": 7)", "head_dim");
  expect_member_refused(R"("head_dim": 2147483646)", "head_dim");
  expect_member_refused(R"("hidden_size": 2147483648)", "hidden_size");
  expect_member_refused(R"("hidden_size": 2147483647, "vocab_size": 2147483647, "head_dim": 2)",
                        "hidden_size");
}

TEST(LlamaConfigTest, RefusesOtherNumbersOutOfRange) {
  for (const char* key : {"rms_norm_eps", "rope_theta"})
    for (const char* value : {"0", "-1e-5", "\"x\"", "false", "[]"})
      expect_member_refused(std::string("\"") + key + "\": " + value, key);
}

TEST(LlamaConfigTest, RefusesOtherArchitectures) {
  expect_refused("{}", "model_type");
  expect_refused(R"({"model_type": null})", "model_type");
  expect_refused(R"({"model_type": "mistral"})", "model_type");
  expect_refused(R"({"model_type": 3})", "model_type");
  expect_member_refused(R"("hidden_act": "gelu")", "hidden_act");
  expect_member_refused(R"("hidden_act": 1)", "hidden_act");
  expect_member_refused(R"("attention_bias": true)", "attention_bias");
  expect_member_refused(R"("mlp_bias": true)", "mlp_bias");
  expect_member_refused(R"("mlp_bias": 0)", "mlp_bias");
  expect_member_refused(R"("tie_word_embeddings": "yes")", "tie_word_embeddings");
  expect_member_refused(R"("quantization_config": {"quant_method": "gptq"})",
                        "quantization_config");
}

TEST(LlamaConfigTest, IgnoresWhatItDoesNotKnow) {
  EXPECT_EQ(parse(
                R"("pretraining_tp": 2, "use_cache": "x", "eos_token_id": [1, 2],
                     "architectures": [], "new": {})"),
            LlamaConfig{});
}

TEST(LlamaConfigTest, RefusesTextThatIsNotOneObject) {
  for (const char* text : {"", "[]", "3", "{", "{}{}", "{\"model_type\": \"llama\",}",
                           "{\"model_type\": \"llama\"} x"})
    expect_refused(text, "");
  const std::string good = R"({"model_type": "llama"})";
  EXPECT_NO_THROW(parse_llama_config("\r\n\t " + good + " \n", "c"));
  expect_refused(good + std::string(1, '\0'), "zero byte (byte 24)");
  expect_refused(good + std::string("\0, \"hidden_size\": 8}", 20), "zero byte");
  expect_refused(std::string("{\"model_type\": \"lla\0ma\"}", 25), "zero byte (byte 20)");
  expect_refused("\xef\xbb\xbf" + good, "byte order mark");
  expect_refused(good + "\xef\xbb\xbf", "not valid JSON");
  expect_refused(good + good, "not valid JSON");
  expect_refused(good + "\v", "not valid JSON");
  expect_refused("{\"model_type\": \"llama\", \"x\": [[[[[[[[]]]]]]]]}", "deeper than 8");
  expect_refused("{\"model_type\": \"llama\", \"x\": \"\xff\"}", "");
  expect_refused("{\"model_type\": \"llama\", \"rope_theta\": 1e999}", "");
  expect_member_refused(R"("hidden_size": 8, "hidden_size": 16)", "hidden_size");
  expect_member_refused(R"("new": {"a": 1, "a": 1})", "\"a\"");
  expect_refused(R"({"model_type": "llama", "model_type": "llama"})", "model_type");
  expect_member_refused(R"("hidden_size": 8, "hidden\u005fsize": 16)", "hidden_size");
}

TEST(LlamaConfigTest, RefusesAHugeFile) {
  const std::string text = R"({"model_type": "llama"})";
  EXPECT_NO_THROW(parse_llama_config(text + std::string((1 << 20) - text.size(), ' '), "c"));
  expect_refused(text + std::string((1 << 20) - text.size() + 1, ' '), "1048576");
}

}  // namespace
}  // namespace bitgrid
