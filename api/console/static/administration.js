// 管理: forms whose bodies are more than fields, and the editor of a grid's boundary.

const { t, send, showProblem, clearProblem } = window.wangge;

// --- bodies that are more than fields ----------------------------------------------------------
// A hidden input with data-compose gets its JSON from the [data-part]s near it before it is sent.

const keyed = (part) => Object.fromEntries([...part.querySelectorAll("[data-key]")].map((input) => [
  input.dataset.key, input.type === "number" ? (input.value === "" ? null : Number(input.value)) : input.value.trim(),
]));
// As people type it in Chinese: 、 ， ； between two entries, ： in a time of day, ～ or 至 between two.
const BETWEEN = /[\s,，、;；]+/;
const linesOf = (part) => keyed(part).lines.replaceAll("：", ":").split(BETWEEN).filter(Boolean);

const COMPOSED = {
  parts: (parts) => parts.map(keyed),
  limit: ([part]) => {
    const { amount, unit } = keyed(part);
    if (unit === "same_day") return { amount: amount ?? 1, unit }; // it comes once
    return amount === null ? null : { amount, unit };
  },
  lines: ([part]) => linesOf(part),
  periods: ([part]) => linesOf(part).map((line) => { const [start, end] = line.split(/[-–—~～至]/); return { start, end: end ?? "" }; }),
  grants: (parts) => parts.map(keyed),
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  for (const input of form.querySelectorAll("[data-compose]")) {
    const near = input.closest(".field, fieldset") ?? form;
    const parts = [...near.querySelectorAll("[data-part]")];
    input.value = JSON.stringify(COMPOSED[input.dataset.compose](parts));
  }
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

// Whoever types the name of a territory means the one that has it.
document.addEventListener("change", (event) => {
  const typed = event.target.value?.trim();
  const named = [...event.target.list?.options ?? []].filter(({ label }) => label.split(" / ").at(-1) === typed);
  if (named.length === 1) event.target.value = named[0].value;
});

// --- the catalogue -----------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const change = event.target.closest("[data-define]");
  if (change) {
    const dialog = document.getElementById("define");
    const form = dialog.querySelector("form");
    const known = change.dataset.define ? JSON.parse(change.dataset.define) : {};
    form.reset();
    for (const name of ["code", "name_zh", "name_en", "size"]) if (known[name]) form.elements[name].value = known[name];
    form.elements.start_tier.value = known.start_tier ?? "";
    form.elements.code.readOnly = Boolean(known.code);
    for (const name of ["urgent", "mandated_up"]) form.elements[name].checked = Boolean(known[name]);
    for (const name of ["limit", "contact"]) {
      const part = form.querySelector(`[data-field="${name}"] [data-part]`);
      part.querySelector("[data-key=amount]").value = known[name]?.amount ?? "";
      part.querySelector("[data-key=unit]").value = known[name]?.unit ?? "wd";
    }
    dialog.showModal();
  }
  const retire = event.target.closest("[data-retire]");
  if (retire) {
    const dialog = document.getElementById("retire");
    dialog.querySelector("[name=code]").value = retire.dataset.retire;
    document.getElementById("retire-code").textContent = retire.dataset.retire;
    dialog.showModal();
  }
});

// --- the calendar ------------------------------------------------------------------------------

const reckon = document.getElementById("reckon");
reckon?.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearProblem(reckon);
  const { start, amount, unit } = reckon.elements;
  const query = new URLSearchParams({ start: `${start.value}:00+08:00`, amount: unit.value === "same_day" ? "1" : amount.value, unit: unit.value });
  const answer = await send(`/api/v1/calendar/reckon?${query}`, undefined, { method: "GET" });
  if (answer.status !== 200) return showProblem(reckon, answer.body);
  const at = new Date(answer.body.at).toLocaleString(t("zh-CN", "en-GB"), {
    timeZone: "Asia/Shanghai", year: "numeric", month: "long", day: "numeric", weekday: "long", hour: "2-digit", minute: "2-digit",
  });
  document.getElementById("reckoned").textContent = at + (answer.body.provisional ? t(`(${reckon.dataset.unpublished})`, ` (${reckon.dataset.unpublished})`) : "");
});

// --- the boundary of a grid --------------------------------------------------------------------

const editor = document.getElementById("editor");
if (editor) edit(editor);

