// Times as text, and the part of the recording that is shown.

export function clock(seconds, digits = 1) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const SHORTEST = 0.5; // seconds

/** The shown part; calls `changed` after each change. */
export class View {
  constructor(changed) {
    Object.assign(this, { changed, duration: 1, start: 0, end: 1 });
  }

  reset(duration) {
    this.duration = duration;
    this.start = 0;
    this.end = duration;
    this.changed();
  }

  get span() { return this.end - this.start; }

  show(start, span) {
    const length = Math.min(this.duration, Math.max(Math.min(SHORTEST, this.duration), span));
    this.start = Math.min(Math.max(0, start), this.duration - length);
    this.end = this.start + length;
    this.changed();
  }

  zoom(factor, around = (this.start + this.end) / 2) {
    const share = (around - this.start) / this.span;
    const span = Math.min(this.duration, Math.max(Math.min(SHORTEST, this.duration), this.span * factor));
    this.show(around - share * span, span);
  }

  pan(seconds) { this.show(this.start + seconds, this.span); }

  follow(time) {
    if (time < this.start || time > this.end) this.show(time - 0.05 * this.span, this.span);
  }

  toX(time, width) { return ((time - this.start) / this.span) * width; }

  toTime(x, width) { return this.start + (x / width) * this.span; }
}
