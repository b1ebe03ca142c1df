"use strict";

// The page for clerical review. Names are set as text and never as HTML; nothing is stored in the browser but the name
// that this tab has given itself, by which the server keeps its question from others.

const element = (id) => document.getElementById(id);
const screenName = sessionStorage.screenName || (sessionStorage.screenName = uuid());
const runId = new URLSearchParams(location.search).get("run_id");
const FIELDS = [["first_name", "First name"], ["last_name", "Last name"], ["address", "Address"]];
const WIDEST = 5; // log-odds that fill half a bar
const WAITS = [1, 2, 4, 8, 15]; // seconds before a request is tried again

let question = null; // what is on the screen
let busy = false; // between an answer and the next question
let newcomers = []; // who came while the question waited, and is on the screen with it
let choosing = null; // the question for which somebody else is looked up

function uuid() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What goes to the server and comes back ---------------------------------------------------------------------------

class Refused extends Error {}

async function request(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Dedupe-People": "1" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, { ...options, cache: "no-store", credentials: "same-origin" });
  if (response.ok) return response.json();
  const said = await response.json().then((json) => json.detail, () => null);
  const text = typeof said === "string" ? said : `The server answers ${response.status}.`;
  if (response.status === 401) throw new Refused("You are logged out. Reload Airflow's page and log in; nothing that you have answered is lost.");
  if (response.status >= 500) throw new Error(text);
  throw new Refused(text);
}

// Tries until the server answers: what was sent is stored once, however often it arrives.
async function insist(path, body) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await request(path, body);
      trouble(null);
      return answer;
    } catch (error) {
      if (error instanceof Refused) throw error;
      const seconds = WAITS[Math.min(tries, WAITS.length - 1)];
      const text = error instanceof TypeError ? "The server does not answer." : error.message;
      trouble(`${text} Trying again every few seconds; until this goes away, your last step is not stored.`);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}

function wanted() {
  const filter = new FormData(element("filter"));
  return {
    screen: screenName,
    run_id: runId,
    batch_id: filter.get("batch_id") || null,
    reason: filter.get("reason") || null,
    text: filter.get("text") || null,
  };
}

function about(asked) {
  return { ...wanted(), of_batch: asked.batch_id, record_key: asked.record_key };
}

function trouble(text) {
  element("trouble").hidden = !text;
  element("trouble").textContent = text || "";
}

function told(text) {
  element("told").textContent = text;
}

// One step at a time: what is pressed while the server has not answered yet is not meant for the next question.
async function step(work) {
  if (busy) return;
  busy = true;
  enable();
  try {
    await work();
  } catch (error) {
    trouble(error.message);
  } finally {
    busy = false;
    enable();
  }
}

// Verdicts ---------------------------------------------------------------------------------------------------------

const VERDICTS = {
  same: () => question.candidate && answer(question, question.candidate.person_id),
  new: () => answer(question, null, newcomers),
  "runner-up": () => question.runner_up && answer(question, question.runner_up.person_id),
  other: () => { choosing = question; lookUp(question.record); },
  skip: () => step(async () => {
    const next = await insist("skip", about(question));
    told("Skipped; it comes again at the end.");
    show(next);
  }),
  undo: () => step(async () => {
    const back = await insist("undo", wanted());
    if (!back.question) { told("There is no answer of yours to take back."); return; }
    told("Taken back. The question is open again.");
    show(back);
  }),
};

// Somebody new may be none of those in `seen`; of questions among them, those in `together` are about the same one.
function answer(asked, personId, seen = [], together = []) {
  return step(async () => {
    const whom = seen.map(({ person_id, question_id }) => ({ person_id, question_id }));
    const next = await insist("answer", { ...about(asked), person_id: personId, seen: whom, together });
    if (!next.answer) {
      showNewcomers([...seen, ...next.newcomers]);
      return;
    }
    choosing = null;
    const said = inWords(next.answer, asked.own_person_id !== null);
    told(next.ours ? `Answered: ${said}.` : `${next.answer.judged_by || "Somebody"} has answered meanwhile: ${said}. Nothing was changed${next.dissent ? "; it is noted that you disagree" : ""}.`);
    location.hash = "questions";
    show(next);
  });
}

function inWords(answered, pair) {
  return answered.person_id === null ? (pair ? "two people" : "somebody new") : `person ${answered.person_id}`;
}

