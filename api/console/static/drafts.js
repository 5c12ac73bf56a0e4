// What somebody has written and not sent yet, kept on this device: drafts and what waits to be sent.
// Each is its person's own: whoever else signs in on the device neither sees nor sends it.

let opened;

function database() {
  opened ??= new Promise((settle, fail) => {
    const request = indexedDB.open("wangge-reports", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("reports", { keyPath: "id" }).createIndex("person", "person");
    request.onsuccess = () => settle(request.result);
    request.onerror = () => { opened = undefined; fail(request.error); };
  });
  return opened;
}

async function within(mode, ask) {
  const transaction = (await database()).transaction("reports", mode);
  const request = ask(transaction.objectStore("reports"));
  return new Promise((settle, fail) => {
    transaction.oncomplete = () => settle(request.result);
    transaction.onerror = transaction.onabort = () => fail(transaction.error);
  });
}

/** All of a person, the oldest first. */
export const all = async (person) =>
  (await within("readonly", (store) => store.index("person").getAll(person))).sort((a, b) => a.created - b.created);
export const one = (id) => within("readonly", (store) => store.get(id));
export const put = (report) => within("readwrite", (store) => store.put(report));
export const drop = (id) => within("readwrite", (store) => store.delete(id));

/** Keep a report as a draft, or without one drop it, unless that id is no draft any more, for another
 * page has sent it. Answers whether it was one. */
export const putDraft = (id, report) => within("readwrite", (store) => {
  const answer = { result: true };
  const before = store.get(id);
  before.onsuccess = () => {
    if (before.result && before.result.state !== "draft") answer.result = false;
    else if (report) store.put(report);
    else store.delete(id);
  };
  return answer;
});

/** Before somebody signs out: whether that may go on, though what is not sent will be deleted. */
export async function mayLeave(person, t) {
  const kept = await all(person).catch(() => []);
  if (kept.length) {
    const waiting = kept.filter((report) => report.state !== "draft").length;
    const said = waiting
      ? t(`还有 ${waiting} 件上报尚未发出。退出后，未发出的上报和草稿将从本设备删除，无法恢复。确定退出？`,
        `${waiting} report(s) have not been sent. Signing out deletes them and any draft from this device for good. Sign out?`)
      : t("还有未发出的草稿。退出后草稿将从本设备删除，无法恢复。确定退出？",
        "There is a draft that was not sent. Signing out deletes it from this device for good. Sign out?");
    return window.confirm(said);
  }
  return true;
}

/** After somebody has signed out. */
export async function forget(person) {
  for (const report of await all(person).catch(() => [])) await drop(report.id);
}
