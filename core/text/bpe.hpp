#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/text/tokenizer_file.hpp"

namespace bitgrid {

// Which merge joins two neighbours: an open-addressing table from (left, right) to the merge's
// place in the list.
class MergeTable {
 public:
  explicit MergeTable(std::vector<Merge> merges);
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t find(std::int32_t left, std::int32_t right) const;  // its rank, or kNone
  const Merge& operator[](std::uint32_t rank) const { return merges_[rank]; }

 private:
  std::size_t slot(std::uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15) >> shift_; }
  std::vector<Merge> merges_;
  std::vector<std::uint64_t> pairs_;
  std::vector<std::uint32_t> ranks_;
  int shift_ = 0;
};

// Working memory of one encoding thread: buffers, and a cache of the pieces seen last. The cache is
// a fixed table in which a newer piece replaces an older one (1.8 MB); it changes the time that
// encoding takes, never the ids.
struct BpeScratch {
  struct Node {
    std::int32_t id, previous, next;
  };
  struct CachedPiece {
    static constexpr std::size_t kBytesMax = 32, kIdsMax = 18;
    std::uint8_t bytes = 0, count = 0;  // bytes = 0: free
    char text[kBytesMax];
    std::int32_t ids[kIdsMax];
  };
  static constexpr std::size_t kCachedPieces = std::size_t{1} << 14;
  BpeScratch() : cache(kCachedPieces) {}

  std::vector<Node> nodes;
  std::vector<std::uint64_t> heap;
  std::vector<CachedPiece> cache;
};

// Byte-pair encoding of single pieces.
class Bpe {
 public:
  // vocab by id, as bytes, empty where an id is not an ordinary token's; with every single byte.
  Bpe(std::vector<std::string> vocab, std::vector<Merge> merges, bool whole_pieces);
  Bpe(const Bpe&) = delete;  // ids_ points into vocab_
  Bpe& operator=(const Bpe&) = delete;

  // Appends the ids of a piece of k bytes, 0 < k < 2^31, in O(k log k).
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<std::int32_t>& ids) const;
  const std::vector<std::string>& vocab() const { return vocab_; }

 private:
  void encode_anew(std::string_view piece, BpeScratch& scratch,
                   std::vector<std::int32_t>& ids) const;

  std::vector<std::string> vocab_;
  std::unordered_map<std::string_view, std::int32_t> ids_;
  std::int32_t byte_ids_[256];
  MergeTable merges_;
  bool whole_pieces_;
};

// Lends each encoding call a scratch of its own; as many are kept as calls ever ran at once.
class BpeScratchPool {
 public:
  class Loan {
   public:
    explicit Loan(BpeScratchPool& pool);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    BpeScratch& operator*() { return *scratch_; }

   private:
    BpeScratchPool& pool_;
    std::unique_ptr<BpeScratch> scratch_;
  };

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeScratch>> free_;
};

}  // namespace bitgrid
