// GGUF split over several files: any shard names the model, and what is missing, doubled or contradictory is named.
#include "compiler/importers/Importers.h"
#include "test/front/Fixtures.h"

using namespace lathe;
using namespace lathe::test;

namespace {

constexpr int kCount = 3;

std::string nameOf(int number, int count = kCount) { return fmt::format("m-{:05}-of-{:05}.gguf", number + 1, count); }

GgufBytes &split(GgufBytes &file, uint32_t number, uint32_t count = kCount, uint32_t tensors = kCount) {
  return file.integer("split.no", number).integer("split.count", count).integer("split.tensors.count", tensors);
}

std::string floats(size_t count, float value) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i)
    bytes += littleEndian(value);
  return bytes;
}

/// Shards of a llama without layers' tensors: the embedding, a norm and a head.
struct Shards {
  GgufBytes first = GgufBytes::llama(), second, third;
  Shards() {
    split(first, 0).text("general.name", "split");
    split(second, 1).tensor("output_norm.weight", {32}, 0, floats(32, 1.5f));
    split(third, 2).tensor("output.weight", {5, 32}, 0, floats(160, 2.5f));
  }
  void write(const TemporaryFolder &folder) const {
    folder.write(nameOf(0), first.bytes());
    folder.write(nameOf(1), second.bytes());
    folder.write(nameOf(2), third.bytes());
  }
};

std::string errorOf(const Shards &shards, int named = 0) {
  TemporaryFolder folder;
  shards.write(folder);
  return messageOf(GgufFile::open(folder.path(nameOf(named))), folder.path());
}

std::string withoutByte(std::string message) {
  size_t at = message.find(" (byte ");
  return at == std::string::npos ? message : message.erase(at, message.find(')', at) + 1 - at);
}

} // namespace

TEST(GgufShards, AnyShardNamesTheModel) {
  TemporaryFolder folder;
  Shards().write(folder);
  for (int named = 0; named < kCount; ++named) {
    SCOPED_TRACE(named);
    auto file = GgufFile::open(folder.path(nameOf(named)));
    ASSERT_OK(file);
    EXPECT_EQ((*file)->path(), folder.path(nameOf(0)));
    ASSERT_EQ((*file)->tensors().size(), 3u);
    auto config = importGgufConfig(**file);
    ASSERT_OK(config);
    EXPECT_EQ(config->name, "split");
    EXPECT_FALSE(config->tieWordEmbeddings) << "the head lies in the last shard";
    auto weights = openGgufWeights(*file);
    std::vector<float> row(32);
    ASSERT_OK(weights->read("model.norm.weight", 0, 1, row));
    EXPECT_EQ(row, std::vector<float>(32, 1.5f));
    ASSERT_OK(weights->read("lm_head.weight", 4, 1, row));
    EXPECT_EQ(row, std::vector<float>(32, 2.5f));
    EXPECT_EQ(weights->origin("lm_head.weight"), folder.path(nameOf(2)));
    EXPECT_EQ(weights->origin("model.embed_tokens.weight"), folder.path(nameOf(0)));
  }
}

TEST(GgufShards, AFirstShardWithoutTensors) {
  TemporaryFolder folder;
  GgufBytes first, second;
  split(first, 0, 2, 1).text("general.architecture", "llama");
  split(second, 1, 2, 1).tensor("output_norm.weight", {32}, 0, floats(32, 1));
  folder.write(nameOf(0, 2), first.bytes());
  folder.write(nameOf(1, 2), second.bytes());
  auto file = GgufFile::open(folder.path(nameOf(1, 2)));
  ASSERT_OK(file);
  EXPECT_NE((*file)->tensor("output_norm.weight"), nullptr);
  EXPECT_EQ((*file)->string("general.architecture").value(), "llama");
}

TEST(GgufShards, OneOfOneIsAFileLikeAnyOther) {
  TemporaryFolder folder;
  GgufBytes only = GgufBytes::llama();
  auto file = GgufFile::open(folder.write("any.gguf", split(only, 0, 1, 1).bytes()));
  ASSERT_OK(file);
  EXPECT_EQ((*file)->tensors().size(), 1u);
}

