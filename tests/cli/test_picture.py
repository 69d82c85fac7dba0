"""Pictures of features: what is drawn, in the terminal and as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emodna.cli.charts import terminal_picture
from emodna.cli.picture import write_png
from emodna.pipeline.features import FEATURE_SETS, LogMelSet, MfccSet, WaveSet

Float32 = NDArray[np.float32]
LINES = 20


def lines(features: Float32, name: str, width: int = 61) -> list[str]:
    return terminal_picture(features, FEATURE_SETS[name], width, coloured=False).plain.splitlines()


def wave(seconds: float, hertz: float = 2.0) -> Float32:
    times = np.arange(int(seconds * 16_000)) / 16_000
    return np.sin(2 * np.pi * hertz * times).astype(np.float32)[:, None]


class TestTerminal:
    def test_a_waveform_goes_up_and_down(self) -> None:
        drawn = lines(wave(1.0, 1.0), "wave16k", 41)
        assert (len(drawn), {len(line) for line in drawn}) == (LINES, {40})
        assert "@" in drawn[0][5:15]
        assert "@" not in drawn[0][20:]
        assert "@" in drawn[-1][25:35]
        assert "@" not in drawn[-1][:20]
        # A curve has no gap: each column is marked somewhere.
        assert all("@" in column for column in zip(*drawn, strict=True))

    def test_a_waveform_that_is_short_is_no_wider_than_its_samples(self) -> None:
        assert {len(line) for line in lines(wave(1.0)[:30], "wave16k")} == {30}

    def test_a_silent_waveform_is_a_flat_line(self) -> None:
        drawn = lines(np.zeros((8000, 1), np.float32), "wave16k", 41)
        marked = [line for line in drawn if "@" in line]
        assert marked == ["@" * 40]
        assert drawn.index(marked[0]) in (LINES // 2 - 1, LINES // 2)

    @pytest.mark.parametrize("band", [0, 1, 64, 126, 127])
    def test_every_mel_band_is_seen(self, band: int) -> None:
        features = np.full((200, 128), -80.0, np.float32)
        assert len(lines(features, "logmel")) == LINES
        features[50:150, band] = 0.0
        drawn = terminal_picture(features, LogMelSet(), 61, coloured=True)
        rows = [str(span.style) for span in drawn.spans[30::60]]  # a column in the middle, from the top
        (lit,) = [number for number, style in enumerate(rows) if style != "color(17) on color(17)"]
        assert lit == pytest.approx(LINES - 1 - band * LINES / 128, abs=1)

    def test_mel_bands_share_one_scale(self) -> None:
        """A band of faint noise stays dark beside a loud one."""
        features = np.full((100, 128), -80.0, np.float32)
        features[:, :64] += np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
        features[:, 64:] = 0.0
        drawn = lines(features, "logmel")
        assert set("".join(drawn[: LINES // 2])) == {"@"}
        assert set("".join(drawn[LINES // 2 + 1 :])) <= {" ", "."}

    @pytest.mark.parametrize("coefficient", range(40))
    def test_every_coefficient_is_seen(self, coefficient: int) -> None:
        features = np.zeros((60, 40), np.float32)
        features[20:40, coefficient] = 1.0
        drawn = lines(features, "mfcc40")
        (lit,) = [number for number, line in enumerate(drawn) if line.strip()]
        assert lit == LINES - 1 - coefficient // 2

    def test_coefficients_have_scales_of_their_own(self) -> None:
        features = np.random.default_rng(0).normal(size=(100, 40)).astype(np.float32)
        features[:, 1:] *= 1e-3
        assert all(len(set(line)) > 3 for line in lines(features, "mfcc40"))

    @pytest.mark.parametrize("coloured", [True, False])
    @pytest.mark.parametrize("frames", [1, 2, 59, 60, 61, 5000])
    @pytest.mark.parametrize("name", FEATURE_SETS)
    def test_any_length_fits(self, name: str, frames: int, coloured: bool) -> None:
        features = np.random.default_rng(frames).normal(size=(frames, FEATURE_SETS[name].dim)).astype(np.float32)
        picture = terminal_picture(features, FEATURE_SETS[name], 61, coloured=coloured)
        drawn = picture.plain.splitlines()
        assert (len(drawn), {len(line) for line in drawn}) == (LINES, {min(frames, 60)})


class TestPng:
    @pytest.fixture
    def drawn(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
        """Draw, and return matplotlib's axes, of which the file is made."""
        from matplotlib.figure import Figure

        kept = []
        save = Figure.savefig

        def keeping(figure: Figure, *arguments: object, **options: object) -> None:
            kept.append(figure)
            save(figure, *arguments, **options)

        monkeypatch.setattr(Figure, "savefig", keeping)

        def draw(features: Float32, feature_set: MfccSet | LogMelSet | WaveSet) -> list:  # type: ignore[type-arg]
            write_png(tmp_path / "a.png", features, feature_set, "title")
            return kept[-1].axes

        return draw

    def test_a_waveform_is_one_curve_in_seconds(self, drawn) -> None:  # type: ignore[no-untyped-def]
        (axes,) = drawn(wave(0.2), WaveSet())
        (line,) = axes.lines
        assert len(line.get_xdata()) == 3200
        assert line.get_xdata()[-1] == pytest.approx(0.2)
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("time (s)", "amplitude", "title")

    def test_a_long_waveform_keeps_its_peaks(self, drawn) -> None:  # type: ignore[no-untyped-def]
        samples = np.zeros((16_000 * 600, 1), np.float32)
        samples[1_234_567] = 0.75
        samples[7_654_321] = -0.5
        (axes,) = drawn(samples, WaveSet())
        times, values = axes.lines[0].get_data()
        assert len(values) <= 4000
        assert (values.max(), values.min()) == (0.75, -0.5)
        assert times[values.argmax()] == pytest.approx(1_234_567 / 16_000, abs=0.5)
        assert times[-1] == 600

    def test_a_log_mel_spectrogram_is_one_heat_map_of_all_bands(self, drawn) -> None:  # type: ignore[no-untyped-def]
        features = np.random.default_rng(0).normal(size=(43, 128)).astype(np.float32)
        axes, colours = drawn(features, LogMelSet())
        (image,) = axes.images
        assert image.get_array().shape == (128, 43)
        assert image.get_extent() == pytest.approx((0, 43 * 512 / 22_050, -0.5, 127.5))
        assert (axes.get_ylabel(), colours.get_ylabel()) == ("mel band", "dB")

    def test_mfccs_are_c0_above_the_other_coefficients(self, drawn) -> None:  # type: ignore[no-untyped-def]
        features = np.random.default_rng(0).normal(size=(43, 40)).astype(np.float32)
        upper, lower, _colours = drawn(features, MfccSet())
        assert np.array_equal(upper.lines[0].get_ydata(), features[:, 0])
        assert np.array_equal(lower.images[0].get_array(), features[:, 1:].T)
        assert lower.images[0].get_extent() == pytest.approx((0, 43 * 512 / 22_050, 0.5, 39.5))
        assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("c0", "coefficient", "time (s)")
