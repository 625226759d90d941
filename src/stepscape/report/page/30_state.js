// What the reader chose, kept in the address by names and values, so that it survives a rebuild with more runs.
const FACETS = Object.keys(head.axes);
const settingName = (setting) => Object.values(setting.words).join(" / ");
const settings = head.settings.map((setting) => ({ ...setting, name: settingName(setting) }));
const settingOf = new Int32Array(runCount);
settings.forEach((setting, index) => setting.runs.forEach((run) => (settingOf[run] = index)));
const runIndex = new Map(head.runs.map((id, run) => [id, run]));

const defaults = () => ({
  metric: head.columns.find((column) => column.best)?.name ?? head.columns.at(-1).name,
  lines: "auto",
  x: "linear",
  y1: head.series.some((series) => series.name === "train_loss") ? "train_loss" : (head.series[0]?.name ?? ""),
  y2: head.series.find((series) => series.name !== "train_loss")?.name ?? "",
  setting: "",
  claim: "",
  cells: [],
  runs: [],
  run: "",
  q: "",
  sort: "",
  only: "",
  facets: {},
});
let state = defaults();

const LISTS = ["cells", "runs"];
const TEXTS = ["metric", "lines", "x", "y1", "y2", "setting", "claim", "run", "q", "sort", "only"];

function asHash() {
  const usual = defaults();
  const words = TEXTS.filter((key) => state[key] !== usual[key]).map((key) => [key, state[key]]);
  for (const key of LISTS) if (state[key].length) words.push([key, state[key].join("|")]);
  for (const [key, levels] of Object.entries(state.facets)) words.push([`is.${key}`, [...levels].join("|")]);
  return words.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join("&");
}

// Returns whether the address says anything of this: a plain anchor such as #runs does not.
function readHash() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return false;
  state = defaults();
  for (const [key, value] of new URLSearchParams(hash)) {
    if (LISTS.includes(key)) state[key] = value.split("|").filter(Boolean);
    else if (TEXTS.includes(key)) state[key] = value;
    else if (key.startsWith("is.") && key.slice(3) in head.axes) state.facets[key.slice(3)] = new Set(value.split("|"));
  }
  if (!columns.has(state.metric)) state.metric = defaults().metric;
  for (const key of ["y1", "y2"]) if (!seriesOf.has(state[key])) state[key] = defaults()[key];
  state.runs = state.runs.filter((id) => runIndex.has(id));
  return true;
}

function writeHash() {
  const hash = asHash();
  try {
    history.replaceState(null, "", hash ? `#${hash}` : `${location.pathname}${location.search}`);
  } catch {
    location.hash = hash; // in a frame without an address of its own
  }
}

const allowed = (run) => Object.entries(state.facets).every(([key, levels]) => levels.has(wordOf(key, run)));
const visibleRuns = () => (Object.keys(state.facets).length ? allRuns.filter(allowed) : allRuns);
const cellKeys = allRuns.map((run) => `${settings[settingOf[run]].name} @ ${wordOf("lr", run)} @ ${wordOf("batch_size", run)}`);
const cellOf = (run) => cellKeys[run];

// The runs whose curves are drawn, and in which words they were chosen.
function selection() {
  const visible = visibleRuns();
  if (state.runs.length) {
    const chosen = new Set(state.runs.map((id) => runIndex.get(id)));
    return { runs: allRuns.filter((run) => chosen.has(run)), words: "chosen one by one" };
  }
  if (state.claim in head.claims) {
    const chosen = new Set(head.claims[state.claim]);
    return { runs: visible.filter((run) => chosen.has(run)), words: `that the claim ${spaced(state.claim)} is about` };
  }
  if (state.cells.length) {
    const chosen = new Set(state.cells);
    return { runs: visible.filter((run) => chosen.has(cellOf(run))), words: state.cells.map(cellWords).join("; ") };
  }
  const name = settings.some((setting) => setting.name === state.setting) ? state.setting : usualSetting(visible);
  const runs = visible.filter((run) => settings[settingOf[run]].name === name);
  return { runs, words: `${spaced(name.replaceAll(" / ", ", "))}, all cells`, setting: name };
}

// The first setting with something in both charts, else the first.
function usualSetting(visible) {
  const told = [state.y1, state.y2].map((name) => seriesOf.get(name));
  const run = visible.find((one) => told.every((series) => clockLength(series, one)));
  return settings[settingOf[run ?? visible[0] ?? 0]].name;
}

function cellWords(cell) {
  const [setting, lr, batch] = cell.split(" @ ");
  return `${spaced(setting.replaceAll(" / ", ", "))}, learning rate ${lr}, batch ${batch}`;
}
