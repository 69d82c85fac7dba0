"""Environments as people have them: notebooks, containers and damaged configurations of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from emodna.cli.options import HomePath
from emodna.pipeline.archives import get_data_root
from emodna.pipeline.catalogue import resolve_store
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import expand_home
from tests.cli.programs import iterate_commands
from tests.cli.running import Command
from tests.pipeline.making import noise, wav

#: A path below which nothing can be written, not even by root.
NOWHERE = "/proc/nowhere"
DAMAGED = b"a: [b\n: :\n\xff\xfe"


def run_python(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run code with variables; None deletes one."""
    variables = {**os.environ, **environment}
    present = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], env=present, capture_output=True, text=True, timeout=300)


class TestHome:
    @pytest.fixture
    def home(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return the home folder, which has recordings in ~/calls; the working folder is another one."""
        folder = here / "home"
        (folder / "calls").mkdir(parents=True)
        (folder / "calls" / "a.wav").write_bytes(wav(noise(0.4)))
        monkeypatch.setenv("HOME", str(folder))
        return folder

    def test_no_folder_is_named_after_a_tilde(
        self, home: Path, here: Path, emodna_prep: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "prep.toml").write_text('folder = "~/calls"\ncache = "~/from file"\n')
        monkeypatch.setenv("EMODNA_PREP_FOLDER", "~/calls")
        for cache, arguments in (
            ("from variable", ()),
            ("from option", ("--cache=~/from option",)),
            ("from file", ("--config", "~/prep.toml")),
        ):
            monkeypatch.setenv("EMODNA_CACHE", "~/from variable")
            if cache == "from file":
                (here / "prep.toml").rename(home / "prep.toml")
                monkeypatch.delenv("EMODNA_CACHE")
                monkeypatch.delenv("EMODNA_PREP_FOLDER")
            (report,) = emodna_prep(*arguments, "--json").json
            assert report["store"].startswith(f"{home}/{cache}/calls/")
        assert [path.name for path in here.iterdir()] == ["home"]
        assert resolve_store("cache", f"~/{cache}/calls") == Path(report["store"])

    def test_the_data_folder_is_expanded(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMODNA_DATA", "~/corpora")
        assert get_data_root() == home / "corpora"

    @pytest.mark.usefixtures("home")
    def test_other_paths_stay_as_they_are(self, here: Path) -> None:
        (here / "~x").mkdir()
        for path in ("a/~/b", "~x/b", "~backup.wav", "-", "./~/a"):
            assert expand_home(path) == path

    @pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "~/x", "~"])
    @pytest.mark.usefixtures("here")
    def test_an_unknown_home_is_an_error(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os.path, "expanduser", str)  # as without $HOME and an entry of the user
        with pytest.raises(EmodnaError):
            expand_home(path)

    def test_every_path_on_the_command_line_is_expanded(self) -> None:
        types = {
            (words, parameter.name): parameter.type
            for words, command in iterate_commands()
            for parameter in command.params
        }
        paths = {name for name, kind in types.items() if isinstance(kind, click.Path)}
        assert len(paths) > 30
        assert paths == {name for name, kind in types.items() if isinstance(kind, HomePath)}


class TestOtherPackages:
    def test_figures_are_drawn_alike_under_any_configuration_of_matplotlib(self, tmp_path: Path) -> None:
        (tmp_path / "damaged").write_bytes(DAMAGED)
        (tmp_path / "odd").write_text("figure.dpi: -3\ntext.usetex: True\nfont.size: 60\nno.such: 1\n")
        code = (
            "import sys; from emodna.cli.plotting import Figure; figure = Figure(figsize=(1, 1));"
            "figure.subplots().set_title('a'); figure.savefig(sys.stdout.buffer, format='svg', metadata={'Date': None})"
        )
        drawn = set()
        for backend, configuration in (("module://matplotlib_inline.backend_inline", "damaged"), ("NoSuch", "odd")):
            done = run_python(
                code, MPLBACKEND=backend, MATPLOTLIBRC=str(tmp_path / configuration), MPLCONFIGDIR=NOWHERE
            )
            assert (done.returncode, done.stderr) == (0, "")
            drawn.add(len(done.stdout))
        assert len(drawn) == 1

    @pytest.mark.parametrize("name", ["DASK_CONFIG", pytest.param("HOME", marks=pytest.mark.slow)])
    def test_a_damaged_configuration_of_dask_is_one_error(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / ".config/dask/dask.yaml"
        file.parent.mkdir(parents=True)
        file.write_bytes(DAMAGED)
        code = (
            "from emodna.pipeline.prepare.cluster import import_dask\n"
            "from emodna.pipeline.errors import WorkerError\n"
            "try: import_dask()\nexcept WorkerError as error: print(error)"
        )
        done = run_python(code, **{name: str(file if name == "DASK_CONFIG" else tmp_path)})
        assert (done.returncode, done.stderr) == (0, "")
        (line,) = done.stdout.splitlines()
        assert "dask.yaml" in line


#: Variables -> values; None deletes a variable.
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None, "USER": None, "LOGNAME": None},
    "home that cannot be written": {"HOME": NOWHERE},
    "no temporary folder": {"TMPDIR": NOWHERE},
    "no caches": dict.fromkeys(
        ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME"), NOWHERE
    ),
    "ASCII": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    "terminal": {"COLUMNS": "0", "LINES": "x", "TERM": "unknown", "NO_COLOR": "1", "FORCE_COLOR": "1"},
    "threads": {"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "-1", "OPENBLAS_NUM_THREADS": ""},
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
}


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_no_environment_gives_a_traceback_or_a_flood(
    environment: dict[str, str | None], here: Path, cache: Path, run: Path
) -> None:
    (here / "aufnahmen").mkdir()
    (here / "aufnahmen" / "ärger.wav").write_bytes(wav(noise(0.5)))
    settings = "--steps 2 --method dann --set frames=20 --set batch_size=8 --set tcn_blocks=1"
    for command in (
        "prep --folder aufnahmen --cache stores --workers 2",
        f"fit --src ravdess --tgt emodb --cache {cache} {settings} --out run",
        f"cache plot emodb --cache {cache} --out emodb.png",
        "corpora",
        f"predict {run} aufnahmen",
        f"eval {run} --corpus emodb --cache {cache} --png emodb.png",
        f"runs ls {run}",
        f"export {run} --to card --out card.md",
        f"bench run --cache {cache} --methods dann --tasks arousal --seeds 1 --workers 1 --steps 2 --set frames=20",
    ):
        program, *words = command.split()
        variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        script = Path(sys.executable).with_name(f"emodna-{program}")
        done = subprocess.run([script, *words], env=variables, capture_output=True, timeout=300)
        errors = done.stderr.decode(errors="replace")
        assert (done.returncode, "Traceback" in errors) == (0, False), errors
        assert len(errors.splitlines()) < 12, errors
    assert not (here / "~").exists()
