// The page of a stored ranking: its chart.

import { request } from "../api.js";
import { draw } from "./chart.js";

const chart = document.querySelector("[data-chart]");
request("GET", chart.dataset.chart).then(
  (specification) => draw(chart, specification),
  (error) => (chart.textContent = error.message),
);
