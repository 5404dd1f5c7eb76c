/* Builds tables that the reader can sort, filter and save: `tables.build(root)`, where `root.dataset.tables` has their names. */
"use strict";

const tables = (() => {
  const PAGE = 250; // how many rows are drawn at first
  const FILTERS = ["run", "measure", "model", "status", "verdict", "quantity"]; // columns that have a menu of their values
  const FEW = 60; // the most letters of a text that stays on one line
  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /* Compares two texts for sorting: blanks are last in both directions, and numbers are compared by value. */
  function compare(a, b, direction) {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (isNumber(a) && isNumber(b)) return direction * (Number(a) - Number(b));
    return direction * a.localeCompare(b, "en", { numeric: true });
  }

  function csv(columns, rows) {
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return [columns, ...rows].map((row) => row.map(quoted).join(",") + "\n").join("");
  }

  function save(name, text) {
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function build(root) {
    const all = root.dataset.tables.split(" ").map((name) => data.tables.find((table) => table.name === name)).filter((table) => table && table.columns.length);
    if (!all.length) return;
    const state = { table: all[0], search: "", chosen: {}, showAll: false, sort: null, direction: 1, rows: PAGE };
    const tools = element("div", { className: "tools" });
    const count = element("p", { className: "count", role: "status" });
    const box = element("div", { className: "box", tabIndex: 0 });
    box.setAttribute("role", "region");
    const more = element("button", { type: "button", className: "more" });
    root.append(tools, count, box, more);

    /* The columns to show: all of them, or those of the main ones that have a value in one of these rows. */
    const columns = (rows) => {
      const { main, columns: every } = state.table;
      if (state.showAll || !main.length) return every;
      return main.filter((name) => name === state.sort || rows.some((row) => row[at(name)] !== ""));
    };
    const at = (column) => state.table.columns.indexOf(column);

    function found() {
      const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = state.table.rows.filter((row) => {
        const chosen = Object.entries(state.chosen).every(([column, value]) => value === "" || row[at(column)] === value);
        if (!chosen || !words.length) return chosen;
        const text = row.join("\n").toLowerCase();
        return words.every((word) => text.includes(word));
      });
      if (state.sort !== null && at(state.sort) >= 0) {
        const index = at(state.sort);
        rows.sort((a, b) => compare(a[index], b[index], state.direction));
      }
      return rows;
    }

    function draw() {
      const rows = found();
      const names = columns(rows);
      const numeric = new Set(names.filter((name) => state.table.rows.every((row) => row[at(name)] === "" || isNumber(row[at(name)]))));
      const head = element("tr");
      for (const name of names) {
        const button = element("button", { type: "button", textContent: name });
        button.dataset.column = name;
        const cell = element("th", { scope: "col", className: numeric.has(name) ? "number" : "" }, button);
        cell.setAttribute("aria-sort", state.sort !== name ? "none" : state.direction > 0 ? "ascending" : "descending");
        head.append(cell);
      }
      const body = element("tbody");
      for (const row of rows.slice(0, state.rows)) {
        const line = element("tr");
        for (const name of names) {
          const text = row[at(name)];
          line.append(element("td", { textContent: text, className: numeric.has(name) ? "number" : text.length > FEW ? "long" : "" }));
        }
        body.append(line);
      }
      const kept = document.activeElement?.closest?.("th") && box.contains(document.activeElement) ? document.activeElement.dataset.column : null;
      const [left, top] = [box.scrollLeft, box.scrollTop];
      box.setAttribute("aria-label", `${state.table.title}: table`);
      box.replaceChildren(element("table", {}, element("thead", {}, head), body));
      [box.scrollLeft, box.scrollTop] = [left, top];
      if (kept !== null) box.querySelector(`button[data-column="${CSS.escape(kept)}"]`)?.focus();
      const drawn = Math.min(state.rows, rows.length);
      count.textContent = `${rows.length} of ${state.table.rows.length} rows` + (drawn < rows.length ? `, the first ${drawn} drawn` : "");
      more.hidden = drawn >= rows.length;
      more.textContent = `Draw all ${rows.length}`;
    }

    function label(text, control) {
      return element("label", {}, text, control);
    }

    function drawTools() {
      const parts = [];
      if (all.length > 1) {
        const select = element("select", {}, ...all.map((table) => element("option", { value: table.name, textContent: `${table.title} (${table.rows.length})` })));
        select.value = state.table.name;
        select.addEventListener("change", () => {
          Object.assign(state, { table: all.find((table) => table.name === select.value), chosen: {}, sort: null, direction: 1, rows: PAGE });
          drawTools();
          draw();
          tools.querySelector("select").focus();
        });
        parts.push(label("Table", select));
      }
      const search = element("input", { type: "search", value: state.search, placeholder: "any text" });
      search.addEventListener("input", () => { state.search = search.value; state.rows = PAGE; draw(); });
      parts.push(label("Filter", search));
      for (const column of FILTERS.filter((name) => at(name) >= 0)) {
        const values = [...new Set(state.table.rows.map((row) => row[at(column)]))].filter(Boolean);
        if (values.length < 2) continue;
        const select = element("select", { name: column }, element("option", { value: "", textContent: "all" }), ...values.map((value) => element("option", { value, textContent: value })));
        select.addEventListener("change", () => { state.chosen[column] = select.value; state.rows = PAGE; draw(); });
        parts.push(label(column, select));
      }
      if (state.table.main.length) {
        const check = element("input", { type: "checkbox", checked: state.showAll });
        check.addEventListener("change", () => { state.showAll = check.checked; draw(); });
        const line = element("label", { className: "check" }, check, `all ${state.table.columns.length} columns`);
        parts.push(line);
      }
      const button = element("button", { type: "button", className: "download", textContent: "Download CSV" });
      button.title = "The rows that pass the filters, in this order, with the columns shown";
      button.addEventListener("click", () => {
        const rows = found();
        const names = columns(rows);
        save(`lengthscale-${state.table.name}.csv`, csv(names, rows.map((row) => names.map((name) => row[at(name)]))));
      });
      parts.push(button);
      tools.replaceChildren(...parts);
    }

    box.addEventListener("click", (event) => {
      const button = event.target.closest("th button");
      if (!button) return;
      const name = button.dataset.column;
      state.direction = state.sort === name ? -state.direction : 1;
      state.sort = name;
      draw();
    });
    more.addEventListener("click", () => { state.rows = Infinity; draw(); });
    drawTools();
    draw();
  }

  return { build };
})();
