// What the page holds: `head` is JSON, each series is text that is unpacked when it is first asked for.
const byId = (id) => document.getElementById(id);
const head = JSON.parse(byId("data-head").textContent);
const runCount = head.runs.length;
const allRuns = Array.from({ length: runCount }, (_, run) => run);
const columns = new Map(head.columns.map((column) => [column.name, column]));
const seriesOf = new Map(head.series.map((series) => [series.name, series]));
const [NAN, ZERO, INFINITE] = [0, 4094, 4095];

const wordOf = (key, run) => head.axes[key].levels[head.axes[key].of[run]];
const isDiverged = (run) => columns.get("status").values[run] === "diverged";
const spaced = (name) => name.replaceAll("_", " ");

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function shown(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(Math.max(digits, size >= 1 ? Math.ceil(Math.log10(size + 1)) : 1))));
}

async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function decoded(buffer, lengths, scale) {
  const rows = lengths.length;
  const apart = new Uint8Array(buffer, 0, 1)[0] === 1; // each code is told by how far it is from the one before
  const limits = new DataView(buffer, 1, 8 * rows);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const low = new Uint8Array(buffer, 1 + 8 * rows, total);
  const high = new Uint8Array(buffer, 1 + 8 * rows + total, total);
  const values = new Float64Array(total);
  const starts = new Int32Array(rows + 1);
  for (let row = 0, at = 0, before = 0; row < rows; row++) {
    const least = limits.getFloat32(8 * row, true);
    const step = limits.getFloat32(8 * row + 4, true);
    for (const end = at + lengths[row]; at < end; at++) {
      const folded = low[at] | (high[at] << 8);
      const code = apart ? (before + (folded & 1 ? -(folded + 1) / 2 : folded / 2)) & 4095 : folded;
      before = code;
      const height = least + step * (code - 1);
      values[at] = scale === "log" ? 10 ** height : height;
      if (code === NAN) values[at] = NaN;
      else if (code === INFINITE) values[at] = Infinity;
      else if (code === ZERO && scale === "log") values[at] = 0;
    }
    starts[row + 1] = at;
  }
  return { of: (run) => values.subarray(starts[run], starts[run + 1]) };
}

// How many measurements of a series a run has.
const clockLength = (told, run) => (told ? head.clocks[told.clock].length[run] : 0);
const loading = new Map();

// A series: of(run) gives its values, steps(run) the steps they were measured at.
function load(name, told, width = () => 1, lengthOf = (count, each) => count * each) {
  if (!loading.has(name)) {
    const clock = head.clocks[told.clock];
    const patterns = clock.patterns.map((steps) => Int32Array.from(steps));
    const lengths = clock.length.map((count, run) => lengthOf(count, width(run)));
    const steps = (run) => (clock.length[run] ? patterns[clock.pattern[run]].subarray(0, clock.length[run]) : []);
    loading.set(
      name,
      inflated(byId(`data-${name}`).textContent).then((buffer) => ({ ...decoded(buffer, lengths, told.scale), steps, told })),
    );
  }
  return loading.get(name);
}

const loadSeries = (name) => load(name, seriesOf.get(name));
const loadSpectra = () => load("spectra", head.spectra, (run) => head.spectra.count[run]);
const loadOverlaps = () => load("overlaps", head.overlaps, () => 1, (count) => (count * (count - 1)) / 2);
