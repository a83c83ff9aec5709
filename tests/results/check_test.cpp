#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"
#include "results/file.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Check : public testing::Test {
 protected:
  Check() { write_sample(run()); }
  std::string run() const { return directory_.path("run"); }
  std::string file(const std::string& part) const { return fmt::format("{}/{}.h5", run(), part); }
  static CellHeader gptq() { return sample_header("gptq-w4-g32", "gptq", 4, 32); }
  static std::string gptq_cell() { return cell_directory(gptq().name, gptq().key); }
  static std::string bytes_of(const StoredArray& array) {
    return {reinterpret_cast<const char*>(array.data.data()), array.data.size()};
  }
  // Flips one bit of the file, checks, and puts it back.
  std::vector<std::string> check_flipped(const std::string& name, std::size_t at, int bit) const {
    const std::string good = read_bytes(name);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
    write_bytes(name, bad);
    std::vector<std::string> faults = check(run(), false);
    write_bytes(name, good);
    return faults;
  }
  TemporaryDirectory directory_;
};

TEST_F(Check, SoundResultsHaveNoFaults) {
  EXPECT_EQ(joined(check(run(), true)), "");
  EXPECT_EQ(joined(check(run() + "/results.h5", true)), "");
  pack(run(), directory_.path("packed.h5"));
  EXPECT_EQ(joined(check(directory_.path("packed.h5"), true)), "");
}

TEST_F(Check, EveryFlippedBitIsFound) {
  const std::string part = layer_part(gptq_cell(), 1);
  int bit = 0;
  for (const std::string& name :
       {file(part), file(cell_part(gptq_cell())), file("run"), file("results")}) {
    const std::size_t size = read_bytes(name).size();
    for (std::size_t at = 0; at < size; at += size / 25 + 1, bit = (bit + 1) % 8) {
      const auto faults = check_flipped(name, at, bit);
      EXPECT_TRUE(any_contains(faults, name)) << name << " byte " << at << ": " << joined(faults);
    }
  }
}

// The reader and the sweep that resumes are as careful as the check; here every byte is cheap
// enough to try many.
TEST_F(Check, NoFlippedBitIsRead) {
  const Store store = Store::join(run());
  const std::string name = file(layer_part(gptq_cell(), 1)), good = read_bytes(name);
  std::string bad = good;
  for (std::size_t at = 0; at < good.size(); at += 29) {
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
    write_bytes(name, bad);
    EXPECT_THROW(store.read_layer(gptq(), 1), Error) << at;
    bad[at] = good[at];
  }
}

// However much hangs on a file: what it holds of a cell, links, the list of cells.
TEST_F(Check, OneFaultIsOneLineWithItsRemedy) {
  for (const std::string& name : {file(layer_part(gptq_cell(), 1)), file(cell_part(gptq_cell())),
                                  file("run"), file("results")}) {
    const std::string good = read_bytes(name);
    std::string flipped = good;
    flipped[good.size() / 2] ^= 2;
    for (const std::string& bad :
         {flipped, good.substr(0, good.size() / 2), good.substr(0, 9), std::string()}) {
      write_bytes(name, bad);
      for (const bool complete : {false, true}) {
        const auto faults = check(run(), complete);
        ASSERT_EQ(faults.size(), 1u) << joined(faults);
        EXPECT_THAT(faults[0], testing::StartsWith(name + ": "));
        EXPECT_THAT(faults[0], testing::EndsWith("; run the sweep again, which makes it again"));
      }
    }
    write_bytes(name, good);
  }
  fs::remove(file(layer_part(gptq_cell(), 1)));
  EXPECT_THAT(check(run(), true),
              ElementsAre(file(cell_part(gptq_cell())) +
                          ": layer 1 is missing; run the sweep again, which makes it again"));
  fs::remove(file("run"));
  EXPECT_THAT(check(run(), true),
              ElementsAre(HasSubstr("run.h5: is missing; run the sweep again"), testing::_));
}

TEST_F(Check, TruncatedAndForeignFilesAreNamed) {
  const std::string name = file(layer_part(gptq_cell(), 0)), good = read_bytes(name);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{511}, std::size_t{512}, std::size_t{2000}, good.size() - 1}) {
    write_bytes(name, good.substr(0, size));
    EXPECT_TRUE(any_contains(check(run(), false), name)) << size;
  }
  write_bytes(name, std::string(100000, '\0'));
  EXPECT_TRUE(any_contains(check(run(), false), name));
  // A whole file of ours in the wrong place.
  write_bytes(name, read_bytes(file("run")));
  EXPECT_TRUE(any_contains(check(run(), false), "holds a run, not a layer"));
  write_bytes(name, read_bytes(file(layer_part(gptq_cell(), 1))));
  EXPECT_TRUE(any_contains(check(run(), false), "holds layer 1"));
  write_bytes(name, good);
  fs::rename(run() + "/cells/" + gptq_cell(), run() + "/cells/gptq-w4-g64.00000000");
  EXPECT_TRUE(any_contains(check(run(), false), "belongs to cell gptq-w4-g32"));
}

