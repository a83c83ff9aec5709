// A program that ends badly, in the way that its first argument names. check_ending.cmake runs it.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "dist/comm.hpp"
#include "dist/progress.hpp"
#include "dist/tree_reduce.hpp"
#include "kernels/error.hpp"

using namespace bitgrid;
using namespace bitgrid::dist;

namespace {

struct WaitsForTheOthers {  // what a destructor must not do, and what no one may get to
  const Comm& comm;
  ~WaitsForTheOthers() { comm.barrier("a destructor"); }
};

void run(std::string_view how, const Comm& world, bool is_last) {
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::seconds(60)); };
  if (how == "deadline-barrier") {
    if (is_last) sleep();
    world.barrier("a barrier");
  } else if (how == "deadline-receive") {
    if (is_last) sleep();
    std::vector<std::byte> bytes(1 << 20);
    world.receive(bytes, world.size() - 1, 0, "hidden states");
  } else if (how == "deadline-send") {  // too long to leave before somebody takes it
    if (is_last) sleep();
    const std::vector<std::byte> bytes(1 << 20);
    world.send(bytes, world.size() - 1, 0, "hidden states");
  } else if (how == "deadline-ticks") {  // three ticks keep the wait alive, then nothing comes
    if (is_last) {
      for (int layer = 0; layer < 3; ++layer) {
        std::this_thread::sleep_for(std::chrono::milliseconds(700));
        tick(world, 0);
      }
      std::puts("ticked three times");
      std::fflush(stdout);
      sleep();
    }
    std::byte byte;
    receive_with_ticks(world, {&byte, 1}, world.size() - 1, 0, -1, "hidden states");
  } else if (how == "throw" || how == "throw-input") {
    WaitsForTheOthers guard{world};
    if (is_last && how == "throw") throw RunError("layer 17:\nthe disk is full");
    if (is_last) throw InputError("no such file");
    sleep();
  } else if (how == "throw-thread") {
    if (is_last) std::thread([] { throw std::logic_error("a worker's mistake"); }).join();
    sleep();
  } else if (how == "assert") {
    if (is_last) BITGRID_ASSERT(1 + 1 == 3);
    sleep();
  } else if (how == "killed") {
    if (is_last) std::raise(SIGKILL);
    world.barrier("a barrier");
  } else if (how == "short-message") {
    std::byte bytes[8] = {};
    if (is_last) {
      world.send({bytes, 4}, 0, 0, "four bytes");
    } else {
      world.receive({bytes, 8}, world.size() - 1, 0, "eight bytes");
    }
    sleep();
  }
}

}  // namespace

int main(int argc, char** argv) {
  init(&argc, &argv);
  if (argc < 2) return 2;
  const std::string_view how = argv[1];
  const bool meets_deadline = how.starts_with("deadline");
  const Comm world = Comm::world(std::chrono::seconds(meets_deadline ? 1 : 60));
  run(how, world, world.rank() == world.size() - 1);
  finalize();
  return 0;
}
