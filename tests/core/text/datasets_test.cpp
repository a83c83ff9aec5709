#include "core/text/datasets.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "core/text/text_sets.hpp"
#include "gzip.hpp"
#include "kernels/sha256.hpp"
#include "small_tokenizer.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;

const std::string kDemoData = kDemo + "/data";

Tokenizer small() { return Tokenizer::parse(small_tokenizer().dump(), "small"); }

struct StreamRow {
  std::string use, set, digest;
  std::int64_t seed = 0, length = 0, windows = 0, tokens = 0;
};

// tests/data/model/demo/streams.csv was made with Hugging Face's tokenizers and Python's random.
std::vector<StreamRow> stream_rows() {
  std::ifstream file(std::string(BITGRID_SOURCE_DIR) + "/tests/data/model/demo/streams.csv");
  std::vector<StreamRow> rows;
  std::string line;
  std::getline(file, line);
  const auto number = [](const std::string& text) { return text.empty() ? 0 : std::stoll(text); };
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::istringstream in(line);
    for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
    if (!cells.back().empty() && cells.back().back() == '\r') cells.back().pop_back();
    rows.push_back({cells.at(0), cells.at(1), cells.at(6), number(cells[2]), number(cells[3]),
                    number(cells[4]), number(cells[5])});
  }
  return rows;
}

TEST(Datasets, StreamsAreTheStudys) {
  const Tokenizer tokenizer = Tokenizer::load(kDemoTokenizer);
  int checked = 0;
  for (const StreamRow& row : stream_rows()) {
    SCOPED_TRACE(row.use + " " + row.set + " seed " + std::to_string(row.seed));
    const TextSource source{row.set, kDemoData};
    if (row.use == "calibration") {
      const Windows windows =
          calibration_windows(tokenizer, source, {row.windows, row.length, row.seed}, true);
      EXPECT_EQ(windows.count, row.windows);
      EXPECT_EQ(windows.length, row.length);
      EXPECT_EQ(static_cast<std::int64_t>(windows.ids.size()), row.tokens);
      EXPECT_EQ(ids_fingerprint(windows.ids), row.digest);
    } else {
      const EvaluationText text = evaluation_windows(tokenizer, source, 256, true);
      EXPECT_EQ(text.text_tokens, row.tokens);
      EXPECT_EQ(text.ids_fingerprint, row.digest);
      EXPECT_EQ(text.windows.count, row.tokens / 256);
      EXPECT_EQ(text.windows.ids.size(), static_cast<std::size_t>(256 * text.windows.count));
      EXPECT_EQ(text.protocol, "gptq-" + row.set);
      EXPECT_EQ(text.set, row.set);
    }
    ++checked;
  }
  EXPECT_EQ(checked, 11);
}

TEST(Datasets, FingerprintIsOfLittleEndianInt32) {
  const std::vector<std::int32_t> ids = {1, -2};
  EXPECT_EQ(ids_fingerprint(ids),
            sha256_hex(std::string_view("\x01\x00\x00\x00\xFE\xFF\xFF\xFF", 8)));
}

std::string text_of(const TextSource& source, Part part) {
  return read_text_part(source, part).text;
}

TEST(Datasets, WikitextRowsKeepTheirLineEnds) {
  const Folder folder;
  folder.write("wikitext2/wiki.train.raw", " \n = A = \n  \n x y \nlast");
  folder.write("wikitext2/wiki.test.raw", "one\r\n\r\n two \rthree\r\n");
  EXPECT_EQ(text_of({"wikitext2", folder.path()}, Part::calibration),
            "\n\n = A = \n\n\n\n\n x y \n\n\nlast");
  EXPECT_EQ(text_of({"wikitext2", folder.path()}, Part::evaluation),
            "one\n\n\n\n\n two \n\n\nthree\n");
}

TEST(Datasets, PtbRowsAreStripped) {
  const Folder folder;
  folder.write("ptb/ptb.train.txt", " a b \n c \n");
  folder.write("ptb/ptb.valid.txt", " v \n\u3000w\x1F\n");
  folder.write("ptb/ptb.test.txt", " t \n\n u\n");
  EXPECT_EQ(text_of({"ptb", folder.path()}, Part::calibration), "a b\n\nc");
  EXPECT_EQ(text_of({"ptb", folder.path()}, Part::evaluation), "v\n\nw");
  EXPECT_EQ(text_of({"ptb-new", folder.path()}, Part::calibration), "a b c");
  EXPECT_EQ(text_of({"ptb-new", folder.path()}, Part::evaluation), "t  u");
}

