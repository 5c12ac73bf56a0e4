// What every page does: send commands to the API, say what became of them, and the small switches.
//
// A command is a form with data-command="/api/v1/…". Its fields go into a JSON body by their names
// ("reporter.phone" goes into an object of its own), empty ones are left out, and data-type says
// what is not text: number, boolean, lines (one entry a line), list (all that are chosen), instant,
// json. data-empty is the JSON that is sent for an empty field. A field that the address names in
// braces goes there instead.
// It is sent with a key of its own, so that a second press or a lost answer does nothing twice.
// When it is done, data-then says what follows: "reload" (the rule), "stay", or an address in which
// {case} is the case. When it is refused, the form keeps what was typed and says why.

const zh = document.documentElement.lang.startsWith("zh");
const t = (chinese, english) => (zh ? chinese : english);
const YEAR = 365 * 24 * 3600;
const { person, drafts } = document.body.dataset; // whose page this is, if anybody's

/** A key of 128 bits for one command; `crypto.randomUUID` is there over HTTPS only. */
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function setCookie(name, value, seconds) {
  const age = seconds ? `; max-age=${seconds}` : "";
  document.cookie = `${name}=${value}; path=/; samesite=strict${age}`;
}

/** Say something for some seconds; what went wrong stays longer. */
function toast(text, bad = false) {
  const box = document.createElement("div");
  box.className = bad ? "toast bad" : "toast";
  box.textContent = text;
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), bad ? 12000 : 5000);
}

/** What a problem document says in the language of the page. */
const told = (problem) => (zh ? problem.zh : problem.en) || problem.detail || problem.title;

/** The headers by which the API knows that a page of ours asks, and for whom it was opened. */
const ofPage = () => ({ "X-Wangge-Console": "1", ...(person && { "X-Wangge-Person": person }) });

/**
 * Send something to the API. Answers {status, body}; a lost connection has the status 0.
 * `key` is the Idempotency-Key, `version` the one that was seen.
 */
