"""Conditions on the rows of a table, as people write them ► expressions that Arrow computes.

    similarity >= 0.3 and width >= 256 and not (lang in ('de', 'fr') or punsafe is null)

In: a text, and the types of the columns. Out: a `pyarrow.compute.Expression`, nothing in which was ever evaluated as
code. As in SQL, a comparison with null is neither true nor false, and rows are kept where the whole is true.

    or, and, not, ( )           binding as in SQL, in any case
    = == != <> < <= > >=        numbers with numbers, texts with texts, times with texts in ISO 8601
    is null, is not null        of any column
    in (1, 2), not in ('a')     of one kind
    'text'  3  0.25  true       literals; a quote in a text is doubled: 'it''s'
    name  "odd name"  `same`    columns

A number is compared in the column's own type (0.3 with a float32 as the nearest float32 is), and exactly where it is
not of that type; two columns are compared as float64.
Source: ISO/IEC 9075-2 (SQL), 6.39 search conditions.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import and_, eq, ge, gt, le, lt, ne, or_
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<name>[^\W\d]\w*)
    |(?P<quoted>"(?:[^"]|"")+"|`[^`]+`)
    |(?P<text>'(?:[^']|'')*')
    |(?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "is", "null", "in", "true", "false"})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], pc.Expression]]] = {
    "=": eq, "==": eq, "!=": ne, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MOST_CHARS: Final = 10_000
_LARGEST: Final = 1e300


class BadCondition(ValueError):
    """A text is no condition, or not one on these columns."""


class Kind(Enum):
    """What values may be compared with each other."""

    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"
    TIME = "a time"
    OTHER = "of a type that has no comparison"


@dataclass(frozen=True)
class _Column:
    name: str
    is_quoted: bool = False


@dataclass(frozen=True)
class _Literal:
    value: int | float | str | bool

    @property
    def kind(self) -> Kind:
        return Kind.TRUTH if isinstance(self.value, bool) else Kind.TEXT if isinstance(self.value, str) else Kind.NUMBER


@dataclass(frozen=True)
class _Compare:
    sign: str
    left: "_Node"
    right: "_Node"


@dataclass(frozen=True)
class _IsNull:
    operand: "_Node"


@dataclass(frozen=True)
class _IsIn:
    operand: "_Node"
    values: tuple[_Literal, ...]


@dataclass(frozen=True)
class _Not:
    operand: "_Node"


@dataclass(frozen=True)
class _Junction:
    word: str
    parts: tuple["_Node", ...]


_Node = _Column | _Literal | _Compare | _IsNull | _IsIn | _Not | _Junction


class RowCondition(NamedTuple):
    """A condition that is well formed; whether columns are there and of the right type `bind` says.

    Attributes:
        text: As it was written.
        columns: The columns it names, each once, in their order in the text.
        tree: What it says.
    """

    text: str
    columns: tuple[str, ...]
    tree: Any

    def bind(self, schema: pa.Schema) -> pc.Expression:
        """The condition as an expression on tables with a schema.

        Raises:
            BadCondition: When a column is not there, or is of a type that the condition does not fit.
        """
        expression, kind = _Binder(schema).bind(self.tree)
        if kind is not Kind.TRUTH:
            raise BadCondition(f"{self.text!r} is {kind.value}, and no condition")
        return expression


def parse_condition(text: str) -> RowCondition:
    """Parses a condition.

    Raises:
        BadCondition: When it is none; the message says where.

    >>> condition = parse_condition("score >= 0.5 AND lang IN ('en', 'de')")
    >>> condition.columns
    ('score', 'lang')
    >>> rows = pa.table({"score": [0.2, 0.7, None], "lang": ["en", "de", "de"]})
    >>> rows.filter(condition.bind(rows.schema))["score"].to_pylist()
    [0.7]
    """
    if len(text) > _MOST_CHARS:
        raise BadCondition(f"a condition of {len(text):,} characters; {_MOST_CHARS:,} are the most")
    parser = _Parser(text)
    try:
        tree = parser.parse()
    except RecursionError:
        raise BadCondition(f"too many parentheses in {text[:40]!r}…") from None
    return RowCondition(text, tuple(dict.fromkeys(parser.columns)), tree)


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


class _Parser:
    """A recursive descent over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self.columns: list[str] = []
        self._text = text
        self._tokens = [*_tokenize(text), _Token("end", "", len(text))]
        self._place = 0

    def parse(self) -> _Node:
        node = self._parse_or()
        if self._next.kind != "end":
            raise self._error("nothing, and, or or")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *texts: str) -> bool:
        """Whether one of some words or signs comes next; it is then passed over."""
        found = self._next.kind in ("word", "sign") and self._next.text in texts
        self._place += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._error(text)

    def _parse_or(self) -> _Node:
        return self._parse_junction("or", lambda: self._parse_junction("and", self._parse_not))

    def _parse_junction(self, word: str, parse: Callable[[], _Node]) -> _Node:
        parts = [parse()]
        while self._take(word):
            parts.append(parse())
        return parts[0] if len(parts) == 1 else _Junction(word, tuple(parts))

    def _parse_not(self) -> _Node:
        return _Not(self._parse_not()) if self._take("not") else self._parse_predicate()

    def _parse_predicate(self) -> _Node:
        left = self._parse_operand()
        if self._next.kind == "sign" and (sign := self._next.text) in _COMPARE:
            self._place += 1
            return _Compare(sign, left, self._parse_operand())
        if self._take("is"):
            is_not = self._take("not")
            self._expect("null")
            return _Not(_IsNull(left)) if is_not else _IsNull(left)
        if self._take("not"):
            self._expect("in")
            return _Not(self._parse_list(left))
        return self._parse_list(left) if self._take("in") else left

    def _parse_list(self, left: _Node) -> _IsIn:
        self._expect("(")
        values = [self._parse_literal()]
        while self._take(","):
            values.append(self._parse_literal())
        self._expect(")")
        return _IsIn(left, tuple(values))

    def _parse_operand(self) -> _Node:
        if self._take("("):
            node = self._parse_or()
            self._expect(")")
            return node
        if self._next.kind in ("name", "quoted"):
            column = _Column(self._next.text, self._next.kind == "quoted")
            self.columns.append(column.name)
            self._place += 1
            return column
        return self._parse_literal()

    def _parse_literal(self) -> _Literal:
        token = self._next
        if token.kind == "word" and token.text in ("true", "false"):
            value: int | float | str | bool = token.text == "true"
        elif token.kind == "text":
            value = token.text
        elif token.kind == "number":
            value = _parse_number(token.text)
        else:
            raise self._error("a column or a value")
        self._place += 1
        return _Literal(value)

    def _error(self, wanted: str) -> BadCondition:
        found = repr(self._text[self._next.start :].strip()[:20]) if self._next.kind != "end" else "the end"
        hint = "; = null is never true, write is null" if self._next.text == "null" else ""
        return BadCondition(f"{self._text!r}: expected {wanted}, found {found}{hint}")


