"""A small text recogniser: lines of handwritten digits, a convolutional and recurrent network trained by CTC, and its answers as text.

Digits are scikit-learn's 1,797 of 8 × 8 (UCI, CC BY 4.0), `digits.csv.gz` in its wheel, which `DIGITS` names. Writers are in the file's
order, so that the splits' lines are made of digits that no other split has.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

HEIGHT, WIDTH, MOST = 12, 96, 9
BLANK = 10
SPLITS = {
    "train": (3000, 0, 1200),
    "calibration": (64, 0, 1200),
    "validation": (200, 1200, 1400),
    "test": (500, 1400, 1797),
}
"""Lines of each split, and the digits, by place in the file, that they are made of."""


def load() -> dict[str, npt.NDArray[np.generic]]:
    """The splits, as data.source asks for them: pictures (n, 1, 12, 96) of floats from 0 to 1, and what is written in them."""
    table = np.loadtxt(os.environ["DIGITS"], delimiter=",", dtype=np.float32)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for seed, (split, (n, first, last)) in enumerate(SPLITS.items()):
        pictures, texts = _lines(n, table[first:last], np.random.default_rng(seed))
        found |= {f"x_{split}": pictures, f"y_{split}": texts}
    return found


def _lines(
    n: int, digits: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
    pictures, texts = rng.normal(0, 0.08, (n, 1, HEIGHT, WIDTH)), []
    for picture in pictures[:, 0]:
        text, at = "", int(rng.integers(0, 6))
        for chosen in rng.integers(0, len(digits), rng.integers(4, MOST + 1)):
            high = int(rng.integers(0, HEIGHT - 7))
            picture[high : high + 8, at : at + 8] += digits[chosen, :64].reshape(8, 8) / 16
            text, at = f"{text}{int(digits[chosen, 64])}", at + 8 + int(rng.integers(0, 3))
        texts.append(text)
    return np.clip(pictures, 0, 1).astype(np.float32), np.array(texts)


class Reader(nn.Module):
    """(n, 1, 12, 96) -> (n, 48, 11): for each two columns the logarithms of the shares of ten digits and of none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.lstm = nn.LSTM(24 * 3, 48, bidirectional=True, batch_first=True)
        self.head = nn.Linear(96, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), (2, 1))
        x = x.flatten(1, 2).transpose(1, 2)
        return F.log_softmax(self.head(self.lstm(x)[0]), dim=2)


def trained(epochs: int, seed: int = 0) -> Reader:
    """A reader of the training lines, by CTC (Graves et al. 2006)."""
    torch.manual_seed(seed)
    arrays, network = load(), Reader()
    x = torch.from_numpy(np.asarray(arrays["x_train"], np.float32))
    texts = [[int(c) for c in text] for text in arrays["y_train"]]
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            some = [texts[i] for i in batch.tolist()]
            lengths, flat = torch.tensor([len(t) for t in some]), torch.tensor([c for t in some for c in t])
            said = network(x[batch]).transpose(0, 1)
            loss = F.ctc_loss(said, flat, torch.full((len(some),), len(said)), lengths, blank=BLANK)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return network.eval()


def to_text(outputs: npt.NDArray[np.floating]) -> list[str]:
    """(n, 48, 11) -> the likeliest digit of each place, repeats once and none left out."""
    best = outputs.argmax(axis=2)
    return [
        "".join(str(c) for c, before in zip(row, [BLANK, *row[:-1]], strict=True) if c not in (before, BLANK))
        for row in best.tolist()
    ]
