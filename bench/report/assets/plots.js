// Plots: drawn in the reader's theme, hidden and shown by name, with linear and logarithmic axes, walked by keys.
const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
const coarse = window.matchMedia("(pointer: coarse)").matches;
const hidden = { name: new Set(), source: new Set() };
const TICK_PIXELS = 34;
const LEFT = 64, RIGHT = 16; // of a plot's margins
const config = {
  displaylogo: false,
  displayModeBar: coarse ? false : "hover",
  modeBarButtons: [["toImage", "resetScale2d"]],
  scrollZoom: false,
};
let printing = false;

function themed(trace, theme) {
  const { meta, marker, line } = trace;
  const color = meta.colours[theme];
  const edge = marker && marker.line ? { ...marker.line, color } : { width: 0 };
  return {
    ...trace,
    visible: !hidden.name.has(meta.name) && !hidden.source.has(meta.source),
    line: { ...line, color },
    ...(trace.text ? { textfont: { ...trace.textfont, color } } : {}),
    marker: { ...marker, color, line: marker && String(marker.symbol).endsWith("-open") ? { width: 1.6, color } : edge },
    ...(trace.error_y ? { error_y: { ...trace.error_y, color } } : {}),
  };
}

function short(length) {
  for (const [unit, letter] of [[1 << 20, "M"], [1 << 10, "k"]]) {
    if (length >= unit && length % unit === 0) return `${length / unit}${letter}`;
  }
  return String(length);
}

// Those lengths that do not run into a longer one.
function ticksAt(lengths, logarithmic, width) {
  const at = (length) => (logarithmic ? Math.log(length) : length);
  const span = at(lengths[lengths.length - 1]) - at(lengths[0]) || 1;
  const kept = [];
  for (const length of [...lengths].reverse()) {
    const last = kept[kept.length - 1];
    if (last === undefined || ((at(last) - at(length)) / span) * width >= TICK_PIXELS) kept.push(length);
  }
  return kept;
}

// Of a logarithmic axis over so many decades: powers of ten; 1, 2, 5; or what plotly chooses.
function tickStep(decades) {
  return decades > 3.5 ? Math.ceil(decades / 7) : decades > 0.9 ? "D2" : null;
}

function decadesOf(figure) {
  const drawn = figure.data.filter((trace) => !trace.yaxis && !hidden.name.has(trace.meta.name));
  const values = drawn.flatMap((trace) => trace.y).filter((y) => y > 0);
  return values.length ? Math.log10(Math.max(...values) / Math.min(...values)) : 0;
}

function draw(id) {
  const { figure, ticks, log } = page.plots[id];
  const canvas = document.getElementById(id);
  const theme = dark.matches && !printing ? "dark" : "light";
  const width = canvas.clientWidth;
  const kept = ticksAt(ticks, log[0], width - LEFT - RIGHT - 30);
  const layout = {
    ...figure.layout,
    width,
    template: page.templates[theme],
    dragmode: coarse ? false : "zoom",
    uirevision: log.join(),
    xaxis: {
      ...figure.layout.xaxis, type: log[0] ? "log" : "linear", tickvals: kept, ticktext: kept.map(short),
    },
    yaxis: {
      ...figure.layout.yaxis, type: log[1] ? "log" : "linear", dtick: log[1] ? tickStep(decadesOf(figure)) : null,
    },
  };
  return Plotly.react(canvas, figure.data.map((trace) => themed(trace, theme)), layout, config);
}

function drawAll() {
  hideRow();
  return Promise.all(Object.keys(page.plots).map(draw));
}

