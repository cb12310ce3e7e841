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
# StochA {cite:p}`lomeli2025stochastic` is ReLU or SiLU by the toss of a coin. What does that do by
# itself, before any training?
#
# **A fair coin keeps half of ReLU's zeros and adds little noise.** Of symmetric inputs ReLU makes
# {glue:text}`zeros-relu` exactly zero, StochA at $p =$ {glue:text}`p-here` {glue:text}`zeros-stocha`
# and SiLU none ({numref}`fig-normal-input`). StochA's noise has a standard deviation of at most
# {glue:text}`stocha-sd-max`; that of Bernoulli SiLU is {glue:text}`noise-ratio` times as large.
#
# This chapter defines every activation of the study, beside the few lines that are it, and looks at
# its graph, its mean, its variance and its gradient. Nothing is trained here, so that later chapters
# can tell what an activation does by itself from what training does. StochA's definition leaves three
# choices open; each is named below.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
samples: "Optional[int]" = None  # standard normal inputs of the numerical experiment [1000, inf)
p: float = 0.5  # probability of SiLU [0, 1]
seed: int = 0  # of inputs, draws and gates [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"samples": 20000},
    "book": {"samples": 1000000},
    "full": {"samples": 1000000},
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

from stocha import activations, figures
from stocha.base.streams import generator
from stocha.study.session import open_run
from stocha.toy import scalar

run = open_run("10_activations", globals())
figures.style()
run.badge()
grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
x = torch.randn(10_000, generator=generator(seed, "data", "check"))
run.glue("p-here", p, "{:g}")
run.glue("samples-here", samples, "{:,}")

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
names = ("relu", "silu", "gelu", "relu2")
ends = torch.tensor([-torch.inf, 0.0, torch.inf])
{name: activations.make(name)(ends).tolist() for name in names}

# %% tags=["hide-input"]
curves = (scalar.curve(activations.make(name), grid, activation=name) for name in names)
fixed = run.table("fixed", pd.concat(curves))

# %% mystnb={"figure": {"name": "fig-fixed", "caption": "The fixed activations (left) and their derivatives (right). SiLU and GELU follow ReLU from below, and dip under zero where ReLU is flat."}, "image": {"alt": "Two panels over x from −4 to 4. Left: ReLU, SiLU, GELU and squared ReLU. Right: their derivatives; ReLU's is a step, those of SiLU and GELU rise smoothly, overshoot 1 and are slightly negative left of about −1."}} tags=["remove-input"]
shown = fixed[fixed.x.abs() <= 4]
left, right = figures.panels(shown, {"value": "$f(x)$", "slope": "$f'(x)$"})
left.set_ylim(-0.5, 4.2)
right.set_ylim(-0.3, 2.3)
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
# So **$p$ is the probability of SiLU**. The library writes this in a faster way. Given the same coins it
# is the same function, to the last bit (here with a coin for $x \ge 0$ too):

# %%
omega = torch.rand(x.shape, generator=generator(seed, "activation", "check")) < p
defined = torch.where(omega, activations.silu(x), activations.relu(x))
assert torch.equal(activations.stocha(x, positive="mixed", draw=omega), defined)

# %% [markdown]
# Drawing once an input gives the picture below: points that lie on one of two curves, and around
# their mean no point at all.

# %% mystnb={"figure": {"name": "fig-stocha-draws", "caption": "One draw of StochA per input (dots), the two functions it is drawn from, and its expectation."}, "image": {"alt": "Dots lie either on ReLU or on SiLU. The expectation runs between the two curves. Below zero the gap is widest near x = −1.3."}} tags=["remove-input"]
between = activations.stocha_expectation(grid, p, "mixed")
expected = pd.DataFrame({"activation": "stocha", "x": grid, "value": between})
shown = pd.concat([fixed[fixed.activation.isin(["relu", "silu"])], expected])
ax = figures.runs_over_epochs(shown, "value", x="x", names={"stocha": "StochA, expectation"})
spots, noise = grid[100:801:5], generator(seed, "activation", "figure")
drawn = activations.stocha(spots, p, positive="mixed", generator=noise)
draws = run.table("draws", pd.DataFrame({"x": spots, "value": drawn}))
ax.plot(draws.x, draws.value, "o", ms=3, color=figures.COLOURS["stocha"], label="drawn")
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
# The toy post {cite:p}`kosti2025fun` mixes, and so does the toy part of this book: only then does
# $p$ lead from one of the two functions to the other. The language model takes the paper's
# `identity`.

# %% tags=["remove-input"]
readings = run.table("readings", scalar.readings(grid, p))

# %% mystnb={"figure": {"name": "fig-readings", "caption": "The three readings of x ≥ 0: expectation of StochA (left), its derivative (middle), and the function at p = 1 (right)."}, "image": {"alt": "Three panels. In the middle one the derivatives jump at zero: by different amounts for identity, silu and mixed. On the right, at p = 1, silu and mixed coincide, identity is the line y = x above zero."}} tags=["remove-input"]
titles = {"value": f"mean, p = {p:g}", "slope": "its slope", "at_one": "function at p = 1"}
figures.panels(readings[readings.x.abs() <= 3], titles, hue="positive")
plt.show()

# %% tags=["remove-input"]
run.figure_data("readings")

# %% [markdown]
# The difference is not cosmetic. The slope jumps at zero, by an amount that depends on the
# reading, and so does what a layer passes on when its inputs are standard normal:

