// What there is to show: the data of the page, and which of it has a row.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const GAP_US_MIN = 500_000;

// What the reader has chosen. Everything drawn follows from this and the data.
const chosen = { document: 0, everything: data.violation === null, event: null, height: 22 };

// The first place in a sorted list whose value is not below.
function lowerBound(list, value, of = (item) => item) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(list[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function eventAt(index) {
  const event = data.events[lowerBound(data.events, index, (event) => event.i)];
  return event && event.i === index ? event : null;
}

// The version that a lane has after an event, or before it.
function versionAt(lane, index, { before = false } = {}) {
  const document = data.documents[chosen.document];
  if (!document) return null;
  const place = lowerBound(document.lanes[lane], before ? index : index + 1, (holding) => holding[0]) - 1;
  const version = place < 0 ? null : document.lanes[lane][place][1];
  return version === null ? null : document.versions[version];
}

function stateAt(lane, index) {
  const lasting = (it) => it.kind !== "fault" && it.lanes.includes(lane) && it.from <= index && (it.to === null || index < it.to);
  const stretch = data.stretches.find(lasting);
  return stretch ? stretch.says : "";
}

// The arrows of each message, several if it arrived more than once.
const arrowsOf = new Map();
for (const [message, from, to, sent, delivered, abnormal] of data.arrows) {
  if (!arrowsOf.has(message)) arrowsOf.set(message, []);
  arrowsOf.get(message).push({ message, from, to, sent, delivered, abnormal });
}
const arrows = [...arrowsOf.values()].flat();
const arrowByEvent = new Map();
for (const arrow of arrows) {
  if (!arrowByEvent.has(arrow.sent)) arrowByEvent.set(arrow.sent, arrow);
  if (arrow.delivered !== null) arrowByEvent.set(arrow.delivered, arrow);
}

function sliceShown() {
  const document = data.documents[chosen.document];
  const ofViolation = chosen.document === 0 && data.violation !== null;
  return ofViolation || !document ? data.slice : document.slice;
}

// The rows, and everything that has a place in them. Made anew when another document or more events are chosen.
let view = null;

function layOut() {
  const slice = sliceShown();
  const main = new Set(slice ?? []);
  const shown = chosen.everything || !slice ? data.events : data.events.filter((event) => main.has(event.i));
  const rows = [];
  const rowOf = new Map();
  shown.forEach((event, place) => {
    const idle = place === 0 ? 0 : event.at - shown[place - 1].at;
    if (idle >= GAP_US_MIN) rows.push({ gap: idle });
    rowOf.set(event.i, rows.length);
    rows.push({ event, first: place === 0 || idle > 0, aside: slice !== null && !main.has(event.i) });
  });
  // The row at which something begins that happened at an event without a row.
  const edge = (index) => {
    const place = lowerBound(shown, index, (event) => event.i);
    return place < shown.length ? rowOf.get(shown[place].i) : rows.length;
  };
  const stretches = data.stretches.map((it) => ({ ...it, start: edge(it.from), end: it.to === null ? rows.length : edge(it.to) }));
  view = { rows, rowOf, shown, main, edge, arrows: arrowsInView(rowOf, main), ribbons: ribbons(edge, rows.length) };
  view.stretches = stretches.filter((it) => it.start < it.end);
  view.tracks = tracks(view.stretches.filter((it) => it.kind === "fault"));
}

function arrowsInView(rowOf, main) {
  const inView = arrows.filter((it) => rowOf.has(it.sent) && (it.delivered === null || rowOf.has(it.delivered)));
  return inView.map((it) => ({
    ...it,
    start: rowOf.get(it.sent),
    end: it.delivered === null ? null : rowOf.get(it.delivered),
    aside: main.size > 0 && !main.has(it.sent),
  }));
}

function ribbons(edge, end) {
  const document = data.documents[chosen.document];
  if (!document) return [];
  return document.lanes.map((holdings) => holdings.map(([since, version], place) => ({
    start: edge(since),
    end: place + 1 < holdings.length ? edge(holdings[place + 1][0]) : end,
    version: version === null ? null : document.versions[version],
  })).filter((it) => it.version !== null && it.start < it.end));
}

// Bars of faults that overlap go beside each other, at most this many; more share the last place.
const TRACKS_MAX = 6;

function tracks(faults) {
  const ends = [];
  for (const fault of faults) {
    let track = ends.findIndex((end) => end <= fault.start);
    if (track < 0) track = Math.min(ends.length, TRACKS_MAX - 1);
    ends[track] = Math.max(fault.end, ends[track] ?? 0);
    fault.track = track;
  }
  return ends.length;
}

const seconds = (at) => (at / 1e6).toFixed(3);

function duration(us) {
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${Math.round(us / 1000)} ms`;
  if (us < 120e6) return `${(us / 1e6).toFixed(1)} s`;
  return `${Math.round(us / 60e6)} min`;
}
