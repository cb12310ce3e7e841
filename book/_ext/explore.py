"""The directive `explore`: a small live model, whose figure stands there without a script too.

    ```{explore} activation
    ```

draws StochA as `p` and the reading of x ≥ 0 make it; `traffic` in its place how much faster a
sparse layer can be. `book/static/explore.js` computes what a reader asks for; what it starts from,
and the figure before it runs, are the library's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from stocha.activations.drawn import stocha_expectation
from stocha.activations.plain import relu, silu
from stocha.claims import sparse
from stocha.claims.drawing import Plot
from stocha.claims.ledger import Tables
from stocha.sparse.traffic import expected_candidates, limit

WORDS = {
    "identity": "x itself (the paper)",
    "silu": "SiLU",
    "mixed": "drawn too (the toy post)",
}
KERNELS = {"sparse": "numba sparse", "screened": "numba screened"}
MOST = 8
"""Times as fast: the height of the traffic model's figure."""


class Explore(SphinxDirective):
    """One of the two models."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Controls, hidden until the script runs; the figure; a sentence; what it starts from."""
        kind = self.arguments[0]
        if kind == "activation":
            controls, figure, said, model = activation()
        else:
            controls, figure, said, model = traffic(Tables(Path(self.env.srcdir) / "results"))
        html = (
            f'<div class="explore" data-kind="{kind}"><form hidden>{controls}</form>{figure}'
            f'<p class="said" aria-live="polite">{said}</p>'
            f'<script type="application/json">{json.dumps(model)}</script></div>'
        )
        return [nodes.raw("", html, format="html")]


def activation() -> tuple[str, str, str, dict[str, Any]]:
    """StochA between ReLU and SiLU, p = 0.5."""
    plot = Plot((-4, 2), (-0.5, 2), ("x", "StochA(p)"), percent=False)
    plot.text(plot.x(-3.9), plot.y(0.08), "ReLU")
    plot.text(plot.x(-1.5), plot.y(-0.44), "SiLU")
    plot.keep()
    x = torch.linspace(-4, 2, 121, dtype=torch.float64)
    drawn = stocha_expectation(x, 0.5)
    for y, colour, width in ((relu(x), "relu", 1), (silu(x), "silu", 1), (drawn, "stocha", 3)):
        points = [(plot.x(a), plot.y(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        plot.line(points, colour, width)
    options = "".join(f'<option value="{name}">{word}</option>' for name, word in WORDS.items())
    controls = (
        "<span><label>p, the probability of SiLU "
        '<input type="range" name="p" min="0" max="1" step="0.05" value="0.5"></label> '
        '<output name="shown">0.50</output></span>'
        f'<label>x ≥ 0 is <select name="reading">{options}</select></label>'
        '<label><input type="checkbox" name="drawn"> one draw, not the expectation</label>'
        '<button type="button" name="again" disabled>draw again</button>'
    )
    said = "The expectation at p = 0.5: of a symmetric input nothing becomes exactly zero."
    return controls, plot.svg(said), said, {}


def traffic(tables: Tables) -> tuple[str, str, str, dict[str, Any]]:
    """The limit that reading less sets, with what was measured."""
    speed = tables(sparse.PAGE, "ffn_speed")
    case = (speed["d"] == sparse.WIDTH) & (speed["h"] == sparse.NEURONS)
    rows = speed[case & (speed["threads"] == sparse.THREADS)]
    measured = {
        name: rows.loc[rows["method"] == kernel, ["sparsity", "ratio_median"]].to_numpy().tolist()
        for name, kernel in KERNELS.items()
    }
    plot = Plot((0, 1), (0, MOST), ("zeros in the layer", "times as fast as the dense layer"))
    shape, grid = (sparse.WIDTH, sparse.NEURONS), np.linspace(0, 0.99, 100)
    plot.line([(plot.x(s), plot.y(limit("sparse", *shape, s))) for s in grid], "stocha", 2.5)
    for share, ratio in measured["sparse"]:
        plot.dot(plot.x(share), plot.y(ratio), "silu", 3)
    controls = (
        "<span><label>zeros "
        '<input type="range" name="sparsity" min="0" max="0.99" step="0.01" value="0.9"></label> '
        '<output name="shown">90 %</output></span>'
        '<label>weights <select name="item"><option value="4">float32</option>'
        '<option value="2">bfloat16</option></select></label>'
        '<label><input type="checkbox" name="screened"> screen the gate in int8 first</label>'
    )
    said = f"At 90 % zeros the layer can be {limit('sparse', *shape, 0.9):.2f} times as fast."
    candidates = [expected_candidates(s, sparse.WIDTH) for s in np.linspace(0, 1, 201)[:-1]]
    model = {
        "width": sparse.WIDTH,
        "neurons": sparse.NEURONS,
        "candidates": [*candidates, 0.0],
        "measured": measured,
    }
    return controls, plot.svg(said), said, model


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("explore", Explore)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
