"""DANN, CDAN, CDAN+E and BSP: their terms recomputed row by row, and what their gradients do."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.checkpoint import load_tensors
from emodna.model.config import apply_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.adversarial import ganin_weight
from emodna.model.methods import METHODS
from emodna.model.methods.adversarial import Adversarial, Adversary, AdversaryConfig
from emodna.model.methods.aligning import Domains
from emodna.model.methods.bsp import Bsp
from emodna.model.methods.cdan import Cdan, CdanE, Conditioning, ConditioningConfig
from emodna.model.methods.dann import Dann
from emodna.pipeline.store import FeatureStore
from tests.model.methods.test_every_method import losses, small
from tests.model.small import InterruptAt, Interruption, assert_same_tensors, batches, fit_small, logged_lines

NAMES = ["dann", "cdan", "cdan+e", "bsp"]
STEP = torch.tensor(300)
LAMBDA = 2 / (1 + math.exp(-10 * 0.3)) - 1


def model(kind: type[Adversarial], **settings: Any) -> Adversarial:
    made = small(kind, **{"dropout": 0.0, **settings})
    assert isinstance(made, Adversarial)
    assert made.steps == 1000
    return made


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def discriminator_of(method: Adversarial) -> nn.Module:
    assert method.adversary is not None
    return method.adversary.discriminator


def last_layer_zero(method: Adversarial) -> Adversarial:
    last = [layer for layer in discriminator_of(method).modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return method


def encoder_gradient(method: Adversarial, term: str, step: Tensor = STEP) -> list[Tensor]:
    """Gradient of one term for the shared network, of which the classifier has none."""
    found = losses(method, batches(), step=step)[term]
    return list(
        torch.autograd.grad(found, [*method.network.backbone.parameters(), *method.network.encoder.parameters()])
    )


def features_and_answers(method: Adversarial, source: LabelledBatch, target: Batch) -> tuple[Tensor, Tensor]:
    """E (n + m, channels) and q (n + m, 2), in float64."""
    together = torch.cat([source.features, target.features])
    features = method.network.encoder(method.network.backbone(together)).mean(2)
    return features.detach().double(), method.network.classifier(features).detach().double().softmax(1)


def discriminator_loss(method: Adversarial, rows: Tensor, n: int, weights: list[float]) -> float:
    """-w log p(domain), the weights of each domain summing up to its size, half of each domain's mean."""
    logits = discriminator_of(method).double()(rows).tolist()
    domains = [(logits[:n], weights[:n], 1), (logits[n:], weights[n:], -1)]
    return sum(
        sum(w * math.log(1 + math.exp(-sign * z)) for z, w in zip(own, ws, strict=True)) / sum(ws) / 2
        for own, ws, sign in domains
    )


