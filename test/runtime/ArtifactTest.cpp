#include "runtime/Artifact.h"

#include "runtime/Abi.h"
#include "runtime/Manifest.h"
#include "runtime/Zip.h"
#include "runtime/support/MappedFile.h"
#include "test/runtime/ToyModel.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>

namespace lathe {
namespace {

namespace fs = std::filesystem;

std::string readFile(const std::string &path) { return std::string((*MappedFile::open(path))->text()); }

/// Writes bytes to a file, opens it as an artifact, and removes it.
Result<std::shared_ptr<const Artifact>> openBytes(const std::string &bytes) {
  std::string path = toy::temporaryPath("damaged.lathe");
  std::ofstream(path, std::ios::binary) << bytes;
  auto artifact = Artifact::open(path);
  fs::remove(path);
  return artifact;
}

std::string toyBytes() {
  std::string path = toy::temporaryPath("bytes.lathe");
  EXPECT_TRUE(toy::write(path));
  std::string bytes = readFile(path);
  fs::remove(path);
  return bytes;
}

TEST(Artifact, RoundTrip) {
  auto artifact = toy::artifact();
  const Manifest &manifest = artifact->manifest();
  EXPECT_EQ(manifest.model, "toy");
  EXPECT_EQ(manifest.context, toy::kContext);
  EXPECT_EQ(manifest.eosTokenIds, std::vector<int64_t>{5});
  EXPECT_FALSE(manifest.bosTokenId);
  EXPECT_EQ(manifest.weights[1].layout, "f32 [37][2]");
  EXPECT_EQ(manifest.weights[1].offset, 128u) << "100 bytes before it, aligned to 64";
  auto config = artifact->member("config.toml");
  ASSERT_TRUE(config);
  EXPECT_EQ(std::memcmp(config->data(), "name = \"toy\"\n", config->size()), 0);
  EXPECT_FALSE(artifact->member("tokenizer.json"));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(artifact->member("weights.bin")->data()) % 4096, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(artifact->member("kernels/x86-64-v3.so")->data()) % 4096, 0u);
  auto weight = artifact->weight("head.weight");
  ASSERT_TRUE(weight);
  EXPECT_EQ(std::memcmp(weight->data(), toy::headWeight().data(), weight->size()), 0);
  EXPECT_NE(artifact->weight("absent").error().message.find("no weight absent"), std::string::npos);
  EXPECT_TRUE(artifact->verifyWeights());
}

TEST(Artifact, IsDeterministic) { EXPECT_EQ(toyBytes(), toyBytes()); }

// What the model's makers recommend goes through the manifest; one without it is an artifact too.
TEST(Artifact, ManifestKeepsSamplingDefaults) {
  Manifest manifest;
  manifest.compiler = "lathe", manifest.context = 8, manifest.abiVersion = kAbiVersion;
  EXPECT_EQ(printManifest(manifest, {}).find("sampling"), std::string::npos);
  manifest.sampling = {.source = "generation_config.json",
                       .temperature = 0.6,
                       .topP = 0.95,
                       .minP = 0.01,
                       .typicalP = 0.9,
                       .repetitionPenalty = 1.1,
                       .mirostatTau = 4,
                       .mirostatEta = 0.2,
                       .topK = 20,
                       .mirostat = 2};
  std::string text = printManifest(manifest, {});
  auto parsed = parseManifest(text, "m");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->manifest.sampling, manifest.sampling);
  for (auto [from, to, part] : {std::tuple("0.95", "1.5", "m: sampling: top_p: expected a number from 0 to 1"),
                                {"\"top_k\"", "\"top_q\"", "m: sampling: unknown key"},
                                {"\"generation_config.json\"", "3", "m: sampling: source: expected a string"}}) {
    std::string changed = text;
    changed.replace(changed.find(from), std::string_view(from).size(), to);
    auto refused = parseManifest(changed, "m");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ExitCode::badInput);
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
}

TEST(Artifact, OtherToolsReadIt) {
  if (std::system("command -v unzip python3 >/dev/null") != 0)
    GTEST_SKIP() << "neither unzip nor python3 here";
  std::string path = toy::temporaryPath("unzip.lathe");
  ASSERT_TRUE(toy::write(path));
  EXPECT_EQ(std::system(fmt::format("unzip -tqq {}", path).c_str()), 0);
  EXPECT_EQ(std::system(fmt::format("python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); "
                                    "sys.exit(z.testzip() is not None or z.namelist()[0] != "
                                    "\"manifest.json\" or z.namelist()[-1] != \"weights.bin\")' {}",
                                    path)
                            .c_str()),
            0);
  fs::remove(path);
}

