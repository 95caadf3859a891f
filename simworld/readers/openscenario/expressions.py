"""OpenSCENARIO's ${...} expressions: arithmetic and comparisons over parameters, parsed by hand, never by eval."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from simworld.readers.limits import LIMITS

Value = float | str

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|\$(?P<param>[A-Za-z_][\w.-]*?(?![\w.]))"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<op>==|!=|<=|>=|[-+*/%()<>,]))"
)
_PRIORITY = {
    "or": 1,
    "and": 2,
    "==": 3,
    "!=": 3,
    "<": 4,
    ">": 4,
    "<=": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "%": 6,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "round": lambda x: float(math.floor(x + 0.5)),
    "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)),
    "sqrt": math.sqrt,
    "pow": math.pow,
    "abs": abs,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "min": min,
    "max": max,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
}
_MAX_DEPTH = 40


class _Token(NamedTuple):
    kind: str
    text: str


def evaluate(text: str, lookup: Callable[[str], str]) -> str:
    """The value of the expression inside ${...} as attribute text.

    `lookup` gives the text of a parameter by name. A bare word stands for itself, and `+` joins words,
    which some files use to build names. Raises ValueError on anything that is no such expression.
    """
    if len(text) > LIMITS.expression_chars:
        raise ValueError(f"an expression of {len(text)} characters exceeds the {LIMITS.expression_chars} that are read")
    return as_text(_Parser(_tokens(text), lookup, text).whole())


def as_text(value: Value) -> str:
    """A value as attribute text: whole numbers without a point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match or match.end() == position:
            raise ValueError(f"the expression {text[:60]!r} has an unexpected {text[position : position + 10]!r}")
        tokens.append(_Token(match.lastgroup or "", match.group(match.lastgroup or 0)))
        position = match.end()
    return tokens


class _Parser:
    """Precedence climbing over the tokens."""

    def __init__(self, tokens: list[_Token], lookup: Callable[[str], str], text: str) -> None:
        self._tokens = tokens
        self._lookup = lookup
        self._text = text[:60]
        self._next = 0
        self._depth = 0

    def whole(self) -> Value:
        value = self._expression(0)
        if self._next != len(self._tokens):
            raise self._error(f"stops making sense at {self._tokens[self._next].text!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error("is not finite")
        return value

    def _error(self, what: str) -> ValueError:
        return ValueError(f"the expression {self._text!r} {what}")

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise self._error("ends too soon")
        self._next += 1
        return self._tokens[self._next - 1]

    def _expression(self, priority: int) -> Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("is nested too deeply")
        left = self._operand()
        while _PRIORITY.get(self._peek(), 0) > priority:
            operator = self._take().text
            left = self._combine(operator, left, self._expression(_PRIORITY[operator]))
        self._depth -= 1
        return left

    def _operand(self) -> Value:
        kind, text = self._take()
        if kind == "number":
            return float(text)
        if kind == "param":
            return _as_value(self._lookup(text))
        if kind == "quoted":
            return text[1:-1]
        if text == "(":
            value = self._expression(0)
            self._close()
            return value
        if text in "+-" and kind == "op":
            value = self._number(self._expression(6))
            return -value if text == "-" else value
        if text == "not":
            return 0.0 if self._number(self._expression(3)) else 1.0
        if kind == "word":
            return self._call(text) if self._peek() == "(" else _as_value(text)
        raise self._error(f"has an unexpected {text!r}")

    def _call(self, name: str) -> float:
        if name not in _FUNCTIONS:
            raise self._error(f"calls {name!r}; known are {', '.join(sorted(_FUNCTIONS))}")
        self._take()
        arguments = [self._number(self._expression(0))]
        while self._peek() == ",":
            self._take()
            arguments.append(self._number(self._expression(0)))
        self._close()
        try:
            return float(_FUNCTIONS[name](*arguments))
        except (ValueError, OverflowError, TypeError) as error:
            raise self._error(f"can't be computed: {error}") from None

    def _close(self) -> None:
        if self._take().text != ")":
            raise self._error("lacks a closing parenthesis")

    def _number(self, value: Value) -> float:
        if isinstance(value, str):
            raise self._error(f"computes with {value[:30]!r}, which is not a number")
        return value

    def _combine(self, operator: str, left: Value, right: Value) -> Value:
        if operator == "+" and (isinstance(left, str) or isinstance(right, str)):
            return as_text(left) + as_text(right)
        if operator in ("==", "!="):
            return float((left == right) == (operator == "=="))
        a, b = self._number(left), self._number(right)
        if operator in ("/", "%") and b == 0:
            raise self._error("divides by zero")
        try:
            result = {
                "+": lambda: a + b,
                "-": lambda: a - b,
                "*": lambda: a * b,
                "/": lambda: a / b,
                "%": lambda: math.fmod(a, b),
                "<": lambda: float(a < b),
                ">": lambda: float(a > b),
                "<=": lambda: float(a <= b),
                ">=": lambda: float(a >= b),
                "and": lambda: float(bool(a) and bool(b)),
                "or": lambda: float(bool(a) or bool(b)),
            }[operator]()
        except OverflowError:
            raise self._error("overflows") from None
        return result


def _as_value(text: str) -> Value:
    if text in ("true", "false"):
        return float(text == "true")
    if text == "pi":  # not in the standard, but in many files
        return math.pi
    try:
        return float(text)
    except ValueError:
        return text
