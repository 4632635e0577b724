/** What is sent about a vote. */

import { uuid } from "./uuid.js";

/** The subject takes the last vote back. */
export const UNDO = Symbol("undo");

const CLIENT = uuid(); // of this load of the page

export function voteOn(pair, choice, input, event) {
  const { trial, pictures, onset, inspection } = pair;
  pair.noteSleep();
  return {
    revision: trial.revision,
    choice,
    response_ms: event.timeStamp - onset,
    painted_at: new Date(pair.paintedAt).toISOString(),
    input,
    hidden: inspection.hidden,
    left_sha256: pictures.left.sha256,
    right_sha256: pictures.right.sha256,
    events: inspection.since(onset),
    client: CLIENT,
    device_pixel_ratio: devicePixelRatio,
    window_width: innerWidth,
    window_height: innerHeight,
    screen_width: screen.width,
    screen_height: screen.height,
  };
}

/** That the vote on a trial is taken back. */
export function withdrawal(trial) {
  return { revision: trial.revision, choice: null, client: CLIENT };
}