async function send(path, body, { key, version, method = "POST", raw, signal } = {}) {
  const headers = { ...ofPage(), "Accept-Language": zh ? "zh" : "en" };
  if (key) headers["Idempotency-Key"] = key;
  if (version) headers["If-Match"] = `"${version}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal, body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
  } catch (error) {
    return { status: 0, body: { code: "offline", zh: "网络不通，内容已保留，请稍后再试。", en: "No connection. What you typed is kept; try again." } };
  }
  const position = response.headers.get("X-Wangge-Position");
  if (position) setCookie("wangge_position", position);
  if (response.status === 401 && !path.endsWith("/session")) {
    location.assign(toSignIn());
  }
  const text = await response.text();
  let answer = {};
  try { answer = text ? JSON.parse(text) : {}; } catch { answer = { zh: "回答无法读取。", en: "The answer cannot be read." }; }
  return { status: response.status, body: answer };
}

/** The JSON body that a form stands for. */
function bodyOf(form) {
  const body = {};
  const put = (name, value) => {
    const parts = name.split(".");
    let at = body;
    for (const part of parts.slice(0, -1)) at = at[part] ??= {};
    at[parts.at(-1)] = value;
  };
  for (const input of form.elements) {
    if (!input.name || input.disabled || input.matches("fieldset, button, output")) continue;
    const type = input.dataset.type;
    if (input.type === "checkbox") {
      if (type === "boolean") put(input.name, input.checked);
      else if (input.checked) put(input.name, [...(valueAt(body, input.name) ?? []), input.value]);
    } else if (input.type === "radio") {
      if (input.checked) put(input.name, type === "boolean" ? input.value === "true" : input.value);
    } else if (input.multiple) {
      const chosen = [...input.selectedOptions].map((option) => option.value);
      if (chosen.length) put(input.name, chosen);
    } else if (input.value.trim() === "") {
      if (input.dataset.empty !== undefined) put(input.name, JSON.parse(input.dataset.empty));
    } else {
      const value = input.value.trim();
      if (type === "number") put(input.name, Number(value));
      else if (type === "lines") put(input.name, value.split(/\n+/).map((line) => line.trim()).filter(Boolean));
      else if (type === "list") put(input.name, [value]);
      else if (type === "boolean") put(input.name, value === "true");
      else if (type === "json") put(input.name, JSON.parse(value));
      else if (type === "instant") put(input.name, `${value.length === 16 ? `${value}:00` : value}+08:00`);
      else put(input.name, value);
    }
  }
  return body;
}

const valueAt = (body, name) => name.split(".").reduce((at, part) => at?.[part], body);

/** Where a form has what a problem names: in one of several parts, else in the nearest field around it. */
function fieldOf(form, name) {
  const [, nth, key] = name.match(/\.(\d+)\.(\w+)$/) ?? [];
  const part = form.querySelectorAll("[data-part]")[nth];
  const own = part?.querySelector(`[data-key="${key}"]`)?.closest(".field");
  if (own) return own;
  for (let around = name; around; around = around.replace(/\.?[^.]*$/, "")) {
    const field = form.querySelector(`[data-field="${CSS.escape(around)}"]`);
    if (field) return field;
  }
}

/** Show in a form why it was refused, field by field where that is known. */
function showProblem(form, problem) {
  clearProblem(form);
  let shown = false;
  const unplaced = [];
  for (const error of problem.errors ?? []) {
    const name = error.field.replace(/^(body|path|query)\./, "");
    const field = fieldOf(form, name);
    if (!field) {
      unplaced.push(t(`${name} ${error.zh}。`, `${name}: ${error.en}.`));
      continue;
    }
    const note = document.createElement("p");
    note.className = "error";
    note.id = `e-${name}`;
    note.textContent = t(`${error.zh}。`, `${error.en}.`);
    field.append(note);
    const input = field.querySelector("input, select, textarea");
    input?.setAttribute("aria-invalid", "true");
    input?.setAttribute("aria-describedby", note.id);
    if (!shown) input?.focus();
    shown = true;
  }
  const box = form.querySelector("[data-problem]");
  if (!box) return toast(told(problem), true);
  const marked = shown ? [t("请改正标出的各项。", "Correct what is marked.")] : [];
  box.textContent = [...marked, ...unplaced].join(" ") || told(problem);
  box.hidden = false;
  if (["request.version_mismatch", "request.key_reused", "request.other_person"].includes(problem.code)) {
    // The answer to the first attempt was lost: it may have been a yes.
    if (problem.code === "request.key_reused") box.textContent = t("上一次提交可能已成功，请先查看最新内容，再决定是否重新提交。", "What you sent before may have been done: look at what is new before you send it again.");
    const newer = document.createElement("button");
    newer.type = "button";
    newer.className = "button";
    newer.textContent = problem.code === "request.other_person" ? t("刷新页面", "Reload the page") : t("查看最新内容（已填内容会保留）", "Show what is new (what you typed is kept)");
    newer.addEventListener("click", () => location.reload());
    box.append(" ", newer);
  }
}

function clearProblem(form) {
  form.querySelectorAll(":is(.field, [data-field]) > .error").forEach((note) => note.remove());
  form.querySelectorAll("[aria-invalid]").forEach((input) => { input.removeAttribute("aria-invalid"); input.removeAttribute("aria-describedby"); });
  const box = form.querySelector("[data-problem]");
  if (box) box.hidden = true;
}

// What was typed outlives the page, whatever ends it: a reload, another language, another action, a
// session that is over. It comes back on the same page of the same tab, to the same person.
const typedHere = `typed ${person} ${location.pathname} `;
const touched = new Set(); // the forms that somebody typed into, and not those that a script filled in
const KEPT = "input:not([type=password], [type=file]), select, textarea";
const WORDS = "textarea, input:not([type=hidden], [type=checkbox], [type=radio])";

for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => touched.add(event.target.form));
document.addEventListener("reset", (event) => touched.delete(event.target));

function keepTyped(form) {
  const typed = [...form.elements].filter((input) => input.matches(KEPT)).map((input) => ({
    name: input.name, value: input.value, checked: input.checked, words: input.matches(WORDS) && input.value !== input.defaultValue,
  }));
  sessionStorage.setItem(typedHere + form.dataset.command, JSON.stringify(typed));
}

addEventListener("pagehide", () => {
  if (!person) return;
  for (const form of touched) if (form?.matches("dialog[open] [data-command], [data-command]:not(dialog *)")) keepTyped(form);
});

function restoreTyped() {
  if (!person || document.querySelector("[data-past]")) return;
  const lost = [];
  for (const key of Object.keys(sessionStorage).filter((key) => key.startsWith(typedHere))) {
    const typed = JSON.parse(sessionStorage.getItem(key));
    const form = document.querySelector(`form[data-command="${CSS.escape(key.slice(typedHere.length))}"]`);
    if (!form) { lost.push(...typed.filter(({ words }) => words).map(({ value }) => value)); continue; }
    sessionStorage.removeItem(key);
    const inputs = () => [...form.elements].filter((input) => input.matches(KEPT));
    while (inputs().length < typed.length && form.querySelector("[data-part-add]")) form.querySelector("[data-part-add]").click();
    inputs().forEach((input, index) => {
      const { name, value, checked } = typed[index] ?? {};
      if (name !== input.name || (value === input.value && checked === input.checked)) return;
      if (input.type === "checkbox" || input.type === "radio") input.checked = checked;
      else input.value = value;
      // What hangs on it follows; a choice that is left is told by the one that is made.
      if (input.type !== "radio" || checked) for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind, { bubbles: true }));
    });
    form.closest("dialog")?.showModal();
  }
  if (lost.length) showLost(lost);
}

/** What was typed for an action that there is no more: to be copied, until somebody puts it away. */
function showLost(texts) {
  const box = banner(t("您填写的操作已不在此页，可复制以下内容：", "What you were doing is no longer on this page; copy what you typed:"));
  const text = document.createElement("textarea");
  text.readOnly = true;
  text.value = texts.join("\n");
  text.setAttribute("aria-label", t("您填写的内容", "What you typed"));
  const away = document.createElement("button");
  away.type = "button";
  away.className = "button";
  away.textContent = t("不再需要", "Put it away");
  away.addEventListener("click", () => {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(typedHere)) sessionStorage.removeItem(key);
    box.remove();
  });
  box.append(text, away);
}

/** Say something above the page that stays. */
function banner(text) {
  const box = document.createElement("div");
  box.className = "banner bad no-print";
  box.setAttribute("role", "alert");
  const said = document.createElement("span");
  said.textContent = text;
  box.append(said);
  document.getElementById("main").prepend(box);
  return box;
}

// --- the session -------------------------------------------------------------------------------

/** Whether somebody is signed in: true, false, or unknown. Asked of a page, for a no that is a way to signing in is no error. */
async function signedIn() {
  try {
    const answer = await fetch("/console/more", { headers: { Accept: "text/html" }, redirect: "manual" });
    return answer.type === "opaqueredirect" ? false : answer.ok || undefined;
  } catch { return undefined; }
}

const toSignIn = () => `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;

/** Whether the session has ended. If so, the page says it: nothing on it moves any more. */
async function ended() {
  if (await signedIn() !== false) return false;
  if (!document.getElementById("ended")) {
    const link = document.createElement("a");
    link.className = "button";
    link.href = toSignIn();
    link.textContent = t("重新登录", "Sign in again");
    const box = banner(t("登录已到期，此页不再更新。", "Your session has ended; this page is no longer brought up to date."));
    box.id = "ended";
    box.append(link);
  }
  return true;
}

/** The report form that this device keeps is its person's own: it goes with a session, and comes with the next one. */
async function dropForm(again) {
  try {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      if (name.startsWith("wangge-") && await cache.delete("/console/report") && again) await cache.add("/console/report");
    }
  } catch { /* kept nothing: only over HTTPS there is where to */ }
}

