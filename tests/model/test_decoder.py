"""Decoder and discriminator of windows: any length by the same parameters, and what counts of it."""

import pytest
import torch
from torch import Tensor

from emodna.model.networks.discriminators import WindowDecoder, WindowDiscriminator


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class TestDecoder:
    @pytest.mark.parametrize("frames", [1, 8, 31, 188])
    def test_makes_windows_of_any_length(self, frames: int) -> None:
        windows = WindowDecoder(4, 6, 16)(noise(3, 4), frames)
        assert windows.shape == (3, 6, frames)
        assert windows.isfinite().all()

    def test_decodes_each_code_alone(self) -> None:
        decoder, codes = WindowDecoder(4, 6, 16), noise(3, 4)
        torch.testing.assert_close(decoder(codes[1:2], 31)[0], decoder(codes, 31)[1])

    def test_knows_where_in_the_window_a_frame_lies(self) -> None:
        window = WindowDecoder(4, 6, 16)(noise(1, 4), 64)[0]
        inner = window[:, 16:48]  # away from the convolutions' padding
        assert inner.std(1).min() > 1e-4

    def test_learns_a_ramp_for_one_code_and_its_mirror_image_for_another(self) -> None:
        ramp = torch.linspace(-1, 1, 24)
        codes, windows = torch.eye(2), torch.stack([ramp, -ramp]).unsqueeze(1)
        decoder = WindowDecoder(2, 1, 16)
        optimizer = torch.optim.Adam(decoder.parameters(), 0.01)
        for _ in range(100):
            optimizer.zero_grad()
            error = (decoder(codes, 24) - windows).square().mean()
            error.backward()
            optimizer.step()
        assert error.item() < 0.02


class TestDiscriminator:
    @pytest.mark.parametrize("frames", [8, 31, 188])
    def test_is_one_logit_per_window(self, frames: int) -> None:
        judged = WindowDiscriminator(6, 8)(noise(3, 6, frames), torch.tensor([frames, 5, 1]))
        assert judged.shape == (3, 1)
        assert judged.isfinite().all()

    def test_does_not_count_what_lies_far_behind_the_length(self) -> None:
        discriminator, windows, lengths = WindowDiscriminator(6, 8), noise(2, 6, 64), torch.tensor([64, 16])
        changed = windows.clone()
        changed[:, :, 32:] += 1  # 2 steps of 8 frames count of the second; what they see ends before
        before, after = discriminator(windows, lengths), discriminator(changed, lengths)
        assert before[0] != after[0]
        assert before[1] == after[1]
