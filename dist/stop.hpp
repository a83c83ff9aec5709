#pragma once

#include "dist/comm.hpp"

namespace bitgrid::dist {

// SIGTERM and SIGUSR1 ask the run to end at the next layer. The request is sticky, and reaches every rank whichever one
// got the signal: requested() also looks for word from the others, and the first to know tells them.
class StopRequest {
 public:
  explicit StopRequest(const Comm& world);  // installs the handlers; one at a time
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  bool requested();  // not collective; cheap
  void close();      // collective: takes in what is still on its way

 private:
  const Comm* world_;
  Comm channel_;
  bool told_ = false;
};

}  // namespace bitgrid::dist