// HDF5 crashes or hangs on some damaged files; that must not reach whoever checks.
TEST_F(Check, GarbageInsideAFileDoesNotCrash) {
  const std::string name = file(layer_part(gptq_cell(), 1)), good = read_bytes(name);
  for (unsigned seed = 0; seed < 12; ++seed) {
    std::string bad = good;
    for (std::size_t i = 0; i < 40; ++i) {
      const std::size_t at = kUserBlockBytes + sha256_hex(fmt::format("{} {}", seed, i))[i] * 31 *
                                                   (seed + 1) * (i + 3);
      bad[at % bad.size()] = static_cast<char>(0xff);
    }
    write_bytes(name, bad);
    EXPECT_TRUE(any_contains(check(run(), false), name));
  }
}

// Every list of a question set, one change at a time: one line each.
TEST_F(Check, TasksAreCheckedAgainstThemselves) {
  using Change = std::function<void(TaskRecord & piqa, TaskRecord & mmlu)>;
  const std::vector<std::pair<std::string, Change>> changes = {
      {"task piqa: 13 options in its documents, but 12 scores for 13 requests",
       [](auto& p, auto&) { p.scores.pop_back(); }},
      {"task piqa: 13 options in its documents, but 13 scores for 14 requests",
       [](auto& p, auto&) { ++p.digests.requests; }},
      {"task piqa: 14 options in its documents, but 13 scores",
       [](auto& p, auto&) { ++p.documents[0].options; }},
      {"task piqa: 5 documents, but 4 outcomes", [](auto& p, auto&) { p.outcomes.pop_back(); }},
      {"task piqa: document 2: gold is 2 of 2 options",
       [](auto& p, auto&) { p.documents[2].gold = 2; }},
      {"task piqa: document 2: gold is -1 of 2 options",
       [](auto& p, auto&) { p.documents[2].gold = -1; }},
      {"task mmlu: document 3: subset 2 of 2", [](auto&, auto& m) { m.documents[3].subset = 2; }},
      {"task piqa: document 1: a log-likelihood is not a number",
       [](auto& p, auto&) { p.scores[3].log_likelihood = NAN; }},
      {"task piqa: document 3: choice is ",
       [](auto& p, auto&) { p.scores[7 + (p.outcomes[3].choice + 1) % 4].log_likelihood = 1; }},
      {"task mmlu: document 0: choice_norm is 4 of 4 options",
       [](auto&, auto& m) { m.outcomes[0].choice_norm = 4; }},
      {"task mmlu: document 2: correct or correct_norm does not say whether the choice is gold",
       [](auto&, auto& m) {
         m.outcomes[2].correct ^= true;
         fill_metrics(m);
       }},
      {"task mmlu: document 2: correct or correct_norm does not say whether the choice is gold",
       [](auto&, auto& m) {
         m.outcomes[2].correct_norm ^= true;
         fill_metrics(m);
       }},
      {"task piqa: piqa acc: ", [](auto& p, auto&) { p.metrics[0].value += 0.01; }},
      {"task piqa: piqa acc_norm: ", [](auto& p, auto&) { p.metrics[1].error += 0.01; }},
      {"task piqa: piqa acc: ", [](auto& p, auto&) { p.metrics[0].documents = 4; }},
      {"task mmlu: mmlu acc_macro: ", [](auto&, auto& m) { m.metrics[3].value += 0.01; }},
      {"task mmlu: mmlu_stem acc: ", [](auto&, auto& m) { m.metrics[1].error = NAN; }},
      {"task mmlu: mmlu_tools acc: ", [](auto&, auto& m) { m.metrics[7].value = 7; }},
      {"task mmlu: mmlu_x acc: is of no subset of it",
       [](auto&, auto& m) { m.metrics[7].scope = "mmlu_x"; }},
      {"task piqa: has no acc", [](auto& p, auto&) { p.metrics.erase(p.metrics.begin()); }},
  };
  for (const auto& [text, change] : changes) {
    Store store = Store::join(run());
    CellRecord cell = sample_cell(sample_headers()[0], {});
    change(cell.tasks[0], cell.tasks[1]);
    store.write_cell(cell);
    const auto faults = check(run(), true);
    ASSERT_EQ(faults.size(), 1u) << text << "\n" << joined(faults);
    EXPECT_THAT(faults[0], HasSubstr(text));
    EXPECT_THAT(faults[0], HasSubstr("cell.h5: "));
    EXPECT_THAT(faults[0], testing::EndsWith("; delete it and run the sweep again"));
  }
}

