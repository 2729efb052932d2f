// Two stages side by side, and what an op of one became in the other: lines that share a word of the model. One layer of
// the model alone, with what belongs to no layer.
(() => {
  const root = document.documentElement;
  root.classList.add("script");
  const panes = [...document.querySelectorAll(".pane")];
  const choices = [...document.querySelectorAll(".choice select")];
  const lines = panes.map((pane) => [...pane.querySelectorAll("[data-w]")]);
  const words = (line) => line.dataset.w.split(" ");

  const show = () => {
    panes.forEach((pane, i) => (pane.hidden = !choices.some((choice) => +choice.value === i)));
    const [left, right] = choices.map((choice) => +choice.value);
    panes.forEach((pane, i) => (pane.style.order = i === left ? 0 : i === right ? 1 : 2));
  };
  choices.forEach((choice, i) => {
    choice.value = Math.min(i, panes.length - 1);
    choice.addEventListener("change", show);
  });
  show();

  const mark = (line, name) => {
    const wanted = new Set(words(line));
    const found = [];
    panes.forEach((pane, i) => {
      if (pane.hidden) return;
      const same = lines[i].filter((other) => !other.closest("[hidden]") && words(other).some((word) => wanted.has(word)));
      same.forEach((other) => other.classList.add(name));
      if (!pane.contains(line) && same.length) found.push([pane, same[0]]);
    });
    return found;
  };
  const clear = (name) => document.querySelectorAll("." + name).forEach((line) => line.classList.remove(name));

  const layer = document.querySelector(".layers select");
  const parts = [...document.querySelectorAll("[data-layer]")];
  const choose = () => parts.forEach((part) => (part.hidden = layer.value !== "" && part.dataset.layer !== layer.value));
  layer.addEventListener("change", choose);
  choose();

  // A link into something folded unfolds it, one to another layer chooses all.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target && target.hidden) {
      layer.value = "";
      choose();
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  let pinned = null;
  const stages = document.querySelector(".panes");
  if (!stages) return;
  stages.addEventListener("mouseover", (event) => {
    const line = event.target.closest("[data-w]");
    clear("on");
    if (line) mark(line, "on");
  });
  stages.addEventListener("mouseleave", () => clear("on"));
  stages.addEventListener("click", (event) => {
    const line = event.target.closest("[data-w]");
    clear("pin");
    pinned = line === pinned ? null : line;
    if (!pinned) return;
    for (const [pane, first] of mark(pinned, "pin")) {
      const box = pane.querySelector("pre");
      box.scrollTop += first.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
    }
  });
})();
