"""Candidates of all classes against mean shift with a k-d tree, and the chain's exact inference."""

from __future__ import annotations

import numpy as np

from bench_parts.baselines import kd_tree_modes
from bench_parts.harness import Contender, Figure, Target, interleaved, single_figure, timed_figure
from bench_parts.scene import N_THREADS, Scene
from vertloc.localization import label_again, propose
from vertloc.stages.centre_votes import find_centres
from vertloc.stages.centroid_density import DensitySettings, find_candidates, name_centres
from vertloc.stages.posterior import Posterior, classify
from vertloc.stages.preprocess import preprocess
from vertloc.stages.shape_labelling import label_chain
from vertloc.vertebrae import VERTEBRAE


def measure_candidates(scene: Scene) -> list[Figure]:
    """Time what follows dense classification on a full-size scan."""
    model, settings = scene.model, scene.model.settings
    volume = preprocess(scene.scan, model.preprocess, N_THREADS)
    posterior = classify(volume, model.classifier, settings.posterior, N_THREADS)
    forest = model.centre_forest
    if forest is None:
        raise RuntimeError("the default model has a centre forest")
    modes: list[np.ndarray] = []

    def densities() -> None:
        find_candidates(posterior, model.label_radius_factor, settings.density, N_THREADS)

    def votes() -> None:
        centres = find_centres(volume, posterior, forest, settings.votes, N_THREADS)
        name_centres(centres, posterior, model.label_radius_factor, settings.density)

    def with_kd_tree() -> None:
        modes[:] = _kd_tree_candidates(posterior, settings.density)

    times = interleaved(
        {
            "densities": Contender(densities, scene.repeats(5)),
            "votes": Contender(votes, scene.repeats(5)),
            "kd": Contender(with_kd_tree, scene.repeats(2), warm_up=False),
        }
    )
    what = f"{len(posterior.voxel)} probabilities of {len(np.unique(posterior.rank))} vertebrae"
    proposals = propose(volume, model, N_THREADS)
    first = label_chain(proposals, model.shape, settings.chain)
    chain = interleaved(
        {
            "chain": Contender(lambda: label_chain(proposals, model.shape, settings.chain), scene.repeats(9)),
            "again": Contender(lambda: label_again(volume, proposals, first, model, N_THREADS), scene.repeats(5)),
        }
    )
    kd = "k-d tree mean shift, as many seeds"
    return [
        timed_figure(
            "candidates of all vertebrae, modes of class densities",
            times["densities"],
            kd,
            times["kd"],
            [Target(0.3)],
            what,
        ),
        timed_figure(
            "candidates of all vertebrae, voted centres (default)", times["votes"], kd, times["kd"], [Target(0.3)], what
        ),
        single_figure(
            "chain: exact inference with marginals",
            [1e3 * s for s in chain["chain"].seconds],
            "ms",
            note=f"{len(proposals)} candidates",
        ),
        single_figure(
            "naming in the spine's frame, and the second chain",
            [1e3 * s for s in chain["again"].seconds],
            "ms",
            note=f"{len(proposals.places_mm)} places",
        ),
    ]


def _kd_tree_candidates(posterior: Posterior, settings: DensitySettings) -> list[np.ndarray]:
    found = []
    for rank in range(len(VERTEBRAE)):
        rows = np.flatnonzero(posterior.rank == rank)
        if len(rows):
            index = np.stack(np.unravel_index(posterior.voxel[rows], posterior.grid.shape), axis=1)
            masses = posterior.probability[rows].astype(np.float64)
            found.append(
                kd_tree_modes(
                    posterior.grid.to_world(index), masses, settings.bandwidth_mm, 2 * settings.modes_per_vertebra
                )
            )
    return found
