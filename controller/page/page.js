"use strict";
// The picture of /api/top.json, drawn once a second.  Names come from other people: all text is set as text.

const EVERY_MS = 1000, LOST_MS = 5000, FULL = 1e6, SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

let top_ = null, answeredAt = 0, lost = "", sort = "used";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function size(bytes) {
  if (bytes === null) return "–";
  let at = 0;
  while (bytes >= 1024 && at < 4) { bytes /= 1024; at++; }
  return (Number.isInteger(bytes) || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)) + ["", "K", "M", "G", "T"][at];
}

const percent = (ppm) => (ppm === null ? "–" : `${Math.round(ppm / 1e4)} %`);
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const gpu = (row) => (row.index === null ? "–" : (row.simulated ? "sim:" : "") + row.index);
const last = (tenant) => tenant.windows[0] ?? null;
const share = (tenant) => last(tenant)?.share_ppm ?? null;
const waited = (tenant) => (last(tenant) ? Math.max(last(tenant).throttled_ppm, last(tenant).copy_waited_ppm) : null);

function asked(tenant) {
  if (tenant.guarantee_ppm === null) return tenant.weight === null ? "–" : `weight ${tenant.weight}`;
  const from = percent(tenant.guarantee_ppm);
  return tenant.ceiling_ppm === null || tenant.ceiling_ppm === tenant.guarantee_ppm ? from : `${from} – ${percent(tenant.ceiling_ppm)}`;
}

function bar(kind, value, full, mark, label) {
  const svg = drawn("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": label });
  const part = (amount) => (full ? Math.max(0, Math.min(1000, (1000 * amount) / full)) : 0);
  svg.append(drawn("rect", { class: kind, width: part(value ?? 0), height: 10 }));
  if (mark) svg.append(drawn("rect", { class: "mark", x: Math.min(part(mark), 994), width: 6, height: 10 }));
  return svg;
}

function minute(seconds) {
  const svg = drawn("svg", { class: "minute", viewBox: "0 0 60 20", preserveAspectRatio: "none", role: "img", "aria-label": "the last minute" });
  const steps = seconds.map((ppm, i) => `V${20 - (20 * Math.min(ppm, FULL)) / FULL}H${60 - seconds.length + i + 1}`);
  if (steps.length) svg.append(drawn("path", { d: `M${60 - seconds.length} 20${steps.join("")}V20Z` }));
  svg.append(drawn("line", { x1: 0, y1: 20, x2: 60, y2: 20, "stroke-width": 0.3 }));
  return svg;
}

function card(device) {
  const memory = `${size(device.used_bytes)} of ${size(device.memory_bytes)} used, ${size(device.promised_memory_bytes)} promised`;
  const got = device.got_ppm === null ? "not measured" : `${percent(device.got_ppm)} used`;
  const compute = `${got}, ${percent(device.promised_compute_ppm)} asked`;
  const about = `${device.mode}, ${count(device.tenants.length, "tenant")}${device.waiting ? `, ${device.waiting} waiting` : ""}`;
  const row = (name, ...what) => [element("dt", {}, name), element("dd", {}, ...what)];
  const text = (words) => element("span", { class: "numbers" }, words);
  return element("article", { class: "card" },
    element("h2", {}, `GPU ${gpu(device)} ${device.name}`, element("small", {}, about)),
    element("dl", {},
      ...row("memory", bar("memory", device.used_bytes, device.memory_bytes, device.promised_memory_bytes, memory), text(memory)),
      ...row("compute", bar("compute", device.got_ppm, FULL, device.promised_compute_ppm, compute), text(compute)),
      ...row("minute", minute(device.seconds_ppm))));
}

