"""DANN, CDAN, CDAN+E and BSP: terms against loops, and gradient reversal."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emodna.model.config import apply_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.methods import METHODS
from emodna.model.methods.adversarial import (
    AdversarialMethod,
    Adversary,
    AdversaryConfig,
    ReversalConfig,
    reversal_weight,
)
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.bsp import Bsp
from emodna.model.methods.cdan import Cdan, CdanE, Conditioning
from emodna.model.methods.dann import Dann
from tests.model.methods.test_every_method import losses, small
from tests.model.small import assert_same_tensors, make_batches

NAMES = ["dann", "cdan", "cdan+e", "bsp"]
STEP = torch.tensor(300)
SIZES = (7, 4)
LAMBDA = 2 / (1 + math.exp(-10 * 0.3)) - 1


def model(kind: type[AdversarialMethod], **settings: Any) -> AdversarialMethod:
    method = small(kind, **{"dropout": 0.0, **settings})
    assert isinstance(method, AdversarialMethod)
    assert method.steps == 1000
    return method


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def get_discriminator(method: AdversarialMethod) -> nn.Module:
    assert method.adversary is not None
    return method.adversary.discriminator


def zero_last_layer(method: AdversarialMethod) -> AdversarialMethod:
    last = [layer for layer in get_discriminator(method).modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return method


def encoder_gradient(method: AdversarialMethod, term: str, step: Tensor = STEP) -> list[Tensor]:
    """Return the gradients of one term for backbone and encoder."""
    loss = losses(method, make_batches(), step=step)[term]
    parameters = [*method.network.backbone.parameters(), *method.network.encoder.parameters()]
    return list(torch.autograd.grad(loss, parameters))


def compute_features(method: AdversarialMethod, source: LabelledBatch, target: Batch) -> tuple[Tensor, Tensor]:
    """Return E (n + m, channels) and q (n + m, 2) in float64."""
    together = torch.cat([source.features, target.features])
    features = method.network.encoder(method.network.backbone(together)).mean(2)
    return features.detach().double(), method.network.classifier(features).detach().double().softmax(1)


def discriminator_loss(method: AdversarialMethod, rows: Tensor, n: int, weights: list[float]) -> float:
    """Return the mean over both domains of their weighted means of -log p(domain)."""
    logits = get_discriminator(method).double()(rows).tolist()
    domains = [(logits[:n], weights[:n], 1), (logits[n:], weights[n:], -1)]
    return sum(
        sum(w * math.log(1 + math.exp(-sign * z)) for z, w in zip(own, ws, strict=True)) / sum(ws) / 2
        for own, ws, sign in domains
    )


class TestTerms:
    def test_terms_of_dann(self) -> None:
        mine, pair = model(Dann, domain_weight=0.5), make_batches(*SIZES)
        terms = losses(mine, pair, step=STEP)
        assert terms.keys() == {"emotion", "domain"}
        rows, _ = compute_features(model(Dann), *pair)
        expected = discriminator_loss(model(Dann), rows, SIZES[0], [1.0] * sum(SIZES))
        assert terms["domain"].item() == pytest.approx(0.5 * expected, rel=1e-4)

    @pytest.mark.parametrize("kind", [Cdan, CdanE])
    def test_terms_of_cdan(self, kind: type[Cdan]) -> None:
        # A classifier that is confident of some rows. The predictions of a new one hardly differ.
        def make_confident() -> AdversarialMethod:
            method = model(kind)
            method.network.classifier.weight.data.mul_(5)
            return method

        pair = make_batches(*SIZES)
        terms = losses(make_confident(), pair, step=STEP)
        assert terms.keys() == {"emotion", "domain"}
        features, probabilities = compute_features(make_confident(), *pair)
        rows = torch.stack([torch.cat([p * f for p in q]) for f, q in zip(features, probabilities, strict=True)])
        entropies = [-sum(p * math.log(p) for p in q) for q in probabilities.tolist()]
        weights = [1 + math.exp(-h) if kind is CdanE else 1.0 for h in entropies]
        assert max(entropies) - min(entropies) > 0.1
        expected = discriminator_loss(make_confident(), rows, SIZES[0], weights)
        assert terms["domain"].item() == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(("base", "other"), [("dann", Dann), ("cdan+e", CdanE)])
    def test_terms_of_bsp(self, base: str, other: type[AdversarialMethod]) -> None:
        pair = make_batches(*SIZES)
        mine = model(Bsp, base=base)
        terms, of_base = losses(mine, pair, step=STEP), losses(model(other), pair, step=STEP)
        spectral = terms.pop("spectral")
        assert_same_tensors(terms, of_base)
        features, _ = compute_features(model(Bsp), *pair)
        singular = [torch.linalg.svdvals(rows)[0].item() for rows in (features[: SIZES[0]], features[SIZES[0] :])]
        assert spectral.item() == pytest.approx(2e-4 * sum(s**2 for s in singular), rel=1e-5)
        monitored = [mine.monitor()[name].item() for name in ("sigma_source", "sigma_target")]
        assert monitored == pytest.approx(singular, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
class TestReversal:
    def test_discriminator_at_chance_gives_the_encoder_no_gradient(self, name: str) -> None:
        mine = zero_last_layer(model(METHODS[name]))  # type: ignore[arg-type]
        assert losses(mine, make_batches(), step=STEP)["domain"].item() == pytest.approx(0.693147, abs=1e-6)
        assert not any(gradient.any() for gradient in encoder_gradient(mine, "domain"))
        assert mine.monitor()["discriminator_accuracy"] == 0.5

    def test_encoder_gradient_is_multiplied_by_minus_lambda(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = METHODS[name]
        mine = encoder_gradient(model(kind), "domain")  # type: ignore[arg-type]
        monkeypatch.setattr("emodna.model.methods.adversarial.reverse_gradient", lambda x, _: x)
        plain = encoder_gradient(model(kind), "domain")  # type: ignore[arg-type]
        assert any(gradient.abs().max() > 1e-3 for gradient in plain)
        for reversed_, gradient in zip(mine, plain, strict=True):
            torch.testing.assert_close(reversed_, -LAMBDA * gradient, rtol=1e-4, atol=1e-6)
        method = model(kind)  # type: ignore[arg-type]
        losses(method, make_batches(), step=STEP)["domain"].backward()
        assert method.network.classifier.weight.grad is None

    @pytest.mark.parametrize("settings", [{}, {"reversal_ceiling": 0.0}])
    def test_lambda_of_0_trains_only_the_discriminator(self, name: str, settings: dict[str, float]) -> None:
        step = STEP if settings else torch.tensor(0)
        mine = model(METHODS[name], **settings)  # type: ignore[arg-type]
        assert not any(gradient.any() for gradient in encoder_gradient(mine, "domain", step))
        loss = losses(mine, make_batches(), step=step)["domain"]
        assert all(each.any() for each in torch.autograd.grad(loss, list(get_discriminator(mine).parameters())))


class TestReversalWeight:
    def test_schedule_in_steps_ignores_the_number_of_steps(self) -> None:
        config, steps = ReversalConfig(reversal_schedule="steps"), torch.tensor([100, 500, 1000, 2000, 5000])
        for progress in (0.1, 1.0):
            weights = reversal_weight(config, torch.tensor(progress), steps).tolist()
            assert weights == pytest.approx([0.04996, 0.24492, 0.46212, 0.76159, 0.98661], abs=1e-5)

    @pytest.mark.parametrize("ceiling", [1.0, 0.1, 0.0])
    def test_schedule_in_shares_grows_to_its_ceiling_and_is_logged(self, ceiling: float) -> None:
        weight = reversal_weight(ReversalConfig(reversal_ceiling=ceiling), torch.tensor(0.5), torch.tensor(7))
        assert weight.item() == pytest.approx(0.98661 * ceiling, abs=1e-5)
        mine = model(Dann, reversal_ceiling=ceiling)
        losses(mine, make_batches(), step=torch.tensor(500))
        assert mine.monitor()["reversal"].item() == pytest.approx(0.98661 * ceiling, abs=1e-5)


class TestAdversary:
    def make_adversary(self) -> Adversary:
        return Adversary(3, AdversaryConfig(discriminator_hidden=8), 0).double()

    def test_accuracy_is_the_mean_over_the_domains(self) -> None:
        adversary, reversal = self.make_adversary(), torch.tensor(1.0)
        adversary.discriminator = nn.Flatten(0)  # type: ignore[assignment] - the inputs are the logits
        adversary(DomainPair(torch.tensor([1.0, 2, -3, 4])[:, None], torch.tensor([-1.0, 5])[:, None]), reversal)
        assert adversary.monitor()["discriminator_accuracy"] == (3 / 4 + 1 / 2) / 2

    def test_both_corpora_share_one_batch_norm(self) -> None:
        adversary, source, target = self.make_adversary(), noise(6, 3), noise(6, 3, seed=1)
        near, far = (adversary(DomainPair(source, target + shift), torch.tensor(1.0)).item() for shift in (0, 100))
        assert near != pytest.approx(far, abs=1e-3)  # separate batch norms would remove the shift


def test_settings_without_effect_are_refused() -> None:
    for field, value in (("randomised_dim", 64), ("scl_temperature", 1.0)):
        with pytest.raises(ConfigError) as raised:
            apply_settings({field: str(value)}, Cdan.defaults)
        assert (raised.value.field, raised.value.value) == (field, value)
    (config,) = apply_settings({"randomised_dim": "64", "conditional_map": "randomised"}, Cdan.defaults)
    assert Conditioning(8, config, 0).width == 64