function enable() {
  for (const button of element("verdicts").querySelectorAll("button")) {
    const needs = { same: question && question.candidate, "runner-up": question && question.runner_up, undo: true };
    const can = button.dataset.do in needs ? needs[button.dataset.do] : question;
    // Not `disabled` while busy: a button that is disabled loses the focus.
    button.disabled = !can;
    button.setAttribute("aria-disabled", String(busy || !can));
  }
}

// Questions --------------------------------------------------------------------------------------------------------

const load = () => step(async () => show(await insist("next", wanted())));

function show(next) {
  question = next.question;
  if (next.user) element("who").textContent = `Reviewing as ${next.user}`;
  showProgress(next.progress);
  newcomers = [];
  element("newcomers").hidden = true;
  element("newcomers").querySelector("ol").replaceChildren();
  element("verdicts").hidden = false;
  element("question").hidden = !question;
  element("nothing").hidden = Boolean(question);
  if (question) showQuestion();
  else showNothing(next.progress);
}

function showProgress(progress) {
  const { open, open_in_all: all, answered_today: answered } = progress;
  const left = open === all ? `${open} open` : `${open} open of ${all}`;
  element("counts").textContent = `${left} · ${answered} answered by you today`;
  element("model-asks").hidden = !progress.model_asks;
  element("done").max = Math.max(1, answered + open);
  element("done").value = answered;
  const batches = progress.batches.map((batch) => [batch.batch_id, `${fileName(batch.source)}, ${day(batch.loaded_at)} (${batch.open})`]);
  options("batch_id", batches);
  options("reason", Object.entries(progress.reasons).map(([reason, count]) => [reason, `${reason.replaceAll("_", " ").toLowerCase()} (${count})`]));
  const filters = ["batch_id", "reason", "text"].filter((name) => element("filter").elements[name].value);
  element("filtered").textContent = (runId ? " · this run's batch" : "") + (filters.length ? ` · ${filters.length} set` : "");
}

