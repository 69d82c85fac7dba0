"""CLSTM: sizes of its network."""

from torch import nn

from emodna.model.methods.clstm import Clstm


def test_sizes_are_our_reading() -> None:
    assert Clstm.our_reading
    network = Clstm(40, Clstm.defaults, 0).network
    kinds = (nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool1d, nn.LSTM, nn.Linear)
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    assert [kind for layer in layers for kind in kinds if isinstance(layer, kind)] == [*kinds[:4], *kinds]
    first, second = (layer for layer in layers if isinstance(layer, nn.Conv1d))
    assert [*first.weight.shape, *second.weight.shape] == [64, 40, 5, 64, 64, 5]
    lstm = network.lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bidirectional) == (64, 128, 1, False)
    assert network.classifier.weight.shape == (2, 128)
    assert network.dropout.p == 0.3