@pytest.mark.parametrize("sizes", [(8, 8), (7, 4)])
class TestTerms:
    def test_of_dann(self, sizes: tuple[int, int]) -> None:
        mine, pair = model(Dann, domain_weight=0.5), batches(*sizes)
        terms = losses(mine, pair, step=STEP)
        assert terms.keys() == {"emotion", "domain"}
        rows, _ = features_and_answers(model(Dann), *pair)
        expected = discriminator_loss(model(Dann), rows, sizes[0], [1.0] * sum(sizes))
        assert terms["domain"].item() == pytest.approx(0.5 * expected, rel=1e-4)

    @pytest.mark.parametrize("kind", [Cdan, CdanE])
    def test_of_cdan(self, kind: type[Cdan], sizes: tuple[int, int]) -> None:
        # A classifier that is certain of some: the answers of a new one hardly differ.
        def certain() -> Adversarial:
            made = model(kind)
            made.network.classifier.weight.data.mul_(5)
            return made

        pair = batches(*sizes)
        terms = losses(certain(), pair, step=STEP)
        assert terms.keys() == {"emotion", "domain"}
        features, answers = features_and_answers(certain(), *pair)
        rows = torch.stack([torch.cat([p * f for p in q]) for f, q in zip(features, answers, strict=True)])
        entropies = [-sum(p * math.log(p) for p in q) for q in answers.tolist()]
        weights = [1 + math.exp(-h) if kind is CdanE else 1.0 for h in entropies]
        assert max(entropies) - min(entropies) > 0.1
        expected = discriminator_loss(certain(), rows, sizes[0], weights)
        assert terms["domain"].item() == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(("base", "other"), [("dann", Dann), ("cdan+e", CdanE)])
    def test_of_bsp(self, base: str, other: type[Adversarial], sizes: tuple[int, int]) -> None:
        pair = batches(*sizes)
        terms, of_base = losses(model(Bsp, base=base), pair, step=STEP), losses(model(other), pair, step=STEP)
        spectral = terms.pop("spectral")
        assert_same_tensors(terms, of_base)
        features, _ = features_and_answers(model(Bsp), *pair)
        singular = [torch.linalg.svdvals(rows)[0].item() for rows in (features[: sizes[0]], features[sizes[0] :])]
        assert spectral.item() == pytest.approx(2e-4 * sum(s**2 for s in singular), rel=1e-5)

    def test_bsp_watches_its_singular_values(self, sizes: tuple[int, int]) -> None:
        mine, pair = model(Bsp), batches(*sizes)
        losses(mine, pair)
        features, _ = features_and_answers(model(Bsp), *pair)
        for name, rows in (("sigma_source", features[: sizes[0]]), ("sigma_target", features[sizes[0] :])):
            assert mine.monitor()[name].item() == pytest.approx(torch.linalg.svdvals(rows)[0].item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
class TestReversal:
    def test_a_discriminator_that_knows_nothing_tells_the_encoder_nothing(self, name: str) -> None:
        mine = last_layer_zero(model(METHODS[name]))  # type: ignore[arg-type]
        assert losses(mine, batches(), step=STEP)["domain"].item() == pytest.approx(0.693147, abs=1e-6)
        assert not any(gradient.any() for gradient in encoder_gradient(mine, "domain"))
        assert mine.monitor()["discriminator_accuracy"] == 0.5

    def test_the_encoder_has_minus_lambda_times_the_gradient(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = METHODS[name]
        mine = encoder_gradient(model(kind), "domain")  # type: ignore[arg-type]
        monkeypatch.setattr("emodna.model.methods.adversarial.reverse_gradient", lambda x, _: x)
        plain = encoder_gradient(model(kind), "domain")  # type: ignore[arg-type]
        assert any(gradient.abs().max() > 1e-3 for gradient in plain)
        for reversed_, gradient in zip(mine, plain, strict=True):
            torch.testing.assert_close(reversed_, -LAMBDA * gradient, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("settings", [{}, {"reversal_ceiling": 0.0}])
    def test_of_0_leaves_the_encoder_alone_while_the_discriminator_learns(
        self, name: str, settings: dict[str, float]
    ) -> None:
        step = STEP if settings else torch.tensor(0)
        mine = model(METHODS[name], **settings)  # type: ignore[arg-type]
        assert not any(gradient.any() for gradient in encoder_gradient(mine, "domain", step))
        found = losses(mine, batches(), step=step)["domain"]
        assert all(each.any() for each in torch.autograd.grad(found, list(discriminator_of(mine).parameters())))

    def test_grows_with_the_step_and_is_watched(self, name: str) -> None:
        mine = model(METHODS[name])  # type: ignore[arg-type]
        for step in (0, 100, 500, 999):
            losses(mine, batches(), step=torch.tensor(step))
            assert mine.monitor()["reversal"].item() == pytest.approx(ganin_weight(torch.tensor(step / 1000)).item())

    def test_does_not_reach_the_classifier(self, name: str) -> None:
        mine = model(METHODS[name])  # type: ignore[arg-type]
        losses(mine, batches(), step=STEP)["domain"].backward()
        assert mine.network.classifier.weight.grad is None


class TestAdversary:
    """The part by itself, in float64."""

    def made(self, hidden: int = 8, seed: int = 0) -> Adversary:
        return Adversary(3, AdversaryConfig(discriminator_hidden=hidden), seed).double()

    def test_gradient_is_minus_lambda_times_the_finite_difference(self) -> None:
        made, target, weight = self.made(), noise(4, 3, seed=1), torch.tensor(0.7, dtype=torch.float64)
        source = noise(5, 3).requires_grad_()
        (gradient,) = torch.autograd.grad(made(Domains(source, target), weight), source)
        h = 1e-6
        for i in range(5):
            for j in range(3):
                moved = torch.zeros(5, 3, dtype=torch.float64)
                moved[i, j] = h
                up, down = (made(Domains(source.detach() + s * moved, target), weight).item() for s in (1, -1))
                assert gradient[i, j].item() == pytest.approx(-0.7 * (up - down) / (2 * h), abs=1e-7)

    def test_accuracy_counts_the_domains_alike(self) -> None:
        made = self.made()
        made.discriminator = nn.Flatten(0)  # type: ignore[assignment] - what it is given is its answer
        made(Domains(torch.tensor([1.0, 2, -3, 4])[:, None], torch.tensor([-1.0, 5])[:, None]), torch.tensor(1.0))
        assert made.monitor()["discriminator_accuracy"] == (3 / 4 + 1 / 2) / 2

    def test_both_corpora_share_one_batch_norm(self) -> None:
        made, source, target = self.made(), noise(6, 3), noise(6, 3, seed=1)
        near, far = (made(Domains(source, target + shift), torch.tensor(1.0)).item() for shift in (0, 100))
        assert near != pytest.approx(far, abs=1e-3)  # alone, each would have had its own shift taken away

    def test_of_the_same_data_ends_at_chance(self) -> None:
        made, rows = self.made(16), noise(32, 3)
        optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
        first = made(Domains(rows, rows), torch.tensor(0.0)).item()
        for _ in range(150):
            optimizer.zero_grad()
            loss = made(Domains(rows, rows), torch.tensor(0.0))
            loss.backward()
            optimizer.step()
        assert first > math.log(2) + 0.01
        assert loss.item() == pytest.approx(math.log(2), abs=1e-3)
        assert loss.item() >= math.log(2)

    def test_brings_a_shifted_target_nearer_unless_its_sign_is_wrong(self) -> None:
        high = torch.arange(64) % 2
        classes = 3.0 * (2 * high - 1)[:, None] * torch.tensor([1.0, 0, 0])
        source, target = classes + noise(64, 3), classes + noise(64, 3, seed=1) + torch.tensor([0, 3.0, 0])

        def gap(reversal: float) -> float:
            """Between the means of both after a training, in units of the spread of all."""
            torch.manual_seed(0)
            encoder, classifier, made = nn.Linear(3, 3).double(), nn.Linear(3, 2).double(), self.made(seed=2)
            nn.init.eye_(encoder.weight)
            optimizer = torch.optim.Adam([*encoder.parameters(), *classifier.parameters(), *made.parameters()], lr=0.01)
            for _ in range(100):
                optimizer.zero_grad()
                e = Domains(encoder(source), encoder(target))
                (made(e, torch.tensor(reversal)) + F.cross_entropy(classifier(e.source), high)).backward()
                optimizer.step()
            e = Domains(encoder(source), encoder(target))
            return ((e.source.mean(0) - e.target.mean(0)).norm() / torch.cat(e).std(0).norm()).item()

        reversed_, without, wrong = (gap(reversal) for reversal in (1.0, 0.0, -1.0))
        assert reversed_ < 0.8 * without
        assert wrong > 1.1 * without


class TestConditioning:
    def test_uncertain_answers_leave_a_copy_of_the_features(self) -> None:
        made = Conditioning(3, ConditioningConfig(), 0)
        features, nothing = Domains(noise(4, 3), noise(2, 3)), Domains(torch.zeros(4, 2), torch.zeros(2, 2))
        given, weights = made(features, nothing)
        assert weights is None
        for own, f in zip(given, features, strict=True):
            torch.testing.assert_close(own, torch.cat([f, f], 1) / 2)

    def test_a_certain_answer_chooses_the_block(self) -> None:
        made = Conditioning(3, ConditioningConfig(entropy_conditioning=True), 0)
        features = Domains(noise(2, 3), noise(2, 3, seed=1))
        given, weights = made(features, Domains(*[torch.tensor([[500.0, -500], [-500, 500]], dtype=torch.float64)] * 2))
        assert weights is not None
        for own, f, counts in zip(given, features, weights, strict=True):
            assert torch.equal(own, torch.stack([torch.cat([f[0], 0 * f[0]]), torch.cat([0 * f[1], f[1]])]))
            assert counts.tolist() == [2, 2]

    def test_a_width_that_would_not_be_used_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"^randomised_dim=64: only with conditional_map=randomised$"):
            apply_settings({"randomised_dim": "64"}, Cdan.defaults)
        (config,) = apply_settings({"randomised_dim": "64", "conditional_map": "randomised"}, Cdan.defaults)
        assert Conditioning(8, config, 0).width == 64
        with pytest.raises(ConfigError, match=r"^scl_temperature=1.0: only with --add scl$"):
            apply_settings({"scl_temperature": "1.0"}, Cdan.defaults)


def tensors(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "model.safetensors")[0]


class TestRuns:
    @pytest.mark.parametrize("base", ["dann", "cdan+e"])
    def test_bsp_without_its_penalty_is_its_base(
        self, base: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        settings = {"base": base, "spectral_weight": "0"}
        fit_small(source, target, tmp_path / "bsp", method="bsp", steps=6, settings=settings)
        fit_small(source, target, tmp_path / "base", method=base, steps=6)
        assert_same_tensors(tensors(tmp_path / "bsp"), tensors(tmp_path / "base"))
        for line, of_base in zip(*(logged_lines(tmp_path / each) for each in ("bsp", "base")), strict=True):
            assert line["spectral"] == 0
            assert {key: line[key] for key in of_base} == of_base

    def test_cdan_with_entropy_conditioning_is_cdan_e(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "cdan", method="cdan", settings={"entropy_conditioning": "true"})
        fit_small(source, target, tmp_path / "cdan+e", method="cdan+e")
        assert_same_tensors(tensors(tmp_path / "cdan"), tensors(tmp_path / "cdan+e"))

    @pytest.mark.parametrize("name", NAMES)
    def test_scl_that_weighs_nothing_adds_nothing(
        self, name: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        for run, settings in (("base", {}), ("added", {"add": "scl", "scl_weight": "0"}), ("scl", {"add": "scl"})):
            fit_small(source, target, tmp_path / run, method=name, settings=settings)
        base, added, scl = (tensors(tmp_path / run) for run in ("base", "added", "scl"))
        assert_same_tensors({key: added[key] for key in base}, base)
        assert [key for key in base if not torch.equal(scl[key], base[key])]

    @pytest.mark.parametrize("name", NAMES)
    def test_a_discriminator_that_weighs_nothing_is_left_out(
        self, name: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        # Without batch norm it would draw dropout, and change what the encoder draws in the next step.
        settings = {"domain_weight": "0", "discriminator_norm": "none", "batch_norm": "source"}
        settings |= {"spectral_weight": "0"} if name == "bsp" else {}
        fit_small(source, target, tmp_path / "run", method=name, settings=settings)
        fit_small(source, target, tmp_path / "floor", method="source-only")
        assert_same_tensors(tensors(tmp_path / "run"), tensors(tmp_path / "floor"))

    def test_a_reversal_of_0_trains_the_network_of_source_only(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        settings = {"reversal_ceiling": "0", "batch_norm": "source"}
        fit_small(source, target, tmp_path / "dann", method="dann", settings=settings)
        fit_small(source, target, tmp_path / "floor", method="source-only")
        mine, floor = tensors(tmp_path / "dann"), tensors(tmp_path / "floor")
        assert_same_tensors({key: mine[key] for key in floor}, floor)

    def test_a_randomised_map_survives_a_resume(
        self, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        settings = {
            "conditional_map": "randomised",
            "randomised_dim": "16",
            "discriminator_norm": "none",
            "checkpoint_seconds": "0",
        }
        asked: dict[str, Any] = {"method": "cdan+e", "steps": 6, "settings": settings, "resume": True}
        fit_small(source, target, tmp_path / "whole", **asked)
        with pytest.raises(Interruption):
            fit_small(source, target, tmp_path / "run", watcher=InterruptAt(3), **asked)
        fit_small(source, target, tmp_path / "run", **asked)
        mine = tensors(tmp_path / "run")
        assert_same_tensors(mine, tensors(tmp_path / "whole"))
        assert logged_lines(tmp_path / "run") == logged_lines(tmp_path / "whole")
        assert mine["method.conditioning.map.of_features"].shape == (16, 8)
