"""The training loop, on accelerate: several GPUs, mixed precision, checkpoints, TensorBoard."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from handrefiner_ext.errors import BackendUnavailable, HandRefinerError, how_to_install
from handrefiner_ext.pickles import printable
from handrefiner_ext.train.average import Average
from handrefiner_ext.train.data import Chances, Draw, Example
from handrefiner_ext.train.memory import ADVICE, check_memory, count_bytes
from handrefiner_ext.train.settings import ADAFACTOR, ADAMW, CONSTANT, Settings
from handrefiner_ext.train.views import Pictures

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "tensorboard")
CHECKPOINTS, LOGS = "checkpoints", "logs"
KEPT = 2
"""Checkpoints; older ones go."""
LARGEST_GRADIENT = 1.0
RECENT = 100
"""Steps over which the loss is averaged in what is said."""


def check_packages() -> None:
    """Raise BackendUnavailable, with the command that helps, where a package is missing."""
    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        raise BackendUnavailable(
            f"Training needs {', '.join(missing)}; run {how_to_install('train')}."
        )


FindLoss = Callable[[Sequence[Any], Any], Any]
"""Takes the networks that learn and a batch, returns what is to become small."""


@dataclass(frozen=True)
class Learning:
    """trained: the networks that learn. frozen: those that are asked. find_loss: of both.

    averages: at the end the networks get the mean of their weights over the last steps.
    """

    trained: Sequence[Any]
    frozen: Sequence[Any]
    find_loss: FindLoss
    averages: bool = False


@dataclass(frozen=True)
class Progress:
    """step: done so far. loss: mean of the last hundred. seconds: of a step, on average."""

    step: int
    loss: float
    seconds: float


MakeBatch = Callable[[Sequence[int]], Any]
"""Takes places in the endless row of examples (see `Chances`), returns their batch."""


class Trainer:
    """Owns accelerate's objects. folder: of the run, for checkpoints and logs."""

    def __init__(self, folder: Path, settings: Settings, learning: Learning) -> None:
        import torch
        from accelerate import Accelerator
        from accelerate.utils import ProjectConfiguration

        self.folder, self.settings, self.learning = folder, settings, learning
        self.accelerator = Accelerator(
            gradient_accumulation_steps=settings.gradient_accumulation,
            mixed_precision=settings.mixed_precision,
            log_with="tensorboard",
            project_config=ProjectConfiguration(str(folder), logging_dir=str(folder / LOGS)),
        )
        device = self.accelerator.device
        for model in learning.frozen:
            model.requires_grad_(False)
        needed = count_bytes(learning.trained, learning.frozen, settings.optimizer)
        check_memory(needed, device)
        kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(settings.mixed_precision)
        for model in learning.frozen:
            model.to(device)
            if kind and not _wants_float32(model):
                model.to(kind)
        weights = [p for model in learning.trained for p in model.parameters()]
        self.optimizer = _make_optimizer(weights, settings)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._pace)
        *self.trained, self.optimizer, self.schedule = self.accelerator.prepare(
            *learning.trained, self.optimizer, self.schedule
        )
        self.average = Average(learning.trained) if learning.averages else None
        if self.average:
            self.accelerator.register_for_checkpointing(self.average)
        self.accelerator.init_trackers("train")

    def _pace(self, step: int) -> float:
        """The learning rate after `step` steps, as a share of the setting."""
        settings = self.settings
        # accelerate counts a step of the schedule once for each process
        done: float = step / self.accelerator.num_processes
        rising = min(1.0, (done + 1) / max(settings.warmup_steps, 1))
        if settings.lr_schedule == CONSTANT:
            return rising
        return rising * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / settings.steps)))

    def run(self, make_batch: MakeBatch, start: int = 0) -> Iterator[Progress]:
        """Train from `start` on, yielding after every step. Raises HandRefinerError."""
        losses: list[float] = []
        began = time.monotonic()
        for step in range(start, self.settings.steps):
            with _memory_told():
                losses.append(self._step(step, make_batch))
            if self.average:
                self.average.add()
            losses = losses[-RECENT:]
            mean = sum(losses) / len(losses)
            self.accelerator.log({"loss": losses[-1], "mean_loss": mean}, step=step + 1)
            if step + 1 == self.settings.steps or (step + 1) % self.settings.checkpoint_every == 0:
                self.save(step + 1)
            seconds = (time.monotonic() - began) / (step + 1 - start)
            yield Progress(step + 1, mean, seconds)
        if self.average:
            self.average.use()
        self.accelerator.end_training()

    def _step(self, step: int, make_batch: MakeBatch) -> float:
        settings, accelerator = self.settings, self.accelerator
        loss = 0.0
        for part in range(settings.gradient_accumulation):
            batch = make_batch(self._places(step, part))
            with accelerator.accumulate(*self.trained):
                with accelerator.autocast():
                    wrong = self.learning.find_loss(self.trained, batch)
                accelerator.backward(wrong)
                if accelerator.sync_gradients:
                    weights = [p for model in self.trained for p in model.parameters()]
                    accelerator.clip_grad_norm_(weights, LARGEST_GRADIENT)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad(set_to_none=True)
            loss += float(accelerator.gather(wrong.detach()).mean())
        return float(loss / settings.gradient_accumulation)

    def _places(self, step: int, part: int) -> range:
        """The places of one batch of this process."""
        settings, accelerator = self.settings, self.accelerator
        size, processes = settings.batch_size, accelerator.num_processes
        row = step * settings.gradient_accumulation + part
        first = (row * processes + accelerator.process_index) * size
        return range(first, first + size)

    def save(self, step: int) -> None:
        """Write a checkpoint under a name of its own; a stop in the middle leaves the older one."""
        target = self.folder / CHECKPOINTS / f"step-{step:07d}"
        partial = target.with_suffix(".part")
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            for old in list_checkpoints(self.folder)[:-KEPT]:
                shutil.rmtree(old)

    def restore(self) -> int:
        """Load the newest checkpoint, if there is one; return the step it was written after."""
        found = list_checkpoints(self.folder)
        if not found:
            return 0
        try:
            self.accelerator.load_state(str(found[-1]))
        except Exception as error:  # a file that was cut off, read by libraries that raise anything
            raise HandRefinerError(
                f"The checkpoint {found[-1]} cannot be read ({_first_line(error)}). Remove that "
                "folder, and --resume goes on from the one before it, or begins anew where there "
                "is none."
            ) from error
        return int(found[-1].name.partition("-")[2])