TEST(Artifact, UnfinishedWriterLeavesTheOldFile) {
  std::string path = toy::temporaryPath("kept.lathe");
  std::ofstream(path) << "old";
  {
    auto writer = ArtifactWriter::create(path);
    ASSERT_TRUE(writer && (*writer)->add("config.toml", "x") && (*writer)->beginWeights());
    auto failed = (*writer)->addWeight("w", 1000, "", [](std::span<std::byte>) -> Result<void> {
      return fail(ExitCode::badInput, "source is broken");
    });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "source is broken");
  }
  EXPECT_EQ(readFile(path), "old");
  fs::remove(path);
}

TEST(Artifact, WriterRefusesMisuse) {
  std::string path = toy::temporaryPath("misuse.lathe");
  auto writer = ArtifactWriter::create(path);
  ASSERT_TRUE(writer && (*writer)->add("a", "x"));
  EXPECT_FALSE((*writer)->add("a", "y"));
  EXPECT_FALSE((*writer)->add("", "y"));
  EXPECT_FALSE((*writer)->add("b", "y", 3));
  auto nothing = [](std::span<std::byte>) -> Result<void> { return {}; };
  EXPECT_FALSE((*writer)->addWeight("w", 4, "", nothing)) << "before beginWeights";
  ASSERT_TRUE((*writer)->beginWeights());
  EXPECT_FALSE((*writer)->beginWeights());
  EXPECT_FALSE((*writer)->add("c", "y"));
  EXPECT_FALSE((*writer)->addWeight("w", 0, "", nothing));
}

TEST(Artifact, EveryTruncationIsRefused) {
  std::string bytes = toyBytes();
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    size_t length = i < 100 ? bytes.size() - 1 - i : random() % bytes.size();
    auto artifact = openBytes(bytes.substr(0, length));
    ASSERT_FALSE(artifact) << length << " of " << bytes.size() << " bytes";
    EXPECT_EQ(artifact.error().code, ExitCode::badInput);
    EXPECT_NE(artifact.error().message.find("damaged.lathe"), std::string::npos) << artifact.error().message;
  }
}

// A flip is refused, or it is in weights.bin, where only verifyWeights looks.
TEST(Artifact, EveryFlipIsNoticed) {
  std::string bytes = toyBytes();
  auto weights = toy::artifact()->members().back();
  ASSERT_EQ(weights.name, "weights.bin");
  std::mt19937_64 random(2);
  int inWeights = 0;
  for (int i = 0; i < 600; ++i) {
    size_t at = i % 6 == 0 ? weights.offset + random() % weights.bytes
                : i % 2    ? bytes.size() - 1 - random() % 2500
                           : random() % bytes.size();
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
    auto artifact = openBytes(damaged);
    bool inside = at >= weights.offset && at < weights.offset + weights.bytes;
    inWeights += inside;
    ASSERT_EQ(bool(artifact), inside) << "byte " << at << (artifact ? "" : ": " + artifact.error().message);
    if (artifact) {
      auto verified = (*artifact)->verifyWeights();
      ASSERT_FALSE(verified);
      EXPECT_EQ(verified.error().code, ExitCode::checkFailed);
    }
  }
  EXPECT_GE(inWeights, 100);
}

/// The toy artifact with another manifest, CRCs and sizes right again: what a hostile tool could write.
std::string withManifest(const std::function<void(std::string &)> &change) {
  std::string bytes = toyBytes();
  auto entries = readZip(std::as_bytes(std::span(bytes)), "toy");
  EXPECT_TRUE(entries);
  ZipEntry &entry = entries->front();
  EXPECT_EQ(entry.name, "manifest.json");
  std::string manifest = bytes.substr(entry.offset, entry.bytes), before = manifest;
  change(manifest);
  EXPECT_NE(manifest, before);
  entry.bytes = manifest.size();
  entry.crc = zipCrc(0, std::as_bytes(std::span(manifest)));
  std::string out = bytes.substr(0, entry.header) + zipLocalHeader(entry) + manifest;
  return out + zipDirectory(*entries, out.size());
}

