// The picture of one election. What candidates are called is text, and never markup.

const SVG = "http://www.w3.org/2000/svg";
const TERM = 24, BELIEF = 7, GAP = 4, AXIS = 18, MOST_LANES = 4;
let drawn = 0; // a pattern has a name of its own on the page

export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return "just now";
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

export function colour(name) {
  let hash = 2166136261;
  for (const letter of name) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619) >>> 0;
  return `c${((hash ^ (hash >>> 15)) >>> 0) % 8}`; // without >>> 0, half of them are negative
}

function make(parent, kind, attributes, text) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

// Which lane each belief is drawn in: those that overlap get different ones.
function lanes(beliefs, now) {
  const ends = [];
  return beliefs
    .map((belief) => ({ ...belief, end: belief.open ? now : belief.until }))
    .filter((belief) => belief.since !== null && belief.end !== null && belief.end > belief.since)
    .sort((a, b) => a.since - b.since)
    .map((belief) => {
      let lane = ends.findIndex((end) => end <= belief.since);
      if (lane < 0) lane = Math.min(ends.length, MOST_LANES - 1);
      ends[lane] = belief.end;
      return { ...belief, lane };
    });
}

export function draw(host, election, { now, seconds, outages }) {
  const width = Math.max(240, host.clientWidth);
  const believed = lanes(election.beliefs, now);
  const count = believed.length ? Math.max(...believed.map((each) => each.lane)) + 1 : 0;
  const below = TERM + GAP + count * (BELIEF + 2);
  const height = below + AXIS;
  const x = (at) => ((at - now) / seconds + 1) * width;
  const clip = (from, to) => [Math.max(0, x(from)), Math.min(width, x(to))];

  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.setAttribute("role", "img");
  const recent = election.terms.filter((term) => (term.ended ?? now) > now - seconds);
  svg.setAttribute("aria-label", `${recent.length} terms in the last ${span(seconds)}`);
  const hatch = make(make(svg, "defs", {}), "pattern", {
    id: `hatch-${++drawn}`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  make(hatch, "rect", { class: "axis", width: 2, height: 7 });

  make(svg, "rect", { class: "track", width, height: TERM, rx: 5 });
  for (const part of [1 / 3, 2 / 3]) {
    make(svg, "line", { class: "tick", x1: width * part, x2: width * part, y1: 0, y2: below });
    make(svg, "text", { class: "axis", x: width * part, y: height - 5, "text-anchor": "middle" },
      `${span(Math.round(seconds * (1 - part)))} ago`);
  }
  make(svg, "text", { class: "axis", x: 0, y: height - 5 }, `${span(seconds)} ago`);
  make(svg, "text", { class: "axis", x: width, y: height - 5, "text-anchor": "end" }, "now");

  for (const term of recent) {
    const [left, right] = clip(term.began, term.ended ?? now);
    if (right < left) continue;
    const box = make(svg, "svg", { x: left, y: 0, width: Math.max(1.5, right - left - 1), height: TERM, "data-candidate": term.candidate });
    make(box, "rect", { class: colour(term.candidate), width: "100%", height: TERM, rx: 4 });
    if (right - left > 34) make(box, "text", { x: 8, y: 16 }, term.candidate);
    const lasted = span((term.ended ?? now) - term.began);
    make(box, "title", {}, `${term.candidate}, token ${term.token}, ${term.whole ? "" : "more than "}${lasted}` +
      (term.ended === null ? "" : `, ended ${span(now - term.ended)} ago${term.reason ? `: ${term.reason}` : ""}`));
  }
  if (election.overlap) {
    const [left, right] = clip(election.overlap.since, election.overlap.until);
    if (right > left) {
      make(svg, "rect", { class: "overlap", x: left, y: TERM + 1, width: Math.max(2, right - left), height: below - TERM, rx: 2 });
    }
  }
  for (const belief of believed) {
    const [left, right] = clip(belief.since, belief.end);
    if (right <= left) continue;
    const bar = make(svg, "rect", {
      class: `belief ${colour(belief.candidate)}`, x: left, y: TERM + GAP + belief.lane * (BELIEF + 2),
      width: Math.max(1.5, right - left), height: BELIEF, rx: 2,
    });
    make(bar, "title", {}, `${belief.candidate} believes to lead under token ${belief.token}, says ${belief.node}`);
  }
  for (const outage of outages) {
    const [left, right] = clip(outage.began, outage.ended ?? now);
    if (right > left) make(svg, "rect", { fill: `url(#hatch-${drawn})`, class: "outage", x: left, y: 0, width: right - left, height: TERM });
  }
  host.replaceChildren(svg);
}
