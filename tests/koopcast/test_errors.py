import copy
import inspect
import re

import koopcast.errors as errors


def _tree() -> list[tuple[int, str]]:
    lines = inspect.getdoc(errors) or ""
    return [(len(m[1]) // 2, m[2]) for m in re.finditer(r"^( *)([A-Z]\w+)(?: {2,}.*)?$", lines, re.MULTILINE)]


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    parents: dict[int, str] = {}
    drawn = {}
    for depth, name in _tree():
        parents[depth] = name
        drawn[name] = parents[depth - 1] if depth else "Exception"
    real = {name: cls.__bases__[0].__name__ for name, cls in inspect.getmembers(errors, inspect.isclass)}
    assert drawn == real


def test_an_error_crosses_a_process_boundary_whole() -> None:
    error = errors.UnknownUnit("variable 'sst': unit 'KK'", "write K")
    twin = copy.copy(error)  # by the same protocol that sends it to another process
    assert type(twin) is errors.UnknownUnit
    assert (twin.message, twin.remedy, str(twin)) == (error.message, error.remedy, str(error))
