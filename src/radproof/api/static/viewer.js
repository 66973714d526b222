// SPDX-License-Identifier: Apache-2.0
// The viewer: two pictures on a canvas, with a divider, window and level, zoom, and an overlay. Pictures that the
// run does not keep are asked for when they are chosen.
"use strict";
(() => {
  const root = document.querySelector("[data-viewer]");
  if (!root) return;
  const find = (query) => root.querySelector(query);
  const stage = find(".stage");
  const canvas = stage.querySelector("canvas");
  const context = canvas.getContext("2d");
  const status = find("[data-status]");
  const dials = { split: find("#split"), window: find("#window"), level: find("#level"), opacity: find("#opacity") };
  const names = { original: "Original", attacked: "Attacked", defended: "Defended" };
  const overlays = { "": "No overlay", difference: `Difference, amplified ${root.dataset.amplified || "?"} times`, cam_before: "Grad-CAM before", cam_after: "Grad-CAM attacked" };
  const titles = { defended: "Defended picture", cam_before: "Grad-CAM before", cam_after: "Grad-CAM attacked" };
  const plain = { split: 50, window: 255, level: 127.5, opacity: 70, zoom: 1, x: 0, y: 0, mode: "swipe", pair: "original attacked", overlay: "" };
  const store = `viewer:${root.dataset.run}`;
  const state = { ...plain };
  const sources = new Map(); // kind -> ImageData
  const drawn = new Map(); // "kind window level" -> canvas
  const drawable = new Set((root.dataset.drawn || "").split(" ").filter(Boolean)); // kinds that the server draws
  const asking = new Set();
  const note = find("[data-drawing]");
  const wrong = find("[data-wrong]");
  const patience = 12; // times that a busy server is asked
  let size = [1, 1];
  let asked = 0;
  let spoken = 0;

  const say = (text) => {
    clearTimeout(spoken);
    spoken = setTimeout(() => (status.textContent = text), 120);
  };
  const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
  const offscreen = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

  /* Pictures */
  const keep = (kind, image, width, height) => {
    const within = offscreen(width, height).getContext("2d", { willReadFrequently: true });
    within.drawImage(image, 0, 0);
    sources.set(kind, within.getImageData(0, 0, width, height));
  };

  const load = async () => {
    const images = [...root.querySelectorAll("img[data-kind]")];
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
    for (const image of images) {
      if (image.naturalWidth) keep(image.dataset.kind, image, image.naturalWidth, image.naturalHeight);
    }
    return sources.has("original") && sources.has("attacked");
  };

  const pause = (seconds) => new Promise((go) => setTimeout(go, 1000 * seconds));
  const requested = async (kind) => {
    for (let times = 1; ; times++) {
      const answer = await fetch(`${root.dataset.address}${kind}.png`, { headers: { Accept: "image/png, application/problem+json" } });
      const wait = Number(answer.headers.get("Retry-After"));
      if ([429, 503].includes(answer.status) && wait && times < patience) {
        await pause(Math.min(wait, 10));
        continue;
      }
      if (answer.ok && answer.headers.get("Content-Type") === "image/png") return createImageBitmap(await answer.blob());
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.detail || "the server did not draw this picture; load the page again");
    }
  };

  const chosen = () => [...state.pair.split(" "), state.overlay];
  const tell = (place, text) => {
    if (text && place.textContent !== text) say(text);
    place.textContent = text;
    place.hidden = !text;
  };
  const telling = () => {
    const now = chosen().filter((kind) => asking.has(kind));
    tell(note, now.length ? `Being drawn: ${now.map((kind) => titles[kind]).join(" and ")}…` : "");
  };

  // Whatever is chosen and not there is asked for; what fails gives way to the pictures that are there.
  const request = async (kind) => {
    asking.add(kind);
    telling();
    let failed = "";
    try {
      const image = await requested(kind);
      keep(kind, image, image.width, image.height);
    } catch (error) {
      failed = error instanceof TypeError ? "the server cannot be reached" : error.message;
    }
    asking.delete(kind);
    if (failed && chosen().includes(kind)) {
      tell(wrong, `${titles[kind]}: ${failed}`);
      change(state.overlay === kind ? { overlay: "" } : { pair: plain.pair });
      return;
    }
    telling();
    if (!failed && chosen().includes(kind)) say(`${titles[kind]} is there`);
    later();
  };

  const windowed = (kind) => {
    const key = `${kind} ${state.window} ${state.level}`;
    const known = drawn.get(key);
    if (known) return known;
    const from = sources.get(kind);
    const made = offscreen(from.width, from.height);
    const to = new ImageData(from.width, from.height);
    const low = state.level - state.window / 2;
    const table = new Uint8ClampedArray(256);
    for (let grey = 0; grey < 256; grey++) table[grey] = ((grey - low) * 255) / state.window;
    for (let at = 0; at < from.data.length; at += 4) {
      to.data[at] = table[from.data[at]];
      to.data[at + 1] = table[from.data[at + 1]];
      to.data[at + 2] = table[from.data[at + 2]];
      to.data[at + 3] = 255;
    }
    made.getContext("2d").putImageData(to, 0, 0);
    if (drawn.size > 12) drawn.clear();
    drawn.set(key, made);
    return made;
  };

  // Orange where the attack made a pixel brighter, blue where darker; clear where nothing changed.
  const overlay = () => {
    const kind = state.overlay;
    const from = sources.get(kind);
    if (!from) return null;
    const known = drawn.get(kind);
    if (known) return known;
    const made = offscreen(from.width, from.height);
    const to = new ImageData(new Uint8ClampedArray(from.data), from.width, from.height);
    if (kind === "difference") {
      for (let at = 0; at < to.data.length; at += 4) {
        const change = (from.data[at] + from.data[at + 1] + from.data[at + 2]) / 3 - 127.5;
        const strength = Math.abs(change) <= 1 ? 0 : Math.abs(change) * 2;
        to.data.set(change > 0 ? [255, 140, 20, strength] : [40, 130, 255, strength], at);
      }
    }
    made.getContext("2d").putImageData(to, 0, 0);
    drawn.set(kind, made);
    return made;
  };

  /* Drawing */
  const place = (left, width, height) => {
    const scale = Math.min(width / size[0], height / size[1]) * state.zoom;
    const [wide, high] = [size[0] * scale, size[1] * scale];
    return [left + (width - wide) / 2 + state.x * scale, (height - high) / 2 + state.y * scale, wide, high];
  };

  const put = (kind, left, width, height, from, to) => {
    if (!sources.has(kind)) return; // it is being drawn
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, height);
    context.clip();
    const at = place(left, width, height);
    context.imageSmoothingEnabled = at[2] / size[0] < 3;
    context.drawImage(windowed(kind), ...at);
    const over = overlay();
    if (over && state.opacity) {
      context.globalAlpha = state.opacity / 100;
      context.drawImage(over, ...at);
    }
    context.restore();
  };

  const draw = () => {
    asked = 0;
    const { width, height } = canvas;
    const [first, second] = state.pair.split(" ");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (state.mode === "swipe") {
      const cut = Math.round((state.split / 100) * width);
      put(second, 0, width, height, 0, width);
      put(first, 0, width, height, 0, cut);
      context.fillStyle = "#ffd23f";
      context.fillRect(clamp(cut - 1, 0, width - 2), 0, 2, height);
    } else {
      const half = Math.floor(width / 2);
      put(first, 0, half, height, 0, half);
      put(second, half, width - half, height, half, width);
      context.fillStyle = "#ffd23f";
      context.fillRect(half - 1, 0, 2, height);
    }
  };

  const later = () => (asked ||= requestAnimationFrame(draw));

  const fit = () => {
    const width = stage.clientWidth;
    const wide = state.mode === "side" ? 2 : 1;
    const height = Math.min((width / wide) * (size[1] / size[0]), Math.max(280, innerHeight * 0.72));
    const dense = Math.min(2, devicePixelRatio || 1);
    canvas.style.height = `${Math.round(height)}px`;
    canvas.width = Math.max(1, Math.round(width * dense));
    canvas.height = Math.max(1, Math.round(height * dense));
    cancelAnimationFrame(asked);
    draw(); // at once: a canvas of a new size is empty
  };

  /* State */
  const words = () => {
    const [first, second] = state.pair.split(" ");
    find("[data-first]").textContent = names[first];
    find("[data-second]").textContent = names[second];
    find("#split-word").value = `${state.split} %`;
    find("#window-word").value = state.window;
    find("#level-word").value = state.level;
    find("#opacity-word").value = `${state.opacity} %`;
    find("#zoom-word").value = `${Math.round(100 * state.zoom)} %`;
    find("[data-swipe]").hidden = state.mode !== "swipe";
    stage.style.touchAction = state.zoom > 1 ? "none" : "pan-y";
    for (const [name, dial] of Object.entries(dials)) dial.value = state[name];
    dials.split.setAttribute("aria-valuetext", `${names[first]} up to ${state.split} %, then ${names[second]}`);
    for (const name of ["mode", "pair", "overlay"]) {
      for (const radio of root.querySelectorAll(`input[name="${name}"]`)) radio.checked = radio.value === state[name];
    }
    Object.assign(root.dataset, { zoom: state.zoom, mode: state.mode });
  };

  const change = (values, told) => {
    const shape = values.mode && values.mode !== state.mode;
    Object.assign(state, values);
    state.zoom = clamp(state.zoom, 1, 32);
    const room = (side) => (side / 2) * (1 - 1 / state.zoom) + (state.zoom > 1 ? side / 8 : 0);
    state.x = clamp(state.x, -room(size[0]), room(size[0]));
    state.y = clamp(state.y, -room(size[1]), room(size[1]));
    for (const name of Object.keys(dials)) state[name] = clamp(state[name], Number(dials[name].min), Number(dials[name].max));
    for (const kind of chosen()) if (drawable.has(kind) && !sources.has(kind) && !asking.has(kind)) request(kind);
    if (values.pair !== undefined || values.overlay !== undefined) telling();
    words();
    if (shape) fit();
    else later();
    if (told) say(told());
    try {
      const { x, y, ...kept } = state;
      sessionStorage.setItem(store, JSON.stringify(kept));
    } catch {
      // a browser that keeps nothing
    }
  };

  const zoom = (factor) => change({ zoom: Math.round(clamp(state.zoom * factor, 1, 32) * 100) / 100 }, () => `Zoom ${Math.round(100 * state.zoom)} %`);
  const greys = () => `Window ${state.window}, level ${state.level}`;
  const has = (kind) => sources.has(kind) || drawable.has(kind);
  const clear = () => tell(wrong, "");
  const cover = (kind) => {
    if (kind && !has(kind)) return;
    clear();
    change({ overlay: kind }, () => (!kind || sources.has(kind) ? overlays[kind] : `Being drawn: ${titles[kind]}`));
  };
  const move = (x, y) => {
    if (state.zoom > 1) change({ x: state.x + (x * size[0]) / (10 * state.zoom), y: state.y + (y * size[1]) / (10 * state.zoom) }, () => "Moved");
    else if (x && state.mode === "swipe") change({ split: state.split - 2 * x }, () => `Divider at ${state.split} %`);
  };
  const reset = () => {
    clear();
    change({ ...plain }, () => "Reset");
  };
  const go = (id) => document.getElementById(id)?.click();

  const keys = {
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "_": () => zoom(0.8),
    "0": () => change({ zoom: 1, x: 0, y: 0 }, () => "Fitted"),
    ArrowLeft: () => move(1, 0), ArrowRight: () => move(-1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
    n: () => go("following"), "]": () => go("following"), p: () => go("previous"), "[": () => go("previous"),
    s: () => change({ mode: state.mode === "swipe" ? "side" : "swipe" }, () => (state.mode === "swipe" ? "Swipe" : "Side by side")),
    d: () => cover(state.overlay === "difference" ? "" : "difference"),
    c: () => cover({ cam_before: "cam_after", cam_after: "" }[state.overlay] ?? "cam_before"),
    w: () => change({ window: state.window - 8 }, greys), W: () => change({ window: state.window + 8 }, greys),
    l: () => change({ level: state.level - 4 }, greys), L: () => change({ level: state.level + 4 }, greys),
    r: reset,
    "?": () => (find(".keys").open = !find(".keys").open),
  };

  const listen = () => {
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      keys[event.key]();
    });
    stage.addEventListener("wheel", (event) => {
      if (document.activeElement !== stage) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    }, { passive: false });
    dials.split.addEventListener("input", () => change({ split: Number(dials.split.value) }));
    dials.opacity.addEventListener("input", () => change({ opacity: Number(dials.opacity.value) }));
    for (const name of ["window", "level"]) dials[name].addEventListener("input", () => change({ [name]: Number(dials[name].value) }));
    root.addEventListener("change", (event) => {
      const { name, value } = event.target;
      if (name === "overlay") cover(value);
      else if (name === "mode") change({ mode: value }, () => (value === "swipe" ? "Swipe" : "Side by side"));
      else if (name === "pair") {
        clear();
        change({ pair: value }, () => value.split(" ").map((one) => names[one] + (sources.has(one) ? "" : ", being drawn…")).join(" and "));
      }
    });
    const acts = { in: keys["+"], out: keys["-"], fit: keys["0"], reset };
    for (const button of root.querySelectorAll("[data-do]")) button.addEventListener("click", acts[button.dataset.do]);

    let held = null;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      stage.focus({ preventScroll: true });
      stage.setPointerCapture(event.pointerId);
      const what = event.shiftKey || find("#drag").value === "window" ? "window" : state.zoom > 1 || state.mode === "side" ? "move" : "split";
      held = { what, x: event.clientX, y: event.clientY, at: { ...state } };
      if (what === "split") slide(event);
    });
    const slide = (event) => {
      const box = canvas.getBoundingClientRect();
      change({ split: Math.round((100 * (event.clientX - box.left)) / box.width) });
    };
    stage.addEventListener("pointermove", (event) => {
      if (!held) return;
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      if (held.what === "split") slide(event);
      else if (held.what === "window") change({ window: Math.round(held.at.window + dx / 2), level: Math.round(2 * (held.at.level + dy / 2)) / 2 }, greys);
      else {
        const box = canvas.getBoundingClientRect();
        const scale = Math.min(box.width / (state.mode === "side" ? 2 : 1) / size[0], box.height / size[1]) * state.zoom;
        change({ x: held.at.x + dx / scale, y: held.at.y + dy / scale });
      }
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (held = null));
    new ResizeObserver(fit).observe(stage);
  };

  load().then((ready) => {
    if (!ready) return; // the pictures themselves stay, beside one another
    size = [sources.get("original").width, sources.get("original").height];
    let kept = {};
    try {
      kept = JSON.parse(sessionStorage.getItem(store) ?? "{}");
    } catch {
      // what was kept is no longer read
    }
    for (const name of Object.keys(plain)) if (typeof kept[name] === typeof plain[name]) state[name] = kept[name];
    if (!state.pair.split(" ").every(has)) state.pair = plain.pair;
    if (state.overlay && !has(state.overlay)) state.overlay = "";
    if (!["swipe", "side"].includes(state.mode)) state.mode = plain.mode;
    find("[data-tools]").hidden = false;
    for (const one of root.querySelectorAll("[data-sources]")) one.hidden = true;
    listen();
    change({});
    fit();
    if (location.hash === "#stage") stage.focus();
    root.dataset.ready = "yes";
  });
})();
