// 上报: what is typed is kept on the device as it is typed; what cannot be sent waits and is sent
// once, with the key it was given when it was written.
//
// A kept report: {id, person, created, state, fields, photos, body, tried, case, error}. `id` is the
// Idempotency-Key of the report, each photo has one of its own. `state` is "draft", "waiting" (for
// the network) or "refused". `body` is fixed before the first try, for a key stands for one request.

const { t, send, told, showProblem, key } = window.wangge;
const { person, drafts } = document.body.dataset;
const kept = await import(drafts);

const $ = (id) => document.getElementById(id);
const form = $("report");
const MOST_PHOTOS = 6;
const LONGEST_SIDE = 1920; // pixels: enough to read a sign, a tenth of what a camera gives
const KEY_LIVES = 6 * 24 * 3600 * 1000; // the server knows a key for 7 days
const english = !document.documentElement.lang.startsWith("zh");

// The form that is kept for the time without a network may be another person's.
const signedIn = document.cookie.match(/(?:^|; )wangge_person=([^;]*)/)?.[1];
if (signedIn && signedIn !== person) {
  document.querySelector(".whoami").hidden = true;
  document.querySelector(".report").replaceChildren($("another"));
  $("another").hidden = false;
  await new Promise(() => {}); // nothing of it is used
}

if ("serviceWorker" in navigator) navigator.serviceWorker.register("/console/sw.js").catch(() => {});

// --- the draft ---------------------------------------------------------------------------------

const begun = () => ({
  id: key(), person, created: Date.now(), state: "draft", photos: [],
  fields: { territory: form.dataset.preset, category: "", spot: null },
});

let draft = begun(); // nobody has to wait with typing for what the device has kept
let sending = false; // what is being sent is no draft any more
let saving = Promise.resolve();
const TYPED = ["territory", "address", "description", "name", "phone", "home"];

function read() {
  for (const name of TYPED) if (form.elements[name]) draft.fields[name] = form.elements[name].value;
}

function save() {
  if (sending) return saving;
  read();
  const empty = !draft.photos.length && !["address", "description", "name", "phone", "home", "category"].some((name) => draft.fields[name]?.trim());
  const copy = { ...draft, fields: { ...draft.fields }, photos: [...draft.photos] };
  saving = saving.then(() => (empty ? kept.drop(copy.id) : kept.put(copy)))
    .then(() => { $("kept").textContent = empty ? "" : t("草稿已存", "Draft kept"); })
    .catch(() => { $("kept").textContent = t("草稿无法保存在本设备", "The draft cannot be kept on this device"); });
  return saving;
}

let pause;
const saveSoon = () => { clearTimeout(pause); pause = setTimeout(save, 300); };

function show(report) {
  draft = report;
  for (const name of TYPED) if (form.elements[name]) form.elements[name].value = draft.fields[name] ?? "";
  if (form.querySelector("details")) form.querySelector("details").open = ["name", "phone", "home"].some((name) => draft.fields[name]);
  showCategory();
  showPhotos();
  showButton();
}

form.addEventListener("input", (event) => { if (event.target.type !== "file" && event.target !== combo) saveSoon(); });
form.elements.territory.addEventListener("change", () => { draft.fields.spot = null; showButton(); lookForAlike(); saveSoon(); });
window.addEventListener("pagehide", save);
$("clear").addEventListener("click", async () => {
  clearTimeout(pause);
  await saving;
  await kept.drop(draft.id);
  show(begun());
  $("kept").textContent = "";
  $("alike").hidden = true;
  form.elements.description.focus();
});

// --- photos ------------------------------------------------------------------------------------

/** A photo as it is sent: smaller, and without what the camera wrote into it. */
async function smaller(file) {
  try {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(picture.width * scale);
    canvas.height = Math.round(picture.height * scale);
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const made = await new Promise((settle) => canvas.toBlob(settle, "image/jpeg", 0.82));
    if (made) return made;
  } catch { /* a kind that this browser cannot draw goes as it is */ }
  return file;
}

async function take(event) {
  const files = [...event.target.files];
  event.target.value = "";
  for (const file of files) {
    if (draft.photos.length >= MOST_PHOTOS) {
      window.wangge.toast(t("最多 6 张照片。", "Six photos at most."), true);
      break;
    }
    const blob = await smaller(file);
    const stem = file.name.replace(/\.[^.]*$/, "").slice(0, 60) || t("照片", "photo");
    draft.photos.push({ key: key(), name: blob === file ? file.name.slice(-80) : `${stem}.jpg`, blob, sent: false });
  }
  showPhotos();
  await save();
}