// The study asks boolq's options from the last to the first; ties go to the first option anyhow.
TEST_F(Check, ScoresInReverseAreUnderstood) {
  CellRecord cell = sample_cell(sample_headers()[0], {});
  for (const char* name : {"boolq", "of_the_user"}) {
    TaskRecord& task = cell.tasks.emplace_back(sample_task("piqa", 77));
    task.task = task.subsets[0] = name;
    task.version = "2.0";
    task.profile = "study";
    for (RequestScore& score : task.scores)
      score.log_likelihood = std::round(score.log_likelihood / 60);
    task.scores[0] = task.scores[1];
    fill_outcomes(task, true);
    fill_metrics(task);
  }
  Store::join(run()).write_cell(cell);
  EXPECT_EQ(joined(check(run(), true)), "");
  cell.tasks[2].profile = "lmeh-0.4";
  Store::join(run()).write_cell(cell);
  EXPECT_TRUE(any_contains(check(run(), true), "task boolq: document "));
}

TEST_F(Check, ListedTasksMustHaveBeenAsked) {
  CellRecord cell = sample_cell(sample_headers()[0], {});
  cell.tasks[1].fingerprint = "of other rows";
  Store::join(run()).write_cell(cell);
  EXPECT_EQ(joined(check(run(), false)), "");
  EXPECT_THAT(check(run(), true), ElementsAre("fp16: not asked mmlu; run the sweep again"));
}

TEST_F(Check, PackedFilesAreCheckedToo) {
  const std::string packed = directory_.path("packed.h5");
  pack(run(), packed);
  const std::string good = read_bytes(packed);
  std::vector<std::string> damaged = {"", good.substr(0, 100), good.substr(0, 512),
                                      good.substr(0, good.size() - 1), good + "x"};
  for (std::size_t at = 3; at < good.size(); at += good.size() / 12) {
    damaged.push_back(good);
    damaged.back()[at] ^= 0x10;
  }
  for (const std::string& bad : damaged) {
    write_bytes(packed, bad);
    const auto faults = check(packed, true);
    ASSERT_EQ(faults.size(), 1u) << joined(faults);
    EXPECT_THAT(faults[0], testing::StartsWith(packed + ": "));
    EXPECT_THAT(faults[0], testing::EndsWith("; pack the output directory again"));
  }
}

// Files that are sound as bytes, but contradict each other or themselves.
TEST_F(Check, ContradictionsAreFound) {
  Store store = Store::join(run());
  const LayerRecord layer = sample_layer(gptq(), 1);
  const CellRecord cell = store.read_cell(gptq()).value();
  const auto faults_with = [&](const std::function<void(LayerRecord&, CellRecord&)>& change) {
    LayerRecord l = layer;
    CellRecord c = cell;
    change(l, c);
    store.write_layer(gptq(), l);
    store.write_cell(c);
    return joined(check(run(), false));
  };
  EXPECT_EQ(faults_with([](auto&, auto&) {}), "");
  EXPECT_THAT(faults_with([](auto& l, auto&) { l.linears[1].arrays[1].data[0] ^= std::byte{1}; }),
              HasSubstr("layer 1: mlp.down_proj: its tensors are not those that were evaluated"));
  EXPECT_THAT(faults_with([](auto& l, auto&) { l.linears.pop_back(); }),
              HasSubstr("mlp.up_proj: its tensors are missing"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.linears.pop_back(); }),
              HasSubstr("tensors that it does not list"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.linears[0].stored_bits += 8; }),
              HasSubstr("stored bits differ"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.bits_per_weight *= 1.001; }),
              HasSubstr("bits_per_weight"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[0].window_sums.pop_back(); }),
              HasSubstr("window sums"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[2].value.perplexity *= 1.0001; }),
              HasSubstr("ptb: perplexity"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[1].window_divergences.pop_back(); }),
              HasSubstr("c4: 3 windows, but 2 divergences and 3 agreements"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[1].window_divergences[1] = -1e-9; }),
              HasSubstr("c4: window 1: divergence -1e-09 and 255 agreements of 255"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[1].window_agreements[0] = 256; }),
              HasSubstr("c4: window 0: divergence 12.75 and 256 agreements of 255"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[1].window_agreements[0] = 200; }),
              HasSubstr("its windows make"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.metrics[1].comparison.divergence *= 1.001; }),
              HasSubstr("its windows make"));
  EXPECT_THAT(faults_with([](auto&, auto& c) { c.status = CellStatus::failed; }),
              HasSubstr("does not say why"));
  EXPECT_THAT(faults_with([](auto& l, auto&) {
                l.linears[0].find("codes")->shape;
                l.linears[0].bits = 3;
              }),
              HasSubstr("codes"));
  EXPECT_THAT(faults_with([](auto& l, auto&) { l.linears[0].arrays[3].data[1] = std::byte{1}; }),
              HasSubstr("group_index"));
  EXPECT_THAT(faults_with([](auto& l, auto&) { l.linears[0].group = 7; }), HasSubstr("group"));
}

