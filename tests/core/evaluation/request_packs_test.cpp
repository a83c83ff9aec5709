#include "core/evaluation/request_packs.hpp"

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "core/checkpoint/checkpoint.hpp"
#include "kernels/parallel.hpp"
#include "task_fixtures.hpp"

namespace bitgrid {
namespace {

using namespace test;

// Requests with given fed tokens and targets, one context each.
struct Made {
  TokenRequests requests;

  void add(std::vector<std::int32_t> context, std::vector<std::int32_t> continuation) {
    TokenRequest request;
    request.document = static_cast<std::int32_t>(requests.requests.size());
    request.context_begin = std::ssize(requests.ids);
    request.context_tokens = static_cast<std::int32_t>(context.size());
    requests.ids.insert(requests.ids.end(), context.begin(), context.end());
    request.continuation_begin = std::ssize(requests.ids);
    request.continuation_tokens = static_cast<std::int32_t>(continuation.size());
    requests.ids.insert(requests.ids.end(), continuation.begin(), continuation.end());
    requests.requests.push_back(request);
  }
};

// The tokens that lead to a row, from the root of its tree.
std::vector<std::int32_t> path_to(const TokenTree& tree, std::int32_t row) {
  std::int32_t index = 0;
  while (tree.branches[static_cast<std::size_t>(index)].first +
             tree.branches[static_cast<std::size_t>(index)].tokens <=
         row)
    ++index;
  std::vector<std::int32_t> path;
  std::int32_t last = row;
  while (index >= 0) {
    const TokenBranch& branch = tree.branches[static_cast<std::size_t>(index)];
    for (std::int32_t r = last; r >= branch.first; --r)
      path.push_back(tree.ids[static_cast<std::size_t>(r)]);
    index = branch.parent;
    if (index >= 0) {
      const TokenBranch& parent = tree.branches[static_cast<std::size_t>(index)];
      last = parent.first + parent.tokens - 1;
    }
  }
  return {path.rbegin(), path.rend()};
}

// Every request is in one pack, each of its targets behind exactly the tokens that it asks with.
void expect_complete(const TokenRequests& requests, const std::vector<RequestPack>& packs) {
  std::map<std::int32_t, std::vector<PackTarget>> targets;
  std::map<std::int32_t, std::size_t> pack_of;
  for (std::size_t p = 0; p < packs.size(); ++p) {
    const TokenTree& tree = packs[p].tree;
    std::int32_t row = 0;
    std::vector<std::int32_t> open;  // branches above the current one
    for (std::size_t b = 0; b < tree.branches.size(); ++b) {
      const TokenBranch& branch = tree.branches[b];
      ASSERT_EQ(branch.first, row);
      ASSERT_GT(branch.tokens, 0);
      while (!open.empty() && open.back() != branch.parent) open.pop_back();
      ASSERT_EQ(open.empty() ? -1 : open.back(), branch.parent) << "branches are not depth first";
      open.push_back(static_cast<std::int32_t>(b));
      row += branch.tokens;
    }
    ASSERT_EQ(row, tree.tokens());
    for (const PackTarget& target : packs[p].targets) {
      targets[target.request].push_back(target);
      ASSERT_EQ(pack_of.emplace(target.request, p).first->second, p) << "in two packs";
    }
  }
  ASSERT_EQ(targets.size(), requests.requests.size());
  for (const auto& [request, found] : targets) {
    const TokenRequest& r = requests.requests[static_cast<std::size_t>(request)];
    const auto continuation = requests.continuation(r);
    ASSERT_EQ(found.size(), continuation.size());
    const auto fed = requests.fed_context(r);
    std::vector<std::int32_t> expected(fed.begin(), fed.end());
    for (std::size_t i = 0; i < continuation.size(); ++i) {
      EXPECT_EQ(found[i].target, continuation[i]);
      EXPECT_EQ(path_to(packs[pack_of[request]].tree, found[i].row), expected);
      expected.push_back(continuation[i]);
    }
  }
}

std::int64_t tokens_of(const std::vector<RequestPack>& packs) {
  std::int64_t tokens = 0;
  for (const RequestPack& pack : packs) tokens += pack.tree.tokens();
  return tokens;
}

TEST(RequestPacks, ShareWhatOptionsBeginWith) {
  Made made;
  const std::vector<std::int32_t> context = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  made.add(context, {20, 21, 22});
  made.add(context, {30, 31});
  made.add(context, {40});
  const auto packs = pack_requests(made.requests);
  ASSERT_EQ(packs.size(), 1u);
  expect_complete(made.requests, packs);
  EXPECT_EQ(packs[0].tree.tokens(), 9 + 2 + 1);
  EXPECT_EQ(packs[0].tree.branches,
            (std::vector<TokenBranch>{{-1, 0, 9, 0}, {0, 9, 2, 9}, {0, 11, 1, 9}}));
  // The last token of the context answers for the first token of all three.
  EXPECT_EQ(packs[0].targets[0], (PackTarget{8, 20, 0}));
  EXPECT_EQ(packs[0].targets[1], (PackTarget{8, 30, 1}));
  EXPECT_EQ(packs[0].targets[2], (PackTarget{8, 40, 2}));
}

TEST(RequestPacks, CutBranchesOnlyWhereThatSavesEnough) {
  Made made;
  made.add({1, 2, 3, 4, 5, 6}, {7});
  made.add({1, 2, 3, 9, 9, 9}, {7});
  EXPECT_EQ(tokens_of(pack_requests(made.requests, {2048, 3})), 9);
  EXPECT_EQ(tokens_of(pack_requests(made.requests, {2048, 4})), 12);
  expect_complete(made.requests, pack_requests(made.requests, {2048, 3}));
  expect_complete(made.requests, pack_requests(made.requests, {2048, 4}));
}

TEST(RequestPacks, ALongRequestIsAPackOfItsOwn) {
  Made made;
  made.add(std::vector<std::int32_t>(30, 1), {2});
  made.add(std::vector<std::int32_t>(31, 3), {2});
  made.add({4, 5}, {6});
  const auto packs = pack_requests(made.requests, {10, 8});
  expect_complete(made.requests, packs);
  EXPECT_EQ(packs.size(), 3u);
}

TEST(RequestPacks, AnyRequestsAreAllThereOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Made made;
    const auto draw = [&](int most) { return static_cast<int>(random() % most); };
    const int count = 1 + draw(40);
    for (int i = 0; i < count; ++i) {
      std::vector<std::int32_t> context(static_cast<std::size_t>(1 + draw(12)));
      for (auto& id : context) id = draw(2);  // few words: much in common
      std::vector<std::int32_t> continuation(static_cast<std::size_t>(1 + draw(4)));
      for (auto& id : continuation) id = draw(3);
      made.add(context, continuation);
    }
    const PackRules rules{1 + draw(60), 1 + draw(6)};
    const auto packs = pack_requests(made.requests, rules);
    SCOPED_TRACE(testing::Message() << "round " << round);
    ASSERT_NO_FATAL_FAILURE(expect_complete(made.requests, packs));
    for (const RequestPack& pack : packs) {
      std::set<std::int32_t> requests;
      for (const PackTarget& target : pack.targets) requests.insert(target.request);
      EXPECT_TRUE(pack.tree.tokens() <= rules.pack_tokens || requests.size() == 1 ||
                  pack.tree.longest() == pack.tree.tokens());
    }
  }
}

struct DemoModel {
  Checkpoint checkpoint = Checkpoint::open(kDemo + "/model");
  LlamaConfig config = checkpoint.config();
  OutputWeights output = read_output(checkpoint, config);
  RopeTable table = make_rope_table(config, config.max_position_embeddings);
  std::vector<LayerWeights> layers;
  Tokenizer tokenizer = Tokenizer::load(kDemo + "/model/tokenizer.json");

