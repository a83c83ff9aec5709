#include "core/text/bpe.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr std::uint64_t kFree = ~std::uint64_t{0};  // no pair: ids are below 2^31

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

std::uint64_t hash_bytes(std::string_view text) {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15;
  std::uint64_t hash = text.size() * kFactor;
  for (std::size_t i = 0; i < text.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, std::min<std::size_t>(8, text.size() - i));
    hash = (std::rotl(hash, 29) ^ word) * kFactor;
  }
  return hash;
}

}  // namespace

MergeTable::MergeTable(std::vector<Merge> merges) : merges_(std::move(merges)) {
  BITGRID_ASSERT(merges_.size() < kNone);
  const std::size_t slots =
      std::bit_ceil(2 * merges_.size() + 2);  // at most half full, so that every search ends
  shift_ = 64 - std::countr_zero(slots);
  pairs_.assign(slots, kFree);
  ranks_.assign(slots, kNone);
  for (std::uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const std::uint64_t pair = pair_of(merges_[rank].left, merges_[rank].right);
    std::size_t i = slot(pair);
    while (pairs_[i] != kFree) i = (i + 1) & (slots - 1);
    pairs_[i] = pair;
    ranks_[i] = rank;
  }
}

std::uint32_t MergeTable::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  for (std::size_t i = slot(pair);; i = (i + 1) & (pairs_.size() - 1)) {
    if (pairs_[i] == pair) return ranks_[i];
    if (pairs_[i] == kFree) return kNone;
  }
}

Bpe::Bpe(std::vector<std::string> vocab, std::vector<Merge> merges, bool whole_pieces)
    : vocab_(std::move(vocab)), merges_(std::move(merges)), whole_pieces_(whole_pieces) {
  ids_.reserve(vocab_.size());
  for (std::size_t id = 0; id < vocab_.size(); ++id) {
    if (!vocab_[id].empty()) ids_.emplace(vocab_[id], static_cast<std::int32_t>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids_.find(std::string(1, static_cast<char>(byte)));
    BITGRID_ASSERT(found != ids_.end());
    byte_ids_[byte] = found->second;
  }
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch,
                 std::vector<std::int32_t>& ids) const {
  using Cached = BpeScratch::CachedPiece;
  if (piece.size() > Cached::kBytesMax) return encode_anew(piece, scratch, ids);
  static_assert(std::has_single_bit(BpeScratch::kCachedPieces));
  Cached& cached =
      scratch.cache[hash_bytes(piece) >> (64 - std::countr_zero(BpeScratch::kCachedPieces))];
  if (std::string_view(cached.text, cached.bytes) == piece) {
    ids.insert(ids.end(), cached.ids, cached.ids + cached.count);
    return;
  }
  const std::size_t before = ids.size();
  encode_anew(piece, scratch, ids);
  const std::size_t count = ids.size() - before;
  if (count > Cached::kIdsMax) return;
  cached.bytes = static_cast<std::uint8_t>(piece.size());
  cached.count = static_cast<std::uint8_t>(count);
  std::copy(piece.begin(), piece.end(), cached.text);
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), cached.ids);
}

// The tokens form a linked list; a heap holds the merges that its neighbours allow, as rank·2^32 +
// position of the left one, so that the first merge in the list comes first and, of equals, the
// leftmost. Entries go stale when a neighbour changes: they no longer match the pair at their
// position and are skipped.
void Bpe::encode_anew(std::string_view piece, BpeScratch& scratch,
                      std::vector<std::int32_t>& ids) const {
  BITGRID_ASSERT(!piece.empty() && piece.size() < std::size_t{1} << 31);
  if (whole_pieces_) {
    if (const auto whole = ids_.find(piece); whole != ids_.end())
      return ids.push_back(whole->second);
  }
  constexpr std::int32_t kGone = -1, kEnd = -1;
  auto& nodes = scratch.nodes;
  auto& heap = scratch.heap;
  const auto count = static_cast<std::int32_t>(piece.size());
  nodes.resize(piece.size());
  for (std::int32_t i = 0; i < count; ++i) {
    nodes[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i - 1,
                i + 1 == count ? kEnd : i + 1};
  }
  const auto candidate = [&](std::int32_t left) {
    const std::int32_t right = nodes[left].next;
    const std::uint32_t rank =
        right == kEnd ? MergeTable::kNone : merges_.find(nodes[left].id, nodes[right].id);
    if (rank == MergeTable::kNone) return false;
    heap.push_back(static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(left));
    return true;
  };
  constexpr std::greater<> kLowestFirst;
  heap.clear();
  for (std::int32_t i = 0; i < count; ++i) candidate(i);
  std::make_heap(heap.begin(), heap.end(), kLowestFirst);
  while (!heap.empty()) {
    const std::uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), kLowestFirst);
    heap.pop_back();
    const Merge& merge = merges_[static_cast<std::uint32_t>(top >> 32)];
    const auto left = static_cast<std::int32_t>(top & 0xFFFFFFFF);
    const std::int32_t right = nodes[left].next;
    if (nodes[left].id != merge.left || right == kEnd || nodes[right].id != merge.right) continue;
    nodes[left].id = merge.merged;
    nodes[left].next = nodes[right].next;
    nodes[right].id = kGone;
    if (nodes[left].next != kEnd) nodes[nodes[left].next].previous = left;
    if (candidate(left)) std::push_heap(heap.begin(), heap.end(), kLowestFirst);
    if (nodes[left].previous != kEnd && candidate(nodes[left].previous)) {
      std::push_heap(heap.begin(), heap.end(), kLowestFirst);
    }
  }
  for (std::int32_t i = 0; i != kEnd; i = nodes[i].next) ids.push_back(nodes[i].id);
}

BpeScratchPool::Loan::Loan(BpeScratchPool& pool) : pool_(pool) {
  {
    const std::lock_guard lock(pool_.mutex_);
    if (!pool_.free_.empty()) {
      scratch_ = std::move(pool_.free_.back());
      pool_.free_.pop_back();
      return;
    }
  }
  scratch_ = std::make_unique<BpeScratch>();
}

BpeScratchPool::Loan::~Loan() {
  const std::lock_guard lock(pool_.mutex_);
  pool_.free_.push_back(std::move(scratch_));
}

}  // namespace bitgrid
