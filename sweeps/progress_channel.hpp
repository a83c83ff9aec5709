#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "dist/comm.hpp"
#include "dist/topology.hpp"
#include "sweeps/progress.hpp"

namespace bitgrid {

enum class ProgressKind : std::int32_t;

// Of a job, for the display: a cell may have several, one for each wave of its question sets.
struct JobTitle {
  std::string cell;
  std::int64_t cell_index = 0;  // among the cells that have jobs
  std::int64_t wave = 0, wave_count = 1;
};

// Word of finished layers and cells, from the first replica of every stage to rank 0, which shows
// it. Nothing here is collective and nobody waits, except in finish().
class ProgressChannel {
 public:
  // display is used on rank 0 only and may be null (--quiet, and all other ranks).
  ProgressChannel(const dist::Comm& world, const dist::Topology& topology, Progress* display,
                  std::vector<JobTitle> jobs, std::int64_t layer_count);
  ~ProgressChannel();

  void layer_done(std::int64_t job, std::int64_t layer, double seconds, const std::string& text);
  void cell_done(std::int64_t job, double seconds, const std::string& text);
  void wave_done(std::int64_t job, double seconds, const std::string& text);  // not the last one
  void poll();    // shows what has arrived; call between layers
  void finish();  // collective: everything said has been shown

 private:
  struct Message;
  struct Incoming;
  struct Outgoing;
  void job_done(ProgressKind kind, std::int64_t job, double seconds, const std::string& text);
  void say(const Message& message);
  void show(const Message& message);

  const dist::Comm& world_;
  bool speaks_;
  Progress* display_;
  std::vector<JobTitle> jobs_;
  std::int64_t layer_count_;
  std::size_t shown_ = 0;
  std::vector<std::unique_ptr<Incoming>> incoming_;
  std::list<std::unique_ptr<Outgoing>> outgoing_;
};

}  // namespace bitgrid
