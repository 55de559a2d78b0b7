"""The command `koopcast`; exit codes: 0 done, 1 failed, 2 invalid input, 3 an expectation did not hold,
4 a cycle is behind.
"""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.endings import Commands, fail, tell, tolerant
from koopcast.errors import EngineError, InvalidInput, KoopcastError, printable

app = typer.Typer(
    name="koopcast",
    cls=Commands,
    help="Declarative pipelines for learned dynamical systems: from data to forecasts, analyses and scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="Pipeline in YAML.", show_default=False)]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Pipelines in YAML.", show_default=False)
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="K=V", help="Override an option: steps.dynamics.model.rank=12", default_factory=list
    ),
]
StoreRoot = Annotated[
    str | None, typer.Option("--store", metavar="URI", help="Root of the store [KOOPCAST_STORE, ./runs].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="runs://pipeline/run/step, or a folder.", show_default=False)
]
CycleName = Annotated[str, typer.Argument(metavar="CYCLE", help="Name of a cycle.", show_default=False)]
Step = Annotated[str, typer.Argument(metavar="STEP", help="Name of a step.", show_default=False)]


@contextmanager
def _importing() -> Iterator[None]:
    """Import without the garbage collector, which would walk a million new objects many times for nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@app.command()
def validate(files: Files, overrides: Overrides) -> None:
    """Check pipelines whole, without running anything; print every fault with its place."""
    with _importing():
        from flows.inspect import validate_all

    raise typer.Exit(validate_all(files, overrides))


@app.command()
def graph(
    file: File,
    overrides: Overrides,
    format: Annotated[
        Literal["text", "mermaid", "svg"], typer.Option("--format", help="How to draw it.")
    ] = "text",
) -> None:
    """Draw the steps of a pipeline and what flows between them."""
    with _importing():
        from flows.inspect import draw

    typer.echo(draw(file, overrides, format))


@app.command()
def plan(file: File, overrides: Overrides, store: StoreRoot = None, as_json: AsJson = False) -> None:
    """Show what would run, what the store has already, and why; predict time, memory and disk."""
    with _importing():
        from flows.inspect import show_plan

    show_plan(file, overrides, store, as_json=as_json)


@app.command()
def why(file: File, step: Step, overrides: Overrides, store: StoreRoot = None) -> None:
    """Say which option, input, file, seed or code makes a step run again."""
    with _importing():
        from flows.inspect import explain_step

    typer.echo(explain_step(file, step, overrides, store))


@app.command()
def run(
    file: File,
    overrides: Overrides,
    engine: Annotated[
        Literal["auto", "inline", "prefect"],
        typer.Option("--engine", help="auto: Prefect where a server can be reached, else inline."),
    ] = "auto",
    from_: Annotated[
        str | None, typer.Option("--from", metavar="S", help="Run S and what follows from it.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", metavar="S", help="Run S alone.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute again what the store has already.")] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse when anything differs from the last run.")
    ] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of a failed step.")] = False,
) -> None:
    """Run what changed, survive a kill at any moment, and write a report. The same command resumes."""
    with _importing():
        from flows.command import run as run_pipeline
        from flows.request import Request

    request = Request(
        pipeline=str(file),
        overrides=overrides,
        store=store,
        from_=from_,
        only=only,
        force=force,
        locked=locked,
    )
    raise typer.Exit(run_pipeline(request, engine, as_json=as_json, debug=debug))


@app.command()
def cycle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Cycle in YAML.", show_default=False)],
    overrides: Overrides,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="T", help="Moment up to which windows are due, UTC; default: now."),
    ] = None,
    force: Annotated[
        str | None, typer.Option("--force", metavar="WINDOW", help="Analyse this window again.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    fork: Annotated[
        bool, typer.Option("--fork", help="Go on with a reanalysis whose options or model changed.")
    ] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Analyse the windows that are due, oldest first. Killed at any moment, the same command goes on."""
    with _importing():
        from flows.cycle import run as run_cycle

    raise typer.Exit(
        run_cycle(
            file, overrides, until=until, force=force, dry_run=dry_run, fork=fork, store=store,
            as_json=as_json,
        )
    )  # fmt: skip


@app.command()
def status(
    name: CycleName,
    at: Annotated[
        str | None, typer.Option("--at", metavar="T", help="As if it were this moment, UTC; default: now.")
    ] = None,
    max_behind: Annotated[
        int, typer.Option("--max-behind", min=0, help="Due windows that may wait before it is `behind`.")
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Read manifests alone, not every file.")] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say how a cycle stands: well (exit code 0), damaged (1), to be looked at (3) or behind (4)."""
    with _importing():
        from flows.cycle import status as show_status

    code = show_status(name, store, at=at, max_behind=max_behind, quick=quick, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def report(
    name: CycleName,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="Windows, the last ones; default: all.")
    ] = None,
    store: StoreRoot = None,
) -> None:
    """Write a report over the windows of a cycle: skill, calibration, increments, the worst stations."""
    with _importing():
        from flows.cycle import report as write_report

    typer.echo(f"report: {write_report(name, store, last)}")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the copy.", show_default=False)],
    store: StoreRoot = None,
) -> None:
    """Copy the store, or bring a copy up to date; it is whole, also while runs and ticks go on."""
    with _importing():
        from flows.inspect import back_up_store

    typer.echo(back_up_store(target, store))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RUN", show_default=False)],
    store: StoreRoot = None,
) -> None:
    """Compare two runs (`sst/latest`, `sst/<id>`): options, digests, versions, scores."""
    with _importing():
        from flows.inspect import compare

    typer.echo(compare(first, second, store))


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`sst`, `sst/latest` or `sst/<id>`.")],
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Print the steps, scores and expectations of a run and where its report is."""
    with _importing():
        from flows.inspect import show_run

    show_run(run, store, as_json=as_json)


@app.command()
def predict(
    model: Model,
    data: Annotated[
        str,
        typer.Option("--data", metavar="STORE", help="zarr store, netCDF file or runs://pipeline/run/step."),
    ],
    leads: Annotated[str, typer.Option("--leads", help="Records ahead, for dynamics: 1,3,6.")] = "1",
    predicted: Annotated[
        int | None,
        typer.Option("--predicted", min=1, help="Records that a map returns; default: as trained."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="prediction.zarr or prediction.nc")] = Path(
        "prediction.zarr"
    ),
    store: StoreRoot = None,
) -> None:
    """Write what a trained model makes of a dataset, on its own grid or on another where it allows that."""
    with _importing():
        from flows.use import predict as write_prediction

    steps = leads.split(",")
    if not all(step.strip().isdigit() for step in steps):
        raise InvalidInput(f"'{leads}' are no leads", "write whole numbers: --leads 1,3,6")
    typer.echo(write_prediction(model, data, [int(step) for step in steps], predicted, output, store))


@app.command()
def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Name of the file.")] = Path("model.pt2"),
    store: StoreRoot = None,
) -> None:
    """Write a trained network as a torch.export program, which runs without Koopcast."""
    with _importing():
        from flows.use import export as write_program

    typer.echo(write_program(model, output, store))


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[FAMILY|KIND]", help="One family or one method.")
    ] = None,
) -> None:
    """List the methods that a pipeline may name; with a name, its options, bounds and reference."""
    from schemas.catalog import describe, overview

    typer.echo(overview() if name is None else describe(name))


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
) -> None:
    """Print the JSON Schema of pipelines, for completion in an editor."""
    with _importing():
        from flows.inspect import write_schema

    write_schema(output)


@app.command()
def init(directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]) -> None:
    """Start a project: a small commented pipeline that runs in less than a minute."""
    from schemas.init import init as write_template

    for file in write_template(directory):
        typer.echo(f"wrote {file}")
    typer.echo(f"next: koopcast run {directory / 'lorenz96.yaml'}")


@app.command("gc")
def collect_garbage(
    store: StoreRoot = None,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Runs kept of each pipeline.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove artefacts that no kept run refers to, and what dead runs left behind."""
    with _importing():
        from flows.inspect import collect

    collect(store, keep, dry_run=dry_run)


