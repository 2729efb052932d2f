#include "runtime/chat/Run.h"

#include <cmath>

namespace lathe::chat {

std::string realText(double value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value); // the shortest that reads back, with Python's exponents
  return text.find_first_of(".e") == text.npos ? text + ".0" : text;
}

Value Run::repeat(const Value &value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  uint64_t size = value.isText() ? value.text().size() : value.sequence().items.size();
  if (size > 0 && static_cast<uint64_t>(count) > limits.steps / size)
    count = 0, charge(limits.steps + 1);
  if (!charge(1 + size * static_cast<uint64_t>(count)))
    return {};
  if (value.isText()) {
    Text out;
    for (int64_t i = 0; i < count && size > 0; ++i)
      out.append(value.text());
    return out;
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < count && size > 0; ++i)
    items.insert(items.end(), value.sequence().items.begin(), value.sequence().items.end());
  return Sequence::make(value.sequence().form, std::move(items));
}

Value Run::integerArithmetic(std::string_view op, int64_t left, int64_t right) {
  int64_t result = 0;
  bool over = false;
  if (op == "+")
    over = __builtin_add_overflow(left, right, &result);
  else if (op == "-")
    over = __builtin_sub_overflow(left, right, &result);
  else if (op == "*")
    over = __builtin_mul_overflow(left, right, &result);
  else if (op == "/" || (op == "**" && right < 0))
    return realArithmetic(op, static_cast<double>(left), static_cast<double>(right));
  else if (op == "**") {
    result = 1;
    // At 0, 1 and -1 the exponent may be large; elsewhere 64 bits end it soon.
    if (left == 0 || left == 1 || left == -1)
      result = right == 0 ? 1 : left == -1 && right % 2 == 0 ? 1 : left;
    else
      for (int64_t i = 0; i < right && !over; ++i)
        over = __builtin_mul_overflow(result, left, &result);
  } else {
    if (right == 0)
      return fail("division by zero");
    over = left == INT64_MIN && right == -1;
    if (!over) {
      int64_t quotient = left / right, remainder = left % right;
      bool down = remainder != 0 && (remainder < 0) != (right < 0);
      result = op == "//" ? quotient - down : remainder + (down ? right : 0);
    } else if (op == "%") {
      over = false;
    }
  }
  return over ? fail(fmt::format("{} {} {} does not fit 64 bits", left, op, right)) : Value(result);
}

Value Run::realArithmetic(std::string_view op, double left, double right) {
  if (op == "+")
    return left + right;
  if (op == "-")
    return left - right;
  if (op == "*")
    return left * right;
  if (op == "**") {
    if (left == 0 && right < 0)
      return fail("0 to a negative power");
    double power = std::pow(left, right);
    if (std::isnan(power) && !std::isnan(left) && !std::isnan(right))
      return fail("a negative number to a fraction");
    if (std::isinf(power) && !std::isinf(left) && !std::isinf(right))
      return fail("the result is too large");
    return power;
  }
  if (right == 0)
    return fail("division by zero");
  if (op == "/")
    return left / right;
  // As CPython computes divmod (Objects/floatobject.c): the remainder has the sign of the divisor.
  double remainder = std::fmod(left, right), quotient = (left - remainder) / right;
  if (remainder != 0) {
    if ((right < 0) != (remainder < 0))
      remainder += right, quotient -= 1;
  } else {
    remainder = std::copysign(0.0, right);
  }
  if (op == "%")
    return remainder;
  double whole = std::floor(quotient);
  if (quotient != 0 && quotient - whole > 0.5)
    whole += 1;
  return quotient != 0 ? whole : std::copysign(0.0, left / right);
}

Value Run::arithmetic(std::string_view op, const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber())
    return left.isInteger() && right.isInteger() ? integerArithmetic(op, left.integer(), right.integer())
                                                 : realArithmetic(op, left.number(), right.number());
  if (op == "%" && left.isText())
    return formatPercent(left.text(), right);
  if (left.isUndefined() || right.isUndefined())
    return fail((left.isUndefined() ? left : right).whyUndefined());
  bool lists = (left.isList() && right.isList()) || (left.isTuple() && right.isTuple());
  if (op == "+" && left.isText() && right.isText()) {
    if (!charge(left.weight() + right.weight()))
      return {};
    Text sum = left.text();
    sum.append(right.text());
    return sum;
  }
  if (op == "+" && lists) {
    std::vector<Value> items = left.sequence().items;
    if (!charge(1 + items.size() + right.sequence().items.size()))
      return {};
    items.insert(items.end(), right.sequence().items.begin(), right.sequence().items.end());
    return Sequence::make(left.sequence().form, std::move(items));
  }
  auto repeats = [](const Value &value) { return value.isText() || value.isList() || value.isTuple(); };
  if (op == "*" && repeats(left) && right.isInteger())
    return repeat(left, right.integer());
  if (op == "*" && left.isInteger() && repeats(right))
    return repeat(right, left.integer());
  return fail(fmt::format("cannot compute {} {} {}{}", left.typeName(), op, right.typeName(),
                          op == "+" && (left.isText() || right.isText()) ? "; '~' joins any values as text" : ""));
}

} // namespace lathe::chat
