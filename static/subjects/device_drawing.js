/** The picture of the device check: screen, window and the room that the images need, to one scale. */

const WIDTH = 400;
const HEIGHT = 250;
const AIR = 6;

/** Sizes in device pixels: of an arrangement, which may lack the room, and of the screen. */
export function drawRoom({ least, columns, need, have, places }, screen) {
  const whole = [0, 1].map((axis) => Math.max(screen[axis], have[axis], need[axis]));
  const scale = Math.min((WIDTH - 2 * AIR) / whole[0], (HEIGHT - 2 * AIR) / whole[1]);
  const shapes = [...document.querySelectorAll(".drawing rect")];
  [screen, have, need].forEach((size, index) => place(shapes[index], size, 0, scale));
  shapes.slice(3).forEach((shape, index) => {
    const size = index < columns ? [least.width, least.height] : [0, 0];
    place(shape, size, need[0] * ((index + 0.5) / columns - 0.5), scale);
  });
  for (const shape of shapes.slice(2)) shape.classList.toggle("short", !places);
}

/** A rectangle in the middle, moved across by so much. */
function place(shape, [width, height], across, scale) {
  const size = [width * scale, height * scale];
  const attributes = {
    x: (WIDTH - size[0]) / 2 + across * scale,
    y: (HEIGHT - size[1]) / 2,
    width: size[0],
    height: size[1],
  };
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value.toFixed(1));
}
