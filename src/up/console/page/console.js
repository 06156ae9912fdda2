// The console's script: takes one view after the other and shows it. No library, no build; text is only ever set as text.
"use strict";

const byId = (id) => document.getElementById(id);
const show = (id, text) => { byId(id).textContent = text; };
const SVG = "http://www.w3.org/2000/svg";
const HISTORY = 240; // Views, at about two a second: two minutes.
const HISTORY_SHOWN_MIN = 60;
const history = [];

const ms = (value) => (value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);
const usd = (value) => `$${value.toFixed(value < 1 ? 5 : 2)}`;
const rate = ({ traffic }, wanted) => Object.entries(traffic.answered_per_second)
  .reduce((total, [code, perSecond]) => total + (wanted(Number(code)) ? perSecond : 0), 0);
const count = (view, phase) => view.replicas.filter((replica) => replica.phase === phase).length;

const MOMENT = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;
const clock = (moment) => new Date(moment).toLocaleTimeString([], { hour12: false });

/* ---- one view ---- */

function render(view) {
  history.push(view);
  if (history.length > HISTORY) history.shift();
  renderScenario(view.scenario);
  renderTiles(view);
  renderReplicas(view);
  renderCharts();
  renderDecisions(view);
  renderMoney(view);
  byId("seeded").hidden = view.weights !== "seeded";
  show("addresses", `Service http://${view.addresses.front}/v1/classify, scaler (gRPC) ${view.addresses.scaler}, ` +
    `metrics http://${view.addresses.console}/metrics`);
}

function renderScenario(scenario) {
  byId("scenario").hidden = !scenario;
  if (!scenario) return;
  show("phase", `${scenario.name}: ${scenario.phase}`);
  byId("progress").value = Math.min(1, scenario.elapsed_ms / Math.max(1, scenario.planned_ms));
}

function renderTiles(view) {
  const { traffic, latency_ms: latency, money } = view;
  show("offered", traffic.offered_per_second.toFixed(1));
  const codes = Object.entries(traffic.answered_total).map(([code, n]) => `${code}: ${n}`);
  show("codes", codes.join(", ") || "none answered yet");
  show("held", view.held);
  show("in-flight", view.in_flight);
  show("ready", count(view, "ready"));
  show("desired", view.desired_replicas);
  show("max", view.max_replicas);
  show("p95", latency ? ms(latency.p95) : "–");
  show("percentiles", latency ? `median ${ms(latency.p50)}, p99 ${ms(latency.p99)}` : "no answer in the last 10 s");
  show("spend", usd(money.spend_usd));
  show("saving", saving(money));
  show("lost", traffic.lost_total);
  show("total", traffic.offered_total);
  byId("lost").closest("div").classList.toggle("alarm", traffic.lost_total > 0);
}

function saving({ spend_usd, baseline_usd }) {
  if (baseline_usd <= 0) return "no baseline yet";
  return `${((1 - spend_usd / baseline_usd) * 100).toFixed(1)} % under the baseline`;
}

/* ---- replicas ---- */

function renderReplicas(view) {
  const list = byId("replicas");
  const kept = new Set(view.replicas.map((replica) => replica.name));
  for (const box of [...list.children]) if (!kept.has(box.dataset.name)) box.remove();
  for (const replica of view.replicas) {
    const box = boxFor(list, replica.name);
    const node = view.nodes.find((candidate) => candidate.name === replica.node);
    box.dataset.phase = replica.phase;
    box.querySelector(".state").textContent = replica.phase;
    box.querySelector(".node").textContent = node ? `${node.instance_type}, ${node.capacity_type}, ${node.zone}` : placed(replica);
    box.querySelector(".price").textContent = node ? `$${node.usd_per_hour.toFixed(4)} an hour` : "";
    box.querySelector(".notice").textContent = node ? notice(node, view.clock) : "";
  }
  byId("none").hidden = view.replicas.length > 0;
}

function boxFor(list, name) {
  const found = [...list.children].find((box) => box.dataset.name === name);
  if (found) return found;
  const box = document.createElement("li");
  box.dataset.name = name;
  const top = part(box, "div", "top");
  part(top, "span", "name").textContent = name;
  part(top, "span", "state");
  part(box, "small", "node");
  part(box, "small", "price");
  part(box, "small", "notice");
  list.append(box);
  return box;
}

function placed(replica) {
  if (replica.node) return `node ${replica.node} is gone`;
  return replica.phase === "starting" ? "waits for a node" : "no node";
}

function notice(node, clock) {
  if (!node.notice_deadline) return "";
  const left = Math.max(0, Math.round((Date.parse(node.notice_deadline) - Date.parse(clock)) / 1000));
  return `taken away in ${left} s`;
}

function part(parent, tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  parent.append(element);
  return element;
}

/* ---- charts ---- */

function renderCharts() {
  chart("chart-traffic", [
    ["main", (view) => view.traffic.offered_per_second],
    ["good", (view) => rate(view, (code) => code < 300)],
    ["warn", (view) => rate(view, (code) => code >= 300)],
  ]);
  chart("chart-replicas", [["quiet", (view) => view.desired_replicas], ["main", (view) => count(view, "ready")]]);
  chart("chart-held", [["main", (view) => view.held]]);
  chart("chart-latency", [["good", (view) => view.latency_ms?.p50], ["main", (view) => view.latency_ms?.p95]]);
}

