// Painting curves on a canvas: axes, curves with the least and largest value of each pixel column, bands, crosses.
const MARGIN = { left: 52, right: 12, top: 8, bottom: 34 };

function axisOf(low, high, isLog, from, to) {
  if (isLog) [low, high] = [Math.log10(low), Math.log10(high)];
  const size = high > low ? high - low : 1;
  const place = (value) => from + (((isLog ? Math.log10(value) : value) - low) / size) * (to - from);
  return { place, low, high, isLog, ticks: isLog ? decades(low, high) : steps(low, high, Math.abs(to - from) / 55) };
}

function steps(low, high, most) {
  const rough = (high - low) / Math.max(most, 1) || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((factor) => factor * unit).find((step) => step >= rough * 0.999);
  const first = Math.ceil(low / size - 1e-9);
  return Array.from({ length: Math.max(Math.floor(high / size + 1e-9) - first + 1, 0) }, (_, index) => Number(((first + index) * size).toPrecision(12)));
}

function decades(low, high) {
  const span = high - low;
  const by = Math.ceil(span / 6);
  const found = [];
  for (let power = Math.ceil(low - 1e-9); power <= high + 1e-9; power++) {
    if (power % by === 0) found.push(10 ** power);
    if (span < 2.5) for (const factor of span < 1.2 ? [2, 3, 5] : [2, 5]) if (Math.log10(factor) + power <= high) found.push(factor * 10 ** power);
  }
  if (span < 2.5) for (const factor of [2, 3, 5]) if (Math.log10(factor) + Math.ceil(low - 1e-9) - 1 >= low) found.push(factor * 10 ** (Math.ceil(low - 1e-9) - 1));
  return found.sort((one, other) => one - other);
}

// Steps on a logarithmic axis are shifted by one: training starts at step 0.
const stepAxis = (last, isLog, from, to) => {
  const axis = isLog ? axisOf(1, last + 1, true, from, to) : axisOf(0, last, false, from, to);
  const ticks = isLog ? [0, ...axis.ticks.filter((tick) => tick > 1 && Math.log10(tick) % 1 === 0)] : axis.ticks;
  return { place: (step) => axis.place(isLog ? step + 1 : step), ticks };
};

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

