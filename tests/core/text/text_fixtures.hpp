#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/byte_alphabet.hpp"
#include "core/text/split.hpp"
#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid::test {

inline const std::string kDemo = std::string(BITGRID_SOURCE_DIR) + "/sweeps/demo";
inline const std::string kDemoTokenizer = kDemo + "/model/tokenizer.json";

// The message of the InputError that fn throws; "" if it throws none.
template <class Fn>
std::string input_error(Fn&& fn) {
  try {
    fn();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
    return error.what();
  }
  return "";
}

// A directory of its own for each test, removed afterwards.
class Folder {
 public:
  Folder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            (std::string("bitgrid-") + test->test_suite_name() + "-" + test->name() + "-" +
             std::to_string(getpid()));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string path() const { return path_; }
  std::string write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

 private:
  std::filesystem::path path_;
};

// Random text over an alphabet that is rich in what the splitting rule treats specially.
inline std::string random_text(std::mt19937& random, std::size_t characters) {
  static const std::vector<std::string> alphabet = {
      "'",      "'",      "'",          "s",
      "S",      "t",      "T",          "r",
      "R",      "e",      "E",          "v",
      "V",      "m",      "M",          "l",
      "L",      "d",      "D",          "\u017F",
      "a",      "Z",      " ",          " ",
      " ",      "\t",     "\n",         "\n",
      "\r",     "\r\n",   "\v",         "\u0085",
      "\u00A0", "\u2028", "\u3000",     "\u1680",
      "\u200B", "\x1C",   "\x1F",       "\uFEFF",
      "0",      "1",      "9",          "\u00BD",
      "\u2167", "\u0663", "\U0001D7D8", "\u0301",
      "\u094D", "\u0903", "\u0928",     "\u4F60",
      "\uAC00", "\u01C5", "\u02B0",     "\U00010400",
      ".",      ",",      "!",          "(",
      "_",      "\u2019", "\u20AC",     "\U0001F44D",
      "\u200D", "\uE000", "\U000E0101", std::string(1, '\0'),
      "\x7F",   "<",      "|"};
  std::string text;
  std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
  for (std::size_t i = 0; i < characters; ++i) text += alphabet[pick(random)];
  return text;
}

// Random valid UTF-8 over all of Unicode.
inline std::string random_unicode(std::mt19937& random, std::size_t characters) {
  std::string text;
  for (std::size_t i = 0; i < characters; ++i) {
    char32_t c = 0;
    do {
      c = static_cast<char32_t>(random() % (1u << (7 + random() % 14)));
    } while (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000));
    append_utf8(text, c);
  }
  return text;
}

}  // namespace bitgrid::test
