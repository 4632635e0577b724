// The tooltip of charts: a small table of names and values beside the pointer.

const tooltip = document.createElement("table");
tooltip.className = "tooltip";
tooltip.hidden = true;
tooltip.setAttribute("role", "tooltip");
document.body.append(tooltip);

export function showTooltip(_handler, event, _item, value) {
  tooltip.hidden = value === null || value === undefined || value === "";
  if (tooltip.hidden) return;
  const rows = typeof value === "object" ? Object.entries(value) : [["", value]];
  tooltip.replaceChildren(...rows.map(([name, text]) => row(name, text)));
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  tooltip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
  tooltip.style.top = `${Math.min(event.clientY + 14, innerHeight - height - 8)}px`;
}

function row(name, text) {
  const element = document.createElement("tr");
  const heading = document.createElement("th");
  heading.textContent = name;
  element.append(heading);
  element.insertCell().textContent = text;
  return element;
}
