// The service worker: the report form opens without a network, and nothing else does.
// Kept are the files named above and the page of the form, which says nothing of any case. Every
// other page and every answer of the API goes to the server and is kept nowhere.

const KEPT = `wangge-${VERSION}`;
const FORM = "/console/report";
const PATIENCE = 4000; // milliseconds for which a slow network is waited for

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(KEPT);
    await cache.addAll(FILES);
    await fetch(FORM, { headers: { Accept: "text/html" } }).then((page) => keep(page)).catch(() => {});
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith("wangge-") && name !== KEPT) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (FILES.includes(url.pathname)) {
    event.respondWith(caches.match(request, { ignoreVary: true }).then((kept) => kept ?? fetch(request)));
  } else if (request.mode === "navigate" && url.pathname === FORM) {
    event.respondWith(form(request));
  }
});

async function form(request) {
  const kept = await caches.match(FORM, { ignoreVary: true });
  const fresh = fetch(request).then(async (page) => {
    await keep(page.clone());
    return kept && page.status >= 500 ? kept.clone() : page; // a proxy's word that nobody is behind it
  });
  if (!kept) return fresh;
  const late = new Promise((settle) => setTimeout(() => settle(kept.clone()), PATIENCE));
  return Promise.race([fresh.catch(() => kept.clone()), late]);
}

/** Only the form itself: not the way to signing in, and no refusal. */
async function keep(page) {
  if (page.ok && !page.redirected && new URL(page.url).pathname === FORM) {
    await (await caches.open(KEPT)).put(FORM, page);
  }
}
