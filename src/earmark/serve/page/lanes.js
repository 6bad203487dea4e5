// A lane for each label: its score curve, its threshold, and its events.

import { fitted } from "./spectrogram.js";
import { clock } from "./times.js";

const NARROWEST = 4; // pixels of an event; closer ones are too many to be seen
const ROOM = 32; // pixels of an event that shows its score
const SHORTEST = 4; // pixels of a drawn event

const STATUS = { accepted: "accepted", rejected: "rejected", drawn: "drawn by you" };

export const describe = (event) => {
  const score = event.score == null ? "" : `, score ${event.score.toFixed(2)}`;
  return `${event.label}, ${clock(event.onset)} to ${clock(event.offset)}${score}${event.status ? `, ${STATUS[event.status]}` : ""}`;
};

/** `act` has the functions explain, threshold, select, draw, which the lanes call. */
export class Lanes {
  constructor(root, view, act) {
    Object.assign(this, { root, view, act });
    this.lanes = new Map();
  }

  show(recording, threshold) {
    this.recording = recording;
    this.threshold = threshold;
    const labels = recording.labels();
    for (const [label, lane] of this.lanes) {
      if (!labels.includes(label)) {
        lane.row.remove();
        this.lanes.delete(label);
      }
    }
    labels.forEach((label, place) => {
      if (!this.lanes.has(label)) this.lanes.set(label, this.lane(label));
      const { row } = this.lanes.get(label);
      if (this.root.children[place] !== row) this.root.insertBefore(row, this.root.children[place] ?? null);
    });
    for (const [label, lane] of this.lanes) this.fill(label, lane);
    this.draw();
  }

  clear() {
    this.lanes.clear();
    this.root.replaceChildren();
  }

  lane(label) {
    const row = document.createElement("div");
    row.className = "row lane";
    row.role = "group";
    row.ariaLabel = label;
    row.innerHTML = `<div class="head"><button type="button" class="tag" aria-pressed="false"></button><span class="score"></span>
      <input type="range" min="0.01" max="1" step="0.01"><output></output></div>
      <div class="track"><canvas></canvas><div class="events"></div></div>`;
    const [tag, slider, track] = [".tag", "input", ".track"].map((name) => row.querySelector(name));
    tag.textContent = label;
    tag.title = `Show the evidence for ${label}`;
    tag.addEventListener("click", () => this.act.explain(label));
    slider.ariaLabel = `Threshold of ${label}`;
    slider.addEventListener("input", () => this.act.threshold(label, Number(slider.value)));
    this.watch(track, label);
    const lane = { row, tag, slider, track, canvas: row.querySelector("canvas"), box: row.querySelector(".events") };
    return { ...lane, output: row.querySelector("output"), score: row.querySelector(".score"), events: new Map() };
  }

  fill(label, lane) {
    const score = this.recording.score(label);
    const threshold = this.threshold(label);
    lane.score.textContent = score === undefined ? "" : score.toFixed(2);
    lane.score.title = "Score of the whole recording";
    lane.slider.value = threshold;
    lane.slider.disabled = score === undefined;
    lane.output.textContent = threshold.toFixed(2);
    lane.tag.disabled = score === undefined;
    lane.tag.ariaPressed = String(this.explained === label);
  }

  /** Draws at the next frame, however often it is called before. */
  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Draws what the view shows. */
  draw() {
    if (!this.recording) return;
    const byLabel = new Map([...this.lanes.keys()].map((label) => [label, []]));
    for (const event of this.recording.events.all()) byLabel.get(event.label)?.push(event);
    // first all that reads sizes, then all that changes the document: otherwise each lane is laid out again
    for (const [label, lane] of this.lanes) this.curve(label, lane);
    const [width] = [...this.lanes.values()].map(({ track }) => track.clientWidth);
    for (const [label, lane] of this.lanes) this.place(lane, byLabel.get(label), width || 1);
  }

