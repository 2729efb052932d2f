#include "tools/lathe/BenchReport.h"

#include "tools/lathe/Output.h"

#include <cmath>

namespace lathe {
namespace {

struct Spread {
  double mean = 0, deviation = 0; ///< of the sample (n - 1), as llama-bench has it
  explicit Spread(const std::vector<double> &values) {
    for (double value : values)
      mean += value / double(values.size());
    for (double value : values)
      deviation += (value - mean) * (value - mean);
    deviation = values.size() > 1 ? std::sqrt(deviation / double(values.size() - 1)) : 0;
  }
};

nlohmann::ordered_json describe(const BenchRow &row) {
  std::vector<double> rates, nanoseconds;
  for (double seconds : row.seconds) {
    rates.push_back(row.tokens() / seconds);
    nanoseconds.push_back(std::round(seconds * 1e9));
  }
  Spread rate(rates), time(nanoseconds);
  nlohmann::ordered_json json;
  json["model_type"] = row.model;
  json["quant"] = row.quant;
  json["model_size"] = row.modelBytes;
  json["model_n_params"] = row.parameters;
  json["cpu_tier"] = row.tier;
  json["n_threads"] = row.threads;
  json["n_prompt"] = row.prompt;
  json["n_gen"] = row.generated;
  json["n_depth"] = row.depth;
  json["n_batch"] = row.batch;
  json["avg_ns"] = static_cast<int64_t>(time.mean);
  json["stddev_ns"] = static_cast<int64_t>(time.deviation);
  json["avg_ts"] = rate.mean;
  json["stddev_ts"] = rate.deviation;
  json["samples_ts"] = rates;
  json["bytes_per_token"] = static_cast<int64_t>(row.bytesPerToken);
  json["probe_gbs"] = row.probeBytesPerSecond * 1e-9;
  json["share"] = row.probeBytesPerSecond > 0 ? row.bytesPerToken * rate.mean / row.probeBytesPerSecond : 0;
  json["int8_peak_gops"] = row.int8OpsPerSecond * 1e-9;
  json["share_of_peak"] = row.int8OpsPerSecond > 0 ? row.int8OpsPerToken * rate.mean / row.int8OpsPerSecond : 0;
  json["barriers"] = row.barriers;
  json["barriers_mean"] = row.meanBarriers;
  return json;
}

std::string csvLine(const nlohmann::ordered_json &json, bool names) {
  std::string line;
  for (const auto &[name, value] : json.items()) {
    std::string text = names ? name : value.is_string() ? value.get<std::string>() : value.dump();
    for (size_t at = 0; (at = text.find('"', at)) != text.npos; at += 2)
      text.insert(at, 1, '"');
    line += fmt::format("{}\"{}\"", line.empty() ? "" : ",", text);
  }
  return line + "\n";
}

} // namespace

std::string BenchRow::test() const {
  std::string text = prompt ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generated);
  return depth ? fmt::format("{} @ d{}", text, depth) : text;
}

std::string BenchReport::begin() const {
  switch (format) {
  case BenchFormat::markdown:
    return "| model | quant | size | params | cpu | threads | batch | test | t/s | GB/token | share | INT8 | barriers "
           "|\n"
           "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  case BenchFormat::json:
    return "[\n";
  case BenchFormat::jsonl:
  case BenchFormat::csv:
    break;
  }
  return "";
}

std::string BenchReport::row(const BenchRow &row) {
  nlohmann::ordered_json json = describe(row);
  bool first = rows++ == 0;
  switch (format) {
  case BenchFormat::markdown:
    return fmt::format("| {} | {} | {:.2f} MiB | {:.2f} M | {} | {} | {} | {} | {:.2f} ± {:.2f} | {:.3f} | {:.0f} % | "
                       "{:.0f} % | {:.1f} % |\n",
                       row.model, row.quant, double(row.modelBytes) / (1 << 20), double(row.parameters) * 1e-6,
                       row.tier, row.threads, row.batch, row.test(), json["avg_ts"].get<double>(),
                       json["stddev_ts"].get<double>(), row.bytesPerToken * 1e-9, json["share"].get<double>() * 100,
                       json["share_of_peak"].get<double>() * 100, row.barriers * 100);
  case BenchFormat::json: {
    std::string line = jsonLine(json);
    line.pop_back();
    return fmt::format("{}  {}", first ? "" : ",\n", line);
  }
  case BenchFormat::jsonl:
    return jsonLine(json);
  case BenchFormat::csv:
    return (first ? csvLine(json, true) : "") + csvLine(json, false);
  }
  return "";
}

std::string BenchReport::end() const { return format == BenchFormat::json ? (rows ? "\n]\n" : "]\n") : ""; }

} // namespace lathe
