// The clock of an assignment, and the page's moving on when its work was submitted.
// Whatever the question's frame says, the server alone is asked whether it was.

const ASK = 10_000; // ms; a page may also submit without loading anything in its frame
const WARN = 60; // seconds

const work = document.getElementById("work");
const left = document.getElementById("left");
const alarm = document.getElementById("alarm");
const end = Date.now() + 1000 * Number(work.dataset.seconds); // by the wall clock: a laptop that slept is late too
let due = false; // the frame shows another page: perhaps what follows a submission
let asking = false;
let lost = false; // the server did not answer for a while: what the frame sent meanwhile led to an error
let over = false;

tick();
setInterval(tick, 500);
setInterval(ask, ASK);
document.getElementById("question").addEventListener("load", () => (due = true));

function tick() {
  const seconds = Math.max(0, Math.ceil((end - Date.now()) / 1000));
  left.textContent = words(seconds);
  document.getElementById("clock").classList.toggle("late", seconds <= WARN);
  if (due || seconds <= 0) ask();
}

function words(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

async function ask() {
  if (asking || over) return;
  asking = true;
  due = false;
  try {
    const headers = { Accept: "application/json" };
    const answer = await fetch(work.dataset.state, { headers, signal: AbortSignal.timeout(ASK) });
    if (answer.status === 403) return say("You are signed out. Use your personal link again in another tab; your work here stays open.");
    if (!answer.ok) return;
    const { open } = await answer.json();
    if (!open) {
      over = true;
      location.reload(); // the same address now tells what became of it
    } else if (lost) say("The server is back. If the question shows an error, load this page again.");
    else alarm.hidden = true;
  } catch {
    lost = true;
    say("The server does not answer. Stay on this page; it says so when the server is back.");
  } finally {
    asking = false;
  }
}

function say(text) {
  alarm.textContent = text;
  alarm.hidden = false;
}