def _parse_number(text: str) -> int | float:
    if abs(value := float(text)) > _LARGEST:
        raise BadCondition(f"{text[:20]} is too large a number")
    return int(text) if text.lstrip("+-").isdigit() else value


def _tokenize(text: str) -> Iterator[_Token]:
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise BadCondition(f"{text!r}: cannot be read from {text[place:].strip()[:20]!r} on")
        kind, token, start = found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)
        if kind == "name" and token.lower() in _KEYWORDS:
            kind, token = "word", token.lower()
        elif kind == "quoted":
            token = token[1:-1].replace('""', '"') if token[0] == '"' else token[1:-1]
        elif kind == "text":
            token = token[1:-1].replace("''", "'")
        yield _Token(kind, token, start)
        place = found.end()


class _Binder:
    """What a condition means on tables with a schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def bind(self, node: _Node) -> tuple[pc.Expression, Kind]:
        match node:
            case _Column(name):
                type_ = self._type(node)
                return _field(name, type_), _kind_of(type_)
            case _Literal(value):
                return pc.scalar(value if isinstance(value, bool | str) else float(value)), node.kind
            case _Compare(sign, left, right):
                return self._compare(sign, left, right), Kind.TRUTH
            case _IsNull(operand):
                return self.bind(operand)[0].is_null(), Kind.TRUTH
            case _IsIn(operand, values):
                return _join(or_, [self._compare("=", operand, value) for value in values]), Kind.TRUTH
            case _Not(operand):
                return ~self._truth(operand), Kind.TRUTH
            case _Junction(word, parts):
                return _join(and_ if word == "and" else or_, [*map(self._truth, parts)]), Kind.TRUTH

    def _truth(self, node: _Node) -> pc.Expression:
        expression, kind = self.bind(node)
        if kind is not Kind.TRUTH:
            raise BadCondition(f"{self._name(node)} is {kind.value}, and no condition")
        return expression

    def _compare(self, sign: str, left: _Node, right: _Node) -> pc.Expression:
        if isinstance(left, _Literal) and not isinstance(right, _Literal):
            sign, left, right = _MIRRORED.get(sign, sign), right, left
        (one, kind), (other, other_kind) = self.bind(left), self.bind(right)
        if Kind.OTHER in (kind, other_kind):
            raise BadCondition(f"{self._name(left if kind is Kind.OTHER else right)} is {Kind.OTHER.value}")
        if isinstance(left, _Column) and isinstance(right, _Literal):
            if kind is other_kind or (kind is Kind.TIME and other_kind is Kind.TEXT):
                return _compare_literal(sign, left.name, self._type(left), right.value)
        elif kind is other_kind:
            if kind is Kind.NUMBER:  # no type of whole numbers has room for those of all others
                one, other = one.cast(pa.float64(), safe=False), other.cast(pa.float64(), safe=False)
            return _COMPARE[sign](one, other)
        raise BadCondition(
            f"{self._name(left)} is {kind.value}, and cannot be compared with {self._name(right)}, {other_kind.value}"
        )

    def _type(self, column: _Column) -> pa.DataType:
        indices = self._schema.get_all_field_indices(column.name)
        if len(indices) > 1:
            raise BadCondition(f"{len(indices)} columns {column.name!r}")
        if not indices:
            hint = "; texts stand in single quotes" if column.is_quoted else ""
            raise BadCondition(missing_column(column.name, self._schema.names) + hint)
        return self._schema.field(indices[0]).type

    def _name(self, node: _Node) -> str:
        if isinstance(node, _Column):
            return f"column {node.name!r} ({self._type(node)})"
        return repr(node.value) if isinstance(node, _Literal) else "what stands in parentheses"


def _join(junction: Callable[[Any, Any], pc.Expression], parts: Sequence[pc.Expression]) -> pc.Expression:
    """Expressions joined in halves, so that long lists are not deep."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return junction(_join(junction, parts[:middle]), _join(junction, parts[middle:]))


