// Tables: sorted, filtered, some rows at a time, and given as CSV.
const ROWS_AT_ONCE = 100;

function hydrate(root) {
  const { columns, main, numeric, rows } = page.tables[root.dataset.table];
  const find = (selector) => root.querySelector(selector);
  const search = find("input[type=search]"), every = find(".every"), count = find(".count");
  const selects = [...root.querySelectorAll("select")];
  const texts = rows.map((row) => row.join(" ").toLowerCase());
  const state = { sort: -1, down: false, first: 0, found: rows };

  const statusAt = columns.indexOf("status");
  const visible = () => (every.checked ? columns.map((_, at) => at) : main);

  for (const select of selects) {
    const at = columns.indexOf(select.dataset.column);
    const values = [...new Set(rows.map((row) => row[at]))];
    for (const value of values) if (value) select.append(new Option(value, value));
  }
  if (main.length === columns.length) every.parentElement.hidden = true;

  function compare(a, b) {
    const at = state.sort, x = a[at], y = b[at];
    if (x === "" || y === "") return (x === "") - (y === ""); // blanks come last, whichever way
    const order = numeric[at] ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
    return state.down ? -order : order;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = selects.filter((select) => select.value)
      .map((select) => [columns.indexOf(select.dataset.column), select.value]);
    state.found = rows.filter((row, n) =>
      words.every((word) => texts[n].includes(word)) && chosen.every(([at, value]) => row[at] === value));
    if (state.sort >= 0) state.found.sort(compare);
    state.first = 0;
    fill();
  }

  function head() {
    const cells = visible().map((at) => {
      const button = node("button", columns[at].replaceAll("_", " "));
      button.type = "button";
      button.addEventListener("click", () => {
        state.down = state.sort === at && !state.down;
        state.sort = at;
        for (const cell of find("thead").querySelectorAll("th")) cell.setAttribute("aria-sort", "none");
        button.parentElement.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        filter();
      });
      const cell = node("th", "", button);
      cell.scope = "col";
      cell.className = numeric[at] ? "number" : "";
      cell.setAttribute("aria-sort", state.sort === at ? (state.down ? "descending" : "ascending") : "none");
      return cell;
    });
    find("thead").replaceChildren(node("tr", "", ...cells));
  }

  function fill() {
    const shownColumns = visible();
    const last = Math.min(state.first + ROWS_AT_ONCE, state.found.length);
    const made = state.found.slice(state.first, last).map((row) =>
      node("tr", "", ...shownColumns.map((at) => {
        const cell = node("td", numeric[at] ? shown(row[at]) : row[at]);
        if (numeric[at]) cell.className = "number";
        else if (at === statusAt && row[at] !== "ok") cell.className = "not-ok";
        else if (columns[at] === "message") cell.className = "message";
        return cell;
      })));
    find("tbody").replaceChildren(...made);
    const of = state.found.length === rows.length ? `${rows.length} rows` : `${state.found.length} of ${rows.length} rows`;
    count.textContent = last - state.first < state.found.length ? `${of}, ${state.first + 1} to ${last} shown` : of;
    find(".previous").disabled = state.first === 0;
    find(".next").disabled = last === state.found.length;
  }

  function download() {
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const shownColumns = visible();
    const lines = [columns, ...state.found].map((row) => shownColumns.map((at) => quoted(row[at])).join(","));
    const link = node("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = `${root.dataset.table}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const turn = (by) => { state.first += by * ROWS_AT_ONCE; fill(); };
  find(".previous").addEventListener("click", () => turn(-1));
  find(".next").addEventListener("click", () => turn(1));
  find(".download").addEventListener("click", download);
  find("form").addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", filter);
  for (const select of selects) select.addEventListener("change", filter);
  every.addEventListener("change", () => { head(); fill(); });
  head();
  fill();
}

for (const root of document.querySelectorAll("[data-table]")) hydrate(root);
