/* The two things that a page can't do without a script: showing one view at a time, and the table of changed questions.

Every text of a run reaches the page as textContent, never as HTML. What the numbers mean is decided where they are made:
the borders between right and wrong and the least change stand in the data. */
"use strict";

const SHORT = 100; // A question of fewer letters stands in its row whole, and isn't repeated in its details.
const PAGE_ROWS = 200; // As many rows are made at once: thousands would make every keystroke in the search field slow.

const KINDS = [
  { key: "gained", label: "wrong to right", holds: (row) => row.crossed > 0 },
  { key: "lost", label: "right to wrong", holds: (row) => row.crossed < 0 },
  { key: "changed", label: "changed at all", holds: (row) => row.changed },
  { key: "unchanged", label: "unchanged", holds: (row) => !row.changed },
  { key: "all", label: "all", holds: () => true },
];

const COLUMNS = [
  { key: "question", label: "Question", sortBy: (row) => row.number, descends: false },
  { key: "category", label: "Category", sortBy: (row) => row.category, descends: false },
  { key: "a", label: "A", sortBy: (row) => row.a, descends: true },
  { key: "b", label: "B", sortBy: (row) => row.b, descends: true },
  { key: "change", label: "B − A", sortBy: (row) => row.change, descends: true },
  { key: "outcome", label: "Outcome", sortBy: (row) => 2 * row.crossed + Math.sign(row.change), descends: true },
];

/* Before a column is chosen: what became right or wrong stands first, then what moved most. */
const CLEAREST = { key: "clearest", sortBy: (row) => Math.abs(row.change) + (row.crossed ? 1e6 : 0), descends: true };

/* Makes an element with attributes; children are elements, or texts that stay texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick" || name === "onchange" || name === "oninput") element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return element;
}

const compareTexts = new Intl.Collator(undefined, { numeric: true }).compare;

function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : (number > 0 ? "+" : "−") + text;
}

function direction(number) {
  return number > 0 ? "up" : number < 0 ? "down" : "soft";
}

/* ---- Views: each part of the page that stands under a heading of the first line of links. ---- */

/* Returns the name that a hash stands for, as it is where its signs of a coded letter are none, as in "#50%". */
function nameOf(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return hash.slice(1);
  }
}

