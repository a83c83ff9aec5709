#include <string>

#include "core/model/llama_config.hpp"
#include "tests/fuzz/fuzz.hpp"

// An accepted configuration has sizes that the code may multiply.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bitgrid;
  fuzz::accepted([&] {
    const LlamaConfig c = parse_llama_config(fuzz::text(data, size), "config.json");
    for (const std::int64_t n :
         {c.hidden_size, c.intermediate_size, c.layer_count, c.head_count, c.kv_head_count,
          c.head_size, c.vocab_size, c.max_position_embeddings, c.query_size(), c.kv_size()})
      if (n < 1 || n > INT32_MAX) fuzz::fail("a size is out of range");
    if (c.head_count % c.kv_head_count != 0) fuzz::fail("kv heads do not divide heads");
    if (c.head_size % 2 != 0) fuzz::fail("the head size is odd");
    if (!(c.rms_norm_eps > 0 && c.rope_theta > 0)) fuzz::fail("epsilon or theta is not positive");
    if (c.rope_scaled && !(c.rope_scaling.factor >= 1 && c.rope_scaling.low_freq_factor > 0 &&
                           c.rope_scaling.high_freq_factor > c.rope_scaling.low_freq_factor))
      fuzz::fail("the rope scaling is out of range");
  });
  return 0;
}
