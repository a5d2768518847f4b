"""Imports an artefact as its target would; run by `python -I -S`, so it imports the standard library only.

Arguments: the App as "module:attribute", the file for the answer, the folders for sys.path.
"""

import sys

_MARK = "pys-multi: the import begins or ends here"


def main() -> None:
    """Imports, then writes what came of it as JSON. Nothing that the service may import is imported before."""
    from time import perf_counter

    app, answer, *folders = sys.argv[1:]
    sys.path[:0] = folders
    # What python -m and an entry file would see, not this file's arguments.
    sys.argv[:] = [app]
    module_name, _, attribute = app.partition(":")
    result: dict[str, object] = {}
    print(_MARK, file=sys.stderr, flush=True)
    started = perf_counter()
    try:
        __import__(module_name)
        result["seconds"] = perf_counter() - started
        print(_MARK, file=sys.stderr, flush=True)
        found = sys.modules[module_name]
        for name in attribute.split("."):
            found = getattr(found, name)
        result["service"] = found.service().to_json()
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a module are a failed import too
        import traceback

        # The frames of this file say nothing to the user.
        tail = error.__traceback__
        while tail is not None and tail.tb_frame.f_code.co_filename == __file__:
            tail = tail.tb_next
        text = "".join(traceback.format_exception(type(error), error, tail))
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        result.update(traceback=text, missing=missing, error=f"{type(error).__name__}: {error}")
    import json
    import os

    with open(answer, "w", encoding="utf-8") as file:
        json.dump(result, file, default=str)
    # A thread that the import has started must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
