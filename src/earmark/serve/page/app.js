// The page: files, the recording that is shown, corrections, export.

import { ApiError, json, call } from "./api.js";
import { Lanes } from "./lanes.js";
import { Live } from "./live.js";
import { Player } from "./player.js";
import { Recording } from "./recordings.js";
import { Surface } from "./surface.js";
import { View, clock } from "./times.js";

const byId = (id) => document.getElementById(id);
const recordings = [];
let server = null; // models, limits, formats
let shown = null; // the recording in view
let selected = null; // an event of it
let queue = Promise.resolve();

const view = new View(() => {
  surface.redraw();
  lanes.redraw();
});
const player = new Player((time) => moved(time), (isPlaying, error) => {
  byId("play").textContent = isPlaying ? "Pause" : "Play";
  if (error && shown) say("The browser cannot play this recording; is the server still running?");
});
const seek = (time) => player.seek(Math.min(view.duration, Math.max(0, time)));
const surface = new Surface(view, seek);
const lanes = new Lanes(byId("lanes"), view, {
  explain,
  threshold(label, score) {
    shown.thresholds.set(label, score);
    lanes.show(shown, threshold);
    shown.find(label).catch(say);
  },
  select,
  draw: (label, onset, offset) => select(shown.events.draw(label, round(onset), round(offset))),
  accept: (event) => select(shown.events.accept(event), true),
  reject: (event) => select(shown.events.reject(event), true),
});

const round = (seconds) => Math.round(seconds * 1000) / 1000;

function say(text) {
  byId("message").textContent = text?.message ?? text ?? "";
  byId("message").hidden = !text;
}

function threshold(label) {
  const model = server.models.find(({ name }) => name === shown.model);
  return shown.thresholds.get(label) ?? model.thresholds?.[model.labels.indexOf(label)] ?? 0.5;
}

function moved(time) {
  byId("clock").textContent = `${clock(time)} / ${clock(view.duration)}`;
  surface.move(time);
}

// files

/** Sends files to the server. The page has the only copy of a recording from the microphone. */
function add(files, isOnlyCopy = false) {
  say("");
  for (const file of files) {
    const excess = file.size > server.limits.max_size * 1e6 &&
      `${file.name}: up to ${server.limits.max_size} MB were expected, not ${Math.round(file.size / 1e6)}`;
    if (excess && !isOnlyCopy) {
      say(excess);
      continue;
    }
    const recording = new Recording(file, file.name, byId("model").value, changed);
    recording.isOnlyCopy = isOnlyCopy;
    recordings.push(recording);
    if (excess) recording.fail(new ApiError(excess, 413));
    else queue = queue.then(() => recordings.includes(recording) && recording.run());
  }
  listFiles();
}

const STATES = { waiting: "waits", uploading: "uploading", decoding: "decoding", analysing: "analysing", failed: "" };

function changed(recording) {
  if (!recordings.includes(recording)) return recording.remove();
  listFiles();
  if (recording.state === "ready" && shown === recording) refresh();
  if (recording.state === "ready" && (!shown || (recording.isWanted && shown !== recording))) open(recording);
}

function listFiles() {
  byId("files").replaceChildren(...recordings.map((recording) => {
    recording.item ??= fileItem(recording);
    const { open: button, note, bar, save } = recording.item;
    button.disabled = recording.state !== "ready";
    button.ariaCurrent = String(recording === shown);
    note.className = recording.state === "failed" ? "bad" : "";
    note.textContent = recording.state === "ready" ? clock(recording.duration, 0) : recording.error || STATES[recording.state];
    bar.hidden = recording.state === "ready" || recording.state === "failed";
    save.hidden = !isUnsaved(recording);
    if (!save.hidden) save.href ||= URL.createObjectURL(recording.file);
    if (recording.share) bar.value = recording.share;
    else bar.removeAttribute("value");
    return recording.item.root;
  }));
  byId("welcome").hidden = recordings.length > 0 || !byId("live").hidden;
}

/** Whether a recording would be lost with the page. */
const isUnsaved = (recording) => recording.isOnlyCopy && recording.state === "failed";

function fileItem(recording) {
  const root = document.createElement("li");
  root.innerHTML = `<button type="button" class="open"></button><button type="button" class="remove">×</button>
    <progress max="1"></progress><small></small><a>Save this recording</a>`;
  const [button, remove, bar, note, save] = root.children;
  save.download = recording.name;
  button.textContent = recording.name;
  button.addEventListener("click", () => open(recording));
  remove.ariaLabel = `Remove ${recording.name}`;
  bar.ariaLabel = `Progress of ${recording.name}`;
  remove.addEventListener("click", () => drop(recording));
  return { root, open: button, note, bar, save };
}

function drop(recording) {
  recordings.splice(recordings.indexOf(recording), 1);
  recording.remove();
  URL.revokeObjectURL(recording.item.save.href);
  if (shown === recording) {
    player.audio.pause();
    shown = null;
    byId("recording").hidden = true;
    const next = recordings.find(({ state }) => state === "ready");
    if (next) open(next);
  }
  listFiles();
}

// the recording in view

function open(recording) {
  shown = recording;
  recording.isWanted = false;
  byId("recording").hidden = false;
  byId("name").textContent = recording.name;
  byId("model").value = recording.model;
  byId("explained").textContent = "";
  lanes.clear();
  lanes.explained = null;
  surface.show(recording);
  select(null);
  player.load(`/api/recordings/${recording.id}/audio`);
  view.reset(recording.duration);
  moved(0);
  listFiles();
  refresh();
}

function refresh() {
  const names = server.models.find(({ name }) => name === shown.model).labels;
  byId("labels").replaceChildren(...names.map((name) => new Option(name)));
  lanes.selected = selected;
  lanes.show(shown, threshold);
}

