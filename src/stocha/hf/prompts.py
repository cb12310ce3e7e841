"""Short questions, most with an answer that can be checked, and the check.

The answers to facts are those of packages: `tzdata`, `http`, `calendar`, `unicodedata`. Chapter
*Several answers*.
"""

import ast
import calendar
import math
import re
import signal
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from typing import Any

TASKS = ("arithmetic", "facts", "code", "open")
CHECKED = TASKS[:3]
"""Those whose answers are right or wrong."""
SECONDS, LARGEST = 1.0, 1e6
"""That an expression may take, and the largest number that may stand in it."""

_ARITHMETIC = "12 + 5 = 17\n9 - 4 = 5\n3 * 2 = 6\n"
_FACTS = "Q: Which day comes after Monday?\nA: Tuesday\nQ: In which country is Paris?\nA: France\n"
_CODE = 'def double(x):\n    """Return twice x."""\n    return x * 2\n\n\n'
_OPEN = "Q: Write one sentence about the sun.\nA: The sun warms the earth every day.\n"
_CITIES = """Vienna Tokyo Cairo Lima Athens Rome Madrid Belgrade Dublin Lisbon Oslo Stockholm
Helsinki Warsaw Prague Budapest Brussels Zurich Istanbul Moscow Kyiv Baghdad Tehran Kabul
Karachi Dhaka Bangkok Manila Jakarta Seoul Shanghai Sydney Nairobi Lagos Casablanca Bogota"""
_STATUS = (200, 201, 202, 301, 304, 400, 401, 402, 403, 404, 405, 408)
_GREEK = "αβγδεθτπσφψω"
_TOPICS = """rivers dogs music winter bread mountains trains books rain friendship computers trees
cities birds history gardens bicycles schools cheese oceans maps coffee dreams horses"""