def missing_column(name: str, names: Sequence[str]) -> str:
    """What is told of a column that is not there.

    >>> missing_column("Similarity", ["url", "similarity"])
    "no column 'Similarity' among url, similarity; did you mean 'similarity'?"
    """
    folded = {one.lower(): one for one in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return f"no column {name!r} among {', '.join(names) or 'none'}{hint}"


def _kind_of(type_: pa.DataType) -> Kind:
    if pa.types.is_dictionary(type_):
        return _kind_of(type_.value_type)
    if pa.types.is_boolean(type_):
        return Kind.TRUTH
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return Kind.NUMBER
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return Kind.TIME
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    is_binary = pa.types.is_binary(type_) or pa.types.is_large_binary(type_)
    return Kind.TEXT if is_text or is_binary else Kind.OTHER


def _field(name: str, type_: pa.DataType) -> pc.Expression:
    """A column, in a type that Arrow compares."""
    field = pc.field(name)
    if pa.types.is_dictionary(type_):
        return field.cast(type_.value_type)
    if pa.types.is_decimal(type_):
        return field.cast(pa.float64())
    return field.cast(pa.float32()) if pa.types.is_float16(type_) else field


def _compare_literal(sign: str, name: str, type_: pa.DataType, value: int | float | str | bool) -> pc.Expression:
    """A comparison of a column with a value, in the column's type where the value is of it."""
    field = _field(name, type_)
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_decimal(type_) or pa.types.is_float16(type_):
        return _COMPARE[sign](field, pc.scalar(float(value)))
    try:
        if pa.types.is_integer(type_):
            return _compare_integer(sign, field, type_, value)
        if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
            return _COMPARE[sign](field, pc.scalar(pa.scalar(value).cast(type_)))
        is_binary = pa.types.is_binary(type_) or pa.types.is_large_binary(type_)
        return _COMPARE[sign](field, pc.scalar(pa.scalar(str(value).encode() if is_binary else value, type_)))
    except pa.ArrowInvalid as error:
        raise BadCondition(f"column {name!r} ({type_}) cannot be compared with {value!r}: {error}") from None


def _compare_integer(sign: str, field: pc.Expression, type_: pa.DataType, value: Any) -> pc.Expression:
    """A comparison of whole numbers with any number, exact whatever the number."""
    if float(value).is_integer() and _fits(int(value), type_):
        return _COMPARE[sign](field, pc.scalar(pa.scalar(int(value), type_)))
    bits = type_.bit_width
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(type_) else (0, (1 << bits) - 1)
    # Between two whole numbers, or beyond all of the type: as a comparison that is true of the same whole numbers.
    if sign in ("=", "==", "!=", "<>"):
        true = pc.scalar(sign in ("!=", "<>"))
        return pc.if_else(field.is_null(), pc.scalar(pa.scalar(None, pa.bool_())), true)
    below = low if value < low else high if value > high else int(value // 1)
    bound = pc.scalar(pa.scalar(below, type_))
    if value < low:
        return field < bound if sign in ("<", "<=") else field >= bound
    return field <= bound if sign in ("<", "<=") else field > bound


def _fits(value: int, type_: pa.DataType) -> bool:
    try:
        pa.scalar(value, type_)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True
