"""Install a package with entry points, without pip, into a folder on the module path."""

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
    """Write modules and the metadata of a distribution with these entry points into a folder, and return it."""
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folder