for (const id of ["camera", "album"]) $(id).addEventListener("change", take);

const addresses = [];
function showPhotos() {
  addresses.splice(0).forEach((address) => URL.revokeObjectURL(address));
  $("previews").replaceChildren(...draft.photos.map((photo, index) => {
    const item = document.createElement("li");
    const picture = document.createElement("img");
    const address = URL.createObjectURL(photo.blob);
    addresses.push(address);
    picture.src = address;
    picture.alt = t(`照片 ${index + 1}`, `Photo ${index + 1}`);
    const remove = button("x", t(`删除照片 ${index + 1}`, `Remove photo ${index + 1}`), () => {
      draft.photos.splice(index, 1);
      showPhotos();
      save();
    });
    item.append(picture, remove);
    return item;
  }));
}

function button(icon, label, press, text) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = text ? "button" : "button icon-only";
  if (!text) made.setAttribute("aria-label", label);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  const sprite = document.querySelector("use").getAttribute("href").split("#")[0];
  use.setAttribute("href", `${sprite}#${icon}`);
  svg.append(use);
  made.append(svg);
  if (text) made.append(label);
  made.addEventListener("click", press);
  return made;
}

// --- the place ---------------------------------------------------------------------------------

const say = (text) => { $("located").textContent = text; };

/** The device gives WGS-84 degrees, as the register has them: nothing is converted. */
function locate() {
  if (!navigator.geolocation) return say(t("本设备不能定位，请自己选择网格。", "This device cannot locate itself; choose the grid."));
  $("locate").classList.add("busy");
  say(t("正在定位…", "Locating…"));
  navigator.geolocation.getCurrentPosition(found, (error) => {
    $("locate").classList.remove("busy");
    say(error.code === 1
      ? t("没有定位权限：请在浏览器设置中允许，或自己选择网格。", "Not allowed to locate: allow it in the browser, or choose the grid.")
      : t("定位失败，请自己选择网格。", "Locating failed; choose the grid."));
  }, { enableHighAccuracy: true, timeout: 15000, maximumAge: 30000 });
}

async function found({ coords }) {
  const spot = { longitude: Number(coords.longitude.toFixed(6)), latitude: Number(coords.latitude.toFixed(6)) };
  draft.fields.spot = spot;
  const answer = await send(`/api/v1/territory/at?longitude=${spot.longitude}&latitude=${spot.latitude}`, undefined, { method: "GET" });
  $("locate").classList.remove("busy");
  const about = t(`精度约 ${Math.round(coords.accuracy)} 米`, `accurate to about ${Math.round(coords.accuracy)} m`);
  const choice = form.elements.territory;
  const grid = answer.body.grids?.find(({ path }) => [...choice.options].some((option) => option.value === path));
  if (answer.status === 0) say(t(`无网络，位置已记录（${about}），请选择网格。`, `No network. The position is kept (${about}); choose the grid.`));
  else if (!grid) say(t(`位置已记录（${about}），但不在您可上报的网格内，请选择网格。`, `The position is kept (${about}) but lies in no grid of yours; choose the grid.`));
  else {
    choice.value = grid.path;
    say(t(`已定位（${about}）。`, `Located (${about}).`));
  }
  showButton();
  lookForAlike();
  save();
}

$("locate").addEventListener("click", locate);

// --- the category ------------------------------------------------------------------------------

const categories = JSON.parse($("known").textContent);
const combo = $("f-category");
const list = $("categories");
let offered = [];
let active = -1;
const UNITS = { wh: t("工作小时", "working hours"), wd: t("工作日", "working days"), h: t("小时", "hours"), d: t("天", "days"), same_day: t("当日", "same day") };

const nameOf = (category) => (english ? category.en : category.zh);

const matching = (text) => wangge.matching(categories, text);

