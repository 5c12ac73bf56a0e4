// 上报: what is typed is kept on the device as it is typed; what cannot be sent waits and is sent
// once, with the key it was given when it was written.
//
// A kept report: {id, person, created, state, fields, photos, body, tried, case, error}. `id` is the
// Idempotency-Key of the report, each photo has one of its own. `state` is "draft", "waiting" (for
// the network) or "refused", as a whole or some of its photos, which then have a `refused` of their
// own. `body` is fixed before the first try, for a key stands for one request.

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
let saved = ""; // what of the draft the device has
const UNSAVED = `typed ${person} report`; // in the session: what the device did not get in time
const TYPED = ["territory", "address", "description", "name", "phone", "home"];

function read() {
  for (const name of TYPED) if (form.elements[name]) draft.fields[name] = form.elements[name].value;
}

const content = () => JSON.stringify([draft.fields, draft.photos.map((photo) => photo.key)]);

function save() {
  if (sending) return saving;
  read();
  const now = content();
  if (now === saved) return saving;
  const empty = !draft.photos.length && !["address", "description", "name", "phone", "home", "category"].some((name) => draft.fields[name]?.trim());
  const copy = { ...draft, fields: { ...draft.fields }, photos: [...draft.photos] };
  saving = saving.then(() => store(copy, empty))
    .then(() => { saved = now; sessionStorage.removeItem(UNSAVED); $("kept").textContent = empty ? "" : t("草稿已存", "Draft kept"); })
    .catch(() => { $("kept").textContent = t("草稿无法保存在本设备", "The draft cannot be kept on this device"); });
  return saving;
}

/** Keep the draft; if another page has sent it meanwhile, what is here is a report of its own. */
async function store(copy, empty) {
  if (await kept.putDraft(copy.id, empty ? null : copy)) return;
  if (draft.id === copy.id) Object.assign(draft, { id: key(), photos: draft.photos.map((photo) => ({ ...photo, key: key() })) });
  if (!empty) await kept.putDraft(draft.id, { ...copy, id: draft.id, photos: [...draft.photos] });
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
  saved = content();
}

form.addEventListener("input", (event) => { if (event.target.type !== "file" && event.target !== combo) saveSoon(); });
form.elements.territory.addEventListener("change", (event) => {
  // Where locating found no grid of one's own, the position belongs to whichever is chosen.
  const { spot, located } = draft.fields;
  if (spot && located && located !== event.target.value) {
    Object.assign(draft.fields, { spot: null, located: null });
    say(t("已改选网格，定位的位置不再使用。", "Another grid is chosen: the located position is not used."));
  }
  showButton();
  lookForAlike();
  saveSoon();
});
document.addEventListener("visibilitychange", () => { if (document.hidden) save(); });
window.addEventListener("pagehide", () => {
  read();
  // The device may not get it in time any more, the session does.
  if (!sending && content() !== saved) sessionStorage.setItem(UNSAVED, JSON.stringify({ id: draft.id, fields: draft.fields }));
  save();
});
$("clear").addEventListener("click", () => {
  const { id } = draft;
  clearTimeout(pause);
  show(begun()); // at once: what is typed from now on is the next one
  saving = saving.then(() => kept.putDraft(id, null)).catch(() => {}); // where nothing can be kept, nothing is
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
  Object.assign(draft.fields, { spot, located: null });
  const answer = await send(`/api/v1/territory/at?longitude=${spot.longitude}&latitude=${spot.latitude}`, undefined, { method: "GET" });
  $("locate").classList.remove("busy");
  const about = t(`精度约 ${Math.round(coords.accuracy)} 米`, `accurate to about ${Math.round(coords.accuracy)} m`);
  const choice = form.elements.territory;
  const grid = answer.body.grids?.find(({ path }) => [...choice.options].some((option) => option.value === path));
  if (answer.status === 0) say(t(`无网络，位置已记录（${about}），请选择网格。`, `No network. The position is kept (${about}); choose the grid.`));
  else if (!grid) say(t(`位置已记录（${about}），但不在您可上报的网格内，请选择网格。`, `The position is kept (${about}) but lies in no grid of yours; choose the grid.`));
  else {
    choice.value = draft.fields.located = grid.path;
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
      await keep(report);
    }
    const answer = await send("/api/v1/cases", report.body, { key: report.id });
    if (!settled(answer)) return "waiting";
    if (answer.status >= 300) return refuse(report, answer.body);
    report.case = answer.body.case;
    await keep(report);
  }
  for (const photo of report.photos) {
    if (photo.sent || photo.refused) continue;
    const path = `/api/v1/cases/${encodeURIComponent(report.case)}/attachments?name=${encodeURIComponent(photo.name)}`;
    const answer = await send(path, undefined, { key: photo.key, raw: photo.blob });
    if (!settled(answer)) return "waiting";
    if (answer.status >= 300) photo.refused = { zh: answer.body.zh ?? answer.body.detail, en: answer.body.en ?? answer.body.detail };
    else photo.sent = true;
    await keep(report);
  }
  const refused = report.photos.find((photo) => photo.refused);
  if (refused) return refuse(report, refused.refused);
  if (!report.unkept) await kept.drop(report.id);
  return "sent";
}

