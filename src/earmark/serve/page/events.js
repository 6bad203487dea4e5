// Events of a recording: those that the server found, and what a person made of them.

const same = (a, b) => a.label === b.label && Math.min(a.offset, b.offset) - Math.max(a.onset, b.onset) >
  0.5 * (Math.max(a.offset, b.offset) - Math.min(a.onset, b.onset));

/** A mark is an event with a `status` (accepted, rejected, drawn); `was` is the found event that it replaces. */
export class Events {
  constructor() {
    this.found = [];
    this.marks = [];
    this.sorted = null; // result of `all`, until something changes
  }

  /** Replaces the found events, or those of some labels. */
  replace(found, labels) {
    const others = labels ? this.found.filter((event) => !labels.includes(event.label)) : [];
    this.found = [...others, ...found];
    this.sorted = null;
  }

  /** All events by onset; a found event that a mark replaces is left out. */
  all() {
    if (!this.sorted) {
      const free = this.found.filter((event) => !this.marks.some((mark) => mark.was && same(mark.was, event)));
      this.sorted = [...free, ...this.marks].sort((a, b) => a.onset - b.onset || (a.label < b.label ? -1 : 1));
    }
    return this.sorted;
  }

  /** The mark for an event, which is made of a found one at first. */
  mark(event, changes) {
    this.sorted = null;
    if (event.status) return Object.assign(event, changes);
    const made = { ...event, was: event, ...changes };
    this.marks.push(made);
    return made;
  }

  accept(event) { return this.mark(event, { status: "accepted" }); }

  /** A drawn event disappears, a found one stays as rejected. */
  reject(event) {
    this.sorted = null;
    if (event.status === "drawn") {
      this.marks.splice(this.marks.indexOf(event), 1);
      return null;
    }
    return this.mark(event, { status: "rejected" });
  }

  change(event, label, onset, offset) {
    const status = event.status === "drawn" ? "drawn" : "accepted";
    return this.mark(event, { label, onset, offset, status, score: label === event.label ? event.score : null });
  }

  draw(label, onset, offset) {
    const made = { label, onset, offset, score: null, status: "drawn" };
    this.marks.push(made);
    this.sorted = null;
    return made;
  }

  /** Events to export. */
  exported(onlyChecked) {
    return this.all()
      .filter((event) => event.status !== "rejected" && (event.status || !onlyChecked))
      .map(({ label, onset, offset, score }) => ({ label, onset, offset, score: score ?? null }));
  }
}