function options(name, entries) {
  const select = element("filter").elements[name];
  const chosen = select.value;
  const known = entries.some(([value]) => value === chosen);
  const all = [["", "all"], ...entries, ...(chosen && !known ? [[chosen, "all answered"]] : [])];
  select.replaceChildren(...all.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
  select.value = chosen;
}

function showQuestion() {
  const { candidate, compared, record } = question;
  const pair = question.own_person_id !== null; // two people of the table, of whom a sweep asks
  element("side-record").textContent = pair ? `Person ${question.own_person_id}` : "Arrived";
  element("side-person").textContent = pair && candidate ? `Person ${candidate.person_id}` : "Known";
  element("new-words").textContent = pair ? "Two people" : "Somebody new";
  element("asked").textContent = candidate ? "Is this the same person?" : "Who is this?";
  const said = question.said.map((one) => `${one.judged_by}: ${one.is_match ? "the same person" : "somebody else"} (${day(one.judged_at)})`);
  element("why").textContent = question.why + (said.length ? ` Said before: ${said.join("; ")}.` : "");
  const known = candidate ? candidate.spellings[0] : compared;
  const rows = FIELDS.map(([field, name]) => {
    const row = make("tr");
    const head = make("th", name);
    head.scope = "row";
    row.append(head, text("td", record[field]), text("td", known && known[field]));
    return row;
  });
  const origin = make("tr", null, "origin");
  const from = make("th", "From");
  from.scope = "row";
  const key = question.source_key ? `, key ${question.source_key}` : "";
  const arrived = make("td", pair ? `found by a sweep, ${day(question.loaded_at)} · ` : `${fileName(question.source)}${key}, ${day(question.loaded_at)}`);
  if (pair) arrived.append(personLink(question.own_person_id));
  origin.append(from, arrived);
  const waits = compared ? "another record that waits" : "Nobody known comes near.";
  const cell = make("td", candidate ? `${fileName(known.source)}, ${day(known.seen_at)} · ` : waits);
  if (candidate) cell.append(personLink(candidate.person_id));
  origin.append(cell);
  element("sides").tBodies[0].replaceChildren(...rows, origin);
  showTerms(element("terms"), candidate, compared);
  const others = candidate ? candidate.spellings.slice(1) : [];
  element("spellings").hidden = !others.length;
  element("spellings").querySelector("ul").replaceChildren(...others.map((spelling) => personLine(spelling, `${fileName(spelling.source)}, ${day(spelling.seen_at)}`)));
  element("beside").hidden = !question.others.length;
  element("beside").querySelector("ul").replaceChildren(...question.others.map((other) => personLine(other, `${fileName(other.source)}, ${day(other.seen_at)}`)));
  const second = question.runner_up;
  element("runner-up").hidden = !second;
  element("runner-up").querySelector("ul").replaceChildren(...(second ? [personLine(second.spellings[0], `scores ${percent(second.score)}`, second.person_id)] : []));
  focusOn("asked");
}

function showNewcomers(came) {
  newcomers = came;
  told("Nothing is stored yet: others came meanwhile.");
  element("newcomers-text").textContent = "They are as much like this record as a duplicate. Choose one, or Somebody new again if it is none of them.";
  element("newcomers").querySelector("ol").replaceChildren(...came.map((newcomer, place) => foundPerson(newcomer, place,
    newcomer.question_id === null
      ? ["It is this one", () => answer(question, newcomer.person_id)]
      : ["The same new person", () => answer(question, null, newcomers, [newcomer.question_id])])));
  element("newcomers").hidden = false;
  element("newcomers-title").focus();
  element("newcomers").scrollIntoView({ block: "start" });
}

function showTerms(box, candidate, compared) {
  box.hidden = !candidate || !candidate.terms.length;
  if (box.hidden) return;
  const list = box.querySelector("ul");
  list.replaceChildren(...candidate.terms.map(termLine));
  const last = make("li", `Together: ${percent(candidate.score)} likely the same person.`, "score");
  if (compared) last.append(make("span", ` Compared with another spelling: ${plain(compared)}.`));
  list.append(last);
}

function termLine(term) {
  const line = make("li", null, "term");
  const words = make("span", `${term.name} `);
  words.append(make("span", term.found, "found"));
  const odds = make("span", `${term.log_odds < 0 ? "−" : "+"}${Math.abs(term.log_odds).toFixed(1)}`, "odds");
  const track = make("span", null, "track");
  track.setAttribute("aria-hidden", "true");
  const bar = make("i", null, term.log_odds < 0 ? "against" : "");
  bar.style.width = `${50 * Math.min(1, Math.abs(term.log_odds) / WIDEST)}%`;
  track.append(bar);
  line.append(words, odds, track);
  return line;
}

function showNothing(progress) {
  const filtered = progress.open_in_all > 0 || runId;
  element("nothing-title").textContent = progress.open ? "All others are on somebody's screen" : "Nothing to review";
  element("nothing-text").textContent = progress.open
    ? `${progress.open} open questions are just being answered by others. They come back after some minutes if they are not.`
    : filtered ? `No open question ${runId ? "of this run" : "fits the filter"}. ${progress.open_in_all} are open in all.`
      : "Every question is answered. The next run may bring new ones.";
  focusOn("nothing-title");
}

// Looking somebody up ----------------------------------------------------------------------------------------------

function lookUp(record) {
  const form = element("sought").elements;
  for (const [field] of FIELDS) form[field].value = record ? plainField(record[field]) : "";
  location.hash = "find";
  if (record) search();
}

async function search() {
  const form = new FormData(element("sought"));
  element("found-none").textContent = "Looking …";
  element("found").replaceChildren();
  try {
    const { people } = await request("find", Object.fromEntries(form));
    element("found-none").textContent = people.length > 1 ? `${people.length} people, the nearest first` : people.length ? "1 person" : "Nobody comes near.";
    element("found").replaceChildren(...people.map((person, place) => foundPerson(person, place,
      choosing && ["It is this one", () => answer(choosing, person.person_id)])));
    trouble(null);
  } catch (error) {
    element("found-none").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  }
}

// `choice`: the words of a button and what it does; there is none if there is nothing to choose.
function foundPerson(person, place, choice) {
  const item = make("li");
  const who = make("div");
  const [first, ...others] = person.spellings;
  const line = personLine(first, "", person.person_id);
  const name = make("div", null, "big");
  name.append(...line.childNodes);
  who.append(name, ...(others.length ? [make("span", "also known as", "small")] : []), ...others.map((spelling) => personLine(spelling, "", null, "div")));
  if (person.household) who.append(make("p", "Lives there too, but is another one by the first name or the generation.", "small"));
  const terms = make("ul", null, "terms");
  terms.append(...person.terms.map(termLine), make("li", `Together: ${percent(person.score)} likely the same person.`, "score"));
  item.append(who, terms);
  if (person.question_id) who.append(make("p", "Waits for an answer too: another question.", "small"));
  if (choice) {
    const [words, choose] = choice;
    const button = make("button");
    button.type = "button";
    if (place < 9) button.append(make("kbd", String(place + 1)), " ");
    button.append(words);
    button.addEventListener("click", choose);
    item.append(button);
  }
  return item;
}

// One person -------------------------------------------------------------------------------------------------------

async function showPerson(id) {
  element("person-title").textContent = `Person ${id}`;
  sure(null);
  for (const part of ["spellings", "rows", "decisions", "judgements"]) element(`person-${part}`).replaceChildren();
  try {
    const person = await request(`people/${encodeURIComponent(id)}`);
    element("person-title").textContent = `Person ${person.person_id}`;
    const written = (row) => FIELDS.some(([field]) => row[field])
      ? FIELDS.map(([field]) => row[field] || "") : ["removed after its time", "", ""];
    fill("person-spellings", ["First name", "Last name", "Address", "From", "Since"], person.spellings.map((row) =>
      [...written(row), row.source ? fileName(row.source) : "in the table before", day(row.seen_at)]));
    shownPerson = person;
    element("person-marked").hidden = !person.rows.length;
    fill("person-rows", ["", "First name", "Last name", "Address", "Person"], person.rows.map((row) =>
      [tick("rows", row.person_id, row), ...written(row), String(row.person_id)]));
    element("split").disabled = true;
    element("erase").hidden = !person.may_erase;
    fill("person-decisions", ["", "First name", "Last name", "Address", "Decided", "Score", "Batch"], person.decisions.map((row) =>
      [canBeSplit(row) ? tick("records", { of_batch: row.batch_id, record_key: row.record_key }, row) : "", ...written(row), `${row.decision}, ${row.reason}`.replaceAll("_", " ").toLowerCase(), row.score === null ? "" : percent(row.score), `${fileName(row.source)}, ${day(row.loaded_at)}`]));
    element("split").hidden = !element("person").querySelector("td input");
    fill("person-judgements", ["First name", "Last name", "Address", "Said to be", "By", "When"], person.judgements.map((row) =>
      [...written(row), `${row.is_match ? "this person" : "somebody else"}${row.disputed ? " (others disagree)" : ""}`, row.judged_by, day(row.judged_at)]));
    trouble(null);
  } catch (error) {
    trouble(error instanceof TypeError ? "The server does not answer." : error.message);
  }
  focusOn("person-title");
}

// What a sweep has decided about rows is told by the rows; the first spelling stays, and what waits is no part yet.
const canBeSplit = (row) => row.decision === "DUPLICATE" && row.source !== "people";

let shownPerson = null;
const ticks = new Map(); // what the boxes on the page stand for

function tick(kind, value, row) {
  const box = make("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", `Split off ${FIELDS.map(([field]) => row[field]).filter(Boolean).join(" ")}`);
  ticks.set(box, [kind, value]);
  box.addEventListener("change", () => { element("split").disabled = !ticked().length; sure(null); });
  return box;
}

const ticked = () => [...element("person").querySelectorAll("input:checked")].map((box) => ticks.get(box)).filter(Boolean);

// Asks before something is done. Airflow shows this page in a frame in which the browser's own questions do nothing.
function sure(text, words, work, typed) {
  element("sure").hidden = !text;
  if (!text) return;
  element("sure-text").textContent = text;
  element("sure-label").hidden = !typed;
  element("sure-label").firstElementChild.textContent = typed ? `Type ${typed} to confirm` : "";
  const { typed: input } = element("sure").elements;
  input.value = "";
  const button = element("sure").querySelector("[type=submit]");
  button.textContent = words;
  element("sure").onsubmit = (event) => {
    event.preventDefault();
    if (typed && input.value.trim() !== typed) { input.focus(); return; }
    sure(null);
    work();
  };
  (typed ? input : button).focus();
}

function changePerson(path, body, after) {
  return step(async () => {
    const { done } = await request(path, body);
    trouble(null);
    await after();
    told(done);
  });
}

function askToSplit() {
  const parts = { rows: [], records: [] };
  for (const [kind, value] of ticked()) parts[kind].push(value);
  const id = shownPerson.person_id;
  const count = parts.rows.length + parts.records.length;
  sure(`${count === 1 ? "What is ticked becomes" : `These ${count} become`} another person than ${id}, and the two are never taken for one again.`,
    "Split off", () => changePerson(`people/${id}/split`, parts, () => showPerson(id)));
}

function askToErase() {
  const id = shownPerson.person_id;
  sure(`Every trace of person ${id} is removed: the rows of the table, all records, answers and files. Nothing brings them back.`,
    "Erase for good", () => changePerson(`people/${id}/erase`, {}, () => {
      for (const part of ["spellings", "rows", "decisions", "judgements"]) element(`person-${part}`).replaceChildren();
      element("split").disabled = element("erase").hidden = true;
      element("person-title").textContent = `Person ${id} is erased`;
    }).then(load), String(id));
}

// A model that asks to decide -----------------------------------------------------------------------------------------

let asking = null;

async function showModel() {
  for (const part of ["results", "kinds", "examples", "answered"]) element(`model-${part}`).replaceChildren();
  element("model-asking").hidden = true;
  element("model-title").textContent = "Model";
  try {
    const { open, answered } = await request("promotions");
    asking = open;
    element("model-asking").hidden = !open;
    element("model-asks").hidden = !open;
    element("model-title").textContent = open ? `Model ${open.version} asks to decide` : "No model asks to decide";
    element("model-text").textContent = open
      ? `It was trained by run ${open.asked_by} on ${day(open.asked_at)}. Until somebody approves it, champion ${open.champion} decides.`
      : "Where promotions ask first, a model that beats the champion waits here until somebody says yes.";
    if (open) showChanges(open.changes);
    fill("model-answered", ["Model", "Trained by run", "Answer", "By", "When"], answered.map((row) =>
      [row.version, row.asked_by, row.approved ? "approved" : "rejected", row.answered_by, day(row.answered_at)]));
    trouble(null);
  } catch (error) {
    trouble(error instanceof TypeError ? "The server does not answer." : error.message);
  }
  focusOn("model-title");
}

const RESULTS = [
  ["test_log_loss", "Log-loss (less is better)", 1, 4], ["test_f1", "F1 of pairs", 1, 4],
  ["test_reinserted", "Re-inserted, %", 100, 2], ["test_dropped", "Wrongly dropped, %", 100, 2],
  ["test_reviewed", "In review, %", 100, 2],
];
const SMALL = { NEW: "new", DUPLICATE: "duplicate", REVIEW: "in review" };

function showChanges({ decisions, changed, kinds, examples, test }) {
  const shown = (row, [key, , factor, digits]) => (row && key in row ? (factor * row[key]).toFixed(digits) : "?");
  fill("model-results", ["", "Asks", "Champion"], RESULTS.map((result) =>
    [result[1], shown(test.challenger, result), shown(test.champion, result)]));
  element("model-kinds-title").textContent = `It would change ${changed} of the last ${decisions} decisions`;
  fill("model-kinds", ["From", "To", "Records"], kinds.map((kind) => [SMALL[kind.before], SMALL[kind.after], String(kind.count)]));
  fill("model-examples", ["First name", "Last name", "Address", "From", "To", "Score"], examples.map((row) =>
    [...FIELDS.map(([field]) => row[field] || ""), SMALL[row.before], SMALL[row.after], `${percent(row.score_before)} → ${percent(row.score_after)}`]));
}

function answerModel(approve) {
  return step(async () => {
    const { ours, answer: row } = await insist(`promotions/${encodeURIComponent(asking.version)}`, { approve });
    const said = row.approved ? "approved" : "rejected";
    await showModel();
    told(ours ? `Model ${row.version} is ${said}.` : `${row.answered_by} has ${said} model ${row.version} meanwhile. Nothing was changed.`);
  });
}

function fill(part, heads, rows) {
  const table = element(part);
  const head = make("tr");
  head.append(...heads.map((name) => Object.assign(make("th", name), { scope: "col" })));
  const none = Object.assign(make("td", "none"), { colSpan: heads.length });
  const lines = rows.map((row) => {
    const line = make("tr");
    line.append(...row.map((cell) => {
      if (!(cell instanceof Node)) return make("td", cell);
      const holder = make("td");
      holder.append(cell);
      return holder;
    }));
    return line;
  });
  table.replaceChildren(head, ...(lines.length ? lines : [Object.assign(make("tr"), {})]));
  if (!lines.length) table.lastChild.append(none);
}

// Pieces of a page -------------------------------------------------------------------------------------------------

function make(tag, content, className) {
  const made = document.createElement(tag);
  if (content) made.textContent = content;
  if (className) made.className = className;
  return made;
}

// A field in pieces, those that differ marked.
function text(tag, pieces) {
  const made = make(tag);
  if (!pieces || !pieces.length) made.append(make("span", "missing", "missing"));
  else made.append(...pieces.map(([piece, differs]) => (differs ? make("mark", piece) : document.createTextNode(piece))));
  return made;
}

function personLine(spelling, small, personId, tag = "li") {
  const line = make(tag);
  const words = make("span", null, "person-line");
  FIELDS.filter(([field]) => spelling[field].length).forEach(([field], place) => {
    if (place) words.append(field === "address" ? ", " : " ");
    words.append(...text("span", spelling[field]).childNodes);
  });
  line.append(words);
  if (small || personId) {
    const below = make("span", small && personId ? `${small} · ` : small, "small");
    if (personId) below.append(personLink(personId));
    line.append(below);
  }
  return line;
}

function personLink(id) {
  const link = make("a", `person ${id}`);
  link.href = `#person=${id}`;
  return link;
}

const plainField = (pieces) => pieces.map(([piece]) => piece).join("");
const plain = (fields) => FIELDS.map(([field]) => plainField(fields[field])).filter(Boolean).join(" ");
const fileName = (source) => source.split("/").pop();
const day = (time) => new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
const percent = (score) => (score === null ? "?" : score === 1 ? "100\u00a0%" : `${(100 * Math.min(score, 0.999)).toFixed(1)}\u00a0%`);

function focusOn(id) {
  element(id).focus({ preventScroll: true });
  scrollTo(0, 0);
}

// Where we are -----------------------------------------------------------------------------------------------------

function route() {
  const [place, id] = location.hash.slice(1).split("=");
  const here = ["find", "model", "person"].includes(place) ? place : "questions";
  for (const part of ["questions", "find", "model", "person"]) element(part).hidden = part !== here;
  for (const part of ["questions", "find", "model"]) {
    if (part === here) element(`to-${part}`).setAttribute("aria-current", "page");
    else element(`to-${part}`).removeAttribute("aria-current");
  }
  if (here === "questions") choosing = null;
  else told("");
  element("back").hidden = !choosing;
  if (here === "find") {
    element("find-text").textContent = choosing
      ? "Whose record is it? The nearest known people by the model that decides."
      : "The nearest known people by the model that decides. Nothing is stored.";
    if (choosing) focusOn("find-title");
    else element("sought").elements.first_name.focus();
  }
  if (here === "person") showPerson(id);
  if (here === "model") showModel();
}

function theme() {
  // Inside of Airflow's UI its theme holds, by itself that of the system.
  try {
    const outer = window.parent.document.documentElement;
    const follow = () => {
      for (const name of ["light", "dark"]) document.documentElement.classList.toggle(name, outer.classList.contains(name));
    };
    if (outer === document.documentElement) return;
    follow();
    new MutationObserver(follow).observe(outer, { attributeFilter: ["class"] });
  } catch { /* a page of another origin around us has no say */ }
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || typing || event.repeat) return;
  if (event.key === "Escape") location.hash = "questions";
  if (!element("keys").checked) return;
  const key = event.key.toLowerCase();
  const list = element("questions").hidden ? choosing && element("found") : element("newcomers");
  const button = Number(key) ? list && list.querySelectorAll("button")[Number(key) - 1]
    : !element("questions").hidden && [...element("verdicts").querySelectorAll("button")].find((each) => each.dataset.key === key);
  if (button && !button.disabled) {
    event.preventDefault();
    button.click();
  }
});
element("verdicts").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && !busy) VERDICTS[button.dataset.do]();
});
element("approve").addEventListener("click", () => answerModel(true));
element("reject").addEventListener("click", () => answerModel(false));
element("split").addEventListener("click", askToSplit);
element("erase").addEventListener("click", askToErase);
element("not-sure").addEventListener("click", () => sure(null));
element("again").addEventListener("click", load);
element("filter").addEventListener("change", load);
element("filter").addEventListener("submit", (event) => { event.preventDefault(); load(); });
element("sought").addEventListener("submit", (event) => { event.preventDefault(); search(); });
element("keys").addEventListener("change", () => document.body.classList.toggle("no-keys", !element("keys").checked));
window.addEventListener("hashchange", route);
window.addEventListener("pagehide", () => {
  fetch("release", {
    method: "POST",
    keepalive: true,
    headers: { "Content-Type": "application/json", "X-Dedupe-People": "1" },
    body: JSON.stringify(wanted()),
  }).catch(() => {});
});
theme();
route();
load();
window.focus(); // so that keys work without a click first