async function explain(label) {
  if (lanes.explained === label) {
    lanes.explained = surface.evidence = null;
    byId("explained").textContent = "";
  } else {
    lanes.explained = label;
    try {
      const found = await shown.evidence(label);
      if (lanes.explained !== label) return;
      surface.evidence = found;
      const best = found.weights.indexOf(Math.max(...found.weights));
      byId("explained").textContent = `Evidence for ${label}, score ${found.score.toFixed(2)}: most at ` +
        `${clock(found.onsets[best])} to ${clock(found.offsets[best])}. Bars: green supports the tag, red opposes it.`;
      const [first, last] = [found.onsets[0], found.offsets[found.offsets.length - 1]];
      if (last - first < view.duration - 0.5) view.show(first - 0.1 * (last - first), 1.2 * (last - first));
    } catch (error) {
      say(error);
      lanes.explained = surface.evidence = null;
    }
  }
  surface.redraw();
  refresh();
}

function select(event, keepFocus = false) {
  selected = event;
  surface.selected = event;
  lanes.selected = event;
  byId("event").hidden = !event;
  if (event) {
    byId("event-status").textContent = { accepted: "Accepted event", rejected: "Rejected event", drawn: "Your event" }[event.status] ?? "Event";
    byId("event-label").value = event.label;
    byId("event-onset").value = round(event.onset);
    byId("event-offset").value = round(event.offset);
    byId("reject").textContent = event.status === "drawn" ? "Delete" : "Reject";
    if (event.onset < view.start || event.offset > view.end) view.show(event.onset - 0.2 * view.span, view.span);
    if (!player.isPlaying) seek(event.onset);
  }
  setLoop();
  surface.redraw();
  if (shown) refresh();
  if (event && keepFocus) lanes.focus(event);
}

function setLoop() {
  player.loop = byId("loop").checked ? selected : null;
  if (player.loop && player.isPlaying) seek(selected.onset);
}

function change() {
  const [onset, offset] = [byId("event-onset"), byId("event-offset")].map((field) => Number(field.value));
  if (!(onset >= 0 && offset > onset && onset < view.duration)) {
    say(`An onset before the offset was expected, within ${view.duration.toFixed(1)} s.`);
    return;
  }
  const label = byId("event-label").value.trim();
  if (!label) {
    say("A label was expected for the event.");
    return;
  }
  say("");
  select(shown.events.change(selected, label, onset, Math.min(offset, view.duration)));
}

async function save() {
  const only = byId("only-checked").checked;
  const chosen = byId("all-files").checked ? recordings.filter(({ state }) => state === "ready") : [shown];
  const files = chosen.map(({ name, duration, events }) => ({ name, duration, events: events.exported(only) }));
  try {
    const answer = await call("POST", "/api/export", { format: byId("format").value }, {
      body: JSON.stringify({ files }),
      headers: { "Content-Type": "application/json" },
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))?.[1] ?? "events";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say("");
  } catch (error) {
    say(error);
  }
}

// what a person does

const on = (id, name, listener) => byId(id).addEventListener(name, listener);

on("browse", "click", () => byId("choose").click());
on("choose", "change", () => {
  add([...byId("choose").files]);
  byId("choose").value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}
on("play", "click", () => player.toggle());
on("loop", "change", setLoop);
const around = () => (surface.cursor >= view.start && surface.cursor <= view.end ? surface.cursor : undefined);
on("zoom-in", "click", () => view.zoom(0.5, around()));
on("zoom-out", "click", () => view.zoom(2, around()));
on("zoom-all", "click", () => view.reset(view.duration));
on("accept", "click", () => select(shown.events.accept(selected)));
on("reject", "click", () => select(shown.events.reject(selected)));
on("event", "submit", (event) => {
  event.preventDefault();
  change();
});
on("add", "submit", (event) => {
  event.preventDefault();
  const label = byId("add-label").value.trim();
  if (!label) return;
  shown.extra.push(label);
  byId("add-label").value = "";
  refresh();
});
on("new-event", "click", () => {
  const label = byId("add-label").value.trim();
  if (!label) {
    byId("add-label").focus();
    say("A label was expected for the new event.");
    return;
  }
  say("");
  byId("add-label").value = "";
  select(shown.events.draw(label, round(surface.cursor), Math.min(round(surface.cursor + 1), view.duration)));
  byId("event-onset").focus();
});
on("export", "submit", (event) => {
  event.preventDefault();
  save();
});
on("model", "change", () => {
  if (!shown) return;
  const [recording, model] = [shown, byId("model").value]; // another recording may be shown when this one is ready
  recording.model = model;
  recording.thresholds.clear();
  recording.isWanted = true;
  lanes.explained = surface.evidence = null;
  recording.analyse()
    .then(() => recording.model === model && recording.set("ready", 1))
    .catch((error) => recording.model === model && recording.fail(error));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || !shown || event.target.closest("button, input, select, textarea, dialog")) return;
  event.preventDefault();
  player.toggle();
});
addEventListener("resize", () => view.changed());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  surface.renewColours();
  lanes.draw();
});
addEventListener("beforeunload", (event) => {
  if (recordings.some((recording) => recording.events.marks.length || isUnsaved(recording))) event.preventDefault();
});
addEventListener("pagehide", () => recordings.forEach((recording) => recording.remove()));

new Live({
  model: () => byId("model").value,
  recorded: (file) => add([file], true),
  say,
  toggled: listFiles,
});

try {
  server = await json("GET", "/api/models");
  byId("model").replaceChildren(...server.models.map(({ name }) => new Option(name, name)));
  byId("format").replaceChildren(...server.formats.map((name) => new Option(name, name)));
  document.body.dataset.ready = "true";
} catch (error) {
  say(error);
}