TEST(Datasets, ExportsAreReadWhereOriginalsAreMissing) {
  const Folder folder;
  folder.write("wikitext2/train.jsonl", "{\"text\": \"\"}\n{\"text\": \" x \\n\"}\n");
  folder.write("ptb/validation.jsonl.gz", gzip("{\"sentence\": \"p q\"}\n{\"sentence\": \"r\"}\n"));
  EXPECT_EQ(text_of({"wikitext2", folder.path()}, Part::calibration), "\n\n x \n");
  EXPECT_EQ(text_of({"ptb", folder.path()}, Part::evaluation), "p q\n\nr");
  folder.write("ptb/ptb.valid.txt", "original\n");
  EXPECT_EQ(text_of({"ptb", folder.path()}, Part::evaluation), "original");
}

std::string rows_of(const std::vector<std::string>& texts) {
  std::string rows;
  for (const std::string& text : texts)
    rows += nlohmann::json{{"text", text}, {"url", "u"}}.dump() + "\n";
  return rows;
}

TEST(Datasets, C4NewTakes1100DocumentsAndAtMost256Windows) {
  const Folder folder;
  std::vector<std::string> texts(1100, "z");
  texts.resize(1200, "q");
  folder.write("c4/en/c4-validation.00000-of-00008.json", rows_of(texts));
  const EvaluationText text = evaluation_windows(small(), {"c4-new", folder.path()}, 3, true);
  EXPECT_EQ(text.text_tokens, 1 + 1 + 1099 * 2);
  EXPECT_EQ(text.windows.count, 256);
  EXPECT_EQ(text.windows.ids.size(), 768u);
  EXPECT_EQ(text.windows.ids[0], 300);
  EXPECT_EQ(std::count(text.windows.ids.begin(), text.windows.ids.end(), 'q'), 0);
  EXPECT_EQ(evaluation_windows(small(), {"c4-new", folder.path()}, 1000, true).windows.count, 2);
}

// A document of exactly one window's length is passed over, as in every run of the scripts that did
// not crash.
TEST(Datasets, DocumentsMustBeLongerThanAWindow) {
  const Folder folder;
  folder.write("c4/en/c4-train.00000-of-01024.json.gz",
               gzip(rows_of({"xxxxx", "yyyyyy", "short"})));
  const Windows windows = calibration_windows(small(), {"c4", folder.path()}, {40, 5, 0}, false);
  EXPECT_EQ(windows.ids, std::vector<std::int32_t>(200, 'y'));
  // With begin-of-text both long ones have more than 5 tokens.
  const Windows with_bos = calibration_windows(small(), {"c4", folder.path()}, {40, 5, 0}, true);
  EXPECT_GT(std::count(with_bos.ids.begin(), with_bos.ids.end(), 'x'), 0);
}

TEST(Datasets, SamplingEndsWhenNoDocumentIsLongEnough) {
  const Folder folder;
  const std::string path = folder.write("c4/en/c4-train.00000-of-01024.json.gz",
                                        gzip(rows_of({"xxxxx", "aaaaaaaaaa", "z"})));
  EXPECT_THAT(input_error([&] {
                calibration_windows(small(), {"c4", folder.path()}, {1, 5, 0}, false);
              }),
              HasSubstr(path + ": none of the 3 documents is longer than a window of 5 tokens"));
}

// Lines that are shorter than a window are not parsed, unless nothing else is there.
TEST(Datasets, RowsWithoutTheirFieldAreNamedThoughTheyAreShort) {
  const Folder folder;
  const auto error_of = [&](const std::string& rows) {
    const std::string path = folder.write("rows.jsonl", rows);
    return input_error([&] {
      calibration_windows(small(), {path, folder.path()}, {1, 100, 0}, false);
    });
  };
  EXPECT_THAT(error_of("{\"text\": \"x\"}\n{\"content\": \"x\"}\n"),
              HasSubstr("rows.jsonl:2: the row has no \"text\""));
  EXPECT_THAT(error_of("{\"text\": 3}\n"), HasSubstr("rows.jsonl:1: \"text\" must be a string"));
  EXPECT_THAT(error_of("{\"text\": \"x\"}\n"), HasSubstr("none of the 1 documents"));
}

TEST(Datasets, OneLongDocumentAmongManyIsFound) {
  const Folder folder;
  std::vector<std::string> texts(20000, "short");
  texts[12345] = std::string(40, 'y');
  folder.write("mine.jsonl", rows_of(texts));
  const Windows windows =
      calibration_windows(small(), {folder / "mine.jsonl", ""}, {2, 30, 0}, true);
  EXPECT_EQ(windows.count, 2);
}

