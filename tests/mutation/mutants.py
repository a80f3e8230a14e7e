"""Small wrongs of a module, one at a time: its source with one thing changed.

Left alone, because no test is to speak of them: docstrings, annotations, assertions (they are
for our own mistakes) and what only type checkers read.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_Site = tuple[ast.AST, str]
_DELETABLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise, ast.Continue, ast.Break, ast.Delete)


@dataclass(frozen=True)
class Mutant:
    """A module with one thing changed.

    Attributes
    ----------
    place : str           function it lies in, `<module>` outside of all
    before, after : str   the changed line, as `ast` writes it; ` #2` behind what is there before
                          where the function's second such change looks the same
    source : str          the whole module, changed
    """

    place: str
    before: str
    after: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, in the order of its nodes."""
    original = ast.unparse(ast.parse(source)).splitlines()
    seen: Counter[tuple[str, str, str]] = Counter()
    for site, (node, place) in enumerate(_sites(ast.parse(source))):
        for variant, _ in enumerate(_changes(node)):
            tree = ast.parse(source)
            changed = next(n for at, (n, _) in enumerate(_sites(tree)) if at == site)
            _changes(changed)[variant].apply(tree, changed)
            text = ast.unparse(tree)
            lines = zip(original, text.splitlines(), strict=False)
            before, after = next((a.strip(), b.strip()) for a, b in lines if a != b)
            seen[place, before, after] += 1
            nth = seen[place, before, after]
            yield Mutant(place, before + (f" #{nth}" if nth > 1 else ""), after, text)


@dataclass(frozen=True)
class _Change:
    """Put `value` at a field of the node, or another node in place of it (field None)."""

    value: Any
    field: str | None = None
    at: int | None = None

    def apply(self, tree: ast.Module, node: ast.AST) -> None:
        if self.field is None:
            assert isinstance(self.value, ast.AST), "a node takes a node's place"
            _replace(tree, node, self.value)
        elif self.at is None:
            setattr(node, self.field, self.value)
        else:
            getattr(node, self.field)[self.at] = self.value


def _changes(node: ast.AST) -> list[_Change]:
    match node:
        case ast.Compare(ops=ops):
            return [
                _Change(other(), "ops", at)
                for at, kind in enumerate(ops)
                for other in _COMPARED[type(kind)]
            ]
        case ast.BoolOp(op=kind, values=values):
            other = ast.Or() if isinstance(kind, ast.And) else ast.And()
            return [_Change(other, "op"), *(_Change(value) for value in values)]
        case ast.BinOp(op=kind) | ast.AugAssign(op=kind) if type(kind) in _COMPUTED:
            swapped = _Change(_COMPUTED[type(kind)](), "op")
            return [swapped, *([_Change(ast.Pass())] if isinstance(node, ast.AugAssign) else [])]
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            return [_Change(operand)]
        case ast.Constant(value=bool() as value):
            return [_Change(not value, "value")]
        case ast.Constant(value=int() as value):
            return [_Change(value + 1, "value")]
        case ast.Constant(value=str() as value):
            return [_Change(value + "!", "value")]
        case ast.Constant(value=bytes() as value):
            return [_Change(value + b"!", "value")]
        case ast.While():
            return [_Change(ast.Constant(False), "test")]
        case ast.If() | ast.IfExp():
            return [_Change(ast.Constant(value), "test") for value in (True, False)]
        case ast.Return(value=value) if value is not None and not _is_none(value):
            return [_Change(ast.Constant(None), "value")]
        case ast.Call(func=ast.Name(id="min" | "max" as name)):
            return [_Change(ast.Name("max" if name == "min" else "min", ast.Load()), "func")]
        case ast.Call(func=ast.Attribute(attr="min" | "max" | "all" | "any" as name)) as call:
            assert isinstance(call.func, ast.Attribute)
            others = {"min": "max", "max": "min", "all": "any", "any": "all"}
            func = ast.Attribute(call.func.value, others[name], ast.Load())
            return [_Change(func, "func")]
        case ast.Assign() | ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            return [_Change(ast.Pass())]
    return []


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _sites(node: ast.AST, place: str = "", in_function: bool = False) -> Iterator[_Site]:
    """Yield the nodes that may be changed with the function they lie in, parents first."""
    if isinstance(node, ast.Assert) or _is_docstring(node) or _is_union(node):
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        place = f"{place}.{node.name}" if place else node.name
    inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    if not isinstance(node, _DELETABLE) or in_function:
        yield node, place or "<module>"
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "decorator_list", "bases", "pattern"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _sites(child, place, inside)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and (isinstance(node.value.value, str) or node.value.value is ...)
    )


def _is_union(node: ast.AST) -> bool:
    """Say whether a statement gives several types one name."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.BinOp)
        and isinstance(node.value.op, ast.BitOr)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.istitle()
    )


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for at, child in enumerate(value):
                    if child is old:
                        value[at] = new
                        return
    raise LookupError("the node is not of this tree")
