#pragma once

#include <optional>
#include <string>

#include "core/text/datasets.hpp"
#include "core/text/text_file.hpp"

namespace bitgrid {

enum class Part { calibration, evaluation };

// How a set's part is read: as one text, or as documents of which some are drawn.
struct TextPart {
  std::string file;                    // the one that was read, for messages
  std::string protocol;                // as in EvaluationText
  std::string text;                    // of a set that is tokenized once
  std::optional<JsonLines> documents;  // of a set whose documents are drawn; their field is "text"
  std::optional<std::int64_t> windows_max;
};

// Reads the files of a set's part and joins its rows as the study's scripts do. Throws InputError.
TextPart read_text_part(const TextSource& source, Part part);

}  // namespace bitgrid
