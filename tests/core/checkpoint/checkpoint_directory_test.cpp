#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/error.hpp"
#include "tests/core/checkpoint/checkpoint_fixtures.hpp"

namespace bitgrid {
namespace {

using test::FileTensor;
using test::read_all;
using test::refusal;
using test::TempDirectory;
using test::TinyModel;
using test::write_shards;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(CheckpointDirectory, WhatIsMissing) {
  const TempDirectory directory;
  EXPECT_THAT(refusal(directory.file("nowhere")), HasSubstr("nowhere: no such model directory"));
  directory.write("file", "");
  EXPECT_THAT(refusal(directory.file("file")), HasSubstr("no such model directory"));
  EXPECT_THAT(refusal(directory.path()), HasSubstr("config.json: missing"));
  directory.write("config.json", TinyModel{}.config_json());
  EXPECT_THAT(refusal(directory.path()), HasSubstr("no weights"));
  directory.write("config.json", "{");
  EXPECT_THAT(refusal(directory.path()), HasSubstr("config.json"));
  directory.write("config.json", std::string((1 << 20) + 1, ' '));
  EXPECT_THAT(refusal(directory.path()),
              HasSubstr("config.json: 1048577 bytes, more than the 1048576 allowed"));
}

TEST(CheckpointDirectory, AMissingShard) {
  const TempDirectory directory;
  write_shards(directory, TinyModel{}.tensors());
  EXPECT_EQ(refusal(directory.path()), "accepted");
  std::filesystem::remove(directory.file("1.safetensors"));
  EXPECT_THAT(refusal(directory.path()),
              HasSubstr("1.safetensors: the index names this shard, but it is not there"));
}

TEST(CheckpointDirectory, ATruncatedShard) {
  const TempDirectory directory;
  write_shards(directory, TinyModel{}.tensors());
  const auto size = std::filesystem::file_size(directory.file("1.safetensors"));
  for (const std::uintmax_t keep :
       {size - 1, size / 2, std::uintmax_t{100}, std::uintmax_t{8}, std::uintmax_t{0}}) {
    std::filesystem::resize_file(directory.file("1.safetensors"), keep);
    EXPECT_THAT(refusal(directory.path()), HasSubstr("1.safetensors")) << keep;
  }
}

// R17: whatever is not a regular file, without waiting for it.
TEST(CheckpointDirectory, OnlyRegularFiles) {
  const TempDirectory directory;
  const std::string weights = directory.file("model.safetensors");
  directory.write("config.json", TinyModel{}.config_json());
  ASSERT_EQ(::mkfifo(weights.c_str(), 0600), 0);
  EXPECT_THAT(refusal(directory.path()), HasSubstr("model.safetensors: not a regular file"));
  std::filesystem::remove(weights);
  std::filesystem::create_directory(weights);
  EXPECT_THAT(refusal(directory.path()), HasSubstr("not a regular file"));
  std::filesystem::remove(weights);
  std::filesystem::create_symlink("/dev/zero", weights);
  EXPECT_THAT(refusal(directory.path()), HasSubstr("not a regular file"));
  std::filesystem::remove(weights);
  directory.write("blob", test::safetensors_bytes(TinyModel{}.tensors()));
  std::filesystem::create_symlink("blob", weights);  // as the Hugging Face cache lays files out
  EXPECT_EQ(refusal(directory.path()), "accepted");
  std::filesystem::remove(directory.file("config.json"));
  ASSERT_EQ(::mkfifo(directory.file("config.json").c_str(), 0600), 0);
  EXPECT_THAT(refusal(directory.path()), HasSubstr("config.json: not a regular file"));
}

// The index against the headers.
TEST(CheckpointShards, IndexAndHeadersMustAgree) {
  const TempDirectory directory;
  auto tensors = TinyModel{}.tensors();
  write_shards(directory, tensors, R"({"total_size": 600})");
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_THAT(checkpoint.warnings(), IsEmpty());
  EXPECT_EQ(checkpoint.find("lm_head.weight")->file, directory.file("0.safetensors"));
  EXPECT_EQ(checkpoint.find("model.norm.weight")->file, directory.file("1.safetensors"));

  write_shards(directory, tensors, R"({"total_size": 601})");
  EXPECT_THAT(Checkpoint::open(directory.path()).warnings(),
              ElementsAre(HasSubstr("total_size = 601, its tensors have 600 bytes")));
}

TEST(CheckpointShards, AMappedTensorMustBeInItsShard) {
  const TempDirectory directory;
  const auto tensors = TinyModel{}.tensors();
  write_shards(directory, tensors);
  directory.write("0.safetensors", test::safetensors_bytes(std::vector<FileTensor>{tensors[0]}));
  EXPECT_THAT(refusal(directory.path()),
              HasSubstr("0.safetensors: tensor \"lm_head.weight\" is missing"));
}

TEST(CheckpointShards, UnmappedTensorsAreIgnored) {
  const TempDirectory directory;
  const auto tensors = TinyModel{}.tensors();
  write_shards(directory, tensors);
  std::vector<FileTensor> even = {{"extra", "I64", {1}, "12345678"}, {"another", "U8", {0}, ""}};
  for (std::size_t i = 0; i < tensors.size(); i += 2) even.push_back(tensors[i]);
  directory.write("0.safetensors", test::safetensors_bytes(even));
  EXPECT_THAT(
      Checkpoint::open(directory.path()).warnings(),
      ElementsAre(HasSubstr("2 tensors that the index does not name are ignored, such as ")));
}

TEST(CheckpointShards, ATensorInTwoShards) {
  const TempDirectory directory;
  const auto tensors = TinyModel{}.tensors();
  write_shards(directory, tensors);
  std::vector<FileTensor> odd;
  for (std::size_t i = 1; i < tensors.size(); i += 2) odd.push_back(tensors[i]);
  odd.push_back(tensors[0]);
  odd.back().data = std::string(40, '\0');  // the map decides which one counts
  directory.write("1.safetensors", test::safetensors_bytes(odd));
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(read_all(checkpoint, tensors[0].name)(0, 0), bf16_to_f32(0x3c00));
  odd.back().shape = {4, 5};
  directory.write("1.safetensors", test::safetensors_bytes(odd));
  EXPECT_THAT(refusal(directory.path()),
              HasSubstr("is in two shards with different dtypes or shapes"));
  odd.back().shape = {5, 4};
  odd.back().dtype = "F16";
  directory.write("1.safetensors", test::safetensors_bytes(odd));
  EXPECT_THAT(refusal(directory.path()), HasSubstr("is in two shards"));
}

}  // namespace
}  // namespace bitgrid
