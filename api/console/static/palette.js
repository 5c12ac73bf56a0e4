// The command palette (Ctrl-K), on every page: where one can go, the views of the worklist, cases by
// their words or id, language, theme and the way out. It does nothing that a page does not offer.
(() => {
  const { t } = window.wangge;
  const PREFIX = "/console/worklist";
  let dialog, input, list, note, shown = [], at = 0, asked, typed;

  const click = (selector) => () => document.querySelector(selector)?.click();
  const go = (to) => () => location.assign(to);

  /** All that can be done from here, with what it is found by. */
  function commands() {
    const pages = [...document.querySelectorAll(".rail .go")].filter((link) => !link.matches(".phone"))
      .map((link) => ({ says: link.title, kind: t("页面", "Page"), act: go(link.href) }));
    const views = [["todo", "待我处理", "For me"], ["due_soon", "即将超期", "Nearly due"], ["to_check", "待核查", "To check"], ["sent_back", "退回", "Sent back"], ["open", "全部在办", "In hand"], ["ended", "已办", "Ended"]]
      .map(([view, chinese, english]) => ({ says: t(chinese, english), kind: t("视图", "View"), act: go(`${PREFIX}?view=${view}`) }));
    return [
      ...pages, ...views,
      { says: t("我的账号", "My account"), kind: t("页面", "Page"), act: go("/console/more") },
      { says: t("切换为英文", "Switch to Chinese"), kind: t("显示", "Display"), act: click("[data-language]") },
      { says: t("切换明暗主题", "Light or dark"), kind: t("显示", "Display"), act: click("[data-theme-switch]") },
      { says: t("退出登录", "Sign out"), kind: t("账号", "Account"), act: click("[data-sign-out]") },
    ];
  }

  function make() {
    dialog = document.createElement("dialog");
    dialog.id = "palette";
    dialog.className = "palette";
    dialog.setAttribute("aria-label", t("命令面板", "Command palette"));
    input = document.createElement("input");
    input.type = "text";
    input.maxLength = 100;
    input.placeholder = t("去哪里，或搜索事项…", "Where to, or search cases…");
    for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list", "aria-label": input.placeholder, autocomplete: "off" })) input.setAttribute(name, value);
    list = document.createElement("ul");
    list.id = "palette-list";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", t("结果", "Results"));
    note = document.createElement("p");
    note.className = "note";
    note.setAttribute("role", "status");
    dialog.append(input, list, note);
    document.body.append(dialog);
    input.addEventListener("input", () => { show(); seek(); });
    dialog.addEventListener("keydown", key);
    list.addEventListener("click", (event) => { const line = event.target.closest("li"); if (line) act(Number(line.dataset.at)); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  function open() {
    if (document.querySelector("dialog[open]") || !document.querySelector(".rail")) return;
    if (!dialog) make();
    input.value = "";
    show();
    dialog.showModal();
    input.focus();
  }

  function show(cases = []) {
    const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (each) => words.every((word) => each.says.toLowerCase().includes(word));
    shown = [...commands().filter(fits), ...cases];
    at = 0;
    list.replaceChildren(...shown.map((each, index) => {
      const line = document.createElement("li");
      line.id = `palette-${index}`;
      line.dataset.at = index;
      line.setAttribute("role", "option");
      const says = document.createElement("span");
      says.textContent = each.says;
      if (each.lang) says.lang = each.lang;
      const kind = document.createElement("small");
      kind.textContent = each.kind;
      line.append(says, kind);
      return line;
    }));
    note.textContent = shown.length ? "" : t("没有找到。", "Nothing found.");
    mark();
  }

  function mark() {
    [...list.children].forEach((line, index) => line.setAttribute("aria-selected", String(index === at)));
    if (shown.length) input.setAttribute("aria-activedescendant", `palette-${at}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function act(index) {
    const wanted = shown[index];
    if (!wanted) return;
    dialog.close();
    wanted.act();
  }

  function key(event) {
    if (event.isComposing) return; // the key is the input method's
    if (event.key === "ArrowDown") at = Math.min(at + 1, shown.length - 1);
    else if (event.key === "ArrowUp") at = Math.max(at - 1, 0);
    else if (event.key === "Enter") { event.preventDefault(); return act(at); }
    else return;
    event.preventDefault();
    mark();
  }

  /** Cases with these words, once nobody has typed for a moment; only the last question counts. */
  function seek() {
    clearTimeout(typed);
    asked?.abort();
    const words = input.value.trim();
    if (words.length < 2) return;
    typed = setTimeout(async () => {
      asked = new AbortController();
      try {
        const query = new URLSearchParams({ text: words, limit: "8", order: "updated" });
        const answer = await fetch(`/api/v1/cases?${query}`, { headers: { Accept: "application/json" }, signal: asked.signal });
        if (!answer.ok) return;
        const { rows } = await answer.json();
        if (input.value.trim() !== words) return;
        show(rows.map((row) => ({
          says: `${row.case} ${row.category_zh ?? ""} ${row.description}`, lang: "zh-CN", kind: t("事项", "Case"),
          act: go(`/console/cases/${encodeURIComponent(row.case)}`),
        })));
      } catch { /* typed on, or no connection: the commands stay */ }
    }, 250);
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (dialog?.open) dialog.close(); else open();
    }
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-palette]")) open(); });
})();