// What a point is: its row of the table, or what its trace says.
function tell(canvas, point) {
  const { meta } = point.data;
  const { xaxis, yaxis } = point;
  const box = canvas.getBoundingClientRect();
  const x = xaxis.d2p(point.x) + xaxis._offset, y = yaxis.d2p(point.y) + yaxis._offset;
  const ring = node("div");
  ring.className = "ring";
  ring.style.left = `${x}px`;
  ring.style.top = `${y}px`;
  hideRow();
  canvas.append(ring);
  const number = point.data.customdata ? point.data.customdata[point.pointNumber] : undefined;
  const title = [meta.source, meta.name].filter(Boolean).join(" · ");
  const beside = { left: box.left + window.scrollX + x, right: box.left + window.scrollX + x, top: box.top + window.scrollY + y };
  if (number === undefined) showRow(title ? `${title}, ${meta.said}` : meta.said, [], beside);
  else showRow(title, fieldsOf(number), beside);
  return `${title}: ${short(point.x)} tokens, ${number === undefined ? meta.said : Number(point.y.toPrecision(4))}`;
}

// Arrow keys: along a curve, and to the next one.
const place = new Map();
function walk(event, canvas) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  const curves = canvas.data.map((trace, curve) => ({ trace, curve }))
    .filter(({ trace }) => trace.visible && trace.customdata && trace.customdata.length);
  if (!curves.length) return;
  const old = place.get(canvas);
  const wrap = (value, count) => (value + count) % count;
  const which = old ? wrap(old.which + step[0], curves.length) : 0;
  const { trace, curve } = curves[Math.min(which, curves.length - 1)];
  const last = trace.x.length - 1;
  const at = Math.max(0, Math.min(old ? old.at + step[1] : 0, last));
  place.set(canvas, { which, at });
  const full = canvas._fullLayout;
  const yaxis = trace.yaxis === "y2" ? full.yaxis2 : full.yaxis;
  const point = { data: trace, curve, pointNumber: at, x: trace.x[at], y: trace.y[at], xaxis: full.xaxis, yaxis };
  if (point.y === null) return;
  document.getElementById("said").textContent = tell(canvas, point);
}

function listen(id) {
  const canvas = document.getElementById(id);
  canvas.on("plotly_hover", ({ points }) => tell(canvas, points[0]));
  canvas.on("plotly_unhover", hideRow);
  canvas.on("plotly_relayout", () => {
    const { type, range, dtick } = canvas._fullLayout.yaxis;
    const step = type === "log" ? tickStep(range[1] - range[0]) : null;
    if (canvas.layout.yaxis.dtick !== step) Plotly.relayout(canvas, { "yaxis.dtick": step });
  });
  canvas.addEventListener("keydown", (event) => walk(event, canvas));
  canvas.addEventListener("blur", hideRow);
  for (const button of canvas.closest("figure").querySelectorAll("[data-axis]")) {
    button.addEventListener("click", () => {
      const { log } = page.plots[id];
      const axis = button.dataset.axis === "x" ? 0 : 1;
      log[axis] = !log[axis];
      button.setAttribute("aria-pressed", String(log[axis]));
      draw(id);
    });
  }
}

function toggle(button) {
  const key = button.dataset.source ? "source" : "name";
  const value = button.dataset[key];
  if (!hidden[key].delete(value)) hidden[key].add(value);
  for (const each of document.querySelectorAll(`.legend button`)) {
    if (each.dataset[key] === value) each.setAttribute("aria-pressed", String(!hidden[key].has(value)));
  }
  drawAll();
}

drawAll().then(() => {
  Object.keys(page.plots).forEach(listen);
  document.documentElement.dataset.drawn = "true";
});
for (const button of document.querySelectorAll(".legend button")) button.addEventListener("click", () => toggle(button));
dark.addEventListener("change", drawAll);
let width = document.body.clientWidth;
new ResizeObserver(() => {
  if (document.body.clientWidth === width || printing) return;
  width = document.body.clientWidth;
  drawAll();
}).observe(document.body);
function onPaper(now) {
  printing = now;
  document.body.classList.toggle("paper", now);
  drawAll();
}
window.addEventListener("beforeprint", () => onPaper(true));
window.addEventListener("afterprint", () => onPaper(false));