/** Note on the device how far a report is, where the device could keep it at all. */
const keep = (report) => (report.unkept ? undefined : kept.put(report));

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
  report.error = { code: problem.code, zh: problem.zh ?? problem.detail, en: problem.en ?? problem.detail, errors: problem.errors };
  await keep(report);
  return "refused";
}

/** One window at a time sends what waits. */
const alone = (work) => (navigator.locks ? navigator.locks.request("wangge-send", work) : work());

const sendAll = (asked = false) => alone(async () => {
  let sent = 0;
  for (const report of await kept.all(person).catch(() => [])) {
    if (report.state !== "waiting") continue;
    if (forgotten(report) && !asked) continue;
    const became = await deliver(report);
    if (became !== "waiting" && report.case) { sent += 1; showSent(report); }
    if (became === "waiting") break;
  }
  await showWaiting();
  return sent;
});

/** The server may have forgotten the key by now, and would take the report for a new one. */
const forgotten = (report) => report.tried && !report.case && Date.now() - report.tried > KEY_LIVES;

// What waits is tried again by itself, each time after twice as long, and at once with a network.
const SOON = 2000; // milliseconds
let next, patience = SOON;
function plan(waits) {
  clearTimeout(next);
  if (!waits) { patience = SOON; return; }
  next = setTimeout(() => {
    patience = Math.min(patience * 2, 150 * SOON);
    if (navigator.onLine) sendAll(); else plan(true);
  }, patience);
}

/** Which photos of a report were not taken, and why. */
function notTaken(report) {
  const refused = report.photos.filter((photo) => photo.refused);
  if (!refused.length) return "";
  const why = [...new Set(refused.map((photo) => told(photo.refused)))].join(t("；", "; "));
  return t(`${refused.length} 张照片未收：${why}`, `${refused.length} photo(s) not taken: ${why}`);
}

function showSent(report) {
  const photos = report.photos.filter((photo) => photo.sent).length;
  $("sent").hidden = false;
  $("sent-title").textContent = report.body.category ? t("已上报并立案", "Reported and filed") : t("已上报", "Reported");
  $("sent-text").textContent = [report.case, photos && t(`照片 ${photos} 张`, `photos: ${photos}`), notTaken(report)].filter(Boolean).join(" · ");
  $("sent-case").href = `/console/cases/${encodeURIComponent(report.case)}`;
}

async function showWaiting() {
  const reports = (await kept.all(person).catch(() => [])).filter((report) => report.state !== "draft");
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
      ? (report.case ? t(`已上报 ${report.case}，`, `Reported as ${report.case}; `) + notTaken(report) : t("未被受理：", "Refused: ") + told(report.error))
      : forgotten(report)
        ? t("等待已久，发送前请先确认没有上报过", "It has waited long: check that it was not reported before you send it")
        : report.case ? t(`已上报 ${report.case}，照片待发`, `Reported as ${report.case}; photos wait`) : hindered ? told(hindered) : t("等待网络", "Waits for the network");
    said.append(words, state);
    item.append(said);
    if (report.state === "refused" && !report.case && !form.hidden) item.append(button("pencil", t("修改", "Edit"), () => edit(report), true));
    if (report.state === "refused" || !report.tried || forgotten(report)) item.append(button("trash", t("删除", "Delete"), async () => { await kept.drop(report.id); await showWaiting(); }, true));
    return item;
  }));
  plan(reports.some((report) => report.state === "waiting" && !forgotten(report)));
}

