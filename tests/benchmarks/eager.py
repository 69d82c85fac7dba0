"""Compare the trainer's step with a plain loop over torch modules.

Networks, weights, batches, losses and optimiser are equal; the benchmark checks that both compute the same loss. The
plain loop is written as in tutorials: `nn.Conv1d`, `nn.BatchNorm1d`, `nn.Dropout`, `nn.MaxPool1d`; an exponential for
each kernel; indices of the confident rows; `.item()` of the loss at each step; batches from a `DataLoader`. Both pass
the two corpora through the networks at once.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from emodna.model.data.stream import SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.methods import METHODS
from emodna.pipeline.store import FeatureStore
from tests.benchmarks.inputs import Inputs, Step, add_store_options
from tests.benchmarks.threads import NAMES, Training, make_our_steps
from tests.benchmarks.timing import Rounds

DROPOUT = 0.1
DIM, CHANNELS, PROJECTION = 40, 64, 128


def make_convolution_block(inputs: int) -> list[nn.Module]:
    return [
        nn.Conv1d(inputs, CHANNELS, 3, padding=1),
        nn.BatchNorm1d(CHANNELS),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.MaxPool1d(2),
    ]


class Causal(nn.Module):
    """A padded convolution, batch norm, ReLU and dropout."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, 2, dilation=dilation)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(F.relu(self.norm(self.conv(F.pad(x, (self.dilation, 0))))))
        return y


class Residual(nn.Module):
    """Two causal convolutions with a skip connection."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(Causal(dilation), Causal(dilation))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.convs(x))


class PlainNetwork(nn.Module):
    """A backbone, a temporal convolutional network and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [make_convolution_block(inputs) for inputs in (DIM, CHANNELS, CHANNELS)]
        self.backbone = nn.Sequential(*(layer for block in blocks for layer in block))
        self.encoder = nn.Sequential(*(Residual(2**i) for i in range(5)))
        self.classifier = nn.Linear(CHANNELS, 2)


