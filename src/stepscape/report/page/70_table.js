// The table of runs: sorted by any column, filtered by words and comparisons, some hundred rows at a time.
const FIRST_ROWS = 250;
const MORE_ROWS = 1000;
let rowsShown = FIRST_ROWS;

const tableColumns = [
  { name: "run", value: (run) => head.runs[run] },
  ...FACETS.map((key) => ({ name: key, value: (run) => wordOf(key, run), place: (run) => head.axes[key].of[run] })),
  ...head.columns.map((column) => ({ name: column.name, value: (run) => column.values[run], numeric: column.values.some((value) => typeof value === "number") })),
];
const columnNamed = new Map(tableColumns.map((column) => [column.name, column]));
const COMPARISON = /^([a-z_0-9]+)(<=|>=|!=|<|>|=)(.+)$/i;

// A word such as `adam` is looked for in all axes; `lr>=0.01` compares; both must hold of a run.
function filterOf(text) {
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const match = COMPARISON.exec(word);
    const column = match && (columnNamed.get(match[1]) ?? columnNamed.get(`final_${match[1]}`) ?? columnNamed.get({ batch: "batch_size", final: "final_train_loss" }[match[1]]));
    if (!column) return (run) => [head.runs[run], columns.get("status").values[run], ...FACETS.map((key) => wordOf(key, run))].some((held) => String(held).toLowerCase().includes(word.toLowerCase()));
    return (run) => compared(column.value(run), match[2], match[3]);
  });
  return (run) => tests.every((test) => test(run));
}

function compared(held, sign, wanted) {
  if (held === null) return sign === "!=";
  const [one, other] = [Number(held), Number(wanted)];
  const numbers = !Number.isNaN(one) && !Number.isNaN(other);
  const order = numbers ? one - other : String(held).localeCompare(wanted);
  return { "=": order === 0, "!=": order !== 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0 }[sign];
}

function listedRuns() {
  const runs = (state.only ? selection().runs : allRuns).filter(filterOf(state.q));
  const [name, direction] = state.sort.split(":");
  const column = columnNamed.get(name);
  if (!column) return runs;
  const key = column.place ?? column.value;
  const sign = direction === "down" ? -1 : 1;
  return [...runs].sort((one, other) => {
    const [left, right] = [key(one), key(other)];
    if (left === null || right === null) return (left === null) - (right === null);
    return sign * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
  });
}

function drawTable() {
  const runs = listedRuns();
  const table = byId("table");
  const [sorted, direction] = state.sort.split(":");
  const header = tableColumns.map(({ name, numeric }) => {
    const button = element("button", { type: "button", "data-sort": name, title: columns.get(name)?.words ?? spaced(name) }, spaced(name).replace(/^final /, "final "), sorted === name ? (direction === "down" ? " ▼" : " ▲") : "");
    return element("th", { scope: "col", class: numeric ? "n" : "", "aria-sort": sorted === name ? (direction === "down" ? "descending" : "ascending") : "none" }, button);
  });
  table.tHead.replaceChildren(element("tr", {}, ...header));
  table.tBodies[0].replaceChildren(...runs.slice(0, rowsShown).map(rowOf));
  const listed = Math.min(runs.length, rowsShown);
  byId("table-status").textContent = `${runs.length} of ${runCount} runs match; ${listed} shown.`;
  byId("more").hidden = listed === runs.length;
}

function rowOf(run) {
  const cells = tableColumns.slice(1).map(({ value, numeric }) => element("td", { class: numeric ? "n" : "" }, spaced(shown(value(run), 4))));
  const button = element("button", { type: "button", class: "link", "data-run": head.runs[run], "aria-label": `show run ${head.runs[run]}` }, head.runs[run].slice(0, 8));
  return element("tr", isDiverged(run) ? { class: "diverged" } : {}, element("td", {}, button), ...cells);
}

function savedAsCsv() {
  const quoted = (value) => (/[",\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const lines = [tableColumns.map(({ name }) => name), ...listedRuns().map((run) => tableColumns.map(({ value }) => value(run)))];
  const text = lines.map((line) => line.map(quoted).join(",")).join("\n");
  const link = element("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: `${head.study}_runs.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
