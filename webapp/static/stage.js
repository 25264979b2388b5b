// The three images of a trial: side by side or one at a time, each image pixel an exact number of device pixels.

const ROLES = ["left", "reference", "right"];
const GAP = 16; // CSS pixels between frames and around them, as in style.css
const AROUND = { "side-by-side": 310, flip: 370 }; // CSS pixels of height for all that is not image
const BUTTON = 170; // CSS pixels of width that the button below an image needs
const RIM = 2; // device pixels around an image, so that a frame that begins between two pixels does not cut it
const LARGEST_ZOOM = 8;

export class Stage {
  /** `changed()` is called whenever another image comes into view. */
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.figures = Object.fromEntries(ROLES.map((role) => [role, element.querySelector(`[data-role=${role}]`)]));
    this.frames = Object.fromEntries(ROLES.map((role) => [role, this.figures[role].querySelector(".frame")]));
    this.trial = null;
    this.images = null;
    this.zoom = null;
    for (const role of ROLES) this.frames[role].addEventListener("scroll", () => this.#scrollAlike(role));
    addEventListener("resize", () => this.layOut());
  }

  /** Make room for a trial whose images are not here yet. */
  prepare(trial) {
    this.trial = trial;
    this.images = null;
    this.zoom ??= trial.zoom;
    this.view = "reference";
    this.lastVersion = "left";
    this.seen = new Set();
    this.flips = 0;
    for (const role of ROLES) {
      this.frames[role].replaceChildren();
      this.figures[role].classList.remove("chosen");
    }
    this.layOut();
  }

  /** Put the images in, all three at once. */
  show(images) {
    this.images = images;
    for (const role of ROLES) this.frames[role].replaceChildren(images[role]);
    this.seen.add(this.view);
    this.layOut();
  }

  /** The protocol as it is shown: a window too narrow for three images with their buttons flips them. */
  get protocol() {
    if (!this.trial || this.trial.protocol === "flip") return "flip";
    return this.#fitsSideBySide(this.trial) ? "side-by-side" : "flip";
  }

  /** Whether the observer saw all that a choice needs. */
  get seenAll() {
    return this.images !== null && (this.protocol === "side-by-side" || ROLES.every((role) => this.seen.has(role)));
  }

  /** Bring one image into view (flip protocol). */
  flipTo(role) {
    if (!this.images || this.protocol !== "flip" || role === this.view) return;
    this.view = role;
    if (role !== "reference") this.lastVersion = role;
    this.seen.add(role);
    this.flips += 1;
    this.layOut();
  }

  /** Change the zoom by so many steps of one device pixel an image pixel. */
  zoomBy(steps) {
    if (!this.trial) return;
    this.zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.zoom + steps));
    this.layOut();
  }

  /** Fit everything to the window, its pixel ratio, the zoom and the image in view. */
  layOut() {
    if (!this.trial) return;
    const { width, height } = this.#size(this.trial, this.zoom);
    const abreast = this.protocol === "side-by-side" ? 3 : 1;
    const room = Math.floor((document.documentElement.clientWidth - (abreast + 1) * GAP) / abreast);
    const tall = Math.max(200, innerHeight - AROUND[this.protocol]);
    const rim = (2 * RIM) / devicePixelRatio;
    // Where an image is larger than its frame, scroll bars take some of the other direction.
    const bar = width > room || height > tall ? 16 : 0;
    document.body.className = this.protocol;
    document.body.style.setProperty("--column", `${Math.max(Math.ceil(Math.min(width, room) + rim), BUTTON)}px`);
    for (const role of ROLES) {
      const frame = this.frames[role];
      frame.style.width = `${Math.ceil(Math.min(width + (height > tall ? bar : 0), room) + rim)}px`;
      frame.style.height = `${Math.ceil(Math.min(height + (width > room ? bar : 0), tall) + rim)}px`;
      frame.style.overflow = bar ? "auto" : "hidden";
      this.figures[role].classList.toggle("in-view", role === this.view);
      if (this.images) {
        // Not by a width of 170.67px: browsers round lengths to 1/64 pixel and then leave out a row of device pixels.
        const { style } = this.images[role];
        style.width = `${this.trial.width * this.zoom}px`;
        style.height = `${this.trial.height * this.zoom}px`;
        style.transform = `scale(${1 / devicePixelRatio}) translate(${RIM}px, ${RIM}px)`;
      }
    }
    this.cropped = bar > 0;
    this.changed();
  }

  #fitsSideBySide(trial) {
    const { width } = this.#size(trial, trial.zoom);
    return 3 * Math.max(width, BUTTON) + 4 * GAP <= document.documentElement.clientWidth;
  }

  #size(trial, zoom) {
    const scale = zoom / devicePixelRatio;
    return { width: trial.width * scale, height: trial.height * scale };
  }

  #scrollAlike(role) {
    const { scrollLeft, scrollTop } = this.frames[role];
    for (const other of ROLES) {
      const frame = this.frames[other];
      if (frame.scrollLeft !== scrollLeft) frame.scrollLeft = scrollLeft;
      if (frame.scrollTop !== scrollTop) frame.scrollTop = scrollTop;
    }
  }
}
