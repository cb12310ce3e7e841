# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The activations
#
# A feed-forward layer applies one scalar function to every neuron. This chapter defines every such
# function of the study, beside the few lines that are it, and looks at its graph, its expectation,
# its variance and its gradient. Nothing is trained here: what can be said about an activation by
# itself is said here, so that later chapters can tell it from what training does.
#
# The subject is **StochA** {cite:p}`lomeli2025stochastic`: a function that is ReLU or SiLU by the
# toss of a coin. Its definition leaves three choices open, and they are made in the open below.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
samples: int = None  # standard normal inputs of the numerical experiment [1000, inf)
p: float = 0.5  # probability of SiLU [0, 1]
seed: int = 0  # of inputs, draws and gates [0, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"samples": 20000},
    "book": {"samples": 1000000},
    "full": {"samples": 1000000},
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from stocha import activations, figures
from stocha.base.streams import generator
from stocha.study.session import open_run

run = open_run("10_activations", globals())
figures.style()
run.badge()

# %% [markdown]
# ## The fixed ones
#
# $$
# \mathrm{ReLU}(x) = \max(0, x), \qquad \mathrm{SiLU}(x) = x\,\sigma(x), \qquad
# \mathrm{GELU}(x) = x\,\Phi(x), \qquad \mathrm{ReLU}^2(x) = \max(0, x)^2,
# $$
#
# with $\sigma$ the logistic function and $\Phi$ the normal distribution function. SiLU is also
# known as Swish {cite:p}`ramachandran2017searching`; GELU {cite:p}`hendrycks2016gaussian` and
# ReLU² {cite:p}`so2021primer` are here for comparison, as is RReLU {cite:p}`xu2015empirical`,
# which draws the slope of its negative side at random in training. All of them are torch's own.
# What the library adds is their limit at $\pm\infty$, where torch may give NaN:

# %%
for name in ("relu", "silu", "gelu", "relu2"):
    ends = activations.make(name)(torch.tensor([-torch.inf, 0.0, torch.inf]))
    print(f"{name:6}", ends.tolist())


# %% [markdown]
# A grid of inputs and the derivative by automatic differentiation are all that the graphs need.


# %%
def value_and_slope(function, x):
    """Return f(x) and f'(x) as float arrays."""
    x = x.clone().requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach().numpy(), slope.numpy()


grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
rows = []
for name in ("relu", "silu", "gelu", "relu2"):
    value, slope = value_and_slope(activations.make(name), grid)
    rows.append(pd.DataFrame({"activation": name, "x": grid, "value": value, "slope": slope}))
fixed = run.table("fixed", pd.concat(rows))

# %% mystnb={"figure": {"name": "fig-fixed", "caption": "The fixed activations (left) and their derivatives (right). SiLU and GELU follow ReLU from below, and dip under zero where ReLU is flat."}, "image": {"alt": "Two panels over x from −4 to 4. Left: ReLU, SiLU, GELU and squared ReLU. Right: their derivatives; ReLU's is a step, those of SiLU and GELU rise smoothly, overshoot 1 and are slightly negative left of about −1."}}
near = fixed[fixed.x.abs() <= 4]
figure, (left, right) = plt.subplots(1, 2)
figures.runs_over_epochs(near, "value", x="x", ax=left)
figures.runs_over_epochs(near, "slope", x="x", legend=None, ax=right)
left.set(ylim=(-0.5, 4.2), ylabel="$f(x)$")
right.set(ylim=(-0.3, 2.3), ylabel="$f'(x)$")
plt.show()

# %% tags=["remove-input"]
run.figure_data("fixed")

# %% [markdown]
# ReLU makes exact zeros, on which sparse inference rests, and passes no gradient to a neuron that
# is off. SiLU has a gradient everywhere and trains better, but is never exactly zero. The methods
# under study try to have both.
#
# ## StochA
#
# For every negative input a coin $\omega \sim \mathrm{Bernoulli}(p)$ decides:
#
# $$
# \mathrm{StochA}_p(x) = \omega\,\mathrm{SiLU}(x) + (1 - \omega)\,\mathrm{ReLU}(x), \qquad x < 0 .
# $$
#
# So **$p$ is the probability of SiLU**. As code, with the same coin for $x \ge 0$:


