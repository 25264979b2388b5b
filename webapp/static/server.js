// What the page asks of the server: trials, and that votes are stored.

const ANSWER_WAIT = 15_000; // ms for an answer to a request
const PAUSES = [1000, 2000, 4000, 8000, 15_000]; // ms between tries; the last one for ever

const base = location.pathname.replace(/\/$/, "");

/** The page after the last trial, for whom a recruiter sent; it knows them by the parameters of this address. */
export const endAddress = `${base}/end${location.search}`;

/** The server will not take this request, however often it is sent. */
export class Refused extends Error {}

/** {started, trials}: the next unanswered trials. `trouble(text, retryNow)` says what is wrong, `trouble(null)` that it is over. */
export function nextTrials(trouble) {
  return insist(`${base}/next`, { cache: "no-store" }, "The next images are not here yet.", trouble);
}

/** The acknowledgement of a stored vote; until there is one the vote is sent again and again. */
export function sendVote(vote, trouble) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(vote) };
  return insist(`${base}/vote`, request, "Your answer is not stored yet. Please keep this page open.", trouble);
}

async function insist(url, request, consequence, trouble) {
  for (let tries = 0; ; tries++) {
    try {
      const response = await fetch(url, { ...request, signal: AbortSignal.timeout(ANSWER_WAIT) });
      const answer = await response.json();
      if (response.ok) {
        trouble(null);
        return answer;
      }
      if (response.status < 500) throw new Refused(answer.error);
      await pause(tries, `${answer.error} ${consequence}`, trouble);
    } catch (error) {
      if (error instanceof Refused) throw error;
      await pause(tries, `The server does not answer. ${consequence}`, trouble);
    }
  }
}

function pause(tries, text, trouble) {
  const wait = PAUSES[Math.min(tries, PAUSES.length - 1)];
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, wait);
    trouble(`${text} Trying again …`, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
