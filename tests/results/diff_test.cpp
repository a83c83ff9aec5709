#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "kernels/error.hpp"
#include "results/parts.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Diff : public testing::Test {
 protected:
  Diff() {
    write_sample(a());
    write_sample(b());
  }
  std::string a() const { return directory_.path("a"); }
  std::string b() const { return directory_.path("b"); }
  static CellHeader gptq() { return sample_header("gptq-w4-g32", "gptq", 4, 32); }
  // The differences when b's second layer and its cell are changed.
  std::vector<std::string> with(const std::function<void(LayerRecord&, CellRecord&)>& change) {
    Store store = Store::join(b());
    LayerRecord layer = sample_layer(gptq(), 1);
    CellRecord cell = Store::join(a()).read_cell(gptq()).value();
    change(layer, cell);
    store.write_layer(gptq(), layer);
    store.write_cell(cell);
    return diff(a(), b());
  }
  TemporaryDirectory directory_;
};

TEST_F(Diff, EqualRunsDoNotDiffer) { EXPECT_THAT(diff(a(), b()), IsEmpty()); }

TEST_F(Diff, TimesHostsAndRanksAreNotCompared) {
  EXPECT_THAT(with([](LayerRecord& layer, CellRecord& cell) {
                layer.host = "elsewhere";
                layer.rank = 77;
                layer.started_s = layer.finished_s = 1;
                layer.seconds = {{"wait", 9}};
                layer.linears[0].diagnostics.factor_s = layer.linears[0].diagnostics.solve_s = 9;
                cell.linears[0].diagnostics.factor_s = cell.linears[0].diagnostics.solve_s = 9;
                cell.seconds.clear();
                cell.wall_s = cell.finished_s = 5;
                cell.peak_memory_bytes = 5;
                cell.hosts = {"elsewhere"};
                cell.header.sweep_text = "other";
              }),
              IsEmpty());
}

