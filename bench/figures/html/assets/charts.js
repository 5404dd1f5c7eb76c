/* Draws figures (bench/figures/html/payload.py) with plotly: `charts.drawOne(figure, view)`. A view holds the state of
   the toolbar: the scale of the axes, the hidden models and the theme. */
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

const charts = (() => {
  const STRIP = 15; // height of a line of crosses in pixels
  const GAP = 14; // pixels between names at the ends of the curves
  const MOST = 14; // the most names next to one pair of axes
  const LETTER = 5.8; // width of a letter within the axes in pixels
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faded = (colour, alpha) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  };
  const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));

  /* Those of a figure's curves or failures that the view does not hide. */
  const shown = (items, view) => items.filter((each) => !view.hidden.has(each.model));

  function band(curve, low, high, colour, alpha) {
    const at = curve.x.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null && curve.x[i] !== null);
    const x = at.map((i) => curve.x[i]);
    return {
      x: [...x, ...[...x].reverse()],
      y: [...at.map((i) => high[i]), ...[...at].reverse().map((i) => low[i])],
      fill: "toself", fillcolor: faded(colour, alpha), line: { width: 0 }, mode: "lines",
      hoverinfo: "skip", showlegend: false, meta: "band",
    };
  }

  function curveTraces(figure, curve, view, crowded) {
    const [colour] = data.models[curve.model][view.theme];
    const open = curve.run || curve.hollow;
    const symbol = data.models[curve.model].symbol + (open ? "-open" : "");
    const traces = [];
    const bands = !crowded && curve.joined;
    if (bands && curve.p10.length) traces.push(band(curve, curve.p10, curve.p90, colour, 0.1));
    if (bands && curve.low.length && !curve.faint) traces.push(band(curve, curve.low, curve.high, colour, 0.2));
    if (curve.planned.length) {
      traces.push({
        x: curve.x, y: curve.planned, mode: "lines", line: { color: colour, width: 1.2, dash: "dot" },
        name: `${curve.name}, planned`, hoverinfo: "name+y", showlegend: false, meta: "planned",
      });
    }
    if (curve.beyond.length) {
      traces.push({
        x: curve.beyond[0], y: curve.beyond[1], mode: "lines", line: { color: colour, width: 1.6, dash: "4px,4px" },
        name: `${curve.name}, extrapolated`, hoverinfo: "name+x+y", showlegend: false, meta: "beyond",
      });
    }
    const bars = curve.low.length && !bands ? {
      error_y: {
        type: "data", symmetric: false, color: colour, thickness: 1.2, width: 0,
        array: curve.high.map((high, i) => high === null ? 0 : high - curve.y[i]),
        arrayminus: curve.low.map((low, i) => low === null ? 0 : curve.y[i] - low),
      },
    } : {};
    traces.push({
      x: curve.x, y: curve.y, mode: curve.joined ? "lines+markers" : "markers", name: curve.name, legendgroup: curve.model,
      line: { color: colour, width: 2, dash: curve.dash },
      marker: { color: colour, symbol, size: curve.joined ? 8 : 10, line: { color: open ? colour : css("--background"), width: open ? 1.5 : 0.6 } },
      opacity: curve.faint ? 0.4 : 1, text: curve.rows.map((row, i) => hover(figure, curve, row, i)),
      hovertemplate: "%{text}<extra></extra>", showlegend: !curve.faint, meta: "curve", ...bars,
    });
    return traces;
  }

  function hover(figure, curve, row, i) {
    const description = data.hovers[row] ?? `<b>${curve.name}</b>`;
    if (figure.group !== "ratio") return description;
    const interval = curve.low[i] === null ? "" : ` [${curve.low[i].toFixed(3)}, ${curve.high[i].toFixed(3)}]`;
    return `<b>B / A: ${curve.y[i].toFixed(3)}${interval}</b><br>B: ${description}`;
  }

  function crosses(failed, rank, view) {
    const [colour] = data.models[failed.model][view.theme];
    return {
      x: failed.x, y: failed.x.map(() => -rank), yaxis: "y2", mode: "markers", name: failed.name,
      marker: { symbol: "x-thin", size: 7, line: { color: colour, width: 2 } },
      text: failed.rows.map((row) => data.hovers[row]), hovertemplate: "%{text}<extra></extra>",
      showlegend: false, cliponaxis: false, meta: "failed",
    };
  }

  function guide({ name, x, y, steps }) {
    const line = { color: css("--muted"), width: 1, dash: steps ? "4px,3px" : "1px,3px", shape: steps ? "hv" : "linear" };
    return {
      x, y, mode: "lines+text", line, hoverinfo: "skip",
      text: x.map((_, i) => (i === x.length - 1 ? name : "")), textposition: y[0] === y.at(-1) ? "top left" : "middle right",
      textfont: { color: css("--quiet"), size: 10 }, showlegend: false, name, meta: "guide",
    };
  }

  /* The range [low, high] of an axis as plotly expects it: for a logarithmic axis, the exponents of ten. */
  function range(values, log, share, fromZero) {
    const kept = finite(values).filter((value) => !log || value > 0);
    if (!kept.length) return [0, 1];
    const of = log ? Math.log10 : (value) => value;
    let low = of(Math.min(...kept));
    let high = of(Math.max(...kept));
    if (!log && fromZero) low = Math.min(low, 0);
    const pad = (high - low || Math.abs(high) || 1) * share;
    return [!log && fromZero && low === 0 ? 0 : low - pad, high + pad];
  }

  /* The places in [0, 1] that are closest to the wanted ones, in the same order and at least a gap apart. */
  function spread(places, gap) {
    const order = places.map((_, i) => i).sort((i, j) => places[i] - places[j]);
    let blocks = order.map((i) => ({ members: [i], middle: places[i] }));
    for (let merged = true; merged; ) {
      merged = false;
      for (let k = 1; k < blocks.length; k++) {
        const [a, b] = [blocks[k - 1], blocks[k]];
        if (b.middle - a.middle < (gap * (a.members.length + b.members.length)) / 2) {
          const members = [...a.members, ...b.members];
          const middle = (a.middle * a.members.length + b.middle * b.members.length) / members.length;
          blocks.splice(k - 1, 2, { members, middle });
          merged = true;
          break;
        }
      }
    }
    const found = [];
    for (const block of blocks) {
      const half = (gap * (block.members.length - 1)) / 2;
      const middle = Math.min(Math.max(block.middle, half), 1 - half);
      block.members.forEach((i, k) => { found[i] = middle - half + k * gap; });
    }
    return found;
  }

  function names(curves, yRange, log, view, height) {
    const ends = curves.filter((curve) => !curve.faint && finite(curve.y).length).map((curve) => {
      const last = curve.beyond.length ? curve.beyond[1].at(-1) : finite(curve.y).at(-1);
      const at = log ? Math.log10(last) : last;
      return { curve, place: Math.min(1, Math.max(0, (at - yRange[0]) / (yRange[1] - yRange[0]))) };
    });
    const places = spread(ends.map((end) => end.place), GAP / height);
    return ends.map(({ curve }, i) => ({
      x: 1, xref: "paper", xanchor: "left", xshift: 5, y: places[i], yref: "y domain", yanchor: "middle",
      text: curve.name, showarrow: false, font: { size: 11.5, color: data.models[curve.model][view.theme][1] },
    }));
  }

  function crossing(found, xRange, log, width) {
    if (!found) return { shapes: [], annotations: [] };
    const quiet = css("--quiet");
    const at = log ? Math.log10(found.length) : found.length;
    const share = (at - xRange[0]) / (xRange[1] - xRange[0]);
    const late = share > 0.5;
    const fits = Math.max(share, 1 - share) * width >= LETTER * found.text.length; // on a phone the text needs two lines
    return {
      shapes: [
        { type: "rect", xref: "x", yref: "y domain", x0: found.low, x1: found.high, y0: 0, y1: 1, line: { width: 0 }, fillcolor: faded(css("--muted"), 0.14), layer: "below" },
        { type: "line", xref: "x", yref: "y domain", x0: found.length, x1: found.length, y0: 0, y1: 1, line: { width: 1, color: quiet, dash: "2px,3px" }, layer: "below" },
      ],
      annotations: [{
        x: at, xref: "x", y: 0, yref: "y domain", yanchor: "bottom", xanchor: late ? "right" : "left", xshift: late ? -3 : 3,
        text: fits ? found.text : found.text.replace(" at ", "<br>at "), align: late ? "right" : "left", showarrow: false, font: { size: 10.5, color: quiet },
      }],
    };
  }

  /* A line at the training length. Its name is on the side that has more room. */
  function trained(length, xRange, log) {
    if (length === null) return { shapes: [], annotations: [] };
    const at = log ? Math.log10(length) : length;
    const late = (at - xRange[0]) / (xRange[1] - xRange[0]) > 0.5;
    return {
      shapes: [{ type: "line", xref: "x", yref: "y domain", x0: length, x1: length, y0: 0, y1: 1, line: { width: 1, color: css("--muted"), dash: "1px,3px" }, layer: "below" }],
      annotations: [{
        x: at, xref: "x", y: 0, yref: "y domain", yanchor: "bottom", xanchor: late ? "right" : "left", xshift: late ? -3 : 3,
        text: `trained at ${short(length)}`, showarrow: false, font: { size: 10.5, color: css("--quiet") },
      }],
    };
  }

  function ticks(lengths, xRange, log, width) {
    if (!lengths.length) return {};
    const place = (length) => ((log ? Math.log10(length) : length) - xRange[0]) / (xRange[1] - xRange[0]) * width;
    const kept = [];
    for (const length of [...lengths].reverse()) {
      if (kept.every((other) => Math.abs(place(other) - place(length)) >= 34)) kept.push(length);
    }
    return { tickmode: "array", tickvals: kept, ticktext: kept.map(short) };
  }

  const named = (places) => ({ tickmode: "array", tickvals: places.map(([at]) => at), ticktext: places.map(([, text]) => text) });

  /* Ticks of a logarithmic axis: at 1, 2, 5, ... or at powers of ten, as in mpl/ticks.py. If fewer than three of them are
     within the axis, the ticks are at equal steps. */
  function roundTicks([low, high]) {
    for (const factors of [[1], [1, 3], [1, 2, 5]]) {
      let found = [];
      for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
        found.push(...factors.map((factor) => factor * 10 ** power).filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high));
      }
      if (found.length < 3) continue;
      const step = Math.ceil(found.length / 7);
      found = found.filter((_, i) => i % step === 0);
      const large = found[0] < 1e-4 || found.at(-1) >= 1e7;
      return { tickmode: "array", tickvals: found, ticktext: found.map((tick) => (large ? power(tick) : plain(tick))) };
    }
    const [from, to] = [10 ** low, 10 ** high];
    const least = (to - from) / 5;
    const unit = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((each) => each >= least);
    const found = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) found.push(tick);
    return { tickmode: "array", tickvals: found, ticktext: found.map((tick) => (to >= 1e7 ? tick.toExponential(1) : plain(tick))) };
  }

  const plain = (tick) => Number(tick.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
  function power(tick) {
    const exponent = Math.floor(Math.log10(tick) + 1e-9);
    const factor = tick / 10 ** exponent;
    return `${Math.abs(factor - 1) < 1e-6 ? "" : `${factor.toPrecision(1)} × `}10<sup>${exponent}</sup>`;
  }

  function short(length) {
    if (length >= 1 << 20 && length % (1 << 20) === 0) return `${length >> 20}M`;
    return length >= 1 << 10 && length % (1 << 10) === 0 ? `${length >> 10}k` : String(length);
  }

  /* The parts of a layout that all figures share. */
  function frame(height, margin) {
    return {
      autosize: true, height, margin, paper_bgcolor: css("--background"), plot_bgcolor: css("--background"),
      font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12, color: css("--text") },
      hoverlabel: { bgcolor: css("--background"), bordercolor: css("--muted"), align: "left", font: { size: 12, color: css("--text") } },
    };
  }

  /* Stacked bars in groups. Those of a hidden model are left out. */
  function makeBars(figure, view, height) {
    const bars = shown(figure.bars.bars, view);
    const x = [bars.map((bar) => bar.group), bars.map((bar) => bar.label)];
    const traces = figure.bars.parts.map(({ name, colour }, part) => ({
      type: "bar", x, y: bars.map((bar) => bar.heights[part]), name, marker: { color: colour }, meta: "bar",
      text: bars.map((bar) => data.hovers[bar.rows[part]] ?? name), textposition: "none", hovertemplate: "%{text}<extra></extra>",
    }));
    const axis = { linecolor: css("--muted"), tickfont: { size: 11 }, title: { font: { size: 12 }, standoff: 6 } };
    const layout = {
      ...frame(height, { l: 62, r: 12, t: 8, b: 64 }), barmode: "stack", bargap: 0.1, hovermode: "closest", dragmode: false,
      showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", font: { size: 11 }, traceorder: "normal" },
      xaxis: { ...axis, type: "multicategory", title: { ...axis.title, text: figure.x_label }, dividercolor: css("--grid"), fixedrange: true },
      yaxis: { ...axis, title: { ...axis.title, text: figure.y_label }, tickformat: ".0%", range: [0, 1], gridcolor: css("--grid"), fixedrange: true },
    };
    return { traces, layout, relabelled: () => ({}) };
  }

  function make(figure, view, width, height) {
    if (figure.bars) return makeBars(figure, view, height);
    const curves = shown(figure.curves, view);
    const failed = shown(figure.failed, view);
    const { crowded } = figure;
    const log = view.log && figure.y_log;
    const traces = figure.guides.map(guide);
    for (const curve of curves) traces.push(...curveTraces(figure, curve, view, crowded));
    failed.forEach((each, rank) => traces.push(crosses(each, rank, view)));

    const longest = Math.max(0, ...curves.filter((c) => !c.faint).map((c) => c.name.length));
    const many = curves.length > MOST; // then the toolbar is the legend, and a real one is added where it is not enough
    const legend = many && curves.some((curve) => curve.name !== curve.model);
    const right = many || !curves.length ? 12 : Math.min(14 + 6.7 * longest, width * 0.34);
    const margin = { l: 62, r: right, t: 8, b: 44 };
    const inner = height - margin.t - margin.b;
    const strip = failed.length ? Math.min((STRIP * failed.length + 8) / inner, 0.5) : 0;
    const xs = [...curves.flatMap((c) => [...c.x, ...(c.beyond[0] ?? [])]), ...failed.flatMap((f) => f.x)];
    const ys = curves.flatMap((c) => [...c.y, ...c.planned, ...(c.beyond[1] ?? []), ...(crowded ? [] : [...c.low, ...c.high])]);
    if (figure.group === "ratio") ys.push(1);
    const xLog = view.log && !figure.ticks; // ticks with words of their own are at equal steps
    const ranges = { x: range(xs, xLog, figure.ticks ? 0.12 : 0.04, false), y: range(ys, log, 0.06, figure.from_zero) };
    const both = curves.some((c) => c.model === "mamba") && curves.some((c) => c.model === "transformer");
    const at = [
      crossing(both ? figure.crossing : null, ranges.x, view.log, width - margin.l - margin.r),
      trained(curves.length ? figure.trained : null, ranges.x, view.log),
    ];
    const written = at.flatMap((each) => each.annotations);
    const axis = {
      gridcolor: css("--grid"), linecolor: css("--muted"), tickcolor: css("--muted"), ticks: "outside", ticklen: 3, showline: true,
      zeroline: false, automargin: false, title: { font: { size: 12 }, standoff: 6 }, tickfont: { size: 11 },
    };
    const layout = {
      ...frame(height, margin), hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      showlegend: legend, legend: { orientation: "h", y: -0.22, font: { size: 11 }, itemdoubleclick: false },
      xaxis: {
        ...axis, title: { ...axis.title, text: figure.x_label }, type: xLog ? "log" : "linear", range: ranges.x,
        ...(figure.ticks ? named(figure.ticks) : ticks(figure.lengths, ranges.x, view.log, width - margin.l - margin.r)), anchor: "y", exponentformat: "power",
      },
      yaxis: {
        ...axis, title: { ...axis.title, text: figure.y_label }, type: log ? "log" : "linear", range: ranges.y,
        domain: [0, 1 - strip], exponentformat: "power", separatethousands: true, ...(log ? roundTicks(ranges.y) : { tickmode: "auto" }),
      },
      yaxis2: { domain: [strip ? 1 - strip + 4 / inner : 0.99, 1], range: [0.5 - Math.max(1, failed.length), 0.5], visible: false, fixedrange: true },
      shapes: at.flatMap((each) => each.shapes),
      annotations: [...written, ...(many ? [] : names(curves, ranges.y, log, view, inner * (1 - strip)))],
    };
    const relabelled = (yRange) => ({ // the names and ticks for another range of the y axis, after a zoom
      annotations: [...written, ...(many ? [] : names(curves, yRange, log, view, inner * (1 - strip)))],
      ...(log ? Object.fromEntries(Object.entries(roundTicks(yRange)).map(([key, value]) => [`yaxis.${key}`, value])) : {}),
    });
    return { traces, layout, relabelled };
  }

  function drawOne(figure, view) {
    const box = document.querySelector(`#plot-${CSS.escape(figure.name)} .canvas`);
    const rows = shown(figure.failed, view).length;
    const height = (box.closest(".hero") ? 370 : 310) + STRIP * rows;
    const width = view.width ?? box.clientWidth;
    const { traces, layout, relabelled } = make(figure, view, width, height);
    if (view.width) { layout.width = view.width; layout.autosize = false; }
    Plotly.react(box, traces, layout, {
      displaylogo: false, responsive: true, displayModeBar: matchMedia("(pointer: coarse)").matches ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "zoom2d"],
      toImageButtonOptions: { filename: `lengthscale-${figure.name}`, scale: 2 },
    });
    box.relabelled = relabelled;
    if (box.listens) return;
    box.listens = true;
    box.on("plotly_legendclick", (event) => {
      const model = event.data[event.curveNumber].legendgroup;
      if (!model) return true; // a part of the bars, which plotly hides
      view.toggle(model);
      return false;
    });
    box.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((key) => key.startsWith("yaxis.range"))) Plotly.relayout(box, box.relabelled(box.layout.yaxis.range));
    });
  }

  /* The marker of a model on its line, as an inline SVG for the toolbar. */
  const SHAPES = {
    "circle": "M20 7a4 4 0 1 1-8 0a4 4 0 1 1 8 0z", "square": "M12 3h8v8h-8z", "triangle-up": "M16 2l5 9h-10z",
    "diamond": "M16 1.5l5.5 5.5-5.5 5.5-5.5-5.5z", "triangle-down": "M16 12l5-9h-10z", "cross": "M14 2h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "x": "M12 2l4 3 4-3 2 2-3 3 3 3-2 2-4-3-4 3-2-2 3-3-3-3z", "star": "M16 1l1.8 4 4.2.4-3.2 2.8 1 4.3-3.8-2.3-3.8 2.3 1-4.3-3.2-2.8 4.2-.4z",
    "triangle-left": "M11 7l9-5v10z", "triangle-right": "M21 7l-9-5v10z",
  };
  function swatch(model, theme) {
    const [colour] = data.models[model][theme];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 32 14");
    svg.setAttribute("aria-hidden", "true");
    for (const [d, attributes] of [["M1 7h30", { stroke: colour, "stroke-width": 2 }], [SHAPES[data.models[model].symbol], { fill: colour }]]) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      for (const [name, value] of Object.entries({ d, ...attributes })) path.setAttribute(name, value);
      svg.append(path);
    }
    return svg;
  }

  return { drawOne, swatch };
})();
