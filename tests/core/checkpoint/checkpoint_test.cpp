#include "core/checkpoint/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "tests/core/checkpoint/model_files.hpp"

namespace bitgrid {
namespace {

using test::FileTensor;
using test::TempDirectory;
using test::TinyModel;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string refusal(const std::string& directory) {
  try {
    Checkpoint::open(directory);
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), Not(HasSubstr("\n")));
    return e.what();
  }
  return "accepted";
}

template <class ErrorType, class Fn>
std::string thrown(Fn&& fn) {
  try {
    fn();
  } catch (const ErrorType& e) {
    EXPECT_THAT(e.what(), Not(HasSubstr("\n")));
    return e.what();
  }
  return "nothing";
}

// One file with everything.
void write_single(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const TinyModel& model = {}, int shift = 0) {
  directory.write("config.json", model.config_json());
  directory.write("model.safetensors", test::safetensors_bytes(tensors, shift));
}

// Two shards, tensors dealt out in turn, and the index.
void write_shards(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const std::string& metadata = "{}") {
  std::vector<FileTensor> parts[2];
  std::string map;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    parts[i % 2].push_back(tensors[i]);
    map += (i == 0 ? "\"" : ",\"") + tensors[i].name + "\":\"" + std::to_string(i % 2) +
           ".safetensors\"";
  }
  directory.write("config.json", TinyModel{}.config_json());
  for (int s : {0, 1})
    directory.write(std::to_string(s) + ".safetensors", test::safetensors_bytes(parts[s]));
  directory.write("model.safetensors.index.json",
                  "{\"metadata\":" + metadata + ",\"weight_map\":{" + map + "}}");
}

Matrix<float> read_all(const Checkpoint& checkpoint, const std::string& name) {
  const auto& shape = checkpoint.find(name)->shape;
  Matrix<float> out(shape.size() == 1 ? 1 : shape[0], shape.back());
  checkpoint.read_rows(name, 0, out.view());
  return out;
}

FileTensor& tensor(std::vector<FileTensor>& all, const std::string& name) {
  for (auto& t : all)
    if (t.name == name) return t;
  throw std::runtime_error(name);
}

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
