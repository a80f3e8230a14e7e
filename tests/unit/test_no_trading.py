"""This project reads a market. Nothing in it places an order or moves money, and nothing will."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from replay.exchange.api_keys import ApiKeys
from replay.exchange.app import ExchangeServer
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "order", "orders", "oco", "stop-order", "hf", "fills", "limit", "transfer", "inner-transfer",
    "universal-transfer", "flex-transfer", "withdrawal", "withdrawals", "withdraw", "deposits",
    "deposit-addresses", "deposit-address", "account", "accounts", "sub-accounts", "sub", "margin",
    "isolated", "loan", "borrow", "repay", "redeem", "purchase", "earn", "lend", "position",
    "positions", "bullet-private", "broker",
}  # fmt: skip
_PATH = re.compile(r"/api/(?:ua/)?v\d+/[\w/{}.:-]*")


def _segments(path: str) -> set[str]:
    return {part for part in re.split(r"[/?]", path.lower()) if part}


def _texts(tree: ast.AST) -> list[str]:
    """Return every text of a module that is no docstring: what it may send or answer."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
    ]


def _forbidden(text: str) -> list[str]:
    return [path for path in _PATH.findall(text) if _segments(path) & FORBIDDEN]


@pytest.mark.parametrize("package", ["schemas", "recorder", "replay"])
def test_no_text_of_the_code_is_the_path_of_an_order_or_a_transfer(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert len(modules) > 10
    found = [
        f"{module.relative_to(ROOT)}: {path}"
        for module in modules
        for text in _texts(ast.parse(module.read_text(encoding="utf-8")))
        for path in _forbidden(text)
    ]
    assert found == []


def test_the_scan_knows_such_a_path_when_it_sees_one() -> None:
    code = '"""A page about /api/v1/orders."""\nurl = f"https://host/api/v1/orders/{number}"\n'
    assert [p for text in _texts(ast.parse(code)) for p in _forbidden(text)] == ["/api/v1/orders/"]
    assert _forbidden("/api/v2/accounts/inner-transfer")
    assert not _forbidden("/api/v3/market/orderbook/level2?symbol=BTC-USDT")


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_exchange_answers_no_such_path_and_changes_nothing(name: str) -> None:
    source = SyntheticSource(["BTC-USDT"], wording=WORDINGS[name])
    app = ExchangeServer(source, dialect=DIALECTS[name], keys=ApiKeys()).app()
    routes = [(route.method, route.resource.canonical) for route in app.router.routes()]
    assert len(routes) > 20
    assert [path for _, path in routes if _segments(path) & FORBIDDEN] == []
    # A token to connect with is all that anybody can make here.
    assert {path for method, path in routes if method not in {"GET", "HEAD"}} == {
        "/api/v1/bullet-public"
    }


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_no_profile_names_such_a_path(name: str) -> None:
    profile = PROFILES[name]
    paths = [
        profile.bullet_path, profile.symbols_path, profile.tickers_path, profile.timestamp_path,
        profile.histories_path, profile.status_path or "", profile.key_path or "",
        *(source.path for source in (*profile.books, *profile.captured_books)),
        *profile.limits.rest_weights,
    ]  # fmt: skip
    assert [path for path in paths if _segments(path) & FORBIDDEN] == []
