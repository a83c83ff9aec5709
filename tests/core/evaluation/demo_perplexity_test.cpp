#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "core/checkpoint/checkpoint.hpp"
#include "core/evaluation/perplexity.hpp"
#include "core/model/segments.hpp"
#include "core/text/datasets.hpp"
#include "core/text/tokenizer.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {
const std::string kRoot = std::string(BITGRID_SOURCE_DIR) + "/";

// Cross-entropies that Hugging Face's implementation reaches on the demo model and its texts, in
// fp32.
struct ReferenceRow {
  std::string set;
  std::int64_t length = 0, windows = 0;
  double cross_entropy = 0, perplexity = 0, first_window = 0, last_window = 0;
};

std::vector<ReferenceRow> reference_rows() {
  std::ifstream in(kRoot + "tests/data/model/demo/perplexity.csv");
  std::string line;
  std::getline(in, line);  // names of the columns
  std::vector<ReferenceRow> rows;
  while (std::getline(in, line)) {
    for (char& c : line)
      if (c == ',') c = ' ';
    ReferenceRow row;
    std::istringstream(line) >> row.set >> row.length >> row.windows >> row.cross_entropy >>
        row.perplexity >> row.first_window >> row.last_window;
    rows.push_back(row);
  }
  return rows;
}

struct DemoModel {
  Checkpoint checkpoint = Checkpoint::open(kRoot + "sweeps/demo/model");
  LlamaConfig config = checkpoint.config();
  OutputWeights output = read_output(checkpoint, config);
  RopeTable table = make_rope_table(config, config.max_position_embeddings);
  std::vector<LayerWeights> layers;

  DemoModel() {
    for (std::int64_t i = 0; i < config.layer_count; ++i)
      layers.push_back(read_layer(checkpoint, config, i));
  }
};

std::vector<double> window_sums(const DemoModel& model, const Windows& windows) {
  struct Scratch {
    Matrix<float> x;
    LayerScratch layer;
    CrossEntropyScratch head;
  };
  const Place place = cpu_place(2);
  std::vector<Scratch> scratch(2);
  std::vector<double> sums(static_cast<std::size_t>(windows.count));
  parallel_for(place, windows.count, [&](std::int64_t w) {
    Scratch& s = scratch[static_cast<std::size_t>(parallel_thread_index())];
    if (s.x.empty()) s.x = Matrix<float>(windows.length, model.config.hidden_size);
    embed_window(model.checkpoint, model.config, windows.window(w), s.x.view());
    for (const LayerWeights& layer : model.layers)
      layer_forward(place, model.config, layer, model.table, s.x.view(), s.layer);
    sums[static_cast<std::size_t>(w)] = window_cross_entropy(place, model.config, model.output,
                                                             s.x.view(), windows.window(w), s.head);
  });
  return sums;
}

TEST(DemoPerplexity, MatchesTheReferenceOnEverySet) {
  const DemoModel model;
  const Tokenizer tokenizer = Tokenizer::load(kRoot + "sweeps/demo/model/tokenizer.json");
  const auto rows = reference_rows();
  ASSERT_EQ(rows.size(), 7u);
  for (const ReferenceRow& row : rows) {
    SCOPED_TRACE(row.set + " in windows of " + std::to_string(row.length));
    const EvaluationText text = evaluation_windows(tokenizer, {row.set, kRoot + "sweeps/demo/data"},
                                                   row.length, tokenizer.adds_bos());
    ASSERT_EQ(text.windows.count, row.windows);
    const std::vector<double> sums = window_sums(model, text.windows);
    const Perplexity p = perplexity_of(sums, row.length);
    const auto predictions = static_cast<double>(row.length - 1);
    EXPECT_NEAR(p.cross_entropy, row.cross_entropy, 2e-5 * row.cross_entropy);
    EXPECT_NEAR(p.perplexity, row.perplexity, 2e-5 * row.cross_entropy * row.perplexity);
    EXPECT_NEAR(sums.front() / predictions, row.first_window, 2e-5 * row.first_window);
    EXPECT_NEAR(sums.back() / predictions, row.last_window, 2e-5 * row.last_window);
  }
}

}  // namespace
}  // namespace bitgrid
