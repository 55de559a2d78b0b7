"""Infer inputs from observed outputs."""

from koopcast.stores.arrays import write_fields
from koopcast.stores.files import write_table
from schemas.stages import InvertStep
from tasks.study import FINDINGS, TABLES, to_table
from tasks.workspace import Workspace

POSTERIOR = "posterior.zarr"


def invert(step: InvertStep, workspace: Workspace) -> None:
    """Write the table of errors, the table by sample, and the posterior fields."""
    experiment = step.experiment
    findings, fields = experiment.run(
        workspace.map(step.model), workspace.data(step.data), workspace.job.seed
    )
    write_table(workspace.path / FINDINGS, to_table(findings, experiment.metrics()))
    (workspace.path / TABLES).mkdir()
    for name, table in findings.tables.items():
        write_table(workspace.path / TABLES / f"{name}.parquet", table)
    write_fields(workspace.path / POSTERIOR, fields)
