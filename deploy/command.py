"""The frame around every command: `--json`, one line for an error, an exit status that means something.

0: it worked. 1: it did not (nothing found, a node silent, a disk full). 2: the user's input was wrong, and
nothing was written. 130: ended by Ctrl-C.

A command returns an `Answer`. With `--json` its data is printed in one envelope, on one line:

    {"status": "ok", "command": …, "duration_ms": …, "count": …, "data": …}
    {"status": "error", "command": …, "duration_ms": …, "error": {"code": …, "message": …}}
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec
import typer
from typer.exceptions import TyperException

from protocol.errors import InvalidInput, MeshError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PROGRAM = "avm"

Show = Callable[["Console"], None]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a command found. `count`: items in `data`, where it is a list; `show` prints it for people.

    `worked` false makes the exit status 1 although an answer is printed.
    """

    data: Any
    show: Show
    count: int | None = None
    worked: bool = True


Json = Annotated[bool, typer.Option("--json", help="Print one JSON envelope instead of text.")]


def register(
    app: typer.Typer, name: str, *, aliases: tuple[str, ...] = (), panel: str | None = None
) -> Callable[[Callable[..., Answer | None]], Callable[..., Answer | None]]:
    """Make a function a command of `app`, with `--json` added; `aliases` work and are not listed.

    A function with a parameter `json_output` is told whether it was given.
    """

    def decorate(function: Callable[..., Answer | None]) -> Callable[..., Answer | None]:
        for spelling in (name, *aliases):
            framed = _framed(function, spelling)
            app.command(spelling, hidden=spelling != name, rich_help_panel=panel)(framed)
        return function

    return decorate


def _framed(function: Callable[..., Answer | None], name: str) -> Callable[..., None]:
    given = inspect.signature(function).parameters
    wants_to_know = "json_output" in given

    @functools.wraps(function)
    def framed(*, json_output: bool, **arguments: Any) -> None:
        started = time.perf_counter()
        if wants_to_know:
            arguments["json_output"] = json_output
        try:
            answer = function(**arguments)
        except MeshError as error:
            if not json_output:
                raise
            print_envelope(name, started, {"status": "error", "error": _describe(error)})
            raise typer.Exit(error.exit_status) from None
        if answer is None:
            return
        if json_output:
            body = {"status": "ok" if answer.worked else "failed", "count": answer.count, "data": answer.data}
            print_envelope(name, started, body)
        else:
            answer.show(console())
        if not answer.worked:
            raise typer.Exit(1)

    hints = get_type_hints(function, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in given.values()
        if parameter.name != "json_output"
    ]
    json_option = inspect.Parameter(
        "json_output", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json
    )
    framed.__signature__ = inspect.Signature([*parameters, json_option])  # type: ignore[attr-defined]
    framed.__annotations__ = {p.name: p.annotation for p in [*parameters, json_option]}
    del framed.__wrapped__
    return framed


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run one command line; the exit status. Errors go to stderr, one line each."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = app(args=given, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except MeshError as error:
        return _complain(str(error), error.exit_status)
    except TyperException as error:
        return _complain_of_usage(error, given)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # The reader had enough: `avm list | head`.
        drop_output()
        return 0
    return status if isinstance(status, int) else 0


def drop_output() -> None:
    """Nobody reads any more: what is still written goes nowhere, and is no error at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain_of_usage(error: TyperException, given: list[str]) -> int:
    message = error.format_message().strip()
    if "--json" in given:
        print_envelope(
            next(iter(given)),
            time.perf_counter(),
            {"status": "error", "error": {"code": InvalidInput.code, "message": message}},
        )
        return 2
    return _complain(message, 2)


def _complain(message: str, status: int) -> int:
    if message:  # Without one, the help was printed.
        print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _describe(error: MeshError) -> Mapping[str, str]:
    described = {"code": error.code, "message": str(error)}
    if isinstance(error, InvalidInput):
        described["field"] = error.field
    return described


def print_envelope(name: str, started: float, body: Mapping[str, Any]) -> None:
    """One line for `body`, which has a status; `started`: when the command began, by `perf_counter`."""
    took_ms = round((time.perf_counter() - started) * 1000, 3)
    envelope = {"status": body["status"], "command": name, "duration_ms": took_ms, **body}
    try:
        line = msgspec.json.encode(envelope)
    except UnicodeEncodeError:  # The name of a file may be bytes that are no text.
        line = msgspec.json.encode(_as_text(msgspec.to_builtins(envelope)))
    sys.stdout.write(line.decode() + "\n")


def _as_text(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list():
            return [_as_text(one) for one in value]
        case dict():
            return {_as_text(key): _as_text(one) for key, one in value.items()}
        case _:
            return value


def console() -> Console:
    """For what people read, on standard output."""
    from rich.console import Console  # 60 ms that a node's process never needs.

    # A pipe has no width: wide enough that no table is folded for it.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)


def progress_bar() -> Progress:
    """On stderr, gone when done; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def safe(text: str) -> str:
    """`text` without markup and without what would drive the terminal."""
    from rich.markup import escape

    return escape("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text))