# %%
def stocha_as_defined(x, p, generator):
    omega = torch.rand(x.shape, generator=generator) < p
    return torch.where(omega, x * torch.sigmoid(x), x.clamp(min=0))


# %% [markdown]
# The library's own is a faster way of writing this. Given the same coins it is the same function,
# and each of its values is ReLU's or SiLU's to the last bit:

# %%
x = torch.randn(10_000, generator=generator(seed, "data", "check"))
omega = torch.rand(x.shape, generator=generator(seed, "activation", "check")) < p
assert torch.equal(
    activations.stocha(x, positive="mixed", draw=omega),
    torch.where(omega, activations.silu(x), activations.relu(x)),
)
torch.testing.assert_close(
    activations.stocha(x, positive="mixed", draw=omega),
    stocha_as_defined(x, p, generator(seed, "activation", "check")),
)

# %% [markdown]
# Drawing once an input gives the picture below: points that lie on one of two curves, and around
# their mean no point at all.

# %% tags=["hide-input"]
spots = torch.linspace(-5, 2, 141, dtype=torch.float64)
drawn = activations.stocha(
    spots, p, positive="mixed", generator=generator(seed, "activation", "figure")
)
draws = run.table("draws", pd.DataFrame({"x": spots, "value": drawn}))
expectation = activations.stocha_expectation(grid, p, "mixed")

# %% mystnb={"figure": {"name": "fig-stocha-draws", "caption": "One draw of StochA per input (dots), the two functions it is drawn from, and its expectation."}, "image": {"alt": "Dots lie either on ReLU or on SiLU. The expectation runs between the two curves. Below zero the gap is widest near x = −1.3."}}
figure, ax = plt.subplots()
window = (grid >= -5) & (grid <= 3)
for name, y in (
    ("relu", activations.relu(grid)),
    ("silu", activations.silu(grid)),
    ("stocha", expectation),
):
    look = figures.look([name])[name]
    look.pop("marker")
    label = "StochA, expectation" if name == "stocha" else look.pop("label")
    ax.plot(grid[window], y[window], **look | {"label": label, "linewidth": 1.5})
ax.plot(draws.x, draws.value, "o", ms=3, color=figures.COLOURS["stocha"], label="StochA, drawn")
ax.set(ylim=(-0.4, 1.6), xlim=(-5.1, 2.1), xlabel="$x$", ylabel="$f(x)$")
ax.legend()
plt.show()

# %% tags=["remove-input"]
run.figure_data("draws")

# %% [markdown]
# ### Expectation, variance, gradient
#
# The two functions differ by a bump that is the same on both sides,
#
# $$
# \mathrm{SiLU}(x) - \mathrm{ReLU}(x) = \mathrm{SiLU}(-|x|) ,
# $$
#
# which is small and bounded. With the same coin for all $x$ it follows that
#
# $$
# \mathbb{E}[f] = \mathrm{ReLU}(x) + p\,\mathrm{SiLU}(-|x|), \qquad
# \mathrm{Var}[f] = p(1-p)\,\mathrm{SiLU}(-|x|)^2 .
# $$
#
# The gradient is that of the branch drawn. Because the coin does not depend on $x$, the mean of
# the gradients **is** the gradient of the mean: training on draws follows, on average, the slope
# of the deterministic expectation, plus noise.

# %%
bump = -activations.silu(-grid.abs())
run.glue("bump-max", float(bump.max()), "{:.3f}")
run.glue("bump-at", abs(float(grid[bump.argmax()])), "{:.2f}")
run.glue("stocha-sd-max", float(bump.max()) * (p * (1 - p)) ** 0.5, "{:.3f}")
run.glue("p-here", p, "{:g}")

# %% [markdown]
# The bump is at most {glue:text}`bump-max`, at $|x| =$ {glue:text}`bump-at`: with
# $p =$ {glue:text}`p-here` the standard deviation of a draw never exceeds
# {glue:text}`stocha-sd-max`. StochA is a *gentle* noise, none at all at $x = 0$ and none far from
# it.
#
# ### Three readings of $x \ge 0$
#
# The paper's figure defines StochA below zero. What happens above is left to the reader, and three
# readings are plausible:
#
# | `positive=` | $f(x)$ for $x \ge 0$ | $p = 0$ is | $p = 1$ is |
# |---|---|---|---|
# | `"identity"` | $x$ | ReLU | SiLU below, identity above |
# | `"silu"` | $\mathrm{SiLU}(x)$ | zero below, SiLU above | SiLU |
# | `"mixed"` | by the same coin | ReLU | SiLU |
#
# The toy post {cite:p}`kosti2025fun` mixes, and so does this book unless it says otherwise: only
# then does $p$ lead from one of the two functions to the other.

