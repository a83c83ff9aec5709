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
    return std::span(ids).subspan(static_cast<std::size_t>(w * length),
                                  static_cast<std::size_t>(length));
  }
};

// SHA-256 of ids as little-endian int32, end to end.
std::string ids_fingerprint(std::span<const std::int32_t> ids);

// A set is one of the names wikitext2, ptb, ptb-new, c4, c4-new, looked up under data_dir, or a
// path to a .txt or .jsonl (optionally .gz; rows with a "text" field), taken as it is or else from
// data_dir. The layouts are those of the public sets' files, each also as NAME.gz:
//   wikitext2/wiki.{train,test}.raw       or wikitext2/{train,test}.jsonl, field "text"
//   ptb/ptb.{train,valid,test}.txt        or ptb/{train,validation,test}.jsonl, field "sentence"
//   c4/en/c4-train.00000-of-01024.json.gz and c4/en/c4-validation.00000-of-00008.json.gz,
//                                         also .json and .jsonl
struct TextSource {
  std::string set;
  std::string data_dir;
};

std::vector<std::string> text_set_names();
// Throws InputError with the nearest name unless set is a known name or a path of a known kind.
// Reads no file.
void check_text_set(const std::string& set);

struct CalibrationOptions {
  std::int64_t windows = 128;
  std::int64_t length = 2048;
  std::int64_t seed = 0;
};

// The windows that the study's scripts draw, in their order (Python's random generator included):
// from random places of the whole text, or, for c4, c4-new and a .jsonl, from a random place of a
// random document that is longer than a window.
// Throws InputError naming the file: missing, malformed (line), or shorter than one window.
Windows calibration_windows(const Tokenizer& tokenizer, const TextSource& source,
                            const CalibrationOptions& options, bool add_bos);

// Protocols, words that results are stored and compared under:
//   gptq-wikitext2  rows of the test split joined by blank lines
//   gptq-ptb        rows of the validation split joined by blank lines
//   gptq-ptb-new    rows of the test split joined by spaces
//   gptq-c4         256 windows drawn with seed 0 from validation documents
//   gptq-c4-new     the first 1100 validation documents joined by spaces, at most 256 windows
//   text-whole      a .txt file as it is
//   jsonl-joined    the rows of a .jsonl file joined by blank lines
struct EvaluationText {
  std::string set;  // as asked for
  std::string protocol;
  Windows windows;               // non-overlapping; the tail is dropped
  std::int64_t text_tokens = 0;  // before cutting
  // SHA-256 of the text, UTF-8; for gptq-c4, of the drawn documents, end to end.
  std::string text_fingerprint;
  std::string ids_fingerprint;  // SHA-256 of all its ids (before cutting)
};
EvaluationText evaluation_windows(const Tokenizer& tokenizer, const TextSource& source,
                                  std::int64_t length, bool add_bos);

}  // namespace bitgrid
