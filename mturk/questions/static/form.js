// What the voting page asks its server, done in the page itself: trials from the session's script, votes kept here and
// sent with the HIT. Stands in for server.js.

const AHEAD = 2; // trials that the session is told of: the one on display, and the one whose images it loads meanwhile
const SUBMIT_WAIT = 15_000; // ms after which the answers can be sent again
const MTURK = "https://www.mturk.com"; // where a form sends its answers if its address does not say

const at = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
const assignment = address.get("assignmentId") ?? "ASSIGNMENT_ID_NOT_AVAILABLE";
const inPreview = assignment === "ASSIGNMENT_ID_NOT_AVAILABLE";
const script = at("consent").dataset.trials;
const kept = `eyetune ${script.split("?")[0]} ${assignment}`; // signed addresses change, the session does not

let trials = null;
let votes = [];

/** Nothing here refuses a request; the session asks for the name. */
export class Refused extends Error {}

/** {started, trials}: the next unanswered trials, once the observer has agreed; after the last one the HIT is submitted. */
export async function nextTrials() {
  if (trials === null) await begin();
  const answered = new Set(votes.map((vote) => vote.trial));
  const open = trials.filter((trial) => !answered.has(trial.id));
  if (!open.length) await submit();
  return { started: votes.length > 0, trials: open.slice(0, AHEAD) };
}

/** The acknowledgement of a vote, with feedback in the practice. */
export async function sendVote(vote) {
  votes.push(vote);
  remember();
  const { correct } = trials.find((trial) => trial.id === vote.trial);
  return correct === undefined ? {} : { correct: vote.side === correct };
}

async function begin() {
  const loaded = loadTrials();
  const before = inPreview ? [] : recall();
  if (!before.length) {
    at("consent").hidden = false;
    at(inPreview ? "preview" : "agree").hidden = false;
    await clicked("agree");
  }
  const list = await loaded;
  at("consent").hidden = true;
  const known = new Set(list.map((trial) => trial.id));
  votes = before.filter((vote) => known.has(vote.trial));
  trials = list;
}

/** The session's trials; a script may come from another host without its leave, and needs no origin of ours. */
async function loadTrials() {
  for (;;) {
    const element = document.createElement("script");
    element.src = script;
    await new Promise((settled) => {
      element.onload = element.onerror = settled;
      document.head.append(element);
    });
    at("no-trials").hidden = Array.isArray(globalThis.eyetuneTrials);
    if (at("no-trials").hidden) return globalThis.eyetuneTrials;
    at("consent").hidden = false;
    await clicked("load");
  }
}

function clicked(id) {
  return new Promise((resolve) => at(id).addEventListener("click", resolve, { once: true }));
}

// A frame without an origin has no storage, and a private window may have none: then a reload begins anew.
function remember() {
  try {
    sessionStorage.setItem(kept, JSON.stringify(votes));
  } catch {
    /* the answers are kept in this page all the same */
  }
}

function recall() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(kept));
    return Array.isArray(stored) ? stored : [];
  } catch {
    return [];
  }
}

/** Where the answers go: MTurk, or the local server, whose paths begin with /w/. Anybody else is refused: null. */
function target() {
  const said = address.get("turkSubmitTo");
  if (!said) return MTURK;
  if (!URL.canParse(said)) return null;
  const { origin, protocol, pathname } = new URL(said);
  if (origin === MTURK || origin === "https://workersandbox.mturk.com") return origin;
  if (/^https?:$/.test(protocol) && pathname.startsWith("/w/")) return origin + pathname.replace(/\/+$/, "");
  return null;
}

/** Post the answers; the page goes away with that, so there is nothing to return to. */
function submit() {
  for (const part of document.querySelectorAll("main")) part.hidden = part.id !== "submission";
  const form = at("answers");
  const button = form.querySelector("button");
  const to = target();
  form.elements.assignmentId.value = assignment;
  form.elements.votes.value = JSON.stringify(votes);
  form.addEventListener("submit", () => {
    button.disabled = true; // sent twice, MTurk would refuse the second and say so
    setTimeout(() => (button.disabled = false), SUBMIT_WAIT);
  });
  at("submission").querySelector("h1").focus();
  if (to === null) {
    explain("This page was not opened by MTurk, so the answers cannot be sent.");
    button.hidden = true;
  } else {
    form.action = `${to}/mturk/externalSubmit`;
    if (navigator.onLine) form.requestSubmit();
    else explain("There is no connection at the moment. Please send your answers when it is back.");
  }
  return new Promise(() => {});
}

function explain(text) {
  at("not-sent").textContent = text;
  at("not-sent").hidden = false;
}