# %% tags=["hide-input"]
readings = []
for positive in activations.POSITIVE:
    value, slope = value_and_slope(
        lambda x, positive=positive: activations.stocha_expectation(x, p, positive), grid
    )
    other, _ = value_and_slope(
        lambda x, positive=positive: activations.stocha_expectation(x, 1.0, positive), grid
    )
    readings.append(
        pd.DataFrame(
            {
                "positive": positive,
                "x": grid,
                "expectation": value,
                "slope": slope,
                "expectation_p1": other,
            }
        )
    )
readings = run.table("readings", pd.concat(readings))
# the derivative at the kink itself is a convention: leave a gap there
readings.loc[readings.x.abs() < 1e-9, "slope"] = np.nan

# %% mystnb={"figure": {"name": "fig-readings", "caption": "The three readings of x ≥ 0: expectation of StochA (left), its derivative (middle), and the function at p = 1 (right)."}, "image": {"alt": "Three panels. In the middle one the derivatives jump at zero: by different amounts for identity, silu and mixed. On the right, at p = 1, silu and mixed coincide, identity is the line y = x above zero."}}
close = readings[readings.x.abs() <= 3]
figure, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 3.0))
for ax, y, title in zip(
    axes,
    ("expectation", "slope", "expectation_p1"),
    (f"expectation, p = {p:g}", f"its slope, p = {p:g}", "function at p = 1"),
    strict=True,
):
    figures.runs_over_epochs(
        close,
        y,
        x="x",
        hue="positive",
        names={"silu": "silu"},
        legend="legend" if y == "expectation" else None,
        ax=ax,
    )
    ax.set(title=title, ylabel="")
plt.show()

# %% tags=["remove-input"]
run.figure_data("readings")

# %% [markdown]
# The difference is not cosmetic. The slope jumps at zero, by an amount that depends on the
# reading, and so does what a layer passes on when its inputs are standard normal:

# %%
normal = torch.randn(samples, generator=generator(seed, "data"), dtype=torch.float64)
kinks = []
for positive in activations.POSITIVE:
    _, (below, above) = value_and_slope(
        lambda x, positive=positive: activations.stocha_expectation(x, p, positive),
        torch.tensor([-1e-9, 1e-9], dtype=torch.float64),
    )
    kinks.append(
        {
            "positive": positive,
            "slope below 0": below,
            "slope above 0": above,
            "jump": above - below,
            "mean output": float(activations.stocha_expectation(normal, p, positive).mean()),
        }
    )
kinks = run.table("kinks", pd.DataFrame(kinks))
kinks.style.set_uuid("kinks").hide(axis="index").format(precision=3)

# %% tags=["hide-input"]
by_reading = kinks.set_index("positive")
for positive in activations.POSITIVE:
    run.glue(f"jump-{positive}", by_reading.loc[positive, "jump"], "{:.2f}")
    run.glue(f"mean-{positive}", by_reading.loc[positive, "mean output"], "{:.3f}")

# %% [markdown]
# At $p =$ {glue:text}`p-here` the jump is {glue:text}`jump-identity` with `identity`,
# {glue:text}`jump-silu` with `silu` and {glue:text}`jump-mixed` with `mixed`, and the mean output
# is {glue:text}`mean-identity`, {glue:text}`mean-silu` and {glue:text}`mean-mixed`. Three
# consequences:
#
# - with `identity`, $p = 1$ is *not* SiLU, and a network trained at $p = 1$ is no SiLU baseline;
# - with `silu`, $p = 0$ is *not* ReLU, so that switching to ReLU at the end changes the positive
#   side too;
# - with `mixed`, both ends are right, the noise acts on both sides of zero, and about as much of
#   it comes from the positive side, where nothing is gained in sparsity.
#
# ### What shares a coin
#
# The second open choice is how many values one coin decides: one (`element`), a row of the layer
# (`token`) or the whole call (`layer`). The expectation and variance of a single value do not
# depend on it. The variance of anything that sums over neurons does: independent coins average
# out, a shared one does not.

