#include <cstdlib>
#include <optional>

#include "core/text/python_random.hpp"
#include "task_fixtures.hpp"

// The published sets themselves, which are not part of the repository: BITGRID_REAL_TASKS names a
// directory with them, BITGRID_LLAMA3_TOKENIZER Llama 3's tokenizer.json or tokenizer.model.

namespace bitgrid {
namespace {

using namespace test;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Published {
  const char* task;
  const char* subset;  // "": all
  std::int64_t requests, context_tokens, continuation_tokens, longest;
  const char *json, *tokens, *tokens_with_bos;
};
void PrintTo(const Published& p, std::ostream* out) { *out << p.task << p.subset; }

constexpr Published kPublished[] = {
    {"piqa", "", 3676, 46624, 83031, 244,
     "5a782cd449aa875a7f837e15268fac2d27005e1d030c5124e3bec88cdb8a5977",
     "ed4c6ea3cbb6b4aed3af3c9bed93dcc2634d3b60b82778739549c87f8846d55e",
     "077c7454cfa87fac5eb78168b7404e68c54916968031c74455ed28f3b0780a0b"},
    {"arc_easy", "", 9501, 253650, 42585, 163,
     "17efe5cb96db0a727c2cf0b15d07d94781fcd7319e4e1f0161751289fee21026",
     "5fb001766fa4ff49734d9f624cf104cb37d23715937fa6f144f58bdd79954fa1",
     "2b2a7843931f38f624c8bf0aabea7d84fa1cfb2c74ff6bb6746c14ff1fbf1840"},
    {"arc_challenge", "", 4687, 142446, 28222, 174,
     "8aee000e0686c439b65045da81544a40d721c5ee59f185b594580907f3b65066",
     "38b1500353ebfd0b40554a1178bbdb4dbe6948440c52c70a296e08eca0268f19",
     "3375407e403659ef14837370532c28a8701c6d6e39202f7a975bb3b4390a27ca"},
    {"openbookqa", "", 2000, 23388, 6782, 74,
     "f70cdd421a748ed12c274d2f806eda1afcbe8e6f7680abf0c964b2da94635499",
     "0b0ee09a2c967daaae01ccea46ea5ec0f251c2ee4a787ba7fe128e831d25d1b3",
     "20cab279200898c74a4b461fd568f5314a96b2756b7b25d84cb2663815935fd6"},
    {"winogrande", "", 2534, 41453, 14204, 37,
     "2cc3cecbcee61b541a4e75ca0e270c190016b847772717936d51154c5100f834",
     "a0ece4ae37ab4a86c17ca1d05847cb2c119345c58b4e970cc79500cf831393fe",
     "b4223f9e9c38802df22372f6476ff418219eb4aa898c568767a77033265d4421"},
    {"mmlu", "", 56168, 38386660, 56168, 3082,
     "22e27274266345035a18473003a93b56fd0770964cbb9424ebadc984299a47f6",
     "cc529f65b353a4136aefdadddfc1e6d33e5e49e489f845c9e26ac6cc140f3c26",
     "013ea599a1f3735b74fa14f46352baa7b945f6ce075745fc25a0e2a09a531183"},
    {"mmlu", "abstract_algebra", 400, 141776, 400, 402,
     "5b12e945e23a4e3533b87c0835840c65012ff6f58ab5d4763f0b98b7881057a8",
     "5a86e437e8f9e4e8effbb87fbb1637bb862dbee9a4cd8f771dd0403aaea8c3c5",
     "8ed99ab1bbe452c9e19eb7c1842954bc3e784fd065afa8ee3f38bda53947385b"},
    {"mmlu", "world_religions", 684, 172384, 684, 288,
     "bbe0749de391191ae1c9a1e1f2222b016c52497db13c8729933aa5267bc038f5",
     "696c4bb40d4e314e423f7785d3e231041b1ed1bc56a7eedfa240abe0925944f2",
     "79d8b25d68cfcdb0cc311613501b92b719a2fe498d0325481e97c7b4159168e5"}};

// Reads the task, or says why there is nothing to read.
std::optional<Task> real_task(const std::string& name, const std::string& profile,
                              std::string& reason) {
  const std::string dir = variable("BITGRID_REAL_TASKS");
  reason = "BITGRID_REAL_TASKS names no directory of published sets";
  if (dir.empty()) return std::nullopt;
  const std::string error = input_error([&] { read_task(name, dir, {profile, {}, 1}); });
  reason = error;
  if (error.find("holds no file") != error.npos) return std::nullopt;
  return read_task(name, dir, {profile, {}, 0});
}

class RealTasks : public testing::TestWithParam<Published> {};

TEST_P(RealTasks, RequestsHaveThePublishedDigests) {
  const Published& p = GetParam();
  std::string reason;
  const std::optional<Task> task = real_task(p.task, "lmeh-0.4", reason);
  if (!task) GTEST_SKIP() << reason;
  std::int64_t subset = -1;
  for (std::size_t i = 0; i < task->subsets().size(); ++i) {
    if (task->subsets()[i].name == p.subset) subset = static_cast<std::int64_t>(i);
  }
  const std::string tokenizer_path = variable("BITGRID_LLAMA3_TOKENIZER");
  if (tokenizer_path.empty()) {
    if (subset < 0) {
      EXPECT_EQ(text_digest(*task), p.json);
    }
    GTEST_SKIP() << "texts compared; BITGRID_LLAMA3_TOKENIZER names no tokenizer for the ids";
  }
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  const RequestDigests found = request_digests(
      *task, token_requests(cpu_place(0), *task, tokenizer, 8192), tokenizer, subset);
  EXPECT_EQ(found.requests, p.requests);
  EXPECT_EQ(found.context_tokens, p.context_tokens);
  EXPECT_EQ(found.continuation_tokens, p.continuation_tokens);
  EXPECT_EQ(found.longest, p.longest);
  EXPECT_EQ(found.json, p.json);
  EXPECT_EQ(found.tokens, p.tokens);
  EXPECT_EQ(found.tokens_with_bos, p.tokens_with_bos);
}

INSTANTIATE_TEST_SUITE_P(Sets, RealTasks, testing::ValuesIn(kPublished),
                         [](const testing::TestParamInfo<Published>& info) {
                           return std::string(info.param.task) + info.param.subset;
                         });

// What lm-evaluation-harness 0.3.0 tests itself with: shuffled documents, and log-likelihoods that
// are −random() from a generator seeded 42.
struct SelfTest {
  const char* task;
  const char* json;
  double acc, acc_error, acc_norm, acc_norm_error;  // −1: the task has none
};
void PrintTo(const SelfTest& p, std::ostream* out) { *out << p.task; }

constexpr SelfTest kSelfTests[] = {
    {"piqa", "6048a3a2bb3ad1e6a3d98139618e06b4d7de766edd685bd38837596199c3f69f", 0.514145810663765,
     0.011661154475524836, 0.5114254624591947, 0.01166277802645167},
    {"arc_easy", "ffa6e39a35a16299dcb015f17f986aaa598ad8b4840c4cebe0339a7042232741",
     0.2474747474747475, 0.008855114414834707, 0.24074074074074073, 0.008772796145221907},
    {"arc_challenge", "41c34c96cca8ace661911d0033d630c554b283f5a3953bcdc50720ae6b00a9c1",
     0.24488054607508533, 0.012566273985131354, 0.2440273037542662, 0.012551447627856257},
    {"openbookqa", "78a49a0ca1a47373adb33463b1d092e6bc0d8f4b01bcb380ada48065037849d7", 0.214,
     0.018359797502387046, 0.276, 0.020011219298073517},
    {"winogrande", "90a3eff49de9173964d46f5ed57bcf9a78a72dd1bfe0e5323b25cebb40b49ea9",
     0.516179952644041, 0.014045126130978606, -1, -1},
    {"hellaswag", "abb808c97d6529eda6c11067837a132c62d25cba0394d720f80cca6df9f7196e",
     0.24965146385182235, 0.004319267432460666, 0.24756024696275641, 0.004307128573285236},
    {"boolq", "6577e0d88572772ef08e64f624c0e3df0953286ae1f118ccef15623b59ffeabf",
     0.5048929663608562, 0.00874463623355505, -1, -1}};

class RealTasksSelfTest : public testing::TestWithParam<SelfTest> {};

TEST_P(RealTasksSelfTest, FakeScoresGiveThePublishedMetrics) {
  const SelfTest& p = GetParam();
  std::string reason;
  const std::optional<Task> task = real_task(p.task, "study", reason);
  if (!task) GTEST_SKIP() << reason;
  EXPECT_EQ(text_digest(*task), p.json);
  PythonRandom random(42);
  std::vector<RequestScore> scores(static_cast<std::size_t>(task->request_count()));
  for (RequestScore& score : scores) score.log_likelihood = -random.random();
  for (const TaskMetric& metric : task_metrics(*task, document_outcomes(*task, scores))) {
    const bool norm = metric.metric == "acc_norm";
    EXPECT_EQ(metric.value, norm ? p.acc_norm : p.acc);
    EXPECT_NEAR(metric.error, norm ? p.acc_norm_error : p.acc_error, 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, RealTasksSelfTest, testing::ValuesIn(kSelfTests),
                         [](const testing::TestParamInfo<SelfTest>& info) {
                           return std::string(info.param.task);
                         });

}  // namespace
}  // namespace bitgrid