function showView(hash) {
  const views = [...document.querySelectorAll(".view")];
  const target = document.getElementById(nameOf(hash));
  const shown = (target && target.closest(".view")) || views[0];
  for (const view of views) view.hidden = view !== shown;
  for (const link of document.querySelectorAll("nav.views a")) {
    if (link.hash === "#" + shown.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (target && target !== shown) target.scrollIntoView();
  else if (target) window.scrollTo(0, 0);
}

function startViews() {
  document.documentElement.classList.add("scripted");
  window.addEventListener("hashchange", () => showView(location.hash));
  showView(location.hash);
}

/* ---- Rows: the questions that two runs share, with what became of each. ---- */

/* Returns the folds that both runs cover. */
function sharedFolds(a, b) {
  return Object.keys(a.folds).filter((fold) => fold in b.folds);
}

function crossing(before, after, border) {
  return border === null ? 0 : Number(after > border) - Number(before > border);
}

function pairRows(section, a, b, metric, leastChange) {
  const border = section.metrics[metric].rightAbove;
  const rows = [];
  for (const fold of sharedFolds(a, b)) {
    const asked = section.folds[fold];
    const before = a.folds[fold].values[metric];
    const after = b.folds[fold].values[metric];
    before.forEach((value, i) => {
      const change = after[i] - value;
      rows.push({
        fold,
        index: i,
        number: rows.length,
        id: asked.ids[i],
        question: asked.questions ? asked.questions[i] : asked.ids[i],
        shared: asked.shared || 0,
        category: asked.categories[asked.category[i]],
        a: value,
        b: after[i],
        change,
        changed: Math.abs(change) >= leastChange * 0.999, // Rounding must not undo a change of exactly the least size.
        crossed: crossing(value, after[i], border),
      });
    });
  }
  return rows;
}

/* Returns a row's words in small letters, made when they are first searched for. */
function haystack(state, row) {
  if (row.words === undefined) {
    const asked = state.section.folds[row.fold];
    const answers = asked.answers ? asked.answers[row.index] : [];
    const said = [state.a, state.b].map((run) => (run.folds[row.fold].texts || [])[row.index] || "");
    row.words = [row.question, row.id, row.category, ...answers, ...said].join("\n").toLowerCase();
  }
  return row.words;
}

function sortRows(rows, column, descends) {
  const sign = descends ? -1 : 1;
  const compare = (x, y) => (typeof x === "string" ? compareTexts(x, y) : x - y);
  return [...rows].sort((x, y) => sign * compare(column.sortBy(x), column.sortBy(y)) || x.number - y.number);
}

/* ---- Details: everything that is known of one question under both runs. ---- */

function likeliest(logProbs) {
  return logProbs.indexOf(Math.max(...logProbs));
}

function logProbCell(logProbs, i, label) {
  if (!logProbs) return make("td", { "data-label": label, class: "soft" }, "not in this file");
  const isTop = likeliest(logProbs) === i;
  const value = make(isTop ? "strong" : "span", {}, logProbs[i].toFixed(3));
  return make("td", { "data-label": label }, value, isTop ? make("small", {}, "likeliest") : "");
}

function answerRow(answers, correct, before, after, i) {
  const isRight = correct[i] === "1";
  const change = before && after ? after[i] - before[i] : null;
  return make(
    "tr",
    {},
    make("td", { class: isRight ? "mark up" : "mark down" }, isRight ? "✓ right" : "✗ wrong"),
    make("td", { class: "text", "data-label": "Answer" }, answers[i]),
    logProbCell(before, i, "A"),
    logProbCell(after, i, "B"),
    make("td", { "data-label": "B − A", class: change === null ? "soft" : direction(change) },
      change === null ? "" : signed(change, 3)),
  );
}

function scoredDetails(asked, answeredA, answeredB, i) {
  const [before, after] = [answeredA, answeredB].map((run) => run.logProbs && run.logProbs[i]);
  const answers = asked.answers[i];
  const head = ["", "Answer", "log-prob in A", "log-prob in B", "B − A"].map((text) => make("th", { scope: "col" }, text));
  const body = answers.map((_, place) => answerRow(answers, asked.correct[i], before, after, place));
  return make("table", { class: "answers" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

function textBlock(heading, text, value) {
  const shown = text === undefined ? make("p", { class: "soft" }, "not in this file") : make("p", { class: "said" }, text || "(nothing)");
  return make("div", { class: "side" }, make("h4", {}, heading, make("small", {}, value)), shown);
}

function generatedDetails(state, asked, answeredA, answeredB, row) {
  const accepted = asked.answers[row.index].map((text) => make("li", {}, text));
  return make(
    "div",
    {},
    make("div", { class: "sides" },
      textBlock("A: " + state.a.label, (answeredA.texts || [])[row.index], `${state.metricName} ${row.a}`),
      textBlock("B: " + state.b.label, (answeredB.texts || [])[row.index], `${state.metricName} ${row.b}`)),
    make("h4", {}, "Counts as right"),
    make("ul", { class: "accepted" }, ...accepted),
  );
}

function metricsLine(state, row) {
  const parts = state.section.metrics.map((metric, place) => {
    const [before, after] = [state.a, state.b].map((run) => run.folds[row.fold].values[place][row.index]);
    return `${metric.name.toUpperCase()} ${before} → ${after}`;
  });
  return make("p", { class: "soft" }, `${parts.join(" · ")} · fold ${row.fold} · ${row.id}`);
}

function details(state, row) {
  const asked = state.section.folds[row.fold];
  const [answeredA, answeredB] = [state.a, state.b].map((run) => run.folds[row.fold]);
  const cell = make("td", { colspan: String(COLUMNS.length) });
  if (row.shared || row.question.length > SHORT || row.question.includes("\n")) cell.append(make("p", { class: "asked" }, row.question));
  cell.append(metricsLine(state, row));
  if (!asked.answers) cell.append(make("p", { class: "soft" }, "The texts of this question are not in this file."));
  else if (asked.correct) cell.append(make("div", { class: "wide" }, scoredDetails(asked, answeredA, answeredB, row.index)));
  else cell.append(generatedDetails(state, asked, answeredA, answeredB, row));
  return make("tr", { class: "details", id: `details-${row.number}` }, cell);
}

/* ---- The table. ---- */

function toggleDetails(state, row, line, button) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) line.nextElementSibling.remove();
  else line.after(details(state, row));
}

/* Returns whether a click ended the marking of a text, to copy it: then the row is to stay as it is. */
function marksText(line, click) {
  const marked = window.getSelection();
  return click.detail > 0 && !marked.isCollapsed && line.contains(marked.anchorNode);
}

function tableRow(state, row) {
  const button = make("button", { type: "button", class: "open", "aria-expanded": "false", "aria-controls": `details-${row.number}` },
    row.shared ? "…" + row.question.slice(row.shared) : row.question);
  const gain = state.section.metrics[state.metric].moreIsBetter ? row.change : 0;
  const kind = row.crossed > 0 ? "gained" : row.crossed < 0 ? "lost" : "";
  const line = make(
    "tr",
    { class: `question ${kind}` },
    make("td", {}, button),
    make("td", { "data-label": "Category", class: "category" }, row.category),
    make("td", { "data-label": "A" }, shortValue(row.a)),
    make("td", { "data-label": "B" }, shortValue(row.b)),
    make("td", { "data-label": "B − A", class: direction(gain) }, signed(row.change, 3).replace(/\.?0+$/, "") || "0"),
    make("td", { class: "verdict" }, make("span", { class: direction(row.crossed) }, verdict(row))),
  );
  line.onclick = (event) => {
    if (!marksText(line, event)) toggleDetails(state, row, line, button);
  };
  return line;
}

function shortValue(value) {
  return String(Number(value.toFixed(3)));
}

function verdict(row) {
  if (row.crossed) return row.crossed > 0 ? "wrong to right" : "right to wrong";
  return row.changed ? (row.change > 0 ? "more" : "less") : "unchanged";
}

function headCell(state, column, redraw) {
  const isSorted = state.sort === column.key;
  const sort = isSorted ? (state.descends ? "descending" : "ascending") : "none";
  const mark = isSorted ? (state.descends ? " ↓" : " ↑") : "";
  const click = () => {
    state.descends = isSorted ? !state.descends : column.descends;
    state.sort = column.key;
    redraw();
    document.querySelector(`#question-head [data-key="${column.key}"]`).focus();
  };
  const button = make("button", { type: "button", "data-key": column.key, onclick: click }, column.label + mark);
  return make("th", { scope: "col", "aria-sort": sort }, button);
}

function chosenRows(state) {
  const kind = KINDS.find((found) => found.key === state.kind);
  const words = state.search.trim().toLowerCase();
  const kept = state.rows.filter(
    (row) => kind.holds(row) && (!state.category || row.category === state.category) && (!words || haystack(state, row).includes(words)),
  );
  return sortRows(kept, COLUMNS.find((column) => column.key === state.sort) || CLEAREST, state.descends);
}

function drawTable(state) {
  const rows = chosenRows(state);
  const redraw = () => drawTable(state);
  document.getElementById("question-head").replaceChildren(make("tr", {}, ...COLUMNS.map((column) => headCell(state, column, redraw))));
  const body = document.getElementById("question-rows");
  body.replaceChildren(...rows.slice(0, PAGE_ROWS).map((row) => tableRow(state, row)));
  if (!rows.length) {
    body.append(make("tr", {}, make("td", { colspan: String(COLUMNS.length), class: "soft" }, "No question is like this.")));
  }
  document.getElementById("question-count").textContent = 
    `${rows.length} of ${state.rows.length} questions` + (state.sort === CLEAREST.key ? ", the clearest changes first" : "");
  offerMore(state, rows);
}

function offerMore(state, rows) {
  const more = document.getElementById("question-more");
  const body = document.getElementById("question-rows");
  let shown = Math.min(rows.length, PAGE_ROWS);
  const label = () => {
    more.hidden = shown >= rows.length;
    more.textContent = `Show ${Math.min(PAGE_ROWS, rows.length - shown)} more of ${rows.length - shown}`;
  };
  more.onclick = () => {
    body.append(...rows.slice(shown, shown + PAGE_ROWS).map((row) => tableRow(state, row)));
    shown = Math.min(rows.length, shown + PAGE_ROWS);
    label();
  };
  label();
}

/* ---- What is chosen above the table. ---- */

function fillSelect(id, entries, chosen) {
  const options = entries.map(({ value, label }) => make("option", { value: String(value), selected: value === chosen }, label));
  document.getElementById(id).replaceChildren(...options);
}

function drawKinds(state) {
  const border = state.section.metrics[state.metric].rightAbove;
  const kinds = KINDS.filter((kind) => border !== null || !["gained", "lost"].includes(kind.key));
  if (!kinds.some((kind) => kind.key === state.kind)) state.kind = "changed";
  const choose = (key) => () => {
    showKind(state, key);
    document.querySelector(`#question-kinds [data-kind="${key}"]`).focus();
  };
  const buttons = kinds.map((kind) =>
    make("button", { type: "button", "data-kind": kind.key, "aria-pressed": String(state.kind === kind.key), onclick: choose(kind.key) },
      make("b", {}, state.rows.filter(kind.holds).length), " " + kind.label),
  );
  document.getElementById("question-kinds").replaceChildren(...buttons);
}

function showKind(state, key) {
  state.kind = key;
  drawKinds(state);
  drawTable(state);
}

function describeRule(state) {
  const border = state.section.metrics[state.metric].rightAbove;
  const right = border === null
    ? `${state.metricName} has no border between right and wrong, so values only rise or fall.`
    : `A question counts as right where its ${state.metricName} is above ${border}, the middle of the scale.`;
  document.getElementById("question-rule").textContent = `${right} It is unchanged where the value moved by less than ${state.leastChange}.`;
}

function allCategories(number) {
  if (!number) return "no categories";
  return number === 1 ? "the only category" : `all ${number} categories`;
}

function refresh(state) {
  state.metricName = state.section.metrics[state.metric].name.toUpperCase();
  state.rows = pairRows(state.section, state.a, state.b, state.metric, state.leastChange);
  const names = [...new Set(state.rows.map((row) => row.category))].filter(Boolean).sort(compareTexts);
  if (!names.includes(state.category)) state.category = "";
  const all = { value: "", label: allCategories(names.length) };
  fillSelect("question-category", [all, ...names.map((name) => ({ value: name, label: name }))], state.category);
  document.getElementById("question-category").disabled = names.length < 2;
  describeRule(state);
  drawKinds(state);
  drawTable(state);
}

/* Returns the best run of another row: of those that share most folds with A, the one with the best mean. */
function bestOther(section, a) {
  const shares = (run) => sharedFolds(a, run).length;
  const others = section.runs.filter((run) => run !== a && shares(run));
  const byRank = (x, y) => Number(x.row === a.row) - Number(y.row === a.row) || shares(y) - shares(x) || y.merit - x.merit;
  return others.sort(byRank)[0] || a;
}

function offerPair(state) {
  const { runs } = state.section;
  const folds = (run) => Object.keys(run.folds);
  const label = (run) => `${run.label} (fold${folds(run).length > 1 ? "s" : ""} ${folds(run).join(", ")})`;
  const entries = runs.map((run, value) => ({ value, label: label(run) }));
  fillSelect("question-a", entries, runs.indexOf(state.a));
  fillSelect("question-b", entries.filter(({ value }) => sharedFolds(state.a, runs[value]).length), runs.indexOf(state.b));
}

function takeSection(state, section) {
  state.section = section;
  state.metric = 0;
  [state.a] = section.runs;
  state.b = bestOther(section, state.a);
  fillSelect("question-metric", section.metrics.map((metric, value) => ({ value, label: metric.name.toUpperCase() })), 0);
  offerPair(state);
  refresh(state);
  if (!state.rows.some((row) => row.changed)) showKind(state, "all");
}

function takeRun(state, side, run) {
  state[side] = run;
  if (!sharedFolds(state.a, state.b).length) state.b = bestOther(state.section, state.a);
  offerPair(state);
  refresh(state);
}

function listen(state, data) {
  const on = (id, event, act) => document.getElementById(id).addEventListener(event, ({ target }) => act(target.value));
  on("question-section", "change", (value) => takeSection(state, data.sections[Number(value)]));
  on("question-a", "change", (value) => takeRun(state, "a", state.section.runs[Number(value)]));
  on("question-b", "change", (value) => takeRun(state, "b", state.section.runs[Number(value)]));
  on("question-metric", "change", (value) => {
    state.metric = Number(value);
    refresh(state);
  });
  on("question-category", "change", (value) => {
    state.category = value;
    drawTable(state);
  });
  on("question-search", "input", (value) => {
    state.search = value;
    drawTable(state);
  });
  document.getElementById("question-swap").addEventListener("click", () => {
    [state.a, state.b] = [state.b, state.a];
    offerPair(state);
    refresh(state);
  });
}

function startQuestions() {
  const holder = document.getElementById("question-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const state = { leastChange: data.leastChange, kind: "changed", category: "", search: "", sort: CLEAREST.key, descends: true };
  fillSelect("question-section", data.sections.map((section, value) => ({ value, label: section.name })), 0);
  document.getElementById("question-section").parentElement.hidden = data.sections.length < 2;
  listen(state, data);
  takeSection(state, data.sections[0]);
  document.getElementById("question-page").hidden = false;
}

startViews();
startQuestions();
