#include "results/scores.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/harness.hpp"
#include "results/rows.hpp"
#include "results/task_scores.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

std::vector<bool> chosen_rows(const std::vector<Row>& rows, const std::string& patterns) {
  std::vector<bool> chosen(rows.size(), patterns.empty());
  for (std::size_t begin = 0; !patterns.empty() && begin <= patterns.size();) {
    const std::size_t end = std::min(patterns.find(',', begin), patterns.size());
    const std::string pattern = patterns.substr(begin, end - begin);
    begin = end + 1;
    bool any = false;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (fnmatch(pattern.c_str(), rows[i].entry.name.c_str(), 0) == 0) chosen[i] = any = true;
    if (!any) throw InputError(fmt::format("--cells: '{}' matches no cell", pattern));
  }
  return chosen;
}

// Under a temporary name first: a file that is there is whole.
void write_file(const std::string& file, const std::function<void(std::ostream&)>& content) {
  const std::string temporary = temporary_name(file);
  std::error_code error;
  std::ofstream out(temporary, std::ios::binary);
  if (out) content(out);
  out.close();
  if (out) fs::rename(temporary, file, error);
  if (out && !error) return;
  fs::remove(temporary, error);
  throw RunError("cannot write " + file);
}

// Whether the rows are those that were asked.
std::string row_fault(const TaskRecord& record, const Task& task) {
  bool same = task.documents().size() == record.documents.size() &&
              task.subsets().size() == record.subsets.size();
  for (std::size_t i = 0; same && i < record.documents.size(); ++i) {
    const TaskDocument& d = task.documents()[i];
    same = record.documents[i] == TaskRecord::Document{d.subset, d.row, d.gold, d.option_count};
  }
  for (std::size_t i = 0; same && i < record.subsets.size(); ++i)
    same = task.subsets()[i].name == record.subsets[i];
  return same && text_digest(task) == record.digests.json ? "" : "they are not those of the run";
}

class Writer {
 public:
  Writer(const ScoresRequest& request, const RunRecord& run) : request_(request), run_(run) {}

  void write(const Row& row) {
    const std::string& name = row.entry.name;
    if (row.state != Row::State::finished)
      return remark(fmt::format("{}: {}, left out", name, row_state_name(row.state)));
    const std::vector<const TaskRecord*> tasks = listed_tasks(run_, *row.record);
    if (tasks.size() < run_.tasks.size())
      remark(fmt::format("{}: {} of {} question sets were asked", name, tasks.size(),
                         run_.tasks.size()));
    if (tasks.empty()) return;
    const std::string folder =
        request_.out + "/" + harness_folder(harness_model_name(run_, *row.record));
    make_directories(folder);
    const std::string time = harness_time(row.record->finished_s);
    write(fmt::format("{}/results_{}.json", folder, time),
          [&](std::ostream& out) { out << harness_results(run_, *row.record); });
    if (!request_.log_documents) return;
    for (const TaskRecord* task : tasks) write_samples(*task, name, folder, time);
  }
  ScoresWritten take() { return std::move(written_); }

 private:
  void remark(const std::string& line) { written_.remarks.push_back(line); }
  void write(const std::string& file, const std::function<void(std::ostream&)>& content) {
    write_file(file, content);
    written_.files.push_back(file);
  }

  void write_samples(const TaskRecord& task, const std::string& cell, const std::string& folder,
                     const std::string& time) {
    if (const std::string fault = task_length_fault(task); !fault.empty())
      throw Error(fmt::format("{}: task {}: {}", cell, task.task, fault));
    const Task* rows = rows_of(task);
    for (std::size_t s = 0; s < task.subsets.size(); ++s) {
      const auto subset = static_cast<std::int32_t>(s);
      write(fmt::format("{}/samples_{}_{}.jsonl", folder,
                        harness_folder(harness_task_name(task, subset)), time),
            [&](std::ostream& out) { harness_samples(out, task, subset, rows); });
    }
  }

  // Read once for all cells; what cannot be had is said once.
  const Task* rows_of(const TaskRecord& record) {
    const auto [it, fresh] = rows_.try_emplace(record.fingerprint);
    if (fresh) {
      std::string fault;
      try {
        const TaskDefinition& definition = bitgrid::find_task(record.task, request_.own_tasks);
        it->second = Task::read(definition, request_.tasks_dir,
                                {record.profile, record.shots, record.limit});
        fault = row_fault(record, *it->second);
      } catch (const Error& e) {
        fault = e.what();
      }
      if (!fault.empty()) {
        it->second.reset();
        remark(fmt::format("{}: samples without texts, for its rows cannot be used: {}",
                           record.task, fault));
      }
    }
    return it->second ? &*it->second : nullptr;
  }

  const ScoresRequest& request_;
  const RunRecord& run_;
  ScoresWritten written_;
  std::map<std::string, std::optional<Task>> rows_;  // by fingerprint
};

}  // namespace

ScoresWritten write_scores(const Reader& reader, const ScoresRequest& request) {
  const Rows table = collect_rows(reader);
  if (table.run.tasks.empty())
    throw InputError(reader.path() + ": its sweep asks no question sets ([evaluation] tasks)");
  const std::vector<bool> chosen = chosen_rows(table.rows, request.cells);
  Writer writer(request, table.run);
  for (std::size_t i = 0; i < table.rows.size(); ++i)
    if (chosen[i]) writer.write(table.rows[i]);
  return writer.take();
}

}  // namespace bitgrid::results