# %% tags=["hide-input"]
normal = torch.randn(samples, generator=generator(seed, "data"), dtype=torch.float64)
kinks = run.table("kinks", scalar.kinks(normal, p)).set_index("positive")
run.glue("jump-{}", kinks["above 0"] - kinks["below 0"], "{:.2f}")
run.glue("mean-{}", kinks["mean output"], "{:.3f}")
kinks.round(3)

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

# %% tags=["hide-input"]
row = 64
spread = run.table("granularity", scalar.granularity(p, seed, row)).set_index("granularity")
one, shared = spread["sd of the row's mean"]
run.glue("row-width", row)
run.glue("granularity-ratio", shared / one if one else float("nan"), "{:.1f}")
spread.round(4)

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
open_at = torch.rand(x.shape, generator=generator(seed, "activation", "bernoulli"))
noise = generator(seed, "activation", "bernoulli")
drawn = activations.bernoulli_silu(x, generator=noise)
torch.testing.assert_close(drawn, x * (open_at < torch.sigmoid(x)))

# %% [markdown]
# The paper reports that it does not work well. Two of its properties stand out beside StochA's.
# Its noise is much larger, and the gradient along a draw is the draw itself, 1 or 0, with mean
# $\sigma(x)$: that is **not** the slope of SiLU, because the dependence of the coin on $x$ is not
# differentiated.

# %% mystnb={"figure": {"name": "fig-noise", "caption": "Standard deviation of one draw (left), and mean gradient along a draw minus the slope of the mean (right)."}, "image": {"alt": "Left: the standard deviation of Bernoulli SiLU has two humps near x = plus and minus 2.4, several times as high as StochA's. Right: StochA's bias is zero, Bernoulli SiLU's is an odd wave around zero."}} tags=["remove-input"]
noise = run.table("noise", scalar.noise(grid, p))
most = noise.groupby("activation")[["sd", "bias"]].max()
run.glue("bernoulli-sd-max", most.sd["bernoulli_silu"], "{:.3f}")
run.glue("noise-ratio", most.sd["bernoulli_silu"] / most.sd["stocha"], "{:.1f}")
run.glue("bernoulli-bias-max", most.bias["bernoulli_silu"], "{:.2f}")
titles = {"sd": "standard deviation of $f(x)$", "bias": "mean gradient − slope of the mean"}
figures.panels(noise, titles)
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
learnable = activations.make("learnable_stoch")
mlp = learnable.logit
hidden = torch.tanh(x[:, None] @ mlp.weight_in.T + mlp.bias_in.T)
alpha = torch.sigmoid(hidden @ mlp.weight_out.T + mlp.bias_out.T)[:, 0]
torch.testing.assert_close(learnable.gate(x), alpha)

# %% [markdown]
# Before any training the gate is already no constant, and differs from one initialisation to the
# next. The temperature sets how often the relaxed weight is near 0 or 1:

# %% mystnb={"figure": {"name": "fig-gates-at-start", "caption": "Left: the gate α(x) at 20 initialisations (thin), their mean and its standard deviation. Right: density of the relaxed weight of ReLU where α = 0.5, for three temperatures."}, "image": {"alt": "Left: gates are gentle curves, on average near one half. Right: at temperature 0.3 the weight piles up near 0 and 1, at 1 it is uniform, at 3 it is a hump around one half."}} tags=["remove-input"]
starts = run.table("gates", scalar.gates_at_start(grid[::10], seed))
relaxed = run.table("temperatures", scalar.relaxed((0.3, 1, 3)))
_, (left, right) = plt.subplots(1, 2)
figures.runs_over_epochs(starts, "alpha", x="x", legend=None, ax=left)
left.set(ylim=(0, 1), ylabel=r"$\alpha(x)$ before training", xlabel="$x$")
figures.distribution(relaxed, "weight", hue="temperature", ax=right)
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

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Every activation's numbers", "code_prompt_hide": "Every activation's numbers"}
table = run.table("normal_input", scalar.moments(normal.float(), p, seed)).set_index("activation")
dashed = table.rename(index=lambda name: name.replace("_", "-"))
run.glue("zeros-{}", dashed["zeros"], "{:.1%}")
run.glue("variance-{}", dashed["variance"], "{:.3f}")
table.rename(index=figures.LABELS).rename_axis(None).round(3)

# %% mystnb={"figure": {"name": "fig-normal-input", "caption": "Exact zeros of every activation for standard normal inputs."}, "image": {"alt": "Horizontal bars: ReLU and squared ReLU at one half, Bernoulli SiLU at one half, StochA at the share 1 − p of that, Gumbel StochA, whose gate is near one half, at about half of it, the others at zero."}} tags=["remove-input"]
figures.bars(table["zeros"]).set_xlabel("fraction of exact zeros")
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
# StochA tosses a coin for every negative number: heads, and it answers as SiLU does; tails, and it
# answers zero. So it keeps the share $1 - p$ of ReLU's zeros, {glue:text}`zeros-stocha` instead of
# {glue:text}`zeros-relu` at $p =$ {glue:text}`p-here`. Who wants all zeros at inference needs ReLU there.
#
# The noise is small, because the two functions never differ by more than {glue:text}`bump-max`, and it
# is fair: on average a network learns as it would from the mean. Bernoulli SiLU is neither. Its noise is
# {glue:text}`noise-ratio` times as large, and its average gradient is not that of its mean.
#
# What happens to positive numbers the paper's definition leaves open. In the toy part the coin decides
# there too, so that $p$ leads from ReLU all the way to SiLU; in the language model they pass unchanged.
