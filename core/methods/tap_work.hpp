#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/matrix.hpp"

namespace bitgrid {

// Which statistics of a tap's inputs x [tokens, in] a recipe wants.
struct StatisticsNeeds {
  bool gram = false;          // S = XᵀX
  bool sampled_gram = false;  // the same over every kSampleStride-th token, see sample_stride
  bool channels = false;      // Σ|x| and max|x| of every channel
  bool ranges = false;        // min x and max x of every channel
  bool any() const { return gram || sampled_gram || channels || ranges; }
  StatisticsNeeds operator|(const StatisticsNeeds& o) const {
    return {gram || o.gram, sampled_gram || o.sampled_gram, channels || o.channels,
            ranges || o.ranges};
  }
  bool operator==(const StatisticsNeeds&) const = default;
};

// The sample takes tokens 0, stride, 2·stride … of all windows end to end: 512 to 1023 of them.
inline constexpr std::int64_t kSampledTokens = 512;
constexpr std::int64_t sample_stride(std::int64_t tokens) {
  return tokens < kSampledTokens ? 1 : tokens / kSampledTokens;
}

// What all calibration tokens say of one tap. A statistic that nobody asked for is empty.
struct Statistics {
  Matrix<double> gram;          // [in, in], lower triangle
  Matrix<double> sampled_gram;  // [in, in], lower triangle
  std::vector<double> abs_sum;  // [in]
  std::vector<float> abs_max;   // [in]
  std::vector<float> lowest;    // [in], of x
  std::vector<float> highest;   // [in]
  std::int64_t tokens = 0;      // rows of X
  std::int64_t sampled_tokens = 0;
};

// What one rank makes for all, as plain numbers, so that it can be sent.
struct Shared {
  std::vector<Matrix<float>> matrices;
  std::vector<std::vector<std::int32_t>> indices;
  std::vector<std::vector<double>> numbers;
};

// Rows of one linear that are computed apart from each other. Results lie in planes, one run of
// row_bytes for each row.
struct RowPlane {
  std::byte* data = nullptr;
  std::int64_t row_bytes = 0;

  template <class T>
  static RowPlane of(Matrix<T>& matrix) {
    return {reinterpret_cast<std::byte*>(matrix.data()),
            matrix.cols() * static_cast<std::int64_t>(sizeof(T))};
  }
};
struct RowBlock {
  std::int64_t rows = 0;
  std::vector<RowPlane> planes;
  // Computes rows [first, first + count) of all planes. What a row becomes may depend on the tile
  // it is in, for tiles are a function of the shapes alone.
  std::function<void(std::int64_t first, std::int64_t count)> solve;
  bool whole = false;  // rows depend on each other: one call with all of them, from which loops
                       // over threads may start
};

// The inputs of the linears behind one tap, and how work on these linears is spread. A method is
// written against this as if it were alone: whoever runs it, on one thread or on many ranks, calls
// it with the same arguments everywhere, and every call below is made by all of them in the same
// order and returns the same bytes to all. Failures inside the functions that are handed over end
// the cell on every rank.
class TapWork {
 public:
  virtual ~TapWork() = default;

  virtual std::int64_t tokens() const = 0;
  virtual const std::vector<double>& abs_sum() const = 0;  // [in] Σ|x|
  virtual const std::vector<float>& abs_max() const = 0;   // [in] max|x|

  // What `make` returns, called once, where the complete statistics are. Cells that share this
  // tap's inputs share it, too: the key must name everything that it depends on beside the
  // statistics.
  virtual const Shared& once(const std::string& key,
                             const std::function<Shared(const Statistics&)>& make) = 0;

  // Numbers that cells which share this tap's inputs keep for each other: empty until one of them
  // leaves some, the same everywhere. The key is as that of `once`.
  virtual std::vector<double>& kept(const std::string& key) = 0;

  // Σ over all calibration windows of what `add` adds to sums [size], zero at first: in fp64,
  // inside a shard in the order of the windows, over shards in their tree. `add` sees the tap's
  // rows of one window, x [length, in], and is called from many threads.
  virtual std::vector<double> sum_windows(
      std::int64_t size, const std::function<void(std::int64_t window, MatrixView<const float> x,
                                                  std::span<double> sums)>& add) = 0;

  // Solves the rows of all blocks; afterwards all rows of all planes are there. Tiles have
  // solve_tile_rows(all rows) rows, a multiple of 16, and none spans two blocks. Blocks of the same
  // sizes are spread in the same way each time: what solve leaves behind of its rows, outside the
  // planes, is there when they are solved again, and is gathered as soon as a plane names it.
  virtual void solve_rows(std::span<RowBlock> blocks) = 0;
};

// Rows per tile of n rows behind one tap: a function of n alone. About a sixteenth, so that ranks
// and threads get equal shares of small linears, too; at most kGptqTileRows.
std::int64_t solve_tile_rows(std::int64_t rows);

// S in fp32, [in, in] lower triangle, shared by everybody who asks. Throws Error naming the first
// element that is not finite, or too large for fp32.
const Matrix<float>& shared_gram(TapWork& work);

}  // namespace bitgrid
