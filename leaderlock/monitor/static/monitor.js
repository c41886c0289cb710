// The page of `leaderlock monitor`: follows /api/events, and shows what it tells.
//
// Names and metadata come from anybody who may write to the store. They become text nodes; nothing
// here makes markup of a string.

import { colour, draw, span } from "./timeline.js";

const TITLES = {
  split_brain: "Split brain",
  token_regressed: "Token went back",
  leaderless: "Nobody leads",
  leader_failing: "Leader is failing",
  candidate_failing: "Candidate is failing",
  store_unreachable: "Store unreachable",
};
const WINDOWS = [["2 min", 120], ["15 min", 900], ["2 h", 7200], ["24 h", 86400]];
const SILENT = 15;

const $ = (id) => document.getElementById(id);
const elections = new Map();
const cards = new Map();
const visible = new Set();
let told = null; // the last message
let heardAt = performance.now() / 1000; // by this browser's clock
let seconds = WINDOWS[1][1];
let source = null;

// The monitor's clock, as far as this page knows it.
const now = () => told.now + performance.now() / 1000 - heardAt;

function make(parent, kind, { className, text } = {}) {
  const node = document.createElement(kind);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

// Following

function connect() {
  source?.close();
  source = new EventSource("api/events");
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    showConnection(false);
    if (source.readyState === EventSource.CLOSED) retry();
  };
}

// The browser gives up where the answer is an error: that may be a login that is over.
function retry() {
  source.close();
  setTimeout(async () => {
    try {
      if ((await fetch("api/state", { method: "HEAD" })).status === 401) location.assign("login");
    } catch { /* it is not there: connect() will see */ }
    connect();
  }, 2000);
}

function take(message) {
  if (told?.monitor.id !== message.monitor.id) forgetAlarms(); // another one counts anew
  told = message;
  heardAt = performance.now() / 1000;
  if (message.whole) {
    const there = new Set(message.elections.map((election) => election.name));
    for (const name of [...elections.keys()]) if (!there.has(name)) forget(name);
  }
  for (const election of message.elections) elections.set(election.name, election);
  showConnection(true);
  showPlace();
  showAlarms();
  const alarming = new Set(message.alarms.map((alarm) => alarm.election));
  for (const election of message.elections) showElection(election);
  for (const [name, card] of cards) card.root.classList.toggle("alarming", alarming.has(name));
  sort(alarming);
  filter();
  tick();
}

function forget(name) {
  elections.delete(name);
  const card = cards.get(name);
  if (!card) return;
  watcher.unobserve(card.root);
  card.root.remove();
  cards.delete(name);
  visible.delete(name);
}

// Showing

function showConnection(isThere) {
  const pill = $("connection");
  const text = isThere ? "live" : "connection lost";
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${isThere ? "good" : "bad"}`;
  document.body.classList.toggle("old", !isThere);
  $("lost").hidden = isThere;
  if (!isThere) showLost();
}

function showLost() {
  const text = told === null
    ? "No connection to the monitor. This page tries again by itself."
    : "The connection to the monitor is lost. What is shown is old. This page tries again by itself.";
  if ($("lost").textContent !== text) $("lost").textContent = text;
}

function showPlace() {
  const { store, namespace } = told.monitor;
  $("place").textContent = `${store} · namespace ${namespace}`;
  const pill = $("store");
  const fails = told.store.error !== null;
  const text = fails ? "store does not answer" : told.store.answered_at === null ? "store: not asked yet" : "store answers";
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${fails ? "bad" : told.store.answered_at === null ? "" : "good"}`;
  pill.title = told.store.error ?? "";
}

const shownAlarms = new Map();

function forgetAlarms() {
  for (const { root } of shownAlarms.values()) root.remove();
  shownAlarms.clear();
}

