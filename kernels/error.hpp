#pragma once

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace bitgrid {

// What this rank cannot do: a bad file, a matrix that is not positive definite, memory that is not
// there. The message is one line and names the file, key, tensor or layer and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bad usage or bad input, found before any work started (exit code 2).
class InputError : public Error {
 public:
  using Error::Error;
};

// The run as a whole cannot go on (exit code 3): a full disk, a NaN in the model, a lost rank.
class RunError : public Error {
 public:
  using Error::Error;
};

// Runs fn; an Error that escapes is thrown again, of the same kind, with "where: " in front of its
// message. Other exceptions of the standard library, which are bugs of ours, become an Error that
// says so: they are named, and fail no more than what would fail of an Error. std::bad_alloc passes
// as it is.
[[noreturn]] void rethrow_with_context(std::string_view where);
template <class Fn>
auto with_context(std::string_view where, Fn&& fn) -> std::invoke_result_t<Fn> {
  try {
    return fn();
  } catch (const std::exception&) {
    rethrow_with_context(where);
  }
}
// "unexpected error, a bug in bitgrid: map::at"
std::string bug_text(const std::exception& bug);

// Ends the process, or the whole job once an abort handler is set; unwinds nothing. For states that
// cannot be trusted.
[[noreturn]] void fatal(std::string_view message) noexcept;
// handler must not return; dist installs MPI_Abort.
void set_abort_handler(std::function<void()> handler);

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace bitgrid

// Our own invariants, checked in every build.
#define BITGRID_ASSERT(expression) \
  ((expression) ? void(0) : ::bitgrid::assertion_failed(#expression, __FILE__, __LINE__))
