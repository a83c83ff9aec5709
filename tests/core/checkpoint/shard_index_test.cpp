#include "core/checkpoint/shard_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "kernels/error.hpp"
#include "tests/core/checkpoint/model_files.hpp"

namespace bitgrid {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string refusal(const std::string& json) {
  try {
    parse_shard_index(json, "i.json");
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(ShardIndex, MapAndSize) {
  const auto index = parse_shard_index(
      R"({"metadata": {"total_parameters": 3, "total_size": 16060522496, "more": {"total_size": 1, "l": [[2]]}}, "new": [{"a": 1}],
          "weight_map": {"b": "m-2.safetensors", "a": "m-1.safetensors", "c": "m-2.safetensors"}})",
      "i.json");
  EXPECT_THAT(index.weight_map, ElementsAre(testing::Pair("a", "m-1.safetensors"),
                                            testing::Pair("b", "m-2.safetensors"),
                                            testing::Pair("c", "m-2.safetensors")));
  EXPECT_EQ(index.total_size, 16060522496u);
}

TEST(ShardIndex, SizeMayBeAbsentOrOdd) {
  for (const std::string head :
       {"", R"("metadata": {},)", R"("metadata": null,)", R"("metadata": {"total_size": 8.0},)",
        R"("metadata": {"total_size": -8},)", R"("metadata": {"total_size": [8]},)",
        R"("metadata": {"total_size": {"total_size": 8}},)", R"("total_size": 8,)"}) {
    const auto index =
        parse_shard_index("{" + head + R"("weight_map": {"a": "m.safetensors"}})", "i.json");
    EXPECT_EQ(index.total_size, std::nullopt) << head;
  }
}

TEST(ShardIndex, IsRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "not valid JSON"},
      {"[]", "must be a JSON object"},
      {"3", "must be a JSON object"},
      {"{}", "weight_map is missing"},
      {R"({"weight_map": {}})", "weight_map is empty"},
      {R"({"weight_map": []})", "weight_map must be an object"},
      {R"({"weight_map": null})", "weight_map must be an object"},
      {R"({"weight_map": "m.safetensors"})", "weight_map must be an object"},
      {R"({"weight_map": {"a": 1}})", "weight_map must be an object"},
      {R"({"weight_map": {"a": {}}})", "weight_map must be an object"},
      {R"({"weight_map": {"a": ["m.safetensors"]}})", "weight_map must be an object"},
      {R"({"weight_map": {"a": "m.safetensors", "a": "m.safetensors"}})", "\"a\" appears twice"},
      {R"({"weight_map": {"a": "m.safetensors"}, "weight_map": {}})",
       "\"weight_map\" appears twice"},
      {R"({"x": [[[[[[[[1]]]]]]]], "weight_map": {"a": "m.safetensors"}})", "deeper than 8"},
      {"{\"weight_map\": {\"\xff\": \"m.safetensors\"}}", "UTF-8"},
  };
  for (const auto& [json, message] : cases) {
    EXPECT_THAT(refusal(json), HasSubstr(message)) << json;
    EXPECT_THAT(refusal(json), StartsWith("i.json: "));
  }
}

TEST(ShardIndex, FileNamesAreBare) {
  for (const std::string name :
       {"../m.safetensors", "/m.safetensors", "a/m.safetensors", "", ".", "..", ".safetensors",
        "m.bin", "m.safetensors ", "m\\n.safetensors", "m\\u0000.safetensors", "m.safetensors/",
        "a\\\\m.safetensors", "é.safetensors", "m.SAFETENSORS"}) {
    const auto message = refusal(R"({"weight_map": {"a": ")" + name + "\"}}");
    EXPECT_THAT(message, HasSubstr("weight_map sends \"a\" to")) << name;
    EXPECT_THAT(message, Not(HasSubstr("\n")));
  }
  EXPECT_THAT(refusal(R"({"weight_map": {"a": ")" + std::string(244, 'x') + ".safetensors\"}}"),
              HasSubstr("bare"));
  EXPECT_EQ(refusal(R"({"weight_map": {"a": "Model-00001-of_2.v1.safetensors"}})"), "accepted");
}

class WeightFilesOf : public testing::Test {
 protected:
  test::TempDirectory directory;
  std::string refusal() {
    try {
      find_weight_files(directory.path());
    } catch (const InputError& e) {
      return e.what();
    }
    return "accepted";
  }
  void write_index(const std::string& file) {
    directory.write("model.safetensors.index.json", R"({"weight_map": {"a": ")" + file + "\"}}");
  }
};

TEST_F(WeightFilesOf, NoWeights) {
  EXPECT_THAT(refusal(),
              HasSubstr("no weights: neither model.safetensors nor model.safetensors.index.json"));
  directory.write("other.safetensors", "");  // never found by looking around
  EXPECT_THAT(refusal(), HasSubstr("no weights"));
}

TEST_F(WeightFilesOf, PicklesAreRefused) {
  directory.write("pytorch_model.bin", "");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin is a PyTorch pickle"));
  EXPECT_THAT(refusal(), HasSubstr("safetensors"));
  directory.write("model.safetensors", "");
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(WeightFilesOf, MetasFormatIsRefused) {
  std::filesystem::create_directory(directory.file("original"));
  directory.write("original/consolidated.00.pth", "");
  EXPECT_THAT(refusal(), HasSubstr("original/consolidated.00.pth is a PyTorch pickle"));
}

TEST_F(WeightFilesOf, SingleFile) {
  directory.write("model.safetensors", "");
  const auto files = find_weight_files(directory.path());
  EXPECT_THAT(files.names, ElementsAre("model.safetensors"));
  EXPECT_FALSE(files.index.has_value());
}

TEST_F(WeightFilesOf, Shards) {
  directory.write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}})");
  const auto files = find_weight_files(directory.path());
  EXPECT_THAT(files.names, ElementsAre("1.safetensors", "2.safetensors"));
  EXPECT_TRUE(files.index.has_value());
}

TEST_F(WeightFilesOf, BothAreAmbiguousUnlessTheIndexNamesTheSingleFile) {
  directory.write("model.safetensors", "");
  write_index("model-00001-of-00001.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("both model.safetensors and model.safetensors.index.json"));
  directory.write("model.safetensors.index.json",
                  R"({"weight_map": {"a": "model.safetensors", "b": "m2.safetensors"}})");
  EXPECT_THAT(refusal(), HasSubstr("both"));
  write_index("model.safetensors");
  EXPECT_THAT(find_weight_files(directory.path()).names, ElementsAre("model.safetensors"));
}

TEST_F(WeightFilesOf, IndexTooLarge) {
  write_index("m.safetensors");
  std::filesystem::resize_file(directory.file("model.safetensors.index.json"), (64u << 20) + 1);
  EXPECT_THAT(refusal(), HasSubstr("more than the 67108864 allowed"));
}

}  // namespace
}  // namespace bitgrid