function offer() {
  const chosen = categories.find((category) => category.code === draft.fields.category);
  offered = matching(chosen && combo.value === nameOf(chosen) ? "" : combo.value);
  active = -1;
  list.replaceChildren(...offered.map((category, index) => {
    const item = document.createElement("li");
    item.id = `category-${category.code}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    const name = document.createElement("span");
    name.className = "grow";
    name.append(nameOf(category));
    const chips = [category.urgent ? [t("紧急", "urgent"), "red"] : null, [category.size === "small" ? t("小事", "small") : t("大事", "big"), ""]].filter(Boolean);
    const limit = document.createElement("small");
    limit.className = "faint";
    limit.textContent = category.unit === "same_day" ? UNITS.same_day : category.amount ? `${category.amount} ${UNITS[category.unit]}` : t("不限时", "no limit");
    item.append(name, limit, ...chips.map(([text, colour]) => { const chip = document.createElement("span"); chip.className = `chip ${colour}`; chip.textContent = text; return chip; }));
    item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(index); });
    return item;
  }));
  list.hidden = !offered.length;
  combo.setAttribute("aria-expanded", String(!list.hidden));
  combo.removeAttribute("aria-activedescendant");
  if (!offered.length) $("h-category").textContent = t("没有匹配的类别。", "No such category.");
}

function close() {
  list.hidden = true;
  combo.setAttribute("aria-expanded", "false");
  combo.removeAttribute("aria-activedescendant");
}

function point(step) {
  if (list.hidden) return offer();
  list.children[active]?.setAttribute("aria-selected", "false");
  active = (active + step + offered.length) % offered.length;
  const item = list.children[active];
  item.setAttribute("aria-selected", "true");
  item.scrollIntoView({ block: "nearest" });
  combo.setAttribute("aria-activedescendant", item.id);
}

function choose(index) {
  draft.fields.category = offered[index].code;
  showCategory();
  close();
  showButton();
  lookForAlike();
  save();
}

function showCategory() {
  if (!combo) return;
  const chosen = categories.find((category) => category.code === draft.fields.category);
  if (!chosen) draft.fields.category = "";
  combo.value = chosen ? nameOf(chosen) : "";
  $("no-category").hidden = !chosen;
}

if (combo) {
  combo.addEventListener("focus", () => {
    offer();
    // Above the keyboard of a phone there is room for the list only when the field is on top.
    if (window.innerWidth <= 720) combo.closest(".field").scrollIntoView({ block: "start" });
  });
  combo.addEventListener("click", () => { if (list.hidden) offer(); });
  combo.addEventListener("input", () => { draft.fields.category = ""; $("no-category").hidden = true; offer(); showButton(); saveSoon(); });
  combo.addEventListener("blur", () => { close(); showCategory(); });
  combo.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); point(event.key === "ArrowDown" ? 1 : -1); }
    else if (event.key === "Enter" && !list.hidden) { event.preventDefault(); choose(Math.max(active, 0)); }
    else if (event.key === "Escape" && !list.hidden) { event.preventDefault(); close(); }
  });
  $("no-category").addEventListener("click", () => { draft.fields.category = ""; showCategory(); showButton(); $("alike").hidden = true; save(); combo.focus(); });
}

const mayFile = () => form.elements.territory.selectedOptions[0]?.hasAttribute("data-file");

function showButton() {
  const files = Boolean(draft.fields.category) && mayFile();
  $("send").firstElementChild.textContent = files ? t("上报并立案", "Report and file") : t("上报", "Report");
  if (!combo) return;
  $("h-category").textContent = draft.fields.category && form.elements.territory.value && !mayFile()
    ? t("您不能在此处立案，类别由受理员确定。", "You cannot file there; an acceptor decides on the category.")
    : t("选定类别后直接立案；不选则由受理员核实后立案。", "With a category it is filed at once; without one an acceptor files it.");
}

// --- what may have been reported already -------------------------------------------------------

let looking = 0;
async function lookForAlike() {
  const turn = (looking += 1);
  const { category } = draft.fields;
  const territory = form.elements.territory.value;
  if (!category || !territory) { $("alike").hidden = true; return; }
  const query = new URLSearchParams({ territory, category, order: "reported", limit: "5" });
  const answer = await send(`/api/v1/cases?${query}`, undefined, { method: "GET" });
  if (turn !== looking || answer.status !== 200) return;
  const lately = answer.body.rows.filter((row) => Date.now() - Date.parse(row.reported_at) < 14 * 24 * 3600 * 1000).slice(0, 3);
  $("alike-list").replaceChildren(...lately.map((row) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = `/console/cases/${encodeURIComponent(row.case)}`;
    link.textContent = row.case;
    const words = document.createElement("span");
    if (english) words.lang = "zh-CN";
    words.textContent = row.description;
    item.append(link, " ", words);
    return item;
  }));
  $("alike").hidden = !lately.length;
}

// --- sending -----------------------------------------------------------------------------------

/** The request that a report stands for; fixed before it is tried for the first time. */
function bodyOf({ fields, created }, late) {
  const body = { territory: fields.territory, description: fields.description.trim() };
  const spot = { ...(fields.spot ?? {}), ...(fields.address?.trim() ? { address: fields.address.trim() } : {}) };
  if (Object.keys(spot).length) body.spot = spot;
  const reporter = Object.fromEntries([["name", fields.name], ["phone", fields.phone], ["address", fields.home]]
    .map(([name, value]) => [name, value?.trim()]).filter(([, value]) => value));
  if (Object.keys(reporter).length) body.reporter = reporter;
  if (fields.category && fields.files) body.category = fields.category;
  if (late) body.occurred = new Date(created).toISOString();
  return body;
}

/** Try one report as far as it goes: "sent", "waiting" or "refused". */
async function deliver(report) {
  if (!report.case) {
    if (!report.tried) {
      report.body = bodyOf(report, Date.now() - report.written > 5 * 60 * 1000);
      report.tried = Date.now();
      await kept.put(report);
    }
    const answer = await send("/api/v1/cases", report.body, { key: report.id });
    if (!settled(answer)) return "waiting";
    if (answer.status >= 300) return refuse(report, answer.body);
    report.case = answer.body.case;
    await kept.put(report);
  }
  for (const photo of report.photos) {
    if (photo.sent) continue;
    const path = `/api/v1/cases/${encodeURIComponent(report.case)}/attachments?name=${encodeURIComponent(photo.name)}`;
    const answer = await send(path, undefined, { key: photo.key, raw: photo.blob });
    if (!settled(answer)) return "waiting";
    if (answer.status >= 300) return refuse(report, answer.body);
    photo.sent = true;
    await kept.put(report);
  }
  await kept.drop(report.id);
  return "sent";
}

// Without an answer, while the server is busy, or while somebody else is signed in, nothing is
// known: the same key asks again.
let hindered = null; // the last problem of that kind, to be told
function settled({ status, body }) {
  const yes = status > 0 && status < 500 && ![401, 408, 429].includes(status) && !["request.key_in_use", "request.other_person"].includes(body.code);
  hindered = yes || status === 0 ? null : body;
  return yes;
}

async function refuse(report, problem) {
  report.state = "refused";
  report.error = { zh: problem.zh ?? problem.detail, en: problem.en ?? problem.detail, errors: problem.errors };
  await kept.put(report);
  return "refused";
}

/** One window at a time sends what waits. */
const alone = (work) => (navigator.locks ? navigator.locks.request("wangge-send", work) : work());

const sendAll = (asked = false) => alone(async () => {
  let sent = 0;
  for (const report of await kept.all(person)) {
    if (report.state !== "waiting") continue;
    // The server may have forgotten the key by now, and would take the report for a new one.
    if (report.tried && !report.case && Date.now() - report.tried > KEY_LIVES && !asked) continue;
    const became = await deliver(report);
    if (became === "sent") { sent += 1; showSent(report); }
    if (became === "waiting") break;
  }
  await showWaiting();
  return sent;
});

function showSent(report) {
  $("sent").hidden = false;
  $("sent-title").textContent = report.body.category ? t("已上报并立案", "Reported and filed") : t("已上报", "Reported");
  $("sent-text").textContent = `${report.case}${report.photos.length ? t(` · 照片 ${report.photos.length} 张`, ` · photos: ${report.photos.length}`) : ""}`;
  $("sent-case").href = `/console/cases/${encodeURIComponent(report.case)}`;
}

async function showWaiting() {
  const reports = (await kept.all(person)).filter((report) => report.state !== "draft");
  $("waiting").hidden = !reports.length;
  $("waiting-count").textContent = String(reports.length);
  $("send-all").hidden = !reports.some((report) => report.state === "waiting");
  $("waiting-list").replaceChildren(...reports.map((report) => {
    const item = document.createElement("li");
    item.dataset.report = report.id;
    const said = document.createElement("div");
    said.className = "grow";
    const words = document.createElement("span");
    words.className = "clip";
    if (english) words.lang = "zh-CN";
    words.textContent = report.fields.description;
    const state = document.createElement("small");
    state.className = report.state === "refused" ? "red" : "quiet";
    state.textContent = report.state === "refused"
      ? (report.case ? t(`已上报 ${report.case}，但照片未收：`, `Reported as ${report.case}, but a photo was not taken: `) : t("未被受理：", "Refused: ")) + t(report.error.zh, report.error.en)
      : report.tried && !report.case && Date.now() - report.tried > KEY_LIVES
        ? t("等待已久，发送前请先确认没有上报过", "It has waited long: check that it was not reported before you send it")
        : report.case ? t(`已上报 ${report.case}，照片待发`, `Reported as ${report.case}; photos wait`) : hindered ? told(hindered) : t("等待网络", "Waits for the network");
    said.append(words, state);
    item.append(said);
    if (report.state === "refused" && !report.case) item.append(button("pencil", t("修改", "Edit"), () => edit(report), true));
    if (report.state === "refused" || !report.tried) item.append(button("trash", t("删除", "Delete"), async () => { await kept.drop(report.id); await showWaiting(); }, true));
    return item;
  }));
}

/** What was refused becomes the draft again, as a new request. */
async function edit(report) {
  if (draft.fields.description?.trim() || draft.photos.length) {
    draft.state = "draft";
    if (!window.confirm(t("当前草稿将被替换，确定？", "The present draft will be replaced. Go on?"))) return;
  }
  await kept.drop(draft.id);
  await kept.drop(report.id);
  show({ ...begun(), fields: report.fields, photos: report.photos });
  await save();
  await showWaiting();
  form.elements.description.focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!form.dataset.ready || form.hasAttribute("aria-busy")) return;
  clearTimeout(pause);
  read();
  const missing = [["territory", t("请选择网格。", "Choose a grid.")], ["description", t("请描述问题。", "Say what the matter is.")]]
    .find(([name]) => !draft.fields[name].trim());
  const box = form.querySelector("[data-problem]");
  box.hidden = !missing;
  for (const name of ["territory", "description"]) form.elements[name].removeAttribute("aria-invalid");
  if (missing) {
    box.textContent = missing[1];
    form.elements[missing[0]].setAttribute("aria-invalid", "true");
    form.elements[missing[0]].focus();
    return;
  }
  form.setAttribute("aria-busy", "true");
  $("send").classList.add("busy");
  $("sent").hidden = true;
  sending = true;
  const report = { ...draft, state: "waiting", written: Date.now(), created: Date.now(), fields: { ...draft.fields, files: mayFile() ?? false } };
  try {
    await saving;
    await kept.put(report);
    const became = await alone(() => deliver(report));
    if (became === "refused" && !report.case) {
      await kept.drop(report.id);
      draft.id = key();
      sending = false;
      await save();
      showProblem(form, report.error);
      return;
    }
    show(begun());
    $("alike").hidden = true;
    $("kept").textContent = "";
    if (became === "sent") showSent(report);
    else window.wangge.toast(t("已存入待发，有网络后自动发送。", "Kept. It is sent as soon as there is a network."));
    window.scrollTo({ top: 0 });
  } catch (error) {
    box.textContent = t("无法保存在本设备，请检查存储空间。", "It cannot be kept on this device; check its storage. ") + error.message;
    box.hidden = false;
  } finally {
    sending = false;
    $("send").classList.remove("busy");
    form.removeAttribute("aria-busy");
    await showWaiting().catch(() => {});
  }
});

$("send-all").addEventListener("click", async () => {
  if (!await sendAll(true) && !$("waiting").hidden) window.wangge.toast(t("仍未发出，请稍后再试。", "Not sent yet; try again later."), true);
});

function showNetwork() { $("offline").hidden = navigator.onLine; }
window.addEventListener("online", () => { showNetwork(); sendAll(); });
window.addEventListener("offline", showNetwork);

/** The kept draft, with what was typed and taken while it was fetched. */
async function resume() {
  const before = (await kept.all(person).catch(() => [])).findLast(({ state, id }) => state === "draft" && id !== draft.id);
  read();
  const untouched = begun().fields;
  const typed = Object.entries(draft.fields).filter(([name, value]) => value && value !== untouched[name]);
  if (!before) return show(draft);
  const early = draft.id;
  show({ ...before, fields: { ...before.fields, ...Object.fromEntries(typed) }, photos: [...before.photos, ...draft.photos].slice(0, MOST_PHOTOS) });
  if (typed.length || draft.photos.length > before.photos.length) saving = save().then(() => kept.drop(early));
  $("kept").textContent = t("已恢复草稿", "Draft restored");
}

await resume();
showNetwork();
await showWaiting().catch(() => {});
form.dataset.ready = "yes";
if (navigator.onLine) sendAll();