// One bit, or one field, at a time: each is found, and named.
TEST_F(Diff, EverySingleChangeIsFound) {
  using Change = std::function<void(LayerRecord&, CellRecord&)>;
  const std::vector<std::pair<std::string, Change>> changes = {
      {"linears: self_attn.q_proj: codes: 1 of 6192 elements differ, the first at 6191",
       [](auto& l, auto&) { l.linears[0].arrays[0].data.back() ^= std::byte{0x80}; }},
      {"self_attn.q_proj: scales: 1 of 387 elements differ, the first at 0",
       [](auto& l, auto&) { l.linears[0].arrays[1].data[0] ^= std::byte{1}; }},
      {"mlp.down_proj: zeros",
       [](auto& l, auto&) { l.linears[1].arrays[2].data[0] ^= std::byte{1}; }},
      {"mlp.down_proj: group_index",
       [](auto& l, auto&) { l.linears[1].arrays[3].data[0] ^= std::byte{1}; }},
      {"mlp.down_proj: order",
       [](auto& l, auto&) { l.linears[1].arrays[4].data[0] ^= std::byte{1}; }},
      {"layer: input_layernorm.weight: 1 of 96 elements differ, the first at 95",
       [](auto& l, auto&) { l.arrays[0].data[191] ^= std::byte{1}; }},
      {"layer: awq.mlp.down_proj.clip: 1 of 9 elements differ, the first at 3",
       [](auto& l, auto&) { l.arrays[1].data[3] ^= std::byte{1}; }},
      {"layer: awq.points is only in the first",
       [](auto& l, auto&) { l.arrays.erase(l.arrays.begin() + 2); }},
      {"layer: tuning_loss: required: false against true",
       [](auto& l, auto&) { l.arrays[3].required = true; }},
      {"loss",
       [](auto& l, auto&) {
         l.linears[1].diagnostics.loss = std::nextafter(l.linears[1].diagnostics.loss, 9);
       }},
      {"damping: 0.01 against 0.02",
       [](auto& l, auto&) { l.linears[1].diagnostics.damping = 0.02; }},
      {"damping_attempts", [](auto& l, auto&) { l.linears[1].diagnostics.damping_attempts++; }},
      {"dead_columns", [](auto& l, auto&) { l.linears[1].diagnostics.dead_columns++; }},
      {"fallback", [](auto& l, auto&) { l.linears[1].diagnostics.fallback ^= true; }},
      {"relative_output_error: 0.3333333333333333 against nan",
       [](auto& l, auto&) { l.linears[1].diagnostics.relative_output_error = NAN; }},
      {"mlp.up_proj is only in the first", [](auto& l, auto&) { l.linears.pop_back(); }},
      {"metrics: 0000: perplexity",
       [](auto&, auto& c) {
         c.metrics[0].value.perplexity = std::nextafter(c.metrics[0].value.perplexity, 9);
       }},
      {"metrics: 0001: window_sums: 1 of 3",
       [](auto&, auto& c) { c.metrics[1].window_sums[2] *= 1.5; }},
      {"metrics: 0001: window_divergences: 1 of 3",
       [](auto&, auto& c) { c.metrics[1].window_divergences[0] = 12.5; }},
      {"metrics: 0001: window_agreements: 1 of 3",
       [](auto&, auto& c) { c.metrics[1].window_agreements[0]--; }},
      {"metrics: 0001: agreement: ",
       [](auto&, auto& c) { c.metrics[1].comparison.agreement = 0.5; }},
      {"metrics: 0002: bos: never against always",
       [](auto&, auto& c) { c.metrics[2].bos = "always"; }},
      {"metrics: 0002 is only in the first", [](auto&, auto& c) { c.metrics.pop_back(); }},
      {"gptq-w4-g32: task piqa: 1 of 13 scores differ, the first of document 3, request 2: ",
       [](auto&, auto& c) {
         c.tasks[0].scores[9].log_likelihood =
             std::nextafter(c.tasks[0].scores[9].log_likelihood, 9);
       }},
      {"task piqa: 2 of 13 scores differ, the first of document 0, request 1: ",
       [](auto&, auto& c) {
         for (const std::size_t i : {1u, 12u}) c.tasks[0].scores[i].greedy ^= true;
       }},
      {"task piqa: 1 of 5 outcomes differ, the first of document 4: ",
       [](auto&, auto& c) { c.tasks[0].outcomes[4].correct_norm ^= true; }},
      {"task mmlu: 1 of 4 outcomes differ, the first of document 2: ",
       [](auto&, auto& c) { c.tasks[1].outcomes[2].choice_norm ^= 1; }},
      {"task mmlu: 1 of 16 metrics differ, the first number 3: mmlu acc_macro ",
       [](auto&, auto& c) {
         c.tasks[1].metrics[3].value = std::nextafter(c.tasks[1].metrics[3].value, 9);
       }},
      {"task mmlu: 1 of 4 documents differ, the first number 1: subset 0, row 1, gold 3 of 4 "
       "options "
       "against subset 0, row 7",
       [](auto&, auto& c) { c.tasks[1].documents[1].row = 7; }},
      {"task mmlu: 2 subsets against 1", [](auto&, auto& c) { c.tasks[1].subsets.pop_back(); }},
      {"task piqa: fingerprint: ", [](auto&, auto& c) { c.tasks[0].fingerprint = "other"; }},
      {"task piqa: profile: lmeh-0.4 against study",
       [](auto&, auto& c) { c.tasks[0].profile = "study"; }},
      {"task piqa: token_digest: ", [](auto&, auto& c) { c.tasks[0].digests.tokens = "other"; }},
      {"task mmlu is only in the first", [](auto&, auto& c) { c.tasks.pop_back(); }},
      {"task boolq is only in the second",
       [](auto&, auto& c) { c.tasks.push_back(sample_task("boolq", 5)); }},
      {"code_hash: entry 0", [](auto&, auto& c) { c.linears[0].code_hash[3] = 'x'; }},
      {"status: finished against failed", [](auto&, auto& c) { c.status = CellStatus::failed; }},
      {"bits_per_weight",
       [](auto&, auto& c) { c.bits_per_weight = std::nextafter(c.bits_per_weight, 9); }},
      {"recipe: options: damp", [](auto&, auto& c) { c.header.recipe.options["damp"] = 0.02; }},
      {"calibration_fingerprint", [](auto&, auto& c) { c.header.calibration_fingerprint += "x"; }},
  };
  for (const auto& [expected, change] : changes) {
    const auto lines = with(change);
    EXPECT_EQ(lines.size(), 1u) << expected << "\n" << joined(lines);
    EXPECT_TRUE(any_contains(lines, "gptq-w4-g32")) << joined(lines);
    EXPECT_TRUE(any_contains(lines, expected)) << joined(lines);
  }
}

