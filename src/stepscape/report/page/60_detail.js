// One run: what it is, the largest eigenvalues of its Hessian, and how its top subspace turned.
let detailChart = null;

function chosenRun(runs) {
  const asked = runIndex.get(state.run);
  if (asked !== undefined && runs.includes(asked)) return asked;
  const rich = runs.find((run) => clockLength(head.overlaps, run)) ?? runs.find((run) => clockLength(head.spectra, run));
  return rich ?? runs[0];
}

async function drawDetail(runs) {
  const place = byId("detail");
  if (!runs.length) return place.replaceChildren();
  const run = chosenRun(runs);
  const select = element("select", { "aria-label": "Run" }, ...runs.map((one) => element("option", { value: head.runs[one] }, `${runWords(one)}, ${spaced(columns.get("status").values[one])}`)));
  select.value = head.runs[run];
  select.addEventListener("change", () => change({ run: select.value }));
  const parts = [element("h3", {}, "One run"), element("p", { class: "pick" }, select), factsOf(run)];
  const charts = element("div", { class: "charts" });
  parts.push(charts);
  const spectrum = clockLength(head.spectra, run) ? await spectrumOf(run) : null;
  const overlaps = clockLength(head.overlaps, run) > 1 ? await overlapsOf(run) : null;
  if (spectrum) charts.append(spectrum.figure);
  if (overlaps) charts.append(overlaps.figure);
  if (!spectrum && !overlaps) charts.append(element("p", { class: "quiet" }, "It measured neither several eigenvalues nor its top subspace."));
  place.replaceChildren(...parts);
  detailChart = { repaint: () => [spectrum, overlaps].forEach((one) => one?.paint()) };
  detailChart.repaint();
}

function factsOf(run) {
  const id = head.runs[run];
  const facts = [...head.columns.filter((column) => column.values[run] !== null).map((column) => [column.words, shown(column.values[run], 4)])];
  const list = element("dl", { class: "facts-of-run" }, ...facts.map(([words, value]) => element("div", {}, element("dt", {}, words), element("dd", {}, spaced(String(value))))));
  const what = Object.entries(settings[settingOf[run]].words).map(([key, word]) => `${spaced(key)} ${spaced(word)}`);
  const replay = element("p", { class: "command" }, element("code", {}, `stepscape replay ${id}`), " trains it again and compares the bytes. ", element("code", {}, `stepscape.open_run("results/runs/${id.slice(0, 2)}/${id}.zarr.zip")`), " opens it.");
  return element("div", {}, element("p", {}, what.join(", ")), list, replay);
}

async function spectrumOf(run) {
  const series = await loadSpectra();
  const count = head.spectra.count[run];
  const [steps, flat] = [series.steps(run), series.of(run)];
  const colors = colorsOf(count, true);
  const items = Array.from({ length: count }, (_, rank) => ({ label: `eigenvalue ${rank + 1}`, steps, values: Array.from(steps, (_, at) => flat[at * count + rank]), color: colors[rank], width: rank ? 1.1 : 2 }));
  const limitName = seriesOf.get("hessian_eigenvalue")?.limit;
  const thresholds = limitName && seriesOf.has(limitName) ? (await loadSeries(limitName)).of(run) : [];
  const limits = Number.isFinite(thresholds.at(-1)) ? [{ value: thresholds.at(-1) }] : [];
  const canvas = element("canvas", { "aria-hidden": "true" });
  const readout = element("p", { class: "readout" }, "");
  const plot = element("div", { class: "plot", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": String(steps.at(-1)), "aria-label": `The ${count} largest Hessian eigenvalues; arrow keys read them` }, canvas);
  const say = (at) => {
    const words = `step ${steps[at]}: ${items.map((item) => shown(item.values[at], 3)).filter(Boolean).join(", ")}`;
    readout.textContent = words;
    plot.setAttribute("aria-valuenow", String(steps[at]));
    plot.setAttribute("aria-valuetext", words);
  };
  let at = steps.length - 1;
  let space = null;
  const paintAll = () => (space = paint(canvas, items, { isLog: false, logSteps: state.x === "log", limits, last: steps.at(-1) }));
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    say((at = Math.min(Math.max(at + move, 0), steps.length - 1)));
  });
  plot.addEventListener("pointermove", (event) => say((at = nearestBy(steps, (one) => space.x.place(one), event.clientX - canvas.getBoundingClientRect().left))));
  say(at);
  const caption = `The ${count} largest eigenvalues of the Hessian${limits.length ? "; dashed: the stability threshold" : ""}${kept(head.spectra)}`;
  return { figure: element("figure", { class: "chart" }, element("figcaption", {}, caption), plot, readout), paint: paintAll };
}

// What a page leaves out for its size.
const kept = ({ every }) => (every > 1 ? `; each ${every}th measurement is in this page` : "");

async function overlapsOf(run) {
  const series = await loadOverlaps();
  const [steps, flat] = [series.steps(run), series.of(run)];
  const size = steps.length;
  const overlap = (row, column) => {
    if (row === column) return 1;
    const [one, other] = row < column ? [row, column] : [column, row];
    return flat[one * size - (one * (one + 1)) / 2 + other - one - 1];
  };
  const canvas = element("canvas", { "aria-hidden": "true" });
  const readout = element("p", { class: "readout" }, "");
  const plot = element("div", { class: "plot square", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": String(steps.at(-1)), "aria-label": "Overlap of the top subspace between two steps; arrow keys read it" }, canvas);
  let [row, column] = [0, size - 1];
  const say = () => {
    const words = `steps ${steps[row]} and ${steps[column]}: overlap ${shown(overlap(row, column), 3)}`;
    readout.textContent = words;
    plot.setAttribute("aria-valuenow", String(steps[column]));
    plot.setAttribute("aria-valuetext", words);
  };
  const bounded = (place) => Math.min(Math.max(place, 0), size - 1);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    [row, column] = [bounded(row + move[0]), bounded(column + move[1])];
    say();
  });
  plot.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const side = Math.min(box.width - MARGIN.left, box.height - MARGIN.bottom);
    column = bounded(Math.floor(((event.clientX - box.left - MARGIN.left) / side) * size));
    row = bounded(Math.floor(((side - (event.clientY - box.top)) / side) * size));
    say();
  });
  say();
  const caption = `Overlap of the top subspace between all pairs of steps: dark 0, light 1${kept(head.overlaps)}`;
  return { figure: element("figure", { class: "chart" }, element("figcaption", {}, caption), plot, readout), paint: () => paintOverlaps(canvas, steps, overlap) };
}

function paintOverlaps(canvas, steps, overlap) {
  const { pen, width, height } = prepared(canvas);
  const side = Math.min(width - MARGIN.left, height - MARGIN.bottom);
  const cell = side / steps.length;
  steps.forEach((_, row) =>
    steps.forEach((_, column) => {
      const value = overlap(row, column);
      pen.fillStyle = Number.isNaN(value) ? styleOf("--line") : mixed(CELLS, value);
      pen.fillRect(MARGIN.left + column * cell, side - (row + 1) * cell, cell + 0.5, cell + 0.5);
    }),
  );
  pen.fillStyle = styleOf("--quiet");
  const by = Math.ceil(steps.length / 5);
  for (let index = 0; index < steps.length; index += by) {
    pen.textAlign = "center";
    pen.textBaseline = "top";
    pen.fillText(steps[index], MARGIN.left + (index + 0.5) * cell, side + 5);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(steps[index], MARGIN.left - 6, side - (index + 0.5) * cell);
  }
}
