"""What mutation testing changes: one small thing at a time, in the money arithmetic.

Comparisons and their edges, arithmetic, `and`/`or`/`not`, constants, `min`/`max`, conditions, statements left out,
values returned, and the same in the hand-written SQL.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TARGETS = [*sorted((ROOT / "billing" / "ledger").glob("*.py")), ROOT / "pricing" / "rating.py"]
# The door.
LEFT_OUT = {"__init__.py"}

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SQL = [
    (r"<>", "="), (r"(?<![<>])=(?=\s*%\()", "<>"), (r"<=", "<"), (r"(?<![<-])>(?![>=])", ">="), (r"<(?![>=])", "<="),
    (r"\bAND\b", "OR"), (r"\bNOT\b", ""), (r" \+ ", " - "), (r" - ", " + "), (r"\bSUM\b", "MAX"),
    (r"\bLEAST\b", "GREATEST"), (r"\bFOR NO KEY UPDATE\b", ""), (r"'open'", "'closed'"), (r"'debit'", "'refund'"),
    (r"'refund'", "'debit'"), (r"ON CONFLICT[^\n]*DO NOTHING", ""),
]  # fmt: skip


class Mutant(NamedTuple):
    file: str
    line: int
    what: str
    tree: ast.Module


class _Site(NamedTuple):
    """A place where something can be changed: its line, what is changed, and what does it to the tree."""

    line: int
    what: str
    change: Callable[[], Any]


def mutants(*, only: str | None = None) -> Iterator[Mutant]:
    """Of all targets, or of one file, named from the top of the checkout."""
    for path in TARGETS:
        name = str(path.relative_to(ROOT))
        if path.name in LEFT_OUT or (only and name != only):
            continue
        source = path.read_text()
        for index in range(len(list(_sites(ast.parse(source))))):
            # Each change is made to a tree of its own.
            tree = ast.parse(source)
            site = list(_sites(tree))[index]
            site.change()
            yield Mutant(name, site.line, site.what, ast.fix_missing_locations(tree))


def _sites(tree: ast.Module) -> Iterator[_Site]:
    docstrings = {id(text) for node in ast.walk(tree) if (text := _docstring(node)) is not None}
    for node in _walk(tree):
        if id(node) not in docstrings:
            yield from _of_node(node)
            yield from _of_block(node)


def _docstring(node: ast.AST) -> ast.AST | None:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
        return None
    first = node.body[0]
    return first.value if isinstance(first, ast.Expr) else None


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield child
                    yield from _walk(child)


def _of_node(node: ast.AST) -> Iterator[_Site]:
    match node:
        case ast.Compare() | ast.BinOp() | ast.AugAssign() | ast.BoolOp() | ast.UnaryOp():
            yield from _of_operators(node)
        case ast.Call(func=ast.Name(id=called) as function) if called in _CALLS:
            yield _Site(node.lineno, f"{called} -> {_CALLS[called]}", partial(setattr, function, "id", _CALLS[called]))
        case ast.Constant():
            yield from _of_constant(node)
        case ast.If():
            for answer in (False, True):
                yield _Site(node.lineno, f"condition -> {answer}", partial(setattr, node, "test", ast.Constant(answer)))
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield _Site(node.lineno, "return None", partial(setattr, node, "value", ast.Constant(None)))


def _of_operators(node: ast.Compare | ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp) -> Iterator[_Site]:
    match node:
        case ast.Compare(ops=operators):
            for place, operator in enumerate(operators):
                if other := _COMPARE.get(type(operator)):
                    yield _Site(node.lineno, _names(operator, other), partial(operators.__setitem__, place, other()))
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            changed = _BINARY.get(type(operator))
            if changed and not (isinstance(node, ast.BinOp) and (_is_text(node.left) or _is_text(node.right))):
                yield _Site(node.lineno, _names(operator, changed), partial(setattr, node, "op", changed()))
        case ast.BoolOp(op=joined):
            either = ast.Or if isinstance(joined, ast.And) else ast.And
            yield _Site(node.lineno, _names(joined, either), partial(setattr, node, "op", either()))
        case ast.UnaryOp(op=ast.Not() | ast.USub() as sign, operand=operand):
            yield _Site(node.lineno, f"drop {type(sign).__name__}", partial(_become, node, operand))


def _of_constant(node: ast.Constant) -> Iterator[_Site]:
    value, change = node.value, partial(setattr, node, "value")
    if isinstance(value, bool):
        yield _Site(node.lineno, f"{value} -> {not value}", partial(change, not value))
    elif isinstance(value, int):
        yield _Site(node.lineno, f"{value} -> {value + 1}", partial(change, value + 1))
    elif isinstance(value, str) and re.search(r"\b(SELECT|UPDATE|INSERT)\b", value):
        for pattern, other in _SQL:
            for match in re.finditer(pattern, value):
                before, after = value[: match.start()], value[match.end() :]
                # A comment changes nothing.
                if "--" not in before.rpartition("\n")[2]:
                    line = node.lineno + before.count("\n")
                    yield _Site(line, f"SQL {match[0]!r} -> {other!r}", partial(change, before + other + after))


def _of_block(node: ast.AST) -> Iterator[_Site]:
    """Statements left out: calls, `raise`, and what adds to something."""
    if isinstance(node, (ast.Module, ast.ClassDef)):
        return
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        for place, statement in enumerate(block):
            is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            if is_call or isinstance(statement, (ast.AugAssign, ast.Raise)):
                what = f"leave out `{ast.unparse(statement).splitlines()[0][:60]}`"
                yield _Site(statement.lineno, what, partial(block.__setitem__, place, ast.Pass()))


def _names(before: ast.AST, after: type[ast.AST]) -> str:
    return f"{type(before).__name__} -> {after.__name__}"


def _become(node: ast.AST, other: ast.AST) -> None:
    node.__class__ = other.__class__
    node.__dict__ = dict(other.__dict__)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, (ast.JoinedStr, ast.List)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )
