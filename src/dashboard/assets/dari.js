// Makes an open page follow what happens. Without it everything works, after a reload.
"use strict";

const sign = document.getElementById("live");
if (sign) follow();

for (const button of document.querySelectorAll("[data-select-all]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const boxes = [...button.closest("fieldset").querySelectorAll("input[type=checkbox]")];
    const all = boxes.every((box) => box.checked);
    for (const box of boxes) box.checked = !all;
  });
}

function follow() {
  const show = (on) => {
    sign.textContent = on ? sign.dataset.on : sign.dataset.off;
    sign.classList.toggle("on", on);
  };
  const regions = () => document.querySelectorAll("[data-live]");
  if (regions().length === 0) return;
  const source = new EventSource("/events");
  source.addEventListener("open", () => show(true));
  source.addEventListener("error", () => show(false));
  // One at a time: a slow bridge is not asked twice.
  let busy = false;
  source.addEventListener("news", async () => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The source of events says whether the bridge is there.
    } finally {
      busy = false;
    }
  });

  function take(page) {
    for (const old of regions()) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.innerHTML === old.dataset.shown || isInUse(old)) continue;
      old.dataset.shown = fresh.innerHTML;
      const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
      const focused = old.contains(document.activeElement) ? place(old, document.activeElement) : -1;
      old.replaceChildren(...fresh.childNodes);
      for (const id of open) {
        const details = document.getElementById(id);
        if (details) details.open = true;
      }
      if (focused >= 0) reachable(old)[focused]?.focus({ preventScroll: true });
    }
  }

  // Somebody is filling something in.
  const isInUse = (region) => {
    const active = document.activeElement;
    return region.contains(active) && active.matches("input, select");
  };
  const reachable = (region) => [...region.querySelectorAll("a, button, input, select, summary")];
  const place = (region, element) => reachable(region).indexOf(element);
}