TEST(Datasets, PathsToTextAndJsonl) {
  const Folder folder;
  folder.write("mine.txt", "xy\r\nz\n");
  folder.write("mine.jsonl", rows_of({"xy", "", "z"}));
  const auto text = evaluation_windows(small(), {folder / "mine.txt", ""}, 2, false);
  EXPECT_EQ(text.windows.ids, (std::vector<std::int32_t>{'x', 'y', '\r', '\n', 'z', '\n'}))
      << "as it is";
  EXPECT_EQ(text.protocol, "text-whole");
  EXPECT_EQ(text.text_fingerprint, sha256_hex("xy\r\nz\n"));
  const auto rows = evaluation_windows(small(), {"mine.jsonl", folder.path()}, 1, false);
  EXPECT_EQ(rows.text_fingerprint, sha256_hex("xy\n\n\n\nz"));
  EXPECT_EQ(rows.protocol, "jsonl-joined");
  EXPECT_EQ(rows.set, "mine.jsonl");
  folder.write("packed.txt.gz", gzip("pqr"));
  EXPECT_EQ(evaluation_windows(small(), {folder / "packed.txt.gz", ""}, 3, false).windows.count, 1);
}

TEST(Datasets, TooLittleTextIsNamedWithCounts) {
  const Folder folder;
  const std::string path = folder.write("mine.txt", "wxyz");
  const TextSource source{path, ""};
  EXPECT_EQ(evaluation_windows(small(), source, 4, false).windows.count, 1);
  EXPECT_THAT(input_error([&] { evaluation_windows(small(), source, 5, false); }),
              HasSubstr(path + ": has 4 tokens, but one window needs 5"));
  EXPECT_EQ(calibration_windows(small(), source, {3, 3, 0}, false).count, 3);
  EXPECT_THAT(input_error([&] {
                calibration_windows(small(), source, {3, 4, 0}, false);
              }),
              HasSubstr(path + ": has 4 tokens, but one window needs 5"));
}

TEST(Datasets, MissingFilesAreNamedWithTheSet) {
  const Folder folder;
  const auto refusal = [&](const std::string& set, Part part) {
    return input_error([&] { read_text_part({set, folder.path()}, part); });
  };
  EXPECT_THAT(
      refusal("wikitext2", Part::evaluation),
      HasSubstr(folder / "wikitext2/wiki.test.raw" + ": no such file; the set wikitext2 needs it"));
  EXPECT_THAT(refusal("ptb", Part::evaluation), HasSubstr("ptb/validation.jsonl"));
  EXPECT_THAT(refusal("c4", Part::calibration),
              HasSubstr(folder / "c4/en/c4-train.00000-of-01024.json.gz" + ": no such file"));
  EXPECT_THAT(refusal("c4-new", Part::evaluation),
              HasSubstr("c4-validation.00000-of-00008.json.gz"));
  EXPECT_THAT(refusal("gone.txt", Part::evaluation), HasSubstr("gone.txt: no such file"));
}

TEST(Datasets, UnknownSetsGetTheNearestName) {
  EXPECT_THAT(input_error([] { check_text_set("wikitext"); }),
              HasSubstr("unknown data set 'wikitext'; did you mean 'wikitext2'?"));
  EXPECT_THAT(input_error([] { check_text_set("c4_new"); }), HasSubstr("did you mean 'c4-new'?"));
  EXPECT_THAT(input_error([] { check_text_set("pbt"); }), HasSubstr("did you mean 'ptb'?"));
  EXPECT_THAT(input_error([] { check_text_set(""); }), HasSubstr("unknown data set"));
  for (const std::string& name : text_set_names()) EXPECT_NO_THROW(check_text_set(name));
  EXPECT_NO_THROW(check_text_set("some/where.jsonl.gz"));
  EXPECT_THROW(calibration_windows(small(), {"wiki", kDemoData}, {}, true), InputError);
}

TEST(Datasets, SizesMustMakeSense) {
  const TextSource source{"wikitext2", kDemoData};
  EXPECT_THROW(calibration_windows(small(), source, {0, 8, 0}, true), InputError);
  EXPECT_THROW(calibration_windows(small(), source, {8, 0, 0}, true), InputError);
  EXPECT_THROW(calibration_windows(small(), source, {INT64_MAX, 8, 0}, true), InputError);
  EXPECT_THROW(evaluation_windows(small(), source, 0, true), InputError);
  EXPECT_THROW(evaluation_windows(small(), source, -3, true), InputError);
  EXPECT_THROW(evaluation_windows(small(), source, INT64_MAX, true), InputError);
}

TEST(Datasets, BadUtf8InDataIsLocated) {
  const Folder folder;
  const std::string path = folder.write("ptb/ptb.valid.txt", "fine\nb\xFF!\n");
  EXPECT_THAT(input_error([&] {
                evaluation_windows(small(), {"ptb", folder.path()}, 1, true);
              }),
              HasSubstr(path + ":2: not UTF-8 at byte 6"));
}

TEST(Datasets, WindowsAreViews) {
  Windows windows{2, 3, {1, 2, 3, 4, 5, 6}};
  EXPECT_THAT(windows.window(1), testing::ElementsAre(4, 5, 6));
}

}  // namespace
}  // namespace bitgrid::test
