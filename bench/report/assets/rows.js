"use strict";
// The page's data, and a row of its full table shown beside a point.
const page = JSON.parse(document.getElementById("page-data").textContent);
const rowBox = document.getElementById("row");

function node(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function fieldsOf(number) {
  const { columns, rows } = page.tables.rows;
  return columns.map((name, at) => [name, rows[number][at]]).filter(([, value]) => value !== "");
}

// Numbers from 1,000 on get commas; everything else stands as in the CSV.
function shown(text) {
  return text.replace(/^(-?)(\d{4,})(?=\.|$)/, (_, sign, whole) => sign + whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

// beside: {left, top, right} of the point, in pixels of the page.
function showRow(title, fields, beside) {
  const list = node("dl");
  for (const [name, value] of fields) {
    const text = name === "git_sha" ? value : shown(value);
    list.append(node("div", "", node("dt", name.replaceAll("_", " ")), node("dd", text)));
  }
  rowBox.replaceChildren(node("p", title), list);
  rowBox.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = rowBox;
  const edge = document.documentElement.clientWidth;
  const right = beside.right + 14;
  const left = right + width <= edge ? right : beside.left - 14 - width;
  const low = window.scrollY + 8;
  const high = Math.max(low, window.scrollY + window.innerHeight - height - 8);
  rowBox.style.left = `${Math.max(8, Math.min(left, edge - width - 8))}px`;
  rowBox.style.top = `${Math.min(Math.max(beside.top - height / 2, low), high)}px`;
}

function hideRow() {
  rowBox.hidden = true;
  for (const ring of document.querySelectorAll(".ring")) ring.remove();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideRow();
});
