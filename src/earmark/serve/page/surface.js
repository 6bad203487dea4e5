// The large spectrogram with cursor, selection and evidence; the overview; the attention of the heads.

import { Tiles, fitted, isDark, labelFrequencies } from "./spectrogram.js";
import { clock } from "./times.js";

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200]; // seconds between marks of the time axis

export class Surface {
  constructor(view, seek) {
    Object.assign(this, { view, seek });
    this.root = byId("surface");
    this.cursor = 0;
    this.root.addEventListener("pointerdown", (down) => this.drag(down));
    this.root.addEventListener("keydown", (key) => this.key(key));
    this.root.addEventListener("wheel", (wheel) => this.wheel(wheel), { passive: false });
    byId("overview").addEventListener("pointerdown", (down) => this.jump(down));
  }

  show(recording) {
    this.recording = recording;
    this.tiles = new Tiles(recording.id, recording.spectrogram, () => this.redraw());
    this.whole = { start: 0, span: recording.duration, end: recording.duration };
    this.whole.toX = (time, width) => (time / recording.duration) * width;
    this.evidence = null;
    this.selected = null;
    this.root.ariaValueMax = recording.duration;
    labelFrequencies(byId("frequencies"), recording.spectrogram);
  }

  renewColours() {
    this.tiles?.renewColours();
    this.redraw();
  }

