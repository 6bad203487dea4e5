// The spectrogram, drawn from tiles of the resolution that the zoom needs.

import { call } from "./api.js";

const KEPT = 256; // tiles
const STOPS = {
  dark: [[10, 12, 24], [48, 28, 92], [125, 40, 120], [205, 70, 90], [248, 140, 70], [252, 230, 160]],
  light: [[252, 252, 253], [214, 224, 240], [140, 172, 214], [70, 108, 176], [40, 50, 110], [16, 12, 44]],
};

export const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

/** 256 colours between two levels of a byte. */
export function colours([low, high]) {
  const stops = STOPS[isDark() ? "dark" : "light"];
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const at = Math.min(1, Math.max(0, (value - low) / (high - low))) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(at));
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c])));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}

/** Sets the size of a canvas in pixels of the screen; returns its context, scaled to CSS pixels. */
export function fitted(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

export class Tiles {
  constructor(id, about, loaded) {
    Object.assign(this, { id, about, loaded });
    this.palette = colours(about.range);
    this.tiles = new Map(); // "level/index" -> canvas, or null while it is fetched
  }

  renewColours() {
    this.palette = colours(this.about.range);
    this.tiles.clear();
  }

  /** Draws the view; where fine tiles are still missing, coarser ones stand in. */
  draw(context, view, width, height) {
    const perPixel = (view.span / width) * this.about.columns_per_second;
    const best = Math.min(this.about.n_levels - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, perPixel)))));
    context.imageSmoothingQuality = "high";
    for (let level = this.about.n_levels - 1; level >= best; level--) {
      if (level !== best && level !== this.about.n_levels - 1 && level > best + 2) continue;
      for (const index of this.indexes(level, view)) {
        const tile = this.tile(level, index, level === best || level === this.about.n_levels - 1);
        if (!tile) continue;
        const [start, end] = this.span(level, index, tile.width);
        context.drawImage(tile, view.toX(start, width), 0, ((end - start) / view.span) * width, height);
      }
    }
  }

  span(level, index, columns) {
    const seconds = 2 ** level / this.about.columns_per_second;
    const start = index * this.about.columns_per_tile * seconds - 0.5 / this.about.columns_per_second;
    return [start, start + columns * seconds];
  }

  *indexes(level, view) {
    const seconds = (this.about.columns_per_tile * 2 ** level) / this.about.columns_per_second;
    for (let i = Math.max(0, Math.floor(view.start / seconds)); i * seconds < view.end; i++) yield i;
  }

  tile(level, index, isWanted) {
    const key = `${level}/${index}`;
    if (this.tiles.has(key)) {
      const tile = this.tiles.get(key);
      this.tiles.delete(key); // the most recently used is last
      this.tiles.set(key, tile);
      return tile;
    }
    if (isWanted) this.fetch(key);
    return null;
  }

  async fetch(key) {
    this.tiles.set(key, null);
    for (const old of this.tiles.keys()) {
      if (this.tiles.size <= KEPT) break;
      this.tiles.delete(old);
    }
    try {
      const answer = await call("GET", `/api/recordings/${this.id}/spectrogram/${key}`);
      this.tiles.set(key, this.picture(new Uint8Array(await answer.arrayBuffer())));
      this.loaded();
    } catch {
      // the recording may have been removed meanwhile; a tile behind its end does not exist
    }
  }

  picture(bytes) {
    const rows = this.about.n_mels;
    const columns = bytes.length / rows;
    const canvas = new OffscreenCanvas(columns, rows);
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    for (let x = 0; x < columns; x++) {
      for (let y = 0; y < rows; y++) pixels[(rows - 1 - y) * columns + x] = this.palette[bytes[x * rows + y]];
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }
}

const mel = (hz) => (hz < 1000 ? (3 * hz) / 200 : 15 + Math.log(hz / 1000) * (27 / Math.log(6.4)));

/** Places the frequencies beside the spectrogram. */
export function labelFrequencies(gutter, about) {
  const [low, high] = [mel(about.f_min), mel(about.f_max)];
  gutter.replaceChildren(...[100, 500, 1000, 2000, 4000, 8000].map((hz) => {
    const mark = document.createElement("span");
    mark.textContent = hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`;
    mark.style.bottom = `${(100 * (mel(hz) - low)) / (high - low)}%`;
    return mark;
  }));
}