_FUNCTIONS = """
square(x)|Return the square of x.|x * x|3;-4;0
cube(x)|Return x to the third power.|x ** 3|3;-4;0
negate(x)|Return minus x.|-x|3;-4;0
half(x)|Return half of x.|x / 2|3;-4;7
increment(x)|Return x plus one.|x + 1|3;-4;0
decrement(x)|Return x minus one.|x - 1|3;-4;0
add(a, b)|Return the sum of a and b.|a + b|1, 2;5, -7
subtract(a, b)|Return a minus b.|a - b|1, 2;5, -7
multiply(a, b)|Return the product of a and b.|a * b|1, 2;5, -7
divide(a, b)|Return a divided by b.|a / b|1, 2;5, -7
remainder(a, b)|Return the remainder of a divided by b.|a % b|7, 2;9, 5
power(a, b)|Return a to the power of b.|a ** b|2, 3;5, 2
absolute(x)|Return the absolute value of x.|abs(x)|3;-4;0
is_even(n)|Return True if n is even.|n % 2 == 0|3;4;0
is_odd(n)|Return True if n is odd.|n % 2 == 1|3;4;0
is_positive(x)|Return True if x is positive.|x > 0|3;-4;0
is_negative(x)|Return True if x is negative.|x < 0|3;-4;0
is_zero(x)|Return True if x is zero.|x == 0|3;-4;0
maximum(a, b)|Return the larger of a and b.|max(a, b)|1, 2;5, -7
minimum(a, b)|Return the smaller of a and b.|min(a, b)|1, 2;5, -7
last_digit(n)|Return the last digit of n.|n % 10|123;40
is_multiple(a, b)|Return True if a is a multiple of b.|a % b == 0|6, 3;7, 2
average(a, b)|Return the mean of a and b.|(a + b) / 2|1, 2;5, -7
sum_to(n)|Return the sum of the numbers from 1 to n.|n * (n + 1) // 2|4;10
minutes(hours)|Return the number of minutes in the hours.|hours * 60|2;5
area(width, height)|Return the area of a rectangle.|width * height|2, 3;5, 4
perimeter(width, height)|Return the perimeter of a rectangle.|2 * (width + height)|2, 3;5, 4
length(text)|Return the number of characters in text.|len(text)|"abc";""
upper(text)|Return text in upper case.|text.upper()|"abC";""
lower(text)|Return text in lower case.|text.lower()|"ABc";""
backwards(text)|Return text backwards.|text[::-1]|"abc";"xy"
strip(text)|Return text without spaces at its ends.|text.strip()|" ab ";"c "
words(text)|Return the list of the words of text.|text.split()|"a b";"cd"
count_words(text)|Return the number of words in text.|len(text.split())|"a b";"cd"
join(words)|Return the words joined by spaces.|" ".join(words)|["a", "b"];["c"]
count_a(text)|Return how often "a" occurs in text.|text.count("a")|"banana";"x"
starts_with_a(text)|Return True if text starts with "a".|text[:1] == "a"|"ab";"ba"
underscores(text)|Return text with spaces replaced by underscores.|text.replace(" ", "_")|"a b";"c"
repeat(text, n)|Return text repeated n times.|text * n|"ab", 3;"c", 0
concatenate(a, b)|Return the strings a and b joined.|a + b|"a", "b";"c", ""
to_text(x)|Return x as a string.|str(x)|3;-4
to_int(text)|Return text as an integer.|int(text)|"12";"-3"
first(items)|Return the first item.|items[0]|[1, 2, 3];[4]
second(items)|Return the second item.|items[1]|[1, 2, 3];[4, 5]
last(items)|Return the last item.|items[-1]|[1, 2, 3];[4]
all_but_first(items)|Return all items but the first.|items[1:]|[1, 2, 3];[4]
all_but_last(items)|Return all items but the last.|items[:-1]|[1, 2, 3];[4]
reverse(items)|Return the items in reverse order.|items[::-1]|[1, 2, 3];[4]
ascending(items)|Return the items in ascending order.|sorted(items)|[2, 3, 1];[4]
unique(items)|Return the set of the items.|set(items)|[1, 1, 2];[3]
count(items)|Return how many items there are.|len(items)|[1, 2, 3];[]
is_empty(items)|Return True if there are no items.|len(items) == 0|[1, 2];[]
contains(items, x)|Return True if x is among the items.|x in items|[1, 2], 2;[3], 4
total(numbers)|Return the sum of the numbers.|sum(numbers)|[1, 2, 3];[4]
largest(numbers)|Return the largest number.|max(numbers)|[1, 3, 2];[4]
smallest(numbers)|Return the smallest number.|min(numbers)|[2, 1, 3];[4]
mean(numbers)|Return the mean of the numbers.|sum(numbers) / len(numbers)|[1, 2, 3];[4]
doubled(numbers)|Return the list with every number doubled.|[2 * n for n in numbers]|[1, 2];[]
positives(numbers)|Return the list of the positive numbers.|[n for n in numbers if n > 0]|[1, -2];[]
evens(numbers)|Return the list of the even numbers.|[n for n in numbers if n % 2 == 0]|[1, 2];[4]
""".strip().splitlines()

