"""Save and restore model snapshots: states of a method during training, for a selection afterwards."""

from dataclasses import dataclass
from pathlib import Path

from emodna.model import checkpoint
from emodna.model.errors import RunError
from emodna.model.methods.base import Method
from emodna.pipeline.files import is_temporary, make_folder


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The model snapshots of a run, one file each."""

    folder: Path
    every: int
    """Steps between two snapshots; 0: no snapshots. The last step always has one."""
    total: int
    """Steps of the run."""

    @property
    def steps(self) -> list[int]:
        """Steps that have a snapshot, in order."""
        return [step for step in range(1, self.total + 1) if self.is_due(step)]

    def is_due(self, done: int) -> bool:
        """Return True if a snapshot is saved after `done` steps."""
        return self.every > 0 and (done % self.every == 0 or done == self.total)

    def path(self, step: int) -> Path:
        """Return the file of the snapshot of a step."""
        return self.folder / f"step-{step:06d}.safetensors"

    def rewind_to(self, done: int) -> None:
        """Delete incomplete snapshots and those after `done` steps; raise a RunError if an earlier one is missing."""
        if not self.every:
            return
        make_folder(self.folder)
        for path in filter(is_temporary, list(self.folder.iterdir())):
            path.unlink()
        for step in self.steps:
            path = self.path(step)
            if step > done:
                path.unlink(missing_ok=True)
            elif not path.is_file():
                raise RunError("not found, and the run cannot resume without it", where=path, remedy="start a new run")

    def save(self, method: Method, step: int) -> None:
        """Write the snapshot of a step atomically."""
        checkpoint.save_tensors(self.path(step), method.state_dict(), {"step": step})

    def restore(self, method: Method, step: int) -> None:
        """Restore a method's state of a step; raise a RunError if the snapshot is missing or damaged."""
        path = self.path(step)
        tensors, metadata = checkpoint.load_tensors(path)
        if (found := metadata.get("step")) != step:
            raise RunError(f"damaged: its step is {found}", where=path)
        checkpoint.load_module(method, tensors, path)