# %%
width, repeats = 64, 4000
row = torch.randn(width, generator=generator(seed, "data", "row"), dtype=torch.float64)
spread = []
for granularity in ("element", "token"):
    out = activations.stocha(
        row.expand(repeats, width),
        p,
        positive="mixed",
        granularity=granularity,
        generator=generator(seed, "activation", granularity),
    )
    spread.append(
        {
            "granularity": granularity,
            "sd of one value": float(out.std(0).mean()),
            "sd of the row's mean": float(out.mean(1).std()),
        }
    )
spread = run.table("granularity", pd.DataFrame(spread))
spread.style.set_uuid("granularity").hide(axis="index").format(precision=4)

# %% tags=["hide-input"]
ratio = spread["sd of the row's mean"]
run.glue("row-width", width)
run.glue("granularity-ratio", ratio[1] / ratio[0] if ratio[0] else float("nan"), "{:.1f}")

# %% [markdown]
# For a row of {glue:text}`row-width` neurons one coin a row makes the mean of the row
# {glue:text}`granularity-ratio` times as variable as one coin a neuron. (`layer` is like `token`
# within a row, and shares the coin among the rows as well.) The third choice, whether to draw in
# training, at test time or in both, is no property of the function: in the library these are two
# separate settings.
#
# ## Bernoulli SiLU
#
# The coin may also depend on the input. Bernoulli SiLU passes $x$ with probability $\sigma(x)$
# and else gives zero. Its mean is SiLU, exactly:
#
# $$
# \mathbb{E}[f] = x\,\sigma(x) = \mathrm{SiLU}(x), \qquad
# \mathrm{Var}[f] = x^2\,\sigma(x)\,(1 - \sigma(x)) .
# $$


# %%
def bernoulli_silu_as_defined(x, generator):
    return x * (torch.rand(x.shape, generator=generator) < torch.sigmoid(x))


torch.testing.assert_close(
    activations.bernoulli_silu(x, generator=generator(seed, "activation", "bernoulli")),
    bernoulli_silu_as_defined(x, generator(seed, "activation", "bernoulli")),
)

# %% [markdown]
# The paper reports that it does not work well. Two of its properties stand out beside StochA's.
# Its noise is much larger, and the gradient along a draw is the draw itself, 1 or 0, with mean
# $\sigma(x)$: that is **not** the slope of SiLU, because the dependence of the coin on $x$ is not
# differentiated.

# %% tags=["hide-input"]
sigma = torch.sigmoid(grid)
_, silu_slope = value_and_slope(activations.silu, grid)
_, stocha_slope = value_and_slope(lambda x: activations.stocha_expectation(x, p, "mixed"), grid)
noise = run.table(
    "noise",
    pd.concat(
        [
            pd.DataFrame(
                {
                    "activation": "stocha",
                    "x": grid,
                    "sd": (p * (1 - p)) ** 0.5 * bump,
                    "gradient_bias": 0.0,
                }
            ),
            pd.DataFrame(
                {
                    "activation": "bernoulli_silu",
                    "x": grid,
                    "sd": grid.abs() * (sigma * (1 - sigma)).sqrt(),
                    "gradient_bias": sigma.numpy() - silu_slope,
                }
            ),
        ]
    ),
)
widest = noise.groupby("activation").sd.max()
run.glue("bernoulli-sd-max", widest["bernoulli_silu"], "{:.3f}")
run.glue(
    "noise-ratio",
    widest["bernoulli_silu"] / widest["stocha"] if widest["stocha"] else float("inf"),
    "{:.1f}",
)
run.glue(
    "bernoulli-bias-max",
    noise[noise.activation == "bernoulli_silu"].gradient_bias.abs().max(),
    "{:.2f}",
)

# %% mystnb={"figure": {"name": "fig-noise", "caption": "Standard deviation of one draw (left), and mean gradient along a draw minus the slope of the mean (right)."}, "image": {"alt": "Left: the standard deviation of Bernoulli SiLU has two humps near x = plus and minus 2.4, several times as high as StochA's. Right: StochA's bias is zero, Bernoulli SiLU's is an odd wave around zero."}}
figure, (left, right) = plt.subplots(1, 2)
figures.runs_over_epochs(noise, "sd", x="x", legend=None, ax=left)
figures.runs_over_epochs(noise, "gradient_bias", x="x", ax=right)
left.set(ylabel="standard deviation of $f(x)$", ylim=(0, 0.75))
right.set(ylabel="mean gradient − slope of the mean")
plt.show()

