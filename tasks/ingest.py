"""Read real files into a dataset."""

from koopcast.ingest import ingest as read
from koopcast.stores.files import write_data
from schemas.stages import IngestStep
from tasks.workspace import Workspace


def ingest(step: IngestStep, workspace: Workspace) -> None:
    """Select, convert, mask and split the fields of the source."""
    data = read(
        step.source,
        step.variables,
        units=step.units,
        mask=step.mask,
        select=step.select,
        split=step.split,
        periodic=step.periodic,
    )
    write_data(workspace.path, data)
