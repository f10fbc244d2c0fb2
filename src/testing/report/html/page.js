// The page reads without this. It adds search, filter, order, keys, and a button that copies.
"use strict";
(() => {
  const list = document.getElementById("tests");
  const tests = [...list.querySelectorAll(":scope > .test")];
  const tools = document.getElementById("tools");
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const buttons = [...tools.querySelectorAll("button[data-word]")];
  const rows = tests.map((test, index) => ({
    test,
    index,
    head: test.firstElementChild,
    word: test.dataset.word,
    text: test.querySelector(".name").textContent.toLowerCase(),
    why: test.querySelector(".why").textContent.toLowerCase(),
    took: Number(test.dataset.took),
    place: Number(test.id.slice(1)),
  }));
  const wanted = new Set();

  // Each word must be in the name or in the reason.
  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (wanted.size === 0 || wanted.has(row.word)) &&
        words.every((word) => row.text.includes(word) || row.why.includes(word));
      row.test.hidden = !fits;
      count += fits;
    }
    shown.textContent = count === rows.length ? `${count} tests` : `${count} of ${rows.length}`;
    none.hidden = count > 0;
  }

  const orders = {
    worst: (a, b) => a.index - b.index,
    slow: (a, b) => b.took - a.took || a.index - b.index,
    run: (a, b) => a.place - b.place,
    name: (a, b) => a.text < b.text ? -1 : a.text > b.text ? 1 : a.index - b.index,
  };

  function sort() {
    rows.sort(orders[order.value]);
    list.append(...rows.map((row) => row.test));
  }

  // A test that is opened shows its first bad line, inside its console.
  function reveal(test) {
    for (const mark of test.querySelectorAll("pre > mark")) {
      const console = mark.parentElement;
      console.scrollTop = mark.offsetTop - console.offsetTop - console.clientHeight / 3;
    }
  }

  // A link to a test opens it, also when a filter hides it.
  function follow() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const test = target && target.closest(".test");
    if (!test) return;
    if (test.hidden) {
      wanted.clear();
      for (const button of buttons) button.setAttribute("aria-pressed", "false");
      search.value = "";
      show();
    }
    test.open = true;
    target.scrollIntoView();
    if (target === test) test.firstElementChild.focus({ preventScroll: true });
  }

  function step(by) {
    const visible = rows.filter((row) => !row.test.hidden);
    if (visible.length === 0) return;
    const at = visible.findIndex((row) => row.test.contains(document.activeElement));
    const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), visible.length - 1);
    visible[next].head.focus();
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      const { word } = button.dataset;
      const on = !wanted.has(word);
      if (on) wanted.add(word); else wanted.delete(word);
      button.setAttribute("aria-pressed", String(on));
      show();
    });
  }
  search.addEventListener("input", show);
  order.addEventListener("change", sort);
  list.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.matches(".test")) reveal(event.target);
  }, true);
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === search) {
      if (event.key === "Escape") { search.value = ""; show(); search.blur(); }
      return;
    }
    if (event.target.matches("select")) return;
    if (event.key === "/") { event.preventDefault(); search.focus(); search.select(); }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });
  if (navigator.clipboard) {
    for (const box of document.querySelectorAll(".repeat")) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.textContent = "Copy";
      copy.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(box.querySelector("code").textContent);
          copy.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(box.querySelector("code"));
        }
      });
      box.append(copy);
    }
  }
  tools.hidden = false;
  document.documentElement.classList.add("live");
  show();
  follow();
})();
