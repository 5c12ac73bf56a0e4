// 工作台: moving and choosing by keyboard, the preview, doing one thing to many cases, and news.
//
// Chosen cases are kept by id, so that a list that is exchanged forgets none of them. What many
// cases are sent goes through the API four at a time; whatever is refused stays to be read.

const { t, send, told, typing, toast } = window.wangge;
const $ = (selector) => document.querySelector(selector);
const rows = () => [...document.querySelectorAll("#cases > .case")];
const chosen = new Set();
const wide = matchMedia("(min-width: 1240px)");
let current = null;
let running = false;

// --- moving, choosing, the preview ---

function move(to, focus = true) {
  if (!to) return;
  document.querySelectorAll("#cases > [aria-current]").forEach((row) => row.removeAttribute("aria-current"));
  to.setAttribute("aria-current", "true");
  current = to.dataset.case;
  if (focus) {
    to.querySelector(".open").focus({ preventScroll: true });
    to.scrollIntoView({ block: "nearest" });
  }
  preview(current);
}

let waiting;
function preview(id) {
  if (!wide.matches) return;
  clearTimeout(waiting);
  // Who runs through the list with a key held down asks for none but the last.
  waiting = setTimeout(() => htmx.ajax("GET", `/console/worklist/${encodeURIComponent(id)}/preview`, { target: "#preview", swap: "innerHTML" }), 120);
}

function choose(id, yes) {
  if (running) return;
  if (yes) chosen.add(id); else chosen.delete(id);
  showChosen();
}

function showChosen() {
  for (const row of rows()) row.querySelector(".choose").checked = chosen.has(row.dataset.case);
  const all = $("#choose-all");
  if (all) {
    const here = rows();
    const n = here.filter((row) => chosen.has(row.dataset.case)).length;
    all.checked = n > 0 && n === here.length;
    all.indeterminate = n > 0 && n < here.length;
  }
  const bar = $("#bulk");
  if (!bar) return;
  const refused = $("#bulk-refused");
  bar.hidden = chosen.size === 0 && !running && refused.hidden;
  $("#bulk-count").textContent = chosen.size ? t(`已选 ${chosen.size} 件`, `${chosen.size} chosen`) : "";
  $("#bulk-actions").hidden = running || chosen.size === 0;
}

document.addEventListener("change", (event) => {
  if (event.target.matches(".choose")) choose(event.target.value, event.target.checked);
  else if (event.target.id === "choose-all") {
    for (const row of rows()) if (event.target.checked) chosen.add(row.dataset.case); else chosen.delete(row.dataset.case);
    showChosen();
  }
});

document.addEventListener("click", (event) => {
  const link = event.target.closest(".case .open");
  // One click shows a case beside the list where there is room; the second opens it.
  if (link && wide.matches && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.detail > 0) {
    const row = link.closest(".case");
    if (row.dataset.case !== current) { event.preventDefault(); move(row); }
  }
  const place = event.target.closest("[data-place]");
  if (place) {
    event.preventDefault();
    const form = $("#filters");
    form.elements.territory.value = place.dataset.place;
    $("#chosen-place").textContent = place.textContent;
    $("#places").open = false;
    form.requestSubmit();
  }
});

// The category by its letters: the likeliest is chosen as one types, and asked for with it.
const kinds = [...document.querySelectorAll("#f-category option[data-known]")];
let asking;
const known = kinds.map((option) => JSON.parse(option.dataset.known));
$("#find-category").addEventListener("input", (event) => {
  event.stopPropagation();
  const text = event.target.value;
  const meant = window.wangge.matching(known, text).map((each) => each.code);
  kinds.forEach((option) => { option.hidden = option.disabled = !meant.includes(option.value); });
  event.target.setCustomValidity(meant.length ? "" : t("没有这样的类别", "There is no such category"));
  const now = text.trim() && meant.length ? meant[0] : "";
  if ($("#f-category").value === now) return;
  $("#f-category").value = now;
  clearTimeout(asking);
  asking = setTimeout(() => $("#f-category").dispatchEvent(new Event("change", { bubbles: true })), 350);
});
// What was typed is no filter of its own: the list that it shortens is.
$("#find-category").addEventListener("change", (event) => event.stopPropagation());

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (typing(event) && event.target.blur) event.target.blur();
    else if (!running) { chosen.clear(); $("#bulk-refused")?.setAttribute("hidden", ""); showChosen(); }
    return;
  }
  if ((typing(event) && !event.target.matches?.(".choose, #choose-all")) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const all = rows();
  const at = all.findIndex((row) => row.dataset.case === current);
  switch (event.key) {
    case "j": if (at === all.length - 1) $("#more button")?.click(); move(all[Math.min(at + 1, all.length - 1)]); break;
    case "k": move(all[Math.max(at - 1, 0)]); break;
    case "x": if (at >= 0 && !all[at].querySelector(".choose").disabled) choose(current, !chosen.has(current)); break;
    case "e": if (at >= 0) location.assign(all[at].querySelector(".open").href); break;
    case "/": $("#find").focus(); $("#find").select(); break;
    case "?": $("#keys").showModal(); break;
    default: return;
  }
  event.preventDefault();
});