  /** Draws at the next frame, however often it is called before. */
  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    if (!this.recording || this.root.clientWidth === 0) return;
    const large = fitted(byId("spectrogram"));
    this.tiles.draw(large.context, this.view, large.width, large.height);
    const small = fitted(byId("overview"));
    this.tiles.draw(small.context, this.whole, small.width, small.height);
    small.context.fillStyle = isDark() ? "rgba(10,12,16,.6)" : "rgba(255,255,255,.65)";
    const [left, right] = [this.view.start, this.view.end].map((time) => this.whole.toX(time, small.width));
    small.context.fillRect(0, 0, left, small.height);
    small.context.fillRect(right, 0, small.width - right, small.height);
    small.context.strokeStyle = colour("--accent");
    small.context.lineWidth = 2;
    small.context.strokeRect(left + 1, 1, Math.max(2, right - left - 2), small.height - 2);
    this.drawOverlay();
    this.drawAttention();
  }

  /** Only the cursor has moved. */
  move(time) {
    this.cursor = time;
    this.root.ariaValueNow = time.toFixed(2);
    this.root.ariaValueText = clock(time);
    this.view.follow(time);
    this.drawOverlay();
  }

  drawOverlay() {
    const { context, width, height } = fitted(byId("overlay"));
    const x = (time) => this.view.toX(time, width);
    if (this.evidence) this.light(context, x, width, height);
    if (this.selected) {
      context.strokeStyle = isDark() ? "#fff" : "#111";
      context.lineWidth = 2;
      context.strokeRect(x(this.selected.onset), 1, x(this.selected.offset) - x(this.selected.onset), height - 2);
    }
    this.drawTimes(context, x, width);
    context.fillStyle = isDark() ? "#fff" : "#c2185b";
    context.fillRect(x(this.cursor) - 1, 0, 2, height);
  }

  drawTimes(context, x, width) {
    const step = STEPS.find((seconds) => (seconds / this.view.span) * width > 70) ?? 3600;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "top";
    for (let i = Math.ceil(this.view.start / step); i * step < this.view.end; i++) {
      const left = x(i * step);
      context.fillStyle = isDark() ? "rgba(255,255,255,.75)" : "rgba(0,0,0,.7)";
      context.fillRect(left, 0, 1, 5);
      if (left < width - 40) context.fillText(clock(i * step, step < 1 ? 1 : 0), left + 4, 2);
    }
  }

  /** Darkens the moments without evidence; bars at the bottom show its size and sign. */
  light(context, x, width, height) {
    const { onsets, offsets, weights } = this.evidence;
    const largest = Math.max(...weights.map(Math.abs)) || 1;
    const best = Math.max(...weights, 0) || 1;
    const [first, last] = [onsets[0], offsets[offsets.length - 1]];
    const [good, bad] = [colour("--good"), colour("--bad")];
    const veil = (share) => `rgba(${isDark() ? "8,10,14" : "250,250,252"},${0.7 * share})`;
    context.fillStyle = veil(1);
    context.fillRect(0, 0, Math.max(0, x(first)), height);
    context.fillRect(x(last), 0, Math.max(0, width - x(last)), height);
    weights.forEach((weight, i) => {
      const left = x(onsets[i]);
      const wide = x(offsets[i]) - left;
      if (left > width || left + wide < 0) return;
      context.fillStyle = veil(1 - Math.max(0, weight) / best);
      context.fillRect(left, 0, wide + 0.5, height);
      context.fillStyle = weight > 0 ? good : bad;
      const tall = (0.25 * height * Math.abs(weight)) / largest;
      context.fillRect(left + 0.5, height - tall, Math.max(1, wide - 1), tall);
    });
  }

  drawAttention() {
    const heads = this.evidence?.attention;
    byId("attention-row").hidden = !heads;
    if (!heads) return;
    const { context, width, height } = fitted(byId("attention"));
    const tall = height / heads.length;
    heads.forEach((weights, head) => {
      const largest = Math.max(...weights) || 1;
      weights.forEach((weight, i) => {
        const left = this.view.toX(this.evidence.onsets[i], width);
        const wide = this.view.toX(this.evidence.offsets[i], width) - left;
        context.globalAlpha = weight / largest;
        context.fillStyle = colour("--accent");
        context.fillRect(left, head * tall + 1, wide + 0.5, tall - 2);
      });
      context.globalAlpha = 1;
    });
  }

  drag(down) {
    if (down.button !== 0) return;
    const { left, width } = this.root.getBoundingClientRect();
    const start = this.view.start;
    let isClick = true;
    this.root.setPointerCapture(down.pointerId);
    const move = (pointer) => {
      if (Math.abs(pointer.clientX - down.clientX) > 4) isClick = false;
      if (!isClick) this.view.show(start - ((pointer.clientX - down.clientX) / width) * this.view.span, this.view.span);
    };
    const done = (pointer) => {
      for (const [name, listener] of listeners) this.root.removeEventListener(name, listener);
      if (isClick && pointer.type === "pointerup") this.seek(this.view.toTime(pointer.clientX - left, width));
    };
    const listeners = [["pointermove", move], ["pointerup", done], ["pointercancel", done]];
    for (const [name, listener] of listeners) this.root.addEventListener(name, listener);
  }

  wheel(wheel) {
    const { left, width } = this.root.getBoundingClientRect();
    if (wheel.ctrlKey || wheel.metaKey) {
      wheel.preventDefault();
      this.view.zoom(Math.exp(wheel.deltaY / 300), this.view.toTime(wheel.clientX - left, width));
    } else if (wheel.shiftKey || Math.abs(wheel.deltaX) > Math.abs(wheel.deltaY)) {
      wheel.preventDefault();
      this.view.pan(((wheel.deltaX || wheel.deltaY) / width) * this.view.span);
    }
  }

  key(key) {
    const step = key.shiftKey ? 0.2 : 0.02;
    const actions = {
      ArrowLeft: () => this.seek(this.cursor - step * this.view.span),
      ArrowRight: () => this.seek(this.cursor + step * this.view.span),
      PageDown: () => this.view.pan(-this.view.span),
      PageUp: () => this.view.pan(this.view.span),
      Home: () => this.seek(0),
      End: () => this.seek(this.view.duration),
      "+": () => this.view.zoom(0.5, this.cursor),
      "=": () => this.view.zoom(0.5, this.cursor),
      "-": () => this.view.zoom(2, this.cursor),
      0: () => this.view.reset(this.view.duration),
    };
    if (key.ctrlKey || key.metaKey || !actions[key.key]) return;
    key.preventDefault();
    actions[key.key]();
  }

  jump(down) {
    const canvas = byId("overview");
    const { left, width } = canvas.getBoundingClientRect();
    const go = (pointer) => this.view.show(((pointer.clientX - left) / width) * this.view.duration - this.view.span / 2, this.view.span);
    canvas.setPointerCapture(down.pointerId);
    go(down);
    canvas.addEventListener("pointermove", go);
    const done = () => canvas.removeEventListener("pointermove", go);
    canvas.addEventListener("pointerup", done, { once: true });
    canvas.addEventListener("pointercancel", done, { once: true });
  }
}
