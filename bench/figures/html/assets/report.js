/* Holds the state of the toolbar (`view`), and draws all figures again when this state, the theme or the medium changes. */
"use strict";

(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");
  const PAPER = 640; // width of a printed plot in pixels, which fits on A4 and letter paper
  let printing = false;
  const view = { log: true, hidden: new Set(), theme: "light", toggle };
  const toolbar = document.getElementById("toolbar");

  function toggle(model) {
    view.hidden.has(model) ? view.hidden.delete(model) : view.hidden.add(model);
    drawAll();
  }

  function only(models) {
    view.hidden = new Set(models);
    drawAll();
  }

  let turn = 0;
  /* Draws the figure at the top at once and then one figure in each frame, so that the page stays responsive. */
  function drawAll(atOnce = false) {
    view.theme = dark.matches && !printing ? "dark" : "light";
    view.width = printing ? PAPER : undefined;
    drawToolbar();
    const mine = ++turn;
    const root = document.documentElement;
    root.dataset.state = "drawing";
    const left = [...data.figures].sort((a, b) => isFirst(b) - isFirst(a));
    const next = () => {
      if (mine !== turn) return;
      const figure = left.shift();
      if (figure) charts.drawOne(figure, view);
      if (left.length) atOnce ? next() : requestAnimationFrame(next);
      else Object.assign(root.dataset, { state: "ready", drawn: mine });
    };
    next();
  }

  function isFirst(figure) {
    return Boolean(document.querySelector(`.hero #plot-${CSS.escape(figure.name)}`));
  }

  function button(text, pressed, act, kind = "control") {
    const made = document.createElement("button");
    made.type = "button";
    made.className = kind;
    made.append(text);
    if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
    made.addEventListener("click", act);
    return made;
  }

  function group(word, kind, ...buttons) {
    const made = document.createElement("div");
    made.className = kind;
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", word);
    const heading = document.createElement("span");
    heading.className = "word";
    heading.textContent = word;
    made.append(heading, ...buttons);
    return made;
  }

  function drawToolbar() {
    const focused = [...toolbar.querySelectorAll("button")].indexOf(document.activeElement);
    const models = data.order.map((model) => {
      const made = button("", !view.hidden.has(model), () => toggle(model), "model");
      made.append(charts.swatch(model, view.theme), model);
      made.dataset.model = model;
      return made;
    });
    const [all, none] = [button("all", null, () => only([])), button("none", null, () => only(data.order))];
    const axes = [["log", true], ["linear", false]].map(([text, log]) =>
      button(text, view.log === log, () => { view.log = log; drawAll(); }));
    toolbar.replaceChildren(group("Models", "models", ...models, all, none), group("Axes", "control", ...axes));
    if (focused >= 0) toolbar.querySelectorAll("button")[focused]?.focus();
  }

  function setPrinting(now) {
    if (now === printing) return;
    printing = now;
    for (const each of document.querySelectorAll("details")) {
      if (now) { each.dataset.was = each.open; each.open = true; } else each.open = each.dataset.was === "true";
    }
    drawAll(now);
  }

  for (const root of document.querySelectorAll(".table-tool")) tables.build(root);
  dark.addEventListener("change", () => drawAll());
  print.addEventListener("change", () => setPrinting(print.matches));
  addEventListener("beforeprint", () => setPrinting(true));
  addEventListener("afterprint", () => setPrinting(false));
  printing = print.matches;
  drawAll();
})();
