"""The trained networks that ship with the package, and the record of how they were trained."""

from pathlib import Path

__all__ = ["demo_path"]


def demo_path() -> Path:
    """Locate the embedded demo checkpoint.

    In the same folder are its config (`demo_config.yaml`), the loss of its training steps (`demo_metrics.jsonl`) and
    the record of versions and machine (`demo_manifest.json`).

    Returns:
        A .pt file of the own format.

    Example:
        >>> demo_path().name
        'demo.pt'
    """
    return Path(__file__).parent / "demo.pt"
