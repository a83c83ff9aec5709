#include "core/text/text_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "gzip.hpp"
#include "text_fixtures.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;

TEST(TextFile, ReadsPlainAndCompressedFiles) {
  const Folder folder;
  const std::string text = "line\r\nnext\n" + std::string(3000000, 'x') + std::string(1, '\0');
  EXPECT_EQ(read_file(folder.write("a.txt", text), "a test"), text);
  EXPECT_EQ(read_file(folder.write("a.txt.gz", gzip(text)), "a test"), text);
  EXPECT_EQ(read_file(folder.write("two.gz", gzip("one ") + gzip("two")), "a test"), "one two");
  EXPECT_EQ(read_file(folder.write("none.gz", gzip("")), "a test"), "");
  EXPECT_EQ(read_file(folder.write("empty.txt", ""), "a test"), "");
}

TEST(TextFile, WhatCannotBeReadIsNamed) {
  const Folder folder;
  const auto refusal = [](const std::string& path) {
    return input_error([&] { read_file(path, "the set x"); });
  };
  const std::string path = folder / "a.gz";
  EXPECT_THAT(refusal(path), HasSubstr(path + ": no such file; needed for the set x"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("is a directory"));
  EXPECT_THAT(refusal(folder.write("a.gz", "plain text")),
              HasSubstr(path + ": is not a gzip file"));
  std::mt19937 random(1);
  std::string text;
  while (text.size() < 100000) text += static_cast<char>('a' + random() % 26);
  const std::string good = gzip(text);
  for (const std::size_t kept :
       {good.size() - 1, good.size() - 8, good.size() / 2, std::size_t{12}}) {
    EXPECT_THAT(refusal(folder.write("a.gz", good.substr(0, kept))),
                HasSubstr(path + ": the gzip file is truncated"))
        << kept;
  }
  std::string damaged = good;
  damaged[good.size() / 2] ^= 0x55;
  EXPECT_THAT(refusal(folder.write("a.gz", damaged)),
              HasSubstr(path + ": the gzip file is damaged"));
  damaged = good;
  damaged[good.size() - 6] ^= 0x55;  // in the checksum
  EXPECT_THAT(refusal(folder.write("a.gz", damaged)),
              HasSubstr(path + ": the gzip file is damaged"));
}

TEST(TextFile, ALoopOfLinksIsNotSaidToBeMissing) {
  const Folder folder;
  std::filesystem::create_symlink("loop.txt", folder / "loop.txt");
  EXPECT_THAT(input_error([&] { read_text(folder / "loop.txt", "a test"); }),
              HasSubstr("loop.txt: cannot be opened: Too many levels of symbolic links"));
}

TEST(TextFile, TextIsUtf8) {
  const Folder folder;
  EXPECT_EQ(read_text(folder.write("a.txt", "é\r\n"), "a test"), "é\r\n");
  EXPECT_THAT(
      input_error([&] { read_text(folder.write("a.txt", "one\ntwo\nth\xE9ree\n"), "a test"); }),
      HasSubstr(folder / "a.txt" + ":3: not UTF-8 at byte 10"));
}

TEST(TextFile, LinesEndAsInPython) {
  std::string shown;
  for (const TextLine& line : text_lines("a\nb\r\nc\rd\n\n\r\r\ne\vf\u2028g")) {
    shown += '[';
    shown += line.text;
    if (line.ended) shown += ']';
  }
  EXPECT_EQ(shown, "[a][b][c][d][][][][e\vf\u2028g");
  EXPECT_TRUE(text_lines("").empty());
  EXPECT_EQ(text_lines("\n").size(), 1u);
}

TEST(JsonLines, ReadsRows) {
  const Folder folder;
  const JsonLines rows(
      folder.write("a.jsonl",
                   "{\"text\": \"one\\n\", \"n\": 1}\r\n{\"n\": [{}], \"text\": \"\"}\n \n\n"),
      "a test");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows.text(0, "text"), "one\n");
  EXPECT_EQ(rows.text(1, "text"), "");
  const JsonLines packed(folder.write("a.jsonl.gz", gzip("{\"text\": \"z\"}")), "a test");
  ASSERT_EQ(packed.size(), 1u);
  EXPECT_EQ(packed.text(0, "text"), "z");
}

TEST(JsonLines, BadRowsAreRefusedWithTheLine) {
  const Folder folder;
  const std::string path = folder / "a.jsonl";
  const auto refusal = [&](const std::string& text) {
    return input_error([&] {
      const JsonLines rows(folder.write("a.jsonl", text), "a test");
      for (std::size_t i = 0; i < rows.size(); ++i) rows.text(i, "text");
    });
  };
  const std::string good = "{\"text\": \"x\"}\n";
  EXPECT_EQ(refusal(good), "");
  EXPECT_THAT(refusal(""), HasSubstr(path + ": has no rows"));
  EXPECT_THAT(refusal("\n\n"), HasSubstr(path + ": has no rows"));
  EXPECT_THAT(refusal(good + "\n" + good),
              HasSubstr(path + ":2: expected a JSON object on every line"));
  EXPECT_THAT(refusal(good + "[1]\n"),
              HasSubstr(path + ":2: expected a JSON object on every line"));
  EXPECT_THAT(refusal(good + good + "{\"text\": \"x\""),
              HasSubstr(path + ":3: expected a JSON object"));
  EXPECT_THAT(refusal(good + "{\"text\": x}\n"), HasSubstr(path + ":2: not valid JSON"));
  EXPECT_THAT(refusal(good + "{\"text\": \"x\"} {}\n"), HasSubstr(path + ":2: not valid JSON"));
  EXPECT_THAT(refusal(good + "{\"txt\": \"x\"}\n"),
              HasSubstr(path + ":2: the row has no \"text\""));
  EXPECT_THAT(refusal(good + "{\"text\": null}\n"),
              HasSubstr(path + ":2: \"text\" must be a string"));
  EXPECT_THAT(refusal(good + "{\"text\": \"\xFF\"}\n"), HasSubstr(path + ":2: not valid JSON"));
}

}  // namespace
}  // namespace bitgrid::test
