// SPDX-License-Identifier: Apache-2.0
// A result's page: the slider shows boxes of the table below it, the summary can be filtered. All figures are the page's.
"use strict";
(() => {
  const root = document.querySelector(".result[data-run]");
  if (!root) return;

  const slider = root.querySelector("[data-budget]");
  const range = slider?.querySelector("#step");
  if (range) {
    const word = slider.querySelector("#step-word");
    const said = slider.querySelector("#budget-said");
    const goal = slider.querySelector("#goal");
    const defence = slider.querySelector("#defence");
    const words = [...slider.querySelectorAll("#stops option")].map((one) => one.label);
    slider.querySelector("[data-no-script]").hidden = true;
    slider.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    let waiting = 0;
    let asked = null;

    const ladder = () => [...slider.querySelectorAll("[data-goal]")].find((one) => one.dataset.goal === goal.value);

    const show = () => {
      const step = range.value;
      word.value = words[step];
      range.setAttribute("aria-valuetext", words[step]);
      const told = [];
      for (const one of slider.querySelectorAll("[data-goal]")) {
        one.hidden = one !== ladder();
        for (const box of one.querySelectorAll("[data-step]")) box.classList.toggle("chosen", box.dataset.step === step);
        for (const slot of one.querySelectorAll(".slot")) {
          const box = one.querySelector(`tbody tr[data-row="${slot.dataset.row}"] td[data-step="${step}"]`);
          slot.replaceChildren(...[...box.childNodes].map((node) => node.cloneNode(true)));
          const value = box.querySelector(".v");
          if (!one.hidden && value) told.push(`${slot.previousElementSibling.textContent} ${value.textContent} ${box.querySelector(".iv").textContent}`);
        }
      }
      return `${words[step]}: ${told.join("; ")}`;
    };

    const follow = () => {
      const query = new URLSearchParams({ step: range.value, goal: goal.value, ...(defence ? { defence: defence.value } : {}) });
      history.replaceState(null, "", `?${query}`);
      clearTimeout(waiting);
      waiting = setTimeout(async () => {
        asked?.abort();
        asked = new AbortController();
        const place = document.getElementById("moment-place");
        try {
          const answer = await fetch(`/runs/${root.dataset.run}/moment?${query}`, { signal: asked.signal });
          if (!answer.ok) throw new Error(String(answer.status));
          const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
          place.replaceChildren(...drawn.body.childNodes);
        } catch (error) {
          if (error.name !== "AbortError") said.textContent = "The table by class could not be loaded; reload the page.";
        }
      }, 180);
    };

    const changed = () => {
      said.textContent = show();
      follow();
    };
    range.addEventListener("input", changed);
    goal.addEventListener("change", changed);
    defence?.addEventListener("change", changed);
    for (const link of slider.querySelectorAll("thead a")) {
      link.addEventListener("click", (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        range.value = link.parentElement.dataset.step;
        changed();
      });
    }
    show(); // browsers keep a form's values over a reload
    if (new URLSearchParams(location.search).get("step") !== range.value && range.value !== range.defaultValue) follow();
  }

  const summary = root.querySelector("[data-summary]");
  if (summary) {
    const rows = [...summary.querySelectorAll("tbody tr")];
    const place = summary.querySelector("[data-filters]");
    const count = summary.querySelector("[data-count]");
    const heads = [...summary.querySelectorAll("thead th")].map((one) => one.textContent);
    const chosen = new Map();
    const apply = () => {
      let left = 0;
      for (const row of rows) {
        row.hidden = [...chosen].some(([column, value]) => value && row.cells[column].textContent !== value);
        left += row.hidden ? 0 : 1;
      }
      count.textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
    };
    for (const column of [0, 1, 2, 3]) {
      const values = [...new Set(rows.map((row) => row.cells[column].textContent))].filter(Boolean);
      if (values.length < 2) continue;
      const field = document.createElement("div");
      const label = document.createElement("label");
      const select = document.createElement("select");
      field.className = "field";
      select.id = label.htmlFor = `filter-${column}`;
      label.textContent = heads[column];
      select.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
      select.autocomplete = "off";
      select.addEventListener("change", () => {
        chosen.set(column, select.value);
        apply();
      });
      field.append(label, select);
      place.append(field);
    }
    place.hidden = false;
    count.setAttribute("role", "status");
  }
})();
