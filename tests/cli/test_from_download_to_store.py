"""Test that a corpus is downloaded as a ZIP and prepared without unpacking it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from emodna.pipeline import corpora
from emodna.pipeline.corpora.emodb import Emodb
from emodna.pipeline.download import Download
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.download_server import run_server, serve_file, serve_start
from tests.pipeline.making import prepare_corpus


def test_a_download_is_prepared_in_place(
    emodna_prep: Command, emodb_root: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(emodb_root.rglob("*.wav")):
            archive.write(path, Path("emodb") / path.relative_to(emodb_root))
        archive.writestr("emodb/db.emotion.csv", "file,emotion\n")
    content = packed.getvalue()

    with run_server() as server:
        server.content, server.replies = content, [serve_start(1 << 14), serve_file]
        where = Download(server.url, "emodb.zip", len(content), f"md5:{hashlib.md5(content).hexdigest()}", False)

        class Small(Emodb):
            info = replace(Emodb.info, download=where)

        monkeypatch.setattr(corpora, "CORPORA", {"emodb": Small})
        ran = emodna_prep("--corpus", "emodb", "--download", "--accept-licence", "--json")
        assert (ran.code, server.ranges) == (0, [None, f"bytes={1 << 14}-"])

    (report,) = ran.json
    expected = FeatureStore(prepare_corpus(emodb_root, tmp_path / "cache").store)
    assert FeatureStore(report["store"]).fingerprint == expected.fingerprint
    assert f"{len(expected)} utterances, 535 published" in ran.err  # the checksum is confirmed by one source only
    assert [path.name for path in (here / "data" / "emodb").glob("[!.]*")] == ["emodb.zip"]
    again = emodna_prep("--corpus", "emodb", "--json")  # a folder with only a ZIP is read like the ZIP
    assert again.json[0]["reused"] == len(expected)
