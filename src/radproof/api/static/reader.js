// SPDX-License-Identifier: Apache-2.0
// Keys while the pair has the focus, zoom, and the time of an answer. The test works without this.
"use strict";
(() => {
  const form = document.querySelector("[data-trial]");
  if (!form) return;
  const watched = document.querySelector("[data-watched]");
  const pair = document.querySelector("[data-pair]");
  const zoom = document.querySelector("[data-zoom]");
  const [left, right] = form.querySelectorAll("button[name=answer]");
  const frames = [...pair.querySelectorAll(".frame")];
  const images = [...pair.querySelectorAll("img")];
  let began = performance.now();
  let sent = false;
  Promise.all(images.map((image) => image.decode().catch(() => undefined))).then(() => { began = performance.now(); });

  form.addEventListener("submit", (event) => {
    if (sent) { event.preventDefault(); return; }
    sent = true;
    form.elements.seconds.value = ((performance.now() - began) / 1000).toFixed(3);
  });
  const toggle = () => {
    const large = pair.classList.toggle("large");
    zoom.setAttribute("aria-pressed", String(large));
    zoom.textContent = large ? "Zoom out" : "Zoom in";
    for (const frame of large ? frames : []) {
      frame.scrollTo((frame.scrollWidth - frame.clientWidth) / 2, (frame.scrollHeight - frame.clientHeight) / 2);
    }
  };
  document.querySelector("[data-tools]").hidden = false;
  zoom.addEventListener("click", toggle);
  for (const frame of frames) {
    frame.addEventListener("scroll", () => {
      for (const other of frames) {
        if (other !== frame && (other.scrollLeft !== frame.scrollLeft || other.scrollTop !== frame.scrollTop)) {
          other.scrollTo(frame.scrollLeft, frame.scrollTop);
        }
      }
    });
  }
  watched.tabIndex = -1;
  watched.focus();
  watched.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const scrolling = pair.classList.contains("large") && frames.includes(document.activeElement);
    if (event.key === "1" || (event.key === "ArrowLeft" && !scrolling)) { event.preventDefault(); left.click(); }
    else if (event.key === "2" || (event.key === "ArrowRight" && !scrolling)) { event.preventDefault(); right.click(); }
    else if (event.key === "z" || event.key === "Z") { event.preventDefault(); toggle(); }
  });
})();