// Times are a group "seconds"; a plane of codes may have that name, too.
TEST_F(Diff, ADatasetIsNotTakenForTimes) {
  LayerRecord layer = sample_layer(gptq(), 1);
  layer.linears[0].arrays.push_back(sample_packed("seconds", 129, 96, 1, 3));
  Store::join(a()).write_layer(gptq(), layer);
  EXPECT_THAT(with([&](auto& l, auto&) { l = layer; }), IsEmpty());
  EXPECT_THAT(with([&](auto& l, auto&) {
                l = layer;
                l.linears[0].arrays.back().data[7] ^= std::byte{1};
              }),
              ElementsAre(HasSubstr("self_attn.q_proj: seconds: 1 of 1548 elements differ")));
}

// A setting stands in every file of every cell, and is one difference all the same.
TEST_F(Diff, ASettingIsReportedOnce) {
  Store store = Store::join(b());
  for (CellHeader header : sample_headers()) {
    CellRecord cell = store.read_cell(header).value();
    std::vector<LayerRecord> layers;
    for (const std::int64_t layer : store.stored_layers(header))
      layers.push_back(store.read_layer(header, layer));
    cell.header.shards = header.shards = 8;
    store.write_cell(cell);
    for (const LayerRecord& layer : layers) store.write_layer(header, layer);
  }
  EXPECT_THAT(diff(a(), b()), ElementsAre("shards: 16 against 8 (in fp16 and 2 more)"));
  EXPECT_THAT(diff(b(), a()), ElementsAre("shards: 8 against 16 (in fp16 and 2 more)"));
}

TEST_F(Diff, ACellOfAnotherKeyIsSaidOnce) {
  CellHeader other = gptq();
  other.key = std::string(64, 'a');
  Store store = Store::join(b());
  std::vector<CellHeader> headers = sample_headers();
  headers[2] = other;
  store.write_run(sample_run(headers));
  for (const std::int64_t layer : {0, 1}) store.write_layer(other, sample_layer(gptq(), layer));
  CellRecord cell = store.read_cell(gptq()).value();
  cell.header = other;
  cell.metrics[0].set = "another name";  // of the same text
  store.write_cell(cell);
  EXPECT_THAT(diff(a(), b()),
              ElementsAre(fmt::format("gptq-w4-g32: key {:.8} against aaaaaaaa", gptq().key)));
}

TEST_F(Diff, CellsAndLayersInOneOnlyAreFound) {
  const std::string cell = cell_directory(gptq().name, gptq().key);
  fs::remove(b() + "/" + layer_part(cell, 1) + ".h5");
  EXPECT_THAT(diff(a(), b()), ElementsAre("gptq-w4-g32: layer 1 is only in the first"));
  fs::remove_all(b() + "/cells/" + cell);
  EXPECT_THAT(diff(b(), a()), ElementsAre("gptq-w4-g32: finished only in the second",
                                          "gptq-w4-g32: layer 0 is only in the second",
                                          "gptq-w4-g32: layer 1 is only in the second"));
  std::vector<CellHeader> headers = sample_headers();
  headers.pop_back();
  Store::join(b()).write_run(sample_run(headers));
  EXPECT_THAT(diff(a(), b()), ElementsAre("gptq-w4-g32 is only in the first"));
  EXPECT_THAT(diff(b(), a()), ElementsAre("gptq-w4-g32 is only in the second"));
}

TEST_F(Diff, DroppedTensorsAreComparedByTheirHashes) {
  const auto drop = [&] {
    Store store = Store::join(b());
    CellRecord cell = store.read_cell(gptq()).value();
    cell.tensors_kept = false;
    store.write_cell(cell);
    store.drop_layers(gptq());
  };
  drop();
  EXPECT_THAT(diff(a(), b()), IsEmpty());
  with([](auto&, auto& c) { c.linears[4].code_hash[0] = 'x'; });
  drop();
  EXPECT_THAT(joined(diff(a(), b())), HasSubstr("code_hash: entry 4"));
}