TEST_F(Check, BitsBehindARowsLastCodeMustBeZero) {
  Store store = Store::join(run());
  const CellHeader header = sample_header("rtn-w3-pc", "rtn", 3, -1);
  LayerRecord layer = sample_layer(header, 0);
  layer.linears[0] = sample_linear("self_attn.q_proj", 5, 9, 3, -1, 1);  // 27 of 32 bits
  store.write_layer(header, layer);
  EXPECT_THAT(joined(check(run(), false)), testing::Not(HasSubstr("zero bits")));
  layer.linears[0].arrays[0].data[7] |= std::byte{0x80};
  store.write_layer(header, layer);
  EXPECT_THAT(joined(check(run(), false)), HasSubstr("codes: row 1 does not end in zero bits"));
  layer = sample_layer(header, 0);
  layer.arrays[1].data[2] |= std::byte{0x40};  // 20 of 24 bits
  store.write_layer(header, layer);
  EXPECT_THAT(joined(check(run(), false)),
              HasSubstr("layer/awq.mlp.down_proj.clip: row 0 does not end in zero bits"));
}

TEST_F(Check, CompleteMeansEveryListedCellFinished) {
  fs::remove(file(cell_part(gptq_cell())));
  Store store = Store::create(run(), kModel);
  store.rebuild_master();
  EXPECT_EQ(joined(check(run(), false)), "");
  EXPECT_EQ(joined(check(run(), true)),
            "gptq-w4-g32: not finished: 2 of 2 layers are stored; run the sweep again\n");
  store.write_cell(failed_cell(gptq(), "layer 3: not finite"));
  EXPECT_EQ(joined(check(run(), false)), "");
  EXPECT_EQ(
      joined(check(run(), true)),
      "gptq-w4-g32: failed: layer 3: not finite; run the sweep again, which tries it again\n");
  store.drop_layers(gptq());
  fs::remove(file(cell_part(gptq_cell())));
  store.rebuild_master();
  EXPECT_EQ(joined(check(run(), true)),
            "gptq-w4-g32: not finished: nothing is stored; run the sweep again\n");
}

TEST_F(Check, CompleteMeansEveryListedSetMeasured) {
  RunRecord record = sample_run(sample_headers());
  record.sets.push_back("notes.txt");
  record.set_fingerprints.push_back("ab");
  Store::join(run()).write_run(record);
  EXPECT_EQ(joined(check(run(), false)), "");
  EXPECT_THAT(
      check(run(), true),
      ElementsAre("fp16: not measured on notes.txt; run the sweep again", testing::_, testing::_));
}

// Of a sound file that contradicts others, the sweep would not know.
TEST_F(Check, ContradictionsAreToBeDeleted) {
  LayerRecord layer = sample_layer(gptq(), 1);
  for (QuantizedLinear& linear : layer.linears) linear.arrays[1].data[0] ^= std::byte{1};
  Store::join(run()).write_layer(gptq(), layer);
  const auto faults = check(run(), true);
  ASSERT_EQ(faults.size(), 1u) << joined(faults);
  EXPECT_THAT(faults[0], HasSubstr("not those that were evaluated"));
  EXPECT_THAT(faults[0], testing::EndsWith("; delete it and run the sweep again"));
}

TEST_F(Check, DanglingLinksAreFound) {
  fs::remove_all(run() + "/cells/" + gptq_cell());
  EXPECT_THAT(
      joined(check(run(), false)),
      HasSubstr("results.h5: 3 of its links lead nowhere, the first to cells/" + gptq_cell()));
  Store::create(run(), kModel).rebuild_master();
  EXPECT_EQ(joined(check(run(), false)), "");
}

TEST_F(Check, WhatIsNotOursIsAnInputError) {
  write_bytes(directory_.path("x.h5"), "\x89HDF\r\n\x1a\n");
  fs::create_directory(directory_.path("empty"));
  for (const std::string& path : {directory_.path("x.h5"), directory_.path("empty"),
                                  directory_.path("none"), file(layer_part(gptq_cell(), 0))}) {
    EXPECT_THROW(check(path, false), InputError) << path;
    EXPECT_THROW(Reader::open(path), InputError) << path;
    EXPECT_THROW(pack(path, directory_.path("y.h5")), InputError) << path;
    EXPECT_THROW(diff(path, run()), InputError) << path;
  }
}

TEST_F(Check, FilesOfALaterSchemaAreRefused) {
  Node node = run_node(sample_run({}));
  node.attributes["schema"] = kSchema + 1;
  EXPECT_THROW(run_of(node, "run.h5"), Error);
}

}  // namespace
}  // namespace bitgrid::results
