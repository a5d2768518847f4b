"""Compiles modules, and says which of them read source files; run by the target's own interpreter.

It imports the standard library only. Argument: the level of optimisation, as compile() takes it.
Standard input: one line of JSON, [[path, length], …], then the sources one after the other.
Standard output: one line of JSON, [[length, error, reads], …], then the contents of the .pyc files.
"""

import json
import marshal
import re
import sys
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType

_UNCHECKED_HASH = (1).to_bytes(4, "little")

# What a module must hold to be looked at more closely: parsing costs more than compiling.
_MAY_READ = re.compile(
    rb"\b(?:getsource|getsourcelines|findsource|getfile|getsourcefile)\b|\b(?:open|Path)\(\s*__file__"
)
_SELF, _PYTHON_TEXT = re.compile(rb"__(?:file|path)__"), re.compile(rb"""\.py(?!\w)[^"'\n]*["']""")
_NOT_IMPORTED = ("__main__.py", "conftest.py", "setup.py")
_INSPECTING = {"getsource", "getsourcelines", "findsource"}
_LOCATING = {"getfile", "getsourcefile"}
_READING = {"open", "read_text", "read_bytes"}
_LOOKING = _READING | {
    "listdir", "scandir", "walk", "iterdir", "glob", "rglob", "exists", "isfile", "is_file", "exec",
    "spec_from_file_location", "SourceFileLoader", "run_path",
}  # fmt: skip
_PYTHON_FILE = re.compile(r"\S*\.py(?!\w)\S*")
_MISSING_SOURCE = {"OSError", "IOError", "EnvironmentError", "Exception", "BaseException"}


def compiled(path: str, source: bytes, optimize: int) -> bytes:
    """The .pyc of a module: its source is never compared with it, whatever the file's time says."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=optimize)
    held: list[object] = []
    _hold(code, held)
    return MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(source) + marshal.dumps(code)


def reads(path: str, source: bytes) -> str:
    """Whose source files a module reads and cannot do without: "own", "any", or empty for none.

    any: it asks ``inspect`` for the source of what it is given, and lets the error through where there is none.
    own: it looks for Python files beside itself, or reads the file that something is defined in.
    """
    beside = _SELF.search(source) and _PYTHON_TEXT.search(source)
    if not (beside or _MAY_READ.search(source)) or path.rpartition("/")[2] in (
        "__main__.py",
        "conftest.py",
        "setup.py",
    ):
        return ""
    import ast

    tree = ast.parse(source)
    if _asks(tree, ast):
        return "any"
    calls, names, texts = set(), set(), []
    itself = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls.add(_name(node.func))
            itself = itself or _reads_itself(node, ast)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            names.add(_name(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    looks = names & {"__file__", "__path__"} and calls & _LOOKING and any(map(_PYTHON_FILE.fullmatch, texts))
    return "own" if itself or looks or (calls & _LOCATING and calls & _READING) else ""


def _asks(tree, ast) -> bool:  # type: ignore[no-untyped-def]  # ast is imported only where it is needed
    """Whether a module calls inspect for a source outside of a ``try`` that expects there to be none."""
    waiting = [(tree, False)]
    while waiting:
        node, expected = waiting.pop()
        if isinstance(node, ast.Call) and _name(node.func) in _INSPECTING and not expected:
            return True
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            expected = False
        if isinstance(node, ast.Try):
            caught = any(handler.type is None or _caught(handler.type, ast) for handler in node.handlers)
            waiting += [(child, expected or caught) for child in node.body]
            waiting += [(child, expected) for child in (*node.handlers, *node.orelse, *node.finalbody)]
        else:
            if isinstance(node, ast.With):
                calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
                suppressed = [call for call in calls if _name(call.func) == "suppress"]
                expected = expected or any(_caught(one, ast) for call in suppressed for one in call.args)
            waiting += [(child, expected) for child in ast.iter_child_nodes(node)]
    return False


def _caught(node, ast) -> bool:  # type: ignore[no-untyped-def]
    return any(_name(one) in _MISSING_SOURCE for one in (node.elts if isinstance(node, ast.Tuple) else [node]))


def _reads_itself(call, ast) -> bool:  # type: ignore[no-untyped-def]
    """open(__file__) and Path(__file__).read_text()."""
    name = _name(call.func)
    if name in ("read_text", "read_bytes") and isinstance(call.func, ast.Attribute):
        call = call.func.value
    elif name != "open":
        return False
    return isinstance(call, ast.Call) and any(_name(one) == "__file__" for one in call.args)


def _name(node: object) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")


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
        source = stdin.read(length)
        try:
            body, error, who = compiled(path, source, optimize), "", reads(path, source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            message = f"line {getattr(exc, 'lineno', None) or 1}: {getattr(exc, 'msg', None) or exc}"
            body, error, who = b"", message, ""
        heads.append([len(body), error, who])
        bodies.append(body)
    stdout.write(json.dumps(heads).encode() + b"\n" + b"".join(bodies))


if __name__ == "__main__":
    main()