function showAlarms() {
  const there = new Set(told.alarms.map((alarm) => alarm.number));
  for (const [number, shown] of shownAlarms) {
    if (!there.has(number)) { shown.root.remove(); shownAlarms.delete(number); }
  }
  for (const alarm of told.alarms) {
    let shown = shownAlarms.get(alarm.number);
    if (!shown) {
      const root = make($("present"), "div", { className: "alarm" });
      root.dataset.kind = alarm.kind;
      make(root, "strong", { text: TITLES[alarm.kind] ?? alarm.kind });
      const why = make(root, "div", { className: "why" });
      if (alarm.election !== null) { make(make(why, "b"), "bdi", { text: alarm.election }); why.append(": "); }
      shown = { root, why: make(why, "bdi"), since: make(root, "div", { className: "since" }) };
      shownAlarms.set(alarm.number, shown);
    }
    shown.raised = alarm.raised;
    if (shown.why.textContent !== alarm.why) shown.why.textContent = alarm.why;
  }
  const quiet = $("present").querySelector(".quiet");
  if (told.alarms.length) quiet?.remove();
  else if (!quiet) make($("present"), "p", { className: "quiet", text: "No alarms." });
  document.title = (told.alarms.length ? `(${told.alarms.length}) ` : "") + "leaderlock monitor";
  $("past-box").hidden = told.past_alarms.length === 0;
  $("past-box").querySelector("summary").textContent = `${told.past_alarms.length} earlier`;
  $("past").replaceChildren();
  for (const alarm of told.past_alarms) {
    const where = alarm.election === null ? "" : ` in ${alarm.election}`;
    make(make($("past"), "li"), "bdi", {
      text: `${TITLES[alarm.kind] ?? alarm.kind}${where}: ${alarm.why} (for ${span(alarm.resolved - alarm.raised)}, resolved ${span(now() - alarm.resolved)} ago)`,
    });
  }
}

function cardOf(name) {
  let card = cards.get(name);
  if (card) return card;
  const root = make($("elections"), "article", { className: "election" });
  root.dataset.election = name;
  const left = make(root, "div");
  make(make(left, "h3"), "bdi", { text: name });
  const leader = make(left, "p", { className: "leader" });
  const facts = make(left, "p", { className: "facts" });
  const chips = make(left, "ul", { className: "chips" });
  const timeline = make(root, "div", { className: "timeline" });
  const details = make(root, "details");
  make(details, "summary", { text: "Terms and beliefs" });
  const body = make(details, "div");
  details.addEventListener("toggle", () => showDetails(card));
  card = { name, root, leader, facts, chips, timeline, details, body };
  cards.set(name, card);
  watcher.observe(root);
  return card;
}

function showElection(election) {
  const card = cardOf(election.name);
  const leader = election.leader;
  const name = leader ? leader.candidate : election.known ? "nobody leads" : "not known yet";
  card.leader.className = `leader ${leader ? colour(leader.candidate) : election.known ? "nobody" : "unknown"}`;
  if (card.leader.textContent !== name) {
    card.leader.replaceChildren();
    make(card.leader, "bdi", { text: name });
  }
  card.chips.replaceChildren();
  for (const [key, value] of Object.entries(leader?.metadata ?? {}).slice(0, 12)) {
    const chip = make(card.chips, "li");
    make(make(chip, "b"), "bdi", { text: key.slice(0, 60) });
    chip.append(" ");
    const text = typeof value === "string" ? value : JSON.stringify(value);
    make(chip, "bdi", { text: text.length > 120 ? `${text.slice(0, 120)}…` : text });
  }
  showDetails(card);
}

function showDetails(card) {
  if (!card.details.open) { card.body.replaceChildren(); return; }
  const election = elections.get(card.name);
  const ago = (at) => (at === null ? "" : `${span(now() - at)} ago`);
  const rows = [...election.terms].reverse().map((term) => [
    term.candidate, term.token, term.whole ? ago(term.began) : `before ${ago(term.began)}`,
    term.ended === null ? "leads" : ago(term.ended), term.reason ?? "",
  ]);
  card.body.replaceChildren();
  table(card.body, ["Term of", "Token", "Began", "Ended", "Why"], rows);
  const believed = [...election.beliefs].reverse().map((belief) => [
    belief.candidate, belief.token, belief.node, ago(belief.since),
    belief.open ? "believes" : belief.silent ? "node is silent" : belief.over, belief.problem,
  ]);
  if (believed.length) table(card.body, ["Belief of", "Token", "Node", "Since", "State", "Problem"], believed);
}