TEST(GgufShards, MissingShards) {
  for (int gone = 0; gone < kCount; ++gone) {
    TemporaryFolder folder;
    Shards().write(folder);
    std::filesystem::remove(folder.path(nameOf(gone)));
    EXPECT_EQ(messageOf(GgufFile::open(folder.path(nameOf((gone + 1) % kCount))), folder.path()),
              fmt::format("{}: missing: shard {} of 3 of a split model, whose shards lie in one folder", nameOf(gone),
                          gone + 1));
  }
  TemporaryFolder folder;
  Shards shards;
  EXPECT_EQ(messageOf(GgufFile::open(folder.write("second.gguf", shards.second.bytes())), folder.path()),
            "second.gguf: shard 2 of 3: expected a name that ends in -00002-of-00003.gguf, by which the other shards "
            "are found");
}

TEST(GgufShards, ShardsThatDisagree) {
  Shards doubled;
  doubled.third = doubled.second; // the same file under two names
  EXPECT_EQ(withoutByte(errorOf(doubled)),
            "m-00003-of-00003.gguf: key 'split.no': expected 2, because the file is named shard 3 of 3, found 1");
  Shards other;
  other.second = GgufBytes();
  split(other.second, 1, 4);
  EXPECT_EQ(withoutByte(errorOf(other)), "m-00002-of-00003.gguf: key 'split.count': expected one of 3 shards, found "
                                         "one of 4");
  Shards plain;
  plain.third = GgufBytes().tensor("output.weight", {5, 32}, 0, floats(160, 2.5f));
  EXPECT_EQ(errorOf(plain), "m-00003-of-00003.gguf: missing key 'split.count': expected an integer in every shard of a "
                            "split model");
  Shards tensors;
  tensors.third = GgufBytes();
  split(tensors.third, 2, kCount, 4).tensor("output.weight", {5, 32}, 0, floats(160, 2.5f));
  EXPECT_EQ(withoutByte(errorOf(tensors)), "m-00003-of-00003.gguf: key 'split.tensors.count': differs from that of "
                                           "m-00001-of-00003.gguf: shards of different models?");
  Shards twice;
  twice.third.tensor("output_norm.weight", {32}, 0, floats(32, 1));
  EXPECT_EQ(errorOf(twice), "m-00003-of-00003.gguf: tensor \"output_norm.weight\" is in m-00002-of-00003.gguf too");
  Shards more;
  more.second.tensor("blk.0.attn_norm.weight", {32}, 0, floats(32, 1));
  EXPECT_EQ(withoutByte(errorOf(more, 1)),
            "m-00001-of-00003.gguf: key 'split.tensors.count': expected 3 tensors in 3 shards, found 4");
  Shards mixed;
  mixed.second.text("general.architecture", "qwen2");
  EXPECT_EQ(withoutByte(errorOf(mixed)), "m-00002-of-00003.gguf: key 'general.architecture': differs from that of "
                                         "m-00001-of-00003.gguf: shards of different models?");
}

TEST(GgufShards, NumbersThatCannotBe) {
  auto error = [](uint32_t number, uint32_t count) {
    TemporaryFolder folder;
    GgufBytes file = GgufBytes::llama();
    return withoutByte(
        messageOf(GgufFile::open(folder.write("m.gguf", split(file, number, count).bytes())), folder.path()));
  };
  EXPECT_EQ(error(3, 3), "m.gguf: key 'split.no': expected a number from 0 to 2, found 3");
  EXPECT_EQ(error(0, 100000), "m.gguf: key 'split.count': expected at most 99999 shards, found 100000");
  TemporaryFolder folder;
  GgufBytes none = GgufBytes::llama().integer("split.count", 2);
  EXPECT_EQ(messageOf(GgufFile::open(folder.write("m.gguf", none.bytes())), folder.path()),
            "m.gguf: missing key 'split.no': expected an integer in every shard of a split model");
}

TEST(GgufShards, ADamagedShardIsNamed) {
  TemporaryFolder folder;
  Shards shards;
  shards.write(folder);
  std::string whole = shards.third.bytes();
  folder.write(nameOf(2), whole.substr(0, whole.size() - 4));
  EXPECT_EQ(
      messageOf(GgufFile::open(folder.path(nameOf(0))), folder.path()),
      "m-00003-of-00003.gguf: tensor \"output.weight\": 640 bytes at offset 0 go beyond the 636 bytes of data: the "
      "file is truncated or damaged");
}