/** What was refused becomes the draft again, as a new request. */
async function edit(report) {
  if (draft.fields.description?.trim() || draft.photos.length) {
    draft.state = "draft";
    if (!window.confirm(t("当前草稿将被替换，确定？", "The present draft will be replaced. Go on?"))) return;
  }
  await kept.putDraft(draft.id, null);
  await kept.drop(report.id);
  show({ ...begun(), fields: report.fields, photos: report.photos });
  saved = "";
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
  showBusy(true);
  $("sent").hidden = true;
  try {
    await save();
    sending = true;
    const report = { ...draft, state: "waiting", written: Date.now(), created: Date.now(), fields: { ...draft.fields, files: mayFile() ?? false } };
    const own = await kept.putDraft(report.id, report).catch((error) => {
      if (!navigator.onLine) throw error;
      report.unkept = true; // then it is sent without
      return true;
    });
    if (!own) {
      show(begun());
      window.wangge.toast(t("这件上报已在另一个页面提交。", "This report has been sent from another page."));
      return;
    }
    const became = await alone(() => deliver(report));
    if (became === "refused" && !report.case) {
      if (!report.unkept) await kept.drop(report.id);
      draft.id = key();
      saved = "";
      sending = false;
      await save();
      showProblem(form, report.error);
      return;
    }
    if (became === "waiting" && report.unkept) {
      box.textContent = t("未能发出，也不能保存在本设备：请不要离开此页，稍后再按一次。", "It was not sent and cannot be kept on this device: stay on this page and press once more later.");
      box.hidden = false;
      return;
    }
    show(begun());
    $("alike").hidden = true;
    $("kept").textContent = report.unkept ? t("本设备不能保存，已直接上报", "This device keeps nothing; it was sent without") : "";
    if (report.case) showSent(report);
    if (became === "waiting") window.wangge.toast(t("已存入待发，有网络后自动发送。", "Kept. It is sent as soon as there is a network."));
    window.scrollTo({ top: 0 });
  } catch (error) {
    box.textContent = t("无法保存在本设备，请检查存储空间。", "It cannot be kept on this device; check its storage. ") + error.message;
    box.hidden = false;
  } finally {
    sending = false;
    showBusy(false);
    await showWaiting();
  }
});

/** While it is sent nobody types into it: that would be lost. */
function showBusy(yes) {
  if (yes) form.setAttribute("aria-busy", "true"); else form.removeAttribute("aria-busy");
  $("send").classList.toggle("busy", yes);
  $("clear").disabled = yes;
  for (const part of form.children) if (!part.matches(".send")) part.inert = yes;
}

$("send-all").addEventListener("click", async () => {
  if (!await sendAll(true) && !$("waiting").hidden) window.wangge.toast(t("仍未发出，请稍后再试。", "Not sent yet; try again later."), true);
});

function showNetwork() { $("offline").hidden = navigator.onLine; }
window.addEventListener("online", () => { patience = SOON; showNetwork(); sendAll(); });
window.addEventListener("offline", showNetwork);

/** The kept draft, with what was typed and taken while it was fetched. */
async function resume() {
  const stored = await kept.all(person).catch(() => []);
  const unsaved = JSON.parse(sessionStorage.getItem(UNSAVED));
  sessionStorage.removeItem(UNSAVED);
  const own = stored.filter(({ state, id }) => state === "draft" && id !== draft.id);
  let before = own.find(({ id }) => id === unsaved?.id) ?? own.at(-1);
  const late = unsaved && !stored.some(({ id, state }) => id === unsaved.id && state !== "draft");
  if (late) before = { ...(before?.id === unsaved.id ? before : begun()), ...unsaved };
  read();
  const untouched = begun().fields;
  const typed = Object.entries(draft.fields).filter(([name, value]) => value && value !== untouched[name]);
  if (!before) {
    show(draft);
    if (typed.length || draft.photos.length) saved = "";
    return;
  }
  const early = draft.id;
  show({ ...before, fields: { ...before.fields, ...Object.fromEntries(typed) }, photos: [...before.photos, ...draft.photos].slice(0, MOST_PHOTOS) });
  if (typed.length || late || draft.photos.length > before.photos.length) {
    saved = "";
    saving = save().then(() => kept.drop(early)).catch(() => {});
  }
  $("kept").textContent = t("已恢复草稿", "Draft restored");
}

await resume();
showNetwork();
await showWaiting();
form.dataset.ready = "yes";
if (navigator.onLine) sendAll();
