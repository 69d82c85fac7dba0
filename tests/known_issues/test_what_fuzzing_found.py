"""What `python -m tests.faults.fuzz` and reading with an attacker's eyes found: each ended in a traceback, or worse."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from emodna.pipeline.archives import open_tree
from emodna.pipeline.audio.decode import decode
from emodna.pipeline.corpora.manifest import Manifest
from emodna.pipeline.errors import AudioError, CorpusError
from tests.pipeline.archives.packing import COMPRESSORS, contents, opened, patched, tar_file, tar_of, tarred, zipped
from tests.pipeline.making import Float32, noise, wav


def encoded(samples: Float32, format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=format, subtype=subtype)
    return file.getvalue()


class TestAudio:
    @pytest.mark.parametrize(("format", "subtype"), [("WAV", "GSM610"), ("WAV", "G721_32"), ("AU", "G723_24")])
    def test_what_libsndfile_cannot_seek_in_is_read(self, format: str, subtype: str) -> None:
        """Telephone calls are kept so; soundfile wanted to be told how many samples there are."""
        content = encoded(noise(0.5, 8000), format, subtype)
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            assert len(decode(io.BytesIO(content)).samples) == file.frames >= 4000

    @pytest.mark.parametrize(
        ("format", "subtype"), [("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"), ("W64", "PCM_16")]
    )
    @pytest.mark.parametrize("missing", [300, 4000])
    def test_half_a_recording_is_not_taken_for_a_whole_one(self, format: str, subtype: str, missing: int) -> None:
        whole = encoded(noise(2.0, 8000), format, subtype)
        assert len(decode(io.BytesIO(whole)).samples) >= 16_000
        with pytest.raises(AudioError, match="truncated: the header declares"):
            decode(io.BytesIO(whole[:-missing]))

    def test_an_au_of_unknown_length_is_read_to_its_end(self) -> None:
        content = bytearray(encoded(noise(0.5, 8000), "AU", "PCM_16"))
        content[8:12] = b"\xff" * 4
        assert len(decode(io.BytesIO(bytes(content))).samples) == 4000

    def test_a_chunk_of_odd_length_before_the_audio_of_an_aiff_hides_no_truncation(self) -> None:
        whole = encoded(noise(0.5, 8000), "AIFF", "PCM_16")
        odd = whole[:12] + b"NAME" + struct.pack(">I", 3) + b"abc\0" + whole[12:]
        assert len(decode(io.BytesIO(odd)).samples) == 4000
        with pytest.raises(AudioError, match="truncated"):
            decode(io.BytesIO(odd[:-1000]))

    def test_a_header_that_leads_before_the_files_beginning_prints_nothing(
        self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The place to go to was refused by an exception, in a callback, which was printed with its traceback."""
        unraisable: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
        content = encoded(noise(0.2, 8000), "AIFF", "PCM_16")
        for place in range(12, 60):
            damaged = content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :]
            with contextlib.suppress(AudioError):
                decode(io.BytesIO(damaged))
        assert unraisable == []
        assert capfd.readouterr() == ("", "")

    def test_a_number_of_samples_beyond_memory_is_refused(self) -> None:
        content = bytearray(encoded(noise(0.5, 8000), "FLAC", "PCM_16"))
        content[18:26] = struct.pack(">Q", 655_350 << 44 | 15 << 36 | (2**36 - 1))
        with pytest.raises(AudioError, match=r"not enough memory for|truncated: "):
            decode(io.BytesIO(bytes(content)), max_seconds=1e9)

    @pytest.mark.parametrize("closed", [False, True])
    def test_what_libsndfile_prints_is_no_part_of_the_json(self, closed: bool, tmp_path: Path) -> None:
        """It prints on standard output what it finds wrong in a MIDI sample dump, say."""
        whole = encoded(noise(0.2, 8000), "SDS", "PCM_16")
        (tmp_path / "dump.wav").write_bytes(whole[:21] + b"\0\0\0" + whole[24:])
        (tmp_path / "good.wav").write_bytes(wav(noise(0.2)))
        command = [str(Path(sys.executable).with_name("emodna-prep")), "--folder", ".", "--name", "x", "--json"]
        stderr = None if closed else subprocess.PIPE
        preexec = (lambda: os.close(2)) if closed else None
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=preexec, text=True, check=True, cwd=tmp_path
        )
        (report,) = json.loads(ran.stdout)
        assert (report["corpus"], report["utterances"] + report["rejected"]) == ("x", 2)
        if not closed:
            assert "Error 1 : " in ran.stderr


class TestTars:
    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    @pytest.mark.parametrize("compression", ["", "gz"])
    @pytest.mark.parametrize("first", [True, False])
    def test_a_thousand_headers_of_attributes_are_refused(
        self, kind: bytes, compression: str, first: bool, tmp_path: Path
    ) -> None:
        """tarfile calls itself for each."""
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 12
        header = info.tobuf(tarfile.USTAR_FORMAT) + b"12 a=bcdefg\n".ljust(512, b"\0")
        content = (b"" if first else tarred({"b.wav": b"b"})[:1024]) + header * 3000 + tarred({"a.wav": b"a"})
        (tmp_path / "x.tar").write_bytes(COMPRESSORS[compression](content))
        with pytest.raises(CorpusError, match="not readable as a tar file"):
            open_tree(tmp_path / "x.tar", (".wav",))

    def test_attributes_before_the_first_member_are_not_read_without_limit(self, tmp_path: Path) -> None:
        """Half a GB of them took 42 s and as much memory, when it was asked whether the file is a tar at all."""
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 2**31
        path = tmp_path / "x.tar"
        path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT))
        with path.open("r+b") as file:
            file.truncate(2**31 + 1024)
        began = time.process_time()
        with pytest.raises(CorpusError, match="not readable as a tar file"):
            open_tree(path, (".wav",))
        assert time.process_time() - began < 30

    def test_headers_are_not_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """tarfile keeps them all: 0.6 GB of a million."""
        kept: list[int] = []
        after = tarfile.TarFile.next
        monkeypatch.setattr(tarfile.TarFile, "next", lambda self: (kept.append(len(self.members)), after(self))[1])
        (tmp_path / "x.tar").write_bytes(tar_of([tar_file(f"{number}.wav", b"") for number in range(50)]))
        assert len(list(open_tree(tmp_path / "x.tar", (".wav",)).files((".wav",)))) == 50
        assert max(kept) <= 1


def test_a_zip_member_without_a_name_is_left_out(tmp_path: Path) -> None:
    content = patched(zipped({"a": b"x", "b.wav": b"b"}), "a", local={26: b"\0\0"}, central={28: b"\0\0", 30: b"\1\0"})
    tree = opened(content, tmp_path / "x.zip")
    assert contents(tree) == {"b.wav": b"b"}
    assert tree.left_out == {"name that leads out of the archive": 1}


class TestTables:
    def test_text_that_is_no_utf_8_is_refused(self, tmp_path: Path) -> None:
        """Arrow believes what it reads: the traceback came later."""
        text = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xb3"))
        pq.write_table(pa.table({"path": ["a.wav"], "note": text}), tmp_path / "t.parquet")
        with pytest.raises(CorpusError, match=r"t\.parquet: not readable as CSV .* UTF8"):
            Manifest(tmp_path / "t.parquet", "mine")

    def test_types_that_arrow_does_not_know_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: object) -> None:
            raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

        monkeypatch.setattr(pq, "ParquetFile", unknown)
        (tmp_path / "t.parquet").touch()
        with pytest.raises(CorpusError, match="Integers with more than 64 bits"):
            Manifest(tmp_path / "t.parquet", "mine")
