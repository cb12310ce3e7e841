// The two live models of page "Try it". The figures are there without this script; it moves them.
"use strict";
(() => {
  const silu = (x) => x / (1 + Math.exp(-x));
  const relu = (x) => Math.max(x, 0);

  // StochA's two values at x: where the draw is 0, and where it is 1.
  const branches = {
    identity: (x) => [relu(x), x < 0 ? silu(x) : x],
    silu: (x) => [x < 0 ? 0 : silu(x), silu(x)],
    mixed: (x) => [relu(x), silu(x)],
  };

  // StochA at x for the draw s = 0 or 1; for s = p its expectation.
  function stocha(x, s, reading) {
    const [off, on] = branches[reading](x);
    return off + s * (on - off);
  }

  // How many times less a method reads than the dense layer, weights of `item` bytes each.
  function limit(method, sparsity, item, model) {
    const row = model.width * item;
    const active = 1 - sparsity;
    if (method === "sparse") return (3 * row) / ((1 + 2 * active) * row);
    const at = sparsity * (model.candidates.length - 1);
    const below = Math.min(Math.floor(at), model.candidates.length - 2);
    const [a, b] = model.candidates.slice(below, below + 2);
    const candidates = a + (at - below) * (b - a);
    return (3 * row) / (model.width + 8 + (candidates + 2 * active) * row);
  }

  // Repeatable draws: the same picture for the same number of clicks.
  function uniform(seed) {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  const grid = (low, high, n) => Array.from({ length: n }, (_, i) => low + (i * (high - low)) / (n - 1));
  const percent = (share) => `${Math.round(100 * share)} %`;

  const models = {
    activation(form, draw) {
      const p = Number(form.p.value);
      const reading = form.reading.value;
      form.shown.value = p.toFixed(2);
      form.again.disabled = !form.drawn.checked;
      draw.line(grid(-4, 2, 121).map((x) => [x, relu(x)]), "relu", 1);
      draw.line(grid(-4, 2, 121).map((x) => [x, silu(x)]), "silu", 1);
      if (!form.drawn.checked) {
        draw.line(grid(-4, 2, 241).map((x) => [x, stocha(x, p, reading)]), "stocha", 3);
        const share = p === 0 ? "half of a symmetric input becomes" : "of a symmetric input nothing becomes";
        return `The expectation: ${share} exactly zero.`;
      }
      const random = uniform(Number(form.dataset.clicks || 0));
      draw.dots(grid(-4, 2, 121).map((x) => [x, stocha(x, random() < p ? 1 : 0, reading)]), "stocha");
      return `One draw: of a symmetric input ${percent((1 - p) / 2)} become exactly zero.`;
    },
    traffic(form, draw, model) {
      const sparsity = Number(form.sparsity.value);
      const item = Number(form.item.value);
      const method = form.screened.checked ? "screened" : "sparse";
      form.shown.value = percent(sparsity);
      draw.line(grid(0, 0.99, 100).map((s) => [s, limit(method, s, item, model)]), "stocha", 2.5);
      if (item === 4) draw.dots(model.measured[method], "silu");
      const most = limit(method, sparsity, item, model);
      draw.dots([[sparsity, most]], "relu", 6);
      const mega = (3 * model.width * model.neurons * item) / most / 1e6;
      return `At ${percent(sparsity)} zeros a token reads ${mega.toFixed(0)} MB: at most ${most.toFixed(2)} times as fast.`;
    },
  };

  function set_up(box) {
    const form = box.querySelector("form");
    const live = box.querySelector(".live");
    const said = box.querySelector(".said");
    const model = JSON.parse(box.querySelector("script").textContent);
    const [x0, x1, y0, y1, top] = live.dataset.scale.split(" ").map(Number);
    const place = ([x, y]) => [x0 + x * (x1 - x0), y0 + y * (y1 - y0)];
    const shown = (points) => points.map(place).filter(([, y]) => y >= top).map((at) => at.map((v) => v.toFixed(1)));
    function update() {
      const parts = [];
      const draw = {
        line: (points, colour, width) =>
          parts.push(`<path d="M${shown(points).map((at) => at.join(" ")).join("L")}" fill="none" stroke="var(--${colour})" stroke-width="${width}"/>`),
        dots: (points, colour, radius = 3) =>
          shown(points).forEach(([x, y]) => parts.push(`<circle cx="${x}" cy="${y}" r="${radius}" fill="var(--${colour})"/>`)),
      };
      said.textContent = models[box.dataset.kind](form, draw, model);
      live.innerHTML = parts.join("");
      live.closest("svg").setAttribute("aria-label", said.textContent);
    }
    form.addEventListener("input", update);
    form.again?.addEventListener("click", () => {
      form.dataset.clicks = Number(form.dataset.clicks || 0) + 1;
      update();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    update();
  }

  window.explore = { stocha, limit };
  document.querySelectorAll(".explore").forEach(set_up);
})();