  DemoModel() {
    for (std::int64_t i = 0; i < config.layer_count; ++i)
      layers.push_back(read_layer(checkpoint, config, i));
  }

  std::vector<RequestScore> score(const Place& place, const TokenRequests& requests,
                                  const PackRules& rules) const {
    struct Scratch {
      Matrix<float> x;
      TreeScratch tree;
      PackScoreScratch score;
    };
    const std::vector<RequestPack> packs = pack_requests(requests, rules);
    std::vector<Scratch> scratches(static_cast<std::size_t>(place_threads(place)));
    std::vector<RequestScore> scores(requests.requests.size());
    parallel_for(place, std::ssize(packs), [&](std::int64_t i) {
      const RequestPack& pack = packs[static_cast<std::size_t>(i)];
      Scratch& scratch = scratches[static_cast<std::size_t>(parallel_thread_index())];
      scratch.x = Matrix<float>(pack.tree.tokens(), config.hidden_size);
      embed_window(checkpoint, config, pack.tree.ids, scratch.x.view());
      for (const LayerWeights& layer : layers)
        tree_forward(place, config, layer, table, pack.tree, scratch.x.view(), scratch.tree);
      score_pack(place, config, output, pack, scratch.x.view(), scores, scratch.score);
    });
    return scores;
  }
};

struct Reference {
  std::string name, tasks;
  std::vector<std::string> sets;
};
void PrintTo(const Reference& reference, std::ostream* out) { *out << reference.name; }

class RequestScores : public testing::TestWithParam<Reference> {};

// Every log-likelihood and its greediness as the harness computed them.
TEST_P(RequestScores, AreTheHarnesses) {
  const DemoModel model;
  const Place place = cpu_place(2);
  for (const std::string& name : GetParam().sets) {
    const auto rows = csv_rows(kReference + GetParam().name + "/" + name + ".csv");
    const std::size_t first = name == "mmlu" ? 1 : 0;  // the subject comes first
    for (const bool bos : {false, true}) {
      SCOPED_TRACE(name + (bos ? " with BOS" : ""));
      const Task task =
          read_task(name, GetParam().tasks, {bos ? "lmeh-0.5" : "lmeh-0.4", std::nullopt, 0});
      const TokenRequests requests = token_requests(place, task, model.tokenizer, 1024);
      const auto scores = model.score(place, requests, {});
      ASSERT_EQ(scores.size(), rows.size());
      double worst = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t column = first + (bos ? 6 : 4);
        const double expected = std::stod(rows[i][column]);
        worst = std::max(worst, std::fabs(scores[i].log_likelihood - expected));
        ASSERT_NEAR(scores[i].log_likelihood, expected, 1e-3) << "request " << i;
        ASSERT_EQ(scores[i].greedy, rows[i][column + 1] == "1") << "request " << i;
      }
      RecordProperty(name + (bos ? "_bos" : ""), std::to_string(worst));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(LmEvaluationHarness, RequestScores,
                         testing::Values(Reference{"demo",
                                                   kDemoTasks,
                                                   {"piqa", "arc_easy", "arc_challenge",
                                                    "hellaswag", "winogrande", "mmlu"}},
                                         Reference{
                                             "awkward",
                                             kReference + "awkward/tasks",
                                             {"piqa", "arc_easy", "arc_challenge", "hellaswag",
                                              "winogrande", "boolq", "openbookqa", "mmlu"}}),
                         testing::PrintToStringParamName());

// What is shared, and how much is packed together, moves no more than rounding does.
TEST(RequestScores, DoNotDependOnWhatIsShared) {
  const DemoModel model;
  const Place place = cpu_place(2);
  const Task task = read_task("hellaswag", kDemoTasks, {"lmeh-0.4", std::nullopt, 12});
  const TokenRequests requests = token_requests(place, task, model.tokenizer, 1024);
  const auto alone = model.score(place, requests, {1, 1 << 30});
  const auto packed = model.score(place, requests, {2048, 1});
  ASSERT_EQ(alone.size(), packed.size());
  for (std::size_t i = 0; i < alone.size(); ++i)
    EXPECT_NEAR(alone[i].log_likelihood, packed[i].log_likelihood,
                2e-5 * (1 + std::fabs(alone[i].log_likelihood)));
}

TEST(RequestScores, AreTheSameBytesOnAnyNumberOfThreads) {
  const DemoModel model;
  const Task task = read_task("piqa", kDemoTasks, {"lmeh-0.4", std::nullopt, 20});
  const TokenRequests requests = token_requests(cpu_place(1), task, model.tokenizer, 1024);
  const auto one = model.score(cpu_place(1), requests, {256, 4});
  const auto three = model.score(cpu_place(3), requests, {256, 4});
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].log_likelihood, three[i].log_likelihood);
    EXPECT_EQ(one[i].greedy, three[i].greedy);
  }
}

}  // namespace
}  // namespace bitgrid
