// One state, drawn anew when it changes; what did not change is left alone.
const FACET_WORDS = { lr: "learning rate", batch_size: "batch size" };
const charts = head.series.length ? [new Chart(byId("chart-1"), "y1"), new Chart(byId("chart-2"), "y2")] : [];
const MOST_OPEN = 4;
let drawing = Promise.resolve();

// Keys that tell the same runs apart, such as a loss and a budget that go together, are one choice.
function choices() {
  const found = new Map();
  for (const key of FACETS.filter((one) => head.axes[one].levels.length > 1)) {
    const { levels, of } = head.axes[key];
    const seen = new Map();
    const parts = ["lr", "batch_size", "seed"].includes(key) ? key : of.map((place) => (seen.has(place) ? seen : seen.set(place, seen.size)).get(place)).join();
    const words = levels.map(spaced);
    if (!found.has(parts)) found.set(parts, { key, levels, titles: [FACET_WORDS[key] ?? spaced(key)], words });
    else {
      const same = found.get(parts);
      const other = new Map(allRuns.map((run) => [wordOf(same.key, run), spaced(wordOf(key, run))]));
      same.titles.push(spaced(key));
      same.words = same.words.map((word, index) => `${word}, ${other.get(same.levels[index])}`);
    }
  }
  return [...found.values()];
}
const CHOICES = choices();

function drawFacets() {
  const parts = CHOICES.map(({ key, levels, titles, words: shownAs }) => {
    const words = titles.join(", ");
    const boxes = levels.map((level, index) => {
      const box = element("input", { type: "checkbox", "data-facet": key, value: level });
      box.checked = state.facets[key]?.has(level) ?? true;
      return element("label", {}, box, ` ${shownAs[index]}`);
    });
    if (levels.length <= MOST_OPEN) return element("fieldset", {}, element("legend", {}, words), ...boxes);
    const count = state.facets[key] ? `${state.facets[key].size} of ${levels.length}` : `all ${levels.length}`;
    const both = ["all", "none"].map((word) => element("button", { type: "button", "data-every": key, "data-word": word }, word));
    const open = document.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.open ?? false;
    const made = element("details", { class: "facet", "data-key": key }, element("summary", {}, `${words}: `, element("b", {}, count)), element("fieldset", {}, element("legend", { class: "hidden" }, words), element("p", {}, ...both), ...boxes));
    made.open = open;
    return made;
  });
  byId("facets").replaceChildren(...parts);
}

function drawLegend(chosen, colours) {
  const { runs } = chosen;
  const diverged = runs.filter(isDiverged).length;
  const count = `${runs.length} run${runs.length === 1 ? "" : "s"}`;
  byId("selection").textContent = runs.length ? `${count}${diverged ? `, ${diverged} diverged` : ""}: ${chosen.words}.` : "No run is left: tick more boxes above, or press Reset.";
  const swatch = (level) => {
    const mark = element("span", { class: "swatch", "aria-hidden": "true" });
    const color = colours.color.get(level);
    const dash = colours.dash.get(level);
    mark.style.background = dash.length ? `repeating-linear-gradient(90deg, ${color} 0 ${dash[0]}px, transparent ${dash[0]}px ${dash[0] + dash[1]}px)` : color;
    return element("li", {}, mark, spaced(level));
  };
  const title = element("li", { class: "quiet" }, `${FACET_WORDS[colours.key] ?? spaced(colours.key)}:`);
  byId("legend").replaceChildren(...(runs.length ? [title, ...colours.levels.map(swatch)] : []));
}

async function drawRuns() {
  const chosen = selection();
  const colours = chosen.runs.length ? colouring(chosen.runs) : { key: "lr", levels: [], color: new Map(), dash: new Map() };
  markPressed();
  drawLegend(chosen, colours);
  await Promise.all(charts.map((chart) => chart.draw(chosen.runs, colours)));
  await drawDetail(chosen.runs);
}

const MAPS = ["metric", "facets"];
const TABLE = ["q", "sort", "only"];
const RUNS = ["cells", "claim", "setting", "runs", "facets", "run", "lines", "x", "y1", "y2"];

// Changes the state and draws what follows from it; the page says in `data-busy` until that is done.
function change(changes) {
  Object.assign(state, changes);
  writeHash();
  const touches = (keys) => keys.some((key) => key in changes);
  document.body.dataset.busy = "yes";
  drawing = drawing.then(async () => {
    if (touches(["facets"])) drawFacets();
    if (touches(MAPS)) drawMaps();
    if (touches(RUNS)) await drawRuns();
    if (touches(TABLE) || (state.only && touches(RUNS))) drawTable();
    delete document.body.dataset.busy;
  });
  return drawing;
}