function chart(id, lines) {
  const figure = byId(id);
  const plot = figure.querySelector(".plot") ?? newPlot(figure);
  const series = lines.map(([tone, value]) => [tone, history.map((view) => value(view) ?? null)]);
  const highest = Math.max(1, ...series.flatMap(([, values]) => values));
  const top = roundUp(highest);
  const svg = plot.querySelector("svg");
  svg.replaceChildren(...[0, 50, 100].map(gridLine), ...series.flatMap(([tone, values]) => strokes(tone, values, top)));
  plot.querySelector(".high").textContent = top;
  plot.querySelector(".from").textContent = ago(history[0], history.at(-1));
  const now = series.map(([, values]) => values.at(-1)).map((value) => (value === null ? "none" : Math.round(value)));
  svg.setAttribute("aria-label", `${figure.querySelector("h2").textContent}, now ${now.join(" and ")}`);
}

function newPlot(figure) {
  const plot = part(figure, "div", "plot");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 -2 100 104");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  plot.append(svg);
  part(plot, "span", "high");
  part(plot, "span", "low").textContent = "0";
  part(plot, "span", "from");
  part(plot, "span", "now").textContent = "now";
  return plot;
}

function gridLine(y) {
  const line = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 100, y1: y, y2: y })) line.setAttribute(name, value);
  return line;
}

function ago(first, last) {
  const seconds = Math.round((last.uptime_ms - first.uptime_ms) / 1000);
  return `${Math.max(seconds, Math.round(HISTORY_SHOWN_MIN / 2))} s ago`;
}

// One polyline for each stretch without a gap; the newest view is at the right edge.
function strokes(tone, values, top) {
  const runs = [[]];
  values.forEach((value, index) => {
    const x = 100 - ((values.length - 1 - index) * 100) / (Math.max(values.length, HISTORY_SHOWN_MIN) - 1);
    if (value === null) runs.push([]);
    else runs.at(-1).push(`${x.toFixed(2)},${(100 - (value / top) * 100).toFixed(2)}`);
  });
  return runs.filter((run) => run.length > 1).map((run) => {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("class", tone);
    line.setAttribute("points", run.join(" "));
    return line;
  });
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value);
}

/* ---- decisions and money ---- */

function renderDecisions(view) {
  const rows = view.decisions.map((decision) => {
    const row = document.createElement("li");
    const time = part(row, "time", "");
    time.dateTime = decision.at;
    time.textContent = clock(decision.at);
    part(row, "b", "").textContent = decision.desired === null ? "nodes" : `${decision.desired} replica${decision.desired === 1 ? "" : "s"}`;
    part(row, "span", "").textContent = decision.reasons.join("; ").replace(MOMENT, clock);
    return row;
  });
  byId("decisions").replaceChildren(...rows);
}

function renderMoney({ money }) {
  const top = Math.max(money.spend_usd, money.baseline_usd, Number.MIN_VALUE);
  byId("bar-spend").style.width = `${(money.spend_usd / top) * 100}%`;
  byId("bar-baseline").style.width = `${(money.baseline_usd / top) * 100}%`;
  show("money-spend", usd(money.spend_usd));
  show("money-baseline", usd(money.baseline_usd));
  show("refund", usd(money.refund_usd));
}

/* ---- classify a picture ---- */

async function send(picture) {
  const response = await fetch("api/classify", { method: "POST", body: picture, headers: { "content-type": picture.type } });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${response.status}: ${answer.error.message}`);
  return answer;
}

function showAnswer({ model, version, weights, predictions, timings_ms: timings }, note) {
  const list = document.createElement("ol");
  for (const { label, score } of predictions) {
    const row = part(list, "li", "");
    row.append(label);
    part(row, "span", "").textContent = `${(score * 100).toFixed(2)} %`;
  }
  const facts = document.createElement("small");
  facts.className = "note";
  facts.textContent = `${note}${model} ${version}, ${weights} weights, ${ms(timings.total)} in the replica, ${ms(timings.inference)} of it inference`;
  byId("answer").replaceChildren(list, facts);
}

function showError(error) {
  const line = document.createElement("p");
  line.className = "error";
  line.textContent = `No answer: ${error.message}`;
  byId("answer").replaceChildren(line);
}

async function submit(event) {
  event.preventDefault();
  const picture = byId("picture").files[0];
  const times = byId("times").valueAsNumber;
  const button = event.target.querySelector("button");
  button.disabled = true;
  byId("answer").textContent = "Waiting for an answer. The first one starts a replica.";
  const results = await Promise.allSettled(Array.from({ length: times }, () => send(picture)));
  button.disabled = false;
  const failed = results.filter((result) => result.status === "rejected");
  const answered = results.find((result) => result.status === "fulfilled");
  if (!answered) return showError(failed[0].reason);
  const note = times > 1 ? `${times - failed.length} of ${times} answered. ` : "";
  showAnswer(answered.value, note);
}

function preview(event) {
  const image = byId("preview");
  URL.revokeObjectURL(image.src);
  image.hidden = event.target.files.length === 0;
  if (!image.hidden) image.src = URL.createObjectURL(event.target.files[0]);
}

/* ---- start ---- */

function link(state, text) {
  byId("link").className = `pill ${state}`;
  if (byId("link").textContent !== text) show("link", text);
}

byId("classify").addEventListener("submit", submit);
byId("picture").addEventListener("change", preview);
const events = new EventSource("api/events");
events.onmessage = (event) => { link("live", "live"); render(JSON.parse(event.data)); };
events.onerror = () => link("lost", "connection lost, trying again");
