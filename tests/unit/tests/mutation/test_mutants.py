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
        compile(mutant.source, "changed", "exec")
        changed = mutant.source.splitlines()
        differing = [(a, b) for a, b in zip(original, changed, strict=True) if a != b]
        assert [(a.strip(), b.strip()) for a, b in differing] == [(mutant.before, mutant.after)]
        assert mutant.place == "answer"
    assert len({mutant.source for mutant in found}) == len(found)


def test_kinds_of_change():
    bodies = {mutant.source for mutant in mutants(SOURCE)}
    for piece in ("n <= 5 and", "n < 5 or", "if not done:", "n -= 1", "n += 2", "return False",
                  "return n != 7", "int=4", "return None", "if False:", "pass"):  # fmt: skip
        assert any(piece in body for body in bodies), piece


def test_docstrings_assertions_and_names_of_types_stay():
    for mutant in mutants("Answer = int | str\n" + SOURCE):
        assert 'Say something."""' in mutant.source
        assert "assert n > 0" in mutant.source
        assert "Answer = int | str" in mutant.source


def test_a_change_is_named_by_its_place_and_told_from_its_likes():
    source = """
LIMIT = 3
class A:
    size = 1
    def grow(self):
        self.n += LIMIT
        self.n += LIMIT
"""
    named = [(mutant.place, mutant.before, mutant.after) for mutant in mutants(source)]
    assert named == [
        ("<module>", "LIMIT = 3", "LIMIT = 4"),
        ("A", "size = 1", "size = 2"),
        ("A.grow", "self.n += LIMIT", "self.n -= LIMIT"),
        ("A.grow", "self.n += LIMIT", "pass"),
        ("A.grow", "self.n += LIMIT #2", "self.n -= LIMIT"),
        ("A.grow", "self.n += LIMIT #2", "pass"),
    ]
