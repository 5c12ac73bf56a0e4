// One case: the way through time, what is new, personal data for a purpose, files, and splitting.

{
const { t, send, toast, showProblem, setCookie, key, ofPage, ended } = window.wangge;
const page = document.getElementById("case");
const version = Number(page?.dataset.version);
const api = `/api/v1/cases/${page?.dataset.case}`;
const at = (event, selector) => event.target.closest(selector);

// --- time travel: the slider says where it stands while it moves, and goes there when let go ---

const slider = document.querySelector("[data-travel]");
if (slider) {
  const said = document.getElementById("travel-said");
  const marks = [...document.getElementById("travel-marks").options];
  slider.addEventListener("input", () => {
    said.textContent = marks.find((mark) => mark.value === slider.value)?.label ?? slider.value;
  });
  slider.addEventListener("change", () => {
    sessionStorage.setItem("travelling", "1");
    location.assign(`/console/cases/${page.dataset.case}?version=${slider.value}`);
  });
  if (sessionStorage.getItem("travelling") && page.dataset.past) slider.focus({ preventScroll: true });
  sessionStorage.removeItem("travelling");
}

// --- what is new: offered, never put in place of what somebody is reading ---

let uploading = false;
if (page?.dataset.follow !== undefined) {
  let feed, wait = 3000; // milliseconds
  const query = new URLSearchParams({ case: page.dataset.case, after: page.dataset.follow });
  const listen = () => {
    feed = new EventSource(`/api/v1/feed?${query}`);
    feed.addEventListener("message", (event) => {
      wait = 3000;
      if (event.lastEventId) query.set("after", event.lastEventId);
      if (!event.data || uploading || document.querySelector("form[aria-busy]")) return;
      const news = JSON.parse(event.data);
      document.getElementById("newer-what").textContent = t(`:${news.zh}`, `: ${news.en}`);
      document.getElementById("newer").hidden = false;
    });
    feed.addEventListener("end", again);
    // While the browser comes back by itself it is left alone; only what was refused is asked again.
    feed.addEventListener("error", () => { if (feed.readyState === EventSource.CLOSED) again(); });
  };
  const again = async () => {
    feed.close();
    if (await ended()) return;
    setTimeout(listen, wait * (1 + Math.random()));
    wait = Math.min(wait * 2, 120000);
  };
  listen();
  addEventListener("pagehide", () => feed.close());
}

// --- personal data: shown into this view only, once somebody says what for ---

let given = null; // the purpose and reason of this view
let after = null; // what is to be opened once there is a purpose
const purpose = document.getElementById("purpose");
const within = (details, path) => path.split(".").reduce((value, name) => value?.[name], details);

function fill(element, text) {
  if (text === undefined || text === null || text === "") return;
  element.textContent = text;
  element.classList.add("shown");
  if (document.documentElement.lang === "en") element.lang = "zh-CN";
}

function show(answer) {
  for (const element of page.querySelectorAll("[data-personal]")) fill(element, within(answer, element.dataset.personal));
  const steps = new Map(answer.steps.map((step) => [String(step.version), step.details]));
  for (const element of page.querySelectorAll("[data-step][data-path]")) {
    fill(element, within(steps.get(element.dataset.step) ?? {}, element.dataset.path));
  }
}

document.getElementById("purpose-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.hasAttribute("aria-busy")) return;
  const body = window.wangge.bodyOf(form);
  form.setAttribute("aria-busy", "true");
  const answer = await send(form.dataset.personalForm, body);
  form.removeAttribute("aria-busy");
  if (answer.status !== 200) return showProblem(form, answer.body);
  given = body;
  setCookie("wangge_position", answer.body.position);
  show(answer.body);
  purpose.close();
  toast(t("个人信息已显示，查看已记录。", "Personal data is shown; the look is recorded."));
  after?.();
  after = null;
});
purpose?.addEventListener("close", () => { if (!given) after = null; });
for (const radio of purpose?.querySelectorAll("[name=purpose]") ?? []) {
  radio.addEventListener("change", () => { document.getElementById("f-purpose-reason").required = radio.dataset.explained === "1"; });
}

// --- files ---

const address = (file, tail) => `${api}/attachments/${file}${tail}?${new URLSearchParams(given)}`;

function view(button) {
  const picture = document.getElementById("viewer-picture");
  picture.replaceChildren();
  document.getElementById("h-viewer").textContent = button.querySelector("[data-path]").textContent;
  document.getElementById("viewer-original").href = address(button.dataset.file, "");
  if (button.dataset.media.startsWith("image/")) {
    const image = document.createElement("img");
    image.alt = t("照片的缩略图", "The photo, small");
    image.addEventListener("error", () => { picture.textContent = t("无法显示缩略图。", "It cannot be shown."); });
    image.src = address(button.dataset.file, "/thumbnail");
    picture.append(image);
  }
  document.getElementById("viewer").showModal();
}

