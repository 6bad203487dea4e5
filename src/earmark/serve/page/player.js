// Playback with a moving cursor; the selected event may be looped.

export class Player {
  constructor(moved, changed) {
    Object.assign(this, { moved, changed });
    this.audio = new Audio();
    this.audio.preload = "none";
    this.loop = null; // the event to repeat
    for (const name of ["play", "pause", "ended", "error"]) this.audio.addEventListener(name, () => this.state());
  }

  load(address) {
    this.audio.pause();
    this.audio.src = address;
    this.time = 0;
  }

  get isPlaying() { return !this.audio.paused && !this.audio.ended; }

  state() {
    this.changed(this.isPlaying, this.audio.error);
    if (this.isPlaying) this.tick();
  }

  tick() {
    if (!this.isPlaying) return;
    const { loop } = this;
    if (loop && (this.audio.currentTime >= loop.offset || this.audio.currentTime < loop.onset - 0.1)) {
      this.audio.currentTime = loop.onset;
    }
    this.time = this.audio.currentTime;
    this.moved(this.time);
    requestAnimationFrame(() => this.tick());
  }

  seek(time) {
    this.time = time;
    this.audio.currentTime = time;
    this.moved(time);
  }

  toggle() {
    if (this.isPlaying) {
      this.audio.pause();
      return;
    }
    if (this.loop) this.time = this.loop.onset;
    if (Math.abs(this.audio.currentTime - this.time) > 0.05) this.audio.currentTime = this.time;
    this.audio.play().catch(() => this.state());
  }
}