function showState() {
  for (const key of ["metric", "lines", "x"]) byId(key).value = state[key];
  byId("filter").value = state.q;
  byId("only").checked = Boolean(state.only);
  return change({ ...state });
}

const elsewhere = { claim: "", cells: [], runs: [], setting: "", run: "" };

function pressCell(button, more) {
  const { cell } = button.dataset;
  const before = state.claim || state.runs.length ? [] : state.cells;
  const others = before.filter((one) => one !== cell);
  const cells = before.includes(cell) && (more || before.length === 1) ? others : more ? [...before, cell] : [cell];
  button.closest("table").querySelectorAll("[data-cell]").forEach((one) => (one.tabIndex = one === button ? 0 : -1));
  change({ ...elsewhere, cells });
}

function tick(key, levels) {
  const facets = { ...state.facets };
  if (levels.size === head.axes[key].levels.length) delete facets[key];
  else facets[key] = levels;
  change({ facets });
}

function listen() {
  byId("maps").addEventListener("click", (event) => {
    const cell = event.target.closest("[data-cell]");
    const title = event.target.closest("[data-setting]");
    if (cell) pressCell(cell, event.shiftKey || event.ctrlKey || event.metaKey);
    else if (title) change({ ...elsewhere, setting: title.dataset.setting });
  });
  byId("maps").addEventListener("keydown", moveInMap);
  byId("facets").addEventListener("change", (event) => {
    const { facet } = event.target.dataset;
    const boxes = [...byId("facets").querySelectorAll(`[data-facet="${CSS.escape(facet)}"]`)];
    tick(facet, new Set(boxes.filter((box) => box.checked).map((box) => box.value)));
    drawing.then(() => byId("facets").querySelector(`[data-facet="${CSS.escape(facet)}"][value="${CSS.escape(event.target.value)}"]`)?.focus());
  });
  byId("facets").addEventListener("click", (event) => {
    const { every, word } = event.target.dataset;
    if (every) tick(every, new Set(word === "all" ? head.axes[every].levels : []));
  });
  for (const key of ["metric", "lines", "x"]) byId(key).addEventListener("change", (event) => change({ [key]: event.target.value }));
  byId("clear").addEventListener("click", () => {
    state = defaults();
    showState();
  });
  byId("filter").addEventListener("input", (event) => {
    rowsShown = FIRST_ROWS;
    change({ q: event.target.value });
  });
  byId("only").addEventListener("change", (event) => change({ only: event.target.checked ? "yes" : "" }));
  byId("csv").addEventListener("click", savedAsCsv);
  byId("more").addEventListener("click", () => {
    rowsShown += MORE_ROWS;
    drawTable();
  });
  byId("table").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.run) {
      change({ ...elsewhere, runs: [button.dataset.run] });
      byId("explorer").scrollIntoView();
    } else if (button) {
      const [name, direction] = state.sort.split(":");
      const sort = name !== button.dataset.sort ? `${button.dataset.sort}:up` : direction === "up" ? `${name}:down` : "";
      change({ sort });
      drawing.then(() => byId("table").querySelector(`[data-sort="${button.dataset.sort}"]`).focus());
    }
  });
}

function repaintAll() {
  charts.forEach((chart) => chart.series && chart.repaint());
  detailChart?.repaint();
}

function start() {
  if (!("DecompressionStream" in window)) {
    byId("explorer").append(element("p", {}, "This browser is too old for the explorer (it lacks DecompressionStream); figures and claims are here all the same."));
    return;
  }
  byId("metric").append(...head.columns.filter((column) => column.name !== "status").map((column) => element("option", { value: column.name }, column.words)));
  byId("explorer-app").hidden = byId("table-controls").hidden = false;
  readHash();
  listen();
  window.addEventListener("hashchange", () => {
    if (!readHash()) return;
    showState();
    if (state.claim) byId("explorer").scrollIntoView();
  });
  document.addEventListener("themechange", () => change({ setting: state.setting }));
  new ResizeObserver(repaintAll).observe(byId("explorer-app"));
  window.addEventListener("beforeprint", repaintAll);
  showState().then(() => {
    document.body.dataset.ready = "yes";
    if (location.hash.includes("claim=")) byId("explorer").scrollIntoView();
  });
}

start();