void replace(std::string &text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

TEST(Artifact, ManifestFieldsAreChecked) {
  struct Change {
    const char *from, *to;
    ExitCode code;
    const char *says;
  };
  const Change changes[] = {
      {"\"artifactVersion\": 1", "\"artifactVersion\": 9", ExitCode::mismatch,
       "artifact version 9, this lathe reads version 1"},
      {"\"abiVersion\": 5", "\"abiVersion\": 2", ExitCode::mismatch, "ABI version 2"},
      {"\"abiVersion\": 5", "\"abiVersion\": \"5\"", ExitCode::badInput, "expected integers"},
      {"\"context\": 64", "\"context\": 0", ExitCode::badInput, "context: expected an integer"},
      {"\"eosTokenIds\": [5]", "\"eosTokenIds\": [-5]", ExitCode::badInput, "eosTokenIds[0]"},
      {"\"quant\"", "\"quaint\"", ExitCode::badInput, "unknown key \"quaint\""},
      {"\"offset\":128", "\"offset\":130", ExitCode::badInput, "expected a multiple of 64"},
      {"\"offset\":128", "\"offset\":64", ExitCode::badInput, "weights unused and head.weight overlap"},
      {"\"offset\":128", "\"offset\":12800", ExitCode::badInput, "head.weight: bytes 12800"},
      {"\"offset\":128", "\"offset\":-128", ExitCode::badInput, "offset: expected an integer"},
      {"\"offset\":128", "\"offset\":281474976710656", ExitCode::badInput, "weights.bin of"},
      {"\"bytes\":100", "\"bytes\":0", ExitCode::badInput, "bytes: expected an integer from 1"},
      {"\"name\":\"unused\"", "\"name\":\"head.weight\"", ExitCode::badInput, "two weights have the name head.weight"},
      {"\"config.toml\"", "\"konfig.toml\"", ExitCode::badInput, "does not list the member config.toml"},
      {"\"config.toml\": {\"bytes\":13", "\"config.toml\": {\"bytes\":14", ExitCode::badInput,
       "member config.toml: expected 14 bytes, found 13"},
      {"{\n", "{\n}", ExitCode::badInput, "expected JSON"},
  };
  for (const Change &change : changes) {
    auto artifact = openBytes(withManifest([&](std::string &manifest) { replace(manifest, change.from, change.to); }));
    ASSERT_FALSE(artifact) << change.to;
    EXPECT_EQ(artifact.error().code, change.code) << artifact.error().message;
    EXPECT_NE(artifact.error().message.find(change.says), std::string::npos)
        << change.to << ": " << artifact.error().message;
  }
}

TEST(Artifact, FilesThatAreNone) {
  for (const std::string &bytes :
       {std::string(), std::string("no artifact"), std::string(1000, '\0'), zipDirectory({}, 0)}) {
    auto artifact = openBytes(bytes);
    ASSERT_FALSE(artifact);
    EXPECT_EQ(artifact.error().code, ExitCode::badInput);
  }
  EXPECT_EQ(Artifact::open("/nowhere/x.lathe").error().code, ExitCode::badInput);
  EXPECT_EQ(Artifact::open("/dev").error().code, ExitCode::badInput);
}

// Numbers beyond 32 bits get zip64 records; the file itself need not be that large to see them.
TEST(Zip, Zip64Records) {
  ZipEntry big{"weights.bin", 4096, 0, uint64_t(5) << 30, 7};
  big.offset = zipDataOffset(big.header, big.name, 4096);
  std::string header = zipLocalHeader(big);
  EXPECT_EQ(header.size(), big.offset - big.header);
  ZipEntry behind{"manifest.json", big.offset + big.bytes, 0, 10, 9};
  behind.offset = zipDataOffset(behind.header, behind.name, 64);
  EXPECT_EQ(zipLocalHeader(behind).size(), behind.offset - behind.header);
  std::string directory = zipDirectory({big, behind}, behind.offset + behind.bytes);
  EXPECT_NE(directory.find(std::string("PK\x06\x06", 4)), std::string::npos);
  EXPECT_NE(directory.find(std::string("PK\x06\x07", 4)), std::string::npos);
}

TEST(Zip, CrcIsTheStandardOne) { EXPECT_EQ(zipCrc(0, std::as_bytes(std::span("123456789", 9))), 0xcbf43926u); }

// A sparse file of 5 GiB: written by us, read by us and by others.
TEST(Zip, LargeFile) {
  std::string path = toy::temporaryPath("large.lathe");
  uint64_t bytes = (uint64_t(9) << 29) + 123; // 4.5 GiB and a bit
  ZipEntry big{"weights.bin", 0, zipDataOffset(0, "weights.bin", 4096), bytes, 0};
  ZipEntry small{"manifest.json", big.offset + bytes, 0, 2, 0};
  small.offset = zipDataOffset(small.header, small.name, 64);
  small.crc = zipCrc(0, std::as_bytes(std::span("{}", 2)));
  {
    std::ofstream file(path, std::ios::binary);
    file << zipLocalHeader(big);
    file.seekp(static_cast<std::streamoff>(small.header));
    file << zipLocalHeader(small) << "{}" << zipDirectory({small, big}, small.offset + 2);
  }
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  auto entries = readZip((*file)->bytes(), path);
  ASSERT_TRUE(entries) << entries.error().message;
  EXPECT_EQ((*entries)[1].bytes, bytes);
  EXPECT_EQ((*entries)[0].header, small.header);
  if (std::system("command -v python3 >/dev/null") == 0) {
    EXPECT_EQ(std::system(fmt::format("python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); "
                                      "sys.exit(z.read(\"manifest.json\") != b\"{{}}\" or "
                                      "z.getinfo(\"weights.bin\").file_size != {})' {}",
                                      bytes, path)
                              .c_str()),
              0);
  }
  fs::remove(path);
}

} // namespace
} // namespace lathe
