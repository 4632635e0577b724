// A Vega-Lite specification as SVG, in the page's colours, under the page's Content-Security-Policy.

import { showTooltip } from "./tooltip.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = new Map();
let library;

/** Draw into an element of fixed size; the chart that is there stays until the new one is ready. */
export function draw(element, specification) {
  const text = JSON.stringify(specification);
  const chart = charts.get(element) ?? { drawing: Promise.resolve() };
  if (chart.text === text) return;
  charts.set(element, Object.assign(chart, { text, specification }));
  queue(element, chart);
}

dark.addEventListener("change", () => charts.forEach((chart, element) => queue(element, chart)));

// One at a time, and only the newest of those that wait.
function queue(element, chart) {
  const asked = (chart.asked = Symbol());
  chart.drawing = chart.drawing.then(() => chart.asked === asked && embed(element, chart)).catch(console.error);
}

async function embed(element, chart) {
  await (library ??= load("/assets/vega.js"));
  const next = document.createElement("div");
  element.append(next);
  const { view } = await window.vegaEmbed(next, dressed(chart.specification), {
    mode: "vega-lite",
    ast: true,
    defaultStyle: false,
    actions: false,
    renderer: "svg",
    tooltip: showTooltip,
  });
  element.replaceChildren(next);
  chart.view?.finalize();
  chart.view = view;
}

function load(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${address} did not load`));
    document.head.append(script);
  });
}

/** The specification at the size of its element, with our colours. */
function dressed({ usermeta, config, ...specification }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const font = getComputedStyle(document.body).fontFamily;
  const [ink, quiet, line, accent] = ["ink", "quiet", "line", "accent"].map(colour);
  const words = { labelColor: quiet, titleColor: quiet, labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    ...specification,
    width: "container",
    height: "container",
    autosize: { type: "fit", contains: "padding" },
    config: {
      ...config,
      background: null,
      font,
      view: { stroke: null },
      axis: { ...words, domain: false, ticks: false, gridColor: line, labelPadding: 8, labelLimit: 160 },
      axisX: { labelFlush: false, tickCount: 6 },
      axisY: { labelColor: ink, labelFontSize: 13 },
      legend: words,
      title: { color: ink, font },
      mark: { color: accent },
      point: { color: accent, filled: true, size: 70, opacity: 1 },
      rule: { color: accent, strokeWidth: 2 },
    },
  };
}
