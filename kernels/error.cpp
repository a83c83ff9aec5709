#include "kernels/error.hpp"

#include <cstdio>
#include <cstdlib>
#include <new>

namespace bitgrid {
namespace {
std::function<void()>& abort_handler() {
  static std::function<void()> handler;
  return handler;
}
}  // namespace

void rethrow_with_context(std::string_view where) {
  const std::string prefix = where.empty() ? std::string() : std::string(where) + ": ";
  try {
    throw;
  } catch (const InputError& e) {
    throw InputError(prefix + e.what());
  } catch (const RunError& e) {
    throw RunError(prefix + e.what());
  } catch (const Error& e) {
    throw Error(prefix + e.what());
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    throw Error(prefix + bug_text(e));
  }
}

std::string bug_text(const std::exception& bug) {
  return std::string("unexpected error, a bug in bitgrid: ") + bug.what();
}

void set_abort_handler(std::function<void()> handler) { abort_handler() = std::move(handler); }

void fatal(std::string_view message) noexcept {
  std::fprintf(stderr, "bitgrid: %.*s\n", static_cast<int>(message.size()), message.data());
  std::fflush(stderr);
  if (abort_handler()) abort_handler()();
  std::_Exit(3);
}

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "bitgrid: %s:%d: assertion failed: %s\n", file, line, expression);
  fatal("this is a bug in bitgrid; please report it with the lines above");
}

}  // namespace bitgrid