class PlainCorpusEncoder(nn.Module):
    """A Bi-LSTM whose summed directions are averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, CHANNELS, batch_first=True, bidirectional=True)

    def forward(self, hidden: Tensor) -> Tensor:
        both, _ = self.lstm(hidden.transpose(1, 2))
        return (both[..., :CHANNELS] + both[..., CHANNELS:]).mean(1)


class PlainSourceOnly(nn.Module):
    """A network trained with the cross-entropy on the source."""

    def __init__(self) -> None:
        super().__init__()
        self.network = PlainNetwork()

    def losses(self, source: Tensor, labels: Tensor, target: Tensor) -> list[Tensor]:  # noqa: ARG002
        net = self.network
        return [F.cross_entropy(net.classifier(net.encoder(net.backbone(source)).mean(2)), labels)]


class PlainEmoDna(PlainSourceOnly):
    """A network trained with all losses of Eq. 12."""

    def __init__(self) -> None:
        super().__init__()
        self.corpus_encoder = PlainCorpusEncoder()
        self.corpus_classifier = nn.Linear(CHANNELS, 2)
        self.projection = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, PROJECTION))
        self.threshold = 0.5

    def losses(self, source: Tensor, labels: Tensor, target: Tensor) -> list[Tensor]:
        net, n = self.network, len(source)
        hidden = net.backbone(torch.cat([source, target]))
        emotion, corpus = net.encoder(hidden).mean(2), self.corpus_encoder(hidden)
        logits = net.classifier(emotion)
        is_source = (torch.arange(len(emotion)) < n).long()
        g_emotion, g_corpus = self.projection(emotion), self.projection(corpus)

        confidence, pseudo_labels = logits[n:].detach().softmax(1).max(1)
        self.threshold = 0.99 * self.threshold + 0.01 * confidence.mean().item()
        kept = torch.cat([torch.arange(n), n + torch.where(confidence >= self.threshold)[0]])

        p_es, p_et, p_cs, p_ct = (
            F.normalize(each.mean(0), dim=0) for each in (g_emotion[:n], g_emotion[n:], g_corpus[:n], g_corpus[n:])
        )
        same, cross_s, cross_t = (p_es * p_et).sum(), (p_es * p_cs).sum(), (p_et * p_ct).sum()
        decouple = (F.softplus((cross_s - same) / 0.01) + F.softplus((cross_t - same) / 0.01)) / 2
        return [
            F.cross_entropy(logits[:n], labels),
            F.cross_entropy(self.corpus_classifier(corpus), is_source),
            decouple,
            mk_mmd(emotion, n),
            0.1 * supervised_contrastive(g_emotion[kept], torch.cat([labels, pseudo_labels])[kept]),
        ]


def mk_mmd(x: Tensor, n: int) -> Tensor:
    """Return the MK-MMD with five Gaussian kernels around the mean distance."""
    distances = (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(2)
    mean = distances.detach().sum() / (len(x) * (len(x) - 1))
    kernel = torch.stack([torch.exp(-distances / (mean * 2.0**k)) for k in range(-2, 3)]).mean(0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def supervised_contrastive(z: Tensor, labels: Tensor) -> Tensor:
    """Return the supervised contrastive loss at temperature 0.01."""
    z = F.normalize(z, dim=1)
    own = torch.eye(len(z), dtype=torch.bool)
    similarity = (z @ z.T / 0.01).masked_fill(own, -torch.inf)
    positive = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~own
    ratio = similarity - similarity.logsumexp(1, keepdim=True)
    counts = positive.sum(1)
    each = -ratio.masked_fill(~positive, 0).sum(1)
    return (each[counts > 0] / counts[counts > 0]).mean()


class Utterances(Dataset[tuple[Tensor, int]]):
    """Windows and labels of a store, one utterance at a time."""

    def __init__(self, store: FeatureStore, framer: Framer) -> None:
        self._store, self._framer, self._labels = store, framer, store.labels("arousal")

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        window = torch.empty(self._framer.frames, self._store.dim)
        self._framer(self._store[row], float(self._store.peak_db[row]), window.numpy())
        return window.T, int(self._labels[row])


def iterate_batches(dataset: Utterances) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)


def check_losses(ours: nn.Module, plain: PlainSourceOnly, sources: SourceStream, targets: TargetStream) -> None:
    """Assert that both models compute the same loss if dropout is off."""
    source, target = sources.batch(0), targets.batch(0)
    dropouts = [layer for layer in [*ours.modules(), *plain.modules()] if isinstance(layer, nn.Dropout)]
    for layer in dropouts:
        layer.p = 0.0
    loss = sum(ours.losses(source, target, torch.tensor(0)).values())  # type: ignore[operator]
    plain_loss = sum(plain.losses(source.features, source.labels, target.features))
    torch.testing.assert_close(loss, plain_loss, rtol=1e-4, atol=1e-4)
    for layer in dropouts:
        layer.p = DROPOUT


def make_plain_steps(inputs: Inputs, name: str) -> Step:
    plain = (PlainEmoDna if name == "emo-dna" else PlainSourceOnly)().train()
    method = METHODS[name](DIM, METHODS[name].defaults, 0).train()
    plain.load_state_dict(method.state_dict(), strict=False)
    check_losses(method, plain, inputs.sources, inputs.targets)
    optimizer = torch.optim.RAdam(plain.parameters(), lr=1e-3)
    loaders = [iterate_batches(Utterances(store, inputs.framer)) for store in (inputs.source, inputs.target)]

    def step() -> None:
        (source, labels), (target, _) = (next(loader) for loader in loaders)
        optimizer.zero_grad()
        loss = torch.stack(plain.losses(source, labels, target)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return step


@click.command()
@add_store_options
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=25, show_default=True, help="Rounds of 4 steps of each.")
def main(cache: Path, src: str, tgt: str, threads: int, rounds: int) -> None:
    """Time both in turn, each in its own process."""
    click.echo(
        f"{src} -> {tgt}, 64 + 64 utterances, {threads} thread(s), CPU time, median of {rounds} rounds of 4 steps"
    )
    for name in NAMES:
        builders = {"plain": make_plain_steps, "ours": make_our_steps}
        trainings = {loop: Training(build, cache, src, tgt, name, threads) for loop, build in builders.items()}
        taken = Rounds({loop: lambda each=each: each.take(4).cpu for loop, each in trainings.items()}, rounds)
        plain_ms, ours_ms = (1e3 * taken.median(loop) / 4 for loop in ("plain", "ours"))
        ratio = taken.ratio("plain", "ours")
        click.echo(f"{name:12} plain loop {plain_ms:7.1f} ms   ours {ours_ms:7.1f} ms   ratio {ratio:.2f}")
        for training in trainings.values():
            training.stop()


if __name__ == "__main__":
    main()
