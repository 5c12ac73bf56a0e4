// Operations: the read models are asked again every two seconds while somebody looks at them, and
// not while a dialog is open or the keyboard is in the table; a new secret is shown once.
const POLL = 2000;
let seen = {};

setInterval(() => {
  const box = document.getElementById("standings");
  if (!box || document.visibilityState !== "visible" || box.querySelector("dialog[open]") || box.contains(document.activeElement)) return;
  htmx.trigger(box, "tick");
}, POLL);

// Without a connection every look fails alike: that is said once, until one has come through.
let away = false;
document.addEventListener("htmx:sendError", (event) => {
  if (event.target.id !== "standings") return;
  if (away) event.stopPropagation();
  away = true;
}, true);

// How fast a rebuild goes, and how long it will take, from two looks at it.
document.addEventListener("htmx:afterSettle", () => {
  away = false;
  const now = Date.now(), known = {};
  document.querySelectorAll("[data-built]").forEach((told) => {
    const done = Number(told.dataset.built), before = seen[told.dataset.name];
    known[told.dataset.name] = { done, now };
    if (!before || done <= before.done) return;
    const rate = (done - before.done) / ((now - before.now) / 1000);
    const left = Math.round((Number(told.dataset.of) - done) / rate);
    told.textContent += wangge.t(` · 每秒 ${Math.round(rate)} · 还需 ${left} 秒`, ` · ${Math.round(rate)}/s · ${left} s left`);
  });
  seen = known;
});

document.addEventListener("wangge:done", (event) => {
  if (!event.target.matches("[data-secret]") || !event.detail.secret) return;
  const shown = document.getElementById("secret");
  shown.querySelector("[data-shown]").textContent = event.detail.secret;
  shown.showModal();
});
