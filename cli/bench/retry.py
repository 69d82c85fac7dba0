"""emodna-bench retry: run the cells again that failed."""

import time
from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.bench.options import execution_options, out_option


@common.environment("EMODNA_BENCH_RETRY")
@click.command()
@out_option
@execution_options
@common.config_option
@common.common_options
@click.pass_context
def retry(
    context: click.Context,
    out: Path,
    workers: int | None,
    scheduler: str | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run the cells of a benchmark again that failed.

    Each goes on from its checkpoint if that can be used, and begins anew otherwise.
    """
    began = time.monotonic()
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.cli.bench.executing import Execution, carry_out
    from emodna.model.bench.results import read_outcomes
    from emodna.model.bench.running.execute import only_run
    from emodna.model.bench.spec import Experiment
    from emodna.model.errors import BenchError

    bench = Experiment.read(out)
    execution = Execution.of(workers, scheduler, bench.conditions.threads, device)
    if execution.kind != bench.conditions.device:
        raise BenchError(f"--device {device}: the benchmark in {out} is of {bench.conditions.device}")
    with only_run(out):
        failed = [each.run for each in read_outcomes(bench) if each.state == "failed"]
        code = carry_out(bench, failed, execution, began=began, again=True, as_json=as_json, quiet=quiet)
    context.exit(code)
