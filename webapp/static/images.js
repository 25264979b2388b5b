// The images of a trial, whole or not at all.

const IMAGE_WAIT = 30_000; // ms for the three images of a trial

/** {reference, left, right}: the trial's images, loaded, decoded and of the right size. Rejects after a bounded wait. */
export function loadImages(trial) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("The images take too long.")), IMAGE_WAIT));
  const all = Promise.all(["reference", "left", "right"].map((role) => loadImage(trial, role)));
  return Promise.race([all, late]).then(([reference, left, right]) => ({ reference, left, right }));
}

async function loadImage(trial, role) {
  const image = new Image();
  image.alt = ""; // the caption of its frame says what it is
  image.draggable = false;
  image.src = trial[role];
  await image.decode();
  if (image.naturalWidth !== trial.width || image.naturalHeight !== trial.height) {
    throw new Error("An image arrived damaged.");
  }
  return image;
}
