// The main of tests that run on several ranks: only rank 0 prints, failures of other ranks are
// gathered and printed there, and every rank returns the worst exit code.
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "dist/launch.hpp"

namespace {

class FailureNotes : public testing::EmptyTestEventListener {
 public:
  const std::string& text() const { return text_; }

 private:
  void OnTestStart(const testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + "." + test.name();
  }
  // Called with gtest's lock held: asking gtest for the running test here would wait for ever.
  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (!part.failed()) return;
    text_ += test_ + " " + (part.file_name() ? part.file_name() : "?") + ":" +
             std::to_string(part.line_number()) + ": " + part.message() + "\n";
  }
  std::string test_;
  std::string text_;
};

void print_failures_of_others(const std::string& own) {
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int tag = 7;
  if (rank != 0) {
    MPI_Send(own.data(), static_cast<int>(own.size()), MPI_CHAR, 0, tag, MPI_COMM_WORLD);
    return;
  }
  for (int from = 1; from < size; ++from) {
    MPI_Status status;
    int length = 0;
    MPI_Probe(from, tag, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string text(length, '\0');
    MPI_Recv(text.data(), length, MPI_CHAR, from, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (!text.empty()) std::printf("[  FAILED  ] on rank %d:\n%s", from, text.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  bitgrid::dist::init(&argc, &argv);
  auto* notes = new FailureNotes;  // gtest owns it
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  listeners.Append(notes);
  int code = 0;
  if (bitgrid::dist::mpi_running()) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank != 0) delete listeners.Release(listeners.default_result_printer());
    code = RUN_ALL_TESTS();
    print_failures_of_others(notes->text());
    MPI_Allreduce(MPI_IN_PLACE, &code, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  } else {
    code = RUN_ALL_TESTS();
  }
  bitgrid::dist::finalize();
  return code;
}
