"""NL-ITI's probe: a small network that tells right answers from wrong ones by a head's activation."""

import torch
from torch import Tensor, nn

HIDDEN, NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 16, 10, 32, 5e-4, 1e-4
"""As in NL-ITI's released code (arXiv 2403.18680)."""


def mlp_accuracy(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], seed: int) -> float:
    """Return the best validation accuracy of any epoch.

    The authors leave the last answers that fill no batch out of training and out of the choice of the epoch; here all
    of them count.

    Args:
        train, validation: features (num_answers, width) and labels (num_answers,).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(train[0].shape[1], HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    accuracies = []
    for _ in range(NUM_EPOCHS):
        network.train()
        for batch in torch.randperm(len(train[0]), generator=generator).split(BATCH_SIZE):
            if len(batch) > 1:  # of one answer there is no spread to normalise by
                _step(network, optimizer, train[0][batch], train[1][batch])
        network.eval()
        with torch.no_grad():
            says_right = network(validation[0]).squeeze(-1) > 0
        accuracies.append(float((says_right == validation[1]).float().mean()))
    return max(accuracies)


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(network(features).squeeze(-1), labels.float()).backward()
    optimizer.step()