# %% tags=["remove-input"]
run.figure_data("noise")

# %% [markdown]
# The standard deviation of Bernoulli SiLU reaches {glue:text}`bernoulli-sd-max`,
# {glue:text}`noise-ratio` times the largest of StochA at $p =$ {glue:text}`p-here`, and its mean
# gradient is off by up to {glue:text}`bernoulli-bias-max`. That is a reason to expect trouble,
# not a proof of it.
#
# ## Learned: a mixture and a choice
#
# Instead of a constant $p$ a small network, the *gate*, may look at the input. With
# $\alpha(x) \in [0, 1]$ the weight of **ReLU**:
#
# - the **learnable mixture** is deterministic,
#   $f(x) = \alpha(x)\,\mathrm{ReLU}(x) + (1 - \alpha(x))\,\mathrm{SiLU}(x)$;
# - **Gumbel StochA** draws ReLU with probability $\alpha_g(x)$. To learn $\alpha_g$ through a
#   draw it is relaxed {cite:p}`jang2017categorical,maddison2017concrete`: with $u$ uniform and
#   temperature $\tau$, the weight of ReLU is
#   $\sigma\big((\mathrm{gate}(x) + \mathrm{logit}\,u)/\tau\big)$, or, hard, whether it exceeds
#   one half, with the relaxation's gradient (straight-through).
#
# Neither source says what the gate looks like. The reading taken here is an MLP $1 \to 8 \to 1$
# with tanh that sees one pre-activation at a time and is shared by the neurons of a layer:


# %%
def gate_as_defined(x, gate):
    hidden = torch.tanh(x[:, None] @ gate.weight_in.T + gate.bias_in.T)
    return torch.sigmoid(hidden @ gate.weight_out.T + gate.bias_out.T)[:, 0]


learnable = activations.make("learnable_stoch")
torch.testing.assert_close(learnable.gate(x), gate_as_defined(x, learnable.logit))

# %% [markdown]
# Before any training the gate is already no constant, and differs from one initialisation to the
# next. The temperature sets how often the relaxed weight is near 0 or 1:

# %% tags=["hide-input"]
with torch.no_grad():
    starts = []
    for start in range(20):
        learnable.reset_parameters(generator(seed, "init", start))
        starts.append(
            pd.DataFrame(
                {
                    "activation": "learnable_stoch",
                    "run": start,
                    "x": grid[::10],
                    "alpha": learnable.gate(grid[::10].float()),
                }
            )
        )
    starts = run.table("gates", pd.concat(starts))

    uniform = torch.rand(20_000, generator=generator(seed, "activation", "gumbel"))
    temperatures = pd.concat(
        pd.DataFrame(
            {"temperature": f"τ = {tau:g}", "weight": torch.sigmoid(torch.logit(uniform) / tau)}
        )
        for tau in (0.3, 1.0, 3.0)
    )
edges = np.linspace(0, 1, 41)
density = run.table(
    "temperatures",
    pd.DataFrame(
        {"weight": (edges[1:] + edges[:-1]) / 2}
        | {
            str(tau): np.histogram(rows.weight, edges, density=True)[0]
            for tau, rows in temperatures.groupby("temperature", sort=False)
        }
    ),
)

# %% mystnb={"figure": {"name": "fig-gates-at-start", "caption": "Left: the gate α(x) at 20 initialisations (thin), their mean and its standard deviation. Right: density of the relaxed weight of ReLU where α = 0.5, for three temperatures."}, "image": {"alt": "Left: gates are gentle curves, on average near one half. Right: at temperature 0.3 the weight piles up near 0 and 1, at 1 it is uniform, at 3 it is a hump around one half."}}
figure, (left, right) = plt.subplots(1, 2)
figures.runs_over_epochs(starts, "alpha", x="x", legend=None, ax=left)
left.set(ylim=(0, 1), ylabel=r"$\alpha(x)$ before training", xlabel="$x$")
figures.distribution(temperatures, "weight", hue="temperature", bins=edges, ax=right)
right.set(xlabel="relaxed weight of ReLU")
plt.show()

