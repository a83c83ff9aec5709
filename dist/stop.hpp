#pragma once

#include <csignal>
#include <vector>

#include "dist/comm.hpp"

namespace bitgrid::dist {

// SIGTERM, SIGUSR1 and SIGINT ask the run to end at the next layer; a second SIGINT ends the
// process at once. The request is sticky, and reaches every rank whichever one got the signal:
// requested() also looks for word from the others, and the first to know tells them. Ranks learn of
// it at different layers: where they must act alike, they agree.
class StopRequest {
 public:
  explicit StopRequest(const Comm& world);  // collective; installs the handlers; one at a time
  ~StopRequest();                           // puts the handlers that were there back
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;
  bool requested();  // not collective; cheap
  void raise();      // as if a signal had come: this rank has found that the run cannot go on
  void close();      // collective: takes in what is still on its way

 private:
  void take_word();  // never waits
  void tell();

  Comm channel_;
  std::vector<bool> heard_;  // from which ranks
  bool told_ = false;
  bool closed_ = false;
  bool requested_ = false;
  struct sigaction term_before_ {};
  struct sigaction usr1_before_ {};
  struct sigaction int_before_ {};
};

}  // namespace bitgrid::dist
