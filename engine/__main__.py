"""The engine as a program: `python -m engine spec.json`, and the pieces of it by hand.

Standard output carries JSON lines, each flushed. Exit codes: 0 done; 2 wrong usage; 3 the engine
gave up for a reason that it can name; 4 what another attempt may be spared, an unexpected exception
or a workload without its files or memory; 5 the parent went away (`--watch-stdin`); 143 SIGTERM.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import: each command imports what it needs, so that
# `--help` and a refused specification answer at once.

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from engine.errors import EngineError, InvalidSpec, WorkloadUnavailable
from engine.spec import DESCRIPTION_FILE, ENGINE_SPEC, DescribeSpec, Failure

_COMMANDS: Final = ("run", "train", "evaluate", "workloads")
_EXIT_GAVE_UP: Final = 3
_EXIT_PERHAPS_NOT_AGAIN: Final = 4
_EXIT_ORPHANED: Final = 5
_SECONDS_BETWEEN_LINES: Final = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    # Before torch is imported: its threads wait for each other asleep. On busy cores spinning costs
    # several times what a small network's own arithmetic does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or not (words[0] in _COMMANDS or words[0] in ("-h", "--help")):
        words.insert(0, "run")
    arguments = _parser().parse_args(words)
    if arguments.watch_stdin:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        arguments.command(arguments)
    except WorkloadUnavailable as error:
        _fail(type(error).__name__, str(error))
        return _EXIT_PERHAPS_NOT_AGAIN
    except EngineError as error:
        _fail(type(error).__name__, str(error))
        return _EXIT_GAVE_UP
    except Exception as error:  # the process's edge
        traceback.print_exc()
        _fail(type(error).__name__, str(error).partition("\n")[0])
        return _EXIT_PERHAPS_NOT_AGAIN
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--watch-stdin",
        action="store_true",
        help="end with code 5 when standard input closes, so that no orphan outlives its parent",
    )
    chosen = argparse.ArgumentParser(add_help=False, parents=[common])
    chosen.add_argument("--workload", required=True, metavar="NAME", help="an installed workload")
    chosen.add_argument(
        "--options", default="{}", metavar="JSON", help="the workload's options, a JSON object"
    )
    chosen.add_argument("--threads", type=_from_one, metavar="N", help="of torch; default: its own")

    parser = argparse.ArgumentParser(
        prog="python -m engine",
        description="Run an unlearning job, or train and evaluate a workload's network by hand.",
        epilog="`python -m engine SPEC.json` is short for `python -m engine run SPEC.json`."
        " On several processes: `torchrun --nproc-per-node 2 -m engine SPEC.json`.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[common], help="carry out a specification file")
    run.add_argument("spec", type=Path, metavar="SPEC.json", help="a JobSpec or DescribeSpec")
    run.set_defaults(command=_run)

    train = commands.add_parser(
        "train", parents=[chosen], help="train from scratch; write weights, manifest and report"
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="made if missing")
    train.add_argument("--json", action="store_true", help="JSON lines instead of a progress line")
    train.set_defaults(command=_train)

    evaluate = commands.add_parser(
        "evaluate", parents=[chosen], help="print the test metrics of a weights file as JSON"
    )
    evaluate.add_argument("--weights", type=Path, required=True, metavar="FILE")
    evaluate.set_defaults(command=_evaluate)

    workloads = commands.add_parser(
        "workloads", parents=[common], help="print the installed workloads and their versions"
    )
    workloads.set_defaults(command=_workloads)
    return parser


def _from_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def _run(arguments: argparse.Namespace) -> None:
    try:
        spec = ENGINE_SPEC.validate_json(arguments.spec.read_bytes())
    except OSError as error:
        raise InvalidSpec(f"cannot read {arguments.spec}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InvalidSpec(f"{arguments.spec.name}, {place}: {first['msg']}") from error
    if isinstance(spec, DescribeSpec):
        from engine.describe import describe
        from engine.registry import load_workload

        description = describe(load_workload(spec.workload, spec.workload_options))
        spec.staging.mkdir(parents=True, exist_ok=True)
        path = spec.staging / DESCRIPTION_FILE
        path.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return
    from engine.run import run

    _set_threads(spec.threads)
    run(spec, _print_model)


def _train(arguments: argparse.Namespace) -> None:
    from engine.registry import load_workload
    from engine.train import train_from_scratch

    _set_threads(arguments.threads)
    workload = load_workload(arguments.workload, _options(arguments.options))
    report = _JsonProgress() if arguments.json else _LineProgress(arguments.workload)
    training = train_from_scratch(workload, arguments.seed, arguments.out, report)
    if arguments.json:
        _print_line({"event": "trained", **asdict(training)})
        return
    print(f"\n{training.seconds:.1f} s, {training.gradient_evaluations} gradient evaluations")
    for task, value in training.validation.items():
        shown = "not defined" if value is None else f"{value:.4g}"
        print(f"  {task}: {workload.tasks[task].metric_name} {shown} on validation data")
    print(f"written to {arguments.out}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from engine.checkpoint import load_weights
    from engine.contract import fresh_model
    from engine.registry import load_workload
    from engine.train import split_extra_metrics, split_metrics

    _set_threads(arguments.threads)
    workload = load_workload(arguments.workload, _options(arguments.options))
    model = fresh_model(workload)
    load_weights(model, arguments.weights)
    extra = split_extra_metrics(workload, model, "test")
    beside = {"extra_metrics": extra} if extra else {}
    _print_line({**split_metrics(workload, model, "test"), **beside})


def _workloads(arguments: argparse.Namespace) -> None:
    from engine.registry import WORKLOADS, installed_versions

    _print_line(installed_versions(WORKLOADS))


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidSpec(f"--options is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise InvalidSpec("--options must be a JSON object")
    return options


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


class _JsonProgress:
    """Prints a line when the last one is old enough, and the first and last step always."""

    def __init__(self) -> None:
        self.started = self.printed = time.monotonic()

    def __call__(self, step: int, of: int) -> None:
        now = time.monotonic()
        if step in (0, of) or now - self.printed >= _SECONDS_BETWEEN_LINES:
            self.printed = now
            eta = (now - self.started) / step * (of - step) if step else None
            line = {"event": "progress", "phase": "train", "step": step, "of": of}
            _print_line({**line, "eta_seconds": eta})


class _LineProgress:
    """Redraws one line on standard error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, step: int, of: int) -> None:
        sys.stderr.write(f"\rtraining {self.name}: {step / of:4.0%}" + ("\n" if step == of else ""))
        sys.stderr.flush()


def _print_line(content: object) -> None:
    _print_whole(json.dumps(content))


def _print_model(line: BaseModel) -> None:
    _print_whole(line.model_dump_json())


def _print_whole(line: str) -> None:
    # In one piece: several processes of a job may share this output.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _fail(kind: str, message: str) -> None:
    # Nobody may be reading any more; the exit code then says it.
    with contextlib.suppress(BrokenPipeError):
        _print_model(Failure(type=kind, message=message))


def _exit_with_parent() -> None:
    # Not sys.stdin: its lock, held by this thread, would abort the interpreter's own exit.
    while os.read(0, 4096):
        pass
    os._exit(_EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