  curve(label, lane) {
    const { context, width, height } = fitted(lane.canvas);
    const scores = this.recording.columns.get(label);
    const style = getComputedStyle(document.documentElement);
    const y = (score) => height - 2 - score * (height - 4);
    if (scores) {
      const { hop, window } = this.recording.timeline;
      const at = (i) => Math.min(i * hop + window / 2, (i * hop + this.recording.duration) / 2);
      const first = Math.max(0, Math.floor((this.view.start - window) / hop) - 1);
      const last = Math.min(scores.length - 1, Math.ceil(this.view.end / hop) + 1);
      const step = Math.max(1, Math.floor((last - first) / (2 * width)));
      context.beginPath();
      for (let i = first - (first % step); i <= last; i += step) {
        let best = 0;
        for (let j = i; j < Math.min(i + step, scores.length); j++) best = Math.max(best, scores[j]);
        context.lineTo(this.view.toX(at(i), width), y(best));
      }
      context.strokeStyle = style.getPropertyValue("--curve");
      context.lineWidth = 1.5;
      context.stroke();
    }
    context.setLineDash([4, 4]);
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, y(this.threshold(label)));
    context.lineTo(width, y(this.threshold(label)));
    context.stroke();
    context.setLineDash([]);
  }

  /** Puts buttons for the visible events; those that are there already stay, and keep the focus. */
  place(lane, events, width) {
    const { view } = this;
    const wide = (view.span / width) * NARROWEST; // seconds
    let until = -Infinity;
    const visible = events.filter((event) => {
      const isShown = event.offset > view.start && event.onset < view.end &&
        (event.onset >= until || event.offset - event.onset > wide || event.status || event === this.selected);
      if (isShown) until = Math.max(event.offset, event.onset + wide);
      return isShown;
    });
    const kept = new Map();
    for (const event of visible) {
      const key = event.status ? event : `${event.onset} ${event.offset}`;
      const button = lane.events.get(key) ?? this.button();
      lane.events.delete(key);
      kept.set(key, button);
      button.event = event;
      button.className = `event ${event.status ?? ""}`;
      button.ariaLabel = button.title = describe(event);
      button.ariaPressed = String(this.selected === event);
      const [left, right] = [event.onset, event.offset].map((time) => Math.min(100, Math.max(0, (100 * (time - view.start)) / view.span)));
      const hasRoom = ((right - left) / 100) * width > ROOM;
      button.textContent = event.score == null || !hasRoom ? "" : event.score.toFixed(2);
      button.style.left = `${left}%`;
      button.style.width = `${right - left}%`;
    }
    for (const button of lane.events.values()) button.remove();
    // a button that moves in the document loses the focus
    [...kept.values()].forEach((button, i) => {
      if (lane.box.children[i] !== button) lane.box.insertBefore(button, lane.box.children[i] ?? null);
    });
    lane.events = kept;
  }

  button() {
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => this.act.select(button.event));
    button.addEventListener("keydown", (key) => {
      const action = { a: "accept", r: "reject", Delete: "reject" }[key.key];
      if (action) this.act[action](button.event);
    });
    return button;
  }

  focus(event) {
    for (const lane of this.lanes.values()) {
      for (const button of lane.events.values()) if (button.event === event) button.focus();
    }
  }

  /** Drawing an event by dragging over free space. */
  watch(track, label) {
    track.addEventListener("pointerdown", (down) => {
      if (down.button !== 0 || down.target.closest(".event")) return;
      const { left, width } = track.getBoundingClientRect();
      const time = (pointer) => Math.min(this.view.duration, Math.max(0, this.view.toTime(pointer.clientX - left, width)));
      const ghost = document.createElement("div");
      ghost.className = "ghost";
      track.append(ghost);
      track.setPointerCapture(down.pointerId);
      const span = (pointer) => [time(down), time(pointer)].sort((a, b) => a - b);
      const move = (pointer) => {
        const [onset, offset] = span(pointer);
        ghost.style.left = `${this.view.toX(onset, width)}px`;
        ghost.style.width = `${this.view.toX(offset, width) - this.view.toX(onset, width)}px`;
      };
      const done = (pointer) => {
        ghost.remove();
        for (const [name, listener] of listeners) track.removeEventListener(name, listener);
        if (pointer.type === "pointerup" && Math.abs(pointer.clientX - down.clientX) >= SHORTEST) this.act.draw(label, ...span(pointer));
      };
      const listeners = [["pointermove", move], ["pointerup", done], ["pointercancel", done]];
      for (const [name, listener] of listeners) track.addEventListener(name, listener);
    });
  }
}