// The range of all curves but those of runs that diverged, unless there is no other.
function rangeOf(items, isLog) {
  const usable = (value) => Number.isFinite(value) && (!isLog || value > 0);
  let [low, high] = [Infinity, -Infinity];
  const calm = items.filter((item) => !item.diverged);
  for (const item of calm.length ? calm : items) {
    for (const values of [item.values, item.low, item.high]) {
      for (const value of values ?? []) {
        if (!usable(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  if (low > high) return isLog ? [0.1, 1] : [0, 1];
  const gap = isLog ? Math.max((high / low) ** 0.05, 1.05) : (high - low || Math.abs(high) || 1) * 0.05;
  return isLog ? [low / gap, high * gap] : [low >= 0 && low < 0.4 * high ? 0 : low - gap, high + gap];
}

function paint(canvas, items, { isLog, logSteps, limits = [], last }) {
  const { pen, width, height } = prepared(canvas);
  const range = rangeOf(items, isLog);
  const near = limits.filter((limit) => !isLog && (limit.always || limit.value < 2.5 * range[1]));
  for (const limit of near) range[1] = Math.max(range[1], limit.value * 1.08);
  const [bottom, top] = [height - MARGIN.bottom, MARGIN.top];
  const x = stepAxis(Math.max(last, 1), logSteps, MARGIN.left, width - MARGIN.right);
  const y = axisOf(range[0], range[1], isLog, bottom, top);
  frame(pen, x, y, width, bottom);
  pen.save();
  pen.beginPath();
  pen.rect(MARGIN.left, top - 2, width - MARGIN.left - MARGIN.right + 4, bottom - top + 4);
  pen.clip();
  for (const limit of limits) rule(pen, y.place(limit.value), width, limit.color ?? styleOf("--ink"));
  for (const item of items) if (item.low) band(pen, item, x, y, top, bottom);
  for (const item of items) curve(pen, item, x, y, top, bottom);
  pen.restore();
  for (const item of items) if (item.diverged) cross(pen, item, x, y, top, bottom);
  return { x, y, top, bottom, width, height };
}

function frame(pen, x, y, width, bottom) {
  pen.strokeStyle = styleOf("--line");
  pen.fillStyle = styleOf("--quiet");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const tick of y.ticks) {
    const place = Math.round(y.place(tick)) + 0.5;
    pen.beginPath();
    pen.moveTo(MARGIN.left, place);
    pen.lineTo(width - MARGIN.right, place);
    pen.stroke();
    pen.fillText(shown(tick, 3), MARGIN.left - 6, place);
  }
  pen.textBaseline = "top";
  pen.textAlign = "center";
  for (const tick of x.ticks) pen.fillText(shown(tick, 6), x.place(tick), bottom + 5);
  pen.textAlign = "right";
  pen.fillText("step", width - MARGIN.right, bottom + 19);
}

function rule(pen, place, width, color) {
  pen.save();
  pen.setLineDash([5, 4]);
  pen.strokeStyle = color;
  pen.lineWidth = 1.2;
  pen.beginPath();
  pen.moveTo(MARGIN.left, place);
  pen.lineTo(width - MARGIN.right, place);
  pen.stroke();
  pen.restore();
}

const within = (place, top, bottom) => Math.min(Math.max(place, top - 40), bottom + 40);
const heightOf = (y, value, top, bottom) => (value > 0 || !y.isLog ? within(y.place(value), top, bottom) : bottom + 3);

function curve(pen, item, x, y, top, bottom) {
  pen.save();
  pen.strokeStyle = item.color;
  pen.lineWidth = item.width ?? 1.4;
  pen.globalAlpha = item.alpha ?? 1;
  pen.lineJoin = "round";
  pen.setLineDash(item.dash ?? []);
  pen.beginPath();
  let open = false;
  let [column, least, most, latest] = [NaN, 0, 0, 0];
  const flush = () => {
    if (most - least > 1) {
      pen.lineTo(column, most);
      pen.lineTo(column, least);
    }
    pen.lineTo(column, latest);
  };
  for (let index = 0; index < item.values.length; index++) {
    const value = item.values[index];
    if (Number.isNaN(value)) {
      if (open) flush();
      open = false;
      continue;
    }
    const place = x.place(item.steps[index]);
    const height = heightOf(y, value, top, bottom);
    if (open && Math.abs(place - column) < 1) {
      least = Math.min(least, height);
      most = Math.max(most, height);
      latest = height;
      continue;
    }
    if (open) flush();
    else pen.moveTo(place, height);
    [open, column, least, most, latest] = [true, place, height, height, height];
  }
  if (open) flush();
  pen.stroke();
  if (item.values.length === 1) pen.strokeRect(column - 2, latest - 2, 4, 4);
  pen.restore();
}

function band(pen, item, x, y, top, bottom) {
  pen.save();
  pen.fillStyle = item.color;
  pen.globalAlpha = 0.18;
  pen.beginPath();
  item.steps.forEach((step, index) => pen.lineTo(x.place(step), heightOf(y, item.high[index], top, bottom)));
  for (let index = item.steps.length - 1; index >= 0; index--) pen.lineTo(x.place(item.steps[index]), heightOf(y, item.low[index], top, bottom));
  pen.fill();
  pen.restore();
}

function cross(pen, item, x, y, top, bottom) {
  if (!item.values.length) return;
  const place = x.place(item.steps[item.values.length - 1]);
  const height = Math.min(Math.max(heightOf(y, item.values.at(-1) || Infinity, top, bottom), top + 5), bottom - 5);
  pen.save();
  pen.strokeStyle = item.color;
  pen.lineWidth = 2.4;
  for (const slope of [1, -1]) {
    pen.beginPath();
    pen.moveTo(place - 5, height - 5 * slope);
    pen.lineTo(place + 5, height + 5 * slope);
    pen.stroke();
  }
  pen.restore();
}
