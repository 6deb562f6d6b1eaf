"""Pages about runs: everything about one run, or a comparison of several."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jax_ppo.app.checkpoints import from_arrays, list_checkpoints, read_checkpoint
from jax_ppo.app.doctor.rules import examine_run
from jax_ppo.app.history import History, read_history
from jax_ppo.app.outcome import summary_of
from jax_ppo.app.plots import page
from jax_ppo.app.plots.curves import Curve, compared_curves, curve_of, dashboard, learning_curve
from jax_ppo.app.plots.picture import Bars, Panel, Picture, Points, Span
from jax_ppo.app.runs import Run, json_of, read_rows
from jax_ppo.app.runtime import jit_with_options
from jax_ppo.app.statistics import show_number, show_spread
from jax_ppo.app.training import initial_states, population_of, shapes_of
from jax_ppo.config import PPOConfig, changed_fields
from jax_ppo.devices import train_updates
from jax_ppo.ppo import AlgorithmFn
from jax_ppo.types import TrainState
from jax_ppo.variants.clip_anatomy import ClipAnatomy, clip_anatomy
from jax_ppo.variants.policy_gradient import NO_CLIPPING

RESULTS = (
    "run",
    "environment",
    "algorithm",
    "trained by",
    "agents",
    "steps each",
    "seconds without compilation",
)
"""Columns of the table of results, before those of the returns."""
RETURNS = ("return, last tenth", "evaluation: IQM (mean of few)", "95% interval (each of few)")


ANATOMY_AT = 0.1
"""Share of training after which samples are looked at: the policy changes fastest early."""
NUM_BINS = 60
"""Bars of the histogram."""
MAX_POINTS = 2_000
"""Points of the scatter plot, at most."""


def write_report(run: Run) -> Path:
    """Plot everything about a run, as PNG files and on one page, which is returned.

    Raises:
        AppError: The run has no metrics or no checkpoint yet.
    """
    history = read_history(run)
    pictures = {
        "learning_curve": learning_curve(run, history),
        "diagnostics": dashboard(run, history),
    }
    if run.framework == "jax" and _has_clip_range(history):
        pictures["clip_anatomy"] = _clip_picture_of(run)
    curve, *others = page.figures(run.path, pictures)
    findings, failures = examine_run(run, history)
    advice = [f"{f}. Try: {f.rule.advice} ({f.rule.source})" for f in findings] + failures
    default = vars(PPOConfig())
    changed = changed_fields(PPOConfig(), run.config).items()
    starts = read_rows(run.path / "starts.jsonl", skip_damaged=True)
    parts = [
        page.heading("Result"),
        _results_table({run.path.name: run}, {run.path.name: history}),
        curve,
        page.heading("Findings of the doctor"),
        page.bullets(advice or ["The metrics show nothing suspicious."]),
        page.heading("Diagnostics"),
        *others,
        page.heading("Config"),
        page.paragraph("Fields that are not at their defaults:"),
        page.table(
            ("field", "value", "default"),
            [(name, str(value), str(default[name])) for name, value in changed],
        ),
        page.heading("Where it ran"),
        *(page.preformatted("\n".join(f"{k}: {v}" for k, v in row.items())) for row in starts),
    ]
    file = run.path / "report.html"
    page.write_page(file, f"{run.path.name}: {run.algorithm.upper()} on {run.config.env_id}", parts)
    return file


def write_comparison(runs: Mapping[str, Run], out: Path) -> None:
    """Write OUT.html and OUT.png, of runs by their names in the legend."""
    histories = {name: read_history(run) for name, run in runs.items()}
    curves = {name: curve_of(history) for name, history in histories.items()}
    configs = {name: vars(run.config) for name, run in runs.items()}
    fields = [
        field
        for field in vars(PPOConfig())
        if field != "env_id" and len({str(config[field]) for config in configs.values()}) > 1
    ]
    rows = [[name, *(str(config[field]) for field in fields)] for name, config in configs.items()]
    parts = [
        *page.figures(out.parent, _comparisons(runs, curves, out.name)),
        page.heading("Results"),
        _results_table(runs, histories),
        page.heading("Fields of the config that differ"),
        page.table(("run", *fields), rows) if fields else page.paragraph("None."),
    ]
    page.write_page(out.with_name(f"{out.name}.html"), "Comparison of runs", parts)


def _comparisons(
    runs: Mapping[str, Run], curves: Mapping[str, Curve], name: str
) -> dict[str, Picture]:
    """A picture for each environment, whose returns have a scale of their own."""
    envs = list(dict.fromkeys(run.config.env_id for run in runs.values()))
    pictures = {}
    for number, env_id in enumerate(envs, 1):
        own = {key: run for key, run in runs.items() if run.config.env_id == env_id}
        picture = compared_curves(_comparison_title(own), {key: curves[key] for key in own})
        pictures[name if number == 1 else f"{name}-{number}"] = picture
    return pictures


def _comparison_title(runs: Mapping[str, Run]) -> str:
    """Algorithms, environments and numbers of agents that are compared."""
    envs = sorted({run.config.env_id for run in runs.values()})
    counts = sorted({run.settings.num_agents for run in runs.values()})
    agents = "one agent each" if counts == [1] else f"{' or '.join(map(str, counts))} agents each"
    algorithms = sorted({run.algorithm.upper() for run in runs.values()})
    return f"{', '.join(algorithms)} on {', '.join(envs)}, {agents}"


def _results_table(runs: Mapping[str, Run], histories: Mapping[str, History]) -> str:
    """The returns of each run, and how long it took."""
    rows = []
    for name, run in runs.items():
        steps, seconds = histories[name].steps[-1], histories[name].seconds[-1]
        origin = (name, run.config.env_id, run.algorithm, run.framework)
        extent = (str(run.settings.num_agents), f"{steps:,}", f"{seconds:.1f}")
        returns = (show_number(_late_return(histories[name])), *_evaluation_cells(run))
        rows.append([*origin, *extent, *returns])
    return page.table((*RESULTS, *RETURNS), rows)


def _evaluation_cells(run: Run) -> tuple[str, str]:
    """Score of the agents' mean returns at the end of training, and its spread."""
    file = run.path / "evaluation.json"
    if not file.is_file():
        return "not evaluated", ""
    with json_of(file) as content:
        summary = summary_of(content["over_seeds"])
    return show_number(summary.score), show_spread(summary)


