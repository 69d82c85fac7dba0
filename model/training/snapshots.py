"""The method's state every so many steps of a training, to choose from and to look back at."""

from dataclasses import dataclass
from pathlib import Path

from emodna.model import checkpoint
from emodna.model.errors import RunError
from emodna.model.methods.base import Method
from emodna.pipeline.files import is_temporary, make_folder


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Snapshots in a folder, one file each: every so many of the `total` steps, and after the last; with 0, none."""

    folder: Path
    every: int
    total: int

    @property
    def steps(self) -> list[int]:
        """Steps after which one is taken, in order."""
        return [step for step in range(1, self.total + 1) if self.is_due(step)]

    def is_due(self, done: int) -> bool:
        """Whether one is taken after so many steps."""
        return self.every > 0 and (done % self.every == 0 or done == self.total)

    def path(self, step: int) -> Path:
        """File of the snapshot after so many steps."""
        return self.folder / f"step-{step:06d}.safetensors"

    def rewind_to(self, done: int) -> None:
        """Remove what is later than so many steps, or unfinished; a missing earlier snapshot is a `RunError`."""
        if not self.every:
            return
        make_folder(self.folder)
        for path in [each for each in self.folder.iterdir() if is_temporary(each)]:
            path.unlink()
        for step in self.steps:
            if step > done:
                self.path(step).unlink(missing_ok=True)
            elif not self.path(step).is_file():
                raise RunError(f"{self.path(step)}: missing; the run cannot go on without it, start a new one")

    def save(self, method: Method, step: int) -> None:
        """Write the snapshot after so many steps, atomically."""
        checkpoint.save_tensors(self.path(step), method.state_dict(), {"step": step})

    def restore(self, method: Method, step: int) -> None:
        """Give a method the state that it had after so many steps; a `RunError` if there is none that fits."""
        path = self.path(step)
        tensors, facts = checkpoint.load_tensors(path)
        if facts.get("step") != step:
            raise RunError(f"{path}: damaged: it is of step {facts.get('step')}")
        checkpoint.load_module(method, tensors, path)
