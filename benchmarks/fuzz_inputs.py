"""Put mutated inputs into every reader and compare what it makes of each with a second, plain reader of its format.

OMP_NUM_THREADS=1 nice python benchmarks/fuzz_inputs.py --inputs 10000 --out docs/results/fuzz.json

An input is accepted as the second reader reads it, or refused by an error of the project that names the file (by a
served model: by an answer 400 with a message). Everything else is a finding; --findings keeps the first of each kind.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common import write_json
from diffurecsys.errors import UserError

TOKENS = (
    *(
        b"",
        b" ",
        b"\t",
        b",",
        b";",
        b"|",
        b"::",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\\",
    ),
    *(b'"', b'""', b"'", b"{", b"}", b"[", b"]", b"[[", b":", b"#", b"&a", b"*a", b"!!int", b"${x}", b"${oc.env:HOME}"),
    *(b"0", b"-1", b"1", b"1.5", b"1e3", b"1e999", b"-0", b"007", b"0x10", b"1_000", b"9223372036854775808", b"1e-999"),
    *(b"9" * 400, b"NaN", b"nan", b"Infinity", b"-inf", b"null", b"None", b"true", b"on", b"No", b"~", b".", b"1:30"),
    *(
        b"2024-01-01",
        b"2024-01-01T00:00:00Z",
        b"=HYPERLINK(1)",
        b"<script>",
        b"\\input{x}",
        b"../..",
        b"%s",
        b"\xc3\xa9",
    ),
    *(
        "\u0663".encode(),
        "\u202e".encode(),
        "\u2028".encode(),
        "\u0085".encode(),
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\u0000",
    ),
    *(b"user_id", b"item_id:token", b"user", b"history", b"x" * 5000),
)


@dataclass
class Fault:
    """The second reader's word that an input cannot be accepted.

    Attributes:
        line: where the first faulty line begins, from 1; None: it is the file as a whole, or has no lines.
    """

    line: int | None = None


class Silent:
    """The second reader has no opinion: two readings can be defended."""


@dataclass
class IfAccepted:
    """The second reader does not say whether to accept, but what an accepted input gives.

    Attributes:
        value: that.
    """

    value: object


@dataclass
class Target:
    """A reader under test.

    Attributes:
        name: of the format.
        file: name of the input's file; empty: it is no file.
        read: gives what was read, as something to compare; raises the project's errors.
        expect: the second reader.
        make: draws an input.
        counts: verdicts so far.
        findings: examples of each verdict that is one.
        seconds: spent in `read`.
    """

    name: str
    file: str
    read: Callable[[bytes], object]
    expect: Callable[[bytes], object]
    make: Callable[[random.Random], bytes]
    counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[tuple[bytes, str]]] = field(default_factory=dict)
    seconds: float = 0.0

    def try_one(self, content: bytes) -> None:
        """Read an input and count what came of it."""
        began = time.process_time()
        value: object = None
        error: Exception | None = None
        try:
            value = self.read(content)
        except Exception as caught:
            error = caught
        self.seconds += time.process_time() - began
        expected = self.expect(content)
        verdict, finding = self._judge(value, error, expected)
        self.counts[verdict] += 1
        if finding and len(examples := self.findings.setdefault(verdict, [])) < 4:
            examples.append((content, f"{error!r}\n{value!r:.2000}\nexpected {expected!r:.2000}"))

    def _judge(self, value: object, error: Exception | None, expected: object) -> tuple[str, bool]:
        if isinstance(error, UserError):
            if self.file and self.file not in str(error):
                return "REFUSED WITHOUT THE FILE", True
            if isinstance(expected, Fault) and expected.line is not None:
                named = [int(line) for line in re.findall(r"(?:line|row) (\d+)", str(error))]
                if named and expected.line not in named:
                    return "REFUSED, NAMING ANOTHER LINE", True
                return ("refused, naming the line" if named else "refused"), False
            could = not isinstance(expected, Fault | Silent | IfAccepted)
            return ("refused, though it could be read" if could else "refused"), could
        if error is not None:
            return f"CRASHED: {type(error).__name__}", True
        if isinstance(expected, Silent):
            return "accepted, two readings possible", False
        if isinstance(expected, Fault):
            return "ACCEPTED, THOUGH FAULTY", True
        if value != (expected.value if isinstance(expected, IfAccepted) else expected):
            return "READ OTHERWISE", True
        return "accepted as it says", False


def mutate(content: bytes, draw: random.Random, tokens: Sequence[bytes] = TOKENS, most: int = 3) -> bytes:
    """Change bytes, values, lines or the end, once to `most` times."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, most)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.choice(("flip", "token", "token", "value", "value", "value", "cut", "remove", "copy", "line"))
        if kind == "flip" and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == "token":
            changed[place:place] = draw.choice(tokens)
        elif kind == "value":  # in the place of what stands between two delimiters
            values = [match.span() for match in re.finditer(rb"[^\s,;|:\"'\[\]{}]+", bytes(changed))]
            begin, end = draw.choice(values or [(0, 0)])
            changed[begin:end] = draw.choice(tokens)
        elif kind == "cut" and draw.random() < 0.3:
            del changed[place:]
        elif kind == "remove":
            del changed[place : place + draw.choice((1, 2, 10))]
        elif kind == "copy":
            other = draw.randrange(len(changed) + 1)
            changed[place:place] = changed[other : other + draw.choice((1, 8, 40))]
        elif kind == "line":
            lines = bytes(changed).splitlines(keepends=True)
            if lines:
                one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
                lines[one] = draw.choice((lines[other], b"", lines[one] + lines[other], lines[one].rstrip()))
                changed = bytearray(b"".join(lines))
    return bytes(changed)


def damage(content: bytes, draw: random.Random) -> bytes:
    """Damage a binary file."""
    changed, place = bytearray(content), draw.randrange(len(content))
    kind, size = draw.choice(("flip", "flip", "zero", "copy", "cut", "more", "byte")), draw.choice((1, 4, 64))
    if kind == "flip":
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "zero":
        changed[place : place + size] = bytes(len(changed[place : place + size]))
    elif kind == "copy":
        other = draw.randrange(len(content))
        changed[place : place + size] = content[other : other + size]
    elif kind == "cut":
        del changed[place:]
    elif kind == "more":
        changed += draw.randbytes(size)
    else:
        changed[place] = draw.randrange(256)
    return bytes(changed)


def main() -> None:
    """Try every reader."""
    from fuzz_files import file_targets
    from fuzz_served import served_targets
    from fuzz_yaml import yaml_targets

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--only", nargs="*", help="names of readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, help="folder for inputs that were findings")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = (targets(Path(folder)) for targets in (file_targets, yaml_targets, served_targets))
        for target in itertools.chain.from_iterable(made):
            if args.only and target.name not in args.only:
                continue
            draw = random.Random(f"{args.seed} {target.name}")
            for _ in range(args.inputs):
                target.try_one(target.make(draw))
            result[target.name] = {"inputs": args.inputs, **dict(target.counts.most_common())}
            result[target.name]["milliseconds_each"] = round(1000 * target.seconds / args.inputs, 1)
            print(target.name, result[target.name], flush=True)
            for verdict, examples in target.findings.items():
                for number, (content, said) in enumerate(examples if args.findings else ()):
                    args.findings.mkdir(exist_ok=True, parents=True)
                    (args.findings / f"{target.name} {verdict} {number}".replace("/", "-")).write_bytes(
                        content + b"\n-----\n" + said.encode("utf-8", "backslashreplace")
                    )
    write_json(args.out, {"seed": args.seed, "readers": result})


if __name__ == "__main__":
    main()
