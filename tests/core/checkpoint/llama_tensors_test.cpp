#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/error.hpp"
#include "tests/core/checkpoint/checkpoint_fixtures.hpp"

namespace bitgrid {
namespace {

using test::FileTensor;
using test::refusal;
using test::TempDirectory;
using test::tensor;
using test::TinyModel;
using test::write_single;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// R18 and its exceptions.
class LlamaTensors : public testing::Test {
 protected:
  TempDirectory directory;
  std::vector<FileTensor> tensors = TinyModel{}.tensors();
  std::string open(const TinyModel& model = {}) {
    write_single(directory, tensors, model);
    return refusal(directory.path());
  }
};

TEST_F(LlamaTensors, EachOneIsNeeded) {
  const auto all = tensors;
  for (std::size_t k = 0; k < all.size(); ++k) {
    tensors = all;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(k));
    EXPECT_THAT(open(),
                HasSubstr("tensor \"" + all[k].name + "\" is missing (config.json asks for it)"));
  }
}

TEST_F(LlamaTensors, NoOtherNames) {
  for (const std::string name :
       {"model.layers.2.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias", "../x", "",
        "model.layers.00.mlp.up_proj.weight", "model.layers.2.self_attn.rotary_emb.inv_freq"}) {
    tensors = TinyModel{}.tensors();
    tensors.push_back({name, "BF16", {1}, "12"});
    EXPECT_THAT(open(), HasSubstr("model.safetensors: tensor \"" + name +
                                  "\" is not part of a Llama model"));
  }
}

TEST_F(LlamaTensors, EachShapeCounts) {
  const auto all = tensors;
  for (std::size_t k = 0; k < all.size(); ++k) {
    tensors = all;
    auto& t = tensors[k];
    t.shape.push_back(1);
    EXPECT_THAT(open(), HasSubstr("tensor \"" + t.name + "\": shape [")) << t.name;
  }
  tensors = all;
  tensor(tensors, "model.layers.0.mlp.down_proj.weight").shape = {6, 4};
  EXPECT_THAT(open(), HasSubstr("shape [6, 4], config.json asks for [4, 6]"));
}

TEST_F(LlamaTensors, EachDtypeCounts) {
  auto& norm = tensor(tensors, "model.norm.weight");
  const std::pair<std::string, int> others[] = {{"I8", 1},  {"U8", 1},      {"BOOL", 1}, {"I16", 2},
                                                {"F64", 8}, {"F8_E4M3", 1}, {"I32", 4}};
  for (const auto& [dtype, size] : others) {
    norm.dtype = dtype;
    norm.data = std::string(static_cast<std::size_t>(4 * size), '\0');
    EXPECT_THAT(open(), HasSubstr("tensor \"model.norm.weight\": dtype " + dtype +
                                  ", weights must be BF16, F16 or F32"));
  }
}

TEST_F(LlamaTensors, RotaryFrequenciesAreIgnored) {
  tensors.insert(tensors.begin(),
                 {"model.layers.1.self_attn.rotary_emb.inv_freq", "F32", {1}, "1234"});
  EXPECT_EQ(open(), "accepted");
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.tensors().size(), 21u);
  EXPECT_THAT(checkpoint.warnings(), ElementsAre(HasSubstr("inv_freq tensors are ignored")));
}

TEST_F(LlamaTensors, TiedHead) {
  const TinyModel tied{.tied = true};
  tensors = tied.tensors();
  EXPECT_EQ(open(tied), "accepted");
  EXPECT_THAT(Checkpoint::open(directory.path()).warnings(), IsEmpty());
  const auto fingerprint = Checkpoint::open(directory.path()).fingerprint();
  EXPECT_THAT(open(), HasSubstr("\"lm_head.weight\" is missing"));
  tensors.push_back({"lm_head.weight", "BF16", {5, 4}, std::string(40, '\0')});
  EXPECT_EQ(open(tied), "accepted");
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_THAT(checkpoint.warnings(), ElementsAre(HasSubstr("lm_head.weight is ignored")));
  EXPECT_EQ(checkpoint.find("lm_head.weight"), nullptr);
  EXPECT_EQ(checkpoint.fingerprint(), fingerprint);
}

TEST_F(LlamaTensors, AnAbsurdNumberOfLayersStopsAtTheFirstMissingOne) {
  EXPECT_THAT(open({.layer_count = "2000000000"}),
              HasSubstr("\"model.layers.2.input_layernorm.weight\" is missing"));
}

}  // namespace
}  // namespace bitgrid
