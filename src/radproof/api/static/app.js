// SPDX-License-Identifier: Apache-2.0
// Small comforts. Every page does its work without them.
"use strict";
(() => {
  const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = csrf;
  });

  // What a page waited for is over: the page is shown anew, unless somebody is at work on it; then a link stands there.
  let typed = false;
  document.addEventListener("input", () => (typed = true));
  document.addEventListener("htmx:afterSettle", () => {
    const busy = typed || document.querySelector("main form :focus, main details[open]");
    if (document.querySelector("[data-over]") && !busy) window.location.reload();
  });

  document.addEventListener("submit", (event) => {
    const words = event.target.dataset?.confirm;
    if (words && !window.confirm(words)) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of all("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  const duration = (seconds) => {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };

  const between = ({ left_low: low, left_high: high }) =>
    typeof low === "number" && typeof high === "number" ? ` (${duration(low)} to ${duration(high)})` : "";

  // A run that is watched: <section data-events="…" data-state="…"> with [data-live] inside.
  for (const section of all("[data-events]")) {
    const source = new EventSource(section.dataset.events);
    const put = (name, text) => {
      const place = section.querySelector(`[data-live="${name}"]`);
      if (place && place.textContent !== text) place.textContent = text;
    };
    let stage = "";
    source.addEventListener("progress", (event) => {
      const told = JSON.parse(event.data);
      if (told.state !== section.dataset.state) {
        source.close();
        window.location.replace(window.location.pathname);
        return;
      }
      if (told.stage) put("stage", told.stage);
      put("part", typeof told.stage_share === "number" ? `${Math.round(100 * told.stage_share)} % of this stage` : "");
      put("share", typeof told.share === "number" ? `${Math.round(100 * told.share)} % of the run` : "");
      put("left", told.state === "running" && typeof told.left === "number" ? `about ${duration(told.left)} left${between(told)}` : "");
      put("note", told.note ?? "");
      const bar = section.querySelector("progress");
      if (bar && typeof told.share === "number") bar.value = told.share;
      if (told.stage && told.stage !== stage) put("said", (stage = told.stage));
    });
  }

  // A form with files: how much has been sent, and how long the rest takes.
  for (const form of all("form[data-upload]")) {
    const show = (name) => form.querySelector(`[data-upload-${name}]`);
    const refuse = (words) => {
      show("progress").hidden = true;
      show("error").hidden = false;
      show("error").textContent = words;
      for (const button of all("button", form)) button.disabled = false;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const most = Number(form.dataset.upload);
      const sizes = all('input[type="file"]', form).flatMap((input) => [...input.files]).map((file) => file.size);
      show("error").hidden = true;
      if (sizes.some((size) => size > most)) return refuse(`A file is larger than ${Math.round(most / 1e6)} MB, which is what one may be here.`);
      const request = new XMLHttpRequest();
      const began = performance.now();
      request.open("POST", form.action);
      request.setRequestHeader("X-CSRF-Token", csrf);
      request.upload.addEventListener("progress", (sent) => {
        if (!sent.lengthComputable) return;
        const share = sent.loaded / sent.total;
        form.querySelector("progress").value = share;
        show("text").textContent = share < 1 ? `Uploading: ${Math.round(100 * share)} %` : "Uploaded; being kept";
        const seconds = (performance.now() - began) / 1000;
        show("left").textContent = seconds > 2 && share < 1 ? `${duration((seconds * (1 - share)) / share)} left` : "";
      });
      request.addEventListener("load", () => {
        if (request.status < 400) return window.location.assign(request.responseURL);
        const answer = new DOMParser().parseFromString(request.responseText, "text/html");
        refuse(answer.querySelector("main [data-detail]")?.textContent ?? "The server refused it.");
      });
      request.addEventListener("error", () => refuse("The connection was lost. Nothing was kept; send it again."));
      show("progress").hidden = false;
      for (const button of all("button", form)) button.disabled = true;
      request.send(new FormData(form));
    });
  }
})();
