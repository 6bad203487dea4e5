// The recordings of the page: upload, decoding, scores, tags, events.

import { ApiError, call, json, upload } from "./api.js";
import { Events } from "./events.js";

const LEAST = 0.02; // labels that never score this much have no curve
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A file on its way through the server; `changed` is called whenever something about it is new. */
export class Recording {
  constructor(file, name, model, changed) {
    Object.assign(this, { file, name, model, changed });
    this.state = "waiting";
    this.share = 0; // of the present step
    this.error = "";
    this.events = new Events();
    this.thresholds = new Map(); // label -> score, where a person has set one
    this.extra = []; // labels that a person has added
  }

  set(state, share) {
    this.state = state;
    this.share = share;
    this.changed(this);
  }

  async run() {
    try {
      this.set("uploading", 0);
      const held = await upload(this.file, this.name, (share) => this.set("uploading", share));
      this.id = held.id;
      await this.decode();
      await this.analyse();
      this.set("ready", 1);
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error) {
    if (!(error instanceof ApiError)) console.error(error);
    this.error = error.message;
    this.set("failed", 0);
  }

  async decode() {
    for (let pause = 50; ; pause = Math.min(500, 1.5 * pause)) {
      const about = await json("GET", `/api/recordings/${this.id}`);
      if (about.state === "failed") throw new ApiError(about.error, 422);
      if (about.state === "ready") {
        this.duration = about.duration;
        this.spectrogram = about.spectrogram;
        return;
      }
      this.set("decoding", 0);
      await wait(pause);
    }
  }

  /** Scores and events of the model; marks of a person stay. */
  async analyse() {
    this.error = "";
    this.set("analysing", 0);
    const asked = { recording: this.id, model: this.model };
    let isDone = false;
    const scores = json("POST", "/api/timeline", { ...asked, least: LEAST }).finally(() => { isDone = true; });
    scores.catch(() => {});
    for (let pause = 100; !isDone; pause = Math.min(500, 1.5 * pause)) {
      await Promise.race([wait(pause), scores]);
      if (isDone) break;
      const { seconds } = await json("GET", `/api/recordings/${this.id}`);
      this.set("analysing", Math.min(1, seconds.encoded / this.duration));
    }
    const timeline = await scores;
    const tags = await json("POST", "/api/tag", { ...asked, threshold: 0 });
    if (this.model !== asked.model) return; // another model was chosen meanwhile
    this.timeline = timeline;
    this.columns = new Map(timeline.labels.map((label, i) => [label, timeline.scores.map((row) => row[i])]));
    this.tags = tags;
    await this.find();
  }

  /** Asks for the events of a label, or of all; while one request is under way, what changes meanwhile waits for the next. */
  find(label) {
    this.stale ??= new Set();
    if (label === undefined) this.stale = "all";
    else if (this.stale !== "all") this.stale.add(label);
    const run = async () => {
      while (this.stale) {
        const labels = this.stale === "all" ? null : [...this.stale];
        this.stale = null;
        const scores = [...this.thresholds].filter(([name]) => !labels || labels.includes(name));
        const rules = { threshold: scores.map(([name, score]) => `${name}:${score}`) };
        if (labels) rules.labels = labels;
        const found = await json("POST", "/api/events", { recording: this.id, model: this.model, ...rules });
        this.events.replace(found.events, labels);
        this.changed(this);
      }
    };
    this.finding ??= run().finally(() => { this.finding = null; });
    return this.finding;
  }

  evidence(label) {
    return json("POST", "/api/evidence", { recording: this.id, model: this.model, label });
  }

  /** Labels with a lane: those with events, the best tags, and added ones. */
  labels(n = 8) {
    const wanted = new Set(this.events.all().map((event) => event.label));
    for (const tag of this.tags) {
      if (wanted.size >= n) break;
      wanted.add(tag.label);
    }
    const order = new Map(this.tags.map((tag, i) => [tag.label, i]));
    const rank = (label) => order.get(label) ?? this.tags.length;
    this.extra.forEach((label) => wanted.add(label));
    return [...wanted].sort((a, b) => rank(a) - rank(b));
  }

  score(label) { return this.tags.find((tag) => tag.label === label)?.score; }

  remove() {
    if (this.id) call("DELETE", `/api/recordings/${this.id}`, null, { keepalive: true }).catch(() => {});
  }
}
