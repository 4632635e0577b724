/** What scripts know of the study's protocol: see `for_scripts` in app/subjects/panel.py. */

export const protocol = JSON.parse(document.getElementById("protocol").textContent);