async function signIn(form) {
  if (form.hasAttribute("aria-busy")) return;
  form.setAttribute("aria-busy", "true");
  const answer = await send(form.dataset.signIn, bodyOf(form));
  if (answer.status === 204) await dropForm(true);
  form.removeAttribute("aria-busy");
  if (answer.status === 204) return location.assign(asked() || "/console/worklist");
  showProblem(form, answer.body);
  form.elements.password.select();
}

/** Where somebody wanted to go before signing in; only to a page of ours: "//elsewhere" would lead away. */
function asked() {
  const next = new URLSearchParams(location.search).get("next") ?? "";
  return /^\/console(\/|$)/.test(next) ? next : "";
}

// A link from another site, a chat say, brings no session along, but this page's own question does.
if (document.querySelector("[data-sign-in]") && asked() && document.cookie.includes("wangge_person=")) {
  signedIn().then((yes) => { if (yes) location.replace(asked()); });
}

/** What is not sent goes only with the session, and the session only with a network. */
async function signOut() {
  const own = await import(drafts).catch(() => null);
  if (own && !await own.mayLeave(person, t)) return;
  const answer = own && await send("/console/session/end");
  if (answer?.status !== 204) return toast(t("未能退出，请联网后再试。", "You could not be signed out; try again with a network."), true);
  await own.forget(person);
  await dropForm(false);
  touched.clear();
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(`typed ${person} `)) sessionStorage.removeItem(key);
  setCookie("wangge_position", "", 0);
  location.assign("/console/sign-in");
}