// --- one thing for many ---

const BODY = {
  accept: () => undefined,
  dispatch: () => ({}),
  check: () => ({ passed: true }),
  close: () => ({ outcome: "resolved" }),
  note: (text) => ({ text }),
};
const AT_ONCE = 4;
let stopped = false;

async function run(what, text) {
  const cases = [...chosen];
  if (running || !cases.length) return;
  running = true;
  stopped = false;
  const refused = $("#bulk-refused");
  refused.replaceChildren();
  refused.hidden = true;
  $("#bulk-run").hidden = false;
  $("#bulk-done").hidden = true;
  const progress = $("#bulk-progress");
  progress.max = cases.length;
  let done = 0, failed = 0;
  const say = () => {
    progress.value = done + failed;
    $("#bulk-said").textContent = t(`完成 ${done} 件，未成功 ${failed} 件，共 ${cases.length} 件`, `${done} done, ${failed} not, of ${cases.length}`);
  };
  say();
  showChosen();
  const queue = cases.slice();
  const one = async () => {
    while (queue.length && !stopped) {
      const id = queue.shift();
      const key = wangge.key();
      const ask = () => send(`/api/v1/cases/${encodeURIComponent(id)}/${what}`, BODY[what](text), { key });
      let answer = await ask();
      // A lost answer is asked for once more under the same key: nothing happens twice.
      if (answer.status === 0 || answer.status >= 502) answer = await ask();
      if (answer.status >= 200 && answer.status < 300) {
        done += 1;
        chosen.delete(id);
      } else {
        failed += 1;
        refuse(refused, id, answer.body);
        if (answer.status === 0) stopped = true; // without a connection the rest would fail alike
      }
      say();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  running = false;
  $("#bulk-run").hidden = true;
  $("#bulk-done").hidden = failed === 0;
  if (!failed && !stopped) toast(t(`${done} 件已办理`, `${done} done`));
  else if (queue.length) toast(t(`已停止，还有 ${queue.length} 件未办理，仍在选择中`, `Stopped; ${queue.length} were not sent and stay chosen`), true);
  showChosen();
  refresh();
}

function refuse(list, id, problem) {
  const line = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/console/cases/${encodeURIComponent(id)}`;
  link.textContent = id;
  const why = document.createElement("span");
  why.className = "red";
  why.textContent = told(problem) ?? t("未能办理。", "It could not be done.");
  line.append(link, why);
  list.append(line);
  list.hidden = false;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-bulk]");
  if (button?.dataset.bulk === "note") $("#bulk-note").showModal();
  else if (button) run(button.dataset.bulk);
  else if (event.target.closest("#bulk-stop")) stopped = true;
  else if (event.target.closest("#bulk-clear")) { chosen.clear(); showChosen(); }
  else if (event.target.closest("#bulk-done")) { $("#bulk-refused").hidden = true; $("#bulk-done").hidden = true; chosen.clear(); showChosen(); }
  else if (event.target.closest("#news")) refresh();
  else if (event.target.closest("#save-view")) $("#view-name").showModal();
});

document.addEventListener("submit", (event) => {
  const dialog = event.target.closest("dialog");
  if (dialog?.id === "bulk-note") {
    const text = $("#note-text").value.trim();
    $("#note-text").value = "";
    if (text) run("note", text);
  } else if (dialog?.id === "view-name") {
    const name = $("#view-text").value.trim();
    $("#view-text").value = "";
    if (name) keepViews([...ownViews().filter((view) => view.name !== name), { name, query: location.search }]);
  }
});

// --- views of one's own, kept by this browser ---

const STORED = `wangge views ${document.body.dataset.person ?? ""}`;

function ownViews() {
  try { return JSON.parse(localStorage.getItem(STORED)) ?? []; } catch { return []; }
}

function keepViews(views) {
  try { localStorage.setItem(STORED, JSON.stringify(views)); } catch { toast(t("浏览器不允许保存。", "The browser does not let us keep it."), true); }
  showViews();
}

function showViews() {
  const place = $("#own-views");
  if (!place) return;
  place.replaceChildren(...ownViews().map(({ name, query }) => {
    const box = document.createElement("span");
    const link = document.createElement("a");
    link.href = `/console/worklist${query}`;
    link.textContent = name;
    link.lang = "zh-CN";
    const drop = document.createElement("button");
    drop.type = "button";
    drop.className = "button bare";
    drop.textContent = "×";
    drop.setAttribute("aria-label", t(`删除视图 ${name}`, `Delete the view ${name}`));
    drop.addEventListener("click", () => keepViews(ownViews().filter((view) => view.name !== name)));
    box.append(link, drop);
    return box;
  }));
}

// --- what htmx exchanges ---

document.addEventListener("htmx:configRequest", (event) => {
  const asked = event.detail.parameters;
  if (asked instanceof FormData) for (const [name, value] of [...asked]) if (value === "") asked.delete(name);
});

// A list that cannot be had is told; the one that is there stays, for it is what one asks again from.
let further = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (!target.matches("#work, #more")) return;
  if (xhr.status >= 400) {
    event.detail.shouldSwap = false;
    const said = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("[role=alert] p");
    toast(said?.textContent ?? t("现在无法读取，请稍后再试。", "It cannot be read right now; try again."), true);
  }
  // Who pressed for more goes on at the first row of it.
  further = target.id === "more" && target.contains(document.activeElement) ? rows().length : null;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "preview") return;
  const view = document.querySelector(".tabs [aria-current]")?.dataset.view;
  if (view) {
    $("#filters").elements.view.value = view;
    $("#clear").search = `?view=${view}`;
  }
  if (further !== null) rows()[further]?.querySelector(".open").focus({ preventScroll: true });
  further = null;
  showViews();
  showChosen();
  for (const row of rows()) {
    if (row.dataset.case === current) row.setAttribute("aria-current", "true");
    if (changed.has(row.dataset.case)) row.classList.add("fresh");
  }
});

// --- news ---

const changed = new Set();
let last = null, source = null, wait = 3000, refreshed = Date.now(), planned;

function listen() {
  if (document.hidden || source || !$("#bulk[data-follow]")) return;
  source = new EventSource(last ? `/api/v1/feed?after=${last}` : "/api/v1/feed");
  source.onmessage = (event) => {
    wait = 3000;
    last = event.lastEventId || last;
    if (!event.data) return;
    changed.add(JSON.parse(event.data).case);
    plan();
  };
  source.addEventListener("end", close);
  source.onopen = () => { if ($("#signed-out")) refresh(); };
  // While the browser comes back by itself it is left alone; only what was refused is asked again.
  source.onerror = () => { if (source?.readyState === EventSource.CLOSED) refused(); };
}

// Why a feed is refused is told to nobody; that somebody's session has ended is asked beside it.
async function refused() {
  close();
  const { status } = await fetch("/api/v1/staff/me").catch(() => ({ status: 0 }));
  if (status === 401) signedOut();
}

function signedOut() {
  const link = document.createElement("a");
  link.className = "button";
  link.id = "signed-out";
  link.href = `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = t("登录已到期，列表不再更新。重新登录", "The session has ended and the list stands still. Sign in again");
  $(".news").replaceChildren(link);
}

async function close() {
  source?.close();
  source = null;
  if (await wangge.ended()) return;
  setTimeout(listen, wait * (1 + Math.random()));
  wait = Math.min(wait * 2, 120000);
}

const busy = () => running || chosen.size > 0 || document.querySelector("dialog[open], details.menu[open]")
  || document.activeElement?.matches("#filters *") || document.querySelectorAll("#cases > .case").length > 40;

function plan() {
  clearTimeout(planned);
  // Together, and not oftener than every five seconds, however much happens.
  planned = setTimeout(() => (busy() ? offer() : refresh()), Math.max(1500, refreshed + 5000 - Date.now()));
}

function offer() {
  const news = $("#news");
  if (!news || !changed.size) return;
  news.textContent = t(`有 ${changed.size} 条更新，点此刷新`, `${changed.size} changed; show them`);
  news.hidden = false;
}

async function refresh() {
  refreshed = Date.now();
  const focused = document.activeElement?.closest(".case")?.dataset.case;
  await htmx.ajax("GET", location.pathname + location.search, { target: "#work", swap: "outerHTML" });
  changed.clear();
  if (focused) rows().find((row) => row.dataset.case === focused)?.querySelector(".open").focus({ preventScroll: true });
  if (current) preview(current);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); source = null; } else listen();
});
showViews();
listen();
