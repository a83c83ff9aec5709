#include <fmt/format.h>

#include "kernels/error.hpp"
#include "results/fields.hpp"
#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

template <class Io, class Task>
void task_fields(Io& io, Task& t) {
  io("task", t.task);
  io("version", t.version);
  io("profile", t.profile);
  io("shots", t.shots);
  io("limit", t.limit);
  io("max_length", t.max_length);
  io("fingerprint", t.fingerprint);
  io("requests", t.digests.requests);
  io("context_tokens", t.digests.context_tokens);
  io("continuation_tokens", t.digests.continuation_tokens);
  io("longest", t.digests.longest);
  io("text_digest", t.digests.json);
  io("token_digest", t.digests.tokens);
  io("token_digest_with_bos", t.digests.tokens_with_bos);
  io.column("subsets", t.subsets);
}

// Each list of records as columns. fields: the columns with their names; zip: each column with the
// record's field.

struct DocumentColumns {
  std::vector<std::int32_t> subset, row, gold, options;

  template <class Io, class Columns>
  static void fields(Io& io, Columns& c) {
    io.column("document_subset", c.subset);
    io.column("document_row", c.row);
    io.column("gold", c.gold);
    io.column("options", c.options);
  }
  template <class Columns, class Document, class Visit>
  static void zip(Columns& c, Document& d, Visit&& visit) {
    visit(c.subset, d.subset);
    visit(c.row, d.row);
    visit(c.gold, d.gold);
    visit(c.options, d.options);
  }
};

struct ScoreColumns {
  std::vector<double> log_likelihood;
  std::vector<std::uint8_t> greedy;

  template <class Io, class Columns>
  static void fields(Io& io, Columns& c) {
    io.column("log_likelihood", c.log_likelihood);
    io.column("greedy", c.greedy);
  }
  template <class Columns, class Score, class Visit>
  static void zip(Columns& c, Score& s, Visit&& visit) {
    visit(c.log_likelihood, s.log_likelihood);
    visit(c.greedy, s.greedy);
  }
};

struct OutcomeColumns {
  std::vector<std::int32_t> choice, choice_norm;
  std::vector<std::uint8_t> correct, correct_norm;

  template <class Io, class Columns>
  static void fields(Io& io, Columns& c) {
    io.column("choice", c.choice);
    io.column("choice_norm", c.choice_norm);
    io.column("correct", c.correct);
    io.column("correct_norm", c.correct_norm);
  }
  template <class Columns, class Outcome, class Visit>
  static void zip(Columns& c, Outcome& o, Visit&& visit) {
    visit(c.choice, o.choice);
    visit(c.choice_norm, o.choice_norm);
    visit(c.correct, o.correct);
    visit(c.correct_norm, o.correct_norm);
  }
};

struct MetricColumns {
  std::vector<std::string> scope, metric;
  std::vector<double> value, error;
  std::vector<std::int64_t> documents;

  template <class Io, class Columns>
  static void fields(Io& io, Columns& c) {
    io.column("scope", c.scope);
    io.column("metric", c.metric);
    io.column("value", c.value);
    io.column("error", c.error);
    io.column("documents", c.documents);
  }
  template <class Columns, class Metric, class Visit>
  static void zip(Columns& c, Metric& m, Visit&& visit) {
    visit(c.scope, m.scope);
    visit(c.metric, m.metric);
    visit(c.value, m.value);
    visit(c.error, m.error);
    visit(c.documents, m.documents);
  }
};

template <class Columns, class Record>
void write_list(Node& node, const std::vector<Record>& records) {
  Columns columns;
  for (const Record& record : records)
    Columns::zip(columns, record, [](auto& column, const auto& field) { column.push_back(field); });
  Writer io{node};
  Columns::fields(io, columns);
}

// first: a column of the list, which says how long all of them must be.
template <class Columns, class Record, class Column>
void load_list(const Node& node, const std::string& where, Column Columns::*first,
               std::vector<Record>& records) {
  Columns columns;
  Loader io{node, where};
  Columns::fields(io, columns);
  Record unused;
  Columns::zip(columns, unused, [&](const auto& column, auto&) {
    if (column.size() != (columns.*first).size())
      throw Error(where + ": columns of one list differ in length");
  });
  records.resize((columns.*first).size());
  for (std::size_t i = 0; i < records.size(); ++i)
    Columns::zip(columns, records[i], [&](const auto& column, auto& field) {
      field = static_cast<std::remove_reference_t<decltype(field)>>(column[i]);
    });
}

}  // namespace

Node task_node(const TaskRecord& task) {
  Node node;
  Writer io{node};
  task_fields(io, task);
  write_list<DocumentColumns>(node, task.documents);
  write_list<ScoreColumns>(node, task.scores);
  write_list<OutcomeColumns>(node, task.outcomes);
  write_list<MetricColumns>(node.groups["metrics"], task.metrics);
  return node;
}

TaskRecord task_of(const Node& node, const std::string& where) {
  TaskRecord task;
  Loader io{node, where};
  task_fields(io, task);
  load_list(node, where, &DocumentColumns::subset, task.documents);
  load_list(node, where, &ScoreColumns::log_likelihood, task.scores);
  load_list(node, where, &OutcomeColumns::choice, task.outcomes);
  load_list(io.group("metrics"), where + ": metrics", &MetricColumns::value, task.metrics);
  return task;
}

}  // namespace bitgrid::results
