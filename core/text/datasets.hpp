#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/text/tokenizer.hpp"

namespace bitgrid {

// Equal-length token windows, end to end: window w is ids[w·length … (w+1)·length).
struct Windows {
  std::int64_t count = 0;
  std::int64_t length = 0;
  std::vector<std::int32_t> ids;
  std::span<const std::int32_t> window(std::int64_t w) const {
    return std::span(ids).subspan(static_cast<std::size_t>(w * length), static_cast<std::size_t>(length));
  }
};

// SHA-256 of ids as little-endian int32, end to end.
std::string ids_fingerprint(std::span<const std::int32_t> ids);

// A set is one of the names wikitext2, ptb, ptb-new, c4, c4-new, looked up under data_dir, or a path to a .txt or .jsonl
// (optionally .gz; rows with a "text" field). The layouts are those of the public sets' files.
struct TextSource {
  std::string set;
  std::string data_dir;
};

struct CalibrationOptions {
  std::int64_t windows = 128;
  std::int64_t length = 2048;
  std::int64_t seed = 0;
};

// The windows that the study's scripts draw, in their order (Python's random generator included).
// Throws InputError naming the file: missing, malformed (line), or shorter than one window.
Windows calibration_windows(const Tokenizer& tokenizer, const TextSource& source, const CalibrationOptions& options,
                            bool add_bos);

struct EvaluationText {
  std::string set;          // as asked for
  std::string protocol;     // "gptq-wikitext2" …: what was joined how, in one stable word
  Windows windows;          // non-overlapping; the tail is dropped
  std::int64_t text_tokens = 0;      // before cutting
  std::string text_fingerprint;      // SHA-256 of the text, UTF-8
  std::string ids_fingerprint;       // SHA-256 of all its ids (before cutting)
};
EvaluationText evaluation_windows(const Tokenizer& tokenizer, const TextSource& source, std::int64_t length,
                                  bool add_bos);

}  // namespace bitgrid
