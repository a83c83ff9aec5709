#include "core/methods/billm_linear.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/select_ranks.hpp"

namespace bitgrid {
namespace {

// Room for the error sums of one panel.
constexpr std::int64_t kErrorSlots = 96;
static_assert(kErrorSlots >= kBreakPoints && kErrorSlots >= kBillmCandidatesMax - 1);
static_assert(kErrorSlots % kPanelRows == 0);
constexpr std::int64_t kPanelsTogether = 8;

// A matrix with `per_row` values for each row of a panel, panel after panel.
template <class T>
RowPlane panel_plane(T* data, std::int64_t per_row) {
  return {reinterpret_cast<std::byte*>(data), per_row * static_cast<std::int64_t>(sizeof(T))};
}

std::int64_t first_minimum(const std::vector<double>& values) {
  return std::min_element(values.begin(), values.end()) - values.begin();
}

// The smallest fp32 that is not below p: of fp32 values, the same ones are below it.
float threshold_of(double p) {
  const auto narrow = static_cast<float>(p);
  return static_cast<double>(narrow) < p
             ? std::nextafter(narrow, std::numeric_limits<float>::infinity())
             : narrow;
}

double fraction(int i) { return (10 + i) / 100.0; }

// Values |z| of the given columns, of all rows, in order: looked up by place.
class SortedMagnitudes {
 public:
  // zeros: how many values 0 of other columns count, too
  SortedMagnitudes(MatrixView<const float> z, std::int64_t rows,
                   std::span<const std::int32_t> columns, std::int64_t zeros)
      : rows_(rows), zeros_(zeros), values_(zeros + rows * std::ssize(columns)) {
    keys_.tiles = (z.rows + kPanelsTogether - 1) / kPanelsTogether;
    keys_.tile_keys_max = kPanelsTogether * kPanelRows * std::ssize(columns);
    keys_.fill = [this, z, columns](std::int64_t tile, std::uint32_t* out) {
      const std::uint32_t* begin = out;
      const std::int64_t end = std::min(z.rows, (tile + 1) * kPanelsTogether);
      for (std::int64_t i = tile * kPanelsTogether; i < end; ++i) {
        const std::int64_t lanes = std::min(kPanelRows, rows_ - i * kPanelRows);
        for (const std::int32_t j : columns)
          for (std::int64_t l = 0; l < lanes; ++l)
            *out++ = magnitude_key(z.row(i)[std::int64_t{j} * kPanelRows + l]);
      }
      return out - begin;
    };
  }

  std::int64_t size() const { return values_; }
  // At these places, ascending.
  std::vector<double> at(const Place& place, const std::vector<std::int64_t>& places) const {
    std::vector<std::int64_t> ranks;
    for (const std::int64_t p : places)
      if (p >= zeros_) ranks.push_back(p - zeros_);
    std::vector<double> values(places.size() - ranks.size(), 0.0);
    for (const RankedKey& key : select_ranks(place, keys_, ranks))
      values.push_back(static_cast<double>(key_value(key.key)));
    return values;
  }