def _late_return(history: History) -> float:
    """Mean return of the episodes that ended in the last tenth of training."""
    start = len(history.updates) - max(1, len(history.updates) // 10)
    episodes = history.metrics["num_episodes"][start:]
    returns = np.where(episodes > 0, history.metrics["episode_return"][start:], 0.0)
    return float((returns * episodes).sum() / episodes.sum()) if episodes.sum() else float("nan")


def agent_at(run: Run, update: int) -> TrainState:
    """The first agent of a run of JAX as it was after `update` updates.

    Training is repeated from the newest checkpoint that is not later, which gives the same agent
    within rounding.
    """
    population = population_of(run)
    earlier = [c for c in list_checkpoints(run.checkpoints) if c.update <= update]
    states, done = initial_states(population), 0
    if earlier:
        states = from_arrays(read_checkpoint(run, earlier[-1]), shapes_of(population))
        done = earlier[-1].update
    states = jax.tree.map(lambda leaf: leaf[:1], states)
    states = _train_on(states, run.config, update - done, population.algorithm_fn)
    return jax.tree.map(lambda leaf: leaf[0], states)


def _has_clip_range(history: History) -> bool:
    """Whether the algorithm clips probability ratios: TRPO has no clip_eps, A2C NO_CLIPPING."""
    return bool(np.all(history.metrics.get("clip_eps", NO_CLIPPING) < NO_CLIPPING))


def _clip_picture_of(run: Run) -> Picture:
    """The clip range and the samples around it, in an early update of a run's first agent."""
    update = int(ANATOMY_AT * run.config.num_updates)
    anatomy = _anatomy(agent_at(run, update), run.config, population_of(run).algorithm_fn)
    title = (
        f"{run.algorithm.upper()} on {run.config.env_id}, seed {run.settings.seed}: "
        f"update {update + 1} of {run.config.num_updates}"
    )
    return _clip_picture(title, jax.device_get(anatomy))


def _clip_picture(title: str, anatomy: ClipAnatomy) -> Picture:
    """Histogram of ratios with the clip range, and ratios against advantages."""
    ratio, advantages, clipped = map(np.asarray, anatomy[:3])
    clip_eps = float(anatomy.clip_eps)
    clip_range = Span("clip range", 1.0 - clip_eps, 1.0 + clip_eps)
    reach = max(1.5 * clip_eps, float(np.quantile(np.abs(ratio - 1.0), 0.999)))
    edges = np.linspace(max(0.0, 1.0 - reach), 1.0 + reach, NUM_BINS + 1)
    heights, _ = np.histogram(np.clip(ratio, edges[0], edges[-1]), edges)
    title = f"{title}\n{np.mean(clipped):.1%} of {len(ratio):,} samples clipped"
    shown = np.arange(0, len(ratio), -(-len(ratio) // MAX_POINTS))
    ratio, advantages, clipped = ratio[shown], advantages[shown], clipped[shown]
    points = (
        Points("not clipped", ratio[~clipped], advantages[~clipped], faint=True),
        Points("clipped", ratio[clipped], advantages[clipped], colour=1, faint=True),
    )
    x_label = "probability ratio, new policy over old"
    histogram = Panel(
        "ratios at the end of the update; outermost bars hold all beyond",
        x_label,
        "samples",
        (clip_range, Bars("", edges, heights)),
    )
    scatter = Panel(
        "a clipped sample has no gradient",
        x_label,
        "advantage by GAE (return)",
        (clip_range, *points),
    )
    return Picture(title, (histogram, scatter), columns=2)


@partial(jit_with_options, donate_argnums=0, static_argnames="algorithm_fn")
def _train_on(
    states: TrainState, config: PPOConfig, num_updates: int, algorithm_fn: AlgorithmFn
) -> TrainState:
    """Some more updates; the metrics are not kept."""
    return train_updates(
        states, config, num_updates, capacity=config.num_updates, algorithm_fn=algorithm_fn
    )[0]


@partial(jit_with_options, static_argnames="algorithm_fn")
def _anatomy(state: TrainState, config: PPOConfig, algorithm_fn: AlgorithmFn) -> ClipAnatomy:
    return clip_anatomy(state, config, algorithm_fn)
