#include <string>

#include "sweeps/sweep.hpp"
#include "tests/fuzz/fuzz.hpp"

// The resolved text of an accepted sweep is accepted and resolves to itself.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bitgrid;
  std::string resolved;
  const bool good = fuzz::accepted([&] {
    resolved = sweep_text(parse_sweep(std::string(fuzz::text(data, size)), "fuzz.toml", {}));
  });
  if (!good) return 0;
  std::string again;
  if (!fuzz::accepted([&] { again = sweep_text(parse_sweep(resolved, "fuzz.toml", {})); }))
    fuzz::fail("the resolved text is refused");
  if (again != resolved) fuzz::fail("the resolved text does not resolve to itself");
  return 0;
}