function table(parent, heads, rows) {
  const root = make(parent, "table");
  const head = make(make(root, "thead"), "tr");
  for (const text of heads) make(head, "th", { text }).scope = "col";
  const body = make(root, "tbody");
  for (const row of rows) {
    const line = make(body, "tr");
    row.forEach((text, column) => make(make(line, "td"), column === 1 ? "code" : "bdi", { text: text ?? "" }));
  }
}

function sort(alarming) {
  const order = (name) => (alarming.has(name) ? 0 : 1);
  const sorted = [...cards.values()].sort((a, b) => order(a.name) - order(b.name) || a.name.localeCompare(b.name));
  sorted.forEach((card, place) => {
    const present = $("elections").children[place];
    if (present !== card.root) $("elections").insertBefore(card.root, present);
  });
}

function filter() {
  const wanted = $("search").value.trim().toLowerCase();
  let led = 0, shown = 0;
  for (const [name, card] of cards) {
    const { leader } = elections.get(name);
    led += leader !== null;
    const text = `${name}\n${leader?.candidate ?? ""}`.toLowerCase();
    card.root.hidden = !text.includes(wanted);
    shown += !card.root.hidden;
  }
  const more = told.left_out ? `, ${told.left_out} more not watched` : "";
  $("summary").textContent =
    `${cards.size} watched, ${led} led${more}; ${told.nodes} ${told.nodes === 1 ? "node reports" : "nodes report"}`;
  $("empty").hidden = shown > 0;
  $("empty").textContent = cards.size
    ? "No election of that name."
    : "No elections yet. They appear here by themselves when somebody contends.";
}

// What moves on by itself: ages, and the timelines that can be seen.
function tick() {
  if (told === null) return;
  for (const shown of shownAlarms.values()) shown.since.textContent = `for ${span(now() - shown.raised)}`;
  for (const name of visible) {
    const card = cards.get(name), election = elections.get(name);
    if (!card || card.root.hidden) continue;
    card.facts.textContent = factsOf(election);
    draw(card.timeline, election, { now: now(), seconds, outages: told.store.outages });
  }
  if (performance.now() / 1000 - heardAt > SILENT) { showConnection(false); heardAt += SILENT; connect(); }
}

function lasted(seconds, isExact) {
  if (seconds < 1) return isExact ? "since just now" : "since before this monitor";
  return `for ${isExact ? "" : "more than "}${span(seconds)}`;
}

function factsOf(election) {
  const leader = election.leader;
  const doubt = election.failing ?? told.store.error;
  const facts = [];
  if (leader) {
    facts.push(`token ${leader.value}`, `epoch ${leader.epoch}`);
    if (leader.since !== null) facts.push(lasted(now() - leader.since, leader.since_is_exact));
  } else if (election.gone_at !== null) {
    facts.push(lasted(now() - election.gone_at, true));
  }
  if (doubt) facts.push("as last seen: the store does not answer");
  return facts.join(" · ");
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.dataset.election);
    else visible.delete(target.dataset.election);
  }
  tick();
}, { rootMargin: "200px" });

for (const [text, value] of WINDOWS) {
  const button = make($("window"), "button", { text });
  button.type = "button";
  button.setAttribute("aria-pressed", String(value === seconds));
  button.addEventListener("click", () => {
    seconds = value;
    for (const each of $("window").querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
    tick();
  });
}
$("search").addEventListener("input", () => told && filter());
window.addEventListener("resize", tick);
setInterval(tick, 1000);
connect();
