#include "core/checkpoint/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "tests/core/checkpoint/checkpoint_fixtures.hpp"

namespace bitgrid {
namespace {

using test::read_all;
using test::TempDirectory;
using test::tensor;
using test::thrown;
using test::TinyModel;
using test::write_shards;
using test::write_single;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Checkpoint, TableOfTheTinyModel) {
  const TempDirectory directory;
  const auto tensors = TinyModel{}.tensors();
  write_single(directory, tensors);
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.directory(), directory.path());
  EXPECT_EQ(checkpoint.config().layer_count, 2);
  EXPECT_THAT(checkpoint.warnings(), IsEmpty());
  ASSERT_EQ(checkpoint.tensors().size(), 21u);  // 9 layers' tensors twice, and 3
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < 21; ++i) {
    const auto& t = checkpoint.tensors()[i];
    bytes += t.bytes;
    EXPECT_EQ(t.file, directory.file("model.safetensors"));
    EXPECT_EQ(checkpoint.find(t.name), &t);
    if (i > 0) {
      EXPECT_LT(checkpoint.tensors()[i - 1].name, t.name);
    }
  }
  EXPECT_EQ(bytes, 2u * (5 * 4 + 2 * (4 + 16 + 8 + 8 + 16 + 4 + 3 * 24) + 4 + 5 * 4));
  const TensorInfo* down = checkpoint.find("model.layers.1.mlp.down_proj.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->dtype, DType::bf16);
  EXPECT_THAT(down->shape, ElementsAre(4, 6));
  EXPECT_EQ(down->bytes, 48u);
  std::ifstream in(down->file, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(down->offset));
  std::string stored(48, '\0');
  in.read(stored.data(), 48);
  EXPECT_EQ(stored, tensors[18].data);
  EXPECT_EQ(checkpoint.find("model.layers.2.mlp.down_proj.weight"), nullptr);
}