@app.command()
def doctor(store: StoreRoot = None) -> None:
    """Report versions, devices and the server; check every artefact of the store against its digests."""
    with _importing():
        from flows.inspect import examine

    raise typer.Exit(examine(store))


@app.command()
def deploy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Pipeline or cycle.", show_default=False)],
    store: StoreRoot = None,
) -> None:
    """Register a pipeline or a cycle with the server, with its schedule; again: bring it up to date."""
    from flows.environment import prepare

    prepare()
    with _importing():
        from flows.deploy import deploy as register

    typer.echo(register(file, store))


@app.command()
def up() -> None:
    """Start a local Prefect server and a worker on loopback."""
    from flows.environment import prepare
    from flows.server import up as start

    prepare()
    local = start(typer.echo)
    typer.echo(f"server: {local.url}")


@app.command()
def down() -> None:
    """Stop the server and the worker that `up` started."""
    from flows.server import down as stop

    if not stop(typer.echo):
        typer.echo("nothing was running")


def main() -> None:
    """Run the command line: errors in one line each, no traceback for what a person can mend."""
    tolerant()
    try:
        app()
    except InvalidInput as error:
        fail(str(error), 2)
    except EngineError as error:
        from flows.server import leave

        tell(str(error), "failed")
        leave(1)
    except KoopcastError as error:
        fail(str(error), 1)
    except OSError as error:
        fail(printable(f"{type(error).__name__}: {error}"), 1)
    except Exception:  # a fault of ours: its trace is shown, and holds no secret
        fail(traceback.format_exc(), 1)


if __name__ == "__main__":
    main()
