#include <gtest/gtest.h>

#include "core/checkpoint/checkpoint.hpp"
#include "core/model/segments.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "tests/oracle/safetensors_reader.hpp"
#include "tests/oracle/test_matrix.hpp"

namespace bitgrid {
namespace {

// Hidden states and logits that Hugging Face's implementation computed in fp32 for two windows of
// 96 tokens.
struct Reference {
  const char* name;
  const char* model;
  const char* outputs;
};
void PrintTo(const Reference& r, std::ostream* out) { *out << r.name; }

class ForwardOracle : public testing::TestWithParam<Reference> {
 protected:
  // Window w of the tensor, within 1e-4 of its largest magnitude.
  void expect_close(const Matrix<float>& found, const std::string& tensor, std::int64_t w) const {
    const auto shape = outputs.shape(tensor);
    const auto values = outputs.values<float>(tensor);
    ASSERT_EQ(shape, (std::vector<std::int64_t>{2, found.rows(), found.cols()})) << tensor;
    const MatrixView<const float> expected(values.data() + w * found.size(), found.rows(),
                                           found.cols());
    EXPECT_LE(oracle::relative_difference(found.view(), oracle::widen(expected)), 1e-4)
        << tensor << " window " << w;
  }

  const std::string root = std::string(BITGRID_SOURCE_DIR) + "/";
  const oracle::SafetensorsReader outputs{root + GetParam().outputs};
};
INSTANTIATE_TEST_SUITE_P(
    Models, ForwardOracle,
    testing::Values(Reference{"demo", "sweeps/demo/model",
                              "tests/data/model/demo/forward.safetensors"},
                    Reference{"rope31", "tests/data/model/tiny/rope31",
                              "tests/data/model/tiny/rope31/forward.safetensors"},
                    Reference{"tied", "tests/data/model/tiny/tied",
                              "tests/data/model/tiny/tied/forward.safetensors"},
                    Reference{"mha", "tests/data/model/tiny/mha",
                              "tests/data/model/tiny/mha/forward.safetensors"},
                    Reference{"fp32", "tests/data/model/tiny/fp32",
                              "tests/data/model/tiny/fp32/forward.safetensors"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(ForwardOracle, HiddenStatesAndLogitsMatch) {
  const Checkpoint checkpoint = Checkpoint::open(root + GetParam().model);
  const LlamaConfig& config = checkpoint.config();
  const Place place = cpu_place(2);
  const OutputWeights output = read_output(checkpoint, config);
  const auto ids = outputs.values<std::int32_t>("ids");
  const auto length = static_cast<std::int64_t>(ids.size() / 2);
  const RopeTable table = make_rope_table(config, length);
  for (std::int64_t w = 0; w < 2; ++w) {
    Matrix<float> x(length, config.hidden_size);
    embed_window(checkpoint, config,
                 std::span(ids).subspan(static_cast<std::size_t>(w * length), ids.size() / 2),
                 x.view());
    expect_close(x, "embedding", w);
    LayerScratch scratch;
    for (std::int64_t layer = 0; layer < config.layer_count; ++layer) {
      layer_forward(place, config, read_layer(checkpoint, config, layer), table, x.view(), scratch);
      expect_close(x, "layer." + std::to_string(layer) + ".output", w);
    }
    rms_norm(place, x.view(), output.norm.view(), static_cast<float>(config.rms_norm_eps),
             x.view());
    expect_close(x, "norm.output", w);
    Matrix<float> logits(length, config.vocab_size);
    linear(place, x.view(), output.head.view(), logits.view());
    expect_close(logits, "logits", w);
  }
}

TEST(EmbedWindow, RefusesIdsOutsideTheVocabulary) {
  const Checkpoint checkpoint =
      Checkpoint::open(std::string(BITGRID_SOURCE_DIR) + "/sweeps/demo/model");
  Matrix<float> x(2, 128);
  const auto embed = [&](std::int32_t id) {
    embed_window(checkpoint, checkpoint.config(), std::vector<std::int32_t>{0, id}, x.view());
  };
  EXPECT_NO_THROW(embed(1023));
  EXPECT_THROW(embed(1024), Error);
  EXPECT_THROW(embed(-1), Error);
  EXPECT_THROW(
      embed_window(checkpoint, checkpoint.config(), std::vector<std::int32_t>{0}, x.view()), Error);
}

TEST(EmbedWindow, ReadsOnlyItsRows) {
  const Checkpoint checkpoint =
      Checkpoint::open(std::string(BITGRID_SOURCE_DIR) + "/sweeps/demo/model");
  Matrix<float> x(3, 128);
  const auto before = checkpoint.bytes_read();
  embed_window(checkpoint, checkpoint.config(), std::vector<std::int32_t>{5, 900, 5}, x.view());
  EXPECT_EQ(checkpoint.bytes_read() - before, 3u * 128 * 2);
  EXPECT_TRUE(oracle::same_bytes(x.rows_from(0, 1), x.rows_from(2, 1)));
}

}  // namespace
}  // namespace bitgrid
