#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/evaluation/task_definition.hpp"

namespace bitgrid {

// What differs between the programs whose numbers one may want to stand beside.
struct EvaluationProfile {
  std::string name;
  bool add_bos = false;         // in front of every context that does not begin with it
  bool eos_when_empty = false;  // an empty context is EOS rather than BOS
  bool encode_apart = false;    // context and continuation are tokenized separately
  bool shuffled = false;        // documents in the order of Random(42).shuffle, per subset
  bool operator==(const EvaluationProfile&) const = default;
};
// study, lmeh-0.4 (the default), lmeh-0.5.
std::span<const EvaluationProfile> evaluation_profiles();
// Throws InputError with the nearest name.
const EvaluationProfile& find_profile(std::string_view name);

struct TaskSettings {
  std::string profile = "lmeh-0.4";
  std::optional<std::int64_t> shots;  // else the definition's
  std::int64_t limit = 0;             // only the first rows of every subset; 0: all
};

struct TaskSubset {
  std::string name;  // of the subject; for a set of one file the task's name
  std::string file;  // as opened
  std::int64_t first_document = 0, document_count = 0;
};

struct TaskDocument {
  std::int32_t subset = 0;  // index of Task::subsets()
  std::int32_t row = 0;     // of its file, from 0, blank lines and headers not counted
  std::int32_t line = 0;    // of its file, from 1: for messages
  std::int32_t gold = 0;    // the right option
  std::int32_t option_count = 0;
};

// One document's questions to the model, in the order of options.
struct DocumentTexts {
  // One context, or one per option where the set asks for different contexts.
  std::vector<std::string> contexts;
  std::vector<std::string> continuations;       // separator included
  std::vector<std::int32_t> option_characters;  // code points, separator not counted
  std::string_view context(std::size_t option) const {
    return contexts[contexts.size() == 1 ? 0 : option];
  }
};

// A set's rows in memory, ready to be asked: documents in request order (file order, subsets in
// alphabetical order; shuffled in profile study). Texts are made per document, on demand: MMLU's
// would take 130 MB.
class Task {
 public:
  // Throws InputError "FILE:LINE: …" for rows that are malformed, lack a field or have an answer
  // out of range, and for a pool of examples that is too small.
  static Task read(const TaskDefinition& definition, const std::string& tasks_dir,
                   const TaskSettings& settings);
  Task(Task&&) noexcept;
  Task& operator=(Task&&) noexcept;
  ~Task();

  const TaskDefinition& definition() const;
  const EvaluationProfile& profile() const;
  std::int64_t shots() const;
  std::span<const TaskSubset> subsets() const;
  std::span<const TaskDocument> documents() const;
  std::int64_t request_count() const;  // Σ option_count
  // The option that the k-th request of a document asks for: k, or counted from the last one.
  std::int32_t option_at(const TaskDocument& document, std::int32_t k) const;
  // "FILE:LINE", for messages.
  std::string place_of(std::int64_t document) const;

  DocumentTexts texts(std::int64_t document) const;  // thread-safe
  // The part of every context of a subset that does not depend on the document: the description
  // and, where the examples are always the same, these. A prefix of every context of it.
  const std::string& common_prefix(std::int64_t subset) const;

 private:
  struct State;
  explicit Task(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bitgrid
