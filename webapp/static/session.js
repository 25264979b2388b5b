// A session: instructions, practice with feedback, trials, thanks or the page that hands in to a recruiter. A reload goes on at the next unanswered trial.

import { loadImages } from "./images.js";
import { endAddress, nextTrials, Refused, sendVote } from "./server.js";
import { Stage } from "./stage.js";

const SETTLE = 250; // ms after the images appear in which nothing is chosen: the end of a double press is not an answer

const at = (id) => document.getElementById(id);
const stage = new Stage(at("stage"), refresh);
const preloaded = new Map(); // trial id: promise of its images
let choosing = null; // resolves with the side while the trial waits for its answer
let ready = false;
let unsaved = false;

run();

async function run() {
  try {
    let { started, trials, end } = await nextTrials(trouble);
    if (trials.length) await largeEnough();
    if (trials.length && !started) await instructions(trials[0]);
    for (; trials.length; { trials, end } = await nextTrials(trouble)) {
      const [trial, following] = trials;
      await answer(trial, following);
    }
    if (end) {
      location.replace(endAddress);
      return;
    }
    show("thanks");
    at("thanks").querySelector("h1").focus();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    trouble(`${error.message} Please load the page again.`, () => location.reload());
  }
}

/** Resolves when the window has the size that the study asks for. */
function largeEnough() {
  const { width, height } = at("small").dataset;
  return new Promise((resolve) => {
    function look() {
      if (innerWidth >= Number(width) && innerHeight >= Number(height)) {
        removeEventListener("resize", look);
        resolve();
        return;
      }
      at("window-now").textContent = `${innerWidth} × ${innerHeight}`;
      show("small");
    }
    addEventListener("resize", look);
    look();
  });
}

function instructions(trial) {
  preload(trial);
  stage.prepare(trial);
  show("instructions");
  at("start").focus();
  return new Promise((resolve) => at("start").addEventListener("click", resolve, { once: true }));
}

async function answer(trial, following) {
  const shownAt = new Date();
  show("trial");
  describe(trial);
  stage.prepare(trial);
  stage.show(await imagesOf(trial));
  at("loading").hidden = true;
  const loadedAt = new Date();
  if (following) preload(following);
  setTimeout(() => {
    ready = true;
    refresh();
  }, SETTLE);

  const side = await new Promise((resolve) => (choosing = resolve));
  choosing = null;
  ready = false;
  unsaved = true;
  stage.figures[side].classList.add("chosen");
  refresh();
  const stored = await sendVote(
    {
      trial: trial.id,
      side,
      protocol: stage.protocol,
      shown_at: shownAt.toISOString(),
      loaded_at: loadedAt.toISOString(),
      answered_at: new Date().toISOString(),
      flips: stage.flips,
      zoom: stage.zoom,
      screen_width: innerWidth,
      screen_height: innerHeight,
      pixel_ratio: devicePixelRatio,
    },
    trouble,
  );
  unsaved = false;
  preloaded.delete(trial.id);
  if ("correct" in stored) await feedback(stored.correct);
}

function describe(trial) {
  const which = `${trial.position} of ${trial.total}`;
  at("progress").textContent = trial.practice ? `Practice ${which}` : which;
  at("bar").value = (trial.position - 1) / trial.total;
  at("question").textContent = trial.question;
  at("question").focus({ preventScroll: true });
  at("loading").hidden = false;
  at("feedback").hidden = true;
  at("answer").hidden = false;
}

function feedback(correct) {
  at("verdict").textContent = correct
    ? "✓ Right: that one is closer to the reference."
    : "✗ Not this time: the other one is closer to the reference.";
  at("answer").hidden = true;
  at("hint").textContent = "";
  at("feedback").hidden = false;
  at("continue").focus();
  return new Promise((resolve) => at("continue").addEventListener("click", resolve, { once: true }));
}

function preload(trial) {
  const images = loadImages(trial);
  images.catch(() => preloaded.delete(trial.id)); // then they are fetched again when the trial's turn comes
  preloaded.set(trial.id, images);
}

async function imagesOf(trial) {
  for (;;) {
    if (!preloaded.has(trial.id)) preload(trial);
    try {
      return await preloaded.get(trial.id);
    } catch {
      at("loading").hidden = true;
      await new Promise((retry) => trouble("The images did not load. Please check your connection.", retry));
      trouble(null);
      at("loading").hidden = false;
    }
  }
}

/** Show what is wrong and what the button does about it; null when it is over. */
function trouble(text, retry) {
  at("trouble").hidden = text === null;
  if (text === null) return;
  at("trouble-text").textContent = text;
  at("retry").onclick = retry;
}

function choose(side) {
  if (ready && choosing && stage.seenAll) choosing(side);
}

/** Bring buttons and hints up to date with what is in view. */
function refresh() {
  const flip = stage.protocol === "flip";
  const open = ready && stage.seenAll;
  for (const [side, name] of [["left", flip ? "1" : "left"], ["right", flip ? "2" : "right"]]) {
    at(`choose-${side}`).disabled = !open;
    at(`choose-${side}`).querySelector("span").textContent = `Choose ${name}`;
  }
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === stage.view));
    button.disabled = !stage.images;
  }
  stage.element.classList.toggle("pickable", open);
  at("zoom-now").textContent = `${stage.zoom}×`;
  let hint = stage.cropped ? "Scroll to see the rest; all three images move together." : "";
  if (flip && stage.images && !stage.seenAll) hint = "Look at both images and at the reference before you choose.";
  if (at("hint").textContent !== hint) at("hint").textContent = hint;
}

function show(part) {
  for (const id of ["small", "instructions", "trial", "thanks"]) at(id).hidden = id !== part;
}

for (const side of ["left", "right"]) {
  // A second click of a double click would answer the next trial.
  at(`choose-${side}`).addEventListener("click", (event) => event.detail < 2 && choose(side));
  stage.frames[side].addEventListener("click", (event) => {
    if (stage.protocol === "side-by-side" && event.detail < 2) choose(side);
  });
}
for (const frame of Object.values(stage.frames)) {
  frame.addEventListener("click", () => stage.flipTo(stage.view === "left" ? "right" : "left"));
}
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => stage.flipTo(button.dataset.view));
}
at("zoom-in").addEventListener("click", () => stage.zoomBy(1));
at("zoom-out").addEventListener("click", () => stage.zoomBy(-1));

const isReferenceKey = (key) => key === " " || key === "r" || key === "R";

addEventListener("keydown", (event) => {
  if (at("trial").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const holds = stage.protocol === "flip" && isReferenceKey(event.key) && at("feedback").hidden;
  if (holds) event.preventDefault(); // space would press the button that has the focus
  if (event.repeat) return;
  if (holds) stage.flipTo("reference");
  else if (event.key === "1") stage.flipTo("left");
  else if (event.key === "2") stage.flipTo("right");
  else if (event.key === "+" || event.key === "=") stage.zoomBy(1);
  else if (event.key === "-") stage.zoomBy(-1);
  else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    event.preventDefault(); // else it scrolls enlarged images
    choose(event.key === "ArrowLeft" ? "left" : "right");
  }
});
addEventListener("keyup", (event) => {
  if (at("trial").hidden || stage.protocol !== "flip" || !isReferenceKey(event.key) || !at("feedback").hidden) return;
  event.preventDefault();
  if (stage.view === "reference") stage.flipTo(stage.lastVersion);
});
addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