TEST_F(Diff, PackedIsTheSameAsTheDirectory) {
  const std::string packed = directory_.path("packed.h5");
  pack(a(), packed);
  EXPECT_THAT(diff(a(), packed), IsEmpty());
  EXPECT_THAT(diff(packed, b()), IsEmpty());
  EXPECT_THROW(pack(packed, directory_.path("again.h5")), InputError);
  const auto lines = with([](auto& l, auto&) { l.linears[0].arrays[0].data[0] ^= std::byte{1}; });
  EXPECT_EQ(diff(packed, b()), lines);
  EXPECT_EQ(lines.size(), 1u);
}

TEST_F(Diff, ReadersSeeTheSameInBoth) {
  const std::string packed = directory_.path("packed.h5");
  Store(Store::join(a())).write_run(sample_run({gptq()}));
  pack(a(), packed);
  const Reader readers[] = {Reader::open(a()), Reader::open(packed),
                            Reader::open(a() + "/results.h5")};
  for (const Reader& reader : readers) {
    expect_same(reader.run(), sample_run({gptq()}));
    const auto cells = reader.cells();
    ASSERT_EQ(cells.size(), 3u);
    EXPECT_EQ(cells[0].name, "gptq-w4-g32");
    EXPECT_TRUE(cells[0].listed);
    EXPECT_THAT(cells[0].layers, ElementsAre(0, 1));
    EXPECT_TRUE(cells[0].has_record);
    expect_same(reader.layer(cells[0], 1), sample_layer(gptq(), 1));
    expect_same(reader.cell(cells[0]), Store::join(a()).read_cell(gptq()).value());
    for (const auto& [i, name] : {std::pair{1, "fp16"}, {2, "rtn-w3-pc"}}) {
      EXPECT_EQ(cells[static_cast<std::size_t>(i)].name, name);
      EXPECT_FALSE(cells[static_cast<std::size_t>(i)].listed);
      EXPECT_EQ(cells[static_cast<std::size_t>(i)].key.size(), 64u);
    }
  }
}

TEST_F(Diff, OnlyWhatBelongsThereIsPacked) {
  const std::string cell = cell_directory(gptq().name, gptq().key),
                    packed = directory_.path("packed.h5");
  const auto file = [&](const std::string& part) { return a() + "/" + part + ".h5"; };
  const auto refusal = [&] {
    try {
      pack(a(), packed);
    } catch (const Error& e) {
      EXPECT_FALSE(fs::exists(packed));
      return std::string(e.what());
    }
    return std::string("packed");
  };
  const std::string layer = file(layer_part(cell, 1)), good = read_bytes(layer);
  std::string flipped = good;
  flipped[good.size() / 2] ^= 1;
  write_bytes(layer, flipped);
  EXPECT_THAT(refusal(), HasSubstr(layer + ": damaged"));
  write_bytes(layer, read_bytes(file(layer_part(cell, 0))));
  EXPECT_THAT(refusal(), HasSubstr(layer + ": holds layer 0"));
  const CellHeader rtn = sample_headers()[1];
  write_bytes(layer, read_bytes(file(layer_part(cell_directory(rtn.name, rtn.key), 1))));
  EXPECT_THAT(refusal(), HasSubstr(layer + ": belongs to cell rtn-w3-pc"));
  CellHeader other_key = gptq();
  other_key.key = std::string(64, 'a');
  Store::join(b()).write_layer(other_key, sample_layer(gptq(), 1));
  write_bytes(layer, read_bytes(b() + "/" + layer_part("gptq-w4-g32.aaaaaaaa", 1) + ".h5"));
  EXPECT_THAT(refusal(), HasSubstr("key aaaaaaaa"));
  fs::remove(layer);
  EXPECT_THAT(refusal(), HasSubstr("gptq-w4-g32 is finished, but layer 1 is missing"));
  fs::remove(file(layer_part(cell, 0)));
  EXPECT_THAT(refusal(), HasSubstr("layers 0 and 1 are missing"));
  write_bytes(layer, good);
  fs::remove(file(cell_part(cell)));  // a cell that is under way is no fault, but is mentioned
  EXPECT_THAT(pack(a(), packed),
              ElementsAre("gptq-w4-g32 is not finished: 1 of 2 layers are packed"));
  EXPECT_THAT(check(packed, false), IsEmpty());
}

}  // namespace
}  // namespace bitgrid::results
