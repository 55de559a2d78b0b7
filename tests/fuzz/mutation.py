"""Damage to inputs: of bytes, of lines and words, or of structure; the same seed, the same damage."""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[Random, Sequence[bytes]], bytes]
"""From a corpus to one damaged input."""
BYTES = (0, 1, 9, 10, 13, 32, 34, 39, 45, 47, 58, 92, 123, 127, 128, 191, 192, 255)
NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"-inf", b"9" * 25, b"2147483648", b"1e-400", b"0x10", b"\xd9\xa3")
WORDS = (
    b"!!python/object/apply:os.system ['true']",
    b"!!python/name:os.system",
    b"!!binary aGk=",
    b"&a [*a]",
    b"*a",
    b"&a",
    b"<<: *a",
    b"${HOME}",
    b"{{ x }}",
    b"../../../etc/passwd",
    b"/dev/zero",
    b"pkg://os/../x",
    b"~root/x",
    b"~",
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b"'",
    b'"',
    b"- ",
    b": ",
    b"? ",
    b"|\n",
    b">-\n",
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\x00",
    b"\xff\xfe",
    b"#",
    b"kind: ",
    b"extends: x.yaml\n",
    b"runs://a/latest/b",
    b"x" * 300,
    b"[" * 40,
    b"1970-01-01T00:00:00Z",
    b"__class__",
    b",,,",
    b"\r\n",
    b"9999",
    b"-9999",
    b"P1M",
    b"PT0S",
    b"-P9999999999Y",
)
SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**6,
    10**17,
    10**30,
    0.5,
    -1e308,
    1e-320,
    "",
    "x",
    "edmd",
    "train",
    "truth.test",
    "../..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    ".",
    "..",
    "\x00",
    "\ud7ff",
    "é" * 50,
    "P1M",
    "2009-13-45",
    "runs://a/latest/b",
    "inbox/../../*",
    [],
    {},
    [[]],
    [0],
    {"kind": "x"},
    {"": None},
    ["a", "a"],
)


def damaged_bytes(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Flip, insert, delete, repeat, cut or splice bytes, in up to four places."""
    content = bytearray(random.choice(corpus))
    for _ in range(random.choice((1, 1, 2, 4))):
        content = _EDITS[random.randrange(len(_EDITS))](random, content, corpus)
    return bytes(content[:200_000])


def _flip(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return content


def _set(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    if content:
        content[random.randrange(len(content))] = random.choice(BYTES)
    return content


def _insert(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    place = random.randrange(len(content) + 1)
    content[place:place] = random.choice(random.choice((WORDS, NUMBERS)))
    return content


def _delete(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    place = random.randrange(len(content) + 1)
    del content[place : place + random.choice((1, 2, 7, 40))]
    return content


def _repeat(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    place = random.randrange(len(content) + 1)
    content[place:place] = content[place : place + random.randrange(1, 60)] * random.choice((1, 2, 30))
    return content


def _cut(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    del content[random.randrange(len(content) + 1) :]
    return content


def _noise(random: Random, content: bytearray, _: Sequence[bytes]) -> bytearray:
    place = random.randrange(len(content) + 1)
    content[place : place + 8] = random.randbytes(random.randrange(1, 9))
    return content


def _splice(random: Random, content: bytearray, corpus: Sequence[bytes]) -> bytearray:
    other = random.choice(corpus)
    place = random.randrange(len(other) + 1)
    return content[: random.randrange(len(content) + 1)] + other[place:]


_EDITS = (_flip, _flip, _set, _insert, _delete, _repeat, _cut, _noise, _splice)


def damaged_lines(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Delete, repeat, swap, indent or join lines, and put other words or numbers into them."""
    lines = random.choice(corpus).split(b"\n")
    for _ in range(random.choice((1, 2, 3))):
        place = random.randrange(len(lines))
        match random.randrange(7):
            case 0:
                del lines[place]
                lines = lines or [b""]
            case 1:
                lines.insert(random.randrange(len(lines) + 1), lines[place])
            case 2:
                other = random.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = b" " * random.randrange(9) + lines[place].lstrip()
            case 4:
                head, mark, _ = lines[place].partition(random.choice((b":", b",")))
                lines[place] = head + mark + b" " + random.choice(random.choice((WORDS, NUMBERS)))
            case 5:
                words = lines[place].split(b" ")
                words[random.randrange(len(words))] = random.choice(random.choice((WORDS, NUMBERS)))
                lines[place] = b" ".join(words)
            case _:
                lines.insert(place, random.choice(random.choice(corpus).split(b"\n")))
    return b"\n".join(lines)


def damaged_values(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Delete, rename, repeat, replace or nest nodes of a JSON document, which is YAML too."""
    document = json.loads(random.choice(corpus))
    places = list(_places(document))
    for _ in range(random.choice((1, 1, 2, 3))):
        parent, key = random.choice(places)
        if key not in (parent if isinstance(parent, dict) else range(len(parent))):
            continue
        match random.randrange(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[random.choice(("x", "kind", "path", "of", f"{key}s", "../x"))] = parent.pop(key)
            case 2:
                other, at = random.choice(places)
                if at in (other if isinstance(other, dict) else range(len(other))):
                    parent[key] = copy.deepcopy(other[at])
            case 3:
                for _ in range(random.choice((1, 40))):
                    parent[key] = [parent[key]] if random.random() < 0.5 else {"kind": parent[key]}
            case _:
                parent[key] = copy.deepcopy(random.choice(SCALARS))
    return json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(node: Any) -> "list[tuple[Any, Any]]":
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [pair for key in keys for pair in ((node, key), *_places(node[key]))]


def words(vocabulary: Sequence[str], longest: int = 12) -> Mutate:
    """Return what strings words of a grammar together, and now and then damages a right sentence."""

    def mutate(random: Random, corpus: Sequence[bytes]) -> bytes:
        if random.random() < 0.4:
            return damaged_bytes(random, corpus)
        chosen = random.choices(vocabulary, k=random.randrange(1, longest))
        return random.choice((" ", "")).join(chosen).encode()

    return mutate


def mixed(*parts: Mutate) -> Mutate:
    """Return what damages in one of several ways."""

    def mutate(random: Random, corpus: Sequence[bytes]) -> bytes:
        return random.choice(parts)(random, corpus)

    return mutate