function sendFile(file, row) {
  const bar = row.querySelector("progress");
  const state = row.querySelector("span:last-of-type");
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${api}/attachments?${new URLSearchParams({ name: file.name.slice(-100) })}`);
    for (const [name, value] of Object.entries(ofPage())) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", key());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => { bar.value = event.loaded / event.total; });
    request.addEventListener("loadend", () => {
      const done = request.status >= 200 && request.status < 300;
      let problem = {};
      try { problem = JSON.parse(request.responseText); } catch { /* no answer at all */ }
      const position = request.getResponseHeader("X-Wangge-Position");
      if (position) setCookie("wangge_position", position);
      state.textContent = done ? t("已上传", "uploaded") : t(problem.zh ?? "网络不通，请重试。", problem.en ?? "No connection; try again.");
      state.className = done ? "small green" : "small red";
      bar.hidden = !done;
      resolve(done);
    });
    request.send(file);
  });
}

async function upload(input) {
  const box = document.getElementById("upload");
  const rows = document.getElementById("uploads");
  const chosen = [...input.files];
  input.value = "";
  uploading = true;
  box.setAttribute("aria-busy", "true"); // until the page is there that shows them
  let failed = 0;
  for (const file of chosen) {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const state = document.createElement("span");
    const bar = document.createElement("progress");
    name.textContent = file.name;
    name.className = "clip small";
    state.className = "small quiet";
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", file.name);
    row.append(name, state, bar);
    rows.append(row);
    if (file.size > Number(box.dataset.limit)) {
      state.textContent = t("文件太大", "too large");
      state.className = "small red";
      failed += 1;
    } else if (!(await sendFile(file, row))) failed += 1;
  }
  uploading = false;
  const done = failed === 0 && chosen.length > 0;
  if (done) sessionStorage.setItem("done", t("附件已上传", "The files are uploaded"));
  // A form that is being sent brings the page anew itself.
  if (done && !document.querySelector("form[aria-busy]")) location.reload();
  else box.removeAttribute("aria-busy");
}

for (const input of document.querySelectorAll("[data-upload]")) input.addEventListener("change", () => upload(input));

// --- splitting: the parts are gathered into one field ---

const parts = document.querySelector("[data-parts]");
function gather() {
  const children = [...parts.querySelectorAll("[data-part]")].map((row) => ({
    description: row.querySelector("[data-part-text]").value.trim(),
    required: row.querySelector("[data-part-required]").checked,
  })).filter((part) => part.description);
  parts.querySelector("[name=children]").value = children.length ? JSON.stringify(children) : "";
}
parts?.addEventListener("input", gather);

// --- the rest ---

const reached = document.querySelectorAll("#do-callback [name=reached]");
for (const radio of reached) {
  radio.addEventListener("change", () => {
    for (const solved of document.querySelectorAll("#do-callback [name=solved]")) {
      solved.disabled = radio.value !== "true";
      solved.required = radio.value === "true";
    }
  });
}

document.addEventListener("click", async (event) => {
  let button;
  if ((button = at(event, "[data-file]"))) {
    if (given) view(button);
    else { after = () => view(button); purpose?.showModal(); }
  } else if (at(event, "[data-print]")) {
    print();
  } else if ((button = at(event, "[data-copy]"))) {
    // Only over HTTPS there is a clipboard, and not everybody allows it.
    const copied = await navigator.clipboard?.writeText(button.dataset.copy).then(() => true, () => false);
    if (copied) toast(t("编号已复制", "The id is copied"));
    else toast(t("此浏览器不能复制，请选中编号手动复制。", "This browser does not copy; select the id and copy it yourself."), true);
  } else if (at(event, "[data-part-add]")) {
    const row = parts.querySelector("template").content.cloneNode(true);
    const number = parts.querySelectorAll("[data-part]").length + 1;
    row.querySelector("textarea").id = `f-split-${number}`;
    row.querySelector("label").htmlFor = `f-split-${number}`;
    row.querySelector("label").textContent = `${t("子事项的问题描述", "Description of the part")} ${number}`;
    parts.append(row);
    parts.querySelector(`#f-split-${number}`).focus();
  }
});

// On paper all rounds are open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.episode:not([open])")];
  for (const round of closed) round.open = true;
});
addEventListener("afterprint", () => { for (const round of closed) round.open = false; });
}