 private:
  std::int64_t rows_, zeros_, values_;
  KeyTiles keys_;
};

}  // namespace

BillmLinear::BillmLinear(const BillmSettings& settings, MatrixView<const float> w,
                         MatrixView<const float> u, std::span<const std::int32_t> dead)
    : settings_(settings),
      w_(w),
      u_(u),
      dead_(static_cast<std::size_t>(w.cols), 0),
      panels_count_(panel_count(w.rows)),
      panels_(panels_count_, w.cols * kPanelRows),
      slab_(panels_count_, std::min(settings.slab, w.cols) * kPanelRows),
      errors_(panels_count_, kErrorSlots),
      codes_(panels_count_, w.cols * kPanelRows),
      loss_(panels_count_, kPanelRows) {
  BITGRID_ASSERT(settings.slab > 0 && settings.candidates >= 2 &&
                 settings.candidates <= kBillmCandidatesMax);
  if (u.rows == 0) {
    settings_.feedback = BillmFeedback::none;
    settings_.variant = BillmVariant::magnitude;
  }
  for (const std::int32_t j : dead) dead_[static_cast<std::size_t>(j)] = 1;
  for (std::int64_t first = 0; first < w.cols; first += settings.slab) {
    Slab& slab = slabs_.emplace_back();
    slab.first = first;
    slab.count = std::min(settings.slab, w.cols - first);
  }
  parameters_ = Matrix<float>(panels_count_, slabs() * kSlabParameters * kPanelRows);
  if (settings_.variant == BillmVariant::repository)
    salience_ = Matrix<float>(slab_.rows(), slab_.cols());
  errors_.fill(0.0);
  loss_.fill(0.0);
}

double BillmLinear::divisor(std::int64_t column) const {
  return u_.rows == 0 ? 1.0 : static_cast<double>(u_(column, column));
}

// The slab's weights, panel after panel without gaps.
MatrixView<float> BillmLinear::slab_view(std::int64_t slab) {
  return {slab_.data(), panels_count_, slabs_[static_cast<std::size_t>(slab)].count * kPanelRows};
}

MatrixView<const float> BillmLinear::searched() {
  if (settings_.variant != BillmVariant::repository) return slab_view(now_);
  return {salience_.data(), panels_count_, now().count * kPanelRows};
}

SlabColumns BillmLinear::columns() const {
  return {slabs_[static_cast<std::size_t>(now_)].ranked, weights_,
          settings_.variant == BillmVariant::repository};
}

RowBlock BillmLinear::block(
    std::vector<RowPlane> planes,
    std::function<void(std::int64_t first, std::int64_t panels)> solve) const {
  RowBlock block;
  block.rows = panels_count_ * kPanelRows;
  block.planes = std::move(planes);
  block.solve = [solve = std::move(solve)](std::int64_t first, std::int64_t count) {
    BITGRID_ASSERT(first % kPanelRows == 0 && count % kPanelRows == 0);
    solve(first / kPanelRows, count / kPanelRows);
  };
  return block;
}

RowBlock BillmLinear::load(const Place& place) {
  now_ = 0;
  return block({panel_plane(slab_.data(), slabs_.front().count)},
               [this, &place](std::int64_t first, std::int64_t panels) {
                 const std::int64_t row = first * kPanelRows;
                 const MatrixView<const float> w =
                     w_.rows_from(row, std::min(panels * kPanelRows, w_.rows - row));
                 check_weights(place, w, row);
                 load_panels(place, w, panels_.rows_from(first, panels));
                 for (std::int64_t i = first; i < first + panels; ++i)
                   for (std::int64_t j = 0; j < w.cols; ++j)
                     if (dead_[static_cast<std::size_t>(j)])
                       std::fill_n(panels_.row(i) + j * kPanelRows, kPanelRows, 0.0f);
                 keep_slab(0, first, panels);
               });
}

void BillmLinear::keep_slab(std::int64_t slab, std::int64_t first, std::int64_t panels) {
  const MatrixView<float> to = slab_view(slab);
  const std::int64_t column = slabs_[static_cast<std::size_t>(slab)].first;
  for (std::int64_t i = first; i < first + panels; ++i)
    std::copy_n(panels_.row(i) + column * kPanelRows, to.cols, to.row(i));
}

void BillmLinear::rank_columns(const Place& place, std::int64_t slab) {
  now_ = slab;
  Slab& s = now();
  const bool magnitude = settings_.variant == BillmVariant::magnitude;
  std::vector<double> totals(static_cast<std::size_t>(s.count));
  slab_column_totals(place, slab_view(now_), !magnitude, totals);
  double least = std::numeric_limits<double>::infinity();
  for (std::int64_t j = 0; j < s.count; ++j) {
    if (dead_[static_cast<std::size_t>(s.first + j)]) continue;
    const double d = divisor(s.first + j);
    least = std::min(least, d);
    s.ranked.push_back(static_cast<std::int32_t>(j));
    if (!magnitude) totals[static_cast<std::size_t>(j)] /= d * d;
  }
  std::stable_sort(s.ranked.begin(), s.ranked.end(), [&](std::int32_t a, std::int32_t b) {
    return totals[static_cast<std::size_t>(a)] > totals[static_cast<std::size_t>(b)];
  });
  // A common factor of all weights changes no choice; the largest one becomes 1.
  std::vector<float> factors(static_cast<std::size_t>(s.count), 0.0f);
  weights_.clear();
  for (const std::int32_t j : s.ranked) {
    const double ratio = least / divisor(s.first + j);
    factors[static_cast<std::size_t>(j)] = static_cast<float>(ratio * ratio);
    weights_.push_back(
        settings_.variant == BillmVariant::project ? factors[static_cast<std::size_t>(j)] : 1.0f);
  }
  if (settings_.variant == BillmVariant::repository)
    slab_salience(place, slab_view(now_), factors,
                  {salience_.data(), panels_count_, s.count * kPanelRows});
}

RowBlock BillmLinear::search_columns(const Place& place) {
  return block({panel_plane(errors_.data(), kErrorSlots / kPanelRows)},
               [this, &place](std::int64_t first, std::int64_t panels) {
                 const std::int64_t live = std::ssize(now().ranked);
                 const std::int64_t tried = std::min(settings_.candidates, live) - 1;
                 if (tried < 1) return;
                 slab_column_errors(place, searched().rows_from(first, panels), columns(),
                                    settings_.variant == BillmVariant::paper ? 1 : 2, tried,
                                    errors_.rows_from(first, panels));
               });
}

// In the order of the panels, whoever computed them.
std::vector<double> BillmLinear::sum_errors(std::int64_t count, const char* what) const {
  std::vector<double> sums(static_cast<std::size_t>(count), 0.0);
  for (std::int64_t i = 0; i < panels_count_; ++i)
    for (std::int64_t c = 0; c < count; ++c) sums[static_cast<std::size_t>(c)] += errors_(i, c);
  for (const double sum : sums)
    if (!std::isfinite(sum))
      throw Error(
          fmt::format("columns from {}: the error of {} is not finite; the weights are too "
                      "large to be binarized",
                      slabs_[static_cast<std::size_t>(now_)].first, what));
  return sums;
}

void BillmLinear::choose_columns(const Place& place) {
  Slab& s = now();
  const std::int64_t live = std::ssize(s.ranked);
  s.split.means = settings_.means;
  s.split.half = settings_.half;
  s.split.salient = std::min<std::int64_t>(live, 1);
  if (const std::int64_t tried = std::min(settings_.candidates, live) - 1; tried >= 1) {
    s.column_errors = sum_errors(tried, "a choice of salient columns");
    s.split.salient = first_minimum(s.column_errors) + 1;
  }
  find_thresholds(place);
}

void BillmLinear::find_thresholds(const Place& place) {
  const Slab& s = now();
  thresholds_.clear();
  const std::int64_t live = std::ssize(s.ranked);
  if (s.split.salient == live) return;
  const SortedMagnitudes sorted(
      searched(), w_.rows, std::span(s.ranked).subspan(static_cast<std::size_t>(s.split.salient)),
      w_.rows * s.split.salient);
  if (settings_.variant == BillmVariant::paper) {
    const double largest = sorted.at(place, {sorted.size() - 1}).front();
    for (int i = 0; i < kBreakPoints; ++i)
      thresholds_.push_back(threshold_of(fraction(i) * largest));
    return;
  }
  std::vector<std::int64_t> places;
  for (int i = 0; i < kBreakPoints; ++i) {
    const auto below =
        static_cast<std::int64_t>(fraction(i) * static_cast<double>(sorted.size() - 1));
    places.push_back(below);
    places.push_back(std::min(below + 1, sorted.size() - 1));
  }
  std::vector<std::int64_t> ascending = places;
  std::sort(ascending.begin(), ascending.end());
  const std::vector<double> values = sorted.at(place, ascending);
  const auto value_at = [&](std::int64_t p) {
    return values[static_cast<std::size_t>(std::lower_bound(ascending.begin(), ascending.end(), p) -
                                           ascending.begin())];
  };
  for (int i = 0; i < kBreakPoints; ++i) {
    const std::int64_t below = places[static_cast<std::size_t>(2 * i)];
    const double part =
        fraction(i) * static_cast<double>(sorted.size() - 1) - static_cast<double>(below);
    const double low = value_at(below),
                 high = value_at(places[static_cast<std::size_t>(2 * i + 1)]);
    thresholds_.push_back(threshold_of(low + part * (high - low)));
  }
}

RowBlock BillmLinear::search_split(const Place& place) {
  return block({panel_plane(errors_.data(), kErrorSlots / kPanelRows)},
               [this, &place](std::int64_t first, std::int64_t panels) {
                 if (thresholds_.empty()) return;
                 slab_split_errors(place, searched().rows_from(first, panels), columns(),
                                   now().split.salient, thresholds_, settings_.means,
                                   errors_.rows_from(first, panels));
               });
}

void BillmLinear::choose_split() {
  Slab& s = now();
  if (thresholds_.empty()) return;
  s.split_errors = sum_errors(std::ssize(thresholds_), "a break point");
  s.split.threshold = thresholds_[static_cast<std::size_t>(first_minimum(s.split_errors))];
}

RowBlock BillmLinear::round(const Place& place, const AfterLast& after_last) {
  const bool last = now_ + 1 == slabs();
  std::vector<RowPlane> planes;
  if (last) {
    planes = {panel_plane(codes_.data(), w_.cols),
              panel_plane(parameters_.data(), slabs() * kSlabParameters),
              panel_plane(loss_.data(), 1)};
  } else {
    planes = {panel_plane(slab_.data(), slabs_[static_cast<std::size_t>(now_ + 1)].count)};
  }
  return block(std::move(planes), [this, &place, last, after_last](std::int64_t first,
                                                                   std::int64_t panels) {
    round_panels(place, first, panels);
    if (!last)
      keep_slab(now_ + 1, first, panels);
    else if (after_last)
      after_last(first * kPanelRows, std::min(panels * kPanelRows, w_.rows - first * kPanelRows));
  });
}

void BillmLinear::round_panels(const Place& place, std::int64_t first, std::int64_t panels) {
  const Slab& s = now();
  const std::int64_t column = s.first * kPanelRows, width = s.count * kPanelRows;
  const MatrixView<float> a = panels_.rows_from(first, panels).cols_from(column, width);
  const MatrixView<const float> z = settings_.variant == BillmVariant::repository
                                        ? searched().rows_from(first, panels)
                                        : MatrixView<const float>(a);
  Matrix<float> values(panels, width);
  binarize_slab(place, a, z, columns(), s.split,
                {parameters_.rows_from(first, panels)
                     .cols_from(now_ * kSlabParameters * kPanelRows, kSlabParameters * kPanelRows),
                 codes_.rows_from(first, panels).cols_from(column, width), values.view()});
  check_parameters(first, panels);
  Matrix<float> error(panels, width);
  for (std::int64_t i = 0; i < panels; ++i)
    for (std::int64_t k = 0; k < width; ++k) {
      error(i, k) = a(i, k) - values(i, k);
      a(i, k) = values(i, k);
    }
  if (settings_.feedback != BillmFeedback::none) feed_back(place, first, error.view());
}

void BillmLinear::check_parameters(std::int64_t first, std::int64_t panels) const {
  for (std::int64_t i = first; i < first + panels; ++i)
    for (std::int64_t k = 0; k < kSlabParameters * kPanelRows; ++k)
      if (!std::isfinite(parameters_(i, now_ * kSlabParameters * kPanelRows + k)))
        throw Error(fmt::format(
            "row {}, columns from {}: the weights are too large for fp16 (at "
            "most 65504)",
            i * kPanelRows + k % kPanelRows, slabs_[static_cast<std::size_t>(now_)].first));
}

// error [panels, slab·kPanelRows] of the panels from `first`; becomes e.
void BillmLinear::feed_back(const Place& place, std::int64_t first, MatrixView<float> error) {
  const Slab& s = now();
  const std::int64_t end = s.first + s.count, rest = w_.cols - end;
  const MatrixView<const float> u = u_.rows_from(s.first, s.count);
  if (settings_.feedback == BillmFeedback::exact) {
    solve_feedback(place, u.cols_from(s.first, s.count), error);
  } else {
    for (std::int64_t i = 0; i < error.rows; ++i)
      for (std::int64_t k = 0; k < error.cols; ++k)
        error(i, k) /= u_(s.first + k / kPanelRows, s.first + k / kPanelRows);
  }
  for (std::int64_t i = 0; i < error.rows; ++i)
    for (std::int64_t k = 0; k < error.cols; ++k) {
      const double e = error(i, k);
      loss_(first + i, k % kPanelRows) += 0.5 * e * e;
    }
  if (rest > 0)
    subtract_products(
        place, error, u.cols_from(end, rest),
        panels_.rows_from(first, error.rows).cols_from(end * kPanelRows, rest * kPanelRows));
}

Matrix<float> BillmLinear::off(std::int64_t first, std::int64_t count) const {
  BITGRID_ASSERT(first % kPanelRows == 0);
  Matrix<float> off(count, w_.cols);
  store_panels(Place{}, panels_.rows_from(first / kPanelRows, panel_count(count)), off.view());
  for (std::int64_t r = 0; r < count; ++r)
    for (std::int64_t j = 0; j < w_.cols; ++j)
      off(r, j) = dead_[static_cast<std::size_t>(j)] ? 0.0f : w_(first + r, j) - off(r, j);
  return off;
}

std::span<double> BillmLinear::loss(std::int64_t first, std::int64_t count) {
  return {loss_.data() + first, static_cast<std::size_t>(count)};
}

Matrix<std::uint8_t> BillmLinear::codes() const {
  Matrix<std::uint8_t> codes(w_.rows, w_.cols);
  for (std::int64_t r = 0; r < w_.rows; ++r)
    for (std::int64_t j = 0; j < w_.cols; ++j)
      codes(r, j) = codes_(r / kPanelRows, j * kPanelRows + r % kPanelRows);
  return codes;
}

std::vector<Matrix<std::uint16_t>> BillmLinear::parameters() const {
  std::vector<Matrix<std::uint16_t>> all;
  for (int i = 0; i < kSlabParameters; ++i) {
    Matrix<std::uint16_t>& values = all.emplace_back(w_.rows, slabs());
    for (std::int64_t r = 0; r < w_.rows; ++r)
      for (std::int64_t s = 0; s < slabs(); ++s)
        values(r, s) = f32_to_f16(
            parameters_(r / kPanelRows, (s * kSlabParameters + i) * kPanelRows + r % kPanelRows));
  }
  return all;
}

std::vector<std::uint8_t> BillmLinear::salient_columns() const {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(w_.cols), 0);
  for (const Slab& s : slabs_)
    for (std::int64_t i = 0; i < s.split.salient; ++i)
      flags[static_cast<std::size_t>(s.first + s.ranked[static_cast<std::size_t>(i)])] = 1;
  return flags;
}

std::vector<std::uint8_t> BillmLinear::dead_columns() const { return dead_; }

double BillmLinear::total_loss() const {
  return std::accumulate(loss_.data(), loss_.data() + w_.rows, 0.0);
}

}  // namespace bitgrid
