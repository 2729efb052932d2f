#include "runtime/chat/ValueJson.h"

#include "runtime/support/Json.h"

namespace lathe::chat {
namespace {

/// Builds values from their inside out: a list or dict is finished before its owner gets it.
class Builder : public nlohmann::json_sax<Json> {
public:
  Value document;
  bool tooLarge = false;

  bool null() override { return put(None()); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(static_cast<int64_t>(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    tooLarge = tooLarge || value > static_cast<uint64_t>(INT64_MAX);
    return put(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t &text) override {
    tooLarge = tooLarge || text.find_first_of(".eE") == text.npos; // an int that no 64 bits hold
    return put(value);
  }
  bool string(string_t &value) override { return put(Text::fromInput(std::move(value))); }
  bool binary(binary_t &) override { return false; }
  bool key(string_t &value) override {
    open.back().key = Text::fromInput(std::move(value));
    return true;
  }
  bool start_object(size_t) override { return open.push_back({std::make_shared<Dict>(), {}, {}}), true; }
  bool start_array(size_t) override { return open.push_back({nullptr, {}, {}}), true; }
  bool end_object() override { return close(std::shared_ptr<const Dict>(std::move(open.back().dict))); }
  bool end_array() override { return close(Value::list(std::move(open.back().items))); }
  bool parse_error(size_t, const std::string &, const nlohmann::detail::exception &) override { return false; }

private:
  struct Open {
    std::shared_ptr<Dict> dict; ///< null in a list
    std::vector<Value> items;
    Value key;
  };
  std::vector<Open> open;

  bool close(Value value) {
    open.pop_back();
    return put(std::move(value));
  }
  bool put(Value value) {
    if (open.empty())
      document = std::move(value);
    else if (open.back().dict)
      open.back().dict->set(open.back().key, std::move(value));
    else
      open.back().items.push_back(std::move(value));
    return !tooLarge;
  }
};

} // namespace

Result<Value> parseValue(std::string_view text, std::string_view file) {
  Builder builder;
  auto done = parseJsonEvents(text, file, builder);
  if (!done)
    return propagate(done);
  if (builder.tooLarge)
    return fail(ExitCode::badInput, "{}: a number does not fit 64 bits; write it as a text", file);
  return builder.document;
}

} // namespace lathe::chat
