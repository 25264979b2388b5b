// Hands a finished session in to the recruiter: by itself after a moment, or at once by the button, once at a time.

const MOMENT = 2000; // ms to read the page in
const GIVE_UP = 10_000; // ms after which a submission that led nowhere can be tried again

const element = document.getElementById("hand-in");
const button = element.querySelector("button");
let sent = false;

const timer = setTimeout(() => (button ? element.requestSubmit(button) : element.click()), MOMENT);

element.addEventListener(button ? "submit" : "click", (event) => {
  clearTimeout(timer);
  if (sent) {
    event.preventDefault();
    return;
  }
  sent = true;
  setTimeout(() => (sent = false), GIVE_UP);
});
