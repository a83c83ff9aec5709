#include <algorithm>
#include <string_view>

#include "core/evaluation/task_metrics.hpp"

namespace bitgrid {
namespace {

struct SubjectGroup {
  std::string_view subject, group;
};

// In alphabetical order. The harness's groups: the first paper has anatomy under "other".
constexpr std::string_view kStem = "stem", kHumanities = "humanities", kSocial = "social_sciences",
                           kOther = "other";
constexpr SubjectGroup kSubjects[] = {{"abstract_algebra", kStem},
                                      {"anatomy", kStem},
                                      {"astronomy", kStem},
                                      {"business_ethics", kOther},
                                      {"clinical_knowledge", kOther},
                                      {"college_biology", kStem},
                                      {"college_chemistry", kStem},
                                      {"college_computer_science", kStem},
                                      {"college_mathematics", kStem},
                                      {"college_medicine", kOther},
                                      {"college_physics", kStem},
                                      {"computer_security", kStem},
                                      {"conceptual_physics", kStem},
                                      {"econometrics", kSocial},
                                      {"electrical_engineering", kStem},
                                      {"elementary_mathematics", kStem},
                                      {"formal_logic", kHumanities},
                                      {"global_facts", kOther},
                                      {"high_school_biology", kStem},
                                      {"high_school_chemistry", kStem},
                                      {"high_school_computer_science", kStem},
                                      {"high_school_european_history", kHumanities},
                                      {"high_school_geography", kSocial},
                                      {"high_school_government_and_politics", kSocial},
                                      {"high_school_macroeconomics", kSocial},
                                      {"high_school_mathematics", kStem},
                                      {"high_school_microeconomics", kSocial},
                                      {"high_school_physics", kStem},
                                      {"high_school_psychology", kSocial},
                                      {"high_school_statistics", kStem},
                                      {"high_school_us_history", kHumanities},
                                      {"high_school_world_history", kHumanities},
                                      {"human_aging", kOther},
                                      {"human_sexuality", kSocial},
                                      {"international_law", kHumanities},
                                      {"jurisprudence", kHumanities},
                                      {"logical_fallacies", kHumanities},
                                      {"machine_learning", kStem},
                                      {"management", kOther},
                                      {"marketing", kOther},
                                      {"medical_genetics", kOther},
                                      {"miscellaneous", kOther},
                                      {"moral_disputes", kHumanities},
                                      {"moral_scenarios", kHumanities},
                                      {"nutrition", kOther},
                                      {"philosophy", kHumanities},
                                      {"prehistory", kHumanities},
                                      {"professional_accounting", kOther},
                                      {"professional_law", kHumanities},
                                      {"professional_medicine", kOther},
                                      {"professional_psychology", kSocial},
                                      {"public_relations", kSocial},
                                      {"security_studies", kSocial},
                                      {"sociology", kSocial},
                                      {"us_foreign_policy", kSocial},
                                      {"virology", kOther},
                                      {"world_religions", kHumanities}};

}  // namespace

std::string_view mmlu_group(std::string_view subject) {
  const auto* found = std::lower_bound(
      std::begin(kSubjects), std::end(kSubjects), subject,
      [](const SubjectGroup& s, std::string_view name) { return s.subject < name; });
  return found != std::end(kSubjects) && found->subject == subject ? found->group : "unlisted";
}

}  // namespace bitgrid
