// SPDX-License-Identifier: Apache-2.0
// Drop an image, see it, and get the answer without leaving the page. The form works without this.
"use strict";
(() => {
  const form = document.querySelector("[data-screen]");
  if (!form) return;
  const find = (name) => document.querySelector(`[data-${name}]`);
  const names = ["drop", "told", "preview", "blind", "answer", "status", "none"];
  const [drop, told, preview, blind, place, status, none] = names.map(find);
  const input = form.elements.image;
  const button = form.querySelector("button");
  const shown = preview.querySelector("img");
  let address = "";
  let asked = 0;
  let request = null;

  const rest = () => {
    request = null;
    button.disabled = false;
    button.textContent = "Screen the image";
    place.removeAttribute("aria-busy");
  };
  const forget = () => { // an answer stands beside nothing but what it was asked about
    asked++;
    request?.abort();
    rest();
    place.replaceChildren(none.content.cloneNode(true));
    status.textContent = "";
  };

  const show = () => {
    if (address) URL.revokeObjectURL(address);
    address = "";
    preview.hidden = blind.hidden = true;
    const file = input.files[0];
    if (!file) return;
    address = URL.createObjectURL(file);
    shown.src = address;
  };
  shown.addEventListener("load", () => { preview.hidden = false; });
  shown.addEventListener("error", () => { blind.hidden = !address; });
  input.addEventListener("change", show);
  for (const name of ["input", "change"]) form.addEventListener(name, forget);

  told.hidden = false;
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length !== 1) { status.textContent = "Drop one image at a time."; return; }
    input.files = event.dataTransfer.files;
    forget();
    show();
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    forget();
    const number = asked;
    request = new AbortController();
    button.disabled = true;
    place.setAttribute("aria-busy", "true");
    status.textContent = "The image is being screened.";
    button.textContent = "Screening…";
    try {
      const answer = await fetch(form.action, {
        method: "POST", body: new FormData(form), signal: request.signal,
        headers: { "X-CSRF-Token": form.elements.csrf_token.value, "X-Fragment": "answer" },
      });
      const text = await answer.text();
      const parsed = new DOMParser().parseFromString(text, "text/html").querySelector("[data-said]");
      if (number !== asked) return;
      if (!parsed) { status.textContent = "Something went wrong. Load the page again."; return; }
      place.replaceChildren(parsed);
      status.textContent = parsed.dataset.said;
      place.querySelector("h2").focus();
    } catch {
      if (number === asked) status.textContent = "The server could not be reached. Try again.";
    } finally {
      if (number === asked) rest();
    }
  });
})();
