"""icl-probe: measure a checkpoint and write one interactive report."""

from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.cli.shared import new_app, one_line_errors, takes

_app = new_app()


@_app.command()
@takes(ProbeOptions)
def _probe(options: ProbeOptions) -> None:
    """Measure what a transformer learns in context, and write one interactive HTML report."""
    with one_line_errors(to_save_memory="lower --prompts or --points, or pass --device cpu"):
        from icl_interp.cli.probe_job import run_probe

        run_probe(options)


def main() -> None:
    """Run the command line."""
    _app()
