"""Compiles modules; run by the target's own interpreter, so it imports the standard library only.

Argument: the level of optimisation, as compile() takes it.
Standard input: one line of JSON, [[path, length], …], then the sources one after the other.
Standard output: one line of JSON, [[length, error], …], then the contents of the .pyc files.
"""

import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType

_UNCHECKED_HASH = (1).to_bytes(4, "little")


def compiled(path: str, source: bytes, optimize: int) -> bytes:
    """The .pyc of a module: its source is never compared with it, whatever the file's time says."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=optimize)
    held: list[object] = []
    _hold(code, held)
    return MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(source) + marshal.dumps(code)


def _hold(value: object, held: list[object]) -> None:
    """Keeps a second reference to everything in a code object.

    marshal marks what is referenced more than once, and a name may or may not be shared with whatever else
    this process has compiled before. Held here, everything is shared, so the bytes depend on the source alone.
    """
    held.append(value)
    if isinstance(value, CodeType):
        for part in (
            value.co_consts, value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars,
            value.co_filename, value.co_name, value.co_qualname,
        ):  # fmt: skip
            _hold(part, held)
    elif isinstance(value, tuple | frozenset):
        for part in value:
            _hold(part, held)


def main() -> None:
    """Serves one batch."""
    stdin, stdout, optimize = sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1])
    heads, bodies = [], []
    for path, length in json.loads(stdin.readline()):
        try:
            body, error = compiled(path, stdin.read(length), optimize), ""
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            body, error = b"", f"line {getattr(exc, 'lineno', None) or 1}: {getattr(exc, 'msg', None) or exc}"
        heads.append([len(body), error])
        bodies.append(body)
    stdout.write(json.dumps(heads).encode() + b"\n" + b"".join(bodies))


if __name__ == "__main__":
    main()
