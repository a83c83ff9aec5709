#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <sstream>
#include <string>

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/error.hpp"
#include "tests/core/checkpoint/checkpoint_fixtures.hpp"

namespace bitgrid {
namespace {

using test::read_all;
using test::TempDirectory;
using test::TinyModel;
using test::write_shards;
using test::write_single;
using testing::IsEmpty;

// The fingerprint is that of the model: not of its place or its shards.
TEST(CheckpointFingerprint, FollowsTheModelOnly) {
  const auto fingerprint_of = [](const auto& write) {
    const TempDirectory directory;
    write(directory);
    return Checkpoint::open(directory.path()).fingerprint();
  };
  const auto tensors = TinyModel{}.tensors();
  const auto original = fingerprint_of([&](const TempDirectory& d) { write_single(d, tensors); });
  EXPECT_EQ(original.size(), 64u);
  EXPECT_EQ(fingerprint_of([&](const TempDirectory& d) { write_single(d, tensors, {}, 5); }),
            original);
  EXPECT_EQ(fingerprint_of([&](const TempDirectory& d) { write_shards(d, tensors); }), original);
  EXPECT_EQ(fingerprint_of([&](const TempDirectory& d) {
              write_single(d, {tensors.rbegin(), tensors.rend()});
              d.write("config.json", TinyModel{}.config_json() + "\n");
            }),
            original);

  for (std::size_t k = 0; k < tensors.size(); ++k)
    for (const bool last : {false, true}) {
      auto changed = tensors;
      auto& byte = last ? changed[k].data.back() : changed[k].data.front();
      byte = static_cast<char>(byte ^ 1);
      EXPECT_NE(fingerprint_of([&](const TempDirectory& d) { write_single(d, changed); }), original)
          << tensors[k].name;
    }
  auto other_dtype = tensors;
  other_dtype[0].dtype = "F16";
  EXPECT_NE(fingerprint_of([&](const TempDirectory& d) { write_single(d, other_dtype); }),
            original);
  EXPECT_NE(fingerprint_of([&](const TempDirectory& d) {
              write_single(d, tensors);
              auto config = TinyModel{}.config_json();
              config.replace(config.find("1e-5"), 4, "1e-6");
              d.write("config.json", config);
            }),
            original);
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(CheckpointDemo, OpensAndReadsWhole) {
  const std::string directory = BITGRID_SOURCE_DIR "/sweeps/demo/model";
  const auto checkpoint = Checkpoint::open(directory);
  EXPECT_THAT(checkpoint.warnings(), IsEmpty());
  EXPECT_EQ(checkpoint.tensors().size(), 9u * 4u + 3u);
  std::uint64_t bytes = 0;
  for (const auto& t : checkpoint.tensors()) {
    bytes += t.bytes;
    const auto values = read_all(checkpoint, t.name);
    const std::string file = slurp(t.file);
    ASSERT_LE(t.offset + t.bytes, file.size());
    ASSERT_EQ(values.size() * 2, static_cast<std::int64_t>(t.bytes));
    for (std::int64_t i = 0; i < values.size(); ++i) {  // bf16: the upper half of the fp32
      const auto at = t.offset + 2 * static_cast<std::uint64_t>(i);
      const auto half =
          static_cast<unsigned char>(file[at]) | static_cast<unsigned char>(file[at + 1]) << 8;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values.data()[i]), static_cast<std::uint32_t>(half)
                                                                    << 16)
          << t.name;
    }
  }
  EXPECT_EQ(checkpoint.bytes_read(), bytes);
  // Results that are stored with this fingerprint must be found again by later versions.
  EXPECT_EQ(checkpoint.fingerprint(),
            "02327b04bd21d3559196c220183556d7ee2c7cc4571993e1b3b881d8790995e4");
}

// Written by the transformers library: one file and shards, bf16, f16 and fp32, tied and not.
TEST(CheckpointTiny, OpensAndReadsWhole) {
  struct Case {
    std::string name;
    DType dtype;
    std::size_t tensors;
    std::uint64_t bytes;
  };
  for (const Case& c :
       {Case{"fp32", DType::f32, 30, 4 * 182720}, Case{"mha", DType::f16, 30, 2 * 182720},
        Case{"tied", DType::bf16, 29, 349056}}) {
    const auto checkpoint = Checkpoint::open(BITGRID_SOURCE_DIR "/tests/data/model/tiny/" + c.name);
    EXPECT_THAT(checkpoint.warnings(), IsEmpty()) << c.name;
    EXPECT_EQ(checkpoint.tensors().size(), c.tensors) << c.name;
    for (const auto& t : checkpoint.tensors()) {
      EXPECT_EQ(t.dtype, c.dtype) << c.name;
      read_all(checkpoint, t.name);
    }
    EXPECT_EQ(checkpoint.bytes_read(), c.bytes) << c.name;
  }
}

}  // namespace
}  // namespace bitgrid
