// Two charts of the runs that are shown; a cursor goes along the steps by pointer or by arrow keys and reads values.
const MOST_LINES = 30;
const MOST_PLACES = 240;
const QUANTILES = [0.1, 0.9];

// By what curves are coloured: the first axis in which the runs differ.
function colouring(runs) {
  const keys = ["lr", "batch_size", ...Object.keys(settings[0].words), "seed"];
  const key = keys.find((one) => runs.some((run) => wordOf(one, run) !== wordOf(one, runs[0]))) ?? "lr";
  const levels = ordered(key, new Set(runs.map((run) => wordOf(key, run))));
  const colors = colorsOf(levels.length, ["lr", "batch_size"].includes(key));
  return { key, levels, color: new Map(levels.map((level, index) => [level, colors[index]])), dash: new Map(levels.map((level, index) => [level, DASHES[index % DASHES.length]])) };
}

const runWords = (run) => `${spaced(settings[settingOf[run]].words.optimizer)}, learning rate ${wordOf("lr", run)}, batch ${wordOf("batch_size", run)}, seed ${wordOf("seed", run)}`;

function itemsOf(series, runs, colours) {
  const measured = runs.filter((run) => series.steps(run).length);
  const each = state.lines === "each" || (state.lines === "auto" && measured.length <= MOST_LINES);
  const asLine = (run, wide) => {
    const level = wordOf(colours.key, run);
    return { run, level, steps: series.steps(run), values: series.of(run), color: colours.color.get(level), dash: colours.dash.get(level), diverged: isDiverged(run), label: runWords(run), width: wide, alpha: measured.length > 60 ? 0.6 : 1 };
  };
  if (each) return measured.map((run) => asLine(run, 1.4));
  const calm = measured.filter((run) => !isDiverged(run));
  const bands = colours.levels.map((level) => bandOf(series, calm.filter((run) => wordOf(colours.key, run) === level), level, colours));
  return [...bands.filter(Boolean), ...measured.filter(isDiverged).map((run) => asLine(run, 1))];
}

function bandOf(series, runs, level, colours) {
  if (!runs.length) return null;
  const places = placesOf(series, runs);
  const found = places.map((step) => {
    const values = [];
    for (const run of runs) {
      const index = indexOf(series.steps(run), step);
      if (index >= 0 && !Number.isNaN(series.of(run)[index])) values.push(series.of(run)[index]);
    }
    return Float64Array.from(values).sort();
  });
  const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];
  const kept = found.map((values, index) => [places[index], values]).filter(([, values]) => values.length);
  const label = `${spaced(colours.key)} ${level}: median of ${runs.length} run${runs.length === 1 ? "" : "s"}`;
  return { level, label, steps: kept.map(([step]) => step), values: kept.map(([, values]) => median(values)), low: kept.map(([, values]) => quantile(values, QUANTILES[0])), high: kept.map(([, values]) => quantile(values, QUANTILES[1])), color: colours.color.get(level), dash: colours.dash.get(level), width: 2.2, runs };
}

// The steps at which a band is computed: those of the run that has most, or some of them spread evenly.
function placesOf(series, runs) {
  const longest = runs.reduce((one, other) => (series.steps(other).length > series.steps(one).length ? other : one));
  const all = [...new Set(series.steps(longest))];
  if (all.length <= MOST_PLACES) return all;
  return Array.from({ length: MOST_PLACES }, (_, index) => all[Math.round((index * (all.length - 1)) / (MOST_PLACES - 1))]);
}

function indexOf(sorted, step) {
  let [low, high] = [0, sorted.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] === step) return middle;
    if (sorted[middle] < step) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

class Chart {
  constructor(figure, key) {
    this.key = key;
    this.items = [];
    this.at = { item: 0, step: 0 };
    this.select = element("select", { "aria-label": `Quantity of chart ${key === "y1" ? 1 : 2}` });
    this.select.append(...head.series.map((series) => element("option", { value: series.name }, series.words)));
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.cursor = element("canvas", { "aria-hidden": "true", class: "cursor" });
    this.plot = element("div", { class: "plot", role: "slider", tabindex: "0", "aria-valuemin": "0" }, this.canvas, this.cursor);
    this.readout = element("p", { class: "readout" });
    this.note = element("p", { class: "quiet note" });
    figure.append(element("figcaption", {}, this.select), this.plot, this.readout, this.note);
    this.select.addEventListener("change", () => change({ [key]: this.select.value }));
    this.plot.addEventListener("keydown", (event) => this.onKey(event));
    this.plot.addEventListener("pointermove", (event) => this.onPointer(event));
    this.plot.addEventListener("pointerleave", () => this.clearCursor());
    this.plot.addEventListener("click", () => this.items[this.at.item] && this.choose());
  }