# %% tags=["remove-input"]
run.figure_data("gates", "temperatures")

# %% [markdown]
# ## The same input through all of them
#
# A layer whose pre-activations are standard normal is where a network starts. Each activation
# gets the same inputs; the stochastic ones draw once an input. Exact zeros are what sparse
# inference can skip, the mean gradient is what is left of a gradient of one.

# %%
table = []
for name in activations.names():
    options = {"p": p, "positive": "mixed"} if name == "stocha" else {}
    activation = activations.make(name, **options)
    activation.reset_parameters(generator(seed, "init", name))
    leaf = normal.float().requires_grad_()
    y = activation(leaf, generator(seed, "activation", name))
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    y = y.detach()
    table.append(
        {
            "activation": name,
            "mean": float(y.mean()),
            "variance": float(y.var()),
            "zeros": float((y == 0).float().mean()),
            "mean gradient": float(gradient.mean()),
            "no gradient": float((gradient == 0).float().mean()),
        }
    )
table = run.table("normal_input", pd.DataFrame(table))
shown = table.assign(activation=table.activation.map(figures.LABELS))
shown.style.set_uuid("normal").hide(axis="index").format(precision=3)

# %% tags=["hide-input"]
by_name = table.set_index("activation")
for name in ("relu", "silu", "stocha", "bernoulli_silu", "gumbel_stoch"):
    short = name.replace("_", "-")
    run.glue(f"zeros-{short}", by_name.loc[name, "zeros"], "{:.1%}")
    run.glue(f"variance-{short}", by_name.loc[name, "variance"], "{:.3f}")
    run.glue(f"gradient-{short}", by_name.loc[name, "mean gradient"], "{:.3f}")
run.glue("samples-here", samples, "{:,}")

# %% mystnb={"figure": {"name": "fig-normal-input", "caption": "Exact zeros of every activation for standard normal inputs."}, "image": {"alt": "Horizontal bars: ReLU and squared ReLU at one half, Bernoulli SiLU at one half, StochA at the share 1 - p of that, Gumbel StochA, whose gate is near one half, at about half of it, the others at zero."}}
figure, ax = plt.subplots(figsize=(figures.WIDTH, 2.8))
ax.barh(shown.activation, shown.zeros, color=[figures.COLOURS[name] for name in table.activation])
ax.invert_yaxis()
ax.set(xlabel="fraction of exact zeros", xlim=(0, 0.6))
ax.grid(axis="y", visible=False)
plt.show()

# %% tags=["remove-input"]
run.figure_data("normal_input")

# %% [markdown]
# With {glue:text}`samples-here` inputs ReLU gives {glue:text}`zeros-relu` zeros, StochA
# {glue:text}`zeros-stocha` and Gumbel StochA, before training, {glue:text}`zeros-gumbel-stoch`;
# SiLU and the learnable mixture have none. So the sparsity that the toy post reports for ReLU and
# StochA (claims T2 and T3) is what a symmetric input gives by itself: chapter *Toy
# classification* has to ask whether training *moves* it. Bernoulli SiLU has
# {glue:text}`zeros-bernoulli-silu` zeros, and an output variance of
# {glue:text}`variance-bernoulli-silu` where SiLU, with the same mean, has
# {glue:text}`variance-silu`.
#
# ## Summary
#
# - StochA is ReLU plus, with probability $p$, a bump of at most {glue:text}`bump-max`. Its mean
#   gradient is the gradient of its mean.
# - The reading of $x \ge 0$ matters: only `mixed` is ReLU at $p = 0$ and SiLU at $p = 1$. It is
#   the default here; `identity` and `silu` are ablations.
# - Bernoulli SiLU has SiLU's mean, {glue:text}`noise-ratio` times StochA's largest noise, and a
#   biased gradient.
# - A gate's $\alpha$ is the weight (mixture) or probability (Gumbel) of ReLU. Its architecture is
#   our reading.
# - Sampled, StochA keeps the share $1 - p$ of ReLU's zeros ({glue:text}`zeros-stocha` of
#   {glue:text}`zeros-relu`): the sparsity that is wanted at inference needs ReLU there.