// Title, what it is sorted by (largest first, or text), and its cell.
const COLUMNS = {
  tenant: ["Tenant", (t) => t.tenant, (t) => element("td", {}, t.tenant)],
  gpu: ["GPU", (t) => -(t.index ?? 99), (t) => element("td", {}, gpu(t))],
  memory: ["Memory", (t) => t.used_bytes, (t) => {
    const words = `${size(t.used_bytes)} of ${size(t.memory_limit_bytes)}`;
    return element("td", { class: "wide" }, bar("memory", t.used_bytes, t.memory_limit_bytes ?? 0, 0, words),
      element("span", { class: "numbers" }, words + (t.uncharged_bytes ? `, ${size(t.uncharged_bytes)} uncharged` : "")));
  }],
  asked: ["Asked", (t) => t.promised_ppm ?? -1, (t) => element("td", { class: "number" }, asked(t))],
  used: ["Got", (t) => share(t) ?? -1, (t) => element("td", { class: "wide" },
    bar("compute", share(t), FULL, t.granted_ppm, percent(share(t))),
    element("span", { class: "numbers" }, share(t) === null ? "not measured" : `${percent(share(t))}, may have ${percent(t.granted_ppm)}`))],
  minute: ["Minute", (t) => t.windows.at(-1)?.share_ppm ?? -1, (t) => element("td", { class: "wide" }, minute(t.seconds_ppm))],
  wait: ["Waited", (t) => waited(t) ?? -1, (t) => element("td", { class: "number" }, percent(waited(t)))],
  refused: ["Refused", (t) => refused(t), (t) => element("td", { class: "number" }, refused(t) || "–")],
  state: ["State", (t) => t.state, (t) => element("td", {}, element("span", { class: t.state }, t.state),
    ...(t.busy_above.length ? [element("small", {}, `above: ${t.busy_above.join(", ")}`)] : []))],
};

function wish(one) {
  const memory = one.memory_bytes !== null ? size(one.memory_bytes) : one.memory_ppm !== null ? percent(one.memory_ppm) : "";
  return [memory, one.compute_ppm === null ? "" : `${percent(one.compute_ppm)} of the time`].filter(Boolean).join(", ") || "–";
}

const refused = (t) => top_.refusals.filter((r) => r.tenant === t.tenant && (r.uuid === t.uuid || !r.uuid))
  .reduce((sum, r) => sum + r.count, 0);

function headers() {
  byId("header").replaceChildren(...Object.entries(COLUMNS).map(([name, [title]]) => {
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => { sort = name; headers(); draw(); });
    return element("th", name === sort ? { scope: "col", "aria-sort": "descending" } : { scope: "col" }, button);
  }));
}

function compare(one, other) {
  const by = COLUMNS[sort][1], a = by(one), b = by(other);
  const order = typeof a === "string" ? a.localeCompare(b) : b - a;
  return order || one.tenant.localeCompare(other.tenant) || (one.index ?? 0) - (other.index ?? 0);
}

function draw() {
  if (!top_) return;
  const names = new Set(top_.tenants.map((t) => t.tenant));
  const waiting = new Set(top_.tenants.filter((t) => t.state === "throttled" || t.state === "yielding").map((t) => t.tenant));
  byId("summary").textContent = `${count(top_.devices.length, "device")}, ${count(names.size, "tenant")}, ${waiting.size} waiting`
    + (top_.queue.length ? `, ${top_.queue.length} queued` : "")
    + (top_.unmanaged.length ? `, ${top_.unmanaged.length} unmanaged` : "");
  byId("devices").replaceChildren(...top_.devices.map(card));
  const shown = top_.tenants.filter((t) => t.tenant.toLowerCase().includes(byId("filter").value.toLowerCase())).sort(compare);
  document.querySelector("#tenants tbody").replaceChildren(
    ...shown.map((t) => element("tr", {}, ...Object.values(COLUMNS).map(([, , cell]) => cell(t)))));
  byId("nobody").hidden = shown.length > 0;
  byId("queue").hidden = top_.queue.length === 0;
  document.querySelector("#queue tbody").replaceChildren(...top_.queue.map((one) => element("tr", {},
    ...[one.place, one.tenant || `pid ${one.pid}`, one.user || "–", one.priority, wish(one),
      `${Math.round((top_.now_ns - one.since_ns) / 1e9)} s`, one.why || one.command]
      .map((words) => element("td", {}, words)))));
  byId("others").hidden = top_.unmanaged.length === 0;
  document.querySelector("#others tbody").replaceChildren(...top_.unmanaged.map((process) => element("tr", {},
    ...[process.pid, process.user || "–", gpu(process), size(process.used_bytes), process.command]
      .map((words) => element("td", {}, words)))));
}

function age() {
  const late = Date.now() - answeredAt > LOST_MS;
  byId("age").className = late ? "lost" : "";
  byId("age").textContent = late ? `no answer: ${lost || "connecting"}` : "live";
}

async function look() {
  try {
    const answer = await fetch("api/top.json", { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    top_ = await answer.json();
    answeredAt = Date.now();
    draw();
  } catch (error) {
    lost = error.message;
  }
  age();
  setTimeout(look, EVERY_MS);
}

byId("filter").addEventListener("input", draw);
headers();
look();
