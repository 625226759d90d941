// One map of learning rate against batch size for each setting: the median over seeds, diverged runs never hidden.
function median(values) {
  if (!values.length) return NaN;
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function cellsOf(setting, visible, column) {
  const cells = new Map();
  for (const run of setting.runs) {
    if (!visible.has(run)) continue;
    const key = cellOf(run);
    if (!cells.has(key)) cells.set(key, { key, lr: wordOf("lr", run), batch: wordOf("batch_size", run), runs: [] });
    cells.get(key).runs.push(run);
  }
  for (const cell of cells.values()) {
    const ended = cell.runs.filter((run) => !isDiverged(run));
    cell.diverged = cell.runs.length - ended.length;
    cell.value = median(ended.map((run) => column.values[run]).filter((value) => typeof value === "number"));
  }
  return cells;
}

// In each row the cell of the best value among those in which no run diverged.
function bestOf(cells, batches, best) {
  const found = new Map();
  if (!best) return found;
  for (const batch of batches) {
    const row = [...cells.values()].filter((cell) => cell.batch === batch && !cell.diverged && !Number.isNaN(cell.value));
    if (row.length > 1) found.set(batch, row.reduce((one, other) => ((best === "min" ? other.value < one.value : other.value > one.value) ? other : one)));
  }
  return found;
}

function scaleOf(values) {
  const finite = values.filter(Number.isFinite);
  const [least, most] = [Math.min(...finite), Math.max(...finite)];
  if (!(most > least)) return () => 0.3;
  if (least > 0 && most > 20 * least) return (value) => Math.log(value / least) / Math.log(most / least);
  return (value) => (value - least) / (most - least);
}

const ordered = (key, words) => head.axes[key].levels.filter((level) => words.has(level));

function drawMaps() {
  const column = columns.get(state.metric);
  const visible = new Set(visibleRuns());
  const shownSettings = settings.filter((setting) => setting.runs.some((run) => visible.has(run)));
  byId("maps").replaceChildren(...shownSettings.map((setting) => mapOf(setting, visible, column)));
  byId("map-legend").textContent =
    `${column.words}: median over seeds that did not diverge; dark is small, light is large, within each map. ` +
    (column.best ? `★ ${column.best === "min" ? "least" : "largest"} of its row, where no run diverged. ` : "") +
    "✕ some diverged.";
  markPressed();
}

function mapOf(setting, visible, column) {
  const cells = cellsOf(setting, visible, column);
  const rates = ordered("lr", new Set([...cells.values()].map((cell) => cell.lr)));
  const batches = ordered("batch_size", new Set([...cells.values()].map((cell) => cell.batch))).reverse();
  const best = bestOf(cells, batches, column.best);
  const share = scaleOf([...cells.values()].map((cell) => cell.value));
  const words = Object.entries(setting.words).map(([key, word]) => (key === "optimizer" ? word : spaced(word)));
  const title = element("button", { type: "button", class: "map-title", "data-setting": setting.name, "aria-pressed": "false" }, words[0]);
  const table = element("table", { class: "map", "aria-label": `${words.join(", ")}: ${column.words}` });
  table.append(element("thead", {}, element("tr", {}, element("td", {}, "batch \\ lr"), ...rates.map((lr) => element("th", { scope: "col" }, lr === "none" ? "no lr" : shown(Number(lr), 2))))));
  const body = element("tbody");
  for (const batch of batches) {
    const row = rates.map((lr) => element("td", {}, ...cellOfMap(cells.get(`${setting.name} @ ${lr} @ ${batch}`), best.get(batch), share, column)));
    body.append(element("tr", {}, element("th", { scope: "row" }, batch), ...row));
  }
  table.append(body);
  const first = table.querySelector("button");
  if (first) first.tabIndex = 0;
  const told = batches.toReversed().filter((batch) => best.has(batch)).map((batch) => `${batch}: ${shown(Number(best.get(batch).lr), 3)}`);
  const line = told.length ? [element("p", { class: "best" }, element("b", {}, "Best learning rate by batch size: "), told.join(" · "))] : [];
  const scroll = element("div", { class: "scroll" }, table);
  return element("section", { class: "map-card", "aria-label": words.join(", ") }, element("h3", {}, title, element("span", { class: "quiet" }, words.slice(1).join(", "))), scroll, ...line);
}

function cellOfMap(cell, best, share, column) {
  if (!cell) return [];
  const some = cell.diverged > 0;
  const number = Number.isNaN(cell.value) ? "" : shown(cell.value, 2);
  const star = best === cell ? "★" : "";
  const told = [`learning rate ${cell.lr}, batch ${cell.batch}`, number ? `${column.words} ${shown(cell.value, 4)}` : "no value"];
  told.push(cell.runs.length === 1 ? "1 run" : `${cell.runs.length} runs`);
  if (some) told.push(`${cell.diverged} diverged`);
  if (star) told.push("best of its row");
  const label = told.join(", ");
  const button = element("button", { type: "button", class: "cell", "data-cell": cell.key, "aria-label": label, title: label, "aria-pressed": "false" });
  button.tabIndex = -1;
  button.append(...(star ? [element("span", { class: "star" }, star)] : []), number, ...(some ? [element("span", { class: "cross" }, "✕")] : []));
  const color = number ? mixed(CELLS, share(cell.value)) : "";
  if (color) Object.assign(button.style, { background: color, color: inkOn(color) });
  else button.classList.add("empty");
  return [button];
}

// Which cells are chosen, and which hold runs that are shown for another reason.
function markPressed() {
  const chosen = selection();
  const held = new Set(chosen.setting ? [] : chosen.runs.map(cellOf));
  for (const button of byId("maps").querySelectorAll("[data-cell]")) {
    button.setAttribute("aria-pressed", String(state.cells.includes(button.dataset.cell) && !state.claim && !state.runs.length));
    button.classList.toggle("held", held.has(button.dataset.cell));
  }
  for (const button of byId("maps").querySelectorAll("[data-setting]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setting === chosen.setting));
  }
}

function moveInMap(event) {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const move = moves[event.key];
  const button = event.target.closest("[data-cell]");
  if (!move || !button) return;
  event.preventDefault();
  const rows = [...button.closest("tbody").rows].map((row) => [...row.cells].slice(1).map((cell) => cell.firstChild));
  let row = rows.findIndex((cells) => cells.includes(button));
  let place = rows[row].indexOf(button);
  do [row, place] = [row + move[0], place + move[1]];
  while (rows[row] && place in rows[row] && !rows[row][place]);
  const next = rows[row]?.[place];
  if (!next) return;
  button.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