_BUILTINS = {
    each.__name__: each
    for each in (
        *(abs, all, any, bool, chr, dict, divmod, enumerate, filter, float, int, len, list, map),
        *(max, min, ord, range, reversed, round, set, sorted, str, sum, tuple, zip),
    )
}
_NODES = (
    *(ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call),
    *(ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.Name, ast.List, ast.Tuple),
    *(ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.comprehension),
    ast.keyword,
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


@dataclass(frozen=True)
class Prompt:
    """A text to continue to the end of its line, in at most `new_tokens` tokens.

    Parameters: `known`, the right answer, of code an expression that is right; `cases`, values of
    the names in it.
    """

    task: str
    text: str
    new_tokens: int
    known: str = ""
    cases: tuple[dict[str, Any], ...] = ()

    def right(self, answer: str) -> float:
        """1 where the answer, a line, is right, else 0; NaN where there is nothing to check."""
        if self.task not in CHECKED:
            return math.nan
        if self.task == "code":
            try:
                return float(all(value(answer, c) == value(self.known, c) for c in self.cases))
            except Exception:  # whatever a wrong expression raises
                return 0.0
        found, known = (normalised(self.task, text) for text in (answer, self.known))
        return float(f" {known} " in f" {found} ")


def prompts() -> list[Prompt]:
    """Return every prompt, task by task; always the same."""
    found = [Prompt("arithmetic", f"{_ARITHMETIC}{sum} =", 6, known) for sum, known in _sums()]
    found += [Prompt("facts", f"{_FACTS}Q: {q}\nA:", 10, known) for q, known in _facts()]
    for line in _FUNCTIONS:
        head, about, known, inputs = line.split("|")
        names = re.findall(r"\w+", head)[1:]
        values = [ast.literal_eval(f"({case},)") for case in inputs.split(";")]
        text = f'{_CODE}def {head}:\n    """{about}"""\n    return'
        cases = tuple(dict(zip(names, each, strict=True)) for each in values)
        found.append(Prompt("code", text, 20, known, cases))
    sentence = f"{_OPEN}Q: Write one sentence about"
    return found + [Prompt("open", f"{sentence} {topic}.\nA:", 24) for topic in _TOPICS.split()]


def _sums() -> Iterator[tuple[str, str]]:
    for n in range(24):
        yield from (
            (f"{(a := 7 + 17 * n % 43)} + {(b := 2 + 5 * n % 19)}", str(a + b)),
            (f"{(a := 21 + 13 * n % 37)} - {(b := 2 + 7 * n % 18)}", str(a - b)),
            (f"{(a := 2 + n // 3)} * {(b := 3 + (n // 3 + 2 * (n % 3)) % 7)}", str(a * b)),
        )


def _facts() -> Iterator[tuple[str, str]]:
    country = {row[0]: row[1] for row in _tz_rows("iso3166.tab")}
    at = {row[2].split("/")[-1]: country[row[0]] for row in _tz_rows("zone.tab")}
    for city in _CITIES.split():
        # Korea (South): people leave out what is added
        yield f"In which country is {city}?", re.sub(r" \(.*\)", "", at[city])
    for number in _STATUS:
        yield f"What does HTTP status {number} mean?", HTTPStatus(number).phrase
    months = calendar.month_name
    for n in range(1, 13):
        yield f"Which month comes after {months[n]}?", months[n % 12 + 1]
    for letter in _GREEK:
        name = unicodedata.name(letter).split()[-1]
        yield f"What is the name of the Greek letter {letter}?", name


def _tz_rows(name: str) -> list[list[str]]:
    text = (resources.files("tzdata") / "zoneinfo" / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def normalised(task: str, answer: str) -> str:
    """What answers have in common that are the same: their expression, number or words."""
    if task == "code":
        with suppress(SyntaxError, ValueError, MemoryError, RecursionError):
            return ast.dump(ast.parse(answer, mode="eval"))
        return answer
    if task == "arithmetic":
        found = re.match(r"-?\d+", answer)
        return found[0] if found else answer
    plain = unicodedata.normalize("NFKD", answer).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.lower()))


def value(expression: str, names: dict[str, Any]) -> Any:
    """Evaluate what a model wrote, with `names`, harmless built-ins and methods and nothing else.

    Raises ValueError for anything else, TimeoutError after `SECONDS`, and what the expression does.
    """
    tree = ast.parse(expression.strip(), mode="eval")
    nodes = list(ast.walk(tree))
    for node in nodes:
        name = getattr(node, "attr", getattr(node, "id", ""))
        constant = getattr(node, "value", 0)
        large = isinstance(constant, int | float) and not abs(constant) <= LARGEST
        if not isinstance(node, _NODES) or name.startswith("_") or "format" in name or large:
            raise ValueError(f"{type(node).__name__} {name}: not allowed")
    if sum(isinstance(node, ast.Pow) for node in nodes) > 1:
        raise ValueError("several powers: not allowed")

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return eval(compile(tree, "answer", "eval"), {"__builtins__": _BUILTINS, **names})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