def _first_line(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0] or type(error).__name__)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the finished checkpoints of a run, the oldest first."""
    return sorted(path for path in (folder / CHECKPOINTS).glob("step-*") if path.suffix != ".part")


def _make_optimizer(weights: list[Any], settings: Settings) -> Any:
    import torch

    if settings.optimizer == ADAMW:
        if weights[0].device.type == "cpu":  # all weights at once: a tenth of a small model's step
            with suppress(RuntimeError):  # torch before 2.4
                return torch.optim.AdamW(weights, lr=settings.learning_rate, fused=True)
        return torch.optim.AdamW(weights, lr=settings.learning_rate)
    if not hasattr(torch.optim, "Adafactor"):
        raise BackendUnavailable(
            f"optimizer = {ADAFACTOR!r} needs torch 2.5 or newer; run pip install -U torch."
        )
    return torch.optim.Adafactor(weights, lr=settings.learning_rate)


def _wants_float32(model: Any) -> bool:
    """SDXL's VAE overflows in half precision, and says so."""
    return bool(getattr(model.config, "force_upcast", False))


@contextmanager
def _memory_told() -> Iterator[None]:
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise HandRefinerError(
            f"There was not enough memory for a step of the training. {ADVICE} The last "
            "checkpoint is intact: go on from it with --resume."
        ) from error


class Reader:
    """Reads the examples of batches ahead of time, in threads: decoding frees the interpreter."""

    def __init__(self, hands: Pictures, chances: Chances, workers: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.hands, self.chances = hands, chances
        self._pool = ThreadPoolExecutor(max(workers, 1))

    def read(self, places: Sequence[int]) -> tuple[list[Example], list[Draw]]:
        draws = [self.chances.draw(place, len(self.hands)) for place in places]
        return list(self._pool.map(lambda draw: self.hands[draw.number], draws)), draws
