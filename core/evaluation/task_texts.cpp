#include "core/evaluation/task_texts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/text/json_input.hpp"
#include "core/text/python_case.hpp"
#include "core/text/python_random.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::vector<TextFilter> filters_of(const std::vector<std::string>& names) {
  std::vector<TextFilter> filters;
  for (const std::string& name : names) filters.push_back(find_filter(name));
  return filters;
}

// A number of digits alone, or −1.
std::int64_t number_in(std::string_view text) {
  std::int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && number >= 0 ? number : -1;
}

// The option that an answer names, or −1, and what was expected.
struct Named {
  std::int64_t option = -1;
  std::string expected;
};

Named named_option(AnswerKind kind, const std::string& answer,
                   const std::vector<std::string>& labels, std::int64_t count) {
  switch (kind) {
    case AnswerKind::index: {
      if (answer == "False" || answer == "True") return {answer == "True" ? 1 : 0, "an option"};
      return {number_in(answer), fmt::format("0 to {}", count - 1)};
    }
    case AnswerKind::one_based: {
      const std::int64_t number = number_in(answer);
      return {number > 0 ? number - 1 : -1, fmt::format("1 to {}", count)};
    }
    case AnswerKind::letter: {
      const bool letter = answer.size() == 1 && answer[0] >= 'A' && answer[0] <= 'Z';
      const auto last = static_cast<char>('A' + std::min<std::int64_t>(count - 1, 25));
      return {letter ? answer[0] - 'A' : number_in(answer),
              fmt::format("A to {} or 0 to {}", last, count - 1)};
    }
    case AnswerKind::label: {
      const auto found = std::find(labels.begin(), labels.end(), answer);
      return {found == labels.end() ? -1 : found - labels.begin(),
              fmt::format("one of the labels {}", fmt::join(labels, ", "))};
    }
  }
  return {};
}

}  // namespace

RowTexts::RowTexts(const TaskDefinition& task)
    : task_(task),
      description_(task.description, slots_),
      context_(task.context, slots_),
      continuation_(task.continuation, slots_),
      answer_(task.answer, slots_),
      option_filters_(filters_of(task.option_filters)),
      context_per_option_(context_.uses(FieldSlots::kOption)) {
  for (const DerivedField& field : task.derived) {
    derived_slots_.push_back(slots_.slot_of(field.name));
    derived_.emplace_back(field.text, slots_);
    derived_filters_.push_back(filters_of(field.filters));
  }
  if (!task.options_field.empty()) options_slot_ = slots_.slot_of(task.options_field);
  if (!task.labels_field.empty()) labels_slot_ = slots_.slot_of(task.labels_field);
}

void RowTexts::derive(TaskRow& row) const {
  for (std::size_t i = 0; i < derived_.size(); ++i) {
    FieldValue& value = row.values[static_cast<std::size_t>(derived_slots_[i])];
    value.text = apply_filters(derived_filters_[i], derived_[i].render(row.values, slots_));
  }
}

std::vector<std::string> RowTexts::options(const TaskRow& row) const {
  if (options_slot_ < 0) return task_.options;
  const FieldValue& value = row.values[static_cast<std::size_t>(options_slot_)];
  if (!value.is_list)
    throw InputError(fmt::format("\"{}\" must be a list, the options", slots_.name(options_slot_)));
  if (value.items.size() < 2)
    throw InputError(
        fmt::format("the row has {} options, expected at least two", value.items.size()));
  std::vector<std::string> options;
  for (const std::string& item : value.items)
    options.push_back(apply_filters(option_filters_, item));
  return options;
}

std::int32_t RowTexts::gold(const TaskRow& row, std::size_t option_count) const {
  static const std::vector<std::string> kNone;
  const std::vector<std::string>& labels =
      labels_slot_ < 0 ? kNone : row.values[static_cast<std::size_t>(labels_slot_)].items;
  if (labels_slot_ >= 0 && labels.size() != option_count)
    throw InputError(
        fmt::format("the row has {} labels for {} options", labels.size(), option_count));
  const std::string answer = answer_.render(row.values, slots_);
  const auto count = static_cast<std::int64_t>(option_count);
  const Named named = named_option(task_.answer_kind, answer, labels, count);
  if (named.option < 0 || named.option >= count)
    throw InputError(fmt::format("the answer ({}) is {}, expected {}", task_.answer,
                                 shown_text(answer), named.expected));
  return static_cast<std::int32_t>(named.option);
}

std::string RowTexts::description(const std::string& subset) const {
  std::vector<FieldValue> values(slots_.size());
  values[FieldSlots::kSubset].text = subset;
  return description_.render(values, slots_);
}

DocumentTexts RowTexts::question(const TaskRow& row) const {
  DocumentTexts texts;
  std::vector<FieldValue> values = row.values;
  for (const std::string& option : options(row)) {
    values[FieldSlots::kOption].text = option;
    if (context_per_option_ || texts.contexts.empty())
      texts.contexts.push_back(context_.render(values, slots_));
    const std::string continuation = continuation_.render(values, slots_);
    texts.option_characters.push_back(static_cast<std::int32_t>(count_code_points(continuation)));
    texts.continuations.push_back(task_.separator + continuation);
  }
  return texts;
}

std::string RowTexts::example(const TaskRow& row) const {
  const DocumentTexts texts = question(row);
  const auto gold_option = static_cast<std::size_t>(gold(row, texts.continuations.size()));
  const std::string context(texts.context(gold_option));
  // The harness takes such a set's target for a text, and leaves out what belongs to an empty one.
  if (context_per_option_ && texts.option_characters[gold_option] == 0) return context;
  return context + texts.continuations[gold_option] + task_.shot_separator;
}

std::vector<std::vector<std::int32_t>> draw_shots(const TaskRows& pool,
                                                  const std::vector<const TaskRow*>& own,
                                                  std::int64_t shots, bool without_own) {
  constexpr std::int64_t kSeed = 1234;
  PythonRandom random(kSeed);
  const auto rows = static_cast<std::int64_t>(pool.rows.size());
  const std::int64_t drawn = shots + (without_own ? 1 : 0);
  const auto too_few = [&](std::int64_t found, std::int64_t needed) {
    throw InputError(fmt::format("{}: {} rows to draw examples from, but {} shots need {}",
                                 pool.path, found, shots, needed));
  };
  if (rows < drawn) too_few(rows, drawn);
  std::vector<std::vector<std::int32_t>> all;
  all.reserve(own.size());
  for (const TaskRow* document : own) {
    const auto is_own = [&](std::int64_t row) {
      return without_own && pool.rows[static_cast<std::size_t>(row)].identity == document->identity;
    };
    std::vector<std::int32_t>& chosen = all.emplace_back();
    for (const std::int64_t row : random.sample(rows, drawn)) {
      if (!is_own(row) && static_cast<std::int64_t>(chosen.size()) < shots)
        chosen.push_back(static_cast<std::int32_t>(row));
    }
    if (static_cast<std::int64_t>(chosen.size()) == shots) continue;
    // Several rows equal to the document were drawn: a second draw, from all others.
    std::vector<std::int64_t> others(static_cast<std::size_t>(rows));
    std::iota(others.begin(), others.end(), 0);
    std::erase_if(others, is_own);
    const auto left = static_cast<std::int64_t>(others.size());
    if (left < shots) too_few(left, shots);
    chosen.clear();
    for (const std::int64_t i : random.sample(left, shots))
      chosen.push_back(static_cast<std::int32_t>(others[static_cast<std::size_t>(i)]));
  }
  return all;
}

}  // namespace bitgrid
