#include "core/text/datasets.hpp"

#include <fmt/format.h>

#include <bit>
#include <unordered_map>

#include "core/text/python_random.hpp"
#include "core/text/text_sets.hpp"
#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kC4EvaluationWindows = 256;
constexpr std::int64_t kTokensMax = std::int64_t{1} << 40;

void check_sizes(std::int64_t windows, std::int64_t length) {
  if (length < 1)
    throw InputError(fmt::format("windows of {} tokens: the length must be positive", length));
  if (windows < 1)
    throw InputError(fmt::format("{} windows: the number must be positive", windows));
  if (windows > kTokensMax / length)
    throw InputError(fmt::format("{} windows of {} tokens are too many", windows, length));
}

void append(Windows& windows, std::span<const std::int32_t> ids) {
  windows.ids.insert(windows.ids.end(), ids.begin(), ids.end());
  ++windows.count;
}

// A window at a random place. The last place that fits is never drawn: the scripts say randint(0, T
// − length − 1), both ends included, so ids must hold more than length tokens.
std::span<const std::int32_t> random_window(std::span<const std::int32_t> ids, std::int64_t length,
                                            PythonRandom& random) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t start = random.randint(0, tokens - length - 1);
  return ids.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(length));
}

// Draws random documents until one is longer than a window. Only drawn documents are tokenized,
// each once.
class DocumentDraw {
 public:
  struct Document {
    std::string text;
    std::vector<std::int32_t> ids;
  };

  DocumentDraw(const Tokenizer& tokenizer, const JsonLines& rows, std::int64_t length, bool add_bos)
      : tokenizer_(tokenizer),
        rows_(rows),
        length_(length),
        add_bos_(add_bos),
        too_short_(rows.size()) {}

  const Document& next(PythonRandom& random) {
    constexpr int kMissesMax = 1000;  // then make sure that there is something to find
    for (int misses = 0;; ++misses) {
      if (misses == kMissesMax) expect_a_long_one();
      const auto row =
          static_cast<std::size_t>(random.randint(0, static_cast<std::int64_t>(rows_.size()) - 1));
      if (const Document* document = long_document(row)) return *document;
    }
  }

 private:
  // Row i, tokenized, or nothing if it is too short. A token has at least one byte, so a short line
  // needs no tokenizing.
  const Document* long_document(std::size_t i) {
    if (const auto found = long_.find(i); found != long_.end()) return &found->second;
    if (too_short_[i]) return nullptr;
    Document document;
    if (static_cast<std::int64_t>(rows_.row_bytes(i)) >= length_) {
      document.text = rows_.text(i, "text");
      document.ids = tokenizer_.encode(document.text, add_bos_);
    }
    if (static_cast<std::int64_t>(document.ids.size()) > length_)
      return &long_.emplace(i, std::move(document)).first->second;
    too_short_[i] = true;
    return nullptr;
  }

  void expect_a_long_one() {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (long_document(i) != nullptr) return;
    }
    // Short lines were not even parsed: that they have no text at all is said first.
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_.text(i, "text");
    throw InputError(
        fmt::format("{}: none of the {} documents is longer than a window of {} tokens",
                    rows_.path(), rows_.size(), length_));
  }

  const Tokenizer& tokenizer_;
  const JsonLines& rows_;
  std::int64_t length_;
  bool add_bos_;
  std::vector<bool> too_short_;
  std::unordered_map<std::size_t, Document> long_;
};

std::vector<std::int32_t> encode_whole(const Tokenizer& tokenizer, const TextPart& part,
                                       bool add_bos, std::int64_t tokens_min) {
  std::vector<std::int32_t> ids = tokenizer.encode(part.text, add_bos);
  if (static_cast<std::int64_t>(ids.size()) < tokens_min) {
    throw InputError(fmt::format("{}: has {} tokens, but one window needs {}", part.file,
                                 ids.size(), tokens_min));
  }
  return ids;
}

void draw_evaluation(const Tokenizer& tokenizer, const JsonLines& documents, bool add_bos,
                     EvaluationText& text) {
  PythonRandom random(0);
  DocumentDraw draw(tokenizer, documents, text.windows.length, add_bos);
  Sha256 digest;
  while (text.windows.count < kC4EvaluationWindows) {
    const DocumentDraw::Document& document = draw.next(random);
    append(text.windows, random_window(document.ids, text.windows.length, random));
    digest.update(document.text);
  }
  text.text_tokens = static_cast<std::int64_t>(text.windows.ids.size());
  text.text_fingerprint = digest.hex();
  text.ids_fingerprint = ids_fingerprint(text.windows.ids);
}

}  // namespace

std::string ids_fingerprint(std::span<const std::int32_t> ids) {
  static_assert(std::endian::native == std::endian::little);
  return sha256_hex(std::as_bytes(ids));
}

Windows calibration_windows(const Tokenizer& tokenizer, const TextSource& source,
                            const CalibrationOptions& options, bool add_bos) {
  check_sizes(options.windows, options.length);
  const TextPart part = read_text_part(source, Part::calibration);
  Windows windows{0, options.length, {}};
  PythonRandom random(options.seed);
  if (part.documents) {
    DocumentDraw draw(tokenizer, *part.documents, options.length, add_bos);
    while (windows.count < options.windows) {
      append(windows, random_window(draw.next(random).ids, options.length, random));
    }
  } else {
    const std::vector<std::int32_t> ids =
        encode_whole(tokenizer, part, add_bos, options.length + 1);
    while (windows.count < options.windows)
      append(windows, random_window(ids, options.length, random));
  }
  return windows;
}

EvaluationText evaluation_windows(const Tokenizer& tokenizer, const TextSource& source,
                                  std::int64_t length, bool add_bos) {
  check_sizes(kC4EvaluationWindows, length);
  const TextPart part = read_text_part(source, Part::evaluation);
  EvaluationText text;
  text.set = source.set;
  text.protocol = part.protocol;
  text.windows.length = length;
  if (part.documents) {
    draw_evaluation(tokenizer, *part.documents, add_bos, text);
    return text;
  }
  std::vector<std::int32_t> ids = encode_whole(tokenizer, part, add_bos, length);
  text.text_tokens = static_cast<std::int64_t>(ids.size());
  text.text_fingerprint = sha256_hex(part.text);
  text.ids_fingerprint = ids_fingerprint(ids);
  text.windows.count =
      std::min(text.text_tokens / length, part.windows_max.value_or(text.text_tokens));
  ids.resize(static_cast<std::size_t>(text.windows.count * length));
  text.windows.ids = std::move(ids);
  return text;
}

}  // namespace bitgrid