  async draw(runs, colours) {
    const name = state[this.key];
    this.select.value = name;
    this.series = await loadSeries(name);
    this.limits = await this.limitsOf(name, runs, colours);
    this.items = itemsOf(this.series, runs, colours);
    this.at = { item: 0, step: 0 };
    this.last = Math.max(1, ...this.items.map((item) => item.steps[item.steps.length - 1] ?? 0));
    this.plot.hidden = this.readout.hidden = !this.items.length;
    this.repaint();
    this.plot.setAttribute("aria-label", `${seriesOf.get(name).words}, ${this.items.length} curves; arrow keys read values`);
    this.plot.setAttribute("aria-valuemax", String(this.last));
    this.say("");
    this.note.textContent = this.noteOf(name);
  }

  noteOf(name) {
    if (!this.items.length) return "None of these runs measured it.";
    const { thinned } = seriesOf.get(name);
    const kept = thinned ? `Of runs with more, ${thinned[0]} of up to ${thinned[1]} steps are in this page: minima and maxima of ${thinned[0] / 2} stretches. ` : "";
    const crosses = this.items.some((item) => item.diverged) ? "✕ where a run diverged; the axis is that of the others. " : "";
    return `${kept}${crosses}${this.limits.length ? "Dashed: the stability threshold." : ""}`;
  }

  async limitsOf(name, runs, colours) {
    if (name === "sharpness_ratio") return [{ value: 1, always: true }];
    const limit = seriesOf.get(name).limit;
    if (!limit || !seriesOf.has(limit)) return [];
    const series = await loadSeries(limit);
    const found = new Map();
    for (const run of runs) {
      const value = series.of(run).findLast?.((one) => !Number.isNaN(one)) ?? series.of(run).at(-1);
      if (Number.isFinite(value)) found.set(value, colours.key === "lr" ? colours.color.get(wordOf("lr", run)) : undefined);
    }
    return found.size <= 8 ? [...found].map(([value, color]) => ({ value, color })) : [];
  }

  repaint() {
    if (!this.items.length) return;
    const isLog = this.series.told.scale === "log";
    this.space = paint(this.canvas, this.items, { isLog, logSteps: state.x === "log", limits: this.limits, last: this.last });
    this.clearCursor();
  }

  clearCursor() {
    prepared(this.cursor);
  }

  onKey(event) {
    const item = this.items[this.at.item];
    if (!item) return;
    const jump = event.shiftKey ? 10 : 1;
    const moves = { ArrowRight: [0, jump], ArrowLeft: [0, -jump], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9] };
    if (event.key === "Enter") return this.choose();
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const step = item.steps[this.at.step];
    this.at.item = Math.min(Math.max(this.at.item + move[0], 0), this.items.length - 1);
    const next = this.items[this.at.item];
    if (move[0]) this.at.step = nearest(next.steps, step);
    this.at.step = Math.min(Math.max(this.at.step + move[1], 0), next.steps.length - 1);
    this.show();
  }

  onPointer(event) {
    if (!this.space || !this.items.length) return;
    const box = this.canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    let closest = Infinity;
    this.items.forEach((item, place) => {
      const step = nearestBy(item.steps, (one) => this.space.x.place(one), left);
      const height = heightOf(this.space.y, item.values[step], this.space.top, this.space.bottom);
      const distance = Math.hypot((this.space.x.place(item.steps[step]) - left) / 3, height - top);
      if (distance < closest) [closest, this.at] = [distance, { item: place, step }];
    });
    this.show();
  }

  show() {
    const item = this.items[this.at.item];
    const [step, value] = [item.steps[this.at.step], item.values[this.at.step]];
    const { pen } = prepared(this.cursor);
    const { x, y, top, bottom } = this.space;
    const [place, height] = [x.place(step), heightOf(y, value, top, bottom)];
    pen.strokeStyle = styleOf("--quiet");
    pen.beginPath();
    pen.moveTo(place, top);
    pen.lineTo(place, bottom);
    pen.stroke();
    pen.fillStyle = item.color;
    pen.strokeStyle = styleOf("--paper");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(place, height, 5, 0, 7);
    pen.fill();
    pen.stroke();
    this.say(`step ${step}: ${shown(value, 4)} (${item.label}${item.diverged ? ", diverged" : ""})`, step);
  }

  say(words, step = 0) {
    this.readout.textContent = words || "Point at a curve, or use the arrow keys, to read its values.";
    this.plot.setAttribute("aria-valuenow", String(step));
    this.plot.setAttribute("aria-valuetext", words || "no value is read");
  }

  choose() {
    const item = this.items[this.at.item];
    change({ run: head.runs[item.run ?? item.runs[0]] });
  }
}

function nearestBy(sorted, place, wanted) {
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (place(sorted[middle]) < wanted) low = middle;
    else high = middle;
  }
  return Math.abs(place(sorted[low]) - wanted) <= Math.abs(place(sorted[high]) - wanted) ? low : high;
}

const nearest = (sorted, step) => nearestBy(sorted, (one) => one, step);
