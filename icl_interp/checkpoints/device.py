"""Whether this machine has a device that models can be measured on."""

import torch

from icl_interp.checkpoints.errors import CheckpointError, one_line

__all__ = ["check_device"]


def check_device(device: str | torch.device) -> None:
    """Refuse a device before minutes are spent on it.

    Args:
        device: As torch names it.

    Raises:
        CheckpointError: A ValueError of one sentence: the device is not there, or has no float64.
    """
    try:
        torch.zeros(1, device=device).item()  # "meta" makes tensors, but none that hold anything
    except Exception as error:  # torch raises RuntimeError, AssertionError and more
        raise CheckpointError(
            f"the model needs a device that this machine has, got {str(device)!r} ({one_line(error)[:100]}); pass cpu."
        ) from error
    try:
        torch.zeros(1, device=device, dtype=torch.float64).item()
    except Exception as error:  # TypeError on "mps"
        raise CheckpointError(
            f"the measures need a device with float64, got {str(device)!r} ({one_line(error)[:100]}); pass cpu."
        ) from error
