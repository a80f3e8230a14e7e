"""What is changed to see whether tests notice."""

from __future__ import annotations

import ast

from tests.mutation.mutants import mutants

SOURCE = '''
def answer(n: int = 3) -> bool:
    """Say something."""
    assert n > 0
    if n < 5 and not done:
        n += 1
        return True
    return n == 7
'''


def test_each_mutant_changes_one_thing():
    found = list(mutants(SOURCE))
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in found:
        changed = ast.unparse(mutant.tree).splitlines()
        compile(mutant.tree, "changed", "exec")
        differing = [a for a, b in zip(original, changed, strict=True) if a != b]
        assert len(differing) == 1, (mutant.before, mutant.after)
    texts = {ast.unparse(mutant.tree) for mutant in found}
    assert len(texts) == len(found)


def test_kinds_of_change():
    bodies = {ast.unparse(mutant.tree) for mutant in mutants(SOURCE)}
    for piece in ("n <= 5 and", "n < 5 or", "if not done:", "n -= 1", "n += 2", "return False",
                  "return n != 7", "int=4", "return None", "if False:", "pass"):  # fmt: skip
        assert any(piece in body for body in bodies), piece


def test_docstrings_and_assertions_stay():
    for mutant in mutants(SOURCE):
        text = ast.unparse(mutant.tree)
        assert 'Say something."""' in text
        assert "assert n > 0" in text
