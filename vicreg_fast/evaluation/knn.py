"""k nearest neighbours by cosine similarity, weighted by exp(similarity / τ): the protocol of the
instance-discrimination papers (Wu et al. 2018), with k = 20 and τ = 0.07. It trains nothing."""

import torch
import torch.nn.functional as F

from vicreg_fast.evaluation.features import Features

NEIGHBOURS = 20
TEMPERATURE = 0.07


def knn_accuracy(
    train: Features, test: Features, classes: int, *, device: torch.device | str = "cpu"
) -> float:
    """Share of test images, in [0, 1], whose weighted vote is their label. Needs memory for 512 × M
    similarities only."""
    bank = F.normalize(train.features.to(device), dim=1)
    votes_for = F.one_hot(train.labels.to(device), classes).float()
    k = min(NEIGHBOURS, len(bank))
    correct = 0
    for features, labels in zip(test.features.split(512), test.labels.split(512), strict=True):
        similarity, index = (F.normalize(features.to(device), dim=1) @ bank.T).topk(k, dim=1)
        weights = (similarity / TEMPERATURE).exp()
        votes = (weights.unsqueeze(-1) * votes_for[index]).sum(1)
        correct += int((votes.argmax(1).cpu() == labels).sum())
    return correct / len(test.labels)