/** Where a command goes: what stands in braces is a field, which is then no part of the body. */
function addressOf(form, body) {
  return form.dataset.command.replace(/\{(\w+)\}/g, (_, name) => {
    const value = body[name] ?? "";
    delete body[name];
    return encodeURIComponent(value);
  });
}

async function command(form) {
  clearProblem(form);
  const submit = form.querySelector("button:not([type=button])");
  submit?.classList.add("busy");
  form.setAttribute("aria-busy", "true");
  form.dataset.key ||= newKey();
  let body;
  try { body = bodyOf(form); } catch { body = null; }
  const answer = body === null
    ? { status: 422, body: { zh: "内容不是有效的 JSON。", en: "This is not valid JSON." } }
    : await send(addressOf(form, body), body, { key: form.dataset.key, version: form.dataset.version });
  submit?.classList.remove("busy");
  form.removeAttribute("aria-busy");
  // An answer, yes or no, ends this attempt; without one the same key asks again what became of it.
  if (answer.status > 0 && answer.status < 500) delete form.dataset.key;
  if (answer.status >= 200 && answer.status < 300) {
    if (form.dataset.done) sessionStorage.setItem("done", form.dataset.done);
    form.dispatchEvent(new CustomEvent("wangge:done", { bubbles: true, detail: answer.body }));
    const then = form.dataset.then ?? "reload";
    form.reset();
    if (then === "stay") { form.closest("dialog")?.close(); sayDone(); }
    else if (then === "reload") location.reload();
    else location.assign(then.replace("{case}", encodeURIComponent(answer.body.case ?? "")));
    return;
  }
  showProblem(form, answer.body);
}

function sayDone() {
  const done = sessionStorage.getItem("done");
  if (done) toast(done);
  sessionStorage.removeItem("done");
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("[data-command]")) {
    event.preventDefault();
    if (!form.hasAttribute("aria-busy")) await command(form);
  } else if (form.matches("[data-sign-in]")) {
    event.preventDefault();
    await signIn(form);
  }
});

document.addEventListener("click", async (event) => {
  const at = (selector) => event.target.closest(selector);
  let button;
  if ((button = at("[data-dialog]"))) document.getElementById(button.dataset.dialog)?.showModal();
  else if ((button = at("[data-close]"))) button.closest("dialog")?.close();
  else if ((button = at("[data-language]"))) { setCookie("wangge_lang", button.dataset.language, YEAR); location.reload(); }
  else if (at("[data-theme-switch]")) switchTheme();
  else if ((button = at("[data-account]"))) {
    const form = document.querySelector("[data-sign-in]");
    form.elements.username.value = button.dataset.account;
    form.elements.password.value = button.dataset.password;
    form.elements.password.focus();
  } else if (at("[data-sign-out]")) await signOut();
  document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
});

function switchTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  const theme = dark ? "light" : "dark";
  setCookie("wangge_theme", theme, YEAR);
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new CustomEvent("wangge:theme"));
}

// Typing is no shortcut: pages ask this before they take a key for a command.
const typing = (event) => event.target.closest("input, select, textarea, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey;

document.addEventListener("DOMContentLoaded", () => { sayDone(); restoreTyped(); });
document.addEventListener("htmx:configRequest", (event) => Object.assign(event.detail.headers, ofPage()));
document.addEventListener("htmx:sendError", () => toast(t("网络不通，请稍后再试。", "No connection; try again."), true));

window.wangge = { t, send, toast, told, bodyOf, showProblem, clearProblem, typing, setCookie, key: newKey, ofPage, ended };