// Data at odd and even addresses, in each of the three dtypes.
TEST(Checkpoint, ReadsEveryElementAtAnyAlignment) {
  for (int shift = 0; shift < 8; ++shift) {
    const TempDirectory directory;
    auto tensors = TinyModel{}.tensors();
    auto& head = tensor(tensors, "lm_head.weight");
    std::vector<float> floats;
    for (int i = 0; i < 20; ++i) floats.push_back(0.1f * static_cast<float>(i) - 1.0f);
    head.dtype = "F32";
    head.data = test::bytes_of(floats);
    auto& norm = tensor(tensors, "model.norm.weight");
    norm.dtype = "F16";
    norm.data = test::bytes_of(std::vector<std::uint16_t>{0x3c00, 0xc000, 0x0001, 0x7bff});
    write_single(directory, tensors, {}, shift);
    const auto checkpoint = Checkpoint::open(directory.path());
    ASSERT_EQ(checkpoint.tensors()[0].offset % 8, static_cast<std::uint64_t>(shift) % 8 + 0u);

    for (std::size_t k = 0; k < tensors.size(); ++k) {
      if (tensors[k].dtype != "BF16") continue;
      const auto values = read_all(checkpoint, tensors[k].name);
      for (std::int64_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(
            values.data()[i],
            bf16_to_f32(static_cast<std::uint16_t>(0x3c00 + 64 * k + static_cast<std::size_t>(i))))
            << tensors[k].name << " " << i;
    }
    const auto head_values = read_all(checkpoint, "lm_head.weight");
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(head_values.data()[i], floats[i]);
    const auto norm_values = read_all(checkpoint, "model.norm.weight");
    EXPECT_EQ(norm_values(0, 0), 1.0f);
    EXPECT_EQ(norm_values(0, 1), -2.0f);
    EXPECT_EQ(norm_values(0, 2), 0x1p-24f);
    EXPECT_EQ(norm_values(0, 3), 65504.0f);
  }
}

TEST(Checkpoint, ReadsSomeRowsIntoAStridedView) {
  const TempDirectory directory;
  write_single(directory, TinyModel{}.tensors());
  const auto checkpoint = Checkpoint::open(directory.path());
  const auto whole = read_all(checkpoint, "model.layers.0.mlp.up_proj.weight");
  Matrix<float> wide(4, 7);
  wide.fill(-1);
  checkpoint.read_rows("model.layers.0.mlp.up_proj.weight", 2, {wide.data(), 4, 4, 7});
  for (std::int64_t r = 0; r < 4; ++r)
    for (std::int64_t c = 0; c < 7; ++c)
      EXPECT_EQ(wide(r, c), c < 4 ? whole(r + 2, c) : -1) << r << " " << c;
  checkpoint.read_rows("model.layers.0.mlp.up_proj.weight", 6,
                       {wide.data(), 0, 4});  // nothing, at the end
}

TEST(Checkpoint, ReadsScatteredRows) {
  const TempDirectory directory;
  auto tensors = TinyModel{}.tensors();
  tensor(tensors, "model.layers.0.mlp.up_proj.weight").data.replace(2 * (1 * 4 + 2), 2, "\xc0\x7f");
  write_single(directory, tensors);
  const auto checkpoint = Checkpoint::open(directory.path());
  const std::string name = "model.layers.0.mlp.up_proj.weight";  // [6, 4], row 1 is broken
  Matrix<float> one(1, 4), wide(3, 7);
  wide.fill(-1);
  const std::vector<std::int32_t> which = {5, 2, 5};
  checkpoint.read_rows(name, which, {wide.data(), 3, 4, 7});
  EXPECT_EQ(checkpoint.bytes_read(), 24u);
  for (std::int64_t r = 0; r < 3; ++r) {
    checkpoint.read_rows(name, which[static_cast<std::size_t>(r)], one.view());
    for (std::int64_t c = 0; c < 7; ++c) EXPECT_EQ(wide(r, c), c < 4 ? one(0, c) : -1);
  }
  const auto read = [&](std::vector<std::int32_t> rows, std::int64_t cols) {
    checkpoint.read_rows(name, rows, {wide.data(), std::ssize(rows), cols});
  };
  EXPECT_THAT(thrown<RunError>([&] { read({0, 1}, 4); }), HasSubstr("element [1, 2] is NaN"));
  EXPECT_THAT(thrown<Error>([&] { read({6}, 4); }), HasSubstr("is 6 x 4: cannot read"));
  EXPECT_THAT(thrown<Error>([&] { read({-1}, 4); }), HasSubstr("cannot read"));
  EXPECT_THAT(thrown<Error>([&] { read({0}, 5); }), HasSubstr("cannot read"));
}

TEST(Checkpoint, CountsBytesAsStored) {
  const TempDirectory directory;
  write_single(directory, TinyModel{}.tensors());
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.bytes_read(), 0u);
  read_all(checkpoint, "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(checkpoint.bytes_read(), 48u);
  Matrix<float> row(1, 4);
  checkpoint.read_rows("lm_head.weight", 4, row.view());
  EXPECT_EQ(checkpoint.bytes_read(), 56u);
  (void)checkpoint.fingerprint();
  EXPECT_EQ(checkpoint.bytes_read(), 56u);
}

TEST(Checkpoint, RefusesRowsThatAreNotThere) {
  const TempDirectory directory;
  write_single(directory, TinyModel{}.tensors());
  const auto checkpoint = Checkpoint::open(directory.path());
  Matrix<float> out(6, 5);
  const auto read = [&](const std::string& name, std::int64_t first, std::int64_t rows,
                        std::int64_t cols) {
    return thrown<Error>([&] { checkpoint.read_rows(name, first, {out.data(), rows, cols}); });
  };
  EXPECT_THAT(read("lm_head.weight", 0, 6, 4),
              HasSubstr("is 5 x 4: cannot read 6 rows of 4 columns from row 0"));
  EXPECT_THAT(read("lm_head.weight", 5, 1, 4), HasSubstr("cannot read"));
  EXPECT_THAT(read("lm_head.weight", -1, 1, 4), HasSubstr("cannot read"));
  EXPECT_THAT(read("lm_head.weight", INT64_MAX, 1, 4), HasSubstr("cannot read"));
  EXPECT_THAT(read("lm_head.weight", 0, 1, 5), HasSubstr("of 5 columns"));
  EXPECT_THAT(read("model.norm.weight", 1, 1, 4), HasSubstr("is 1 x 4"));
  EXPECT_THAT(read("nobody", 0, 1, 4), HasSubstr("no tensor \"nobody\""));
  EXPECT_EQ(checkpoint.bytes_read(), 0u);
}

TEST(Checkpoint, NamesTheFirstWeightThatIsNotFinite) {
  const TempDirectory directory;
  auto tensors = TinyModel{}.tensors();
  auto& up = tensor(tensors, "model.layers.1.mlp.up_proj.weight").data;  // [6, 4]
  up.replace(2 * (4 * 4 + 3), 2, "\xc0\x7f");
  up.replace(2 * (5 * 4 + 1), 2, "\x80\x7f");
  auto& norm = tensor(tensors, "model.norm.weight").data;
  norm.replace(2 * 2, 2, "\x80\xff");
  write_single(directory, tensors);
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(thrown<RunError>([&] { read_all(checkpoint, "model.layers.1.mlp.up_proj.weight"); }),
            directory.file("model.safetensors") +
                ": tensor \"model.layers.1.mlp.up_proj.weight\": element [4, 3] is NaN; weights "
                "must be finite");
  Matrix<float> row(1, 4);
  EXPECT_THAT(thrown<RunError>([&] {
                checkpoint.read_rows("model.layers.1.mlp.up_proj.weight", 5, row.view());
              }),
              HasSubstr("element [5, 1] is infinity"));
  EXPECT_THAT(thrown<RunError>([&] { read_all(checkpoint, "model.norm.weight"); }),
              HasSubstr("element [2] is -infinity"));
  EXPECT_EQ(thrown<RunError>(
                [&] { checkpoint.read_rows("model.layers.1.mlp.up_proj.weight", 3, row.view()); }),
            "nothing");
}

TEST(Checkpoint, ManyThreadsReadTheSame) {
  const TempDirectory directory;
  write_shards(directory, TinyModel{}.tensors());
  const auto checkpoint = Checkpoint::open(directory.path());
  std::vector<std::thread> threads;
  std::vector<std::string> fingerprints(4);
  std::vector<int> wrong(4);
  const auto expected = read_all(checkpoint, "lm_head.weight");
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      fingerprints[t] = checkpoint.fingerprint();
      for (int i = 0; i < 200; ++i) {
        const auto values = read_all(checkpoint, "lm_head.weight");
        for (std::int64_t k = 0; k < values.size(); ++k)
          wrong[t] += values.data()[k] != expected.data()[k];
        if (i % 50 == 0) checkpoint.drop_pages("");
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(checkpoint.bytes_read(), 801u * 40u);
  EXPECT_EQ(std::set<std::string>(fingerprints.begin(), fingerprints.end()).size(), 1u);
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Checkpoint, DroppedPagesComeBack) {
  const TempDirectory directory;
  write_single(directory, TinyModel{}.tensors(), {}, 3);
  auto opened = Checkpoint::open(directory.path());
  const Checkpoint checkpoint = std::move(opened);
  const auto before = read_all(checkpoint, "model.layers.1.mlp.gate_proj.weight");
  checkpoint.drop_pages("model.layers.1.");
  checkpoint.drop_pages("nobody");
  const auto after = read_all(checkpoint, "model.layers.1.mlp.gate_proj.weight");
  for (std::int64_t i = 0; i < before.size(); ++i) EXPECT_EQ(before.data()[i], after.data()[i]);
}

// A mapped page beyond the end of the file would kill the process.
TEST(Checkpoint, AFileCutWhileInUseIsAnError) {
  const TempDirectory directory;
  write_single(directory, TinyModel{}.tensors());
  const auto checkpoint = Checkpoint::open(directory.path());
  std::filesystem::resize_file(directory.file("model.safetensors"), 0);
  EXPECT_THAT(thrown<RunError>([&] { read_all(checkpoint, "lm_head.weight"); }),
              HasSubstr("model.safetensors: the file changed while in use: 0 bytes, was"));
  EXPECT_THAT(thrown<RunError>([&] { (void)checkpoint.fingerprint(); }),
              HasSubstr("changed while in use"));
  EXPECT_EQ(checkpoint.bytes_read(), 0u);
}

}  // namespace
}  // namespace bitgrid
