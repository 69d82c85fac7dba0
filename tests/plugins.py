"""Install a package without pip: its modules, and what Python reads of a distribution, in a folder on the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install_plugin(
    folder: Path,
    entry_points: Mapping[str, str],
    *,
    group: str = "emodna.corpora",
    distribution: str = "emodna-studio",
    **modules: str,
) -> Path:
    """Put modules, and a distribution that announces corpora or methods, into a folder on the path of modules."""
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folder
