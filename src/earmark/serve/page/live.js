// The microphone: running spectrogram, scores and events from the server, and a recording at the end.

import { currentToken } from "./api.js";
import { colours } from "./spectrogram.js";
import { clock } from "./times.js";

const SECONDS = 10; // shown in the running spectrogram
const SCORES = 6;
const MOST_EVENTS = 200; // in the list
const LONGEST = 1800; // seconds that are kept for the recording at the end
const MOST_WAITING = 4_000_000; // bytes; a slower connection cannot follow
const ROWS = 96;

const byId = (id) => document.getElementById(id);

/** `page` has the functions model, recorded, say and toggled. */
export class Live {
  constructor(page) {
    this.page = page;
    this.pieces = [];
    byId("listen").addEventListener("click", () => this.toggle());
    byId("live-start").addEventListener("click", () => (this.socket ? this.stop() : this.start().catch((error) => this.fail(error))));
    addEventListener("pagehide", () => this.release());
  }

  toggle() {
    const panel = byId("live");
    panel.hidden = !panel.hidden;
    byId("listen").ariaExpanded = String(!panel.hidden);
    if (panel.hidden && this.socket) this.stop();
    if (!panel.hidden) byId("live-start").focus();
    this.page.toggled();
  }

  async start() {
    this.page.say("");
    if (!navigator.mediaDevices) throw new Error("The browser gives the microphone only to https pages and to localhost.");
    byId("live-start").disabled = true;
    const processing = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio: processing });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
    this.source = this.context.createMediaStreamSource(this.microphone);
    this.analyser = new AnalyserNode(this.context, { fftSize: 2048, smoothingTimeConstant: 0, minDecibels: -110, maxDecibels: -20 });
    this.recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    this.source.connect(this.analyser);
    this.source.connect(this.recorder);
    this.pieces = [];
    this.nSamples = 0;
    byId("live-events").replaceChildren();
    await this.connect();
    this.recorder.port.onmessage = ({ data }) => this.piece(data);
    byId("live-start").textContent = "Stop";
    byId("live-start").disabled = false;
    this.palette = colours([0, 255]);
    this.last = performance.now();
    this.due = 0;
    this.draw();
  }

  connect() {
    const address = new URL("/api/stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.onopen = () => socket.send(JSON.stringify({
      sample_rate: this.context.sampleRate, format: "int16", model: this.page.model(), scores: SCORES, token: currentToken(),
    }));
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "ready") resolve();
        this.take(message);
      };
      socket.onclose = ({ reason }) => {
        const error = new Error(reason || "The server closed the connection.");
        reject(error);
        if (this.socket === socket) this.fail(error);
      };
    });
  }

  take(message) {
    if (message.type === "ready") {
      const seconds = (message.window + message.latency).toFixed(1);
      byId("live-latency").textContent = `A score covers ${message.window} s of sound and comes at most ${message.latency.toFixed(1)} s ` +
        `later. An event is listed when it has ended, up to ${seconds} s after its sound. Sound stays on this server.`;
    } else if (message.type === "event") {
      const item = document.createElement("li");
      item.textContent = `${clock(message.onset)} – ${clock(message.offset)}  ${message.label}  ${message.score.toFixed(2)}`;
      byId("live-events").prepend(item);
      while (byId("live-events").children.length > MOST_EVENTS) byId("live-events").lastChild.remove();
    } else if (message.type === "scores") {
      byId("live-scores").replaceChildren(...message.scores.map(([label, score]) => this.score(label, score, message.sounding)));
    } else if (message.type === "finished") {
      this.finish();
    }
  }

  score(label, score, sounding) {
    const item = document.createElement("li");
    const [name, meter, number] = ["span", "meter", "span"].map((kind) => document.createElement(kind));
    name.textContent = label;
    if (sounding.some((event) => event.label === label)) name.style.fontWeight = "700";
    meter.value = score;
    meter.ariaLabel = label;
    number.textContent = score.toFixed(2);
    item.append(name, meter, number);
    return item;
  }

  piece(samples) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > MOST_WAITING) {
      this.fail(new Error("The connection is too slow for live sound."));
      return;
    }
    this.socket.send(samples);
    this.pieces.push(new Blob([samples]));
    this.nSamples += samples.length;
    while (this.pieces.length * samples.length > LONGEST * this.context.sampleRate) this.pieces.shift();
    byId("live-clock").textContent = clock(this.nSamples / this.context.sampleRate);
  }

  stop() {
    byId("live-start").disabled = true;
    this.recorder.port.onmessage = null;
    this.socket.send(JSON.stringify({ type: "finish" }));
  }

  /** The last events have come. */
  finish() {
    this.release();
    this.keep();
  }

  /** Turns the recorded sound into a file, once. */
  keep() {
    const pieces = this.pieces;
    this.pieces = [];
    if (!pieces.length) return;
    const name = `microphone-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.wav`;
    this.page.recorded(wav(pieces, this.context.sampleRate, name));
  }

  fail(error) {
    this.release();
    this.keep();
    this.page.say(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : error);
  }

  release() {
    const { socket } = this;
    this.socket = null;
    socket?.close();
    cancelAnimationFrame(this.frame);
    this.microphone?.getTracks().forEach((track) => track.stop());
    if (this.context?.state !== "closed") this.context?.close();
    byId("live-start").textContent = "Start";
    byId("live-start").disabled = false;
  }

  /** Moves the picture to the left and draws the newest column. */
  draw() {
    const canvas = byId("live-spectrogram");
    if (canvas.width !== canvas.clientWidth || canvas.height !== ROWS) {
      canvas.width = canvas.clientWidth || 1;
      canvas.height = ROWS;
    }
    const context = canvas.getContext("2d");
    const now = performance.now();
    this.due += ((now - this.last) / 1000 / SECONDS) * canvas.width;
    this.last = now;
    const step = Math.floor(this.due);
    if (step > 0) {
      this.due -= step;
      context.drawImage(canvas, -step, 0);
      context.putImageData(this.column(step), canvas.width - step, 0);
    }
    this.frame = requestAnimationFrame(() => this.draw());
  }

  column(width) {
    const levels = new Uint8Array(this.analyser.frequencyBinCount);
    this.analyser.getByteFrequencyData(levels);
    const image = new ImageData(width, ROWS);
    const pixels = new Uint32Array(image.data.buffer);
    const top = Math.min(14000, this.context.sampleRate / 2);
    for (let y = 0; y < ROWS; y++) {
      // from 50 Hz to the top, in steps that grow with the frequency as in the mel scale
      const hz = (share) => 700 * ((1 + 50 / 700) * ((700 + top) / 750) ** share - 1);
      const bin = (share) => Math.round((hz(share) / this.context.sampleRate) * 2048);
      const [low, high] = [bin((ROWS - 1 - y) / ROWS), bin((ROWS - y) / ROWS)];
      let loudest = 0;
      for (let i = low; i <= Math.max(low, high - 1) && i < levels.length; i++) loudest = Math.max(loudest, levels[i]);
      pixels.fill(this.palette[loudest], y * width, (y + 1) * width);
    }
    return image;
  }
}

function wav(pieces, sampleRate, name) {
  const nBytes = pieces.reduce((sum, piece) => sum + piece.size, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + nBytes, true);
  text(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, sampleRate, 4], [28, 2 * sampleRate, 4], [32, 2, 2], [34, 16, 2]].forEach(([at, value, size]) =>
    (size === 4 ? head.setUint32(at, value, true) : head.setUint16(at, value, true)));
  text(36, "data");
  head.setUint32(40, nBytes, true);
  return new File([head, ...pieces], name, { type: "audio/wav" });
}
