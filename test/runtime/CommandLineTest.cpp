#include "runtime/CpuFeatures.h"
#include "runtime/Sampler.h"
#include "runtime/support/Json.h"
#include "runtime/support/MappedFile.h"
#include "test/runtime/ToyModel.h"

#include <array>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string out, err;
};

std::string slurp(const std::string &path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// The `lathe` program on the toy model, from outside.
class CommandLine : public testing::Test {
protected:
  CommandLine() : folder(toy::temporaryPath("cli")) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    EXPECT_TRUE(toy::write(folder + "/toy.lathe"));
  }
  ~CommandLine() override { fs::remove_all(folder); }

  Outcome run(const std::string &arguments) {
    int status = std::system(fmt::format("cd {} && {} {} >out 2>err", folder, LATHE_PROGRAM, arguments).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(folder + "/out"),
            slurp(folder + "/err")};
  }
  Json json(const std::string &arguments) {
    Outcome done = run(arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    auto parsed = parseJson(done.out, "stdout");
    EXPECT_TRUE(parsed) << done.out;
    return parsed ? *parsed : Json();
  }
  void put(const std::string &name, const std::string &text) { std::ofstream(folder + "/" + name) << text; }

  const std::string folder;
};

TEST_F(CommandLine, GenerateJson) {
  Json answer = json("generate toy.lathe --ids 1,2,3 -n 6 --ignore-eos --json");
  EXPECT_EQ(answer["ids"], Json(toy::continuation({1, 2, 3}, 6)));
  EXPECT_EQ(answer["prompt_ids"], Json({1, 2, 3}));
  EXPECT_TRUE(answer["text"].is_null());
  EXPECT_EQ(answer["finish_reason"], "length");
  EXPECT_EQ(answer["timings"]["predicted_n"], 6);
  put("ids.json", "[1, 2,\n3]");
  EXPECT_EQ(json("generate toy.lathe --ids @ids.json -n 6 --ignore-eos --json -t 3 --cpu x86-64-v3")["ids"],
            answer["ids"]);
  Outcome plain = run("generate toy.lathe --ids 1,2,3 -n 6 --ignore-eos");
  EXPECT_EQ(plain.out, fmt::format("{}\n", fmt::join(toy::continuation({1, 2, 3}, 6), ",")));
}

TEST_F(CommandLine, ExitCodes) {
  put("text.lathe", "no artifact");
  put("bad.json", "[1, x]");
  const std::pair<const char *, int> cases[] = {
      {"", 2},
      {"nonsense", 2},
      {"generate", 2},
      {"generate toy.lathe", 2},
      {"generate toy.lathe --nonsense", 2},
      {"generate toy.lathe --ids 1,x,3", 2},
      {"generate toy.lathe --ids 1,,3", 2},
      {"generate toy.lathe --ids 1,", 2},
      {"generate toy.lathe --ids ''", 2},
      {"generate toy.lathe --ids 99999999999", 2},
      {"generate toy.lathe --ids 1 -p x", 2},
      {"generate toy.lathe --ids 1 -n -3", 2},
      {"generate toy.lathe --ids 1 --temp nan", 2},
      {"generate toy.lathe --ids 1 --top-p 2", 2},
      {"generate toy.lathe --ids 1 --cpu mmx", 2},
      {"generate toy.lathe --ids 1 --device tpu", 2},
      {"generate toy.lathe --ids 1 -t 0", 2},
      {"eval toy.lathe --logits x.safetensors", 2},
      {"eval toy.lathe --ids 1", 2},
      {"eval toy.lathe --ids 1,2 --json", 2},
      {"eval toy.lathe --ids 1,2 --logits x.safetensors --json", 2},
      {"eval toy.lathe --ids 1,2 --logits x.safetensors --stride 4", 2},
      {"eval toy.lathe --ids 1,2 -f ids.txt --ppl", 2},
      {"eval toy.lathe --ids 1,2 --ppl text.lathe", 2},
      {"eval toy.lathe --ppl", 2},
      {"eval toy.lathe --ids 1,2 --ppl --stride 0", 2},
      {"batch toy.lathe in.jsonl", 2},
      {"chat", 2},
      {"chat toy.lathe </dev/null", 2},
      {"chat toy.lathe --script absent.txt -n x", 2},
      {"chat toy.lathe --script bad.json --chat-template-kwargs '{'", 2},
      {"chat toy.lathe --script bad.json --chat-template-kwargs '{\"messages\": 1}'", 2},
      {"chat toy.lathe --script absent.txt", 3},
      {"chat toy.lathe --script bad.json", 3},
      {"bench toy.lathe -o xml", 2},
      {"generate absent.lathe --ids 1", 3},
      {"generate text.lathe --ids 1", 3},
      {"generate toy.lathe --ids @bad.json", 3},
      {"generate toy.lathe --ids @absent.json", 3},
      {"generate toy.lathe --ids 1,37", 3},
      {"generate toy.lathe -p x", 3},
      {"generate toy.lathe --ids 1 --stop x", 3},
      {"generate toy.lathe --ids 1 -c 65", 3},
      {"generate toy.lathe --ids 1,2,3 -c 2", 3},
      {"bench toy.lathe -p 100", 3},
      {"bench toy.lathe --kernel nothing", 2},
      {"bench toy.lathe --kernel toy_head -p 3", 2},
      {"bench toy.lathe --kernel toy_head -o csv", 2},
      {"bench toy.lathe --kernel toy_head -d 0,1", 2},
      {"bench toy.lathe --kernel toy_head -m 0", 2},
      {"bench toy.lathe -m 4", 2},
      {"bench toy.lathe --kernel toy_head -m 65", 3},
      {"eval toy.lathe --ids 1 --logits 'no such folder/x'", 3},
      {"eval toy.lathe --ids 1 --ppl", 3},
      {"eval toy.lathe --ids 1,2 --ppl --stride 65", 3},
      {"eval toy.lathe --ids 1,2 --against absent.lathe", 3},
      {"eval toy.lathe --ids 1,37 --ppl", 3},
      {"eval toy.lathe --ppl text.lathe", 3},
      {"eval toy.lathe -f bad.json --ppl", 3},
  };
  for (auto [arguments, code] : cases) {
    Outcome done = run(arguments);
    EXPECT_EQ(done.status, code) << arguments << ": " << done.err;
    EXPECT_EQ(done.out, "") << arguments;
    if (code != 2) {
      EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << arguments << ": " << done.err;
      EXPECT_EQ(done.err.find("lathe: error: "), 0u) << done.err;
    }
  }
  EXPECT_FALSE(fs::exists(folder + "/x.safetensors"));
  for (const char *arguments :
       {"--help", "generate --help", "chat --help", "batch --help", "eval --help", "bench --help", "--version"}) {
    Outcome done = run(arguments);
    EXPECT_EQ(done.status, 0) << arguments;
    EXPECT_GT(done.out.size(), 10u) << arguments;
  }
}

TEST_F(CommandLine, EvalWritesSafetensors) {
  std::vector<int32_t> tokens = toy::drawTokens(4, 11);
  std::string first;
  for (const char *options : {"", "--chunk 1", "--chunk 4 -t 2", "--chunk 1000"}) {
    Outcome done =
        run(fmt::format("eval toy.lathe --ids {} --logits out.safetensors {}", fmt::join(tokens, ","), options));
    ASSERT_EQ(done.status, 0) << done.err;
    std::string file = slurp(folder + "/out.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, file.data(), 8);
    EXPECT_EQ(header % 8, 0u);
    ASSERT_EQ(file.size(), 8 + header + tokens.size() * toy::kVocab * 4);
    auto described = parseJson(std::string_view(file).substr(8, header), "header");
    ASSERT_TRUE(described);
    EXPECT_EQ((*described)["logits"]["shape"], Json({11, 37}));
    for (size_t row = 0; row < tokens.size(); ++row)
      EXPECT_EQ(std::memcmp(file.data() + 8 + header + row * toy::kVocab * 4,
                            toy::logits(std::span(tokens).first(row + 1)).data(), toy::kVocab * 4),
                0);
    EXPECT_TRUE(first.empty() || first == file);
    first = file;
  }
  put("tokens.txt", fmt::format("{}\n", fmt::join(tokens, ", ")));
  ASSERT_EQ(run("eval toy.lathe -f tokens.txt --logits again.safetensors").status, 0);
  EXPECT_EQ(slurp(folder + "/again.safetensors"), first);
}

TEST_F(CommandLine, BatchAnswersInOrder) {
  std::string lines =
      "{\"ids\": [1, 2, 3], \"n\": 7, \"ignore_eos\": true}\n\n{\"ids\": [9], \"n\": 2, \"ignore_eos\": true, "
      "\"logprobs\": 2}\n"
      "{\"ids\": [4, 4], \"n\": 20, \"temp\": 20, \"seed\": 8, \"ignore_eos\": true}\n{\"ids\": [6], \"n\": 0}\n";
  put("in.jsonl", lines);
  put("out.jsonl", "old\n");
  Outcome done = run("batch toy.lathe in.jsonl -o out.jsonl");
  ASSERT_EQ(done.status, 0) << done.err;
  std::istringstream output(slurp(folder + "/out.jsonl"));
  std::vector<Json> answers;
  for (std::string line; std::getline(output, line);)
    answers.push_back(*parseJson(line, "out"));
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers[0]["ids"], Json(toy::continuation({1, 2, 3}, 7)));
  EXPECT_EQ(answers[1]["ids"], Json(toy::continuation({9}, 2)));
  EXPECT_EQ(answers[1]["logprobs"].size(), 2u);
  EXPECT_EQ(answers[1]["logprobs"][0]["top_logprobs"].size(), 2u);
  EXPECT_FALSE(answers[0].contains("logprobs"));
  EXPECT_EQ(answers[2]["ids"],
            json("generate toy.lathe --ids 4,4 -n 20 --temp 20 --seed 8 --ignore-eos --json")["ids"]);
  EXPECT_EQ(answers[3]["ids"], Json::array());
}

TEST_F(CommandLine, BatchRefusesBadLines) {
  put("out.jsonl", "old\n");
  const std::pair<const char *, const char *> cases[] = {
      {"{\"ids\": [1]}\n{\"ids\": [1], \"n\": \"x\"}\n", "in.jsonl:2: n: expected an integer"},
      {"{}\n", "in.jsonl:1: expected one of prompt, ids and messages"},
      {"{\"ids\": [1], \"prompt\": \"x\"}\n", "in.jsonl:1: expected one of prompt, ids and messages"},
      {"{\"ids\": [1], \"nn\": 3}\n", "unknown key \"nn\""},
      {"\n[", "in.jsonl:2:1:"},
      {"[]", "in.jsonl:1: expected an object"},
      {"{\"prompt\": \"x\"}", "in.jsonl:1: prompt: the model has no tokenizer"},
      {"{\"ids\": [1], \"stop\": \"x\"}", "in.jsonl:1: stop: the model has no tokenizer"},
      {"{\"messages\": []}", "in.jsonl:1: messages: expected a list of messages"},
      {"{\"messages\": [{\"role\": 1}]}", "in.jsonl:1: messages[0]: expected an object with a \"role\""},
      {"{\"messages\": [{\"role\": \"user\"}], \"tools\": {}}", "in.jsonl:1: tools: expected a list"},
      {"{\"messages\": [{\"role\": \"user\"}], \"chat_template_kwargs\": {\"tools\": 1}}",
       "'tools' is set by the request"},
      {"{\"messages\": [{\"role\": \"user\"}], \"add_generation_prompt\": 1}", "expected true or false"},
      {"{\"messages\": [{\"role\": \"user\"}]}", "in.jsonl:1: messages: the model has no tokenizer"},
      {"{\"ids\": [1], \"tools\": []}", "in.jsonl:1: tools: goes with messages"},
      {"{\"ids\": [1], \"temp\": -1}", "temp: expected a number from 0"},
      {"{\"ids\": []}", "the prompt has no tokens"},
      {"{\"ids\": [1, 40]}", "token id 40"},
      {"{\"ids\": [1.5]}", "ids[0]: expected an integer"},
  };
  for (auto [text, says] : cases) {
    put("in.jsonl", text);
    Outcome done = run("batch toy.lathe in.jsonl -o out.jsonl");
    EXPECT_EQ(done.status, 3) << text << done.err;
    EXPECT_NE(done.err.find(says), std::string::npos) << text << ": " << done.err;
    EXPECT_EQ(slurp(folder + "/out.jsonl"), "old\n");
  }
}

/// Mean negative log-likelihood of tokens from `first` on, each seen behind those from `begin` on.
struct Likelihood {
  double sum = 0;
  int64_t count = 0;
  void add(std::span<const int32_t> tokens, size_t begin, size_t first, size_t end) {
    for (size_t at = first; at < end && at + 1 < tokens.size(); ++at, ++count) {
      std::vector<float> logits = toy::logits(tokens.subspan(begin, at + 1 - begin));
      double total = 0;
      for (int64_t token = 0; token < toy::kVocab; ++token)
        total += std::exp(double(logits[token]));
      sum += std::log(total) - double(logits[tokens[at + 1]]);
    }
  }
  double mean() const { return sum / double(count); }
};

TEST_F(CommandLine, EvalPerplexity) {
  std::vector<int32_t> tokens = toy::drawTokens(7, 50);
  std::string ids = fmt::format("{}", fmt::join(tokens, ","));
  Likelihood whole;
  whole.add(tokens, 0, 0, 50);
  for (const char *options : {"", "--chunk 1", "--chunk 7 -t 3", "--logits out.safetensors"}) {
    Json found = json(fmt::format("eval toy.lathe --ids {} --ppl --json {}", ids, options));
    EXPECT_EQ(found["tokens"], 50);
    EXPECT_EQ(found["predicted"], 49);
    EXPECT_EQ(found["window"], 64);
    EXPECT_NEAR(found["nll"].get<double>(), whole.mean(), 1e-9) << options;
    EXPECT_NEAR(found["perplexity"].get<double>(), std::exp(whole.mean()), 1e-7);
  }
  EXPECT_TRUE(fs::exists(folder + "/out.safetensors"));
  // Windows of 20: 0..20, 8..28, 16..36, 24..44, 32..50, each scored from where the one before ended.
  Likelihood windows;
  for (auto [begin, first, end] :
       {std::array<size_t, 3>{0, 0, 20}, {8, 20, 28}, {16, 28, 36}, {24, 36, 44}, {32, 44, 50}})
    windows.add(tokens, begin, first, end);
  ASSERT_EQ(windows.count, 49);
  put("ids.txt", ids);
  for (const char *options : {"", "--chunk 3", "--chunk 9 -t 3"}) {
    Json found = json(fmt::format("eval toy.lathe -f ids.txt --ppl --json -c 20 --stride 8 {}", options));
    EXPECT_EQ(found["window"], 20);
    EXPECT_EQ(found["stride"], 8);
    EXPECT_EQ(found["predicted"], 49);
    EXPECT_NEAR(found["nll"].get<double>(), windows.mean(), 1e-9) << options;
  }
  EXPECT_EQ(json(fmt::format("eval toy.lathe --ids {} --ppl --json -c 20", ids))["stride"], 10);
}

TEST_F(CommandLine, EvalAgainstItself) {
  std::vector<int32_t> tokens = toy::drawTokens(8, 30);
  Json found = json(fmt::format("eval toy.lathe --ids {} --against toy.lathe --json", fmt::join(tokens, ",")));
  EXPECT_EQ(found["tokens"], 30);
  EXPECT_EQ(found["against"]["mean_kl"], 0.0);
  EXPECT_EQ(found["against"]["max_kl"], 0.0);
  EXPECT_EQ(found["against"]["top1_agreement"], 1.0);
  EXPECT_EQ(found["against"]["nll"], found["nll"]);
  Json one = json("eval toy.lathe --ids 3 --against toy.lathe --json");
  EXPECT_EQ(one["predicted"], 0);
  EXPECT_FALSE(one.contains("nll")) << "nothing follows the only token";
  std::string text = run("eval toy.lathe --ids 1,2,3 --ppl --against toy.lathe").out;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

TEST_F(CommandLine, BenchRows) {
  Json rows = json("bench toy.lathe -p 8 -n 4 -d 0,16 -b 1,2 -r 2 -o json");
  ASSERT_EQ(rows.size(), 8u);
  for (const Json &row : rows) {
    EXPECT_EQ(row["samples_ts"].size(), 2u);
    EXPECT_GT(row["avg_ts"], 0);
    EXPECT_GT(row["probe_gbs"], 0);
    EXPECT_GT(row["bytes_per_token"], 0);
    EXPECT_EQ(row["int8_peak_gops"], 0) << "the toy is a float model";
    EXPECT_EQ(row["share_of_peak"], 0);
  }
  Json kernel = json("bench toy.lathe --kernel toy_head -m 1,3 -d 5 -r 2 -o json");
  ASSERT_EQ(kernel.size(), 2u);
  for (const Json &row : kernel) {
    EXPECT_GT(row["median_us"], 0);
    EXPECT_LE(row["min_us"], row["median_us"]);
    EXPECT_GE(row["passes"], 2);
    EXPECT_GT(row["gbs"], 0);
    EXPECT_GT(row["probe_gbs"], 0);
    EXPECT_EQ(row["n_depth"], 5);
    EXPECT_GT(row["ring_bytes"], 0);
    EXPECT_EQ(row["int8_share"], 0) << "the toy is a float model";
  }
  EXPECT_EQ(kernel[1]["n_rows"], 3);
  std::string alone = run("bench toy.lathe --kernel toy_attend").out;
  EXPECT_NE(alone.find("\n| 16 | "), std::string::npos) << alone;
  EXPECT_EQ(alone.find("\n| 512 | "), std::string::npos) << "the context is shorter: " << alone;
  std::string table = run("bench toy.lathe -p 8 -n 4 -r 1").out;
  EXPECT_NE(table.find("| pp8 |"), std::string::npos) << table;
  EXPECT_NE(table.find("| tg4 |"), std::string::npos) << table;
  std::string csv = run("bench toy.lathe -p 0 -n 4 -r 1 -o csv").out;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 2) << "names and one row";
}

TEST_F(CommandLine, InterruptEndsWith130) {
  put("out.safetensors", "old");
  pid_t child = fork();
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stdout);
    signal(SIGINT, SIG_DFL); // ignored where the tests run in a shell's background
    std::string artifact = folder + "/toy.lathe";
    execl(LATHE_PROGRAM, "lathe", "bench", artifact.c_str(), "-p", "30", "-n", "30", "-r", "10000000", nullptr);
    _exit(99);
  }
  usleep(700'000);
  kill(child, SIGINT);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
}

TEST_F(CommandLine, ClosedPipeIsQuiet) {
  Outcome done = run("generate toy.lathe --ids 1 -n 60 --ignore-eos 2>err | true");
  EXPECT_EQ(slurp(folder + "/err").find("cannot"), std::string::npos) << done.err;
}

} // namespace
} // namespace lathe
