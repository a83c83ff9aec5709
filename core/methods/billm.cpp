#include "core/methods/billm.hpp"

#include "core/methods/billm_linear.hpp"
#include "core/methods/binary_formats.hpp"
#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/objective.hpp"
#include "core/methods/stored_arrays.hpp"

namespace bitgrid {
namespace {

BillmSettings settings_of(const Recipe& recipe, std::int64_t in) {
  BillmSettings settings;
  const std::string &variant = recipe.word("variant"), &feedback = recipe.word("compensation");
  settings.variant = variant == "repository"  ? BillmVariant::repository
                     : variant == "magnitude" ? BillmVariant::magnitude
                     : variant == "paper"     ? BillmVariant::paper
                                              : BillmVariant::project;
  settings.feedback = feedback == "diag"   ? BillmFeedback::diagonal
                      : feedback == "none" ? BillmFeedback::none
                                           : BillmFeedback::exact;
  settings.slab = group_size(recipe, in);
  settings.candidates = std::get<std::int64_t>(recipe.options.at("candidates"));
  settings.means = recipe.flag("means");
  return settings;
}

template <class MakeBlock>
void pass(TapWork& work, std::vector<BillmLinear>& all, const MakeBlock& make) {
  std::vector<RowBlock> blocks;
  for (BillmLinear& linear : all) blocks.push_back(make(linear));
  work.solve_rows(blocks);
}

QuantizedLinear assemble(const LinearTask& task, const BillmLinear& linear, const Factor& factor) {
  const std::vector<Matrix<std::uint16_t>> parameters = linear.parameters();
  const std::vector<std::uint8_t> salient = linear.salient_columns(), dead = linear.dead_columns();
  const Matrix<std::uint8_t> codes = linear.codes();
  QuantizedLinear stored =
      assemble_billm({codes.view(), parameters, salient, dead, task.recipe.flag("means")});
  stored.name = task.name();
  stored.group = task.recipe.group;
  std::vector<float> thresholds;
  for (std::int64_t s = 0; s < linear.slabs(); ++s)
    thresholds.push_back(linear.slab(s).split.threshold);
  stored.arrays.push_back(float_array("break_points", thresholds, false));
  note_factor(factor, stored.diagnostics);
  stored.diagnostics.loss = linear.total_loss();
  return stored;
}

}  // namespace

std::vector<QuantizedLinear> round_billm(const Place& place, const TapTask& task, TapWork& work) {
  const Recipe& recipe = task.recipe();
  const Factor factor = shared_factor(place, work, {recipe.number("damp"), "none", recipe.group});
  const Matrix<float>& gram = shared_gram(work);
  const BillmSettings settings = settings_of(recipe, task.cols());
  std::vector<BillmLinear> all;
  for (const LinearTask& linear : task.linears)
    all.emplace_back(settings, linear.w, factor.u, factor.dead);
  pass(work, all, [&](BillmLinear& linear) { return linear.load(place); });
  // With exact feedback ½Σe² is the objective; otherwise it has to be measured.
  const bool measure = settings.feedback != BillmFeedback::exact || factor.u.rows == 0;
  for (std::int64_t slab = 0; slab < all.front().slabs(); ++slab) {
    for (BillmLinear& linear : all) linear.rank_columns(place, slab);
    pass(work, all, [&](BillmLinear& linear) { return linear.search_columns(place); });
    for (BillmLinear& linear : all) linear.choose_columns(place);
    pass(work, all, [&](BillmLinear& linear) { return linear.search_split(place); });
    for (BillmLinear& linear : all) linear.choose_split();
    pass(work, all, [&](BillmLinear& linear) {
      BillmLinear::AfterLast after_last;
      if (measure)
        after_last = [&](std::int64_t first, std::int64_t count) {
          measure_objective(place, linear.off(first, count).view(), gram, factor, work.tokens(),
                            linear.loss(first, count));
        };
      return linear.round(place, after_last);
    });
  }
  std::vector<QuantizedLinear> linears;
  for (std::size_t i = 0; i < all.size(); ++i)
    linears.push_back(assemble(task.linears[i], all[i], factor));
  return linears;
}

}  // namespace bitgrid