function edit(editor) {
  const svg = editor.querySelector("svg");
  const corners = document.getElementById("corners");
  const outline = document.getElementById("outline");
  const text = document.getElementById("coordinates");
  const [west, north, across, down] = ["west", "north", "across", "down"].map((name) => Number(editor.dataset[name]));
  const SNAP = 14; // units of the drawing, about 1 % of its width
  let rings = JSON.parse(editor.dataset.rings);
  const before = [];

  const x = (lon) => (lon - west) * across;
  const y = (lat) => (north - lat) * down;
  const degrees = (px, py) => [Number((west + px / across).toFixed(6)), Number((north - py / down).toFixed(6))];
  // The corners of the neighbours, as they are drawn, to which one's own are drawn near.
  const magnets = [...svg.querySelectorAll("path.grid:not(.here)")]
    .flatMap((path) => [...path.getAttribute("d").matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map((found) => [Number(found[1]), Number(found[2])]));

  function remember() { before.push(JSON.stringify(rings)); if (before.length > 100) before.shift(); }

  function write() {
    text.value = rings.map((ring) => ring.map(([lon, lat]) => `${lon} ${lat}`).join("\n")).join("\n\n");
    fill();
  }

  function fill() {
    const closed = rings.map((ring) => [...ring, ring[0]]);
    document.getElementById("boundary").value = closed.length ? JSON.stringify(closed) : "null";
  }

  function made(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function draw(focus) {
    outline.setAttribute("d", rings.map((ring) => `M${ring.map(([lon, lat]) => `${x(lon).toFixed(1)} ${y(lat).toFixed(1)}`).join("L")}Z`).join(""));
    corners.replaceChildren();
    rings.forEach((ring, r) => ring.forEach(([lon, lat], i) => {
      const [nextLon, nextLat] = ring[(i + 1) % ring.length];
      const dot = made("circle", { class: "between", cx: (x(lon) + x(nextLon)) / 2, cy: (y(lat) + y(nextLat)) / 2, r: 7 });
      dot.addEventListener("pointerdown", (event) => { event.preventDefault(); add(r, i); });
      corners.append(dot);
    }));
    rings.forEach((ring, r) => ring.forEach(([lon, lat], i) => {
      const corner = made("circle", {
        class: "corner", cx: x(lon), cy: y(lat), r: 11, tabindex: 0, role: "button", "data-ring": r, "data-corner": i,
        "aria-label": t(`顶点 ${i + 1},${lon},${lat}`, `Corner ${i + 1}, ${lon}, ${lat}`),
      });
      corner.addEventListener("pointerdown", (event) => drag(event, r, i));
      corner.addEventListener("keydown", (event) => press(event, r, i));
      corners.append(corner);
    }));
    if (focus) corners.querySelector(`[data-ring="${focus[0]}"][data-corner="${focus[1]}"]`)?.focus();
  }

  function add(r, i) {
    remember();
    const ring = rings[r];
    const [a, b] = [ring[i], ring[(i + 1) % ring.length]];
    ring.splice(i + 1, 0, [Number(((a[0] + b[0]) / 2).toFixed(6)), Number(((a[1] + b[1]) / 2).toFixed(6))]);
    write();
    draw([r, i + 1]);
  }

  function drop(r, i) {
    if (rings[r].length <= 3) return window.wangge.toast(t("至少要有三个顶点。", "Three corners are the least."), true);
    remember();
    rings[r].splice(i, 1);
    write();
    draw([r, i % rings[r].length]);
  }

  const at = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const near = magnets.find(([mx, my]) => Math.hypot(mx - point.x, my - point.y) < SNAP);
    return near ?? [point.x, point.y];
  };

  function drag(event, r, i) {
    event.preventDefault();
    remember();
    corners.querySelector(`[data-ring="${r}"][data-corner="${i}"]`).focus();
    const move = (moved) => {
      rings[r][i] = degrees(...at(moved));
      draw([r, i]);
    };
    const stop = () => { window.removeEventListener("pointermove", move); write(); };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop, { once: true });
    window.addEventListener("pointercancel", stop, { once: true });
  }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function press(event, r, i) {
    const step = STEPS[event.key];
    if (step) {
      event.preventDefault();
      remember();
      const [lon, lat] = rings[r][i];
      const far = event.shiftKey ? 20 : 2;
      rings[r][i] = degrees(x(lon) + step[0] * far, y(lat) + step[1] * far);
      write();
      draw([r, i]);
    } else if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); drop(r, i); }
    else if (event.key === "Insert" || event.key === "+") { event.preventDefault(); add(r, i); }
  }

  text.addEventListener("input", () => {
    const read = text.value.trim() === "" ? [] : text.value.trim().split(/\n\s*\n/)
      .map((ring) => ring.trim().split("\n").map((line) => line.trim().split(BETWEEN).map(Number)));
    const sound = read.every((ring) => ring.length >= 3 && ring.every((point) => point.length === 2 && point.every(Number.isFinite)));
    text.setCustomValidity(sound ? "" : t("每行须为“经度 纬度”，每圈至少三个顶点。", "Each line must be “longitude latitude”, three corners at least."));
    if (sound) { rings = read; fill(); draw(); }
  });

  document.getElementById("editor-undo").addEventListener("click", () => {
    const last = before.pop();
    if (last) { rings = JSON.parse(last); write(); draw(); }
  });

  document.getElementById("editor-new").addEventListener("click", () => {
    remember();
    const box = svg.viewBox.baseVal;
    const [cx, cy, half] = [box.x + box.width / 2, box.y + box.height / 2, Math.min(box.width, box.height) / 8];
    rings = [[[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([dx, dy]) => degrees(cx + dx * half, cy + dy * half))];
    write();
    draw([0, 0]);
  });

  write();
  draw();
}
